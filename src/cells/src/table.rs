//! A small table that shows itself as text and as HTML.

use std::fmt;

use crate::Value;
use crate::shown::{Shown, plain};

/// Makes a [`Table`] of what a loop goes over, a row for each item; a cell is a number, a text, or an
/// `Option` of either.
///
/// ```
/// let rates = [("sgd", Some(0.3)), ("adam", None)];
/// let table = katlab::table!(for (name, rate) in rates; "optimizer" => name, "rate" => rate);
/// assert_eq!(table.to_string(), "optimizer  rate\nsgd         0.3\nadam");
/// ```
///
/// Of trials: `katlab::table!(for t in &trials; "trial" => t.name, "lr" => t.parameter("lr"))`.
#[macro_export]
macro_rules! table {
    (for $item:pat in $items:expr; $($title:expr => $value:expr),+ $(,)?) => {{
        let mut table = $crate::Table::new([$(::std::string::String::from($title)),+]);
        for $item in $items {
            table.push(::std::vec![$($crate::ToCell::to_cell(&$value)),+]);
        }
        table
    }};
}

/// What can stand in a cell of a [`Table`].
pub trait ToCell {
    /// The text of the cell; of a number six digits.
    fn to_cell(&self) -> String;
}

impl ToCell for f64 {
    fn to_cell(&self) -> String {
        short(*self)
    }
}

impl ToCell for Value {
    fn to_cell(&self) -> String {
        match self {
            Value::Number(number) => short(*number),
            Value::Text(text) => text.clone(),
        }
    }
}

impl<T: ToCell> ToCell for Option<T> {
    fn to_cell(&self) -> String {
        self.as_ref().map(T::to_cell).unwrap_or_default()
    }
}

impl<T: ToCell + ?Sized> ToCell for &T {
    fn to_cell(&self) -> String {
        (**self).to_cell()
    }
}

macro_rules! cell_is_its_text {
    ($($type:ty),*) => {$(
        impl ToCell for $type {
            fn to_cell(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

cell_is_its_text!(
    str, String, bool, char, i32, i64, isize, u8, u32, u64, usize
);

/// Six significant digits are enough to tell trials apart and short enough for a table.
pub(crate) fn short(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let digits = (5 - number.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let fixed = format!("{number:.digits$}");
    if fixed.contains('.') {
        fixed.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        fixed
    }
}

/// A number of bytes as docker writes it: three digits and a decimal unit.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1000.0, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = (2 - value.log10().floor() as i32).clamp(0, 2) as usize;
    let number = format!("{value:.digits$}");
    let number = match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.'),
        false => &number,
    };
    format!("{number}{}", UNITS[unit])
}

/// Rows of text under column titles. Columns whose cells are all numbers are right-aligned.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    titles: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these column titles.
    pub fn new(titles: impl IntoIterator<Item = String>) -> Self {
        Self {
            titles: titles.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells are empty, surplus ones are dropped.
    pub fn push(&mut self, mut row: Vec<String>) {
        row.resize(self.titles.len(), String::new());
        self.rows.push(row);
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self
            .rows
            .iter()
            .map(|row| &row[column])
            .filter(|cell| !cell.is_empty() && !cell.starts_with('…'))
            .peekable();
        cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
    }

    /// The table as HTML: escaped, without script or style sheets. The classes keep MathJax from
    /// taking the text between two dollar signs for a formula.
    pub fn to_html(&self) -> String {
        let aligns: Vec<&str> = (0..self.titles.len())
            .map(|column| match self.is_numeric(column) {
                true => "right",
                false => "left",
            })
            .collect();
        let cells = |row: &[String], tag: &str| -> String {
            let cell = |(text, align): (&String, &&str)| {
                format!(
                    "<{tag} style=\"text-align:{align}\">{}</{tag}>",
                    escape(text)
                )
            };
            row.iter().zip(&aligns).map(cell).collect()
        };
        let rows: String = self
            .rows
            .iter()
            .map(|row| format!("<tr>{}</tr>", cells(row, "td")))
            .collect();
        format!(
            "<table class=\"mathjax_ignore tex2jax_ignore\"><thead><tr>{}</tr></thead><tbody>{rows}</tbody></table>",
            cells(&self.titles, "th")
        )
    }
}

/// Of a table of more than twice as many rows a cell shows so many from each end, as lists do.
const END: usize = 100;

impl Table {
    /// What a cell shows of a long table; `None` for all of it.
    fn ends(&self) -> Option<Self> {
        let left_out = self
            .rows
            .len()
            .checked_sub(2 * END)
            .filter(|more| *more > 0)?;
        let mut ends = Self::new(self.titles.iter().cloned());
        let (first, last) = (&self.rows[..END], &self.rows[END + left_out..]);
        first.iter().for_each(|row| ends.push(row.clone()));
        ends.push(vec![format!("… {left_out} more")]);
        last.iter().for_each(|row| ends.push(row.clone()));
        Some(ends)
    }
}

impl Shown for Table {
    fn evcxr_display(&self) {
        let ends = self.ends();
        let shown = ends.as_ref().unwrap_or(self);
        plain(&shown.to_string());
        println!(
            "EVCXR_BEGIN_CONTENT text/html\n{}\nEVCXR_END_CONTENT",
            shown.to_html()
        );
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> = (0..self.titles.len())
            .map(|column| {
                let cells = self
                    .rows
                    .iter()
                    .map(|row| &row[column])
                    .chain([&self.titles[column]]);
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let numeric: Vec<bool> = (0..widths.len())
            .map(|column| self.is_numeric(column))
            .collect();
        for (index, row) in [&self.titles].into_iter().chain(&self.rows).enumerate() {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, width))| {
                    if numeric[column] {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                });
            let line = cells.collect::<Vec<_>>().join("  ");
            if index > 0 {
                writeln!(out)?;
            }
            out.write_str(line.trim_end())?;
        }
        Ok(())
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_line_up_on_the_right() {
        let mut table = Table::new(["name", "value"].map(String::from));
        table.push(vec!["a".into(), "1".into()]);
        table.push(vec!["b".into(), "10.5".into()]);
        assert_eq!(table.to_string(), "name  value\na         1\nb      10.5");
    }

    #[test]
    fn a_cell_shows_the_ends_of_a_long_table() {
        let mut table = Table::new(["n".to_owned()]);
        (0..200).for_each(|n| table.push(vec![n.to_string()]));
        assert_eq!(table.ends(), None);
        table.push(vec!["200".to_owned()]);
        let ends = table.ends().unwrap();
        assert_eq!(ends.rows.len(), 201);
        assert_eq!(ends.rows[99..102], [["99"], ["… 1 more"], ["101"]]);
    }

    #[test]
    fn markup_in_a_cell_stays_text() {
        let mut table = Table::new(["<b>".to_owned()]);
        table.push(vec!["<script>".into()]);
        assert!(!table.to_html().contains("<script>"));
    }
}
