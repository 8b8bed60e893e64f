//! What is kept of experiments for the time when they, or the pods of their trials, are gone.
//!
//! ```text
//! HOME/kept/CLUSTER/NAMESPACE/NAME.UID/kept.json   what it is, when it was kept, whether it is gone
//!                                     /...         the files of an export, see [`archive`]
//! ```
//!
//! A folder is read like any export. Files are written whole, by rename, and writers of several kernels
//! take turns by a lock, so that one adds to what another has kept. All of it is bounded: a log keeps
//! its end, and beyond the limit the experiment goes first that was kept longest ago.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::jiff::Timestamp;
use katlab_katib::types::Experiment;
use kube::api::ListParams;
use serde::{Deserialize, Serialize};

use super::archive::{self, Archive};
use super::evidence::Evidence;
use super::experiments::Summary;
use super::held;
use super::provenance::Provenance;
use crate::cluster::{self, Cluster, near_misses};
use crate::file;
use crate::home::{self, Home};
use crate::kubernetes::Scope;

mod keeper;
mod limit;
mod tail;

pub use keeper::{Phase, capture, follow};
pub use limit::{DEFAULT_LIMIT, parse_limit};
pub use tail::LOG_LIMIT;

const FOLDER: &str = "kept";
const INDEX: &str = "kept.json";
const LOCK: &str = "lock";
/// How the name of a folder begins that is being removed.
const REMOVED: &str = ".removed-";

/// Why something could not be kept, found or freed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be used.
    #[error(transparent)]
    Home(#[from] home::Error),
    /// A file or a folder cannot be read, written or removed.
    #[error("{}: {source}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// An object cannot be written as YAML or JSON.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// Nothing of that name was kept.
    #[error("nothing of {what} {name} is kept in namespace {namespace} of {cluster}")]
    Unknown {
        /// `experiment` or `trial`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        namespace: String,
        /// The cluster.
        cluster: String,
        /// Names that were probably meant.
        near: Vec<String>,
    },
    /// It is kept, but it is not gone.
    #[error("experiment {0} is not deleted")]
    NotGone(String),
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Home(error) => error.hint(),
            Self::File { .. } => Some(
                "look at the permissions, and at the space left; `:lab clean` frees some".into(),
            ),
            Self::Archive(error) => Some(error.hint()),
            Self::Unknown { near, .. } => Some(match near.first() {
                Some(near) => {
                    format!("did you mean {near}? `:trials --deleted` lists what is kept")
                }
                None => "`:trials --deleted -A` lists what is kept".into(),
            }),
            Self::NotGone(_) => Some("leave out --deleted".into()),
        }
    }
}

/// Takes secrets out of a text.
pub type Redact = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Which experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whose {
    /// The cluster: `sandbox`, or the address of its API server.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// What tells it from others that had the name before.
    pub uid: String,
}

impl Whose {
    /// An experiment of a cluster.
    pub fn of(cluster: &Cluster, experiment: &Experiment) -> Self {
        Self {
            cluster: identity(cluster),
            namespace: experiment.metadata.namespace().to_owned(),
            name: experiment.metadata.name().to_owned(),
            uid: experiment.metadata.uid.clone().unwrap_or_default(),
        }
    }

    /// Enough of the uid to tell it from others of the name.
    pub fn id(&self) -> &str {
        let end = self
            .uid
            .char_indices()
            .nth(8)
            .map_or(self.uid.len(), |(at, _)| at);
        &self.uid[..end]
    }
}

/// What a cluster is known by here. The sandbox is one wherever it listens.
pub fn identity(cluster: &Cluster) -> String {
    match cluster.server.split_once("://") {
        _ if cluster.is_sandbox() => "sandbox".to_owned(),
        Some((_, address)) => address.to_owned(),
        None if cluster.server.is_empty() => cluster.name.clone(),
        None => cluster.server.clone(),
    }
}

/// Whose log was kept, and how much of it was seen. Of two the greater is the one to keep: that of the
/// younger pod, of its later run, or else the one that saw more.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogNote {
    /// When the pod was made.
    pub made: Option<Timestamp>,
    /// How often its container had been started again.
    pub run: i32,
    /// How long the log was, in bytes.
    pub bytes: u64,
    /// The pod.
    pub pod: String,
}

