use serde_json::json;

use super::*;
use crate::render::table::Align;

/// An experiment that takes the largest accuracy, with a parameter that is called as a column of ours.
fn found(latest: &str) -> TrialTable {
    let trial = |name: &str, max: &str, latest: &str| {
        json!({
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {
                "objective": {"type": "maximize", "objectiveMetricName": "accuracy",
                    "additionalMetricNames": ["loss"],
                    "metricStrategies": [{"name": "accuracy", "value": "max"}]},
                "parameterAssignments": [{"name": "--lr", "value": "0.01"}, {"name": "status", "value": "on"}]},
            "status": {
                "conditions": [{"type": "Succeeded", "status": "True"}],
                "observation": {"metrics": [
                    {"name": "accuracy", "min": max, "max": max, "latest": latest},
                    {"name": "loss", "min": "0.1", "max": "0.4", "latest": "nan"}]}}
        })
    };
    let trials = [trial("a", "0.9", latest), trial("b", "0.8", "0.8")];
    let trials: Vec<_> = trials
        .into_iter()
        .map(|trial| serde_json::from_value(trial).unwrap())
        .collect();
    TrialTable::of(None, &trials)
}

fn whole(found: &TrialTable, now: jiff::Timestamp) -> Table {
    Listing::new(found, now).whole()
}

fn columns(table: &Table) -> Vec<(&str, &str, bool)> {
    table
        .columns
        .iter()
        .map(|column| (column.key.as_str(), column.title.as_str(), column.wide))
        .collect()
}

#[test]
fn min_max_and_latest_are_shown_where_they_differ() {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let table = whole(&found("0.7"), now);
    assert_eq!(
        columns(&table)[2..10],
        [
            ("--lr", "--lr", false),
            // A parameter's name does not take a column's away.
            ("parameter.status", "status", false),
            ("accuracy", "accuracy (max)", false),
            ("accuracy.min", "accuracy (min)", false),
            ("accuracy.latest", "accuracy (latest)", false),
            ("loss", "loss (latest)", false),
            ("loss.min", "loss (min)", true),
            ("loss.max", "loss (max)", true),
        ]
    );
    let cells: Vec<&Json> = table.rows[0].cells.iter().map(|cell| &cell.value).collect();
    assert_eq!(
        cells[2..10],
        [
            &json!(0.01),
            &json!("on"),
            &json!(0.9),
            &json!(0.9),
            &json!(0.7),
            &json!("nan"),
            &json!(0.1),
            &json!(0.4)
        ]
    );
}

#[test]
fn where_they_agree_one_column_is_enough() {
    let table = whole(&found("0.9"), jiff::Timestamp::UNIX_EPOCH);
    let keys: Vec<&str> = table
        .columns
        .iter()
        .map(|column| column.key.as_str())
        .collect();
    assert!(!keys.contains(&"accuracy.min"), "{keys:?}");
    let accuracy = table
        .columns
        .iter()
        .find(|column| column.key == "accuracy")
        .unwrap();
    assert_eq!(
        (accuracy.title.as_str(), accuracy.align),
        ("accuracy", Align::Right)
    );
}
