//! A machine with an API server and a real Docker Engine, for suites that run pods.
#![allow(dead_code)] // No suite needs all of it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, ServiceAccount};
use katlab_sandbox::api::logs::{LogOptions, LogSource};
use katlab_sandbox::metrics::ObservationStore;
use katlab_sandbox::runtime::{Runtime, remove_everything, sandbox_id};
use kube::Client;
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::server;

pub const NAMESPACE: &str = "lab";
pub const IMAGE: &str = "katlab/base:1";
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A machine with its API server.
pub struct Machine {
    pub client: Client,
    pub directory: PathBuf,
    pub observation: ObservationStore,
    pub runtime: Runtime,
    pub task: JoinHandle<()>,
    pub docker: Docker,
    // Before the server, whose end removes the directory.
    _clean: Clean,
    pub server: server::Server,
}

impl Machine {
    pub async fn start() -> Self {
        let (server, client, directory) = server::start().await;
        let observation = ObservationStore::open(&directory.join("observations.db"))
            .await
            .expect("observation log");
        create(
            &Api::<Namespace>::all(client.clone()),
            json!({"metadata": {"name": NAMESPACE}}),
        )
        .await;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), NAMESPACE);
        wait(&accounts, "default", "there", |_| true).await;
        let (runtime, task) = run(&client, &directory, &observation);
        Self {
            client,
            _clean: Clean(directory.clone()),
            directory,
            observation,
            runtime,
            task,
            docker: Docker::connect_with_unix_defaults().expect("engine"),
            server,
        }
    }

    /// As a killed process does: stops in the middle of anything, and starts again.
    pub async fn crash(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        (self.runtime, self.task) = run(&self.client, &self.directory, &self.observation);
    }

    pub fn pods(&self) -> Api<Pod> {
        self.api()
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    pub async fn pod(&self, name: &str, spec: Value) -> Pod {
        create(
            &self.pods(),
            json!({"metadata": {"name": name}, "spec": spec}),
        )
        .await
    }

    /// The pod once it is as wanted.
    pub async fn until(&self, name: &str, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        wait(&self.pods(), name, what, is_wanted).await
    }

    pub async fn phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, phase, |pod| pod["status"]["phase"] == phase)
            .await
    }

    pub async fn log(&self, name: &str) -> String {
        let pod = self.pods().get(name).await.expect("pod");
        let pod = serde_json::to_value(pod).expect("pod");
        let log = self
            .runtime
            .logs(NAMESPACE, &pod, LogOptions::default())
            .await;
        let Ok(mut log) = log else {
            panic!("the log of {name} does not open")
        };
        let mut text = Vec::new();
        while let Some(chunk) = log.next().await {
            text.extend_from_slice(&chunk.expect("log"));
        }
        String::from_utf8(text).expect("text")
    }

    /// Waits for an event of a pod that contains a text.
    pub async fn said(&self, name: &str, text: &str) -> String {
        let heard = Mutex::new(Vec::new());
        let listening = async {
            let events = watcher(self.api::<Event>(), watcher::Config::default());
            let mut events = std::pin::pin!(events.default_backoff().applied_objects());
            while let Some(event) = events.next().await {
                let Ok(event) = event else { continue };
                if event.involved_object.name.as_deref() != Some(name) {
                    continue;
                }
                let said = format!(
                    "{}: {}",
                    event.reason.unwrap_or_default(),
                    event.message.unwrap_or_default()
                );
                if said.contains(text) {
                    return said;
                }
                heard.lock().expect("heard").push(said);
            }
            unreachable!("a watch does not end")
        };
        match tokio::time::timeout(PATIENCE, listening).await {
            Ok(said) => said,
            Err(_) => panic!(
                "{name}: no event {text:?} in {:#?}",
                heard.lock().expect("heard")
            ),
        }
    }

    pub async fn gone(&self, name: &str) {
        let gone = kube::runtime::wait::await_condition(self.pods(), name, |pod: Option<&Pod>| {
            pod.is_none()
        });
        let gone = tokio::time::timeout(PATIENCE, gone).await;
        gone.expect("in time").expect("gone");
    }

    /// How many containers this machine has on the engine.
    pub async fn containers(&self) -> usize {
        let label = format!("katlab.sandbox={}", sandbox_id(&self.directory));
        let filters = [("label", vec![label])].into();
        let query = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        self.docker
            .list_containers(Some(query))
            .await
            .expect("containers")
            .len()
    }

    /// Waits until no container is left: those of an ended pod go after the pod itself.
    pub async fn emptied(&self) {
        let wait = async {
            while self.containers().await > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait)
            .await
            .expect("no container is left");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Removes a test's containers also when it fails.
pub struct Clean(pub PathBuf);

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

pub fn run(
    client: &Client,
    directory: &std::path::Path,
    observation: &ObservationStore,
) -> (Runtime, JoinHandle<()>) {
    let runtime = Runtime::new(client.clone(), directory, observation.clone()).expect("runtime");
    let task = tokio::spawn(runtime.clone().run(CancellationToken::new()));
    (runtime, task)
}

pub async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let object = serde_json::from_value(object).expect("object");
    api.create(&PostParams::default(), &object)
        .await
        .expect("created")
}

pub async fn wait<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Value
where
    K: kube::Resource
        + Clone
        + std::fmt::Debug
        + Send
        + serde::Serialize
        + serde::de::DeserializeOwned
        + 'static,
{
    let last = Mutex::new(Value::Null);
    let waiting = async {
        let fields = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut events = std::pin::pin!(
            watcher(api.clone(), fields)
                .default_backoff()
                .applied_objects()
        );
        while let Some(event) = events.next().await {
            let Ok(object) = event else { continue };
            let object = serde_json::to_value(object).expect("object");
            *last.lock().expect("last") = object.clone();
            if is_wanted(&object) {
                return object;
            }
        }
        unreachable!("a watch does not end")
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(object) => object,
        Err(_) => panic!(
            "{name} is not {what}; last: {:#}",
            last.lock().expect("last")["status"]
        ),
    }
}

/// A pod of one container that runs a shell's text and is counted with next to nothing.
pub fn shell(text: &str, container: Value, spec: Value) -> Value {
    let mut main = json!({"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", text],
                          "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}});
    merge(&mut main, container);
    let mut whole =
        json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [main]});
    merge(&mut whole, spec);
    whole
}

pub fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, value) => *into = value,
    }
}

pub fn main_status(pod: &Value) -> &Value {
    &pod["status"]["containerStatuses"][0]
}

pub fn terminated(pod: &Value) -> (i64, &str) {
    let ended = &main_status(pod)["state"]["terminated"];
    (
        ended["exitCode"].as_i64().unwrap_or(-1),
        ended["reason"].as_str().unwrap_or_default(),
    )
}

pub fn condition(pod: &Value, kind: &str) -> (String, String) {
    let list = pod["status"]["conditions"].as_array();
    let found = list.into_iter().flatten().find(|one| one["type"] == kind);
    let text = |key: &str| {
        found
            .and_then(|one| one[key].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    (text("status"), text("reason"))
}
