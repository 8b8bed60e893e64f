//! What a pod's status says, from what its containers do.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateTerminated, ContainerStatus, Pod, VolumeMount,
};
use serde_json::{Value, json};

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Termination {
    pub(super) exit_code: i64,
    pub(super) reason: String,
    pub(super) message: Option<String>,
    pub(super) started: Option<Timestamp>,
    pub(super) finished: Option<Timestamp>,
    /// The engine's id of the container.
    pub(super) container: String,
}

impl Termination {
    /// The engine could not start the container's program.
    pub(super) fn start_failed(container: &str, error: &str) -> Self {
        Self {
            exit_code: 128,
            reason: "StartError".into(),
            message: Some(format!("failed to start container: {error}")),
            started: Some(Timestamp::UNIX_EPOCH),
            finished: Some(Timestamp::now()),
            container: container.to_owned(),
        }
    }

    /// The container was taken off the engine while it ran.
    pub(super) fn lost(container: &str, started: Option<Timestamp>) -> Self {
        Self {
            exit_code: 137,
            reason: "ContainerStatusUnknown".into(),
            message: Some("the container is not on the engine any more".into()),
            started,
            finished: Some(Timestamp::now()),
            container: container.to_owned(),
        }
    }

    /// The container was ended because its trial was stopped early: it did what it should.
    pub(super) fn stopped_early(self) -> Self {
        Self {
            reason: "Completed".into(),
            message: Some(format!(
                "the trial was stopped early; the program ended with {}",
                self.exit_code
            )),
            exit_code: 0,
            ..self
        }
    }

    fn remembered(ended: &ContainerStateTerminated) -> Self {
        Self {
            exit_code: ended.exit_code.into(),
            reason: ended.reason.clone().unwrap_or_default(),
            message: ended.message.clone(),
            started: ended.started_at.as_ref().map(|time| time.0),
            finished: ended.finished_at.as_ref().map(|time| time.0),
            container: engine_id(ended.container_id.as_deref()).unwrap_or_default(),
        }
    }

    fn to_json(&self) -> Value {
        let mut value = json!({
            "exitCode": self.exit_code,
            "reason": self.reason,
            "startedAt": self.started.map(time),
            "finishedAt": self.finished.map(time),
            "containerID": format!("docker://{}", self.container),
        });
        if let Some(message) = &self.message {
            value["message"] = json!(message);
        }
        value
    }
}

/// A status names a container as `docker://ID`.
pub(super) fn engine_id(text: Option<&str>) -> Option<String> {
    text?.strip_prefix("docker://").map(str::to_owned)
}

/// Times of the API have whole seconds.
pub(super) fn time(moment: Timestamp) -> String {
    let second = Timestamp::from_second(moment.as_second()).unwrap_or(moment);
    second.to_string()
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Waiting {
        reason: String,
        message: Option<String>,
    },
    Running {
        started: Option<Timestamp>,
    },
    Terminated(Termination),
}

impl State {
    fn remembered(state: &ContainerState) -> Self {
        if let Some(ended) = &state.terminated {
            Self::Terminated(Termination::remembered(ended))
        } else if let Some(running) = &state.running {
            let started = running.started_at.as_ref().map(|time| time.0);
            Self::Running { started }
        } else {
            let waiting = state.waiting.clone().unwrap_or_default();
            let reason = waiting.reason.as_deref().unwrap_or("ContainerCreating");
            Self::waiting(reason, waiting.message)
        }
    }

    pub(super) fn waiting(reason: &str, message: Option<String>) -> Self {
        Self::Waiting {
            reason: reason.to_owned(),
            message,
        }
    }
}

/// One container of a pod as its status shows it.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) name: String,
    pub(super) image: String,
    pub(super) state: State,
    pub(super) last: Option<Termination>,
    pub(super) restarts: u32,
    pub(super) image_id: String,
    /// The engine's id, once the container was made.
    pub(super) id: Option<String>,
}

