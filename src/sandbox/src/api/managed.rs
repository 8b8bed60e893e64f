//! Who owns which field: `metadata.managedFields`, and server-side apply on top of it.
//!
//! Fields are paths in the notation of FieldsV1: `f:name` for a field, `k:{…}` for an item of a
//! list that is a map, `v:…` for an item of a set, and `.` for the container itself.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::resources::{Flavor, Resource};

use super::age;
use super::strategic::{ListKind, list_kind};

mod apply;

pub use apply::apply;

type Path = Vec<String>;
type Fields<'a> = BTreeMap<Path, &'a Value>;

/// Metadata that nobody owns.
const UNOWNED: &[&str] = &[
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

/// Fields of Kubernetes' types whose keys are data.
pub(super) fn is_map(field: &str) -> bool {
    matches!(
        field,
        "data"
            | "binaryData"
            | "stringData"
            | "labels"
            | "annotations"
            | "matchLabels"
            | "limits"
            | "requests"
            | "capacity"
            | "allocatable"
            | "nodeSelector"
    )
}

/// Fields of Kubernetes' types that are one value to owners, whatever is in them.
pub(super) fn is_whole(field: &str, flavor: Flavor) -> bool {
    flavor == Flavor::BuiltIn
        && matches!(
            field,
            "configMapKeyRef"
                | "fieldRef"
                | "involvedObject"
                | "labelSelector"
                | "nodeSelector"
                | "regarding"
                | "related"
                | "resourceFieldRef"
                | "secretKeyRef"
                | "selector"
        )
}

/// Lists of Kubernetes' types whose items are one value to owners.
fn has_whole_items(field: &str) -> bool {
    matches!(field, "imagePullSecrets" | "ownerReferences")
}

/// Structs of Kubernetes' types that may be absent: an update owns that they are there.
fn may_be_absent(field: &str) -> bool {
    field.ends_with("Probe")
        || field.ends_with("ffinity")
        || matches!(
            field,
            "capabilities"
                | "configMap"
                | "dnsConfig"
                | "downwardAPI"
                | "emptyDir"
                | "exec"
                | "grpc"
                | "httpGet"
                | "lifecycle"
                | "nonResourceAttributes"
                | "persistentVolumeClaim"
                | "podFailurePolicy"
                | "postStart"
                | "preStop"
                | "projected"
                | "resourceAttributes"
                | "seccompProfile"
                | "secret"
                | "securityContext"
                | "series"
                | "successPolicy"
                | "tcpSocket"
                | "uncountedTerminatedPods"
                | "valueFrom"
        )
}

/// Every field of an object with its value. `containers` adds the `.` entries that an update owns
/// and an apply does not.
fn fields(object: &Value, flavor: Flavor, containers: bool) -> Fields<'_> {
    let mut out = Fields::new();
    for (key, value) in object.as_object().into_iter().flatten() {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "metadata" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if !UNOWNED.contains(&key.as_str()) {
                        let path = vec!["f:metadata".to_owned(), format!("f:{key}")];
                        collect(value, key, path, Flavor::BuiltIn, containers, &mut out);
                    }
                }
            }
            _ => collect(
                value,
                key,
                vec![format!("f:{key}")],
                flavor,
                containers,
                &mut out,
            ),
        }
    }
    out
}

