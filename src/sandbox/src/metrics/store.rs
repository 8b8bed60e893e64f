//! The rows of the observation log, durable before they are acknowledged.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::error::Error;

/// One value of one metric of one trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// When it was measured; year 1 where the trial's output did not say. Kept to microseconds.
    pub time: Timestamp,
    /// The metric's name.
    pub metric: String,
    /// The value as it was written: also `""`, `nan` and `unavailable` are values.
    pub value: String,
}

/// Which rows to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this metric.
    pub metric: Option<String>,
    /// Not before this moment.
    pub start: Option<Timestamp>,
    /// Not after this moment.
    pub end: Option<Timestamp>,
}

/// The observation log in a SQLite file. Clones share it.
///
/// A row belongs to a namespace and a trial. Katib's gRPC interface names trials only; rows that come
/// that way have the empty namespace, and are found by every reader who asks for the trial.
#[derive(Clone, Debug)]
pub struct ObservationStore {
    connection: Arc<Mutex<Connection>>,
}

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS observation_logs (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    trial TEXT NOT NULL,
    time INTEGER NOT NULL,
    metric TEXT NOT NULL,
    value TEXT NOT NULL,
    source TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS observation_logs_by_trial ON observation_logs (trial, namespace);
CREATE TABLE IF NOT EXISTS sources (
    namespace TEXT NOT NULL,
    trial TEXT NOT NULL,
    source TEXT NOT NULL,
    taken INTEGER NOT NULL,
    PRIMARY KEY (namespace, trial, source)
) STRICT, WITHOUT ROWID;
DELETE FROM sources WHERE taken < 0; -- the process that they were for has ended
DROP TABLE IF EXISTS collections;
";
/// What an earlier version's table lacks.
const SOURCE_COLUMN: &str =
    "ALTER TABLE observation_logs ADD COLUMN source TEXT NOT NULL DEFAULT ''";

impl ObservationStore {
    /// Opens the file, or makes it.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let owned = path.to_owned();
        let connection = tokio::task::spawn_blocking(move || Self::connect(&owned))
            .await
            .map_err(|_| Error::Interrupted)?
            .map_err(|source| Error::Open {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            connection: Arc::new(Mutex::new(connection)),
        })
    }

    fn connect(path: &Path) -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // FULL: what was acknowledged survives a power cut, not only a killed process.
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(SCHEMA)?;
        let has_source = connection
            .prepare("SELECT 1 FROM pragma_table_info('observation_logs') WHERE name = 'source'")?
            .exists([])?;
        if !has_source {
            connection.execute(SOURCE_COLUMN, [])?;
        }
        Ok(connection)
    }

    async fn with<T: Send + 'static>(
        &self,
        action: &'static str,
        namespace: &str,
        trial: &str,
        work: impl FnOnce(&mut Connection, &str, &str) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let connection = self.connection.clone();
        let (namespace, trial) = (namespace.to_owned(), trial.to_owned());
        tokio::task::spawn_blocking(move || {
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection, &namespace, &trial).map_err(|source| Error::Query {
                action,
                namespace,
                trial,
                source,
            })
        })
        .await
        .map_err(|_| Error::Interrupted)?
    }

    /// Adds rows. Nothing is overwritten: the same row reported twice is there twice, as in Katib.
    pub async fn report(&self, namespace: &str, trial: &str, rows: Vec<Row>) -> Result<(), Error> {
        self.with(
            "report",
            namespace,
            trial,
            move |connection, namespace, trial| {
                let transaction = connection.transaction()?;
                insert(&transaction, namespace, trial, "", &rows)?;
                transaction.commit()
            },
        )
        .await
    }

    /// Adds the rows read from `source` (a container's id), of which `first` is the number of the first
    /// one, counted from 0. Rows that were taken in before are left out, so a source may be read again
    /// from its beginning: after a restart, and when it has come to its end. Nothing is taken in for a
    /// trial, by its `uid`, that was forgotten. Tells how many rows were added.
    pub async fn append(
        &self,
        namespace: &str,
        trial: &str,
        uid: &str,
        source: &str,
        first: usize,
        rows: Vec<Row>,
    ) -> Result<usize, Error> {
        let (uid, source) = (uid.to_owned(), source.to_owned());
        self.with(
            "report",
            namespace,
            trial,
            move |connection, namespace, trial| {
                let transaction = connection.transaction()?;
                // The trial's own entry is less than any: it was forgotten.
                let taken: i64 = transaction
                    .prepare_cached(
                        "SELECT min(taken) FROM sources
                     WHERE namespace = ?1 AND trial = ?2 AND source IN (?3, ?4)",
                    )?
                    .query_row(params![namespace, trial, source, uid], |row| {
                        row.get::<_, Option<i64>>(0)
                    })?
                    .unwrap_or(0);
                let Ok(taken) = usize::try_from(taken) else {
                    return Ok(0);
                };
                let known = taken.saturating_sub(first).min(rows.len());
                let new = &rows[known..];
                if new.is_empty() {
                    return Ok(0);
                }
                insert(&transaction, namespace, trial, &source, new)?;
                transaction
                .prepare_cached(
                    "INSERT INTO sources (namespace, trial, source, taken) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE SET taken = excluded.taken",
                )?
                .execute(params![namespace, trial, source, (first + rows.len()) as i64])?;
                transaction.commit()?;
                Ok(new.len())
            },
        )
        .await
    }

    /// Takes back what came from a source: its container has failed, and another one tries again.
    pub async fn discard(&self, namespace: &str, trial: &str, source: &str) -> Result<(), Error> {
        let source = source.to_owned();
        self.with(
            "delete",
            namespace,
            trial,
            move |connection, namespace, trial| {
                let transaction = connection.transaction()?;
                for table in ["observation_logs", "sources"] {
                    transaction.execute(
                        &format!(
                            "DELETE FROM {table} WHERE trial = ?1 AND namespace = ?2
                         AND substr(source, 1, length(?3)) = ?3"
                        ),
                        params![trial, namespace, source],
                    )?;
                }
                transaction.commit()
            },
        )
        .await
    }

    /// The rows of a trial by time; rows of the same time in the order they were reported. An empty
    /// namespace stands for any.
    pub async fn rows(
        &self,
        namespace: &str,
        trial: &str,
        filter: Filter,
    ) -> Result<Vec<Row>, Error> {
        self.with(
            "read",
            namespace,
            trial,
            move |connection, namespace, trial| {
                let mut statement = connection.prepare_cached(
                    "SELECT time, metric, value FROM observation_logs
                 WHERE trial = ?1 AND (?2 = '' OR namespace IN (?2, ''))
                   AND (?3 IS NULL OR metric = ?3)
                   AND (?4 IS NULL OR time >= ?4) AND (?5 IS NULL OR time <= ?5)
                 ORDER BY time, id",
                )?;
                let rows = statement.query_map(
                    params![
                        trial,
                        namespace,
                        filter.metric,
                        filter.start.map(|time| time.as_microsecond()),
                        filter.end.map(|time| time.as_microsecond()),
                    ],
                    |row| {
                        Ok(Row {
                            time: Timestamp::from_microsecond(row.get(0)?)
                                .unwrap_or(Timestamp::MIN),
                            metric: row.get(1)?,
                            value: row.get(2)?,
                        })
                    },
                )?;
                rows.collect()
            },
        )
        .await
    }

    /// Removes all rows of a trial and tells how many there were. An empty namespace stands for any. What
    /// is read from its containers later is taken in from its beginning.
    pub async fn delete(&self, namespace: &str, trial: &str) -> Result<usize, Error> {
        self.remove(namespace, trial, None).await
    }

    /// Removes all rows of a trial that is deleted; what its containers still say is not taken in. Another
    /// trial may have its name.
    pub async fn forget(&self, namespace: &str, trial: &str, uid: &str) -> Result<usize, Error> {
        self.remove(namespace, trial, Some(uid.to_owned())).await
    }

    async fn remove(
        &self,
        namespace: &str,
        trial: &str,
        closed: Option<String>,
    ) -> Result<usize, Error> {
        self.with(
            "delete",
            namespace,
            trial,
            move |connection, namespace, trial| {
                let transaction = connection.transaction()?;
                let mut removed = 0;
                // What is closed stays so, until nothing can come any more.
                for (table, condition) in [("sources", "taken >= 0"), ("observation_logs", "true")]
                {
                    removed = transaction.execute(
                        &format!(
                            "DELETE FROM {table} WHERE trial = ?1
                         AND (?2 = '' OR namespace IN (?2, '')) AND {condition}"
                        ),
                        params![trial, namespace],
                    )?;
                }
                if let Some(uid) = closed {
                    transaction.execute(
                        "INSERT OR REPLACE INTO sources (namespace, trial, source, taken)
                     VALUES (?1, ?2, ?3, -1)",
                        params![namespace, trial, uid],
                    )?;
                }
                transaction.commit()?;
                Ok(removed)
            },
        )
        .await
    }
}

