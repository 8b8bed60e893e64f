//! Experiments from creation to their end, through the real API server and controllers.

mod server;
#[allow(dead_code)] // Not every suite needs all of it.
mod support;

use std::sync::Arc;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use support::{Fate, Lab, Plan, conditions, holds};

const EXPERIMENT: &str = "mnist";

/// The lab's Experiment in small, with changes to its spec.
fn experiment(changes: Value) -> Value {
    let mut experiment = json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
        "metadata": {"name": EXPERIMENT, "namespace": support::NAMESPACE,
                     "labels": {"team": "blue"}},
        "spec": {
            "objective": {"type": "maximize", "goal": 0.99, "objectiveMetricName": "accuracy",
                          "additionalMetricNames": ["loss"]},
            "algorithm": {"algorithmName": "random"},
            "parallelTrialCount": 3, "maxTrialCount": 6, "maxFailedTrialCount": 3,
            "parameters": [
                {"name": "--learning_rate", "parameterType": "double",
                 "feasibleSpace": {"min": "0.0001", "max": "0.01"}},
                {"name": "--batch_size", "parameterType": "int",
                 "feasibleSpace": {"min": "16", "max": "128"}}],
            "trialTemplate": {
                "retain": true,
                "primaryContainerName": "main",
                "trialParameters": [
                    {"name": "learningRate", "reference": "--learning_rate"},
                    {"name": "batchSize", "reference": "--batch_size"}],
                "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0,
                    "template": {"spec": {"restartPolicy": "Never", "containers": [{
                        "name": "main", "image": "example.com/train:1",
                        "command": ["train", "--learning_rate=${trialParameters.learningRate}",
                                    "--batch_size=${trialParameters.batchSize}"]}]}}}}
            }
        }
    });
    merge(&mut experiment["spec"], changes);
    experiment
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, value) => *into = value,
    }
}

fn always(fate: Fate) -> Plan {
    Arc::new(move |_, _| fate.clone())
}

fn accuracy(value: impl ToString) -> Fate {
    Fate::Succeed(vec![("accuracy", value.to_string())])
}

