//! What differs between kinds: types, defaults, checks. The machinery calls these through the
//! resource table and knows no kind itself.

mod claims;
mod config;
mod events;
mod jobs;
mod pods;
mod quantity;
mod typed;

use k8s_openapi::api::{batch, core, events as new_events};
use k8s_openapi::schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::status::FieldError;

pub use claims::PROTECTION;
pub(crate) use pods::quantities_in;
pub use quantity::Quantity;
pub use typed::Type;
pub(crate) use typed::metadata as typed_metadata;

/// Where the status of a new object comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewStatus {
    /// There is none; what the client sends is dropped.
    None,
    /// The client's is taken (nodes report themselves).
    Given,
    /// `on_create` sets it.
    Set,
}

/// The rules of a kind.
#[derive(Clone, Copy)]
pub struct Rules {
    /// Kubernetes' own type; none for custom resources.
    pub typed: Option<Type>,
    /// Defaults of a body, on create and update.
    pub defaults: fn(&mut Value),
    /// What the server sets on a new object, after its uid.
    pub on_create: fn(&mut Value),
    /// What an update of the main resource cannot change.
    pub on_update: fn(&mut Value, &Value),
    /// Checks an object.
    pub validate: fn(&Value) -> Vec<FieldError>,
    /// Checks a change.
    pub validate_update: fn(&Value, &Value) -> Vec<FieldError>,
    /// From the stored form to the served one, if they differ.
    pub serve: Option<fn(&mut Value)>,
    /// From the served form to the stored one.
    pub store: Option<fn(&mut Value)>,
    /// The status of a new object.
    pub new_status: NewStatus,
    /// Whether a delete answers with the object.
    pub delete_answers_object: bool,
    /// Whether a delete waits for the runtime (pods).
    pub graceful: bool,
}

fn nothing(_: &mut Value) {}
fn nothing_changes(_: &mut Value, _: &Value) {}
fn fine(_: &Value) -> Vec<FieldError> {
    Vec::new()
}
fn fine_change(_: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}

impl Rules {
    /// No rules: custom resources.
    pub const NONE: Rules = Rules {
        typed: None,
        defaults: nothing,
        on_create: nothing,
        on_update: nothing_changes,
        validate: fine,
        validate_update: fine_change,
        serve: None,
        store: None,
        new_status: NewStatus::None,
        delete_answers_object: false,
        graceful: false,
    };

    /// The rules that come with one of Kubernetes' own types.
    pub const fn of<T: DeserializeOwned + Serialize + JsonSchema>() -> Rules {
        Rules {
            typed: Some(Type::of::<T>()),
            ..Rules::NONE
        }
    }
}

/// ConfigMaps.
pub const CONFIGMAP: Rules = Rules {
    validate: config::validate_config_map,
    validate_update: config::immutable,
    ..Rules::of::<core::v1::ConfigMap>()
};

/// Secrets.
pub const SECRET: Rules = Rules {
    defaults: config::secret_defaults,
    validate: config::validate_secret,
    validate_update: config::secret_change,
    ..Rules::of::<core::v1::Secret>()
};

/// Service accounts.
pub const SERVICE_ACCOUNT: Rules = Rules {
    delete_answers_object: true,
    ..Rules::of::<core::v1::ServiceAccount>()
};

/// Namespaces.
pub const NAMESPACE: Rules = Rules {
    on_create: namespace_created,
    on_update: namespace_updated,
    new_status: NewStatus::Set,
    delete_answers_object: true,
    ..Rules::of::<core::v1::Namespace>()
};

/// Nodes.
pub const NODE: Rules = Rules {
    new_status: NewStatus::Given,
    ..Rules::of::<core::v1::Node>()
};

/// Persistent volume claims.
pub const PVC: Rules = Rules {
    defaults: claims::defaults,
    on_create: claims::created,
    on_update: claims::updated,
    validate: claims::validate,
    validate_update: claims::change,
    new_status: NewStatus::Set,
    delete_answers_object: true,
    ..Rules::of::<core::v1::PersistentVolumeClaim>()
};

/// Pods.
pub const POD: Rules = Rules {
    defaults: pods::defaults,
    on_create: pods::created,
    validate: pods::validate,
    validate_update: pods::change,
    new_status: NewStatus::Set,
    delete_answers_object: true,
    graceful: true,
    ..Rules::of::<core::v1::Pod>()
};

/// Jobs.
pub const JOB: Rules = Rules {
    defaults: jobs::defaults,
    on_create: jobs::created,
    validate: jobs::validate,
    validate_update: jobs::change,
    new_status: NewStatus::Set,
    ..Rules::of::<batch::v1::Job>()
};

/// Events of the core group, which is how events are stored.
pub const EVENT: Rules = Rules {
    validate: events::validate,
    ..Rules::of::<core::v1::Event>()
};

/// Events of `events.k8s.io`.
pub const NEW_EVENT: Rules = Rules {
    validate: events::validate,
    serve: Some(events::serve),
    store: Some(events::store),
    ..Rules::of::<new_events::v1::Event>()
};

/// What a field selector sees where the object has nothing.
pub fn absent_field(label: &str) -> &'static str {
    match label {
        "status.successful" => "0",
        "spec.unschedulable" | "spec.hostNetwork" => "false",
        _ => "",
    }
}

fn set_default(object: &mut Value, key: &str, value: Value) {
    if object.get(key).is_none_or(Value::is_null)
        && let Some(map) = object.as_object_mut()
    {
        map.insert(key.to_owned(), value);
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn namespace_created(o: &mut Value) {
    let name = o["metadata"]["name"].clone();
    o["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    o["spec"] = json!({"finalizers": ["kubernetes"]});
    o["status"] = json!({"phase": "Active"});
}

fn namespace_updated(new: &mut Value, old: &Value) {
    new["spec"] = old["spec"].clone();
    new["metadata"]["labels"]["kubernetes.io/metadata.name"] = old["metadata"]["name"].clone();
}
