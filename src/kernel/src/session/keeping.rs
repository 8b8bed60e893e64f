//! What this kernel keeps of experiments while it lives: each is followed in the background, so that logs
//! and metrics outlast the pods.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use katlab_lab::cluster::Cluster;
use katlab_lab::katib::kept::{self, DEFAULT_LIMIT, Phase, Store, Whose};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Session;
use crate::magics::{Context, MagicError};

/// The setting that says how much may be kept.
pub const LIMIT: &str = "KATLAB_KEPT_LIMIT";
/// How long the last of an experiment that has ended is waited for by those who want to see it.
const SETTLE: Duration = Duration::from_secs(3);
/// How long those who are stopped may take to write what they have.
const STOP: Duration = Duration::from_secs(1);
/// How long taking what is still to be had may hold up a deletion.
const CAPTURE: Duration = Duration::from_secs(10);

/// The experiments that are followed, and where they are kept.
#[derive(Default)]
pub(super) struct Keeping {
    followed: Mutex<HashMap<Key, Followed>>,
    store: Mutex<Option<Arc<Store>>>,
    is_told: AtomicBool,
}

/// Cluster, namespace and name.
type Key = (String, String, String);

struct Followed {
    /// The sandbox is the same one at another address, but its old clients are of no use.
    server: String,
    stop: CancellationToken,
    phase: watch::Receiver<Phase>,
    /// When somebody saw its end, whether or not the follower has.
    ended: Option<Instant>,
}

impl Followed {
    fn is_done(&self) -> bool {
        *self.phase.borrow() == Phase::Done
    }
}

fn key(cluster: &Cluster, name: &str) -> Key {
    (
        kept::identity(cluster),
        cluster.namespace.clone(),
        name.to_owned(),
    )
}

async fn done(phases: impl IntoIterator<Item = watch::Receiver<Phase>>, patience: Duration) {
    let all = phases.into_iter().map(|mut phase| async move {
        // One that went away without a word is done as well.
        let _ = phase.wait_for(|phase| *phase == Phase::Done).await;
    });
    let _ = tokio::time::timeout(patience, futures::future::join_all(all)).await;
}

impl Keeping {
    fn followed(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Where logs and metrics of experiments are kept.
    ///
    /// # Errors
    /// When the setting for its limit is no amount, or cannot be read.
    pub fn kept(&self) -> Result<Arc<Store>, MagicError> {
        let limit = match self.value(LIMIT)? {
            Some(text) => kept::parse_limit(&text).map_err(|error| {
                MagicError::new(format!("the setting {LIMIT}: {error}"))
                    .hint(format!("`:env set {LIMIT}=500MB`, or `:env unset {LIMIT}`"))
            })?,
            None => DEFAULT_LIMIT,
        };
        let mut made = self
            .keeping
            .store
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = made.as_ref().filter(|store| store.limit() == limit) {
            return Ok(Arc::clone(store));
        }
        let redactor = self.redactor();
        let store = Arc::new(Store::new(
            self.home(),
            limit,
            Arc::new(move |text| redactor.text(text)),
        ));
        *made = Some(Arc::clone(&store));
        Ok(store)
    }

    /// Waits a moment for what is being written of experiments that have ended.
    pub async fn settle_kept(&self) {
        self.settle(SETTLE).await;
    }

    async fn settle(&self, most: Duration) {
        let mut patience = Duration::ZERO;
        let mut ending = Vec::new();
        for one in self.keeping.followed().values_mut() {
            if *one.phase.borrow() == Phase::Ending {
                one.ended.get_or_insert_with(Instant::now);
            }
            // Trials that go on after the end of their experiment are waited for once, not each time.
            if let Some(ended) = one.ended {
                patience = patience.max(most.saturating_sub(ended.elapsed()));
                ending.push(one.phase.clone());
            }
        }
        done(ending, patience).await;
    }

    /// Ends all following before the kernel does; what was seen is written. Experiments that have ended have so
    /// long until all of them is.
    pub async fn stop_keeping(&self, patience: Duration) {
        self.settle(patience).await;
        let followed = std::mem::take(&mut *self.keeping.followed());
        for one in followed.values() {
            one.stop.cancel();
        }
        done(followed.into_values().map(|one| one.phase), STOP).await;
    }
}

impl Context {
    /// Follows an experiment in the background from now on, to its end, and keeps what its trials print and
    /// report. Goes on when the cell is interrupted.
    pub fn keep(&self, cluster: &Cluster, name: &str) {
        self.session.note_experiment(name);
        let store = match self.session.kept() {
            Ok(store) if store.limit() > 0 => store,
            Ok(_) => return,
            Err(error) => return self.warn_of_kept(&error.message),
        };
        let key = key(cluster, name);
        let mut followed = self.session.keeping.followed();
        followed.retain(|_, one| !one.is_done());
        match followed.get(&key) {
            Some(one) if one.server == cluster.server => return,
            Some(one) => one.stop.cancel(),
            None => {}
        }
        let (sender, phase) = watch::channel(Phase::Following);
        let stop = CancellationToken::new();
        tokio::spawn(kept::follow(
            cluster.clone(),
            name.to_owned(),
            store,
            stop.clone(),
            sender,
        ));
        let server = cluster.server.clone();
        followed.insert(
            key,
            Followed {
                server,
                stop,
                phase,
                ended: None,
            },
        );
    }

    /// Notes that an experiment has ended, and says what could not be kept.
    pub fn kept_to_the_end(&self, cluster: &Cluster, name: &str) {
        if let Some(one) = self.session.keeping.followed().get_mut(&key(cluster, name)) {
            one.ended.get_or_insert_with(Instant::now);
        }
        self.tell_kept();
    }

    /// Says once what keeps it from keeping.
    pub fn tell_kept(&self) {
        if let Ok(store) = self.session.kept()
            && let Some(trouble) = store.take_trouble()
        {
            self.warn_of_kept(&trouble);
        }
    }

    fn warn_of_kept(&self, trouble: &str) {
        if !self.session.keeping.is_told.swap(true, Ordering::Relaxed) {
            self.output
                .warn(format!("not all logs and metrics are kept: {trouble}"));
        }
    }

    /// Takes what is still to be had of an experiment before it is deleted. Returns what it is kept as, where
    /// anything is.
    ///
    /// # Errors
    /// When the person interrupts.
    pub async fn capture(
        &self,
        cluster: &Cluster,
        name: &str,
    ) -> Result<Option<Whose>, MagicError> {
        let store = match self.session.kept() {
            Ok(store) if store.limit() > 0 => store,
            Ok(_) => return Ok(None),
            Err(error) => {
                self.warn_of_kept(&error.message);
                return Ok(None);
            }
        };
        self.or_interrupted(async {
            let followed = self.session.keeping.followed().remove(&key(cluster, name));
            if let Some(one) = followed {
                one.stop.cancel();
                done([one.phase], STOP).await;
            }
            let captured =
                match tokio::time::timeout(CAPTURE, kept::capture(cluster, name, &store)).await {
                    Ok(captured) => captured.map(Some),
                    Err(_) => Err(format!("it took longer than {} s", CAPTURE.as_secs())),
                };
            Ok::<_, MagicError>(captured.unwrap_or_else(|error| {
                self.warn_of_kept(&error);
                None
            }))
        })
        .await
    }
}

impl From<kept::Error> for MagicError {
    fn from(error: kept::Error) -> Self {
        Self::new(error.to_string()).maybe_hint(error.hint())
    }
}
