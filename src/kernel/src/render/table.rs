//! The one table model: columns and cells, from which plain text, HTML, CSV, JSON and YAML are made.

use comfy_table::{CellAlignment, LineStyle, TableStyle};
use serde_json::{Map, Value, json};

use super::age;
use super::html::{self, Html};
use super::status::Status;
use crate::event::Bundle;
use crate::magics::MagicError;

/// The style of tables that front ends do not strip.
const TABLE_STYLE: &str = "border-collapse:collapse;margin:0.2em 0;white-space:nowrap";
/// JupyterLab's own style puts every cell at the right, so each says where it stands. All else is
/// left to the table, for there may be thousands of cells.
const CELL_LEFT: &str = "text-align:left";
const CELL_RIGHT: &str = "text-align:right";
/// A line that shows on white and on black.
const RULE: &str = "border-bottom:1px solid #808080";

/// Where the texts of a column stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Align {
    /// At the left: words.
    #[default]
    Left,
    /// At the right: numbers.
    Right,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// What it is called in `--sort`, `--columns`, CSV and JSON.
    pub key: String,
    /// What stands above it.
    pub title: String,
    /// Where its texts stand.
    pub align: Align,
    /// Whether it is shown only with `--output wide`.
    pub wide: bool,
    /// What it means, shown on hover.
    pub hover: Option<String>,
}

impl Column {
    /// A column of words. An all-capitals title gives a small-letters key; another (the name of a
    /// parameter or metric) stays as it is.
    pub fn new(title: impl Into<String>) -> Self {
        let title = title.into();
        let key = if title.chars().any(char::is_lowercase) {
            title.clone()
        } else {
            title.to_lowercase().replace([' ', '-'], "_")
        };
        Self {
            key,
            title,
            align: Align::Left,
            wide: false,
            hover: None,
        }
    }

    /// A column of numbers.
    pub fn number(title: impl Into<String>) -> Self {
        Self {
            align: Align::Right,
            ..Self::new(title)
        }
    }

    /// Shown only with `--output wide`.
    #[must_use]
    pub fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// With an explanation on hover.
    #[must_use]
    pub fn hover(self, hover: impl Into<String>) -> Self {
        Self {
            hover: Some(hover.into()),
            ..self
        }
    }
}

/// One cell: what is shown, and the value behind it that is sorted by and exported.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// What a mouse over it shows.
    pub hover: Option<String>,
    /// Its state: gives glyph and colour.
    pub status: Option<Status>,
    /// The value behind the text.
    pub value: Value,
}

impl Cell {
    /// Text that is its own value.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            value: Value::from(text.clone()),
            text,
            ..Self::default()
        }
    }

    /// A text that stands for a value.
    pub fn of(value: impl Into<Value>, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            value: value.into(),
            ..Self::default()
        }
    }

    /// Nothing to show.
    pub fn none() -> Self {
        Self::default()
    }

    /// A whole number.
    pub fn count(number: impl Into<serde_json::Number>) -> Self {
        let number = number.into();
        Self::of(Value::Number(number.clone()), number.to_string())
    }

    /// A number, with no more digits than it takes to tell it from its neighbours.
    pub fn number(number: f64) -> Self {
        Self::of(json!(number), number_text(number))
    }

    /// A state, by its word.
    pub fn status(word: impl Into<String>) -> Self {
        let cell = Self::text(word);
        Self {
            status: Some(Status::of(&cell.text)),
            ..cell
        }
    }

    /// A number of bytes, as docker writes it.
    pub fn size(bytes: u64) -> Self {
        Self::of(bytes, age::size(bytes)).hover(format!("{bytes} bytes"))
    }

    /// The age of something, with the time itself on hover.
    pub fn age(then: jiff::Timestamp, now: jiff::Timestamp) -> Self {
        // To the second, as the cluster's own times are.
        let time = format!("{then:.0}");
        Self::of(time.clone(), age::since(then, now)).hover(time)
    }

    /// How long something took.
    pub fn took(duration: std::time::Duration) -> Self {
        Self::of(json!(duration.as_secs_f64()), age::took(duration))
    }

    /// Yes or no.
    pub fn bool(value: bool) -> Self {
        Self::of(value, if value { "yes" } else { "no" })
    }

    /// With more to say on hover.
    #[must_use]
    pub fn hover(self, hover: impl Into<String>) -> Self {
        Self {
            hover: Some(hover.into()),
            ..self
        }
    }

    /// With a state, whatever the word says.
    #[must_use]
    pub fn with_status(self, status: Status) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.value.is_null()
    }

    /// What plain text shows: one line, with the glyph of the state.
    pub(crate) fn shown(&self) -> String {
        let text = one_line(&self.text);
        match self.status {
            Some(status) if !text.is_empty() => status.label(&text),
            _ => text,
        }
    }

    fn html(&self) -> Html {
        match self.status {
            Some(status) if !self.text.is_empty() => status.label_html(&self.text),
            _ => Html::text(&self.text),
        }
    }

    /// The value as text, as CSV and conditions want it.
    pub(crate) fn plain_value(&self) -> String {
        match &self.value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::none, Into::into)
    }
}

