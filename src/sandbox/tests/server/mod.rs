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
use katlab_sandbox::tls::Identity;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "only-for-this-test";

/// Holds what the server needs; dropped, it ends.
pub struct Server {
    _directory: tempfile::TempDir,
    /// What the server keeps.
    #[allow(dead_code)] // Not every suite looks into it.
    pub store: Store,
    /// What it serves.
    #[allow(dead_code)]
    pub api: Api,
    shutdown: CancellationToken,
}

impl Server {
    /// A client that reaches it over TLS on a port of its own, as programs of other people do.
    #[allow(dead_code)] // Most suites need no socket.
    pub async fn over_the_wire(&self) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let identity = Identity::open(self._directory.path()).expect("identity");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
        let port = listener.local_addr().expect("address").port();
        let tls = identity.server_config().expect("TLS");
        tokio::spawn(katlab_sandbox::api::server::serve(
            self.api.clone(),
            listener,
            tls,
        ));
        let config = identity.kubeconfig(port, "default");
        let config = Kubeconfig::from_yaml(config.expose_secret()).expect("kubeconfig");
        let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default())
            .await
            .expect("configuration");
        config.auth_info.token = Some(SecretString::from(TOKEN));
        config.proxy_url = None;
        Client::try_from(config).expect("client")
    }
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
    let serving = api.clone();
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let api = serving.clone();
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
        api,
        shutdown,
    };
    (server, client, path)
}
