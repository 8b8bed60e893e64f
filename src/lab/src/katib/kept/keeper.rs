//! Follows an experiment in the background, and keeps what its trials print and report while they can be
//! asked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use katlab_katib::names::{LABEL_EXPERIMENT, LABEL_TRIAL};
use katlab_katib::types::{Experiment, Trial};
use kube::api::ListParams;
use kube::runtime::watcher::{self, Event};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::tail::Tail;
use super::{Catch, Error, LogNote, Store, Whose};
use crate::cluster::{self, Cluster};
use crate::katib::archive::{self, Archive};
use crate::katib::evidence::{self, Evidence};
use crate::katib::observations::{self, Observations};
use crate::katib::provenance::{self, Images, Provenance};
use crate::katib::trials::TrialRow;
use crate::katib::watch::{self, Snapshot, Update};
use crate::katib::{experiments, trials};
use crate::kubernetes::Scope;
use crate::kubernetes::logs::{self, Extent, Line, Target};
use crate::kubernetes::pods::{self, State};

/// Changes of trials are written together.
const PAUSE: Duration = Duration::from_secs(2);
/// Writing takes at most this part of the time.
const SHARE: u32 = 20;
/// How long a log that grows is not written.
const LOG_PAUSE: Duration = Duration::from_secs(5);
/// How long a trial's end is waited for that the experiment has counted already.
const STRAGGLER: Duration = Duration::from_secs(2);
/// How long a cluster may be away before it is no longer followed.
const AWAY: Duration = Duration::from_secs(600);
/// Questions asked at once.
const AT_ONCE: usize = 8;
/// Logs followed at once.
const LOGS_AT_ONCE: usize = 256;

/// Where the following of an experiment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The experiment goes on.
    Following,
    /// It has ended, and what it left is written.
    Ending,
    /// Nothing more is done.
    Done,
}

/// What all parts of a following share.
struct Keeper {
    cluster: Cluster,
    name: String,
    store: Arc<Store>,
    stop: CancellationToken,
    /// The experiment, once it was seen.
    whose: tokio::sync::watch::Sender<Option<Whose>>,
    /// The pods as they were seen last before they were deleted, by name.
    pods: Mutex<HashMap<String, Pod>>,
    /// The images of all of them.
    images: Mutex<Images>,
    /// A pod has come into trouble, of which its trial may never hear.
    troubled: Notify,
}

/// Follows an experiment of the cluster's namespace to its end, or until it is stopped, and keeps logs and
/// metrics of its trials. What goes wrong is noted in the store ([`Store::take_trouble`]) and stops nothing
/// else.
pub async fn follow(
    cluster: Cluster,
    name: String,
    store: Arc<Store>,
    stop: CancellationToken,
    phase: tokio::sync::watch::Sender<Phase>,
) {
    let keeper = Keeper {
        cluster,
        name,
        store,
        stop,
        whose: tokio::sync::watch::Sender::new(None),
        pods: Mutex::default(),
        images: Mutex::default(),
        troubled: Notify::new(),
    };
    let over = CancellationToken::new();
    let experiment = async {
        let last = keeper.experiment(&phase).await;
        over.cancel();
        last
    };
    let (last, ()) = tokio::join!(experiment, keeper.pods(&over));
    match last {
        // Only now every log and every pod's end is here that was to be had.
        Ok(Some((whose, mut catch))) => {
            catch.archive.evidence = keeper.evidence(&catch.archive.trials).await;
            catch.archive.provenance = Some(keeper.provenance(&catch.archive.trials));
            drop(keeper.keep(&whose, catch).await);
        }
        Ok(None) => {}
        Err(error) if error.is_not_found() => {}
        Err(error) => keeper.trouble(&error),
    }
    phase.send_replace(Phase::Done);
}

