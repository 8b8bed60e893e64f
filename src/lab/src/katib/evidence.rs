//! What pods and events say of trials that brought no result, written down while they can be asked.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use k8s_openapi::api::core::v1::{Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use katlab_katib::names::condition as kinds;
use katlab_katib::types::Trial;
use kube::Api;
use kube::api::ListParams;
use serde::{Deserialize, Serialize};

use super::archive;
use super::trials::TrialRow;
use crate::cluster::Cluster;
use crate::kubernetes::Scope;
use crate::kubernetes::events::{self, EventRow};
use crate::kubernetes::pods::{self, ContainerState, PodRow, State, TRIAL_LABEL};

/// Pods and warnings, as the cluster had them, of trials that have not succeeded.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// The pods, with name, labels and status.
    pub pods: Vec<Pod>,
    /// Warnings about the trials, their Jobs and their pods.
    pub events: Vec<Event>,
}

/// A pod without what says nothing of how it fared: its manifest stands in the trial's.
pub(super) fn essence(pod: &Pod) -> Pod {
    let metadata = &pod.metadata;
    Pod {
        metadata: ObjectMeta {
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            labels: metadata.labels.clone(),
            creation_timestamp: metadata.creation_timestamp.clone(),
            ..ObjectMeta::default()
        },
        spec: None,
        status: pod.status.clone(),
    }
}

/// The trials of whose pods and events something is to be told.
pub(super) fn wanting(trials: &[Trial]) -> HashSet<&str> {
    let wants = |trial: &&Trial| {
        let status = TrialRow::of(trial, &[]).status;
        status != kinds::SUCCEEDED && status != kinds::EARLY_STOPPED
    };
    let names = trials.iter().filter(wants);
    names.map(|trial| trial.metadata.name()).collect()
}

/// The trial that a pod belongs to.
pub(super) fn trial_of(pod: &Pod) -> Option<&str> {
    let labels = pod.metadata.labels.as_ref()?;
    labels.get(TRIAL_LABEL).map(String::as_str)
}

/// Asks for the pods of these trials, as far as they did not succeed, and for what is warned of them. Nothing
/// of what cannot be had.
pub async fn collect(cluster: &Cluster, trials: &[Trial]) -> Evidence {
    let wanted = wanting(trials);
    if wanted.is_empty() {
        return Evidence::default();
    }
    let scope = Scope::from(cluster.namespace.as_str());
    let listed = pods::api(cluster, &scope)
        .list(&ListParams::default().labels(TRIAL_LABEL))
        .await;
    let listed = listed.map(|list| list.items).unwrap_or_default();
    let pods: Vec<Pod> = listed.iter().map(essence).collect();
    with_warnings(cluster, &wanted, pods).await
}

/// Pods of the trials that are wanted, with what is warned of these and them.
pub(super) async fn with_warnings(
    cluster: &Cluster,
    wanted: &HashSet<&str>,
    mut pods: Vec<Pod>,
) -> Evidence {
    pods.retain(|pod| trial_of(pod).is_some_and(|trial| wanted.contains(trial)));
    // Of those that work there is nothing to warn, and a namespace may have many events.
    let working: HashSet<&str> = pods
        .iter()
        .filter(|pod| works(pod))
        .filter_map(trial_of)
        .collect();
    if wanted.is_subset(&working) {
        let events = Vec::new();
        return Evidence { pods, events };
    }
    let api: Api<Event> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let listed = api
        .list(&ListParams::default().fields("type=Warning"))
        .await;
    let mut events = listed.map(|list| list.items).unwrap_or_default();
    let names: HashSet<&str> = pods.iter().filter_map(name).collect();
    events.retain(|event| {
        let about = &event.involved_object;
        let name = about.name.as_deref().unwrap_or_default();
        match about.kind.as_deref() {
            Some("Pod") => names.contains(name),
            Some("Trial" | "Job") => wanted.contains(name),
            _ => false,
        }
    });
    for event in &mut events {
        event.metadata.managed_fields = None;
    }
    Evidence { pods, events }
}

/// Whether every container of a pod runs.
fn works(pod: &Pod) -> bool {
    let states = pods::row(pod).states;
    let runs = |one: &ContainerState| matches!(one.state, State::Running { .. });
    !states.is_empty() && states.iter().all(runs)
}

fn name(pod: &Pod) -> Option<&str> {
    pod.metadata.name.as_deref()
}

