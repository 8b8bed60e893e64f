//! `:pods`.

use clap::Parser;
use katlab_lab::kubernetes::pods::{self, PodRow, State};
use serde_json::{Value, json};

use super::{ScopeArgs, age, place, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::list::ListArgs;
use crate::render::status::Status;
use crate::render::table::{Cell, Column, Table};

/// List Pods, with what hinders them
///
/// STATUS is the most telling word of all containers: an image that cannot be pulled shows even when
/// another container has ended since.
#[derive(Debug, Parser)]
pub struct Pods {
    /// Only Pods with these labels
    #[arg(short = 'l', long, value_name = "LABELS", help_heading = "Cluster")]
    selector: Option<String>,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Pods {
    const NAME: &'static str = "pods";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let found = ctx
            .or_interrupted(pods::list(&cluster, &scope, self.selector.as_deref()))
            .await?;
        let table = table(&found, self.scope.all_namespaces, jiff::Timestamp::now())
            .empty(format!("there are no Pods {}", place(&scope)));
        ctx.list(table, &self.list)
    }

    fn explain(&self) -> Vec<String> {
        let labels = self
            .selector
            .as_ref()
            .map(|labels| format!(" -l {}", quoted(labels)))
            .unwrap_or_default();
        vec![format!("kubectl get pods{}{labels}", self.scope.kubectl())]
    }
}

/// A row for each Pod.
pub fn table(pods: &[PodRow], namespaces: bool, now: jiff::Timestamp) -> Table {
    let mut columns = vec![
        Column::new("NAME"),
        Column::number("READY"),
        Column::new("STATUS"),
        Column::number("RESTARTS"),
        Column::number("AGE"),
        Column::new("TRIAL").wide(),
        Column::new("NODE").wide(),
        Column::new("MESSAGE").wide(),
    ];
    if namespaces {
        columns.insert(0, Column::new("NAMESPACE"));
    }
    let mut table = Table::new(columns);
    for pod in pods {
        let status = match Status::of(&pod.status) {
            Status::Neutral if pod.states.iter().any(|one| one.state.is_trouble()) => {
                Status::Failed
            }
            status => status,
        };
        let mut cells = vec![
            Cell::text(&pod.name),
            Cell::of(pod.ready, format!("{}/{}", pod.ready, pod.containers)),
            Cell::text(&pod.status)
                .with_status(status)
                .hover(pod.message.clone().unwrap_or_default()),
            Cell::count(pod.restarts),
            age(pod.created, now),
            pod.trial.clone().into(),
            pod.node.clone().into(),
            pod.message.clone().into(),
        ];
        if namespaces {
            cells.insert(0, Cell::text(&pod.namespace));
        }
        let row = table.row(cells);
        row.name.clone_from(&pod.name);
        row.object = Some(json!({
            "namespace": pod.namespace, "name": pod.name, "status": pod.status, "message": pod.message,
            "ready": pod.ready, "restarts": pod.restarts, "trial": pod.trial, "node": pod.node,
            "created": pod.created.map(|time| time.to_string()),
            "containers": pod.states.iter().map(container).collect::<Vec<Value>>(),
        }));
    }
    table
}

fn container(container: &pods::ContainerState) -> Value {
    let state = match &container.state {
        State::Waiting { reason, message } => json!({"waiting": reason, "message": message}),
        State::Running { since } => json!({"running": since.map(|time| time.to_string())}),
        State::Terminated {
            code,
            reason,
            message,
        } => json!({"exitCode": code, "reason": reason, "message": message}),
    };
    json!({"name": container.name, "image": container.image, "restarts": container.restarts, "state": state})
}
