//! Objects of any kind, as the server keeps them.

use serde_json::Value;

use super::discovery::Kind;
use super::table::Query;
use crate::cluster::{Cluster, Error, Result, near_misses};

/// Page size of lists; the number kubectl uses.
const PAGE: &str = "500";

/// One request of a get or list.
pub(super) async fn request(
    cluster: &Cluster,
    kind: &Kind,
    query: &Query,
    accept: &str,
    next: &str,
) -> Result<Value> {
    let namespace = query.scope.namespace();
    let mut path = kind.path(namespace);
    let mut action = cluster.action(
        if query.name.is_some() { "get" } else { "list" },
        &kind.plural,
    );
    if let Some(namespace) = namespace.filter(|_| kind.namespaced) {
        action = action.within(namespace);
    }
    match &query.name {
        Some(name) => {
            path = format!("{path}/{}", escape(name));
            action = action.named(name);
        }
        None => {
            path.push_str(&format!("?limit={PAGE}"));
            for (key, value) in [
                ("labelSelector", &query.labels),
                ("fieldSelector", &query.fields),
            ] {
                if let Some(value) = value {
                    path.push_str(&format!("&{key}={}", escape(value)));
                }
            }
            if !next.is_empty() {
                path.push_str(&format!("&continue={}", escape(next)));
            }
        }
    }
    let request = http::Request::get(path)
        .header(http::header::ACCEPT, accept)
        .body(Vec::new())
        .map_err(|error| Error::Input {
            what: action.to_string(),
            reason: error.to_string(),
        })?;
    match cluster.client.request::<Value>(request).await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            Err(explain(cluster, kind, namespace, Error::from_kube(error, &action)).await)
        }
    }
}

/// The token for the next page, or nothing.
pub(super) fn continuation(answer: &Value) -> String {
    answer
        .pointer("/metadata/continue")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Percent-encodes everything but unreserved characters.
pub(crate) fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(byte as char)
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// Reads one object.
pub async fn get(cluster: &Cluster, kind: &Kind, namespace: &str, name: &str) -> Result<Value> {
    let query = Query {
        name: Some(name.to_owned()),
        ..Query::all(namespace.into())
    };
    request(cluster, kind, &query, "application/json", "").await
}

/// Reads all objects of a query, page by page, each with its `apiVersion` and `kind`.
pub async fn list(cluster: &Cluster, kind: &Kind, query: &Query) -> Result<Vec<Value>> {
    if let Some(name) = &query.name {
        return Ok(vec![
            get(
                cluster,
                kind,
                query.scope.namespace().unwrap_or_default(),
                name,
            )
            .await?,
        ]);
    }
    let mut all = Vec::new();
    let mut next = String::new();
    loop {
        let mut answer = request(cluster, kind, query, "application/json", &next).await?;
        next = continuation(&answer);
        if let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) {
            all.extend(items.into_iter().map(|item| typed(item, kind)));
        }
        if next.is_empty() {
            break;
        }
    }
    if all.is_empty() && kind.namespaced {
        super::namespaces::expect(cluster, query.scope.namespace()).await?;
    }
    Ok(all)
}

/// Items of a list carry no type of their own; a reader of the output wants one.
fn typed(item: Value, kind: &Kind) -> Value {
    let Value::Object(fields) = item else {
        return item;
    };
    let mut object = serde_json::Map::new();
    object.insert("apiVersion".into(), kind.api_version().into());
    object.insert("kind".into(), kind.kind.clone().into());
    object.extend(fields);
    Value::Object(object)
}

/// An object without what only machines read: managed fields, and the copy kubectl leaves behind.
pub fn readable(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
        if let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
            if annotations.is_empty() {
                metadata.shift_remove("annotations");
            }
        }
    }
    // Values of secrets are shown nowhere, not even encoded.
    if object.get("kind").and_then(Value::as_str) == Some("Secret") {
        for field in ["data", "stringData"] {
            if let Some(data) = object.get_mut(field).and_then(Value::as_object_mut) {
                data.values_mut()
                    .for_each(|value| *value = "<hidden>".into());
            }
        }
    }
    object
}

/// Adds near misses to "does not exist", and tells a missing namespace from a missing object.
pub(crate) async fn explain(
    cluster: &Cluster,
    kind: &Kind,
    namespace: Option<&str>,
    error: Error,
) -> Error {
    let Error::NotFound { action, .. } = error else {
        return error;
    };
    let Some(name) = action.name.clone() else {
        return Error::NotFound {
            action,
            near: Vec::new(),
        };
    };
    if kind.namespaced
        && let Err(missing @ Error::NoNamespace { .. }) =
            super::namespaces::expect(cluster, namespace).await
    {
        return missing;
    }
    let path = format!("{}?limit={PAGE}", kind.path(namespace));
    let accept =
        "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";
    let near = match http::Request::get(path)
        .header(http::header::ACCEPT, accept)
        .body(Vec::new())
    {
        Ok(request) => match cluster.client.request::<Value>(request).await {
            Ok(list) => {
                let names: Vec<&str> = list
                    .get("items")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|item| item.pointer("/metadata/name")?.as_str())
                    .collect();
                near_misses(&name, names)
            }
            // The first error is the one that matters.
            Err(_) => Vec::new(),
        },
        Err(_) => Vec::new(),
    };
    Error::NotFound { action, near }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_only_machines_read_is_left_out_and_secrets_stay_hidden() {
        let shown = readable(json!({
            "kind": "Secret",
            "metadata": {"name": "a", "managedFields": [], "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
            "data": {"password": "aHVzaA=="}
        }));
        assert_eq!(
            shown,
            json!({"kind": "Secret", "metadata": {"name": "a"}, "data": {"password": "<hidden>"}})
        );
    }

    #[test]
    fn selectors_are_escaped() {
        assert_eq!(escape("a=b,c in (d)"), "a%3Db%2Cc%20in%20%28d%29");
    }
}
