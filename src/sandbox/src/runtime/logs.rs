//! `pods/log`, read from the engine.
//!
//! # Deliberate differences from Katib
//!
//! - A trial's pod has no collector container. Its name means the training container here: its log has the lines that
//!   the collector of `StdOut` prints (without their prefix), and Katib's SDK and UI ask for them by that name.

use std::collections::HashMap;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::{Container, ContainerState, Pod};
use katlab_katib::names::ENV_TRIAL_NAME;
use kube::ResourceExt;
use serde_json::Value;

use super::Runtime;
use super::container::named;
use super::status::engine_id;
use crate::api::logs::{LogError, LogOptions, LogSource, LogStream};

/// What Katib calls the container that collects from standard output and files.
const COLLECTOR: &str = "metrics-logger-and-collector";

impl LogSource for Runtime {
    fn logs<'a>(
        &'a self,
        _namespace: &'a str,
        pod: &'a Value,
        options: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, LogError>> {
        self.open_log(pod, options).boxed()
    }
}

impl Runtime {
    async fn open_log(&self, pod: &Value, options: LogOptions) -> Result<LogStream, LogError> {
        let pod: Pod = serde_json::from_value(pod.clone())
            .map_err(|error| LogError::Internal(format!("the pod is unreadable: {error}")))?;
        let asked = collected(&pod, options.container.as_deref());
        let name = container_name(&pod, asked).map_err(LogError::BadRequest)?;
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if node.is_none() {
            return Err(LogError::NoNode);
        }
        let container = chosen(&pod, &name, options.previous).map_err(LogError::BadRequest)?;
        let since = options.since_time.or_else(|| {
            let ago = jiff::SignedDuration::from_secs(options.since_seconds?.try_into().ok()?);
            jiff::Timestamp::now().checked_sub(ago).ok()
        });
        let mut lines = Lines {
            since,
            timestamps: options.timestamps,
            within: HashMap::new(),
        };
        let mut query = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(options.follow)
            .timestamps(lines.are_timed())
            .tail(
                &options
                    .tail_lines
                    .map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
            );
        // In whole seconds; the rest is done line by line.
        if let Some(since) = since.and_then(|since| i32::try_from(since.as_second()).ok()) {
            query = query.since(since);
        }
        let docker = self.engine().docker().clone();
        let stream = docker.logs(&container, Some(query.build()));
        let mut left = options.limit_bytes.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        let bounded = stream
            .filter_map(move |chunk| {
                let shown = match chunk {
                    Ok(chunk) => lines.show(chunk).map(Ok),
                    Err(error) => Some(Err(std::io::Error::other(error))),
                };
                futures::future::ready(shown)
            })
            .scan((), move |(), chunk| {
                let item = match chunk {
                    _ if left == 0 => None,
                    Ok(bytes) => {
                        let taken: Bytes = bytes.slice(..bytes.len().min(left));
                        left -= taken.len();
                        Some(Ok(taken))
                    }
                    Err(error) => {
                        left = 0;
                        Some(Err(error))
                    }
                };
                futures::future::ready(item)
            });
        Ok(Box::pin(bounded))
    }
}

/// The container that is asked for, and of a trial's pod the training where its collector is.
fn collected<'a>(pod: &'a Pod, asked: Option<&'a str>) -> Option<&'a str> {
    let spec = pod.spec.as_ref().filter(|_| asked == Some(COLLECTOR));
    let mut containers = spec.into_iter().flat_map(|spec| &spec.containers);
    let is_training = |container: &&Container| {
        let mut variables = container.env.iter().flatten();
        variables.any(|variable| variable.name == ENV_TRIAL_NAME)
    };
    match containers.find(is_training) {
        Some(training) if named(pod, COLLECTOR).is_none() => Some(&training.name),
        _ => asked,
    }
}

