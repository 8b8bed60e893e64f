//! Sending an Experiment: first as a dry run, then in earnest.

use katlab_katib::types::Experiment;
use kube::Api;
use kube::api::{DynamicObject, PostParams};
use serde_json::Value;

use super::held::{self, Held as _};
use crate::cluster::{Cluster, Error, Result};
use crate::kubernetes::Scope;
use crate::kubernetes::apply::FIELD_MANAGER;

/// Whether to send it in earnest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The server runs everything, the webhooks included, and keeps nothing.
    DryRun,
    /// The server keeps it.
    Create,
}

/// Sends a manifest to `namespace`, whatever namespace it names itself, and returns what the
/// server made of it.
pub async fn send(
    cluster: &Cluster,
    namespace: &str,
    manifest: &Value,
    mode: Mode,
) -> Result<Experiment> {
    let mut manifest = manifest.clone();
    let what = || "the Experiment".to_owned();
    let metadata = manifest
        .get_mut("metadata")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| Error::Input {
            what: what(),
            reason: "it has no metadata".into(),
        })?;
    metadata.insert("namespace".into(), namespace.into());
    let scope = Scope::from(namespace);
    let mut action = held::action::<held::Experiment>(cluster, "create", &scope);
    if let Some(name) = metadata.get("name").and_then(Value::as_str) {
        action = action.named(name);
    }
    let object: DynamicObject = serde_json::from_value(manifest).map_err(|error| Error::Input {
        what: what(),
        reason: error.to_string(),
    })?;
    let api: Api<DynamicObject> = Api::namespaced_with(
        cluster.client.clone(),
        namespace,
        &held::Experiment::resource(),
    );
    let params = PostParams {
        dry_run: mode == Mode::DryRun,
        field_manager: Some(FIELD_MANAGER.into()),
    };
    match api.create(&params, &object).await {
        Ok(created) => serde_json::to_value(created)
            .and_then(serde_json::from_value)
            .map_err(|error| Error::Answer {
                action,
                reason: error.to_string(),
            }),
        Err(error) => Err(match Error::from_kube(error, &action) {
            // The path itself is unknown: the kind is.
            Error::NotFound { .. } => Error::UnknownKind {
                kind: "Experiment (is Katib installed?)".into(),
                near: Vec::new(),
            },
            Error::NoNamespace { namespace, .. } => {
                match crate::kubernetes::namespaces::expect(cluster, Some(&namespace)).await {
                    Err(error @ Error::NoNamespace { .. }) => error,
                    _ => Error::NoNamespace {
                        namespace,
                        near: Vec::new(),
                    },
                }
            }
            error => error,
        }),
    }
}