fn names(object: &Value, list: &str) -> Vec<String> {
    let names = object["status"][list]
        .as_array()
        .cloned()
        .unwrap_or_default();
    names
        .iter()
        .map(|name| name.as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn an_experiment_runs_to_its_best_trial_as_recorded() {
    let plan: Plan = Arc::new(|_, number| accuracy(format!("0.9{number}")));
    let lab = Lab::start(plan).await;
    lab.create("experiments", experiment(json!({}))).await;
    let done = lab
        .wait_condition("experiments", EXPERIMENT, "Succeeded")
        .await;

    assert_eq!(
        conditions(&done),
        [
            "Created True ExperimentCreated",
            "Running False ExperimentRunning",
            "Succeeded True ExperimentMaxTrialsReached"
        ]
    );
    assert_eq!(
        done["metadata"]["finalizers"],
        json!(["update-prometheus-metrics"])
    );
    assert_eq!(
        (
            &done["status"]["trials"],
            &done["status"]["trialsSucceeded"]
        ),
        (&json!(6), &json!(6))
    );
    assert_eq!(names(&done, "succeededTrialList").len(), 6);
    let best = &done["status"]["currentOptimalTrial"];
    assert_eq!(
        best["observation"]["metrics"],
        json!([
        {"name": "accuracy", "min": "0.95", "max": "0.95", "latest": "0.95"},
        {"name": "loss", "min": "unavailable", "max": "unavailable", "latest": "unavailable"}])
    );

    let suggestion = lab
        .wait_condition("suggestions", EXPERIMENT, "Succeeded")
        .await;
    assert_eq!(
        conditions(&suggestion),
        [
            "Created True SuggestionCreated",
            "Running False Suggestion is succeeded",
            "DeploymentReady False Suggestion is succeeded",
            "Succeeded True Experiment is succeeded"
        ]
    );
    assert_eq!(suggestion["spec"]["requests"], 6);
    assert_eq!(suggestion["status"]["suggestionCount"], 6);
    assert_eq!(suggestion["metadata"]["labels"], json!({"team": "blue"}));

    let trials = lab.list("trials").await;
    assert_eq!(trials.len(), 6);
    for trial in &trials {
        assert_eq!(
            conditions(trial),
            [
                "Created True TrialCreated",
                "Running False TrialRunning",
                "Succeeded True TrialSucceeded. Job reason: CompletionsReached"
            ]
        );
        assert_eq!(
            trial["status"]["conditions"][2]["message"],
            "Trial has succeeded. Job message: Reached expected number of succeeded pods"
        );
        assert_eq!(
            trial["metadata"]["finalizers"],
            json!(["clean-metrics-in-db"])
        );
        assert_eq!(
            trial["metadata"]["labels"],
            json!({"katib.kubeflow.org/experiment": EXPERIMENT, "team": "blue"})
        );
        assert_eq!(
            trial["metadata"]["ownerReferences"][0]["kind"],
            "Experiment"
        );
        assert_eq!(trial["spec"]["objective"], done["spec"]["objective"]);
        let name = trial["metadata"]["name"].as_str().expect("name");
        let job = lab.get("jobs", name).await;
        assert_eq!(job["metadata"]["ownerReferences"][0]["name"], name);
        assert!(
            job["metadata"]["labels"]
                .get("katib.kubeflow.org/experiment")
                .is_none()
        );
        assert_eq!(
            conditions(&job),
            [
                "SuccessCriteriaMet True CompletionsReached",
                "Complete True CompletionsReached"
            ]
        );
        for said in ["created", "is running", "has succeeded"] {
            lab.wait_said("Trial", name, |event, count| {
                event.starts_with("Normal Job") && event.ends_with(said) && count == 1
            })
            .await;
        }
        lab.wait_said("Job", name, |event, _| {
            event == "Normal Completed: Job completed"
        })
        .await;
    }
    let pods = lab.list("pods").await;
    assert_eq!(pods.len(), 6);
    for pod in &pods {
        let labels = &pod["metadata"]["labels"];
        assert_eq!(labels["katib.kubeflow.org/trial"], labels["job-name"]);
        assert!(pod["metadata"].get("finalizers").is_none());
    }
}

/// The keys of a status, sorted, and its conditions: what the recordings of a real cluster
/// are compared by.
fn shape(object: &Value) -> String {
    let status = object["status"].as_object().cloned().unwrap_or_default();
    let mut keys: Vec<String> = status
        .iter()
        .filter(|(key, _)| *key != "conditions")
        .map(|(key, value)| match value {
            Value::Null => format!("{key}=null"),
            Value::Number(number) => format!("{key}={number}"),
            _ => key.clone(),
        })
        .collect();
    keys.sort();
    let conditions: Vec<String> = conditions(object)
        .iter()
        .map(|c| c.split(' ').take(2).collect::<Vec<_>>().join(" "))
        .collect();
    format!("[{}] {}", keys.join(" "), conditions.join(", "))
}

fn shapes(states: &[Value]) -> Vec<String> {
    let mut shapes: Vec<String> = states.iter().map(shape).collect();
    shapes.dedup();
    shapes
}

#[tokio::test]
async fn every_object_goes_through_the_recorded_states() {
    let lab = Lab::start(always(accuracy("0.5"))).await;
    let kinds = ["experiments", "suggestions", "trials", "jobs"];
    let [experiments, suggestions, trials, jobs] = kinds.map(|plural| lab.record(plural));
    let changes = json!({"parallelTrialCount": 1, "maxTrialCount": 1, "maxFailedTrialCount": 1});
    lab.create("experiments", experiment(changes)).await;

    let is_done = |object: &Value| holds(object, "Succeeded");
    let states = experiments.until(EXPERIMENT, is_done).await;
    let counted = "currentOptimalTrial";
    assert_eq!(
        shapes(&states),
        [
            "[] ".to_owned(),
            format!("[completionTime=null {counted} startTime] Created True"),
            format!(
                "[{counted} pendingTrialList startTime trials=1 trialsPending=1] Created True, Running True"
            ),
            format!(
                "[{counted} runningTrialList startTime trials=1 trialsRunning=1] Created True, Running True"
            ),
            format!(
                "[completionTime {counted} startTime succeededTrialList trials=1 trialsSucceeded=1] \
                     Created True, Running False, Succeeded True"
            ),
        ]
    );
    let states = suggestions.until(EXPERIMENT, is_done).await;
    assert_eq!(
        shapes(&states),
        [
            "[] ",
            "[startTime] Created True",
            "[startTime suggestionCount=1 suggestions] Created True, DeploymentReady True, Running True",
            "[startTime suggestionCount=1 suggestions] Created True, Running False, \
             DeploymentReady False, Succeeded True",
        ]
    );
    let name = lab.list("trials").await[0]["metadata"]["name"].clone();
    let name = name.as_str().expect("name");
    let states = trials.until(name, is_done).await;
    assert!(states[0]["metadata"].get("finalizers").is_none());
    assert_eq!(
        shapes(&states),
        [
            "[] ",
            "[completionTime=null startTime] Created True",
            "[startTime] Created True, Running True",
            "[completionTime observation startTime] Created True, Running False, Succeeded True",
        ]
    );
    let states = jobs.until(name, |job| holds(job, "Complete")).await;
    let shapes: Vec<String> = shapes(&states)
        .into_iter()
        // How far the pod is when the controller looks is a matter of luck.
        .filter(|shape| !shape.contains("ready=1"))
        .collect();
    assert_eq!(
        shapes[..2],
        [
            "[] ",
            "[active=1 ready=0 startTime terminating=0 uncountedTerminatedPods] "
        ]
    );
    assert_eq!(
        shapes[shapes.len() - 2..],
        [
            "[ready=0 startTime terminating=0 uncountedTerminatedPods] SuccessCriteriaMet True",
            "[completionTime ready=0 startTime succeeded=1 terminating=0 uncountedTerminatedPods] \
             SuccessCriteriaMet True, Complete True"
        ]
    );
}

#[tokio::test]
async fn failed_trials_end_the_experiment() {
    let lab = Lab::start(always(Fate::Fail)).await;
    let changes = json!({"parallelTrialCount": 1, "maxFailedTrialCount": 2});
    lab.create("experiments", experiment(changes)).await;
    let done = lab
        .wait_condition("experiments", EXPERIMENT, "Failed")
        .await;
    assert_eq!(conditions(&done)[2], "Failed True ExperimentFailed");
    assert_eq!(done["status"]["trialsFailed"], 2);
    assert_eq!(
        done["status"]["currentOptimalTrial"],
        json!({"observation": {}})
    );
    let name = &names(&done, "failedTrialList")[0];
    let trial = lab.get("trials", name).await;
    assert_eq!(
        conditions(&trial)[2],
        "Failed True TrialFailed. Job reason: BackoffLimitExceeded"
    );
    assert!(trial["status"].get("observation").is_none());
    let said = format!(
        "Normal JobFailed: Job {name} has failed. Job has reached the specified backoff limit BackoffLimitExceeded"
    );
    lab.wait_said("Trial", name, |event, count| event == said && count == 1)
        .await;
}

#[tokio::test]
async fn a_metric_that_never_comes_makes_the_trial_unavailable() {
    let lab = Lab::start(always(Fate::Succeed(vec![("loss", "0.3".into())]))).await;
    let changes = json!({"parallelTrialCount": 1, "maxFailedTrialCount": 1});
    lab.create("experiments", experiment(changes)).await;
    let done = lab
        .wait_condition("experiments", EXPERIMENT, "Failed")
        .await;
    let name = &names(&done, "metricsUnavailableTrialList")[0];
    let trial = lab.get("trials", name).await;
    assert_eq!(
        conditions(&trial)[2],
        "MetricsUnavailable True MetricsUnavailable. Job reason: CompletionsReached"
    );
    assert_eq!(
        trial["status"]["observation"]["metrics"][0]["latest"],
        "unavailable"
    );
    assert_eq!(
        trial["status"]["observation"]["metrics"][1]["latest"],
        "0.3"
    );
    let said = format!("Warning MetricsUnavailable: Metrics are not available for Job {name}");
    lab.wait_said("Trial", name, |event, _| event == said).await;
}

#[tokio::test]
async fn the_goal_ends_the_search_while_others_run_on() {
    let plan: Plan = Arc::new(|_, number| match number {
        0 => accuracy("0.995"),
        _ => Fate::Hang,
    });
    let lab = Lab::start(plan).await;
    lab.create("experiments", experiment(json!({}))).await;
    let done = lab
        .wait_condition("experiments", EXPERIMENT, "Succeeded")
        .await;
    assert_eq!(conditions(&done)[2], "Succeeded True ExperimentGoalReached");
    let running = names(&done, "runningTrialList");
    assert_eq!(running.len() + names(&done, "pendingTrialList").len(), 2);
    // One of them ends, better than the best, and one goes: what is known follows, the end stays.
    let running = lab
        .wait("experiments", EXPERIMENT, |e| {
            e["status"]["trialsRunning"] == 2
        })
        .await;
    let [late, gone] = &names(&running, "runningTrialList")[..] else {
        panic!("{running:#}");
    };
    lab.release(late, vec![("accuracy", "0.999".to_owned())])
        .await;
    lab.wait("experiments", EXPERIMENT, |e| {
        e["status"]["currentOptimalTrial"]["bestTrialName"] == **late
    })
    .await;
    lab.delete("trials", gone, DeleteParams::default()).await;
    let later = lab
        .wait("experiments", EXPERIMENT, |e| e["status"]["trials"] == 2)
        .await;
    assert_eq!(later["status"]["trialsSucceeded"], 2);
    assert_eq!(conditions(&later), conditions(&done));
}

#[tokio::test]
async fn jobs_go_when_nothing_is_to_be_retained() {
    let lab = Lab::start(always(accuracy("0.5"))).await;
    let changes = json!({"maxTrialCount": 3, "trialTemplate": {"retain": false}});
    lab.create("experiments", experiment(changes)).await;
    lab.wait_condition("experiments", EXPERIMENT, "Succeeded")
        .await;
    lab.wait_gone("jobs").await;
    lab.wait_gone("pods").await;
    let trials = lab.list("trials").await;
    assert_eq!(trials.len(), 3);
    let name = trials[0]["metadata"]["name"].as_str().expect("name");
    let said = format!("Normal JobDeleted: Job {name} has been deleted");
    lab.wait_said("Trial", name, |event, count| event == said && count == 1)
        .await;
}

#[tokio::test]
async fn a_used_up_search_goes_on_when_its_budget_is_raised() {
    for policy in ["LongRunning", "FromVolume"] {
        let lab = Lab::start(always(accuracy("0.5"))).await;
        let changes = json!({"maxTrialCount": 3, "resumePolicy": policy});
        lab.create("experiments", experiment(changes)).await;
        lab.wait_condition("experiments", EXPERIMENT, "Succeeded")
            .await;
        if policy == "FromVolume" {
            lab.wait_condition("suggestions", EXPERIMENT, "Succeeded")
                .await;
        }
        lab.merge(
            "experiments",
            EXPERIMENT,
            json!({"spec": {"maxTrialCount": 5}}),
        )
        .await;
        let done = lab
            .wait("experiments", EXPERIMENT, |e| {
                e["status"]["trialsSucceeded"] == 5 && holds(e, "Succeeded")
            })
            .await;
        assert_eq!(
            conditions(&done),
            [
                "Created True ExperimentCreated",
                "Restarting True ExperimentRestarting",
                "Running False ExperimentRunning",
                "Succeeded True ExperimentMaxTrialsReached"
            ],
            "{policy}"
        );
        let state = match policy {
            "LongRunning" => "Running",
            _ => "Succeeded",
        };
        let suggestion = lab.wait_condition("suggestions", EXPERIMENT, state).await;
        assert_eq!(suggestion["status"]["suggestionCount"], 5);
    }
}

#[tokio::test]
async fn lowering_the_parallel_count_takes_back_the_newest_running_trials_only() {
    let plan: Plan = Arc::new(|_, number| match number {
        0 => accuracy("0.5"),
        _ => Fate::Hang,
    });
    let lab = Lab::start(plan).await;
    lab.create("experiments", experiment(json!({}))).await;
    lab.wait("experiments", EXPERIMENT, |e| {
        e["status"]["trialsSucceeded"] == 1 && e["status"]["trialsRunning"] == 3
    })
    .await;
    lab.merge(
        "experiments",
        EXPERIMENT,
        json!({"spec": {"parallelTrialCount": 1}}),
    )
    .await;
    let after = lab
        .wait("experiments", EXPERIMENT, |e| {
            e["status"]["trials"] == 2 && e["status"]["trialsRunning"] == 1
        })
        .await;
    assert_eq!(
        names(&after, "succeededTrialList").len(),
        1,
        "finished ones stay"
    );
    let suggestion = lab.get("suggestions", EXPERIMENT).await;
    assert_eq!(suggestion["status"]["suggestionCount"], 2);
    assert_eq!(suggestion["spec"]["requests"], 2);
}

#[tokio::test]
async fn deleting_a_running_experiment_removes_everything_under_every_policy() {
    for params in [DeleteParams::background(), DeleteParams::foreground()] {
        let lab = Lab::start(always(Fate::Hang)).await;
        lab.create("experiments", experiment(json!({}))).await;
        lab.wait("experiments", EXPERIMENT, |e| {
            e["status"]["trialsRunning"] == 3
        })
        .await;
        lab.delete("experiments", EXPERIMENT, params).await;
        for plural in ["experiments", "suggestions", "trials", "jobs", "pods"] {
            lab.wait_gone(plural).await;
        }
        let made = lab.pods.lock().expect("pods").len();
        assert!(made <= 3, "nothing is made again: {made}");
    }
}

#[tokio::test]
async fn an_experiment_made_again_starts_with_nothing() {
    const HELD: &str = "example.com/held";
    let lab = Lab::start(always(accuracy("0.5"))).await;
    let small = || experiment(json!({"maxTrialCount": 3}));
    lab.create("experiments", small()).await;
    let first = lab
        .wait_condition("experiments", EXPERIMENT, "Succeeded")
        .await;
    lab.wait_condition("suggestions", EXPERIMENT, "Succeeded")
        .await;
    // What it leaves stays for as long as the test wants.
    let earlier = names(&first, "succeededTrialList");
    let left = earlier.iter().map(|name| ("trials", name.as_str()));
    for (plural, name) in left.chain([("suggestions", EXPERIMENT)]) {
        let patch = json!({"metadata": {"finalizers": [HELD]}});
        lab.merge(plural, name, patch).await;
    }
    lab.delete("experiments", EXPERIMENT, DeleteParams::background())
        .await;
    lab.wait_gone("experiments").await;

    lab.create("experiments", small()).await;
    let released = json!({"metadata": {"finalizers": null}});
    lab.wait_condition("experiments", EXPERIMENT, "Created")
        .await;
    lab.merge("suggestions", EXPERIMENT, released).await;
    let again = lab
        .wait_condition("experiments", EXPERIMENT, "Succeeded")
        .await;
    let own = names(&again, "succeededTrialList");
    assert_eq!(own.len(), 3);
    assert!(own.iter().all(|name| !earlier.contains(name)), "{own:?}");
    assert_eq!(lab.list("trials").await.len(), 6, "the earlier ones wait");
}

#[tokio::test]
async fn a_deleted_trial_takes_its_rows_along() {
    let lab = Lab::start(always(accuracy("0.5"))).await;
    lab.create("experiments", experiment(json!({"maxTrialCount": 3})))
        .await;
    let done = lab
        .wait_condition("experiments", EXPERIMENT, "Succeeded")
        .await;
    let name = &names(&done, "succeededTrialList")[0];
    let rows = async || {
        let rows = lab
            .observation
            .rows(support::NAMESPACE, name, Default::default())
            .await;
        rows.expect("rows").len()
    };
    assert_eq!(rows().await, 1);
    lab.delete("experiments", EXPERIMENT, DeleteParams::background())
        .await;
    lab.wait_gone("trials").await;
    assert_eq!(rows().await, 0);
}

#[tokio::test]
async fn a_failing_job_is_tried_again_up_to_its_limit() {
    let plan: Plan = Arc::new(|_, number| match number {
        0 => Fate::Fail,
        _ => accuracy("0.5"),
    });
    let lab = Lab::start(plan).await;
    let changes = json!({"parallelTrialCount": 1, "maxTrialCount": 1, "maxFailedTrialCount": 1,
        "trialTemplate": {"trialSpec": {"spec": {"backoffLimit": 1}}}});
    lab.create("experiments", experiment(changes)).await;
    let begin = std::time::Instant::now();
    let done = lab
        .wait_condition("experiments", EXPERIMENT, "Succeeded")
        .await;
    assert!(
        begin.elapsed().as_secs() >= 9,
        "the second pod waits ten seconds"
    );
    assert_eq!(done["status"]["trialsSucceeded"], 1);
    let job = &lab.list("jobs").await[0];
    assert_eq!(
        (&job["status"]["failed"], &job["status"]["succeeded"]),
        (&json!(1), &json!(1))
    );
}

#[tokio::test]
async fn a_refused_setting_fails_suggestion_and_experiment() {
    let lab = Lab::start(always(Fate::Hang)).await;
    let settings = json!([{"name": "random_state", "value": "-1"}]);
    let changes = json!({"algorithm": {"algorithmSettings": settings}});
    lab.create("experiments", experiment(changes)).await;
    let done = lab
        .wait_condition("experiments", EXPERIMENT, "Failed")
        .await;
    assert_eq!(
        conditions(&done),
        [
            "Created True ExperimentCreated",
            "Failed True ExperimentFailed"
        ]
    );
    assert_eq!(
        done["status"]["conditions"][1]["message"],
        "Suggestion has failed"
    );
    assert!(done["status"].get("completionTime").is_none());
    let suggestion = lab.get("suggestions", EXPERIMENT).await;
    assert_eq!(
        conditions(&suggestion)[1..],
        [
            "DeploymentReady True DeploymentReady",
            "Failed True SuggestionFailed"
        ]
    );
}

#[tokio::test]
async fn an_unused_search_parameter_is_told_in_events() {
    let lab = Lab::start(always(Fate::Hang)).await;
    let mut object = experiment(json!({}));
    let template = &mut object["spec"]["trialTemplate"];
    template["trialParameters"]
        .as_array_mut()
        .expect("list")
        .pop();
    template["trialSpec"]["spec"]["template"]["spec"]["containers"][0]["command"] =
        json!(["train", "${trialParameters.learningRate}"]);
    lab.create("experiments", object).await;
    lab.wait("suggestions", EXPERIMENT, |s| {
        s["status"]["suggestionCount"] == 3
    })
    .await;
    let said = lab
        .wait_said("Experiment", EXPERIMENT, |_, count| count > 2)
        .await;
    let begin = "Warning ReconcileError: Failed to reconcile: unable to find parameter from \
                 ParameterAssignment in TrialParameters: parameter assignments: [{--learning_rate ";
    assert!(said.starts_with(begin), "{said}");
    assert!(lab.list("trials").await.is_empty());
}

#[tokio::test]
async fn a_primary_container_that_is_not_there_is_told_in_events_of_the_job() {
    let lab = Lab::start(always(Fate::Hang)).await;
    let changes = json!({"parallelTrialCount": 1,
        "trialTemplate": {"primaryContainerName": "training"}});
    lab.create("experiments", experiment(changes)).await;
    let seen = lab
        .wait("experiments", EXPERIMENT, |e| {
            e["status"]["trialsRunning"] == 1
        })
        .await;
    let name = &names(&seen, "runningTrialList")[0];
    let said = "Warning FailedCreate: Error creating: admission webhook \
                \"mutator.pod.katib.kubeflow.org\" denied the request: Unable to find primary \
                container training in mutated pod containers [main]";
    lab.wait_said("Job", name, |event, count| event == said && count > 1)
        .await;
    assert!(lab.list("pods").await.is_empty());
}

#[tokio::test]
async fn controllers_killed_again_and_again_lose_and_double_nothing() {
    let plan: Plan = Arc::new(|_, number| accuracy(0.5 + number as f64 / 100.0));
    let mut lab = Lab::start(plan).await;
    let changes = json!({"maxTrialCount": 12, "parallelTrialCount": 4});
    let trials = lab.record("trials");
    lab.create("experiments", experiment(changes)).await;
    let is_done = async |lab: &Lab| holds(&lab.get("experiments", EXPERIMENT).await, "Succeeded");
    let mut kills = 0;
    for round in 0_u64.. {
        if is_done(&lab).await {
            break;
        }
        // After one write, after two …: in the middle of everything.
        let next = lab.server.store.revision() + 1 + round % 5;
        let written = async {
            while lab.server.store.revision() < next && !is_done(&lab).await {
                tokio::task::yield_now().await;
            }
        };
        let minute = std::time::Duration::from_secs(60);
        tokio::time::timeout(minute, written)
            .await
            .expect("progress");
        lab.kill_controllers().await;
        kills += 1;
        lab.start_controllers();
    }
    assert!(kills > 10, "killed {kills} times only");
    let done = lab
        .wait_condition("experiments", EXPERIMENT, "Succeeded")
        .await;
    assert_eq!(done["status"]["trialsSucceeded"], 12);
    let count = |list: Vec<Value>| list.len();
    assert_eq!(count(lab.list("trials").await), 12);
    assert_eq!(count(lab.list("jobs").await), 12);
    assert_eq!(count(lab.list("pods").await), 12);
    assert_eq!(
        lab.pods.lock().expect("pods").len(),
        12,
        "no pod was made twice"
    );
    let suggestion = lab.get("suggestions", EXPERIMENT).await;
    assert_eq!(suggestion["status"]["suggestionCount"], 12);
    for job in lab.list("jobs").await {
        assert_eq!(job["status"]["succeeded"], 1);
    }
    for trial in lab.list("trials").await {
        let name = trial["metadata"]["name"].as_str().expect("name");
        trials.until(name, |trial| holds(trial, "Succeeded")).await;
    }
    assert_eq!(most_active(&trials.so_far()), 4, "never more than wanted");
}

/// How many trials were under way at most, by all their states in order.
fn most_active(states: &[Value]) -> usize {
    let mut active = std::collections::HashSet::new();
    let mut most = 0;
    for trial in states {
        let name = trial["metadata"]["name"].as_str().expect("name");
        match holds(trial, "Succeeded") {
            true => active.remove(name),
            false => active.insert(name),
        };
        most = most.max(active.len());
    }
    most
}

#[tokio::test]
async fn a_template_of_a_config_map_is_filled_in_for_every_trial() {
    let lab = Lab::start(always(accuracy("0.5"))).await;
    let template = r#"
apiVersion: batch/v1
kind: Job
metadata:
  annotations:
    of: ${trialParameters.name}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: main
          image: example.com/train:1
          command: [train, "--lr=${trialParameters.rate}", "--tries=${trialParameters.tries}"]
"#;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "trial-templates", "namespace": support::NAMESPACE,
                     "labels": {"katib.kubeflow.org/component": "trial-templates"}},
        "data": {"train.yaml": template}});
    lab.create("configmaps", map).await;
    let mut object = experiment(json!({"parallelTrialCount": 1, "maxTrialCount": 1,
        "maxFailedTrialCount": 1}));
    object["spec"]["parameters"] = json!([
        {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.1", "max": "0.2"}},
        {"name": "tries", "parameterType": "int", "feasibleSpace": {"min": "3", "max": "3"}}]);
    object["spec"]["trialTemplate"] = json!({
        "retain": true, "primaryContainerName": "main",
        "successCondition": r#"status.conditions.#(type=="Complete")#|#(status=="True")#"#,
        "failureCondition": r#"status.conditions.#(type=="Failed")#|#(status=="True")#"#,
        "configMap": {"configMapName": "trial-templates", "templatePath": "train.yaml",
                      "configMapNamespace": support::NAMESPACE},
        "trialParameters": [{"name": "rate", "reference": "lr"},
                            {"name": "tries", "reference": "tries"},
                            {"name": "name", "reference": "${trialSpec.Name}"}]});
    lab.create("experiments", object).await;
    lab.wait_condition("experiments", EXPERIMENT, "Succeeded")
        .await;
    let trial = &lab.list("trials").await[0];
    let rate = trial["spec"]["parameterAssignments"][0]["value"]
        .as_str()
        .expect("rate");
    let name = trial["metadata"]["name"].as_str().expect("name");
    let job = lab.get("jobs", name).await;
    assert_eq!(job["metadata"]["annotations"]["of"], name);
    let container = &job["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(
        container["command"],
        json!(["train", format!("--lr={rate}"), "--tries=3"])
    );
}

