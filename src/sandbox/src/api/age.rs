//! Durations and ages as kubectl shows them.

use jiff::Timestamp;

/// `45s`, `2m30s`, `47m`, `3h5m`, `4d2h`, `300d`, `3y21d`: two units while they matter.
pub fn human(seconds: i64) -> String {
    if seconds < -1 {
        return "<invalid>".into();
    }
    let seconds = seconds.max(0);
    if seconds < 120 {
        return format!("{seconds}s");
    }
    let minutes = seconds / 60;
    let pair = |big: i64, unit: char, small: i64, small_unit: char| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    if minutes < 10 {
        return pair(minutes, 'm', seconds % 60, 's');
    }
    if minutes < 180 {
        return format!("{minutes}m");
    }
    let hours = minutes / 60;
    if hours < 8 {
        return pair(hours, 'h', minutes % 60, 'm');
    }
    if hours < 48 {
        return format!("{hours}h");
    }
    let days = hours / 24;
    if days < 8 {
        return pair(days, 'd', hours % 24, 'h');
    }
    if days < 730 {
        return format!("{days}d");
    }
    if days < 365 * 8 {
        return pair(days / 365, 'y', days % 365, 'd');
    }
    format!("{}y", days / 365)
}

/// Seconds since the epoch of an RFC 3339 time.
pub fn parse(time: &str) -> Option<i64> {
    time.parse::<Timestamp>().ok().map(|t| t.as_second())
}

/// Now, as Kubernetes writes times: whole seconds, UTC.
pub fn now() -> String {
    rfc3339(Timestamp::now().as_second())
}

/// Seconds since the epoch as RFC 3339.
pub fn rfc3339(seconds: i64) -> String {
    Timestamp::from_second(seconds)
        .unwrap_or(Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn durations_read_as_kubectl_writes_them() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (428, "7m8s"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_100, "3h5m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(human(seconds), text, "{seconds} seconds");
        }
    }
}