/// What is known of what is kept without reading it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Index {
    /// Which experiment.
    #[serde(flatten)]
    pub whose: Whose,
    /// When the experiment was made.
    pub created: Option<Timestamp>,
    /// When something of it was kept last.
    pub kept: Timestamp,
    /// Since when it is known to be gone.
    pub gone: Option<Timestamp>,
    /// How it stood.
    pub status: String,
    /// Its trials.
    pub trials: usize,
    /// The metric it optimised.
    pub objective: String,
    /// The best value of it.
    pub best: Option<f64>,
    /// It had ended, and all that was to be had of it then is here.
    pub whole: bool,
    /// The logs, by trial.
    pub logs: BTreeMap<String, LogNote>,
    /// Logs and metrics that were dropped because they alone were above the limit.
    #[serde(default)]
    pub dropped: usize,
}

impl Index {
    fn new(whose: &Whose) -> Self {
        Self {
            whose: whose.clone(),
            created: None,
            kept: Timestamp::now(),
            gone: None,
            status: String::new(),
            trials: 0,
            objective: String::new(),
            best: None,
            whole: false,
            logs: BTreeMap::new(),
            dropped: 0,
        }
    }

    fn sum_up(&mut self, archive: &Archive) {
        let summary = Summary::of(&archive.experiment);
        self.created = summary.created;
        self.trials = archive.trials.len();
        self.best = summary.best_value();
        self.status = summary.status;
        self.objective = summary.objective.metric;
    }
}

/// An experiment that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// What it is.
    pub index: Index,
    /// Where it is; [`archive::read`] reads it.
    pub folder: PathBuf,
    /// Its bytes.
    pub size: u64,
}

impl Entry {
    /// The file of a trial's log.
    pub fn log(&self, trial: &str) -> PathBuf {
        archive::log_file(&self.folder, trial)
    }
}

/// What was taken of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Catch {
    /// The experiment, trials, jobs, metrics, evidence and logs.
    pub archive: Archive,
    /// Whose logs they are.
    pub notes: BTreeMap<String, LogNote>,
    /// It has ended, and nothing more is to be had.
    pub whole: bool,
}

/// Where things are kept.
pub struct Store {
    folder: PathBuf,
    limit: u64,
    redact: Redact,
    /// What may be written before the store is measured again.
    slack: AtomicI64,
    trouble: Mutex<Option<String>>,
}

impl Store {
    /// The store of a home, with so many bytes at most; with none it keeps nothing.
    pub fn new(home: &Home, limit: u64, redact: Redact) -> Self {
        Self {
            folder: home.join(FOLDER),
            limit,
            redact,
            slack: AtomicI64::new(0),
            trouble: Mutex::default(),
        }
    }

