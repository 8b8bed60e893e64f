//! What is in the cluster when it starts: namespaces, the definitions of Katib's kinds, and the
//! ConfigMap from which tools read what Katib can do here.

use serde_json::{Value, json};

use katlab_katib::names::{DEFAULT_EARLY_STOPPING, SANDBOX_COLLECTORS};
use katlab_suggestion::ALGORITHMS;

use crate::api::Api;
use crate::api::status::ApiError;
use crate::gc::{ensure, furnish};
use crate::katib_config;
use crate::resources::{self, Flavor, RESOURCES, Resource};

/// The namespace that a learner works in.
pub const USER_NAMESPACE: &str = "kubeflow-user";

/// Makes what is missing; what is there stays as it is.
pub async fn run(api: &Api, ca_pem: &str) -> Result<(), ApiError> {
    let table = |group, version, plural| {
        resources::find(group, version, plural)
            .ok_or_else(|| ApiError::internal(format!("{plural} is not in the resource table")))
    };
    let namespaces = table("", "v1", "namespaces")?;
    for name in ["default", "kube-system", "kubeflow", USER_NAMESPACE] {
        let mut namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        if name == USER_NAMESPACE {
            namespace["metadata"]["labels"] =
                json!({"katib.kubeflow.org/metrics-collector-injection": "enabled"});
        }
        ensure(api, namespaces, None, namespace).await?;
        furnish(api, name, ca_pem).await?;
    }
    ensure(
        api,
        table("", "v1", "configmaps")?,
        Some(katib_config::NAMESPACE),
        configuration()?,
    )
    .await?;
    let definitions = table("apiextensions.k8s.io", "v1", "customresourcedefinitions")?;
    for resource in RESOURCES.iter().filter(|r| r.flavor == Flavor::Custom) {
        ensure(api, definitions, None, definition(resource)).await?;
    }
    Ok(())
}

fn configuration() -> Result<Value, ApiError> {
    // Nothing of this runs as a container; the image names say so. An entry with another image does.
    let built_in = |key: &str, names: &[&str]| -> Value {
        names
            .iter()
            .map(|n| json!({key: n, "image": katib_config::BUILT_IN}))
            .collect()
    };
    let config = json!({
        "apiVersion": "config.kubeflow.org/v1beta1",
        "kind": "KatibConfig",
        "init": {"controller": {"trialResources": ["Job.v1.batch"]}},
        "runtime": {
            "suggestions": built_in("algorithmName", ALGORITHMS),
            "earlyStoppings": built_in("algorithmName", DEFAULT_EARLY_STOPPING),
            "metricsCollectors": built_in("kind", SANDBOX_COLLECTORS),
        },
    });
    let text = serde_saphyr::to_string(&config).map_err(ApiError::internal)?;
    let metadata = json!({"name": katib_config::NAME, "namespace": katib_config::NAMESPACE});
    let data = json!({katib_config::KEY: text});
    Ok(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}))
}

/// The definition of a custom resource, from its entry in the table.
pub(crate) fn definition(resource: &Resource) -> Value {
    const PATH: &str = "Custom resource definition column (in JSONPath format): ";
    let columns: Vec<Value> = resource
        .columns
        .iter()
        .filter_map(|c| {
            let path = c.description.strip_prefix(PATH)?;
            Some(json!({"name": c.name, "type": c.kind, "jsonPath": path}))
        })
        .collect();
    let names = json!({"plural": resource.plural, "singular": resource.singular, "kind": resource.kind, "listKind": format!("{}List", resource.kind), "categories": resource.categories});
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": crate::api::age::now()});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{}.{}", resource.plural, resource.group), "labels": {"app.kubernetes.io/name": "katib"}},
        "spec": {
            "group": resource.group,
            "names": names,
            "scope": "Namespaced",
            "versions": [{
                "name": resource.version,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                "subresources": {"status": {}},
                "additionalPrinterColumns": columns,
            }],
            "conversion": {"strategy": "None"},
        },
        "status": {
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ],
            "acceptedNames": names,
            "storedVersions": [resource.version],
        },
    })
}
