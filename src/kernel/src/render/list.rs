//! The flags that every list has, and what they do to a table.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::ValueEnum;
use katlab_analysis::condition::{Complaint, Condition, Filter};
use serde_json::Value;

use super::table::{Cell, Column, Row, Table};
use super::{age, counted};
use crate::event::Bundle;
use crate::magics::{MagicError, line};
use crate::redaction::Redactor;
use crate::session::Listed;

mod columns;
mod order;
mod rows;

use columns::Named;
pub use rows::Rows;

/// A table of more than twice as many rows shows this many from each of its ends.
const END: usize = 100;
/// More bytes of CSV, JSON or YAML are for a file.
const LONGEST: usize = 2 << 20;
/// So many names are completed.
const LOOKED_THROUGH: usize = 1000;
/// A column with at most so many words completes them.
const FEW: usize = 12;
/// So many rows that stand out are shown wherever they are.
const MARKED: usize = 10;

/// How a list is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A table with the columns that matter most
    #[default]
    Table,
    /// A table with all columns
    Wide,
    /// The whole objects as JSON
    Json,
    /// The whole objects as YAML
    Yaml,
    /// Comma-separated values with a header line
    Csv,
    /// Columns of typed values for data frames, to a file only
    Parquet,
    /// Just the names, one a line
    Name,
}

impl Format {
    /// Whether the objects behind the rows are what is shown.
    pub fn shows_objects(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }
}

// A doc comment here would become the description of every magic that takes these flags.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ListArgs {
    /// How to show the list; with --save the ending of the file says it as well [default: table]
    #[arg(short = 'o', long, value_enum, help_heading = "List")]
    pub output: Option<Format>,
    /// Sort by these columns; a minus sign before one puts the largest first
    #[arg(
        long,
        value_name = "[-]COLUMN,…",
        allow_hyphen_values = true,
        help_heading = "List"
    )]
    pub sort: Vec<String>,
    /// Show only rows for which this holds, such as 'accuracy > 0.9 and (lr < 0.01 or age < 5m)'
    ///
    /// There are = != < <= > >= ~ (contains) !~, in (A, B), and, or, not, and brackets; several --where
    /// must all hold. Text with spaces stands in quotes, as does a column whose name has them:
    /// '"val loss" < 0.1'. A column in backticks can stand on the right as well. 90s, 5m, 1h30m and 2d are
    /// durations, 500MB and 1.5GiB sizes. `COLUMN =` finds rows without a value.
    #[arg(
        long = "where",
        value_name = "CONDITION",
        allow_hyphen_values = true,
        help_heading = "List"
    )]
    pub conditions: Vec<String>,
    /// Show these columns, in this order; one with a comma in its name stands in quotes: '"a, b",status'
    #[arg(
        long,
        value_name = "COLUMN,…",
        allow_hyphen_values = true,
        help_heading = "List"
    )]
    pub columns: Vec<String>,
    /// Show at most this many rows; without it, of a table of more than 200 rows the first and last 100
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = rows_wanted,
        help_heading = "List"
    )]
    pub limit: Option<usize>,
    /// Write the list to a file instead: .csv, .parquet, .json, .yaml or .txt
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "List")]
    pub save: Option<PathBuf>,
}

impl ListArgs {
    /// The format asked for: by `--output`, else by the ending of the file.
    ///
    /// # Errors
    /// When the ending of the file says nothing, or something else than `--output`.
    pub fn format(&self) -> Result<Format, MagicError> {
        let Some(path) = &self.save else {
            return Ok(self.output.unwrap_or_default());
        };
        let ending = path.extension().and_then(|ending| ending.to_str());
        let told = match ending.map(str::to_lowercase).as_deref() {
            Some("csv") => Some(Format::Csv),
            Some("parquet") => Some(Format::Parquet),
            Some("json") => Some(Format::Json),
            Some("yaml" | "yml") => Some(Format::Yaml),
            Some("txt") => Some(Format::Table),
            _ => None,
        };
        match (self.output, told) {
            // A text file takes any text.
            (Some(asked), Some(told)) if asked != told && told != Format::Table => {
                let word = |format: Format| {
                    let value = format.to_possible_value();
                    value.map_or_else(String::new, |value| value.get_name().to_owned())
                };
                Err(MagicError::usage(format!(
                    "{} would hold {}, and -o asks for {}",
                    path.display(),
                    word(told),
                    word(asked)
                ))
                .hint("leave out -o, or choose another ending"))
            }
            (Some(asked), _) => Ok(asked),
            (None, Some(told)) => Ok(told),
            (None, None) => Err(MagicError::usage(format!(
                "the name {} does not say what to write",
                path.display()
            ))
            .hint("end it in .csv, .parquet, .json, .yaml or .txt, or name the format with -o")),
        }
    }

