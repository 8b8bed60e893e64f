//! OpenAPI of everything in the table of resources: version 3, a document for each group and
//! version, and version 2 in one, which kubectl before 1.27 asks for.
//!
//! Schemas are those of Kubernetes' own types, as their Rust types describe themselves; of custom
//! resources, those of their definitions. kubectl explains fields from them, merges what it applies
//! and checks manifests; from the operations it learns that the server validates fields and runs
//! dry. The documents are made when they are first asked for and kept: they depend on the table
//! alone.

mod operations;
mod v2;

use std::sync::LazyLock;

use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Status};
use k8s_openapi::schemars::generate::SchemaSettings;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha512};

use crate::bootstrap;
use crate::resources::{self, Flavor, RESOURCES, Resource};

use super::discovery::KUBERNETES_MINOR;
use super::strategic::{ListKind, list_kind};

pub use v2::version_2;

const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const JSON: &str = "application/json";
const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";

/// A document, ready to be sent.
#[derive(Debug)]
pub struct Document {
    /// Where it is below `/openapi/v3/`.
    key: String,
    /// Its media type.
    pub content_type: &'static str,
    /// Its text.
    pub body: Bytes,
    /// Changes with the text.
    pub hash: String,
}

impl Document {
    fn new(key: &str, content_type: &'static str, body: impl Into<Bytes>) -> Document {
        let body = body.into();
        Document {
            key: key.to_owned(),
            content_type,
            hash: hex::encode_upper(Sha512::digest(&body)),
            body,
        }
    }
}

static V3: LazyLock<Vec<Document>> = LazyLock::new(|| {
    let mut documents = Vec::new();
    for (group, versions) in resources::groups() {
        for version in versions {
            let body = version_3(group, version).to_string();
            let path = group_path(group, version);
            documents.push(Document::new(&path[1..], JSON, body));
        }
    }
    documents
});