fn collect<'a>(
    value: &'a Value,
    field: &str,
    path: Path,
    flavor: Flavor,
    containers: bool,
    out: &mut Fields<'a>,
) {
    let below = |part: String| {
        let mut path = path.clone();
        path.push(part);
        path
    };
    match value {
        Value::Object(map) if !map.is_empty() && !is_whole(field, flavor) => {
            if containers && (flavor == Flavor::Custom || is_map(field) || may_be_absent(field)) {
                out.insert(below(".".into()), &Value::Null);
            }
            for (key, value) in map {
                collect(
                    value,
                    key,
                    below(format!("f:{key}")),
                    flavor,
                    containers,
                    out,
                );
            }
        }
        Value::Array(items) if !items.is_empty() => match list_kind(field, flavor) {
            ListKind::Atomic => {
                out.insert(path, value);
            }
            ListKind::Set => {
                if containers {
                    out.insert(below(".".into()), &Value::Null);
                }
                for item in items {
                    out.insert(below(format!("v:{item}")), item);
                }
            }
            ListKind::Map(keys) => {
                if containers && !matches!(field, "containers" | "initContainers") {
                    out.insert(below(".".into()), &Value::Null);
                }
                for item in items {
                    let path = below(key_of(item, keys));
                    if has_whole_items(field) {
                        out.insert(path, item);
                        continue;
                    }
                    if containers {
                        let mut own = path.clone();
                        own.push(".".into());
                        out.insert(own, &Value::Null);
                    }
                    match item.as_object() {
                        Some(map) if !map.is_empty() => {
                            for (key, value) in map {
                                let mut path = path.clone();
                                path.push(format!("f:{key}"));
                                collect(value, key, path, flavor, containers, out);
                            }
                        }
                        _ => {
                            out.insert(path, item);
                        }
                    }
                }
            }
        },
        _ => {
            out.insert(path, value);
        }
    }
}

fn key_of(item: &Value, keys: &[&str]) -> String {
    let mut id = Map::new();
    for key in keys {
        match item.get(*key) {
            Some(value) => {
                id.insert((*key).to_owned(), value.clone());
            }
            None if *key == "protocol" => {
                id.insert((*key).to_owned(), json!("TCP"));
            }
            None => {}
        }
    }
    format!("k:{}", Value::Object(id))
}

/// A set of paths as FieldsV1.
fn to_v1<'a>(paths: impl Iterator<Item = &'a Path>) -> Value {
    let mut root = Map::new();
    for path in paths {
        let mut at = &mut root;
        for part in path {
            let slot = at
                .entry(part.clone())
                .or_insert_with(|| Value::Object(Map::new()));
            match slot {
                Value::Object(map) => at = map,
                _ => break,
            }
        }
    }
    Value::Object(root)
}

/// FieldsV1 as a set of paths.
fn from_v1(fields: &Value) -> Vec<Path> {
    fn walk(value: &Value, path: &mut Path, out: &mut Vec<Path>) {
        match value.as_object() {
            Some(map) if !map.is_empty() => {
                for (key, below) in map {
                    path.push(key.clone());
                    walk(below, path, out);
                    path.pop();
                }
            }
            _ => out.push(path.clone()),
        }
    }
    let mut out = Vec::new();
    if fields.as_object().is_some_and(|m| !m.is_empty()) {
        walk(fields, &mut Vec::new(), &mut out);
    }
    out
}

#[derive(Debug, Clone)]
struct Manager {
    entry: Map<String, Value>,
    paths: std::collections::BTreeSet<Path>,
}

impl Manager {
    fn text(&self, key: &str) -> &str {
        self.entry.get(key).and_then(Value::as_str).unwrap_or("")
    }

    fn is(&self, name: &str, operation: &str, subresource: &str) -> bool {
        self.text("manager") == name
            && self.text("operation") == operation
            && self.text("subresource") == subresource
    }

    fn new(name: &str, operation: &str, api_version: &str, subresource: &str) -> Manager {
        let mut entry = Map::new();
        entry.insert("manager".into(), json!(name));
        entry.insert("operation".into(), json!(operation));
        entry.insert("apiVersion".into(), json!(api_version));
        entry.insert("time".into(), json!(age::now()));
        entry.insert("fieldsType".into(), json!("FieldsV1"));
        entry.insert("fieldsV1".into(), Value::Null);
        if !subresource.is_empty() {
            entry.insert("subresource".into(), json!(subresource));
        }
        Manager {
            entry,
            paths: Default::default(),
        }
    }

    fn touched(&mut self) {
        self.entry.insert("time".into(), json!(age::now()));
    }

    /// As conflict messages name it.
    fn shown(&self) -> String {
        let mut out = json!(self.text("manager")).to_string();
        if !self.text("subresource").is_empty() {
            out.push_str(&format!(
                " with subresource \"{}\"",
                self.text("subresource")
            ));
        }
        if self.text("operation") == "Update" {
            out.push_str(&format!(" using {}", self.text("apiVersion")));
        }
        out
    }
}

