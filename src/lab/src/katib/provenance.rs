//! What an exported experiment ran on: who wrote the export, the versions of what it came from, and the
//! images its trials really ran.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use serde::{Deserialize, Serialize};

use super::images::{Identity, by_digest};
use super::observations::KATIB_NAMESPACE;
use crate::cluster::{Cluster, Error, Result};
use crate::kubernetes::Scope;
use crate::kubernetes::pods::{TRIAL_LABEL, api};
use crate::reference::Reference;

/// Katib's own controller, whose image says which Katib it is.
const CONTROLLER: &str = "katib-controller";
/// Pods asked for at once.
const PAGE: u32 = 500;

/// What an experiment ran on, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Provenance {
    /// The version of katlab that wrote the export.
    pub katlab: String,
    /// When it was written, RFC 3339.
    pub exported: String,
    /// The cluster, as katlab calls it.
    pub cluster: String,
    /// The version of its Kubernetes; the sandbox's says that it is one.
    pub kubernetes: Option<String>,
    /// The version of its Katib; nothing in the sandbox, and where it may not be asked.
    pub katib: Option<String>,
    /// The images of the trials whose pods were there.
    pub images: Vec<Image>,
}

/// An image, and the trials that ran it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    /// The container it ran in.
    pub container: String,
    /// Its name, as the pod had it.
    pub image: String,
    /// What the node knows it by.
    #[serde(rename = "imageID")]
    pub image_id: String,
    /// Its name with the digest by which a registry finds it again; nothing where it came from none.
    pub digest: Option<String>,
    /// The trials, by name.
    pub trials: BTreeSet<String>,
}

impl Image {
    /// Whether both are the same image in containers of one name.
    fn is(&self, other: &Self) -> bool {
        let key = |one: &Self| {
            (
                one.container.clone(),
                one.image.clone(),
                one.image_id.clone(),
            )
        };
        key(self) == key(other)
    }
}

impl Provenance {
    /// What the images of a trial's containers are known by, by container.
    pub fn ran(&self, trial: &str) -> BTreeMap<String, Identity> {
        let of_trial = |image: &&Image| image.trials.contains(trial);
        let known = |image: &Image| {
            let found = Identity::of(&image.image_id);
            let digest = image.digest.clone().or(found.digest);
            (image.container.clone(), Identity { digest, ..found })
        };
        let known = self.images.iter().filter(of_trial).map(known);
        known
            .filter(|(_, identity)| *identity != Identity::default())
            .collect()
    }

    /// What was seen of an experiment that is followed; versions are not asked for.
    pub(super) fn seen(cluster: &Cluster, images: Vec<Image>) -> Self {
        Self {
            katlab: env!("CARGO_PKG_VERSION").to_owned(),
            exported: format!("{:.0}", Timestamp::now()),
            cluster: cluster.name.clone(),
            images,
            ..Self::default()
        }
    }

    /// Adds what was seen later. Images of pods that are gone since then stay.
    pub fn absorb(&mut self, later: Self) {
        for image in later.images {
            let known = self.images.iter_mut().find(|known| known.is(&image));
            match known {
                Some(known) => known.trials.extend(image.trials),
                None => self.images.push(image),
            }
        }
        self.katlab = later.katlab;
        self.exported = later.exported;
        self.cluster = later.cluster;
        self.kubernetes = later.kubernetes.or_else(|| self.kubernetes.take());
        self.katib = later.katib.or_else(|| self.katib.take());
    }

    /// How many of these trials ran an image that is known.
    pub fn known(&self) -> usize {
        let trials = self.images.iter().flat_map(|image| &image.trials);
        trials.collect::<HashSet<_>>().len()
    }
}

/// What these trials ran on. A version that cannot be had is left out.
///
/// # Errors
/// When the pods cannot be listed.
pub async fn collect(cluster: &Cluster, trials: &HashSet<&str>) -> Result<Provenance> {
    let (images, kubernetes, katib) =
        futures::join!(images(cluster, trials), cluster.version(), katib(cluster));
    Ok(Provenance {
        kubernetes: kubernetes.ok(),
        katib,
        ..Provenance::seen(cluster, images?)
    })
}

/// The tag of the controller's image. A tenant may not be allowed to look.
async fn katib(cluster: &Cluster) -> Option<String> {
    if cluster.is_sandbox() {
        return None;
    }
    let api: Api<Deployment> = Api::namespaced(cluster.client.clone(), KATIB_NAMESPACE);
    let containers = api
        .get(CONTROLLER)
        .await
        .ok()?
        .spec?
        .template
        .spec?
        .containers;
    let controller = containers.iter().find(|one| one.name == CONTROLLER);
    let image = controller.or(containers.first())?.image.as_deref()?;
    Reference::parse(image).ok()?.tag().map(str::to_owned)
}

