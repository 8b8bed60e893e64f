//! `:describe`: one object, with its events.

use clap::Parser;
use katlab_lab::kubernetes::describe;
use serde_json::Value;

use super::{NamespaceArgs, quoted, yaml};
use crate::magics::{Context, Magic, MagicError};
use crate::render::key_values::Details;
use crate::render::status::Status;
use crate::render::table::{Cell, Column, Table};

/// Show an object in full, with its conditions and events
///
/// Values of Secrets are not shown, only how long they are.
#[derive(Debug, Parser)]
pub struct Describe {
    /// The kind, such as `pod`
    #[arg(value_name = "KIND")]
    kind: String,
    /// The object
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Describe {
    const NAME: &'static str = "describe";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let cluster = self.place.cluster(ctx).await?;
        let kind = ctx
            .or_interrupted(cluster.discovery())
            .await?
            .kind(&self.kind)?
            .clone();
        let found = ctx
            .or_interrupted(describe::read(
                &cluster,
                &kind,
                &cluster.namespace,
                &self.name,
            ))
            .await?;
        let object = &found.object;

        let mut details = Details::new(format!("{} {}", kind.kind, self.name));
        details.row("API version", kind.api_version());
        if let Some(metadata) = object.get("metadata").and_then(Value::as_object) {
            let text = |field: &str| {
                metadata
                    .get(field)
                    .and_then(Value::as_str)
                    .map(str::to_owned)
            };
            if let Some(namespace) = text("namespace") {
                details.row("Namespace", namespace);
            }
            if let Some(created) = text("creationTimestamp") {
                details.row("Created", created);
            }
            if let Some(deleted) = text("deletionTimestamp") {
                details.row(
                    "Being deleted since",
                    Cell::text(deleted).with_status(Status::Warn),
                );
            }
            for (title, field) in [("Labels", "labels"), ("Annotations", "annotations")] {
                let pairs: Vec<String> = metadata
                    .get(field)
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
                    .collect();
                if !pairs.is_empty() {
                    details.row(title, pairs.join("\n"));
                }
            }
            let owners: Vec<String> = metadata
                .get("ownerReferences")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .map(|owner| {
                    let text =
                        |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
                    format!("{} {}", text("kind"), text("name"))
                })
                .collect();
            if !owners.is_empty() {
                details.row("Owned by", owners.join("\n"));
            }
            if let Some(finalizers) = metadata.get("finalizers").and_then(Value::as_array) {
                let names: Vec<&str> = finalizers.iter().filter_map(Value::as_str).collect();
                details.row("Finalizers", names.join("\n"));
            }
        }
        for (field, value) in object.as_object().into_iter().flatten() {
            if matches!(field.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let mut value = value.clone();
            if let Some(status) = value.as_object_mut().filter(|_| field == "status") {
                // They have a table of their own below.
                status.shift_remove("conditions");
            }
            match &value {
                Value::Object(fields) => {
                    details.section(field);
                    for (name, value) in fields {
                        details.row(name, Cell::text(block(value)?));
                    }
                }
                other => {
                    details.row(field, Cell::text(block(other)?));
                }
            }
        }
        ctx.output.show(details.bundle());

        if let Some(conditions) = object
            .pointer("/status/conditions")
            .and_then(Value::as_array)
        {
            ctx.output.table(&self::conditions(conditions));
        }
        let events = super::events::table(&found.events, false, jiff::Timestamp::now())
            .title("Events")
            .empty("it has no events (they are kept for an hour)");
        ctx.output.table(&events);
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        vec![format!(
            "kubectl describe {} {}{}",
            quoted(&self.kind),
            quoted(&self.name),
            self.place.kubectl()
        )]
    }
}

/// A value as text: plain where it is simple, YAML where it is not.
fn block(value: &Value) -> Result<String, MagicError> {
    Ok(match value {
        Value::String(text) => text.trim_end().to_owned(),
        Value::Array(_) | Value::Object(_) => yaml(value)?,
        other => other.to_string(),
    })
}

/// The conditions of an object, in their order.
pub fn conditions(conditions: &[Value]) -> Table {
    let mut table = Table::new([
        Column::new("TYPE"),
        Column::new("STATUS"),
        Column::new("REASON"),
        Column::new("SINCE"),
        Column::new("MESSAGE"),
    ])
    .title("Conditions");
    for condition in conditions {
        let text = |field: &str| {
            condition
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        table.row([
            Cell::text(text("type")),
            Cell::text(text("status")),
            Cell::text(text("reason")),
            Cell::text(text("lastTransitionTime")),
            Cell::text(text("message")),
        ]);
    }
    table
}
