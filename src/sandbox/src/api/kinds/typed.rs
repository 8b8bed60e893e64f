//! Bodies read as Kubernetes' own types and written again. What does not survive is unknown to
//! Kubernetes; what does not parse has the wrong type.

use k8s_openapi::schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn again<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let typed = T::deserialize(object).map_err(|error| {
        let error = error.to_string();
        let field = field_of::<T>(object, &error).unwrap_or_default();
        wording(&error, &field)
    })?;
    serde_json::to_value(typed).map_err(|e| e.to_string())
}

/// Where in an object an error is: the smallest part without which it goes away.
fn field_of<T: DeserializeOwned>(object: &Value, error: &str) -> Option<String> {
    let mut tries = 500;
    let mut without = object.clone();
    let mut pointer = String::new();
    let mut shown = String::new();
    'deeper: loop {
        let keys: Vec<String> = match object.pointer(&pointer)? {
            Value::Object(map) => map.keys().cloned().collect(),
            Value::Array(items) => (0..items.len()).map(|i| i.to_string()).collect(),
            _ => break,
        };
        for key in keys {
            let step = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
            // Kubernetes' types take what is missing for empty, but no null inside of a list: a
            // list is tried with one item alone.
            let whole = without.pointer(&pointer)?.clone();
            let gone = match without.pointer_mut(&pointer)? {
                Value::Object(map) => {
                    map.shift_remove(&key);
                    T::deserialize(&without)
                        .err()
                        .is_none_or(|e| e.to_string() != error)
                }
                alone => {
                    *alone = Value::Array(vec![object.pointer(&step)?.clone()]);
                    T::deserialize(&without)
                        .err()
                        .is_some_and(|e| e.to_string() == error)
                }
            };
            *without.pointer_mut(&pointer)? = whole;
            if gone {
                match object.pointer(&pointer)? {
                    Value::Array(_) => shown.push_str(&format!("[{key}]")),
                    _ if shown.is_empty() => shown = key,
                    _ => shown.push_str(&format!(".{key}")),
                }
                pointer = step;
                continue 'deeper;
            }
            tries -= 1;
            if tries == 0 {
                break 'deeper;
            }
        }
        break;
    }
    Some(shown)
}

/// serde's complaints in the words of Go's decoder, as far as they say the same.
fn wording(error: &str, field: &str) -> String {
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
    match field {
        "" => format!("json: cannot unmarshal {found} where {expected} is expected"),
        _ => format!("json: cannot unmarshal {found} into field {field}: {expected} is expected"),
    }
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// One of Kubernetes' own types.
#[derive(Clone, Copy)]
pub struct Type {
    /// Reads an object as the type and writes it again, or says what is wrong: what is lost was
    /// unknown.
    pub again: fn(&Value) -> Result<Value, String>,
    /// Puts the type's schema among a generator's definitions and refers to it.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

impl Type {
    /// That Rust type.
    pub const fn of<T: DeserializeOwned + Serialize + JsonSchema>() -> Type {
        Type {
            again: again::<T>,
            schema: schema::<T>,
        }
    }
}

/// The metadata of custom resources, whose other fields are their own.
pub(crate) fn metadata(object: &Value) -> Result<Value, String> {
    if object.is_null() {
        return Ok(Value::Null);
    }
    again::<k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
    use serde_json::json;

    #[test]
    fn a_wrong_type_is_named_with_its_field() {
        let error = again::<ConfigMap>(&json!({"data": {"good": "1", "bad": 1}})).unwrap_err();
        assert_eq!(
            error,
            "json: cannot unmarshal number into field data.bad: a string is expected"
        );
        let pod_with =
            |container: Value| json!({"spec": {"containers": [{"name": "a"}, container]}});
        let error = again::<Pod>(&pod_with(json!({"name": "b", "args": "x"}))).unwrap_err();
        assert!(error.contains("field spec.containers[1].args:"), "{error}");
        let error = again::<Pod>(&json!({"spec": {"containers": "x"}})).unwrap_err();
        assert!(error.contains("field spec.containers:"), "{error}");
        let error = again::<Secret>(&json!({"data": {"a": "%%%"}})).unwrap_err();
        assert_eq!(error, "illegal base64 data at input byte 0");
    }
}
