//! Times, durations and sizes as people of docker and kubectl know them.

use std::time::Duration;

/// A duration as kubectl writes ages: two units at most, coarser as it grows.
pub fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let pair = |big: u64, unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    if seconds < 120 {
        format!("{seconds}s")
    } else if minutes < 10 {
        pair(minutes, "m", seconds % 60, "s")
    } else if hours < 3 {
        format!("{minutes}m")
    } else if hours < 8 {
        pair(hours, "h", minutes % 60, "m")
    } else if hours < 48 {
        format!("{hours}h")
    } else if hours < 24 * 8 {
        pair(hours / 24, "d", hours % 24, "h")
    } else if hours < 24 * 365 * 2 {
        format!("{}d", hours / 24)
    } else if hours < 24 * 365 * 8 {
        pair(hours / 24 / 365, "y", hours / 24 % 365, "d")
    } else {
        format!("{}y", hours / 24 / 365)
    }
}

/// The age of a thing made at a time, seen from another; times to come count as none.
pub fn since(then: jiff::Timestamp, now: jiff::Timestamp) -> String {
    age(now.duration_since(then).try_into().unwrap_or_default())
}

/// How long something took: `0.42 s`, `7.3 s`, `1m12s`, `2h05m`.
pub fn took(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.9995 {
        format!("{seconds:.2} s")
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        let seconds = duration.as_secs() + u64::from(duration.subsec_millis() >= 500);
        if seconds < 3600 {
            format!("{}m{:02}s", seconds / 60, seconds % 60)
        } else {
            format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60)
        }
    }
}

/// A number of bytes as docker writes it: powers of a thousand, three digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    #[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    // Rounding may carry into the next unit.
    if value >= 999.5 && unit > 0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    let number = format!("{value:.digits$}");
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        &number
    };
    format!("{number}{}", UNITS[unit])
}

/// A number of bytes as Kubernetes writes quantities: powers of 1024.
pub fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    #[allow(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 || value.fract() < 0.05 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectl_writes_them() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (599, "9m59s"),
            (600, "10m"),
            (659, "10m"),
            (3 * 3600 - 1, "179m"),
            (3 * 3600, "3h"),
            (3 * 3600 + 60, "3h1m"),
            (8 * 3600, "8h"),
            (47 * 3600, "47h"),
            (48 * 3600, "2d"),
            (50 * 3600, "2d2h"),
            (8 * 86400, "8d"),
            (700 * 86400, "700d"),
            (730 * 86400, "2y"),
            (735 * 86400, "2y5d"),
            (3000 * 86400, "8y"),
        ];
        for (seconds, text) in cases {
            assert_eq!(age(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn sizes_read_as_docker_writes_them() {
        let cases = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (72_800_000, "72.8MB"),
            (124_400_000, "124MB"),
            (999_999, "1MB"),
            (1_500_000_000, "1.5GB"),
            (100_000, "100kB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text, "{bytes}");
        }
        assert_eq!(binary_size(1536), "1.5 KiB");
        assert_eq!(binary_size(2 << 30), "2 GiB");
    }

    #[test]
    fn durations_have_a_unit_that_fits() {
        let cases = [
            (0.0, "0.00 s"),
            (0.42, "0.42 s"),
            (7.3, "7.3 s"),
            (59.96, "1m00s"),
            (72.0, "1m12s"),
            (7500.0, "2h05m"),
        ];
        for (seconds, text) in cases {
            assert_eq!(took(Duration::from_secs_f64(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn a_time_to_come_has_no_age() {
        let now = jiff::Timestamp::from_second(1_000).unwrap();
        assert_eq!(
            since(jiff::Timestamp::from_second(2_000).unwrap(), now),
            "0s"
        );
        assert_eq!(
            since(jiff::Timestamp::from_second(970).unwrap(), now),
            "30s"
        );
    }
}
