//! Which parameters matter: PED-ANOVA.
//!
//! S. Watanabe, A. Bansal, F. Hutter: *PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
//! Arbitrary Subspaces*, IJCAI 2023. The importance of a parameter for being among the best tenth of the
//! trials is the Pearson divergence of the parameter's density among those from its density among all
//! trials, both estimated in one dimension. No model of the objective is fitted, so the cost grows with
//! the number of trials and not with its square. Axes, kernels and their widths are chosen as Optuna's evaluator
//! chooses them, so that both say the same of the same trials.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use crate::stats::quantile;
use crate::trials::{Parameter, Row, TrialTable, Value};

/// The share of trials that count as good.
const GOOD: f64 = 0.1;
/// Of fewer trials there is no best tenth to set apart from the rest.
const FEWEST: usize = 4;
/// Cells of a numeric axis.
const CELLS: usize = 50;
/// Resamplings for the intervals.
const DRAWS: usize = 100;
/// Of fewer trials the order of parameters can change with the next few.
const ENOUGH: usize = 30;

/// How much one parameter matters.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The parameter's name.
    pub parameter: String,
    /// Its part of all importance, from 0 to 1.
    pub share: f64,
    /// Where the part lies in nine of ten resamplings of the trials.
    pub interval: (f64, f64),
}

/// Importances and what they rest on.
#[derive(Clone, Debug, PartialEq)]
pub struct Importance {
    /// A share a parameter, the largest first.
    pub shares: Vec<Share>,
    /// Trials with an objective and all parameters.
    pub trials: usize,
    /// Those that count as good.
    pub good: usize,
    /// Parameters that had one value in all trials, of which nothing can be said.
    pub constant: Vec<String>,
    /// What a reader must keep in mind.
    pub warnings: Vec<String>,
}

/// Why there is nothing to say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportanceError {
    /// Too few trials to compare.
    #[error(
        "which parameters matter cannot be said: {trials} with an objective and all parameters, and it takes {FEWEST}"
    )]
    TooFew {
        /// How many there are, in words.
        trials: String,
    },
    /// Every trial was equally good.
    #[error("all {trials} trials have the same {objective}, so no parameter mattered")]
    Flat {
        /// How many there are.
        trials: usize,
        /// The objective.
        objective: String,
    },
    /// No parameter had two values.
    #[error("every parameter had one value in all {trials} trials")]
    NothingVaried {
        /// How many there are.
        trials: usize,
    },
}

/// Where each trial lies on the axis of a parameter.
struct Places {
    cells: Vec<usize>,
    count: usize,
    ordered: bool,
}

/// Says how much each parameter mattered for being among the best tenth.
///
/// # Errors
/// [`ImportanceError`], when the trials cannot say it.
pub fn importance(table: &TrialTable) -> Result<Importance, ImportanceError> {
    let rows: Vec<(&Row, f64)> = table
        .ranked()
        .into_iter()
        .filter(|(row, _)| row.parameters.iter().all(Option::is_some))
        .collect();
    let trials = rows.len();
    if trials < FEWEST {
        return Err(ImportanceError::TooFew {
            trials: match trials {
                0 => "there is no trial".to_owned(),
                1 => "there is one trial".to_owned(),
                more => format!("there are {more} trials"),
            },
        });
    }
    if rows[0].1 == rows[trials - 1].1 {
        return Err(ImportanceError::Flat {
            trials,
            objective: table.objective.clone(),
        });
    }
    let (mut axes, mut constant) = (Vec::new(), Vec::new());
    for (at, parameter) in table.parameters.iter().enumerate() {
        let values: Vec<&Value> = rows
            .iter()
            .filter_map(|(row, _)| row.parameters[at].as_ref())
            .collect();
        match places(parameter, &values) {
            Some(places) => axes.push((parameter.name.clone(), places)),
            None => constant.push(parameter.name.clone()),
        }
    }
    if axes.is_empty() {
        return Err(ImportanceError::NothingVaried { trials });
    }
    // Rows are sorted, so that a sample of them is sorted when its positions are.
    let everyone: Vec<usize> = (0..trials).collect();
    let shares = shares(&axes, &everyone, &rows);
    // Seeded: the same trials give the same output.
    let mut random = Xoshiro256PlusPlus::seed_from_u64(trials as u64);
    let mut draws: Vec<Vec<f64>> = vec![Vec::new(); axes.len()];
    for _ in 0..DRAWS {
        let sample = resampled(trials, &mut random);
        for (draws, share) in draws.iter_mut().zip(self::shares(&axes, &sample, &rows)) {
            draws.push(share);
        }
    }
    let mut found: Vec<Share> = axes
        .iter()
        .zip(shares)
        .zip(draws)
        .map(|(((name, _), share), mut draws)| {
            draws.sort_by(f64::total_cmp);
            let end = |at| quantile(&draws, at).unwrap_or(share);
            Share {
                parameter: name.clone(),
                share,
                interval: (end(0.05).min(share), end(0.95).max(share)),
            }
        })
        .collect();
    found.sort_by(|left, right| right.share.total_cmp(&left.share));
    let good = good(trials);
    let mut warnings = Vec::new();
    if trials < ENOUGH {
        warnings.push(format!(
            "{trials} trials are few: the {good} best of them decide, and the order can change with the next trials"
        ));
    }
    if let [first, second, ..] = found.as_slice()
        && first.interval.0 < second.interval.1
    {
        warnings.push(format!(
            "the intervals of `{}` and `{}` overlap: which of them matters more is open",
            first.parameter, second.parameter
        ));
    }
    Ok(Importance {
        shares: found,
        trials,
        good,
        constant,
        warnings,
    })
}

