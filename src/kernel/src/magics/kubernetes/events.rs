//! `:events`.

use clap::Parser;
use katlab_lab::kubernetes::events::{self, EventRow, Filter};
use serde_json::json;

use super::{ScopeArgs, age, place, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::list::ListArgs;
use crate::render::status::Status;
use crate::render::table::{Cell, Column, Table};

/// List events, newest first: what the cluster says happened
#[derive(Debug, Parser)]
pub struct Events {
    /// Only events about this object
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Only events about objects of this kind, such as `Pod`
    #[arg(short, long, value_name = "KIND")]
    kind: Option<String>,
    /// Only warnings
    #[arg(short, long)]
    warnings: bool,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Events {
    const NAME: &'static str = "events";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let kind = match &self.kind {
            Some(name) => Some(
                ctx.or_interrupted(cluster.discovery())
                    .await?
                    .kind(name)?
                    .kind
                    .clone(),
            ),
            None => None,
        };
        let filter = Filter {
            name: self.name.clone(),
            kind,
            uid: None,
        };
        let mut found = ctx
            .or_interrupted(events::list(&cluster, &scope, &filter))
            .await?;
        found.retain(|event| event.warning || !self.warnings);
        found.reverse();
        let word = if self.warnings { "warnings" } else { "events" };
        let about = self
            .name
            .as_ref()
            .map(|name| format!(" about {name}"))
            .unwrap_or_default();
        let table =
            table(&found, self.scope.all_namespaces, jiff::Timestamp::now()).empty(format!(
                "there are no {word}{about} {} (they are kept for an hour)",
                place(&scope)
            ));
        ctx.list(table, &self.list)
    }

    fn explain(&self) -> Vec<String> {
        let mut line = format!(
            "kubectl get events{} --sort-by .lastTimestamp",
            self.scope.kubectl()
        );
        let mut fields = Vec::new();
        fields.extend(
            self.name
                .as_ref()
                .map(|name| format!("involvedObject.name={name}")),
        );
        fields.extend(
            self.kind
                .as_ref()
                .map(|kind| format!("involvedObject.kind={kind}")),
        );
        fields.extend(self.warnings.then(|| "type=Warning".to_owned()));
        if !fields.is_empty() {
            line.push_str(&format!(" --field-selector {}", quoted(&fields.join(","))));
        }
        vec![line]
    }
}

/// A row for each event, in the order given.
pub fn table(events: &[EventRow], namespaces: bool, now: jiff::Timestamp) -> Table {
    let mut columns = vec![
        Column::number("LAST SEEN"),
        Column::new("TYPE"),
        Column::new("REASON"),
        Column::new("OBJECT"),
        Column::new("MESSAGE"),
        Column::number("COUNT").wide(),
        Column::new("SOURCE").wide(),
    ];
    if namespaces {
        columns.insert(0, Column::new("NAMESPACE"));
    }
    let mut table = Table::new(columns);
    for event in events {
        let (word, status) = if event.warning {
            ("Warning", Status::Warn)
        } else {
            ("Normal", Status::Neutral)
        };
        let object = format!("{}/{}", event.kind.to_lowercase(), event.object);
        let times = if event.count > 1 {
            format!("{} (×{})", event.message, event.count)
        } else {
            event.message.clone()
        };
        let mut cells = vec![
            age(event.last, now),
            Cell::text(word).with_status(status),
            Cell::text(&event.reason),
            Cell::text(object.clone()),
            Cell {
                value: event.message.clone().into(),
                ..Cell::text(times)
            },
            Cell::count(event.count),
            Cell::text(&event.source),
        ];
        if namespaces {
            cells.insert(0, Cell::text(&event.namespace));
        }
        let row = table.row(cells);
        row.name = object;
        row.object = Some(json!({
            "namespace": event.namespace, "type": word, "reason": event.reason, "kind": event.kind,
            "name": event.object, "message": event.message, "count": event.count, "source": event.source,
            "first": event.first.map(|time| time.to_string()), "last": event.last.map(|time| time.to_string()),
        }));
    }
    table
}
