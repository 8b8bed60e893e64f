//! The columns of a list by their names, and what they hold.

use std::borrow::Cow;
use std::collections::BTreeSet;

use katlab_analysis::condition::{Columns, Datum, Kind};
use serde_json::Value;

use super::rows::Rows;
use crate::magics::{MagicError, nearest};
use crate::render::table::{Column, Key, Measure};

/// So many values of a column can be told one by one.
const FEW: usize = 8;

/// Where a column is.
///
/// # Errors
/// When it is not there, with those that are.
pub(super) fn find(columns: &[Column], name: &str) -> Result<usize, MagicError> {
    position(columns, name).map_err(|hint| {
        MagicError::usage(format!("there is no column `{name}` in this list")).hint(hint)
    })
}

/// The columns that texts with commas name, each perhaps with the minus sign of an order.
pub(super) fn listed(texts: &[String], columns: &[Column]) -> Vec<String> {
    super::names_of(texts, |text| {
        let is_known = |name: &str| position(columns, name).is_ok();
        is_known(text) || text.strip_prefix('-').is_some_and(is_known)
    })
}

/// The columns of rows, for conditions.
pub(super) struct Named<'r, R>(pub(super) &'r R);

impl<R: Rows> Columns for Named<'_, R> {
    fn find(&self, name: &str) -> Result<usize, String> {
        position(self.0.columns(), name)
    }

    fn kind(&self, column: usize) -> Kind {
        let mut kind = Kind::Unknown;
        for row in 0..self.0.count() {
            let key = self.0.key(row, column);
            let one = match (&key.measure, &*key.value) {
                (None, Value::Null) => continue,
                (Some(Measure::Seconds(_)), _) => Kind::Duration,
                (Some(Measure::Bytes(_)), _) => Kind::Size,
                (None, Value::Number(_)) => Kind::Number,
                (None, Value::Bool(_)) => Kind::Truth,
                // A metric may be nan or infinite, which JSON has no numbers for.
                (None, Value::String(text)) if not_finite(text).is_some() => continue,
                _ => Kind::Text,
            };
            if kind != Kind::Unknown && kind != one {
                return Kind::Text;
            }
            kind = one;
        }
        kind
    }
}

fn position(columns: &[Column], name: &str) -> Result<usize, String> {
    let position = |same: &dyn Fn(&str) -> bool| {
        let is_same = |column: &Column| same(&column.key) || same(&column.title);
        columns.iter().position(is_same)
    };
    position(&|known| known == name)
        .or_else(|| position(&|known| known.eq_ignore_ascii_case(name)))
        // A metric of which several values are shown: `loss.min` is what stands there as `loss (min)`.
        .or_else(|| {
            let (metric, reading) = name.rsplit_once('.')?;
            position(&|known| known == format!("{metric} ({reading})"))
        })
        // `learning_rate` finds the parameter `--learning_rate`.
        .or_else(|| position(&|known| known.trim_start_matches('-').eq_ignore_ascii_case(name)))
        .ok_or_else(|| {
            let keys: Vec<&str> = columns.iter().map(|column| column.key.as_str()).collect();
            let all = format!("the columns are: {}", keys.join(", "));
            let bare = |name: &str| name.trim_start_matches('-').to_owned();
            let names: Vec<String> = keys.iter().map(|key| bare(key)).collect();
            let near = nearest::to(&bare(name), names.iter().map(String::as_str));
            let meant = near.first().and_then(|near| {
                let at = names.iter().position(|name| name == near)?;
                keys.get(at)
            });
            match meant {
                Some(near) => format!("did you mean `{near}`? T{}", &all[1..]),
                None => all,
            }
        })
}

/// What was meant by a word, in lower case, that no row has in a column; `None` where a row has it.
pub(super) fn meant(rows: &impl Rows, column: usize, word: &str) -> Option<String> {
    let values: BTreeSet<String> = (0..rows.count())
        .filter_map(|row| match datum(rows.key(row, column)) {
            Datum::Text(text) => Some(text.into_owned()),
            Datum::Empty | Datum::Number(_) => None,
        })
        .collect();
    if values.iter().any(|value| value.to_lowercase() == word) {
        return None;
    }
    if let Some(near) = nearest::to(word, values.iter().map(String::as_str)).first() {
        return Some(format!("did you mean `{near}`?"));
    }
    (1..=FEW).contains(&values.len()).then(|| {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        format!("its values are {}", values.join(", "))
    })
}

/// The number that a text such as `nan` or `-inf` stands for.
fn not_finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| !number.is_finite())
}

/// A value as conditions see it.
pub(super) fn datum(key: Key<'_>) -> Datum<'_> {
    match (&key.measure, &*key.value) {
        (Some(measure), _) => Datum::Number(measure.number()),
        (None, Value::Null) => Datum::Empty,
        (None, Value::Number(number)) => number.as_f64().map_or(Datum::Empty, Datum::Number),
        (None, Value::String(_)) => Datum::Text(text(key.value)),
        (None, other) => Datum::Text(Cow::Owned(other.to_string())),
    }
}

fn text(value: Cow<'_, Value>) -> Cow<'_, str> {
    match value {
        Cow::Borrowed(value) => Cow::Borrowed(value.as_str().unwrap_or_default()),
        Cow::Owned(Value::String(text)) => Cow::Owned(text),
        Cow::Owned(_) => Cow::Borrowed(""),
    }
}
