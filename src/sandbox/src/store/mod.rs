//! The durable store: an append-only table of revisions in SQLite, the current objects in
//! memory, and what changed lately for watches.
//!
//! One thread writes. It takes what has queued up, puts it into one transaction, and answers
//! when the transaction is on the disk (`synchronous = FULL`), so that an acknowledged write
//! survives `kill -9` and a power cut, and many writers share one fsync. A revision is the row's
//! number, shared by all kinds, and is what clients see as `resourceVersion`.
//!
//! Lists and gets read memory and never wait for the disk. A watch reads a ring of recent
//! changes of its kind; what the ring has dropped comes from SQL; what compaction has dropped is
//! [`ReadError::TooOld`], which the API answers with 410.

mod entry;
mod schema;
mod writer;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::Write as _;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc,
};

use tokio::sync::{oneshot, watch};

pub use entry::{Change, ChangeKind, Entry, Meta, OwnerReference, encode};
pub use writer::{Expect, Guard, Op, Write, WriteError, Written};

/// Why the store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process holds the lock.
    #[error("the state directory {0} is in use by another sandbox")]
    InUse(PathBuf),
    /// A file or directory cannot be made or opened.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite refused the file.
    #[error("cannot open the store {path}: {source}")]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is damaged.
    #[error("the store {path} is damaged: {problem}")]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// The first problem the check found.
        problem: String,
    },
    /// The file was written by a newer version.
    #[error("the store {path} has schema version {found}, this program knows up to {known}")]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known.
        known: i64,
    },
}

impl OpenError {
    fn sqlite(path: &Path, source: rusqlite::Error) -> OpenError {
        let path = path.to_owned();
        match source {
            // A row that is not what was written.
            rusqlite::Error::FromSqlConversionFailure(_, _, problem) => OpenError::Damaged {
                path,
                problem: problem.to_string(),
            },
            source => OpenError::Sqlite { path, source },
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            OpenError::InUse(_) => "use the running sandbox, or stop it with `katlab sandbox down`".into(),
            OpenError::Io { .. } => "check that KATLAB_HOME names a directory you can write to".into(),
            OpenError::Sqlite { source, .. }
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) =>
            {
                "free some space on its disk and start again; nothing in it is lost".into()
            }
            OpenError::Sqlite { .. } | OpenError::Damaged { .. } => {
                "`katlab sandbox reset` starts with an empty store; copy the directory first if its contents matter".into()
            }
            OpenError::TooNew { .. } => "use the newer katlab, or start afresh with `katlab sandbox reset`".into(),
        })
    }
}

/// Why history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The revision has been compacted away.
    #[error("too old resource version: {asked} ({oldest})")]
    TooOld {
        /// The revision asked for.
        asked: u64,
        /// The oldest revision that can be read.
        oldest: u64,
    },
    /// SQLite failed.
    #[error("cannot read the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// How much history the store keeps.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Changes of one kind kept in memory.
    pub ring_changes: usize,
    /// Bytes of changes of one kind kept in memory.
    pub ring_bytes: usize,
    /// Revisions kept in the database, whatever their age.
    pub min_revisions: u64,
    /// Revisions beyond which history is compacted even if young.
    pub max_revisions: u64,
    /// How long history is kept.
    pub age: std::time::Duration,
    /// How often compaction is considered.
    pub interval: std::time::Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Retention {
            ring_changes: 4096,
            ring_bytes: 4 << 20,
            min_revisions: 1000,
            max_revisions: 100_000,
            age: std::time::Duration::from_secs(300),
            interval: std::time::Duration::from_secs(30),
        }
    }
}

/// Changes read from the database at once, so that a watch that comes from far back does not
/// hold all of history in memory.
const TAKEN_AT_ONCE: usize = 512;

#[derive(Debug)]
struct Shard {
    current: BTreeMap<Arc<str>, Arc<Entry>>,
    ring: VecDeque<Arc<Change>>,
    ring_bytes: usize,
    /// Every change with a revision above this is in the ring.
    ring_floor: u64,
    changed: watch::Sender<u64>,
}

