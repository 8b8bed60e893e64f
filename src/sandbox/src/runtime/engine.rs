//! The connection to the engine that runs the pods.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as BollardError;
use katlab_lab::docker::endpoint::{Endpoint, Surroundings};
use katlab_lab::docker::transport::Transport;

use super::error::Error;

/// How long the engine may take until it begins to answer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A Docker Engine. Connections are made when they are needed, so an engine that is down now may be
/// up for the next call.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    transport: Transport,
    address: String,
    is_here: bool,
}

impl Engine {
    /// The engine at `host` (`unix://…`, `tcp://…`), or the one that `DOCKER_HOST`, the docker context or
    /// the usual sockets name, found by the same rules as for images. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`Error::Address`] when what names the engine makes no sense, or its certificates cannot be read.
    pub fn connect(host: Option<&str>) -> Result<Self, Error> {
        let candidate = Surroundings::of_process()
            .lasting(host)
            .map_err(Error::Address)?;
        let address = candidate.endpoint.to_string();
        let failed = |why: String| {
            Error::Address(katlab_lab::docker::Error::Unreachable {
                endpoint: address.clone(),
                source_name: candidate.source.clone(),
                why,
            })
        };
        let transport =
            Transport::new(&candidate.endpoint).map_err(|error| failed(error.to_string()))?;
        let docker = transport
            .typed_client(TIMEOUT)
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            docker,
            transport,
            address,
            is_here: matches!(candidate.endpoint, Endpoint::Unix(_)),
        })
    }

    /// The client.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// The way to the engine, for what its client does not read as Podman writes it.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Whether it sees this machine's files: one behind a Unix socket does, any other may be on another machine.
    pub(super) fn sees_files(&self) -> bool {
        self.is_here
    }

    /// Where the engine is looked for.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn failed(&self, action: impl Into<String>, source: BollardError) -> Error {
        Error::Engine {
            address: self.address.clone(),
            action: action.into(),
            source,
        }
    }
}

/// Whether an error says that the engine could not be reached, rather than that it said no.
pub(super) fn is_unreachable(error: &BollardError) -> bool {
    use BollardError as E;
    matches!(
        error,
        E::HyperLegacyError { .. }
            | E::HyperResponseError { .. }
            | E::IOError { .. }
            | E::RequestTimeoutError
            | E::SocketNotFoundError(_)
    )
}

/// The status of an answer that was an error.
pub(super) fn refusal(error: &BollardError) -> Option<(u16, &str)> {
    match error {
        BollardError::DockerResponseServerError {
            status_code,
            message,
        } => Some((*status_code, message)),
        _ => None,
    }
}

/// Whether the engine has a container of this name already. Podman says 500 where Docker says 409.
pub(super) fn is_taken(error: &BollardError) -> bool {
    refusal(error)
        .is_some_and(|(status, message)| status == 409 || message.contains("is already in use"))
}

/// Whether a container stays because of another one that shares its network, in Podman's words.
pub(super) fn is_depended_on(error: &Error) -> bool {
    matches!(error, Error::Engine { source, .. }
        if refusal(source).is_some_and(|(_, message)| message.contains("dependent containers")))
}
