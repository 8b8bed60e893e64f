use super::lacks::Lack;
use super::log::{comma, told};
use super::seen::Seen;
use super::trial::conclude_trial;
use super::{Archived, Diagnosis, Mood, explain_archived};
use crate::katib::evidence::Evidence;
use crate::katib::trials::TrialRow;
use crate::kubernetes::events::EventRow;
use crate::kubernetes::pods::{ContainerState, PodRow, State};
use katlab_katib::types::{Experiment, MetricsCollectorSpec, Trial};
use serde_json::json;
use std::collections::BTreeMap;

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
    let seen = Seen {
        job: None,
        pods: pod.cloned().into_iter().collect(),
        warnings: warnings.to_vec(),
    };
    conclude_trial(
        &mut found,
        &trial,
        &row,
        &seen,
        (" -n team-b", " --from out"),
    );
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
    assert_eq!(told(&trial, &log, ""), None);
    trial.spec.metrics_collector = Default::default();
    let advice = told(&trial, &log, "").unwrap().advice;
    assert!(advice.contains("the line `val accuracy: 0.91`"), "{advice}");
    assert!(advice.contains(r"metricsFormat: ['(\w+):\s+("), "{advice}");
    assert_eq!(told(&trial, &log[2..], ""), None);
    // What the filter reads is not its fault.
    let read = ["accuracy=0.91".to_owned()];
    assert_eq!(told(&trial, &read, ""), None);
}

/// A trial on standard output, and what its log tells.
fn told_of(filters: &[&str], log: &[&str]) -> super::log::Told {
    let mut trial = trial("MetricsUnavailable");
    trial.spec.metrics_collector = match filters {
        [] => MetricsCollectorSpec::default(),
        filters => {
            serde_json::from_value(json!({"source": {"filter": {"metricsFormat": filters}}}))
                .unwrap()
        }
    };
    let objective = trial.spec.objective.as_mut().unwrap();
    objective.additional_metric_names = vec!["loss".into()];
    let log: Vec<String> = log.iter().map(|line| (*line).to_owned()).collect();
    told(&trial, &log, " -n team-b").unwrap_or_else(|| panic!("{log:?}"))
}

#[test]
fn a_corrected_filter_loses_no_metric_and_its_magic_is_whole() {
    let advice = told_of(&[], &["loss=0.25", "accuracy: 0.9"]).advice;
    let default = katlab_katib::names::DEFAULT_FILTER;
    assert!(
        advice.contains(&format!("metricsFormat: ['{default}', '(\\w+):")),
        "{advice}"
    );
    let magic = format!("`:metrics test t -n team-b --filter '{default}' --filter '(\\w+):");
    assert!(advice.contains(&magic), "{advice}");
}

#[test]
fn a_filter_without_groups_is_said_to_want_them() {
    let mut trial = trial("MetricsUnavailable");
    for kind in ["StdOut", "File"] {
        trial.spec.metrics_collector = serde_json::from_value(
            json!({"collector": {"kind": kind}, "source": {"filter": {"metricsFormat": ["abc"]}}}),
        )
        .unwrap();
        let advice = super::advice::collector_advice(&trial, "accuracy");
        assert!(
            advice.contains("the filter abc has fewer than two groups"),
            "{advice}"
        );
        assert!(
            advice.contains(katlab_katib::names::DEFAULT_FILTER),
            "{advice}"
        );
    }
    let advice = told_of(&["abc"], &["accuracy=0.9"]).advice;
    assert!(
        advice.contains("cannot report, for it has fewer than two groups"),
        "{advice}"
    );
    assert!(advice.contains(r"metricsFormat: ['(\w+)="), "{advice}");
}

