//! Rules for metadata: names, labels, annotations, finalizers, owners; and the fields the server
//! itself fills in.

use rand::seq::IndexedRandom;
use serde_json::{Map, Value, json};

use crate::resources::{NameRule, Resource};

use super::age;
use super::status::FieldError;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

fn edges(text: &str, ok: impl Fn(char) -> bool) -> bool {
    text.chars().next().is_some_and(&ok) && text.chars().next_back().is_some_and(&ok)
}

fn lower_label(text: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    edges(text, alnum) && text.chars().all(|c| alnum(c) || c == '-')
}

/// RFC 1123 subdomain.
pub fn subdomain(text: &str) -> Result<(), String> {
    if text.len() > 253 {
        return Err(too_long(253));
    }
    if text.split('.').all(lower_label) {
        Ok(())
    } else {
        Err(SUBDOMAIN.into())
    }
}

/// RFC 1123 label.
pub fn label(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err(too_long(63));
    }
    if lower_label(text) {
        Ok(())
    } else {
        Err(LABEL.into())
    }
}

fn name_part(text: &str) -> bool {
    edges(text, |c| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// The key of a label: an optional prefix and a name.
pub fn qualified_name(text: &str) -> Result<(), Vec<String>> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let mut errors = Vec::new();
    if let Some(prefix) = prefix {
        if prefix.is_empty() {
            errors.push("prefix part must be non-empty".to_owned());
        } else if let Err(why) = subdomain(prefix) {
            errors.push(format!("prefix part {why}"));
        }
    }
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        errors.push(format!("name part {}", too_long(63)));
    }
    if name.is_empty() || !name_part(name) {
        errors.push(QUALIFIED.to_owned());
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

/// The value of a label.
pub fn label_value(text: &str) -> Result<(), String> {
    if text.len() > 63 {
        return Err(too_long(63));
    }
    if text.is_empty() || name_part(text) {
        Ok(())
    } else {
        Err(LABEL_VALUE.into())
    }
}

/// The key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Result<(), String> {
    if text.len() > 253 {
        return Err(too_long(253));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(CONFIG_KEY.into());
    }
    match text {
        "." | ".." => Err(format!("must not be '{text}'")),
        _ if text.starts_with("..") => Err("must not start with '..'".into()),
        _ => Ok(()),
    }
}

/// A name by a resource's rule.
pub fn name_by_rule(rule: NameRule, name: &str) -> Result<(), String> {
    match rule {
        NameRule::Subdomain => subdomain(name),
        NameRule::Label => label(name),
    }
}

/// Checks labels, wherever they are.
pub fn check_labels(labels: &Value, field: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Err(whys) = qualified_name(key) {
            errors.extend(
                whys.into_iter()
                    .map(|why| FieldError::invalid(field, &json!(key), why)),
            );
        }
        let text = value.as_str().unwrap_or("");
        if let Err(why) = label_value(text) {
            errors.push(FieldError::invalid(field, &json!(text), why));
        }
    }
}

/// Checks the metadata of an object about to be stored.
pub fn validate(object: &Value, resource: &Resource) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let meta = &object["metadata"];
    let name = meta["name"].as_str().unwrap_or("");
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else if let Err(why) = name_by_rule(resource.names, name) {
        errors.push(FieldError::invalid("metadata.name", &json!(name), why));
    }
    check_labels(&meta["labels"], "metadata.labels", &mut errors);
    let mut size = 0;
    for (key, value) in meta["annotations"].as_object().into_iter().flatten() {
        if let Err(whys) = qualified_name(&key.to_lowercase()) {
            let why = whys.join("; ");
            errors.push(FieldError::invalid(
                "metadata.annotations",
                &json!(key),
                why,
            ));
        }
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > 256 * 1024 {
        errors.push(FieldError {
            field: "metadata.annotations".into(),
            reason: "FieldValueTooLong",
            message: "Too long: may not be more than 262144 bytes".into(),
        });
    }
    for finalizer in meta["finalizers"].as_array().into_iter().flatten() {
        let text = finalizer.as_str().unwrap_or("");
        if let Err(whys) = qualified_name(text) {
            let why = whys.join("; ");
            errors.push(FieldError::invalid("metadata.finalizers", finalizer, why));
        } else if !text.contains('/')
            && !matches!(text, "orphan" | "foregroundDeletion" | "kubernetes")
            && resource.flavor == crate::resources::Flavor::BuiltIn
        {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(
                "metadata.finalizers[0]",
                finalizer,
                why,
            ));
        }
    }
    let mut controllers = 0;
    for (i, owner) in meta["ownerReferences"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        for key in ["apiVersion", "kind", "name", "uid"] {
            if owner[key].as_str().unwrap_or("").is_empty() {
                let why = match key {
                    "apiVersion" => "version must not be empty",
                    "kind" => "kind must not be empty",
                    "name" => "name must not be empty",
                    _ => "uid must not be empty",
                };
                let field = format!("metadata.ownerReferences[{i}].{key}");
                errors.push(FieldError::invalid(field, &json!(""), why));
            }
        }
        controllers += usize::from(owner["controller"] == true);
    }
    if controllers > 1 {
        errors.push(FieldError::invalid(
            "metadata.ownerReferences",
            &meta["ownerReferences"],
            "Only one reference can have Controller set to true",
        ));
    }
    errors
}

