//! Experiment: the search a person asks for.

use super::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// A hyperparameter search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Experiment {
    /// `kubeflow.org/v1beta1`.
    #[serde(default)]
    pub api_version: String,
    /// `Experiment`.
    #[serde(default)]
    pub kind: String,
    /// Name, namespace and so on.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(default)]
    pub spec: ExperimentSpec,
    /// What was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ExperimentStatus>,
}

/// What an Experiment wants.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExperimentSpec {
    /// The search space.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub parameters: Vec<ParameterSpec>,
    /// What is to be made large or small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<ObjectiveSpec>,
    /// How the space is searched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<AlgorithmSpec>,
    /// How hopeless trials are cut short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStoppingSpec>,
    /// What a trial runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_template: Option<TrialTemplate>,
    /// Trials active at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_trial_count: Option<i32>,
    /// Trials in all; unset means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_trial_count: Option<i32>,
    /// Failed trials that end the Experiment; unset means they never do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed_trial_count: Option<i32>,
    /// Where metrics come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics_collector_spec: Option<MetricsCollectorSpec>,
    /// Neural architecture search.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nas_config: Option<NasConfig>,
    /// What becomes of the Suggestion at the end.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "ResumePolicy::is_empty"
    )]
    pub resume_policy: ResumePolicy,
}

/// One search parameter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParameterSpec {
    /// Name; trial parameters refer to it.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// What it holds.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "ParameterType::is_empty"
    )]
    pub parameter_type: ParameterType,
    /// Its range or list.
    #[serde(default, deserialize_with = "null_default")]
    pub feasible_space: FeasibleSpace,
}

/// The values a parameter may take. All numbers are strings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeasibleSpace {
    /// Upper end, inclusive.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub max: String,
    /// Lower end, inclusive.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub min: String,
    /// The values of a categorical or discrete parameter.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub list: Vec<String>,
    /// Distance between values.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub step: String,
    /// How values are drawn.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Distribution::is_empty"
    )]
    pub distribution: Distribution,
}

/// What is optimised.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectiveSpec {
    /// Direction.
    #[serde(
        rename = "type",
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "ObjectiveType::is_empty"
    )]
    pub objective_type: ObjectiveType,
    /// Value at which the search ends.
    #[serde(
        default,
        serialize_with = "go_float",
        skip_serializing_if = "Option::is_none"
    )]
    pub goal: Option<f64>,
    /// The metric that is optimised.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub objective_metric_name: String,
    /// Metrics that are only recorded.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub additional_metric_names: Vec<String>,
    /// Which value of a metric stands for a trial.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub metric_strategies: Vec<MetricStrategy>,
}

impl ObjectiveSpec {
    /// The strategy of a metric, if one is set.
    pub fn strategy(&self, metric: &str) -> Option<&StrategyType> {
        self.metric_strategies
            .iter()
            .find(|strategy| strategy.name == metric)
            .map(|strategy| &strategy.value)
    }

    /// The objective metric, then the additional ones.
    pub fn metric_names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.objective_metric_name.as_str())
            .chain(self.additional_metric_names.iter().map(String::as_str))
    }
}

/// Which value of one metric stands for a trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricStrategy {
    /// The metric.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// The rule.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "StrategyType::is_empty"
    )]
    pub value: StrategyType,
}

/// A search algorithm and its settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AlgorithmSpec {
    /// For example `random`.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub algorithm_name: String,
    /// Names and values, all strings.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub algorithm_settings: Vec<Setting>,
}

/// An early-stopping algorithm: the same shape as a search algorithm.
pub type EarlyStoppingSpec = AlgorithmSpec;

/// A setting of an algorithm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Name.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// Value.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub value: String,
}

/// What a trial runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrialTemplate {
    /// Whether jobs stay after their trial ended.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "is_false"
    )]
    pub retain: bool,
    /// The object a trial creates, free in form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_spec: Option<Value>,
    /// The same, kept in a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<ConfigMapSource>,
    /// What the template's placeholders stand for. Absent and empty differ: only an absent
    /// list is refused.
    #[serde(default, skip_serializing_if = "no_parameters")]
    pub trial_parameters: Option<Vec<TrialParameterSpec>>,
    /// Labels that tell the pod with metrics from the job's other pods.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub primary_pod_labels: BTreeMap<String, String>,
    /// The container that trains.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub primary_container_name: String,
    /// GJSON path that holds when the job has succeeded.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub success_condition: String,
    /// GJSON path that holds when the job has failed.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub failure_condition: String,
}

fn no_parameters(list: &Option<Vec<TrialParameterSpec>>) -> bool {
    list.is_none()
}

impl TrialTemplate {
    /// The trial parameters, none when the list is absent.
    pub fn parameters(&self) -> &[TrialParameterSpec] {
        self.trial_parameters.as_deref().unwrap_or_default()
    }
}

/// A template kept in a ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapSource {
    /// Its name.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub config_map_name: String,
    /// Its namespace.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub config_map_namespace: String,
    /// The key that holds the template.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub template_path: String,
}

/// What a placeholder of the template stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrialParameterSpec {
    /// Name, as in `${trialParameters.NAME}`.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// For people.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub description: String,
    /// A search parameter, or a metadata reference such as `${trialSpec.Name}`.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub reference: String,
}

/// Where metrics come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsCollectorSpec {
    /// Place and form of the metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceSpec>,
    /// Who reads them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collector: Option<CollectorSpec>,
}

/// Place and form of the metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSpec {
    /// Endpoint for `PrometheusMetric` (a core/v1 HTTPGetAction).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<Value>,
    /// File or directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system_path: Option<FileSystemPath>,
    /// Patterns of metric lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterSpec>,
}

/// A file or directory with metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemPath {
    /// Absolute path in the primary container.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub path: String,
    /// File or directory.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "FileSystemKind::is_empty"
    )]
    pub kind: FileSystemKind,
    /// How the file is written.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "FileFormat::is_empty"
    )]
    pub format: FileFormat,
}

/// Patterns of metric lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FilterSpec {
    /// Regular expressions with two groups: name and value.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub metrics_format: Vec<String>,
}

/// Who reads the metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CollectorSpec {
    /// Which collector.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "CollectorKind::is_empty"
    )]
    pub kind: CollectorKind,
    /// The user's container for `Custom` (a core/v1 Container).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_collector: Option<Value>,
}

/// Neural architecture search; carried, not run by the sandbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NasConfig {
    /// Shape of the graph.
    #[serde(default, deserialize_with = "null_default")]
    pub graph_config: GraphConfig,
    /// Candidate operations.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub operations: Vec<Operation>,
}

/// Shape of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GraphConfig {
    /// Number of layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_layers: Option<i32>,
    /// Input sizes.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub input_sizes: Vec<i32>,
    /// Output sizes.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub output_sizes: Vec<i32>,
}

/// A candidate operation and its own search space.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// For example `convolution`.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "String::is_empty"
    )]
    pub operation_type: String,
    /// Its search space.
    #[serde(
        default,
        deserialize_with = "null_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub parameters: Vec<ParameterSpec>,
}
