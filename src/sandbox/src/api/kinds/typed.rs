//! Bodies read as Kubernetes' own types and written again. What does not survive is unknown to
//! Kubernetes; what does not parse has the wrong type.

use k8s_openapi::api::{batch, core, events};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn again<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let typed = T::deserialize(object).map_err(|e| wording(&e.to_string()))?;
    serde_json::to_value(typed).map_err(|e| e.to_string())
}

/// serde's complaints in the words of Go's decoder, as far as they say the same.
fn wording(error: &str) -> String {
    if let Some((_, offset)) = error.split_once(", offset ") {
        let offset = offset.trim_end_matches('.');
        return format!("illegal base64 data at input byte {offset}");
    }
    let Some(rest) = error.strip_prefix("invalid type: ") else {
        return error.to_owned();
    };
    let Some((found, expected)) = rest.split_once(", expected ") else {
        return error.to_owned();
    };
    let found = match found.split_whitespace().next().unwrap_or("") {
        "integer" | "floating" => "number",
        "boolean" => "bool",
        "string" => "string",
        "sequence" => "array",
        "map" => "object",
        other => other,
    };
    format!("json: cannot unmarshal {found} where {expected} is expected")
}

macro_rules! types {
    ($($name:ident: $type:ty;)*) => {
        $(pub(super) fn $name(object: &Value) -> Result<Value, String> {
            again::<$type>(object)
        })*
    };
}

types! {
    config_map: core::v1::ConfigMap;
    secret: core::v1::Secret;
    service_account: core::v1::ServiceAccount;
    namespace: core::v1::Namespace;
    node: core::v1::Node;
    persistent_volume_claim: core::v1::PersistentVolumeClaim;
    pod: core::v1::Pod;
    job: batch::v1::Job;
    event: core::v1::Event;
    new_event: events::v1::Event;
}

/// The metadata of custom resources, whose other fields are their own.
pub(crate) fn metadata(object: &Value) -> Result<Value, String> {
    if object.is_null() {
        return Ok(Value::Null);
    }
    again::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>(object)
}