#[test]
fn a_name_that_is_nearly_right_is_told() {
    for (line, word) in [
        ("Accuracy=0.9", "Accuracy"),
        ("val_accuracy=0.9", "val_accuracy"),
        ("acc=0.9", "acc"),
    ] {
        let told = told_of(&[], &["loss=0.25", line]);
        assert!(
            told.is_all && told.advice.contains(&format!("`{word}` is not accuracy")),
            "{told:?}"
        );
        assert!(
            told.advice
                .contains(&format!("objectiveMetricName: {word}")),
            "{told:?}"
        );
        assert!(!told.advice.contains("metricsFormat"), "{told:?}");
    }
    // Neither the name nor the sign is what is wanted.
    let told = told_of(&[], &["loss=0.25", "ACCURACY: 0.9"]);
    assert!(
        told.advice.contains("metricsFormat: ['([\\w|-]+)"),
        "{told:?}"
    );
}

#[test]
fn a_value_that_is_no_finite_number_is_told() {
    for line in ["accuracy=nan", "accuracy = inf"] {
        let told = told_of(&[], &[line]);
        let verdict = told.verdict.unwrap();
        assert!(
            verdict.contains("was no finite number") && verdict.contains(line),
            "{verdict}"
        );
        assert!(told.advice.contains("diverged"), "{}", told.advice);
    }
    let told = told_of(&[], &["accuracy=tensor(0.91)"]);
    assert!(told.advice.contains("print a plain 0.91"), "{told:?}");
    assert!(
        told.advice.contains(r"metricsFormat: ['(\w+)=tensor\("),
        "{told:?}"
    );
    let told = told_of(&[], &["accuracy=high"]);
    assert!(told.advice.contains("`high`, is no number"), "{told:?}");
    let mut found = Diagnosis::new("trial t".into());
    let mut trial = trial("Succeeded");
    trial.spec.metrics_collector = MetricsCollectorSpec::default();
    comma(&mut found, &trial, &["accuracy=0.91".to_owned()]);
    assert_eq!(found.advice, [""; 0]);
    comma(&mut found, &trial, &["accuracy=0,91".to_owned()]);
    assert!(found.advice[0].contains("`0,91` is read as 0"), "{found:?}");
}

#[test]
fn a_secret_or_config_map_that_is_missing_is_to_be_made() {
    let waiting = |message: &str| {
        pod(State::Waiting {
            reason: "CreateContainerConfigError".into(),
            message: message.into(),
        })
    };
    let advice = |message: &str| {
        let mut found = diagnosed("Running", Some(&waiting(message)), &[]);
        assert_eq!(found.advice.len(), 1, "{found:?}");
        found.advice.remove(0)
    };
    let told = advice("secret \"nosecret\" not found");
    assert!(
        told.contains("`:secret create nosecret --from-setting KEY -n team-b`"),
        "{told}"
    );
    let told = advice("couldn't find key token in Secret team-b/keys");
    assert!(
        told.contains("`:secret create keys --from-setting token -n team-b`"),
        "{told}"
    );
    let told = advice("configmap \"settings\" not found");
    assert!(
        told.contains("ConfigMap settings") && told.contains(":apply"),
        "{told}"
    );
    assert_eq!(Lack::of("exec: not found"), None);
    let event = warning(
        "FailedMount",
        "MountVolume.SetUp failed for volume \"v\" : configmap \"settings\" not found",
    );
    let found = diagnosed("Running", None, &[event]);
    assert!(
        found
            .verdict
            .contains("the ConfigMap settings does not exist"),
        "{found:?}"
    );
}

#[test]
fn the_magic_that_runs_a_container_again_is_written_out() {
    let failed = pod(State::Terminated {
        code: 1,
        reason: "Error".into(),
        message: String::new(),
    });
    let mut trial = trial("Failed");
    let again = |trial: &Trial| super::manifest::again(trial, &failed.states[1], " --from out");
    assert!(again(&trial).starts_with("`:rerun t --container --from out`"));
    trial.spec.primary_container_name = "other".into();
    assert!(again(&trial).starts_with("`:run r.example/i:1` with"));
    trial.spec.run_spec = Some(json!({"kind": "Job", "spec": {"template": {"spec": {
        "initContainers": [{"name": "training", "image": "mnist:1"}]}}}}));
    assert!(again(&trial).starts_with("`:run mnist:1` with"));
    let killed = pod(State::Terminated {
        code: 137,
        reason: "Error".into(),
        message: String::new(),
    });
    let found = diagnosed("Failed", Some(&killed), &[]);
    assert!(
        found.advice[0].contains("activeDeadlineSeconds"),
        "{found:?}"
    );
}