impl Evidence {
    /// Reads what an export has of it; nothing where that is not there, or is damaged.
    pub fn read(folder: &Path) -> Self {
        let text = std::fs::read(folder.join(archive::EVIDENCE)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Adds what was seen later. What is gone since then stays.
    pub fn absorb(&mut self, later: Self) {
        let mut pods: BTreeMap<_, Pod> = BTreeMap::new();
        for pod in std::mem::take(&mut self.pods).into_iter().chain(later.pods) {
            let key = pod.metadata.name.clone();
            pods.insert(key, pod);
        }
        self.pods = pods.into_values().collect();
        let mut events: BTreeMap<_, Event> = BTreeMap::new();
        let all = std::mem::take(&mut self.events);
        for event in all.into_iter().chain(later.events) {
            events.insert(event.metadata.name.clone(), event);
        }
        self.events = events.into_values().collect();
    }

    /// Drops what is of trials that have succeeded since.
    pub fn keep_of(&mut self, trials: &[Trial]) {
        let wanted = wanting(trials);
        self.pods
            .retain(|pod| trial_of(pod).is_some_and(|trial| wanted.contains(trial)));
        let pods: HashSet<&str> = self.pods.iter().filter_map(name).collect();
        self.events.retain(|event| {
            let about = event.involved_object.name.as_deref().unwrap_or_default();
            wanted.contains(about) || pods.contains(about)
        });
    }

    /// The pods of a trial, oldest first, and the warnings about it, its Job and them.
    pub fn of_trial(&self, trial: &str) -> (Vec<PodRow>, Vec<EventRow>) {
        let own = self.pods.iter().filter(|pod| trial_of(pod) == Some(trial));
        let mut pods: Vec<PodRow> = own.map(pods::row).collect();
        pods.sort_by(|left, right| (left.created, &left.name).cmp(&(right.created, &right.name)));
        let names: HashSet<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
        let mut warnings: Vec<EventRow> = self
            .events
            .iter()
            .cloned()
            .map(events::row)
            .filter(|event| event.object == trial || names.contains(event.object.as_str()))
            .collect();
        warnings.sort_by_key(|event| event.last);
        (pods, warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, trial: &str, reason: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {TRIAL_LABEL: trial}},
            "spec": {"containers": [{"name": "training", "env": [{"name": "A", "value": "b"}]}]},
            "status": {"phase": "Failed", "containerStatuses": [{"name": "training", "image": "i", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"terminated": {"exitCode": 137, "reason": reason}}}]}
        }))
        .unwrap()
    }

    fn event(name: &str, kind: &str, about: &str) -> Event {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "type": "Warning", "reason": "R", "message": "m",
            "involvedObject": {"kind": kind, "name": about}}),
        )
        .unwrap()
    }

    fn trial(name: &str, status: &str) -> Trial {
        serde_json::from_value(
            json!({"metadata": {"name": name}, "status": {"conditions": [{"type": status, "status": "True"}]}}),
        )
        .unwrap()
    }

    #[test]
    fn what_is_seen_later_takes_the_place_of_what_was_and_what_is_gone_stays() {
        let mut kept = Evidence {
            pods: vec![
                essence(&pod("t-1", "t", "Error")),
                essence(&pod("u-1", "u", "Error")),
            ],
            events: vec![event("e.1", "Pod", "u-1"), event("e.2", "Job", "t")],
        };
        kept.absorb(Evidence {
            pods: vec![essence(&pod("t-1", "t", "OOMKilled"))],
            events: vec![event("e.3", "Trial", "t"), event("e.3", "Trial", "t")],
        });
        let (pods, warnings) = kept.of_trial("t");
        assert_eq!(pods.len(), 1);
        assert_eq!(pods[0].status, "OOMKilled");
        assert_eq!(warnings.len(), 2);
        assert_eq!(kept.of_trial("u").1.len(), 1);
        kept.keep_of(&[trial("t", "Failed"), trial("u", "Succeeded")]);
        assert_eq!((kept.pods.len(), kept.events.len()), (1, 2));
    }

    #[test]
    fn a_pod_is_kept_without_its_manifest() {
        let text = serde_json::to_string(&essence(&pod("t-1", "t", "Error"))).unwrap();
        assert!(!text.contains("env"), "{text}");
    }

    #[test]
    fn a_damaged_file_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Evidence::read(folder.path()), Evidence::default());
        std::fs::write(folder.path().join(archive::EVIDENCE), "{").unwrap();
        assert_eq!(Evidence::read(folder.path()), Evidence::default());
    }
}
