//! Whether a trial under way is to be stopped: its rules, held against the values it reports.
//!
//! # Where this departs from Katib on purpose
//! - A rule is looked at **at every value from `startStep` on**. Katib's collector looks once, at
//!   the `startStep`-th value.
//! - A trial may have several rules for one metric, each for the steps from its `startStep` to
//!   the next rule's: the threshold grows with the trial. Katib's medianstop gives one.
//! - A value that is no number is no step. Katib's collector breaks off at one.
//!
//! As in Katib, the objective is judged by the best value so far, other metrics by the value
//! itself; what once held stays so; and a trial is stopped when something holds for every metric
//! that has rules.

use crate::metrics::{MetricRow, number};
use crate::types::{Comparison, EarlyStoppingRule, ObjectiveSpec, ObjectiveType};

/// A rule that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "early stopping rule of metric {metric}: {value:?} {comparison} is no comparison with a number"
)]
pub struct RuleError {
    /// The metric.
    pub metric: String,
    /// The threshold as it was written.
    pub value: String,
    /// How it is compared, as it was written.
    pub comparison: String,
}

/// A trial's rules and how far they hold.
#[derive(Clone, Debug, Default)]
pub struct Stopper {
    objective: String,
    goal: ObjectiveType,
    metrics: Vec<Watched>,
}

#[derive(Clone, Debug)]
struct Watched {
    name: String,
    /// By `start_step`.
    rules: Vec<Threshold>,
    steps: i32,
    best: Option<f64>,
    /// What held, as a sentence.
    held: Option<String>,
}

#[derive(Clone, Debug)]
struct Threshold {
    start_step: i32,
    comparison: Comparison,
    value: f64,
}

impl Threshold {
    fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Equal => value == self.value,
            Comparison::Less => value < self.value,
            Comparison::Greater => value > self.value,
            Comparison::Other(_) => false,
        }
    }
}

impl Stopper {
    /// The rules of a trial before its first value.
    ///
    /// # Errors
    /// When a threshold is no number or a comparison is not known.
    pub fn new(objective: &ObjectiveSpec, rules: &[EarlyStoppingRule]) -> Result<Self, RuleError> {
        let mut metrics: Vec<Watched> = Vec::new();
        for rule in rules {
            let value = number(&rule.value).filter(|_| rule.comparison.is_known());
            let threshold = Threshold {
                start_step: rule.start_step,
                comparison: rule.comparison.clone(),
                value: value.ok_or_else(|| RuleError {
                    metric: rule.name.clone(),
                    value: rule.value.clone(),
                    comparison: rule.comparison.to_string(),
                })?,
            };
            match metrics.iter_mut().find(|known| known.name == rule.name) {
                Some(known) => known.rules.push(threshold),
                None => metrics.push(Watched {
                    name: rule.name.clone(),
                    rules: vec![threshold],
                    steps: 0,
                    best: None,
                    held: None,
                }),
            }
        }
        for watched in &mut metrics {
            watched.rules.sort_by_key(|rule| rule.start_step);
        }
        Ok(Self {
            objective: objective.objective_metric_name.clone(),
            goal: objective.objective_type.clone(),
            metrics,
        })
    }

    /// Takes a value in and tells whether the trial is to be stopped.
    pub fn see(&mut self, row: &MetricRow) -> bool {
        let watched = self.metrics.iter_mut().find(|one| one.name == row.name);
        if let (Some(watched), Some(value)) = (watched, number(&row.value)) {
            let value = match (watched.name == self.objective, watched.best, &self.goal) {
                (true, Some(best), ObjectiveType::Minimize) => best.min(value),
                (true, Some(best), ObjectiveType::Maximize) => best.max(value),
                _ => value,
            };
            watched.best = Some(value);
            watched.steps = watched.steps.saturating_add(1);
            let steps = watched.steps;
            let rule = watched
                .rules
                .iter()
                .rev()
                .find(|rule| rule.start_step <= steps);
            if let Some(rule) = rule.filter(|rule| watched.held.is_none() && rule.holds(value)) {
                watched.held = Some(format!(
                    "{} is {value} after {steps} values, {} {} {}",
                    watched.name,
                    rule.comparison,
                    if rule.comparison == Comparison::Equal {
                        "to"
                    } else {
                        "than"
                    },
                    rule.value,
                ));
            }
        }
        self.is_stopped()
    }

    /// Whether the trial is to be stopped.
    pub fn is_stopped(&self) -> bool {
        !self.metrics.is_empty() && self.metrics.iter().all(|one| one.held.is_some())
    }

