//! What may befall a machine while an Experiment runs: its disk fills up, its clock is set, its Docker
//! Engine goes away and comes back. A whole sandbox with its pods on the engine goes on by itself; no
//! trial is forgotten or runs twice, and the counts add up. (That it is killed is in `crash`.)

mod disk;
mod machine;
mod road;
mod server;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use disk::Room;
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use katlab_sandbox::lifecycle::{self, Options};
use katlab_sandbox::metrics::ObservationStore;
use katlab_sandbox::runtime::sandbox_id;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use machine::Clean;
use road::{cut, road};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kubeflow-user";
const EXPERIMENT: &str = "steadfast";
const TRIALS: usize = 6;
const PATIENCE: Duration = Duration::from_secs(90);
const ENGINE: &str = "unix:///var/run/docker.sock";
/// Where a test in a process of its own has its way to the engine.
const ROAD: &str = "KATLAB_ROAD";

/// By how many seconds the clock of this process is off.
static OFF: AtomicI64 = AtomicI64::new(0);

/// The clock as everything in this program reads it: this definition comes before the system's.
///
/// # Safety
/// As of the system's own: `time` is null or a place for a time.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    // SAFETY: the caller's promise is handed on, and the kernel has checked the place.
    unsafe {
        let result = libc::syscall(libc::SYS_clock_gettime, clock, time);
        if result == 0 && clock == libc::CLOCK_REALTIME && !time.is_null() {
            (*time).tv_sec += OFF.load(Ordering::SeqCst);
        }
        if result == 0 { 0 } else { -1 }
    }
}

fn experiment() -> Value {
    json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
        "metadata": {"name": EXPERIMENT, "namespace": NAMESPACE},
        "spec": {
            "objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
            "algorithm": {"algorithmName": "random"},
            "parallelTrialCount": 2, "maxTrialCount": TRIALS, "maxFailedTrialCount": 0,
            "parameters": [{"name": "lr", "parameterType": "double",
                            "feasibleSpace": {"min": "0.1", "max": "0.2"}}],
            "trialTemplate": {
                "retain": true, "primaryContainerName": "main",
                "trialParameters": [{"name": "lr", "reference": "lr"}],
                "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0,
                    "template": {"spec": {"restartPolicy": "Never", "containers": [{
                        "name": "main", "image": "katlab/base:1", "imagePullPolicy": "Never",
                        "command": ["sh", "-c", "sleep 0.4; echo accuracy=${trialParameters.lr}"],
                        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]}}}}
            }
        }
    })
}

/// A sandbox in which an Experiment runs.
struct Lab {
    home: PathBuf,
    docker: Docker,
    /// How often each pod's container was started, by the pod.
    starts: Arc<Mutex<HashMap<String, usize>>>,
    listening: JoinHandle<()>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
    _clean: Clean,
}

