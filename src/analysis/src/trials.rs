//! The trials of one experiment as a table in which numbers are numbers.

use katlab_katib::condition::last_condition;
use katlab_katib::types::{
    Distribution, Experiment, Metric, ObjectiveType, ParameterType, StrategyType, Trial,
};

/// A parameter's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a `double`, `int` or numeric `discrete` parameter.
    Number(f64),
    /// Of a `categorical` parameter, or what could not be read as a number.
    Text(String),
}

impl Value {
    /// The number, or `None` for text.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(_) => None,
        }
    }
}

/// One dimension of the search space.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name in the search space, leading dashes included.
    pub name: String,
    /// Whether its axis is logarithmic: the space is drawn `logUniform` or `logNormal`.
    pub logarithmic: bool,
    /// The choices of a categorical parameter; empty for numbers.
    pub choices: Vec<String>,
}

impl Parameter {
    /// The name as people say it: without the dashes of a command-line flag.
    pub fn title(&self) -> &str {
        self.name.trim_start_matches('-')
    }
}

/// One trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Name of the trial.
    pub name: String,
    /// Type of its last condition; empty before the first.
    pub status: String,
    /// Values in the order of [`TrialTable::parameters`].
    pub parameters: Vec<Option<Value>>,
    /// Objective by the experiment's strategy; `None` while unavailable.
    pub objective: Option<f64>,
    /// Creation time as in the object (RFC 3339), by which rows are ordered.
    pub created: String,
}

/// The trials of one experiment, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialTable {
    /// Name of the experiment.
    pub experiment: String,
    /// Name of the objective metric.
    pub objective: String,
    /// Whether smaller objectives are better.
    pub minimize: bool,
    /// The value to reach, when one was set.
    pub goal: Option<f64>,
    /// The search space.
    pub parameters: Vec<Parameter>,
    /// A row a trial.
    pub rows: Vec<Row>,
}

impl TrialTable {
    /// Reads the table from an experiment and its trials.
    ///
    /// The objective of a trial is picked by the experiment's metric strategy and falls back to `latest`
    /// where `min` or `max` is unavailable, as Katib does when it chooses the best trial.
    pub fn new(experiment: &Experiment, trials: &[Trial]) -> Self {
        let objective = experiment.spec.objective.clone().unwrap_or_default();
        let minimize = objective.objective_type == ObjectiveType::Minimize;
        let metric = objective.objective_metric_name.clone();
        let strategy = objective.strategy(&metric).cloned();
        let parameters: Vec<Parameter> = experiment
            .spec
            .parameters
            .iter()
            .map(|parameter| Parameter {
                name: parameter.name.clone(),
                logarithmic: matches!(
                    parameter.feasible_space.distribution,
                    Distribution::LogUniform | Distribution::LogNormal
                ),
                choices: match parameter.parameter_type {
                    ParameterType::Categorical => parameter.feasible_space.list.clone(),
                    _ => Vec::new(),
                },
            })
            .collect();
        let mut rows: Vec<Row> = trials
            .iter()
            .map(|trial| Row {
                name: trial.metadata.name().to_owned(),
                status: trial
                    .status
                    .as_ref()
                    .and_then(|status| last_condition(&status.conditions))
                    .map(|condition| condition.kind.clone())
                    .unwrap_or_default(),
                parameters: parameters
                    .iter()
                    .map(|parameter| assigned(trial, parameter))
                    .collect(),
                objective: trial
                    .status
                    .as_ref()
                    .and_then(|status| status.observation.as_ref()?.metric(&metric))
                    .and_then(|metric| chosen(metric, strategy.as_ref())),
                created: trial
                    .metadata
                    .creation_timestamp
                    .clone()
                    .unwrap_or_default(),
            })
            .collect();
        rows.sort_by(|left, right| (&left.created, &left.name).cmp(&(&right.created, &right.name)));
        Self {
            experiment: experiment.metadata.name().to_owned(),
            objective: metric,
            minimize,
            goal: objective.goal,
            parameters,
            rows,
        }
    }

