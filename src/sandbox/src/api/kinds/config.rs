//! ConfigMaps and Secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::body::json_wording;
use super::super::meta::config_key;
use super::super::status::FieldError;
use super::set_default;

/// How many bytes a text in base64 stands for.
fn decoded_len(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|b| *b == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

/// Checks the keys of a map of data; answers with the size of the values.
fn check_keys(
    o: &Value,
    field: &str,
    len: impl Fn(&str) -> usize,
    errors: &mut Vec<FieldError>,
) -> usize {
    let mut size = 0;
    for (key, value) in o[field].as_object().into_iter().flatten() {
        if let Err(why) = config_key(key) {
            errors.push(FieldError::invalid(
                format!("{field}[{key}]"),
                &json!(key),
                why,
            ));
        }
        size += value.as_str().map_or(0, &len);
    }
    size
}

fn check_size(field: &str, size: usize, errors: &mut Vec<FieldError>) {
    if size > 1 << 20 {
        errors.push(FieldError {
            field: field.into(),
            reason: "FieldValueTooLong",
            message: "Too long: may not be more than 1048576 bytes".into(),
        });
    }
}

pub(super) fn validate_config_map(o: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let size = check_keys(o, "data", str::len, &mut errors)
        + check_keys(o, "binaryData", decoded_len, &mut errors);
    check_size("", size, &mut errors);
    for (key, _) in o["binaryData"].as_object().into_iter().flatten() {
        if o["data"].get(key).is_some() {
            let why = format!("duplicate of key present in data: {key}");
            errors.push(FieldError::invalid("binaryData", &json!(key), why));
        }
    }
    errors
}

pub(super) fn immutable(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if old["immutable"] == true {
        if new["immutable"] != true {
            errors.push(FieldError::forbidden(
                "immutable",
                "field is immutable when `immutable` is set",
            ));
        }
        for field in ["data", "binaryData"] {
            let empty = Value::Object(Map::new());
            let of = |o: &Value| o.get(field).filter(|v| !v.is_null()).cloned();
            if of(new).unwrap_or(empty.clone()) != of(old).unwrap_or(empty) {
                errors.push(FieldError::forbidden(
                    field,
                    "field is immutable when `immutable` is set",
                ));
            }
        }
    }
    errors
}

/// `stringData` is for writing only: it goes into `data`, encoded.
pub(super) fn secret_defaults(o: &mut Value) {
    let Some(map) = o.as_object_mut() else { return };
    if let Some(Value::Object(strings)) = map.remove("stringData") {
        let data = map.entry("data").or_insert_with(|| json!({}));
        if !data.is_object() {
            *data = json!({});
        }
        for (key, value) in strings {
            data[key] = json!(STANDARD.encode(value.as_str().unwrap_or("")));
        }
    }
    if o["type"].as_str() == Some("") {
        o["type"] = Value::Null;
    }
    set_default(o, "type", json!("Opaque"));
}

pub(super) fn validate_secret(o: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let size = check_keys(o, "data", decoded_len, &mut errors);
    check_size("data", size, &mut errors);
    let has = |key: &str| o["data"].get(key).is_some();
    let require = |key: &str, errors: &mut Vec<FieldError>| {
        if !has(key) {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
    };
    let kind = o["type"].as_str().unwrap_or("");
    match kind {
        "kubernetes.io/dockerconfigjson" | "kubernetes.io/dockercfg" => {
            let key = if kind.ends_with("json") {
                ".dockerconfigjson"
            } else {
                ".dockercfg"
            };
            require(key, &mut errors);
            if let Some(text) = o["data"][key].as_str() {
                let parsed = STANDARD
                    .decode(text)
                    .map_err(|e| e.to_string())
                    .and_then(|b| {
                        serde_json::from_slice::<Map<String, Value>>(&b)
                            .map_err(|e| json_wording(&e, &b))
                    });
                if let Err(why) = parsed {
                    errors.push(FieldError::invalid(
                        format!("data[{key}]"),
                        &json!("<secret contents redacted>"),
                        why,
                    ));
                }
            }
        }
        "kubernetes.io/tls" => {
            require("tls.crt", &mut errors);
            require("tls.key", &mut errors);
        }
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            require("username", &mut errors);
            require("password", &mut errors);
        }
        "kubernetes.io/ssh-auth"
            if o["data"]["ssh-privatekey"]
                .as_str()
                .is_none_or(str::is_empty) =>
        {
            errors.push(FieldError::required("data[ssh-privatekey]", ""));
        }
        "kubernetes.io/service-account-token"
            if o["metadata"]["annotations"]["kubernetes.io/service-account.name"]
                .as_str()
                .is_none_or(str::is_empty) =>
        {
            errors.push(FieldError::required(
                "metadata.annotations[kubernetes.io/service-account.name]",
                "",
            ));
        }
        _ => {}
    }
    errors
}

pub(super) fn secret_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if new["type"] != old["type"] {
        errors.push(FieldError::invalid(
            "type",
            &new["type"],
            "field is immutable",
        ));
    }
    errors.extend(immutable(new, old));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_secrets_want_their_keys() {
        let encoded = |n: usize| STANDARD.encode("x".repeat(n));
        let rows = [
            ("Opaque", json!({"a": ""}), vec![]),
            ("example.org/own", json!({}), vec![]),
            ("Opaque", json!({"a": encoded(1 << 20)}), vec![]),
            (
                "Opaque",
                json!({"a": encoded(1 << 20), "b": encoded(1)}),
                vec!["data"],
            ),
            ("Opaque", json!({"a/b": ""}), vec!["data[a/b]"]),
            (
                "kubernetes.io/tls",
                json!({"tls.crt": ""}),
                vec!["data[tls.key]"],
            ),
            (
                "kubernetes.io/tls",
                json!({"tls.crt": "", "tls.key": ""}),
                vec![],
            ),
            ("kubernetes.io/basic-auth", json!({"password": ""}), vec![]),
            (
                "kubernetes.io/basic-auth",
                json!({}),
                vec!["data[username]", "data[password]"],
            ),
            (
                "kubernetes.io/ssh-auth",
                json!({"ssh-privatekey": ""}),
                vec!["data[ssh-privatekey]"],
            ),
            (
                "kubernetes.io/ssh-auth",
                json!({"ssh-privatekey": encoded(1)}),
                vec![],
            ),
            (
                "kubernetes.io/dockercfg",
                json!({".dockercfg": STANDARD.encode("{}")}),
                vec![],
            ),
            (
                "kubernetes.io/dockercfg",
                json!({".dockercfg": encoded(1)}),
                vec!["data[.dockercfg]"],
            ),
            (
                "kubernetes.io/dockerconfigjson",
                json!({}),
                vec!["data[.dockerconfigjson]"],
            ),
            (
                "kubernetes.io/service-account-token",
                json!({}),
                vec!["metadata.annotations[kubernetes.io/service-account.name]"],
            ),
        ];
        for (kind, data, expected) in rows {
            let errors = validate_secret(&json!({"type": kind, "data": data}));
            let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
            assert_eq!(fields, expected, "{kind}");
        }
    }

    #[test]
    fn what_is_immutable_keeps_its_data_and_its_mark() {
        let old = json!({"immutable": true, "data": {"a": "1"}, "type": "Opaque"});
        let changed = |change: &str, value: Value| {
            let mut new = old.clone();
            new[change] = value;
            let errors = secret_change(&new, &old);
            errors.into_iter().map(|e| e.field).collect::<Vec<_>>()
        };
        assert_eq!(
            changed("metadata", json!({"labels": {"l": "1"}})),
            Vec::<String>::new()
        );
        assert_eq!(changed("data", json!({"a": "2"})), ["data"]);
        assert_eq!(changed("immutable", json!(false)), ["immutable"]);
        assert_eq!(changed("type", json!("example.org/x")), ["type"]);
    }

    #[test]
    fn string_data_is_written_over_data() {
        let mut secret = json!({"data": {"a": "MQ==", "b": "Mg=="}, "stringData": {"b": "3"}});
        secret_defaults(&mut secret);
        assert_eq!(
            secret,
            json!({"data": {"a": "MQ==", "b": "Mw=="}, "type": "Opaque"})
        );
    }
}
