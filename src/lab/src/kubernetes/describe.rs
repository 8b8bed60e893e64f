//! One object with its events: what `kubectl describe` is read for.

use serde_json::Value;

use super::discovery::Kind;
use super::events::{self, EventRow};
use super::objects;
use crate::cluster::{Cluster, Result};

/// An object and what happened to it.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its kind.
    pub kind: Kind,
    /// The object, without what only machines read; values of secrets are hidden.
    pub object: Value,
    /// Its events, oldest first.
    pub events: Vec<EventRow>,
}

/// Reads an object and its events.
pub async fn read(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
) -> Result<Description> {
    let mut object = objects::get(cluster, kind, namespace, name).await?;
    let uid = object
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .map(str::to_owned);
    let namespace = if kind.namespaced {
        namespace
    } else {
        "default"
    };
    let filter = events::Filter {
        name: Some(name.to_owned()),
        kind: Some(kind.kind.clone()),
        uid,
    };
    // Somebody who may read the object but not events still wants to see the object.
    let events = events::list(cluster, &namespace.into(), &filter)
        .await
        .unwrap_or_default();
    if kind.kind == "Secret" {
        sizes(&mut object);
    }
    Ok(Description {
        kind: kind.clone(),
        object: objects::readable(object),
        events,
    })
}

/// Replaces the values of a secret by their sizes, as kubectl does.
fn sizes(object: &mut Value) {
    use base64::Engine as _;
    let Some(Value::Object(data)) = object
        .as_object_mut()
        .and_then(|fields| fields.shift_remove("data"))
    else {
        return;
    };
    let sizes: serde_json::Map<String, Value> = data
        .into_iter()
        .map(|(key, value)| {
            let length = value
                .as_str()
                .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
                .map_or(0, |bytes| bytes.len());
            (key, Value::from(format!("{length} bytes")))
        })
        .collect();
    if let Some(fields) = object.as_object_mut() {
        fields.insert("keys".into(), Value::Object(sizes));
    }
}