    /// Whether one objective is better than another.
    pub fn better(&self, one: f64, other: f64) -> bool {
        if self.minimize {
            one < other
        } else {
            one > other
        }
    }

    /// The rows with an objective.
    pub fn observed(&self) -> impl Iterator<Item = (&Row, f64)> {
        self.rows
            .iter()
            .filter_map(|row| Some((row, row.objective?)))
    }

    /// The best row; the first of equals, as Katib chooses.
    pub fn best(&self) -> Option<(&Row, f64)> {
        self.observed().reduce(|best, next| {
            if self.better(next.1, best.1) {
                next
            } else {
                best
            }
        })
    }
}

fn assigned(trial: &Trial, parameter: &Parameter) -> Option<Value> {
    let assignment = trial
        .spec
        .parameter_assignments
        .iter()
        .find(|given| given.name == parameter.name)?;
    Some(match assignment.value.parse::<f64>() {
        Ok(number) if parameter.choices.is_empty() && number.is_finite() => Value::Number(number),
        _ => Value::Text(assignment.value.clone()),
    })
}

fn chosen(metric: &Metric, strategy: Option<&StrategyType>) -> Option<f64> {
    let finite = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let extreme = match strategy? {
        StrategyType::Min => finite(&metric.min),
        StrategyType::Max => finite(&metric.max),
        _ => None,
    };
    extreme.or_else(|| finite(&metric.latest))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// An experiment that maximises accuracy over a learning rate (log) and an optimizer (categorical).
    pub(crate) fn table(objectives: &[Option<f64>]) -> TrialTable {
        let experiment = serde_json::from_value(json!({
            "metadata": {"name": "digits"},
            "spec": {
                "objective": {"type": "maximize", "goal": 0.99, "objectiveMetricName": "accuracy",
                              "metricStrategies": [{"name": "accuracy", "value": "max"}]},
                "parameters": [
                    {"name": "--lr", "parameterType": "double",
                     "feasibleSpace": {"min": "0.001", "max": "1", "distribution": "logUniform"}},
                    {"name": "optimizer", "parameterType": "categorical",
                     "feasibleSpace": {"list": ["sgd", "adam"]}}]
            }
        }))
        .unwrap();
        let trials: Vec<Trial> = objectives
            .iter()
            .enumerate()
            .map(|(index, objective)| {
                let rate = 0.001 * 10f64.powf(index as f64 / 4.0);
                let text = objective.map_or("unavailable".into(), |value| value.to_string());
                serde_json::from_value(json!({
                    "metadata": {"name": format!("digits-{index}"),
                                 "creationTimestamp": format!("2026-01-01T00:00:{index:02}Z")},
                    "spec": {"parameterAssignments": [
                        {"name": "--lr", "value": rate.to_string()},
                        {"name": "optimizer", "value": if index % 2 == 0 { "sgd" } else { "adam" }}]},
                    "status": {"conditions": [{"type": "Succeeded", "status": "True"}],
                               "observation": {"metrics": [
                                   {"name": "accuracy", "min": "0", "max": text, "latest": text}]}}
                }))
                .unwrap()
            })
            .collect();
        TrialTable::new(&experiment, &trials)
    }

    #[test]
    fn numbers_are_numbers_and_choices_stay_text() {
        let table = table(&[Some(0.5), None]);
        assert_eq!(
            table.rows[0].parameters,
            [Some(Value::Number(0.001)), Some(Value::Text("sgd".into()))]
        );
        assert_eq!(table.rows[0].objective, Some(0.5));
        assert_eq!(table.rows[1].objective, None);
    }

    #[test]
    fn the_first_of_equally_good_trials_is_best() {
        assert_eq!(
            table(&[Some(0.5), Some(0.9), Some(0.9)])
                .best()
                .unwrap()
                .0
                .name,
            "digits-1"
        );
    }
}
