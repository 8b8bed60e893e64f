//! `:jobs`.

use std::time::Duration;

use clap::Parser;
use katlab_lab::kubernetes::jobs::{self, JobRow};
use serde_json::json;

use super::{ScopeArgs, age, place, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::list::ListArgs;
use crate::render::table::{Cell, Column, Table};

/// List Jobs: a trial runs as a Job of the same name
#[derive(Debug, Parser)]
pub struct Jobs {
    /// Only Jobs with these labels
    #[arg(short = 'l', long, value_name = "LABELS", help_heading = "Cluster")]
    selector: Option<String>,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Jobs {
    const NAME: &'static str = "jobs";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let found = ctx
            .or_interrupted(jobs::list(&cluster, &scope, self.selector.as_deref()))
            .await?;
        let table = table(&found, self.scope.all_namespaces, jiff::Timestamp::now()).empty(
            format!("there are no Jobs {}; trials make them", place(&scope)),
        );
        ctx.list(table, &self.list)
    }

    fn explain(&self) -> Vec<String> {
        let labels = self
            .selector
            .as_ref()
            .map(|labels| format!(" -l {}", quoted(labels)))
            .unwrap_or_default();
        vec![format!("kubectl get jobs{}{labels}", self.scope.kubectl())]
    }
}

/// A row for each Job.
pub fn table(jobs: &[JobRow], namespaces: bool, now: jiff::Timestamp) -> Table {
    let mut columns = vec![
        Column::new("NAME"),
        Column::new("STATUS"),
        Column::number("COMPLETIONS"),
        Column::number("DURATION"),
        Column::number("AGE"),
        Column::new("REASON").wide(),
        Column::number("FAILED PODS").wide(),
        Column::new("TRIAL").wide(),
    ];
    if namespaces {
        columns.insert(0, Column::new("NAMESPACE"));
    }
    let mut table = Table::new(columns);
    for job in jobs {
        let completions = match job.completions {
            Some(wanted) => format!("{}/{wanted}", job.succeeded),
            None => job.succeeded.to_string(),
        };
        let mut cells = vec![
            Cell::text(&job.name),
            Cell::status(&job.status).hover(job.reason.clone().unwrap_or_default()),
            Cell::of(job.succeeded, completions),
            took(job.started, job.ended, now),
            age(job.created, now),
            job.reason.clone().into(),
            Cell::count(job.failed),
            job.trial.clone().into(),
        ];
        if namespaces {
            cells.insert(0, Cell::text(&job.namespace));
        }
        let row = table.row(cells);
        row.name.clone_from(&job.name);
        row.object = Some(json!({
            "namespace": job.namespace, "name": job.name, "status": job.status, "reason": job.reason,
            "succeeded": job.succeeded, "completions": job.completions, "failed": job.failed, "trial": job.trial,
            "started": job.started.map(|time| time.to_string()), "ended": job.ended.map(|time| time.to_string()),
        }));
    }
    table
}

/// From start to end, or to now; times of the cluster are whole seconds.
pub fn took(
    started: Option<jiff::Timestamp>,
    ended: Option<jiff::Timestamp>,
    now: jiff::Timestamp,
) -> Cell {
    let Some(started) = started else {
        return Cell::none();
    };
    let duration: Duration = ended
        .unwrap_or(now)
        .duration_since(started)
        .try_into()
        .unwrap_or_default();
    Cell::took_about(duration)
}