#[tokio::test]
async fn fields_that_katib_does_not_know_stay_on_suggestions_and_trials_only() {
    let lab = Lab::start(always(Fate::Hang)).await;
    let mut object = experiment(json!({"parallelTrialCount": 1}));
    object["spec"]["extra"] = json!(1);
    lab.create("experiments", object).await;
    let seen = lab
        .wait("experiments", EXPERIMENT, |e| {
            e["status"]["trialsRunning"] == 1
        })
        .await;
    assert_eq!(seen["spec"].get("extra"), None);
    let trial = &names(&seen, "runningTrialList")[0];
    let more = json!({"spec": {"extra": {"a": [1, {"b": "c"}]}}, "extra": "c"});
    for (plural, name) in [("suggestions", EXPERIMENT), ("trials", trial)] {
        lab.merge(plural, name, more.clone()).await;
    }
    // The controllers write to both: more requests, a label.
    lab.merge(
        "experiments",
        EXPERIMENT,
        json!({"spec": {"parallelTrialCount": 2}}),
    )
    .await;
    let suggestion = lab
        .wait("suggestions", EXPERIMENT, |s| {
            s["spec"]["requests"] == 2 && s["status"]["suggestionCount"] == 2
        })
        .await;
    for object in [suggestion, lab.get("trials", trial).await] {
        let kept = (&object["spec"]["extra"], &object["extra"]);
        assert_eq!(
            kept,
            (&json!({"a": [1, {"b": "c"}]}), &json!("c")),
            "{object:#}"
        );
    }
}

