//! A search parameter as people write it: `lr=1e-4..1e-1:log`, `units=16..128:step=16`, `opt=sgd,adam`.

use katlab_analysis::Value;
use katlab_analysis::region::Narrowed;
use katlab_katib::space::Domain;
use katlab_katib::types::{Distribution, FeasibleSpace, ParameterSpec, ParameterType};

use crate::magics::MagicError;

/// Reads one.
///
/// # Errors
/// When it makes no sense; the hint shows how one is written.
pub fn parse(text: &str) -> Result<ParameterSpec, MagicError> {
    let wrong = |reason: String| {
        MagicError::usage(format!("the parameter `{text}` {reason}"))
            .hint("write it such as lr=1e-4..0.1:log, units=16..128:step=16 or optimizer=sgd,adam")
    };
    let Some((name, values)) = text.split_once('=') else {
        return Err(wrong("has no values".to_owned()));
    };
    let (name, values) = (name.trim(), values.trim());
    if name.trim_start_matches('-').is_empty() {
        return Err(wrong("has no name".to_owned()));
    }
    let (values, options) = match values.split_once(':') {
        Some((values, options)) if values.contains("..") => (values, Some(options)),
        _ => (values, None),
    };
    let spec = match values.split_once("..") {
        Some((low, high)) => range(name, low.trim(), high.trim(), options).map_err(wrong)?,
        None => list(name, values).map_err(wrong)?,
    };
    Domain::of(&spec).map_err(|error| wrong(format!("cannot be searched: {error}")))?;
    Ok(spec)
}

fn range(
    name: &str,
    low: &str,
    high: &str,
    options: Option<&str>,
) -> Result<ParameterSpec, String> {
    for end in [low, high] {
        if !end.parse::<f64>().is_ok_and(f64::is_finite) {
            return Err(format!("goes from or to `{end}`, which is no number"));
        }
    }
    let whole = [low, high].iter().all(|end| end.parse::<i64>().is_ok());
    let mut spec = ParameterSpec {
        name: name.to_owned(),
        parameter_type: if whole {
            ParameterType::Int
        } else {
            ParameterType::Double
        },
        feasible_space: FeasibleSpace {
            min: low.to_owned(),
            max: high.to_owned(),
            ..FeasibleSpace::default()
        },
    };
    for option in options.into_iter().flat_map(|options| options.split(':')) {
        match option.split_once('=') {
            None if option == "log" => {
                spec.feasible_space.distribution = Distribution::LogUniform;
            }
            None if option == "double" => spec.parameter_type = ParameterType::Double,
            None if option == "int" && whole => spec.parameter_type = ParameterType::Int,
            Some(("step", step)) => {
                if step.parse::<i64>().is_err() {
                    spec.parameter_type = ParameterType::Double;
                }
                step.clone_into(&mut spec.feasible_space.step);
            }
            _ => {
                return Err(format!(
                    "has the option `{option}`; there are log, step=STEP, int (of whole numbers) and double"
                ));
            }
        }
    }
    Ok(spec)
}

fn list(name: &str, values: &str) -> Result<ParameterSpec, String> {
    let list: Vec<String> = values
        .split(',')
        .map(|value| value.trim().to_owned())
        .collect();
    if list.iter().any(String::is_empty) {
        return Err("has an empty value".to_owned());
    }
    let numbers = list.iter().all(|value| value.parse::<f64>().is_ok());
    Ok(ParameterSpec {
        name: name.to_owned(),
        parameter_type: if numbers {
            ParameterType::Discrete
        } else {
            ParameterType::Categorical
        },
        feasible_space: FeasibleSpace {
            list,
            ..FeasibleSpace::default()
        },
    })
}

/// A parameter with less of its space, its ends on round numbers or on its steps.
pub fn narrow(spec: &ParameterSpec, narrowed: &Narrowed) -> ParameterSpec {
    let mut spec = spec.clone();
    let space = &mut spec.feasible_space;
    match narrowed {
        Narrowed::Same => {}
        Narrowed::Values(values) => space.list.retain(|text| {
            values.iter().any(|value| match value {
                Value::Number(number) => text.parse() == Ok(*number),
                Value::Text(kept) => kept == text,
            })
        }),
        Narrowed::Range { low, high } => {
            let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
            let (least, most) = (number(&space.min), number(&space.max));
            let whole = spec.parameter_type == ParameterType::Int;
            let step = Some(number(&space.step)).filter(|step| *step > 0.0);
            let (low, high) = match step {
                Some(step) => {
                    let on = |value: f64, round: fn(f64) -> f64| {
                        least + round((value - least) / step) * step
                    };
                    (on(*low, f64::floor), on(*high, f64::ceil))
                }
                None if whole => (low.floor(), high.ceil()),
                None => (rounded(*low, f64::floor), rounded(*high, f64::ceil)),
            };
            // An end that did not move stays as it is written.
            if low > least {
                space.min = written(low);
            }
            if high < most {
                space.max = written(high);
            }
        }
    }
    spec
}