/// A share in words: `<1 %` is more than nothing.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        none if none <= 0.0 => "0 %".to_owned(),
        little if little < 1.0 => "<1 %".to_owned(),
        part => format!("{part:.0} %"),
    }
}

/// As many positions drawn with replacement, in ascending order.
fn resampled(trials: usize, random: &mut Xoshiro256PlusPlus) -> Vec<usize> {
    let mut times = vec![0_usize; trials];
    for _ in 0..trials {
        times[random.random_range(0..trials)] += 1;
    }
    let repeated = |(at, times): (usize, usize)| std::iter::repeat_n(at, times);
    times.into_iter().enumerate().flat_map(repeated).collect()
}

/// How many of the trials count as good.
fn good(trials: usize) -> usize {
    ((trials as f64 * GOOD).ceil() as usize).max(2)
}

/// The share of each axis, for a sample of row positions in ascending order.
fn shares(axes: &[(String, Places)], sample: &[usize], rows: &[(&Row, f64)]) -> Vec<f64> {
    let mut count = good(sample.len());
    // Equals of the last good one are as good.
    while count < sample.len() && rows[sample[count]].1 == rows[sample[count - 1]].1 {
        count += 1;
    }
    let best = &sample[..count];
    let mut divergences: Vec<f64> = axes
        .iter()
        .map(|(_, places)| divergence(&density(places, best), &density(places, sample)))
        .collect();
    let sum: f64 = divergences.iter().sum();
    if sum > 0.0 {
        for divergence in &mut divergences {
            *divergence /= sum;
        }
    }
    divergences
}

/// The Pearson divergence of one density from another.
fn divergence(one: &[f64], other: &[f64]) -> f64 {
    one.iter()
        .zip(other)
        .map(|(one, other)| other * (one / other - 1.0).powi(2))
        .sum()
}

/// The density over the cells of an axis: kernels at the trials, and a uniform one that weighs as much
/// as one trial, so that no cell is impossible.
fn density(places: &Places, sample: &[usize]) -> Vec<f64> {
    let mut counts = vec![0.0; places.count];
    for at in sample {
        counts[places.cells[*at]] += 1.0;
    }
    let uniform = 1.0 / places.count as f64;
    let mut density = vec![uniform; places.count];
    if places.ordered {
        let width = bandwidth(&counts, sample.len());
        let masses: Vec<f64> = (0..places.count)
            .map(|distance| mass(distance as f64, width))
            .collect();
        for (at, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let kernel = || {
                masses[1..=at]
                    .iter()
                    .rev()
                    .chain(&masses[..places.count - at])
            };
            // Cut off at the ends of the space.
            let inside: f64 = kernel().sum();
            for (density, mass) in density.iter_mut().zip(kernel()) {
                *density += count * mass / inside;
            }
        }
    } else {
        // A choice says a little for every other, or the chance that a few trials fell on it would weigh
        // more than what the kernels of a numeric axis smooth away. How little, Optuna's evaluator says.
        let chosen = counts.iter().filter(|count| **count > 0.0).count();
        let spill = 1.0 / (chosen + 1) as f64;
        let whole = 1.0 + spill * places.count as f64;
        for (density, count) in density.iter_mut().zip(&counts) {
            *density += (count + sample.len() as f64 * spill) / whole;
        }
    }
    let weight = sample.len() as f64 + 1.0;
    for density in &mut density {
        *density /= weight;
    }
    density
}

/// What a normal kernel gives to a cell at a distance, both in cells.
fn mass(distance: f64, width: f64) -> f64 {
    let below = |edge: f64| 0.5 * (1.0 + libm::erf(edge / (width * std::f64::consts::SQRT_2)));
    (below(distance + 0.5) - below(distance - 0.5)).max(0.0)
}

