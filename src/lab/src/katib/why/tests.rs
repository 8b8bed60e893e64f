use super::advice::filter_advice;
use super::trial::{conclude_trial, culprit};
use super::{Diagnosis, Mood, explain_archived};
use crate::katib::trials::TrialRow;
use crate::kubernetes::events::EventRow;
use crate::kubernetes::pods::{ContainerState, PodRow, State};
use katlab_katib::types::{Experiment, MetricsCollectorSpec, Trial};
use serde_json::json;

fn trial(status: &str) -> Trial {
    serde_json::from_value(json!({
        "metadata": {"name": "t"},
        "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
            "primaryContainerName": "training",
            "metricsCollector": {"collector": {"kind": "File"}, "source": {"fileSystemPath": {"path": "/tmp/m.log"}}}},
        "status": {"conditions": [{"type": status, "status": "True", "message": "said so"}]}
    }))
    .unwrap()
}

fn pod(state: State) -> PodRow {
    PodRow {
        namespace: "n".into(),
        name: "t-abcde".into(),
        ready: 0,
        containers: 2,
        status: "x".into(),
        message: None,
        restarts: 0,
        trial: Some("t".into()),
        node: None,
        created: None,
        states: vec![
            ContainerState {
                name: "metrics-logger-and-collector".into(),
                image: "c".into(),
                state: State::Terminated {
                    code: 255,
                    reason: "Error".into(),
                    message: String::new(),
                },
                restarts: 0,
                last: None,
            },
            ContainerState {
                name: "training".into(),
                image: "r.example/i:1".into(),
                state,
                restarts: 0,
                last: None,
            },
        ],
    }
}

fn diagnosed(status: &str, pod: Option<&PodRow>, warnings: &[EventRow]) -> Diagnosis {
    let trial = trial(status);
    let row = TrialRow::of(&trial, &[]);
    let mut found = Diagnosis::new("trial t".into());
    let culprit = pod.and_then(|pod| culprit(pod, "training"));
    conclude_trial(&mut found, &trial, &row, None, pod, culprit, warnings);
    found
}

#[test]
fn an_image_that_cannot_be_pulled_is_the_reason_although_the_collector_failed_first() {
    let message = "Back-off pulling image \"r.example/i:1\": ErrImagePull: failed to pull and unpack image: r.example/i:1: not found";
    let pod = pod(State::Waiting {
        reason: "ImagePullBackOff".into(),
        message: message.into(),
    });
    let found = diagnosed("Running", Some(&pod), &[]);
    assert_eq!(found.mood, Mood::Trouble);
    assert_eq!(
        found.verdict,
        "its image cannot be pulled: r.example/i:1 is not in the registry"
    );
    assert!(found.advice[0].contains(":registry tags"));
}

#[test]
fn a_killed_container_is_told_from_one_that_failed_by_itself() {
    let killed = pod(State::Terminated {
        code: 137,
        reason: "OOMKilled".into(),
        message: String::new(),
    });
    assert!(
        diagnosed("Failed", Some(&killed), &[])
            .verdict
            .contains("memory")
    );
    let failed = pod(State::Terminated {
        code: 1,
        reason: "Error".into(),
        message: String::new(),
    });
    assert_eq!(
        diagnosed("Failed", Some(&failed), &[]).verdict,
        "the program in container training ended with exit code 1"
    );
}

#[test]
fn a_metric_that_never_came_is_answered_with_the_line_to_print() {
    let found = diagnosed("MetricsUnavailable", None, &[]);
    assert!(
        found
            .verdict
            .contains("the metric accuracy was never found")
    );
    assert_eq!(
        found.advice,
        ["write a line such as accuracy=0.97 to /tmp/m.log"]
    );
}

#[test]
fn a_log_that_says_the_metric_otherwise_is_answered_with_a_filter_that_reads_it() {
    let mut trial = trial("MetricsUnavailable");
    let log = ["epoch 1", "val accuracy: 0.91", "accuracy is fine", "bye"].map(str::to_owned);
    // The collector reads a file, and the log is not that file.
    assert_eq!(filter_advice(&trial, "accuracy", &log, ""), None);
    trial.spec.metrics_collector = Default::default();
    let advice = filter_advice(&trial, "accuracy", &log, "").unwrap();
    assert!(advice.contains("the line `val accuracy: 0.91`"), "{advice}");
    assert!(advice.contains(r"metricsFormat: ['(\w+):\s+("), "{advice}");
    assert_eq!(filter_advice(&trial, "accuracy", &log[2..], ""), None);
    // What the filter reads is not its fault.
    let read = ["accuracy=0.91".to_owned()];
    assert_eq!(filter_advice(&trial, "accuracy", &read, ""), None);
}

#[test]
fn a_pod_refused_by_the_webhook_is_found_in_the_events() {
    let event = EventRow {
        last: None,
        first: None,
        count: 5,
        warning: true,
        reason: "FailedCreate".into(),
        kind: "Job".into(),
        object: "t".into(),
        namespace: "n".into(),
        message: "admission webhook denied the request: Unable to find primary container".into(),
        source: "job-controller".into(),
    };
    let found = diagnosed("Running", None, &[event]);
    assert!(found.verdict.starts_with("its pod was refused"));
    assert!(found.advice[0].contains("primaryContainerName"));
}

#[test]
fn what_was_written_down_explains_without_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let path = crate::katib::archive::log_file(folder.path(), "t");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "epoch 1 accuracy: 0.5\nepoch 2 accuracy: 0.7\n").unwrap();
    let experiment: Experiment = serde_json::from_value(json!({
        "metadata": {"name": "e"},
        "spec": {"objective": {"type": "maximize", "objectiveMetricName": "accuracy"}},
        "status": {"conditions": [{"type": "Succeeded", "status": "True", "message": "done"}]}
    }))
    .unwrap();
    let mut trials = [trial("MetricsUnavailable"), trial("Running")];
    trials[0].spec.metrics_collector = MetricsCollectorSpec::default();
    let explain = |one: Option<&Trial>| {
        explain_archived(&experiment, &trials, one, folder.path(), " --from d")
    };
    let found = explain(trials.first());
    assert_eq!(found.mood, Mood::Trouble);
    assert!(
        found.verdict.contains("accuracy was never found"),
        "{found:?}"
    );
    assert!(
        found.advice[0].contains(":metrics test t --from d --filter"),
        "{found:?}"
    );
    let (whose, lines) = found.log.unwrap();
    assert_eq!((whose.as_str(), lines.len()), ("trial t", 2));
    let found = explain(trials.last());
    assert_eq!((found.mood, found.log), (Mood::Waiting, None));
    let found = explain(None);
    assert!(
        found
            .verdict
            .starts_with("1 of 2 trials did not bring a result; t: "),
        "{found:?}"
    );
    assert!(found.log.is_some());
    let killed = explain_archived(
        &experiment,
        &[],
        Some(&trial("Killed")),
        folder.path(),
        " --from d",
    );
    assert_eq!(
        (killed.mood, killed.verdict.as_str()),
        (Mood::Trouble, "it was killed: said so")
    );
    let empty = explain_archived(&experiment, &[], None, folder.path(), " --from d");
    assert_eq!(
        (empty.mood, empty.verdict.as_str()),
        (Mood::Trouble, "it ended without a best trial")
    );
    let mut refused = experiment.clone();
    refused.status.as_mut().unwrap().conditions[0].kind = "Failed".into();
    let refused = explain_archived(&refused, &[], None, folder.path(), " --from d");
    assert_eq!(refused.verdict, "it failed: done");
}
