//! Applying manifests: first a plan made by the server's own dry run, then the deed.

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use serde_json::Value;

use super::discovery::Kind;
use super::objects;
use crate::cluster::{Cluster, Error, Result};

/// Who we are in managed fields.
pub const FIELD_MANAGER: &str = "katlab";

/// Reads the objects of a YAML (or JSON) text, one a document; a `List` counts as its items.
///
/// # Errors
/// Text that does not parse, has duplicate keys or explodes by aliases, and documents that are no
/// Kubernetes objects.
pub fn parse(text: &str, what: &str) -> Result<Vec<Value>> {
    let broken = |reason: String| Error::Input {
        what: what.to_owned(),
        reason,
    };
    let options = serde_saphyr::options! {
        // kubectl reads 0755 as 493.
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! { max_nodes: 100_000, max_depth: 64 },
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| broken(error.to_string()))?;
    let mut objects = Vec::new();
    for document in documents {
        match document {
            Value::Null => {}
            Value::Object(mut list)
                if list
                    .get("kind")
                    .and_then(Value::as_str)
                    .is_some_and(|kind| kind.ends_with("List"))
                    && list.contains_key("items") =>
            {
                if let Some(Value::Array(items)) = list.remove("items") {
                    objects.extend(items);
                }
            }
            object => objects.push(object),
        }
    }
    for object in &objects {
        for field in ["apiVersion", "kind"] {
            if object
                .get(field)
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
            {
                return Err(broken(format!(
                    "a document has no {field}, so it is no Kubernetes object"
                )));
            }
        }
        if object
            .pointer("/metadata/name")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
        {
            return Err(broken("a document has no metadata.name".into()));
        }
    }
    if objects.is_empty() {
        return Err(broken("it holds no object".into()));
    }
    Ok(objects)
}

/// What applying would do to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is not there yet.
    Create,
    /// These fields would change.
    Update(Vec<FieldChange>),
    /// Nothing would change.
    Nothing,
}

/// One field that would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Its path, such as `spec.maxTrialCount`.
    pub path: String,
    /// Its value now, short.
    pub from: Option<String>,
    /// Its value then, short.
    pub to: Option<String>,
}

/// One object of a plan.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Where; `None` for cluster-wide kinds.
    pub namespace: Option<String>,
    /// What would happen.
    pub change: Change,
    object: Value,
}

/// Asks the server what applying these objects would do. Nothing is changed.
///
/// Objects without a namespace get `namespace`.
pub async fn plan(cluster: &Cluster, namespace: &str, objects: Vec<Value>) -> Result<Vec<Step>> {
    let discovery = cluster.discovery().await?;
    let mut steps = Vec::new();
    for mut object in objects {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let (api_version, kind) = (
            text("/apiVersion").unwrap_or_default(),
            text("/kind").unwrap_or_default(),
        );
        let name = text("/metadata/name").unwrap_or_default();
        let own = text("/metadata/namespace");
        let kind = discovery.of_object(&api_version, &kind)?.clone();
        let namespace = kind
            .namespaced
            .then(|| own.unwrap_or_else(|| namespace.to_owned()));
        if let (Some(namespace), Some(metadata)) = (
            &namespace,
            object.get_mut("metadata").and_then(Value::as_object_mut),
        ) {
            metadata.insert("namespace".into(), namespace.clone().into());
        }
        let now = match objects::get(
            cluster,
            &kind,
            namespace.as_deref().unwrap_or_default(),
            &name,
        )
        .await
        {
            Ok(now) => Some(now),
            Err(Error::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        let then = send(cluster, &kind, namespace.as_deref(), &name, &object, true).await?;
        let change = match now {
            None => Change::Create,
            Some(now) => match differences(&comparable(now), &comparable(then)) {
                changes if changes.is_empty() => Change::Nothing,
                changes => Change::Update(changes),
            },
        };
        steps.push(Step {
            kind,
            name,
            namespace,
            change,
            object,
        });
    }
    Ok(steps)
}

/// Carries a step of a plan out.
pub async fn execute(cluster: &Cluster, step: &Step) -> Result<()> {
    if step.change == Change::Nothing {
        return Ok(());
    }
    send(
        cluster,
        &step.kind,
        step.namespace.as_deref(),
        &step.name,
        &step.object,
        false,
    )
    .await
    .map(drop)
}

async fn send(
    cluster: &Cluster,
    kind: &Kind,
    namespace: Option<&str>,
    name: &str,
    object: &Value,
    dry_run: bool,
) -> Result<Value> {
    let resource = kind.resource();
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    };
    let params = PatchParams {
        dry_run,
        ..PatchParams::apply(FIELD_MANAGER)
            .force()
            .validation_strict()
    };
    let mut action = cluster.action("apply", &kind.plural).named(name);
    if let Some(namespace) = namespace {
        action = action.within(namespace);
    }
    match api.patch(name, &params, &Patch::Apply(object)).await {
        Ok(object) => serde_json::to_value(object).map_err(|error| Error::Answer {
            action,
            reason: error.to_string(),
        }),
        Err(error) => {
            Err(objects::explain(cluster, kind, namespace, Error::from_kube(error, &action)).await)
        }
    }
}

/// Without the fields that change by themselves.
fn comparable(object: Value) -> Value {
    let mut object = objects::readable(object);
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("status");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in ["resourceVersion", "generation", "uid", "creationTimestamp"] {
                metadata.shift_remove(field);
            }
        }
    }
    object
}

/// The fields in which two objects differ.
pub fn differences(from: &Value, to: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare(String::new(), Some(from), Some(to), &mut found);
    found
}

fn compare(path: String, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<FieldChange>) {
    if from == to {
        return;
    }
    match (from, to) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let below = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                compare(below, old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                compare(
                    format!("{path}[{index}]"),
                    old.get(index),
                    new.get(index),
                    found,
                );
            }
        }
        _ => found.push(FieldChange {
            path,
            from: from.map(short),
            to: to.map(short),
        }),
    }
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn documents_and_lists_are_taken_apart() {
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: b}\n";
        let objects = parse(text, "x.yaml").unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(objects[1]["metadata"]["name"], "b");
    }

    #[test]
    fn what_is_no_object_is_refused_with_the_reason() {
        for (text, said) in [
            ("a: 1", "no apiVersion"),
            ("apiVersion: v1\nkind: ConfigMap\n", "no metadata.name"),
            (
                "apiVersion: v1\nkind: A\nkind: B\nmetadata: {name: a}",
                "uplicate",
            ),
            ("", "no object"),
        ] {
            let error = parse(text, "x.yaml").unwrap_err().to_string();
            assert!(
                error.starts_with("x.yaml: ") && error.contains(said),
                "{error}"
            );
        }
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{}", level - 1);
            text.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                vec![below; 9].join(", ")
            ));
        }
        assert!(parse(&text, "bomb.yaml").is_err());
    }

    #[test]
    fn differences_name_the_fields() {
        let found = differences(
            &json!({"spec": {"max": 3, "list": [1, 2]}, "kind": "A"}),
            &json!({"spec": {"max": 5, "list": [1]}, "kind": "A"}),
        );
        let paths: Vec<&str> = found.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["spec.list[1]", "spec.max"]);
        assert_eq!(
            (found[1].from.as_deref(), found[1].to.as_deref()),
            (Some("3"), Some("5"))
        );
    }
}
