use super::*;
use crate::condition::find;
use crate::names::UNAVAILABLE;
use serde_json::json;

fn spec(changes: serde_json::Value) -> ExperimentSpec {
    let mut spec = json!({
        "objective": {
            "type": "maximize", "goal": 0.99, "objectiveMetricName": "accuracy",
            "additionalMetricNames": ["loss"],
            "metricStrategies": [
                {"name": "accuracy", "value": "max"}, {"name": "loss", "value": "min"}
            ]
        },
        "parallelTrialCount": 3, "maxTrialCount": 6, "maxFailedTrialCount": 2
    });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

/// A trial with conditions (all True, except Running once something follows it) and an
/// accuracy with the same minimum, maximum and latest value.
fn trial(name: &str, conditions: &[&str], accuracy: Option<&str>) -> Trial {
    let last = conditions.len().saturating_sub(1);
    let conditions: Vec<_> = conditions
        .iter()
        .enumerate()
        .map(|(at, kind)| {
            let over = *kind == "Running" && at != last && conditions[last] != "EarlyStopped";
            json!({"type": kind, "status": if over { "False" } else { "True" }})
        })
        .collect();
    let mut trial = json!({
        "metadata": {"name": name},
        "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "accuracy",
                          "metricStrategies": [{"name": "accuracy", "value": "max"}]},
            "parameterAssignments": [{"name": "lr", "value": format!("0.{name}")}]
        },
        "status": {"conditions": conditions}
    });
    if let Some(value) = accuracy {
        trial["status"]["observation"] = json!({"metrics": [
            {"name": "accuracy", "min": value, "max": value, "latest": value}]});
    }
    serde_json::from_value(trial).unwrap()
}

fn succeeded(name: &str, accuracy: &str) -> Trial {
    trial(name, &["Created", "Running", "Succeeded"], Some(accuracy))
}

fn failed(name: &str) -> Trial {
    trial(name, &["Created", "Running", "Failed"], None)
}

fn running(name: &str) -> Trial {
    trial(name, &["Created", "Running"], None)
}

fn without_metrics(name: &str) -> Trial {
    let value = Some(UNAVAILABLE);
    trial(name, &["Created", "Running", "MetricsUnavailable"], value)
}

fn look(status: &mut ExperimentStatus, spec: &ExperimentSpec, trials: &[Trial], now: &str) {
    let findings = count_trials(status, spec, trials);
    judge(status, spec, findings, now);
}

fn created() -> ExperimentStatus {
    let mut status = ExperimentStatus::default();
    mark_created(&mut status, "t0");
    status
}

fn conditions(status: &ExperimentStatus) -> Vec<String> {
    let conditions = status.conditions.iter();
    conditions
        .map(|c| format!("{} {} {}", c.kind, c.status, c.reason))
        .collect()
}

#[test]
fn the_first_status_has_a_start_and_an_explicit_null_for_the_end() {
    assert_eq!(
        serde_json::to_value(created()).unwrap(),
        json!({
            "startTime": "t0", "completionTime": null,
            "conditions": [{"type": "Created", "status": "True", "reason": "ExperimentCreated",
                "message": "Experiment is created",
                "lastUpdateTime": "t0", "lastTransitionTime": "t0"}],
            "currentOptimalTrial": {"observation": {}}
        })
    );
}

