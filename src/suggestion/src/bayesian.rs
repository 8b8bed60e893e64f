//! Bayesian optimisation: a Gaussian process learns from the measured trials, and the point
//! that promises most is tried next.
//!
//! J. Snoek, H. Larochelle, R. Adams, *Practical Bayesian optimization of machine learning
//! algorithms*, NeurIPS 2012, with the settings, defaults and promises of scikit-optimize,
//! which Katib runs: random trials first, then the expected improvement (`EI`), the
//! probability of one (`PI`), the lower confidence bound (`LCB`), or one of the three by
//! chance (`gp_hedge`). scikit-optimize's hedge weighs them by what they promised so far;
//! here they are weighed by what the present process expects at their points, because
//! nothing is remembered between calls. `EIps` and `PIps` would look at how long trials
//! take, which Katib does not tell; they are taken as `EI` and `PI`.
//!
//! Trials under way, and those that failed, are taken as having given what the process
//! expects there (D. Ginsbourger, R. Le Riche, L. Carraro, *Kriging is well-suited to
//! parallelize optimization*, 2010): nothing is to be learnt there any more.
//!
//! Forests and boosted trees (`base_estimator`) learn instead of the process, as there.
//!
//! Unlike there, steps and distributions hold, `min` may be 0 or less, values with a long tail
//! of bad ones are drawn together, and the promise of an improvement is measured from what the
//! process expects at the best point rather than from what was measured there. Every listed
//! value is looked at before a point is settled on.

use crate::Assignments;
use crate::axis::Axis;
use crate::forest::{Forest, Kind};
use crate::gaussian::{Process, Shape};
use crate::promise::Promise;
use crate::search::{Past, Search};
use crate::space::Space;
use crate::tpe::start;
use crate::warp::{standard, warp};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution as _, StandardNormal};

/// Measured trials a process learns from: the cost grows with their cube. Of more, the best
/// half and the latest are taken.
const MOST: usize = 100;
/// Random points looked at, and points near the best measured one.
const CANDIDATES: usize = 600;
const NEAR: usize = 150;
/// The least improvement on a measured value that counts where trees learn, in deviations of the
/// measured values (in scikit-optimize 0.01 of whatever the unit is).
const XI: f64 = 0.001;
/// The best of them that are polished, as many for the listed values included, and how often
/// each axis is looked at.
const STARTS: usize = 3;
const MOST_STARTS: usize = 12;
const ROUNDS: usize = 3;
/// How far from trials that are under way a point must be, as a share of an axis.
const APART: f64 = 0.005;

pub(crate) fn suggest(search: &Search<'_>) -> Vec<Assignments> {
    let space = &search.space;
    let initial: usize = search.setting("n_initial_points", 10);
    let promises: &[Promise] = match search.setting("acq_func", String::new()).as_str() {
        "EI" | "EIps" => &[Promise::Improvement],
        "PI" | "PIps" => &[Promise::Chance],
        "LCB" => &[Promise::Bound],
        _ => &[Promise::Improvement, Promise::Bound, Promise::Chance],
    };
    let kind = match search.setting("base_estimator", String::new()).as_str() {
        "RF" => Some(Kind::Random),
        "ET" => Some(Kind::Extra),
        "GBRT" => Some(Kind::Boosted),
        _ => None,
    };
    // Trees are flat between their cuts: there is nothing to polish.
    let polishes = kind.is_none() && search.setting("acq_optimizer", String::new()) != "sampling";
    if search.measured() < initial.max(1) {
        return search.each(|_, random| start(space, random));
    }
    let (points, values) = measured(&search.past, kind.is_none());
    let axes = &space.axes;
    let shape = kind.is_none().then(|| Shape::fit(axes, &points, &values));
    search.each_fresh(|past, is_new, random| {
        let others = past.iter().filter(|past| past.loss.is_none());
        let others: Vec<Vec<f64>> = others.map(|past| past.at.clone()).collect();
        let others = &others[others.len().saturating_sub(MOST)..];
        // Promises may agree on a point of which the model is sure already.
        let is_new =
            |at: &[f64]| others.iter().all(|other| is_apart(axes, at, other)) && is_new(at);
        let learner = match (kind, &shape) {
            (Some(kind), _) => {
                let forest = Forest::fit(kind, axes, &points, &values, random);
                Learner::Forest(believing(
                    forest, kind, axes, &points, &values, others, random,
                ))
            }
            (None, Some(shape)) => match Process::new(axes, shape, points.clone(), &values) {
                Some(process) => Learner::Process(process.believing(others)),
                None => return start(space, random),
            },
            (None, None) => return start(space, random),
        };
        let least = match &learner {
            Learner::Process(process) => process.least(),
            Learner::Forest(_) => values.iter().copied().fold(f64::INFINITY, f64::min) - XI,
        };
        let model = Model {
            space,
            learner,
            least,
        };
        model.next(promises, polishes, &points, &values, &is_new, random)
    })
}

