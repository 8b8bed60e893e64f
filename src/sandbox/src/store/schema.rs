//! The database file: its tables, its migrations, and the statements that read it.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, Row, Transaction, params};

use super::{Change, ChangeKind, Entry, OpenError};

type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// How a file of each schema version becomes one of the next; the last leads to the newest.
const MIGRATIONS: &[Step] = &[tables, checksums];

fn tables(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute_batch(
        "CREATE TABLE kv (
             revision INTEGER PRIMARY KEY,
             storage  TEXT    NOT NULL,
             path     TEXT    NOT NULL,
             created  INTEGER NOT NULL,
             previous INTEGER NOT NULL,
             deleted  INTEGER NOT NULL,
             meta_at  INTEGER NOT NULL,
             meta_len INTEGER NOT NULL,
             object   BLOB    NOT NULL
         );
         CREATE INDEX kv_path ON kv (storage, path, revision);
         CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
         INSERT INTO state VALUES ('compacted', 0), ('revision', 0);",
    )
}

/// SQLite's own check looks at the structure of a file, not at what the rows say.
fn checksums(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute_batch("ALTER TABLE kv ADD COLUMN sum INTEGER NOT NULL DEFAULT 0")?;
    let mut revisions = tx.prepare("SELECT revision FROM kv")?;
    let revisions = revisions
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<i64>>>()?;
    let mut read = tx.prepare("SELECT storage, path, object FROM kv WHERE revision = ?1")?;
    let mut write = tx.prepare("UPDATE kv SET sum = ?2 WHERE revision = ?1")?;
    for revision in revisions {
        let sum = read.query_row([revision], |row| {
            let (storage, path) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            Ok(checksum(
                revision,
                storage,
                path,
                row.get_ref(2)?.as_blob()?,
            ))
        })?;
        write.execute([revision, sum])?;
    }
    Ok(())
}

/// What a row is kept with, so that what was written is told from what a broken disk made of it.
pub(super) fn checksum(revision: i64, storage: &str, path: &str, object: &[u8]) -> i64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&revision.to_le_bytes());
    for text in [storage, path] {
        sum.update(text.as_bytes());
        sum.update(&[0]);
    }
    sum.update(object);
    sum.finalize().into()
}

/// A row that is not what was written.
#[derive(Debug, thiserror::Error)]
#[error("revision {0} does not have the checksum it was written with")]
struct Garbled(i64);

/// Opens or makes a file that only its owner can read.
pub(super) fn private_file(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// A file beside the database, as SQLite names those of its own.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    if !path.exists() {
        make(path)?;
    }
    let sqlite = |source| OpenError::sqlite(path, source);
    let damaged = |problem: &str| OpenError::Damaged {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    // SQLite takes an empty file for a new database.
    if std::fs::metadata(path).is_ok_and(|m| m.len() == 0) {
        return Err(damaged("the file is empty"));
    }
    let mut db = connect(path).map_err(sqlite)?;
    let problem: String = db
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(sqlite)?;
    if problem != "ok" {
        return Err(damaged(&problem));
    }
    migrate(&mut db, path)?;
    Ok(db)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    db.pragma_update(None, "journal_mode", "WAL")?;
    db.pragma_update(None, "synchronous", "FULL")?;
    Ok(db)
}

/// Makes the database aside and gives it its name when it is whole, so that a file of that name
/// is never one that was about to be made.
fn make(path: &Path) -> Result<(), OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    let log = beside(path, "-wal");
    if log.exists() {
        return Err(OpenError::Damaged {
            path: path.to_owned(),
            problem: format!("the file is missing, its log {} is there", log.display()),
        });
    }
    let new = beside(path, ".new");
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::remove_file(beside(&new, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(&new)(error));
            }
            _ => {}
        }
    }
    private_file(&new).map_err(io(&new))?;
    let sqlite = |source| OpenError::sqlite(&new, source);
    let mut db = connect(&new).map_err(sqlite)?;
    migrate(&mut db, &new)?;
    // The last connection to close moves the log into the file and syncs it.
    db.close().map_err(|(_, source)| sqlite(source))?;
    std::fs::rename(&new, path).map_err(io(path))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io(dir))
}

fn migrate(db: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::sqlite(path, source);
    let known = MIGRATIONS.len() as i64;
    let found: i64 = db
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(sqlite)?;
    if found > known {
        return Err(OpenError::TooNew {
            path: path.to_owned(),
            found,
            known,
        });
    }
    for (index, step) in MIGRATIONS.iter().enumerate().skip(found.max(0) as usize) {
        let tx = db.transaction().map_err(sqlite)?;
        step(&tx).map_err(sqlite)?;
        tx.pragma_update(None, "user_version", index as i64 + 1)
            .map_err(sqlite)?;
        tx.commit().map_err(sqlite)?;
    }
    Ok(())
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(db)
}

pub(super) struct Loaded {
    pub revision: u64,
    pub compacted: u64,
    pub entries: Vec<(String, Entry)>,
}

const COLUMNS: &str = "revision, path, created, meta_at, meta_len, object, storage, sum";

