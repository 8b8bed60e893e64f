//! Experiments: listed, read, and summed up.

use k8s_openapi::jiff::Timestamp;
use katlab_katib::condition::{Conditioned as _, has_condition};
use katlab_katib::names::condition as kinds;
use katlab_katib::types::{self, Experiment, ObjectiveType, StrategyType};

use super::held;
use super::value::{Value, metric};
use crate::cluster::{Cluster, Result};
use crate::kubernetes::Scope;

/// How many trials stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All trials made so far.
    pub total: u32,
    /// Succeeded.
    pub succeeded: u32,
    /// Running.
    pub running: u32,
    /// Not begun.
    pub pending: u32,
    /// Failed.
    pub failed: u32,
    /// Killed.
    pub killed: u32,
    /// Cut short by early stopping.
    pub early_stopped: u32,
    /// Succeeded without a value of the objective.
    pub metrics_unavailable: u32,
}

impl Counts {
    /// Trials that have ended, in whatever way.
    pub fn ended(&self) -> u32 {
        self.succeeded + self.failed + self.killed + self.early_stopped + self.metrics_unavailable
    }
}

/// What is to be made large or small.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objective {
    /// The metric.
    pub metric: String,
    /// Whether larger is better.
    pub maximize: bool,
    /// The value at which the search ends.
    pub goal: Option<f64>,
    /// Metrics that are only recorded.
    pub additional: Vec<String>,
}

impl Objective {
    pub(super) fn of(spec: Option<&types::ObjectiveSpec>) -> Self {
        spec.map(|spec| Self {
            metric: spec.objective_metric_name.clone(),
            maximize: spec.objective_type == ObjectiveType::Maximize,
            goal: spec.goal,
            additional: spec.additional_metric_names.clone(),
        })
        .unwrap_or_default()
    }

    /// Whether `left` is better than `right`.
    pub fn is_better(&self, left: f64, right: f64) -> bool {
        if self.maximize {
            left > right
        } else {
            left < right
        }
    }

    /// Whether a value reaches the goal; nothing when there is no goal.
    pub fn reached(&self, value: f64) -> Option<bool> {
        self.goal.map(|goal| {
            if self.maximize {
                value >= goal
            } else {
                value <= goal
            }
        })
    }
}

/// A metric of a trial: the three values Katib keeps, and the one that stands for the trial.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricValue {
    /// The metric's name.
    pub name: String,
    /// Which of the three stands for the trial: `min`, `max` or `latest`.
    pub strategy: String,
    /// That value.
    pub value: Option<Value>,
    /// The smallest.
    pub min: Option<Value>,
    /// The largest.
    pub max: Option<Value>,
    /// The last.
    pub latest: Option<Value>,
}

/// The best trial so far, as Katib sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Its name.
    pub trial: String,
    /// Its parameters, in the order of the search space.
    pub parameters: Vec<(String, Value)>,
    /// Its metrics, the objective first.
    pub metrics: Vec<MetricValue>,
}

/// An experiment at a glance.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `Created`, `Running`, `Restarting`, `Succeeded` or `Failed`; `Pending` before Katib saw it.
    pub status: String,
    /// Why, as one word.
    pub reason: String,
    /// Why, as a sentence.
    pub message: String,
    /// How many trials stand where.
    pub counts: Counts,
    /// Trials in all.
    pub max_trials: Option<u32>,
    /// Trials at once.
    pub parallel: Option<u32>,
    /// Failed trials that end it.
    pub max_failed: Option<u32>,
    /// What is optimised.
    pub objective: Objective,
    /// How the space is searched.
    pub algorithm: String,
    /// The names of the search parameters.
    pub parameters: Vec<String>,
    /// The best trial so far.
    pub best: Option<Best>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Every condition, in the order they were set.
    pub conditions: Vec<types::Condition>,
}

impl Summary {
    /// Whether it has ended.
    pub fn is_completed(&self) -> bool {
        self.is_succeeded() || self.is_failed()
    }

    /// Whether it ended well.
    pub fn is_succeeded(&self) -> bool {
        has_condition(&self.conditions, kinds::SUCCEEDED)
    }

    /// Whether it ended badly.
    pub fn is_failed(&self) -> bool {
        has_condition(&self.conditions, kinds::FAILED)
    }

    /// The objective's value of the best trial.
    pub fn best_value(&self) -> Option<f64> {
        self.best
            .as_ref()?
            .metrics
            .iter()
            .find(|one| one.name == self.objective.metric)?
            .value
            .as_ref()?
            .number()
    }

