//! PersistentVolumeClaims: each has a volume of the engine, named by the claim's uid and made when a pod first
//! mounts it. It outlives pods, and goes with the claim.
//!
//! A claim that is deleted waits until no pod runs with it, as in Kubernetes. Pods that have ended do not hold it, but
//! their containers hold the volume until they are removed: it goes then.

use std::collections::{BTreeSet, HashMap};

use bollard::models::VolumeCreateRequest;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::container::label;
use super::engine::{Engine, refusal};
use super::environment::ConfigError;
use super::{ENGINE_PAUSE, Error, Runtime, is_bound, remove_volume, volumes_of};
use crate::api::kinds::PROTECTION;

/// The names of the claims that a pod mounts.
fn names(pod: &Pod) -> BTreeSet<&str> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let sources = volumes.filter_map(|volume| volume.persistent_volume_claim.as_ref());
    sources.map(|source| source.claim_name.as_str()).collect()
}

/// Why a claim cannot be mounted, in the scheduler's words.
fn unusable(name: &str, claim: Option<&PersistentVolumeClaim>) -> Option<String> {
    match claim {
        None => Some(format!("persistentvolumeclaim \"{name}\" not found")),
        Some(claim) if claim.metadata.deletion_timestamp.is_some() => {
            Some(format!("persistentvolumeclaim \"{name}\" is being deleted"))
        }
        Some(_) => None,
    }
}

/// A claim that keeps a pod from its place.
pub(super) struct Lacking {
    api: Api<PersistentVolumeClaim>,
    name: String,
    /// What the pod's condition says.
    pub(super) message: String,
}

impl Lacking {
    /// Waits until the claim can be mounted.
    pub(super) async fn mended(self) {
        let usable = |claim: Option<&PersistentVolumeClaim>| unusable(&self.name, claim).is_none();
        let waiting = kube::runtime::wait::await_condition(self.api.clone(), &self.name, usable);
        if let Err(error) = waiting.await {
            tracing::warn!(%error, claim = self.name, "waiting for a claim");
            tokio::time::sleep(ENGINE_PAUSE).await;
        }
    }
}

/// The first claim of a pod that cannot be mounted.
pub(super) async fn lacking(client: &Client, pod: &Pod) -> Option<Lacking> {
    let namespace = pod.namespace().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), &namespace);
    for name in names(pod) {
        let why = match api.get_opt(name).await {
            Ok(claim) => unusable(name, claim.as_ref()),
            Err(error) => Some(format!("persistentvolumeclaim \"{name}\": {error}")),
        };
        if let Some(why) = why {
            return Some(Lacking {
                api,
                name: name.to_owned(),
                // As the scheduler words what it lacks; see `node`.
                message: format!(
                    "0/1 nodes are available: {why}. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
                ),
            });
        }
    }
    None
}

fn volume_name(sandbox: &str, uid: &str) -> String {
    format!("katlab-{sandbox}-claim-{uid}")
}

/// The engine's volume of a claim, made if it is not there.
pub(super) async fn volume(
    engine: &Engine,
    sandbox: &str,
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<String, ConfigError> {
    let api: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), namespace);
    let claim = api.get_opt(name).await.map_err(|error| {
        ConfigError::Other(format!(
            "cannot read persistentvolumeclaim \"{name}\": {error}"
        ))
    })?;
    if let Some(why) = unusable(name, claim.as_ref()) {
        return Err(ConfigError::Other(why));
    }
    let uid = claim.and_then(|claim| claim.uid()).unwrap_or_default();
    let volume = volume_name(sandbox, &uid);
    let labels = [
        (label::SANDBOX, sandbox),
        (label::NAMESPACE, namespace),
        (label::CLAIM, name),
        (label::CLAIM_UID, &uid),
    ];
    let request = VolumeCreateRequest {
        name: Some(volume.clone()),
        labels: Some(
            labels
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        ),
        ..VolumeCreateRequest::default()
    };
    let made = engine.docker().create_volume(request).await;
    made.map_err(|error| ConfigError::Other(format!("persistentvolumeclaim \"{name}\": {error}")))?;
    Ok(volume)
}

/// Claims as they are known, and what is left of those that are not.
#[derive(Default)]
struct Claims {
    /// By uid.
    known: HashMap<String, PersistentVolumeClaim>,
    /// Volumes of the engine whose claim has gone.
    stray: BTreeSet<String>,
    /// Whether the engine has been asked for volumes that an earlier process left.
    searched: bool,
}

