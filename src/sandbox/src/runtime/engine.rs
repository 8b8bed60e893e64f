//! The connection to the Docker Engine.

use std::path::Path;

use base64::Engine as _;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use http::HeaderValue;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::error::Error;

/// How long the engine may take until it begins to answer.
const TIMEOUT: u64 = 120;

/// A Docker Engine. Connections are made when they are needed, so an engine that is down now may be
/// up for the next call.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    address: String,
}

impl Engine {
    /// The engine at `host` (`unix://…`, `tcp://…`), or the one `DOCKER_HOST` names, or that of the usual
    /// socket. Nothing is asked of it yet.
    pub fn connect(host: Option<&str>) -> Result<Self, Error> {
        let address = match host
            .map(str::to_owned)
            .or_else(|| std::env::var("DOCKER_HOST").ok())
        {
            Some(address) if !address.is_empty() => address,
            _ => usual_socket(),
        };
        let invalid = |reason: String| Error::Address {
            address: address.clone(),
            reason,
        };
        let docker = if let Some(path) = address.strip_prefix("unix://") {
            over_socket(path)
        } else if address.starts_with("tcp://") || address.starts_with("http://") {
            let secure = std::env::var("DOCKER_TLS_VERIFY").is_ok_and(|value| !value.is_empty());
            if secure {
                Docker::connect_with_ssl_defaults()
            } else {
                Docker::connect_with_http(&address, TIMEOUT, API_DEFAULT_VERSION)
            }
        } else {
            return Err(invalid(
                "the sandbox reaches engines by unix:// or tcp://".into(),
            ));
        };
        let docker = docker.map_err(|error| invalid(error.to_string()))?;
        Ok(Self {
            docker: docker.with_request_modifier(with_url_safe_credentials),
            address,
        })
    }

    /// The client.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Where the engine is looked for.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn failed(
        &self,
        action: impl Into<String>,
        source: bollard::errors::Error,
    ) -> Error {
        Error::Engine {
            address: self.address.clone(),
            action: action.into(),
            source,
        }
    }
}

fn usual_socket() -> String {
    let mut candidates = vec!["/var/run/docker.sock".to_owned()];
    if let Ok(directory) = std::env::var("XDG_RUNTIME_DIR") {
        candidates.push(format!("{directory}/docker.sock"));
        candidates.push(format!("{directory}/podman/podman.sock"));
    }
    candidates.push("/run/podman/podman.sock".to_owned());
    let found = candidates.iter().position(|path| Path::new(path).exists());
    format!("unix://{}", candidates.swap_remove(found.unwrap_or(0)))
}

/// bollard's own socket connection refuses to be made while the socket is missing; this one is made at
/// any time and fails call by call.
fn over_socket(path: &str) -> Result<Docker, bollard::errors::Error> {
    let path: std::sync::Arc<Path> = Path::new(path).into();
    let connector = tower::service_fn(move |_: http::Uri| {
        let path = path.clone();
        Box::pin(async move {
            tokio::net::UnixStream::connect(&path)
                .await
                .map(TokioIo::new)
        })
    });
    let client = Client::builder(TokioExecutor::new()).build(connector);
    Docker::connect_with_custom_transport(
        move |request: BollardRequest| {
            let client = client.clone();
            async move {
                client
                    .request(request)
                    .await
                    .map_err(bollard::errors::Error::from)
            }
        },
        Some("http://docker"),
        TIMEOUT,
        API_DEFAULT_VERSION,
    )
}

/// The engine reads credentials in the URL-safe alphabet, bollard writes them in the standard one: a
/// password with an unlucky letter would be refused or, worse, ignored.
fn with_url_safe_credentials(mut request: BollardRequest) -> BollardRequest {
    for name in ["x-registry-auth", "x-registry-config"] {
        let Some(value) = request.headers().get(name) else {
            continue;
        };
        let safe: Vec<u8> = value
            .as_bytes()
            .iter()
            .map(|byte| match byte {
                b'+' => b'-',
                b'/' => b'_',
                other => *other,
            })
            .collect();
        debug_assert!(
            base64::engine::general_purpose::URL_SAFE
                .decode(&safe)
                .is_ok(),
            "credentials are base64"
        );
        if let Ok(mut value) = HeaderValue::from_bytes(&safe) {
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
        }
    }
    request
}

/// Whether an error says that the engine could not be reached, rather than that it said no.
pub(super) fn is_unreachable(error: &bollard::errors::Error) -> bool {
    use bollard::errors::Error as E;
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
pub(super) fn refusal(error: &bollard::errors::Error) -> Option<(u16, &str)> {
    match error {
        bollard::errors::Error::DockerResponseServerError {
            status_code,
            message,
        } => Some((*status_code, message)),
        _ => None,
    }
}
