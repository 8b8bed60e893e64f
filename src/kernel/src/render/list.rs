//! The flags that every list has, and what they do to a table.

use std::cmp::Ordering;

use clap::ValueEnum;
use serde_json::Value;

use super::table::{Cell, Table};
use crate::event::Bundle;
use crate::magics::MagicError;
use crate::magics::nearest;

/// A table of more than twice as many rows shows this many from each of its ends.
const END: usize = 100;
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
    /// Just the names, one a line
    Name,
}

// A doc comment here would become the description of every magic that takes these flags.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ListArgs {
    /// How to show the list
    #[arg(
        short = 'o',
        long,
        value_enum,
        default_value_t,
        help_heading = "List",
        hide_possible_values = false
    )]
    pub output: Format,
    /// Sort by these columns; a minus sign before one puts the largest first
    #[arg(
        long,
        value_name = "[-]COLUMN",
        value_delimiter = ',',
        allow_hyphen_values = true,
        help_heading = "List"
    )]
    pub sort: Vec<String>,
    /// Show only rows for which this holds, such as `status=Running` or `accuracy>0.9`; several must all hold
    #[arg(
        long = "where",
        value_name = "CONDITION",
        allow_hyphen_values = true,
        help_heading = "List"
    )]
    pub conditions: Vec<String>,
    /// Show these columns, in this order
    #[arg(
        long,
        value_name = "COLUMN",
        value_delimiter = ',',
        allow_hyphen_values = true,
        help_heading = "List"
    )]
    pub columns: Vec<String>,
    /// Show at most this many rows; without it, of a table of more than 200 rows the first and last 100
    #[arg(long, value_name = "N", help_heading = "List")]
    pub limit: Option<usize>,
}

impl ListArgs {
    /// The table as these flags want it: filtered, sorted, cut, its columns chosen.
    ///
    /// # Errors
    /// When a column is not there, or a condition makes no sense.
    pub fn arrange(&self, mut table: Table) -> Result<Table, MagicError> {
        for condition in &self.conditions {
            let condition = Condition::parse(condition, &table)?;
            table
                .rows
                .retain(|row| condition.holds(&row.cells[condition.column]));
        }
        for key in self.sort.iter().rev() {
            // A column may begin with a minus sign itself, as Katib's parameters do.
            let (column, descending) = match find_column(&table, key) {
                Ok(column) => (column, false),
                Err(error) => match key.strip_prefix('-') {
                    Some(key) => (find_column(&table, key)?, true),
                    None => return Err(error),
                },
            };
            table.rows.sort_by(|a, b| {
                let (a, b) = (&a.cells[column], &b.cells[column]);
                // What has no value comes last either way.
                a.is_empty().cmp(&b.is_empty()).then_with(|| {
                    let order = compare(&a.value, &b.value);
                    if descending { order.reverse() } else { order }
                })
            });
        }
        let all = table.rows.len();
        if let Some(limit) = self.limit.filter(|limit| *limit < all) {
            table.rows.truncate(limit);
            table.footer.push(format!("{limit} of {all} shown"));
        }
        if !self.columns.is_empty() {
            let mut columns = Vec::new();
            for name in &self.columns {
                columns.push(find_column(&table, name)?);
            }
            table.select(&columns);
        } else if !matches!(
            self.output,
            Format::Wide | Format::Json | Format::Yaml | Format::Csv
        ) {
            let narrow: Vec<usize> = (0..table.columns.len())
                .filter(|at| !table.columns[*at].wide)
                .collect();
            table.select(&narrow);
        }
        Ok(table)
    }

    /// The table as these flags want it, in the representations that go with them.
    ///
    /// # Errors
    /// When a column is not there, or a condition makes no sense.
    pub fn render(&self, table: Table) -> Result<Bundle, MagicError> {
        let selected = !self.columns.is_empty();
        let table = self.arrange(table)?;
        Ok(match self.output {
            Format::Table | Format::Wide if self.limit.is_none() => abridged(table).bundle(),
            Format::Table | Format::Wide => table.bundle(),
            Format::Json => Bundle::text(table.json_text(selected)),
            Format::Yaml => Bundle::text(table.yaml_text(selected)?),
            Format::Csv => Bundle::text(table.csv()),
            Format::Name => Bundle::text(table.names()),
        })
    }
}