/// A name from a prefix, as Kubernetes makes them: letters and digits that spell nothing.
pub fn generate_name(prefix: &str) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let kept: String = prefix.chars().take(58).collect();
    let mut rng = rand::rng();
    let tail: String = (0..5)
        .filter_map(|_| LETTERS.choose(&mut rng))
        .map(|b| *b as char)
        .collect();
    kept + &tail
}

/// The metadata map, made if it is not there.
pub fn of(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let slot = &mut object["metadata"];
    if !slot.is_object() {
        *slot = json!({});
    }
    match slot {
        Value::Object(map) => map,
        _ => unreachable!("it was just made an object"),
    }
}

/// Puts the metadata of a new object into order: what the server decides, in the order Kubernetes
/// writes it, then what the client gave.
pub fn fill_new(object: &mut Value, resource: &Resource, namespace: Option<&str>, name: &str) {
    let given = std::mem::take(of(object));
    let mut meta = Map::new();
    meta.insert("name".into(), json!(name));
    if let Some(prefix) = given
        .get("generateName")
        .filter(|v| v.as_str().is_some_and(|s| !s.is_empty()))
    {
        meta.insert("generateName".into(), prefix.clone());
    }
    if let Some(ns) = namespace {
        meta.insert("namespace".into(), json!(ns));
    }
    meta.insert("uid".into(), json!(uuid::Uuid::new_v4().to_string()));
    meta.insert("resourceVersion".into(), json!(""));
    if resource.generation {
        meta.insert("generation".into(), json!(1));
    }
    meta.insert("creationTimestamp".into(), json!(age::now()));
    for (key, value) in given {
        let servers = matches!(
            key.as_str(),
            "name"
                | "generateName"
                | "namespace"
                | "uid"
                | "resourceVersion"
                | "generation"
                | "creationTimestamp"
                | "deletionTimestamp"
                | "deletionGracePeriodSeconds"
                | "selfLink"
        );
        let empty = value.is_null()
            || value.as_object().is_some_and(Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        if !servers && !empty {
            meta.insert(key, value);
        }
    }
    *of(object) = meta;
}

/// Lays what the server owns over the metadata of an update.
pub fn carry_over(new: &mut Value, old: &Value) {
    let old_meta = old["metadata"].as_object().cloned().unwrap_or_default();
    let mut given = std::mem::take(of(new));
    let mut meta = Map::new();
    for (key, value) in &old_meta {
        match key.as_str() {
            "name"
            | "generateName"
            | "namespace"
            | "uid"
            | "resourceVersion"
            | "generation"
            | "creationTimestamp"
            | "deletionTimestamp"
            | "deletionGracePeriodSeconds" => {
                meta.insert(key.clone(), value.clone());
                given.remove(key);
            }
            _ => {
                if let Some(value) = given.remove(key) {
                    meta.insert(key.clone(), value);
                }
            }
        }
    }
    for (key, value) in given {
        let servers = matches!(
            key.as_str(),
            "name"
                | "generateName"
                | "namespace"
                | "uid"
                | "resourceVersion"
                | "generation"
                | "creationTimestamp"
                | "deletionTimestamp"
                | "deletionGracePeriodSeconds"
                | "selfLink"
        );
        if !servers {
            meta.insert(key, value);
        }
    }
    meta.retain(|_, value| {
        !(value.is_null()
            || value.as_object().is_some_and(Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty))
    });
    *of(new) = meta;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn generated_names_are_valid(prefix in "[a-z][a-z0-9-]{0,80}") {
            prop_assert!(subdomain(&generate_name(&prefix)).is_ok());
        }
    }

    #[test]
    fn names_follow_rfc_1123() {
        for good in ["a", "a-b", "a.b", "0", "x1.y2"] {
            assert!(subdomain(good).is_ok(), "{good}");
        }
        for bad in ["", "A", "-a", "a-", "a..b", "a_b", "a/b"] {
            assert!(subdomain(bad).is_err(), "{bad}");
        }
        assert!(label("a.b").is_err());
        assert!(qualified_name("katib.kubeflow.org/trial").is_ok());
        assert!(qualified_name("a b").is_err());
        assert!(label_value("").is_ok() && label_value("c d!").is_err());
    }
}
