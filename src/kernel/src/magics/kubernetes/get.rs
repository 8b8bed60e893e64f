//! `:get`: objects of any kind, in the server's own columns.

use clap::Parser;
use katlab_lab::kubernetes::discovery::Kind;
use katlab_lab::kubernetes::objects;
use katlab_lab::kubernetes::table::{self, Query};
use serde_json::Value;

use super::{ScopeArgs, place, quoted, yaml};
use crate::event::Bundle;
use crate::magics::{Context, Magic, MagicError};
use crate::render::list::{Format, ListArgs};
use crate::render::status::Status;
use crate::render::table::{Align, Cell, Column, Table};

/// List objects of any kind that the cluster knows, or show one
///
/// KIND is any name of the kind: `pods`, `pod`, `po`, `jobs.batch`, several with commas, or a category
/// such as `all`. `:get kinds` lists the kinds. With `-o yaml` or `-o json` the whole objects are shown,
/// values of Secrets hidden.
#[derive(Debug, Parser)]
pub struct Get {
    /// The kind, or several, or `kinds`
    #[arg(value_name = "KIND")]
    kind: String,
    /// Only the object of this name
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Only objects with these labels, such as `app=web`
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        conflicts_with = "name",
        help_heading = "Cluster"
    )]
    selector: Option<String>,
    /// Only objects with these fields, such as `status.phase=Running`
    #[arg(
        long,
        value_name = "FIELDS",
        conflicts_with = "name",
        help_heading = "Cluster"
    )]
    field_selector: Option<String>,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    list: ListArgs,
}

impl Magic for Get {
    const NAME: &'static str = "get";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (cluster, scope) = self.scope.cluster(ctx).await?;
        let discovery = ctx.or_interrupted(cluster.discovery()).await?;
        if self.kind == "kinds" {
            return ctx.list(kinds(&discovery.kinds), &self.list);
        }
        // `pod/NAME`, as kubectl prints it.
        let (words, name) = match (self.kind.split_once('/'), &self.name) {
            (Some((kind, name)), None) => (kind, Some(name.to_owned())),
            _ => (self.kind.as_str(), self.name.clone()),
        };
        let query = Query {
            scope: scope.clone(),
            name,
            labels: self.selector.clone(),
            fields: self.field_selector.clone(),
        };
        let found = discovery.kinds(words)?;
        if found.len() > 1 && self.list.save.is_some() {
            return Err(MagicError::usage(
                "several kinds make several tables, which do not fit into one file",
            )
            .hint("save one kind at a time"));
        }
        let format = self.list.format()?;
        let whole = matches!(format, Format::Json | Format::Yaml) && self.list.columns.is_empty();
        if whole
            && self.list.save.is_none()
            && let (Some(name), [kind]) = (&query.name, found.as_slice())
        {
            let namespace = scope.namespace().unwrap_or_default();
            let object = ctx
                .or_interrupted(objects::get(&cluster, kind, namespace, name))
                .await?;
            let object = objects::readable(object);
            let text = match format {
                Format::Json => format!("{object:#}"),
                _ => yaml(&object)?,
            };
            ctx.output.show(Bundle::text(text));
            return Ok(());
        }
        let mut shown = 0;
        for kind in &found {
            // Of a category, kinds that cannot be listed or hold nothing say nothing.
            if found.len() > 1 && !kind.can("list") {
                continue;
            }
            let rows = ctx
                .or_interrupted(table::read(&cluster, kind, &query))
                .await?;
            if rows.rows.is_empty() && found.len() > 1 {
                continue;
            }
            let mut table = from_server(kind, &rows, jiff::Timestamp::now());
            if whole {
                let objects = ctx
                    .or_interrupted(objects::list(&cluster, kind, &query))
                    .await?;
                let by_name = |row: &crate::render::table::Row| {
                    let same = |one: &&Value| {
                        one.pointer("/metadata/name").and_then(Value::as_str)
                            == Some(row.name.as_str())
                    };
                    objects.iter().find(same).cloned().map(objects::readable)
                };
                for row in &mut table.rows {
                    row.object = by_name(row);
                }
            }
            let mut table = table.empty(format!("there are no {} {}", kind.plural, place(&scope)));
            if found.len() > 1 {
                table = table.title(kind.plural.clone());
            }
            ctx.list(table, &self.list)?;
            shown += 1;
        }
        if shown == 0 {
            ctx.output
                .note(format!("there is nothing of {words} {}", place(&scope)));
        }
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        if self.kind == "kinds" {
            return vec!["kubectl api-resources".to_owned()];
        }
        let mut line = format!("kubectl get {}", quoted(&self.kind));
        if let Some(name) = &self.name {
            line.push_str(&format!(" {}", quoted(name)));
        }
        line.push_str(&self.scope.kubectl());
        if let Some(labels) = &self.selector {
            line.push_str(&format!(" -l {}", quoted(labels)));
        }
        if let Some(fields) = &self.field_selector {
            line.push_str(&format!(" --field-selector {}", quoted(fields)));
        }
        line.push_str(match self.list.format() {
            Ok(Format::Wide) => " -o wide",
            Ok(Format::Json) => " -o json",
            Ok(Format::Yaml) => " -o yaml",
            Ok(Format::Name) => " -o name",
            _ => "",
        });
        vec![line]
    }
}

