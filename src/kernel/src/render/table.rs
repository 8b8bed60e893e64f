//! The one table model: columns and cells, from which plain text, HTML, CSV, JSON, YAML and Parquet are made.

use std::borrow::Cow;

use comfy_table::{CellAlignment, LineStyle, TableStyle};
use serde_json::{Map, Value};

use super::html::{self, Html};
use crate::event::Bundle;
use crate::magics::MagicError;

mod cell;
mod typed;

pub use cell::{Align, Cell, Column, Key, Measure, number_text};
pub(crate) use cell::{one_line, plain_value};

/// The style of tables that front ends do not strip.
const TABLE_STYLE: &str = "border-collapse:collapse;margin:0.2em 0;white-space:nowrap";
/// JupyterLab's own style puts every cell at the right, so each says where it stands. All else is
/// left to the table, for there may be thousands of cells.
const CELL_LEFT: &str = "text-align:left";
const CELL_RIGHT: &str = "text-align:right";
/// Nor does it keep a name on one line, which the table's style asks for.
const CELL_NAME: &str = "text-align:left;white-space:nowrap";
/// A line that shows on white and on black.
const RULE: &str = "border-bottom:1px solid #808080";

/// More decimals than this are not made up to let numbers stand in line.
const DECIMALS: usize = 6;

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
        // One that is asked for twice is copied, so that its last place can have the cell itself.
        let is_again = |place: usize| columns[place + 1..].contains(&columns[place]);
        let again: Vec<bool> = (0..columns.len()).map(is_again).collect();
        for row in &mut self.rows {
            let mut cells = std::mem::take(&mut row.cells);
            let chosen = columns.iter().zip(&again).map(|(at, again)| match again {
                true => cells[*at].clone(),
                false => std::mem::take(&mut cells[*at]),
            });
            row.cells = chosen.collect();
        }
    }

    /// Plain text and HTML.
    pub fn bundle(&self) -> Bundle {
        let table = self.levelled();
        Bundle::text(table.plain_text()).with_html(table.markup())
    }

    /// Plain text, aligned, one line a row.
    pub fn plain(&self) -> String {
        self.levelled().plain_text()
    }

    /// HTML, escaped, without scripts and style sheets.
    pub fn html(&self) -> Html {
        self.levelled().markup()
    }

    /// The table with the numbers of a column written with as many decimals as the longest of them,
    /// so that their points stand below each other. Not where that would be a long row of zeros, nor
    /// where they measure different things.
    fn levelled(&self) -> Cow<'_, Self> {
        let mut levelled = Cow::Borrowed(self);
        let alike = self.columns.iter().enumerate();
        for at in alike.filter_map(|(at, column)| (!column.mixed).then_some(at)) {
            // Each row's number with how many decimals its text has; none where another text stands.
            let numbers = self.rows.iter().map(|row| {
                let cell = &row.cells[at];
                let number = cell.value.as_f64()?;
                let decimals = cell.text.split_once('.').map_or(0, |(_, text)| text.len());
                (number_text(number) == cell.text).then_some((number, decimals))
            });
            let numbers: Vec<Option<(f64, usize)>> = numbers.collect();
            let decimals = numbers.iter().flatten().map(|(_, decimals)| *decimals);
            let most = decimals.max().unwrap_or(0);
            let mut texts = self
                .rows
                .iter()
                .map(|row| &row.cells[at].text)
                .zip(&numbers);
            let exponent = texts.any(|(text, number)| number.is_some() && text.contains('e'));
            if most == 0 || most > DECIMALS || exponent {
                continue;
            }
            for (row, number) in numbers.into_iter().enumerate() {
                if let Some((number, _)) = number.filter(|(_, decimals)| *decimals < most) {
                    // Of the number itself: zeros behind a text that was cut would be made up.
                    levelled.to_mut().rows[row].cells[at].text = format!("{number:.most$}");
                }
            }
        }
        levelled
    }

    fn plain_text(&self) -> String {
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

    fn markup(&self) -> Html {
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
        // `--learning_rate` would be broken behind its dashes.
        let head_style = |column: &Column| {
            let nowrap = if column.title.contains(' ') {
                ""
            } else {
                ";white-space:nowrap"
            };
            format!("{}{nowrap};{RULE}", style(column.align))
        };
        let blank = marks.then(|| html::element("th", &[("style", RULE)], &Html::default()));
        let header = self.columns.iter().map(|column| {
            let hover = column.hover.as_deref().unwrap_or_default();
            html::text_element(
                "th",
                &[("style", &head_style(column)), ("title", hover)],
                &column.title,
            )
        });
        let header = html::element("tr", &[], &html::join(blank.into_iter().chain(header)));
        let mut body = Html::default();
        for row in &self.rows {
            let mark =
                marks.then(|| html::text_element("td", &[], if row.marked { "★" } else { "" }));
            let fields = row.cells.iter().zip(&self.columns).enumerate();
            let cells = fields.map(|(at, (cell, column))| {
                let is_name = at == 0 && column.align == Align::Left;
                let style = if is_name {
                    CELL_NAME
                } else {
                    style(column.align)
                };
                html::element(
                    "td",
                    &[
                        ("style", style),
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
        let mut writer = csv::Writer::from_writer(Vec::new());
        let header = self.columns.iter().map(|column| column.key.clone());
        let rows = self
            .rows
            .iter()
            .map(|row| row.cells.iter().map(Cell::plain_value).collect());
        for fields in std::iter::once(header.collect::<Vec<_>>()).chain(rows) {
            // Every record has as many fields as there are columns, and memory takes them all.
            let _ = writer.write_record(fields);
        }
        let content = writer.into_inner().unwrap_or_default();
        let text = String::from_utf8_lossy(&content);
        text.trim_end_matches('\n').to_owned()
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

#[cfg(test)]
mod tests;
