//! Covariance matrix adaptation.
//!
//! N. Hansen, *The CMA evolution strategy: a tutorial*, arXiv:1604.00772, with its default
//! parameters and negative weights. Restarts: A. Auger, N. Hansen, *A restart CMA evolution
//! strategy with increasing population size*, CEC 2005 (`ipop`), and N. Hansen,
//! *Benchmarking a bi-population CMA-ES*, GECCO 2009 (`bipop`).
//!
//! Nothing is remembered between calls. The measured trials are told again from the first,
//! in the order in which they were given out, a population at a time; then the next points
//! are drawn. So a trial that takes long holds nobody up, and a failed one is left out.
//! What is told may then have been drawn a generation earlier, or be the grid's value next
//! to what was drawn: steps that are too long for the present distribution are shortened
//! (N. Hansen, *Injecting external solutions into CMA-ES*, arXiv:1110.4181).
//!
//! A trial is dear, a drawn number is not: of some points drawn from the distribution the one
//! is proposed that a quadratic model of the latest trials likes best (pre-selection:
//! Y. Jin, *A comprehensive survey of fitness approximation in evolutionary computation*,
//! Soft Computing 9, 2005; the model as in N. Hansen, *A global surrogate assisted CMA-ES*,
//! GECCO 2019). Katib's goptuna does not do this and needs more trials.
//!
//! As in goptuna, which Katib runs, there are no random trials at the start, the search
//! starts in the middle of the space, and listed values are chosen apart from it: there by
//! chance, here as `tpe` does. Unlike there, logarithmic distributions hold.

use crate::Assignments;
use crate::axis::Axis;
use crate::quadratic::{self, Quadratic};
use crate::random::generator;
use crate::search::{Past, Search};
use crate::tpe::{Tpe, start};
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution as _, StandardNormal};

/// Draws before a point outside the space is moved to its edge.
const DRAWS: usize = 100;
/// Points drawn for a proposal. The one that the model likes best is taken.
const CANDIDATES: usize = 10;
/// The share of proposals for which the model is not asked, so that it also learns of what it
/// does not like.
const BLIND: f64 = 0.2;

pub(crate) fn suggest(search: &Search<'_>) -> Vec<Assignments> {
    let space = &search.space;
    let axes: Vec<usize> = (0..space.axes.len())
        .filter(|axis| matches!(space.axes[*axis], Axis::Number(_)))
        .collect();
    let choices = (0..space.axes.len()).filter(|axis| !axes.contains(axis));
    let groups: Vec<Vec<usize>> = choices.map(|axis| vec![axis]).collect();
    let run = Restarts::replay(search, &axes).now;
    let model = run.model(&search.past, &axes);
    let tpe = Tpe::separate(search);
    let learns = search.measured() > 0;
    search.each_fresh(|past, is_new, random| {
        let mut point = start(space, random);
        if learns {
            for group in &groups {
                tpe.improve(space, past, group, &mut point, random);
            }
        }
        let model = model.as_ref().filter(|_| random.random::<f64>() >= BLIND);
        let count = if model.is_some() { CANDIDATES } else { 1 };
        let candidates = (0..count).map(|_| {
            let at = run.draw(random);
            let mut point = point.clone();
            for (axis, at) in axes.iter().zip(at.iter()) {
                point[*axis] = *at;
            }
            let expected = model.map_or(0.0, |model| model.at(&run.whiten_place(&at)));
            (is_new(&point), expected, point)
        });
        candidates
            .min_by(|(new, a, _), (other, b, _)| other.cmp(new).then(a.total_cmp(b)))
            .map_or(point, |(.., best)| best)
    })
}

/// What to do when a run has come to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strategy {
    /// Go on with it.
    None,
    /// Start anew with twice the population.
    Growing,
    /// Large and small populations in turn, with the same number of trials for each kind.
    Both,
}

/// A run, and what is remembered of those before it.
struct Restarts {
    now: Run,
    strategy: Strategy,
    usual: usize,
    /// How often the population was doubled.
    doubled: u32,
    /// Trials spent on large and on small populations.
    spent: [usize; 2],
    small: bool,
    number: u64,
    seed: u64,
    width: f64,
    /// The narrowest deviation on each axis that still reaches the next value.
    least: DVector<f64>,
}

