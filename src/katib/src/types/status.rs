//! What was seen of an Experiment.

use super::*;
use serde::{Deserialize, Serialize};

/// What was seen of an Experiment.
///
/// `completion_time` has three forms: `Some(None)` is an explicit `null` (only the very
/// first status carries it), `None` an absent key, `Some(Some(time))` the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExperimentStatus {
    /// When the Experiment was first looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// When it succeeded or failed.
    #[serde(deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Option<String>>,
    /// Declared by Katib, never written by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reconcile_time: Option<String>,
    /// Conditions, newest last.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub conditions: Vec<Condition>,
    /// The best trial so far.
    #[serde(deserialize_with = "null_default")]
    pub current_optimal_trial: OptimalTrial,
    /// Names of the running trials.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub running_trial_list: Vec<String>,
    /// Names of the pending trials.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pending_trial_list: Vec<String>,
    /// Names of the failed trials.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub failed_trial_list: Vec<String>,
    /// Names of the succeeded trials.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub succeeded_trial_list: Vec<String>,
    /// Names of the killed trials.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub killed_trial_list: Vec<String>,
    /// Names of the early-stopped trials.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub early_stopped_trial_list: Vec<String>,
    /// Names of the trials without an objective value.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub metrics_unavailable_trial_list: Vec<String>,
    /// Trials in all.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub trials: i32,
    /// Succeeded trials.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub trials_succeeded: i32,
    /// Failed trials.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub trials_failed: i32,
    /// Killed trials.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub trials_killed: i32,
    /// Pending trials.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub trials_pending: i32,
    /// Running trials.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub trials_running: i32,
    /// Early-stopped trials.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub trials_early_stopped: i32,
    /// Trials without an objective value (singular in the object's own key).
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub trial_metrics_unavailable: i32,
}

impl ExperimentStatus {
    /// When the Experiment ended, if it did.
    pub fn completed_at(&self) -> Option<&str> {
        self.completion_time.as_ref()?.as_deref()
    }
}

/// The best trial so far. Written even when there is none yet, always with an observation:
/// Katib's Python SDK stumbles over its absence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OptimalTrial {
    /// Its name, empty when there is none yet.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub best_trial_name: String,
    /// Its assignments.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub parameter_assignments: Vec<ParameterAssignment>,
    /// Its metrics.
    #[serde(deserialize_with = "null_default")]
    pub observation: Observation,
}

/// The metrics of a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Observation {
    /// One entry a metric.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub metrics: Vec<Metric>,
}

impl Observation {
    /// The entry of a metric.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        self.metrics.iter().find(|metric| metric.name == name)
    }
}

/// What was reported for one metric. Strings as they were reported, or `unavailable`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Metric {
    /// Name.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Smallest number.
    #[serde(deserialize_with = "null_default")]
    pub min: String,
    /// Greatest number.
    #[serde(deserialize_with = "null_default")]
    pub max: String,
    /// Newest value.
    #[serde(deserialize_with = "null_default")]
    pub latest: String,
}

/// A parameter and the value it was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ParameterAssignment {
    /// The search parameter.
    #[serde(deserialize_with = "null_default")]
    pub name: String,
    /// Its value, always a string.
    #[serde(deserialize_with = "null_default")]
    pub value: String,
}

impl ParameterAssignment {
    /// An assignment of `value` to `name`.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}