/// Takes what can still be had of an experiment, and keeps it. Returns what it is kept as.
///
/// # Errors
/// When the experiment or its trials cannot be read, or nothing can be written.
pub async fn capture(cluster: &Cluster, name: &str, store: &Arc<Store>) -> Result<Whose, String> {
    let namespace = cluster.namespace.as_str();
    let reading = futures::future::try_join(
        experiments::get(cluster, namespace, name),
        trials::objects(cluster, namespace, name),
    );
    let (experiment, objects) = reading.await.map_err(|error| error.to_string())?;
    let whose = Whose::of(cluster, &experiment);
    let objects = own(&experiment, objects.iter());
    let names = objects.iter().map(|trial| trial.metadata.name()).collect();
    let (work, evidence, provenance, logs) = futures::join!(
        archive::work(cluster, &objects),
        evidence::collect(cluster, &objects),
        provenance::collect(cluster, &names),
        logs_of_pods(cluster, name),
    );
    let mut catch = Catch {
        archive: Archive {
            experiment,
            trials: objects,
            work,
            evidence,
            provenance: provenance.ok(),
            ..Archive::default()
        },
        ..Catch::default()
    };
    for (trial, note, text) in logs {
        if catch.notes.get(&trial).is_none_or(|known| *known < note) {
            catch.notes.insert(trial.clone(), note);
            catch.archive.logs.insert(trial, text);
        }
    }
    let mut wanted: Vec<String> = (catch.archive.trials.iter())
        .map(|trial| trial.metadata.name().to_owned())
        .collect();
    let ended: HashSet<String> = (catch.archive.trials.iter())
        .filter(|trial| TrialRow::of(trial, &[]).is_ended())
        .map(|trial| trial.metadata.name().to_owned())
        .collect();
    // Before the metrics are asked for, which may take long.
    let keep = |catch: Catch| {
        let (store, whose) = (Arc::clone(store), whose.clone());
        blocking(move || store.keep(&whose, catch))
    };
    let kept = keep(catch.clone())
        .await
        .map_err(|error| error.to_string())?;
    wanted.retain(|name| !(ended.contains(name) && kept.contains(name)));
    match metrics(cluster, &mut None, wanted).await {
        Ok(found) if found.is_empty() => {}
        Ok(found) => {
            catch.archive.logs.clear();
            catch.archive.metrics = found;
            keep(catch).await.map_err(|error| error.to_string())?;
        }
        Err(error) => store.note_trouble(error.to_string()),
    }
    Ok(whose)
}

/// The logs of the pods that an experiment's trials have.
async fn logs_of_pods(cluster: &Cluster, name: &str) -> Vec<(String, LogNote, String)> {
    let scope = Scope::from(cluster.namespace.as_str());
    let labels = format!("{LABEL_TRIAL},{LABEL_EXPERIMENT}={name}");
    let listed = pods::api(cluster, &scope)
        .list(&ListParams::default().labels(&labels))
        .await;
    let Ok(listed) = listed else {
        return Vec::new();
    };
    let read = |pod: Pod| async move {
        let (target, run) = target(cluster, &pod).await?;
        let mut tail = Tail::default();
        let mut lines = logs::open(cluster, &target, Extent::default());
        while let Ok(Some(line)) = lines.next().await {
            if let Line::Text(text) = line {
                tail.push(&text);
            }
        }
        Some((target.trial.clone()?, note(&pod, run, &tail), tail.text()))
    };
    futures::stream::iter(listed.items)
        .map(read)
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await
}

impl Keeper {
    fn trouble(&self, error: &impl std::fmt::Display) {
        self.store.note_trouble(error.to_string());
    }

    /// Writes what was taken; nothing where that fails, which is noted.
    async fn keep(&self, whose: &Whose, catch: Catch) -> Option<HashSet<String>> {
        let (store, whose) = (Arc::clone(&self.store), whose.clone());
        match blocking(move || store.keep(&whose, catch)).await {
            Ok(kept) => Some(kept),
            Err(error) => {
                self.trouble(&error);
                None
            }
        }
    }

