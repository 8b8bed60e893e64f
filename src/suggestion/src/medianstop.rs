//! The median stopping rule: a trial ends when its best value is worse than what others had
//! reached on average by then.
//!
//! D. Golovin et al., *Google Vizier: A Service for Black-Box Optimization*, KDD 2017, section
//! 3.2.2: a trial is stopped at step S if its best value by then is strictly worse than the median
//! of the running averages, up to S, of the objective in all completed trials. Katib's settings:
//! `min_trials_required` (3) trials must have succeeded, and the first `start_step` (4) values
//! stop nothing.
//!
//! # Where this departs from Katib on purpose
//! - The threshold is the **median** of the trials' averages. Katib's service takes their mean.
//! - There is one rule **for every step** from `start_step` to the end of the longest trial, with
//!   the averages up to that step. Katib gives one rule, for `start_step`. A trial has at most
//!   [`MOST_RULES`]: where trials report more values, rules stand further apart; a rule holds
//!   until the next one begins (see [`katlab_katib::stopping`]).
//! - Averages are of values that are numbers; a trial without any counts for nothing.

use katlab_katib::algorithm::setting;
use katlab_katib::types::{
    Comparison, EarlyStoppingRule, EarlyStoppingSpec, ObjectiveSpec, ObjectiveType,
};

/// Katib's defaults.
const MIN_TRIALS: usize = 3;
const START_STEP: usize = 4;
/// The most rules a trial is given.
pub const MOST_RULES: usize = 50;

/// The running averages of what one trial reported for the objective, oldest first.
pub fn running_averages(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut sum = 0.0;
    let steps = 1..;
    steps
        .zip(values)
        .map(|(step, value)| {
            sum += value;
            sum / f64::from(step)
        })
        .collect()
}

/// The rules for trials that begin now, from the running averages of every trial that has
/// succeeded. None while there are too few of them.
pub fn rules(
    spec: &EarlyStoppingSpec,
    objective: &ObjectiveSpec,
    trials: &[impl AsRef<[f64]>],
) -> Vec<EarlyStoppingRule> {
    let number = |name, default| {
        setting(&spec.algorithm_settings, name)
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(default)
    };
    let comparison = match objective.objective_type {
        ObjectiveType::Maximize => Comparison::Less,
        ObjectiveType::Minimize => Comparison::Greater,
        _ => return Vec::new(),
    };
    let start = number("start_step", START_STEP).max(1);
    let trials: Vec<&[f64]> = trials
        .iter()
        .map(AsRef::as_ref)
        .filter(|averages| !averages.is_empty())
        .collect();
    if trials.len() < number("min_trials_required", MIN_TRIALS).max(1) {
        return Vec::new();
    }
    let longest = trials
        .iter()
        .map(|averages| averages.len())
        .max()
        .unwrap_or(0);
    let count = (longest + 1).saturating_sub(start).max(1);
    let stride = count.div_ceil(MOST_RULES);
    let mut rules: Vec<EarlyStoppingRule> = Vec::new();
    for step in (start..start + count).step_by(stride) {
        let value = median(
            trials
                .iter()
                .map(|averages| averages[step.min(averages.len()) - 1]),
        );
        let value = value.to_string();
        // The rule before goes on holding.
        if rules.last().is_some_and(|last| last.value == value) {
            continue;
        }
        rules.push(EarlyStoppingRule {
            name: objective.objective_metric_name.clone(),
            value,
            comparison: comparison.clone(),
            start_step: i32::try_from(step).unwrap_or(i32::MAX),
        });
    }
    rules
}

/// The middle one of some values, or what lies in the middle of two.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        values[middle - 1] / 2.0 + values[middle] / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use katlab_katib::types::Setting;

    fn given(goal: ObjectiveType, settings: &[(&str, &str)], trials: &[&[f64]]) -> Vec<String> {
        let spec = EarlyStoppingSpec {
            algorithm_name: "medianstop".into(),
            algorithm_settings: settings
                .iter()
                .map(|(name, value)| Setting {
                    name: (*name).into(),
                    value: (*value).into(),
                })
                .collect(),
        };
        let objective = ObjectiveSpec {
            objective_type: goal,
            objective_metric_name: "accuracy".into(),
            ..ObjectiveSpec::default()
        };
        let trials: Vec<Vec<f64>> = trials
            .iter()
            .map(|values| running_averages(values.iter().copied()))
            .collect();
        rules(&spec, &objective, &trials)
            .iter()
            .map(|rule| {
                format!(
                    "{} {} {} from {}",
                    rule.name, rule.comparison, rule.value, rule.start_step
                )
            })
            .collect()
    }

    #[test]
    fn the_threshold_is_the_median_of_the_averages_up_to_the_step() {
        use ObjectiveType::{Maximize, Minimize};
        let three: [&[f64]; 3] = [&[0.0, 1.0, 2.0], &[2.0, 2.0, 2.0], &[9.0, 9.0, 9.0]];
        let from = [("start_step", "2")];
        for (what, goal, settings, trials, expected) in [
            ("too few", Maximize, &from[..], &three[..2], vec![]),
            // A mean of 0.5, 2 and 9 would be 3.83.
            (
                "a median",
                Maximize,
                &from[..],
                &three[..],
                vec!["accuracy less 2 from 2"],
            ),
            (
                "each step has its own",
                Maximize,
                &[("start_step", "1"), ("min_trials_required", "1")][..],
                &three[..1],
                vec![
                    "accuracy less 0 from 1",
                    "accuracy less 0.5 from 2",
                    "accuracy less 1 from 3",
                ],
            ),
            (
                "two in the middle",
                Minimize,
                &[("start_step", "3"), ("min_trials_required", "2")][..],
                &three[..2],
                vec!["accuracy greater 1.5 from 3"],
            ),
            (
                "shorter than the first step",
                Maximize,
                &[][..],
                &three[..],
                vec!["accuracy less 2 from 4"],
            ),
            (
                "a trial that said nothing",
                Maximize,
                &from[..],
                &[three[0], three[1], &[]][..],
                vec![],
            ),
        ] {
            assert_eq!(given(goal, settings, trials), expected, "{what}");
        }
    }

    #[test]
    fn long_trials_give_a_bounded_number_of_rules() {
        let values: Vec<f64> = (0..10_000).map(f64::from).collect();
        let rules = given(
            ObjectiveType::Maximize,
            &[("min_trials_required", "1")],
            &[&values],
        );
        assert_eq!(rules.len(), MOST_RULES);
        assert_eq!(rules[0], "accuracy less 1.5 from 4");
    }
}
