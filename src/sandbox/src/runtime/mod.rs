//! Pods as containers of the local Docker Engine.
//!
//! Each pod has a task of its own (`life`) that does what a node does for it: finds room, pulls images, makes and
//! starts containers, follows them to their end, collects a trial's metrics, and writes the status. Nothing that
//! matters is in memory only: containers carry labels and names that follow from the pod, so a sandbox that is killed
//! finds them again and runs none twice.
//!
//! # Deliberate differences from a Kubernetes node
//!
//! - Pods that ask for nothing are counted with half a core and 256 MiB (`node`), so that many trials at once do not
//!   take a laptop down.
//! - There is no pause container: containers of one pod share the network of the first.
//! - What is not run (probes, host paths, privileged containers, …) is refused by name (`refusal`).

mod collect;
mod container;
mod engine;
mod environment;
mod error;
mod expansion;
mod image;
mod life;
mod logs;
mod node;
mod puller;
mod quantity;
mod refusal;
mod status;
mod volume;

pub use engine::Engine;
pub use error::Error;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::{
    ListContainersOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptionsBuilder,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::controllers::events::{self, Recorder};
use crate::metrics::ObservationStore;
use container::label;
use life::News;
use node::{Amount, Capacity};
use puller::Puller;

/// How long to wait before an engine that does not answer is asked again.
const ENGINE_PAUSE: Duration = Duration::from_secs(1);

/// Runs pods. Clones share everything.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    id: String,
    state_dir: PathBuf,
    client: Client,
    engine: Engine,
    puller: Puller,
    capacity: Arc<Capacity>,
    observation: ObservationStore,
}

/// The name by which a sandbox marks what it makes on the engine; follows from its state directory.
pub fn sandbox_id(state_dir: &Path) -> String {
    let path = std::fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    hex::encode(digest)[..10].to_owned()
}

impl Runtime {
    /// A runtime for the pods of one API server. The engine is not asked anything yet.
    ///
    /// # Errors
    /// [`Error::Address`] when `DOCKER_HOST` names no address of an engine.
    pub fn new(
        client: Client,
        state_dir: &Path,
        observation: ObservationStore,
    ) -> Result<Self, Error> {
        let engine = Engine::connect(None)?;
        Ok(Self {
            inner: Arc::new(Inner {
                id: sandbox_id(state_dir),
                puller: Puller::new(engine.clone(), state_dir),
                state_dir: state_dir.to_owned(),
                client,
                engine,
                capacity: Arc::new(Capacity::new(Amount::default())),
                observation,
            }),
        })
    }

    fn id(&self) -> &str {
        &self.inner.id
    }

    fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    fn client(&self) -> &Client {
        &self.inner.client
    }

    fn observation(&self) -> &ObservationStore {
        &self.inner.observation
    }

