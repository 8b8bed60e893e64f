//! watch: what has changed, as it changes, from a revision the client names.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use rand::RngExt;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::store::{Change, ChangeKind, Entry, Feed};

use super::Api;
use super::encode::{self, Shape};
use super::path::Target;
use super::query::Query;
use super::read::{Selection, Version, version};
use super::status::ApiError;

/// How often an idle watch that asked for bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// A watch longer than this is not a promise that anybody keeps.
const LONGEST: i64 = 365 * 24 * 3600;

/// Watches at once. Each costs a task and what it has yet to send.
pub const WATCHES: usize = 1000;

/// Bytes that are sent together when there is much to send.
const CHUNK: usize = 64 << 10;
/// Chunks that may wait for a slow client before the watch waits for it.
const BUFFER: usize = 2;

struct Watch {
    target: Target,
    selection: Selection,
    shape: Shape,
    bookmarks: bool,
    columns_sent: bool,
    pending: Vec<u8>,
    out: mpsc::Sender<Bytes>,
}

/// The client has gone.
struct Gone;

impl Api {
    /// The right to hold a watch open, if not too many are.
    pub(super) fn watch_permit(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        let permit = self.inner.watches.clone().try_acquire_owned();
        permit.map_err(|_| {
            ApiError::too_many_requests("too many watches are open, please try again later")
        })
    }

    /// Starts a watch. Errors before the first line are the request's; later ones are events.
    pub fn watch(
        &self,
        target: &Target,
        query: &Query,
        shape: Shape,
    ) -> Result<impl Stream<Item = Bytes> + Send + use<>, ApiError> {
        let version = version(query, true)?;
        let selection = Selection::read(target, query)?;
        let seconds = query.number("timeoutSeconds")?.filter(|s| *s > 0);
        let timeout = match seconds {
            Some(seconds) => Duration::from_secs(seconds.min(LONGEST).unsigned_abs()),
            // Spread, so that clients that came together do not come back together.
            None => Duration::from_secs(rand::rng().random_range(1800..3600)),
        };
        let permit = self.watch_permit()?;
        let (out, lines) = mpsc::channel(BUFFER);
        let watch = Watch {
            target: target.clone(),
            selection,
            shape,
            bookmarks: query.flag("allowWatchBookmarks"),
            columns_sent: false,
            pending: Vec::new(),
            out,
        };
        let initial_asked = query.flag("sendInitialEvents");
        let initial_refused = query.get("sendInitialEvents").is_some() && !initial_asked;
        let api = self.clone();
        let storage = target.resource.storage;
        let (start, initial) = match version {
            Version::Unset | Version::Any => {
                let page = self.store().list(
                    storage,
                    target
                        .namespace
                        .as_deref()
                        .filter(|_| target.resource.namespaced),
                );
                (page.revision, (!initial_refused).then_some(page.entries))
            }
            Version::NotOlderThan(_) if initial_asked => {
                let page = self.store().list(
                    storage,
                    target
                        .namespace
                        .as_deref()
                        .filter(|_| target.resource.namespaced),
                );
                (page.revision, Some(page.entries))
            }
            Version::NotOlderThan(revision) | Version::Exact(revision) => (revision, None),
        };
        let feed = self
            .store()
            .feed(storage, start)
            .ok_or_else(|| ApiError::internal(format!("no storage {storage}")))?;
        let shutdown = self.inner.shutdown.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let deadline = Instant::now() + timeout;
            tokio::select! {
                () = shutdown.cancelled() => {}
                _ = watch.run(api, feed, start, initial, initial_asked, deadline) => {}
            }
        });
        Ok(futures::stream::unfold(lines, |mut lines| async move {
            let line = lines.recv().await?;
            Some((line, lines))
        }))
    }
}