/// `/openapi/v3`: the documents, each with its hash.
pub fn index() -> Value {
    let paths: Map<String, Value> = V3
        .iter()
        .map(|d| {
            let url = format!("/openapi/v3/{}?hash={}", d.key, d.hash);
            (d.key.clone(), json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// The document of that key: `api/v1`, `apis/batch/v1`.
pub fn document(key: &str) -> Option<&'static Document> {
    V3.iter().find(|d| d.key == key)
}

fn group_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    }
}

fn version_3(group: &str, version: &str) -> Value {
    let served: Vec<&Resource> = RESOURCES
        .iter()
        .filter(|r| r.group == group && r.version == version)
        .collect();
    let mut schemas = Schemas::new(Form::V3);
    let paths = operations::paths(&served, &mut schemas);
    let custom = served.iter().any(|r| r.flavor == Flavor::Custom);
    let info = match custom {
        true => json!({"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}),
        false => json!({"title": "Kubernetes", "version": format!("v1.{KUBERNETES_MINOR}.0")}),
    };
    json!({
        "openapi": "3.0.0",
        "info": info,
        "paths": paths,
        "components": {"schemas": schemas.finish()},
    })
}

/// The two forms differ in how they refer and in what they can say about a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    V2,
    V3,
}

/// Schemas by name, with all that they refer to.
struct Schemas {
    form: Form,
    generator: SchemaGenerator,
    own: Map<String, Value>,
}

impl Schemas {
    fn new(form: Form) -> Schemas {
        let path = match form {
            Form::V2 => "/definitions",
            Form::V3 => "/components/schemas",
        };
        let settings = SchemaSettings::default().with(|s| s.definitions_path = path.into());
        Schemas {
            form,
            generator: settings.into_generator(),
            own: Map::new(),
        }
    }

    fn reference(&self, name: &str) -> Value {
        let path = self.generator.settings().definitions_path.as_ref();
        json!({"$ref": format!("#{path}/{name}")})
    }

    fn of<T: JsonSchema>(&mut self) -> Value {
        self.generator.subschema_for::<T>().to_value()
    }

    /// Adds a resource's kind, and its list if it has one. Answers with its schema's name.
    fn add(&mut self, resource: &Resource) -> String {
        let (name, mut schema) = match resource.kind_rules.typed {
            Some(typed) => {
                let reference = (typed.schema)(&mut self.generator).to_value();
                let name = reference["$ref"].as_str().unwrap_or("");
                let name = name.rsplit('/').next().unwrap_or("").to_owned();
                let schema = self.generator.definitions_mut().remove(&name);
                (name, schema.unwrap_or_default())
            }
            None => (custom_name(resource), self.custom(resource)),
        };
        schema["x-kubernetes-group-version-kind"] = gvk(resource, resource.kind);
        if resource.verbs.has("list") {
            let list = self.list(resource, &name);
            self.own.insert(format!("{name}List"), list);
        }
        self.own.insert(name.clone(), schema);
        name
    }

    fn custom(&mut self, resource: &Resource) -> Value {
        let definition = bootstrap::definition(resource);
        let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
        // kubectl takes properties for all there are, so version 2 has none beside unknown fields.
        if self.form == Form::V2 && schema["x-kubernetes-preserve-unknown-fields"] == true {
            return json!({"type": "object"});
        }
        let metadata = self.of::<ObjectMeta>();
        let fields = self.list_fields();
        for key in ["apiVersion", "kind"] {
            schema["properties"][key] = fields[key].clone();
        }
        schema["properties"]["metadata"] = metadata;
        schema["properties"]["metadata"]["description"] = json!(METADATA);
        schema
    }

    /// `apiVersion`, `kind` and a list's `metadata`, described as Kubernetes does.
    fn list_fields(&mut self) -> Value {
        self.of::<Status>();
        let status = self.generator.definitions().get(STATUS);
        status.map_or(Value::Null, |s| s["properties"].clone())
    }

    fn list(&mut self, resource: &Resource, name: &str) -> Value {
        let fields = self.list_fields();
        let about = format!(
            "List of {}. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md",
            resource.plural
        );
        let items = json!({"description": about, "type": "array", "items": self.reference(name)});
        let kind = format!("{}List", resource.kind);
        json!({
            "description": format!("{kind} is a list of {}", resource.kind),
            "type": "object",
            "required": ["items"],
            "properties": {"apiVersion": fields["apiVersion"], "items": items, "kind": fields["kind"], "metadata": fields["metadata"]},
            "x-kubernetes-group-version-kind": gvk(resource, &kind),
        })
    }

    fn finish(mut self) -> Map<String, Value> {
        let mut all = self.generator.take_definitions(false);
        all.extend(self.own);
        if let Some(status) = all.get_mut(STATUS) {
            status["x-kubernetes-group-version-kind"] =
                json!([{"group": "", "kind": "Status", "version": "v1"}]);
        }
        for (name, schema) in &mut all {
            mend(schema, name, self.form);
        }
        all.sort_keys();
        all
    }
}

fn gvk(resource: &Resource, kind: &str) -> Value {
    json!([{"group": resource.group, "kind": kind, "version": resource.version}])
}

fn custom_name(resource: &Resource) -> String {
    let group: Vec<&str> = resource.group.split('.').rev().collect();
    format!("{}.{}.{}", group.join("."), resource.version, resource.kind)
}

/// Says in the words of a form what the Rust types say in those of a custom resource's definition,
/// and adds how lists merge.
fn mend(schema: &mut Value, name: &str, form: Form) {
    let Some(map) = schema.as_object_mut() else {
        return;
    };
    if map.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
        map.remove("x-kubernetes-int-or-string");
        let number = if name.ends_with(".Quantity") {
            "number"
        } else {
            map.insert("format".into(), json!("int-or-string"));
            "integer"
        };
        match form {
            Form::V2 => map.insert("type".into(), json!("string")),
            Form::V3 => map.insert(
                "oneOf".into(),
                json!([{"type": number}, {"type": "string"}]),
            ),
        };
    }
    if WHOLE.contains(&name.rsplit('.').next().unwrap_or("")) {
        map.insert("x-kubernetes-map-type".into(), json!("atomic"));
    }
    // The Rust types always have metadata; a client need not send it.
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|field| field != "metadata");
        if required.is_empty() {
            map.shift_remove("required");
        }
    }
    if form == Form::V2 {
        map.retain(|key, _| !matches!(key.as_str(), "oneOf" | "anyOf"));
    }
    // In version 3 nothing may stand beside a reference.
    if form == Form::V3
        && map.len() > 1
        && let Some(reference) = map.shift_remove("$ref")
    {
        map.insert("allOf".into(), json!([{"$ref": reference}]));
    }
    for (key, below) in map.iter_mut() {
        match below {
            Value::Object(properties) if key == "properties" => {
                for (field, property) in properties {
                    merging(field, property);
                    mend(property, "", form);
                }
            }
            Value::Object(_) => mend(below, "", form),
            Value::Array(items) => items.iter_mut().for_each(|item| mend(item, "", form)),
            _ => {}
        }
    }
}

/// Structs that are one value when they are merged.
const WHOLE: &[&str] = &[
    "ConfigMapKeySelector",
    "FileKeySelector",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "ObjectReference",
    "OwnerReference",
    "ResourceFieldSelector",
    "SecretKeySelector",
    "SecretReference",
    "TypedLocalObjectReference",
];

/// How a list merges, for a client that makes a strategic merge patch.
fn merging(field: &str, property: &mut Value) {
    if property["type"] != "array" || field == "items" {
        return;
    }
    let objects = property["items"].get("$ref").is_some();
    match list_kind(field, Flavor::BuiltIn) {
        ListKind::Map(keys) if objects => {
            let strategy = match field {
                "volumes" => "merge,retainKeys",
                _ => "merge",
            };
            property["x-kubernetes-list-map-keys"] = json!(keys);
            property["x-kubernetes-list-type"] = json!("map");
            property["x-kubernetes-patch-merge-key"] = json!(keys[0]);
            property["x-kubernetes-patch-strategy"] = json!(strategy);
        }
        ListKind::Set if !objects => {
            property["x-kubernetes-list-type"] = json!("set");
            property["x-kubernetes-patch-strategy"] = json!("merge");
        }
        _ => property["x-kubernetes-list-type"] = json!("atomic"),
    }
}
