//! What a literal means beside a column of a kind.

use jiff::{Span, SpanRelativeTo};

use super::Kind;

/// A literal: its text, and the number it stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Literal {
    /// In small letters, for comparisons go by it.
    pub text: String,
    pub number: Option<f64>,
}

/// Reads a literal for a column.
///
/// # Errors
/// What should have been written.
pub(super) fn read(text: &str, kind: Kind) -> Result<Literal, String> {
    let number =
        match kind {
            Kind::Unknown | Kind::Text => text.parse().ok(),
            Kind::Number => {
                let number = text.parse().ok();
                if number.is_none() && !text.eq_ignore_ascii_case("unavailable") {
                    return Err("holds numbers; write one, such as 0.9 or 1e-5".to_owned());
                }
                number
            }
            Kind::Duration => Some(duration(text).ok_or(
                "holds durations; write one, such as 90s, 5m, 1h30m or 2d (a number is seconds)",
            )?),
            Kind::Size => Some(size(text).ok_or(
                "holds sizes; write one, such as 500MB, 1.5GB or 512MiB (a number is bytes)",
            )?),
            Kind::Truth => None,
        };
    let mut text = text.to_lowercase();
    if kind == Kind::Truth {
        text = match text.as_str() {
            "yes" | "true" => "true".to_owned(),
            "no" | "false" => "false".to_owned(),
            _ => return Err("holds yes or no".to_owned()),
        };
    }
    Ok(Literal { text, number })
}

/// Whether a bare word can only be a value.
pub(super) fn is_value(text: &str) -> bool {
    text.parse::<f64>().is_ok()
        || (text.starts_with(|char: char| char.is_ascii_digit())
            && (duration(text).is_some() || size(text).is_some()))
}

/// Seconds; a bare number counts as seconds.
fn duration(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    let span: Span = text.parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Some(duration.as_secs_f64())
}

/// Bytes; a bare number counts as bytes.
fn size(text: &str) -> Option<f64> {
    let unit = text.trim_start_matches(|char: char| char.is_ascii_digit() || char == '.');
    let number: f64 = text[..text.len() - unit.len()].parse().ok()?;
    let factor = match unit.to_lowercase().trim_end_matches('b') {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" => 1024.0,
        "mi" => 1024f64.powi(2),
        "gi" => 1024f64.powi(3),
        "ti" => 1024f64.powi(4),
        _ => return None,
    };
    Some(number * factor)
}