impl View {
    /// A container that was not seen yet; where init containers come first, it waits for them.
    pub(super) fn of(container: &Container, has_init: bool) -> Self {
        Self {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            state: State::waiting(
                if has_init {
                    "PodInitializing"
                } else {
                    "ContainerCreating"
                },
                None,
            ),
            last: None,
            restarts: 0,
            image_id: String::new(),
            id: None,
        }
    }

    /// A container as its pod's status shows it.
    pub(super) fn remembered(container: &Container, status: &ContainerStatus) -> Self {
        let last = status.last_state.as_ref();
        Self {
            state: status.state.as_ref().map_or_else(
                || State::waiting("ContainerCreating", None),
                State::remembered,
            ),
            last: last
                .and_then(|last| last.terminated.as_ref())
                .map(Termination::remembered),
            restarts: u32::try_from(status.restart_count).unwrap_or(0),
            image_id: status.image_id.clone(),
            id: engine_id(status.container_id.as_deref()),
            ..Self::of(container, false)
        }
    }

    /// The engine's id of the container if it was seen running, and since when it ran.
    pub(super) fn ran(&self) -> Option<(String, Option<Timestamp>)> {
        match &self.state {
            State::Running { started } => Some((self.id.clone()?, *started)),
            _ => None,
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    fn exit_code(&self) -> Option<i64> {
        match &self.state {
            State::Terminated(ended) => Some(ended.exit_code),
            _ => None,
        }
    }

    fn to_json(&self, pod: &Pod, ready: bool) -> Value {
        let state = match &self.state {
            State::Waiting { reason, message } => {
                let mut waiting = json!({ "reason": reason });
                if let Some(message) = message {
                    waiting["message"] = json!(message);
                }
                json!({ "waiting": waiting })
            }
            State::Running { started } => json!({ "running": { "startedAt": started.map(time) } }),
            State::Terminated(ended) => json!({ "terminated": ended.to_json() }),
        };
        let last = self.last.as_ref();
        let mut value = json!({
            "name": self.name,
            "state": state,
            "lastState": last.map_or(json!({}), |ended| json!({ "terminated": ended.to_json() })),
            "ready": ready,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": self.image_id,
            "started": self.is_running(),
        });
        let spec = pod.spec.as_ref();
        let init = spec.and_then(|spec| spec.init_containers.as_deref());
        let main = spec.map(|spec| spec.containers.as_slice());
        let container = [init, main]
            .into_iter()
            .flatten()
            .flatten()
            .find(|container| container.name == self.name);
        if let Some(mounts) = container.and_then(|container| container.volume_mounts.as_ref()) {
            value["volumeMounts"] = mounts.iter().map(mount).collect();
        }
        if let Some(id) = &self.id {
            value["containerID"] = json!(format!("docker://{id}"));
            // What it has, which is what it was promised: nothing resizes it.
            let resources = container.and_then(|container| container.resources.as_ref());
            value["resources"] = json!(resources.cloned().unwrap_or_default());
            let requests = resources.and_then(|resources| resources.requests.as_ref());
            if let Some(requests) = requests.filter(|requests| !requests.is_empty()) {
                value["allocatedResources"] = json!(requests);
            }
        }
        value
    }
}

/// A mount as a container's status shows it.
fn mount(mount: &VolumeMount) -> Value {
    let mut value = json!({"name": mount.name, "mountPath": mount.mount_path});
    if mount.read_only == Some(true) {
        value["readOnly"] = json!(true);
        value["recursiveReadOnly"] = json!("Disabled");
    }
    value
}

/// What is known of a pod as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) init: Vec<View>,
    pub(super) main: Vec<View>,
    pub(super) started: Option<Timestamp>,
    pub(super) address: Option<String>,
    /// Set when the pod failed as a whole, whatever its containers did: reason and message.
    pub(super) verdict: Option<(String, String)>,
}

impl Report {
    pub(super) fn phase(&self, policy: &str) -> &'static str {
        let restarts = policy != "Never";
        if self.verdict.is_some() {
            return "Failed";
        }
        let failed_init = self
            .init
            .iter()
            .any(|view| view.exit_code().is_some_and(|code| code != 0));
        if failed_init && !restarts {
            return "Failed";
        }
        let codes: Option<Vec<i64>> = self.main.iter().map(View::exit_code).collect();
        match codes {
            Some(codes) if policy != "Always" && codes.iter().all(|code| *code == 0) => "Succeeded",
            Some(_) if !restarts => "Failed",
            _ if self.main.iter().any(|view| {
                view.is_running() || view.exit_code().is_some() || view.last.is_some()
            }) =>
            {
                "Running"
            }
            _ => "Pending",
        }
    }

