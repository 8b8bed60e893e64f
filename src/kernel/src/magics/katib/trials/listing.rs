//! The trials of one experiment as the rows of a list.

use katlab_lab::katib::trials::{TrialRow, TrialTable};
use katlab_lab::katib::value::Value;

use super::{object, status, why};
use crate::magics::katib::{cell, json, metric_cell};
use crate::magics::kubernetes::{age, jobs::took};
use crate::render::list::Rows;
use crate::render::table::{Align, Cell, Column, Key, Row, Table};

/// The trials of one experiment, parameters and metrics as columns.
///
/// Of a metric the value that stands for the trial is shown; the smallest, largest and last have
/// columns of their own where they differ in any trial, beside the objective at once and beside the
/// others with `-o wide`.
pub struct Listing<'t> {
    found: &'t TrialTable,
    now: jiff::Timestamp,
    columns: Vec<Column>,
    /// What each column shows.
    fields: Vec<Field<'t>>,
    empty: String,
}

/// What a column shows of a trial.
enum Field<'t> {
    Name,
    Status,
    Parameter(&'t str),
    Metric(&'t str, Reading),
    Duration,
    Age,
    Reason,
    Message,
    Best,
}

impl<'t> Listing<'t> {
    /// Trials as they are at a time.
    pub fn new(found: &'t TrialTable, now: jiff::Timestamp) -> Self {
        let mut listing = Self {
            found,
            now,
            columns: Vec::new(),
            fields: Vec::new(),
            empty: "no trials".to_owned(),
        };
        listing.add(Field::Name, Column::new("NAME"));
        listing.add(Field::Status, Column::new("STATUS"));
        for name in &found.parameters {
            let values = found.rows.iter().filter_map(|row| row.parameter(name));
            let column = Column {
                align: align(values),
                ..named("parameter", name, &listing.columns).hover("parameter")
            };
            listing.add(Field::Parameter(name), column);
        }
        for name in &found.metrics {
            for reading in readings(found, name) {
                let column = metric_column(found, name, &reading, &listing.columns);
                listing.add(Field::Metric(name, reading), column);
            }
        }
        listing.add(Field::Duration, Column::number("DURATION"));
        listing.add(Field::Age, Column::number("AGE").wide());
        listing.add(Field::Reason, Column::new("REASON").wide());
        listing.add(Field::Message, Column::new("MESSAGE").wide());
        let best = Column::new("BEST")
            .wide()
            .hover("the experiment's best trial so far");
        listing.add(Field::Best, best);
        listing
    }

    fn add(&mut self, field: Field<'t>, column: Column) {
        self.fields.push(field);
        self.columns.push(column);
    }

    /// With a text for when there are no rows.
    #[must_use]
    pub fn empty(self, empty: impl Into<String>) -> Self {
        Self {
            empty: empty.into(),
            ..self
        }
    }

    /// All of them as a table.
    pub fn whole(self) -> Table {
        let all: Vec<usize> = (0..self.count()).collect();
        self.into_table(&all, false)
    }

    fn show(&self, trial: &TrialRow, field: &Field<'_>) -> Cell {
        match field {
            Field::Name => Cell::text(&trial.name),
            Field::Status => status(trial),
            Field::Parameter(name) => trial.parameter(name).map(cell).unwrap_or_default(),
            Field::Metric(name, Reading::Chosen(_)) => {
                trial.of_metric(name).map(metric_cell).unwrap_or_default()
            }
            Field::Metric(name, reading) => reading.of(trial, name).map(cell).unwrap_or_default(),
            Field::Duration => {
                let ended = trial.duration(self.now).and(trial.ended);
                took(trial.started, ended, self.now)
            }
            Field::Age => age(trial.created, self.now),
            Field::Reason => Cell::text(why(trial).0),
            Field::Message => Cell::text(why(trial).1),
            Field::Best => Cell::bool(trial.best),
        }
    }
}

impl Rows for Listing<'_> {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn count(&self) -> usize {
        self.found.rows.len()
    }

    fn key(&self, row: usize, column: usize) -> Key<'_> {
        let trial = &self.found.rows[row];
        let value = |value: Option<&Value>| Key::of(value.map(json).unwrap_or_default());
        match &self.fields[column] {
            Field::Parameter(name) => value(trial.parameter(name)),
            Field::Metric(name, reading) => value(reading.of(trial, name)),
            field => self.show(trial, field).into(),
        }
    }

    fn is_marked(&self, row: usize) -> bool {
        self.found.rows[row].best
    }

    fn into_table(self, rows: &[usize], objects: bool) -> Table {
        let row = |row: &usize| {
            let trial = &self.found.rows[*row];
            let cells = self.fields.iter().map(|field| self.show(trial, field));
            Row {
                name: trial.name.clone(),
                cells: cells.collect(),
                object: objects.then(|| object(trial)),
                marked: trial.best,
            }
        };
        let rows = rows.iter().map(row).collect();
        Table {
            rows,
            empty: self.empty,
            ..Table::new(self.columns)
        }
    }
}

