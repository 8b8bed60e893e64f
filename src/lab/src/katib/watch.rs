//! Following an experiment: snapshots from watches that survive dropped connections.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use futures::future::OptionFuture;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use katlab_katib::names::{LABEL_EXPERIMENT, LABEL_TRIAL};
use katlab_katib::types::{self, Trial};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep_until};

use super::experiments::{self, Summary};
use super::held::{self, Held as _};
use super::obstacles::{Obstacle, UNDONE};
use super::trials::{self, TrialTable};
use crate::cluster::{Cluster, Error, Result};
use crate::kubernetes::{Scope, pods};

/// Changes that come together are shown together.
const SETTLE: Duration = Duration::from_millis(60);

/// Everything about an experiment at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The experiment.
    pub experiment: Summary,
    /// Its trials.
    pub trials: TrialTable,
    /// When this was seen.
    pub at: Timestamp,
}

/// What a watch has to say.
#[derive(Clone, Debug)]
pub enum Update {
    /// Something changed.
    Changed(Box<Snapshot>),
    /// The API server went away or sent nonsense; the watch goes on trying.
    Trouble(String),
    /// The experiment was deleted.
    Gone,
}

pub(super) type Events<T> = Pin<Box<dyn Stream<Item = watcher::Result<Event<T>>> + Send>>;

/// A watch of one experiment and its trials.
pub struct Watch {
    cluster: Cluster,
    namespace: String,
    name: String,
    experiments: Events<held::Experiment>,
    trials: Events<held::Trial>,
    /// Pods that are not done; ends where we may not look at pods.
    pods: Events<Pod>,
    /// The experiment alone; nothing when it was deleted.
    experiment: Known<types::Experiment>,
    known: Known<Trial>,
    /// What holds up which pod.
    obstacles: Known<Option<Obstacle>>,
    troubled: bool,
    /// When to tell of what changed; kept here so that dropping `next` loses nothing. It does not move
    /// with further changes, or a busy experiment would never be shown.
    due: Option<Instant>,
}

/// Begins to watch.
///
/// # Errors
/// The experiment does not exist (with near misses), or the cluster does not let us look.
pub async fn open(cluster: &Cluster, namespace: &str, name: &str) -> Result<Watch> {
    experiments::get(cluster, namespace, name).await?;
    let scope = Scope::from(namespace);
    let experiments = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let trials = watcher::Config::default().labels(&format!("{LABEL_EXPERIMENT}={name}"));
    let undone = watcher::Config::default()
        .labels(&format!("{LABEL_TRIAL},{LABEL_EXPERIMENT}={name}"))
        .fields(UNDONE);
    Ok(Watch {
        cluster: cluster.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        experiments: events(held::api::<held::Experiment>(cluster, &scope), experiments),
        trials: events(held::api::<held::Trial>(cluster, &scope), trials),
        pods: events(pods::api(cluster, &scope), undone),
        experiment: Known::default(),
        known: Known::default(),
        obstacles: Known::default(),
        troubled: false,
        due: None,
    })
}

pub(super) fn events<T>(api: Api<T>, config: watcher::Config) -> Events<T>
where
    T: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config).backoff(Patience::default()).boxed()
}

/// Grows to a few seconds only: somebody looks at the cell.
#[derive(Clone, Debug)]
struct Patience(Duration);

impl Default for Patience {
    fn default() -> Self {
        Self(Duration::from_millis(200))
    }
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let pause = self.0;
        self.0 = (pause * 2).min(Duration::from_secs(3));
        Some(pause)
    }
}

impl Backoff for Patience {
    fn reset(&mut self) {
        *self = Self::default();
    }
}

/// What is known of the objects that a stream tells of, by name. A listing counts when it has ended:
/// what it does not hold was deleted while we were away.
struct Known<T> {
    objects: BTreeMap<String, T>,
    listing: BTreeMap<String, T>,
    is_listed: bool,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            objects: BTreeMap::new(),
            listing: BTreeMap::new(),
            is_listed: false,
        }
    }
}

impl<T> Known<T> {
    fn note<K: Resource>(&mut self, event: Event<K>, kept: impl Fn(K) -> T) {
        let name = |object: &K| object.meta().name.clone().unwrap_or_default();
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                self.listing.insert(name(&object), kept(object));
            }
            Event::InitDone => {
                self.objects = std::mem::take(&mut self.listing);
                self.is_listed = true;
            }
            Event::Apply(object) => {
                self.objects.insert(name(&object), kept(object));
            }
            Event::Delete(object) => {
                self.objects.remove(&name(&object));
            }
        }
    }
}

#[allow(clippy::large_enum_variant)] // Lives for one turn of a loop.
enum Seen {
    Experiment(watcher::Result<Event<held::Experiment>>),
    Trial(watcher::Result<Event<held::Trial>>),
    Pod(watcher::Result<Event<Pod>>),
    Settled,
}

