//! `:best`.

use clap::Parser;
use katlab_lab::katib::experiments;

use super::{cell, goal, metric_cell};
use crate::event::Bundle;
use crate::magics::analysis::or_kept;
use crate::magics::kubernetes::{NamespaceArgs, elsewhere, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::key_values::Details;
use crate::render::status::Status;
use crate::render::table::Cell;

/// Show the best trial of an experiment: its value against the goal, and the parameters that gave it
#[derive(Debug, Parser)]
pub struct Best {
    /// The experiment
    #[arg(value_name = "EXPERIMENT")]
    experiment: String,
    /// Only the parameters, as NAME=VALUE separated by spaces, to be used on a command line
    #[arg(long)]
    arguments: bool,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Best {
    const NAME: &'static str = "best";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let cluster = self.place.cluster(ctx).await?;
        let name = &self.experiment;
        let summary = experiments::summary(&cluster, &cluster.namespace, name);
        let summary = or_kept(ctx, &cluster, name, summary).await?;
        let Some(best) = &summary.best else {
            let error =
                MagicError::new(format!("experiment {} has no best trial", self.experiment));
            return Err(if summary.is_completed() {
                error.hint(format!(
                    "no trial reported {}; :why {}{} explains",
                    summary.objective.metric,
                    self.experiment,
                    elsewhere(ctx, &cluster.namespace).await
                ))
            } else {
                error.hint(format!(
                    "it has none yet; :experiment watch {} shows when it has",
                    self.experiment
                ))
            });
        };
        if self.arguments {
            let words: Vec<String> = best
                .parameters
                .iter()
                .map(|(name, value)| quoted(&format!("{name}={value}")))
                .collect();
            ctx.output.show(Bundle::text(words.join(" ")));
            return Ok(());
        }
        let mut details = Details::new(format!("trial {}", best.trial));
        details.row("Experiment", summary.name.clone());
        for metric in &best.metrics {
            let value = metric_cell(metric);
            let reached =
                metric.name == summary.objective.metric && summary.goal_reached() == Some(true);
            details.row(
                metric.name.clone(),
                match value.is_empty() {
                    true => Cell::text("never reported"),
                    false if reached => value.with_status(Status::Ok),
                    false => value,
                },
            );
        }
        let reached = match summary.goal_reached() {
            Some(true) => " (reached)",
            Some(false) => " (not reached)",
            None => "",
        };
        details.row("Goal", format!("{}{reached}", goal(&summary.objective)));
        details.section("Parameters");
        for (name, value) in &best.parameters {
            details.row(name.clone(), cell(value));
        }
        if !summary.is_completed() {
            details.section("So far");
            details.row("The experiment", Cell::status(&summary.status));
        }
        ctx.output.show(details.bundle());
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        vec![format!(
            "kubectl get experiment {}{} -o jsonpath='{{.status.currentOptimalTrial}}'",
            quoted(&self.experiment),
            self.place.kubectl()
        )]
    }
}
