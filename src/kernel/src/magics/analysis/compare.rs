//! `:compare`: experiments side by side.

use std::path::Path;

use clap::Parser;
use katlab_analysis::{TrialTable, Value, chart};
use katlab_lab::katib::experiments::Summary;

use super::{Source, SourceArgs, folder_source, plot};
use crate::magics::kubernetes::{NamespaceArgs, quoted};
use crate::magics::{Context, Magic, MagicError, katib};
use crate::render::list::ListArgs;
use crate::render::table::{Cell, Column, Table, number_text};
use crate::render::{age, counted};

/// Lay experiments side by side: what they found, what it cost, and in what they differ
///
/// An argument with a `/` in it is the folder of an export. The chart shows the best so far of each, where
/// they have the same objective.
#[derive(Debug, Parser)]
pub struct Compare {
    /// The experiments, or folders of exports such as `./mnist`
    #[arg(value_name = "EXPERIMENT", required = true, num_args = 2..)]
    names: Vec<String>,
    #[command(flatten)]
    place: NamespaceArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Compare {
    const NAME: &'static str = "compare";

    fn explain(&self) -> Vec<String> {
        self.names
            .iter()
            .filter(|name| !name.contains('/'))
            .map(|name| {
                format!(
                    "kubectl get experiment {}{} -o yaml",
                    quoted(name),
                    self.place.kubectl()
                )
            })
            .collect()
    }

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let mut sources: Vec<(String, Source)> = Vec::new();
        for name in &self.names {
            let source = if name.contains('/') {
                folder_source(ctx, Path::new(name))?
            } else {
                let args = SourceArgs {
                    place: self.place.clone(),
                    ..SourceArgs::default()
                };
                args.read(ctx, Some(name)).await?
            };
            let known = source.experiment.metadata.name();
            // Two of one name are told apart by where they come from.
            let title = if sources.iter().any(|(title, _)| title == known) {
                name.clone()
            } else {
                known.to_owned()
            };
            if sources.iter().any(|(before, _)| *before == title) {
                return Err(MagicError::usage(format!("{title} is named twice"))
                    .hint("name different experiments"));
            }
            sources.push((title, source));
        }
        let plain = self.list.save.is_none() && self.list.output.is_none();
        ctx.list(table(&sources), &self.list)?;
        if plain {
            let tables: Vec<(String, TrialTable)> = sources
                .iter()
                .map(|(title, source)| (title.clone(), source.table()))
                .collect();
            match chart::compare(&tables) {
                Ok(chart) => ctx.output.show(plot::bundle(&chart)?),
                Err(error) => ctx.output.note(error.to_string()),
            }
        }
        Ok(())
    }
}

/// A row for each thing to compare, a column for each experiment.
fn table(sources: &[(String, Source)]) -> Table {
    let titles = sources.iter().map(|(title, _)| Column::new(title.clone()));
    let mut table = Table::new(std::iter::once(Column::new("WHAT")).chain(titles));
    let all: Vec<(Summary, TrialTable, &Source)> = sources
        .iter()
        .map(|(_, source)| (Summary::of(&source.experiment), source.table(), source))
        .collect();
    type Of<'a> = &'a dyn Fn(&(Summary, TrialTable, &Source)) -> Cell;
    let mut row = |what: &str, of: Of| {
        let cells: Vec<Cell> = all.iter().map(of).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            let differ = cells.iter().any(|cell| cell.value != cells[0].value);
            table
                .row(std::iter::once(Cell::text(what)).chain(cells))
                .marked = differ;
        }
    };
    row("status", &|(summary, ..)| Cell::status(&summary.status));
    row("objective", &|(summary, ..)| {
        Cell::text(katib::goal(&summary.objective))
    });
    row("best", &|(_, table, _)| {
        table
            .best()
            .map(|(_, value)| Cell::number(value))
            .unwrap_or_default()
    });
    row("best trial", &|(_, table, _)| {
        table
            .best()
            .map(|(row, _)| Cell::text(&row.name))
            .unwrap_or_default()
    });
    row("reached at trial", &|(_, table, _)| {
        let best = table.best().map(|(row, _)| row.name.clone());
        let at = table
            .rows
            .iter()
            .position(|row| Some(&row.name) == best.as_ref());
        at.map(|at| Cell::count(at + 1)).unwrap_or_default()
    });
    row("trials", &|(summary, table, _)| {
        Cell::of(table.rows.len(), katib::counts(&summary.counts))
    });
    row("duration", &|(summary, ..)| {
        let took = summary.started.zip(summary.ended);
        took.and_then(|(from, to)| to.duration_since(from).try_into().ok())
            .map(Cell::took_about)
            .unwrap_or_default()
    });
    row("trial time in all", &|(_, table, _)| {
        let seconds: f64 = table
            .rows
            .iter()
            .filter_map(katlab_analysis::Row::seconds)
            .sum();
        let time = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default();
        Cell::of(seconds, age::age(time)).hover("the durations of all trials added up")
    });
    row("algorithm", &|(summary, ..)| Cell::text(&summary.algorithm));
    row("at once", &|(summary, ..)| {
        summary.parallel.map(Cell::count).unwrap_or_default()
    });
    row("trials at most", &|(summary, ..)| {
        summary.max_trials.map(Cell::count).unwrap_or_default()
    });
    let mut parameters: Vec<&str> = Vec::new();
    for parameter in all.iter().flat_map(|(_, table, _)| &table.parameters) {
        if !parameters.contains(&parameter.name.as_str()) {
            parameters.push(&parameter.name);
        }
    }
    for name in parameters {
        row(&format!("space of {name}"), &|(_, _, source)| {
            let specs = &source.experiment.spec.parameters;
            let spec = specs.iter().find(|spec| spec.name == name);
            spec.map(|spec| Cell::text(space(spec))).unwrap_or_default()
        });
        row(&format!("best {name}"), &|(_, table, _)| {
            let value = table.best().and_then(|(row, _)| {
                let at = table.parameters.iter().position(|one| one.name == name)?;
                row.parameters[at].clone()
            });
            match value {
                Some(Value::Number(number)) => Cell::of(number, number_text(number)),
                Some(Value::Text(text)) => Cell::text(text),
                None => Cell::none(),
            }
        });
    }
    table.footer(format!(
        "★ where {} differ",
        counted(all.len(), "experiment")
    ))
}

/// A space in short: `0.001 to 1, log` or the choices.
fn space(spec: &katlab_katib::types::ParameterSpec) -> String {
    let space = &spec.feasible_space;
    if !space.list.is_empty() {
        return space.list.join(", ");
    }
    let mut words = format!("{} to {}", space.min, space.max);
    if !space.step.is_empty() {
        words.push_str(&format!(", step {}", space.step));
    }
    let distribution = serde_json::to_value(&space.distribution).unwrap_or_default();
    match distribution.as_str() {
        None | Some("" | "uniform") => {}
        Some(word) => words.push_str(&format!(", {word}")),
    }
    words
}
