//! Regression trees, as what Bayesian optimisation may learn with instead of a Gaussian
//! process: random forests (L. Breiman, 2001), extremely randomised trees (P. Geurts,
//! D. Ernst, L. Wehenkel, 2006), and gradient boosting of quantiles (J. Friedman, 2001).
//!
//! Numbers of trees, depths and leaves are those of scikit-optimize. The deviation of a
//! forest is that of a mixture of its leaves (F. Hutter et al., *Algorithm runtime
//! prediction*, 2014), that of boosting half of what lies between the quantiles 0.16 and 0.84.

use crate::axis::Axis;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

/// Trees of a forest, trees of a quantile, and how much of a tree's correction is taken.
const TREES: usize = 100;
const STAGES: usize = 30;
const RATE: f64 = 0.1;

/// The kinds of trees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Each tree sees a sample and takes the best split.
    Random,
    /// Each tree sees everything and takes the best of a few splits made by chance.
    Extra,
    /// Each tree corrects those before it.
    Boosted,
}

/// Trees that have seen points.
pub(crate) enum Forest {
    Mixture(Vec<Tree>),
    /// The quantiles 0.16, 0.5 and 0.84: a constant and corrections.
    Quantiles([(f64, Vec<Tree>); 3]),
}

/// A tree; the first node is its root.
pub(crate) struct Tree(Vec<Node>);

enum Node {
    /// Mean and variance.
    Leaf(f64, f64),
    Split {
        axis: usize,
        cut: Cut,
        left: usize,
        right: usize,
    },
}

#[derive(Clone, Copy)]
enum Cut {
    /// Up to this number.
    UpTo(f64),
    /// This position of a list.
    Is(f64),
}

impl Cut {
    fn is_left(self, at: f64) -> bool {
        match self {
            Self::UpTo(limit) => at <= limit,
            Self::Is(choice) => at == choice,
        }
    }
}

/// What a tree is grown from.
struct Ground<'a> {
    axes: &'a [Axis],
    points: &'a [Vec<f64>],
    /// What the splits are to tell apart.
    values: &'a [f64],
    by_chance: bool,
    smallest_leaf: usize,
    depth: usize,
}

impl Forest {
    pub(crate) fn fit(
        kind: Kind,
        axes: &[Axis],
        points: &[Vec<f64>],
        values: &[f64],
        random: &mut Xoshiro256PlusPlus,
    ) -> Self {
        if kind == Kind::Boosted {
            return Self::Quantiles(
                [0.16, 0.5, 0.84].map(|share| boost(share, axes, points, values, random)),
            );
        }
        let ground = Ground {
            axes,
            points,
            values,
            by_chance: kind == Kind::Extra,
            smallest_leaf: 3,
            depth: usize::MAX,
        };
        let trees = (0..TREES).map(|_| {
            let members: Vec<usize> = (0..points.len())
                .map(|index| match kind {
                    Kind::Random => random.random_range(0..points.len()),
                    Kind::Extra | Kind::Boosted => index,
                })
                .collect();
            ground.grow(members, &|members| spread(values, members), random)
        });
        Self::Mixture(trees.collect())
    }

    /// The expected value at a point, and its deviation.
    pub(crate) fn at(&self, point: &[f64]) -> (f64, f64) {
        match self {
            Self::Mixture(trees) => {
                let count = trees.len() as f64;
                let leaves = || trees.iter().map(|tree| tree.leaf(point));
                let mean = leaves().map(|(mean, _)| mean).sum::<f64>() / count;
                let square = leaves().map(|(mean, variance)| variance + mean * mean);
                let variance = square.sum::<f64>() / count - mean * mean;
                (mean, variance.max(1e-12).sqrt())
            }
            Self::Quantiles(quantiles) => {
                let [low, middle, high] = quantiles.each_ref().map(|(first, trees)| {
                    let corrections = trees.iter().map(|tree| tree.leaf(point).0);
                    first + RATE * corrections.sum::<f64>()
                });
                (middle, ((high - low) / 2.0).max(1e-6))
            }
        }
    }
}

/// A quantile's first guess and its corrections.
fn boost(
    share: f64,
    axes: &[Axis],
    points: &[Vec<f64>],
    values: &[f64],
    random: &mut Xoshiro256PlusPlus,
) -> (f64, Vec<Tree>) {
    let first = quantile(values.to_vec(), share);
    let mut left: Vec<f64> = values.iter().map(|value| value - first).collect();
    let trees = (0..STAGES)
        .map(|_| {
            let slopes: Vec<f64> = left
                .iter()
                .map(|left| if *left > 0.0 { share } else { share - 1.0 })
                .collect();
            let ground = Ground {
                axes,
                points,
                values: &slopes,
                by_chance: false,
                smallest_leaf: 1,
                depth: 3,
            };
            let leaf = |members: &[usize]| {
                let members = members.iter().map(|member| left[*member]).collect();
                (quantile(members, share), 0.0)
            };
            let tree = ground.grow((0..points.len()).collect(), &leaf, random);
            for (left, point) in left.iter_mut().zip(points) {
                *left -= RATE * tree.leaf(point).0;
            }
            tree
        })
        .collect();
    (first, trees)
}

fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let position = share * values.len().saturating_sub(1) as f64;
    values
        .get(position.round() as usize)
        .copied()
        .unwrap_or_default()
}

/// Mean and variance of some values.
fn spread(values: &[f64], members: &[usize]) -> (f64, f64) {
    let count = members.len().max(1) as f64;
    let mean = members.iter().map(|member| values[*member]).sum::<f64>() / count;
    let squares = members
        .iter()
        .map(|member| (values[*member] - mean).powi(2));
    (mean, squares.sum::<f64>() / count)
}

