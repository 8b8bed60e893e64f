//! An OCI registry on loopback, with a user and a password.
//!
//! The lab pushes its image somewhere and its trials pull it from there with a secret. For that to be
//! real on a machine without a cluster, the sandbox carries a registry of its own: distribution-spec 1.1
//! push (monolithic, chunked, resumable, cross-repository mount), pull (with ranges), tags, catalog,
//! referrers and deletion, behind Basic authentication. The Docker Engine takes `127.0.0.0/8` for
//! trustworthy without TLS, so `docker push 127.0.0.1:PORT/name:tag` works after `docker login`.
//!
//! | module | what |
//! |---|---|
//! | `name` | repository names, tags, digests: parsed once, at the edge |
//! | `storage` | blobs, manifests, tags and uploads in a directory |
//! | `upload` | one blob on its way in |
//! | `manifest` | what a manifest must look like, and what it refers to |
//! | `route` | requests to answers |
//!
//! What it does not do: image signatures' trust, tokens (Bearer), mirrors of other registries.

mod error;
mod manifest;
mod name;
mod route;
mod storage;
mod upload;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use error::Error;

/// Who may push and pull.
#[derive(Clone)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: SecretString,
}

impl Credentials {
    /// Whether the value of an `Authorization` header names this user with this password.
    fn admit(&self, header: &str) -> bool {
        let Some((scheme, encoded)) = header.split_once(' ') else {
            return false;
        };
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let expected = format!("{}:{}", self.username, self.password.expose_secret());
        base64::engine::general_purpose::STANDARD
            .decode(encoded.trim())
            .is_ok_and(|given| given.ct_eq(expected.as_bytes()).into())
    }
}

/// A registry that has its port and its directory, ready to be served.
pub struct Registry {
    listener: TcpListener,
    address: SocketAddr,
    state: Arc<route::State>,
}

impl Registry {
    /// Takes the port (0 for any free one), makes the directory (0700) and removes what earlier pushes
    /// left behind: uploads and blobs that nothing refers to and that are older than a day.
    pub async fn bind(
        address: SocketAddr,
        root: &Path,
        credentials: Credentials,
    ) -> Result<Self, Error> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Bind { address, source })?;
        let address = listener
            .local_addr()
            .map_err(|source| Error::Bind { address, source })?;
        let root: PathBuf = root.to_owned();
        let storage = tokio::task::spawn_blocking(move || storage::Storage::open(&root))
            .await
            .map_err(|_| Error::Interrupted)??;
        Ok(Self {
            listener,
            address,
            state: Arc::new(route::State::new(storage, credentials)),
        })
    }

    /// The address the registry listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `shutdown`; pushes under way are let finish.
    pub fn serve(
        self,
        shutdown: CancellationToken,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        let router = axum::Router::new()
            .fallback(route::answer)
            .with_state(self.state);
        async move {
            axum::serve(self.listener, router)
                .with_graceful_shutdown(async move { shutdown.cancelled().await })
                .await
                .map_err(|source| Error::Serve { source })
        }
    }
}
