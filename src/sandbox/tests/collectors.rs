//! Experiments whose trials are containers of a real Docker Engine: how their metrics are collected, and how they
//! are stopped early. They need an engine with the lab's base image; each test removes what it made.

mod machine;
mod server;
#[allow(dead_code)] // Not every suite needs all of it.
mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::KillContainerOptionsBuilder;
use k8s_openapi::api::core::v1::ConfigMap;
use katlab_sandbox::metrics::{DbManager, Filter};
use katlab_sandbox::runtime::Runtime;
use kube::api::{Api, Patch, PatchParams, PostParams};
use machine::{Clean, merge};
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

    /// Serves the observation log on the engine's bridge, where containers reach it.
    async fn db_manager(&self) -> SocketAddr {
        let docker = Docker::connect_with_unix_defaults().expect("engine");
        let bridge = docker
            .inspect_network("bridge", None)
            .await
            .expect("bridge");
        let ranges = bridge.ipam.and_then(|ipam| ipam.config).expect("addresses");
        let range = ranges.first().expect("a range");
        // An engine that names no gateway takes the first address of the range.
        let first = || {
            let subnet = range.subnet.as_ref()?.split('/').next()?;
            let subnet: Ipv4Addr = subnet.parse().ok()?;
            Some(IpAddr::from(Ipv4Addr::from_bits(subnet.to_bits() + 1)))
        };
        let named = range.gateway.as_ref().and_then(|named| named.parse().ok());
        let address = named.or_else(first).expect("address");
        let server = DbManager::bind((address, 0).into(), self.lab.observation.clone());
        let server = server.await.expect("server");
        let address = server.address();
        tokio::spawn(server.serve(CancellationToken::new()));
        address
    }

    /// The Experiment's only trial, ended, and what its log holds.
    async fn ended(&self, experiment: &str, condition: &str) -> (Value, Vec<(String, String)>) {
        let trial = self
            .trial(experiment, |trial| holds(trial, condition))
            .await;
        let rows = self.rows(name(&trial)).await;
        (trial, rows)
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

fn run(lab: &Lab) -> JoinHandle<()> {
    let runtime = Runtime::new(lab.client.clone(), &lab.directory, lab.observation.clone());
    tokio::spawn(runtime.expect("runtime").run(CancellationToken::new()))
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
    // Without a limit above 0 the first restart is the job's end.
    changes["trialTemplate"]["trialSpec"]["spec"]["backoffLimit"] = json!(6);
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
    let id_in = |pod: &Value| {
        let statuses = pod["status"]["containerStatuses"].as_array()?;
        let other = statuses.iter().find(|status| status["name"] == "other")?;
        other["state"].get("running")?;
        let id = other["containerID"].as_str()?;
        Some(id.trim_start_matches("docker://").to_owned())
    };
    let pod = sandbox
        .lab
        .wait("pods", name(&pod), |pod| id_in(pod).is_some())
        .await;
    let id = id_in(&pod).expect("id");
    let docker = Docker::connect_with_unix_defaults().expect("engine");
    let signal = KillContainerOptionsBuilder::default()
        .signal("USR1")
        .build();
    docker
        .kill_container(&id, Some(signal))
        .await
        .expect("signal");
    sandbox
        .lab
        .wait_condition("trials", name(&trial), "Succeeded")
        .await;
    assert_eq!(sandbox.rows(name(&trial)).await, accuracy(&["0.3"]));
}

/// Reports values of accuracy to the DBManager as the SDK's `report_metrics` does, with nothing but sockets:
/// `python3 -c "$REPORT" TRIAL VALUE …`.
const REPORT: &str = r#"
import os, socket, struct, sys
def field(number, data):
    data = data if isinstance(data, bytes) else data.encode()
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data
def frame(kind, flags, stream, data):
    return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data
def header(name, value):
    return bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
trial, values = sys.argv[1], sys.argv[2:]
host, port = os.environ["DB_MANAGER"].rsplit(":", 1)
link = socket.create_connection((host, int(port)))
answer = link.makefile("rb")
link.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
for number, value in enumerate(values):
    stream = 2 * number + 1
    log = field(1, "2026-01-01T00:00:0%dZ" % number) + field(2, field(1, "accuracy") + field(2, value))
    message = field(1, trial) + field(2, field(1, log))
    headers = b"".join(header(*pair) for pair in [
        (":method", "POST"), (":scheme", "http"), (":authority", "db-manager"),
        (":path", "/api.v1.beta1.DBManager/ReportObservationLog"), ("te", "trailers"),
        ("content-type", "application/grpc")])
    link.sendall(frame(1, 4, stream, headers) + frame(0, 1, stream, struct.pack(">BI", 0, len(message)) + message))
    while True:
        head = answer.read(9)
        assert len(head) == 9, "the connection was closed"
        answer.read(int.from_bytes(head[:3], "big"))
        assert head[3] != 3, "the call was reset"
        # The trailers end the call.
        if head[3] == 1 and head[4] & 1 and int.from_bytes(head[5:], "big") == stream:
            break
"#;

/// Writes TensorFlow's event files: `python3 -c "$EVENTS" FILE TAG=VALUE …`.
const EVENTS: &str = r#"
import struct, sys
def crc(data):
    value = 0xffffffff
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82f63b78 if value & 1 else 0)
    value ^= 0xffffffff
    return struct.pack("<I", (value >> 15 | value << 17) + 0xa282ead8 & 0xffffffff)
