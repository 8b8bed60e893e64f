//! Parzen estimators: a density out of points, one kernel around each and a wide one (the
//! prior) over the whole axis.
//!
//! A kernel is as wide as it is far to the next point on its axis (Bergstra et al. 2011), or half
//! as wide where one axis is looked at alone. The distance counts in several dimensions as well: Scott's rule, one width for all points, found worse values
//! on all test functions but one. How narrow it may get depends on the number of all measured
//! points, not, as in hyperopt and Optuna, on that of the few good ones: with three good
//! ones no kernel would be narrower than a fifth of the axis.
//!
//! All kernels are cut off at the ends of their axis. A grid's values have the weight that
//! their cells have, so coarse and fine parameters are judged alike.

use crate::axis::Axis;
use crate::normal::{density, share_below};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, RngExt};
use rand_distr::{Distribution as _, StandardNormal};

/// A density over some axes.
pub(crate) struct Estimate<'a> {
    axes: Vec<&'a Axis>,
    /// Weight of each kernel; they add up to 1.
    weights: Vec<f64>,
    /// For each axis the kernels' parts.
    parts: Vec<Vec<Part>>,
}

/// A kernel on one axis.
enum Part {
    Bell {
        middle: f64,
        width: f64,
        /// The share of the bell that is on the axis.
        inside: f64,
    },
    Shares(Vec<f64>),
}

impl<'a> Estimate<'a> {
    /// `points` are in the order of `axes`, oldest first. `measured` is how many points are
    /// known in all: the more, the narrower a kernel may be. `reach` is a kernel's width as a share of
    /// the distance to its neighbours.
    pub(crate) fn new(
        axes: Vec<&'a Axis>,
        points: &[Vec<f64>],
        prior_weight: f64,
        measured: usize,
        reach: f64,
    ) -> Self {
        let mut weights = by_age(points.len());
        weights.push(prior_weight);
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= total);
        let parts = axes
            .iter()
            .enumerate()
            .map(|(index, axis)| {
                let at: Vec<f64> = points.iter().map(|point| point[index]).collect();
                match axis {
                    Axis::Choice(count) => shares(*count, &at, prior_weight),
                    Axis::Number(scale) => {
                        let prior = if scale.bell { 1.0 / 6.0 } else { 1.0 };
                        let most = 1 + at.len().max(measured / 3);
                        let narrowest = prior / most.min(100) as f64;
                        let widths = neighbours(&at, reach, narrowest, prior);
                        at.iter()
                            .zip(widths)
                            .map(|(middle, width)| bell(*middle, width))
                            .chain([bell(0.5, prior)])
                            .collect()
                    }
                }
            })
            .collect();
        Self {
            axes,
            weights,
            parts,
        }
    }

    /// A point drawn from the density.
    pub(crate) fn draw(&self, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
        let kernel = weighted(&self.weights, random);
        self.parts
            .iter()
            .map(|parts| match &parts[kernel] {
                Part::Bell { middle, width, .. } => within(*middle, *width, random),
                Part::Shares(shares) => weighted(shares, random) as f64,
            })
            .collect()
    }

    /// The logarithm of the density at a point.
    pub(crate) fn logarithm(&self, point: &[f64]) -> f64 {
        // The cell of a value is the same for all kernels.
        let cells: Vec<Option<(f64, f64)>> = self
            .axes
            .iter()
            .zip(point)
            .map(|(axis, at)| match axis {
                Axis::Number(scale) => scale.cell(*at),
                Axis::Choice(_) => None,
            })
            .collect();
        let sum: f64 = (0..self.weights.len())
            .map(|kernel| {
                let parts = self.parts.iter().zip(point).zip(&cells);
                let product: f64 = parts
                    .map(|((parts, at), cell)| parts[kernel].density(*at, *cell))
                    .product();
                self.weights[kernel] * product
            })
            .sum();
        sum.max(f64::MIN_POSITIVE).ln()
    }
}

impl Part {
    fn density(&self, at: f64, cell: Option<(f64, f64)>) -> f64 {
        match self {
            Self::Shares(shares) => shares.get(at as usize).copied().unwrap_or_default(),
            Self::Bell {
                middle,
                width,
                inside,
            } => {
                let from_middle = |at: f64| (at - middle) / width;
                match cell {
                    Some((low, high)) => {
                        (share_below(from_middle(high)) - share_below(from_middle(low))) / inside
                    }
                    None => density(from_middle(at)) / width / inside,
                }
            }
        }
    }
}

fn bell(middle: f64, width: f64) -> Part {
    Part::Bell {
        middle,
        width,
        inside: share_below((1.0 - middle) / width) - share_below(-middle / width),
    }
}

/// The last 25 points count fully, older ones the less the older they are: hyperopt's
/// "linear forgetting".
fn by_age(count: usize) -> Vec<f64> {
    const RECENT: usize = 25;
    let old = count.saturating_sub(RECENT);
    (0..count)
        .map(|index| {
            if index >= old {
                1.0
            } else {
                let oldest = 1.0 / count as f64;
                oldest + (1.0 - oldest) * index as f64 / old.max(2).saturating_sub(1) as f64
            }
        })
        .collect()
}

/// That share of the distance to the farther of the two neighbours, the prior's middle among them.
fn neighbours(at: &[f64], reach: f64, narrowest: f64, widest: f64) -> Vec<f64> {
    let mut order: Vec<f64> = at.iter().copied().chain([0.5]).collect();
    order.sort_unstable_by(f64::total_cmp);
    at.iter()
        .map(|at| {
            let first = order.partition_point(|other| other < at);
            // Points at the same place are neighbours of each other.
            let left = first.checked_sub(1).map(|index| at - order[index]);
            let after = order.get(first + 1).map(|next| next - at);
            let width = left.unwrap_or(0.0).max(after.unwrap_or(0.0));
            (width * reach).max(narrowest).min(widest)
        })
        .collect()
}

/// One kernel for each point: its choice, with a little for all others.
fn shares(count: usize, at: &[f64], prior_weight: f64) -> Vec<Part> {
    let count = count.max(1);
    let others = prior_weight / (at.len() as f64 + 1.0);
    let total = 1.0 + others * count as f64;
    let part = |chosen: usize| {
        (0..count)
            .map(|choice| (f64::from(u8::from(choice == chosen)) + others) / total)
            .collect()
    };
    at.iter()
        .map(|chosen| Part::Shares(part(*chosen as usize)))
        .chain([Part::Shares(vec![1.0 / count as f64; count])])
        .collect()
}

/// A position, as often as its weight says.
fn weighted(weights: &[f64], random: &mut impl Rng) -> usize {
    let mut left = random.random::<f64>() * weights.iter().sum::<f64>();
    for (position, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return position;
        }
    }
    weights.len().saturating_sub(1)
}

/// A number from 0 to 1 out of a bell whose middle is there: a third or more hits.
fn within(middle: f64, width: f64, random: &mut impl Rng) -> f64 {
    for _ in 0..64 {
        let deviation: f64 = StandardNormal.sample(random);
        let at = middle + width * deviation;
        if (0.0..=1.0).contains(&at) {
            return at;
        }
    }
    middle
}