    /// The status as the API server keeps it. Conditions of `before` keep their transition times.
    pub(super) fn to_json(&self, pod: &Pod, before: &Value, host: &str) -> Value {
        let phase = self.phase(restart_policy(pod));
        let generation = pod.metadata.generation;
        let ended = matches!(phase, "Succeeded" | "Failed");
        let initialized = self.init.iter().all(|view| view.exit_code() == Some(0));
        let ready = !ended && initialized && self.main.iter().all(View::is_running);
        let not_ready: Vec<&str> = self
            .main
            .iter()
            .filter(|view| !view.is_running())
            .map(|view| view.name.as_str())
            .collect();
        let unready = match phase {
            "Succeeded" => Some(("PodCompleted", None)),
            "Failed" => Some(("PodFailed", None)),
            _ => Some((
                "ContainersNotReady",
                Some(format!(
                    "containers with unready status: [{}]",
                    not_ready.join(" ")
                )),
            )),
        };
        let waits = (phase == "Succeeded").then_some(("PodCompleted", None));
        let incomplete: Vec<&str> = self
            .init
            .iter()
            .filter(|view| view.exit_code() != Some(0))
            .map(|view| view.name.as_str())
            .collect();
        let init = if initialized {
            waits.clone()
        } else {
            let names = incomplete.join(" ");
            Some((
                "ContainersNotInitialized",
                Some(format!("containers with incomplete status: [{names}]")),
            ))
        };
        let conditions: Vec<Value> = [
            (
                "PodReadyToStartContainers",
                self.address.is_some() && !ended,
                None,
            ),
            ("Initialized", initialized, init),
            ("Ready", ready, unready.clone().filter(|_| !ready)),
            ("ContainersReady", ready, unready.filter(|_| !ready)),
            ("PodScheduled", true, None),
        ]
        .into_iter()
        .map(|(kind, holds, why)| {
            let mut condition = condition(before, kind, holds, why);
            condition["observedGeneration"] = json!(generation);
            condition
        })
        .collect();
        let mut status = json!({
            "observedGeneration": generation,
            "phase": phase,
            "conditions": conditions,
            "hostIP": host,
            "hostIPs": [{ "ip": host }],
            "qosClass": quality(pod),
        });
        let views = || self.init.iter().chain(&self.main);
        // A pod that was turned away never had containers.
        let turned_away = self.verdict.is_some() && views().all(|view| view.id.is_none());
        if !turned_away {
            let of = |view: &View| view.to_json(pod, view.is_running());
            status["containerStatuses"] = self.main.iter().map(of).collect();
        }
        if !turned_away && !self.init.is_empty() {
            let of = |view: &View| view.to_json(pod, view.exit_code() == Some(0));
            status["initContainerStatuses"] = self.init.iter().map(of).collect();
        }
        if let Some(started) = self.started {
            status["startTime"] = json!(time(started));
        }
        if let Some(address) = &self.address {
            status["podIP"] = json!(address);
            status["podIPs"] = json!([{ "ip": address }]);
        }
        if let Some((reason, message)) = &self.verdict {
            status["reason"] = json!(reason);
            status["message"] = json!(message);
        }
        status
    }
}

