//! Logs of a pod, a trial or a job, followed across dropped connections.

use std::time::Duration;

use futures::StreamExt as _;
use futures::io::{AsyncBufRead, AsyncBufReadExt as _};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, LogParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Api, runtime::watcher::watch_object};

use super::pods::{self, State, TRIAL_LABEL};
use crate::cluster::{Cluster, Error, Result, near_misses};

/// The sidecar that prints what it collects.
const COLLECTOR: &str = "metrics-logger-and-collector";
/// How long a follower waits before it takes the line up again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// Whose log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pod.
    pub pod: String,
    /// Its namespace.
    pub namespace: String,
    /// The container.
    pub container: String,
    /// All containers of the pod, those that run before the others last.
    pub containers: Vec<String>,
    /// The Trial it belongs to.
    pub trial: Option<String>,
}

/// Which part of the log.
#[derive(Clone, Debug, Default)]
pub struct Extent {
    /// Wait for more.
    pub follow: bool,
    /// The last lines only.
    pub tail: Option<u32>,
    /// Only what is younger.
    pub since: Option<Duration>,
    /// The log of the run before this one.
    pub previous: bool,
    /// Keep the time before each line.
    pub timestamps: bool,
}

/// What comes out of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A line, without its end; bytes that are not UTF-8 are replaced.
    Text(String),
    /// Something about the log itself: waiting, reconnected.
    Note(String),
}

/// Finds the pod and container meant by the name of a pod, a Trial or a Job.
///
/// Without a container named, the one Katib's own page shows is chosen: the collector for StdOut
/// (it prints the training's output, which was redirected to it), else the primary container; where an init
/// container has failed, that one.
pub async fn find(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    container: Option<&str>,
) -> Result<Target> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let action = cluster.action("get", "pods").named(name).within(namespace);
    let pod = match api
        .get_opt(name)
        .await
        .map_err(|error| Error::from_kube(error, &action))?
    {
        Some(pod) => pod,
        None => of_owner(cluster, &api, namespace, name).await?,
    };
    Ok(match container {
        None => of_pod(cluster, namespace, &pod).await,
        Some(wanted) => {
            let target = named(namespace, &pod);
            if !target.containers.iter().any(|name| name == wanted) {
                return Err(Error::Input {
                    what: format!("container {wanted} of pod {}", target.pod),
                    reason: format!(
                        "there is none of that name; it has {}",
                        target.containers.join(", ")
                    ),
                });
            }
            Target {
                container: wanted.to_owned(),
                ..target
            }
        }
    })
}

/// The container of a pod whose log is meant where none is named.
pub(crate) async fn of_pod(cluster: &Cluster, namespace: &str, pod: &Pod) -> Target {
    let mut target = named(namespace, pod);
    if let Some(container) = failed_before(pod) {
        target.container = container.to_owned();
    } else if let (Some(trial), [_, _, ..]) = (&target.trial, target.containers.as_slice()) {
        target.container = primary(cluster, namespace, trial, &target.containers).await;
    }
    target
}

