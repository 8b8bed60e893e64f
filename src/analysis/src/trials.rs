//! The trials of one experiment as a table in which numbers are numbers.

use std::fmt;

use katlab_katib::condition::last_condition;
use katlab_katib::types::{
    Distribution, Experiment, Metric, ObjectiveType, ParameterSpec, ParameterType, StrategyType,
    Trial,
};

use crate::scale::label;

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

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => formatter.write_str(&label(*number)),
            Self::Text(text) => formatter.write_str(text),
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
    /// The levels of a discrete parameter, smallest first; empty for others.
    pub levels: Vec<f64>,
    /// The ends of the space of a `double` or `int` parameter, where they are numbers.
    pub bounds: Option<(f64, f64)>,
    /// The distance between values, where the space has one.
    pub step: Option<f64>,
}

impl Parameter {
    /// The name as people say it: without the dashes of a command-line flag.
    pub fn title(&self) -> &str {
        self.name.trim_start_matches('-')
    }

    /// All values it can have, smallest first, where they are numbers and at most `most`; else none.
    pub fn few(&self, most: usize) -> Vec<f64> {
        if !self.levels.is_empty() {
            return if self.levels.len() <= most {
                self.levels.clone()
            } else {
                Vec::new()
            };
        }
        let (Some((low, high)), Some(step)) = (self.bounds, self.step) else {
            return Vec::new();
        };
        let steps = ((high - low) / step + 1e-9).floor();
        if !(step > 0.0 && (0.0..most as f64).contains(&steps)) {
            return Vec::new();
        }
        (0..=steps as usize)
            .map(|at| low + at as f64 * step)
            .collect()
    }
}

/// A metric of the experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricColumn {
    /// Its name.
    pub name: String,
    /// Whether smaller values are better: the objective's type says it for the objective, the strategy
    /// (`min` or `max`) for another metric; one whose strategy is `latest` goes the objective's way.
    pub minimize: bool,
}

/// When the parts of a trial happened, in seconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Times {
    /// The Trial was made.
    pub created: Option<f64>,
    /// Its Job began to run, where the Job is still known.
    pub began: Option<f64>,
    /// Its Job was done, where the Job is still known.
    pub done: Option<f64>,
    /// The Trial was over, its metrics collected.
    pub ended: Option<f64>,
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
    /// Values in the order of [`TrialTable::metrics`], each by its strategy.
    pub metrics: Vec<Option<f64>>,
    /// The objective as it was reported, where that is `nan` or infinite.
    pub not_finite: Option<String>,
    /// What was reported as the objective, where no number could be read from it.
    pub unread: Option<String>,
    /// Creation time as in the object (RFC 3339), by which rows are ordered.
    pub created: String,
    /// When its parts happened.
    pub times: Times,
}

impl Row {
    /// Whether it has ended, in whatever way.
    pub fn is_ended(&self) -> bool {
        !matches!(self.status.as_str(), "" | "Created" | "Pending" | "Running")
    }

    /// How long its Job ran, or where that is not known, how long the Trial took; in seconds.
    pub fn seconds(&self) -> Option<f64> {
        let Times {
            created,
            began,
            done,
            ended,
        } = self.times;
        let seconds = done.or(ended)? - began.or(created)?;
        (seconds >= 0.0).then_some(seconds)
    }
}

