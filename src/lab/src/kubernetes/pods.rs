//! Pods as rows, and what their containers say about themselves.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;

use super::Scope;
use crate::cluster::{Cluster, Error, Result};

/// The label with the trial's name.
pub const TRIAL_LABEL: &str = katlab_katib::names::LABEL_TRIAL;

/// One Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Containers that are ready.
    pub ready: usize,
    /// Containers in all.
    pub containers: usize,
    /// The most telling word: a waiting or termination reason, else the phase.
    pub status: String,
    /// More about that word.
    pub message: Option<String>,
    /// Restarts of all containers.
    pub restarts: i32,
    /// The Trial it belongs to.
    pub trial: Option<String>,
    /// Where it runs.
    pub node: Option<String>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// The state of each container.
    pub states: Vec<ContainerState>,
}

/// What a container does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerState {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// Where it stands.
    pub state: State,
    /// How often it was started again.
    pub restarts: i32,
    /// How the run before this one ended.
    pub last: Option<State>,
}

impl ContainerState {
    /// Whether it is the collector that Katib puts beside the training.
    pub fn is_collector(&self) -> bool {
        self.name.starts_with("metrics-")
    }
}

/// A container's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started.
    Waiting {
        /// A word such as `ImagePullBackOff`.
        reason: String,
        /// More about it.
        message: String,
    },
    /// Running.
    Running {
        /// Since when.
        since: Option<Timestamp>,
    },
    /// Ended.
    Terminated {
        /// The exit code.
        code: i32,
        /// A word such as `OOMKilled`.
        reason: String,
        /// More about it.
        message: String,
    },
}

impl State {
    /// Whether this explains that the pod does not do its work.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Waiting { reason, .. } => !matches!(
                reason.as_str(),
                "" | "ContainerCreating" | "PodInitializing"
            ),
            Self::Running { .. } => false,
            Self::Terminated { code, .. } => *code != 0,
        }
    }

    /// Whether the image cannot be had.
    pub fn is_pull_failure(&self) -> bool {
        matches!(self, Self::Waiting { reason, .. } if matches!(reason.as_str(),
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "ImageInspectError" | "RegistryUnavailable"))
    }

    fn word(&self) -> String {
        match self {
            Self::Waiting { reason, .. } => reason.clone(),
            Self::Running { .. } => "Running".into(),
            Self::Terminated { code, reason, .. } if reason.is_empty() => {
                format!("ExitCode:{code}")
            }
            Self::Terminated { reason, .. } => reason.clone(),
        }
    }
}

fn state(state: Option<&k8s_openapi::api::core::v1::ContainerState>) -> Option<State> {
    let state = state?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    if let Some(waiting) = &state.waiting {
        return Some(State::Waiting {
            reason: text(&waiting.reason),
            message: text(&waiting.message),
        });
    }
    if let Some(running) = &state.running {
        return Some(State::Running {
            since: running.started_at.as_ref().map(|time| time.0),
        });
    }
    state.terminated.as_ref().map(|ended| State::Terminated {
        code: ended.exit_code,
        reason: text(&ended.reason),
        message: text(&ended.message).trim().to_owned(),
    })
}

fn container(status: &ContainerStatus) -> ContainerState {
    ContainerState {
        name: status.name.clone(),
        image: status.image.clone(),
        state: state(status.state.as_ref()).unwrap_or(State::Waiting {
            reason: "ContainerCreating".into(),
            message: String::new(),
        }),
        restarts: status.restart_count,
        last: state(status.last_state.as_ref()),
    }
}

pub(crate) fn api(cluster: &Cluster, scope: &Scope) -> Api<Pod> {
    match scope.namespace() {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    }
}

/// What the scheduler says of a pod that it found no node for.
pub(crate) fn unscheduled(pod: &Pod) -> Option<&PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
}

/// Lists Pods, oldest first.
pub async fn list(cluster: &Cluster, scope: &Scope, labels: Option<&str>) -> Result<Vec<PodRow>> {
    let api = api(cluster, scope);
    let action = cluster.action("list", "pods");
    let action = match scope.namespace() {
        Some(namespace) => action.within(namespace),
        None => action,
    };
    let mut params = ListParams::default();
    if let Some(labels) = labels {
        params = params.labels(labels);
    }
    let found = api
        .list(&params)
        .await
        .map_err(|error| Error::from_kube(error, &action))?;
    if found.items.is_empty() {
        super::namespaces::expect(cluster, scope.namespace()).await?;
    }
    let mut rows: Vec<PodRow> = found.items.iter().map(row).collect();
    rows.sort_by(|left, right| {
        (left.created, &left.namespace, &left.name).cmp(&(
            right.created,
            &right.namespace,
            &right.name,
        ))
    });
    Ok(rows)
}

