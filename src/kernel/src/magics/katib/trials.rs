//! `:trials`.

use std::collections::HashMap;
use std::path::PathBuf;

use clap::Parser;
use katlab_lab::katib::kept::Entry;
use katlab_lab::katib::trials::{self, TrialRow, TrialTable};
use katlab_lab::katib::value::Value;
use serde_json::{Map, Value as Json, json};

use super::{assignment, cell, metric_cell};
use crate::bridge::trials_json;
use crate::magics::analysis::{SourceArgs, deleted, folder_source, gone, kept_files, kept_instead};
use crate::magics::binding::Given;
use crate::magics::kubernetes::{NamespaceArgs, ScopeArgs, age, jobs::took, place, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::counted;
use crate::render::list::ListArgs;
use crate::render::status::Status;
use crate::render::table::{Align, Cell, Column, Row, Table};

/// List trials with their parameters and metrics, the best one marked
///
/// The value of a metric is the one its strategy chooses (min, max or latest). Where the three differ,
/// they are columns as well: `accuracy.latest` beside `accuracy`; those of metrics other than the
/// objective are shown with `-o wide`. `--sort -accuracy --limit 5` shows the five best, and
/// `--where 'accuracy > 0.9 and lr < 0.01'` those that are good with a small rate.
///
/// What katlab saw of an experiment is kept: `:trials --deleted` lists those that are gone, and
/// `:trials mnist --deleted` shows the trials of one. `:trial`, `:logs`, `:plot`, `:analyze`, `:why`,
/// `:metrics test` and `:rerun` take `--deleted` as well.
///
/// `:trials mnist --sort -accuracy => trials` shows nothing and makes a Rust variable of the rows, a
/// `katlab::Trials`.
#[derive(Debug, Parser)]
pub struct Trials {
    /// The experiment; without it the trials of all experiments
    #[arg(value_name = "EXPERIMENT")]
    experiment: Option<String>,
    /// Read an exported experiment from this folder; no cluster is needed then
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath,
        conflicts_with_all = ["namespace", "all_namespaces"])]
    from: Option<PathBuf>,
    /// List the deleted experiments of which something is kept; with a name the trials of that one, or of
    /// NAME@ID among several of a name
    #[arg(long, conflicts_with = "from")]
    deleted: bool,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Trials {
    const NAME: &'static str = "trials";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let now = jiff::Timestamp::now();
        if let Some(folder) = &self.from {
            let source = SourceArgs {
                from: Some(folder.clone()),
                ..SourceArgs::default()
            };
            let source = source.read(ctx, self.experiment.as_deref()).await?;
            let empty = format!(
                "experiment {} left no trials",
                source.experiment.metadata.name()
            );
            let found = source.listed();
            let table = self.objects(table(&found, now), &found.rows)?.empty(empty);
            if ctx.taker.is_some() {
                let folder = folder.display().to_string();
                return self.give(ctx, found, table, "", &folder);
            }
            return ctx.list(table, &self.list);
        }
        if self.deleted && self.experiment.is_none() && ctx.taker.is_none() {
            return self.gone(ctx, now).await;
        }
        if let Some(experiment) = &self.experiment {
            if self.scope.all_namespaces {
                return Err(MagicError::usage("an experiment is in one namespace")
                    .hint("leave out -A, or name the namespace with -n"));
            }
            if self.deleted || experiment.contains('@') {
                return self.of_deleted(ctx, experiment).await;
            }
            let (cluster, _) = self.scope.cluster(ctx).await?;
            let reading = async {
                trials::of_experiment(&cluster, &cluster.namespace, experiment)
                    .await
                    .map_err(|error| kept_instead(ctx, &cluster, experiment, error))
            };
            let found = ctx.or_interrupted(reading).await?;
            let table = self
                .objects(table(&found, now), &found.rows)?
                .empty(format!("experiment {experiment} has no trials yet"));
            if ctx.taker.is_some() {
                return self.give(ctx, found, table, &cluster.namespace, "");
            }
            return ctx.list(table, &self.list);
        }
        if ctx.taker.is_some() {
            return Err(
                MagicError::usage("a variable takes the trials of one experiment")
                    .hint("name the experiment: `:trials mnist => trials`"),
            );
        }
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let found = ctx.or_interrupted(trials::list(&cluster, &scope)).await?;
        let table = overview(&found, self.scope.all_namespaces, now);
        let table = self.objects(table, &found)?.empty(format!(
            "there are no trials {}; experiments make them",
            place(&scope)
        ));
        ctx.list(table, &self.list)
    }

    fn explain(&self) -> Vec<String> {
        if self.deleted {
            let name = self.experiment.as_deref();
            let file = name.map_or("kept.json", |_| "trials.json");
            return vec![format!("cat {}", kept_files(name, file))];
        }
        if self.from.is_some() {
            let source = SourceArgs {
                from: self.from.clone(),
                ..SourceArgs::default()
            };
            return source.explain(None);
        }
        let labels = self
            .experiment
            .as_ref()
            .map(|name| format!(" -l katib.kubeflow.org/experiment={}", quoted(name)))
            .unwrap_or_default();
        vec![format!(
            "kubectl get trials{}{labels}",
            self.scope.kubectl()
        )]
    }
}

