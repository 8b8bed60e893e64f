//! Experiments whose trials are containers of a real Docker Engine: how their metrics are collected, and how they
//! are stopped early. They need an engine with the lab's base image; each test removes what it made.

mod server;
#[allow(dead_code)] // Not every suite needs all of it.
mod support;

use std::path::PathBuf;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::KillContainerOptionsBuilder;
use k8s_openapi::api::core::v1::ConfigMap;
use katlab_sandbox::metrics::Filter;
use katlab_sandbox::runtime::{Runtime, remove_everything};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use support::{Lab, NAMESPACE, conditions, holds};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const IMAGE: &str = "katlab/base:1";

/// A sandbox that runs its pods.
struct Sandbox {
    lab: Lab,
    runtime: JoinHandle<()>,
    _clean: Clean,
}

impl Sandbox {
    async fn start() -> Self {
        let lab = Lab::without_kubelet().await;
        Self {
            _clean: Clean(lab.directory.clone()),
            runtime: run(&lab),
            lab,
        }
    }

    /// As a killed process does: stops in the middle of anything, and starts again.
    async fn crash(&mut self) {
        self.runtime.abort();
        let _ = (&mut self.runtime).await;
        self.runtime = run(&self.lab);
    }

    /// Creates an Experiment of one parameter whose trials run a shell's text.
    async fn experiment(&self, name: &str, script: &str, changes: Value) {
        let mut experiment = json!({
            "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "objective": {"type": "maximize", "objectiveMetricName": "accuracy",
                              "additionalMetricNames": ["loss"]},
                "algorithm": {"algorithmName": "random"},
                "parallelTrialCount": 1, "maxTrialCount": 1, "maxFailedTrialCount": 1,
                "parameters": [{"name": "x", "parameterType": "double",
                                "feasibleSpace": {"min": "0", "max": "1"}}],
                "trialTemplate": {
                    "retain": true, "primaryContainerName": "main",
                    "trialParameters": [{"name": "x", "reference": "x"}],
                    "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0,
                        "template": {"spec": {"restartPolicy": "Never", "containers": [{
                            "name": "main", "image": IMAGE, "imagePullPolicy": "Never",
                            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                            "env": [{"name": "X", "value": "${trialParameters.x}"}],
                            "command": ["sh", "-c", script]}]}}}}
                }
            }
        });
        merge(&mut experiment["spec"], changes);
        self.lab.create("experiments", experiment).await;
    }

    /// The only trial of an Experiment, once it is as wanted.
    async fn trial(&self, experiment: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let given = |suggestion: &Value| suggestion["status"]["suggestions"][0]["name"].is_string();
        let suggestion = self.lab.wait("suggestions", experiment, given).await;
        let name = suggestion["status"]["suggestions"][0]["name"]
            .as_str()
            .expect("name");
        self.lab.wait("trials", name, is_wanted).await
    }

    async fn rows(&self, trial: &str) -> Vec<(String, String)> {
        let rows = self
            .lab
            .observation
            .rows(NAMESPACE, trial, Filter::default())
            .await;
        let rows = rows.expect("rows").into_iter();
        rows.map(|row| (row.metric, row.value)).collect()
    }

    /// Waits until the log of a trial has a number of rows.
    async fn reported(&self, trial: &str, count: usize) -> Vec<(String, String)> {
        let waiting = async {
            loop {
                let rows = self.rows(trial).await;
                if rows.len() >= count {
                    return rows;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        waited.expect("reported within a minute")
    }

    async fn pod(&self, trial: &str) -> Value {
        let pods = self.lab.list("pods").await;
        let of = |pod: &&Value| pod["metadata"]["labels"]["katib.kubeflow.org/trial"] == trial;
        pods.iter().find(of).cloned().expect("pod")
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.runtime.abort();
    }
}

/// Removes the test's containers also when it fails.
struct Clean(PathBuf);

impl Drop for Clean {
    fn drop(&mut self) {
        let directory = self.0.clone();
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let removal = remove_everything(&directory);
            runtime.map(|runtime| runtime.block_on(removal).map(drop))
        });
        let outcome = cleaning.join();
        if !std::thread::panicking() {
            let removed = outcome.expect("thread").expect("runtime");
            removed.expect("removed");
        }
    }
}

fn run(lab: &Lab) -> JoinHandle<()> {
    let runtime = Runtime::new(lab.client.clone(), &lab.directory, lab.observation.clone());
    tokio::spawn(runtime.expect("runtime").run(CancellationToken::new()))
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

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("name")
}