fn managers(object: &Value) -> Vec<Manager> {
    object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .map(|entry| Manager {
            paths: entry
                .get("fieldsV1")
                .map(from_v1)
                .unwrap_or_default()
                .into_iter()
                .collect(),
            entry: entry.clone(),
        })
        .collect()
}

fn set_managers(object: &mut Value, managers: Vec<Manager>) {
    let list: Vec<Value> = managers
        .into_iter()
        .filter(|m| !m.paths.is_empty())
        .map(|mut m| {
            m.entry.insert("fieldsV1".into(), to_v1(m.paths.iter()));
            Value::Object(m.entry)
        })
        .collect();
    let meta = super::meta::of(object);
    if list.is_empty() {
        meta.shift_remove("managedFields");
    } else {
        meta.insert("managedFields".into(), Value::Array(list));
    }
}

/// Who writes, for the record.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// The manager's name.
    pub manager: &'a str,
    /// The subresource written, or nothing.
    pub subresource: &'a str,
}

/// Takes what is not there any more from its owners: a map that lost its last entry goes as well.
pub fn forget_gone(object: &mut Value) {
    let mut managers = managers(object);
    for manager in &mut managers {
        manager.paths.retain(|path| exists(object, path));
    }
    set_managers(object, managers);
}

/// The managers that a client's update brings with it: a list that is not empty takes the place of the stored one,
/// and a list with one empty entry clears it.
pub fn given(object: &Value) -> Option<Value> {
    let list = object["metadata"]["managedFields"].as_array()?;
    let whole = |entry: &Value| {
        entry["manager"].is_string()
            && matches!(entry["operation"].as_str(), Some("Apply" | "Update"))
            && entry["fieldsV1"].is_object()
    };
    match list.as_slice() {
        [] => None,
        [only] if only.as_object().is_some_and(Map::is_empty) => Some(json!([])),
        entries => entries.iter().all(whole).then(|| json!(entries)),
    }
}

/// Records a create or update on top of the managers that the new object names: the writer owns what it added or
/// changed, nobody owns what is gone.
pub fn updated(new: &mut Value, old: Option<&Value>, resource: &Resource, writer: Writer<'_>) {
    let before = old
        .map(|o| fields(o, resource.flavor, true))
        .unwrap_or_default();
    let after = fields(new, resource.flavor, true);
    let mut managers = managers(new);
    let changed: Vec<&Path> = after
        .iter()
        .filter(|(p, v)| before.get(*p) != Some(*v))
        .map(|(p, _)| p)
        .collect();
    for manager in &mut managers {
        // Sets of an apply do not hold the `.` entries; paths they hold above a field stay.
        manager
            .paths
            .retain(|p| after.contains_key(p) || exists(new, p));
        for path in &changed {
            if before.contains_key(*path) {
                manager.paths.remove(*path);
            }
        }
    }
    if !changed.is_empty() {
        let mine = managers
            .iter()
            .position(|m| m.is(writer.manager, "Update", writer.subresource));
        let mut manager = match mine {
            Some(at) => managers.remove(at),
            None => Manager::new(
                writer.manager,
                "Update",
                &resource.api_version(),
                writer.subresource,
            ),
        };
        manager.touched();
        manager.paths.extend(changed.into_iter().cloned());
        match mine {
            Some(at) => managers.insert(at, manager),
            None => managers.push(manager),
        }
    }
    set_managers(new, managers);
}

/// The value at a path.
fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut value = object;
    for part in path {
        value = match part.split_at_checked(2) {
            Some(("f:", name)) => value.get(name)?,
            Some(("k:", id)) => {
                let id: Map<String, Value> = serde_json::from_str(id).ok()?;
                value.as_array()?.iter().find(|item| is_item(item, &id))?
            }
            Some(("v:", text)) => {
                let wanted: Value = serde_json::from_str(text).ok()?;
                value.as_array()?.iter().find(|item| **item == wanted)?
            }
            _ => value,
        };
    }
    Some(value)
}

fn is_item(item: &Value, id: &Map<String, Value>) -> bool {
    id.iter().all(|(key, value)| match item.get(key) {
        Some(have) => have == value,
        None => key == "protocol" && value == "TCP",
    })
}

fn exists(object: &Value, path: &[String]) -> bool {
    at(object, path).is_some()
}
#[cfg(test)]
mod tests;
