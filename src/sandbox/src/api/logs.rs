//! What `pods/NAME/log` asks of whoever runs the containers.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use serde_json::json;

use super::query::Query;
use super::status::{ApiError, FieldError};

/// What the query string of a log request may say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The container; required when the pod has several.
    pub container: Option<String>,
    /// Keep the stream open until the container ends.
    pub follow: bool,
    /// The log of the container's previous instance.
    pub previous: bool,
    /// Put the time of each line before it (RFC 3339, nanoseconds).
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only lines younger than so many seconds.
    pub since_seconds: Option<u64>,
    /// Only lines since this moment (RFC 3339).
    pub since_time: Option<jiff::Timestamp>,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

impl LogOptions {
    /// Reads the query string of a request for the log of a pod.
    pub(super) fn read(pod: &str, query: &Query) -> Result<LogOptions, ApiError> {
        let mut wrong = Vec::new();
        let mut number = |name: &str, least: i64, rule: &str| -> Result<Option<u64>, ApiError> {
            let number = query.number(name)?;
            if let Some(number) = number.filter(|number| *number < least) {
                wrong.push(FieldError::invalid(name, &json!(number), rule));
            }
            Ok(number.and_then(|number| u64::try_from(number).ok()))
        };
        let options = LogOptions {
            container: query.get("container").map(str::to_owned),
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            tail_lines: number("tailLines", 0, "must be greater than or equal to 0")?,
            limit_bytes: number("limitBytes", 1, "must be greater than 0")?,
            since_seconds: number("sinceSeconds", 1, "must be greater than 0")?,
            since_time: query
                .get("sinceTime")
                .map(|t| {
                    t.parse()
                        .map_err(|e| ApiError::bad_request(format!("sinceTime {t:?}: {e}")))
                })
                .transpose()?,
        };
        if options.since_seconds.is_some() && options.since_time.is_some() {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            wrong = vec![FieldError::forbidden("", why)];
        }
        if wrong.is_empty() {
            return Ok(options);
        }
        Err(ApiError::invalid_kind("", "PodLogOptions", pod, &wrong))
    }
}

/// Why there is no log. The messages go to the client as they are.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The request cannot be answered in the container's present state, or names a container
    /// that is not there (HTTP 400).
    #[error("{0}")]
    BadRequest(String),
    /// The pod has no node yet, so there is nobody to ask (HTTP 204).
    #[error("the pod has no node")]
    NoNode,
    /// The pod or its container has gone (HTTP 404).
    #[error("{0}")]
    NotFound(String),
    /// The engine failed (HTTP 500).
    #[error("{0}")]
    Internal(String),
}

/// The bytes of a log, in order. An error ends the stream.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send>>;

/// Whoever runs the containers of pods, as far as logs go.
pub trait LogSource: Send + Sync + 'static {
    /// Opens the log of a container. The pod exists in the API when this is called; `pod` is the
    /// stored object.
    fn logs<'a>(
        &'a self,
        namespace: &'a str,
        pod: &'a serde_json::Value,
        options: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, LogError>>;
}