/// Whether two points differ in a listed value, or by [`APART`] on some other axis.
fn is_apart(axes: &[Axis], a: &[f64], b: &[f64]) -> bool {
    axes.iter()
        .zip(a.iter().zip(b))
        .any(|(axis, (a, b))| match axis {
            Axis::Number(_) => (a - b).abs() >= APART,
            Axis::Choice(_) => a != b,
        })
}

/// The points learnt from, and their values with mean 0 and deviation 1.
fn measured(past: &[Past], warps: bool) -> (Vec<Vec<f64>>, Vec<f64>) {
    let mut known: Vec<(usize, &Past, f64)> = past
        .iter()
        .enumerate()
        .filter_map(|(number, past)| Some((number, past, past.loss?)))
        .collect();
    if known.len() > MOST {
        known.sort_by(|(_, _, a), (_, _, b)| a.total_cmp(b));
        let mut latest = known.split_off(MOST / 2);
        latest.sort_unstable_by_key(|(number, ..)| *number);
        known.extend(latest.split_off(latest.len() - MOST / 2));
        known.sort_unstable_by_key(|(number, ..)| *number);
    }
    let values = known.iter().map(|(.., loss)| *loss);
    let points = known.iter().map(|(_, past, _)| past.at.clone());
    let values: Vec<f64> = values.collect();
    // Trees part points by order: they don't mind a tail.
    let values = if warps {
        warp(&values)
    } else {
        standard(&values)
    };
    (points.collect(), values)
}

/// What is learnt with.
enum Learner<'a> {
    Process(Process<'a>),
    Forest(Forest),
}

impl Learner<'_> {
    fn at(&self, point: &[f64]) -> (f64, f64) {
        match self {
            Self::Process(process) => process.at(point),
            Self::Forest(forest) => forest.at(point),
        }
    }
}

/// The forest when it has seen what it expects at some more points.
fn believing(
    forest: Forest,
    kind: Kind,
    axes: &[Axis],
    points: &[Vec<f64>],
    values: &[f64],
    more: &[Vec<f64>],
    random: &mut Xoshiro256PlusPlus,
) -> Forest {
    if more.is_empty() {
        return forest;
    }
    let expected = more.iter().map(|point| forest.at(point).0);
    let values: Vec<f64> = values.iter().copied().chain(expected).collect();
    let points: Vec<Vec<f64>> = points.iter().chain(more).cloned().collect();
    Forest::fit(kind, axes, &points, &values, random)
}

struct Model<'a> {
    space: &'a Space,
    learner: Learner<'a>,
    /// The best measured value.
    least: f64,
}