#[test]
fn each_trial_is_in_the_list_of_its_first_matching_condition() {
    let trials = [
        trial("killed", &["Created", "Failed", "Killed"], None),
        failed("failed"),
        succeeded("good", "0.5"),
        trial("stopped", &["Created", "Running", "EarlyStopped"], None),
        running("run"),
        without_metrics("mute"),
        trial("new", &["Created"], None),
        trial("newer", &[], None),
    ];
    let mut status = created();
    look(
        &mut status,
        &spec(json!({"maxTrialCount": 20, "maxFailedTrialCount": null})),
        &trials,
        "t1",
    );
    assert_eq!(
        serde_json::to_value(&status).unwrap(),
        json!({
            "startTime": "t0",
            "conditions": [
                {"type": "Created", "status": "True", "reason": "ExperimentCreated",
                 "message": "Experiment is created",
                 "lastUpdateTime": "t0", "lastTransitionTime": "t0"},
                {"type": "Running", "status": "True", "reason": "ExperimentRunning",
                 "message": "Experiment is running",
                 "lastUpdateTime": "t1", "lastTransitionTime": "t1"}],
            "currentOptimalTrial": {
                "bestTrialName": "good",
                "parameterAssignments": [{"name": "lr", "value": "0.good"}],
                "observation": {"metrics": [
                    {"name": "accuracy", "min": "0.5", "max": "0.5", "latest": "0.5"}]}},
            "killedTrialList": ["killed"], "failedTrialList": ["failed"],
            "succeededTrialList": ["good"], "earlyStoppedTrialList": ["stopped"],
            "runningTrialList": ["run"], "metricsUnavailableTrialList": ["mute"],
            "pendingTrialList": ["new", "newer"],
            "trials": 8, "trialsKilled": 1, "trialsFailed": 1, "trialsSucceeded": 1,
            "trialsEarlyStopped": 1, "trialsRunning": 1, "trialMetricsUnavailable": 1,
            "trialsPending": 2
        })
    );
}

#[test]
fn a_search_that_uses_up_its_trials_ends_as_recorded() {
    let mut status = created();
    let three = spec(json!({"maxTrialCount": 3}));
    look(&mut status, &three, &[running("a"), running("b")], "t1");
    assert_eq!(status.completion_time, None);
    let all = [
        succeeded("a", "0.1"),
        succeeded("b", "0.3"),
        succeeded("c", "0.2"),
    ];
    look(&mut status, &three, &all, "t2");
    assert_eq!(
        conditions(&status),
        [
            "Created True ExperimentCreated",
            "Running False ExperimentRunning",
            "Succeeded True ExperimentMaxTrialsReached"
        ]
    );
    assert_eq!(status.completed_at(), Some("t2"));
    assert_eq!(status.current_optimal_trial.best_trial_name, "b");
    let end = find(&status.conditions, "Succeeded").unwrap();
    assert_eq!(
        end.message,
        "Experiment has succeeded because max trial count has reached"
    );
}

#[test]
fn the_goal_comes_before_failures_and_failures_before_the_number_of_trials() {
    let two = spec(json!({"maxTrialCount": 3, "maxFailedTrialCount": 2}));
    let mut status = created();
    look(
        &mut status,
        &two,
        &[failed("a"), failed("b"), succeeded("c", "0.99")],
        "t1",
    );
    assert_eq!(
        status.conditions.last().unwrap().reason,
        "ExperimentGoalReached"
    );

    let mut status = created();
    look(
        &mut status,
        &two,
        &[failed("a"), without_metrics("b"), succeeded("c", "0.9")],
        "t1",
    );
    let end = status.conditions.last().unwrap();
    assert_eq!(
        (end.kind.as_str(), end.reason.as_str()),
        ("Failed", "ExperimentFailed")
    );
    assert_eq!(
        end.message,
        "Experiment has failed because max failed count has reached"
    );
    assert_eq!(status.completed_at(), Some("t1"));
}

#[test]
fn a_max_failed_count_of_zero_fails_on_the_first_failure_only() {
    let none = spec(json!({"maxFailedTrialCount": 0}));
    let mut status = created();
    look(&mut status, &none, &[succeeded("a", "0.1")], "t1");
    assert!(!is_completed(&status.conditions));
    look(
        &mut status,
        &none,
        &[succeeded("a", "0.1"), failed("b")],
        "t2",
    );
    assert!(has_condition(&status.conditions, "Failed"));
}

#[test]
fn without_max_failed_count_failures_alone_end_in_success_without_a_best_trial() {
    let lax = spec(json!({"maxFailedTrialCount": null, "maxTrialCount": 2}));
    let mut status = created();
    let both = [failed("a"), without_metrics("b")];
    look(&mut status, &lax, &both, "t1");
    assert_eq!(
        status.conditions.last().unwrap().reason,
        "ExperimentMaxTrialsReached"
    );
    assert_eq!(status.current_optimal_trial, Default::default());
}

