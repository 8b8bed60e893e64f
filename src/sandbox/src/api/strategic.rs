//! Strategic merge patch: a merge patch that knows which lists are maps by a key.

use serde_json::{Map, Value};

use crate::resources::Flavor;

/// How a list merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// Items are told apart by these fields.
    Map(&'static [&'static str]),
    /// Items are values, each at most once.
    Set,
    /// The list is one value.
    Atomic,
}

/// How a list of that name merges in server-side apply and strategic merge. Kubernetes marks this
/// in its types; the names are unambiguous among the kinds served here.
pub fn list_kind(field: &str, flavor: Flavor) -> ListKind {
    match (field, flavor) {
        ("ownerReferences", _) => ListKind::Map(&["uid"]),
        ("finalizers", _) => ListKind::Set,
        (_, Flavor::Custom) => ListKind::Atomic,
        (
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "env"
            | "volumes"
            | "imagePullSecrets"
            | "secrets"
            | "schedulingGates"
            | "resourceClaims",
            _,
        ) => ListKind::Map(&["name"]),
        ("volumeMounts", _) => ListKind::Map(&["mountPath"]),
        ("volumeDevices", _) => ListKind::Map(&["devicePath"]),
        ("ports", _) => ListKind::Map(&["containerPort", "protocol"]),
        ("conditions" | "addresses", _) => ListKind::Map(&["type"]),
        ("hostAliases" | "podIPs" | "hostIPs", _) => ListKind::Map(&["ip"]),
        ("topologySpreadConstraints", _) => ListKind::Map(&["topologyKey", "whenUnsatisfiable"]),
        _ => ListKind::Atomic,
    }
}

/// The single key of a list in a strategic merge patch.
fn merge_key(field: &str) -> Option<&'static str> {
    match list_kind(field, Flavor::BuiltIn) {
        ListKind::Map(keys) => keys.first().copied(),
        _ => None,
    }
}

/// Applies a patch.
pub fn apply(target: &mut Value, patch: &Value) -> Result<(), String> {
    merge(target, patch)
}

fn merge(target: &mut Value, patch: &Value) -> Result<(), String> {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            *target = Value::Object(without_directives(patch));
            return Ok(());
        }
        Some("delete") => {
            *target = Value::Object(Map::new());
            return Ok(());
        }
        Some("merge") | None => {}
        Some(other) => return Err(format!("Unknown patch type: {other}")),
    }
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else {
        return Ok(());
    };
    if let Some(retain) = patch.get("$retainKeys") {
        let keep = retain.as_array().ok_or("$retainKeys must be a list")?;
        map.retain(|key, _| keep.iter().any(|k| k == key));
    }
    for (key, value) in patch {
        if let Some(field) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value
                .as_array()
                .ok_or("$deleteFromPrimitiveList must be a list")?;
            if let Some(list) = map.get_mut(field).and_then(Value::as_array_mut) {
                list.retain(|item| !gone.contains(item));
            }
            continue;
        }
        if key.starts_with('$') {
            continue;
        }
        match value {
            Value::Null => {
                map.remove(key);
            }
            Value::Object(_) => merge(map.entry(key.clone()).or_insert(Value::Null), value)?,
            Value::Array(items) => {
                let slot = map
                    .entry(key.clone())
                    .or_insert_with(|| Value::Array(Vec::new()));
                merge_list(slot, items, key)?;
            }
            _ => {
                map.insert(key.clone(), value.clone());
            }
        }
    }
    for (key, order) in patch {
        if let Some(field) = key.strip_prefix("$setElementOrder/")
            && let (Some(order), Some(list)) = (
                order.as_array(),
                map.get_mut(field).and_then(Value::as_array_mut),
            )
        {
            reorder(list, order, merge_key(field));
        }
    }
    Ok(())
}

