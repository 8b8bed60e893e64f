//! The real API server over a store of its own, reached in process.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use katlab_sandbox::admission::KatibAdmission;
use katlab_sandbox::api::auth::Credentials;
use katlab_sandbox::api::{Api, storages};
use katlab_sandbox::gc;
use katlab_sandbox::store::{Retention, Store};
use kube::Client;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "only-for-this-test";

/// Holds what the server needs; dropped, it ends.
pub struct Server {
    _directory: tempfile::TempDir,
    /// What the server keeps.
    #[allow(dead_code)] // Not every suite looks into it.
    pub store: Store,
    shutdown: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A new server, a client of it, and a directory for more state.
pub async fn start() -> (Server, Client, PathBuf) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().to_owned();
    let store = Store::open(&path, storages(), Retention::default()).expect("store");
    let shutdown = CancellationToken::new();
    let admission = Arc::new(KatibAdmission::new(store.clone()));
    let credentials = Credentials::new(SecretString::from(TOKEN), SecretString::from("key"));
    let api = Api::new(store.clone(), admission, credentials, shutdown.clone());
    tokio::spawn(gc::run(api.clone(), String::new(), shutdown.clone()));
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let api = api.clone();
        async move {
            let (mut parts, body) = request.into_parts();
            let bearer = format!("Bearer {TOKEN}").parse().expect("header");
            parts.headers.insert(http::header::AUTHORIZATION, bearer);
            let request = http::Request::from_parts(parts, Body::new(body));
            Ok::<_, Infallible>(api.answer(request, false, "127.0.0.1:0").await)
        }
    });
    let client = Client::new(service, "default");
    let server = Server {
        _directory: directory,
        store,
        shutdown,
    };
    (server, client, path)
}
