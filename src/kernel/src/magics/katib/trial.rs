//! `:trial`.

use clap::Parser;
use katlab_katib::types;
use katlab_lab::katib::observations::{self, Point, Route};
use katlab_lab::katib::trials::{self, TrialRow};
use serde_json::Value as Json;

use super::{cell, metric_cell, stacked};
use crate::event::Bundle;
use crate::magics::analysis::{deleted_trial, kept_files, read_folder};
use crate::magics::kubernetes::{NamespaceArgs, describe, jobs::took, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::key_values::Details;
use crate::render::list::ListArgs;
use crate::render::status::Status;
use crate::render::table::{Cell, Column, Table};

/// Show a trial: parameters, metrics, times, conditions
///
/// With `--metrics` its observation log is listed: every value it reported. The list's flags (`--sort`,
/// `--where`, `-o csv`) belong to that log.
#[derive(Debug, Parser)]
pub struct Trial {
    /// The trial
    #[arg(value_name = "NAME")]
    name: String,
    /// List every value it reported
    #[arg(long)]
    metrics: bool,
    /// Only the values of this metric
    #[arg(long, value_name = "NAME", requires = "metrics")]
    metric: Option<String>,
    /// Read what was kept of it when it, or its experiment, was deleted
    #[arg(long)]
    deleted: bool,
    #[command(flatten)]
    place: NamespaceArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Trial {
    const NAME: &'static str = "trial";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        if self.deleted {
            return self.of_deleted(ctx).await;
        }
        let cluster = self.place.cluster(ctx).await?;
        let trial = ctx
            .or_interrupted(trials::get(&cluster, &cluster.namespace, &self.name))
            .await?;
        if self.metrics {
            let way = ctx.or_interrupted(observations::open(&cluster)).await?;
            if let Route::PortForward(pod) = &way.route {
                ctx.output
                    .note(format!("read through a port-forward to {pod}"));
            }
            let points = ctx
                .or_interrupted(way.of_trial(&self.name, self.metric.as_deref()))
                .await?;
            let empty = match trial
                .status
                .as_ref()
                .and_then(|status| status.completed_at())
            {
                Some(_) => format!("trial {} reported nothing", self.name),
                None => format!("trial {} has reported nothing yet", self.name),
            };
            return ctx.list(log(&points).empty(empty), &self.list);
        }
        let row = ctx
            .or_interrupted(async { Ok::<_, MagicError>(trials::row(&cluster, &trial).await) })
            .await?;
        show(ctx, &row, &trial, jiff::Timestamp::now());
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        if self.deleted {
            let file = if self.metrics {
                "metrics.csv"
            } else {
                "trials.json"
            };
            let name = quoted(&self.name);
            return vec![format!("grep {name} {}", kept_files(None, file))];
        }
        vec![format!(
            "kubectl get trial {} -o yaml{}",
            quoted(&self.name),
            self.place.kubectl()
        )]
    }
}

impl Trial {
    /// Shows what is kept of it.
    async fn of_deleted(&self, ctx: &Context) -> Result<(), MagicError> {
        let (entry, name) = deleted_trial(ctx, &self.place, &self.name).await?;
        let source = read_folder(ctx, &entry.folder).await?;
        let found = source.trials.iter().find(|one| one.metadata.name() == name);
        let Some(trial) = found else {
            return Err(
                MagicError::new(format!("only the log of trial {name} is kept"))
                    .hint(format!("`:logs {name} --deleted` shows it")),
            );
        };
        if self.metrics {
            let mut points = source.exported_metrics()?.remove(&name).unwrap_or_default();
            if let Some(metric) = &self.metric {
                points.retain(|point| point.metric == *metric);
            }
            let empty = format!("no value of trial {name} is kept");
            return ctx.list(log(&points).empty(empty), &self.list);
        }
        let order: Vec<String> = source
            .experiment
            .spec
            .parameters
            .iter()
            .map(|one| one.name.clone())
            .collect();
        show(ctx, &TrialRow::of(trial, &order), trial, entry.index.kept);
        Ok(())
    }
}

fn show(ctx: &Context, row: &TrialRow, trial: &types::Trial, now: jiff::Timestamp) {
    let conditions: Vec<serde_json::Value> = trial
        .status
        .iter()
        .flat_map(|status| &status.conditions)
        .filter_map(|one| serde_json::to_value(one).ok())
        .collect();
    ctx.output.show(stacked([
        view(row, now),
        describe::conditions(&conditions).bundle(),
    ]));
}

fn view(row: &TrialRow, now: jiff::Timestamp) -> Bundle {
    let mut details = Details::new(format!("trial {}", row.name));
    details.row("Experiment", row.experiment.clone());
    details.row("Namespace", row.namespace.clone());
    details.row("Status", Cell::status(&row.status));
    if !row.message.is_empty() {
        details.row("Why", row.message.clone());
    }
    if let Some(held) = &row.obstacle {
        details.row("Held up", Cell::text(held.told()).with_status(Status::Warn));
    }
    details.row("Duration", took(row.started, row.ended, now));
    details.section("Parameters");
    for (name, value) in &row.parameters {
        details.row(name.clone(), cell(value));
    }
    details.section("Metrics");
    for metric in &row.metrics {
        let value = metric_cell(metric);
        let shown = match (value.is_empty(), &value.hover) {
            (true, _) => Cell::text("never reported").with_status(Status::Warn),
            (false, Some(others)) => Cell {
                text: format!("{} ({others})", value.text),
                ..value.clone()
            },
            (false, None) => value,
        };
        details.row(metric.name.clone(), shown);
    }
    details.bundle()
}

fn log(points: &[Point]) -> Table {
    let mut table = Table::new([
        Column::number("STEP").hover("the how manyth value of this metric"),
        Column::new("METRIC"),
        Column::number("VALUE").real(),
        Column::new("TIME"),
    ]);
    let mut steps: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    let mut untimed = false;
    for point in points {
        let step = steps.entry(&point.metric).or_default();
        *step += 1;
        untimed |= point.time.is_none();
        table.row([
            Cell::count(*step),
            Cell::text(&point.metric),
            point
                .value
                .as_ref()
                .map(cell)
                .unwrap_or_else(|| Cell::of(Json::Null, "unavailable").with_status(Status::Warn)),
            point
                .time
                .map(|time| Cell::text(time.to_string()))
                .unwrap_or_default(),
        ]);
    }
    if untimed {
        table.footer.push(
            "lines without a time: print 2026-01-31T12:00:00Z accuracy=0.97 to have one".to_owned(),
        );
    }
    table
}
