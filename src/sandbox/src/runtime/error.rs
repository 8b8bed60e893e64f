//! What may go wrong while running pods.

use katlab_lab::docker::root_cause;

/// Why the pod runtime cannot go on, or could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What names the engine (`DOCKER_HOST`, a docker context) makes no sense.
    #[error(transparent)]
    Address(katlab_lab::docker::Error),
    /// The engine did not answer, or said no.
    #[error("Docker Engine at {address}: {action}: {}", root_cause(source))]
    Engine {
        /// Where the engine was looked for.
        address: String,
        /// What was asked of it.
        action: String,
        /// What came back.
        source: bollard::errors::Error,
    },
    /// A pod's infrastructure container does not run.
    #[error("the pod's sandbox: {reason}")]
    Pause {
        /// Why.
        reason: String,
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
            Self::Address(error) => error.hint(),
            Self::Engine { .. } => Some(
                "Start the Docker Engine (`sudo service docker start`) and see that `docker info` answers for this user."
                    .into(),
            ),
            Self::Api { .. } | Self::Pause { .. } => None,
            Self::File { .. } => {
                Some("Look at free space and permissions of the sandbox's directory.".into())
            }
        }
    }
}
