//! Tree-structured Parzen estimators.
//!
//! J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl, *Algorithms for hyper-parameter
//! optimization*, NeurIPS 2011: the measured points are parted into a few good ones and the
//! rest, a density is estimated for each, and of some candidates drawn from the good ones'
//! density the one is taken whose densities have the greatest ratio. `tpe` looks at one
//! parameter after the other, as hyperopt does, with its settings. Unless `gamma` is set, a tenth
//! of the points is good: hyperopt's share of the root leaves two or three, which found worse
//! values on all test functions but one.
//! `multivariate-tpe` looks at all together, as Optuna does (S. Falkner, A. Klein,
//! F. Hutter, *BOHB*, ICML 2018; S. Watanabe, *Tree-structured Parzen estimator*,
//! arXiv:2304.11127).
//!
//! Trials that are under way and trials that failed count among the rest: the search keeps
//! away from them. (Katib's `tpe` does not look at them and proposes a point several times
//! when trials end together.)

use crate::Assignments;
use crate::parzen::Estimate;
use crate::random::draw;
use crate::search::{Past, Search};
use crate::space::Space;
use rand::rngs::Xoshiro256PlusPlus;

/// Random trials before there is something to learn from: Optuna's number. (hyperopt would
/// take 20; Katib's service as many as the first request asked for.)
const STARTUP: usize = 10;
/// More good points than these are not looked at.
const MOST_GOOD: f64 = 25.0;

/// The settings of one of the two.
pub(crate) struct Tpe {
    startup: usize,
    candidates: usize,
    prior_weight: f64,
    good: Good,
    /// Whether all parameters are looked at together.
    joint: bool,
}

/// How many points are good.
enum Good {
    /// This share of the square root of their number.
    OfRoot(f64),
    /// This share.
    Share(f64),
}

impl Tpe {
    /// One parameter after the other.
    pub(crate) fn separate(search: &Search<'_>) -> Self {
        Self {
            startup: STARTUP,
            candidates: search.setting("n_EI_candidates", 24),
            prior_weight: search.setting("prior_weight", 1.0),
            good: match search.setting("gamma", 0.0) {
                0.0 => Good::Share(0.1),
                gamma => Good::OfRoot(gamma),
            },
            joint: false,
        }
    }

    /// All parameters together.
    pub(crate) fn joint(search: &Search<'_>) -> Self {
        Self {
            startup: search.setting("n_startup_trials", STARTUP),
            candidates: search.setting("n_ei_candidates", 24),
            prior_weight: 1.0,
            good: Good::Share(0.1),
            joint: true,
        }
    }

    pub(crate) fn suggest(&self, search: &Search<'_>) -> Vec<Assignments> {
        let space = &search.space;
        let all = 0..space.axes.len();
        let groups: Vec<Vec<usize>> = if self.joint {
            vec![all.collect()]
        } else {
            all.map(|axis| vec![axis]).collect()
        };
        let learns = search.measured() >= self.startup.max(1);
        search.each(|past, random| {
            let mut point = start(space, random);
            if learns {
                for group in &groups {
                    self.improve(space, past, group, &mut point, random);
                }
            }
            point
        })
    }

    /// Replaces a point's coordinates on some axes.
    pub(crate) fn improve(
        &self,
        space: &Space,
        past: &[Past],
        group: &[usize],
        point: &mut [f64],
        random: &mut Xoshiro256PlusPlus,
    ) {
        let (good, rest) = self.part(past, group);
        let axes = || group.iter().map(|axis| &space.axes[*axis]).collect();
        let measured = past.iter().filter(|past| past.loss.is_some()).count();
        let reach = if self.joint { 1.0 } else { 0.5 };
        let estimate =
            |points: &[Vec<f64>]| Estimate::new(axes(), points, self.prior_weight, measured, reach);
        let (good, rest) = (estimate(&good), estimate(&rest));
        let best = (0..self.candidates.max(1))
            .map(|_| {
                let candidate = good.draw(random);
                (
                    good.logarithm(&candidate) - rest.logarithm(&candidate),
                    candidate,
                )
            })
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((_, best)) = best {
            for (axis, at) in group.iter().zip(best) {
                point[*axis] = at;
            }
        }
    }

    /// Good points and the rest, in their order, on some axes.
    fn part(&self, past: &[Past], group: &[usize]) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        let mut losses: Vec<f64> = past.iter().filter_map(|past| past.loss).collect();
        losses.sort_unstable_by(f64::total_cmp);
        let number = losses.len() as f64;
        let wanted = match self.good {
            Good::OfRoot(share) => share * number.sqrt(),
            Good::Share(share) => share * number,
        };
        let mut left = wanted.ceil().clamp(1.0, MOST_GOOD) as usize;
        let limit = losses.get(left - 1).copied();
        // Of equally good ones the older ones.
        left -= losses
            .iter()
            .filter(|loss| Some(**loss) < limit)
            .count()
            .min(left);
        let (mut good, mut rest) = (Vec::new(), Vec::new());
        for past in past {
            let at = group.iter().map(|axis| past.at[*axis]).collect();
            let is_good = match (past.loss, limit) {
                (Some(loss), Some(limit)) if loss < limit => true,
                (Some(loss), Some(limit)) if loss == limit && left > 0 => {
                    left -= 1;
                    true
                }
                _ => false,
            };
            if is_good { &mut good } else { &mut rest }.push(at);
        }
        (good, rest)
    }
}

/// A random point.
pub(crate) fn start(space: &Space, random: &mut Xoshiro256PlusPlus) -> Vec<f64> {
    // Every drawn value can be read.
    space
        .point_of(&draw(space, random))
        .unwrap_or_else(|| vec![0.5; space.axes.len()])
}