impl Tree {
    fn leaf(&self, point: &[f64]) -> (f64, f64) {
        let mut at = 0;
        loop {
            match &self.0[at] {
                Node::Leaf(mean, variance) => return (*mean, *variance),
                Node::Split {
                    axis,
                    cut,
                    left,
                    right,
                } => {
                    at = if cut.is_left(point[*axis]) {
                        *left
                    } else {
                        *right
                    }
                }
            }
        }
    }
}

impl Ground<'_> {
    fn grow(
        &self,
        members: Vec<usize>,
        leaf: &dyn Fn(&[usize]) -> (f64, f64),
        random: &mut Xoshiro256PlusPlus,
    ) -> Tree {
        // A node is a leaf until it is split.
        let mut nodes = vec![Node::Leaf(0.0, 0.0)];
        let mut open = vec![(0, members, 0)];
        while let Some((node, members, depth)) = open.pop() {
            let split = (depth < self.depth)
                .then(|| self.split(&members, random))
                .flatten();
            let Some((axis, cut)) = split else {
                let (mean, variance) = leaf(&members);
                nodes[node] = Node::Leaf(mean, variance);
                continue;
            };
            let (left, right): (Vec<usize>, Vec<usize>) = members
                .into_iter()
                .partition(|member| cut.is_left(self.points[*member][axis]));
            let first = nodes.len();
            nodes[node] = Node::Split {
                axis,
                cut,
                left: first,
                right: first + 1,
            };
            nodes.extend([Node::Leaf(0.0, 0.0), Node::Leaf(0.0, 0.0)]);
            open.push((first, left, depth + 1));
            open.push((first + 1, right, depth + 1));
        }
        Tree(nodes)
    }

    /// The split whose sides vary least.
    fn split(&self, members: &[usize], random: &mut Xoshiro256PlusPlus) -> Option<(usize, Cut)> {
        if members.len() < 2 * self.smallest_leaf || spread(self.values, members).1 <= 1e-14 {
            return None;
        }
        let mut best: Option<(f64, usize, Cut)> = None;
        for axis in 0..self.axes.len() {
            for cut in self.cuts(members, axis, random) {
                let found = self.worth(members, axis, cut);
                if let Some(worth) = found
                    && best.is_none_or(|(best, ..)| worth > best)
                {
                    best = Some((worth, axis, cut));
                }
            }
        }
        best.map(|(_, axis, cut)| (axis, cut))
    }

    fn cuts(&self, members: &[usize], axis: usize, random: &mut Xoshiro256PlusPlus) -> Vec<Cut> {
        let mut at: Vec<f64> = members
            .iter()
            .map(|member| self.points[*member][axis])
            .collect();
        at.sort_unstable_by(f64::total_cmp);
        at.dedup();
        let (Some(first), Some(last)) = (at.first(), at.last()) else {
            return Vec::new();
        };
        match self.axes[axis] {
            Axis::Choice(_) if self.by_chance => {
                vec![Cut::Is(at[random.random_range(0..at.len())])]
            }
            Axis::Choice(_) => at.iter().map(|choice| Cut::Is(*choice)).collect(),
            Axis::Number(_) if self.by_chance => {
                vec![Cut::UpTo(first + (last - first) * random.random::<f64>())]
            }
            Axis::Number(_) => at
                .windows(2)
                .map(|pair| Cut::UpTo(f64::midpoint(pair[0], pair[1])))
                .collect(),
        }
    }

    /// How much less the sides of a split vary than the whole; nothing for sides that are
    /// too small.
    fn worth(&self, members: &[usize], axis: usize, cut: Cut) -> Option<f64> {
        let (mut counts, mut sums) = ([0usize; 2], [0.0; 2]);
        for member in members {
            let side = usize::from(cut.is_left(self.points[*member][axis]));
            counts[side] += 1;
            sums[side] += self.values[*member];
        }
        let holds = counts.iter().all(|count| *count >= self.smallest_leaf);
        holds.then(|| sums[0] * sums[0] / counts[0] as f64 + sums[1] * sums[1] / counts[1] as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::generator;
    use katlab_katib::space::Domain;
    use katlab_katib::types::Distribution;

    #[test]
    fn every_kind_learns_steps_and_choices() {
        let axes = [
            Axis::of(&Domain::Real {
                min: 0.0,
                max: 1.0,
                distribution: Distribution::Uniform,
            }),
            Axis::Choice(3),
        ];
        let value = |point: &[f64]| {
            f64::from(u8::from(point[0] > 0.4)) + if point[1] == 1.0 { 2.0 } else { 0.0 }
        };
        let mut random = generator(1, 1);
        let points: Vec<Vec<f64>> = (0..150)
            .map(|index| vec![random.random(), f64::from(index % 3)])
            .collect();
        let values: Vec<f64> = points.iter().map(|point| value(point)).collect();
        for kind in [Kind::Random, Kind::Extra, Kind::Boosted] {
            let forest = Forest::fit(kind, &axes, &points, &values, &mut random);
            let at = [[0.1, 0.0], [0.9, 2.0], [0.1, 1.0], [0.9, 1.0]].map(|point| {
                let (mean, deviation) = forest.at(&point);
                // A median is approached, a tenth of the way with each tree, and the leaves of
                // values that were alike at first are the same.
                assert!(
                    kind == Kind::Boosted || (mean - value(&point)).abs() < 0.3,
                    "{point:?}: {mean}"
                );
                assert!(deviation > 0.0 && deviation < 2.0, "{deviation}");
                mean
            });
            assert!(at[0] < at[2] - 0.5 && at[1] < at[3] - 0.5, "{at:?}");
        }
    }
}