/// A Pod as a row.
pub fn row(pod: &Pod) -> PodRow {
    let status = pod.status.clone().unwrap_or_default();
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    let states: Vec<ContainerState> = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(statuses)
        .map(container)
        .collect();
    let phase = status.phase.clone().unwrap_or_else(|| "Unknown".into());
    let main: Vec<&ContainerState> = states.iter().rev().take(statuses.len()).collect();

    // kubectl shows the reason of the alphabetically first container, which for a trial whose
    // image cannot be pulled is the collector's "Error". A failed pull comes first here, then a
    // failed container that is not the collector, then anything else in trouble.
    let telling = states
        .iter()
        .find(|container| container.state.is_pull_failure())
        .or_else(|| {
            let trouble = |container: &&ContainerState| container.state.is_trouble();
            states
                .iter()
                .find(|one| trouble(one) && !one.is_collector())
                .or_else(|| states.iter().find(trouble))
        });
    let (word, message) = if pod.metadata.deletion_timestamp.is_some() {
        ("Terminating".to_owned(), None)
    } else if let Some(reason) = status.reason.clone().filter(|reason| !reason.is_empty()) {
        (reason, status.message.clone())
    } else if let Some(container) = telling {
        let message = match &container.state {
            State::Waiting { message, .. } | State::Terminated { message, .. }
                if !message.is_empty() =>
            {
                Some(message.clone())
            }
            _ => None,
        };
        (container.state.word(), message)
    } else if phase == "Succeeded"
        || (!main.is_empty()
            && main
                .iter()
                .all(|one| matches!(one.state, State::Terminated { .. })))
    {
        ("Completed".to_owned(), None)
    } else if let Some(waiting) = states
        .iter()
        .find(|one| matches!(one.state, State::Waiting { .. }))
    {
        (waiting.state.word(), None)
    } else {
        match unscheduled(pod) {
            Some(condition) => (
                condition.reason.clone().unwrap_or_else(|| phase.clone()),
                condition.message.clone(),
            ),
            None => (phase, None),
        }
    };
    PodRow {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        ready: statuses.iter().filter(|container| container.ready).count(),
        containers: pod
            .spec
            .as_ref()
            .map_or(statuses.len(), |spec| spec.containers.len()),
        status: word,
        message,
        restarts: statuses
            .iter()
            .map(|container| container.restart_count)
            .sum(),
        trial: pod
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(TRIAL_LABEL).cloned()),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        created: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        states,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(statuses: serde_json::Value, phase: &str) -> PodRow {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"katib.kubeflow.org/trial": "t"}},
            "spec": {"containers": [{"name": "training"}, {"name": "metrics-logger-and-collector"}]},
            "status": {"phase": phase, "containerStatuses": statuses}
        }))
        .unwrap();
        row(&pod)
    }

    #[test]
    fn an_image_that_cannot_be_pulled_shows_even_when_the_collector_has_ended() {
        let row = pod(
            json!([
                {"name": "metrics-logger-and-collector", "image": "c", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"terminated": {"exitCode": 255, "reason": "Error"}}},
                {"name": "training", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"i\""}}}]),
            "Pending",
        );
        assert_eq!(row.status, "ImagePullBackOff");
        assert_eq!(row.message.as_deref(), Some("Back-off pulling image \"i\""));
        assert_eq!(row.trial.as_deref(), Some("t"));
    }

    #[test]
    fn a_container_killed_for_memory_is_told_before_the_collectors_error() {
        let row = pod(
            json!([
                {"name": "metrics-logger-and-collector", "image": "c", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"terminated": {"exitCode": 255, "reason": "Error"}}},
                {"name": "training", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                 "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]),
            "Failed",
        );
        assert_eq!(row.status, "OOMKilled");
    }

    #[test]
    fn a_pod_whose_containers_ended_well_is_completed() {
        let ended = json!({"terminated": {"exitCode": 0, "reason": "Completed"}});
        let row = pod(
            json!([
                {"name": "a", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": ended},
                {"name": "b", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": ended}]),
            "Succeeded",
        );
        assert_eq!(row.status, "Completed");
    }
}