impl Restarts {
    fn replay(search: &Search<'_>, axes: &[usize]) -> Self {
        let least = axes.iter().map(|axis| match &search.space.axes[*axis] {
            Axis::Number(scale) => scale.resolution() / 4.0,
            Axis::Choice(_) => 0.0,
        });
        let least = DVector::from_iterator(axes.len(), least);
        let width = search.width(axes);
        let usual = 4 + (3.0 * (axes.len() as f64).ln()).floor() as usize;
        let middle = DVector::from_element(axes.len(), 0.5);
        let mut restarts = Self {
            now: Run::new(middle, width, usual),
            strategy: match search.setting("restart_strategy", String::new()).as_str() {
                "ipop" => Strategy::Growing,
                "bipop" => Strategy::Both,
                _ => Strategy::None,
            },
            usual,
            doubled: 0,
            spent: [0; 2],
            small: false,
            number: 0,
            seed: search.seed,
            width,
            least,
        };
        let mut told: Vec<(DVector<f64>, f64)> = Vec::new();
        for Past { at, loss } in &search.past {
            let Some(loss) = loss else { continue };
            let at = axes.iter().map(|axis| at[*axis]);
            told.push((DVector::from_iterator(axes.len(), at), *loss));
            if told.len() == restarts.now.population {
                restarts.tell(std::mem::take(&mut told));
            }
        }
        restarts
    }

    fn tell(&mut self, points: Vec<(DVector<f64>, f64)>) {
        self.spent[usize::from(self.small)] += points.len();
        self.now.tell(points, &self.least);
        if self.strategy == Strategy::None || !self.now.has_ended() {
            return;
        }
        self.number += 1;
        // Numbers from the far end: the near ones are those of the assignments.
        let mut random = generator(self.seed, u64::MAX - self.number);
        let dimensions = self.now.mean.len();
        let mean = DVector::from_fn(dimensions, |_, _| random.random::<f64>());
        self.small = self.strategy == Strategy::Both && self.spent[1] < self.spent[0];
        let large = self.usual << self.doubled.min(10);
        let (population, width) = if self.small {
            let share: f64 = random.random();
            let ratio = large as f64 / self.usual as f64 / 2.0;
            let population = self.usual as f64 * ratio.max(1.0).powf(share * share);
            let width = self.width * 10f64.powf(-2.0 * random.random::<f64>());
            (population.floor() as usize, width)
        } else {
            self.doubled += 1;
            (self.usual << self.doubled.min(10), self.width)
        };
        self.now = Run::new(mean, width, population);
    }
}

/// One run of the strategy, named as in the tutorial where it names things.
struct Run {
    population: usize,
    mean: DVector<f64>,
    sigma: f64,
    covariance: DMatrix<f64>,
    /// Eigenvectors of the covariance, and the roots of its eigenvalues.
    vectors: DMatrix<f64>,
    roots: DVector<f64>,
    path_c: DVector<f64>,
    path_sigma: DVector<f64>,
    generation: i32,
    rates: Rates,
    first_sigma: f64,
    /// Best values of the last generations.
    bests: Vec<f64>,
}

/// Constants that follow from the dimensions and the population.
struct Rates {
    weights: Vec<f64>,
    parents: usize,
    mu_eff: f64,
    c_sigma: f64,
    d_sigma: f64,
    c_c: f64,
    c_1: f64,
    c_mu: f64,
    /// The expected length of a standard normal vector.
    length: f64,
}