/// The column of a metric's value, named so that it is unlike those before it.
fn metric_column(found: &TrialTable, name: &str, reading: &Reading, before: &[Column]) -> Column {
    let is_objective = name == found.objective.metric;
    let way = match (is_objective, found.objective.maximize) {
        (true, true) => "; larger is better",
        (true, false) => "; smaller is better",
        (false, _) => "",
    };
    let what = if is_objective { "objective" } else { "metric" };
    let values = found.rows.iter().filter_map(|row| reading.of(row, name));
    let column = Column {
        align: align(values),
        title: reading.title(name),
        wide: !is_objective && reading.is_extra(),
        real: true,
        ..named("metric", &reading.key(name), before)
    };
    column.hover(format!("{what}{}{way}", reading.hover()))
}

/// A column that keeps its name in exports, also where another has taken it: a parameter may be called
/// `status`, and a metric as a parameter.
fn named(what: &str, name: &str, before: &[Column]) -> Column {
    const LATER: [&str; 5] = ["duration", "age", "reason", "message", "best"];
    let taken = LATER.contains(&name) || before.iter().any(|column| column.key == name);
    Column {
        key: if taken {
            format!("{what}.{name}")
        } else {
            name.to_owned()
        },
        ..Column::new(name)
    }
}

/// Numbers stand at the right, also where some are not finite.
fn align<'a>(values: impl Iterator<Item = &'a Value>) -> Align {
    let mut values = values.peekable();
    let none = values.peek().is_none();
    let number = |value: &Value| match value {
        Value::Text(text) => text.parse::<f64>().is_ok(),
        _ => true,
    };
    if none || values.all(number) {
        Align::Right
    } else {
        Align::Left
    }
}

/// One of the values that Katib keeps of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reading {
    /// The one that stands for the trial; its name where the others are shown too.
    Chosen(Option<String>),
    Min,
    Max,
    Latest,
}

impl Reading {
    fn of<'a>(&self, trial: &'a TrialRow, metric: &str) -> Option<&'a Value> {
        let metric = trial.of_metric(metric)?;
        match self {
            Self::Chosen(_) => &metric.value,
            Self::Min => &metric.min,
            Self::Max => &metric.max,
            Self::Latest => &metric.latest,
        }
        .as_ref()
    }

    fn is_extra(&self) -> bool {
        !matches!(self, Self::Chosen(_))
    }

    fn word(&self) -> &str {
        match self {
            Self::Chosen(strategy) => strategy.as_deref().unwrap_or_default(),
            Self::Min => "min",
            Self::Max => "max",
            Self::Latest => "latest",
        }
    }

    fn key(&self, metric: &str) -> String {
        if self.is_extra() {
            format!("{metric}.{}", self.word())
        } else {
            metric.to_owned()
        }
    }

    fn title(&self, metric: &str) -> String {
        match self {
            Self::Chosen(None) => metric.to_owned(),
            _ => format!("{metric} ({})", self.word()),
        }
    }

    fn hover(&self) -> String {
        match self {
            Self::Chosen(None) => String::new(),
            Self::Chosen(Some(strategy)) => {
                format!(": the {strategy} of each trial's values, by which the experiment chose")
            }
            _ => format!(": the {} of each trial's values", self.word()),
        }
    }
}

/// What is to be shown of a metric: one value where they agree, else each.
fn readings(found: &TrialTable, name: &str) -> Vec<Reading> {
    let of_metric = || found.rows.iter().filter_map(|row| row.of_metric(name));
    let differ = of_metric().any(|metric| {
        let mut values = [&metric.min, &metric.max, &metric.latest]
            .into_iter()
            .flatten();
        let first = values.next();
        values.any(|value| Some(value) != first)
    });
    let strategy = of_metric().next().map(|metric| metric.strategy.clone());
    let (true, Some(strategy)) = (differ, strategy) else {
        return vec![Reading::Chosen(None)];
    };
    let others = [Reading::Min, Reading::Max, Reading::Latest]
        .into_iter()
        .filter(|reading| reading.word() != strategy);
    std::iter::once(Reading::Chosen(Some(strategy.clone())))
        .chain(others)
        .collect()
}
