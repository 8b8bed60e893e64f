//! `:suggestions`.

use clap::Parser;
use katlab_lab::katib::suggestions;
use serde_json::json;

use crate::magics::kubernetes::{ScopeArgs, age, place};
use crate::magics::{Context, Magic, MagicError};
use crate::render::list::ListArgs;
use crate::render::table::{Cell, Column, Table};

/// List Suggestions: what the algorithms were asked for and what they gave
#[derive(Debug, Parser)]
pub struct Suggestions {
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Suggestions {
    const NAME: &'static str = "suggestions";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let found = ctx
            .or_interrupted(suggestions::list(&cluster, &scope))
            .await?;
        let now = jiff::Timestamp::now();
        let mut columns = vec![
            Column::new("NAME"),
            Column::new("ALGORITHM"),
            Column::new("TYPE"),
            Column::new("STATUS"),
            Column::number("REQUESTED"),
            Column::number("ASSIGNED"),
            Column::number("AGE"),
            Column::new("MESSAGE").wide(),
        ];
        if self.scope.all_namespaces {
            columns.insert(0, Column::new("NAMESPACE"));
        }
        let mut table = Table::new(columns).empty(format!(
            "there are no Suggestions {}; each experiment has one of its name",
            place(&scope)
        ));
        for one in found {
            let mut cells = vec![
                Cell::text(&one.name),
                Cell::text(&one.algorithm),
                Cell::status(&one.kind).hover(one.message.clone()),
                Cell::text(&one.status),
                Cell::count(one.requested),
                Cell::count(one.assigned),
                age(one.created, now),
                Cell::text(&one.message),
            ];
            if self.scope.all_namespaces {
                cells.insert(0, Cell::text(&one.namespace));
            }
            let row = table.row(cells);
            row.object = Some(json!({
                "namespace": one.namespace, "name": one.name, "algorithm": one.algorithm, "type": one.kind,
                "status": one.status, "message": one.message, "requested": one.requested, "assigned": one.assigned,
                "created": one.created.map(|time| time.to_string()),
            }));
            row.name = one.name;
        }
        ctx.list(table, &self.list)
    }

    fn explain(&self) -> Vec<String> {
        vec![format!("kubectl get suggestions{}", self.scope.kubectl())]
    }
}
