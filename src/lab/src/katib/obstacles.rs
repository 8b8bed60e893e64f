//! What keeps the pods of trials from starting.
//!
//! Katib calls a trial Running as soon as its job is there, whether or not a container of it ever
//! starts. Only the pods tell: by what their containers wait for, or by having found no node.

use k8s_openapi::api::core::v1::Pod;
use katlab_katib::names::{LABEL_EXPERIMENT, LABEL_TRIAL};
use kube::Api;
use kube::api::ListParams;

use crate::cluster::Cluster;
use crate::kubernetes::Scope;
use crate::kubernetes::pods::{self, State};

/// A pod that cannot start is in this phase (the kubelet's own rule), and few others are for long.
pub(super) const PENDING: &str = "status.phase=Pending";

/// Why a pod of a trial does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The trial's namespace.
    pub namespace: String,
    /// The trial.
    pub trial: String,
    /// A word such as `ImagePullBackOff` or `Unschedulable`.
    pub reason: String,
    /// More about it.
    pub message: String,
    /// The image that cannot be had, when that is the reason.
    pub image: Option<String>,
}

impl Obstacle {
    /// What holds a pod up; nothing for a pod that is on its way, or is no trial's.
    pub fn of(pod: &Pod) -> Option<Self> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let row = pods::row(pod);
        let obstacle = |reason: &str, message: &str, image: Option<&str>| {
            Some(Self {
                namespace: row.namespace.clone(),
                trial: row.trial.clone()?,
                reason: reason.to_owned(),
                message: message.to_owned(),
                image: image.map(str::to_owned),
            })
        };
        let waits = row.states.iter().filter_map(|one| match &one.state {
            State::Waiting { reason, message } if one.state.is_trouble() => {
                Some((one, reason, message))
            }
            _ => None,
        });
        // A pull that failed tells more than what other containers wait for.
        if let Some((one, reason, message)) =
            waits.min_by_key(|(one, ..)| !one.state.is_pull_failure())
        {
            let image = one.state.is_pull_failure().then_some(one.image.as_str());
            return obstacle(reason, message, image);
        }
        let condition = pods::unscheduled(pod)?;
        obstacle(
            condition.reason.as_deref().unwrap_or("Unschedulable"),
            condition.message.as_deref().unwrap_or_default(),
            None,
        )
    }

    /// Whether it only waits for room on a node, which others may leave.
    pub fn is_roomless(&self) -> bool {
        self.reason == "Unschedulable"
    }
}

/// What holds up trials of an experiment, or of all. Nothing where we may not look at pods: this
/// comes on top of what was asked for.
pub async fn list(cluster: &Cluster, scope: &Scope, experiment: Option<&str>) -> Vec<Obstacle> {
    let api: Api<Pod> = pods::api(cluster, scope);
    let labels = match experiment {
        Some(name) => format!("{LABEL_TRIAL},{LABEL_EXPERIMENT}={name}"),
        None => LABEL_TRIAL.to_owned(),
    };
    let params = ListParams::default().labels(&labels).fields(PENDING);
    match api.list(&params).await {
        Ok(found) => found.items.iter().filter_map(Obstacle::of).collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(labels: Value, status: Value) -> Option<Obstacle> {
        let pod = json!({"metadata": {"name": "p", "namespace": "n", "labels": labels},
            "spec": {"containers": []}, "status": status});
        Obstacle::of(&serde_json::from_value(pod).unwrap())
    }

    fn waiting(name: &str, reason: &str) -> Value {
        json!({"name": name, "image": format!("{name}:1"), "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": "why"}}})
    }

    #[test]
    fn a_failed_pull_comes_before_what_other_containers_wait_for() {
        let labels = json!({"katib.kubeflow.org/trial": "t"});
        let statuses = |all: &[Value]| json!({"phase": "Pending", "containerStatuses": all});
        let held = pod(
            labels.clone(),
            statuses(&[
                waiting("collector", "CreateContainerConfigError"),
                waiting("training", "ErrImagePull"),
            ]),
        )
        .unwrap();
        assert_eq!((held.namespace.as_str(), held.trial.as_str()), ("n", "t"));
        assert_eq!(held.reason, "ErrImagePull");
        assert_eq!(held.image.as_deref(), Some("training:1"));

        let held = pod(
            labels.clone(),
            statuses(&[waiting("training", "CreateContainerConfigError")]),
        )
        .unwrap();
        assert_eq!((held.message.as_str(), held.image), ("why", None));

        let on_its_way = statuses(&[waiting("training", "ContainerCreating")]);
        assert_eq!(pod(labels, on_its_way), None);
        let of_nobody = statuses(&[waiting("training", "ErrImagePull")]);
        assert_eq!(pod(json!({}), of_nobody), None);
    }

    #[test]
    fn a_pod_without_a_node_waits_for_room() {
        let status = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]});
        let held = pod(json!({"katib.kubeflow.org/trial": "t"}), status).unwrap();
        assert!(held.is_roomless() && held.message.contains("Insufficient cpu"));
    }
}
