//! What keeps the pods of trials from starting, or from doing their work.
//!
//! Katib calls a trial Running as soon as its job is there, whether or not a container of it ever
//! starts, and for as long as the job tries again. Only the pods tell: by what their containers wait
//! for or how they ended, or by having found no node.

use k8s_openapi::api::core::v1::Pod;
use katlab_katib::names::{LABEL_EXPERIMENT, LABEL_TRIAL};
use kube::Api;
use kube::api::ListParams;

use crate::cluster::Cluster;
use crate::kubernetes::Scope;
use crate::kubernetes::pods::{self, State};

/// The pods that may be in trouble. Those of trials that went well may be many, and say nothing here.
pub(super) const UNDONE: &str = "status.phase!=Succeeded";

/// Why a pod of a trial does not start, or does not do its work.
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
    /// Its container ran and failed, and is or will be started again.
    pub failing: bool,
}

impl Obstacle {
    /// What holds a pod up; nothing for a pod that is on its way, or is no trial's.
    pub fn of(pod: &Pod) -> Option<Self> {
        if pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let row = pods::row(pod);
        let obstacle = |reason: &str, message: &str| {
            Some(Self {
                namespace: row.namespace.clone(),
                trial: row.trial.clone()?,
                reason: reason.to_owned(),
                message: message.to_owned(),
                image: None,
                failing: false,
            })
        };
        // A pull that failed tells more than what other containers wait for, and the training more
        // than the collector beside it.
        let telling = row
            .states
            .iter()
            .filter(|one| one.state.is_trouble())
            .min_by_key(|one| (!one.state.is_pull_failure(), one.is_collector()));
        match telling.map(|one| (one, &one.state)) {
            Some((one, State::Waiting { reason, message })) => {
                return obstacle(reason, message).map(|held| Self {
                    image: one.state.is_pull_failure().then(|| one.image.clone()),
                    failing: reason == "CrashLoopBackOff",
                    ..held
                });
            }
            Some((one, State::Terminated { code, reason, .. })) => {
                let message = format!("container {} ended with exit code {code}", one.name);
                let reason = if reason.is_empty() { "Error" } else { reason };
                return obstacle(reason, &message).map(|held| Self {
                    failing: true,
                    ..held
                });
            }
            _ => {}
        }
        let condition = pods::unscheduled(pod)?;
        obstacle(
            condition.reason.as_deref().unwrap_or("Unschedulable"),
            condition.message.as_deref().unwrap_or_default(),
        )
    }

    /// The reason and what it is about: `ErrImagePull (image mnist:1)`.
    pub fn told(&self) -> String {
        match &self.image {
            Some(image) => format!("{} (image {image})", self.reason),
            None if self.message.is_empty() => self.reason.clone(),
            None => format!("{} ({})", self.reason, self.message),
        }
    }

    /// Whether it only waits for room on a node, which others may leave.
    pub fn is_roomless(&self) -> bool {
        self.reason == "Unschedulable"
    }
}

/// Whose pods are looked at.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    /// Those of every trial.
    All,
    /// Those of an experiment's trials.
    Experiment(&'a str),
    /// Those of one trial.
    Trial(&'a str),
}

/// What holds up trials. Nothing where we may not look at pods: this comes on top of what was
/// asked for.
pub async fn list(cluster: &Cluster, scope: &Scope, of: Of<'_>) -> Vec<Obstacle> {
    let api: Api<Pod> = pods::api(cluster, scope);
    let labels = match of {
        Of::All => LABEL_TRIAL.to_owned(),
        Of::Experiment(name) => format!("{LABEL_TRIAL},{LABEL_EXPERIMENT}={name}"),
        Of::Trial(name) => format!("{LABEL_TRIAL}={name}"),
    };
    let params = ListParams::default().labels(&labels).fields(UNDONE);
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
    fn a_container_that_fails_again_and_again_tells_so() {
        let labels = json!({"katib.kubeflow.org/trial": "t"});
        let crashing = json!({"phase": "Running", "containerStatuses": [waiting("training", "CrashLoopBackOff")]});
        let held = pod(labels.clone(), crashing).unwrap();
        assert_eq!(
            (held.reason.as_str(), held.failing),
            ("CrashLoopBackOff", true)
        );

        let ended = |name: &str, code: i32| {
            json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code, "reason": "Error"}}})
        };
        let statuses = [
            ended("metrics-logger-and-collector", 255),
            ended("training", 3),
        ];
        let failed = json!({"phase": "Failed", "containerStatuses": statuses});
        let held = pod(labels.clone(), failed).unwrap();
        assert_eq!(held.message, "container training ended with exit code 3");
        assert!(held.failing);

        let well = json!({"phase": "Running", "containerStatuses": [ended("training", 0)]});
        assert_eq!(pod(labels, well), None);
    }

    #[test]
    fn a_pod_without_a_node_waits_for_room() {
        let status = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient cpu."}]});
        let held = pod(json!({"katib.kubeflow.org/trial": "t"}), status).unwrap();
        assert!(held.is_roomless() && held.message.contains("Insufficient cpu"));
    }
}
