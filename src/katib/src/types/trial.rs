//! Trial: one run with one set of assignments.

use super::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// One run with one set of assignments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Trial {
    /// `kubeflow.org/v1beta1`.
    pub api_version: String,
    /// `Trial`.
    pub kind: String,
    /// Name, namespace and so on.
    pub metadata: ObjectMeta,
    /// What is to run.
    pub spec: TrialSpec,
    /// What was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<TrialStatus>,
}

/// What a trial is to run and how its metrics are read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrialSpec {
    /// Copy of the Experiment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<ObjectiveSpec>,
    /// Values of this trial.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub parameter_assignments: Vec<ParameterAssignment>,
    /// When to stop it early.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub early_stopping_rules: Vec<EarlyStoppingRule>,
    /// The object to create, rendered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_spec: Option<Value>,
    /// Whether the object stays after the trial ended.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_false")]
    pub retain_run: bool,
    /// Copy of the Experiment's.
    #[serde(deserialize_with = "null_default")]
    pub metrics_collector: MetricsCollectorSpec,
    /// Copy of the template's.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub primary_pod_labels: BTreeMap<String, String>,
    /// Copy of the template's.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub primary_container_name: String,
    /// Copy of the template's.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub success_condition: String,
    /// Copy of the template's.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub failure_condition: String,
    /// Declared by Katib, never set by it.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
}

/// What was seen of a trial. About `completion_time` see [`ExperimentStatus`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrialStatus {
    /// When the trial was first looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// When it ended.
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
    /// Its metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation: Option<Observation>,
}

impl TrialStatus {
    /// When the trial ended, if it did.
    pub fn completed_at(&self) -> Option<&str> {
        self.completion_time.as_ref()?.as_deref()
    }
}
