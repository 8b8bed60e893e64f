//! From values to places: linear, logarithmic and ordinal axes.

/// Digits that tell values apart without noise: `0.05`, `100`, `1.00191e-7`.
pub(crate) fn label(value: f64) -> String {
    let size = value.abs();
    if value != 0.0 && !(1e-4..1e6).contains(&size) {
        let rounded = format!("{value:.5e}").parse().unwrap_or(value);
        return format!("{rounded:e}");
    }
    // Of small numbers as many digits as of others.
    let decimals = 4 + [0.1, 0.01, 0.001].iter().filter(|end| size < **end).count();
    let text = format!("{value:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A scale from the smallest to the largest number there is would be infinitely wide.
const WIDEST: f64 = 1e300;

/// Places values between 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scale {
    Linear { low: f64, high: f64 },
    Logarithmic { low: f64, high: f64 },
}

impl Scale {
    /// A scale that holds all values. A single value lies in the middle. Falls back to a linear scale
    /// where a logarithmic one cannot hold a value.
    pub(crate) fn over(values: impl Iterator<Item = f64> + Clone, logarithmic: bool) -> Self {
        // What is not finite has no place, and the widest scale still has a width.
        let values = values.filter(|value| value.is_finite());
        let low = values.clone().fold(f64::INFINITY, f64::min).max(-WIDEST);
        let high = values.fold(f64::NEG_INFINITY, f64::max).min(WIDEST);
        let (low, high) = match (low <= high, low == high) {
            (false, _) => (0.0, 1.0),
            (_, true) if logarithmic && low > 0.0 => (low / 2.0, high * 2.0),
            (_, true) => {
                let room = (low.abs() * 0.05).max(0.5);
                (low - room, high + room)
            }
            _ => (low, high),
        };
        if logarithmic && low > 0.0 {
            Self::Logarithmic { low, high }
        } else {
            Self::Linear { low, high }
        }
    }

    /// The same scale with some room at both ends, so that marks do not touch the frame.
    pub(crate) fn padded(self) -> Self {
        match self {
            Self::Linear { low, high } => {
                let room = (high - low) * 0.05;
                Self::Linear {
                    low: low - room,
                    high: high + room,
                }
            }
            logarithmic => logarithmic,
        }
    }

    pub(crate) fn place(&self, value: f64) -> f64 {
        let place = match *self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Logarithmic { low, high } => (value / low).ln() / (high / low).ln(),
        };
        if place.is_nan() {
            0.5
        } else {
            place.clamp(0.0, 1.0)
        }
    }

    /// The value at a place.
    pub(crate) fn at(&self, place: f64) -> f64 {
        match *self {
            Self::Linear { low, high } => low + place * (high - low),
            Self::Logarithmic { low, high } => low * (high / low).powf(place),
        }
    }

    /// Its ends.
    pub(crate) fn ends(&self) -> (f64, f64) {
        match *self {
            Self::Linear { low, high } | Self::Logarithmic { low, high } => (low, high),
        }
    }

    pub(crate) fn is_logarithmic(&self) -> bool {
        matches!(self, Self::Logarithmic { .. })
    }

    /// About `count` round values within the scale.
    pub(crate) fn ticks(&self, count: usize) -> Vec<f64> {
        match *self {
            Self::Linear { low, high } => {
                let rough = (high - low) / count.max(1) as f64;
                let unit = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0]
                    .map(|factor| factor * unit)
                    .into_iter()
                    .find(|step| *step >= rough);
                let step = step.unwrap_or(unit * 10.0);
                if !(step.is_normal() && low + step > low) {
                    return vec![low, high];
                }
                let first = (low / step).ceil() as i64;
                let last = (high / step + 1e-9).floor() as i64;
                (first..=last).map(|index| index as f64 * step).collect()
            }
            Self::Logarithmic { low, high } => {
                let (first, last) = (
                    (low.log10() - 1e-9).ceil() as i32,
                    (high.log10() + 1e-9).floor() as i32,
                );
                let every = ((last - first) / (2 * count.max(1) as i32)).max(1);
                let decades: Vec<f64> = (first..=last)
                    .step_by(every as usize)
                    .map(|power| 10f64.powi(power))
                    .collect();
                if decades.len() >= 2 {
                    decades
                } else {
                    vec![low, high]
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ticks_are_round_numbers_inside_the_scale() {
        let scale = Scale::Linear {
            low: 0.31,
            high: 0.98,
        };
        let labels: Vec<String> = scale.ticks(4).into_iter().map(label).collect();
        assert_eq!(labels, ["0.4", "0.6", "0.8"]);
        let decades = Scale::Logarithmic {
            low: 0.0005,
            high: 0.5,
        }
        .ticks(4);
        assert_eq!(
            decades.into_iter().map(label).collect::<Vec<_>>(),
            ["0.001", "0.01", "0.1"]
        );
    }

    #[test]
    fn labels_have_no_more_digits_than_a_reader_has_use_for() {
        for (value, text) in [
            (1.001_910_129_886_636_8e-5, "1.00191e-5"),
            (0.000_234_56, "0.0002346"),
            (0.1 + 0.2, "0.3"),
            (0.987_654_3, "0.9877"),
            (1e-7, "1e-7"),
            (0.0, "0"),
            (1_234_567.89, "1.23457e6"),
            (123_456.0, "123456"),
        ] {
            assert_eq!(label(value), text);
        }
    }

    proptest! {
        #[test]
        fn every_value_lies_on_its_scale(values in prop::collection::vec(any::<f64>(), 1..20), log in any::<bool>()) {
            let scale = Scale::over(values.iter().copied(), log);
            for value in &values {
                let place = scale.place(*value);
                prop_assert!((-1e-6..=1.0 + 1e-6).contains(&place), "{value} -> {place} on {scale:?}");
            }
            let ticks = scale.ticks(5);
            prop_assert!(ticks.len() < 400 && ticks.iter().all(|tick| tick.is_finite()), "{ticks:?}");
        }
    }
}