#[tokio::test]
async fn a_used_up_grid_ends_the_experiment() {
    let lab = Lab::start(always(accuracy("0.5"))).await;
    let mut object = experiment(json!({"algorithm": {"algorithmName": "grid"},
        "maxTrialCount": null}));
    object["spec"]["parameters"] = json!([
        {"name": "--learning_rate", "parameterType": "discrete",
         "feasibleSpace": {"list": ["0.1", "0.2"]}},
        {"name": "--batch_size", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "2"}}]);
    object["spec"]
        .as_object_mut()
        .expect("spec")
        .remove("maxTrialCount");
    lab.create("experiments", object).await;
    let done = lab
        .wait_condition("experiments", EXPERIMENT, "Succeeded")
        .await;
    assert_eq!(
        conditions(&done)[2],
        "Succeeded True ExperimentSuggestionEndReached"
    );
    assert_eq!(done["status"]["trialsSucceeded"], 4);
}

/// A Job of its own, outside any trial.
fn job(changes: Value) -> Value {
    let mut job = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "job", "namespace": support::NAMESPACE},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [
            {"name": "main", "image": "example.com/train:1"}]}}}
    });
    merge(&mut job["spec"], changes);
    job
}

#[tokio::test]
async fn a_job_beyond_its_deadline_stops_its_pods_and_fails() {
    let lab = Lab::start(always(Fate::Hang)).await;
    lab.create("jobs", job(json!({"activeDeadlineSeconds": 1})))
        .await;
    let failed = lab.wait_condition("jobs", "job", "Failed").await;
    assert_eq!(
        conditions(&failed),
        [
            "FailureTarget True DeadlineExceeded",
            "Failed True DeadlineExceeded"
        ]
    );
    assert_eq!(failed["status"]["failed"], 1);
    lab.wait_gone("pods").await;
    for said in [
        "Warning DeadlineExceeded: Job was active longer than specified deadline",
        "Normal SuccessfulDelete: Deleted pod: ",
    ] {
        lab.wait_said("Job", "job", |event, _| event.starts_with(said))
            .await;
    }
}