/// To three digits that count.
fn rounded(value: f64, round: fn(f64) -> f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let unit = 10f64.powi(2 - value.abs().log10().floor() as i32);
    round(value * unit) / unit
}

/// Without the last digits, which are noise of the arithmetic.
fn written(value: f64) -> String {
    let short = format!("{value:.12}");
    let text = short.trim_end_matches('0').trim_end_matches('.');
    if text.parse::<f64>().is_ok_and(|number| number != 0.0) || value == 0.0 {
        text.to_owned()
    } else {
        format!("{value:e}")
    }
}

/// The space in words: `0.001 to 0.1, logUniform` or `sgd, adam`.
pub fn words(spec: &ParameterSpec) -> String {
    let space = &spec.feasible_space;
    if !space.list.is_empty() {
        return space.list.join(", ");
    }
    let mut words = format!("{} to {}", space.min, space.max);
    if !space.step.is_empty() {
        words.push_str(&format!(" by {}", space.step));
    }
    if !matches!(space.distribution.as_str(), "" | "uniform") {
        words.push_str(&format!(", {}", space.distribution));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_written_as_people_think_of_them() {
        for (text, kind, shown) in [
            ("lr=0.01..0.05", "double", "0.01 to 0.05"),
            ("lr=1e-4..1e-1:log", "double", "1e-4 to 1e-1, logUniform"),
            ("units=16..128", "int", "16 to 128"),
            ("units=16..128:step=16", "int", "16 to 128 by 16"),
            ("rate=0..1:double:step=0.25", "double", "0 to 1 by 0.25"),
            ("--opt=sgd, adam", "categorical", "sgd, adam"),
            ("batch=32,64", "discrete", "32, 64"),
            ("image=a:1,b:2", "categorical", "a:1, b:2"),
        ] {
            let spec = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(spec.parameter_type.as_str(), kind, "{text}");
            assert_eq!(words(&spec), shown, "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_with_how_it_is_written() {
        for (text, said) in [
            ("lr", "has no values"),
            ("=1..2", "has no name"),
            ("lr=a..b", "`a`, which is no number"),
            ("lr=0.1..0.01", "cannot be searched"),
            ("lr=0..1:log", "cannot be searched"),
            ("lr=0.1..1:logarithmic", "`logarithmic`"),
            ("opt=sgd,,adam", "an empty value"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message.contains(said), "{text}: {error}");
            assert!(error.hint.unwrap_or_default().contains("lr=1e-4..0.1:log"));
        }
    }

    #[test]
    fn a_narrower_space_ends_on_round_numbers_within_the_old_one() {
        let range = |low, high| Narrowed::Range { low, high };
        for (text, narrowed, shown) in [
            (
                "lr=1e-4..1:log",
                range(0.012_345, 0.098_765),
                "0.0123 to 0.0988, logUniform",
            ),
            (
                "lr=1e-4..1:log",
                range(1e-4, 0.5),
                "1e-4 to 0.5, logUniform",
            ),
            (
                "lr=1e-9..1:log",
                range(1.234e-8, 1.0),
                "0.0000000123 to 1, logUniform",
            ),
            ("units=8..128", range(10.2, 99.9), "10 to 100"),
            ("units=8..128:step=8", range(20.0, 70.0), "16 to 72 by 8"),
            (
                "batch=16,32,64",
                Narrowed::Values(vec![Value::Number(32.0)]),
                "32",
            ),
            (
                "opt=sgd,adam",
                Narrowed::Values(vec![Value::Text("adam".into())]),
                "adam",
            ),
            ("opt=sgd,adam", Narrowed::Same, "sgd, adam"),
        ] {
            let spec = narrow(&parse(text).unwrap(), &narrowed);
            assert_eq!(words(&spec), shown, "{text}");
        }
    }
}
