//! The operations of a document: what each path of a resource takes and answers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Patch, Status};
use serde_json::{Map, Value, json};

use crate::api::patch::PatchKind;
use crate::resources::Resource;

use super::{Schemas, group_path};

/// Parameters with their types and what they do.
const PARAMETERS: &[(&str, &str, &str)] = &[
    (
        "allowWatchBookmarks",
        "boolean",
        "Send bookmarks in a watch.",
    ),
    (
        "continue",
        "string",
        "Where the page before this one ended; from its metadata.",
    ),
    (
        "dryRun",
        "string",
        "When present, modifications are not stored. Valid: All.",
    ),
    (
        "fieldManager",
        "string",
        "The name of the actor that makes these changes.",
    ),
    (
        "fieldSelector",
        "string",
        "Only objects with these fields; which there are depends on the kind.",
    ),
    (
        "fieldValidation",
        "string",
        "What to do with unknown or duplicate fields: Ignore, Warn or Strict.",
    ),
    (
        "force",
        "boolean",
        "Take over conflicting fields of other managers (server-side apply only).",
    ),
    (
        "gracePeriodSeconds",
        "integer",
        "How long the object may take to end. Zero: at once.",
    ),
    ("labelSelector", "string", "Only objects with these labels."),
    ("limit", "integer", "The most objects of a page."),
    (
        "orphanDependents",
        "boolean",
        "Deprecated: use propagationPolicy.",
    ),
    (
        "propagationPolicy",
        "string",
        "What happens to dependents: Orphan, Background or Foreground.",
    ),
    (
        "resourceVersion",
        "string",
        "The version the answer starts from.",
    ),
    (
        "resourceVersionMatch",
        "string",
        "How resourceVersion is meant: Exact or NotOlderThan.",
    ),
    (
        "sendInitialEvents",
        "boolean",
        "Start a watch with the objects there are.",
    ),
    ("timeoutSeconds", "integer", "When a watch ends."),
    ("watch", "boolean", "Follow changes instead of listing."),
];

const LIST: &[&str] = &[
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];
const READ: &[&str] = &["resourceVersion"];
const WRITE: &[&str] = &["dryRun", "fieldManager", "fieldValidation"];
const PATCH: &[&str] = &["dryRun", "fieldManager", "fieldValidation", "force"];
const DELETE: &[&str] = &[
    "dryRun",
    "gracePeriodSeconds",
    "orphanDependents",
    "propagationPolicy",
];

/// A verb of the table as an operation: method, the action's name in the document, the verb in its
/// id, what it takes.
struct Verb {
    name: &'static str,
    method: &'static str,
    action: &'static str,
    id: &'static str,
    parameters: &'static [&'static str],
    on_collection: bool,
}

const fn verb(
    name: &'static str,
    method: &'static str,
    action: &'static str,
    id: &'static str,
    parameters: &'static [&'static str],
    on_collection: bool,
) -> Verb {
    Verb {
        name,
        method,
        action,
        id,
        parameters,
        on_collection,
    }
}

const VERBS: &[Verb] = &[
    verb("list", "get", "list", "list", LIST, true),
    verb("create", "post", "post", "create", WRITE, true),
    verb(
        "deletecollection",
        "delete",
        "deletecollection",
        "deleteCollection",
        LIST,
        true,
    ),
    verb("get", "get", "get", "read", READ, false),
    verb("update", "put", "put", "replace", WRITE, false),
    verb("delete", "delete", "delete", "delete", DELETE, false),
    verb("patch", "patch", "patch", "patch", PATCH, false),
];