/// Which container of a pod is meant, in Kubernetes' words when that is not clear.
pub(super) fn container_name(pod: &Pod, asked: Option<&str>) -> Result<String, String> {
    let spec = pod.spec.as_ref();
    if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
        return match named(pod, asked) {
            Some(_) => Ok(asked.to_owned()),
            None => Err(format!(
                "container {asked} is not valid for pod {}",
                pod.name_any()
            )),
        };
    }
    let names = |containers: &[Container]| {
        let names = containers.iter().map(|container| container.name.clone());
        names.collect::<Vec<_>>()
    };
    let main = spec.map_or_else(Vec::new, |spec| names(&spec.containers));
    if let [only] = main.as_slice() {
        return Ok(only.clone());
    }
    let mut why = format!(
        "a container name must be specified for pod {}, choose one of: [{}]",
        pod.name_any(),
        main.join(" ")
    );
    let init = spec.and_then(|spec| spec.init_containers.as_deref());
    let init = init.map_or_else(Vec::new, names);
    if !init.is_empty() {
        why += &format!(" or one of the init containers: [{}]", init.join(" "));
    }
    Err(why)
}

/// The engine's container whose log is meant; why there is none, in a node's words.
fn chosen(pod: &Pod, container: &str, previous: bool) -> Result<String, String> {
    let about = format!("container \"{container}\" in pod \"{}\"", pod.name_any());
    let status = pod.status.as_ref();
    let lists = status.map(|status| [&status.container_statuses, &status.init_container_statuses]);
    let status = lists
        .into_iter()
        .flatten()
        .flat_map(|list| list.iter().flatten())
        .find(|status| status.name == container)
        .ok_or_else(|| format!("{about} is not available"))?;
    let ended = |state: &Option<ContainerState>| {
        let ended = state.as_ref()?.terminated.as_ref()?;
        engine_id(ended.container_id.as_deref())
    };
    let last = ended(&status.last_state);
    if previous {
        return last.ok_or_else(|| format!("previous terminated {about} not found"));
    }
    let waiting = status
        .state
        .as_ref()
        .and_then(|state| state.waiting.as_ref());
    let now = match waiting {
        // It waits to be started again.
        Some(_) => last,
        None => engine_id(status.container_id.as_deref()),
    };
    now.ok_or_else(|| {
        let reason = waiting.and_then(|waiting| waiting.reason.as_deref());
        let why = match reason.unwrap_or("ContainerCreating") {
            "ErrImagePull" => "image can't be pulled",
            "ImagePullBackOff" => "trying and failing to pull image",
            reason => reason,
        };
        format!("{about} is waiting to start: {why}")
    })
}

/// The lines of a log, as the engine gives them: a long one comes in pieces, of which each has a time.
struct Lines {
    since: Option<jiff::Timestamp>,
    /// Whether the times are shown.
    timestamps: bool,
    /// The streams of which a line has begun and not ended, and whether that line is shown.
    within: HashMap<u8, bool>,
}

impl Lines {
    /// Whether the engine has to tell the times.
    fn are_timed(&self) -> bool {
        self.timestamps || self.since.is_some()
    }