/// Scott's rule on the spread of the sample, in cells; at least about half a cell.
fn bandwidth(counts: &[f64], size: usize) -> f64 {
    let size = size.max(1) as f64;
    let mean = counts
        .iter()
        .enumerate()
        .map(|(at, count)| at as f64 * count)
        .sum::<f64>()
        / size;
    let square = |(at, count): (usize, &f64)| count * (at as f64 - mean).powi(2);
    let deviation =
        (counts.iter().enumerate().map(square).sum::<f64>() / (size - 1.0).max(1.0)).sqrt();
    let quartiles = (cell_of(counts, (size * 0.75).floor() + 1.0)
        - cell_of(counts, (size * 0.25).floor().max(1.0)))
        / 1.34;
    let spread = deviation.min(quartiles);
    (1.059 * spread * size.powf(-0.2)).max(0.5 / 1.64)
}

/// The cell of the trial with that rank on the axis.
fn cell_of(counts: &[f64], rank: f64) -> f64 {
    let mut left = rank;
    let reached = counts.iter().position(|count| {
        left -= count;
        left <= 0.0
    });
    reached.unwrap_or(counts.len() - 1) as f64
}

/// Puts the values into cells; `None` where there is only one value.
fn places(parameter: &Parameter, values: &[&Value]) -> Option<Places> {
    if values.windows(2).all(|pair| pair[0] == pair[1]) {
        return None;
    }
    let numbers: Option<Vec<f64>> = values.iter().map(|value| value.number()).collect();
    let Some(numbers) = numbers else {
        return Some(chosen(parameter, values));
    };
    if !parameter.levels.is_empty() {
        let level = |number: &f64| parameter.levels.iter().position(|level| level == number);
        if let Some(cells) = numbers.iter().map(level).collect() {
            return Some(Places {
                cells,
                count: parameter.levels.len(),
                ordered: true,
            });
        }
    }
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    // The whole space where it is known, for an edge that no trial came near says something.
    let (low, high) = parameter.bounds.map_or((low, high), |bounds| {
        (bounds.0.min(low), bounds.1.max(high))
    });
    let logarithmic = parameter.logarithmic && low > 0.0;
    let scaled = |value: f64| if logarithmic { value.ln() } else { value };
    let steps = parameter
        .step
        .filter(|_| !logarithmic)
        .map(|step| ((high - low) / step).round() as usize + 1);
    let count = steps.map_or(CELLS, |steps| steps.clamp(2, CELLS));
    let (start, end) = (scaled(low), scaled(high));
    let cell = |value: &f64| {
        // Each level has a cell of its own, centred on it.
        let place = (scaled(*value) - start) / (end - start);
        let cell = (place * (count - 1) as f64).round();
        (cell.max(0.0) as usize).min(count - 1)
    };
    Some(Places {
        cells: numbers.iter().map(cell).collect(),
        count,
        ordered: true,
    })
}

fn chosen(parameter: &Parameter, values: &[&Value]) -> Places {
    let mut choices = parameter.choices.clone();
    let cells = values
        .iter()
        .map(|value| {
            let text = value.to_string();
            choices
                .iter()
                .position(|choice| *choice == text)
                .unwrap_or_else(|| {
                    choices.push(text);
                    choices.len() - 1
                })
        })
        .collect();
    Places {
        cells,
        count: choices.len(),
        ordered: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::tests::{space, table};

    #[test]
    fn the_parameter_that_decides_is_the_important_one() {
        let table = space(200, |lr, units, _| {
            -(lr.log10() + 2.0).abs() - 0.01 * (units - 60.0).abs() / 60.0
        });
        let found = importance(&table).unwrap();
        assert_eq!(found.shares[0].parameter, "--lr");
        assert!(found.shares[0].share > 0.7, "{found:?}");
        let sum: f64 = found.shares.iter().map(|share| share.share).sum();
        assert!((sum - 1.0).abs() < 1e-9);
        assert!(found.warnings.is_empty(), "{:?}", found.warnings);
        assert_eq!((found.trials, found.good), (200, 20));
    }

    #[test]
    fn a_choice_that_decides_is_found_as_well() {
        let chance = |lr: f64, units: f64| ((lr * 1e4 + units * 37.0).sin() * 43_758.0).fract();
        let table = space(300, |lr, units, optimizer| {
            chance(lr, units) + if optimizer == "adam" { 3.0 } else { 0.0 }
        });
        assert_eq!(importance(&table).unwrap().shares[0].parameter, "optimizer");
    }

    #[test]
    fn few_trials_are_said_to_be_few_and_none_to_be_none() {
        let found = importance(&space(8, |lr, _, _| lr)).unwrap();
        assert!(
            found.warnings[0].starts_with("8 trials are few"),
            "{found:?}"
        );
        let none = importance(&table(&[None, None])).unwrap_err();
        assert!(none.to_string().contains("there is no trial"), "{none}");
        assert!(matches!(
            importance(&table(&[Some(0.5); 6])),
            Err(ImportanceError::Flat { trials: 6, .. })
        ));
    }
}