    async fn mark_gone(&self, whose: &Whose) {
        let (store, whose) = (Arc::clone(&self.store), whose.clone());
        if let Err(error) = blocking(move || store.mark(&whose, true)).await {
            self.trouble(&error);
        }
    }

    /// Follows the experiment and its trials. Returns what is to be written when the logs have ended as well.
    async fn experiment(
        &self,
        phase: &tokio::sync::watch::Sender<Phase>,
    ) -> cluster::Result<Option<(Whose, Catch)>> {
        let namespace = self.cluster.namespace.clone();
        let mut watch = watch::open(&self.cluster, &namespace, &self.name).await?;
        let mut due = Instant::now();
        let mut pending = false;
        let mut away: Option<Instant> = None;
        let mut end = End::default();
        // Trials that have ended and whose metrics are kept.
        let mut have: HashSet<String> = HashSet::new();
        let mut open = None;
        loop {
            let patience = away.or(pending.then_some(due).into_iter().chain(end.due()).min());
            let update = tokio::select! {
                () = self.stop.cancelled() => None,
                update = watch.next() => Some(update?),
                () = self.troubled.notified() => {
                    pending = true;
                    None
                }
                () = at(patience) => {
                    if away.is_some() {
                        // Those who follow logs would try for ever.
                        self.stop.cancel();
                        return Ok(None);
                    }
                    None
                }
            };
            match update {
                Some(Update::Changed(snapshot)) => {
                    away = None;
                    pending = true;
                    end.look(&snapshot);
                    if end.is_quiet {
                        phase.send_replace(Phase::Ending);
                    }
                }
                Some(Update::Trouble(_)) => {
                    away.get_or_insert_with(|| Instant::now() + AWAY);
                    continue;
                }
                Some(Update::Gone) => {
                    let whose = self.whose.borrow().clone();
                    if let Some(whose) = whose {
                        self.mark_gone(&whose).await;
                    }
                    return Ok(None);
                }
                None => {}
            }
            let is_over = end.is_reached();
            let Some(experiment) = watch.experiment() else {
                if self.stop.is_cancelled() {
                    return Ok(None);
                }
                continue;
            };
            let whose = Whose::of(&self.cluster, experiment);
            let before = self.whose.borrow().clone();
            if before.as_ref() != Some(&whose) {
                if let Some(before) = before {
                    // Another of the same name has taken its place.
                    self.mark_gone(&before).await;
                    have.clear();
                }
                let (store, id) = (Arc::clone(&self.store), whose.clone());
                let known = blocking(move || Ok::<_, Error>(store.entry(&id))).await;
                if is_over && known.is_ok_and(|known| known.is_some_and(|index| index.whole)) {
                    return Ok(None);
                }
                self.whose.send_replace(Some(whose.clone()));
                due = Instant::now();
            }
            if self.stop.is_cancelled() {
                let catch = Catch {
                    archive: self.taken(experiment, watch.trials()),
                    ..Catch::default()
                };
                self.keep(&whose, catch).await;
                return Ok(None);
            }
            if !is_over && Instant::now() < due {
                continue;
            }
            pending = false;
            let began = Instant::now();
            let mut archive = self.taken(experiment, watch.trials());
            (archive.work, archive.evidence) = futures::join!(
                archive::work(&self.cluster, &archive.trials),
                self.evidence(&archive.trials),
            );
            archive.provenance = Some(self.provenance(&archive.trials));
            let ended = archive
                .trials
                .iter()
                .filter(|trial| TrialRow::of(trial, &[]).is_ended());
            let wanted: Vec<String> = ended
                .map(|trial| trial.metadata.name().to_owned())
                .filter(|name| !have.contains(name))
                .collect();
            match metrics(&self.cluster, &mut open, wanted.clone()).await {
                Ok(found) => {
                    have.extend(wanted);
                    archive.metrics = found;
                }
                Err(error) => {
                    open = None;
                    self.trouble(&error);
                }
            }
            let catch = Catch {
                archive,
                ..Catch::default()
            };
            if is_over {
                // Twice: whoever asks at once finds it, and the logs may take a while yet.
                self.keep(&whose, catch.clone()).await;
                return Ok(Some((
                    whose,
                    Catch {
                        whole: true,
                        ..catch
                    },
                )));
            }
            if let Some(kept) = self.keep(&whose, catch).await {
                have.retain(|name| kept.contains(name));
            }
            due = Instant::now() + PAUSE.max(began.elapsed() * SHARE);
        }
    }

