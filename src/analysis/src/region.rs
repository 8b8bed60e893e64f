//! Where the best trials lie: the part of the search space that is worth another look.

use crate::trials::{Parameter, TrialTable, Value};

/// Fewer trials than this say nothing of a region.
pub const FEWEST: usize = 3;
/// So much of their spread is added at each end: the optimum may lie just beyond.
const MARGIN: f64 = 0.1;
/// A range that is more of the space than this is not narrower.
const ALMOST_ALL: f64 = 0.9;

/// Where the best trials lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The trials it rests on, best first.
    pub trials: Vec<String>,
    /// How many trials have an objective.
    pub of: usize,
    /// What is left of each parameter, in the order of [`TrialTable::parameters`].
    pub parameters: Vec<Narrowed>,
}

/// What is left of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Narrowed {
    /// All of it: the best trials lie nearly everywhere.
    Same,
    /// A range within its bounds.
    Range {
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
    },
    /// Some of its values, in the order of the space.
    Values(Vec<Value>),
}

/// Where the best share of the trials lies, at least [`FEWEST`] of them; `None` where there are fewer.
pub fn region(table: &TrialTable, share: f64) -> Option<Region> {
    let ranked = table.ranked();
    if ranked.len() < FEWEST {
        return None;
    }
    let count = ((ranked.len() as f64 * share).ceil() as usize).clamp(FEWEST, ranked.len());
    let best = &ranked[..count];
    let narrowed = |(at, parameter): (usize, &Parameter)| {
        let values: Vec<&Value> = best
            .iter()
            .filter_map(|(row, _)| row.parameters[at].as_ref())
            .collect();
        narrowed(parameter, &values)
    };
    Some(Region {
        trials: best.iter().map(|(row, _)| row.name.clone()).collect(),
        of: ranked.len(),
        parameters: table.parameters.iter().enumerate().map(narrowed).collect(),
    })
}

fn narrowed(parameter: &Parameter, values: &[&Value]) -> Narrowed {
    let listed: Vec<Value> = if parameter.levels.is_empty() {
        let texts = parameter.choices.iter();
        texts.map(|text| Value::Text(text.clone())).collect()
    } else {
        let numbers = parameter.levels.iter();
        numbers.map(|level| Value::Number(*level)).collect()
    };
    if !listed.is_empty() {
        let all = listed.len();
        let kept: Vec<Value> = listed
            .into_iter()
            .filter(|one| values.contains(&one))
            .collect();
        return if kept.is_empty() || kept.len() == all {
            Narrowed::Same
        } else {
            Narrowed::Values(kept)
        };
    }
    let Some((least, most)) = parameter.bounds else {
        return Narrowed::Same;
    };
    let logarithmic = parameter.logarithmic && least > 0.0;
    let to = |value: f64| if logarithmic { value.ln() } else { value };
    let back = |value: f64| if logarithmic { value.exp() } else { value };
    let places = values.iter().filter_map(|value| value.number()).map(to);
    let (low, high) = places.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), place| {
        (low.min(place), high.max(place))
    });
    let span = to(most) - to(least);
    if low > high || span.is_nan() || span <= 0.0 {
        return Narrowed::Same;
    }
    // Trials that all lie at one place leave some room around it.
    let margin = ((high - low) * MARGIN).max(span * MARGIN / 2.0);
    let (low, high) = ((low - margin).max(to(least)), (high + margin).min(to(most)));
    if (high - low) / span > ALMOST_ALL {
        return Narrowed::Same;
    }
    Narrowed::Range {
        low: back(low).max(least),
        high: back(high).min(most),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::tests::space;

    #[test]
    fn the_best_trials_say_where_to_look() {
        // The best rate is 0.01, and only with adam; the units do not matter.
        let table = space(60, |rate, _, optimizer| {
            let off = (rate.log10() + 2.0).abs();
            0.9 - 0.1 * off - if optimizer == "sgd" { 0.5 } else { 0.0 }
        });
        let found = region(&table, 0.1).unwrap();
        assert_eq!((found.trials.len(), found.of), (6, 60));
        let Narrowed::Range { low, high } = found.parameters[0] else {
            panic!("{found:?}")
        };
        assert!(
            (0.001..0.01).contains(&low) && (0.01..0.1).contains(&high),
            "{low} to {high}"
        );
        assert_eq!(
            found.parameters[2],
            Narrowed::Values(vec![Value::Text("adam".into())])
        );
        // Everything is as good as everything else.
        let all = region(&space(60, |_, _, _| 0.5), 1.0).unwrap();
        assert_eq!(all.parameters, vec![Narrowed::Same; 3]);
        assert_eq!(region(&space(2, |_, _, _| 0.5), 0.5), None);
    }

    #[test]
    fn a_region_stays_within_its_bounds_and_has_a_width() {
        let mut table = space(5, |_, _, _| 0.5);
        for row in &mut table.rows {
            row.parameters[0] = Some(Value::Number(1.0));
            row.parameters[1] = Some(Value::Number(8.0));
        }
        let found = region(&table, 1.0).unwrap();
        for (narrowed, (least, most)) in found.parameters.iter().zip([(0.0001, 1.0), (8.0, 128.0)])
        {
            let Narrowed::Range { low, high } = narrowed else {
                panic!("{found:?}")
            };
            assert!(least <= *low && low < high && *high <= most, "{narrowed:?}");
        }
    }
}