impl Model<'_> {
    fn next(
        &self,
        promises: &[Promise],
        polishes: bool,
        points: &[Vec<f64>],
        values: &[f64],
        is_new: &dyn Fn(&[f64]) -> bool,
        random: &mut Xoshiro256PlusPlus,
    ) -> Vec<f64> {
        let best = values
            .iter()
            .zip(points)
            .min_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, point)| point);
        let mut candidates: Vec<Vec<f64>> =
            (0..CANDIDATES).map(|_| start(self.space, random)).collect();
        for index in 0..NEAR {
            let width = 0.1 * 0.01f64.powf(index as f64 / NEAR as f64);
            candidates.extend(best.map(|best| self.beside(best, width, random)));
        }
        let expected: Vec<(f64, f64)> = candidates
            .iter()
            .map(|point| self.learner.at(point))
            .collect();
        let found: Vec<(f64, Vec<f64>)> = promises
            .iter()
            .filter_map(|promise| {
                let mut order: Vec<(f64, usize)> = expected
                    .iter()
                    .enumerate()
                    .map(|(index, (mean, deviation))| {
                        (promise.worth(self.least, *mean, *deviation), index)
                    })
                    .filter(|(_, index)| is_new(&candidates[*index]))
                    .collect();
                order.sort_by(|(a, _), (b, _)| b.total_cmp(a));
                let (worth, first) = *order.first()?;
                if !polishes {
                    let point = candidates[first].clone();
                    return Some((self.learner.at(&point).0, point));
                }
                self.starts(&order, &candidates)
                    .into_iter()
                    .map(|(worth, point)| self.polish(*promise, worth, point, is_new))
                    .chain([(worth, candidates[first].clone())])
                    .max_by(|(a, _), (b, _)| a.total_cmp(b))
                    .map(|(_, point)| (self.learner.at(&point).0, point))
            })
            .collect();
        // The lower the expected value, the likelier.
        let lowest = found
            .iter()
            .map(|(mean, _)| *mean)
            .fold(f64::INFINITY, f64::min);
        let weight = |mean: f64| (lowest - mean).exp();
        let mut left =
            random.random::<f64>() * found.iter().map(|(mean, _)| weight(*mean)).sum::<f64>();
        for (mean, point) in &found {
            left -= weight(*mean);
            if left <= 0.0 {
                return point.clone();
            }
        }
        start(self.space, random)
    }

    /// The candidates that promise most, and for each listed value the one that does with it.
    fn starts(&self, order: &[(f64, usize)], candidates: &[Vec<f64>]) -> Vec<(f64, Vec<f64>)> {
        let mut chosen: Vec<&(f64, usize)> = order.iter().take(STARTS).collect();
        for (index, axis) in self.space.axes.iter().enumerate() {
            let Axis::Choice(count) = axis else { continue };
            for value in 0..*count {
                let has = |(_, at): &&(f64, usize)| candidates[*at][index] == value as f64;
                let first = order.iter().find(has);
                chosen.extend(first.filter(|(_, at)| chosen.iter().all(|(_, other)| other != at)));
            }
        }
        chosen
            .into_iter()
            .take(MOST_STARTS)
            .map(|(worth, at)| (*worth, candidates[*at].clone()))
            .collect()
    }

    /// Moves to the neighbouring values of a grid and to other listed values, axis by axis, as
    /// long as more is promised. (Points of axes without a grid are sought by sampling alone:
    /// climbing to the summit of a promise, of which a dozen trials know little, found worse
    /// values, in the corners of the space above all.)
    fn polish(
        &self,
        promise: Promise,
        mut worth: f64,
        mut point: Vec<f64>,
        is_new: &dyn Fn(&[f64]) -> bool,
    ) -> (f64, Vec<f64>) {
        for _ in 0..ROUNDS {
            let before = worth;
            for (index, axis) in self.space.axes.iter().enumerate() {
                let others: Vec<f64> = match axis {
                    Axis::Choice(count) => (0..*count).map(|value| value as f64).collect(),
                    Axis::Number(scale) => scale.cell(point[index]).map_or_else(Vec::new, |cell| {
                        vec![scale.snap(cell.0 - 1e-9), scale.snap(cell.1 + 1e-9)]
                    }),
                };
                for other in others {
                    let mut moved = point.clone();
                    moved[index] = other;
                    let (mean, deviation) = self.learner.at(&moved);
                    let found = promise.worth(self.least, mean, deviation);
                    if found > worth && is_new(&moved) {
                        (worth, point) = (found, moved);
                    }
                }
            }
            if worth <= before {
                break;
            }
        }
        (worth, point)
    }

    /// A point of the space near another. A listed value changes now and then.
    fn beside(&self, point: &[f64], width: f64, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
        let moved = random.random_range(0..point.len());
        self.space
            .axes
            .iter()
            .zip(point)
            .enumerate()
            .map(|(index, (axis, at))| match axis {
                // All axes as a rule, else one at least.
                _ if index != moved && random.random::<f64>() < 0.3 => *at,
                Axis::Choice(count) if random.random::<f64>() < 0.2 => {
                    random.random_range(0..(*count).max(1)) as f64
                }
                Axis::Choice(_) => *at,
                Axis::Number(scale) => {
                    let step: f64 = StandardNormal.sample(random);
                    let width = width.max(scale.resolution());
                    scale.snap((at + width * step).clamp(0.0, 1.0))
                }
            })
            .collect()
    }
}
