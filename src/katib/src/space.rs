//! What a search parameter's values are, once its strings are read.
//!
//! Katib's webhook does not look inside `min`, `max` and `step`; its algorithms stumble over
//! them later, some for ever. So they are read here, before anything runs. Steps are
//! anchored at `min`, which keeps every value inside the range (Katib's random search
//! anchors at zero and leaves it).

use crate::types::{Distribution, ParameterSpec, ParameterType};
use std::cmp::Ordering;

/// The values of one parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Domain {
    /// Any real number of a range.
    Real {
        /// Smallest value.
        min: f64,
        /// Greatest value.
        max: f64,
        /// How it is drawn.
        distribution: Distribution,
    },
    /// Real numbers at equal distances.
    Steps {
        /// Smallest value.
        min: f64,
        /// Distance.
        step: f64,
        /// How many.
        count: u64,
        /// Digits after the point that `min` and `step` need.
        decimals: usize,
        /// How they are drawn.
        distribution: Distribution,
    },
    /// Whole numbers at equal distances.
    Whole {
        /// Smallest value.
        min: i64,
        /// Distance.
        step: i64,
        /// How many.
        count: u64,
        /// How they are drawn.
        distribution: Distribution,
    },
    /// Listed texts.
    List(Vec<String>),
}

/// Why a parameter has no values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// A bound or step is no number of the parameter's type.
    #[error("parameter {parameter}: {field} is {text:?}, which is not a {wanted}")]
    NotANumber {
        /// Which parameter.
        parameter: String,
        /// `min`, `max`, `step` or `list`.
        field: &'static str,
        /// What stands there.
        text: String,
        /// `number` or `whole number`.
        wanted: &'static str,
    },
    /// The range is empty.
    #[error("parameter {parameter}: min {min} is greater than max {max}")]
    Reversed {
        /// Which parameter.
        parameter: String,
        /// Lower end.
        min: String,
        /// Upper end.
        max: String,
    },
    /// The step leads nowhere.
    #[error("parameter {parameter}: step {step} is not greater than 0")]
    Step {
        /// Which parameter.
        parameter: String,
        /// What stands there.
        step: String,
    },
    /// A logarithmic distribution needs positive numbers.
    #[error("parameter {parameter}: {distribution} needs min greater than 0, but min is {min}")]
    NotPositive {
        /// Which parameter.
        parameter: String,
        /// The distribution.
        distribution: Distribution,
        /// Lower end.
        min: String,
    },
    /// There is nothing to choose from.
    #[error("parameter {parameter}: feasibleSpace.list is empty")]
    EmptyList {
        /// Which parameter.
        parameter: String,
    },
    /// No algorithm knows the type.
    #[error("parameter {parameter}: no algorithm can search the type {kind:?}")]
    Type {
        /// Which parameter.
        parameter: String,
        /// The type.
        kind: String,
    },
}

impl SpaceError {
    /// The field of `feasibleSpace` at fault, as far as there is one.
    pub fn field(&self) -> &'static str {
        match self {
            Self::NotANumber { field, .. } => field,
            Self::Reversed { .. } | Self::NotPositive { .. } => "min",
            Self::Step { .. } => "step",
            Self::EmptyList { .. } => "list",
            Self::Type { .. } => "parameterType",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::NotANumber { wanted, .. } => {
                    return Some(format!("write a {wanted} in quotes"));
                }
                Self::Reversed { .. } => "swap min and max",
                Self::Step { .. } => "give a positive step, or leave it out",
                Self::NotPositive { .. } => "raise min above 0, or use distribution: uniform",
                Self::EmptyList { .. } => "list the values in feasibleSpace.list",
                Self::Type { .. } => "use double, int, discrete or categorical",
            }
            .to_owned(),
        )
    }
}

impl Domain {
    /// Reads a parameter.
    ///
    /// # Errors
    /// When its bounds, step, list or type make no sense.
    pub fn of(parameter: &ParameterSpec) -> Result<Self, SpaceError> {
        match parameter.parameter_type {
            ParameterType::Double => real(parameter),
            ParameterType::Int => whole(parameter),
            ParameterType::Categorical | ParameterType::Discrete => list(parameter),
            ParameterType::Unknown | ParameterType::Other(_) => Err(SpaceError::Type {
                parameter: parameter.name.clone(),
                kind: parameter.parameter_type.to_string(),
            }),
        }
    }