    /// The rows for which every condition holds, by their numbers.
    ///
    /// # Errors
    /// When a condition makes no sense for these rows.
    pub fn filter(&self, rows: &impl Rows) -> Result<Vec<usize>, MagicError> {
        let mut kept: Vec<usize> = (0..rows.count()).collect();
        for filter in self.filters(rows) {
            let filter = filter?;
            kept.retain(|row| filter.holds(&|column| columns::datum(rows.key(*row, column))));
        }
        Ok(kept)
    }

    /// The conditions, bound to the columns of the rows.
    fn filters<'r>(
        &'r self,
        rows: &'r impl Rows,
    ) -> impl Iterator<Item = Result<Filter, MagicError>> + 'r {
        self.conditions.iter().map(|text| {
            Condition::parse(text)
                .and_then(|condition| condition.bind(&Named(rows)))
                .map_err(|complaint| refused(text, complaint))
        })
    }

    /// What conditions that hold for no row may have meant: the words that no row has in their column.
    pub fn never(&self, rows: &impl Rows) -> String {
        let mut all = String::new();
        for filter in self.filters(rows).flatten() {
            for (column, word) in filter.words() {
                if let Some(meant) = columns::meant(rows, column, word) {
                    all += &format!(
                        "; {} is never `{word}`: {meant}",
                        rows.columns()[column].key
                    );
                }
            }
            let is_pattern = |part: &&str| part.contains(['^', '$', '*', '\\', '[', '|']);
            for part in filter.parts().into_iter().filter(is_pattern) {
                all +=
                    &format!("; ~ looks for `{part}` as it stands, which is no regular expression");
            }
        }
        all
    }

    /// The rows that these flags want, in their order, by their numbers: filtered and sorted.
    ///
    /// # Errors
    /// When a column is not there, or a condition makes no sense.
    fn ordered(&self, rows: &impl Rows) -> Result<Vec<usize>, MagicError> {
        let mut keys = Vec::new();
        for key in columns::listed(&self.sort, rows.columns()) {
            // A column may begin with a minus sign itself, as Katib's parameters do.
            let (column, descending) = match columns::find(rows.columns(), &key) {
                Ok(column) => (column, false),
                Err(error) => match key.strip_prefix('-') {
                    Some(key) => (columns::find(rows.columns(), key)?, true),
                    None => return Err(error),
                },
            };
            keys.push((column, descending));
        }
        let mut kept = self.filter(rows)?;
        for (column, descending) in keys.into_iter().rev() {
            let mut keyed: Vec<_> = kept
                .into_iter()
                .map(|row| (rows.key(row, column), row))
                .collect();
            keyed.sort_by(|(a, _), (b, _)| order::compare(a, b, descending));
            kept = keyed.into_iter().map(|(_, row)| row).collect();
        }
        Ok(kept)
    }

    /// The rows that these flags show, in their order, by their numbers.
    ///
    /// # Errors
    /// When a column is not there, or a condition makes no sense.
    pub fn choose(&self, rows: &impl Rows) -> Result<Vec<usize>, MagicError> {
        let mut chosen = self.ordered(rows)?;
        chosen.truncate(self.limit.unwrap_or(usize::MAX));
        Ok(chosen)
    }

    /// The table as these flags want it: filtered, sorted, cut, its columns chosen. What is `for_reading`
    /// has of a long table the two ends only.
    fn arrange(&self, rows: impl Rows, for_reading: bool) -> Result<Table, MagicError> {
        let format = self.format()?;
        let mut chosen = self.ordered(&rows)?;
        let (total, all) = (rows.count(), chosen.len());
        let columns = self.columns_of(rows.columns(), format)?;
        let of_total = match all == total {
            true => String::new(),
            false => format!(", of {total} in all"),
        };
        let mut gaps = Vec::new();
        let footer = if let Some(limit) = self.limit.filter(|limit| *limit < all) {
            chosen.truncate(limit);
            Some(format!("{limit} of {all} shown{of_total}"))
        } else if for_reading && self.limit.is_none() && all > 2 * END {
            (chosen, gaps) = abridged(&chosen, &rows);
            Some(format!(
                "the first and last {END} of {all} rows{of_total}; --sort and --where choose, --limit {all} shows all, --save FILE.csv writes them"
            ))
        } else {
            (0 < all && all < total).then(|| format!("{all} of {total} satisfy --where"))
        };
        let is_none = all == 0 && total > 0;
        let never = is_none.then(|| self.never(&rows));
        let mut table = rows.into_table(&chosen, format.shows_objects());
        table.footer.extend(footer);
        if let Some(never) = never {
            table.empty = format!("none of the {total} rows satisfies --where{never}");
        } else if chosen.is_empty() && all > 0 {
            table.empty = "no rows, as --limit has it".to_owned();
        }
        if let Some(columns) = columns {
            table.select(&columns);
        }
        for (gap, left_out) in gaps.into_iter().rev() {
            let mut cells = vec![Cell::of(Value::Null, "…"); table.columns.len()];
            if let Some(first) = cells.first_mut() {
                first.text = format!("… {left_out} more");
            }
            let row = Row {
                cells,
                ..Row::default()
            };
            table.rows.insert(gap, row);
        }
        Ok(table)
    }

    /// The columns that are shown, by their numbers, where that is not all of them.
    fn columns_of(
        &self,
        columns: &[Column],
        format: Format,
    ) -> Result<Option<Vec<usize>>, MagicError> {
        let named = columns::listed(&self.columns, columns);
        if !named.is_empty() {
            let found = named.iter().map(|name| columns::find(columns, name));
            return found.collect::<Result<_, _>>().map(Some);
        }
        let narrow = (0..columns.len()).filter(|at| !columns[*at].wide);
        let is_narrow = matches!(format, Format::Table | Format::Name);
        Ok(is_narrow.then(|| narrow.collect()))
    }

    /// The table as these flags want it, in the representations that go with them.
    ///
    /// # Errors
    /// When a column is not there, a condition makes no sense, or the format is for files only.
    pub fn render(&self, rows: impl Rows) -> Result<Bundle, MagicError> {
        let format = self.format()?;
        let is_table = matches!(format, Format::Table | Format::Wide);
        let table = self.arrange(rows, is_table)?;
        Ok(if is_table {
            table.bundle()
        } else {
            let text = self.text(&table, format)?;
            if text.len() > LONGEST {
                return Err(MagicError::new(format!(
                    "{} are {} of text, too much for a notebook",
                    counted(table.rows.len(), "row"),
                    age::size(text.len() as u64)
                ))
                .hint("add `--save FILE` to write them to a file, or choose with --where, --columns and --limit"));
            }
            Bundle::text(text)
        })
    }

    /// What `--save` writes, all rows of it, and how many those are.
    ///
    /// # Errors
    /// When a column is not there, a condition makes no sense, or a name does not fit the format.
    pub fn file(
        &self,
        rows: impl Rows,
        redactor: &Redactor,
    ) -> Result<(Vec<u8>, usize), MagicError> {
        let format = self.format()?;
        let mut table = self.arrange(rows, false)?;
        table.footer.clear();
        if format == Format::Parquet {
            return Ok((table.parquet(redactor)?, table.rows.len()));
        }
        let mut text = redactor.text(&self.text(&table, format)?);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let content = text.into_bytes();
        Ok((content, table.rows.len()))
    }

    fn text(&self, table: &Table, format: Format) -> Result<String, MagicError> {
        let selected = !self.columns.is_empty();
        Ok(match format {
            Format::Json => table.json_text(selected),
            Format::Yaml => table.yaml_text(selected)?,
            Format::Csv => table.csv(),
            Format::Parquet => {
                return Err(
                    MagicError::usage("Parquet is binary, which a cell cannot show")
                        .hint("add `--save FILE.parquet` to write it to a file"),
                );
            }
            Format::Name => table.names(),
            Format::Table | Format::Wide => table.plain(),
        })
    }
}

