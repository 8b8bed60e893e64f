//! Whether the best trial is really best.
//!
//! A trial that were run again would give another value. How far apart such values lie is estimated from
//! trials with equal parameters where there are enough, else from each trial's nearest neighbours in the
//! search space: those differ by more than noise alone, so that the doubt is rather too large than too
//! small. Each draw adds such a difference to every trial and looks which one is best then.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use crate::stats::{quantile, spread};
use crate::trials::{Row, TrialTable, Value};

/// Draws; the shares are good to two digits.
const DRAWS: usize = 1000;
/// Only so many of the best are drawn against each other; the rest have no chance.
const CANDIDATES: usize = 200;
/// Neighbours that a trial is compared with.
const NEIGHBOURS: usize = 3;
/// Neighbours are searched among so many trials at most, evenly chosen.
const SEARCHED: usize = 1000;
/// Repeats that say how much trials differ by themselves.
const REPEATS: usize = 5;
const ENOUGH: usize = 10;

/// What the noise was estimated from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// This many differences between trials with equal parameters.
    Repeats(usize),
    /// This many differences between neighbours in the search space.
    Neighbours(usize),
}

/// One of the best trials.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The trial.
    pub trial: String,
    /// Its objective.
    pub objective: f64,
    /// The share of draws in which it is the best, from 0 to 1.
    pub chance: f64,
    /// Between which ranks it is in nine of ten draws.
    pub ranks: (usize, usize),
}

/// The best trials and how sure their order is.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The best, best first.
    pub candidates: Vec<Candidate>,
    /// Trials with an objective.
    pub trials: usize,
    /// The standard deviation between trials that should be equal.
    pub noise: Option<f64>,
    /// What it was estimated from.
    pub from: Option<Noise>,
    /// Trials that differ from the best by less than twice the noise of a difference.
    pub close: usize,
    /// What a reader must keep in mind.
    pub warnings: Vec<String>,
}

/// Ranks the best trials and says how sure that is; `None` without an observed trial.
pub fn standing(table: &TrialTable, shown: usize) -> Option<Standing> {
    let rows = table.ranked();
    let best = rows.first()?.1;
    let trials = rows.len();
    let (differences, from) = differences(table, &rows);
    // A difference of two has the noise of both.
    let noise = spread_of(&differences);
    let mut warnings = Vec::new();
    if trials < ENOUGH {
        warnings.push(format!(
            "{trials} observed trials are too few to know how much they vary by themselves"
        ));
    }
    if matches!(from, Some(Noise::Neighbours(_))) {
        warnings.push(
            "no trial was repeated often enough, so neighbours in the space stand in: the doubt is rather too large than too small"
                .to_owned(),
        );
    }
    let close = noise.map_or(0, |noise| {
        let width = 2.0 * noise * std::f64::consts::SQRT_2;
        rows[1..]
            .iter()
            .filter(|(_, value)| (value - best).abs() < width)
            .count()
    });
    let drawn = &rows[..trials.min(CANDIDATES)];
    let (chances, ranks) = draw(table, drawn, &differences);
    let candidates = drawn
        .iter()
        .zip(chances)
        .zip(ranks)
        .take(shown)
        .map(|(((row, objective), chance), ranks)| Candidate {
            trial: row.name.clone(),
            objective: *objective,
            chance,
            ranks,
        })
        .collect();
    Some(Standing {
        candidates,
        trials,
        noise,
        from,
        close,
        warnings,
    })
}

fn spread_of(differences: &[f64]) -> Option<f64> {
    let both: Vec<f64> = differences.iter().flat_map(|one| [*one, -one]).collect();
    spread(&both).map(|spread| spread / std::f64::consts::SQRT_2)
}

type Ranks = Vec<(usize, usize)>;