    /// Whether the goal is reached; nothing without a goal.
    pub fn goal_reached(&self) -> Option<bool> {
        self.objective.goal?;
        Some(
            self.best_value()
                .and_then(|value| self.objective.reached(value))
                .unwrap_or(false),
        )
    }

    /// Sums an Experiment up.
    pub fn of(experiment: &Experiment) -> Self {
        let spec = &experiment.spec;
        let status = experiment.status.clone().unwrap_or_default();
        let count = |number: i32| u32::try_from(number).unwrap_or_default();
        let positive = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
        // As Katib's page: the first of these that holds, not just the last entry of the list.
        let condition = [
            kinds::SUCCEEDED,
            kinds::FAILED,
            kinds::RUNNING,
            kinds::RESTARTING,
            kinds::CREATED,
        ]
        .iter()
        .find_map(|kind| {
            experiment
                .conditions()
                .iter()
                .find(|one| one.kind == *kind && one.status == "True")
        });
        let parameters: Vec<String> = spec
            .parameters
            .iter()
            .map(|parameter| parameter.name.clone())
            .collect();
        let optimal = &status.current_optimal_trial;
        let best = (!optimal.best_trial_name.is_empty()).then(|| Best {
            trial: optimal.best_trial_name.clone(),
            parameters: assignments(&optimal.parameter_assignments, &parameters),
            metrics: metrics(&optimal.observation, spec.objective.as_ref()),
        });
        Self {
            namespace: experiment.metadata.namespace().to_owned(),
            name: experiment.metadata.name().to_owned(),
            status: condition.map_or_else(|| "Pending".to_owned(), |one| one.kind.clone()),
            reason: condition.map(|one| one.reason.clone()).unwrap_or_default(),
            message: condition.map(|one| one.message.clone()).unwrap_or_default(),
            counts: Counts {
                total: count(status.trials),
                succeeded: count(status.trials_succeeded),
                running: count(status.trials_running),
                pending: count(status.trials_pending),
                failed: count(status.trials_failed),
                killed: count(status.trials_killed),
                early_stopped: count(status.trials_early_stopped),
                metrics_unavailable: count(status.trial_metrics_unavailable),
            },
            max_trials: positive(spec.max_trial_count),
            parallel: positive(spec.parallel_trial_count),
            max_failed: positive(spec.max_failed_trial_count),
            objective: Objective::of(spec.objective.as_ref()),
            algorithm: spec
                .algorithm
                .as_ref()
                .map(|one| one.algorithm_name.clone())
                .unwrap_or_default(),
            parameters,
            best,
            created: held::time(experiment.metadata.creation_timestamp.as_deref()),
            started: held::time(status.start_time.as_deref()),
            ended: held::time(status.completed_at()),
            conditions: status.conditions,
        }
    }
}

/// Assignments in the order of the search space, unknown ones last.
pub(super) fn assignments(
    given: &[types::ParameterAssignment],
    order: &[String],
) -> Vec<(String, Value)> {
    let mut sorted: Vec<&types::ParameterAssignment> = given.iter().collect();
    sorted.sort_by_key(|one| {
        order
            .iter()
            .position(|name| *name == one.name)
            .unwrap_or(usize::MAX)
    });
    sorted
        .into_iter()
        .map(|one| (one.name.clone(), Value::parse(&one.value)))
        .collect()
}

/// The metrics of an observation, the objective first, then as the objective lists them, then others.
pub(super) fn metrics(
    observation: &types::Observation,
    objective: Option<&types::ObjectiveSpec>,
) -> Vec<MetricValue> {
    let order: Vec<&str> = objective
        .map(|one| one.metric_names().collect())
        .unwrap_or_default();
    let mut found: Vec<MetricValue> = observation
        .metrics
        .iter()
        .map(|one| {
            let (min, max, latest) = (metric(&one.min), metric(&one.max), metric(&one.latest));
            let strategy = objective.and_then(|objective| objective.strategy(&one.name));
            let value = match strategy {
                Some(StrategyType::Min) => min.clone().or_else(|| latest.clone()),
                Some(StrategyType::Max) => max.clone().or_else(|| latest.clone()),
                _ => latest.clone(),
            };
            let strategy = strategy.map_or("latest", |word| word.as_str()).to_owned();
            MetricValue {
                name: one.name.clone(),
                strategy,
                value,
                min,
                max,
                latest,
            }
        })
        .collect();
    // Katib's own order is random, even between two reads of the same trial.
    found.sort_by(|left, right| {
        let place = |name: &str| {
            order
                .iter()
                .position(|known| *known == name)
                .unwrap_or(usize::MAX)
        };
        (place(&left.name), &left.name).cmp(&(place(&right.name), &right.name))
    });
    found
}