/// A number as people write it: six significant digits, no trailing zeros, an exponent when it is very small or large.
pub fn number_text(number: f64) -> String {
    if !number.is_finite() {
        return number.to_string();
    }
    let magnitude = number.abs();
    if magnitude != 0.0 && !(1e-4..1e9).contains(&magnitude) {
        let text = format!("{number:.5e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", trim_zeros(mantissa));
    }
    let first_digit = if magnitude == 0.0 {
        0.0
    } else {
        magnitude.log10().floor()
    };
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 9"
    )]
    let decimals = (5.0 - first_digit).clamp(0.0, 9.0) as usize;
    trim_zeros(&format!("{number:.decimals$}")).to_owned()
}

fn trim_zeros(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

/// Line breaks, tabs and control characters would tear a row apart.
pub(crate) fn one_line(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|char| match char {
            '\n' => '⏎',
            char if char.is_control() => ' ',
            char => char,
        })
        .collect()
}

/// A row of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// What `--output name` prints.
    pub name: String,
    /// One for each column.
    pub cells: Vec<Cell>,
    /// The object behind the row, for JSON and YAML; without one the cells' values are exported.
    pub object: Option<Value>,
    /// Whether the row stands out (the best trial).
    pub marked: bool,
}

/// A table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// What it shows, above it.
    pub title: Option<String>,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, each with as many cells as there are columns.
    pub rows: Vec<Row>,
    /// What is said when there are no rows: what would stand here, and how to get it.
    pub empty: String,
    /// Lines below it.
    pub footer: Vec<String>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            empty: "nothing to show".to_owned(),
            ..Self::default()
        }
    }

    /// With a title above it.
    #[must_use]
    pub fn title(self, title: impl Into<String>) -> Self {
        Self {
            title: Some(title.into()),
            ..self
        }
    }

    /// With a text for when there are no rows.
    #[must_use]
    pub fn empty(self, empty: impl Into<String>) -> Self {
        Self {
            empty: empty.into(),
            ..self
        }
    }

    /// With one more line below it.
    #[must_use]
    pub fn footer(mut self, line: impl Into<String>) -> Self {
        self.footer.push(line.into());
        self
    }

    /// Adds a row; the first cell is its name. Missing cells are empty. Returns the row, to mark it or
    /// to give it the object behind it.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) -> &mut Row {
        let mut cells: Vec<Cell> = cells.into_iter().collect();
        cells.resize_with(self.columns.len(), Cell::none);
        let name = cells.first().map(Cell::plain_value).unwrap_or_default();
        self.rows.push(Row {
            name,
            cells,
            ..Row::default()
        });
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    /// Keeps these columns, in this order.
    pub(crate) fn select(&mut self, columns: &[usize]) {
        self.columns = columns.iter().map(|at| self.columns[*at].clone()).collect();
        for row in &mut self.rows {
            row.cells = columns.iter().map(|at| row.cells[*at].clone()).collect();
        }
    }

    /// Plain text and HTML.
    pub fn bundle(&self) -> Bundle {
        Bundle::text(self.plain()).with("text/html", self.html().into_string())
    }

    /// Plain text, aligned, one line a row.
    pub fn plain(&self) -> String {
        let mut text = String::new();
        if let Some(title) = &self.title {
            text.push_str(title);
            text.push('\n');
        }
        if self.rows.is_empty() {
            text.push_str(&self.empty);
        } else {
            let mut table = comfy_table::Table::new();
            table.load_style(
                TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')),
            );
            let marks = self.rows.iter().any(|row| row.marked);
            let alignment = |align| match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            };
            let header = self.columns.iter().map(|column| {
                comfy_table::Cell::new(one_line(&column.title))
                    .set_alignment(alignment(column.align))
            });
            let blank = || marks.then(|| comfy_table::Cell::new(""));
            table.set_header(blank().into_iter().chain(header));
            for row in &self.rows {
                let mark =
                    marks.then(|| comfy_table::Cell::new(if row.marked { "★" } else { "" }));
                let cells = row.cells.iter().zip(&self.columns).map(|(cell, column)| {
                    comfy_table::Cell::new(cell.shown()).set_alignment(alignment(column.align))
                });
                table.add_row(mark.into_iter().chain(cells));
            }
            let lines: Vec<String> = table
                .lines()
                .map(|line| line.trim_end().to_owned())
                .collect();
            text.push_str(&lines.join("\n"));
        }
        for line in &self.footer {
            text.push('\n');
            text.push_str(line);
        }
        text
    }

    /// HTML, escaped, without scripts and style sheets.
    pub fn html(&self) -> Html {
        let mut parts = Html::default();
        if let Some(title) = &self.title {
            parts.push(&html::text_element(
                "div",
                &[("class", "katlab-title"), ("style", "font-weight:bold")],
                title,
            ));
        }
        if self.rows.is_empty() {
            parts.push(&html::text_element(
                "div",
                &[("class", "katlab-empty")],
                &self.empty,
            ));
        } else {
            parts.push(&self.html_table());
        }
        for line in &self.footer {
            parts.push(&html::text_element(
                "div",
                &[("class", "katlab-footer"), ("style", "color:#808080")],
                line,
            ));
        }
        html::element("div", &[("class", "katlab")], &parts)
    }

    fn html_table(&self) -> Html {
        let marks = self.rows.iter().any(|row| row.marked);
        let style = |align: Align| match align {
            Align::Left => CELL_LEFT,
            Align::Right => CELL_RIGHT,
        };
        let head_style = |align: Align| format!("{};{RULE}", style(align));
        let blank = marks.then(|| html::element("th", &[("style", RULE)], &Html::default()));
        let header = self.columns.iter().map(|column| {
            let hover = column.hover.as_deref().unwrap_or_default();
            html::text_element(
                "th",
                &[("style", &head_style(column.align)), ("title", hover)],
                &column.title,
            )
        });
        let header = html::element("tr", &[], &html::join(blank.into_iter().chain(header)));
        let mut body = Html::default();
        for row in &self.rows {
            let mark =
                marks.then(|| html::text_element("td", &[], if row.marked { "★" } else { "" }));
            let cells = row.cells.iter().zip(&self.columns).map(|(cell, column)| {
                html::element(
                    "td",
                    &[
                        ("style", style(column.align)),
                        ("title", cell.hover.as_deref().unwrap_or_default()),
                    ],
                    &cell.html(),
                )
            });
            let cells = html::join(mark.into_iter().chain(cells));
            let marked = if row.marked { "katlab-best" } else { "" };
            let bold = if row.marked { "font-weight:bold" } else { "" };
            body.push(&html::element(
                "tr",
                &[("class", marked), ("style", bold)],
                &cells,
            ));
        }
        let content = html::join([
            html::element("thead", &[], &header),
            html::element("tbody", &[], &body),
        ]);
        html::element(
            "table",
            &[
                ("class", "katlab-table"),
                ("cellpadding", "4"),
                ("style", TABLE_STYLE),
            ],
            &content,
        )
    }

    /// The rows as objects: those behind them, or (with `cells`, or without objects) the cells' values.
    pub fn objects(&self, cells: bool) -> Value {
        let object = |row: &Row| match &row.object {
            Some(object) if !cells => object.clone(),
            _ => {
                let fields = self.columns.iter().zip(&row.cells);
                Value::Object(
                    fields
                        .map(|(column, cell)| (column.key.clone(), cell.value.clone()))
                        .collect::<Map<_, _>>(),
                )
            }
        };
        self.rows.iter().map(object).collect()
    }

    /// The rows as JSON text.
    pub fn json_text(&self, cells: bool) -> String {
        format!("{:#}", self.objects(cells))
    }

    /// The rows as YAML text.
    ///
    /// # Errors
    /// When a value cannot be written.
    pub fn yaml_text(&self, cells: bool) -> Result<String, MagicError> {
        serde_saphyr::to_string(&self.objects(cells))
            .map_err(|error| MagicError::new(format!("cannot write these rows as YAML: {error}")))
    }

    /// Comma-separated values of all columns, with a header line.
    pub fn csv(&self) -> String {
        let line = |fields: Vec<String>| {
            fields
                .iter()
                .map(|field| csv_field(field))
                .collect::<Vec<_>>()
                .join(",")
        };
        let header = line(
            self.columns
                .iter()
                .map(|column| column.key.clone())
                .collect(),
        );
        let rows = self
            .rows
            .iter()
            .map(|row| line(row.cells.iter().map(Cell::plain_value).collect()));
        std::iter::once(header)
            .chain(rows)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The names, one a line.
    pub fn names(&self) -> String {
        self.rows
            .iter()
            .map(|row| row.name.as_str())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

fn csv_field(field: &str) -> String {
    let plain = !field.contains([',', '"', '\n', '\r']) && field.trim() == field;
    if plain {
        field.to_owned()
    } else {
        format!("\"{}\"", field.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests;