impl Watch {
    /// The next update. Dropping the future (an interrupt) leaves the experiment alone.
    ///
    /// # Errors
    /// Only what will not get better by itself: not allowed, or the credential is refused.
    pub async fn next(&mut self) -> Result<Update> {
        loop {
            let seen = tokio::select! {
                Some(event) = self.experiments.next() => Seen::Experiment(event),
                Some(event) = self.trials.next() => Seen::Trial(event),
                Some(event) = self.pods.next() => Seen::Pod(event),
                Some(()) = OptionFuture::from(self.due.map(sleep_until)) => Seen::Settled,
            };
            let outcome = match seen {
                Seen::Settled => {
                    self.due = None;
                    if self.experiment.is_listed && self.experiment.objects.is_empty() {
                        return Ok(Update::Gone);
                    }
                    if let Some(snapshot) = self.snapshot() {
                        return Ok(Update::Changed(Box::new(snapshot)));
                    }
                    continue;
                }
                Seen::Experiment(Ok(event)) => {
                    self.experiment.note(event, held::Experiment::plain);
                    Ok(())
                }
                Seen::Trial(Ok(event)) => {
                    self.known.note(event, held::Trial::plain);
                    Ok(())
                }
                Seen::Pod(Ok(event)) => {
                    self.obstacles.note(event, |pod| Obstacle::of(&pod));
                    self.due.get_or_insert_with(|| Instant::now() + SETTLE);
                    continue;
                }
                // Pods come on top: what breaks all three is told by the others.
                Seen::Pod(Err(error)) => {
                    if is_refused(&error) {
                        self.pods = futures::stream::empty().boxed();
                    }
                    continue;
                }
                Seen::Experiment(Err(error)) | Seen::Trial(Err(error)) => Err(error),
            };
            match outcome {
                Ok(()) => {
                    self.due.get_or_insert_with(|| Instant::now() + SETTLE);
                    self.troubled = false;
                }
                Err(error) => {
                    if let Some(trouble) = self.trouble(error)? {
                        return Ok(Update::Trouble(trouble));
                    }
                }
            }
        }
    }

    /// Once for each trouble, not once for each attempt; expired positions are no trouble at all.
    fn trouble(&mut self, error: watcher::Error) -> Result<Option<String>> {
        let action = self
            .cluster
            .action("watch", "experiments")
            .named(&self.name)
            .within(&self.namespace);
        let error = match error {
            watcher::Error::WatchError(status) if status.code == 410 => return Ok(None),
            watcher::Error::WatchError(status) => Error::from_status(&status, action),
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => Error::from_kube(error, &action),
            error @ watcher::Error::NoResourceVersion => Error::Answer {
                action,
                reason: error.to_string(),
            },
        };
        if matches!(error, Error::Forbidden { .. } | Error::Unauthorized { .. }) {
            return Err(error);
        }
        let first = !std::mem::replace(&mut self.troubled, true);
        Ok(first.then(|| error.to_string()))
    }

    /// The experiment as it was seen last.
    pub(super) fn experiment(&self) -> Option<&types::Experiment> {
        self.experiment.objects.values().next()
    }

    /// Its trials as they were seen last.
    pub(super) fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.known.objects.values()
    }

    fn snapshot(&self) -> Option<Snapshot> {
        let experiment = self.experiment.objects.values().next();
        let experiment = Summary::of(experiment.filter(|_| self.known.is_listed)?);
        let trials: Vec<Trial> = self.known.objects.values().cloned().collect();
        let mut trials = TrialTable::of(Some(experiment.clone()), &trials);
        trials::hold_up(&mut trials.rows, self.obstacles.objects.values().flatten());
        Some(Snapshot {
            experiment,
            trials,
            at: Timestamp::now(),
        })
    }
}

/// Whether we may not look at all.
pub(super) fn is_refused(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => matches!(status.code, 401 | 403),
        _ => false,
    }
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It has ended, well or badly.
    Completed,
    /// It has ended well.
    Succeeded,
    /// It has ended badly.
    Failed,
    /// It runs (or has ended already).
    Running,
}

impl Until {
    fn holds(self, summary: &Summary) -> bool {
        match self {
            Self::Completed => summary.is_completed(),
            Self::Succeeded => summary.is_succeeded(),
            Self::Failed => summary.is_failed(),
            Self::Running => summary.status == "Running" || summary.is_completed(),
        }
    }
}

/// Waits for a condition. `seen` is told about every snapshot on the way.
///
/// # Errors
/// Time is up; the experiment ended the other way or was deleted.
pub async fn wait(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    until: Until,
    timeout: Duration,
    mut seen: impl FnMut(&Update) + Send,
) -> Result<Snapshot> {
    let work = async {
        let mut watch = open(cluster, namespace, name).await?;
        loop {
            let update = watch.next().await?;
            seen(&update);
            match update {
                Update::Changed(snapshot) if until.holds(&snapshot.experiment) => {
                    return Ok(*snapshot);
                }
                Update::Changed(snapshot) if snapshot.experiment.is_completed() => {
                    let summary = snapshot.experiment;
                    return Err(Error::Ended(format!(
                        "experiment {name} ended: {} ({})",
                        summary.status, summary.message
                    )));
                }
                Update::Gone => return Err(Error::Ended(format!("experiment {name} was deleted"))),
                Update::Changed(_) | Update::Trouble(_) => {}
            }
        }
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::TimedOut {
            what: format!("experiment {name} in namespace {namespace} is still not {until:?}")
                .to_lowercase(),
            seconds: timeout.as_secs(),
        }),
    }
}
