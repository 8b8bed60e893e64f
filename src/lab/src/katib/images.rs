//! Which images a trial's containers really ran.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::cluster::{Cluster, Error, Result};
use crate::kubernetes::pods::TRIAL_LABEL;

/// What a node knows a container's image by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// `repository@sha256:…`, by which a registry finds it again; nothing where it came from none.
    pub digest: Option<String>,
    /// The image's own id, `sha256:…`, by which the engine that has it finds it, and nobody else.
    pub id: Option<String>,
}

impl Identity {
    /// Reads the `imageID` of a container's status.
    pub fn of(image_id: &str) -> Self {
        Self {
            digest: by_digest(image_id),
            id: by_id(image_id),
        }
    }
}

/// What the images of a trial's containers are known by, by container; empty once the pod is gone.
///
/// # Errors
/// When the pods cannot be listed.
pub async fn ran(
    cluster: &Cluster,
    namespace: &str,
    trial: &str,
) -> Result<BTreeMap<String, Identity>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{TRIAL_LABEL}={trial}"));
    let action = cluster.action("list", "pods").within(namespace);
    let pods = api
        .list(&params)
        .await
        .map_err(|error| Error::from_kube(error, &action))?;
    let statuses = pods.items.into_iter().filter_map(|pod| pod.status);
    let containers = statuses
        .flat_map(|status| [status.init_container_statuses, status.container_statuses])
        .flatten()
        .flatten();
    Ok(containers
        .map(|one| (one.name, Identity::of(&one.image_id)))
        // A pod that has not started knows nothing, and takes nothing from one that has.
        .filter(|(_, identity)| *identity != Identity::default())
        .collect())
}

/// `docker-pullable://host/name@sha256:…` is what Docker's nodes say, `host/name@sha256:…` what others
/// do; a bare `sha256:…` is the image's own id, by which no registry finds it.
pub(super) fn by_digest(id: &str) -> Option<String> {
    let (name, digest) = reference(id).split_once('@')?;
    (!name.is_empty() && digest.starts_with("sha256:")).then(|| reference(id).to_owned())
}

fn by_id(id: &str) -> Option<String> {
    let id = reference(id);
    (id.starts_with("sha256:") && !id.contains('@')).then(|| id.to_owned())
}

/// Without the name of the runtime.
fn reference(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_registrys_digest_finds_the_image_again() {
        for (id, pinned) in [
            (
                "docker-pullable://h:5/a/b@sha256:12",
                Some("h:5/a/b@sha256:12"),
            ),
            (
                "docker.io/library/python@sha256:ab",
                Some("docker.io/library/python@sha256:ab"),
            ),
            ("sha256:12", None),
            ("docker://sha256:12", None),
            ("", None),
        ] {
            assert_eq!(by_digest(id).as_deref(), pinned, "{id}");
        }
        // One that was never pushed is known to its engine.
        let local = Identity::of("docker-pullable://sha256:12");
        assert_eq!(
            (local.digest, local.id.as_deref()),
            (None, Some("sha256:12"))
        );
        assert_eq!(Identity::of("h:5/a@sha256:12").id, None);
        assert_eq!(Identity::of(""), Identity::default());
    }
}