impl Rates {
    fn new(dimensions: usize, population: usize) -> Self {
        let n = dimensions as f64;
        let raw: Vec<f64> = (1..=population)
            .map(|rank| ((population as f64 + 1.0) / 2.0).ln() - (rank as f64).ln())
            .collect();
        let parents = population / 2;
        let sum = |weights: &[f64]| weights.iter().sum::<f64>();
        let effective = |weights: &[f64]| {
            let squares: f64 = weights.iter().map(|weight| weight * weight).sum();
            sum(weights).powi(2) / squares
        };
        let mu_eff = effective(&raw[..parents]);
        let mu_eff_minus = effective(&raw[parents..]);
        let c_1 = 2.0 / ((n + 1.3).powi(2) + mu_eff);
        let c_mu =
            (2.0 * (mu_eff - 2.0 + 1.0 / mu_eff) / ((n + 2.0).powi(2) + mu_eff)).min(1.0 - c_1);
        let limit = (1.0 + c_1 / c_mu)
            .min(1.0 + 2.0 * mu_eff_minus / (mu_eff + 2.0))
            .min((1.0 - c_1 - c_mu) / (n * c_mu));
        let positive: f64 = raw.iter().filter(|weight| **weight > 0.0).sum();
        let negative: f64 = -raw.iter().filter(|weight| **weight < 0.0).sum::<f64>();
        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0);
        Self {
            weights: raw
                .iter()
                .map(|weight| {
                    if *weight >= 0.0 {
                        weight / positive
                    } else {
                        weight * limit / negative
                    }
                })
                .collect(),
            parents,
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (n + 1.0)).sqrt() - 1.0).max(0.0) + c_sigma,
            c_c: (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            c_1,
            c_mu,
            length: n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n)),
        }
    }
}

impl Run {
    fn new(mean: DVector<f64>, sigma: f64, population: usize) -> Self {
        let n = mean.len();
        let population = population.max(4);
        Self {
            population,
            sigma,
            covariance: DMatrix::identity(n, n),
            vectors: DMatrix::identity(n, n),
            roots: DVector::from_element(n, 1.0),
            path_c: DVector::zeros(n),
            path_sigma: DVector::zeros(n),
            generation: 0,
            rates: Rates::new(n, population),
            first_sigma: sigma,
            bests: Vec::new(),
            mean,
        }
    }

    /// A point of the space.
    fn draw(&self, random: &mut Xoshiro256PlusPlus) -> DVector<f64> {
        let mut at = self.mean.clone();
        for _ in 0..DRAWS {
            let normal = DVector::from_fn(self.mean.len(), |_, _| StandardNormal.sample(random));
            let step: DVector<f64> = &self.vectors * self.roots.component_mul(&normal);
            at = &self.mean + step * self.sigma;
            if at.iter().all(|at| (0.0..=1.0).contains(at)) {
                break;
            }
        }
        at.map(|at| at.clamp(0.0, 1.0))
    }

    /// What the latest measured trials say about the function where the distribution is.
    fn model(&self, past: &[Past], axes: &[usize]) -> Option<Quadratic> {
        let measured = past.iter().rev().filter_map(|past| {
            let at = axes.iter().map(|axis| past.at[*axis]);
            let at = DVector::from_iterator(axes.len(), at);
            Some((self.whiten_place(&at), past.loss?))
        });
        let wanted = quadratic::wanted(axes.len()).max(2 * self.population);
        Quadratic::fit(&measured.take(wanted).collect::<Vec<_>>())
    }

    /// A point as the distribution sees it: its middle is 0, and every direction is alike.
    fn whiten_place(&self, at: &DVector<f64>) -> DVector<f64> {
        self.whiten(&((at - &self.mean) / self.sigma))
    }

    /// `C^(-1/2) y`.
    fn whiten(&self, step: &DVector<f64>) -> DVector<f64> {
        let turned = self.vectors.transpose() * step;
        &self.vectors * turned.component_div(&self.roots)
    }