#[tokio::test]
async fn a_job_runs_as_many_pods_as_it_wants_and_no_more_at_once() {
    let lab = Lab::start(always(accuracy("0.5"))).await;
    let changes = json!({"parallelism": 2, "completions": 5});
    let jobs = lab.record("jobs");
    lab.create("jobs", job(changes)).await;
    let states = jobs.until("job", |job| holds(job, "Complete")).await;
    let most = states
        .iter()
        .filter_map(|job| job["status"]["active"].as_i64())
        .max();
    assert_eq!(most, Some(2));
    assert_eq!(states.last().expect("state")["status"]["succeeded"], 5);
    assert_eq!(lab.list("pods").await.len(), 5);
}

#[tokio::test]
async fn a_suspended_job_waits_and_loses_no_try() {
    let lab = Lab::start(always(Fate::Hang)).await;
    lab.create("jobs", job(json!({}))).await;
    lab.wait("jobs", "job", |job| job["status"]["ready"] == 1)
        .await;
    lab.merge("jobs", "job", json!({"spec": {"suspend": true}}))
        .await;
    lab.wait_condition("jobs", "job", "Suspended").await;
    lab.wait_gone("pods").await;
    lab.merge("jobs", "job", json!({"spec": {"suspend": false}}))
        .await;
    let running = lab
        .wait("jobs", "job", |job| job["status"]["ready"] == 1)
        .await;
    assert_eq!(conditions(&running), ["Suspended False JobResumed"]);
    assert!(running["status"].get("failed").is_none());
    lab.wait_said("Job", "job", |event, _| {
        event == "Normal Resumed: Job resumed"
    })
    .await;
}

