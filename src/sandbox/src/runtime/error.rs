//! What may go wrong while running pods.

/// Why the pod runtime cannot go on, or could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `DOCKER_HOST` or the option names no address of a Docker Engine.
    #[error("{address:?} is no address of a Docker Engine: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine did not answer, or said no.
    #[error("Docker Engine at {address}: {action}: {source}")]
    Engine {
        /// Where the engine was looked for.
        address: String,
        /// What was asked of it.
        action: String,
        /// What came back.
        source: bollard::errors::Error,
    },
    /// The API server refused or did not answer.
    #[error("API server: {action}: {source}")]
    Api {
        /// What was asked of it.
        action: String,
        /// What came back.
        source: Box<kube::Error>,
    },
    /// A file of the sandbox's directory could not be written.
    #[error("cannot write {path}: {source}", path = path.display())]
    File {
        /// Which file.
        path: std::path::PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Address { .. } => {
                Some("Give DOCKER_HOST as unix:///path/to/docker.sock or tcp://HOST:PORT.".into())
            }
            Self::Engine { .. } => Some(
                "Start the Docker Engine (`sudo service docker start`) and see that `docker info` answers for this user."
                    .into(),
            ),
            Self::Api { .. } => None,
            Self::File { .. } => {
                Some("Look at free space and permissions of the sandbox's directory.".into())
            }
        }
    }
}