    /// Runs pods until shutdown. Containers go on without it and are found again.
    pub async fn run(self, shutdown: CancellationToken) {
        let (recorder, outbox) = events::recorder("kubelet");
        let mut tasks = JoinSet::new();
        tasks.spawn(events::write(self.client().clone(), outbox));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.work(&recorder) => {}
        }
    }

    async fn work(&self, recorder: &Recorder) {
        self.join_cluster().await;
        let mut pods: HashMap<String, watch::Sender<News>> = HashMap::new();
        // Dropping the set ends the tasks: they stop where they are, and containers go on.
        let mut lives = JoinSet::new();
        let mut seen: HashSet<String> = HashSet::new();
        let mut first: Vec<Pod> = Vec::new();
        let api: Api<Pod> = Api::all(self.client().clone());
        let mut changes =
            std::pin::pin!(watcher(api, watcher::Config::default()).default_backoff());
        while let Some(change) = changes.next().await {
            while lives.try_join_next().is_some() {}
            match change {
                Ok(watcher::Event::Init) => {
                    seen.clear();
                    first.clear();
                }
                Ok(watcher::Event::InitApply(pod)) => {
                    seen.insert(pod.uid().unwrap_or_default());
                    first.push(pod);
                }
                Ok(watcher::Event::Apply(pod)) => self.tell(&mut pods, &mut lives, recorder, pod),
                Ok(watcher::Event::Delete(pod)) => {
                    if let Some(news) = pods.remove(&pod.uid().unwrap_or_default()) {
                        news.send_modify(|news| news.gone = true);
                    }
                }
                Ok(watcher::Event::InitDone) => {
                    // Pods that have their place keep it; only then new ones may take what is left.
                    first.sort_by_key(|pod| !is_bound(pod));
                    for pod in first.drain(..) {
                        self.tell(&mut pods, &mut lives, recorder, pod);
                    }
                    pods.retain(|uid, news| {
                        let known = seen.contains(uid);
                        if !known {
                            news.send_modify(|news| news.gone = true);
                        }
                        known
                    });
                    self.remove_strangers(&seen).await;
                }
                Err(error) => tracing::warn!(%error, "watching pods"),
            }
        }
    }

    fn tell(
        &self,
        pods: &mut HashMap<String, watch::Sender<News>>,
        lives: &mut JoinSet<()>,
        recorder: &Recorder,
        pod: Pod,
    ) {
        let pod = Arc::new(pod);
        let uid = pod.uid().unwrap_or_default();
        match pods.get(&uid) {
            Some(news) => news.send_modify(|news| news.pod = pod),
            None => {
                let phase = pod
                    .status
                    .as_ref()
                    .and_then(|status| status.phase.as_deref());
                let over = matches!(phase, Some("Succeeded" | "Failed"));
                let seat =
                    (is_bound(&pod) && !over).then(|| self.inner.capacity.keep(Amount::of(&pod)));
                let (sender, receiver) = watch::channel(News { pod, gone: false });
                pods.insert(uid, sender);
                lives.spawn(life::live(self.clone(), recorder.clone(), receiver, seat));
            }
        }
    }

    /// Measures the machine and writes the node; waits for an engine that does not answer yet.
    async fn join_cluster(&self) {
        let mut told = false;
        let (amount, facts) = loop {
            match node::measure(self.engine()).await {
                Ok(measured) => break measured,
                Err(error) if told => tracing::debug!(%error, "waiting for the engine"),
                Err(error) => {
                    told = true;
                    tracing::warn!(%error, "no pod can run until the engine answers");
                    let trouble = error.to_string();
                    self.publish_node(Amount::default(), &serde_json::json!({}), Some(&trouble))
                        .await;
                }
            }
            tokio::time::sleep(ENGINE_PAUSE).await;
        };
        self.inner.capacity.add(amount);
        self.publish_node(amount, &facts, None).await;
    }

    async fn publish_node(&self, amount: Amount, facts: &serde_json::Value, trouble: Option<&str>) {
        if let Err(error) = node::publish(self.client(), amount, facts, trouble).await {
            tracing::warn!(%error, "the node's status is not current");
        }
    }

    /// Which attempts at a container the engine has, in order.
    async fn attempts(&self, uid: &str, container: &str) -> Result<Vec<u32>, Error> {
        let mine = self
            .containers(&[(label::UID, uid), (label::CONTAINER, container)])
            .await?;
        let number = |labels: &HashMap<String, String>| labels.get(label::ATTEMPT)?.parse().ok();
        let mut attempts: Vec<u32> = mine
            .iter()
            .filter_map(|found| number(&found.labels))
            .collect();
        attempts.sort_unstable();
        Ok(attempts)
    }

    /// The engine's containers of this sandbox that bear these labels.
    async fn containers(&self, labels: &[(&str, &str)]) -> Result<Vec<Mine>, Error> {
        containers_of(self.engine(), self.id(), labels).await
    }

    /// Removes containers of pods that the API server does not know, as they may be left when a sandbox was killed
    /// between removing a pod and removing its containers.
    async fn remove_strangers(&self, known: &HashSet<String>) {
        let found = match self.containers(&[]).await {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "looking for containers left behind"),
        };
        for stranger in found {
            let uid = stranger.labels.get(label::UID).cloned().unwrap_or_default();
            if !known.contains(&uid)
                && let Err(error) = remove_container(self.engine(), &stranger.id).await
            {
                tracing::warn!(%error, container = stranger.id, "removing a container left behind");
            }
        }
    }
}

