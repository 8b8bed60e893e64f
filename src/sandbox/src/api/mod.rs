//! The API server: one path for every request, generic over the table of resources.
//!
//! A request comes in at [`answer`]: it is authenticated ([`auth`]), its path read ([`path`]), its verb allowed by the
//! resource's entry and by [`auth`], its body decoded ([`body`]), the verb run ([`read`],
//! [`mod@write`], [`update`], [`delete`], [`watch`]) and the outcome encoded in the form the client accepts
//! ([`encode`]). Nothing in this module tree knows a kind except [`kinds`] and [`table`], which the
//! resource table points at, and [`reviews`].

mod accounts;
pub mod admission_hook;
pub mod age;
pub mod answer;
pub mod auth;
pub mod body;
pub mod delete;
pub mod discovery;
pub mod encode;
pub mod kinds;
pub mod logs;
pub mod managed;
pub mod meta;
pub mod openapi;
pub mod patch;
pub mod path;
pub mod protobuf;
pub mod query;
pub mod read;
pub mod reviews;
pub mod selector;
pub mod server;
pub mod status;
pub mod strategic;
pub mod streams;
pub mod table;
mod tokens;
pub mod update;
pub mod watch;
pub mod write;

use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::resources;
use crate::store::{Entry, Store};

use admission_hook::Admission;
use auth::Credentials;
use logs::LogSource;
use status::ApiError;
use streams::StreamSource;

/// The API, without its sockets. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    admission: Arc<dyn Admission>,
    credentials: Credentials,
    logs: OnceLock<Arc<dyn LogSource>>,
    streams: OnceLock<Arc<dyn StreamSource>>,
    open_streams: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("revision", &self.store().revision())
            .finish_non_exhaustive()
    }
}

impl Api {
    /// An API over a store. Watches end when `shutdown` is cancelled.
    pub fn new(
        store: Store,
        admission: Arc<dyn Admission>,
        credentials: Credentials,
        shutdown: CancellationToken,
    ) -> Api {
        let inner = Inner {
            store,
            admission,
            credentials,
            logs: OnceLock::new(),
            streams: OnceLock::new(),
            open_streams: Arc::new(Semaphore::new(streams::STREAMS)),
            watches: Arc::new(Semaphore::new(watch::WATCHES)),
            shutdown,
        };
        Api {
            inner: Arc::new(inner),
        }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Names whoever can open the logs of containers. Only the first call counts.
    pub fn set_log_source(&self, source: Arc<dyn LogSource>) {
        let _ = self.inner.logs.set(source);
    }

    /// Names whoever can open the streams of processes in containers. Only the first call counts.
    pub fn set_stream_source(&self, source: Arc<dyn StreamSource>) {
        let _ = self.inner.streams.set(source);
    }

    fn namespace(&self, name: &str) -> Option<Arc<Entry>> {
        self.store().get("namespaces", name)
    }

    /// The namespace object a new object needs: it must exist and not be on its way out.
    fn open_namespace(&self, name: &str) -> Result<Value, ApiError> {
        self.namespace(name)
            .map(|e| e.value())
            .ok_or_else(|| ApiError::namespace_not_found(name))
    }
}

/// The storages the API needs.
pub fn storages() -> impl Iterator<Item = &'static str> {
    resources::storages()
}