impl Trials {
    /// A table of trials, with the objects behind its rows where they will be shown: of ten thousand
    /// they take longer to make than all the cells.
    fn objects(&self, mut table: Table, trials: &[TrialRow]) -> Result<Table, MagicError> {
        if self.list.format()?.shows_objects() {
            for (row, trial) in table.rows.iter_mut().zip(trials) {
                row.object = Some(object(trial));
            }
        }
        Ok(table)
    }

    /// The trials of an experiment that was deleted.
    async fn of_deleted(&self, ctx: &Context, experiment: &str) -> Result<(), MagicError> {
        let place = NamespaceArgs {
            namespace: self.scope.namespace.clone(),
        };
        let entry = deleted(ctx, &place, Some(experiment)).await?;
        let found = folder_source(ctx, &entry.folder)?.listed();
        // Those that were under way are so no more.
        let table = self
            .objects(table(&found, entry.index.kept), &found.rows)?
            .empty(format!("experiment {experiment} left no trials"));
        if ctx.taker.is_some() {
            let folder = entry.folder.display().to_string();
            return self.give(ctx, found, table, "", &folder);
        }
        ctx.list(table, &self.list)
    }

    /// The experiments that were deleted and of which something is kept.
    async fn gone(&self, ctx: &Context, now: jiff::Timestamp) -> Result<(), MagicError> {
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let store = ctx.session.kept()?;
        let entries = gone(ctx, &store, &cluster, &scope).await?;
        let mut table = kept_table(&entries, self.scope.all_namespaces, now).empty(format!(
            "nothing is kept of experiments deleted {}",
            place(&scope)
        ));
        if let Some(first) = entries.first() {
            table = table.footer(format!(
                "`:trials {} --deleted` shows its trials; `:lab clean` frees the space",
                first.index.whose.name
            ));
        }
        ctx.list(table, &self.list)
    }

    /// The trials that the table would show, in its order, for a Rust variable.
    fn give(
        &self,
        ctx: &Context,
        mut found: TrialTable,
        table: Table,
        namespace: &str,
        folder: &str,
    ) -> Result<(), MagicError> {
        let shown = self.list.arrange(table)?;
        let mut rows: HashMap<String, TrialRow> = std::mem::take(&mut found.rows)
            .into_iter()
            .map(|row| (row.name.clone(), row))
            .collect();
        found.rows = shown
            .rows
            .iter()
            .filter_map(|row| rows.remove(&row.name))
            .collect();
        ctx.give(Given {
            words: format!("{} of {}", counted(found.rows.len(), "trial"), found.name()),
            value: trials_json(&found, namespace, folder),
        });
        Ok(())
    }
}

/// Experiments of which something is kept.
fn kept_table(entries: &[Entry], namespaces: bool, now: jiff::Timestamp) -> Table {
    let mut columns = vec![
        Column::new("NAME"),
        Column::new("ID"),
        Column::new("STATUS").hover("how it stood"),
        Column::number("TRIALS"),
        Column::number("LOGS").hover("trials whose logs are kept"),
        Column::number("BEST"),
        Column::new("OBJECTIVE").wide(),
        Column::number("AGE"),
        Column::number("DELETED").hover("how long it has been known to be gone"),
        Column::number("SIZE"),
    ];
    if namespaces {
        columns.insert(0, Column::new("NAMESPACE"));
    }
    let mut table = Table::new(columns);
    for entry in entries {
        let index = &entry.index;
        let mut cells = vec![
            Cell::text(&index.whose.name),
            Cell::text(index.whose.id()),
            Cell::status(&index.status),
            Cell::count(index.trials),
            Cell::count(index.logs.len()),
            index.best.map(Cell::number).unwrap_or_default(),
            Cell::text(&index.objective),
            age(index.created, now),
            age(index.gone, now),
            Cell::size(entry.size),
        ];
        if namespaces {
            cells.insert(0, Cell::text(&index.whose.namespace));
        }
        table.row(cells).name.clone_from(&index.whose.name);
    }
    table
}