    /// One generation; `least` keeps a deviation from falling below a grid's cells.
    fn tell(&mut self, mut points: Vec<(DVector<f64>, f64)>, least: &DVector<f64>) {
        points.sort_by(|(_, a), (_, b)| a.total_cmp(b));
        let n = self.mean.len() as f64;
        let Rates {
            c_sigma,
            d_sigma,
            c_c,
            c_1,
            c_mu,
            mu_eff,
            length,
            parents,
            ..
        } = self.rates;
        if let Some((_, best)) = points.first() {
            self.bests.push(*best);
        }
        let longest = n.sqrt() + 2.0 * n / (n + 2.0);
        let steps: Vec<(DVector<f64>, f64)> = points
            .iter()
            .map(|(at, _)| {
                let step = (at - &self.mean) / self.sigma;
                let far = self.whiten(&step).norm();
                let shortened = (longest / far).min(1.0);
                (step * shortened, far * shortened)
            })
            .collect();
        let mut mean_step = DVector::zeros(self.mean.len());
        for ((step, _), weight) in steps.iter().zip(&self.rates.weights).take(parents) {
            mean_step += step * *weight;
        }
        self.mean += &mean_step * self.sigma;
        self.mean.apply(|at| *at = at.clamp(0.0, 1.0));
        self.generation += 1;

        self.path_sigma = &self.path_sigma * (1.0 - c_sigma)
            + self.whiten(&mean_step) * (c_sigma * (2.0 - c_sigma) * mu_eff).sqrt();
        let far = self.path_sigma.norm();
        let settled = (1.0 - (1.0 - c_sigma).powi(2 * (self.generation + 1))).sqrt();
        let is_short = far / settled < (1.4 + 2.0 / (n + 1.0)) * length;
        let short = f64::from(u8::from(is_short));
        self.path_c =
            &self.path_c * (1.0 - c_c) + &mean_step * (short * (c_c * (2.0 - c_c) * mu_eff).sqrt());

        let lost = (1.0 - short) * c_c * (2.0 - c_c);
        let sum: f64 = self.rates.weights.iter().sum();
        self.covariance *= 1.0 + c_1 * lost - c_1 - c_mu * sum;
        self.covariance += &self.path_c * self.path_c.transpose() * c_1;
        for ((step, far), weight) in steps.iter().zip(&self.rates.weights) {
            let weight = if *weight < 0.0 {
                // So that no eigenvalue falls below 0.
                weight * n / (far * far).max(1e-8)
            } else {
                *weight
            };
            self.covariance += step * step.transpose() * (c_mu * weight);
        }
        let change = (c_sigma / d_sigma * (far / length - 1.0)).min(1.0);
        self.sigma = (self.sigma * change.exp()).clamp(1e-12, 1.0);
        for axis in 0..self.mean.len() {
            let wanted = (least[axis] / self.sigma).powi(2);
            self.covariance[(axis, axis)] = self.covariance[(axis, axis)].max(wanted);
        }
        self.decompose();
    }

    fn decompose(&mut self) {
        let transposed = self.covariance.transpose();
        self.covariance = (&self.covariance + transposed) / 2.0;
        let eigen = SymmetricEigen::new(self.covariance.clone());
        // A matrix that numbers have worn out is mended rather than given up.
        let greatest = eigen.eigenvalues.max();
        let floor = greatest.max(1e-20) * 1e-14;
        if eigen.eigenvalues.iter().all(|value| value.is_finite()) && greatest > 0.0 {
            self.roots = eigen.eigenvalues.map(|value| value.max(floor).sqrt());
            self.vectors = eigen.eigenvectors;
        } else {
            let n = self.mean.len();
            self.covariance = DMatrix::identity(n, n);
            self.roots = DVector::from_element(n, 1.0);
            self.vectors = DMatrix::identity(n, n);
        }
    }

    /// Whether the run has converged or can't get on.
    fn has_ended(&self) -> bool {
        let recent = 10 + (30 * self.mean.len()).div_ceil(self.population);
        let is_flat = self.bests.len() >= recent && {
            let last = &self.bests[self.bests.len() - recent..];
            let greatest = last.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let least = last.iter().copied().fold(f64::INFINITY, f64::min);
            greatest - least <= 1e-12 * (1.0 + greatest.abs())
        };
        let widest = self.sigma * self.roots.max();
        is_flat
            || widest < 1e-5 * self.first_sigma
            || self.roots.max() > 1e7 * self.roots.min()
            || widest > 1e4 * self.first_sigma
    }
}

impl Search<'_> {
    /// The deviation to start with, on axes from 0 to 1: a sixth of the range. The setting
    /// `sigma` is in the units of the parameters; as the default in goptuna is a sixth of the
    /// narrowest range, it is taken as a share of that.
    fn width(&self, axes: &[usize]) -> f64 {
        let narrowest = axes
            .iter()
            .filter_map(|axis| match &self.space.axes[*axis] {
                Axis::Number(scale) => Some(scale.range()).filter(|range| *range > 0.0),
                Axis::Choice(_) => None,
            })
            .fold(f64::INFINITY, f64::min);
        let share = self.setting("sigma", 0.0) / narrowest;
        if share > 0.0 && share.is_finite() {
            share.clamp(1e-6, 1.0)
        } else {
            1.0 / 6.0
        }
    }
}
