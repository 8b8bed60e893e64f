//! The normal distribution.

use std::f64::consts::{PI, SQRT_2};

/// The share of a standard normal distribution below a number.
pub(crate) fn share_below(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// The density of a standard normal distribution.
pub(crate) fn density(x: f64) -> f64 {
    (-0.5 * x * x).exp() / (2.0 * PI).sqrt()
}

/// The number below which a share of a standard normal distribution lies, by halving: it is
/// asked for a few times per suggestion.
pub(crate) fn quantile(share: f64) -> f64 {
    let (mut low, mut high) = (-9.0, 9.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if share_below(middle) < share {
            low = middle;
        } else {
            high = middle;
        }
    }
    (low + high) / 2.0
}