fn title(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// `CoreV1`, `KubeflowOrgV1beta1`.
fn identity(resource: &Resource) -> String {
    let group = match resource.group.trim_end_matches(".k8s.io") {
        "" => "core",
        group => group,
    };
    let group: String = group.split('.').map(title).collect();
    group + &title(resource.version)
}

fn content(types: &[&str], schema: &Value) -> Value {
    let of_type = |t: &&str| ((*t).to_owned(), json!({"schema": schema}));
    Value::Object(types.iter().map(of_type).collect())
}

fn path_parameter(name: &str, resource: &Resource) -> Value {
    let what = match name {
        "name" => format!("name of the {}", resource.kind),
        _ => "object name and auth scope, such as for teams and projects".to_owned(),
    };
    json!({"name": name, "in": "path", "description": what, "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

fn query_parameters(names: &[&str]) -> Value {
    PARAMETERS
        .iter()
        .filter(|(name, ..)| names.contains(name))
        .map(|(name, kind, what)| json!({"name": name, "in": "query", "description": what, "schema": {"type": kind, "uniqueItems": true}}))
        .collect()
}

/// What an operation is on: a resource with its schema's name, or one of its subresources.
struct On<'a> {
    resource: &'a Resource,
    schema: Value,
    list: Value,
    subresource: Option<&'static str>,
}

fn operation(on: &On, verb: &Verb, all_namespaces: bool, schemas: &mut Schemas) -> Value {
    let r = on.resource;
    let namespaced = if r.namespaced && !all_namespaces {
        "Namespaced"
    } else {
        ""
    };
    let (id, collection) = match verb.id {
        "deleteCollection" => ("delete", "Collection"),
        id => (id, ""),
    };
    let tail = match on.subresource {
        Some(sub) => title(sub),
        None if all_namespaces => "ForAllNamespaces".to_owned(),
        None => String::new(),
    };
    let identity = identity(r);
    let kind = r.kind;
    let id = format!("{id}{identity}{collection}{namespaced}{kind}{tail}");
    let of = on
        .subresource
        .map_or(String::new(), |sub| format!("{sub} of "));
    let article = match kind.starts_with(['A', 'E', 'I', 'O', 'U']) {
        true => "an",
        false => "a",
    };
    let description = match verb.action {
        "list" => format!("list objects of kind {kind}"),
        "post" => format!("create {article} {kind}"),
        "deletecollection" => format!("delete collection of {kind}"),
        "delete" => format!("delete {article} {kind}"),
        "get" => format!("read {of}the specified {kind}"),
        "put" => format!("replace {of}the specified {kind}"),
        _ => format!("partially update {of}the specified {kind}"),
    };
    let answer = match verb.action {
        "list" => on.list.clone(),
        "delete" | "deletecollection" if !r.kind_rules.delete_answers_object => {
            schemas.of::<Status>()
        }
        _ => on.schema.clone(),
    };
    let answer = match on.subresource {
        Some("log") => content(&["text/plain"], &json!({"type": "string"})),
        Some("attach" | "exec") => content(&["*/*"], &json!({"type": "string"})),
        _ => content(&["application/json", "application/yaml"], &answer),
    };
    let mut responses = json!({"200": {"description": "OK", "content": answer}, "401": {"description": "Unauthorized"}});
    let also: &[(&str, &str)] = match verb.action {
        "post" => &[("201", "Created"), ("202", "Accepted")],
        "put" => &[("201", "Created")],
        "delete" => &[("202", "Accepted")],
        _ => &[],
    };
    for (code, what) in also {
        responses[code] = responses["200"].clone();
        responses[code]["description"] = json!(what);
    }
    let json_or_yaml = &["application/json", "application/yaml"];
    let body = match verb.action {
        "post" | "put" => Some(content(json_or_yaml, &on.schema)),
        "delete" => Some(content(json_or_yaml, &schemas.of::<DeleteOptions>())),
        "patch" => Some(content(
            PatchKind::content_types(r.flavor),
            &schemas.of::<Patch>(),
        )),
        _ => None,
    };
    let lower: String = identity[..1].to_ascii_lowercase() + &identity[1..];
    let tag = lower.replacen(&title(r.version), &format!("_{}", r.version), 1);
    let mut operation = json!({"tags": [tag], "description": description, "operationId": id});
    if !all_namespaces {
        operation["parameters"] = query_parameters(verb.parameters);
    }
    if let Some(content) = body {
        operation["requestBody"] = json!({"content": content});
        if verb.action != "delete" {
            operation["requestBody"]["required"] = json!(true);
        }
    }
    operation["responses"] = responses;
    operation["x-kubernetes-action"] = json!(verb.action);
    operation["x-kubernetes-group-version-kind"] =
        json!({"group": r.group, "version": r.version, "kind": kind});
    operation
}

/// The paths of resources of one group and version; the schemas they need are added.
pub(super) fn paths(served: &[&Resource], schemas: &mut Schemas) -> Map<String, Value> {
    let mut paths = Map::new();
    for resource in served {
        let name = schemas.add(resource);
        let mut on = On {
            resource,
            schema: schemas.reference(&name),
            list: schemas.reference(&format!("{name}List")),
            subresource: None,
        };
        let base = group_path(resource.group, resource.version);
        let mut add = |path: &str, parameters: Value, operations: Vec<(&str, Value)>| {
            if operations.is_empty() {
                return;
            }
            let mut item: Map<String, Value> = operations
                .into_iter()
                .map(|(method, operation)| (method.to_owned(), operation))
                .collect();
            if parameters != json!([]) {
                item.insert("parameters".into(), parameters);
            }
            paths.insert(format!("{base}{path}"), Value::Object(item));
        };
        let namespace = path_parameter("namespace", resource);
        let name = path_parameter("name", resource);
        let (scope, many, one) = match resource.namespaced {
            true => (
                "/namespaces/{namespace}",
                json!([namespace]),
                json!([name, namespace]),
            ),
            false => ("", json!([]), json!([name])),
        };
        let plural = resource.plural;
        if resource.namespaced && resource.verbs.has("list") {
            let list = operation(&on, &VERBS[0], true, schemas);
            add(
                &format!("/{plural}"),
                query_parameters(LIST),
                vec![("get", list)],
            );
        }
        for (path, parameters, on_collection) in [
            (format!("{scope}/{plural}"), many, true),
            (format!("{scope}/{plural}/{{name}}"), one.clone(), false),
        ] {
            let operations = VERBS
                .iter()
                .filter(|v| v.on_collection == on_collection && resource.verbs.has(v.name))
                .map(|v| (v.method, operation(&on, v, false, schemas)))
                .collect();
            add(&path, parameters, operations);
        }
        for sub in resource.subresources {
            on.subresource = Some(sub.name);
            let operations = VERBS
                .iter()
                .filter(|v| !v.on_collection && sub.verbs.contains(&v.name))
                .map(|v| (v.method, operation(&on, v, false, schemas)))
                .collect();
            let path = format!("{scope}/{plural}/{{name}}/{}", sub.name);
            add(&path, one.clone(), operations);
        }
    }
    paths
}
