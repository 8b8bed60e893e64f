//! How much may be kept.

/// How much is kept where nobody says otherwise, in bytes.
pub const DEFAULT_LIMIT: u64 = 500_000_000;

/// Reads an amount as it is shown: `500MB`, `1.5 GB`, `64MiB`, plain bytes, `0`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_limit(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is no amount; write 500MB, 2GB or 64MiB, or 0 to keep nothing");
    let lower = text.trim().to_ascii_lowercase();
    let end = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let number: f64 = lower[..end].parse().map_err(|_| wrong())?;
    let unit = lower[end..].trim().trim_end_matches('b');
    let (unit, step) = match unit.strip_suffix('i') {
        Some(unit) => (unit, 1024.0_f64),
        None => (unit, 1000.0),
    };
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    let bytes = number * step.powi(power);
    if bytes > 9e18 {
        return Err(wrong());
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of a byte is none, and it is in range"
    )]
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_they_are_shown() {
        for (text, bytes) in [
            ("0", 0),
            ("500MB", DEFAULT_LIMIT),
            (" 1.5 GB ", 1_500_000_000),
            ("64MiB", 64 << 20),
            ("10k", 10_000),
            ("123", 123),
        ] {
            assert_eq!(parse_limit(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "12x", "-5g", "1.2.3g", "99999999t"] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }
}
