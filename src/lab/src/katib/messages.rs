//! The messages of Katib's DB manager (`package api.v1.beta1`), written by hand so that no
//! `protoc` is needed.

use prost::Message;

/// A metric's name and value.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Metric {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// The value, as text.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// One row of a log.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MetricLog {
    /// RFC 3339.
    #[prost(string, tag = "1")]
    pub time_stamp: String,
    /// What was seen.
    #[prost(message, optional, tag = "2")]
    pub metric: Option<Metric>,
}

/// A trial's log.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ObservationLog {
    /// The rows, by time.
    #[prost(message, repeated, tag = "1")]
    pub metric_logs: Vec<MetricLog>,
}

/// Asks for a log.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetObservationLogRequest {
    /// The trial.
    #[prost(string, tag = "1")]
    pub trial_name: String,
    /// One metric, or all when empty.
    #[prost(string, tag = "2")]
    pub metric_name: String,
    /// From when, inclusive, or empty.
    #[prost(string, tag = "3")]
    pub start_time: String,
    /// Until when, inclusive, or empty.
    #[prost(string, tag = "4")]
    pub end_time: String,
}

/// A log.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct GetObservationLogReply {
    /// The log.
    #[prost(message, optional, tag = "1")]
    pub observation_log: Option<ObservationLog>,
}
