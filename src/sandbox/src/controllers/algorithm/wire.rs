//! The messages of Katib's Suggestion service, and the way from and to the sandbox's own types.
//!
//! Written by hand as `prost` structures; field numbers are those of `package api.v1.beta1`.

use katlab_katib::condition::last_condition;
use katlab_katib::metrics::strategy_text;
use katlab_katib::names::condition::{CREATED, EARLY_STOPPED, FAILED, KILLED, RUNNING, SUCCEEDED};
use katlab_katib::types::{
    self, Distribution, ExperimentSpec, ObjectiveType, ParameterAssignment, ParameterType,
};
use std::collections::HashMap;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Experiment {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    spec: Option<Spec>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Spec {
    #[prost(message, optional, tag = "1")]
    parameter_specs: Option<Parameters>,
    #[prost(message, optional, tag = "2")]
    objective: Option<Objective>,
    #[prost(message, optional, tag = "3")]
    algorithm: Option<Algorithm>,
    #[prost(message, optional, tag = "4")]
    early_stopping: Option<Algorithm>,
    #[prost(int32, tag = "5")]
    parallel_trial_count: i32,
    #[prost(int32, tag = "6")]
    max_trial_count: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Parameters {
    #[prost(message, repeated, tag = "1")]
    parameters: Vec<Parameter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Parameter {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int32, tag = "2")]
    parameter_type: i32,
    #[prost(message, optional, tag = "3")]
    feasible_space: Option<Space>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Space {
    #[prost(string, tag = "1")]
    max: String,
    #[prost(string, tag = "2")]
    min: String,
    #[prost(string, repeated, tag = "3")]
    list: Vec<String>,
    #[prost(string, tag = "4")]
    step: String,
    #[prost(int32, tag = "5")]
    distribution: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Objective {
    #[prost(int32, tag = "1")]
    objective_type: i32,
    #[prost(double, tag = "2")]
    goal: f64,
    #[prost(string, tag = "3")]
    objective_metric_name: String,
    #[prost(string, repeated, tag = "4")]
    additional_metric_names: Vec<String>,
}

/// An algorithm of search, or of early stopping.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Algorithm {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) settings: Vec<Pair>,
}

/// A name with its value: a setting, an assignment or a metric.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Pair {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Trial {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    spec: Option<TrialSpec>,
    #[prost(message, optional, tag = "3")]
    status: Option<TrialStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TrialSpec {
    #[prost(message, optional, tag = "2")]
    objective: Option<Objective>,
    #[prost(message, optional, tag = "3")]
    parameter_assignments: Option<Pairs>,
    #[prost(map = "string, string", tag = "4")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pairs {
    #[prost(message, repeated, tag = "1")]
    pairs: Vec<Pair>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TrialStatus {
    #[prost(string, tag = "1")]
    start_time: String,
    #[prost(string, tag = "2")]
    completion_time: String,
    #[prost(int32, tag = "3")]
    condition: i32,
    #[prost(message, optional, tag = "4")]
    observation: Option<Pairs>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetSuggestionsRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) experiment: Option<Experiment>,
    #[prost(message, repeated, tag = "2")]
    pub(super) trials: Vec<Trial>,
    #[prost(int32, tag = "4")]
    pub(super) current_request_number: i32,
    #[prost(int32, tag = "5")]
    pub(super) total_request_number: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GetSuggestionsReply {
    #[prost(message, repeated, tag = "1")]
    pub(super) parameter_assignments: Vec<Assignments>,
    #[prost(message, optional, tag = "2")]
    pub(super) algorithm: Option<Algorithm>,
}

/// The values of one trial.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Assignments {
    #[prost(message, repeated, tag = "1")]
    pub(super) assignments: Vec<Pair>,
    #[prost(string, tag = "2")]
    pub(super) trial_name: String,
    #[prost(map = "string, string", tag = "3")]
    pub(super) labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValidateRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) experiment: Option<Experiment>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ValidateReply {}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthRequest {
    #[prost(string, tag = "1")]
    pub(super) service: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HealthReply {
    #[prost(int32, tag = "1")]
    pub(super) status: i32,
}

impl Experiment {
    /// An Experiment as the algorithm sees it.
    pub(super) fn new(name: &str, spec: &ExperimentSpec) -> Self {
        Self {
            name: name.to_owned(),
            spec: Some(Spec {
                parameter_specs: Some(Parameters {
                    parameters: spec.parameters.iter().map(Parameter::new).collect(),
                }),
                objective: spec.objective.as_ref().map(Objective::new),
                algorithm: spec.algorithm.as_ref().map(Algorithm::new),
                early_stopping: spec.early_stopping.as_ref().map(Algorithm::new),
                parallel_trial_count: spec.parallel_trial_count.unwrap_or_default(),
                max_trial_count: spec.max_trial_count.unwrap_or_default(),
            }),
        }
    }
}

impl Parameter {
    fn new(parameter: &types::ParameterSpec) -> Self {
        let space = &parameter.feasible_space;
        let parameter_type = match parameter.parameter_type {
            ParameterType::Double => 1,
            ParameterType::Int => 2,
            ParameterType::Discrete => 3,
            ParameterType::Categorical => 4,
            _ => 0,
        };
        let distribution = match space.distribution {
            Distribution::Uniform => 1,
            Distribution::LogUniform => 2,
            Distribution::Normal => 3,
            Distribution::LogNormal => 4,
            _ => 0,
        };
        Self {
            name: parameter.name.clone(),
            parameter_type,
            feasible_space: Some(Space {
                max: space.max.clone(),
                min: space.min.clone(),
                list: space.list.clone(),
                step: space.step.clone(),
                distribution,
            }),
        }
    }
}

impl Objective {
    fn new(objective: &types::ObjectiveSpec) -> Self {
        Self {
            objective_type: match objective.objective_type {
                ObjectiveType::Minimize => 1,
                ObjectiveType::Maximize => 2,
                _ => 0,
            },
            goal: objective.goal.unwrap_or_default(),
            objective_metric_name: objective.objective_metric_name.clone(),
            additional_metric_names: objective.additional_metric_names.clone(),
        }
    }
}

impl Algorithm {
    fn new(algorithm: &types::AlgorithmSpec) -> Self {
        let settings = algorithm.algorithm_settings.iter();
        Self {
            name: algorithm.algorithm_name.clone(),
            settings: settings.map(|one| pair(&one.name, &one.value)).collect(),
        }
    }
}

fn pair(name: &str, value: &str) -> Pair {
    Pair {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn pairs(assignments: &[ParameterAssignment]) -> Pairs {
    let pairs = assignments.iter();
    Pairs {
        pairs: pairs.map(|one| pair(&one.name, &one.value)).collect(),
    }
}

impl Trial {
    /// A trial as the algorithm sees it: its last condition, and of each metric the value that its strategy picks.
    pub(super) fn new(trial: &types::Trial) -> Self {
        let objective = trial.spec.objective.clone().unwrap_or_default();
        let status = trial.status.clone().unwrap_or_default();
        let condition = match last_condition(&status.conditions).map(|last| last.kind.as_str()) {
            None | Some(CREATED) => 0,
            Some(RUNNING) => 1,
            Some(SUCCEEDED) => 2,
            Some(KILLED) => 3,
            Some(FAILED) => 4,
            Some(EARLY_STOPPED) => 6,
            Some(_) => 7,
        };
        let observation = status.observation.as_ref().map(|observation| Pairs {
            pairs: observation
                .metrics
                .iter()
                .map(|metric| {
                    let strategy = objective.strategy(&metric.name);
                    let value = strategy.map_or("", |strategy| strategy_text(strategy, metric));
                    pair(&metric.name, value)
                })
                .collect(),
        });
        Self {
            name: trial.metadata.name().to_owned(),
            spec: Some(TrialSpec {
                objective: Some(Objective::new(&objective)),
                parameter_assignments: Some(pairs(&trial.spec.parameter_assignments)),
                labels: trial.metadata.labels.clone().into_iter().collect(),
            }),
            status: Some(TrialStatus {
                completion_time: status.completed_at().unwrap_or_default().to_owned(),
                start_time: status.start_time.unwrap_or_default(),
                condition,
                observation,
            }),
        }
    }
}
