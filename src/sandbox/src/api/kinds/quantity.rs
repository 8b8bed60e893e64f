//! Quantities: `500m`, `1Gi`, `0.5`. Read exactly, written as Kubernetes writes them.

use serde_json::{Value, json};

/// The message of Kubernetes for anything that is none.
pub(super) const MALFORMED: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// An amount, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(i128);

const NANO: i128 = 1_000_000_000;

impl Quantity {
    /// Reads a quantity; rounds up to billionths.
    pub fn parse(text: &str) -> Option<Quantity> {
        let split = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+' || c == '-'))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(split);
        let (negative, digits) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0
            || whole.len() > 18
            || !all_digits(whole)
            || !all_digits(fraction)
        {
            return None;
        }
        // Scale in billionths, as a fraction.
        let power = |n: u32| 10_i128.checked_pow(n);
        let (multiply, divide): (i128, i128) = match suffix {
            "n" => (1, 1),
            "u" => (power(3)?, 1),
            "m" => (power(6)?, 1),
            "" => (NANO, 1),
            "k" => (power(12)?, 1),
            "M" => (power(15)?, 1),
            "G" => (power(18)?, 1),
            "T" => (power(21)?, 1),
            "P" => (power(24)?, 1),
            "E" => (power(27)?, 1),
            "Ki" => (NANO << 10, 1),
            "Mi" => (NANO << 20, 1),
            "Gi" => (NANO << 30, 1),
            "Ti" => (NANO << 40, 1),
            "Pi" => (NANO << 50, 1),
            "Ei" => (NANO << 60, 1),
            _ => {
                let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
                match exponent {
                    0..=18 => (NANO.checked_mul(power(exponent as u32)?)?, 1),
                    -18..0 => (NANO, power(exponent.unsigned_abs())?),
                    _ => return None,
                }
            }
        };
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = power(fraction.len() as u32)?;
        let number: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let numerator = number.checked_mul(multiply)?;
        let denominator = scale.checked_mul(divide)?;
        let value = numerator.div_euclid(denominator) + i128::from(numerator % denominator != 0);
        Some(Quantity(if negative { -value } else { value }))
    }

    /// Billionths.
    pub fn nanos(self) -> i128 {
        self.0
    }
}

/// The text Kubernetes stores for a quantity: decimal amounts below one in thousandths
/// (`0.5` is `500m`), the rest as given.
fn canonical(text: &str) -> String {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match Quantity::parse(text) {
        Some(Quantity(nanos)) if plain && text.contains('.') => {
            if nanos % NANO == 0 {
                (nanos / NANO).to_string()
            } else if nanos % 1_000_000 == 0 {
                format!("{}m", nanos / 1_000_000)
            } else if nanos % 1000 == 0 {
                format!("{}u", nanos / 1000)
            } else {
                format!("{nanos}n")
            }
        }
        _ => text.to_owned(),
    }
}

/// Numbers become strings and amounts get their canonical form, in `requests` and `limits`.
pub(super) fn canonical_resources(resources: &mut Value) {
    for key in ["requests", "limits"] {
        if let Some(map) = resources.get_mut(key).and_then(Value::as_object_mut) {
            for amount in map.values_mut() {
                let text = match &*amount {
                    Value::String(text) => canonical(text),
                    Value::Number(number) => canonical(&number.to_string()),
                    _ => continue,
                };
                *amount = json!(text);
            }
        }
    }
}

/// Whether all amounts of `requests` and `limits` are quantities.
pub(super) fn well_formed(resources: &Value) -> bool {
    ["requests", "limits"].iter().all(|key| {
        resources[*key]
            .as_object()
            .into_iter()
            .flatten()
            .all(|(_, v)| v.as_str().is_none_or(|s| Quantity::parse(s).is_some()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_exactly() {
        let q = |s: &str| Quantity::parse(s).map(Quantity::nanos);
        assert_eq!(q("500m"), q("0.5"));
        assert_eq!(q("1Ki"), q("1024"));
        assert_eq!(q("1e3"), q("1k"));
        assert_eq!(q("1500e-3"), q("1.5"));
        assert_eq!(q("-2"), Some(-2 * NANO));
        for bad in ["", "two", "1.2.3", "1Kib", "--1", "1e99", "m", "1 Gi"] {
            assert_eq!(q(bad), None, "{bad}");
        }
    }

    #[test]
    fn decimals_become_thousandths() {
        assert_eq!(canonical("0.5"), "500m");
        assert_eq!(canonical("1.0"), "1");
        assert_eq!(canonical("100Mi"), "100Mi");
        assert_eq!(canonical("2"), "2");
    }
}