fn kinds(kinds: &[Kind]) -> Table {
    let mut table = Table::new([
        Column::new("NAME"),
        Column::new("SHORT"),
        Column::new("API VERSION"),
        Column::new("KIND"),
        Column::new("NAMESPACED"),
        Column::new("VERBS").wide(),
        Column::new("CATEGORIES").wide(),
    ]);
    for kind in kinds {
        let row = table.row([
            Cell::text(&kind.plural),
            Cell::text(kind.short_names.join(",")),
            Cell::text(kind.api_version()),
            Cell::text(&kind.kind),
            Cell::bool(kind.namespaced),
            Cell::text(kind.verbs.join(",")),
            Cell::text(kind.categories.join(",")),
        ]);
        row.name.clone_from(&kind.plural);
    }
    table
}

/// The server's table as ours: its columns, numbers right-aligned, ages counted from now.
fn from_server(kind: &Kind, rows: &table::Table, now: jiff::Timestamp) -> Table {
    let mut columns: Vec<Column> = rows
        .column_definitions
        .iter()
        .map(|definition| {
            let number = matches!(definition.kind.as_str(), "integer" | "number" | "date")
                || definition.name == "Age";
            let hover = Some(definition.description.clone())
                .filter(|text| !text.is_empty() && text.len() < 300);
            Column {
                align: if number { Align::Right } else { Align::Left },
                wide: definition.priority > 0,
                hover,
                ..Column::new(definition.name.to_uppercase())
            }
        })
        .collect();
    if rows.across_namespaces {
        columns.insert(0, Column::new("NAMESPACE"));
    }
    let mut table = Table::new(columns);
    for server in &rows.rows {
        let mut cells: Vec<Cell> = rows
            .column_definitions
            .iter()
            .enumerate()
            .map(|(at, definition)| {
                let value = server.cells.get(at).cloned().unwrap_or_default();
                cell(kind, &definition.name, value, server.created(), now)
            })
            .collect();
        if rows.across_namespaces {
            cells.insert(0, Cell::text(server.namespace()));
        }
        table.row(cells).name = server.name().to_owned();
    }
    table
}

fn cell(
    kind: &Kind,
    heading: &str,
    value: Value,
    created: Option<jiff::Timestamp>,
    now: jiff::Timestamp,
) -> Cell {
    // The server's ages stand still in a notebook; the time itself is on hover.
    if matches!(heading, "Age" | "Created At")
        && let Some(created) = created
    {
        return Cell::age(created, now);
    }
    let text = match &value {
        Value::Null => return Cell::none(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let plain = Cell {
        value,
        ..Cell::text(text.clone())
    };
    // Of Katib's columns TYPE is the state, and STATUS only says whether it holds.
    let state = if kind.group == "kubeflow.org" {
        "Type"
    } else {
        "Status"
    };
    match Status::of(&text) {
        Status::Neutral => plain,
        status if heading == state => plain.with_status(status),
        _ => plain,
    }
}
