//! What the engine is started with, and why it may not start.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use super::helper::Helper;
use super::process::Held;
use super::toolchain::{MissingToolchain, Toolchain};
use crate::jupyter::connection::Connection;

/// How long a slow machine may take to bring the engine up.
pub(super) const START_LIMIT: Duration = Duration::from_secs(120);
/// Where the analyser looks for the standard library's source before it looks in the toolchain.
const LIBRARY: &str = "RUST_SRC_PATH";

/// What the engine needs to know at its start.
#[derive(Clone, Default)]
pub struct Environment {
    /// The executable that becomes the engine: this program.
    pub executable: PathBuf,
    /// Variables for the engine and the program of the cells.
    pub variables: BTreeMap<String, String>,
    /// The directory that cells' relative paths start from; the kernel's own when unset.
    pub directory: Option<PathBuf>,
    /// Outputs that the cells' programs hand in beside their streams.
    pub held: Option<Arc<dyn Held>>,
    /// The crate for the cells.
    pub helper: Helper,
}

/// When the engine's analyser reads the standard library, which takes most of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// While the engine starts.
    AtOnce,
    /// With the first dependency: the analyser reads all anew when there is one more.
    Later,
}

/// Why the engine could not be started.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// The machine lacks something.
    #[error("{message}")]
    Missing {
        /// What.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Files or the process itself could not be made.
    #[error("the Rust engine could not be started: {0}")]
    System(String),
    /// It started and ended.
    #[error("the Rust engine ended while starting ({exit}){log}")]
    Ended {
        /// How it ended.
        exit: String,
        /// What it said last.
        log: String,
    },
    /// It never answered.
    #[error("the Rust engine did not answer within {} seconds{log}", START_LIMIT.as_secs())]
    Silent {
        /// What it said last.
        log: String,
    },
}

impl StartError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { hint, .. } => hint.clone(),
            Self::System(_) => Some(
                "free disk space and a writable temporary directory are needed (TMPDIR)".into(),
            ),
            Self::Ended { .. } => {
                Some("run the cell again; if it ends again, `rustc --version` may tell why".into())
            }
            Self::Silent { .. } => Some("run the cell again when the machine is less busy".into()),
        }
    }
}

impl From<MissingToolchain> for StartError {
    fn from(missing: MissingToolchain) -> Self {
        Self::Missing {
            message: missing.to_string(),
            hint: missing.hint(),
        }
    }
}

impl From<std::io::Error> for StartError {
    fn from(error: std::io::Error) -> Self {
        Self::System(error.to_string())
    }
}

/// Stands in for the standard library's source below a directory: the analyser takes it for one
/// without crates, and for none when it is gone. `None` where a person chose another source.
pub(super) fn empty_library(
    environment: &Environment,
    directory: &Path,
) -> std::io::Result<Option<PathBuf>> {
    if environment.variables.contains_key(LIBRARY) || std::env::var_os(LIBRARY).is_some() {
        return Ok(None);
    }
    let library = directory.join("library");
    std::fs::create_dir_all(library.join("core"))?;
    Ok(Some(library))
}

/// The command that starts the engine. `library` stands in for the standard library's source.
pub(super) fn command(
    environment: &Environment,
    toolchain: &Toolchain,
    connection: &Path,
    build: &Path,
    library: Option<&Path>,
) -> tokio::process::Command {
    let mut libraries = vec![toolchain.libraries.clone()];
    if let Some(more) = std::env::var_os("LD_LIBRARY_PATH") {
        libraries.extend(std::env::split_paths(&more));
    }
    let mut command = tokio::process::Command::new(&environment.executable);
    command
        .arg("--control_file")
        .arg(connection)
        .envs(&environment.variables)
        .env("PATH", &toolchain.path)
        // A cell's library looks for libstd relative to the wrong directory.
        .env(
            "LD_LIBRARY_PATH",
            std::env::join_paths(libraries).unwrap_or_else(|_| toolchain.libraries.clone().into()),
        )
        .env("EVCXR_TMPDIR", build)
        // At its start the engine would "update" a Rust kernel found under this path to itself.
        .env("JUPYTER_PATH", build.join("none"))
        .env_remove("EVCXR_IS_RUNTIME")
        .env_remove("EVCXR_RUSTC_WRAPPER")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(library) = library {
        command.env(LIBRARY, library);
    }
    if let Some(directory) = &environment.directory {
        command.current_dir(directory);
    }
    command
}

/// A connection on ports that are free now.
pub(super) fn free_connection() -> std::io::Result<Connection> {
    let listeners: Vec<TcpListener> = (0..5)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<Result<_, _>>()?;
    let ports: Vec<u16> = listeners
        .iter()
        .map(|listener| listener.local_addr().map(|at| at.port()))
        .collect::<Result<_, _>>()?;
    Ok(Connection {
        transport: "tcp".to_owned(),
        ip: "127.0.0.1".to_owned(),
        shell_port: ports[0],
        control_port: ports[1],
        stdin_port: ports[2],
        iopub_port: ports[3],
        hb_port: ports[4],
        key: uuid::Uuid::new_v4().to_string(),
        signature_scheme: "hmac-sha256".to_owned(),
    })
}