fn accuracy(values: &[&str]) -> Vec<(String, String)> {
    values
        .iter()
        .map(|value| ("accuracy".into(), (*value).into()))
        .collect()
}

fn file(path: &str) -> Value {
    json!({"collector": {"kind": "File"},
           "source": {"fileSystemPath": {"path": path, "kind": "File"}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trial_worse_than_the_median_of_the_others_is_stopped_early() {
    let sandbox = Sandbox::start().await;
    let lab = &sandbox.lab;
    // The level is the same for all trials of a time: the first three are good, the others are not.
    let maps: Api<ConfigMap> = Api::namespaced(lab.client.clone(), NAMESPACE);
    let level = json!({"metadata": {"name": "level"}, "data": {"level": "0.9"}});
    let level = serde_json::from_value(level).expect("map");
    maps.create(&PostParams::default(), &level)
        .await
        .expect("map");
    // What is not stopped would go on for ten minutes. No program of it expects a SIGTERM.
    let script = |place: &str| {
        format!(
            "for step in 1 2 3; do echo accuracy=$LEVEL {place}; done; [ $LEVEL = 0.9 ] || sleep 600"
        )
    };
    let changes = |collector: Value| {
        let mut changes = json!({
            "earlyStopping": {"algorithmName": "medianstop",
                              "algorithmSettings": [{"name": "start_step", "value": "2"}]},
            "maxTrialCount": 3, "resumePolicy": "LongRunning",
            "metricsCollectorSpec": collector});
        changes["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"] = json!({
            "restartPolicy": "Never", "containers": [{
                "name": "main", "image": IMAGE, "imagePullPolicy": "Never",
                "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                "env": [{"name": "X", "value": "${trialParameters.x}"},
                        {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "level", "key": "level"}}}],
                "command": ["sh", "-c", script(">> /tmp/m.log")]}]});
        changes
    };
    let mut to_output = changes(json!({"collector": {"kind": "StdOut"}}));
    let output = "/trialTemplate/trialSpec/spec/template/spec/containers/0/command/2";
    *to_output.pointer_mut(output).expect("script") = json!(script(""));
    sandbox.experiment("output", "", to_output).await;
    sandbox
        .experiment("file", "", changes(file("/tmp/m.log")))
        .await;
    for experiment in ["output", "file"] {
        lab.wait_condition("experiments", experiment, "Succeeded")
            .await;
    }
    let patch = Patch::Merge(json!({"data": {"level": "0.1"}}));
    maps.patch("level", &PatchParams::default(), &patch)
        .await
        .expect("map");
    for experiment in ["output", "file"] {
        lab.merge(
            "experiments",
            experiment,
            json!({"spec": {"maxTrialCount": 5}}),
        )
        .await;
    }
    for experiment in ["output", "file"] {
        let ended = lab
            .wait("experiments", experiment, |found| {
                found["status"]["trials"] == 5 && holds(found, "Succeeded")
            })
            .await;
        assert_eq!(ended["status"]["trialsEarlyStopped"], 2);
        assert_eq!(ended["status"]["trialsSucceeded"], 3);
        let best = &ended["status"]["currentOptimalTrial"]["observation"]["metrics"][0];
        assert_eq!(best["max"], "0.9");
        let stopped = ended["status"]["earlyStoppedTrialList"]
            .as_array()
            .expect("list");
        for trial in stopped {
            let trial = lab.get("trials", trial.as_str().expect("name")).await;
            let rule =
                json!([{"name": "accuracy", "value": "0.9", "comparison": "less", "startStep": 2}]);
            assert_eq!(trial["spec"]["earlyStoppingRules"], rule);
            assert_eq!(
                conditions(&trial),
                [
                    "Created True TrialCreated",
                    "Running True TrialRunning",
                    "EarlyStopped True TrialEarlyStopped"
                ]
            );
            assert_eq!(trial["status"]["completionTime"], Value::Null);
            assert_eq!(
                trial["status"]["observation"]["metrics"][0]["latest"],
                "0.1"
            );
            assert_eq!(sandbox.rows(name(&trial)).await, accuracy(&["0.1"; 3]));
            let said = lab
                .wait_said("Trial", name(&trial), |said, _| {
                    said.contains("TrialEarlyStopped")
                })
                .await;
            assert!(
                said.contains("accuracy is 0.1 after 2 values, less than 0.9"),
                "{said}"
            );
            lab.wait("jobs", name(&trial), |job| job["status"]["succeeded"] == 1)
                .await;
            let pod = sandbox.pod(name(&trial)).await;
            let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            assert_eq!(
                (&ended["exitCode"], &ended["reason"]),
                (&json!(0), &json!("Completed"))
            );
            let message = ended["message"].as_str().unwrap_or_default();
            assert!(message.ends_with("the program ended with 143"), "{message}");
        }
    }
    // The first trials had nobody to be compared with.
    let trials = lab.list("trials").await;
    let free = trials
        .iter()
        .filter(|trial| trial["spec"]["earlyStoppingRules"].is_null());
    assert_eq!(free.count(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_in_the_log_while_the_trial_runs_and_once_after_a_crash() {
    let mut sandbox = Sandbox::start().await;
    let script = |place: &str| {
        format!(
            "trap 'echo accuracy=0.3 {place}; exit 0' USR1
             echo loss=3 {place}; echo accuracy=0.1 {place}; echo accuracy=0.2 {place}
             while :; do sleep 0.05; done"
        )
    };
    sandbox.experiment("output", &script(""), json!({})).await;
    let collector = json!({"metricsCollectorSpec": file("/tmp/m.log")});
    sandbox
        .experiment("file", &script(">> /tmp/m.log"), collector)
        .await;
    let mut expected = vec![("loss".to_owned(), "3".to_owned())];
    expected.extend(accuracy(&["0.1", "0.2"]));
    let mut trials = Vec::new();
    for experiment in ["output", "file"] {
        let trial = sandbox
            .trial(experiment, |trial| holds(trial, "Running"))
            .await;
        assert_eq!(sandbox.reported(name(&trial), 3).await, expected);
        trials.push(name(&trial).to_owned());
    }
    sandbox.crash().await;
    let docker = Docker::connect_with_unix_defaults().expect("engine");
    expected.extend(accuracy(&["0.3"]));
    for trial in trials {
        let pod = sandbox.pod(&trial).await;
        let id = pod["status"]["containerStatuses"][0]["containerID"]
            .as_str()
            .expect("id");
        let id = id.trim_start_matches("docker://");
        let signal = KillContainerOptionsBuilder::default()
            .signal("USR1")
            .build();
        docker
            .kill_container(id, Some(signal))
            .await
            .expect("signal");
        let trial = sandbox
            .lab
            .wait_condition("trials", &trial, "Succeeded")
            .await;
        assert_eq!(trial["status"]["observation"]["metrics"][0]["max"], "0.3");
        assert_eq!(sandbox.rows(name(&trial)).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_container_has_reported_is_taken_back() {
    let sandbox = Sandbox::start().await;
    let script = "[ -e /state/again ] && { echo accuracy=0.3; exit 0; }
                  touch /state/again; echo accuracy=0.9
                  while [ ! -e /state/go ]; do sleep 0.05; done; exit 1";
    let mut changes = json!({});
    changes["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"] = json!({
        "restartPolicy": "OnFailure",
        "volumes": [{"name": "state", "emptyDir": {}}],
        "containers": [
            {"name": "main", "image": IMAGE, "imagePullPolicy": "Never",
             "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
             "volumeMounts": [{"name": "state", "mountPath": "/state"}],
             "env": [{"name": "X", "value": "${trialParameters.x}"}],
             "command": ["sh", "-c", script]},
            {"name": "other", "image": IMAGE, "imagePullPolicy": "Never",
             "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
             "volumeMounts": [{"name": "state", "mountPath": "/state"}],
             "command": ["sh", "-c", "trap 'touch /state/go; exit 0' USR1; while :; do sleep 0.05; done"]}]});
    sandbox.experiment("again", "", changes).await;
    let trial = sandbox
        .trial("again", |trial| holds(trial, "Running"))
        .await;
    assert_eq!(sandbox.reported(name(&trial), 1).await, accuracy(&["0.9"]));
    let pod = sandbox.pod(name(&trial)).await;
    let statuses = pod["status"]["containerStatuses"]
        .as_array()
        .expect("statuses");
    let other = statuses
        .iter()
        .find(|status| status["name"] == "other")
        .expect("status");
    let id = other["containerID"]
        .as_str()
        .expect("id")
        .trim_start_matches("docker://");
    let docker = Docker::connect_with_unix_defaults().expect("engine");
    let signal = KillContainerOptionsBuilder::default()
        .signal("USR1")
        .build();
    docker
        .kill_container(id, Some(signal))
        .await
        .expect("signal");
    sandbox
        .lab
        .wait_condition("trials", name(&trial), "Succeeded")
        .await;
    assert_eq!(sandbox.rows(name(&trial)).await, accuracy(&["0.3"]));
}
