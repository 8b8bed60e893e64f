//! The way from pods to the sandbox.
//!
//! The sandbox listens on loopback, which is another one inside a container. So once a pod needs it, the API
//! server (TLS) and Katib's DBManager listen as well on the address that the engine's bridge has on this
//! machine, and there for containers of this sandbox's own pods alone: whoever else connects is hung up on
//! before a byte is read. Who it is, the engine is asked anew for each connection.
//!
//! A network of the sandbox's own would keep strangers away too, but with Docker 20.10 each container on such a
//! network starts a quarter of a second later than on the engine's own bridge.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::{self, Api};
use crate::metrics::{DbManager, ObservationStore};
use crate::tls::{Identity, TlsError};

/// The port of Katib's DBManager, which its clients take for given.
pub const DB_MANAGER_PORT: u16 = 6789;

/// Says whether an address is that of a guest, who may connect.
pub type Guests = Arc<dyn Fn(IpAddr) -> BoxFuture<'static, bool> + Send + Sync>;

/// Where pods reach the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The address of this machine as containers see it.
    pub address: IpAddr,
    /// The API server's port there.
    pub api_port: u16,
    /// Why the DBManager is not there, if it is not.
    pub without_db_manager: Option<String>,
}

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum DoorwayError {
    /// The engine's bridge is somewhere else: in a virtual machine, on another host, in a network namespace.
    #[error(
        "{address}, the address of the engine's network, is not one of this machine (the engine runs in a virtual machine, without root or on another host)"
    )]
    Elsewhere {
        /// The bridge's address.
        address: IpAddr,
    },
    /// The system refuses to listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: IpAddr,
        /// What the system said.
        source: io::Error,
    },
    /// There is no certificate for the address.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Opens the way, and keeps it open while it lives.
pub struct Doorway {
    api: Api,
    identity: Identity,
    observation: ObservationStore,
    /// The port to try first, so that pods find the server again after a restart.
    api_port: u16,
    shutdown: CancellationToken,
    open: tokio::sync::Mutex<Option<Open>>,
}

struct Open {
    way: Way,
    guests: Guests,
    stop: CancellationToken,
    _stopped: DropGuard,
}

impl std::fmt::Debug for Doorway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Doorway")
    }
}

impl Doorway {
    /// A doorway to these servers, closed so far. It ends with `shutdown`.
    pub fn new(
        api: Api,
        identity: Identity,
        observation: ObservationStore,
        api_port: u16,
        shutdown: CancellationToken,
    ) -> Doorway {
        Doorway {
            api,
            identity,
            observation,
            api_port,
            shutdown,
            open: tokio::sync::Mutex::default(),
        }
    }

    /// Opens the way at an address of this machine. Open there already, it stays as it is; open at another one,
    /// it is closed there.
    ///
    /// # Errors
    /// [`DoorwayError`] when nothing can listen there. That the DBManager's port alone is taken is no error.
    pub async fn open(&self, address: IpAddr, guests: Guests) -> Result<Way, DoorwayError> {
        let mut open = self.open.lock().await;
        if open.as_ref().is_none_or(|open| open.way.address != address) {
            // Closed first: it may hold the port.
            *open = None;
            *open = Some(self.open_api(address, guests).await?);
        }
        let Some(open) = open.as_mut() else {
            return Err(DoorwayError::Elsewhere { address });
        };
        if open.way.without_db_manager.is_some() {
            open.way.without_db_manager = self.open_db_manager(open).await.err();
        }
        Ok(open.way.clone())
    }

    async fn open_api(&self, address: IpAddr, guests: Guests) -> Result<Open, DoorwayError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrNotAvailable => DoorwayError::Elsewhere { address },
            _ => DoorwayError::Listen { address, source },
        };
        let listener = match TcpListener::bind((address, self.api_port)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                TcpListener::bind((address, 0)).await
            }
            bound => bound,
        };
        let listener = listener.map_err(failed)?;
        let api_port = listener.local_addr().map_err(failed)?.port();
        let tls = self.identity.server_config_at(address)?;
        let stop = self.shutdown.child_token();
        let (api, door) = (self.api.clone(), (guests.clone(), stop.clone()));
        tokio::spawn(api::server::serve_guests(api, listener, tls, door));
        tracing::info!(%address, api_port, "pods reach the API server");
        Ok(Open {
            way: Way {
                address,
                api_port,
                without_db_manager: Some(String::new()),
            },
            guests,
            _stopped: stop.clone().drop_guard(),
            stop,
        })
    }

    async fn open_db_manager(&self, open: &Open) -> Result<(), String> {
        let address = SocketAddr::from((open.way.address, DB_MANAGER_PORT));
        let server = DbManager::bind(address, self.observation.clone())
            .await
            .map_err(|error| error.to_string())?;
        let serving = server.serve_guests(open.guests.clone(), open.stop.clone());
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the metrics service for pods has ended");
            }
        });
        Ok(())
    }
}