/// What of a list may be completed in the cells that follow.
pub fn noted(rows: &impl Rows) -> Listed {
    let columns = rows.columns().iter().map(|column| column.key.clone());
    let first = (0..rows.count().min(LOOKED_THROUGH)).filter(|_| !rows.columns().is_empty());
    let names = first.filter_map(|row| rows.key(row, 0).value.as_str().map(str::to_owned));
    let others = rows.columns().iter().enumerate().skip(1);
    let values = others.filter_map(|(at, column)| Some((column.key.clone(), few(rows, at)?)));
    Listed {
        columns: columns.collect(),
        names: names.collect(),
        values: values.collect(),
    }
}

/// The words in a column, where they are few.
fn few(rows: &impl Rows, column: usize) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for row in 0..rows.count().min(LOOKED_THROUGH) {
        let key = rows.key(row, column);
        match key.value.as_str() {
            Some(word) if !found.contains(word) => {
                found.insert(word.to_owned());
            }
            // A number is not completed; nothing is said by a row without a value.
            None if !key.value.is_null() => return None,
            _ => {}
        }
        if found.len() > FEW {
            return None;
        }
    }
    Some(found).filter(|found| !found.is_empty())
}

fn rows_wanted(text: &str) -> Result<usize, &'static str> {
    text.parse()
        .map_err(|_| "it is the number of rows to show, such as 20")
}