    /// How many values there are, when they can be counted.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Real { min, max, .. } => (min == max).then_some(1),
            Self::Steps { count, .. } | Self::Whole { count, .. } => Some(*count),
            Self::List(items) => Some(items.len() as u64),
        }
    }

    /// The value at a position below [`Domain::count`], written as Katib writes it.
    pub fn value(&self, position: u64) -> String {
        match self {
            Self::Real { min, .. } => python_float(*min),
            Self::Steps {
                min,
                step,
                decimals,
                ..
            } => {
                let value = min + position as f64 * step;
                // 0.1 + 2 * 0.1 is meant to be 0.3.
                let rounded = format!("{value:.decimals$}").parse().unwrap_or(value);
                python_float(rounded)
            }
            Self::Whole { min, step, .. } => {
                let offset = i128::from(position) * i128::from(*step);
                (i128::from(*min) + offset).to_string()
            }
            Self::List(items) => usize::try_from(position)
                .ok()
                .and_then(|position| items.get(position))
                .cloned()
                .unwrap_or_default(),
        }
    }

    /// Whether a value, as it is written, is one of the domain's.
    pub fn contains(&self, text: &str) -> bool {
        match self {
            Self::Real { min, max, .. } => text
                .parse::<f64>()
                .is_ok_and(|value| (*min..=*max).contains(&value)),
            Self::Steps {
                min, step, count, ..
            } => text.parse::<f64>().is_ok_and(|value| {
                let position = ((value - min) / step).round();
                position >= 0.0
                    && position < *count as f64
                    && self.value(position as u64).parse() == Ok(value)
            }),
            Self::Whole {
                min, step, count, ..
            } => text.parse::<i64>().is_ok_and(|value| {
                let offset = i128::from(value) - i128::from(*min);
                let step = i128::from(*step);
                offset >= 0 && offset % step == 0 && offset / step < i128::from(*count)
            }),
            Self::List(items) => items.iter().any(|item| item == text),
        }
    }
}

/// How many combinations a space has; `None` when it has a real parameter or too many.
pub fn combinations<'d>(domains: impl IntoIterator<Item = &'d Domain>) -> Option<u64> {
    domains
        .into_iter()
        .try_fold(1u64, |product, domain| product.checked_mul(domain.count()?))
}

/// A float as Python's `str()` writes it: `0.001`, `9.5e-05`, `1.0`, `1e+16`.
pub fn python_float(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return format!("{value:?}").to_lowercase();
    }
    let magnitude = value.abs();
    if (1e-4..1e16).contains(&magnitude) {
        return format!("{value:?}");
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}

fn float(parameter: &ParameterSpec, field: &'static str, text: &str) -> Result<f64, SpaceError> {
    crate::metrics::number(text.trim()).ok_or_else(|| SpaceError::NotANumber {
        parameter: parameter.name.clone(),
        field,
        text: text.to_owned(),
        wanted: "number",
    })
}

fn integer(parameter: &ParameterSpec, field: &'static str, text: &str) -> Result<i64, SpaceError> {
    text.trim().parse().map_err(|_| SpaceError::NotANumber {
        parameter: parameter.name.clone(),
        field,
        text: text.to_owned(),
        wanted: "whole number",
    })
}

fn check_range(parameter: &ParameterSpec, min: f64, max: f64) -> Result<(), SpaceError> {
    let space = &parameter.feasible_space;
    let name = || parameter.name.clone();
    if min.partial_cmp(&max) == Some(Ordering::Greater) {
        return Err(SpaceError::Reversed {
            parameter: name(),
            min: space.min.clone(),
            max: space.max.clone(),
        });
    }
    let logarithmic = matches!(
        space.distribution,
        Distribution::LogUniform | Distribution::LogNormal
    );
    if logarithmic && min <= 0.0 {
        return Err(SpaceError::NotPositive {
            parameter: name(),
            distribution: space.distribution.clone(),
            min: space.min.clone(),
        });
    }
    Ok(())
}

fn bad_step(parameter: &ParameterSpec) -> SpaceError {
    SpaceError::Step {
        parameter: parameter.name.clone(),
        step: parameter.feasible_space.step.clone(),
    }
}

fn real(parameter: &ParameterSpec) -> Result<Domain, SpaceError> {
    let space = &parameter.feasible_space;
    let min = float(parameter, "min", &space.min)?;
    let max = float(parameter, "max", &space.max)?;
    check_range(parameter, min, max)?;
    let distribution = space.distribution.clone();
    if space.step.is_empty() {
        return Ok(Domain::Real {
            min,
            max,
            distribution,
        });
    }
    let step = float(parameter, "step", &space.step)?;
    if step <= 0.0 {
        return Err(bad_step(parameter));
    }
    // A little more than nothing, so that 0.9 is three steps of 0.2 above 0.3.
    let intervals = ((max - min) / step + 1e-9).floor();
    if intervals >= 9e15 {
        return Err(bad_step(parameter));
    }
    Ok(Domain::Steps {
        min,
        step,
        count: intervals as u64 + 1,
        decimals: decimals(min).max(decimals(step)),
        distribution,
    })
}

fn decimals(value: f64) -> usize {
    let text = format!("{value}");
    text.split_once('.').map_or(0, |(_, digits)| digits.len())
}