impl Lab {
    async fn start(home: &Path) -> Self {
        let shutdown = CancellationToken::new();
        let (options, token) = (Options::new(home), shutdown.clone());
        let serving = tokio::spawn(async move {
            let served = lifecycle::serve(options, token).await;
            served.expect("it serves");
        });
        // Never by the way that a test cuts.
        let engine = Docker::connect_with_unix(ENGINE, 120, bollard::API_DEFAULT_VERSION);
        let docker = engine.expect("engine");
        let starts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
        let filters = HashMap::from([
            ("label", vec![label(home)]),
            ("event", vec!["start".to_owned()]),
        ]);
        let query = EventsOptionsBuilder::default().filters(&filters).build();
        let mut events = docker.clone().events(Some(query)).boxed();
        let counted = starts.clone();
        let listening = tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let attributes = event.actor.and_then(|actor| actor.attributes);
                let pod = attributes.and_then(|mut all| all.remove("katlab.pod"));
                let mut counted = counted.lock().expect("starts");
                *counted.entry(pod.unwrap_or_default()).or_default() += 1;
            }
        });
        let lab = Self {
            home: home.to_owned(),
            docker,
            starts,
            listening,
            shutdown,
            serving,
            _clean: Clean(lifecycle::state_dir(home)),
        };
        let ready = async {
            while !lifecycle::state_dir(home).join("endpoint.json").exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            lab.create("experiments", experiment()).await;
        };
        tokio::time::timeout(PATIENCE, ready)
            .await
            .expect("it is ready");
        lab
    }

    /// A client with connections of its own.
    async fn client(&self) -> kube::Client {
        let path = lifecycle::kubeconfig(&self.home);
        let kubeconfig = Kubeconfig::read_from(path).expect("a kubeconfig");
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.expect("a configuration");
        config.proxy_url = None;
        kube::Client::try_from(config).expect("a client")
    }

    async fn api(&self, plural: &str) -> Api<DynamicObject> {
        let (group, version, kind) = match plural {
            "experiments" => ("kubeflow.org", "v1beta1", "Experiment"),
            "suggestions" => ("kubeflow.org", "v1beta1", "Suggestion"),
            "trials" => ("kubeflow.org", "v1beta1", "Trial"),
            "jobs" => ("batch", "v1", "Job"),
            "pods" => ("", "v1", "Pod"),
            other => panic!("unknown kind {other}"),
        };
        let kind = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        Api::namespaced_with(self.client().await, NAMESPACE, &resource)
    }

    async fn create(&self, plural: &str, object: Value) {
        let object = serde_json::from_value(object).expect("object");
        let api = self.api(plural).await;
        let created = api.create(&PostParams::default(), &object).await;
        created.expect("created");
    }

    async fn list(&self, plural: &str) -> Vec<Value> {
        let list = self.api(plural).await.list(&ListParams::default()).await;
        let objects = list.expect("list").items.into_iter();
        objects
            .map(|object| serde_json::to_value(object).expect("object"))
            .collect()
    }

    /// The Experiment once it is as wanted.
    async fn until(&self, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waiting = async {
            let fields = watcher::Config::default().fields(&format!("metadata.name={EXPERIMENT}"));
            let events = watcher(self.api("experiments").await, fields);
            let mut events = std::pin::pin!(events.default_backoff().applied_objects());
            while let Some(event) = events.next().await {
                let Ok(object) = event else { continue };
                last = serde_json::to_value(object).expect("object");
                if is_wanted(&last) {
                    return;
                }
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(in_time.is_ok(), "not {what}: {last:#}");
        last
    }

    async fn succeeded(&self, trials: usize) {
        self.until(&format!("at {trials}"), |e| {
            e["status"]["trialsSucceeded"].as_u64().unwrap_or(0) >= trials as u64
        })
        .await;
    }

    /// How many containers run at this moment.
    async fn running(&self) -> usize {
        let filters = HashMap::from([("label", vec![label(&self.home)])]);
        let query = ListContainersOptionsBuilder::default()
            .filters(&filters)
            .build();
        let containers = self.docker.list_containers(Some(query)).await;
        containers.expect("containers").len()
    }

    /// Waits for the end of the Experiment, which must be as if nothing had happened.
    async fn ends_well(self) {
        let done = self
            .until("at its end", |e| {
                e["status"]["conditions"].as_array().is_some_and(|all| {
                    all.iter()
                        .any(|c| c["reason"] == "ExperimentMaxTrialsReached")
                })
            })
            .await;
        let status = &done["status"];
        assert_eq!(status["trials"], TRIALS, "{status:#}");
        assert_eq!(status["trialsSucceeded"], TRIALS, "{status:#}");
        for other in ["trialsFailed", "trialsKilled", "trialMetricsUnavailable"] {
            assert_eq!(status.get(other), None, "{status:#}");
        }
        let log = lifecycle::state_dir(&self.home).join("observations.db");
        let log = ObservationStore::open(&log).await.expect("the log");
        let trials = self.list("trials").await;
        assert_eq!(trials.len(), TRIALS);
        for trial in &trials {
            let name = trial["metadata"]["name"].as_str().expect("name");
            let value = trial["spec"]["parameterAssignments"][0]["value"].clone();
            let rows = log.rows(NAMESPACE, name, Default::default()).await;
            let rows: Vec<String> = rows.expect("rows").into_iter().map(|r| r.value).collect();
            assert_eq!(json!(rows), json!([value]), "each row is there once");
            let metric = &trial["status"]["observation"]["metrics"][0];
            assert_eq!(metric["latest"], value);
        }
        let suggestion = &self.list("suggestions").await[0];
        assert_eq!(suggestion["status"]["suggestionCount"], TRIALS);
        let jobs = self.list("jobs").await;
        assert_eq!(jobs.len(), TRIALS);
        for job in &jobs {
            let counts = (&job["status"]["succeeded"], job["status"].get("failed"));
            assert_eq!(counts, (&json!(1), None), "{job:#}");
        }
        let pods = self.list("pods").await;
        let once: BTreeMap<String, usize> = pods
            .iter()
            .map(|pod| {
                (
                    pod["metadata"]["name"].as_str().expect("name").to_owned(),
                    1,
                )
            })
            .collect();
        assert_eq!(once.len(), TRIALS);
        let starts = self.starts.lock().expect("starts").clone();
        assert_eq!(BTreeMap::from_iter(starts), once, "no container ran twice");
        self.shutdown.cancel();
        self.serving.await.expect("the end");
        self.listening.abort();
    }
}

fn label(home: &Path) -> String {
    format!("katlab.sandbox={}", sandbox_id(&lifecycle::state_dir(home)))
}

#[test]
fn an_experiment_goes_on_when_a_full_disk_has_room_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = directory.path().join("small");
    std::fs::create_dir(directory.path().join("pods")).expect("a directory");
    volumes_elsewhere(&small);
    disk::run_on("on_a_small_disk", &small, 16 << 20);
}

