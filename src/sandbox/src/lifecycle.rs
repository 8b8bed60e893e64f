//! The sandbox as a process: started when first needed, found again by whoever comes later,
//! stopped and removed without a trace.
//!
//! Whether a sandbox runs is decided by the lock on its store, which the system releases however
//! the process ends; `endpoint.json` says where it listens and is written when it answers.

mod process;
mod serve;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::api::status::ApiError;
use crate::store::OpenError;
use crate::tls::TlsError;

pub use serve::{Options, serve};

/// How long a start may take.
const START: Duration = Duration::from_secs(30);
/// How long a stop may take before the process is killed.
const STOP: Duration = Duration::from_secs(10);

/// Where a running sandbox listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its process.
    pub pid: u32,
    /// The API server's port.
    pub api_port: u16,
    /// The registry, as image references name it.
    pub registry_host: String,
    /// The port of Katib's DBManager service.
    pub dbmanager_port: u16,
    /// The engine that its pods run on, as an address.
    #[serde(default)]
    pub engine: String,
}

/// Whether a sandbox runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// None does.
    Stopped,
    /// One is starting or stopping.
    Changing,
    /// One answers here.
    Running(Endpoint),
}

/// Why the sandbox could not be started, stopped or found.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// A file or directory cannot be used.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program cannot be started.
    #[error("cannot start {exe}: {source}")]
    Spawn {
        /// The program.
        exe: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process ended before it was ready.
    #[error("the sandbox ended before it was ready: {reason}")]
    Ended {
        /// The last line of its log.
        reason: String,
    },
    /// The process runs but does not answer.
    #[error("the sandbox did not become ready within {} seconds", .0.as_secs())]
    NotReady(Duration),
    /// The process does not go away.
    #[error("the sandbox (process {0}) does not stop")]
    DoesNotStop(u32),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// There are no credentials.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A port cannot be taken.
    #[error("cannot listen on 127.0.0.1: {0}")]
    Listen(io::Error),
    /// The objects of a fresh cluster cannot be made.
    #[error("cannot set the cluster up: {0}")]
    Bootstrap(#[from] ApiError),
    /// A part of the sandbox does not start.
    #[error("the sandbox's {part} does not start: {reason}")]
    Part {
        /// Which.
        part: &'static str,
        /// Why.
        reason: String,
    },
}

impl LifecycleError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            LifecycleError::Io { .. } => {
                Some("check that KATLAB_HOME names a directory you can write to".into())
            }
            LifecycleError::Spawn { .. } => {
                Some("check that the program exists and may run".into())
            }
            LifecycleError::Ended { .. } | LifecycleError::NotReady(_) => {
                Some("its log, sandbox.log in the state directory, says more".into())
            }
            LifecycleError::DoesNotStop(pid) => Some(format!("look at process {pid}")),
            LifecycleError::Store(error) => error.hint(),
            LifecycleError::Tls(error) => error.hint(),
            LifecycleError::Listen(_) => None,
            LifecycleError::Bootstrap(error) => error.hint(),
            LifecycleError::Part { .. } => {
                Some("its log, sandbox.log in the state directory, says more".into())
            }
        }
    }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> LifecycleError {
    let path = path.to_owned();
    move |source| LifecycleError::Io { path, source }
}

/// The state directory below a home.
pub fn state_dir(home: &Path) -> PathBuf {
    home.join("sandbox")
}

/// The kubeconfig of the sandbox; there once it has run.
pub fn kubeconfig(home: &Path) -> PathBuf {
    state_dir(home).join("kubeconfig")
}

/// The log of the process.
pub fn log_file(home: &Path) -> PathBuf {
    state_dir(home).join("sandbox.log")
}

fn endpoint_file(home: &Path) -> PathBuf {
    state_dir(home).join("endpoint.json")
}

fn read_endpoint(home: &Path) -> Option<Endpoint> {
    serde_json::from_slice(&std::fs::read(endpoint_file(home)).ok()?).ok()
}

/// Whether a sandbox runs for this home.
pub fn status(home: &Path) -> Status {
    match process::holder(&state_dir(home)) {
        None => Status::Stopped,
        Some(pid) => match read_endpoint(home) {
            Some(endpoint) if endpoint.pid == pid => Status::Running(endpoint),
            _ => Status::Changing,
        },
    }
}

/// The sandbox that runs and answers, if there is one.
pub async fn running(home: &Path) -> Option<Endpoint> {
    match status(home) {
        Status::Running(endpoint) if answers(&endpoint).await => Some(endpoint),
        _ => None,
    }
}

/// The running sandbox; started, detached from this process, if there is none. A new process has
/// these variables besides those of this one.
pub async fn ensure(
    home: &Path,
    exe: &Path,
    variables: &[(String, String)],
) -> Result<Endpoint, LifecycleError> {
    let deadline = Instant::now() + START;
    let mut child = None;
    loop {
        match status(home) {
            Status::Running(endpoint) if answers(&endpoint).await => return Ok(endpoint),
            // Somebody else starts it, or the old one is still going: wait for either.
            Status::Running(_) | Status::Changing => {}
            Status::Stopped => match &mut child {
                None => child = Some(process::start(home, exe, variables)?),
                Some(child) => {
                    if child.ended() {
                        return Err(LifecycleError::Ended {
                            reason: process::last_words(home),
                        });
                    }
                }
            },
        }
        if Instant::now() > deadline {
            return Err(LifecycleError::NotReady(START));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether the process still works: one that was killed holds its lock a moment longer.
///
/// Asks the registry, whose plain HTTP costs less than a handshake with the API server.
async fn answers(endpoint: &Endpoint) -> bool {
    let ask = async {
        let mut registry = TcpStream::connect(&endpoint.registry_host).await?;
        registry.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").await?;
        registry.read_u8().await
    };
    matches!(
        tokio::time::timeout(Duration::from_secs(2), ask).await,
        Ok(Ok(_))
    )
}

/// Stops the sandbox; says whether there was one. Containers of running pods go on and are
/// adopted at the next start.
pub async fn down(home: &Path) -> Result<bool, LifecycleError> {
    let dir = state_dir(home);
    let Some(pid) = process::holder(&dir) else {
        return Ok(false);
    };
    process::signal(pid, libc::SIGTERM);
    let mut deadline = Instant::now() + STOP;
    let mut killed = false;
    while process::holder(&dir) == Some(pid) {
        if Instant::now() > deadline {
            if killed {
                return Err(LifecycleError::DoesNotStop(pid));
            }
            process::signal(pid, libc::SIGKILL);
            killed = true;
            deadline = Instant::now() + STOP;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(true)
}

/// Stops the sandbox and removes everything of it: containers, networks and volumes by their
/// label, and the state directory.
pub async fn reset(home: &Path) -> Result<(), LifecycleError> {
    down(home).await?;
    let dir = state_dir(home);
    serve::remove_containers(home).await?;
    match std::fs::remove_dir_all(&dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error(&dir)(error)),
    }
}