fn insert(
    connection: &Connection,
    namespace: &str,
    trial: &str,
    source: &str,
    rows: &[Row],
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO observation_logs (namespace, trial, time, metric, value, source)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for row in rows {
        let time = row.time.as_microsecond();
        statement.execute(params![
            namespace, trial, time, row.metric, row.value, source
        ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(time: &str, metric: &str, value: &str) -> Row {
        Row {
            time: time.parse().expect("time"),
            metric: metric.into(),
            value: value.into(),
        }
    }

    async fn store() -> (tempfile::TempDir, ObservationStore) {
        let directory = tempfile::tempdir().expect("directory");
        let store = ObservationStore::open(&directory.path().join("observations.db"))
            .await
            .expect("store");
        (directory, store)
    }

    #[tokio::test]
    async fn rows_come_back_by_time_and_then_as_reported() {
        let (_directory, store) = store().await;
        let zero = "0001-01-01T00:00:00Z";
        let rows = vec![
            row("2024-01-02T00:00:00.000002Z", "loss", "1"),
            row("2024-01-01T00:00:00Z", "accuracy", "0.1"),
            row(zero, "accuracy", "0.3"),
            row(zero, "accuracy", "0.2"),
        ];
        store
            .report("lab", "t", rows.clone())
            .await
            .expect("report");
        let all = store
            .rows("lab", "t", Filter::default())
            .await
            .expect("rows");
        let order: Vec<Row> = [2, 3, 1, 0].map(|at| rows[at].clone()).into();
        assert_eq!(all, order);
        let filter = Filter {
            metric: Some("accuracy".into()),
            start: Some("2024-01-01T00:00:00Z".parse().expect("time")),
            end: Some("2024-01-01T00:00:00Z".parse().expect("time")),
        };
        let some = store.rows("lab", "t", filter).await.expect("rows");
        assert_eq!(some, [rows[1].clone()]);
    }

    fn accuracies(values: &[&str]) -> Vec<Row> {
        let of = |value: &&str| row("2024-01-01T00:00:00Z", "accuracy", value);
        values.iter().map(of).collect()
    }

    async fn values(store: &ObservationStore) -> Vec<String> {
        let rows = store.rows("lab", "t", Filter::default()).await;
        rows.expect("rows")
            .into_iter()
            .map(|row| row.value)
            .collect()
    }

    #[tokio::test]
    async fn a_source_may_be_read_again_from_its_beginning_also_after_a_restart() {
        let (directory, store) = store().await;
        let append = async |store: &ObservationStore, source, first, rows: &[&str]| {
            let added = store
                .append("lab", "t", "u", source, first, accuracies(rows))
                .await;
            added.expect("append")
        };
        assert_eq!(append(&store, "a", 0, &["1", "2"]).await, 2);
        assert_eq!(append(&store, "a", 2, &["3"]).await, 1);
        drop(store);
        let store = ObservationStore::open(&directory.path().join("observations.db"))
            .await
            .expect("store");
        assert_eq!(append(&store, "a", 0, &["1", "2", "3", "4"]).await, 1);
        assert_eq!(append(&store, "a", 0, &["1"]).await, 0);
        assert_eq!(append(&store, "b", 0, &["5"]).await, 1);
        assert_eq!(values(&store).await, ["1", "2", "3", "4", "5"]);
        store.discard("lab", "t", "a").await.expect("discard");
        assert_eq!(values(&store).await, ["5"]);
        assert_eq!(store.delete("lab", "t").await.expect("delete"), 1);
        assert_eq!(append(&store, "b", 0, &["5", "6"]).await, 2);
    }

    #[tokio::test]
    async fn nothing_is_taken_from_the_containers_of_a_forgotten_trial() {
        let (_directory, store) = store().await;
        let append = async |uid, rows: &[&str]| {
            let added = store
                .append("lab", "t", uid, "a", 0, accuracies(rows))
                .await;
            added.expect("append")
        };
        assert_eq!(append("old", &["1"]).await, 1);
        assert_eq!(store.forget("lab", "t", "old").await.expect("forget"), 1);
        assert_eq!(append("old", &["1", "2"]).await, 0);
        // A later trial of that name.
        assert_eq!(append("new", &["2"]).await, 1);
        assert_eq!(values(&store).await, ["2"]);
    }

    #[tokio::test]
    async fn two_namespaces_do_not_see_each_others_rows() {
        let (_directory, store) = store().await;
        let rows = vec![row("2024-01-01T00:00:00Z", "accuracy", "0.1")];
        store.report("a", "t", rows.clone()).await.expect("report");
        store.report("b", "t", rows.clone()).await.expect("report");
        store.report("", "t", rows).await.expect("report");
        let count = async |namespace: &str| {
            let rows = store.rows(namespace, "t", Filter::default()).await;
            rows.expect("rows").len()
        };
        assert_eq!(count("a").await, 2);
        assert_eq!(count("").await, 3);
        store.delete("a", "t").await.expect("delete");
        assert_eq!(count("b").await, 1);
    }
}
