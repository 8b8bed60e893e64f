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
    value TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS observation_logs_by_trial ON observation_logs (trial, namespace);
CREATE TABLE IF NOT EXISTS collections (
    namespace TEXT NOT NULL,
    trial TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (namespace, trial, source)
) STRICT, WITHOUT ROWID;
";

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
                insert(&transaction, namespace, trial, &rows)?;
                transaction.commit()
            },
        )
        .await
    }

    /// Adds the rows read from `source` (a pod's uid), unless that was done before: a collection that
    /// was interrupted between this write and its acknowledgement can be repeated. Tells whether the
    /// rows were added now.
    pub async fn report_once(
        &self,
        namespace: &str,
        trial: &str,
        source: &str,
        rows: Vec<Row>,
    ) -> Result<bool, Error> {
        let source = source.to_owned();
        self.with(
            "report",
            namespace,
            trial,
            move |connection, namespace, trial| {
                let transaction = connection.transaction()?;
                let new = transaction.execute(
                "INSERT OR IGNORE INTO collections (namespace, trial, source) VALUES (?1, ?2, ?3)",
                params![namespace, trial, source],
            )? == 1;
                if new {
                    insert(&transaction, namespace, trial, &rows)?;
                }
                transaction.commit()?;
                Ok(new)
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

    /// Removes all rows of a trial and tells how many there were. An empty namespace stands for any.
    pub async fn delete(&self, namespace: &str, trial: &str) -> Result<usize, Error> {
        self.with("delete", namespace, trial, |connection, namespace, trial| {
            let transaction = connection.transaction()?;
            let mut removed = 0;
            for table in ["observation_logs", "collections"] {
                let count = transaction.execute(
                    &format!(
                        "DELETE FROM {table} WHERE trial = ?1 AND (?2 = '' OR namespace IN (?2, ''))"
                    ),
                    params![trial, namespace],
                )?;
                if table == "observation_logs" {
                    removed = count;
                }
            }
            transaction.commit()?;
            Ok(removed)
        })
        .await
    }
}

fn insert(
    connection: &Connection,
    namespace: &str,
    trial: &str,
    rows: &[Row],
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO observation_logs (namespace, trial, time, metric, value) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for row in rows {
        let time = row.time.as_microsecond();
        statement.execute(params![namespace, trial, time, row.metric, row.value])?;
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

    #[tokio::test]
    async fn one_source_is_taken_in_once_also_after_a_restart() {
        let (directory, store) = store().await;
        let rows = vec![row("2024-01-01T00:00:00Z", "accuracy", "0.1")];
        let first = store.report_once("lab", "t", "pod-1", rows.clone()).await;
        assert!(first.expect("report"));
        drop(store);
        let store = ObservationStore::open(&directory.path().join("observations.db"))
            .await
            .expect("store");
        let again = store.report_once("lab", "t", "pod-1", rows.clone()).await;
        assert!(!again.expect("report"));
        let other = store.report_once("lab", "t", "pod-2", rows).await;
        assert!(other.expect("report"));
        let all = store
            .rows("lab", "t", Filter::default())
            .await
            .expect("rows");
        assert_eq!(all.len(), 2);
        assert_eq!(store.delete("lab", "t").await.expect("delete"), 2);
        let again = store.report_once("lab", "t", "pod-1", Vec::new()).await;
        assert!(again.expect("a deleted trial's name may be used again"));
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