#[tokio::test]
async fn a_finished_job_goes_when_its_time_has_come() {
    let lab = Lab::start(always(accuracy("0.5"))).await;
    lab.create("jobs", job(json!({"ttlSecondsAfterFinished": 0})))
        .await;
    lab.wait_gone("jobs").await;
    lab.wait_gone("pods").await;
}

#[tokio::test]
async fn a_pod_somebody_deletes_counts_as_a_failed_one() {
    let lab = Lab::start(always(Fate::Hang)).await;
    lab.create("jobs", job(json!({"backoffLimit": 1}))).await;
    lab.wait("jobs", "job", |job| job["status"]["ready"] == 1)
        .await;
    let first = lab.list("pods").await[0]["metadata"]["name"].clone();
    let first = first.as_str().expect("name");
    lab.delete("pods", first, DeleteParams::default()).await;
    lab.wait("jobs", "job", |job| {
        job["status"]["failed"] == 1 && job["status"]["ready"] == 1
    })
    .await;
    let pods = lab.list("pods").await;
    assert!(pods.iter().any(|pod| pod["metadata"]["name"] != first));
}

#[tokio::test]
async fn pods_that_are_too_many_are_no_failures() {
    let lab = Lab::start(always(Fate::Hang)).await;
    lab.create("jobs", job(json!({"parallelism": 3, "completions": 3})))
        .await;
    lab.wait("jobs", "job", |job| job["status"]["ready"] == 3)
        .await;
    lab.merge("jobs", "job", json!({"spec": {"parallelism": 1}}))
        .await;
    let fewer = lab
        .wait("jobs", "job", |job| {
            job["status"]["ready"] == 1 && job["status"]["terminating"].as_i64().unwrap_or(0) == 0
        })
        .await;
    assert!(fewer["status"].get("failed").is_none(), "{fewer:#}");
    assert_eq!(lab.list("pods").await.len(), 1);
}
