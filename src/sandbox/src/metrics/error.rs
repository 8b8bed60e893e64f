//! What may go wrong with observations.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Why observations could not be kept, read or served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database file cannot be opened or is damaged.
    #[error("observation log: cannot open {path}: {source}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// A read or write of the database failed; nothing of it was kept.
    #[error("observation log: cannot {action} rows of trial {namespace}/{trial}: {source}")]
    Query {
        /// report, read or delete.
        action: &'static str,
        /// The trial's namespace; empty where only its name is known.
        namespace: String,
        /// The trial.
        trial: String,
        /// SQLite's reason.
        source: rusqlite::Error,
    },
    /// The process is shutting down.
    #[error("observation log: interrupted by shutdown")]
    Interrupted,
    /// The port is taken, or the address is not this machine's.
    #[error("observation log: cannot listen on {address}: {source}")]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The gRPC server failed.
    #[error("observation log: stopped serving: {source}")]
    Serve {
        /// The reason.
        source: tonic::transport::Error,
    },
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open { path, .. } => Some(format!(
                "Look at free space and permissions; if {} is damaged, move it away: only the metric rows are in it.",
                path.display()
            )),
            Self::Query { .. } => {
                Some("Look at free space where the sandbox keeps its state.".into())
            }
            Self::Bind { .. } => Some("Another program holds the port: stop it.".into()),
            Self::Interrupted | Self::Serve { .. } => None,
        }
    }
}
