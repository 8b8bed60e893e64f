//! `:trials`.

use clap::Parser;
use katlab_lab::katib::trials::{self, TrialRow, TrialTable};
use serde_json::{Map, Value as Json, json};

use super::{assignment, cell, metric_cell};
use crate::magics::kubernetes::{ScopeArgs, age, jobs::took, place, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::list::ListArgs;
use crate::render::status::Status;
use crate::render::table::{Align, Cell, Column, Table};

/// List trials with their parameters and metrics, the best one marked
///
/// The value of a metric is the one its strategy chooses (min, max or latest); the other two are on
/// hover and in `-o json`. `--sort -accuracy --limit 5` shows the five best.
#[derive(Debug, Parser)]
pub struct Trials {
    /// The experiment; without it the trials of all experiments
    #[arg(value_name = "EXPERIMENT")]
    experiment: Option<String>,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Trials {
    const NAME: &'static str = "trials";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let now = jiff::Timestamp::now();
        if let Some(experiment) = &self.experiment {
            if self.scope.all_namespaces {
                return Err(MagicError::usage("an experiment is in one namespace")
                    .hint("leave out -A, or name the namespace with -n"));
            }
            let found = ctx
                .or_interrupted(trials::of_experiment(
                    &cluster,
                    &cluster.namespace,
                    experiment,
                ))
                .await?;
            let table =
                table(&found, now).empty(format!("experiment {experiment} has no trials yet"));
            return ctx.output.list(table, &self.list);
        }
        let found = ctx.or_interrupted(trials::list(&cluster, &scope)).await?;
        let table = overview(&found, self.scope.all_namespaces, now).empty(format!(
            "there are no trials {}; experiments make them",
            place(&scope)
        ));
        ctx.output.list(table, &self.list)
    }

    fn explain(&self) -> Vec<String> {
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

/// The trials of one experiment, parameters and metrics as columns.
pub fn table(found: &TrialTable, now: jiff::Timestamp) -> Table {
    let mut columns = vec![Column::new("NAME"), Column::new("STATUS")];
    let named = |name: &str, numbers: bool, hover: String| Column {
        key: name.to_owned(),
        align: if numbers { Align::Right } else { Align::Left },
        ..Column::new(name).hover(hover)
    };
    for name in &found.parameters {
        let numbers = found
            .rows
            .iter()
            .filter_map(|row| row.parameter(name))
            .all(|value| value.number().is_some());
        columns.push(named(name, numbers, "parameter".into()));
    }
    for name in &found.metrics {
        let what = if *name == found.objective.metric {
            "objective"
        } else {
            "metric"
        };
        let way = if found.objective.maximize {
            "larger is better"
        } else {
            "smaller is better"
        };
        columns.push(named(
            name,
            true,
            if what == "objective" {
                format!("{what}; {way}")
            } else {
                what.to_owned()
            },
        ));
    }
    columns.extend([
        Column::number("DURATION"),
        Column::number("AGE").wide(),
        Column::new("REASON").wide(),
        Column::new("MESSAGE").wide(),
    ]);
    let mut table = Table::new(columns);
    for trial in &found.rows {
        let mut cells = vec![Cell::text(&trial.name), status(trial)];
        cells.extend(
            found
                .parameters
                .iter()
                .map(|name| trial.parameter(name).map(cell).unwrap_or_default()),
        );
        cells.extend(found.metrics.iter().map(|name| {
            trial
                .metrics
                .iter()
                .find(|metric| metric.name == *name)
                .map(metric_cell)
                .unwrap_or_default()
        }));
        cells.extend([
            took(trial.started, trial.duration(now).and(trial.ended), now),
            age(trial.created, now),
            Cell::text(why(trial).0),
            Cell::text(why(trial).1),
        ]);
        let row = table.row(cells);
        row.name.clone_from(&trial.name);
        row.marked = trial.best;
        row.object = Some(object(trial));
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
        row.object = Some(object(trial));
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