fn whole(parameter: &ParameterSpec) -> Result<Domain, SpaceError> {
    let space = &parameter.feasible_space;
    let min = integer(parameter, "min", &space.min)?;
    let max = integer(parameter, "max", &space.max)?;
    check_range(parameter, min as f64, max as f64)?;
    let step = if space.step.is_empty() {
        1
    } else {
        integer(parameter, "step", &space.step)?
    };
    if step <= 0 || min > max {
        return Err(bad_step(parameter));
    }
    let intervals = (i128::from(max) - i128::from(min)) / i128::from(step);
    let Ok(count) = u64::try_from(intervals + 1) else {
        return Err(bad_step(parameter));
    };
    Ok(Domain::Whole {
        min,
        step,
        count,
        distribution: space.distribution.clone(),
    })
}

fn list(parameter: &ParameterSpec) -> Result<Domain, SpaceError> {
    let items = &parameter.feasible_space.list;
    if items.is_empty() {
        return Err(SpaceError::EmptyList {
            parameter: parameter.name.clone(),
        });
    }
    if parameter.parameter_type == ParameterType::Discrete {
        for item in items {
            float(parameter, "list", item)?;
        }
    }
    // Listed twice is still one value.
    let mut values: Vec<String> = Vec::with_capacity(items.len());
    for item in items {
        if !values.contains(item) {
            values.push(item.clone());
        }
    }
    Ok(Domain::List(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn domain(kind: &str, space: Value) -> Result<Domain, SpaceError> {
        let parameter = json!({"name": "p", "parameterType": kind, "feasibleSpace": space});
        Domain::of(&serde_json::from_value(parameter).unwrap())
    }

    fn values(kind: &str, space: Value) -> Vec<String> {
        let domain = domain(kind, space).unwrap();
        (0..domain.count().unwrap())
            .map(|position| domain.value(position))
            .collect()
    }

    #[test]
    fn steps_are_anchored_at_min() {
        assert_eq!(
            values("double", json!({"min": "0.5", "max": "0.9", "step": "0.2"})),
            ["0.5", "0.7", "0.9"]
        );
        assert_eq!(
            values("int", json!({"min": "1", "max": "10", "step": "4"})),
            ["1", "5", "9"]
        );
        assert_eq!(
            values(
                "double",
                json!({"min": "0.1", "max": "0.35", "step": "0.1"})
            ),
            ["0.1", "0.2", "0.3"]
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_field() {
        for (kind, space, field) in [
            ("double", json!({"min": "a", "max": "1"}), "min"),
            ("int", json!({"min": "1", "max": "1.5"}), "max"),
            ("int", json!({"min": "5", "max": "1"}), "min"),
            ("int", json!({"min": "1", "max": "5", "step": "0"}), "step"),
            (
                "double",
                json!({"min": "0", "max": "1", "distribution": "logUniform"}),
                "min",
            ),
            ("categorical", json!({}), "list"),
            ("discrete", json!({"list": ["a"]}), "list"),
            ("unknown", json!({}), "parameterType"),
        ] {
            assert_eq!(
                domain(kind, space.clone()).unwrap_err().field(),
                field,
                "{space}"
            );
        }
    }

    #[test]
    fn floats_are_written_as_python_writes_them() {
        for (value, text) in [
            (0.001, "0.001"),
            (0.00914, "0.00914"),
            (9.5e-5, "9.5e-05"),
            (1e-5, "1e-05"),
            (1.0, "1.0"),
            (1e16, "1e+16"),
            (1.5e-120, "1.5e-120"),
            (123_456_789.25, "123456789.25"),
            (0.0, "0.0"),
        ] {
            assert_eq!(python_float(value), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn every_value_of_a_domain_is_in_it(
            min in -1000i32..1000, width in 0i32..500, step in 1i32..40, position in 0u64..1000, tenths in proptest::bool::ANY,
        ) {
            let text = |n: i32| if tenths { format!("{}", f64::from(n) / 10.0) } else { n.to_string() };
            let kind = if tenths { "double" } else { "int" };
            let domain = domain(kind, json!({"min": text(min), "max": text(min + width), "step": text(step)})).unwrap();
            let position = position % domain.count().unwrap();
            proptest::prop_assert!(domain.contains(&domain.value(position)));
        }

        #[test]
        fn nothing_makes_it_panic(kind in "double|int|discrete|categorical|x", min in "[-0-9.e+]{0,20}", max in "[-0-9.e+]{0,20}", step in "[-0-9.e+]{0,6}") {
            if let Ok(domain) = domain(&kind, json!({"min": min, "max": max, "step": step, "list": [min]})) {
                let _ = domain.value(0);
                let _ = domain.value(u64::MAX);
            }
        }
    }
}