impl Watch {
    async fn run(
        mut self,
        api: Api,
        mut feed: Feed,
        start: u64,
        initial: Option<Vec<Arc<Entry>>>,
        mark_end: bool,
        deadline: Instant,
    ) -> Result<(), Gone> {
        if let Some(entries) = initial {
            for entry in entries {
                if self.selection.matches(&entry, &self.target) {
                    self.event("ADDED", &entry).await?;
                }
            }
            if mark_end && self.bookmarks {
                self.bookmark(start, true).await?;
            }
        }
        let mut sent = start;
        let mut last_bookmark = start;
        let early = Duration::from_millis(1500);
        let mut next_bookmark = Instant::now() + BOOKMARK_EVERY;
        let before_end = deadline.checked_sub(early).unwrap_or(deadline);
        let mut end_marked = false;
        loop {
            match feed.take() {
                Ok((changes, revision)) => {
                    for change in changes {
                        self.change(&change).await?;
                    }
                    sent = sent.max(revision);
                }
                Err(error) => {
                    let status = ApiError::from(error).to_status();
                    self.line(&format!(r#"{{"type":"ERROR","object":{status}}}"#))
                        .await?;
                    return self.flush().await;
                }
            }
            self.flush().await?;
            let bookmark_at = if end_marked {
                next_bookmark
            } else {
                next_bookmark.min(before_end)
            };
            let out = self.out.clone();
            tokio::select! {
                more = feed.changed() => {
                    if !more {
                        return Ok(());
                    }
                }
                () = out.closed() => return Err(Gone),
                () = tokio::time::sleep_until(deadline) => return Ok(()),
                () = tokio::time::sleep_until(bookmark_at), if self.bookmarks => {
                    end_marked |= Instant::now() >= before_end;
                    next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    // Everything up to here has been looked at, of this kind and of all others.
                    if let Ok((changes, revision)) = feed.take() {
                        for change in changes {
                            self.change(&change).await?;
                        }
                        sent = sent.max(revision);
                    }
                    if sent >= last_bookmark {
                        last_bookmark = sent;
                        self.bookmark(sent, false).await?;
                    }
                }
            }
            let _ = &api;
        }
    }

    /// One change, seen through the selection: what enters it is new, what leaves it is gone.
    async fn change(&mut self, change: &Change) -> Result<(), Gone> {
        let in_now = change.kind != ChangeKind::Deleted
            && self.selection.matches(&change.entry, &self.target);
        let before = match (change.kind, &change.previous) {
            (ChangeKind::Added, _) => false,
            (ChangeKind::Deleted, None) => self.selection.matches(&change.entry, &self.target),
            (ChangeKind::Modified, None) => in_now,
            (_, Some(previous)) => self.selection.matches(previous, &self.target),
        };
        match (before, in_now) {
            (false, true) => self.event("ADDED", &change.entry).await,
            (true, true) => self.event("MODIFIED", &change.entry).await,
            // What leaves is shown as it last was here, with the revision at which it left.
            (true, false) if change.kind == ChangeKind::Modified => match &change.previous {
                Some(previous) => {
                    let last = previous.at_revision(change.entry.revision);
                    self.event("DELETED", &last).await
                }
                None => self.event("DELETED", &change.entry).await,
            },
            (true, false) => self.event("DELETED", &change.entry).await,
            (false, false) => Ok(()),
        }
    }

    async fn event(&mut self, kind: &str, entry: &Entry) -> Result<(), Gone> {
        let object = encode::one(entry, self.target.resource, self.shape, !self.columns_sent);
        self.columns_sent = true;
        let line = &mut self.pending;
        line.extend_from_slice(br#"{"type":""#);
        line.extend_from_slice(kind.as_bytes());
        line.extend_from_slice(br#"","object":"#);
        line.extend_from_slice(&object);
        line.extend_from_slice(b"}\n");
        self.flush_if_much().await
    }

    async fn bookmark(&mut self, revision: u64, initial_end: bool) -> Result<(), Gone> {
        let resource = self.target.resource;
        let mut meta = json!({"resourceVersion": revision.to_string()});
        if initial_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.shape {
            Shape::Plain => {
                json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": meta})
            }
            Shape::Partial => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
            }
            Shape::Table(_) => {
                json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": null, "rows": []})
            }
        };
        self.line(&json!({"type": "BOOKMARK", "object": object}).to_string())
            .await
    }

    async fn line(&mut self, text: &str) -> Result<(), Gone> {
        self.pending.extend_from_slice(text.as_bytes());
        self.pending.push(b'\n');
        self.flush_if_much().await
    }

    async fn flush_if_much(&mut self) -> Result<(), Gone> {
        if self.pending.len() < CHUNK {
            return Ok(());
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let lines = std::mem::take(&mut self.pending);
        self.out.send(Bytes::from(lines)).await.map_err(|_| Gone)
    }
}