/// The engine does not see what is mounted for the test's process alone, so the files that
/// containers share with it are beside the small disk, by the same path for both.
fn volumes_elsewhere(home: &Path) {
    let state = lifecycle::state_dir(home);
    std::fs::create_dir_all(&state).expect("a directory");
    let volumes = home.parent().expect("the directory").join("pods");
    std::os::unix::fs::symlink(volumes, state.join("pods")).expect("a link");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above on a disk of its own"]
async fn on_a_small_disk() {
    let Some((directory, room)) = disk::here() else {
        return;
    };
    if matches!(room, Room::Ballast(_)) {
        volumes_elsewhere(&directory);
    }
    let lab = Lab::start(&directory).await;
    lab.succeeded(2).await;
    room.take();
    let maps: Api<ConfigMap> = Api::namespaced(lab.client().await, NAMESPACE);
    let ballast = |number: usize| -> ConfigMap {
        let map = json!({"metadata": {"name": format!("ballast-{number}")},
                         "data": {"text": "x".repeat(50_000)}});
        serde_json::from_value(map).expect("map")
    };
    let full = async {
        let mut number = 0;
        // What the log has already is written over before it grows.
        while maps
            .create(&PostParams::default(), &ballast(number))
            .await
            .is_ok()
        {
            number += 1;
        }
        // Trials end, and that cannot be written down.
        while lab.running().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let refused = maps.create(&PostParams::default(), &ballast(number)).await;
        assert!(refused.is_err(), "the disk is still full");
    };
    tokio::time::timeout(PATIENCE, full)
        .await
        .expect("a full disk");
    room.give_back();
    lab.ends_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_goes_on_when_the_clock_is_set() {
    const DAY: i64 = 86_400;
    let directory = tempfile::tempdir().expect("a directory");
    let lab = Lab::start(directory.path()).await;
    for (succeeded, off) in [(1, 3 * DAY), (2, -3 * DAY), (4, 0)] {
        lab.succeeded(succeeded).await;
        OFF.store(off, Ordering::SeqCst);
    }
    lab.ends_well().await;
}

#[test]
fn an_experiment_goes_on_when_its_engine_was_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("engine.sock");
    let mut command = disk::alone("on_a_way_that_is_cut");
    command.env(ROAD, directory.path());
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    disk::passes(&mut command);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above with an engine at the end of a way of its own"]
async fn on_a_way_that_is_cut() {
    let Some(directory) = std::env::var_os(ROAD).map(PathBuf::from) else {
        return;
    };
    let socket = directory.join("engine.sock");
    let mut way = road(&socket);
    let lab = Lab::start(&directory.join("home")).await;
    for succeeded in [1, 3] {
        lab.succeeded(succeeded).await;
        cut(way, &socket).await;
        let ended = async {
            // Trials end, and nobody sees it.
            while lab.running().await > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("what ran has ended");
        way = road(&socket);
    }
    lab.ends_well().await;
    drop(way);
}
