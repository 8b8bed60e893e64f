//! Namespaces: whether one exists, and whether Katib works in it.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::ListParams;

use crate::cluster::{Cluster, Error, Result, near_misses};

/// The label Katib wants on a namespace.
pub const INJECTION_LABEL: &str = "katib.kubeflow.org/metrics-collector-injection";

/// What is known about a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It exists and Katib works in it.
    Labelled,
    /// It exists without Katib's label.
    Unlabelled,
    /// We may not look (as in a Kubeflow profile).
    Hidden,
}

/// Looks at a namespace.
///
/// # Errors
/// [`Error::NoNamespace`] with near misses when it does not exist.
pub async fn standing(cluster: &Cluster, name: &str) -> Result<Standing> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let action = cluster.action("get", "namespaces").named(name);
    match api.get(name).await {
        Ok(namespace) => {
            let labelled = namespace.metadata.labels.is_some_and(|labels| {
                labels
                    .get(INJECTION_LABEL)
                    .is_some_and(|value| value == "enabled")
            });
            Ok(if labelled {
                Standing::Labelled
            } else {
                Standing::Unlabelled
            })
        }
        Err(error) => match Error::from_kube(error, &action) {
            Error::NotFound { .. } => {
                let near = match api.list_metadata(&ListParams::default()).await {
                    Ok(list) => {
                        let names: Vec<String> = list
                            .items
                            .into_iter()
                            .filter_map(|item| item.metadata.name)
                            .collect();
                        near_misses(name, names.iter().map(String::as_str))
                    }
                    Err(_) => Vec::new(),
                };
                Err(Error::NoNamespace {
                    namespace: name.to_owned(),
                    near,
                })
            }
            Error::Forbidden { .. } => Ok(Standing::Hidden),
            other => Err(other),
        },
    }
}

/// Fails when the namespace certainly does not exist.
pub(crate) async fn expect(cluster: &Cluster, namespace: Option<&str>) -> Result<()> {
    match namespace {
        Some(name) => standing(cluster, name).await.map(drop),
        None => Ok(()),
    }
}