/// The names of a list with commas, behind which there may be spaces. One that is known as it stands, or
/// is in quotes, may have commas itself.
pub fn names_of(texts: &[String], is_known: impl Fn(&str) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    for text in texts {
        if is_known(text) {
            names.push(text.clone());
            continue;
        }
        let (mut name, mut quote) = (String::new(), None);
        for char in text.chars() {
            match (char, quote) {
                (',', None) => names.push(std::mem::take(&mut name)),
                // A quote in the middle of a name is part of it.
                ('"' | '\'' | '`', None) if name.trim_start_matches([' ', '-']).is_empty() => {
                    quote = Some(char);
                }
                (char, Some(open)) if char == open => quote = None,
                (char, _) => name.push(char),
            }
        }
        names.push(name);
    }
    let names = names.iter().map(|name| name.trim().to_owned());
    names.filter(|name| !name.is_empty()).collect()
}

/// A condition with what is wrong marked in it.
fn refused(text: &str, complaint: Complaint) -> MagicError {
    let error = MagicError::usage(complaint.message).hint(complaint.hint);
    if text.is_empty() {
        return error;
    }
    error.detail(line::caret(text, complaint.span))
}

/// A table is for reading, and stays in the notebook: of a long one its two ends and what stands out;
/// and before which of these how many are left out.
fn abridged(chosen: &[usize], rows: &impl Rows) -> (Vec<usize>, Vec<(usize, usize)>) {
    let marked = chosen.iter().filter(|row| rows.is_marked(**row)).count();
    let (mut shown, mut gaps) = (Vec::new(), Vec::new());
    let mut left_out = 0;
    for (at, row) in chosen.iter().enumerate() {
        // In a list of many experiments each has a best trial, and they would be a long table again.
        let stands_out = marked <= MARKED && rows.is_marked(*row);
        if (END..chosen.len() - END).contains(&at) && !stands_out {
            left_out += 1;
            continue;
        }
        if left_out > 0 {
            gaps.push((shown.len(), std::mem::take(&mut left_out)));
        }
        shown.push(*row);
    }
    (shown, gaps)
}

#[cfg(test)]
mod tests;
