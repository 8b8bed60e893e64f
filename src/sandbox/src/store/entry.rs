//! One stored object: its bytes as they go over the wire, and what is read from them on demand.

use std::any::Any;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// A reference of a dependent to its owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OwnerReference {
    /// apiVersion of the owner.
    pub api_version: String,
    /// Kind of the owner.
    pub kind: String,
    /// Name of the owner.
    pub name: String,
    /// uid of the owner.
    pub uid: String,
    /// Whether foreground deletion of the owner waits for this dependent.
    pub block_owner_deletion: bool,
}

/// The part of the metadata that the machinery itself asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// Name.
    pub name: String,
    /// Namespace, for namespaced kinds.
    pub namespace: Option<String>,
    /// uid.
    pub uid: String,
    /// Labels, by name.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Owners.
    pub owner_references: Vec<OwnerReference>,
    /// Finalizers.
    pub finalizers: Vec<String>,
    /// Set while the object is being deleted.
    pub deletion_timestamp: Option<String>,
}

/// One object at one revision.
#[derive(Debug)]
pub struct Entry {
    /// The revision of its last change.
    pub revision: u64,
    /// The revision at which it was made.
    pub created: u64,
    path: Arc<str>,
    object: Bytes,
    meta_range: Range<usize>,
    meta: OnceLock<Meta>,
    derived: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Entry {
    pub(super) fn new(
        path: Arc<str>,
        revision: u64,
        created: u64,
        object: Bytes,
        meta_range: Range<usize>,
    ) -> Entry {
        Entry {
            revision,
            created,
            path,
            object,
            meta_range,
            meta: OnceLock::new(),
            derived: OnceLock::new(),
        }
    }

    /// `namespace/name`, or the name of a cluster-scoped object.
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    /// The same object, as of another revision.
    pub fn at_revision(&self, revision: u64) -> Entry {
        let (object, meta_range) = encode(&mut self.value(), revision);
        Entry::new(
            self.path.clone(),
            revision,
            self.created,
            object,
            meta_range,
        )
    }

    /// The object as JSON text.
    pub fn json(&self) -> &Bytes {
        &self.object
    }

    /// What follows kind and apiVersion, which [`encode`] puts first: the members from `metadata`
    /// on, and the closing brace.
    pub fn untyped_json(&self) -> Bytes {
        let key = br#""metadata":"#.len();
        self.object
            .slice(self.meta_range.start.saturating_sub(key)..)
    }

    /// Its `metadata` as JSON text.
    pub fn metadata_json(&self) -> Bytes {
        self.object.slice(self.meta_range.clone())
    }

    pub(super) fn meta_range(&self) -> Range<usize> {
        self.meta_range.clone()
    }

    /// The object as a value.
    pub fn value(&self) -> Value {
        // What is stored was written by `encode`; a damaged page would have failed SQLite's check.
        serde_json::from_slice(&self.object).unwrap_or(Value::Null)
    }

    /// The metadata the machinery asks for, read once.
    pub fn meta(&self) -> &Meta {
        self.meta.get_or_init(|| {
            serde_json::from_slice(&self.object[self.meta_range.clone()]).unwrap_or_default()
        })
    }

    /// Something computed from the object, kept as long as it. One type per kind of object.
    pub fn derived<T: Any + Send + Sync>(&self, make: impl FnOnce(&Value) -> T) -> Option<&T> {
        self.derived
            .get_or_init(|| Box::new(make(&self.value())))
            .downcast_ref()
    }
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone; the entry is its last state with the revision of the deletion.
    Deleted,
}

/// One change.
#[derive(Debug)]
pub struct Change {
    /// The revision.
    pub revision: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// The object after the change.
    pub entry: Arc<Entry>,
    /// The object before it.
    pub previous: Option<Arc<Entry>>,
}

/// Writes an object with a resourceVersion, kind and metadata first, and says where the metadata
/// is. Objects come out of the store as these very bytes.
pub fn encode(object: &mut Value, revision: u64) -> (Bytes, Range<usize>) {
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.insert(
            "resourceVersion".into(),
            Value::String(revision.to_string()),
        );
    }
    let mut out = Vec::with_capacity(1024);
    out.push(b'{');
    let empty = serde_json::Map::new();
    let map = object.as_object().unwrap_or(&empty);
    // Writing a Value to a Vec cannot fail.
    let put = |out: &mut Vec<u8>, key: &str, value: &Value| {
        if out.len() > 1 {
            out.push(b',');
        }
        let _ = serde_json::to_writer(&mut *out, key);
        out.push(b':');
        let start = out.len();
        let _ = serde_json::to_writer(&mut *out, value);
        start..out.len()
    };
    for key in ["kind", "apiVersion"] {
        if let Some(value) = map.get(key) {
            put(&mut out, key, value);
        }
    }
    let range = match map.get("metadata") {
        Some(meta) => put(&mut out, "metadata", meta),
        None => put(&mut out, "metadata", &Value::Object(empty.clone())),
    };
    for (key, value) in map {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            put(&mut out, key, value);
        }
    }
    out.push(b'}');
    out.shrink_to_fit();
    (Bytes::from(out), range)
}
