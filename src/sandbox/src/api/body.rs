//! From the bytes of a request to an object of the kind the path names.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value, json};

use crate::resources::{self, Flavor, Resource};

use super::kinds;
use super::managed;
use super::protobuf;
use super::query::FieldValidation;
use super::status::ApiError;

/// The largest body that is read.
pub const LIMIT: usize = 3 << 20;

/// How deep objects may be nested. What is stored is read again by a parser that goes 128 levels
/// deep, and the record of who owns which field is a few levels deeper than the field.
pub const MAX_DEPTH: usize = 100;

/// Whether a value is nested deeper than [`MAX_DEPTH`].
pub fn is_too_deep(value: &Value) -> bool {
    fn deeper(value: &Value, left: usize) -> bool {
        match value {
            Value::Object(map) => left == 0 || map.values().any(|v| deeper(v, left - 1)),
            Value::Array(items) => left == 0 || items.iter().any(|v| deeper(v, left - 1)),
            _ => false,
        }
    }
    deeper(value, MAX_DEPTH)
}

/// The format of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
    /// Kubernetes' protobuf, for the kinds kubectl sends in it.
    Protobuf,
}

impl Format {
    /// From a Content-Type.
    pub fn of(content_type: Option<&str>) -> Result<Format, ApiError> {
        let media = content_type
            .unwrap_or("")
            .split(';')
            .next()
            .unwrap_or("")
            .trim();
        match media {
            "" | "application/json" => Ok(Format::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" => Ok(Format::Yaml),
            "application/vnd.kubernetes.protobuf" => Ok(Format::Protobuf),
            _ => Err(ApiError::unsupported_body(
                "application/json, application/yaml, application/vnd.kubernetes.protobuf",
            )),
        }
    }
}

/// A body read: the object and what to warn about.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// The object, of the right kind, with defaults.
    pub object: Value,
    /// Complaints about unknown and duplicate fields.
    pub complaints: Vec<String>,
}

/// Parses text, keeping the last of duplicate keys and naming them.
pub fn parse(bytes: &[u8], format: Format) -> Result<(Value, Vec<String>), String> {
    let mut duplicates = Vec::new();
    let value = match format {
        Format::Json => {
            let mut reader = serde_json::Deserializer::from_slice(bytes);
            let seed = Seed {
                place: Place::Root,
                duplicates: &mut duplicates,
            };
            let value = seed
                .deserialize(&mut reader)
                .map_err(|e| json_wording(&e, bytes))?;
            reader.end().map_err(|e| json_wording(&e, bytes))?;
            value
        }
        Format::Protobuf => protobuf::parse(bytes)?,
        // JSON is YAML, and most clients that may send YAML send it.
        Format::Yaml
            if bytes.trim_ascii_start().first() == Some(&b'{')
                && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() =>
        {
            return parse(bytes, Format::Json);
        }
        Format::Yaml => {
            let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
            yaml(text)?
        }
    };
    if is_too_deep(&value) {
        return Err(format!(
            "the object is nested deeper than {MAX_DEPTH} levels"
        ));
    }
    Ok((value, duplicates))
}

/// YAML as kubectl reads it, within bounds. The parser recurses with large frames, so it gets a
/// stack of its own that holds as many levels as the budget allows.
fn yaml(text: &str) -> Result<Value, String> {
    let read = || {
        let options = serde_saphyr::options! {
            legacy_octal_numbers: true,
            with_snippet: false,
            budget: serde_saphyr::budget! { max_nodes: 100_000, max_depth: MAX_DEPTH + 1 },
        };
        serde_saphyr::from_str_with_options(text, options).map_err(|e| e.to_string())
    };
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("yaml".into())
            .stack_size(32 << 20)
            .spawn_scoped(scope, read)
            .map_err(|e| e.to_string())?
            .join()
            .map_err(|_| "the YAML parser failed".to_owned())?
    })
}

