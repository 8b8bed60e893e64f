//! What a point promises, from what a model expects there.
//!
//! Improvements and chances are compared as logarithms: far from the good points both are too
//! small for a number (S. Ament et al., *Unexpected improvements to expected improvement for
//! Bayesian optimization*, NeurIPS 2023).

use crate::normal::{density, share_below};
use std::f64::consts::PI;

/// How many deviations below the mean the bound is: scikit-optimize's default.
const KAPPA: f64 = 1.96;
/// Below this many deviations series take the place of differences of small numbers.
const FAR: f64 = -5.0;

/// A promise.
#[derive(Clone, Copy)]
pub(crate) enum Promise {
    /// The expected improvement.
    Improvement,
    /// The probability of one.
    Chance,
    /// The lower confidence bound.
    Bound,
}

impl Promise {
    /// The worth of an expected value and its deviation, beside the least value so far.
    pub(crate) fn worth(self, least: f64, mean: f64, deviation: f64) -> f64 {
        let z = (least - mean) / deviation;
        let series = |second: f64| -0.5 * (z * z + (2.0 * PI).ln()) + (1.0 - second / (z * z)).ln();
        match self {
            Self::Bound => KAPPA * deviation - mean,
            Self::Improvement if z < FAR => deviation.ln() + series(3.0) - 2.0 * (-z).ln(),
            Self::Improvement => (deviation * (z * share_below(z) + density(z))).ln(),
            Self::Chance if z < FAR => series(1.0) - (-z).ln(),
            Self::Chance => share_below(z).ln(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worth_is_as_published_and_never_runs_out() {
        let [gain, chance, bound] = [Promise::Improvement, Promise::Chance, Promise::Bound]
            .map(|promise| promise.worth(0.0, 0.5, 0.25));
        // Of two deviations: 0.25 times 0.00849, 0.02275, and 1.96 * 0.25 - 0.5.
        assert!((gain.exp() - 0.25 * 0.008_490_7).abs() < 1e-6);
        assert!((chance.exp() - 0.022_750_1).abs() < 1e-6);
        assert!((bound + 0.01).abs() < 1e-12);
        for promise in [Promise::Improvement, Promise::Chance] {
            let at = |mean: f64| promise.worth(0.0, mean, 1.0);
            assert!((at(4.999_999) - at(5.000_001)).abs() < 0.03);
            assert!(at(60.0) > at(61.0) && at(61.0).is_finite());
        }
    }
}