impl Runtime {
    /// Lets claims go that are deleted and not used, and removes their volumes.
    pub(super) async fn attend_claims(&self) {
        let api: Api<PersistentVolumeClaim> = Api::all(self.client().clone());
        let changes = watcher(api, watcher::Config::default()).default_backoff();
        let mut changes = std::pin::pin!(changes);
        let mut claims = Claims::default();
        // Nothing can be said about what is left before all claims are known.
        let mut listed = false;
        let mut failed = false;
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(watcher::Event::Init)) => {
                        listed = false;
                        claims.known.clear();
                    }
                    Some(Ok(watcher::Event::InitApply(claim) | watcher::Event::Apply(claim))) => {
                        claims.known.insert(claim.uid().unwrap_or_default(), claim);
                    }
                    Some(Ok(watcher::Event::Delete(claim))) => {
                        let uid = claim.uid().unwrap_or_default();
                        claims.known.remove(&uid);
                        claims.stray.insert(volume_name(self.id(), &uid));
                    }
                    Some(Ok(watcher::Event::InitDone)) => (listed, claims.searched) = (true, false),
                    Some(Err(error)) => tracing::warn!(%error, "watching claims"),
                    None => return,
                },
                () = self.inner.pod_over.notified() => {}
                () = tokio::time::sleep(ENGINE_PAUSE), if failed => {}
            }
            if !listed {
                continue;
            }
            let done = self.let_go(&mut claims).await;
            failed = done.is_err();
            if let Err(error) = done {
                tracing::warn!(%error, "removing claims and their volumes");
            }
        }
    }

    async fn let_go(&self, claims: &mut Claims) -> Result<(), Error> {
        for claim in claims.known.values() {
            if claim.metadata.deletion_timestamp.is_some() {
                self.release(claim).await?;
            }
        }
        if !claims.searched {
            let volumes = volumes_of(self.engine(), self.id(), &[]).await?;
            let strays = volumes.into_iter().filter(|(_, labels)| {
                let uid = labels.get(label::CLAIM_UID);
                uid.is_some_and(|uid| !claims.known.contains_key(uid))
            });
            claims.stray.extend(strays.map(|(name, _)| name));
            claims.searched = true;
        }
        for name in claims.stray.clone() {
            match remove_volume(self.engine(), &name).await {
                Ok(()) => drop(claims.stray.remove(&name)),
                // A container that has ended holds it until its pod goes.
                Err(Error::Engine { source, .. }) if matches!(refusal(&source), Some((409, _))) => {
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes our finalizer off a claim that is deleted, once no pod runs with it.
    async fn release(&self, claim: &PersistentVolumeClaim) -> Result<(), Error> {
        let (namespace, name) = (claim.namespace().unwrap_or_default(), claim.name_any());
        let mut finalizers = claim.finalizers().to_vec();
        let before = finalizers.len();
        finalizers.retain(|finalizer| finalizer != PROTECTION);
        if finalizers.len() == before {
            return Ok(());
        }
        let failed = |source| Error::Api {
            action: format!("letting claim {namespace}/{name} go"),
            source: Box::new(source),
        };
        let pods: Api<Pod> = Api::namespaced(self.client().clone(), &namespace);
        let pods = pods.list(&ListParams::default()).await.map_err(failed)?;
        if pods.iter().any(|pod| uses(pod, &name)) {
            return Ok(());
        }
        let version = claim.resource_version();
        let patch = json!({"metadata": {"resourceVersion": version, "finalizers": finalizers}});
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client().clone(), &namespace);
        let patch = Patch::Merge(patch);
        match api.patch(&name, &PatchParams::default(), &patch).await {
            // Gone or changed: the watch tells.
            Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
            done => done.map(drop).map_err(failed),
        }
    }
}

/// Whether a pod that has its place and has not ended mounts a claim.
fn uses(pod: &Pod, claim: &str) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    is_bound(pod) && !matches!(phase, Some("Succeeded" | "Failed")) && names(pod).contains(claim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_used_by_pods_that_have_their_place_and_have_not_ended() {
        let pod = |node: Option<&str>, phase: &str| -> Pod {
            let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": "data"}});
            let spec = json!({"containers": [], "nodeName": node, "volumes": [volume]});
            let pod = json!({"metadata": {}, "spec": spec, "status": {"phase": phase}});
            serde_json::from_value(pod).expect("pod")
        };
        assert!(uses(&pod(Some("n"), "Running"), "data"));
        assert!(!uses(&pod(Some("n"), "Running"), "other"));
        assert!(!uses(&pod(Some("n"), "Succeeded"), "data"));
        assert!(!uses(&pod(None, "Pending"), "data"));
    }
}