/// When containers of the pod are started again: `Always`, `OnFailure` or `Never`.
pub(super) fn restart_policy(pod: &Pod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.restart_policy.as_deref())
        .unwrap_or("Always")
}

/// One condition, with the time at which it last changed.
pub(super) fn condition(
    before: &Value,
    kind: &str,
    holds: bool,
    why: Option<(&str, Option<String>)>,
) -> Value {
    let status = if holds { "True" } else { "False" };
    let earlier = before["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["type"] == kind);
    let since = earlier
        .filter(|one| one["status"] == status)
        .and_then(|one| one["lastTransitionTime"].as_str())
        .map_or_else(|| time(Timestamp::now()), str::to_owned);
    let mut value = json!({
        "type": kind,
        "status": status,
        "lastProbeTime": null,
        "lastTransitionTime": since,
    });
    if let Some((reason, message)) = why {
        value["reason"] = json!(reason);
        if let Some(message) = message {
            value["message"] = json!(message);
        }
    }
    value
}

/// Guaranteed when every container has equal limits and requests of both resources, BestEffort when
/// none asks for anything, else Burstable.
fn quality(pod: &Pod) -> &'static str {
    let containers = || pod.spec.iter().flat_map(|spec| &spec.containers);
    let asks = |container: &Container| {
        container.resources.as_ref().is_some_and(|resources| {
            [&resources.limits, &resources.requests]
                .into_iter()
                .flatten()
                .any(|amounts| !amounts.is_empty())
        })
    };
    let guaranteed = |container: &Container| {
        container.resources.as_ref().is_some_and(|resources| {
            ["cpu", "memory"].iter().all(|name| {
                let limit = resources
                    .limits
                    .as_ref()
                    .and_then(|limits| limits.get(*name));
                let request = resources
                    .requests
                    .as_ref()
                    .and_then(|requests| requests.get(*name));
                limit.is_some() && (request.is_none() || request == limit)
            })
        })
    };
    if containers().all(guaranteed) {
        "Guaranteed"
    } else if containers().any(asks) {
        "Burstable"
    } else {
        "BestEffort"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(policy: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": {
            "restartPolicy": policy, "containers": [{"name": "c", "image": "i"}]}}))
        .expect("pod")
    }

    fn report(state: State) -> Report {
        let pod = pod("Never");
        let mut view = View::of(&pod.spec.expect("spec").containers[0], false);
        view.state = state;
        Report {
            main: vec![view],
            ..Report::default()
        }
    }

    fn ended(code: i64) -> State {
        State::Terminated(Termination {
            exit_code: code,
            reason: "Error".into(),
            message: None,
            started: None,
            finished: None,
            container: "x".into(),
        })
    }

    #[test]
    fn the_phase_follows_the_containers() {
        assert_eq!(
            report(State::waiting("ContainerCreating", None)).phase("Never"),
            "Pending"
        );
        assert_eq!(
            report(State::Running { started: None }).phase("Never"),
            "Running"
        );
        assert_eq!(report(ended(0)).phase("Never"), "Succeeded");
        assert_eq!(report(ended(1)).phase("Never"), "Failed");
        assert_eq!(report(ended(1)).phase("OnFailure"), "Running");
        assert_eq!(report(ended(0)).phase("OnFailure"), "Succeeded");
        assert_eq!(report(ended(0)).phase("Always"), "Running");
    }

    #[test]
    fn conditions_keep_the_time_of_their_last_change() {
        let before = json!({"conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
        let status = report(State::waiting("ContainerCreating", None)).to_json(
            &pod("Never"),
            &before,
            "127.0.0.1",
        );
        let ready = status["conditions"]
            .as_array()
            .expect("conditions")
            .iter()
            .find(|one| one["type"] == "Ready");
        assert_eq!(
            ready.expect("Ready")["lastTransitionTime"],
            "2026-01-01T00:00:00Z"
        );
        assert_eq!(
            ready.expect("Ready")["message"],
            "containers with unready status: [c]"
        );
    }
}
