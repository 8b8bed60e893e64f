//! A work queue: each key is worked on by one task at a time, wakes that arrive meanwhile
//! are merged into one, failures come back after a growing delay.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

use futures::StreamExt;
use futures::future::OptionFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache::Key;

/// The delay after failures does not grow beyond this.
const LONGEST_DELAY: Duration = Duration::from_secs(360);

/// Wakes the worker of a queue.
#[derive(Clone, Debug)]
pub struct Waker(mpsc::UnboundedSender<Key>);

impl Waker {
    /// Asks for a key to be reconciled. Asking twice before it happens is asking once.
    pub fn wake(&self, key: Key) {
        // The worker is gone only at shutdown, when nothing is to be done any more.
        let _ = self.0.send(key);
    }

    /// The same for each of several keys, or none.
    pub fn wake_all(&self, keys: impl IntoIterator<Item = Key>) {
        keys.into_iter().for_each(|key| self.wake(key));
    }
}

/// The keys waiting to be worked on.
#[derive(Debug)]
pub struct Queue(mpsc::UnboundedReceiver<Key>);

/// A queue and what wakes it.
pub fn queue() -> (Waker, Queue) {
    // Unbounded, but merged by key as soon as it is read: its length is bounded by the
    // number of events between two turns of the worker.
    let (sender, receiver) = mpsc::unbounded_channel();
    (Waker(sender), Queue(receiver))
}

/// A key that wants to be looked at again does not keep the others from their turn.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// When a key wants to be looked at again, if nothing happens to it before.
pub type Again = Option<Duration>;

/// A turn failed: the delay before the first of the turns that follow. It doubles with every
/// further failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry(pub Duration);

impl Default for Retry {
    fn default() -> Self {
        Self(Duration::from_millis(20))
    }
}

struct Pending {
    due: HashMap<Key, Instant>,
    timers: BinaryHeap<Reverse<(Instant, Key)>>,
}

impl Pending {
    fn schedule(&mut self, key: Key, at: Instant) {
        if self.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        self.due.insert(key.clone(), at);
        self.timers.push(Reverse((at, key)));
    }

    /// Timers that were overtaken by an earlier wake are dropped here.
    fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((at, key))) = self.timers.peek() {
            if self.due.get(key) == Some(at) {
                return Some(*at);
            }
            self.timers.pop();
        }
        None
    }

    fn take(&mut self, now: Instant) -> Option<Key> {
        let at = self.next_due()?;
        if at > now {
            return None;
        }
        let Reverse((_, key)) = self.timers.pop()?;
        self.due.remove(&key);
        Some(key)
    }
}

/// Works through the queue until shutdown; what is under way then is finished first.
pub async fn work<F, R>(
    mut queue: Queue,
    concurrency: usize,
    reconcile: F,
    shutdown: CancellationToken,
) where
    F: Fn(Key) -> R + Send,
    R: Future<Output = Result<Again, Retry>> + Send,
{
    let mut pending = Pending {
        due: HashMap::new(),
        timers: BinaryHeap::new(),
    };
    let mut running = HashSet::new();
    let mut woken_while_running = HashSet::new();
    let mut failures: HashMap<Key, u32> = HashMap::new();
    let mut tasks = FuturesUnordered::new();
    loop {
        let now = Instant::now();
        while tasks.len() < concurrency {
            let Some(key) = pending.take(now) else { break };
            if running.contains(&key) {
                woken_while_running.insert(key);
                continue;
            }
            running.insert(key.clone());
            let work = reconcile(key.clone());
            tasks.push(async move { (key, work.await) });
        }
        let next_due = if tasks.len() < concurrency {
            pending.next_due()
        } else {
            None
        };
        tokio::select! {
            () = shutdown.cancelled() => break,
            key = queue.0.recv() => {
                let Some(key) = key else { break };
                let now = Instant::now();
                pending.schedule(key, now);
                while let Ok(key) = queue.0.try_recv() {
                    pending.schedule(key, now);
                }
            }
            Some((key, result)) = tasks.next(), if !tasks.is_empty() => {
                running.remove(&key);
                let now = Instant::now();
                if woken_while_running.remove(&key) {
                    pending.schedule(key.clone(), now);
                }
                match result {
                    Ok(again) => {
                        failures.remove(&key);
                        if let Some(delay) = again {
                            pending.schedule(key, now + delay.max(SHORTEST_PAUSE));
                        }
                    }
                    Err(Retry(first)) => {
                        let count = failures.entry(key.clone()).or_insert(0);
                        let delay = delay_after(first, *count);
                        *count = count.saturating_add(1);
                        pending.schedule(key, now + delay);
                    }
                }
            }
            Some(()) = OptionFuture::from(next_due.map(tokio::time::sleep_until)) => {}
        }
    }
    while tasks.next().await.is_some() {}
}

