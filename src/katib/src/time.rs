//! RFC 3339 times as far as metrics need them: to be recognised and to be ordered.

/// A point in time, ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds after that second.
    pub nanoseconds: u32,
}

/// Reads `2024-03-04T17:55:08.123+09:00` and its like; nothing else, as Go's parser.
pub fn parse(text: &str) -> Option<Instant> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = bytes.get(range)?;
        digits.iter().try_fold(0i64, |value, byte| {
            byte.is_ascii_digit()
                .then(|| value * 10 + i64::from(byte - b'0'))
        })
    };
    let mark = |at: usize, byte: u8| (bytes.get(at) == Some(&byte)).then_some(());
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    for (at, byte) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        mark(at, byte)?;
    }
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let mut at = 19;
    let mut nanoseconds = 0u32;
    if matches!(bytes.get(at), Some(b'.' | b',')) {
        let digits = bytes[at + 1..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        if digits == 0 {
            return None;
        }
        for position in 0..9 {
            let digit = if position < digits {
                u32::from(bytes[at + 1 + position] - b'0')
            } else {
                0
            };
            nanoseconds = nanoseconds * 10 + digit;
        }
        at += 1 + digits;
    }
    let offset = match bytes.get(at)? {
        b'Z' if bytes.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if bytes.len() == at + 6 => {
            mark(at + 3, b':')?;
            let (hours, minutes) = (number(at + 1..at + 3)?, number(at + 4..at + 6)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Instant {
        seconds: seconds - offset,
        nanoseconds,
    })
}

/// Writes a time in UTC, the fraction without trailing zeros. `None` outside the years
/// 0 to 9999, which RFC 3339 cannot express.
pub fn format(instant: Instant) -> Option<String> {
    let days = instant.seconds.div_euclid(86_400);
    let rest = instant.seconds.rem_euclid(86_400);
    if !(-719_528..=2_932_896).contains(&days) {
        return None;
    }
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if instant.nanoseconds > 0 {
        let fraction = format!("{:09}", instant.nanoseconds);
        text.push('.');
        text.push_str(fraction.trim_end_matches('0'));
    }
    text.push('Z');
    Some(text)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

// Days are counted from the 1st of March of year 0, so that the leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_zone_and_fraction_are_put_in_order() {
        let early = parse("2024-03-04T17:55:08Z").unwrap();
        let late = parse("2024-03-05T02:55:08.5+09:00").unwrap();
        assert_eq!(early.seconds, late.seconds);
        assert!(early < late);
        assert_eq!(early.seconds, 1_709_574_908);
        assert_eq!(format(late).unwrap(), "2024-03-04T17:55:08.5Z");
    }

    #[test]
    fn the_zero_time_of_go_is_a_time() {
        let zero = parse(crate::names::ZERO_TIME).unwrap();
        assert_eq!(format(zero).unwrap(), crate::names::ZERO_TIME);
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in [
            "",
            "2024-03-04",
            "2024-03-04 17:55:08Z",
            "2024-02-30T00:00:00Z",
            "2024-03-04T24:00:00Z",
            "2024-03-04T17:55:60Z",
            "2024-03-04T17:55:08",
            "2024-03-04T17:55:08.Z",
            "2024-03-04T17:55:08+0900",
            "2024-03-04t17:55:08z",
            "２024-03-04T17:55:08Z",
            "2024-03-04T17:55:08Zx",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back(seconds in -62_135_596_800i64..253_402_300_799, nanoseconds in 0u32..1_000_000_000) {
            let instant = Instant { seconds, nanoseconds };
            proptest::prop_assert_eq!(parse(&format(instant).unwrap()), Some(instant));
        }

        #[test]
        fn nothing_makes_it_panic(text in "[0-9TZ:.+é-]{0,40}") {
            let _ = parse(&text);
        }
    }
}