    fn show(&mut self, piece: LogOutput) -> Option<Bytes> {
        let stream = match piece {
            LogOutput::StdErr { .. } => 2,
            _ => 1,
        };
        let bytes = piece.into_bytes();
        if !self.are_timed() {
            return Some(bytes);
        }
        let text = match bytes.iter().position(|byte| *byte == b' ') {
            Some(space) => bytes.slice(space + 1..),
            None => bytes.clone(),
        };
        let begun = self.within.get(&stream).copied();
        let shown = begun.unwrap_or_else(|| {
            let time = &bytes[..bytes.len() - text.len()];
            let time = std::str::from_utf8(time).ok();
            let time = time.and_then(|time| time.trim_end().parse().ok());
            // A line without a time is none to leave out.
            self.since
                .zip(time)
                .is_none_or(|(since, time): (_, jiff::Timestamp)| time >= since)
        });
        if text.ends_with(b"\n") {
            self.within.remove(&stream);
        } else {
            self.within.insert(stream, shown);
        }
        let whole = if self.timestamps && begun.is_none() {
            bytes
        } else {
            text
        };
        shown.then_some(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_log_of_a_container_is_that_of_its_present_run_or_its_last() {
        let ended = |id: &str| json!({"terminated": {"exitCode": 1, "containerID": format!("docker://{id}")}});
        let waiting = |reason: &str| json!({"waiting": {"reason": reason}});
        let of = |state: Value, last: Value, previous: bool| {
            let id = state["terminated"]["containerID"]
                .as_str()
                .unwrap_or("docker://now");
            let status = json!({"name": "c", "state": state, "lastState": last, "containerID": id,
                "image": "i", "imageID": "", "ready": false, "restartCount": 0});
            let pod = json!({"metadata": {"name": "p"}, "status": {"containerStatuses": [status]}});
            chosen(&serde_json::from_value(pod).expect("pod"), "c", previous)
        };
        let running = json!({"running": {}});
        let rows = [
            (of(running.clone(), json!({}), false), Ok("now")),
            (of(running.clone(), ended("old"), true), Ok("old")),
            (
                of(running, json!({}), true),
                Err("previous terminated container \"c\" in pod \"p\" not found"),
            ),
            (of(ended("x"), json!({}), false), Ok("x")),
            (
                of(waiting("CrashLoopBackOff"), ended("old"), false),
                Ok("old"),
            ),
            (
                of(waiting("CrashLoopBackOff"), ended("old"), true),
                Ok("old"),
            ),
            (
                of(waiting("ContainerCreating"), json!({}), false),
                Err("container \"c\" in pod \"p\" is waiting to start: ContainerCreating"),
            ),
            (
                of(waiting("ErrImagePull"), json!({}), false),
                Err("container \"c\" in pod \"p\" is waiting to start: image can't be pulled"),
            ),
            (
                of(waiting("ImagePullBackOff"), json!({}), false),
                Err(
                    "container \"c\" in pod \"p\" is waiting to start: trying and failing to pull image",
                ),
            ),
        ];
        for (got, wanted) in rows {
            let got = got.as_deref().map_err(String::as_str);
            assert_eq!(got, wanted);
        }
    }

    #[test]
    fn the_collector_of_a_trial_is_its_training() {
        let of = |containers: Value, asked: Option<&str>| {
            let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
            let pod: Pod = serde_json::from_value(pod).expect("pod");
            collected(&pod, asked).map(str::to_owned)
        };
        let side = json!({"name": "side"});
        let main = json!({"name": "main", "env": [{"name": "KATIB_TRIAL_NAME"}]});
        let collector = json!({"name": COLLECTOR});
        let rows = [
            (json!([side, main]), Some(COLLECTOR), Some("main")),
            (json!([side, main]), Some("side"), Some("side")),
            (json!([side, main]), None, None),
            (json!([side]), Some(COLLECTOR), Some(COLLECTOR)),
            (json!([main, collector]), Some(COLLECTOR), Some(COLLECTOR)),
        ];
        for (containers, asked, wanted) in rows {
            assert_eq!(of(containers, asked).as_deref(), wanted);
        }
    }

    #[test]
    fn a_long_line_has_one_time_and_is_shown_whole_or_not_at_all() {
        let piece = |second: u8, text: &str| LogOutput::StdOut {
            message: format!("2026-01-01T00:00:0{second}.500000000Z {text}").into(),
        };
        let shown = |since: &str, timestamps: bool| {
            let mut lines = Lines {
                since: (!since.is_empty()).then(|| since.parse().expect("time")),
                timestamps,
                within: HashMap::new(),
            };
            let pieces = [piece(1, "a a"), piece(2, "b\n"), piece(3, "c\n")];
            let shown: Vec<Bytes> = pieces
                .into_iter()
                .filter_map(|piece| lines.show(piece))
                .collect();
            String::from_utf8(shown.concat()).expect("text")
        };
        assert_eq!(
            shown("", true),
            "2026-01-01T00:00:01.500000000Z a ab\n2026-01-01T00:00:03.500000000Z c\n"
        );
        assert_eq!(shown("2026-01-01T00:00:01.4Z", false), "a ab\nc\n");
        assert_eq!(shown("2026-01-01T00:00:01.6Z", false), "c\n");
    }
}