/// How long a key waits after having failed `failures` times before.
fn delay_after(first: Duration, failures: u32) -> Duration {
    first
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Notify;

    #[test]
    fn delays_double_up_to_six_minutes() {
        let Retry(first) = Retry::default();
        assert_eq!(delay_after(first, 0), Duration::from_millis(20));
        assert_eq!(delay_after(first, 3), Duration::from_millis(160));
        assert_eq!(delay_after(first, 40), LONGEST_DELAY);
    }

    #[tokio::test]
    async fn wakes_that_arrive_while_a_key_is_worked_on_lead_to_one_more_turn() {
        let (waker, queue) = queue();
        let started = Arc::new(Notify::new());
        let go_on = Arc::new(Notify::new());
        let turns = Arc::new(AtomicUsize::new(0));
        let shutdown = CancellationToken::new();
        let worker = tokio::spawn(work(
            queue,
            4,
            {
                let (started, go_on, turns) = (started.clone(), go_on.clone(), turns.clone());
                move |_| {
                    let (started, go_on, turns) = (started.clone(), go_on.clone(), turns.clone());
                    async move {
                        turns.fetch_add(1, Ordering::SeqCst);
                        started.notify_one();
                        go_on.notified().await;
                        Ok(None)
                    }
                }
            },
            shutdown.clone(),
        ));
        waker.wake(Key::new("lab", "a"));
        started.notified().await;
        for _ in 0..5 {
            waker.wake(Key::new("lab", "a"));
        }
        // Another key proves that the wakes above have been read.
        waker.wake(Key::new("lab", "b"));
        started.notified().await;
        go_on.notify_one();
        go_on.notify_one();
        started.notified().await;
        shutdown.cancel();
        for _ in 0..3 {
            go_on.notify_one();
            tokio::task::yield_now().await;
        }
        worker.await.unwrap();
        assert_eq!(turns.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_failing_key_comes_back_and_one_that_asks_is_looked_at_again() {
        let (waker, queue) = queue();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let done = Arc::new(Notify::new());
        let shutdown = CancellationToken::new();
        let begin = Instant::now();
        let worker = tokio::spawn(work(
            queue,
            1,
            {
                let (seen, done) = (seen.clone(), done.clone());
                move |_| {
                    let (seen, done) = (seen.clone(), done.clone());
                    async move {
                        let mut seen = seen.lock().unwrap();
                        seen.push(begin.elapsed().as_millis());
                        match seen.len() {
                            1 | 2 => Err(Retry::default()),
                            3 => Ok(Some(Duration::from_millis(100))),
                            _ => {
                                done.notify_one();
                                Ok(None)
                            }
                        }
                    }
                }
            },
            shutdown.clone(),
        ));
        waker.wake(Key::new("lab", "a"));
        done.notified().await;
        shutdown.cancel();
        worker.await.unwrap();
        let seen = seen.lock().unwrap().clone();
        assert!(seen[1] - seen[0] >= 20 && seen[2] - seen[1] >= 40 && seen[3] - seen[2] >= 100);
    }
}