async fn images(cluster: &Cluster, trials: &HashSet<&str>) -> Result<Vec<Image>> {
    let scope = Scope::Namespace(cluster.namespace.clone());
    let (api, action) = (api(cluster, &scope), cluster.action("list", "pods"));
    let mut params = ListParams::default().labels(TRIAL_LABEL).limit(PAGE);
    let mut found = Images::default();
    loop {
        let failed = |error| Error::from_kube(error, &action.clone().within(&cluster.namespace));
        let page = api.list(&params).await.map_err(failed)?;
        for pod in &page.items {
            found.add(pod);
        }
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params.continue_token = Some(token),
            _ => return Ok(found.of(trials)),
        }
    }
}

/// Trials by container, image and what the node knows it by.
#[derive(Default)]
pub(super) struct Images(BTreeMap<(String, String, String), BTreeSet<String>>);

impl Images {
    pub(super) fn add(&mut self, pod: &Pod) {
        let labels = pod.metadata.labels.as_ref();
        let trial = labels.and_then(|labels| labels.get(TRIAL_LABEL));
        let (Some(trial), Some(status)) = (trial, &pod.status) else {
            return;
        };
        let containers = [&status.init_container_statuses, &status.container_statuses];
        for one in containers.into_iter().flatten().flatten() {
            // Empty until the image is there.
            if !one.image_id.is_empty() {
                let key = (one.name.clone(), one.image.clone(), one.image_id.clone());
                self.0.entry(key).or_default().insert(trial.clone());
            }
        }
    }

    /// The images that some of these trials ran.
    pub(super) fn of(&self, trials: &HashSet<&str>) -> Vec<Image> {
        let image = |((container, image, image_id), all): (
            &(String, String, String),
            &BTreeSet<String>,
        )| {
            let of = all.iter().filter(|trial| trials.contains(trial.as_str()));
            Image {
                digest: by_digest(image_id),
                container: container.clone(),
                image: image.clone(),
                image_id: image_id.clone(),
                trials: of.cloned().collect(),
            }
        };
        let images = self.0.iter().map(image);
        images.filter(|image| !image.trials.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(trial: &str, id: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": format!("{trial}-abc"), "labels": {TRIAL_LABEL: trial}},
            "status": {"containerStatuses": [{
                "name": "training", "image": "h:5/digits:1", "imageID": id, "ready": false, "restartCount": 0}]},
        }))
        .unwrap()
    }

    #[test]
    fn trials_of_one_image_stand_together_and_are_pinned_to_what_they_ran() {
        let mut images = Images::default();
        let wanted = HashSet::from(["a-1", "a-2", "a-3", "a-4"]);
        for (trial, id) in [
            ("a-2", "docker-pullable://h:5/digits@sha256:12"),
            ("a-1", "docker-pullable://h:5/digits@sha256:12"),
            // The name stood for another image later.
            ("a-3", "docker://sha256:34"),
            ("a-4", ""),
            ("b-1", "docker-pullable://h:5/digits@sha256:12"),
        ] {
            images.add(&pod(trial, id));
        }
        let made = Provenance {
            images: images.of(&wanted),
            ..Provenance::default()
        };
        let trials: Vec<Vec<&str>> = made
            .images
            .iter()
            .map(|image| image.trials.iter().map(String::as_str).collect())
            .collect();
        assert_eq!(trials, [vec!["a-1", "a-2"], vec!["a-3"]]);
        assert_eq!(made.known(), 3);
        let ran = |trial: &str| made.ran(trial).remove("training");
        let digest = ran("a-1").and_then(|image| image.digest);
        assert_eq!(digest.as_deref(), Some("h:5/digits@sha256:12"));
        let local = ran("a-3").unwrap();
        assert_eq!(
            (local.digest, local.id.as_deref()),
            (None, Some("sha256:34"))
        );
        assert!(made.ran("b-1").is_empty());
        let text = serde_json::to_string(&made).unwrap();
        assert!(text.contains(r#""imageID":"docker://sha256:34""#), "{text}");
        assert_eq!(serde_json::from_str::<Provenance>(&text).unwrap(), made);
        // What a later version adds or leaves out is no reason not to read the rest.
        let other: Provenance = serde_json::from_str(r#"{"katlab": "9", "more": 1}"#).unwrap();
        assert_eq!(other.katlab, "9");
    }
}