/// Whether a pod was given its place on the node.
fn is_bound(pod: &Pod) -> bool {
    pod.spec
        .as_ref()
        .is_some_and(|spec| spec.node_name.is_some())
}

/// A container of ours on the engine.
struct Mine {
    id: String,
    labels: HashMap<String, String>,
    running: bool,
}

async fn containers_of(
    engine: &Engine,
    sandbox: &str,
    labels: &[(&str, &str)],
) -> Result<Vec<Mine>, Error> {
    use bollard::models::ContainerSummaryStateEnum as State;
    let wanted: Vec<String> = [(label::SANDBOX, sandbox)]
        .iter()
        .chain(labels)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let filters: HashMap<&str, Vec<String>> = [("label", wanted)].into();
    let query = ListContainersOptionsBuilder::default()
        .all(true)
        .filters(&filters)
        .build();
    let found = engine.docker().list_containers(Some(query)).await;
    let found = found.map_err(|source| engine.failed("listing containers", source))?;
    Ok(found
        .into_iter()
        .map(|summary| Mine {
            id: summary.id.unwrap_or_default(),
            labels: summary.labels.unwrap_or_default(),
            running: matches!(
                summary.state,
                Some(State::RUNNING | State::PAUSED | State::RESTARTING)
            ),
        })
        .collect())
}

async fn remove_container(engine: &Engine, id: &str) -> Result<(), Error> {
    let query = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    match engine.docker().remove_container(id, Some(query)).await {
        Ok(()) => Ok(()),
        // Gone, or somebody else is at it.
        Err(error) if matches!(engine::refusal(&error), Some((404 | 409, _))) => Ok(()),
        Err(source) => Err(engine.failed(format!("removing container {id}"), source)),
    }
}

async fn remove_volumes(
    engine: &Engine,
    sandbox: &str,
    labels: &[(&str, &str)],
) -> Result<(), Error> {
    let wanted: Vec<String> = [(label::SANDBOX, sandbox)]
        .iter()
        .chain(labels)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let filters: HashMap<&str, Vec<String>> = [("label", wanted)].into();
    let query = ListVolumesOptionsBuilder::default()
        .filters(&filters)
        .build();
    let found = engine.docker().list_volumes(Some(query)).await;
    let found = found.map_err(|source| engine.failed("listing volumes", source))?;
    for volume in found.volumes.unwrap_or_default() {
        let query = RemoveVolumeOptionsBuilder::default().force(true).build();
        match engine
            .docker()
            .remove_volume(&volume.name, Some(query))
            .await
        {
            Ok(()) => {}
            Err(error) if matches!(engine::refusal(&error), Some((404, _))) => {}
            Err(source) => {
                return Err(engine.failed(format!("removing volume {}", volume.name), source));
            }
        }
    }
    Ok(())
}

/// Removes all containers and volumes that the sandbox of a state directory made, and nothing else. Tells how many
/// containers there were.
///
/// # Errors
/// When the engine does not answer or refuses.
pub async fn remove_everything(state_dir: &Path) -> Result<usize, Error> {
    let engine = Engine::connect(None)?;
    let id = sandbox_id(state_dir);
    let found = containers_of(&engine, &id, &[]).await?;
    for container in &found {
        remove_container(&engine, &container.id).await?;
    }
    remove_volumes(&engine, &id, &[]).await?;
    Ok(found.len())
}
