//! Deleting, with a plan that says what else goes.

use std::time::Duration;

use kube::Api;
use kube::api::{DeleteParams, DynamicObject};
use serde_json::Value;

use super::discovery::Kind;
use super::objects;
use super::table::Query;
use crate::cluster::{Cluster, Error, Result};

/// Something that would be deleted.
#[derive(Clone, Debug)]
pub struct Doomed {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Where; `None` for cluster-wide kinds.
    pub namespace: Option<String>,
    /// What goes with it: kind and number, as far as we can see.
    pub dependents: Vec<(String, usize)>,
}

/// Looks at an object and at what its deletion takes along. Nothing is changed.
pub async fn plan(cluster: &Cluster, kind: &Kind, namespace: &str, name: &str) -> Result<Doomed> {
    let object = objects::get(cluster, kind, namespace, name).await?;
    let namespace = kind.namespaced.then(|| namespace.to_owned());
    let mut dependents = Vec::new();
    if let (Some(namespace), Some(uid)) = (
        &namespace,
        object.pointer("/metadata/uid").and_then(Value::as_str),
    ) {
        let mut owners = vec![uid.to_owned()];
        // The chain of an experiment; other kinds have at most jobs and pods below them.
        for name in [
            "suggestions.kubeflow.org",
            "trials.kubeflow.org",
            "jobs.batch",
            "pods",
        ] {
            let Ok(below) = cluster.discovery().await?.kind(name) else {
                continue;
            };
            let Ok(found) =
                objects::list(cluster, below, &Query::all(namespace.as_str().into())).await
            else {
                continue;
            };
            let owned: Vec<String> = found
                .iter()
                .filter(|one| {
                    let references = one
                        .pointer("/metadata/ownerReferences")
                        .and_then(Value::as_array);
                    references.into_iter().flatten().any(|reference| {
                        reference
                            .get("uid")
                            .and_then(Value::as_str)
                            .is_some_and(|uid| owners.iter().any(|o| o == uid))
                    })
                })
                .filter_map(|one| {
                    one.pointer("/metadata/uid")
                        .and_then(Value::as_str)
                        .map(str::to_owned)
                })
                .collect();
            if !owned.is_empty() {
                let word = if owned.len() == 1 {
                    below.singular.clone()
                } else {
                    below.plural.clone()
                };
                dependents.push((word, owned.len()));
            }
            owners.extend(owned);
        }
    }
    Ok(Doomed {
        kind: kind.clone(),
        name: name.to_owned(),
        namespace,
        dependents,
    })
}

/// Deletes an object; its dependents follow in the background.
///
/// Never in the foreground: on real Katib that makes the trials of a running experiment anew as
/// fast as they are removed.
pub async fn execute(cluster: &Cluster, doomed: &Doomed) -> Result<()> {
    let kind = &doomed.kind;
    let api = api(cluster, doomed);
    let mut action = cluster.action("delete", &kind.plural).named(&doomed.name);
    if let Some(namespace) = &doomed.namespace {
        action = action.within(namespace);
    }
    match api.delete(&doomed.name, &DeleteParams::background()).await {
        Ok(_) => Ok(()),
        Err(error) => Err(objects::explain(
            cluster,
            kind,
            doomed.namespace.as_deref(),
            Error::from_kube(error, &action),
        )
        .await),
    }
}

/// Waits until a deleted object is really gone, which finalizers may delay.
pub async fn gone(cluster: &Cluster, doomed: &Doomed, patience: Duration) -> Result<()> {
    let condition = |object: Option<&DynamicObject>| object.is_none();
    let wait = kube::runtime::wait::await_condition(api(cluster, doomed), &doomed.name, condition);
    match tokio::time::timeout(patience, wait).await {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::TimedOut {
            what: format!(
                "{} {} is still there (a finalizer holds it)",
                doomed.kind.singular, doomed.name
            ),
            seconds: patience.as_secs(),
        }),
    }
}

fn api(cluster: &Cluster, doomed: &Doomed) -> Api<DynamicObject> {
    let resource = doomed.kind.resource();
    match &doomed.namespace {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &resource),
        None => Api::all_with(cluster.client.clone(), &resource),
    }
}
