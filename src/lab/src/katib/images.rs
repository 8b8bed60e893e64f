//! Which images a trial's containers really ran.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;

use crate::cluster::{Cluster, Error, Result};
use crate::kubernetes::pods::TRIAL_LABEL;

/// The images of a trial's containers by digest (`repository@sha256:…`), by container; without those
/// that the node knows by no digest of a registry, and empty once the pod is gone.
///
/// # Errors
/// When the pods cannot be listed.
pub async fn pinned(
    cluster: &Cluster,
    namespace: &str,
    trial: &str,
) -> Result<BTreeMap<String, String>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{TRIAL_LABEL}={trial}"));
    let action = cluster.action("list", "pods").within(namespace);
    let pods = api
        .list(&params)
        .await
        .map_err(|error| Error::from_kube(error, &action))?;
    let statuses = pods
        .items
        .into_iter()
        .filter_map(|pod| pod.status)
        .filter_map(|status| status.container_statuses)
        .flatten();
    Ok(statuses
        .filter_map(|status| Some((status.name, by_digest(&status.image_id)?)))
        .collect())
}

/// `docker-pullable://host/name@sha256:…` is what Docker's nodes say, `host/name@sha256:…` what others
/// do; a bare `sha256:…` is the image's own id, by which no registry finds it.
pub(super) fn by_digest(id: &str) -> Option<String> {
    let reference = id.split_once("://").map_or(id, |(_, rest)| rest);
    let (name, digest) = reference.split_once('@')?;
    (!name.is_empty() && digest.starts_with("sha256:")).then(|| reference.to_owned())
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
    }
}