fn merge_list(target: &mut Value, items: &[Value], field: &str) -> Result<(), String> {
    let set = list_kind(field, Flavor::BuiltIn) == ListKind::Set;
    let Some(key) = merge_key(field) else {
        match target.as_array_mut() {
            Some(list) if set => {
                for item in items {
                    if !list.contains(item) {
                        list.push(item.clone());
                    }
                }
            }
            _ => *target = Value::Array(items.to_vec()),
        }
        return Ok(());
    };
    if items.iter().any(|i| i["$patch"] == "replace") {
        let kept = items
            .iter()
            .filter(|i| i.get("$patch").is_none())
            .cloned()
            .collect();
        *target = Value::Array(kept);
        return Ok(());
    }
    if !target.is_array() {
        *target = Value::Array(Vec::new());
    }
    let Some(list) = target.as_array_mut() else {
        return Ok(());
    };
    for item in items {
        let id = item
            .get(key)
            .ok_or_else(|| format!("map: {item} does not contain declared merge key: {key}"))?;
        if item["$patch"] == "delete" {
            list.retain(|have| have.get(key) != Some(id));
            continue;
        }
        match list.iter_mut().find(|have| have.get(key) == Some(id)) {
            Some(have) => merge(have, item)?,
            None => {
                let mut new = Value::Object(Map::new());
                merge(&mut new, item)?;
                list.push(new);
            }
        }
    }
    Ok(())
}

/// Items named in the order come in that order; others keep their place before the next one.
fn reorder(list: &mut [Value], order: &[Value], key: Option<&str>) {
    let place = |item: &Value| {
        order.iter().position(|o| match key {
            Some(key) => o.get(key).is_some() && o.get(key) == item.get(key),
            None => o == item,
        })
    };
    let mut named: Vec<Value> = list
        .iter()
        .filter(|i| place(i).is_some())
        .cloned()
        .collect();
    named.sort_by_key(|i| place(i));
    let mut named = named.into_iter();
    for slot in list.iter_mut().filter(|i| place(i).is_some()) {
        if let Some(next) = named.next() {
            *slot = next;
        }
    }
}

fn without_directives(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter()
        .filter(|(k, _)| !k.starts_with('$'))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn patched(target: Value, patch: Value) -> Value {
        let mut target = target;
        apply(&mut target, &patch).unwrap();
        target
    }

    #[test]
    fn containers_merge_by_name_and_other_lists_are_replaced() {
        let pod = json!({"spec": {"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b"}]}});
        let out = patched(
            pod,
            json!({"spec": {"containers": [{"name": "a", "image": "2", "args": ["y", "z"]}, {"name": "c"}]}}),
        );
        assert_eq!(
            out["spec"]["containers"],
            json!([{"name": "a", "image": "2", "args": ["y", "z"]}, {"name": "b"}, {"name": "c"}])
        );
    }

    #[test]
    fn directives_delete_replace_retain_and_order() {
        let o = json!({"containers": [{"name": "a"}, {"name": "b"}], "finalizers": ["x", "y"], "k": {"a": 1, "b": 2}});
        let out = patched(
            o.clone(),
            json!({"containers": [{"name": "a", "$patch": "delete"}], "$deleteFromPrimitiveList/finalizers": ["x"], "k": {"$retainKeys": ["b"], "b": 3}}),
        );
        assert_eq!(
            out,
            json!({"containers": [{"name": "b"}], "finalizers": ["y"], "k": {"b": 3}})
        );
        let out = patched(
            o.clone(),
            json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "i"}]}),
        );
        assert_eq!(
            out["containers"],
            json!([{"name": "b"}, {"name": "a", "image": "i"}])
        );
        let out = patched(
            o,
            json!({"containers": [{"$patch": "replace"}, {"name": "z"}]}),
        );
        assert_eq!(out["containers"], json!([{"name": "z"}]));
    }

    proptest! {
        #[test]
        fn for_plain_maps_it_is_a_merge_patch(
            target in proptest::collection::btree_map("[a-d]", 0..9i32, 0..4),
            patch in proptest::collection::btree_map("[a-d]", proptest::option::of(0..9i32), 0..4),
        ) {
            let (target, patch) = (json!(target), json!(patch));
            let mut expected = target.clone();
            json_patch::merge(&mut expected, &patch);
            prop_assert_eq!(patched(target, patch), expected);
        }
    }
}
