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
    /// The share of draws in which it is the best, from 0 to 1; `None` where nothing is known of the
    /// noise. Trials of equal objectives share it.
    pub chance: Option<f64>,
    /// Between which ranks it is in nine of ten draws, the observed one included; `None` as above.
    pub ranks: Option<(usize, usize)>,
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
    /// Trials whose objective equals the best, that one included.
    pub equal: usize,
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
        warnings.push(match trials {
            1 => {
                "one trial with a value does not show how much trials vary by themselves".to_owned()
            }
            trials => format!(
                "{trials} trials with a value are too few to know how much they vary by themselves"
            ),
        });
    }
    // Where all are equal there is no doubt to be large.
    if matches!(from, Some(Noise::Neighbours(_))) && differences.iter().any(|one| *one != 0.0) {
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
    let odds = draw(table, drawn, &differences);
    let candidates = drawn
        .iter()
        .enumerate()
        .take(shown)
        .map(|(at, (row, objective))| Candidate {
            trial: row.name.clone(),
            objective: *objective,
            chance: odds.as_ref().map(|odds| odds[at].chance),
            ranks: odds.as_ref().map(|odds| odds[at].ranks),
        })
        .collect();
    Some(Standing {
        candidates,
        trials,
        noise,
        from,
        close,
        equal: rows.iter().filter(|(_, value)| *value == best).count(),
        warnings,
    })
}

fn spread_of(differences: &[f64]) -> Option<f64> {
    let both: Vec<f64> = differences.iter().flat_map(|one| [*one, -one]).collect();
    spread(&both).map(|spread| spread / std::f64::consts::SQRT_2)
}

/// How a trial fared in the draws.
struct Odds {
    chance: f64,
    ranks: (usize, usize),
}

/// Draws the rows, best first, against each other; `None` where nothing is known of the noise.
fn draw(table: &TrialTable, rows: &[(&Row, f64)], differences: &[f64]) -> Option<Vec<Odds>> {
    if differences.is_empty() || rows.len() < 2 {
        return None;
    }
    let mut random = Xoshiro256PlusPlus::seed_from_u64(rows.len() as u64);
    let mut wins = vec![0.0; rows.len()];
    let mut highest: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
    let mut lowest = highest.clone();
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
        let mut before = 0;
        for equals in values.chunk_by(|left, right| left.1 == right.1) {
            let through = before + equals.len();
            for (at, _) in equals {
                if before == 0 {
                    wins[*at] += 1.0 / equals.len() as f64;
                }
                highest[*at].push((before + 1) as f64);
                lowest[*at].push(through as f64);
            }
            before = through;
        }
    }
    // Trials that were observed to be equal are so to the reader, whatever the draws gave to each.
    let mut odds: Vec<Odds> = Vec::new();
    for equals in rows.chunk_by(|left, right| left.1 == right.1) {
        let these = odds.len()..odds.len() + equals.len();
        let end = |places: &[Vec<f64>], share| {
            let mut places = places[these.clone()].concat();
            places.sort_by(f64::total_cmp);
            quantile(&places, share).map(|place| place.round() as usize)
        };
        let observed = these.start + 1;
        let chance = wins[these.clone()].iter().sum::<f64>() / (DRAWS * equals.len()) as f64;
        // Every draw adds noise to what has noise already, so that the best falls back in most of them;
        // where it was seen belongs to where it may be.
        let from = end(&highest, 0.05).map_or(observed, |from| from.min(observed));
        let to = end(&lowest, 0.95).map_or(these.end, |to| to.max(these.end));
        odds.extend(these.map(|_| Odds {
            chance,
            ranks: (from, to),
        }));
    }
    Some(odds)
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
        assert!(standing.candidates[0].chance > Some(0.3), "{standing:?}");
        let open = space(60, |lr, units, _| 0.5 + noisy(lr, units));
        let open = super::standing(&open, 5).unwrap();
        assert!(
            open.candidates[0].chance < Some(0.3) && open.close > 3,
            "{open:?}"
        );
        let ranks = open.candidates[0].ranks.unwrap();
        assert!(ranks.0 == 1 && ranks.1 > 2, "{open:?}");
        assert_eq!(open.trials, 60);
    }

    #[test]
    fn one_trial_is_the_best_of_one_and_no_trial_is_none() {
        let one = standing(&table(&[Some(0.5)]), 5).unwrap();
        assert_eq!(one.candidates.len(), 1);
        assert!(one.warnings[0].starts_with("one trial"), "{one:?}");
        assert!(standing(&table(&[None]), 5).is_none());
    }

    #[test]
    fn no_chance_is_claimed_where_nothing_is_known_of_the_noise() {
        for values in [&[Some(0.5)][..], &[Some(0.5), Some(0.9)]] {
            let found = standing(&table(values), 5).unwrap();
            for one in &found.candidates {
                assert_eq!((one.chance, one.ranks), (None, None), "{found:?}");
            }
        }
    }

    #[test]
    fn equal_trials_share_their_chance_and_their_ranks() {
        let all = standing(&space(40, |_, _, _| 0.5), 5).unwrap();
        assert_eq!(all.equal, 40);
        for one in &all.candidates {
            assert!((one.chance.unwrap() - 0.025).abs() < 1e-9, "{all:?}");
            assert_eq!(one.ranks, Some((1, 40)), "{all:?}");
        }
        assert!(all.warnings.is_empty(), "{all:?}");
        // Two that share the best value, far above the rest.
        let two = standing(
            &space(
                40,
                |_, units, _| if units > 110.0 { 5.0 } else { units / 1e6 },
            ),
            5,
        )
        .unwrap();
        assert!(two.equal > 1, "{two:?}");
        let first = &two.candidates[0];
        assert_eq!(
            (first.chance, first.ranks),
            (two.candidates[1].chance, two.candidates[1].ranks)
        );
    }
}