/// serde_json's errors in the words of Go's decoder.
pub(super) fn json_wording(error: &serde_json::Error, bytes: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".into();
    }
    let line = bytes
        .split(|b| *b == b'\n')
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let (before, rest) = line.split_at(error.column().saturating_sub(1).min(line.len()));
    let literal = ["null", "true", "false"].into_iter().find_map(|literal| {
        let read = (1..literal.len()).rfind(|n| before.ends_with(&literal.as_bytes()[..*n]))?;
        Some((literal, literal.as_bytes()[read]))
    });
    match rest.first() {
        Some(byte) if error.is_syntax() && error.to_string().starts_with("expected ident") => {
            let (literal, next) = literal.unwrap_or(("null", b'n'));
            format!(
                "invalid character '{}' in literal {literal} (expecting '{}')",
                byte.escape_ascii(),
                next.escape_ascii()
            )
        }
        Some(byte) if error.is_syntax() => {
            format!(
                "invalid character '{}' looking for beginning of value",
                (*byte as char).escape_default()
            )
        }
        _ => error.to_string(),
    }
}

/// Where in a text the reader is. Only a duplicate needs it spelled out.
enum Place<'a> {
    Root,
    Field(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Root => Ok(()),
            Place::Field(Place::Root, key) => f.write_str(key),
            Place::Field(above, key) => write!(f, "{above}.{key}"),
            Place::Item(above, index) => write!(f, "{above}[{index}]"),
        }
    }
}

struct Seed<'a> {
    place: Place<'a>,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Number::from_f64(v).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let Seed { place, duplicates } = self;
        loop {
            let seed = Seed {
                place: Place::Item(&place, items.len()),
                duplicates: &mut *duplicates,
            };
            match seq.next_element_seed(seed)? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        let Seed { place, duplicates } = self;
        while let Some(key) = map.next_key::<String>()? {
            let seed = Seed {
                place: Place::Field(&place, &key),
                duplicates: &mut *duplicates,
            };
            let value = map.next_value_seed(seed)?;
            if out.contains_key(&key) {
                duplicates.push(Place::Field(&place, &key).to_string());
            }
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

/// Reads the body of a create or update.
pub fn object(
    bytes: &[u8],
    format: Format,
    resource: &Resource,
    validation: FieldValidation,
) -> Result<Body, ApiError> {
    let unrecognized = |why: String| {
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why}",
            resource.kind
        ))
    };
    let (mut object, duplicates) = parse(bytes, format).map_err(|why| {
        unrecognized(format!(
            "couldn't get version/kind; json parse error: {why} ({})",
            excerpt(bytes)
        ))
    })?;
    if !object.is_object() {
        let why = "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct";
        return Err(unrecognized(format!("{why} ({})", excerpt(bytes))));
    }
    set_type(&mut object, resource, bytes)?;
    let mut complaints: Vec<String> = duplicates
        .iter()
        .map(|path| format!("duplicate field \"{path}\""))
        .collect();
    normalize(&mut object, resource, &mut complaints)?;
    if validation == FieldValidation::Strict && !complaints.is_empty() {
        return Err(unhandled(
            &object,
            resource,
            &format!("strict decoding error: {}", complaints.join(", ")),
        ));
    }
    if validation == FieldValidation::Ignore {
        complaints.clear();
    }
    Ok(Body { object, complaints })
}

fn excerpt(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "<empty>".into(),
        n if n > 30 => format!("{} ...", String::from_utf8_lossy(&bytes[..30])),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn unhandled(object: &Value, resource: &Resource, why: &str) -> ApiError {
    let kind = object["kind"].as_str().unwrap_or(resource.kind);
    let version = object["apiVersion"]
        .as_str()
        .unwrap_or("")
        .rsplit('/')
        .next()
        .unwrap_or("");
    ApiError::bad_request(format!(
        "{kind} in version \"{version}\" cannot be handled as a {}: {why}",
        resource.kind
    ))
}

/// Checks apiVersion and kind, or fills them in for Kubernetes' own types.
fn set_type(object: &mut Value, resource: &Resource, bytes: &[u8]) -> Result<(), ApiError> {
    let text = |key: &str| object[key].as_str().unwrap_or("").to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let expected = resource.api_version();
    if kind.is_empty() && resource.flavor == Flavor::Custom {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{}'",
            resource.kind,
            String::from_utf8_lossy(bytes)
        )));
    }
    if !kind.is_empty() && kind != resource.kind {
        // It is read as what it says it is before it turns out to be in the wrong place.
        let typed = resources::find_kind(&version, &kind).and_then(|r| r.kind_rules.typed);
        let why = typed
            .and_then(|typed| (typed.again)(object).err())
            .unwrap_or_else(|| format!("the body is of kind {kind}"));
        return Err(unhandled(object, resource, &why));
    }
    if !version.is_empty() && version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    object["apiVersion"] = json!(expected);
    object["kind"] = json!(resource.kind);
    Ok(())
}

