//! Magics about experiments, trials and suggestions.

use katlab_lab::katib::experiments::{Counts, MetricValue, Objective, Summary};
use katlab_lab::katib::value::Value;
use serde_json::Value as Json;

use crate::event::Bundle;
use crate::render::status::Status;
use crate::render::table::{Cell, number_text};

pub mod best;
pub mod create;
pub mod delete;
pub mod details;
pub mod edit;
pub mod experiments;
pub mod lint;
pub mod metrics;
mod proposal;
pub mod render;
pub mod rerun;
pub mod show;
pub mod suggestions;
pub mod trial;
pub mod trials;
pub mod tune;
pub mod wait;
pub mod watch;
pub mod why;

/// A value as a cell: numbers as numbers.
pub fn cell(value: &Value) -> Cell {
    match value {
        Value::Int(number) => Cell::count(*number),
        Value::Number(number) => Cell::number(*number).hover(number.to_string()),
        Value::Text(text) => Cell::text(text),
    }
}

/// A value as JSON: numbers as numbers.
pub fn json(value: &Value) -> Json {
    match value {
        Value::Int(number) => Json::from(*number),
        Value::Number(number) => Json::from(*number),
        Value::Text(text) => Json::from(text.clone()),
    }
}

/// A value as text.
pub fn text(value: &Value) -> String {
    match value {
        Value::Number(number) => number_text(*number),
        other => other.to_string(),
    }
}

/// A metric's value as a cell, the other two values on hover.
pub fn metric_cell(metric: &MetricValue) -> Cell {
    let Some(value) = &metric.value else {
        return Cell::none();
    };
    let shown = |value: &Option<Value>| {
        value
            .as_ref()
            .map_or_else(|| "unavailable".to_owned(), ToString::to_string)
    };
    let hover = format!(
        "min {}, max {}, latest {}",
        shown(&metric.min),
        shown(&metric.max),
        shown(&metric.latest)
    );
    cell(value).hover(hover)
}

/// A metric as JSON.
pub fn metric_json(metric: &MetricValue) -> Json {
    let of = |value: &Option<Value>| value.as_ref().map(json);
    serde_json::json!({
        "value": of(&metric.value), "strategy": metric.strategy,
        "min": of(&metric.min), "max": of(&metric.max), "latest": of(&metric.latest),
    })
}

/// `accuracy ≥ 0.99`, or which way is better when there is no goal.
pub fn goal(objective: &Objective) -> String {
    let sign = if objective.maximize { "≥" } else { "≤" };
    match objective.goal {
        Some(goal) => format!("{} {sign} {}", objective.metric, number_text(goal)),
        None if objective.maximize => format!("{} as large as possible", objective.metric),
        None => format!("{} as small as possible", objective.metric),
    }
}

/// The best value against the goal.
pub fn against_goal(summary: &Summary) -> Cell {
    let Some(value) = summary.best_value() else {
        return Cell::none();
    };
    let cell = Cell::number(value);
    match summary.goal_reached() {
        Some(true) => cell
            .with_status(Status::Ok)
            .hover(format!("reaches the goal: {}", goal(&summary.objective))),
        Some(false) => cell.hover(format!("the goal is {}", goal(&summary.objective))),
        None => cell,
    }
}

/// `9 succeeded, 2 running, 1 failed`, without what is zero.
pub fn counts(counts: &Counts) -> String {
    let parts: Vec<String> = [
        (counts.succeeded, "succeeded"),
        (counts.running, "running"),
        (counts.pending, "pending"),
        (counts.failed, "failed"),
        (counts.metrics_unavailable, "without metrics"),
        (counts.early_stopped, "stopped early"),
        (counts.killed, "killed"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    if parts.is_empty() {
        "none yet".to_owned()
    } else {
        parts.join(", ")
    }
}

/// `--lr 0.01, --batch 64`.
pub fn assignment(parameters: &[(String, Value)]) -> String {
    parameters
        .iter()
        .map(|(name, value)| format!("{name} {}", text(value)))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Several bundles, one below the other.
pub fn stacked(parts: impl IntoIterator<Item = Bundle>) -> Bundle {
    let mut plain = Vec::new();
    let mut html = String::new();
    for part in parts {
        plain.push(part.plain().to_owned());
        html.push_str(
            part.data
                .get("text/html")
                .and_then(Json::as_str)
                .unwrap_or_default(),
        );
    }
    Bundle::text(plain.join("\n\n")).with("text/html", html)
}
