//! The one thread that writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use rusqlite::{Connection, ErrorCode, TransactionBehavior, ffi, params};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{Change, ChangeKind, Entry, Shared, State, encode, in_namespace, schema};

/// The most writes that share one transaction.
const BATCH: usize = 256;

/// The largest object. A body has its own limit; this ends what many patches add up to.
const LARGEST: usize = 4 << 20;

/// What the object must be for the write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// It must not exist.
    Absent,
    /// It must be at this very revision.
    Revision(u64),
}

/// What to do with the object.
#[derive(Debug)]
pub enum Op {
    /// Store it. The revision goes into `metadata.resourceVersion`.
    Put(Box<Value>),
    /// Remove it.
    Delete,
}

/// A condition on other objects, true at the very moment of the write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// This object exists.
    Exists {
        /// Its storage.
        storage: &'static str,
        /// Its path.
        path: String,
    },
    /// Nothing is left in this namespace.
    NamespaceEmpty(String),
}

/// One write.
#[derive(Debug)]
pub struct Write {
    /// The storage.
    pub storage: &'static str,
    /// `namespace/name` or name.
    pub path: String,
    /// What must hold of the object.
    pub expect: Expect,
    /// What must hold besides.
    pub guards: Vec<Guard>,
    /// What to do.
    pub op: Op,
}

/// The object after the write; after a deletion its last state.
#[derive(Debug, Clone)]
pub struct Written {
    /// The entry.
    pub entry: Arc<Entry>,
}

/// Why a write did not happen.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The object is not what was expected; here is what it is.
    #[error("the object has changed")]
    Conflict(Option<Arc<Entry>>),
    /// A guard did not hold.
    #[error("a condition of the write does not hold: {0:?}")]
    Guard(Guard),
    /// The object is larger than the store keeps.
    #[error("the object is larger than {LARGEST} bytes")]
    TooLarge,
    /// There is no space left for the store's files; nothing of the batch was stored.
    #[error("the disk of the store is full")]
    Full,
    /// The disk or the database refused; nothing of the batch was stored.
    #[error("cannot write to the store: {0}")]
    Storage(String),
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error().map(|e| (e.code, e.extended_code)) {
            // The file that indexes the log has to grow too.
            Some((ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE)) => WriteError::Full,
            _ => WriteError::Storage(error.to_string()),
        }
    }
}

#[derive(Debug)]
pub(super) struct Job {
    pub write: Write,
    pub answer: oneshot::Sender<Result<Written, WriteError>>,
}

pub(super) fn run(mut db: Connection, jobs: &Receiver<Job>, shared: &Shared) {
    let retention = shared.retention.clone();
    let mut marks: Vec<(Instant, u64)> = vec![(Instant::now(), shared.read().revision)];
    let mut considered = Instant::now();
    loop {
        let wait = retention.interval.saturating_sub(considered.elapsed());
        match jobs.recv_timeout(wait) {
            Ok(first) => {
                let mut batch = vec![first];
                while batch.len() < BATCH {
                    match jobs.try_recv() {
                        Ok(job) => batch.push(job),
                        Err(_) => break,
                    }
                }
                commit(&mut db, shared, batch);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if considered.elapsed() >= retention.interval {
            considered = Instant::now();
            compact(&mut db, shared, &mut marks);
        }
    }
    // Leaves one file behind instead of three; the data are safe either way.
    if let Err(error) = db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::debug!(%error, "no checkpoint at close");
    }
}

/// What the batch has changed so far, in front of the state that readers see.
struct Overlay<'a> {
    state: &'a State,
    changed: HashMap<(&'static str, String), Option<Arc<Entry>>>,
}

impl Overlay<'_> {
    fn get(&self, storage: &'static str, path: &str) -> Option<Arc<Entry>> {
        match self.changed.get(&(storage, path.to_owned())) {
            Some(entry) => entry.clone(),
            None => self.state.shards.get(storage)?.current.get(path).cloned(),
        }
    }

    fn holds(&self, guard: &Guard) -> bool {
        match guard {
            Guard::Exists { storage, path } => self.get(storage, path).is_some(),
            Guard::NamespaceEmpty(namespace) => {
                let prefix = format!("{namespace}/");
                let new = self
                    .changed
                    .iter()
                    .any(|((_, path), entry)| entry.is_some() && path.starts_with(&prefix));
                let old = self.state.shards.iter().any(|(storage, shard)| {
                    in_namespace(&shard.current, namespace)
                        .any(|e| self.get(storage, e.path()).is_some())
                });
                !new && !old
            }
        }
    }
}

