//! From stored objects to answers: plain objects and lists, Tables, metadata only; JSON or YAML.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::resources::{Flavor, Resource};
use crate::store::Entry;

use super::age;
use super::selector::{FieldValues, field_values};
use super::status::ApiError;
use super::table::{self, Cell};

/// How much of each object a Table carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All of it.
    Object,
}

impl Include {
    fn parse(asked: Option<&str>) -> Result<Include, ApiError> {
        match asked.unwrap_or_default() {
            "None" => Ok(Include::None),
            "Object" => Ok(Include::Object),
            "Metadata" | "" => Ok(Include::Metadata),
            other => Err(ApiError::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: \
                 must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// The shape of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The object or list itself.
    Plain,
    /// A Table.
    Table(Include),
    /// Metadata only.
    Partial,
}

/// What the client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accept {
    /// The shape.
    pub shape: Shape,
    /// YAML instead of JSON.
    pub yaml: bool,
}

impl Accept {
    /// The first media type of an Accept header that the server has.
    pub fn parse(header: Option<&str>, include_object: Option<&str>) -> Result<Accept, ApiError> {
        let header = header
            .filter(|h| !h.trim().is_empty())
            .unwrap_or("application/json");
        for media in header.split(',') {
            let mut parts = media.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("");
            let yaml = match kind {
                "application/json" | "*/*" | "application/*" => false,
                "application/yaml" => true,
                _ => continue,
            };
            let mut shape = Shape::Plain;
            let mut known = true;
            for part in parts {
                match part.split_once('=') {
                    Some(("as", "Table")) => {
                        shape = Shape::Table(Include::parse(include_object)?);
                    }
                    Some(("as", "PartialObjectMetadata" | "PartialObjectMetadataList")) => {
                        shape = Shape::Partial;
                    }
                    Some(("as", _)) => known = false,
                    Some(("v", version)) if version != "v1" => known = false,
                    Some(("g", group)) if group != "meta.k8s.io" => known = false,
                    _ => {}
                }
            }
            if known {
                return Ok(Accept { shape, yaml });
            }
        }
        Err(ApiError::not_acceptable())
    }
}

/// JSON with two spaces a level, or nothing if it is no JSON.
pub fn indented(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut from = serde_json::Deserializer::from_slice(json);
    let mut to = serde_json::Serializer::pretty(&mut out);
    serde_transcode::transcode(&mut from, &mut to).ok()?;
    Some(out)
}

/// What is computed once per stored object.
#[derive(Debug)]
pub struct Derived {
    /// The cells of its row.
    pub cells: Vec<Cell>,
    /// The row's conditions.
    pub conditions: Option<Value>,
    /// The values field selectors ask for.
    pub fields: FieldValues,
}

/// The derived part of an entry.
pub fn derived<'a>(entry: &'a Entry, resource: &Resource) -> Option<&'a Derived> {
    entry.derived(|object| Derived {
        cells: (resource.cells)(object),
        conditions: table::row_conditions(object),
        fields: field_values(object, resource.storage),
    })
}

/// The JSON of an object as the resource serves it.
pub fn object_json(entry: &Entry, resource: &Resource) -> Bytes {
    match resource.kind_rules.serve {
        None => entry.json().clone(),
        Some(serve) => {
            let mut value = entry.value();
            serve(&mut value);
            Bytes::from(value.to_string())
        }
    }
}

/// An object in a list: those of Kubernetes' own types do not repeat their kind and apiVersion.
fn item(out: &mut Vec<u8>, entry: &Entry, resource: &Resource) {
    match (resource.flavor, resource.kind_rules.serve) {
        (Flavor::Custom, _) => out.extend_from_slice(&object_json(entry, resource)),
        (Flavor::BuiltIn, None) => {
            out.push(b'{');
            out.extend_from_slice(&entry.untyped_json());
        }
        (Flavor::BuiltIn, Some(_)) => {
            let mut value = object_value(entry, resource);
            if let Some(map) = value.as_object_mut() {
                map.retain(|key, _| !matches!(key.as_str(), "kind" | "apiVersion"));
            }
            out.extend_from_slice(value.to_string().as_bytes());
        }
    }
}

/// The value of an object as the resource serves it.
pub fn object_value(entry: &Entry, resource: &Resource) -> Value {
    let mut value = entry.value();
    if let Some(serve) = resource.kind_rules.serve {
        serve(&mut value);
    }
    value
}

fn partial(entry: &Entry) -> Vec<u8> {
    let meta = entry.metadata_json();
    let mut out = Vec::with_capacity(meta.len() + 80);
    out.extend_from_slice(
        br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#,
    );
    out.extend_from_slice(&meta);
    out.push(b'}');
    out
}

