//! Pods as containers of the local Docker Engine.
//!
//! Each pod has a task of its own (`life`) that does what a node does for it: finds room, pulls images, makes and
//! starts containers, follows them to their end, collects a trial's metrics, and writes the status. Nothing that
//! matters is in memory only: containers carry labels and names that follow from the pod, so a sandbox that is killed
//! finds them again and runs none twice.
//!
//! # Deliberate differences from a Kubernetes node
//!
//! - A pod has an infrastructure container only where something shows (`pause`); one container alone is its own pod.
//! - Pods reach the API server and Katib's DBManager at the address that the engine's bridge has on this machine
//!   (`network`, [`crate::doorway`]), by names in their hosts file; there is no DNS of the cluster.
//! - An emptyDir of medium `Memory` is in memory only where one container mounts it at `/dev/shm` (`memory`); the size
//!   of other emptyDirs and of claims is not enforced, nor is a request of `ephemeral-storage`.
//! - A container's log is bounded as on a node, and a trial's at ten times that: its metrics are followed while it
//!   runs, and what was missed then is read from the log when it has ended.
//! - What is not run (probes, host paths, privileged containers, …) is refused by name at admission (`refusal`).

mod carried;
mod claims;
mod collect;
mod container;
mod engine;
mod environment;
mod error;
mod expansion;
mod image;
mod life;
mod logs;
mod memory;
mod network;
mod node;
mod non_root;
mod pause;
mod projected;
mod puller;
mod quantity;
mod refusal;
mod status;
mod streams;
mod termination;
mod volume;

pub use engine::Engine;
pub use error::Error;
pub use expansion::expanded;
pub(crate) use node::NAME as NODE;
pub(crate) use refusal::refused;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bollard::query_parameters::{
    EventsOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptionsBuilder,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::controllers::events::{self, Recorder};
use crate::doorway::Doorway;
use crate::metrics::ObservationStore;
use container::label;
use life::News;
use network::Reached;
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
    /// The pods the API server has, once they were listed.
    known: Mutex<Option<HashSet<String>>>,
    /// How pods reach the sandbox, where they may.
    doorway: OnceLock<Doorway>,
    reached: tokio::sync::Mutex<Reached>,
    /// Told whenever a pod has ended or gone: a claim may wait for that.
    pod_over: Notify,
}

