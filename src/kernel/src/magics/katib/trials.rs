//! `:trials`.

use std::path::PathBuf;

use clap::Parser;
use katlab_lab::katib::kept::Entry;
use katlab_lab::katib::trials::{self, TrialRow, TrialTable};
use serde_json::{Map, Value as Json, json};

use super::assignment;
use crate::bridge::trials_json;
use crate::magics::analysis::{SourceArgs, deleted, gone, kept_files, or_kept, read_folder};
use crate::magics::binding::Given;
use crate::magics::kubernetes::{
    NamespaceArgs, ScopeArgs, age, elsewhere, jobs::took, place, quoted,
};
use crate::magics::{Context, Magic, MagicError};
use crate::render::counted;
use crate::render::list::ListArgs;
use crate::render::status::Status;
use crate::render::table::{Cell, Column, Table};

mod listing;

pub use listing::Listing;

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
            let folder = folder.display().to_string();
            return self
                .show_found(ctx, move || source.listed(), now, empty, ("", &folder))
                .await;
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
            let found = trials::of_experiment(&cluster, &cluster.namespace, experiment);
            let found = or_kept(ctx, &cluster, experiment, found).await?;
            let empty = format!("experiment {experiment} has no trials yet");
            let namespace = &cluster.namespace;
            return self
                .show_found(ctx, || found, now, empty, (namespace, ""))
                .await;
        }
        if ctx.taker.is_some() {
            return Err(
                MagicError::usage("a variable takes the trials of one experiment")
                    .hint("name the experiment: `:trials mnist => trials`"),
            );
        }
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let found = ctx.or_interrupted(trials::list(&cluster, &scope)).await?;
        let mut table = overview(&found, self.scope.all_namespaces, now).empty(format!(
            "there are no trials {}; experiments make them",
            place(&scope)
        ));
        if self.list.format()?.shows_objects() {
            for (row, trial) in table.rows.iter_mut().zip(&found) {
                row.object = Some(object(trial));
            }
        }
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
    /// The trials of an experiment that was deleted.
    async fn of_deleted(&self, ctx: &Context, experiment: &str) -> Result<(), MagicError> {
        let place = NamespaceArgs {
            namespace: self.scope.namespace.clone(),
        };
        let entry = deleted(ctx, &place, Some(experiment)).await?;
        let source = read_folder(ctx, &entry.folder).await?;
        let empty = format!("experiment {experiment} left no trials");
        let folder = entry.folder.display().to_string();
        // Those that were under way are so no more.
        let found = move || source.listed();
        self.show_found(ctx, found, entry.index.kept, empty, ("", &folder))
            .await
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
                "`:trials {}{} --deleted` shows its trials; `:lab clean` frees the space",
                first.index.whose.name,
                elsewhere(ctx, &first.index.whose.namespace).await
            ));
        }
        ctx.list(table, &self.list)
    }

    /// Shows the trials of one experiment, or gives those that would be shown to a Rust variable.
    async fn show_found(
        &self,
        ctx: &Context,
        found: impl FnOnce() -> TrialTable + Send + 'static,
        now: jiff::Timestamp,
        empty: String,
        (namespace, folder): (&str, &str),
    ) -> Result<(), MagicError> {
        let (context, list) = (ctx.clone(), self.list.clone());
        if ctx.taker.is_none() {
            let ready = ctx.compute(move || {
                let found = found();
                context.ready(Listing::new(&found, now).empty(empty), &list)
            });
            return ctx.show(ready.await?);
        }
        let chosen = ctx.compute(move || {
            let found = found();
            let chosen = list.choose(&Listing::new(&found, now))?;
            Ok((found, chosen))
        });
        let (mut found, chosen) = chosen.await?;
        let mut rows: Vec<_> = std::mem::take(&mut found.rows)
            .into_iter()
            .map(Some)
            .collect();
        found.rows = chosen
            .into_iter()
            .filter_map(|row| rows[row].take())
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
