//! OpenAPI version 2, in JSON and in the protobuf form of gnostic's OpenAPIv2.proto, the only one
//! kubectl reads. It has every schema, and of the operations the patches: kubectl looks there
//! whether the server can run dry.

use std::sync::LazyLock;

use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value, json};

use crate::api::discovery::KUBERNETES_MINOR;
use crate::resources::RESOURCES;

use super::{Document, Form, JSON, Schemas, operations};

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

static DOCUMENT: LazyLock<Document> =
    LazyLock::new(|| Document::new("", JSON, document().to_string()));
static AS_PROTOBUF: LazyLock<Document> =
    LazyLock::new(|| Document::new("", PROTOBUF, protobuf(&document())));

/// `/openapi/v2`, in the form that the Accept header names.
pub fn version_2(accept: Option<&str>) -> &'static Document {
    match accept.is_some_and(|a| a.contains("proto-openapi.spec.v2")) {
        true => &AS_PROTOBUF,
        false => &DOCUMENT,
    }
}

fn document() -> Value {
    let mut schemas = Schemas::new(Form::V2);
    let mut paths = Map::new();
    let served: Vec<_> = RESOURCES.iter().collect();
    for (path, mut item) in operations::paths(&served, &mut schemas) {
        let Some(patch) = item.get_mut("patch").map(Value::take) else {
            continue;
        };
        let parameters: Vec<Value> = patch["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|p| json!({"name": p["name"], "in": "query", "description": p["description"], "type": p["schema"]["type"], "uniqueItems": true}))
            .collect();
        let kind = "x-kubernetes-group-version-kind";
        let operation = json!({
            "operationId": patch["operationId"],
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "patch",
            kind: patch[kind],
        });
        paths.insert(path, json!({"patch": operation}));
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": format!("v1.{KUBERNETES_MINOR}.0")},
        "paths": paths,
        "definitions": schemas.finish(),
    })
}

fn bytes(out: &mut Vec<u8>, number: u32, content: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Text that is there.
fn text(out: &mut Vec<u8>, number: u32, value: &Value) {
    if let Some(text) = value.as_str() {
        bytes(out, number, text.as_bytes());
    }
}

fn flag(out: &mut Vec<u8>, number: u32, value: &Value) {
    if value == true {
        encode_key(number, WireType::Varint, out);
        encode_varint(1, out);
    }
}

fn message(out: &mut Vec<u8>, number: u32, write: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    write(&mut inner);
    bytes(out, number, &inner);
}

/// A name with a message, as maps are written.
fn named(out: &mut Vec<u8>, number: u32, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
    message(out, number, |out| {
        bytes(out, 1, name.as_bytes());
        message(out, 2, write);
    });
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// What begins with `x-`: any value, as YAML, which JSON is.
fn extensions(out: &mut Vec<u8>, number: u32, of: &Value) {
    for (name, value) in members(of).filter(|(name, _)| name.starts_with("x-")) {
        named(out, number, name, |out| {
            bytes(out, 2, value.to_string().as_bytes());
        });
    }
}

fn protobuf(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 1, &document["swagger"]);
    message(&mut out, 2, |out| {
        text(out, 1, &document["info"]["title"]);
        text(out, 2, &document["info"]["version"]);
    });
    message(&mut out, 8, |out| {
        for (path, item) in members(&document["paths"]) {
            named(out, 2, path, |out| {
                message(out, 8, |out| operation(out, &item["patch"]));
            });
        }
    });
    message(&mut out, 9, |out| {
        for (name, value) in members(&document["definitions"]) {
            named(out, 1, name, |out| schema(out, value));
        }
    });
    out
}

fn operation(out: &mut Vec<u8>, operation: &Value) {
    text(out, 5, &operation["operationId"]);
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        // A parameter, not a reference to one; not in the body; in the query.
        message(out, 8, |out| {
            message(out, 1, |out| {
                message(out, 2, |out| {
                    message(out, 3, |out| {
                        text(out, 2, &parameter["in"]);
                        text(out, 3, &parameter["description"]);
                        text(out, 4, &parameter["name"]);
                        text(out, 6, &parameter["type"]);
                        flag(out, 20, &parameter["uniqueItems"]);
                    });
                });
            });
        });
    }
    extensions(out, 13, operation);
}

fn schema(out: &mut Vec<u8>, of: &Value) {
    text(out, 1, &of["$ref"]);
    text(out, 2, &of["format"]);
    text(out, 4, &of["description"]);
    for name in of["required"].as_array().into_iter().flatten() {
        text(out, 19, name);
    }
    let values = &of["additionalProperties"];
    if values.is_object() {
        message(out, 21, |out| message(out, 1, |out| schema(out, values)));
    }
    if of["type"].is_string() {
        message(out, 22, |out| text(out, 1, &of["type"]));
    }
    if of["items"].is_object() {
        message(out, 23, |out| {
            message(out, 1, |out| schema(out, &of["items"]))
        });
    }
    if of["properties"].is_object() {
        message(out, 25, |out| {
            for (name, property) in members(&of["properties"]) {
                named(out, 1, name, |out| schema(out, property));
            }
        });
    }
    extensions(out, 31, of);
}
