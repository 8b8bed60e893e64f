//! `:plot`, `:analyze` and `:trials` on exports.

use std::path::Path;

use serde_json::{Value as Json, json};

use crate::magics::tests::{run, session};

/// An export of trials, each with its status and what it reported as accuracy.
fn export(folder: &Path, trials: &[(&str, &str)]) {
    let experiment = json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": {"name": "digits"},
        "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
            "parameters": [
                {"name": "--lr", "parameterType": "double", "feasibleSpace": {"min": "1e-5", "max": "1"}},
                {"name": "--optimizer", "parameterType": "categorical",
                 "feasibleSpace": {"list": ["sgd", "adam"]}}]},
    });
    let trial = |(at, (status, accuracy)): (usize, &(&str, &str))| -> Json {
        let metric =
            json!({"name": "accuracy", "min": accuracy, "max": accuracy, "latest": accuracy});
        let metrics = if accuracy.is_empty() {
            json!([])
        } else {
            json!([metric])
        };
        json!({
            "metadata": {"name": format!("digits-{at}")},
            "spec": {"parameterAssignments": [
                {"name": "--lr", "value": format!("0.0{}", at + 1)},
                {"name": "--optimizer", "value": "adam"}]},
            "status": {"conditions": [{"type": status, "status": "True"}],
                       "observation": {"metrics": metrics}},
        })
    };
    let trials: Vec<Json> = trials.iter().enumerate().map(trial).collect();
    std::fs::create_dir_all(folder).unwrap();
    let write = |file: &str, content: Json| {
        std::fs::write(folder.join(file), content.to_string()).unwrap();
    };
    write("experiment.yaml", experiment);
    write("trials.json", Json::Array(trials));
}

/// What each line of magics fails with, its hint behind it.
async fn refusals(trials: &[(&str, &str)], metrics: Option<&str>, lines: &[&str]) -> Vec<String> {
    let (dir, session) = session();
    export(&dir.path().join("out"), trials);
    if let Some(metrics) = metrics {
        std::fs::write(dir.path().join("out/metrics.csv"), metrics).unwrap();
    }
    let mut refusals = Vec::new();
    for line in lines {
        let error = run(&session, line).await.0.expect_err(line);
        refusals.push(format!(
            "{} | {}",
            error.message,
            error.hint.unwrap_or_default()
        ));
    }
    refusals
}

fn expect(found: &[String], wanted: &[&str]) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.contains(wanted), "{found}\nhas no\n{wanted}");
    }
}

#[tokio::test]
async fn a_chart_of_nothing_says_why_and_does_not_lead_to_a_cluster() {
    let found = refusals(
        &[("Failed", ""), ("Failed", "")],
        Some("trial,metric,time,value\n"),
        &[
            ":plot --from out",
            ":plot --from out metrics",
            ":plot --from out metrics --top 0",
            ":plot --from out metrics --trial digits-1",
            ":plot --from out timeline",
            ":plot --from out --where 'optimizer = adm'",
            ":plot --from out --where 'optmizer = adam'",
        ],
    );
    expect(
        &found.await,
        &[
            "all 2 trials of `digits` ended without a value of `accuracy`: 2 Failed, so there is nothing to draw | `:why --from out`",
            "all 2 trials of `digits` ended without a value",
            "`--top 0` leaves no trial",
            "`digits-1` ended as Failed without a value of `accuracy`",
            "none of the 2 trials of `digits` says when it was made",
            "--optimizer is never `adm`: did you mean `adam`? | `:trials --from out` shows them",
            "did you mean `--optimizer`?",
        ],
    );
}

#[tokio::test]
async fn curves_name_the_file_that_they_lack() {
    let trials = [("Succeeded", "0.5"), ("Succeeded", "0.75")];
    let line = [":plot --from out metrics"];
    let found = refusals(&trials, None, &line).await;
    expect(&found, &["out/metrics.csv is missing"]);
    let found = refusals(&trials, Some("foo,bar\n1,2\n"), &line).await;
    expect(&found, &["its first line is `foo,bar`"]);
    let other = "trial,metric,time,value\nx,accuracy,,0.5\n";
    let found = refusals(&trials, Some(other), &line).await;
    expect(
        &found,
        &["out/metrics.csv has no value of `accuracy` of these 2 trials"],
    );
    let words = "trial,metric,time,value\ndigits-0,accuracy,,nan\n";
    let found = refusals(&trials, Some(words), &line).await;
    expect(
        &found,
        &["the one value of `accuracy` of `digits-0` is no number"],
    );
}

#[tokio::test]
async fn a_slip_behind_from_is_named() {
    let found = refusals(
        &[("Succeeded", "0.5")],
        None,
        &[
            ":analyze --from out impotance",
            ":analyze --from out mnist",
            ":trials --from out --sort --limit 1",
            ":trials --from out --where --limit 1",
            ":trials --from out --columns --limit 1",
        ],
    );
    expect(
        &found.await,
        &[
            "there is no topic `impotance` | did you mean `importance`?",
            "holds the experiment digits, not mnist",
            "--sort lacks its value",
            "--where lacks its value",
            "--columns lacks its value",
        ],
    );
}

#[tokio::test]
async fn what_an_analysis_leaves_out_is_counted() {
    let (dir, session) = session();
    let trials = [("Succeeded", "0.5"), ("Succeeded", "0.9 %"), ("Failed", "")];
    export(&dir.path().join("out"), &trials);
    let (outcome, shown) = run(&session, ":analyze --from out best").await;
    outcome.unwrap();
    let shown = shown.plain();
    assert!(
        shown.contains("2 more have no number as `accuracy`: `0.9 %`, none"),
        "{shown}"
    );
    assert!(!shown.contains("100 %"), "{shown}");
}