    /// What holds so far, for a person.
    pub fn reason(&self) -> String {
        let held: Vec<&str> = self
            .metrics
            .iter()
            .filter_map(|one| one.held.as_deref())
            .collect();
        held.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// After how many of the values the trial is stopped.
    fn stopped_after(goal: &str, rules: Value, values: &[(&str, &str)]) -> Option<usize> {
        let objective = json!({"type": goal, "objectiveMetricName": "accuracy"});
        let objective = serde_json::from_value(objective).unwrap();
        let rules: Vec<EarlyStoppingRule> = serde_json::from_value(rules).unwrap();
        let mut stopper = Stopper::new(&objective, &rules).unwrap();
        values
            .iter()
            .position(|(name, value)| stopper.see(&MetricRow::new("", *name, *value)))
            .map(|at| at + 1)
    }

    fn accuracy(values: &[&'static str]) -> Vec<(&'static str, &'static str)> {
        values.iter().map(|value| ("accuracy", *value)).collect()
    }

    #[test]
    fn rules_hold_from_their_step_on_for_the_best_value_so_far() {
        let one =
            json!([{"name": "accuracy", "value": "0.5", "comparison": "less", "startStep": 3}]);
        let two = json!([{"name": "accuracy", "value": "0.5", "comparison": "less", "startStep": 2},
                         {"name": "accuracy", "value": "0.7", "comparison": "less", "startStep": 4}]);
        let greater =
            json!([{"name": "accuracy", "value": "0.5", "comparison": "greater", "startStep": 2}]);
        let both = json!([{"name": "accuracy", "value": "0.5", "comparison": "less", "startStep": 1},
                          {"name": "loss", "value": "2", "comparison": "greater"}]);
        for (what, goal, rules, values, after) in [
            (
                "not before its step",
                "maximize",
                one.clone(),
                accuracy(&["0.1", "0.2"]),
                None,
            ),
            (
                "at its step",
                "maximize",
                one.clone(),
                accuracy(&["0.1", "0.2", "0.3", "0.9"]),
                Some(3),
            ),
            (
                "one good value is enough",
                "maximize",
                one.clone(),
                accuracy(&["0.6", "0.2", "0.3"]),
                None,
            ),
            (
                "the threshold itself is not less",
                "maximize",
                one.clone(),
                accuracy(&["0.5", "0", "0", "0"]),
                None,
            ),
            (
                "no number, no step",
                "maximize",
                one.clone(),
                accuracy(&["nan", "", "0.1", "0.2", "0.3"]),
                Some(5),
            ),
            (
                "the later rule at a later step",
                "maximize",
                two,
                accuracy(&["0.5", "0.6", "0.6", "0.6"]),
                Some(4),
            ),
            (
                "the least of those to be small",
                "minimize",
                greater.clone(),
                accuracy(&["0.9", "0.6"]),
                Some(2),
            ),
            (
                "the least of those to be small is kept",
                "minimize",
                greater,
                accuracy(&["0.4", "9", "9"]),
                None,
            ),
            (
                "every metric that has rules",
                "maximize",
                both.clone(),
                vec![
                    ("accuracy", "0.1"),
                    ("loss", "1"),
                    ("accuracy", "0.9"),
                    ("loss", "3"),
                ],
                Some(4),
            ),
            (
                "none without rules",
                "maximize",
                json!([]),
                accuracy(&["0", "0", "0"]),
                None,
            ),
        ] {
            assert_eq!(stopped_after(goal, rules, &values), after, "{what}");
        }
    }

    #[test]
    fn what_held_is_told_and_what_cannot_be_followed_is_refused() {
        let objective = ObjectiveSpec {
            objective_metric_name: "accuracy".into(),
            objective_type: ObjectiveType::Maximize,
            ..ObjectiveSpec::default()
        };
        let mut rule = EarlyStoppingRule {
            name: "accuracy".into(),
            value: "0.5".into(),
            comparison: Comparison::Less,
            start_step: 1,
        };
        let mut stopper = Stopper::new(&objective, std::slice::from_ref(&rule)).unwrap();
        assert!(stopper.see(&MetricRow::new("", "accuracy", "0.25")));
        assert_eq!(
            stopper.reason(),
            "accuracy is 0.25 after 1 values, less than 0.5"
        );
        rule.value = "half".into();
        let error = Stopper::new(&objective, &[rule]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "early stopping rule of metric accuracy: \"half\" less is no comparison with a number"
        );
    }
}
