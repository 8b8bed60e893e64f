//! What each parameter did to the objective.

use crate::stats::{median, quantile, spearman};
use crate::trials::{Parameter, TrialTable, Value};

/// Numbers of more values than this are told in quarters.
const LEVELS: usize = 6;
const ENOUGH: usize = 10;

/// What the trials say about one parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The parameter.
    pub parameter: String,
    /// Spearman's correlation with how good the trial is: above 0, more is better. `None` for choices and
    /// where it cannot be told.
    pub trend: Option<f64>,
    /// Its choices, or quarters of its values, in their order.
    pub levels: Vec<Level>,
    /// Trials it rests on.
    pub trials: usize,
}

/// Trials with about the same value.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The choice, or from where to where.
    pub words: String,
    /// How many trials had it.
    pub trials: usize,
    /// The middle objective.
    pub median: f64,
    /// The best objective.
    pub best: f64,
}

/// The effect of each parameter, as far as trials with an objective tell; and a warning where those are
/// few.
pub fn effects(table: &TrialTable) -> (Vec<Effect>, Option<String>) {
    let observed = table.observed().count();
    let warning = (observed < ENOUGH && observed > 0).then(|| match observed {
        1 => "one trial with a value is too little for more than a hint".to_owned(),
        observed => {
            format!("{observed} trials with a value are too few for more than a hint")
        }
    });
    let effects = table
        .parameters
        .iter()
        .enumerate()
        .filter_map(|(at, parameter)| effect(table, at, parameter))
        .collect();
    (effects, warning)
}

fn effect(table: &TrialTable, at: usize, parameter: &Parameter) -> Option<Effect> {
    let pairs: Vec<(&Value, f64)> = table
        .observed()
        .filter_map(|(row, objective)| Some((row.parameters[at].as_ref()?, objective)))
        .collect();
    if pairs.is_empty() {
        return None;
    }
    let numbers: Option<Vec<(f64, f64)>> = pairs
        .iter()
        .map(|(value, objective)| Some((value.number()?, *objective)))
        .collect();
    let level = |words: String, objectives: Vec<f64>| {
        let best = objectives.iter().copied().reduce(|best, next| {
            if table.better(next, best) { next } else { best }
        })?;
        Some(Level {
            words,
            trials: objectives.len(),
            median: median(&objectives)?,
            best,
        })
    };
    let mut trend = None;
    let mut levels = Vec::new();
    match numbers {
        Some(numbers) => {
            let sign = if table.minimize { -1.0 } else { 1.0 };
            trend = spearman(&numbers).map(|trend| sign * trend);
            let mut values: Vec<f64> = numbers.iter().map(|pair| pair.0).collect();
            values.sort_by(f64::total_cmp);
            let mut distinct = values.clone();
            distinct.dedup();
            let ends: Vec<f64> = if distinct.len() <= LEVELS {
                distinct
            } else {
                [0.25, 0.5, 0.75, 1.0]
                    .iter()
                    .filter_map(|share| quantile(&values, *share))
                    .collect()
            };
            let mut below = f64::NEG_INFINITY;
            for end in ends {
                let inside: Vec<(f64, f64)> = numbers
                    .iter()
                    .copied()
                    .filter(|(value, _)| *value > below && *value <= end)
                    .collect();
                below = end;
                let low = inside
                    .iter()
                    .map(|pair| pair.0)
                    .fold(f64::INFINITY, f64::min);
                let high = inside
                    .iter()
                    .map(|pair| pair.0)
                    .fold(f64::NEG_INFINITY, f64::max);
                let words = if low < high {
                    format!("{} to {}", Value::Number(low), Value::Number(high))
                } else {
                    Value::Number(high).to_string()
                };
                levels.extend(level(
                    words,
                    inside.into_iter().map(|pair| pair.1).collect(),
                ));
            }
        }
        None => {
            let mut choices = parameter.choices.clone();
            for (value, _) in &pairs {
                let text = value.to_string();
                if !choices.contains(&text) {
                    choices.push(text);
                }
            }
            for choice in choices {
                let inside = pairs
                    .iter()
                    .filter(|(value, _)| value.to_string() == choice)
                    .map(|pair| pair.1)
                    .collect();
                levels.extend(level(choice, inside));
            }
        }
    }
    Some(Effect {
        parameter: parameter.name.clone(),
        trend,
        levels,
        trials: pairs.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::tests::space;

    #[test]
    fn a_trend_goes_the_way_of_the_better() {
        let mut table = space(80, |lr, _, optimizer| {
            lr + if optimizer == "adam" { 2.0 } else { 0.0 }
        });
        let (found, warning) = effects(&table);
        assert_eq!(warning, None);
        assert!(found[0].trend.unwrap() > 0.3, "{found:?}");
        assert_eq!(found[0].levels.len(), 4);
        assert_eq!(
            found[0]
                .levels
                .iter()
                .map(|level| level.trials)
                .sum::<usize>(),
            80
        );
        let choices: Vec<&str> = found[2]
            .levels
            .iter()
            .map(|level| level.words.as_str())
            .collect();
        assert_eq!(choices, ["sgd", "adam"]);
        assert!(found[2].levels[1].median > found[2].levels[0].best);
        table.minimize = true;
        assert!(effects(&table).0[0].trend.unwrap() < -0.3);
    }

    #[test]
    fn without_an_objective_there_is_no_effect() {
        assert!(effects(&crate::trials::tests::table(&[None])).0.is_empty());
    }
}