    fn taken<'a>(
        &self,
        experiment: &Experiment,
        trials: impl Iterator<Item = &'a Trial>,
    ) -> Archive {
        Archive {
            experiment: experiment.clone(),
            trials: own(experiment, trials),
            ..Archive::default()
        }
    }

    /// Notes how a pod fares. What its deletion does to it says nothing about its work.
    fn see(&self, pod: &Pod) {
        let Some(name) = pod.metadata.name.clone() else {
            return;
        };
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.add(pod);
        drop(images);
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let before = pods.get(&name);
        if pod.metadata.deletion_timestamp.is_some() && before.is_some() {
            return;
        }
        let is_new = is_troubled(pod) && !before.is_some_and(is_troubled);
        pods.insert(name, evidence::essence(pod));
        if is_new {
            self.troubled.notify_one();
        }
    }

    /// What was seen of the images that trials ran.
    fn provenance(&self, trials: &[Trial]) -> Provenance {
        let names = trials.iter().map(|trial| trial.metadata.name()).collect();
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        Provenance::seen(&self.cluster, images.of(&names))
    }

    /// What was seen of the pods of trials that have not succeeded, and what is warned of them.
    async fn evidence(&self, trials: &[Trial]) -> Evidence {
        let wanted = evidence::wanting(trials);
        let known: HashSet<&str> = trials.iter().map(|trial| trial.metadata.name()).collect();
        let pods: Vec<Pod> = {
            let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
            // Those of trials that succeeded are asked for no more; a trial may be seen after its pod.
            pods.retain(|_, pod| {
                evidence::trial_of(pod)
                    .is_some_and(|trial| wanted.contains(trial) || !known.contains(trial))
            });
            pods.values().cloned().collect()
        };
        if wanted.is_empty() {
            return Evidence::default();
        }
        evidence::with_warnings(&self.cluster, &wanted, pods).await
    }

    /// Follows the log of each pod. When the experiment is over, those are read to their end that have begun.
    async fn pods(&self, over: &CancellationToken) {
        let labels = format!("{LABEL_TRIAL},{LABEL_EXPERIMENT}={}", self.name);
        let scope = Scope::from(self.cluster.namespace.as_str());
        let config = watcher::Config::default().labels(&labels);
        let mut events = watch::events(pods::api(&self.cluster, &scope), config);
        let mut followers = JoinSet::new();
        let mut followed: HashSet<(String, String, i32)> = HashSet::new();
        let mut is_listed = false;
        loop {
            let event = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                Some(event) = events.next() => event,
                Some(_) = followers.join_next() => continue,
                () = over.cancelled(), if is_listed => break,
                else => break,
            };
            let pod = match event {
                Ok(Event::InitApply(pod) | Event::Apply(pod)) => pod,
                Ok(Event::Delete(pod)) => {
                    self.see(&pod);
                    continue;
                }
                Ok(Event::Init) => continue,
                Ok(Event::InitDone) => {
                    is_listed = true;
                    continue;
                }
                Err(error) => {
                    if watch::is_refused(&error) {
                        self.trouble(&error);
                        break;
                    }
                    // A cluster that is away is given up by whoever follows the experiment.
                    is_listed |= over.is_cancelled();
                    continue;
                }
            };
            self.see(&pod);
            let Some(run) = begun(&pod) else { continue };
            let uid = pod.metadata.uid.clone().unwrap_or_default();
            let before = logs::failed_before(&pod).unwrap_or_default().to_owned();
            if followers.len() < LOGS_AT_ONCE && followed.insert((uid, before, run)) {
                followers.spawn(follow_log(
                    self.cluster.clone(),
                    Arc::clone(&self.store),
                    self.whose.subscribe(),
                    self.stop.clone(),
                    pod,
                ));
            }
        }
        while followers.join_next().await.is_some() {}
    }
}

