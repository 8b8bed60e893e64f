//! `:experiment show`: how it stands.

use clap::Parser;
use katlab_lab::katib::experiments::{self, Summary};
use katlab_lab::kubernetes::objects;

use super::{cell, counts, goal, metric_cell, stacked};
use crate::event::Bundle;
use crate::magics::analysis::or_kept;
use crate::magics::kubernetes::{NamespaceArgs, describe, jobs::took, quoted, yaml};
use crate::magics::{Context, Magic, MagicError};
use crate::render::key_values::Details;
use crate::render::status::Status;
use crate::render::table::Cell;

/// Show how an experiment stands: status, counts, best trial, objective against goal
#[derive(Debug, Parser)]
pub struct Show {
    /// The experiment
    #[arg(value_name = "NAME")]
    name: String,
    /// The whole object as YAML
    #[arg(long)]
    yaml: bool,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Show {
    const NAME: &'static str = "experiment show";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let cluster = self.place.cluster(ctx).await?;
        if self.yaml {
            let kind = ctx
                .or_interrupted(cluster.discovery())
                .await?
                .kind("experiments.kubeflow.org")?;
            let object = ctx
                .or_interrupted(objects::get(&cluster, kind, &cluster.namespace, &self.name))
                .await?;
            ctx.output
                .show(Bundle::text(yaml(&objects::readable(object))?));
            return Ok(());
        }
        let summary = experiments::summary(&cluster, &cluster.namespace, &self.name);
        let summary = or_kept(ctx, &cluster, &self.name, summary).await?;
        ctx.output.show(bundle(&summary, jiff::Timestamp::now()));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let name = quoted(&self.name);
        let place = self.place.kubectl();
        match self.yaml {
            true => vec![format!("kubectl get experiment {name} -o yaml{place}")],
            false => vec![
                format!(
                    "kubectl get experiment {name}{place} -o jsonpath='{{.status.currentOptimalTrial}}'"
                ),
                format!("kubectl describe experiment {name}{place}"),
            ],
        }
    }
}

/// The overview of Katib's page.
fn bundle(summary: &Summary, now: jiff::Timestamp) -> Bundle {
    let mut details = Details::new(format!("experiment {}", summary.name));
    details.row("Namespace", summary.namespace.clone());
    details.row("Status", Cell::status(&summary.status));
    if !summary.message.is_empty() {
        details.row("Why", summary.message.clone());
    }
    let objective = goal(&summary.objective);
    details.row(
        "Goal",
        match summary.goal_reached() {
            Some(true) => Cell::text(format!("{objective} (reached)")).with_status(Status::Ok),
            Some(false) if summary.is_completed() => {
                Cell::text(format!("{objective} (not reached)"))
            }
            _ => Cell::text(objective),
        },
    );
    let total = summary
        .max_trials
        .map(|max| format!(" of {max}"))
        .unwrap_or_default();
    details.row(
        "Trials",
        format!(
            "{}{total}: {}",
            summary.counts.total,
            counts(&summary.counts)
        ),
    );
    details.row("Duration", took(summary.started, summary.ended, now));
    match &summary.best {
        Some(best) => {
            details.section("Best trial");
            details.row("Name", best.trial.clone());
            for metric in &best.metrics {
                let value = metric_cell(metric);
                details.row(
                    metric.name.clone(),
                    if value.is_empty() {
                        Cell::text("never reported")
                    } else {
                        with_others(value, metric)
                    },
                );
            }
            details.section("with");
            for (name, value) in &best.parameters {
                details.row(name.clone(), cell(value));
            }
        }
        None if summary.is_completed() => {
            details.row("Best trial", "none: no trial reported the objective");
        }
        None => {
            details.row("Best trial", "none yet");
        }
    }
    let conditions: Vec<serde_json::Value> = summary
        .conditions
        .iter()
        .filter_map(|one| serde_json::to_value(one).ok())
        .collect();
    stacked([details.bundle(), describe::conditions(&conditions).bundle()])
}

/// The value that counts, and beside it the last one where that differs.
fn with_others(value: Cell, metric: &katlab_lab::katib::experiments::MetricValue) -> Cell {
    match &metric.latest {
        Some(latest) if metric.value.as_ref() != Some(latest) => {
            let text = format!(
                "{} ({}; the latest was {})",
                value.text,
                metric.strategy,
                super::text(latest)
            );
            Cell { text, ..value }
        }
        _ => Cell {
            text: format!("{} ({})", value.text, metric.strategy),
            ..value
        },
    }
}