/// The trials of one experiment, parameters and metrics as columns.
///
/// Of a metric the value that stands for the trial is shown; the smallest, largest and last have
/// columns of their own where they differ in any trial, beside the objective at once and beside the
/// others with `-o wide`.
pub fn table(found: &TrialTable, now: jiff::Timestamp) -> Table {
    let mut columns = vec![Column::new("NAME"), Column::new("STATUS")];
    for name in &found.parameters {
        let values = found.rows.iter().filter_map(|row| row.parameter(name));
        let column = named("parameter", name, &columns);
        columns.push(Column {
            align: align(values),
            ..column.hover("parameter")
        });
    }
    let metrics: Vec<(&String, Vec<Reading>)> = found
        .metrics
        .iter()
        .map(|name| (name, readings(found, name)))
        .collect();
    for (name, readings) in &metrics {
        let objective = **name == found.objective.metric;
        for reading in readings {
            let values = found.rows.iter().filter_map(|row| reading.of(row, name));
            let column = named("metric", &reading.key(name), &columns);
            let column = Column {
                align: align(values),
                title: reading.title(name),
                wide: !objective && reading.is_extra(),
                real: true,
                ..column
            };
            let way = match (objective, found.objective.maximize) {
                (true, true) => "; larger is better",
                (true, false) => "; smaller is better",
                (false, _) => "",
            };
            let what = if objective { "objective" } else { "metric" };
            columns.push(column.hover(format!("{what}{}{way}", reading.hover())));
        }
    }
    columns.extend([
        Column::number("DURATION"),
        Column::number("AGE").wide(),
        Column::new("REASON").wide(),
        Column::new("MESSAGE").wide(),
    ]);
    let mut table = Table::new(columns);
    let row = |trial: &TrialRow| {
        let mut cells = vec![Cell::text(&trial.name), status(trial)];
        cells.extend(
            found
                .parameters
                .iter()
                .map(|name| trial.parameter(name).map(cell).unwrap_or_default()),
        );
        for (name, readings) in &metrics {
            cells.extend(readings.iter().map(|reading| {
                let value = reading.of(trial, name);
                match reading {
                    Reading::Chosen(_) => trial.of_metric(name).map(metric_cell),
                    _ => value.map(cell),
                }
                .unwrap_or_default()
            }));
        }
        cells.extend([
            took(trial.started, trial.duration(now).and(trial.ended), now),
            age(trial.created, now),
            Cell::text(why(trial).0),
            Cell::text(why(trial).1),
        ]);
        Row {
            name: trial.name.clone(),
            cells,
            marked: trial.best,
            object: None,
        }
    };
    table.rows = found.rows.iter().map(row).collect();
    table
}

/// A column that keeps its name in exports, also where another has taken it: a parameter may be called
/// `status`, and a metric as a parameter.
fn named(what: &str, name: &str, before: &[Column]) -> Column {
    const LATER: [&str; 4] = ["duration", "age", "reason", "message"];
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

/// The trials of several experiments, what differs in one column.
fn overview(found: &[TrialRow], namespaces: bool, now: jiff::Timestamp) -> Table {
    let mut columns = vec![
        Column::new("NAME"),
        Column::new("EXPERIMENT"),
        Column::new("STATUS"),
        Column::new("METRICS"),
        Column::new("PARAMETERS"),
        Column::number("DURATION"),
        Column::number("AGE"),
        Column::new("MESSAGE").wide(),
    ];
    if namespaces {
        columns.insert(0, Column::new("NAMESPACE"));
    }
    let mut table = Table::new(columns);
    for trial in found {
        let metrics: Vec<String> = trial
            .metrics
            .iter()
            .filter_map(|metric| {
                Some(format!(
                    "{} {}",
                    metric.name,
                    super::text(metric.value.as_ref()?)
                ))
            })
            .collect();
        let mut cells = vec![
            Cell::text(&trial.name),
            Cell::text(&trial.experiment),
            status(trial),
            Cell::text(metrics.join(", ")),
            Cell::text(assignment(&trial.parameters)),
            took(trial.started, trial.ended, now),
            age(trial.created, now),
            Cell::text(why(trial).1),
        ];
        if namespaces {
            cells.insert(0, Cell::text(&trial.namespace));
        }
        let row = table.row(cells);
        row.name.clone_from(&trial.name);
        row.marked = trial.best;
    }
    table
}

/// Reason and message: what holds its pod up says more than Katib's `Job is running`.
fn why(trial: &TrialRow) -> (&str, &str) {
    match &trial.obstacle {
        Some(obstacle) => (&obstacle.reason, &obstacle.message),
        None => (&trial.reason, &trial.message),
    }
}

fn status(trial: &TrialRow) -> Cell {
    let cell = Cell::status(&trial.status).hover(why(trial).1);
    match &trial.obstacle {
        // The value stays Katib's word: conditions and exports go by it.
        Some(obstacle) => Cell {
            text: format!("{}: {}", trial.status, obstacle.reason),
            ..cell.with_status(Status::Warn)
        },
        None => cell,
    }
}

/// A trial as JSON.
pub fn object(trial: &TrialRow) -> Json {
    let parameters: Map<String, Json> = trial
        .parameters
        .iter()
        .map(|(name, value)| (name.clone(), super::json(value)))
        .collect();
    let metrics: Map<String, Json> = trial
        .metrics
        .iter()
        .map(|metric| (metric.name.clone(), super::metric_json(metric)))
        .collect();
    let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string());
    let obstacle = trial
        .obstacle
        .as_ref()
        .map(|one| json!({"reason": one.reason, "message": one.message, "image": one.image}));
    json!({
        "obstacle": obstacle, "namespace": trial.namespace, "name": trial.name, "experiment": trial.experiment,
        "status": trial.status, "reason": trial.reason, "message": trial.message,
        "parameters": parameters, "metrics": metrics, "best": trial.best,
        "created": time(trial.created), "started": time(trial.started), "ended": time(trial.ended),
    })
}

#[cfg(test)]
mod tests;
