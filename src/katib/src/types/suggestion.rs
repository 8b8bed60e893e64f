//! Suggestion: the assignments asked for and given.

use super::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The assignments of one Experiment, asked for and given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Suggestion {
    /// `kubeflow.org/v1beta1`.
    pub api_version: String,
    /// `Suggestion`.
    pub kind: String,
    /// Name (that of the Experiment), namespace and so on.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: SuggestionSpec,
    /// What was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<SuggestionStatus>,
}

/// How many assignments are wanted, and by which algorithm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuggestionSpec {
    /// Copy of the Experiment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<AlgorithmSpec>,
    /// Copy of the Experiment's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStoppingSpec>,
    /// Assignments wanted since the beginning.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub requests: i32,
    /// Copy of the Experiment's.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "ResumePolicy::is_empty"
    )]
    pub resume_policy: ResumePolicy,
}

/// What was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SuggestionStatus {
    /// Settings the algorithm wants back with the next request.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub algorithm_settings: Vec<Setting>,
    /// Number of assignments given.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub suggestion_count: i32,
    /// The assignments, oldest first.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub suggestions: Vec<TrialAssignment>,
    /// When the Suggestion was first looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// Declared by Katib, never written by it.
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
}

/// The assignments of one trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TrialAssignment {
    /// Values.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub parameter_assignments: Vec<ParameterAssignment>,
    /// The trial's name.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// Rules of early stopping.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub early_stopping_rules: Vec<EarlyStoppingRule>,
    /// Labels for the trial.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
}

/// When a trial is to be stopped early.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EarlyStoppingRule {
    /// The metric looked at.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// The threshold.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub value: String,
    /// How it is compared.
    #[serde(
        deserialize_with = "null_default",
        skip_serializing_if = "Comparison::is_empty"
    )]
    pub comparison: Comparison,
    /// At which reported value.
    #[serde(deserialize_with = "null_default", skip_serializing_if = "is_zero")]
    pub start_step: i32,
}