/// A table is for reading, and stays in the notebook: of a long one its two ends and what stands out.
fn abridged(mut table: Table) -> Table {
    let all = table.rows.len();
    if all <= 2 * END {
        return table;
    }
    let marked = table.rows.iter().filter(|row| row.marked).count();
    let mut left_out = 0;
    let rows = std::mem::take(&mut table.rows);
    for (at, row) in rows.into_iter().enumerate() {
        // In a list of many experiments each has a best trial, and they would be a long table again.
        let stands_out = row.marked && marked <= MARKED;
        if (END..all - END).contains(&at) && !stands_out {
            left_out += 1;
            continue;
        }
        if std::mem::take(&mut left_out) > 0 {
            table.row(vec![Cell::of(Value::Null, "…"); table.columns.len()]);
        }
        table.rows.push(row);
    }
    table.footer(format!(
        "the first and last {END} of {all} rows; --sort and --where choose, --limit {all} shows all, -o csv gives the numbers"
    ))
}

fn find_column(table: &Table, name: &str) -> Result<usize, MagicError> {
    let same = |column: &super::table::Column| {
        column.key.eq_ignore_ascii_case(name) || column.title.eq_ignore_ascii_case(name)
    };
    // `learning_rate` finds the parameter `--learning_rate`.
    let bare = |column: &super::table::Column| {
        column
            .key
            .trim_start_matches('-')
            .eq_ignore_ascii_case(name)
    };
    table
        .columns
        .iter()
        .position(same)
        .or_else(|| table.columns.iter().position(bare))
        .ok_or_else(|| {
            let keys: Vec<&str> = table
                .columns
                .iter()
                .map(|column| column.key.as_str())
                .collect();
            let error = MagicError::new(format!("there is no column {name:?} in this list"));
            match nearest::to(name.trim_start_matches('-'), keys.iter().copied()).first() {
                Some(near) => error.hint(format!(
                    "did you mean `{near}`? The columns are: {}",
                    keys.join(", ")
                )),
                None => error.hint(format!("the columns are: {}", keys.join(", "))),
            }
        })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Contains,
}

struct Condition {
    column: usize,
    operator: Operator,
    value: String,
}

impl Condition {
    fn parse(text: &str, table: &Table) -> Result<Self, MagicError> {
        const OPERATORS: [(&str, Operator); 9] = [
            ("!=", Operator::Unequal),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("==", Operator::Equal),
            ("=~", Operator::Contains),
            ("=", Operator::Equal),
            ("<", Operator::Less),
            (">", Operator::Greater),
            ("~", Operator::Contains),
        ];
        let at = text.find(['!', '<', '>', '=', '~']);
        let found = at.and_then(|at| {
            let (sign, operator) = OPERATORS
                .iter()
                .find(|(sign, _)| text[at..].starts_with(sign))?;
            Some((text[..at].trim(), *operator, text[at + sign.len()..].trim()))
        });
        let Some((name, operator, value)) = found.filter(|(name, ..)| !name.is_empty()) else {
            return Err(MagicError::new(format!("cannot understand the condition {text:?}"))
                .hint("write COLUMN, one of = != < <= > >= or ~ (contains), and a value, such as 'status=Running'"));
        };
        let value = value.trim_matches(['"', '\'']).to_owned();
        Ok(Self {
            column: find_column(table, name)?,
            operator,
            value,
        })
    }

    fn holds(&self, cell: &Cell) -> bool {
        let text = cell.plain_value();
        let (text, value) = (text.as_str(), self.value.as_str());
        let order = || match (text.parse::<f64>(), value.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.partial_cmp(&b),
            _ => Some(text.to_lowercase().cmp(&value.to_lowercase())),
        };
        match self.operator {
            Operator::Equal => order() == Some(Ordering::Equal),
            Operator::Unequal => order() != Some(Ordering::Equal),
            Operator::Contains => text.to_lowercase().contains(&value.to_lowercase()),
            // What has no value is neither small nor large.
            _ if cell.is_empty() => false,
            Operator::Less => order() == Some(Ordering::Less),
            Operator::LessOrEqual => matches!(order(), Some(Ordering::Less | Ordering::Equal)),
            Operator::Greater => order() == Some(Ordering::Greater),
            Operator::GreaterOrEqual => {
                matches!(order(), Some(Ordering::Greater | Ordering::Equal))
            }
        }
    }
}

/// Numbers by size, and before text; text without regard to case, with numbers in it by size (`t2` before `t10`).
fn compare(a: &Value, b: &Value) -> Ordering {
    let number = |value: &Value| {
        value
            .as_f64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
    };
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => {
            let text = |value: &Value| {
                value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_lowercase)
            };
            natural(&text(a), &text(b))
        }
    }
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

#[cfg(test)]
mod tests;
