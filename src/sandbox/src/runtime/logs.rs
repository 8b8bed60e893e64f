//! `pods/log`, read from the engine.

use bollard::query_parameters::LogsOptionsBuilder;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;

use super::Runtime;
use super::container::{Identity, named};
use crate::api::logs::{LogError, LogOptions, LogSource, LogStream};

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
        let name = container_name(&pod, options.container.as_deref())?;
        let uid = pod.uid().unwrap_or_default();
        let attempts = self
            .attempts(&uid, &name)
            .await
            .map_err(|error| LogError::Internal(error.to_string()))?;
        let attempt = match (attempts.last(), options.previous) {
            (Some(last), false) => *last,
            (Some(_), true) if attempts.len() > 1 => attempts[attempts.len() - 2],
            (_, true) => {
                return Err(LogError::BadRequest(format!(
                    "previous terminated container \"{name}\" in pod \"{}\" not found",
                    pod.name_any()
                )));
            }
            (None, false) => return Err(not_started(&pod, &name)),
        };
        let namespace = pod.namespace().unwrap_or_default();
        let identity = Identity {
            sandbox: self.id(),
            namespace: &namespace,
            pod: &pod.name_any(),
            uid: &uid,
            container: &name,
            attempt,
        }
        .name();
        let since = options.since_time.map(|time| time.as_second()).or_else(|| {
            let seconds = i64::try_from(options.since_seconds?).ok()?;
            Some(jiff::Timestamp::now().as_second() - seconds)
        });
        let mut query = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(options.follow)
            .timestamps(options.timestamps)
            .tail(
                &options
                    .tail_lines
                    .map_or_else(|| "all".to_owned(), |lines| lines.to_string()),
            );
        if let Some(since) = since.and_then(|since| i32::try_from(since).ok()) {
            query = query.since(since);
        }
        let docker = self.engine().docker().clone();
        let stream = docker.logs(&identity, Some(query.build()));
        let mut left = options.limit_bytes.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        let bounded = stream
            .map(|chunk| {
                chunk
                    .map(|chunk| chunk.into_bytes())
                    .map_err(std::io::Error::other)
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

fn container_name(pod: &Pod, asked: Option<&str>) -> Result<String, LogError> {
    let spec = pod.spec.as_ref();
    if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
        return match named(pod, asked) {
            Some(_) => Ok(asked.to_owned()),
            None => Err(LogError::BadRequest(format!(
                "container {asked} is not valid for pod {}",
                pod.name_any()
            ))),
        };
    }
    let names: Vec<&str> = spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| container.name.as_str())
        .collect();
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        _ => Err(LogError::BadRequest(format!(
            "a container name must be specified for pod {}, choose one of: [{}]",
            pod.name_any(),
            names.join(" ")
        ))),
    }
}

fn not_started(pod: &Pod, container: &str) -> LogError {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let reason = statuses
        .into_iter()
        .flatten()
        .find(|status| status.name == container)
        .and_then(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone())
        .unwrap_or_else(|| "ContainerCreating".to_owned());
    let why = match reason.as_str() {
        "ImagePullBackOff" | "ErrImagePull" => "trying and failing to pull image".to_owned(),
        _ => reason,
    };
    LogError::BadRequest(format!(
        "container \"{container}\" in pod \"{}\" is waiting to start: {why}",
        pod.name_any()
    ))
}
