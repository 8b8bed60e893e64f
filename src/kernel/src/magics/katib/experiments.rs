//! `:experiments`.

use clap::Parser;
use katlab_lab::katib::experiments::{self, Summary};
use serde_json::{Map, Value as Json, json};

use super::{against_goal, assignment, counts, goal};
use crate::magics::kubernetes::{ScopeArgs, age, jobs::took, place};
use crate::magics::{Context, Magic, MagicError};
use crate::render::list::ListArgs;
use crate::render::table::{Cell, Column, Table};

/// List experiments, newest first
#[derive(Debug, Parser)]
pub struct Experiments {
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Experiments {
    const NAME: &'static str = "experiments";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let found = ctx
            .or_interrupted(experiments::list(&cluster, &scope))
            .await?;
        let table =
            table(&found, self.scope.all_namespaces, jiff::Timestamp::now()).empty(format!(
                "there are no experiments {}; `:experiment create FILE` makes one",
                place(&scope)
            ));
        ctx.list(table, &self.list)
    }

    fn explain(&self) -> Vec<String> {
        vec![format!("kubectl get experiments{}", self.scope.kubectl())]
    }
}

fn table(found: &[Summary], namespaces: bool, now: jiff::Timestamp) -> Table {
    let mut columns = vec![
        Column::new("NAME"),
        Column::new("STATUS"),
        Column::number("TRIALS").hover("ended, of those it may make"),
        Column::number("RUNNING"),
        Column::number("FAILED").hover("failed, killed, or without metrics"),
        Column::number("BEST"),
        Column::new("GOAL"),
        Column::number("DURATION"),
        Column::number("AGE"),
        Column::new("ALGORITHM").wide(),
        Column::new("BEST TRIAL").wide(),
        Column::new("MESSAGE").wide(),
    ];
    if namespaces {
        columns.insert(0, Column::new("NAMESPACE"));
    }
    let mut table = Table::new(columns);
    for one in found {
        let ended = one.counts.ended();
        let trials = match one.max_trials {
            Some(max) => format!("{ended}/{max}"),
            None => ended.to_string(),
        };
        let bad = one.counts.failed + one.counts.killed + one.counts.metrics_unavailable;
        let ended_at = one
            .ended
            .or_else(|| one.is_completed().then_some(one.started).flatten());
        let mut cells = vec![
            Cell::text(&one.name),
            Cell::status(&one.status).hover(one.message.clone()),
            Cell::of(ended, trials).hover(counts(&one.counts)),
            Cell::count(one.counts.running),
            Cell::count(bad),
            against_goal(one),
            Cell::text(goal(&one.objective)),
            took(one.started, ended_at, now),
            age(one.created, now),
            Cell::text(&one.algorithm),
            one.best
                .as_ref()
                .map(|best| Cell::text(&best.trial).hover(assignment(&best.parameters)))
                .unwrap_or_default(),
            Cell::text(&one.message),
        ];
        if namespaces {
            cells.insert(0, Cell::text(&one.namespace));
        }
        let row = table.row(cells);
        row.name.clone_from(&one.name);
        row.object = Some(object(one));
    }
    table
}

/// An experiment at a glance, as JSON.
pub fn object(one: &Summary) -> Json {
    let time = |time: Option<jiff::Timestamp>| time.map(|time| time.to_string());
    let best = one.best.as_ref().map(|best| {
        let parameters: Map<String, Json> = best
            .parameters
            .iter()
            .map(|(name, value)| (name.clone(), super::json(value)))
            .collect();
        let metrics: Map<String, Json> = best
            .metrics
            .iter()
            .map(|metric| (metric.name.clone(), super::metric_json(metric)))
            .collect();
        json!({"trial": best.trial, "parameters": parameters, "metrics": metrics})
    });
    json!({
        "namespace": one.namespace, "name": one.name, "status": one.status, "reason": one.reason,
        "message": one.message, "algorithm": one.algorithm,
        "objective": {"metric": one.objective.metric, "maximize": one.objective.maximize, "goal": one.objective.goal,
            "additional": one.objective.additional, "value": one.best_value(), "reached": one.goal_reached()},
        "trials": {"total": one.counts.total, "succeeded": one.counts.succeeded, "running": one.counts.running,
            "pending": one.counts.pending, "failed": one.counts.failed, "killed": one.counts.killed,
            "earlyStopped": one.counts.early_stopped, "metricsUnavailable": one.counts.metrics_unavailable,
            "max": one.max_trials, "parallel": one.parallel, "maxFailed": one.max_failed},
        "parameters": one.parameters, "best": best,
        "created": time(one.created), "started": time(one.started), "ended": time(one.ended),
    })
}
