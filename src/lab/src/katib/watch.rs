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
use super::obstacles::{Obstacle, PENDING};
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

type Events<T> = Pin<Box<dyn Stream<Item = watcher::Result<Event<T>>> + Send>>;

/// A watch of one experiment and its trials.
pub struct Watch {
    cluster: Cluster,
    namespace: String,
    name: String,
    experiments: Events<held::Experiment>,
    trials: Events<held::Trial>,
    /// Pods that have not started; ends where we may not look at pods.
    pods: Events<Pod>,
    experiment: Option<types::Experiment>,
    known: BTreeMap<String, Trial>,
    /// Trials of a listing that is under way.
    listing: Option<BTreeMap<String, Trial>>,
    listed: bool,
    /// What holds up which pod.
    obstacles: BTreeMap<String, Option<Obstacle>>,
    gone: bool,
    /// The listing that is under way has not shown the experiment yet.
    missing: bool,
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
    let pending = watcher::Config::default()
        .labels(&format!("{LABEL_TRIAL},{LABEL_EXPERIMENT}={name}"))
        .fields(PENDING);
    Ok(Watch {
        cluster: cluster.clone(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        experiments: events(held::api::<held::Experiment>(cluster, &scope), experiments),
        trials: events(held::api::<held::Trial>(cluster, &scope), trials),
        pods: events(pods::api(cluster, &scope), pending),
        experiment: None,
        known: BTreeMap::new(),
        listing: None,
        listed: false,
        obstacles: BTreeMap::new(),
        gone: false,
        missing: false,
        troubled: false,
        due: None,
    })
}

fn events<T>(api: Api<T>, config: watcher::Config) -> Events<T>
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
                    if self.gone {
                        return Ok(Update::Gone);
                    }
                    if let Some(snapshot) = self.snapshot() {
                        return Ok(Update::Changed(Box::new(snapshot)));
                    }
                    continue;
                }
                Seen::Experiment(Ok(event)) => {
                    self.note_experiment(event);
                    Ok(())
                }
                Seen::Trial(Ok(event)) => {
                    self.note_trial(event);
                    Ok(())
                }
                Seen::Pod(Ok(event)) => {
                    self.note_pod(event);
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

    fn note_experiment(&mut self, event: Event<held::Experiment>) {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                (self.gone, self.missing) = (false, false);
                self.experiment = Some(object.plain());
            }
            Event::Delete(_) => self.gone = true,
            Event::Init => self.missing = true,
            // A listing without the experiment means that it was deleted while we were away.
            Event::InitDone => self.gone = self.missing,
        }
    }

    fn note_trial(&mut self, event: Event<held::Trial>) {
        let name = |trial: &held::Trial| trial.metadata.name.clone().unwrap_or_default();
        match event {
            Event::Init => self.listing = Some(BTreeMap::new()),
            Event::InitApply(trial) => {
                self.listing
                    .get_or_insert_default()
                    .insert(name(&trial), trial.plain());
            }
            Event::InitDone => {
                self.known = self.listing.take().unwrap_or_default();
                self.listed = true;
            }
            Event::Apply(trial) => {
                self.known.insert(name(&trial), trial.plain());
            }
            Event::Delete(trial) => {
                self.known.remove(&name(&trial));
            }
        }
    }

    fn note_pod(&mut self, event: Event<Pod>) {
        let name = |pod: &Pod| pod.metadata.name.clone().unwrap_or_default();
        match event {
            Event::Init => self.obstacles.clear(),
            Event::InitDone => {}
            Event::Apply(pod) | Event::InitApply(pod) => {
                self.obstacles.insert(name(&pod), Obstacle::of(&pod));
            }
            Event::Delete(pod) => {
                self.obstacles.remove(&name(&pod));
            }
        }
    }

    fn snapshot(&self) -> Option<Snapshot> {
        let experiment = self.experiment.as_ref().filter(|_| self.listed)?;
        let experiment = Summary::of(experiment);
        let trials: Vec<Trial> = self.known.values().cloned().collect();
        let mut trials = TrialTable::of(Some(experiment.clone()), &trials);
        trials::hold_up(&mut trials.rows, self.obstacles.values().flatten());
        Some(Snapshot {
            experiment,
            trials,
            at: Timestamp::now(),
        })
    }
}

/// Whether we may not look at all.
fn is_refused(error: &watcher::Error) -> bool {
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