/// Lists experiments, newest first.
pub async fn list(cluster: &Cluster, scope: &Scope) -> Result<Vec<Summary>> {
    let mut found: Vec<Summary> = held::list::<held::Experiment>(cluster, scope, None)
        .await?
        .iter()
        .map(Summary::of)
        .collect();
    found.sort_by(|left, right| {
        (right.created, &left.namespace, &left.name).cmp(&(
            left.created,
            &right.namespace,
            &right.name,
        ))
    });
    Ok(found)
}

/// Reads one experiment.
pub async fn get(cluster: &Cluster, namespace: &str, name: &str) -> Result<Experiment> {
    held::get::<held::Experiment>(cluster, namespace, name).await
}

/// Reads one experiment and sums it up.
pub async fn summary(cluster: &Cluster, namespace: &str, name: &str) -> Result<Summary> {
    get(cluster, namespace, name)
        .await
        .map(|experiment| Summary::of(&experiment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    pub(crate) fn finished() -> Experiment {
        serde_json::from_value(json!({
            "metadata": {"name": "mnist", "namespace": "lab", "creationTimestamp": "2026-11-23T17:47:35Z"},
            "spec": {
                "parameters": [
                    {"name": "--learning_rate", "parameterType": "double", "feasibleSpace": {"min": "0.0001", "max": "0.01"}},
                    {"name": "--batch_size", "parameterType": "int", "feasibleSpace": {"min": "16", "max": "128"}}],
                "objective": {"type": "maximize", "goal": 0.99, "objectiveMetricName": "accuracy",
                    "additionalMetricNames": ["loss"],
                    "metricStrategies": [{"name": "accuracy", "value": "max"}, {"name": "loss", "value": "max"}]},
                "algorithm": {"algorithmName": "random"}, "maxTrialCount": 6, "parallelTrialCount": 3
            },
            "status": {
                "startTime": "2026-11-23T17:47:35Z", "completionTime": "2026-11-23T17:48:15Z",
                "conditions": [
                    {"type": "Created", "status": "True", "reason": "ExperimentCreated"},
                    {"type": "Running", "status": "False", "reason": "ExperimentRunning"},
                    {"type": "Succeeded", "status": "True", "reason": "ExperimentMaxTrialsReached",
                     "message": "Experiment has succeeded because max trial count has reached"}],
                "currentOptimalTrial": {
                    "bestTrialName": "mnist-h9ktsjl4",
                    "parameterAssignments": [{"name": "--batch_size", "value": "60"}, {"name": "--learning_rate", "value": "0.009"}],
                    "observation": {"metrics": [
                        {"name": "loss", "min": "unavailable", "max": "unavailable", "latest": "unavailable"},
                        {"name": "accuracy", "min": "0.5", "max": "0.96", "latest": "0.95"}]}},
                "trials": 6, "trialsSucceeded": 6
            }
        }))
        .unwrap()
    }

    #[test]
    fn the_best_value_is_the_one_chosen_by_the_strategy_not_the_latest() {
        let summary = Summary::of(&finished());
        assert_eq!(summary.best_value(), Some(0.96));
        assert_eq!(summary.goal_reached(), Some(false));
        let best = summary.best.unwrap();
        assert_eq!(
            best.parameters[0],
            ("--learning_rate".into(), Value::Number(0.009))
        );
        assert_eq!(best.metrics[0].latest, Some(Value::Number(0.95)));
        assert_eq!(
            (best.metrics[1].name.as_str(), &best.metrics[1].value),
            ("loss", &None)
        );
    }

    #[test]
    fn an_experiment_nobody_has_seen_yet_is_pending() {
        let experiment: Experiment =
            serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {}})).unwrap();
        let summary = Summary::of(&experiment);
        assert_eq!(summary.status, "Pending");
        assert!(!summary.is_completed() && summary.best.is_none());
    }

    #[test]
    fn a_restarted_experiment_runs_although_restarting_stays_true() {
        let mut experiment = finished();
        experiment.status.as_mut().unwrap().conditions = serde_json::from_value(json!([
            {"type": "Created", "status": "True"}, {"type": "Restarting", "status": "True"},
            {"type": "Running", "status": "True"}]))
        .unwrap();
        assert_eq!(Summary::of(&experiment).status, "Running");
    }
}