/// Whether an experiment is at its end. Trials may go on after it, and as it and they are watched apart, its end
/// may be seen before that of a trial that it has counted.
#[derive(Default)]
struct End {
    /// It has ended, and no trial is seen to run.
    is_quiet: bool,
    /// The trials are seen to have ended that it has counted.
    is_counted: bool,
    since: Option<Instant>,
}

impl End {
    fn look(&mut self, snapshot: &Snapshot) {
        let rows = &snapshot.trials.rows;
        let ended = rows.iter().filter(|row| row.is_ended()).count();
        let counted = usize::try_from(snapshot.experiment.counts.ended()).unwrap_or_default();
        self.is_quiet = snapshot.experiment.is_completed() && ended == rows.len();
        self.is_counted = ended >= counted;
        if self.is_quiet {
            self.since.get_or_insert_with(Instant::now);
        } else {
            self.since = None;
        }
    }

    /// When it is to be looked at again.
    fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + STRAGGLER)
    }

    fn is_reached(&self) -> bool {
        self.is_quiet && (self.is_counted || self.due().is_some_and(|due| Instant::now() >= due))
    }
}

/// Waits until a time; for ever where there is none.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The trials that belong to the experiment, and not to one that had its name before.
fn own<'a>(experiment: &Experiment, trials: impl Iterator<Item = &'a Trial>) -> Vec<Trial> {
    let uid = experiment.metadata.uid.as_deref();
    let is_own = |trial: &&Trial| {
        let mut owners = trial.metadata.owner_references.iter();
        owners
            .find(|owner| owner.kind == "Experiment")
            .is_none_or(|owner| Some(owner.uid.as_str()) == uid)
    };
    trials.filter(is_own).cloned().collect()
}

/// The observation logs of trials. The way to them is kept open from one call to the next.
async fn metrics(
    cluster: &Cluster,
    open: &mut Option<Observations>,
    wanted: Vec<String>,
) -> cluster::Result<BTreeMap<String, Vec<observations::Point>>> {
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    if open.is_none() {
        *open = Some(observations::open(cluster).await?);
    }
    let Some(way) = open.as_ref() else {
        return Ok(BTreeMap::new());
    };
    let asked = futures::stream::iter(wanted)
        .map(|trial| async move {
            way.of_trial(&trial, None)
                .await
                .map(|points| (trial, points))
        })
        .buffer_unordered(AT_ONCE);
    let found: Vec<_> = asked.collect().await;
    found.into_iter().collect()
}

/// How often the container had been started again whose log counts; nothing where none has begun.
fn begun(pod: &Pod) -> Option<i32> {
    let row = pods::row(pod);
    row.states
        .iter()
        .filter(|one| matches!(one.state, State::Running { .. } | State::Terminated { .. }))
        .map(|one| one.restarts)
        .max()
}

fn is_troubled(pod: &Pod) -> bool {
    let row = pods::row(pod);
    row.states.iter().any(|one| one.state.is_trouble())
}

fn is_running(pod: &Pod) -> bool {
    let row = pods::row(pod);
    row.states
        .iter()
        .any(|one| matches!(one.state, State::Running { .. }))
}

