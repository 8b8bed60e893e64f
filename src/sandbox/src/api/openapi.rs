//! OpenAPI v3, as far as clients need it: which kinds there are, which query parameters a patch
//! takes (kubectl asks before it leaves field validation to the server), and the top of each
//! kind's schema.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::resources::{self, RESOURCES, Resource};

fn key(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// `/openapi/v3`: the documents, each with a hash that changes with its contents.
pub fn index() -> Value {
    let mut paths = json!({});
    for (group, versions) in resources::groups() {
        for version in versions {
            if let Some(document) = document(group, version) {
                let hash = hex::encode_upper(Sha256::digest(document.to_string()));
                let key = key(group, version);
                let url = format!("/openapi/v3/{key}?hash={hash}");
                paths[key] = json!({"serverRelativeURL": url});
            }
        }
    }
    json!({"paths": paths})
}

fn schema_name(resource: &Resource) -> String {
    if resource.group.is_empty() {
        return format!("io.k8s.api.core.{}.{}", resource.version, resource.kind);
    }
    let (group, suffix) = match resource.group.split_once('.') {
        Some((first, "k8s.io")) => (format!("io.k8s.api.{first}"), ""),
        Some(_) => {
            let reversed: Vec<&str> = resource.group.split('.').rev().collect();
            (reversed.join("."), "")
        }
        None => (format!("io.k8s.api.{}", resource.group), ""),
    };
    format!("{group}{suffix}.{}.{}", resource.version, resource.kind)
}

fn gvk(resource: &Resource) -> Value {
    json!({"group": resource.group, "version": resource.version, "kind": resource.kind})
}

fn parameters() -> Value {
    let text = json!({"type": "string", "uniqueItems": true});
    let flag = json!({"type": "boolean", "uniqueItems": true});
    let parameter = |name: &str, schema: &Value, description: &str| json!({"name": name, "in": "query", "description": description, "schema": schema});
    json!([
        parameter(
            "dryRun",
            &text,
            "When present, modifications are not stored. Valid: All."
        ),
        parameter(
            "fieldManager",
            &text,
            "The name of the actor that makes these changes."
        ),
        parameter(
            "fieldValidation",
            &text,
            "What to do with unknown or duplicate fields: Ignore, Warn or Strict."
        ),
        parameter(
            "force",
            &flag,
            "Take over conflicting fields of other managers (server-side apply only)."
        ),
    ])
}

fn operation(resource: &Resource, verb: &str) -> Value {
    let name = schema_name(resource);
    let mut operation = json!({
        "operationId": format!("{verb}{}{}", resource.version, resource.kind),
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}}}},
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": gvk(resource),
    });
    if verb != "get" {
        operation["parameters"] = parameters();
    }
    operation
}

/// The document of a group and version.
pub fn document(group: &str, version: &str) -> Option<Value> {
    let mut paths = json!({});
    let mut schemas = json!({});
    for r in RESOURCES
        .iter()
        .filter(|r| r.group == group && r.version == version)
    {
        let base = format!("/{}", key(group, version));
        let scope = if r.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let collection = format!("{base}{scope}/{}", r.plural);
        let mut many = json!({});
        let mut one = json!({});
        for (on, verb, method) in [
            (true, "create", "post"),
            (false, "get", "get"),
            (false, "update", "put"),
            (false, "patch", "patch"),
            (false, "delete", "delete"),
        ] {
            if r.verbs.has(verb) {
                let place = if on { &mut many } else { &mut one };
                let action = match verb {
                    "create" => "post",
                    "update" => "put",
                    other => other,
                };
                place[method] = operation(r, action);
            }
        }
        paths[&collection] = many;
        if one.as_object().is_some_and(|m| !m.is_empty()) {
            paths[format!("{collection}/{{name}}")] = one;
        }
        let mut schema = json!({
            "type": "object",
            "description": format!("{} of {}.", r.kind, r.api_version()),
            "x-kubernetes-group-version-kind": [gvk(r)],
        });
        if r.flavor == resources::Flavor::Custom {
            schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
        } else {
            schema["properties"] = json!({
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
            });
        }
        schemas[schema_name(r)] = schema;
    }
    if schemas.as_object().is_none_or(|m| m.is_empty()) {
        return None;
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }))
}
