//! Server-side apply: what a manager wants, laid over what is there, unless somebody else owns it.

use serde_json::{Map, Value};

use crate::resources::{Flavor, Resource};

use super::super::status::ApiError;
use super::super::strategic::{ListKind, list_kind};
use super::{
    Fields, Manager, Path, Writer, at, exists, fields, is_item, is_whole, key_of, managers,
    set_managers,
};

/// Removes the field at a path, and the item of a list when the path ends in one.
fn remove(object: &mut Value, path: &[String]) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut value = object;
    for part in parents {
        let next = match part.split_at_checked(2) {
            Some(("f:", name)) => value.get_mut(name),
            Some(("k:", id)) => match serde_json::from_str::<Map<String, Value>>(id) {
                Ok(id) => value
                    .as_array_mut()
                    .and_then(|items| items.iter_mut().find(|item| is_item(item, &id))),
                Err(_) => None,
            },
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => return,
        }
    }
    match last.split_at_checked(2) {
        Some(("f:", name)) => {
            if let Some(map) = value.as_object_mut() {
                map.shift_remove(name);
            }
        }
        Some(("v:", text)) => {
            if let (Some(items), Ok(gone)) =
                (value.as_array_mut(), serde_json::from_str::<Value>(text))
            {
                items.retain(|item| *item != gone);
            }
        }
        Some(("k:", id)) => {
            if let (Some(items), Ok(id)) = (
                value.as_array_mut(),
                serde_json::from_str::<Map<String, Value>>(id),
            ) {
                items.retain(|item| !is_item(item, &id));
            }
        }
        _ => {}
    }
}

fn merge(target: &mut Value, applied: &Value, field: &str, flavor: Flavor) {
    match (target, applied) {
        (target @ Value::Object(_), Value::Object(applied)) if !is_whole(field, flavor) => {
            for (key, value) in applied {
                let flavor = if field.is_empty() && key == "metadata" {
                    Flavor::BuiltIn
                } else {
                    flavor
                };
                match target.get_mut(key) {
                    Some(have) => merge(have, value, key, flavor),
                    None => target[key] = value.clone(),
                }
            }
        }
        (Value::Array(target), Value::Array(applied)) => match list_kind(field, flavor) {
            ListKind::Atomic => *target = applied.clone(),
            ListKind::Set => {
                for item in applied {
                    if !target.contains(item) {
                        target.push(item.clone());
                    }
                }
            }
            ListKind::Map(keys) => {
                for item in applied {
                    let id = key_of(item, keys);
                    match target.iter_mut().find(|have| key_of(have, keys) == id) {
                        Some(have) => merge(have, item, "", flavor),
                        None => target.push(item.clone()),
                    }
                }
            }
        },
        (target, applied) => *target = applied.clone(),
    }
}

/// `.spec.containers[name="c"].image`.
fn shown_path(path: &[String]) -> String {
    path.iter()
        .map(|part| match part.split_at_checked(2) {
            Some(("f:", name)) => format!(".{name}"),
            Some(("k:", id)) => {
                let id: Map<String, Value> = serde_json::from_str(id).unwrap_or_default();
                let keys: Vec<String> = id.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!("[{}]", keys.join(","))
            }
            Some(("v:", value)) => format!("[={value}]"),
            _ => String::new(),
        })
        .collect()
}

/// Server-side apply onto a live object: merged, with ownership recorded, or the conflicts.
pub fn apply(
    live: &Value,
    applied: &Value,
    resource: &Resource,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value, ApiError> {
    let flavor = resource.flavor;
    let wanted = fields(applied, flavor, false);
    let mut merged = live.clone();
    merge(&mut merged, applied, "", flavor);
    let mut managers = managers(live);
    let mine = managers
        .iter()
        .position(|m| m.is(writer.manager, "Apply", writer.subresource));
    let mut conflicts = Vec::new();
    for (i, manager) in managers.iter_mut().enumerate() {
        if Some(i) == mine {
            continue;
        }
        let shown = manager.shown();
        manager.paths.retain(|path| {
            let taken = wanted.contains_key(path) && at(live, path) != at(&merged, path);
            if taken {
                conflicts.push((shown.clone(), shown_path(path)));
            }
            !taken
        });
    }
    if !conflicts.is_empty() && !force {
        return Err(ApiError::apply_conflict(&conflicts));
    }
    // What this manager applied before and no longer does goes, unless somebody else wants it.
    if let Some(at) = mine {
        let dropped: Vec<Path> = managers[at]
            .paths
            .iter()
            .filter(|p| !wanted.contains_key(*p) && p.last().is_some_and(|l| l != "."))
            .filter(|p| !wanted.keys().any(|w| w.starts_with(p)))
            .filter(|p| {
                !managers
                    .iter()
                    .enumerate()
                    .any(|(i, m)| i != at && m.paths.contains(*p))
            })
            .cloned()
            .collect();
        for path in dropped.iter().rev() {
            remove(&mut merged, path);
            remove_empty_items(&mut merged, path, &wanted);
        }
    }
    let mut manager = match mine {
        Some(at) => managers[at].clone(),
        None => Manager::new(
            writer.manager,
            "Apply",
            &resource.api_version(),
            writer.subresource,
        ),
    };
    let paths: std::collections::BTreeSet<Path> = wanted.into_keys().collect();
    if manager.paths != paths || merged != *live {
        manager.touched();
    }
    manager.paths = paths;
    match mine {
        Some(at) => managers[at] = manager,
        None => managers.push(manager),
    }
    for manager in &mut managers {
        manager.paths.retain(|p| exists(&merged, p));
    }
    set_managers(&mut merged, managers);
    Ok(merged)
}

/// An item of a list whose fields this manager all gave up goes with them.
fn remove_empty_items(object: &mut Value, path: &[String], wanted: &Fields<'_>) {
    for end in (1..path.len()).rev() {
        let item = &path[..end];
        if item.last().is_some_and(|p| p.starts_with("k:"))
            && !wanted.keys().any(|w| w.starts_with(item))
        {
            let bare = at(object, item)
                .and_then(Value::as_object)
                .is_none_or(|map| {
                    let id = item
                        .last()
                        .and_then(|p| p.strip_prefix("k:"))
                        .unwrap_or("{}");
                    let id: Map<String, Value> = serde_json::from_str(id).unwrap_or_default();
                    map.keys().all(|k| id.contains_key(k))
                });
            if bare {
                remove(object, item);
            }
        }
    }
}