/// The init container that failed, so that those of the pod's work have not begun.
pub(crate) fn failed_before(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let has_begun = |one: &ContainerStatus| {
        let state = one.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    if status.container_statuses.iter().flatten().any(has_begun) {
        return None;
    }
    let has_failed = |one: &&ContainerStatus| {
        let mut ended = [&one.state, &one.last_state]
            .into_iter()
            .flatten()
            .filter_map(|state| state.terminated.as_ref());
        ended.next().is_some_and(|ended| ended.exit_code != 0)
    };
    let mut first = status.init_container_statuses.iter().flatten();
    first.find(has_failed).map(|one| one.name.as_str())
}

/// A pod and its first container.
fn named(namespace: &str, pod: &Pod) -> Target {
    let containers: Vec<String> = pod
        .spec
        .iter()
        .flat_map(|spec| {
            let before = spec.init_containers.iter().flatten();
            spec.containers.iter().chain(before)
        })
        .map(|container| container.name.clone())
        .collect();
    let labels = pod.metadata.labels.as_ref();
    Target {
        pod: pod.metadata.name.clone().unwrap_or_default(),
        namespace: namespace.to_owned(),
        container: containers.first().cloned().unwrap_or_default(),
        containers,
        trial: labels.and_then(|labels| labels.get(TRIAL_LABEL).cloned()),
    }
}

/// The youngest pod of a Trial or Job; one that runs or has run comes before one that waits.
async fn of_owner(cluster: &Cluster, api: &Api<Pod>, namespace: &str, name: &str) -> Result<Pod> {
    let action = cluster.action("list", "pods").within(namespace);
    for label in [TRIAL_LABEL, "batch.kubernetes.io/job-name", "job-name"] {
        let params = ListParams::default().labels(&format!("{label}={name}"));
        let mut found = api
            .list(&params)
            .await
            .map_err(|error| Error::from_kube(error, &action))?
            .items;
        found.sort_by_key(|pod| {
            let phase = pod
                .status
                .as_ref()
                .and_then(|status| status.phase.clone())
                .unwrap_or_default();
            (
                phase != "Pending",
                pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
            )
        });
        if let Some(pod) = found.pop() {
            return Ok(pod);
        }
    }
    // Nothing of that name has a pod. A trial that is there says why: its pods are gone.
    if let Ok(kind) = cluster.discovery().await?.kind("trials.kubeflow.org")
        && let Ok(trial) = super::objects::get(cluster, kind, namespace, name).await
    {
        let kept = trial
            .pointer("/spec/retainRun")
            .and_then(serde_json::Value::as_bool)
            == Some(true);
        return Err(Error::Input {
            what: format!("the log of trial {name}"),
            reason: if kept {
                "it has no pod (yet)".into()
            } else {
                "it has no pod; with retain: false Katib removes a trial's job and pods when it ends (set retain: true in the trial template)".into()
            },
        });
    }
    if let Ok(kind) = cluster.discovery().await?.kind("experiments.kubeflow.org")
        && super::objects::get(cluster, kind, namespace, name)
            .await
            .is_ok()
    {
        return Err(Error::LogOfExperiment {
            name: name.to_owned(),
        });
    }
    let pods = api
        .list_metadata(&ListParams::default())
        .await
        .map_err(|error| Error::from_kube(error, &action))?
        .items;
    if pods.is_empty() {
        super::namespaces::expect(cluster, Some(namespace)).await?;
    }
    let mut known: Vec<String> = Vec::new();
    for pod in pods {
        known.extend(
            pod.metadata
                .labels
                .and_then(|mut labels| labels.remove(TRIAL_LABEL)),
        );
        known.extend(pod.metadata.name);
    }
    let near = near_misses(name, known.iter().map(String::as_str));
    Err(Error::NotFound {
        action: cluster.action("get", "pods").named(name).within(namespace),
        near,
    })
}

async fn primary(cluster: &Cluster, namespace: &str, trial: &str, containers: &[String]) -> String {
    let has = |name: &str| containers.iter().any(|container| container == name);
    let first = || containers.first().cloned().unwrap_or_default();
    let Ok(discovery) = cluster.discovery().await else {
        return first();
    };
    let Ok(kind) = discovery.kind("trials.kubeflow.org") else {
        return first();
    };
    let Ok(object) = super::objects::get(cluster, kind, namespace, trial).await else {
        return first();
    };
    let text = |path: &str| {
        object
            .pointer(path)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if text("/spec/metricsCollector/collector/kind") == "StdOut" && has(COLLECTOR) {
        return COLLECTOR.to_owned();
    }
    let primary = text("/spec/primaryContainerName");
    if has(&primary) { primary } else { first() }
}

/// Only ever used through `&mut`; the lock makes the whole shareable, which futures that hold it need.
type Reader = std::sync::Mutex<std::pin::Pin<Box<dyn AsyncBufRead + Send>>>;

/// A log being read.
pub struct Lines {
    cluster: Cluster,
    target: Target,
    extent: Extent,
    reader: Option<Reader>,
    /// The time of the last line given out, and the lines that bear it.
    seen: Option<(Timestamp, Vec<String>)>,
    started: bool,
    waiting: Option<String>,
}

/// Opens a log.
pub fn open(cluster: &Cluster, target: &Target, extent: Extent) -> Lines {
    Lines {
        cluster: cluster.clone(),
        target: target.clone(),
        extent,
        reader: None,
        seen: None,
        started: false,
        waiting: None,
    }
}

impl Lines {
    /// The next line; `None` at the end. With `follow` the end is that of the container, not that
    /// of a connection.
    pub async fn next(&mut self) -> Result<Option<Line>> {
        loop {
            if self.reader.is_none() {
                if let Some(note) = self.connect().await? {
                    return Ok(Some(Line::Note(note)));
                }
                continue;
            }
            match self.read().await {
                Ok(Some(line)) => return Ok(Some(Line::Text(line))),
                Ok(None) if !self.extent.follow || self.has_ended().await => return Ok(None),
                Err(error) if !self.extent.follow => {
                    let action = self.action();
                    return Err(Error::Answer {
                        action,
                        reason: error.to_string(),
                    });
                }
                // The connection went, the container did not.
                Ok(None) | Err(_) => {
                    self.reader = None;
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                }
            }
        }
    }

    fn action(&self) -> crate::cluster::Action {
        self.cluster
            .action("get", "pods/log")
            .named(&self.target.pod)
            .within(&self.target.namespace)
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), &self.target.namespace)
    }

    /// Opens the connection, or says what is waited for.
    async fn connect(&mut self) -> Result<Option<String>> {
        if let Some(reason) = self.waiting.take() {
            self.await_start(&reason).await?;
        }
        let resumed = self.seen.as_ref().map(|(time, _)| *time);
        let params = LogParams {
            container: Some(self.target.container.clone()).filter(|name| !name.is_empty()),
            follow: self.extent.follow,
            previous: self.extent.previous,
            // Asked for always: they make it possible to take a dropped line up again.
            timestamps: true,
            tail_lines: self
                .extent
                .tail
                .map(i64::from)
                .filter(|_| resumed.is_none()),
            since_seconds: self
                .extent
                .since
                .map(|since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX).max(1))
                .filter(|_| resumed.is_none()),
            since_time: resumed,
            ..LogParams::default()
        };
        match self.api().log_stream(&self.target.pod, &params).await {
            Ok(reader) => {
                self.reader = Some(std::sync::Mutex::new(Box::pin(reader)));
                let again = std::mem::replace(&mut self.started, true);
                Ok(again.then(|| "the connection was lost and has been taken up again".to_owned()))
            }
            Err(error) => {
                let error = Error::from_kube(error, &self.action());
                match &error {
                    // The server refuses logs of a container that has not started, with 400.
                    Error::Invalid { reason, .. }
                        if self.extent.follow && reason.contains("waiting to start") =>
                    {
                        let why = reason.rsplit(": ").next().unwrap_or_default().to_owned();
                        self.waiting = Some(why.clone());
                        Ok(Some(format!(
                            "waiting for container {} to start ({why})",
                            self.target.container
                        )))
                    }
                    Error::Unreachable { .. } | Error::SandboxDown { .. }
                        if self.started && self.extent.follow =>
                    {
                        tokio::time::sleep(RECONNECT_PAUSE).await;
                        Ok(None)
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Waits until the container has started, and fails when it cannot.
    async fn await_start(&self, reason: &str) -> Result<()> {
        let mut changes = watch_object(self.api(), &self.target.pod)
            .default_backoff()
            .boxed();
        let failed = |reason: &str, message: &str| {
            Error::Ended(format!(
                "container {} of pod {} does not start: {reason}{}{message}",
                self.target.container,
                self.target.pod,
                if message.is_empty() { "" } else { ": " },
            ))
        };
        while let Some(change) = changes.next().await {
            match change {
                Ok(Some(pod)) => {
                    let row = pods::row(&pod);
                    match row
                        .states
                        .iter()
                        .find(|one| one.name == self.target.container)
                        .map(|one| &one.state)
                    {
                        Some(State::Running { .. } | State::Terminated { .. }) => return Ok(()),
                        Some(state @ State::Waiting { reason, message })
                            if state.is_pull_failure() =>
                        {
                            return Err(failed(reason, message));
                        }
                        _ => {}
                    }
                }
                Ok(None) => return Err(failed(reason, "the pod was deleted")),
                Err(watcher::Error::InitialListFailed(error)) => {
                    let error = Error::from_kube(error, &self.action());
                    if matches!(error, Error::Forbidden { .. }) {
                        return Err(error);
                    }
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> std::io::Result<Option<String>> {
        loop {
            let Some(reader) = self.reader.as_mut() else {
                return Ok(None);
            };
            let reader = reader
                .get_mut()
                .unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut bytes = Vec::new();
            if reader.read_until(b'\n', &mut bytes).await? == 0 {
                return Ok(None);
            }
            let text = String::from_utf8_lossy(&bytes);
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let (stamp, rest) = split_time(text);
            if let Some(time) = stamp {
                if is_repeated(&self.seen, time, text) {
                    continue;
                }
                match &mut self.seen {
                    Some((last, lines)) if *last == time => lines.push(text.to_owned()),
                    seen => *seen = Some((time, vec![text.to_owned()])),
                }
            }
            return Ok(Some(
                if self.extent.timestamps { text } else { rest }.to_owned(),
            ));
        }
    }

    /// Whether the container has ended (or is gone), so that nothing more can come.
    async fn has_ended(&self) -> bool {
        match self.api().get_opt(&self.target.pod).await {
            Ok(Some(pod)) => {
                let row = pods::row(&pod);
                let state = row
                    .states
                    .iter()
                    .find(|one| one.name == self.target.container)
                    .map(|one| &one.state);
                !matches!(state, Some(State::Running { .. } | State::Waiting { .. }))
            }
            Ok(None) => true,
            // Not reachable is no end; the loop tries again.
            Err(_) => false,
        }
    }
}

/// Splits the time off a line; a line without one is whole.
fn split_time(line: &str) -> (Option<Timestamp>, &str) {
    match line.split_once(' ') {
        Some((head, rest)) => match head.parse() {
            Ok(time) => (Some(time), rest),
            Err(_) => (None, line),
        },
        None => match line.parse() {
            Ok(time) => (Some(time), ""),
            Err(_) => (None, line),
        },
    }
}

/// Whether a line of a resumed log was given out before: logs resume at whole seconds.
fn is_repeated(seen: &Option<(Timestamp, Vec<String>)>, time: Timestamp, line: &str) -> bool {
    seen.as_ref().is_some_and(|(last, lines)| {
        time < *last || (time == *last && lines.iter().any(|known| known == line))
    })
}

/// Reads a whole log at once.
pub async fn read(cluster: &Cluster, target: &Target, extent: Extent) -> Result<Vec<String>> {
    let mut lines = open(
        cluster,
        target,
        Extent {
            follow: false,
            ..extent
        },
    );
    let mut all = Vec::new();
    while let Some(line) = lines.next().await? {
        if let Line::Text(text) = line {
            all.push(text);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_before_a_line_is_split_off_and_a_line_without_one_kept_whole() {
        let (time, rest) = split_time("2026-11-23T17:48:02.5Z accuracy=0.9");
        assert!(time.is_some());
        assert_eq!(rest, "accuracy=0.9");
        assert_eq!(
            split_time("accuracy=0.9 loss=1"),
            (None, "accuracy=0.9 loss=1")
        );
        assert_eq!(split_time("2026-11-23T17:48:02Z").1, "");
    }

    #[test]
    fn lines_given_out_before_are_recognised_when_a_log_resumes() {
        let (time, _) = split_time("2026-11-23T17:48:02.5Z a");
        let time = time.unwrap();
        let seen = Some((time, vec!["2026-11-23T17:48:02.5Z a".to_owned()]));
        assert!(is_repeated(&seen, time, "2026-11-23T17:48:02.5Z a"));
        assert!(!is_repeated(&seen, time, "2026-11-23T17:48:02.5Z b"));
        let earlier = split_time("2026-11-23T17:48:02.1Z z").0.unwrap();
        assert!(is_repeated(&seen, earlier, "2026-11-23T17:48:02.1Z z"));
    }
}
