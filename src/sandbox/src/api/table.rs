//! Tables: which columns each kind has and what its cells show. Ages are kept as moments, so
//! that the cells of an object can be computed once and still be right later.

use serde_json::{Value, json};

use super::age;

mod cells;

pub use cells::*;

/// A column of a kind's Table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// `string` or `date`.
    pub kind: &'static str,
    /// `name` for the object's name.
    pub format: &'static str,
    /// What it means.
    pub description: &'static str,
    /// 0, or 1 for `-o wide`.
    pub priority: u8,
}

const fn column(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        description,
        priority: 0,
    }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column {
        priority: 1,
        ..column(name, description)
    }
}

const fn date(name: &'static str, description: &'static str) -> Column {
    Column {
        kind: "date",
        ..column(name, description)
    }
}

const NAME: Column = Column {
    format: "name",
    ..column(
        "Name",
        "Name of the object, unique within its namespace and kind.",
    )
};
const AGE: Column = column("Age", "Time since the object was created.");

/// Name and age.
pub const NAME_AGE: &[Column] = &[NAME, AGE];
/// ConfigMaps.
pub const CONFIGMAP_COLUMNS: &[Column] = &[NAME, column("Data", "Number of keys."), AGE];
/// Secrets.
pub const SECRET_COLUMNS: &[Column] = &[
    NAME,
    column("Type", "Type of the secret."),
    column("Data", "Number of keys."),
    AGE,
];
/// Namespaces.
pub const PHASE_COLUMNS: &[Column] = &[NAME, column("Status", "The status of the namespace"), AGE];
/// Experiments and trials.
pub const CONDITION_COLUMNS: &[Column] = &[
    NAME,
    column(
        "Type",
        "Custom resource definition column (in JSONPath format): .status.conditions[-1:].type",
    ),
    column(
        "Status",
        "Custom resource definition column (in JSONPath format): .status.conditions[-1:].status",
    ),
    date(
        "Age",
        "Custom resource definition column (in JSONPath format): .metadata.creationTimestamp",
    ),
];
/// Suggestions.
pub const SUGGESTION_COLUMNS: &[Column] = &[
    NAME,
    column(
        "Type",
        "Custom resource definition column (in JSONPath format): .status.conditions[-1:].type",
    ),
    column(
        "Status",
        "Custom resource definition column (in JSONPath format): .status.conditions[-1:].status",
    ),
    column(
        "Requested",
        "Custom resource definition column (in JSONPath format): .spec.requests",
    ),
    column(
        "Assigned",
        "Custom resource definition column (in JSONPath format): .status.suggestionCount",
    ),
    date(
        "Age",
        "Custom resource definition column (in JSONPath format): .metadata.creationTimestamp",
    ),
];
/// Custom resource definitions.
pub const CRD_COLUMNS: &[Column] = &[NAME, date("Created At", "When the definition was made.")];
/// Pods.
pub const POD_COLUMNS: &[Column] = &[
    NAME,
    column(
        "Ready",
        "The aggregate readiness state of this pod for accepting traffic.",
    ),
    column(
        "Status",
        "The aggregate status of the containers in this pod.",
    ),
    column(
        "Restarts",
        "How often containers of this pod have been restarted, and when last.",
    ),
    AGE,
    wide("IP", "Address of the pod; empty until it has one."),
    wide("Node", "The node this pod runs on."),
    wide(
        "Nominated Node",
        "The node kept free for this pod by preemption.",
    ),
    wide(
        "Readiness Gates",
        "Readiness gates of the pod and how many hold.",
    ),
];
/// Jobs.
pub const JOB_COLUMNS: &[Column] = &[
    NAME,
    column("Status", "Status of the job."),
    column("Completions", "Pods that succeeded, of those wanted."),
    column("Duration", "Time required to complete the job."),
    AGE,
    wide("Containers", "Names of each container in the template."),
    wide(
        "Images",
        "Images referenced by each container in the template.",
    ),
    wide("Selector", "The label query that finds the job's pods."),
];
/// Nodes.
pub const NODE_COLUMNS: &[Column] = &[
    NAME,
    column("Status", "The status of the node"),
    column("Roles", "The roles of the node"),
    AGE,
    column("Version", "Version the node reports."),
    wide("Internal-IP", "Address of the node inside the cluster."),
    wide("External-IP", "Address of the node outside the cluster."),
    wide("OS-Image", "Operating system of the node."),
    wide("Kernel-Version", "Kernel of the node."),
    wide("Container-Runtime", "What runs the containers."),
];
/// Persistent volume claims.
pub const PVC_COLUMNS: &[Column] = &[
    NAME,
    column("Status", "Phase of the claim."),
    column("Volume", "The volume bound to it."),
    column("Capacity", "Capacity of the volume."),
    column("Access Modes", "Access modes of the volume."),
    column("StorageClass", "Storage class asked for."),
    column("VolumeAttributesClass", "Attributes class in use."),
    AGE,
    wide("VolumeMode", "Filesystem or Block."),
];
/// Events.
pub const EVENT_COLUMNS: &[Column] = &[
    column("Last Seen", "When it was last seen."),
    column("Type", "Normal or Warning."),
    column("Reason", "Why, in one word."),
    column("Object", "What it is about."),
    wide("Subobject", "The part of the object it is about."),
    wide("Source", "Who reports it."),
    column("Message", "What happened."),
    wide("First Seen", "When it was first seen."),
    wide("Count", "How often it was seen."),
    Column {
        priority: 1,
        ..NAME
    },
];

/// What a cell shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// Text.
    Text(String),
    /// A number.
    Number(i64),
    /// Time since a moment, in seconds since the epoch.
    Since(i64),
    /// Restarts and the moment of the last.
    Restarts(i64, Option<i64>),
}

impl Cell {
    /// The cell's value at a moment.
    pub fn render(&self, now: i64) -> Value {
        match self {
            Cell::Text(text) => Value::String(text.clone()),
            Cell::Number(number) => json!(number),
            Cell::Since(at) => Value::String(age::human(now - at)),
            Cell::Restarts(count, None) => Value::String(count.to_string()),
            Cell::Restarts(count, Some(at)) => {
                Value::String(format!("{count} ({} ago)", age::human(now - at)))
            }
        }
    }
}

/// The columns as a Table announces them.
pub fn definitions(columns: &[Column]) -> Value {
    columns
        .iter()
        .map(|c| {
            json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority})
        })
        .collect()
}

/// What a row says about itself; kubectl greys out finished pods by it.
pub fn row_conditions(object: &Value) -> Option<Value> {
    if object["kind"] != "Pod" {
        return None;
    }
    let (reason, message) = match object["status"]["phase"].as_str()? {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]))
}

#[cfg(test)]
mod tests;