fn entry(row: &Row<'_>, first: usize) -> rusqlite::Result<Entry> {
    let revision: i64 = row.get(first)?;
    let path: String = row.get(first + 1)?;
    let created: i64 = row.get(first + 2)?;
    let at: i64 = row.get(first + 3)?;
    let len: i64 = row.get(first + 4)?;
    let object: Vec<u8> = row.get(first + 5)?;
    let storage = row.get_ref(first + 6)?.as_str()?;
    let sum: i64 = row.get(first + 7)?;
    if checksum(revision, storage, &path, &object) != sum {
        let garbled = Box::new(Garbled(revision));
        let error = rusqlite::Error::FromSqlConversionFailure(first + 5, Type::Blob, garbled);
        return Err(error);
    }
    let start = (at.max(0) as usize).min(object.len());
    let end = (start + len.max(0) as usize).min(object.len());
    Ok(Entry::new(
        Arc::from(path),
        revision as u64,
        created as u64,
        Bytes::from(object),
        start..end,
    ))
}

pub(super) fn load(db: &Connection) -> rusqlite::Result<Loaded> {
    let state = |name: &str| -> rusqlite::Result<i64> {
        db.query_row("SELECT value FROM state WHERE name = ?1", [name], |row| {
            row.get(0)
        })
    };
    let compacted = state("compacted")?;
    // Compaction may remove the newest row (a deletion), so the number is kept apart too.
    let newest: Option<i64> = db.query_row("SELECT max(revision) FROM kv", [], |row| row.get(0))?;
    let revision = newest.unwrap_or(0).max(state("revision")?);
    let mut statement = db.prepare(&format!(
        "SELECT storage, {COLUMNS} FROM kv AS k WHERE deleted = 0 AND NOT EXISTS (
             SELECT 1 FROM kv AS n
             WHERE n.storage = k.storage AND n.path = k.path AND n.revision > k.revision)"
    ))?;
    let entries = statement
        .query_map([], |row| Ok((row.get::<_, String>(0)?, entry(row, 1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(Loaded {
        revision: revision as u64,
        compacted: compacted as u64,
        entries,
    })
}

pub(super) fn list_at(
    db: &Connection,
    storage: &str,
    namespace: Option<&str>,
    revision: u64,
) -> rusqlite::Result<Vec<Arc<Entry>>> {
    // `0` follows `/` in ASCII, so this range is exactly the paths below the namespace.
    let (from, to) = match namespace {
        Some(ns) => (format!("{ns}/"), format!("{ns}0")),
        None => (String::new(), "\u{10ffff}".to_owned()),
    };
    let mut statement = db.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM kv AS k
         WHERE storage = ?1 AND path >= ?2 AND path < ?3 AND revision <= ?4 AND deleted = 0
           AND NOT EXISTS (SELECT 1 FROM kv AS n WHERE n.storage = k.storage AND n.path = k.path
                           AND n.revision > k.revision AND n.revision <= ?4)
         ORDER BY path"
    ))?;
    statement
        .query_map(params![storage, from, to, revision as i64], |row| {
            Ok(Arc::new(entry(row, 0)?))
        })?
        .collect()
}

pub(super) fn changes_after(
    db: &Connection,
    storage: &str,
    after: u64,
    limit: usize,
) -> rusqlite::Result<Vec<Arc<Change>>> {
    let mut statement = db.prepare_cached(&format!(
        "SELECT deleted, previous, {COLUMNS} FROM kv WHERE storage = ?1 AND revision > ?2
         ORDER BY revision LIMIT ?3"
    ))?;
    let mut before = db.prepare_cached(&format!("SELECT {COLUMNS} FROM kv WHERE revision = ?1"))?;
    let rows = statement
        .query_map(params![storage, after as i64, limit as i64], |row| {
            Ok((
                row.get::<_, bool>(0)?,
                row.get::<_, i64>(1)?,
                entry(row, 2)?,
            ))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut changes = Vec::with_capacity(rows.len());
    for (deleted, previous, entry_after) in rows {
        let previous = if previous > 0 {
            before
                .query_map([previous], |row| entry(row, 0))?
                .next()
                .transpose()?
                .map(Arc::new)
        } else {
            None
        };
        let kind = if deleted {
            ChangeKind::Deleted
        } else if entry_after.created == entry_after.revision {
            ChangeKind::Added
        } else {
            ChangeKind::Modified
        };
        changes.push(Arc::new(Change {
            revision: entry_after.revision,
            kind,
            entry: Arc::new(entry_after),
            previous,
        }));
    }
    Ok(changes)
}

/// Drops what nobody can ask for any more when history before `upto` is given up.
pub(super) fn compact(db: &mut Connection, upto: u64, revision: u64) -> rusqlite::Result<usize> {
    let tx = db.transaction()?;
    let dropped = tx.execute(
        "DELETE FROM kv WHERE revision <= ?1 AND (deleted = 1 OR EXISTS (
             SELECT 1 FROM kv AS n WHERE n.storage = kv.storage AND n.path = kv.path
             AND n.revision > kv.revision AND n.revision <= ?1))",
        [upto as i64],
    )?;
    tx.execute(
        "UPDATE state SET value = ?1 WHERE name = 'compacted'",
        [upto as i64],
    )?;
    tx.execute(
        "UPDATE state SET value = ?1 WHERE name = 'revision'",
        [revision as i64],
    )?;
    tx.commit()?;
    Ok(dropped)
}

pub(super) const INSERT: &str = "INSERT INTO kv
    (revision, storage, path, created, previous, deleted, meta_at, meta_len, object, sum)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