def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data
path, pairs = sys.argv[1], sys.argv[2:]
with open(path, "ab") as out:
    for number, pair in enumerate(pairs):
        tag, value = pair.split("=")
        value = field(1, field(1, tag.encode()) + b"\x15" + struct.pack("<f", float(value)))
        data = b"\x09" + struct.pack("<d", 1.7e9 + number) + field(5, value)
        length = struct.pack("<Q", len(data))
        out.write(length + crc(length) + data + crc(data))
"#;

/// Offers three pages of metrics over HTTP, one after the other, then ends.
const PAGES: &str = r##"
import socket
server = socket.create_server(("", 8080))
for value in ["0.1", "0.2", "0.3"]:
    link, _ = server.accept()
    request = link.recv(65536)
    assert request.startswith(b"GET /metrics HTTP/1.1"), request
    page = ("# TYPE accuracy gauge\naccuracy %s\nloss{set=\"train\"} 4\n" % value).encode()
    link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(page) + page)
    link.close()
"##;

/// The lines of the trial's pod with these programs in its environment.
fn with_programs(collector: Value, db_manager: SocketAddr) -> Value {
    let mut changes = json!({"metricsCollectorSpec": collector});
    changes["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"] = json!([{
        "name": "main", "image": IMAGE, "imagePullPolicy": "Never",
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "env": [{"name": "X", "value": "${trialParameters.x}"}, {"name": "REPORT", "value": REPORT},
                {"name": "EVENTS", "value": EVENTS}, {"name": "PAGES", "value": PAGES},
                {"name": "DB_MANAGER", "value": db_manager.to_string()}],
        "command": ["sh", "-c", ""]}]);
    changes
}