/// The name by which a sandbox marks what it makes on the engine; follows from its state directory.
pub fn sandbox_id(state_dir: &Path) -> String {
    let path = std::fs::canonicalize(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
    hex::encode(digest)[..10].to_owned()
}

impl Runtime {
    /// A runtime for the pods of one API server, on the engine that `DOCKER_HOST` or the docker
    /// context names, or the usual one. The engine
    /// is not asked anything yet.
    ///
    /// # Errors
    /// [`Error::Address`] when what names the engine makes no sense.
    pub fn new(
        client: Client,
        state_dir: &Path,
        observation: ObservationStore,
    ) -> Result<Self, Error> {
        let engine = Engine::connect(None)?;
        Ok(Self::on(engine, client, state_dir, observation))
    }

    /// A runtime on this engine.
    pub fn on(
        engine: Engine,
        client: Client,
        state_dir: &Path,
        observation: ObservationStore,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                id: sandbox_id(state_dir),
                puller: Puller::new(engine.clone(), state_dir),
                state_dir: state_dir.to_owned(),
                client,
                engine,
                capacity: Arc::new(Capacity::new()),
                observation,
                known: Mutex::default(),
                doorway: OnceLock::new(),
                reached: tokio::sync::Mutex::default(),
                pod_over: Notify::new(),
            }),
        }
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
        let (recorder, outbox) = events::recorder("kubelet", node::NAME);
        let mut tasks = JoinSet::new();
        tasks.spawn(events::write(self.client().clone(), outbox));
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.work(&recorder) => {}
        }
    }

    async fn work(&self, recorder: &Recorder) {
        let measured = watch::Sender::new(false);
        tokio::join!(
            self.attend_engine(&measured),
            self.follow_pods(recorder, measured.subscribe()),
            self.attend_claims(),
        );
    }

    /// Starts a life for each pod. Waits until the engine was asked once, so that no pod is told that there is
    /// no room only because nobody has looked yet.
    async fn follow_pods(&self, recorder: &Recorder, mut measured: watch::Receiver<bool>) {
        // Its sender lives as long as this future.
        let _ = measured.wait_for(|measured| *measured).await;
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
                    let uid = pod.uid().unwrap_or_default();
                    self.know(|known| known.as_mut().is_some_and(|known| known.remove(&uid)));
                    if let Some(news) = pods.remove(&uid) {
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
                    self.know(|known| *known = Some(std::mem::take(&mut seen)));
                    self.remove_strangers().await;
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
                self.know(|known| known.as_mut().map(|known| known.insert(uid.clone())));
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

    fn know<T>(&self, change: impl FnOnce(&mut Option<HashSet<String>>) -> T) -> T {
        change(
            &mut self
                .inner
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Keeps the node's state true: measures the machine when the engine answers, and says so when it does not. The
    /// engine's stream of events ends with the engine, so nothing is asked while all is well.
    async fn attend_engine(&self, measured: &watch::Sender<bool>) {
        let mut trouble: Option<String> = None;
        let mut lost = Amount::default();
        loop {
            match node::measure(self.engine()).await {
                Ok((amount, facts)) => {
                    trouble = None;
                    lost = amount;
                    self.inner.capacity.measured(amount);
                    self.publish_node(amount, &facts, None).await;
                    measured.send_replace(true);
                    // What could not be removed while the engine was away.
                    self.remove_strangers().await;
                    self.until_engine_ends().await;
                    self.forget_way().await;
                }
                Err(error) => {
                    let text = error.to_string();
                    self.inner.capacity.close(text.clone());
                    if trouble.as_ref() != Some(&text) {
                        tracing::warn!(%error, "no pod can run until the engine answers");
                        let nothing = serde_json::json!({});
                        if self.publish_node(lost, &nothing, Some(&text)).await {
                            trouble = Some(text);
                        }
                    }
                    measured.send_replace(true);
                }
            }
            tokio::time::sleep(ENGINE_PAUSE).await;
        }
    }

    async fn until_engine_ends(&self) {
        let filters: HashMap<&str, Vec<String>> = [
            ("type", vec!["container".to_owned()]),
            ("label", vec![format!("{}={}", label::SANDBOX, self.id())]),
        ]
        .into();
        let query = EventsOptionsBuilder::default().filters(&filters).build();
        let mut events = std::pin::pin!(self.engine().docker().events(Some(query)));
        while let Some(Ok(_)) = events.next().await {}
    }

    /// Whether the node's status is current now.
    async fn publish_node(
        &self,
        amount: Amount,
        facts: &serde_json::Value,
        trouble: Option<&str>,
    ) -> bool {
        let published = node::publish(self.client(), amount, facts, trouble).await;
        if let Err(error) = &published {
            tracing::warn!(%error, "the node's status is not current");
        }
        published.is_ok()
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

    /// Removes what pods left that the API server does not know: a sandbox may be killed between removing a pod
    /// and removing its containers, and an engine may be away then. Looks at the engine first and at the pods
    /// after that, so that a pod that comes in between is known.
    async fn remove_strangers(&self) {
        let found = match self.containers(&[]).await {
            Ok(found) => found,
            Err(error) => return tracing::warn!(%error, "looking for what pods left behind"),
        };
        let volumes = match volumes_of(self.engine(), self.id(), &[]).await {
            Ok(volumes) => volumes,
            Err(error) => return tracing::warn!(%error, "looking for what pods left behind"),
        };
        let directory = self.inner.state_dir.join("pods");
        let directories: Vec<String> = std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        let Some(known) = self.know(|known| known.clone()) else {
            return;
        };
        let strangers = found.into_iter().filter(|found| {
            let uid = found.labels.get(label::UID);
            !uid.is_some_and(|uid| known.contains(uid))
        });
        let strangers = strangers.map(|stranger| stranger.id).collect();
        if let Err(error) = remove_containers(self.engine(), strangers).await {
            tracing::warn!(%error, "removing containers left behind");
        }
        for (name, labels) in volumes {
            // What claims left is looked after with the claims.
            if labels.contains_key(label::CLAIM_UID) {
                continue;
            }
            if !labels
                .get(label::UID)
                .is_some_and(|uid| known.contains(uid))
                && let Err(error) = remove_volume(self.engine(), &name).await
            {
                tracing::warn!(%error, volume = name, "removing a volume left behind");
            }
        }
        for uid in directories.iter().filter(|uid| !known.contains(*uid)) {
            if let Err(error) = std::fs::remove_dir_all(directory.join(uid)) {
                tracing::warn!(%error, uid, "removing files left behind");
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
    let found = engine.transport().list_containers("label", &wanted).await;
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

/// Removes containers, all that can be removed; tells the first failure. Podman removes none whose
/// network another one shares, so those come last.
async fn remove_containers(engine: &Engine, ids: Vec<String>) -> Result<(), Error> {
    let mut left = ids;
    let mut failed = None;
    loop {
        let (mut held, mut holding) = (Vec::new(), None);
        for id in &left {
            match remove_container(engine, id).await {
                Ok(()) => {}
                Err(error) if engine::is_depended_on(&error) => {
                    held.push(id.clone());
                    holding.get_or_insert(error);
                }
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        if held.is_empty() || held.len() == left.len() {
            return failed.or(holding).map_or(Ok(()), Err);
        }
        left = held;
    }
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

/// The volumes of a sandbox with these labels, by name.
async fn volumes_of(
    engine: &Engine,
    sandbox: &str,
    labels: &[(&str, &str)],
) -> Result<Vec<(String, HashMap<String, String>)>, Error> {
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
    let volumes = found.volumes.unwrap_or_default().into_iter();
    Ok(volumes.map(|volume| (volume.name, volume.labels)).collect())
}

async fn remove_volume(engine: &Engine, name: &str) -> Result<(), Error> {
    let query = RemoveVolumeOptionsBuilder::default().force(true).build();
    match engine.docker().remove_volume(name, Some(query)).await {
        Ok(()) => Ok(()),
        Err(error) if matches!(engine::refusal(&error), Some((404, _))) => Ok(()),
        Err(source) => Err(engine.failed(format!("removing volume {name}"), source)),
    }
}

async fn remove_volumes(
    engine: &Engine,
    sandbox: &str,
    labels: &[(&str, &str)],
) -> Result<(), Error> {
    for (name, _) in volumes_of(engine, sandbox, labels).await? {
        remove_volume(engine, &name).await?;
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
    let count = found.len();
    remove_containers(&engine, found.into_iter().map(|found| found.id).collect()).await?;
    remove_volumes(&engine, &id, &[]).await?;
    pause::remove_image(&engine).await;
    Ok(count)
}
