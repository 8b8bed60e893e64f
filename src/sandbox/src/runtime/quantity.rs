//! Kubernetes quantities (`500m`, `128Mi`, `1e3`) as whole numbers.

/// A quantity in thousandths: `500m` is 500, `2` is 2000. Rounded up, as Kubernetes does.
pub(super) fn thousandths(text: &str) -> Option<i64> {
    scaled(text, 1000.0)
}

/// A quantity in whole units, rounded up: `128Mi` is 134217728.
pub(super) fn whole(text: &str) -> Option<i64> {
    scaled(text, 1.0)
}

fn scaled(text: &str, by: f64) -> Option<i64> {
    let text = text.trim();
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let number: f64 = digits.parse().ok()?;
    let unit = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        exponent => {
            let power = exponent.strip_prefix(['e', 'E'])?;
            10f64.powi(power.parse().ok()?)
        }
    };
    let value = number * unit * by;
    // 0.1 * 1000 is a hair above 100 in binary: do not round that up to 101.
    let value = if (value - value.round()).abs() < 1e-6 {
        value.round()
    } else {
        value.ceil()
    };
    (value.is_finite() && value.abs() < i64::MAX as f64).then_some(value as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("500m", 500),
            ("2", 2000),
            ("0.1", 100),
            ("1.5", 1500),
            ("1e1", 10_000),
            ("1u", 1),
        ] {
            assert_eq!(thousandths(text), Some(expected), "{text}");
        }
        for (text, expected) in [
            ("128Mi", 134_217_728),
            ("1G", 1_000_000_000),
            ("1e3", 1000),
            ("1.5Ki", 1536),
            ("100m", 1),
        ] {
            assert_eq!(whole(text), Some(expected), "{text}");
        }
        for text in ["", "x", "1X", "1 Gi", "1ee"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }
}