    /// How many bytes there may be at most.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Notes what keeps it from keeping; for [`Self::take_trouble`].
    pub fn note_trouble(&self, what: String) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert(what);
    }

    /// What went wrong since this was asked last.
    pub fn take_trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// Everything that is kept, that kept last first. What is not of this store, or was never written to its
    /// end, is passed over.
    pub fn list(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = below(&self.folder)
            .flat_map(|cluster| below(&cluster))
            .flat_map(|namespace| below(&namespace))
            .filter_map(|folder| {
                let index = read_index(&folder)?;
                let size = size(&folder);
                Some(Entry {
                    index,
                    folder,
                    size,
                })
            })
            .collect();
        entries.sort_by(|left, right| {
            (right.index.kept, &left.folder).cmp(&(left.index.kept, &right.folder))
        });
        entries
    }

    /// What is kept of the experiments of a cluster, in one namespace or all.
    pub fn list_of(&self, cluster: &str, namespace: Option<&str>) -> Vec<Entry> {
        let mut entries = self.list();
        entries.retain(|entry| {
            let whose = &entry.index.whose;
            whose.cluster == cluster && namespace.is_none_or(|name| name == whose.namespace)
        });
        entries
    }

    /// What is kept of one experiment.
    pub fn entry(&self, whose: &Whose) -> Option<Index> {
        read_index(&self.place(whose)).filter(|index| index.whose == *whose)
    }

    /// What is known of the pods of one experiment.
    pub fn evidence(&self, whose: &Whose) -> Evidence {
        match self.entry(whose) {
            Some(_) => Evidence::read(&self.place(whose)),
            None => Evidence::default(),
        }
    }

    /// What is known of the images that the trials of one experiment ran.
    pub fn provenance(&self, whose: &Whose) -> Option<Provenance> {
        self.entry(whose)?;
        archive::read(&self.place(whose)).ok()?.provenance
    }

    /// Finds a deleted experiment by its name, or as `NAME@ID` among several of that name; the one made last
    /// comes first.
    ///
    /// # Errors
    /// [`Error::Unknown`] with near misses, or [`Error::NotGone`].
    pub fn find(&self, cluster: &str, namespace: &str, wanted: &str) -> Result<Vec<Entry>, Error> {
        let (name, id) = wanted.split_once('@').unwrap_or((wanted, ""));
        let here = self.list_of(cluster, Some(namespace)).into_iter();
        let (mut found, others): (Vec<Entry>, Vec<Entry>) = here.partition(|entry| {
            entry.index.whose.name == name && entry.index.whose.uid.starts_with(id)
        });
        let is_known = !found.is_empty();
        // Of several only those are meant that are gone; by its id one may be meant that is not.
        found.retain(|entry| entry.index.gone.is_some() || !id.is_empty());
        found.sort_by_key(|entry| std::cmp::Reverse(entry.index.created));
        if !found.is_empty() {
            return Ok(found);
        }
        if is_known {
            return Err(Error::NotGone(name.to_owned()));
        }
        let known = others.iter().filter(|entry| entry.index.gone.is_some());
        Err(Error::Unknown {
            what: "experiment",
            name: wanted.to_owned(),
            namespace: namespace.to_owned(),
            cluster: cluster.to_owned(),
            near: near_misses(name, known.map(|entry| entry.index.whose.name.as_str())),
        })
    }

    /// Finds what is kept of a trial, deleted or not: by the trial's name or its pod's.
    ///
    /// # Errors
    /// [`Error::Unknown`] with near misses.
    pub fn find_trial(
        &self,
        cluster: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(Entry, String), Error> {
        let mut known = HashSet::new();
        for entry in self.list_of(cluster, Some(namespace)) {
            let trial = entry
                .index
                .logs
                .iter()
                .find(|(trial, note)| *trial == name || note.pod == name)
                .map(|(trial, _)| trial.clone())
                .or_else(|| {
                    let trials = archive::trial_names(&entry.folder);
                    let found = trials.contains(name).then(|| name.to_owned());
                    known.extend(trials);
                    found
                });
            if let Some(trial) = trial {
                return Ok((entry, trial));
            }
        }
        Err(Error::Unknown {
            what: "trial",
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            cluster: cluster.to_owned(),
            near: near_misses(name, known.iter().map(String::as_str)),
        })
    }

    /// Adds to what is kept of an experiment, and returns the trials whose metrics are kept.
    ///
    /// # Errors
    /// When it cannot be written; what was kept before is still there.
    pub fn keep(&self, whose: &Whose, mut catch: Catch) -> Result<HashSet<String>, Error> {
        if self.limit == 0 {
            return Ok(HashSet::new());
        }
        let lock = self.lock()?;
        let (folder, mut index) = self.begin(whose)?;
        let mut archive = archive::read(&folder).unwrap_or_default();
        archive.metrics = archive::metrics(&folder).unwrap_or_default();
        archive.evidence = Evidence::read(&folder);
        catch
            .archive
            .trials
            .retain(|trial| is_plain(trial.metadata.name()));
        let logs = std::mem::take(&mut catch.archive.logs);
        archive.absorb(catch.archive);
        for (trial, log) in logs {
            let note = catch.notes.remove(&trial).unwrap_or_default();
            if is_plain(&trial) && index.logs.get(&trial).is_none_or(|known| *known <= note) {
                archive.logs.insert(trial.clone(), log);
                index.logs.insert(trial, note);
            }
        }
        for (path, text) in archive.files()? {
            self.write(&folder.join(path), &(self.redact)(&text))?;
        }
        index.sum_up(&archive);
        index.whole = catch.whole;
        index.kept = Timestamp::now();
        self.write_index(&folder, &index)?;
        self.bound(&folder)?;
        drop(lock);
        Ok(archive.metrics.into_keys().collect())
    }

    /// Keeps the log of one trial, unless a later one is kept already.
    ///
    /// # Errors
    /// When it cannot be written; what was kept before is still there.
    pub fn keep_log(
        &self,
        whose: &Whose,
        trial: &str,
        log: &str,
        note: LogNote,
    ) -> Result<(), Error> {
        if self.limit == 0 || !is_plain(trial) {
            return Ok(());
        }
        let lock = self.lock()?;
        let (folder, mut index) = self.begin(whose)?;
        if index.logs.get(trial).is_some_and(|known| *known > note) {
            return Ok(());
        }
        self.write(&archive::log_file(&folder, trial), &(self.redact)(log))?;
        index.logs.insert(trial.to_owned(), note);
        index.kept = Timestamp::now();
        self.write_index(&folder, &index)?;
        if self.slack.load(Ordering::Relaxed) <= 0 {
            self.bound(&folder)?;
        }
        drop(lock);
        Ok(())
    }

    /// Notes that an experiment is gone, or that it is there after all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn mark(&self, whose: &Whose, gone: bool) -> Result<(), Error> {
        let lock = self.lock()?;
        let folder = self.place(whose);
        if let Some(mut index) = read_index(&folder)
            && index.gone.is_some() != gone
        {
            index.gone = gone.then(Timestamp::now);
            self.write_index(&folder, &index)?;
        }
        drop(lock);
        Ok(())
    }

    /// Frees what is kept of an experiment.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, entry: &Entry) -> Result<(), Error> {
        let lock = self.lock()?;
        self.take_away(&entry.folder)?;
        drop(lock);
        Ok(())
    }

    fn place(&self, whose: &Whose) -> PathBuf {
        let name = format!("{}.{}", component(&whose.name), component(whose.id()));
        self.folder
            .join(component(&whose.cluster))
            .join(component(&whose.namespace))
            .join(name)
    }

    /// One writer at a time; let go of when it is dropped, also when this process is killed.
    fn lock(&self) -> Result<File, Error> {
        home::private_dir(&self.folder)?;
        let path = self.folder.join(LOCK);
        let opened = File::options().create(true).append(true).open(&path);
        opened
            .and_then(|lock| lock.lock().map(|()| lock))
            .map_err(|source| Error::File { path, source })
    }

    /// The folder of an experiment with its index, which comes first: by it a folder is known for one of ours.
    fn begin(&self, whose: &Whose) -> Result<(PathBuf, Index), Error> {
        let folder = self.place(whose);
        if let Some(index) = read_index(&folder) {
            return Ok((folder, index));
        }
        let mut parent = self.folder.clone();
        for part in folder.strip_prefix(&self.folder).into_iter().flatten() {
            parent.push(part);
            home::private_dir(&parent)?;
        }
        home::private_dir(&archive::log_folder(&folder))?;
        let index = Index::new(whose);
        self.write_index(&folder, &index)?;
        Ok((folder, index))
    }

    fn write_index(&self, folder: &Path, index: &Index) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(index).unwrap_or_default();
        self.write(&folder.join(INDEX), &text)
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), Error> {
        let is_same = std::fs::metadata(path).is_ok_and(|known| known.len() == text.len() as u64)
            && std::fs::read(path).is_ok_and(|known| known == text.as_bytes());
        if is_same {
            return Ok(());
        }
        let written = i64::try_from(text.len()).unwrap_or(i64::MAX);
        self.slack.fetch_sub(written, Ordering::Relaxed);
        file::replace(path, text.as_bytes(), 0o600).map_err(|source| Error::File {
            path: path.to_owned(),
            source,
        })
    }

    /// Frees what is above the limit: the experiments kept longest ago, and of the one that was just written
    /// the oldest logs.
    fn bound(&self, current: &Path) -> Result<(), Error> {
        for left in below_all(&self.folder).filter(|path| is_leftover(path)) {
            let _ = std::fs::remove_dir_all(left);
        }
        let entries = self.list();
        let mut total: u64 = entries.iter().map(|entry| entry.size).sum();
        for entry in entries.iter().rev() {
            if total <= self.limit {
                break;
            }
            if entry.folder != current {
                self.take_away(&entry.folder)?;
                total = total.saturating_sub(entry.size);
            }
        }
        if total > self.limit
            && let Some(entry) = entries.iter().find(|entry| entry.folder == current)
        {
            total = self.thin_out(entry, total)?;
        }
        // Others write too, so it is measured again well before it can be full.
        let slack = self.limit.saturating_sub(total) / 8;
        self.slack
            .store(i64::try_from(slack).unwrap_or(i64::MAX), Ordering::Relaxed);
        Ok(())
    }

    /// Drops the oldest logs of an experiment, and then its metrics, until the total is within the limit.
    fn thin_out(&self, entry: &Entry, mut total: u64) -> Result<u64, Error> {
        let mut index = entry.index.clone();
        let mut logs: Vec<(LogNote, String)> = index
            .logs
            .iter()
            .map(|(trial, note)| (note.clone(), trial.clone()))
            .collect();
        logs.sort();
        let logs = logs
            .into_iter()
            .map(|(_, trial)| (entry.log(&trial), Some(trial)));
        let metrics = std::iter::once((archive::metrics_file(&entry.folder), None));
        for (path, trial) in logs.chain(metrics) {
            if total <= self.limit {
                break;
            }
            let length = std::fs::metadata(&path).map_or(0, |file| file.len());
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    total = total.saturating_sub(length);
                    index.dropped += 1;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::File { path, source }),
            }
            if let Some(trial) = trial {
                index.logs.remove(&trial);
            }
        }
        self.write_index(&entry.folder, &index)?;
        Ok(total)
    }

    /// Removes a folder so that nobody meets a part of it.
    fn take_away(&self, folder: &Path) -> Result<(), Error> {
        let failed = |source| Error::File {
            path: folder.to_owned(),
            source,
        };
        let aside = tempfile::Builder::new()
            .prefix(REMOVED)
            .tempdir_in(&self.folder)
            .map_err(failed)?;
        match std::fs::rename(folder, aside.path().join("entry")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => {}
        }
        aside.close().map_err(failed)?;
        // Folders that are empty now; others stay.
        for parent in folder.ancestors().skip(1).take(2) {
            if std::fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// What a look at the cluster says of what is kept.
#[derive(Debug, Default)]
pub struct Gone {
    /// Experiments that are gone, that made last first.
    pub entries: Vec<Entry>,
    /// Why the cluster could not be asked.
    pub unsure: Option<String>,
}

/// The kept experiments of a cluster that are gone. The cluster is asked which are still there; where it
/// does not answer, those count that are known to be gone.
pub async fn gone(store: &Store, cluster: &Cluster, scope: &Scope) -> Gone {
    let mut entries = store.list_of(&identity(cluster), scope.namespace());
    let mut unsure = None;
    if !entries.is_empty() {
        match alive(cluster, scope).await {
            Ok(alive) => {
                for entry in &mut entries {
                    let is_gone = !alive.contains(&entry.index.whose.uid);
                    if entry.index.gone.is_some() != is_gone {
                        entry.index.gone = is_gone.then(Timestamp::now);
                        let _ = store.mark(&entry.index.whose, is_gone);
                    }
                }
            }
            Err(error) => unsure = Some(error.to_string()),
        }
    }
    entries.retain(|entry| entry.index.gone.is_some());
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.index.created));
    Gone { entries, unsure }
}

