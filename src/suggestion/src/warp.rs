//! Measured values as a Gaussian process likes them: with mean 0 and deviation 1, and
//! without a long tail of bad ones, beside which the good ones would all look the same.
//!
//! I.-K. Yeo, R. A. Johnson, *A new family of power transformations to improve normality or
//! symmetry*, Biometrika 87 (2000), with the power that makes the values likeliest, as in
//! A. Cowen-Rivers et al., *HEBO: pushing the limits of sample-efficient hyper-parameter
//! optimisation*, JAIR 74 (2022). Powers above 1 are not taken: they would press the good
//! values together instead.

/// The least power looked at, and the steps to it from 1.
const LEAST: f64 = -4.0;
const STEPS: u32 = 50;

pub(crate) fn warp(values: &[f64]) -> Vec<f64> {
    let values = standard(values);
    let count = values.len() as f64;
    let stretch: f64 = values
        .iter()
        .map(|value| value.signum() * value.abs().ln_1p())
        .sum();
    let likelihood = |power: f64| {
        let warped: Vec<f64> = values.iter().map(|value| powered(*value, power)).collect();
        let mean = warped.iter().sum::<f64>() / count;
        let variance = warped.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
        (power - 1.0) * stretch - 0.5 * count * variance.max(f64::MIN_POSITIVE).ln()
    };
    let best = (0..=STEPS)
        .map(|step| 1.0 - (1.0 - LEAST) * f64::from(step) / f64::from(STEPS))
        .map(|power| (likelihood(power), power))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map_or(1.0, |(_, power)| power);
    let warped: Vec<f64> = values.iter().map(|value| powered(*value, best)).collect();
    standard(&warped)
}

/// Values with mean 0 and deviation 1.
pub(crate) fn standard(values: &[f64]) -> Vec<f64> {
    let count = values.len() as f64;
    let mean = values.iter().map(|value| value / count).sum::<f64>();
    let variance = values
        .iter()
        .map(|v| (v - mean).powi(2) / count)
        .sum::<f64>();
    let deviation = if variance.is_finite() && variance > 0.0 {
        variance.sqrt()
    } else {
        1.0
    };
    values.iter().map(|v| (v - mean) / deviation).collect()
}

/// Yeo and Johnson's transformation.
fn powered(value: f64, power: f64) -> f64 {
    let of_size = |size: f64, power: f64| {
        if power.abs() < 1e-9 {
            size.ln_1p()
        } else {
            ((1.0 + size).powf(power) - 1.0) / power
        }
    };
    if value < 0.0 {
        -of_size(-value, 2.0 - power)
    } else {
        of_size(value, power)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_tail_is_drawn_in_and_the_order_stays() {
        let tail: Vec<f64> = (0..40)
            .map(|index| (f64::from(index) / 4.0).exp())
            .collect();
        let good = |values: &[f64]| values[10] - values[0];
        let (plain, warped) = (standard(&tail), warp(&tail));
        assert!(good(&warped) > 5.0 * good(&plain));
        assert!(warped.is_sorted());
        // A tail of good values is what the search is after, and stays.
        let upside_down: Vec<f64> = tail.iter().map(|value| -value).collect();
        let kept = standard(&upside_down);
        assert!(
            warp(&upside_down)
                .iter()
                .zip(&kept)
                .all(|(a, b)| (a - b).abs() < 1e-9)
        );
        assert_eq!(warp(&[3.0; 4]), [0.0; 4]);
    }
}