#[test]
fn a_pull_secret_that_is_missing_is_to_be_made_from_the_login() {
    let message = "failed to pull image: 401 Unauthorized";
    let pod = pod(State::Waiting {
        reason: "ImagePullBackOff".into(),
        message: message.into(),
    });
    let event = warning(
        "FailedToRetrieveImagePullSecret",
        "Unable to retrieve some image pull secrets (nowhere); attempting to pull the image may not succeed.",
    );
    let found = diagnosed("Running", Some(&pod), &[event]);
    assert!(
        found.advice[0].contains("`:secret create nowhere --from-login r.example -n team-b`"),
        "{found:?}"
    );
}

fn warning(reason: &str, message: &str) -> EventRow {
    EventRow {
        last: None,
        first: None,
        count: 5,
        warning: true,
        reason: reason.into(),
        kind: "Job".into(),
        object: "t".into(),
        namespace: "n".into(),
        message: message.into(),
        source: "job-controller".into(),
    }
}

#[test]
fn a_pod_refused_by_the_webhook_is_found_in_the_events() {
    let event = warning(
        "FailedCreate",
        "admission webhook denied the request: Unable to find primary container",
    );
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
    let work = BTreeMap::new();
    let evidence: Evidence = serde_json::from_value(json!({
        "pods": [{"metadata": {"name": "o-1", "labels": {"katib.kubeflow.org/trial": "o"}}, "status": {"phase": "Failed",
            "containerStatuses": [{"name": "training", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]}},
                 {"metadata": {"name": "p-1", "labels": {"katib.kubeflow.org/trial": "p"}}, "status": {"phase": "Pending",
            "containerStatuses": [{"name": "training", "image": "r.example/i:1", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no basic auth credentials"}}}]}}],
        "events": [{"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p-1"}, "type": "Warning",
            "reason": "Failed", "message": "Failed to pull image \"r.example/i:1\": no basic auth credentials"}]
    }))
    .unwrap();
    let of = |experiment: &Experiment, trials: &[Trial], one: Option<&Trial>| {
        let archived = Archived {
            experiment,
            trials,
            work: &work,
            evidence: &evidence,
            folder: folder.path(),
            from: " --from d",
            place: "",
        };
        explain_archived(&archived, one)
    };
    let explain = |one: Option<&Trial>| of(&experiment, &trials, one);
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
    let killed = of(&experiment, &[], Some(&trial("Killed")));
    assert_eq!(
        (killed.mood, killed.verdict.as_str()),
        (Mood::Trouble, "it was killed: said so")
    );
    let empty = of(&experiment, &[], None);
    assert_eq!(
        (empty.mood, empty.verdict.as_str()),
        (Mood::Trouble, "it ended without a best trial")
    );
    let mut refused = experiment.clone();
    refused.status.as_mut().unwrap().conditions[0].kind = "Failed".into();
    let refused = of(&refused, &[], None);
    assert_eq!(refused.verdict, "it failed: done");
    let mut starved = trial("Failed");
    starved.metadata.name = Some("o".into());
    let starved = of(&experiment, &[], Some(&starved));
    assert!(
        starved.verdict.contains("needed more memory"),
        "{starved:?}"
    );
    let mut unpulled = trial("Running");
    unpulled.metadata.name = Some("p".into());
    let unpulled = of(&experiment, &[], Some(&unpulled));
    assert_eq!(unpulled.mood, Mood::Trouble);
    assert!(
        unpulled
            .verdict
            .starts_with("it was under way when this was written down: its image cannot be pulled"),
        "{unpulled:?}"
    );
    assert!(
        unpulled.advice[0].contains("`:secret create NAME --from-login r.example`"),
        "{unpulled:?}"
    );
}