/// The uids of the experiments that there are.
async fn alive(cluster: &Cluster, scope: &Scope) -> cluster::Result<HashSet<String>> {
    let api = held::api::<held::Experiment>(cluster, scope);
    let found = api
        .list_metadata(&ListParams::default())
        .await
        .map_err(|error| {
            cluster::Error::from_kube(
                error,
                &held::action::<held::Experiment>(cluster, "list", scope),
            )
        })?;
    Ok(found
        .items
        .into_iter()
        .filter_map(|object| object.metadata.uid)
        .collect())
}

fn read_index(folder: &Path) -> Option<Index> {
    serde_json::from_slice(&std::fs::read(folder.join(INDEX)).ok()?).ok()
}

/// The folders below a folder; links are not followed.
fn below(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    below_all(folder).filter(|path| !is_leftover(path))
}

fn below_all(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
}

fn is_leftover(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(REMOVED))
}

fn size(folder: &Path) -> u64 {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.metadata().ok())
        .filter(|data| data.is_file())
        .map(|data| data.len())
        .sum()
}

/// Whether a name can be that of a file; all that Kubernetes gives are.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && component(name) == name
}

/// A text as the name of a file.
fn component(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    let text: String = text
        .chars()
        .take(200)
        .map(|c| if plain(c) { c } else { '-' })
        .collect();
    match text.strip_prefix('.') {
        Some(rest) => format!("-{rest}"),
        None => text,
    }
}

#[cfg(test)]
mod tests;
