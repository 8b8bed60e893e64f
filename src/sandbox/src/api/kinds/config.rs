//! ConfigMaps and Secrets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::body::json_wording;
use super::super::meta::config_key;
use super::super::status::FieldError;
use super::set_default;

fn check_keys(o: &Value, field: &str, errors: &mut Vec<FieldError>) -> usize {
    let mut size = 0;
    for (key, value) in o[field].as_object().into_iter().flatten() {
        if let Err(why) = config_key(key) {
            errors.push(FieldError::invalid(
                format!("{field}[{key}]"),
                &json!(key),
                why,
            ));
        }
        size += value.as_str().map_or(0, str::len);
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
    let size = check_keys(o, "data", &mut errors) + check_keys(o, "binaryData", &mut errors);
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
    let size = check_keys(o, "data", &mut errors);
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
        "kubernetes.io/ssh-auth" => require("ssh-privatekey", &mut errors),
        "kubernetes.io/service-account-token"
            if o["metadata"]["annotations"]["kubernetes.io/service-account.name"].is_null() =>
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
