//! The values of a column as one type, which is what a data frame wants of it.

use serde_json::Value;

use super::{Align, Cell, Table};
use crate::magics::MagicError;
use crate::redaction::Redactor;
use crate::render::parquet::{self, Values};

impl Table {
    /// All columns as a Parquet file, named as in CSV; `redactor` hides secrets in names and texts.
    ///
    /// A column is of the narrowest type that takes all its values: yes and no, whole numbers, numbers
    /// (`nan` and `inf` among them), times, else text.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn parquet(&self, redactor: &Redactor) -> Result<Vec<u8>, MagicError> {
        let typed = |(at, column): (usize, &super::Column)| {
            let cells = self.rows.iter().map(|row| &row.cells[at]);
            let number = column.real || column.align == Align::Right;
            let values = match values(cells, column.real, number) {
                Values::Text(texts) => Values::Text(
                    texts
                        .into_iter()
                        .map(|text| text.map(|text| redactor.text(&text)))
                        .collect(),
                ),
                others => others,
            };
            (redactor.text(&column.key), values)
        };
        let columns: Vec<parquet::Column> = self.columns.iter().enumerate().map(typed).collect();
        parquet::write(&columns)
    }
}

/// The cells as values of one type. Of cells without a single number, `number` says what they are meant
/// to be; `real`, that whole numbers are so by chance.
fn values<'a>(cells: impl Iterator<Item = &'a Cell> + Clone, real: bool, number: bool) -> Values {
    if let Some(values) = all(cells.clone(), Value::as_bool, false) {
        return Values::Bool(values);
    }
    if !real && let Some(values) = all(cells.clone(), Value::as_i64, false) {
        return Values::Int(values);
    }
    let numeric = number || cells.clone().any(|cell| cell.value.is_number());
    if numeric && let Some(values) = all(cells.clone(), real_number, number) {
        return Values::Real(values);
    }
    let time = |value: &Value| value.as_str()?.parse().ok();
    if let Some(values) = all(cells.clone(), time, false) {
        return Values::Time(values);
    }
    let text = |cell: &Cell| (!cell.value.is_null()).then(|| cell.plain_value());
    Values::Text(cells.map(text).collect())
}

/// What every cell that is not empty holds, if each holds it; of cells that are all empty only where
/// `empty` says so.
fn all<'a, T>(
    cells: impl Iterator<Item = &'a Cell>,
    read: impl Fn(&Value) -> Option<T>,
    empty: bool,
) -> Option<Vec<Option<T>>> {
    let mut some = empty;
    let values = cells
        .map(|cell| match &cell.value {
            Value::Null => Some(None),
            value => {
                some = true;
                read(value).map(Some)
            }
        })
        .collect::<Option<Vec<_>>>()?;
    some.then_some(values)
}

/// A number; as text only what JSON has no number for: `nan`, `inf`, `-inf`.
fn real_number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok().filter(|number: &f64| !number.is_finite()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_column_has_the_narrowest_type_that_takes_all_its_values() {
        let time = "2026-01-01T00:00:01.5Z";
        let text = |text: &str| Some(text.to_owned());
        let (real, number, words) = ((true, true), (false, true), (false, false));
        let cases = [
            (
                words,
                json!([true, null]),
                Values::Bool(vec![Some(true), None]),
            ),
            (
                words,
                json!([1, null, -2]),
                Values::Int(vec![Some(1), None, Some(-2)]),
            ),
            (
                words,
                json!([1, 0.5]),
                Values::Real(vec![Some(1.0), Some(0.5)]),
            ),
            (
                words,
                json!([u64::MAX]),
                Values::Real(vec![Some(u64::MAX as f64)]),
            ),
            (
                words,
                json!([1, "-inf"]),
                Values::Real(vec![Some(1.0), Some(f64::NEG_INFINITY)]),
            ),
            // Numbers that are not finite tell nothing of themselves; the column knows.
            (
                number,
                json!(["inf", null]),
                Values::Real(vec![Some(f64::INFINITY), None]),
            ),
            (
                words,
                json!(["inf", null]),
                Values::Text(vec![text("inf"), None]),
            ),
            (number, json!([null]), Values::Real(vec![None])),
            (words, json!([null]), Values::Text(vec![None])),
            (
                real,
                json!([1, 2]),
                Values::Real(vec![Some(1.0), Some(2.0)]),
            ),
            (
                number,
                json!([time, null]),
                Values::Time(vec![time.parse().ok(), None]),
            ),
            (
                words,
                json!([time, "soon"]),
                Values::Text(vec![text(time), text("soon")]),
            ),
            (
                real,
                json!([0.5, "상"]),
                Values::Text(vec![text("0.5"), text("상")]),
            ),
            (
                words,
                json!([true, 1]),
                Values::Text(vec![text("true"), text("1")]),
            ),
            // What reads like a number, but was given as text, stays text.
            (
                words,
                json!([1, "2"]),
                Values::Text(vec![text("1"), text("2")]),
            ),
        ];
        for ((real, number), given, wanted) in cases {
            let cells: Vec<Cell> = given
                .as_array()
                .unwrap()
                .iter()
                .map(|value| Cell::of(value.clone(), ""))
                .collect();
            assert_eq!(values(cells.iter(), real, number), wanted, "{given}");
        }
    }
}
