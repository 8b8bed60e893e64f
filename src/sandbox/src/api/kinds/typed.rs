//! Bodies read as Kubernetes' own types and written again. What does not survive is unknown to
//! Kubernetes; what does not parse has the wrong type.

use k8s_openapi::schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn again<T: DeserializeOwned + Serialize + JsonSchema>(object: &Value) -> Result<Value, String> {
    let typed = T::deserialize(object).map_err(|error| {
        let error = error.to_string();
        let path = path_of::<T>(object, &error).unwrap_or_default();
        wording::<T>(object, &error, &path)
    })?;
    serde_json::to_value(typed).map_err(|e| e.to_string())
}

/// Where in an object an error is: the way to the smallest part without which it goes away.
fn path_of<T: DeserializeOwned>(object: &Value, error: &str) -> Option<Vec<String>> {
    let mut tries = 500;
    let mut without = object.clone();
    let mut pointer = String::new();
    let mut path = Vec::new();
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
                path.push(key);
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
    Some(path)
}

/// serde's complaints in the words of Go's decoder, as far as they say the same.
fn wording<T: JsonSchema>(object: &Value, error: &str, path: &[String]) -> String {
    // Where text ends too early, Go names the beginning of its last four characters.
    if error.starts_with("Invalid input length") || error.starts_with("Invalid padding") {
        let text = path.iter().try_fold(object, |at, step| at.get(step));
        let length = text.and_then(Value::as_str).map_or(0, str::len);
        return format!("illegal base64 data at input byte {}", length - length % 4);
    }
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
    match go_field::<T>(path) {
        Some((field, of)) => {
            format!("json: cannot unmarshal {found} into Go struct field {field} of type {of}")
        }
        None => format!("json: cannot unmarshal {found} where {expected} is expected"),
    }
}

/// A field as Go's decoder names it, and its type: the struct that has it, and all fields on the
/// way, without the keys of maps and the places in lists.
fn go_field<T: JsonSchema>(path: &[String]) -> Option<(String, String)> {
    let mut generator = SchemaGenerator::default();
    let mut at = generator.subschema_for::<T>().to_value();
    let schemas = generator.definitions();
    let (mut owner, mut fields) = (None, Vec::new());
    for step in path {
        let name = at["$ref"].as_str().and_then(|r| r.rsplit('/').next());
        let schema = name.and_then(|name| schemas.get(name)).unwrap_or(&at);
        let next = if let Some(field) = schema["properties"].get(step) {
            owner = name.and_then(|n| n.rsplit('.').next()).map(str::to_owned);
            fields.push(step.as_str());
            field
        } else {
            let inside = ["items", "additionalProperties"];
            inside.iter().find_map(|key| schema.get(key))?
        };
        at = next.clone();
    }
    Some((format!("{}.{}", owner?, fields.join(".")), go_type(&at)?))
}

fn go_type(schema: &Value) -> Option<String> {
    if let Some(name) = schema["$ref"].as_str() {
        // `io.k8s.api.core.v1.Container` is `v1.Container`.
        let mut parts = name.rsplitn(3, '.');
        let (kind, version) = (parts.next()?, parts.next()?);
        return Some(format!("{version}.{kind}"));
    }
    let format = schema["format"].as_str();
    Some(match schema["type"].as_str()? {
        "integer" => format.unwrap_or("int").to_owned(),
        "number" => "float64".to_owned(),
        "boolean" => "bool".to_owned(),
        "array" => format!("[]{}", go_type(&schema["items"])?),
        "object" => format!("map[string]{}", go_type(&schema["additionalProperties"])?),
        other => other.to_owned(),
    })
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
        let error = again::<ConfigMap>(&json!({"data": {"good": "1", "b.ad": 1}})).unwrap_err();
        assert_eq!(
            error,
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        );
        let pod = |spec: Value| again::<Pod>(&json!({"spec": spec})).unwrap_err();
        assert_eq!(
            pod(json!({"containers": [{"name": "a"}, {"name": "b", "args": "x"}]})),
            "json: cannot unmarshal string into Go struct field Container.spec.containers.args of type []string"
        );
        assert_eq!(
            pod(json!({"containers": "x"})),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container"
        );
        assert_eq!(
            pod(json!({"containers": [], "activeDeadlineSeconds": true})),
            "json: cannot unmarshal bool into Go struct field PodSpec.spec.activeDeadlineSeconds of type int64"
        );
        let secret = |text: &str| again::<Secret>(&json!({"data": {"a": text}})).unwrap_err();
        assert_eq!(secret("%%%"), "illegal base64 data at input byte 0");
        assert_eq!(secret("YWJjZ"), "illegal base64 data at input byte 4");
    }
}
