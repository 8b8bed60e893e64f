//! The order of rows.

use std::cmp::Ordering;

use serde_json::Value;

use crate::render::table::{Key, plain_value};

/// How two values of a column stand to each other: numbers by size; text without regard to case, with
/// numbers in it by size (`t2` before `t10`). What has no place among numbers comes after them, and
/// what has no value comes last, whichever way the rest is sorted.
pub(super) fn compare(a: &Key<'_>, b: &Key<'_>, descending: bool) -> Ordering {
    let turned = |order: Ordering| if descending { order.reverse() } else { order };
    a.value
        .is_null()
        .cmp(&b.value.is_null())
        .then_with(|| match (number(a), number(b)) {
            (Some(a), Some(b)) => a
                .is_nan()
                .cmp(&b.is_nan())
                .then_with(|| turned(a.total_cmp(&b))),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => turned(natural(&text(a), &text(b))),
        })
}

fn number(key: &Key<'_>) -> Option<f64> {
    match (&key.measure, &*key.value) {
        (Some(measure), _) => Some(measure.number()),
        (None, Value::String(text)) => text.parse().ok(),
        (None, value) => value.as_f64(),
    }
}

fn text(key: &Key<'_>) -> String {
    plain_value(&key.value).to_lowercase()
}

fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |text: &str| {
            text.len()
                - text
                    .trim_start_matches(|char: char| char.is_ascii_digit())
                    .len()
        };
        let (in_a, in_b) = (digits(a), digits(b));
        if in_a > 0 && in_b > 0 {
            let (one, two) = (
                a[..in_a].trim_start_matches('0'),
                b[..in_b].trim_start_matches('0'),
            );
            let order = one
                .len()
                .cmp(&two.len())
                .then_with(|| one.cmp(two))
                .then_with(|| in_a.cmp(&in_b));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[in_a..], &b[in_b..]);
            continue;
        }
        let (Some(one), Some(two)) = (a.chars().next(), b.chars().next()) else {
            return a.len().cmp(&b.len());
        };
        if one != two {
            return one.cmp(&two);
        }
        (a, b) = (&a[one.len_utf8()..], &b[two.len_utf8()..]);
    }
}