impl Shard {
    /// The objects as they were at a revision that the ring reaches back to: what changed since
    /// is taken back.
    fn at(&self, revision: u64, namespace: Option<&str>) -> Vec<Arc<Entry>> {
        let mut entries: BTreeMap<&Arc<str>, &Arc<Entry>> = self
            .of(namespace)
            .map(|entry| (entry.path(), entry))
            .collect();
        let since = self.ring.partition_point(|c| c.revision <= revision);
        for change in self.ring.range(since..).rev() {
            let path = change.entry.path();
            if namespace.is_some_and(|ns| !is_in(path, ns)) {
                continue;
            }
            match &change.previous {
                Some(previous) => entries.insert(path, previous),
                None => entries.remove(path),
            };
        }
        entries.into_values().cloned().collect()
    }

    fn of<'a>(&'a self, namespace: Option<&str>) -> Box<dyn Iterator<Item = &'a Arc<Entry>> + 'a> {
        match namespace {
            Some(namespace) => Box::new(in_namespace(&self.current, namespace)),
            None => Box::new(self.current.values()),
        }
    }
}

fn is_in(path: &str, namespace: &str) -> bool {
    path.strip_prefix(namespace)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// Where an object is.
type Place = (&'static str, Arc<str>);

#[derive(Debug)]
struct State {
    revision: u64,
    compacted: u64,
    shards: HashMap<&'static str, Shard>,
    /// What names an owner, by the owner's uid. Kept with the objects, so that whoever lets an
    /// owner go overlooks nobody.
    dependents: HashMap<String, HashSet<Place>>,
}

impl State {
    fn tie(&mut self, place: &Place, before: Option<&Entry>, now: Option<&Entry>) {
        let owners = |entry: Option<&Entry>| {
            let owners = entry.map(|e| e.meta().owner_references.as_slice());
            owners.unwrap_or_default().to_vec()
        };
        for owner in owners(before) {
            if let Some(set) = self.dependents.get_mut(&owner.uid) {
                set.remove(place);
                if set.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        for owner in owners(now) {
            let set = self.dependents.entry(owner.uid).or_default();
            set.insert(place.clone());
        }
    }
}

#[derive(Debug)]
struct Shared {
    state: RwLock<State>,
    retention: Retention,
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The open store. Cheap to clone; the last clone to go closes it.
#[derive(Debug, Clone)]
pub struct Store {
    shared: Arc<Shared>,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Mutex<Option<mpsc::Sender<writer::Job>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    history: Mutex<rusqlite::Connection>,
    // Last: whoever opens the store next finds it closed.
    _lock: Lock,
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(lock(&self.queue).take());
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}

/// The lock on the state directory.
#[derive(Debug)]
struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // A program that this process starts holds its files as well until it runs, and a closed
        // handle would leave the lock with that one.
        let _ = self.0.unlock();
    }
}

/// Takes the lock. Whoever only asks whether it is held shares it for an instant; that is waited
/// for, an owner is not.
fn exclusively(file: &File) -> Result<(), std::fs::TryLockError> {
    loop {
        match file.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => {
                file.try_lock_shared()?;
                file.unlock().map_err(std::fs::TryLockError::Error)?;
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            taken => return taken,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A page of objects and the revision it is of.
#[derive(Debug, Clone)]
pub struct Page {
    /// The objects, ordered by path.
    pub entries: Vec<Arc<Entry>>,
    /// The store's revision at which this was read.
    pub revision: u64,
}

impl Store {
    /// Opens or makes the store in a directory, for the given storages.
    pub fn open(
        dir: &Path,
        storages: impl IntoIterator<Item = &'static str>,
        retention: Retention,
    ) -> Result<Store, OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        std::fs::create_dir_all(dir).map_err(io(dir))?;
        let lock_path = dir.join("store.lock");
        let lock_file = schema::private_file(&lock_path).map_err(io(&lock_path))?;
        exclusively(&lock_file).map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => OpenError::InUse(dir.to_owned()),
            std::fs::TryLockError::Error(source) => OpenError::Io {
                path: lock_path.clone(),
                source,
            },
        })?;
        // From here on given up whatever fails.
        let held = Lock(lock_file);
        // Signed, so that others know whom to signal.
        let pid = std::process::id().to_string();
        let mut writer = &held.0;
        held.0
            .set_len(0)
            .and_then(|()| writer.write_all(pid.as_bytes()))
            .map_err(io(&lock_path))?;
        let path = dir.join("store.db");
        let db = schema::open(&path)?;
        let sqlite = |source| OpenError::sqlite(&path, source);
        let loaded = schema::load(&db).map_err(sqlite)?;
        let history = schema::open_reader(&path).map_err(sqlite)?;

        let mut shards: HashMap<&'static str, Shard> = storages
            .into_iter()
            .map(|storage| {
                let shard = Shard {
                    current: BTreeMap::new(),
                    ring: VecDeque::new(),
                    ring_bytes: 0,
                    ring_floor: loaded.revision,
                    changed: watch::channel(loaded.revision).0,
                };
                (storage, shard)
            })
            .collect();
        let mut state = State {
            revision: loaded.revision,
            compacted: loaded.compacted,
            shards: HashMap::new(),
            dependents: HashMap::new(),
        };
        for (storage, entry) in loaded.entries {
            let Some((&storage, _)) = shards.get_key_value(storage.as_str()) else {
                tracing::warn!(storage, path = %entry.path(), "stored object of an unknown kind");
                continue;
            };
            state.tie(&(storage, entry.path().clone()), None, Some(&entry));
            if let Some(shard) = shards.get_mut(storage) {
                shard.current.insert(entry.path().clone(), Arc::new(entry));
            }
        }
        state.shards = shards;
        let shared = Arc::new(Shared {
            state: RwLock::new(state),
            retention,
        });
        let (queue, jobs) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn({
                let shared = shared.clone();
                move || writer::run(db, &jobs, &shared)
            })
            .map_err(io(&path))?;
        Ok(Store {
            shared,
            inner: Arc::new(Inner {
                queue: Mutex::new(Some(queue)),
                thread: Mutex::new(Some(thread)),
                history: Mutex::new(history),
                _lock: held,
            }),
        })
    }

    /// The revision of the last write.
    pub fn revision(&self) -> u64 {
        self.shared.read().revision
    }

    /// How many objects a storage holds.
    pub fn count(&self, storage: &str) -> usize {
        self.shared
            .read()
            .shards
            .get(storage)
            .map_or(0, |s| s.current.len())
    }

    /// One object, as it is now.
    pub fn get(&self, storage: &str, path: &str) -> Option<Arc<Entry>> {
        self.shared
            .read()
            .shards
            .get(storage)?
            .current
            .get(path)
            .cloned()
    }

    /// The objects that name an owner, by the owner's uid, with their storages.
    pub fn dependents(&self, uid: &str) -> Vec<(&'static str, Arc<Entry>)> {
        let state = self.shared.read();
        let places = state.dependents.get(uid).into_iter().flatten();
        places
            .filter_map(|(storage, path)| {
                let entry = state.shards.get(storage)?.current.get(path)?;
                Some((*storage, entry.clone()))
            })
            .collect()
    }

    /// The objects of a storage, of one namespace or all, ordered by path, and the revision.
    pub fn list(&self, storage: &str, namespace: Option<&str>) -> Page {
        let state = self.shared.read();
        let shard = state.shards.get(storage);
        let entries = shard.map_or_else(Vec::new, |s| s.of(namespace).cloned().collect());
        Page {
            entries,
            revision: state.revision,
        }
    }

    /// The objects as they were at a revision.
    pub fn list_at(
        &self,
        storage: &'static str,
        namespace: Option<&str>,
        revision: u64,
    ) -> Result<Page, ReadError> {
        {
            let state = self.shared.read();
            if revision < state.compacted {
                return Err(ReadError::TooOld {
                    asked: revision,
                    oldest: state.compacted,
                });
            }
            if let Some(shard) = state.shards.get(storage)
                && revision >= shard.ring_floor
            {
                let entries = shard.at(revision, namespace);
                return Ok(Page { entries, revision });
            }
        }
        let entries = schema::list_at(&lock(&self.inner.history), storage, namespace, revision)?;
        Ok(Page { entries, revision })
    }

    /// Writes, and answers when it is on the disk.
    pub async fn write(&self, write: Write) -> Result<Written, WriteError> {
        let (answer, answered) = oneshot::channel();
        {
            let queue = lock(&self.inner.queue);
            let Some(queue) = queue.as_ref() else {
                return Err(WriteError::Closed);
            };
            queue
                .send(writer::Job { write, answer })
                .map_err(|_| WriteError::Closed)?;
        }
        answered.await.unwrap_or(Err(WriteError::Closed))
    }

    /// A feed of a storage's changes after a revision.
    pub fn feed(&self, storage: &'static str, after: u64) -> Option<Feed> {
        let changed = self.shared.read().shards.get(storage)?.changed.subscribe();
        Some(Feed {
            store: self.clone(),
            storage,
            position: after,
            changed,
        })
    }

    fn changes_after(
        &self,
        storage: &'static str,
        after: u64,
    ) -> Result<(Vec<Arc<Change>>, u64), ReadError> {
        let revision = {
            let state = self.shared.read();
            let revision = state.revision;
            if after < state.compacted {
                return Err(ReadError::TooOld {
                    asked: after,
                    oldest: state.compacted,
                });
            }
            let Some(shard) = state.shards.get(storage) else {
                return Ok((Vec::new(), revision));
            };
            if after >= shard.ring_floor {
                let start = shard.ring.partition_point(|c| c.revision <= after);
                return Ok((shard.ring.range(start..).cloned().collect(), revision));
            }
            revision
        };
        // The ring has dropped some. Commits reach the database before they are published, so
        // it holds everything up to the revision just read.
        let changes =
            schema::changes_after(&lock(&self.inner.history), storage, after, TAKEN_AT_ONCE)?;
        let compacted = self.shared.read().compacted;
        if after < compacted {
            return Err(ReadError::TooOld {
                asked: after,
                oldest: compacted,
            });
        }
        let end = match changes.last() {
            Some(last) if changes.len() == TAKEN_AT_ONCE => last.revision,
            Some(last) => last.revision.max(revision),
            None => revision,
        };
        Ok((changes, end))
    }
}

fn in_namespace<'a>(
    map: &'a BTreeMap<Arc<str>, Arc<Entry>>,
    namespace: &str,
) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
    let prefix = format!("{namespace}/");
    map.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded))
        .take_while({
            let prefix = prefix.clone();
            move |(path, _)| path.starts_with(&prefix)
        })
        .map(|(_, entry)| entry)
}

/// Changes of one storage from a revision on, each exactly once and in order.
#[derive(Debug)]
pub struct Feed {
    store: Store,
    storage: &'static str,
    position: u64,
    changed: watch::Receiver<u64>,
}

impl Feed {
    /// What has changed since the last call, without waiting, and the store's revision up to
    /// which that is complete. Much that lies far back comes in parts.
    pub fn take(&mut self) -> Result<(Vec<Arc<Change>>, u64), ReadError> {
        self.changed.mark_unchanged();
        let (changes, revision) = self.store.changes_after(self.storage, self.position)?;
        self.position = self.position.max(revision);
        Ok((changes, revision))
    }

    /// Waits until there may be something to take. Never returns an error while the store lives.
    pub async fn changed(&mut self) -> bool {
        if *self.changed.borrow() > self.position {
            return true;
        }
        self.changed.changed().await.is_ok()
    }
}

#[cfg(test)]
mod tests;