/// Types, unknown fields, defaults: what is done to an object whether it comes from a body or out
/// of a patch.
pub fn normalize(
    object: &mut Value,
    resource: &Resource,
    complaints: &mut Vec<String>,
) -> Result<(), ApiError> {
    let rules = &resource.kind_rules;
    let mut unknown = Vec::new();
    if let Some(typed) = rules.typed {
        read_as_go(object);
        let kept = (typed.again)(object).map_err(|why| unhandled(object, resource, &why))?;
        prune(object, &kept, "", &mut unknown);
        let spec = match resource.kind {
            "Pod" => &object["spec"],
            _ => &object["spec"]["template"]["spec"],
        };
        kinds::quantities_in(spec).map_err(|why| unhandled(object, resource, &why))?;
    } else {
        read_as_go(&mut object["metadata"]);
        let kept = kinds::typed_metadata(&object["metadata"])
            .map_err(|why| unhandled(object, resource, &why))?;
        prune(&mut object["metadata"], &kept, "metadata", &mut unknown);
    }
    complaints.extend(
        unknown
            .into_iter()
            .map(|path| format!("unknown field \"{path}\"")),
    );
    (rules.defaults)(object);
    if let Some(store) = rules.store {
        store(object);
    }
    Ok(())
}

/// Kubernetes takes numbers where an amount is meant, and what is nothing in a map whose keys are
/// data for an empty text or amount: `KEY:` in YAML.
fn read_as_go(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (field, below) in map.iter_mut() {
                let is_amounts = matches!(
                    field.as_str(),
                    "limits" | "requests" | "capacity" | "allocatable"
                );
                if let Value::Object(entries) = below
                    && managed::is_map(field)
                {
                    for entry in entries.values_mut() {
                        match entry {
                            Value::Null => *entry = json!(if is_amounts { "0" } else { "" }),
                            Value::Number(amount) if is_amounts => {
                                *entry = json!(amount.to_string());
                            }
                            _ => {}
                        }
                    }
                } else if field == "sizeLimit" && below.is_number() {
                    *below = json!(below.to_string());
                } else {
                    read_as_go(below);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(read_as_go),
        _ => {}
    }
}

/// Empty lists, and empty maps whose keys are data, are not written by Kubernetes' own types.
fn is_empty(field: &str, value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty() && managed::is_map(field),
        _ => false,
    }
}