#[test]
fn a_failed_suggestion_fails_the_experiment_without_an_end() {
    let mut status = created();
    fail_with_suggestion(&mut status, "t1");
    assert_eq!(
        conditions(&status),
        [
            "Created True ExperimentCreated",
            "Failed True ExperimentFailed"
        ]
    );
    assert_eq!(status.conditions[1].message, "Suggestion has failed");
    assert_eq!(status.completion_time, None);
}

#[test]
fn a_used_up_grid_ends_the_search() {
    let mut status = created();
    let endless = spec(json!({"maxTrialCount": null, "maxFailedTrialCount": null}));
    look(&mut status, &endless, &[succeeded("a", "0.1")], "t1");
    end_of_suggestions(&mut status, "t2");
    assert_eq!(
        conditions(&status),
        [
            "Created True ExperimentCreated",
            "Running False ExperimentRunning",
            "Succeeded True ExperimentSuggestionEndReached"
        ]
    );
    assert_eq!(status.completed_at(), Some("t2"));
}

#[test]
fn the_strategy_decides_which_value_stands_for_a_trial() {
    let value = |strategy: &str, min: &str, max: &str, latest: &str| {
        let trial: Trial = serde_json::from_value(json!({
            "spec": {"objective": {"type": "maximize", "objectiveMetricName": "m",
                     "metricStrategies": [{"name": "m", "value": strategy}]}},
            "status": {"observation": {"metrics": [
                {"name": "m", "min": min, "max": max, "latest": latest}]}}
        }))
        .unwrap();
        objective_value(&trial)
    };
    assert_eq!(value("min", "1", "3", "2"), Some(1.0));
    assert_eq!(value("max", "1", "3", "2"), Some(3.0));
    assert_eq!(value("latest", "1", "3", "2"), Some(2.0));
    assert_eq!(value("min", UNAVAILABLE, UNAVAILABLE, "2"), Some(2.0));
    assert_eq!(value("max", UNAVAILABLE, UNAVAILABLE, UNAVAILABLE), None);
    assert_eq!(value("latest", "1", "3", "nan"), None);
    assert_eq!(value("other", "1", "3", "2"), None);
}

#[test]
fn the_first_of_equals_is_best_and_words_never_are() {
    let objective = spec(json!({})).objective.unwrap();
    let trials = [
        succeeded("word", "fast"),
        succeeded("nan", "NaN"),
        succeeded("first", "0.5"),
        succeeded("second", "0.5"),
        trial("mute", &["Created", "Running"], None),
    ];
    let (best, value) = best_trial(&objective, &trials).unwrap();
    assert_eq!((best.metadata.name(), value), ("first", 0.5));

    let minimize = ObjectiveSpec {
        objective_type: ObjectiveType::Minimize,
        goal: Some(0.0),
        ..objective
    };
    let trials = [succeeded("word", "fast"), succeeded("a", "0.5")];
    let (_, value) = best_trial(&minimize, &trials).unwrap();
    assert!(
        !reaches_goal(&minimize, value),
        "a word in front must not end the search"
    );
    assert!(reaches_goal(&minimize, 0.0) && reaches_goal(&minimize, -1.0));
}

#[test]
fn a_running_trial_with_an_observation_can_be_best() {
    let objective = spec(json!({})).objective.unwrap();
    let early = trial(
        "early",
        &["Created", "Running", "EarlyStopped"],
        Some("0.9"),
    );
    let trials = [succeeded("a", "0.5"), early];
    assert_eq!(
        best_trial(&objective, &trials).unwrap().0.metadata.name(),
        "early"
    );
}