fn row(out: &mut Vec<u8>, entry: &Entry, resource: &Resource, include: Include, now: i64) {
    out.extend_from_slice(br#"{"cells":"#);
    let found = derived(entry, resource);
    let cells: Vec<Value> = found
        .map(|d| d.cells.iter().map(|c| c.render(now)).collect())
        .unwrap_or_default();
    out.extend_from_slice(Value::Array(cells).to_string().as_bytes());
    if let Some(conditions) = found.and_then(|d| d.conditions.as_ref()) {
        out.extend_from_slice(br#","conditions":"#);
        out.extend_from_slice(conditions.to_string().as_bytes());
    }
    out.extend_from_slice(br#","object":"#);
    match include {
        Include::None => out.extend_from_slice(b"null"),
        Include::Metadata => out.extend_from_slice(&partial(entry)),
        Include::Object => out.extend_from_slice(&object_json(entry, resource)),
    }
    out.push(b'}');
}

/// The `metadata` of a list.
#[derive(Debug, Clone, Default)]
pub struct ListMeta {
    /// The revision of the list.
    pub revision: u64,
    /// Where the next page starts.
    pub next: Option<String>,
    /// How many objects are left.
    pub remaining: Option<usize>,
}

impl ListMeta {
    fn to_json(&self, custom: bool) -> String {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        match &self.next {
            Some(next) => meta["continue"] = json!(next),
            // Lists of custom resources always have the field.
            None if custom => meta["continue"] = json!(""),
            None => {}
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = json!(remaining);
        }
        meta.to_string()
    }
}

fn table_start(out: &mut Vec<u8>, meta: &str, columns: Option<&[table::Column]>) {
    out.extend_from_slice(br#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":"#);
    out.extend_from_slice(meta.as_bytes());
    out.extend_from_slice(br#","columnDefinitions":"#);
    let columns = columns.map_or(Value::Null, table::definitions);
    out.extend_from_slice(columns.to_string().as_bytes());
    out.extend_from_slice(br#","rows":["#);
}

/// One object in a shape. `columns` is false for all but the first event of a watch.
pub fn one(entry: &Entry, resource: &Resource, shape: Shape, columns: bool) -> Bytes {
    match shape {
        Shape::Plain => object_json(entry, resource),
        Shape::Partial => Bytes::from(partial(entry)),
        Shape::Table(include) => {
            let meta = json!({"resourceVersion": entry.revision.to_string()}).to_string();
            let mut out = Vec::with_capacity(1024);
            table_start(&mut out, &meta, columns.then_some(resource.columns));
            row(&mut out, entry, resource, include, now());
            out.extend_from_slice(b"]}");
            Bytes::from(out)
        }
    }
}

/// A list in a shape.
pub fn list(entries: &[Arc<Entry>], meta: &ListMeta, resource: &Resource, shape: Shape) -> Bytes {
    let size: usize = entries.iter().map(|e| e.json().len() + 1).sum();
    let mut out = Vec::with_capacity(size + 256);
    let custom = resource.flavor == Flavor::Custom && shape == Shape::Plain;
    let meta = meta.to_json(custom);
    match shape {
        Shape::Table(include) => {
            table_start(&mut out, &meta, Some(resource.columns));
            let now = now();
            for (i, entry) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                row(&mut out, entry, resource, include, now);
            }
        }
        Shape::Plain | Shape::Partial => {
            let (kind, version) = match shape {
                Shape::Plain => (format!("{}List", resource.kind), resource.api_version()),
                _ => ("PartialObjectMetadataList".into(), "meta.k8s.io/v1".into()),
            };
            let head = format!(
                r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{meta},"items":["#
            );
            out.extend_from_slice(head.as_bytes());
            for (i, entry) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                match shape {
                    Shape::Plain => item(&mut out, entry, resource),
                    _ => out.extend_from_slice(&partial(entry)),
                }
            }
        }
    }
    out.extend_from_slice(b"]}");
    Bytes::from(out)
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// JSON text as YAML.
pub fn to_yaml(json: &[u8]) -> Result<Bytes, ApiError> {
    let value: Value = serde_json::from_slice(json).map_err(ApiError::internal)?;
    serde_saphyr::to_string(&value)
        .map(Bytes::from)
        .map_err(ApiError::internal)
}

/// When an object was made, for callers that need it as a number.
pub fn created_at(object: &Value) -> Option<i64> {
    object["metadata"]["creationTimestamp"]
        .as_str()
        .and_then(age::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_acceptable_media_type_wins() {
        let shape = |h: &str| Accept::parse(Some(h), None).map(|a| a.shape);
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(shape(kubectl), Ok(Shape::Table(Include::Metadata)));
        assert_eq!(
            shape("application/vnd.kubernetes.protobuf,application/json"),
            Ok(Shape::Plain)
        );
        assert_eq!(shape("application/json, */*"), Ok(Shape::Plain));
        assert_eq!(
            Accept::parse(Some("text/csv"), None),
            Err(ApiError::not_acceptable())
        );
        assert!(Accept::parse(Some("application/yaml"), None).is_ok_and(|a| a.yaml));
    }
}