/// Takes out of `value` the fields that `kept` does not have, and names them in order.
fn prune(value: &mut Value, kept: &Value, path: &str, unknown: &mut Vec<String>) {
    match (value, kept) {
        (Value::Object(map), Value::Object(kept)) => map.retain(|key, below| {
            if below.is_null() || is_empty(key, below) {
                return false;
            }
            let at = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            match kept.get(key) {
                Some(kept) => {
                    prune(below, kept, &at, unknown);
                    true
                }
                None => {
                    unknown.push(at);
                    false
                }
            }
        }),
        (Value::Array(items), Value::Array(kept)) if items.len() == kept.len() => {
            for (i, (item, kept)) in items.iter_mut().zip(kept).enumerate() {
                prune(item, kept, &format!("{path}[{i}]"), unknown);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::find;

    fn read(group: &str, version: &str, plural: &str, body: &str) -> Result<Body, ApiError> {
        let resource = find(group, version, plural).expect("in the table");
        object(
            body.as_bytes(),
            Format::Json,
            resource,
            FieldValidation::Strict,
        )
    }

    #[test]
    fn unknown_and_duplicate_fields_are_named_by_their_path() {
        let error = read("", "v1", "pods", r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","comand":["x"]}],"restartPolice":"Never"}}"#).unwrap_err();
        assert_eq!(
            error.message,
            r#"Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.containers[0].comand", unknown field "spec.restartPolice""#
        );
        let error = read(
            "",
            "v1",
            "configmaps",
            r#"{"data":{"a":"1"},"data":{"a":"2"}}"#,
        )
        .unwrap_err();
        assert!(
            error
                .message
                .ends_with("strict decoding error: duplicate field \"data\"")
        );
        let error = read("kubeflow.org", "v1beta1", "trials", r#"{"apiVersion":"kubeflow.org/v1beta1","kind":"Trial","metadata":{"name":"t","nonsense":1},"top":2}"#).unwrap_err();
        assert!(
            error
                .message
                .ends_with("strict decoding error: unknown field \"metadata.nonsense\"")
        );
    }

    #[test]
    fn nothing_in_a_map_of_data_is_empty_and_a_number_is_an_amount() {
        let map = r#"{"apiVersion":"v1","kind":"ConfigMap","data":{"empty":null,"limits":null,"full":"x"}}"#;
        let map = read("", "v1", "configmaps", map).expect("a ConfigMap");
        assert_eq!(
            map.object["data"],
            json!({"empty": "", "limits": "", "full": "x"})
        );
        let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"l":null}},"spec":{"containers":[{
            "name":"c","image":"i","resources":{"limits":{"cpu":2,"memory":null}}}]}}"#;
        let pod = read("", "v1", "pods", pod).expect("a Pod").object;
        assert_eq!(pod["metadata"]["labels"], json!({"l": ""}));
        let limits = &pod["spec"]["containers"][0]["resources"]["limits"];
        assert_eq!(limits, &json!({"cpu": "2", "memory": "0"}));
        let trial = r#"{"apiVersion":"kubeflow.org/v1beta1","kind":"Trial","metadata":{"labels":{"l":null}}}"#;
        let trial = read("kubeflow.org", "v1beta1", "trials", trial).expect("a Trial");
        assert_eq!(trial.object["metadata"]["labels"], json!({"l": ""}));
    }

    #[test]
    fn bodies_that_are_no_object_are_refused_in_kubernetes_words() {
        let message = |body: &str| read("", "v1", "configmaps", body).unwrap_err().message;
        assert_eq!(
            message(""),
            "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"
        );
        assert_eq!(
            message(r#"{"apiVersion": "v1", "kind":"#),
            r#"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: unexpected end of JSON input ({"apiVersion": "v1", "kind":)"#
        );
        let wrong = r#"{"apiVersion":"kubeflow.org/v1","kind":"Experiment"}"#;
        let error = read("kubeflow.org", "v1beta1", "experiments", wrong).unwrap_err();
        assert_eq!(
            error.message,
            "the API version in the data (kubeflow.org/v1) does not match the expected API version (kubeflow.org/v1beta1)"
        );
    }

    #[test]
    fn depth_is_bounded_in_every_format() {
        let nested = |n: usize| format!("{}1{}", r#"{"a":"#.repeat(n), "}".repeat(n));
        assert!(parse(nested(100).as_bytes(), Format::Json).is_ok());
        for format in [Format::Json, Format::Yaml] {
            for depth in [101, 200, 1000, 100_000] {
                assert!(parse(nested(depth).as_bytes(), format).is_err());
            }
        }
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for i in 1..10 {
            let items = vec![format!("*a{}", i - 1); 9].join(",");
            bomb.push_str(&format!("a{i}: &a{i} [{items}]\n"));
        }
        assert!(parse(bomb.as_bytes(), Format::Yaml).is_err());
    }

    #[test]
    fn a_number_is_an_amount() {
        let body = read("", "v1", "pods", r#"{"metadata":{"name":"p"},"spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":1}}}]}}"#).unwrap();
        assert_eq!(
            body.object["spec"]["containers"][0]["resources"]["limits"]["cpu"],
            "1"
        );
    }
}