fn set_script(changes: &mut Value, script: &str) {
    let place = "/trialTemplate/trialSpec/spec/template/spec/containers/0/command/2";
    *changes.pointer_mut(place).expect("script") = json!(script);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_collector_brings_a_trials_metrics_into_the_log() {
    let sandbox = Sandbox::start().await;
    let db_manager = sandbox.db_manager().await;
    let custom = json!({"name": "own", "image": IMAGE, "imagePullPolicy": "Never",
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
        "env": [{"name": "REPORT", "value": REPORT}, {"name": "DB_MANAGER", "value": db_manager.to_string()},
                {"name": "TRIAL", "valueFrom": {"fieldRef": {
                    "fieldPath": "metadata.labels['katib.kubeflow.org/trial']"}}}],
        "command": ["sh", "-c", "until [ -e /out/done ]; do sleep 0.05; done
                                 python3 -c \"$REPORT\" $TRIAL $(cat /out/metrics); touch /out/collected"]});
    let directory = |path: &str| json!({"path": path, "kind": "Directory"});
    let events = "mkdir /logs/train /logs/test
        python3 -c \"$EVENTS\" /logs/train/events.out.tfevents.1.host loss=2 accuracy=0.5 accuracy=0.75
        python3 -c \"$EVENTS\" /logs/test/events.out.tfevents.1.host accuracy=0.25";
    let tensorflow = json!({"collector": {"kind": "TensorFlowEvent"},
                            "source": {"fileSystemPath": directory("/logs")}});
    let row = |metric: &str, value: &str| (metric.to_owned(), value.to_owned());
    let none = || vec![row("accuracy", "unavailable")];
    let cases = [
        (
            "push",
            json!({"collector": {"kind": "Push"}}),
            "python3 -c \"$REPORT\" $KATIB_TRIAL_NAME 0.5 0.75",
            accuracy(&["0.5", "0.75"]),
        ),
        (
            "push-nothing",
            json!({"collector": {"kind": "Push"}}),
            "true",
            none(),
        ),
        (
            "custom",
            json!({"collector": {"kind": "Custom", "customCollector": custom},
                          "source": {"fileSystemPath": directory("/out")}}),
            "echo 0.25 0.5 > /out/metrics; touch /out/done; until [ -e /out/collected ]; do sleep 0.05; done",
            accuracy(&["0.25", "0.5"]),
        ),
        (
            "custom-nothing",
            json!({"collector": {"kind": "Custom", "customCollector": {
                        "name": "own", "image": IMAGE, "imagePullPolicy": "Never",
                        "command": ["touch", "/out/done"]}},
                   "source": {"fileSystemPath": directory("/out")}}),
            "until [ -e /out/done ]; do sleep 0.05; done",
            none(),
        ),
        // The directory is there because the file is to be in it.
        (
            "file",
            file("/only/for/this/m.log"),
            "echo accuracy=0.5 > /only/for/this/m.log",
            accuracy(&["0.5"]),
        ),
        // As Katib's filter reads it; it is no result here.
        (
            "nan-nothing",
            json!({"collector": {"kind": "StdOut"}}),
            "echo accuracy=nan",
            accuracy(&[""]),
        ),
        (
            "events",
            tensorflow.clone(),
            events,
            // What the other directory holds is another metric.
            vec![
                row("train/loss", "2"),
                row("train/accuracy", "0.5"),
                row("train/accuracy", "0.75"),
            ],
        ),
        (
            "events-nothing",
            tensorflow,
            "true",
            vec![row("train/accuracy", "unavailable")],
        ),
        (
            "pages",
            json!({"collector": {"kind": "PrometheusMetric"},
                         "source": {"httpGet": {"port": 8080, "path": "/metrics"}}}),
            "exec python3 -c \"$PAGES\"",
            vec![
                row("accuracy", "0.1"),
                row("loss", "4"),
                row("accuracy", "0.2"),
                row("accuracy", "0.3"),
            ],
        ),
        (
            "pages-nothing",
            json!({"collector": {"kind": "PrometheusMetric"},
                         "source": {"httpGet": {"port": 8080, "path": "/metrics"}}}),
            "true",
            none(),
        ),
    ];
    for (name, collector, script, _) in &cases {
        let mut changes = with_programs(collector.clone(), db_manager);
        set_script(&mut changes, script);
        if name.starts_with("events") {
            changes["objective"] = json!({"objectiveMetricName": "train/accuracy",
                                          "additionalMetricNames": ["train/loss"]});
        }
        changes["maxFailedTrialCount"] = json!(0);
        changes["maxTrialCount"] = json!(1);
        sandbox.experiment(name, "", changes).await;
    }
    for (experiment, _, _, expected) in cases {
        let is_there = !experiment.ends_with("-nothing");
        let condition = if is_there {
            "Succeeded"
        } else {
            "MetricsUnavailable"
        };
        let (trial, rows) = sandbox.ended(experiment, condition).await;
        assert_eq!(rows, expected, "{experiment}");
        let observed = &trial["status"]["observation"];
        // Katib leaves the observation out where the training was to report by itself.
        assert_eq!(
            observed.is_null(),
            experiment == "push-nothing",
            "{experiment}"
        );
        if is_there {
            let latest = &observed["metrics"][0]["latest"];
            assert_eq!(
                latest,
                &json!(expected.last().expect("row").1),
                "{experiment}"
            );
        }
    }
}