fn draw(table: &TrialTable, rows: &[(&Row, f64)], differences: &[f64]) -> (Vec<f64>, Ranks) {
    let certain = || {
        let chances = (0..rows.len())
            .map(|at| f64::from(u8::from(at == 0)))
            .collect();
        (chances, (1..=rows.len()).map(|rank| (rank, rank)).collect())
    };
    if differences.is_empty() || rows.len() < 2 {
        return certain();
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64(rows.len() as u64);
    let mut wins = vec![0usize; rows.len()];
    let mut places: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
    for _ in 0..DRAWS {
        let mut values: Vec<(usize, f64)> = rows
            .iter()
            .enumerate()
            .map(|(at, (_, value))| {
                let difference = differences[random.random_range(0..differences.len())];
                let sign = if random.random::<bool>() { 1.0 } else { -1.0 };
                (at, value + sign * difference / std::f64::consts::SQRT_2)
            })
            .collect();
        values.sort_by(|left, right| {
            let order = left.1.total_cmp(&right.1);
            if table.minimize {
                order
            } else {
                order.reverse()
            }
        });
        wins[values[0].0] += 1;
        for (rank, (at, _)) in values.iter().enumerate() {
            places[*at].push((rank + 1) as f64);
        }
    }
    let chances = wins
        .iter()
        .map(|wins| *wins as f64 / DRAWS as f64)
        .collect();
    let ranks = places
        .iter_mut()
        .map(|places| {
            places.sort_by(f64::total_cmp);
            let end = |share| quantile(places, share).unwrap_or(1.0).round() as usize;
            (end(0.05), end(0.95))
        })
        .collect();
    (chances, ranks)
}

/// How much trials differ that should be about equal.
fn differences(table: &TrialTable, rows: &[(&Row, f64)]) -> (Vec<f64>, Option<Noise>) {
    let mut repeats = Vec::new();
    for group in crate::findings::groups(rows.iter().map(|(row, _)| *row)) {
        for pair in group.windows(2) {
            if let (Some(one), Some(other)) = (pair[0].objective, pair[1].objective) {
                repeats.push(one - other);
            }
        }
    }
    if repeats.len() >= REPEATS {
        let count = repeats.len();
        return (repeats, Some(Noise::Repeats(count)));
    }
    let near = neighbours(table, rows);
    let count = near.len();
    (near, (count > 0).then_some(Noise::Neighbours(count)))
}

fn neighbours(table: &TrialTable, rows: &[(&Row, f64)]) -> Vec<f64> {
    if rows.len() < ENOUGH {
        return Vec::new();
    }
    let every = rows.len().div_ceil(SEARCHED);
    let points: Vec<(Vec<f64>, f64)> = rows
        .iter()
        .step_by(every)
        .map(|(row, value)| (place(table, row), *value))
        .collect();
    let mut differences = Vec::new();
    for (at, (point, value)) in points.iter().enumerate() {
        let mut near: Vec<(f64, f64)> = points
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != at)
            .map(|(_, (other, value))| {
                let far = point.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum();
                (far, *value)
            })
            .collect();
        let nearest = NEIGHBOURS.min(near.len());
        if nearest == 0 {
            continue;
        }
        near.select_nth_unstable_by(nearest - 1, |left, right| left.0.total_cmp(&right.0));
        differences.extend(near[..nearest].iter().map(|(_, other)| value - other));
    }
    differences
}

/// A trial's place in the unit cube; choices stand at its corners.
fn place(table: &TrialTable, row: &Row) -> Vec<f64> {
    let mut place = Vec::new();
    for (parameter, value) in table.parameters.iter().zip(&row.parameters) {
        match (value, parameter.bounds) {
            (Some(Value::Number(number)), Some((low, high))) => {
                let scaled = |value: f64| {
                    if parameter.logarithmic && low > 0.0 {
                        value.max(low).ln()
                    } else {
                        value
                    }
                };
                place.push((scaled(*number) - scaled(low)) / (scaled(high) - scaled(low)));
            }
            (Some(Value::Number(number)), None) => {
                let level = parameter.levels.iter().position(|level| level == number);
                let last = parameter.levels.len().saturating_sub(1).max(1);
                place.push(level.map_or(0.5, |level| level as f64 / last as f64));
            }
            (Some(Value::Text(text)), _) => {
                for choice in &parameter.choices {
                    place.push(if choice == text {
                        std::f64::consts::FRAC_1_SQRT_2
                    } else {
                        0.0
                    });
                }
            }
            (None, _) => place.push(0.5),
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::tests::{space, table};

    #[test]
    fn a_best_trial_far_from_the_rest_is_sure_and_one_among_equals_is_not() {
        let noisy =
            |lr: f64, units: f64| ((lr * 1e4 + units * 37.0).sin() * 43_758.0).fract() * 0.05;
        let sure = space(60, |lr, units, _| {
            if units > 126.0 {
                5.0
            } else {
                0.5 + noisy(lr, units)
            }
        });
        let standing = standing(&sure, 5).unwrap();
        assert!(standing.candidates[0].chance > 0.3, "{standing:?}");
        let open = space(60, |lr, units, _| 0.5 + noisy(lr, units));
        let open = super::standing(&open, 5).unwrap();
        assert!(
            open.candidates[0].chance < 0.3 && open.close > 3,
            "{open:?}"
        );
        assert!(open.candidates[0].ranks.1 > 2, "{open:?}");
        assert_eq!(open.trials, 60);
    }

    #[test]
    fn one_trial_is_the_best_of_one_and_no_trial_is_none() {
        let one = standing(&table(&[Some(0.5)]), 5).unwrap();
        assert_eq!((one.candidates.len(), one.candidates[0].chance), (1, 1.0));
        assert!(one.warnings[0].contains("too few"), "{one:?}");
        assert!(standing(&table(&[None]), 5).is_none());
    }
}