/// The trials of one experiment, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialTable {
    /// Name of the experiment.
    pub experiment: String,
    /// Its name in a magic's line, which is `NAME@ID` for one of several that were deleted.
    pub known_as: String,
    /// What a magic's line needs to read the same trials again, such as `--from DIR` or `--deleted`;
    /// empty for the experiment of the current namespace.
    pub flags: String,
    /// Name of the objective metric.
    pub objective: String,
    /// Whether smaller objectives are better.
    pub minimize: bool,
    /// The value to reach, when one was set.
    pub goal: Option<f64>,
    /// The search space.
    pub parameters: Vec<Parameter>,
    /// The metrics, the objective first.
    pub metrics: Vec<MetricColumn>,
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
        let parameters: Vec<Parameter> = experiment.spec.parameters.iter().map(parameter).collect();
        let named = objective.metric_names().filter(|name| !name.is_empty());
        let mut names: Vec<String> = named.map(str::to_owned).collect();
        let observed = trials
            .iter()
            .filter_map(|trial| trial.status.as_ref()?.observation.as_ref());
        for metric in observed.flat_map(|observation| &observation.metrics) {
            if !names.contains(&metric.name) {
                names.push(metric.name.clone());
            }
        }
        let metrics: Vec<MetricColumn> = names
            .into_iter()
            .map(|name| MetricColumn {
                minimize: match objective.strategy(&name) {
                    _ if name == metric => minimize,
                    Some(StrategyType::Min) => true,
                    Some(StrategyType::Max) => false,
                    _ => minimize,
                },
                name,
            })
            .collect();
        let mut rows: Vec<Row> = trials
            .iter()
            .map(|trial| {
                let status = trial.status.as_ref();
                let observation = status.and_then(|status| status.observation.as_ref());
                let reported = |name: &str| observation.and_then(|seen| seen.metric(name));
                let value = |name: &str| chosen(reported(name)?, objective.strategy(name));
                let odd = |metric: &Metric| {
                    let number: f64 = metric.latest.parse().ok()?;
                    (!number.is_finite()).then(|| metric.latest.clone())
                };
                let objective = value(&metric);
                // `unavailable` is Katib's word for nothing.
                let is_said = |text: &str| !matches!(text, "" | "unavailable");
                let unread = reported(&metric)
                    .map(|metric| metric.latest.clone())
                    .filter(|text| objective.is_none() && is_said(text));
                let time = |text: Option<&str>| {
                    let time: jiff::Timestamp = text?.parse().ok()?;
                    Some(time.as_millisecond() as f64 / 1000.0)
                };
                let created = trial.metadata.creation_timestamp.clone();
                Row {
                    name: trial.metadata.name().to_owned(),
                    status: status
                        .and_then(|status| last_condition(&status.conditions))
                        .map(|condition| condition.kind.clone())
                        .unwrap_or_default(),
                    parameters: parameters
                        .iter()
                        .map(|parameter| assigned(trial, parameter))
                        .collect(),
                    objective,
                    metrics: metrics.iter().map(|metric| value(&metric.name)).collect(),
                    not_finite: reported(&metric).and_then(odd),
                    unread,
                    times: Times {
                        created: time(created.as_deref()),
                        began: None,
                        done: None,
                        ended: time(status.and_then(|status| status.completed_at())),
                    },
                    created: created.unwrap_or_default(),
                }
            })
            .collect();
        rows.sort_by(|left, right| (&left.created, &left.name).cmp(&(&right.created, &right.name)));
        Self {
            experiment: experiment.metadata.name().to_owned(),
            known_as: experiment.metadata.name().to_owned(),
            flags: String::new(),
            objective: metric,
            minimize,
            goal: objective.goal,
            parameters,
            metrics,
            rows,
        }
    }

    /// Where a parameter is, named with or without its leading dashes.
    pub fn parameter(&self, name: &str) -> Option<usize> {
        let position = |same: &dyn Fn(&Parameter) -> bool| self.parameters.iter().position(same);
        position(&|one| one.name == name).or_else(|| position(&|one| one.title() == name))
    }

    /// Where a metric is.
    pub fn metric(&self, name: &str) -> Option<usize> {
        self.metrics.iter().position(|metric| metric.name == name)
    }

    /// The observed rows, best first; of equals the first made comes first.
    pub fn ranked(&self) -> Vec<(&Row, f64)> {
        let mut rows: Vec<(&Row, f64)> = self.observed().collect();
        rows.sort_by(|left, right| {
            let order = left.1.total_cmp(&right.1);
            if self.minimize {
                order
            } else {
                order.reverse()
            }
        });
        rows
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

fn parameter(spec: &ParameterSpec) -> Parameter {
    let space = &spec.feasible_space;
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    let ends = number(&space.min).zip(number(&space.max));
    let mut levels = match spec.parameter_type {
        ParameterType::Discrete => {
            let levels: Option<Vec<f64>> = space.list.iter().map(|text| number(text)).collect();
            levels.unwrap_or_default()
        }
        _ => Vec::new(),
    };
    levels.sort_by(f64::total_cmp);
    Parameter {
        name: spec.name.clone(),
        logarithmic: matches!(
            space.distribution,
            Distribution::LogUniform | Distribution::LogNormal
        ),
        choices: match spec.parameter_type {
            ParameterType::Categorical => space.list.clone(),
            ParameterType::Discrete if levels.is_empty() => space.list.clone(),
            _ => Vec::new(),
        },
        bounds: ends.filter(|(low, high)| low < high),
        step: number(&space.step)
            .filter(|step| *step > 0.0)
            .or_else(|| (spec.parameter_type == ParameterType::Int).then_some(1.0)),
        levels,
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
    let extreme = match strategy {
        Some(StrategyType::Min) => finite(&metric.min),
        Some(StrategyType::Max) => finite(&metric.max),
        // Katib gives every metric of an experiment a strategy; of one that was edited by hand the last
        // value stands.
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

    /// An experiment with trials spread over a log rate, a whole number and a choice, its objective made
    /// by a function of them.
    pub(crate) fn space(trials: usize, objective: impl Fn(f64, f64, &str) -> f64) -> TrialTable {
        let experiment = serde_json::from_value(json!({
            "metadata": {"name": "digits"},
            "spec": {
                "objective": {"type": "maximize", "objectiveMetricName": "accuracy", "additionalMetricNames": ["loss"],
                              "metricStrategies": [{"name": "accuracy", "value": "latest"}, {"name": "loss", "value": "min"}]},
                "parameters": [
                    {"name": "--lr", "parameterType": "double",
                     "feasibleSpace": {"min": "0.0001", "max": "1", "distribution": "logUniform"}},
                    {"name": "units", "parameterType": "int", "feasibleSpace": {"min": "8", "max": "128"}},
                    {"name": "optimizer", "parameterType": "categorical", "feasibleSpace": {"list": ["sgd", "adam"]}}]
            }
        }))
        .unwrap();
        let part = |n: usize, step: f64| (n as f64 * step).fract();
        let trials: Vec<Trial> = (0..trials)
            .map(|n| {
                let rate = 10f64.powf(-4.0 * part(n, 0.618_034));
                let units = (8.0 + 120.0 * part(n, 0.754_877)).round();
                let optimizer = if part(n, 0.569_84) < 0.5 { "sgd" } else { "adam" };
                let value = objective(rate, units, optimizer).to_string();
                let loss = (1.0 + rate).to_string();
                let second = n * 7;
                let time = |second: usize| {
                    format!("2026-01-01T{:02}:{:02}:{:02}Z", second / 3600 % 24, second / 60 % 60, second % 60)
                };
                serde_json::from_value(json!({
                    "metadata": {"name": format!("digits-{n}"), "creationTimestamp": time(second)},
                    "spec": {"parameterAssignments": [
                        {"name": "--lr", "value": rate.to_string()},
                        {"name": "units", "value": units.to_string()},
                        {"name": "optimizer", "value": optimizer}]},
                    "status": {"conditions": [{"type": "Succeeded", "status": "True"}],
                               "startTime": time(second), "completionTime": time(second + 20 + n % 5),
                               "observation": {"metrics": [
                                   {"name": "accuracy", "min": value, "max": value, "latest": value},
                                   {"name": "loss", "min": loss, "max": loss, "latest": loss}]}}
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
