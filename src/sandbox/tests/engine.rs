//! The Docker Engine goes away and comes back. The engine itself is left alone: the runtime reaches it through a
//! socket of the test's own, which can be closed.

mod machine;
mod road;
mod server;

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, ServiceAccount};
use katlab_sandbox::metrics::ObservationStore;
use katlab_sandbox::runtime::{Engine, Runtime};
use kube::api::{Api, DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use machine::Clean;
use road::{cut, road};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const IMAGE: &str = "katlab/base:1";
const PATIENCE: Duration = Duration::from_secs(60);

async fn wait<K>(api: &Api<K>, name: &str, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value
where
    K: kube::Resource
        + Clone
        + std::fmt::Debug
        + Send
        + serde::Serialize
        + serde::de::DeserializeOwned
        + 'static,
{
    let waiting = async {
        let fields = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let events = watcher(api.clone(), fields);
        let mut events = std::pin::pin!(events.default_backoff().applied_objects());
        while let Some(event) = events.next().await {
            let Ok(object) = event else { continue };
            let object = serde_json::to_value(object).expect("object");
            if is_wanted(&object) {
                return object;
            }
        }
        unreachable!("a watch does not end")
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    found.unwrap_or_else(|_| panic!("{name} is not {what}"))
}

fn ready(node: &Value) -> (&str, &str) {
    let condition = &node["status"]["conditions"][0];
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    (text("status"), text("message"))
}

fn pod(name: &str, text: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [{
            "name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", text],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}}]},
    }))
    .expect("pod")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_goes_away_is_told_and_its_containers_are_found_again() {
    let (_server, client, directory) = server::start().await;
    let _clean = Clean(directory.clone());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"metadata": {"name": "lab"}});
    let namespace = serde_json::from_value(namespace).expect("namespace");
    let created = namespaces.create(&PostParams::default(), &namespace).await;
    created.expect("namespace");
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "lab");
    wait(&accounts, "default", "there", |_| true).await;
    let log = directory.join("observations.db");
    let observation = ObservationStore::open(&log).await.expect("observation log");

    let socket = directory.join("engine.sock");
    let engine = Engine::connect(Some(&format!("unix://{}", socket.display())));
    let runtime = Runtime::on(
        engine.expect("engine"),
        client.clone(),
        &directory,
        observation,
    );
    let task = tokio::spawn(runtime.run(CancellationToken::new()));
    let nodes: Api<Node> = Api::all(client.clone());
    let pods: Api<Pod> = Api::namespaced(client.clone(), "lab");

    // No engine yet: the node says so, and a pod is told why it waits.
    let node = wait(&nodes, "katlab", "away", |node| ready(node).0 == "False").await;
    assert!(
        ready(&node).1.contains("Docker Engine at unix://"),
        "{node:#}"
    );
    let long = pod(
        "long",
        "trap 'exit 7' TERM; echo up; while :; do sleep 0.1; done",
    );
    pods.create(&PostParams::default(), &long)
        .await
        .expect("pod");
    wait(&pods, "long", "told why it waits", |pod| {
        let condition = &pod["status"]["conditions"][0];
        condition["reason"] == "Unschedulable"
            && condition["message"]
                .as_str()
                .is_some_and(|message| message.contains("not-ready"))
    })
    .await;

    // It comes: both go on by themselves.
    let way = road(&socket);
    wait(&nodes, "katlab", "ready", |node| ready(node).0 == "True").await;
    let is_running = |pod: &Value| pod["status"]["phase"] == "Running";
    let before = wait(&pods, "long", "running", is_running).await;
    let short = pod("short", "read -r _ < /dev/null; sleep 2; exit 3");
    pods.create(&PostParams::default(), &short)
        .await
        .expect("pod");
    wait(&pods, "short", "running", is_running).await;

    // It goes while both run, and one of them ends meanwhile.
    cut(way, &socket).await;
    wait(&nodes, "katlab", "away again", |node| {
        ready(node).0 == "False"
    })
    .await;
    let still = pods.get("long").await.expect("pod");
    let still = serde_json::to_value(still).expect("pod");
    assert_eq!(still["status"]["phase"], "Running");

    let way = road(&socket);
    wait(&nodes, "katlab", "ready again", |node| {
        ready(node).0 == "True"
    })
    .await;
    let ended = wait(&pods, "short", "ended", |pod| {
        pod["status"]["phase"] == "Failed"
    })
    .await;
    let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(state["exitCode"], 3);
    let after = wait(&pods, "long", "running", is_running).await;
    let container = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
    assert_eq!(container(&after), container(&before));
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);

    for name in ["long", "short"] {
        let deleted = pods.delete(name, &DeleteParams::default()).await;
        deleted.expect("deleted");
        let gone = kube::runtime::wait::await_condition(pods.clone(), name, |pod: Option<&Pod>| {
            pod.is_none()
        });
        let gone = tokio::time::timeout(PATIENCE, gone).await;
        gone.expect("in time").expect("gone");
    }
    task.abort();
    way.abort();
}