fn commit(db: &mut Connection, shared: &Shared, batch: Vec<Job>) {
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut changes = Vec::new();
    let mut batch = batch.into_iter();
    let result = {
        let state = shared.read();
        let mut overlay = Overlay {
            state: &state,
            changed: HashMap::new(),
        };
        let mut revision = state.revision;
        let mut fill = || -> rusqlite::Result<()> {
            let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            {
                let mut insert = tx.prepare_cached(schema::INSERT)?;
                for job in batch.by_ref() {
                    let Job { write, answer } = job;
                    let storage = write.storage;
                    match plan(&overlay, write, revision + 1) {
                        Err(error) => outcomes.push((answer, Err(error))),
                        Ok(change) => {
                            revision += 1;
                            // Counts as taken before the insert, so that an error answers it too.
                            outcomes.push((
                                answer,
                                Ok(Written {
                                    entry: change.entry.clone(),
                                }),
                            ));
                            let entry = &change.entry;
                            let meta = entry.meta_range();
                            insert.execute(params![
                                revision as i64,
                                storage,
                                &**entry.path(),
                                entry.created as i64,
                                change.previous.as_ref().map_or(0, |p| p.revision as i64),
                                change.kind == ChangeKind::Deleted,
                                meta.start as i64,
                                meta.len() as i64,
                                &entry.json()[..],
                                schema::checksum(
                                    revision as i64,
                                    storage,
                                    entry.path(),
                                    entry.json()
                                ),
                            ])?;
                            let now = (change.kind != ChangeKind::Deleted).then(|| entry.clone());
                            overlay
                                .changed
                                .insert((storage, entry.path().to_string()), now);
                            changes.push((storage, Arc::new(change)));
                        }
                    }
                }
            }
            tx.commit()
        };
        fill().map(|()| revision)
    };
    match result {
        Ok(revision) => {
            if !changes.is_empty() {
                publish(shared, revision, changes);
            }
            for (answer, outcome) in outcomes {
                let _ = answer.send(outcome);
            }
        }
        Err(error) => {
            tracing::error!(%error, "a transaction failed, nothing of it was stored");
            let error = WriteError::from(error);
            // Refusals too: they may rest on writes of this batch that did not happen.
            let answers = outcomes.into_iter().map(|(answer, _)| answer);
            for answer in answers.chain(batch.map(|job| job.answer)) {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

fn plan(overlay: &Overlay<'_>, write: Write, revision: u64) -> Result<Change, WriteError> {
    let Write {
        storage,
        path,
        expect,
        guards,
        op,
    } = write;
    if !overlay.state.shards.contains_key(storage) {
        return Err(WriteError::Storage(format!("no storage named {storage}")));
    }
    let current = overlay.get(storage, &path);
    let as_expected = match (&current, expect) {
        (None, Expect::Absent) => true,
        (Some(entry), Expect::Revision(at)) => entry.revision == at,
        _ => false,
    };
    if !as_expected {
        return Err(WriteError::Conflict(current));
    }
    if let Some(broken) = guards.into_iter().find(|g| !overlay.holds(g)) {
        return Err(WriteError::Guard(broken));
    }
    let path: Arc<str> = match &current {
        Some(entry) => entry.path().clone(),
        None => Arc::from(path),
    };
    let (mut value, kind) = match (op, &current) {
        (Op::Put(value), None) => (*value, ChangeKind::Added),
        (Op::Put(value), Some(_)) => (*value, ChangeKind::Modified),
        (Op::Delete, Some(entry)) => (entry.value(), ChangeKind::Deleted),
        (Op::Delete, None) => return Err(WriteError::Conflict(None)),
    };
    let created = current.as_ref().map_or(revision, |e| e.created);
    let (bytes, meta) = encode(&mut value, revision);
    if kind != ChangeKind::Deleted && bytes.len() > LARGEST {
        return Err(WriteError::TooLarge);
    }
    Ok(Change {
        revision,
        kind,
        entry: Arc::new(Entry::new(path, revision, created, bytes, meta)),
        previous: current,
    })
}

fn publish(shared: &Shared, revision: u64, changes: Vec<(&'static str, Arc<Change>)>) {
    let retention = &shared.retention;
    let mut state = shared.write();
    state.revision = revision;
    let mut touched: HashMap<&'static str, u64> = HashMap::new();
    for (storage, change) in changes {
        let now = (change.kind != ChangeKind::Deleted).then_some(&*change.entry);
        let place = (storage, change.entry.path().clone());
        state.tie(&place, change.previous.as_deref(), now);
        let Some(shard) = state.shards.get_mut(storage) else {
            continue;
        };
        match change.kind {
            ChangeKind::Deleted => {
                shard.current.remove(change.entry.path());
            }
            _ => {
                shard
                    .current
                    .insert(change.entry.path().clone(), change.entry.clone());
            }
        }
        shard.ring_bytes += change.entry.json().len();
        touched.insert(storage, change.revision);
        shard.ring.push_back(change);
        while shard.ring.len() > retention.ring_changes
            || (shard.ring_bytes > retention.ring_bytes && shard.ring.len() > 1)
        {
            if let Some(dropped) = shard.ring.pop_front() {
                shard.ring_bytes -= dropped.entry.json().len();
                shard.ring_floor = dropped.revision;
            }
        }
    }
    for (storage, last) in touched {
        if let Some(shard) = state.shards.get(storage) {
            shard.changed.send_replace(last);
        }
    }
}

fn compact(db: &mut Connection, shared: &Shared, marks: &mut Vec<(Instant, u64)>) {
    let retention = &shared.retention;
    let (revision, compacted) = {
        let state = shared.read();
        (state.revision, state.compacted)
    };
    if marks.last().is_none_or(|(_, r)| *r != revision) {
        marks.push((Instant::now(), revision));
    }
    let old = marks
        .iter()
        .rposition(|(at, _)| at.elapsed() >= retention.age);
    let by_age = old.map_or(0, |i| marks[i].1);
    let by_count = revision.saturating_sub(retention.max_revisions);
    let target = by_age
        .max(by_count)
        .min(revision.saturating_sub(retention.min_revisions));
    if let Some(i) = old {
        marks.drain(..i);
    }
    if target <= compacted {
        return;
    }
    // Readers must refuse before the rows go.
    {
        let mut state = shared.write();
        state.compacted = target;
        for shard in state.shards.values_mut() {
            while shard.ring.front().is_some_and(|c| c.revision <= target) {
                if let Some(dropped) = shard.ring.pop_front() {
                    shard.ring_bytes -= dropped.entry.json().len();
                    shard.ring_floor = dropped.revision;
                }
            }
        }
    }
    match schema::compact(db, target, revision) {
        Ok(rows) => tracing::debug!(rows, upto = target, "compacted"),
        Err(error) => tracing::warn!(%error, "compaction failed; it is tried again"),
    }
}
