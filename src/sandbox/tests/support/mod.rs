//! A sandbox without containers: the real API server and controllers, and a kubelet that ends
//! pods as a test wants.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod};
use katlab_sandbox::controllers;
use katlab_sandbox::metrics::{ObservationStore, Row};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams};
use kube::api::{Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The namespace all tests use; it carries Katib's label.
pub const NAMESPACE: &str = "lab";

/// What becomes of a pod.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It prints values of metrics and succeeds.
    Succeed(Vec<(&'static str, String)>),
    /// It exits 1.
    Fail,
    /// It runs until it is deleted.
    Hang,
}

/// Decides about pods; sees the pod and how many there were before.
pub type Plan = Arc<dyn Fn(&Pod, usize) -> Fate + Send + Sync>;

/// A running sandbox.
pub struct Lab {
    pub client: Client,
    pub observation: ObservationStore,
    /// Room for more state.
    pub directory: std::path::PathBuf,
    controllers: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
    kubelet: CancellationToken,
    /// Identities of the pods the kubelet has seen, oldest first.
    pub pods: Arc<Mutex<Vec<String>>>,
    pub server: super::server::Server,
}

impl Lab {
    /// Starts everything, with a kubelet that does as planned.
    pub async fn start(plan: Plan) -> Self {
        let lab = Self::without_kubelet().await;
        tokio::spawn(kubelet(
            lab.client.clone(),
            lab.observation.clone(),
            plan,
            lab.pods.clone(),
            lab.kubelet.clone(),
        ));
        lab
    }

    /// Starts the API server and the controllers; nobody runs pods.
    pub async fn without_kubelet() -> Self {
        let (server, client, directory) = super::server::start().await;
        let observation = ObservationStore::open(&directory.join("observations.db"))
            .await
            .expect("observation log");
        let namespaces: Api<DynamicObject> = Api::all_with(
            client.clone(),
            &resource("", "v1", "Namespace", "namespaces"),
        );
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": NAMESPACE,
            "labels": {"katib.kubeflow.org/metrics-collector-injection": "enabled"}}});
        let namespace = serde_json::from_value(namespace).expect("namespace");
        namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .expect("namespace");
        let accounts = resource("", "v1", "ServiceAccount", "serviceaccounts");
        let accounts: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), NAMESPACE, &accounts);
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
                             "metadata": {"name": "default"}});
        let account = serde_json::from_value(account).expect("account");
        // The garbage collector makes it as well, in its own time.
        let _ = accounts.create(&PostParams::default(), &account).await;
        let mut lab = Self {
            client,
            observation,
            directory,
            controllers: None,
            kubelet: CancellationToken::new(),
            pods: Arc::default(),
            server,
        };
        lab.start_controllers();
        lab
    }

    pub fn start_controllers(&mut self) {
        let token = CancellationToken::new();
        let run = controllers::run(self.client.clone(), self.observation.clone(), token.clone());
        self.controllers = Some((token, tokio::spawn(run)));
    }

    /// Stops the controllers in the middle of whatever they do.
    pub async fn kill_controllers(&mut self) {
        if let Some((_, task)) = self.controllers.take() {
            task.abort();
            let _ = task.await;
        }
    }

    pub fn api(&self, plural: &str) -> Api<DynamicObject> {
        let resource = match plural {
            "experiments" => resource("kubeflow.org", "v1beta1", "Experiment", plural),
            "suggestions" => resource("kubeflow.org", "v1beta1", "Suggestion", plural),
            "trials" => resource("kubeflow.org", "v1beta1", "Trial", plural),
            "jobs" => resource("batch", "v1", "Job", plural),
            "pods" => resource("", "v1", "Pod", plural),
            "configmaps" => resource("", "v1", "ConfigMap", plural),
            other => panic!("unknown kind {other}"),
        };
        Api::namespaced_with(self.client.clone(), NAMESPACE, &resource)
    }

    pub async fn create(&self, plural: &str, object: Value) -> DynamicObject {
        let object = serde_json::from_value(object).expect("object");
        self.api(plural)
            .create(&PostParams::default(), &object)
            .await
            .expect("created")
    }

    pub async fn get(&self, plural: &str, name: &str) -> Value {
        let object = self.api(plural).get(name).await.expect("object");
        serde_json::to_value(object).expect("object")
    }

    pub async fn list(&self, plural: &str) -> Vec<Value> {
        let list = self
            .api(plural)
            .list(&ListParams::default())
            .await
            .expect("list");
        list.items
            .into_iter()
            .map(|object| serde_json::to_value(object).expect("object"))
            .collect()
    }

    /// Merges a change into an object.
    pub async fn merge(&self, plural: &str, name: &str, patch: Value) {
        let patch = Patch::Merge(patch);
        self.api(plural)
            .patch(name, &PatchParams::default(), &patch)
            .await
            .expect("patched");
    }

    /// Waits until an object is as wanted, by watching it; fails after a minute with the
    /// object as it was last.
    pub async fn wait(
        &self,
        plural: &str,
        name: &str,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let last = Mutex::new(Value::Null);
        let waiting = async {
            let api = self.api(plural);
            let fields = watcher::Config::default().fields(&format!("metadata.name={name}"));
            let mut events =
                std::pin::pin!(watcher(api, fields).default_backoff().applied_objects());
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
        match tokio::time::timeout(Duration::from_secs(60), waiting).await {
            Ok(object) => object,
            Err(_) => panic!(
                "{plural} {name} did not get there; last: {:#}",
                last.lock().expect("last")
            ),
        }
    }

    /// Waits until a condition of an Experiment holds.
    pub async fn wait_condition(&self, plural: &str, name: &str, kind: &str) -> Value {
        self.wait(plural, name, |object| holds(object, kind)).await
    }

    /// Waits until nothing of a kind is left.
    pub async fn wait_gone(&self, plural: &str) {
        let gone = async {
            let api = self.api(plural);
            let list = api.list(&ListParams::default()).await.expect("list");
            let mut left: std::collections::HashSet<String> =
                list.items.iter().map(ResourceExt::name_any).collect();
            let version = list.metadata.resource_version.unwrap_or_default();
            let params = WatchParams::default().timeout(60);
            let events = api.watch(&params, &version).await.expect("watch");
            let mut events = std::pin::pin!(events);
            while !left.is_empty() {
                match events.next().await {
                    Some(Ok(WatchEvent::Added(object))) => {
                        left.insert(object.name_any());
                    }
                    Some(Ok(WatchEvent::Deleted(object))) => {
                        left.remove(&object.name_any());
                    }
                    Some(Ok(_)) => {}
                    other => panic!("watch of {plural} ended: {other:?}, left: {left:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), gone)
            .await
            .expect("gone within a minute");
    }

    /// Starts to note every state of the objects of a kind, from the beginning.
    pub fn record(&self, plural: &str) -> Recording {
        let states: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (api, noted) = (self.api(plural), states.clone());
        let task = tokio::spawn(async move {
            let params = WatchParams::default().timeout(60);
            // From the very first revision on: nothing is older.
            let events = api.watch(&params, "1").await.expect("watch");
            let mut events = std::pin::pin!(events);
            while let Some(Ok(event)) = events.next().await {
                let object = match event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) => object,
                    _ => continue,
                };
                let object = serde_json::to_value(object).expect("object");
                noted.lock().expect("noted").push(object);
            }
        });
        Recording { states, task }
    }

    /// Lets the pod of a trial that hangs succeed.
    pub async fn release(&self, trial: &str, values: Vec<(&'static str, String)>) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let of_trial = ListParams::default().labels(&format!("katib.kubeflow.org/trial={trial}"));
        let pods = api.list(&of_trial).await.expect("list").items;
        for pod in &pods {
            succeed(&self.client, &self.observation, pod, values.clone()).await;
        }
    }

    pub async fn delete(&self, plural: &str, name: &str, params: DeleteParams) {
        self.api(plural)
            .delete(name, &params)
            .await
            .expect("deleted");
    }

    /// Waits until an event about an object, as `type reason: message`, and its count are as
    /// wanted.
    pub async fn wait_said(
        &self,
        kind: &str,
        name: &str,
        is_wanted: impl Fn(&str, i32) -> bool,
    ) -> String {
        let heard = Mutex::new(Vec::new());
        let waiting = async {
            let api: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
            let events = watcher(api, watcher::Config::default());
            let mut events = std::pin::pin!(events.default_backoff().applied_objects());
            while let Some(event) = events.next().await {
                let Ok(event) = event else { continue };
                let about = &event.involved_object;
                if about.kind.as_deref() != Some(kind) || about.name.as_deref() != Some(name) {
                    continue;
                }
                let text = |text: Option<String>| text.unwrap_or_default();
                let (severity, reason) = (text(event.type_), text(event.reason));
                let said = format!("{severity} {reason}: {}", text(event.message));
                if is_wanted(&said, event.count.unwrap_or(0)) {
                    return said;
                }
                heard.lock().expect("heard").push(said);
            }
            unreachable!("a watch does not end")
        };
        match tokio::time::timeout(Duration::from_secs(60), waiting).await {
            Ok(said) => said,
            Err(_) => panic!(
                "{kind} {name} did not say so: {:#?}",
                heard.lock().expect("heard")
            ),
        }
    }
}

/// Every state the objects of a kind went through.
pub struct Recording {
    states: Arc<Mutex<Vec<Value>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Recording {
    /// Every state noted so far, of all objects, in the order of the changes.
    pub fn so_far(&self) -> Vec<Value> {
        self.states.lock().expect("states").clone()
    }

    /// The states of one object, once one of them is as wanted.
    pub async fn until(&self, name: &str, is_last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let waiting = async {
            loop {
                let states: Vec<Value> = {
                    let states = self.states.lock().expect("states");
                    let of_name = |state: &&Value| state["metadata"]["name"] == name;
                    states.iter().filter(of_name).cloned().collect()
                };
                if states.last().is_some_and(&is_last) {
                    return states;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting)
            .await
            .expect("the last state within a minute")
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kubelet.cancel();
        if let Some((token, _)) = &self.controllers {
            token.cancel();
        }
    }
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// Whether a condition is there with status True.
pub fn holds(object: &Value, kind: &str) -> bool {
    conditions(object)
        .iter()
        .any(|condition| condition.starts_with(&format!("{kind} True")))
}

/// `type status reason` of all conditions.
pub fn conditions(object: &Value) -> Vec<String> {
    let list = object
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .map(|c| {
            let text = |key: &str| c[key].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", text("type"), text("status"), text("reason"))
        })
        .collect()
}

async fn kubelet(
    client: Client,
    observation: ObservationStore,
    plan: Plan,
    seen: Arc<Mutex<Vec<String>>>,
    shutdown: CancellationToken,
) {
    let api: Api<Pod> = Api::all(client.clone());
    let events = watcher(api, watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let mut events = std::pin::pin!(events);
    loop {
        let pod = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.next() => match event {
                Some(Ok(pod)) => pod,
                Some(Err(_)) => continue,
                None => return,
            },
        };
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        let phase = pod.status.as_ref().and_then(|status| status.phase.clone());
        let is_over = matches!(phase.as_deref(), Some("Succeeded" | "Failed"));
        if pod.metadata.deletion_timestamp.is_some() {
            if !is_over {
                set_phase(&api, &name, "Failed").await;
            }
            let now = DeleteParams::default().grace_period(0);
            let _ = api.delete(&name, &now).await;
            continue;
        }
        let number = {
            // By identity: a name may come again once its pod is gone.
            let uid = pod.uid().unwrap_or_default();
            let mut seen = seen.lock().expect("seen");
            if seen.contains(&uid) {
                continue;
            }
            seen.push(uid);
            seen.len() - 1
        };
        let fate = plan(&pod, number);
        set_phase(&api, &name, "Running").await;
        match fate {
            Fate::Hang => {}
            Fate::Fail => set_phase(&api, &name, "Failed").await,
            Fate::Succeed(values) => succeed(&client, &observation, &pod, values).await,
        }
    }
}

/// A pod prints values of metrics, which are collected, and succeeds.
async fn succeed(
    client: &Client,
    observation: &ObservationStore,
    pod: &Pod,
    values: Vec<(&'static str, String)>,
) {
    let namespace = pod.namespace().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    let name = pod.name_any();
    let rows = values
        .into_iter()
        .map(|(metric, value)| Row {
            time: "2026-01-01T00:00:00Z".parse().expect("time"),
            metric: metric.to_owned(),
            value,
        })
        .collect();
    if let Some(trial) = pod.labels().get("katib.kubeflow.org/trial") {
        let reported = observation.report(&namespace, trial, rows).await;
        reported.expect("rows");
    }
    let mark = json!({"metadata": {"annotations": {controllers::trial::COLLECTED: "true"}}});
    let patched = api
        .patch(&name, &PatchParams::default(), &Patch::Merge(mark))
        .await;
    patched.expect("marked");
    set_phase(&api, &name, "Succeeded").await;
}

async fn set_phase(api: &Api<Pod>, name: &str, phase: &str) {
    let now = k8s_openapi::jiff::Timestamp::now();
    let state = match phase {
        "Running" => json!({"running": {"startedAt": now.to_string()}}),
        _ => json!({"terminated": {
            "exitCode": i32::from(phase == "Failed"), "finishedAt": now.to_string()}}),
    };
    let ready = phase == "Running";
    let status = json!({"status": {
        "phase": phase,
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        "containerStatuses": [{"name": "main", "image": "i", "imageID": "", "ready": ready,
                               "restartCount": 0, "state": state}]}});
    // A pod that is gone needs no phase.
    if let Err(error) = api
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
    {
        eprintln!("status of pod {name}: {error}");
    }
}