#[test]
fn trials_are_added_up_to_the_parallel_and_the_maximum_count() {
    let plan = |trials: &[Trial], changes| {
        let spec = spec(changes);
        let mut status = created();
        count_trials(&mut status, &spec, trials);
        balance(&spec, &status)
    };
    assert_eq!(plan(&[], json!({})), Balance::Add(3));
    assert_eq!(
        plan(&[running("a"), succeeded("b", "0.1")], json!({})),
        Balance::Add(2)
    );
    assert_eq!(
        plan(&[running("a"), running("b"), running("c")], json!({})),
        Balance::Level
    );
    let nearly = [
        succeeded("a", "0.1"),
        succeeded("b", "0.1"),
        failed("c"),
        succeeded("d", "0.1"),
        running("e"),
    ];
    assert_eq!(plan(&nearly, json!({})), Balance::Add(1));
    let mute = [without_metrics("a"), without_metrics("b")];
    let lax = json!({"maxTrialCount": 3, "maxFailedTrialCount": null});
    assert_eq!(
        plan(&mute, lax),
        Balance::Add(3),
        "trials without metrics are made up for"
    );
    assert_eq!(
        plan(&nearly, json!({"maxTrialCount": null})),
        Balance::Add(2)
    );
    let four = [
        running("a"),
        running("b"),
        running("c"),
        trial("d", &[], None),
    ];
    assert_eq!(
        plan(&four, json!({"parallelTrialCount": 1})),
        Balance::Remove(3)
    );
}

#[test]
fn requests_count_every_trial_but_the_ones_cut_short_without_a_value() {
    let stopped = |value| trial("s", &["Created", "Running", "EarlyStopped"], value);
    let trials = [
        succeeded("a", "0.1"),
        failed("b"),
        stopped(None),
        stopped(Some("0.3")),
    ];
    assert_eq!(requests(&trials, 2), 5);
    assert!(is_history(&trials[1]) && !is_history(&trials[2]) && is_history(&trials[3]));
    assert!(!is_history(&without_metrics("x")));
}

#[test]
fn only_a_used_up_search_whose_policy_allows_it_restarts() {
    let mut status = created();
    let short = json!({"maxTrialCount": 1, "resumePolicy": "LongRunning"});
    look(&mut status, &spec(short), &[succeeded("a", "0.1")], "t1");
    let more = |policy: &str| spec(json!({"maxTrialCount": 2, "resumePolicy": policy}));
    let wants = |spec, status: &ExperimentStatus| {
        wants_restart(&Experiment {
            spec,
            status: Some(status.clone()),
            ..Experiment::default()
        })
    };
    assert!(wants(more("LongRunning"), &status));
    assert!(wants(more("FromVolume"), &status));
    assert!(!wants(more("Never"), &status));
    let same = json!({"maxTrialCount": 1, "resumePolicy": "LongRunning"});
    assert!(!wants(spec(same), &status));

    mark_restarting(&mut status, "t2");
    look(
        &mut status,
        &more("LongRunning"),
        &[succeeded("a", "0.1")],
        "t3",
    );
    assert_eq!(
        conditions(&status),
        [
            "Created True ExperimentCreated",
            "Restarting True ExperimentRestarting",
            "Running True ExperimentRunning"
        ]
    );
    assert_eq!(
        status.completed_at(),
        Some("t1"),
        "the old end stays until the next one"
    );
    let both = [succeeded("a", "0.1"), succeeded("b", "0.1")];
    look(&mut status, &more("LongRunning"), &both, "t4");
    assert_eq!(
        conditions(&status),
        [
            "Created True ExperimentCreated",
            "Restarting True ExperimentRestarting",
            "Running False ExperimentRunning",
            "Succeeded True ExperimentMaxTrialsReached"
        ]
    );
    assert_eq!(status.completed_at(), Some("t4"));
}

#[test]
fn a_search_without_limit_that_reached_its_goal_stays_succeeded() {
    let endless = spec(json!({"maxTrialCount": null, "resumePolicy": "LongRunning"}));
    let mut status = created();
    look(&mut status, &endless, &[succeeded("a", "1.0")], "t1");
    assert!(!wants_restart(&Experiment {
        spec: endless,
        status: Some(status),
        ..Experiment::default()
    }));
}