/// Whether a log is kept of an experiment that had ended by then, so that it need not be read again.
async fn is_kept(
    store: &Arc<Store>,
    whose: &mut tokio::sync::watch::Receiver<Option<Whose>>,
    trial: &str,
) -> bool {
    let Some(whose) = known(whose).await else {
        return false;
    };
    let store = Arc::clone(store);
    let index = blocking(move || Ok(store.entry(&whose))).await;
    index.is_ok_and(|index| index.is_some_and(|one| one.whole && one.logs.contains_key(trial)))
}

/// Which experiment it is: known in a moment, unless it is gone or cannot be read.
async fn known(whose: &mut tokio::sync::watch::Receiver<Option<Whose>>) -> Option<Whose> {
    let known = timeout(STRAGGLER * 5, whose.wait_for(Option::is_some)).await;
    known.ok()?.ok()?.clone()
}

/// Whose log counts, and how often it had been started again.
async fn target(cluster: &Cluster, pod: &Pod) -> Option<(Target, i32)> {
    let run = begun(pod)?;
    let namespace = pod.metadata.namespace.as_deref()?;
    let target = logs::of_pod(cluster, namespace, pod).await;
    Some((target, run))
}

fn note(pod: &Pod, run: i32, tail: &Tail) -> LogNote {
    LogNote {
        made: pod.metadata.creation_timestamp.as_ref().map(|time| time.0),
        run,
        bytes: tail.seen(),
        pod: pod.metadata.name.clone().unwrap_or_default(),
    }
}

/// Follows the log of a pod to its end, and writes it now and then.
async fn follow_log(
    cluster: Cluster,
    store: Arc<Store>,
    whose: tokio::sync::watch::Receiver<Option<Whose>>,
    stop: CancellationToken,
    pod: Pod,
) {
    let Some((target, run)) = target(&cluster, &pod).await else {
        return;
    };
    let Some(trial) = target.trial.clone() else {
        return;
    };
    let mut whose = whose;
    if !is_running(&pod) && is_kept(&store, &mut whose, &trial).await {
        return;
    }
    let extent = Extent {
        follow: true,
        ..Extent::default()
    };
    let mut lines = logs::open(&cluster, &target, extent);
    let mut tail = Tail::default();
    let mut written = Written {
        store,
        whose,
        trial,
        bytes: 0,
        due: Instant::now() + LOG_PAUSE,
    };
    let mut is_open = true;
    while is_open {
        // Not dropped before it is ready: it may hold the first half of a line.
        let mut next = pin!(lines.next());
        let line = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break Ok(None),
                line = &mut next => break line,
                () = sleep_until(written.due), if tail.seen() > written.bytes => {
                    written.write(&tail, note(&pod, run, &tail)).await;
                }
            }
        };
        match line {
            Ok(Some(Line::Text(text))) => tail.push(&text),
            Ok(Some(Line::Note(_))) => {}
            Ok(None) | Err(_) => is_open = false,
        }
        // Lines that come without a pause leave the timer no turn.
        if tail.seen() > written.bytes && (!is_open || Instant::now() >= written.due) {
            written.write(&tail, note(&pod, run, &tail)).await;
        }
    }
}

/// How much of a log is written.
struct Written {
    store: Arc<Store>,
    whose: tokio::sync::watch::Receiver<Option<Whose>>,
    trial: String,
    bytes: u64,
    due: Instant,
}

impl Written {
    async fn write(&mut self, tail: &Tail, note: LogNote) {
        let Some(whose) = known(&mut self.whose).await else {
            return;
        };
        let began = Instant::now();
        let (store, trial, text) = (Arc::clone(&self.store), self.trial.clone(), tail.text());
        let keeping = blocking(move || store.keep_log(&whose, &trial, &text, note)).await;
        if let Err(error) = keeping {
            self.store.note_trouble(error.to_string());
        }
        self.bytes = tail.seen();
        self.due = Instant::now() + LOG_PAUSE.max(began.elapsed() * SHARE);
    }
}

/// Files are written where that holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Error::File {
            path: std::path::PathBuf::from("kept"),
            source: std::io::Error::other(error),
        }),
    }
}
