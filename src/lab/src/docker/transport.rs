//! One HTTP client for the engine, used by bollard and by our raw calls alike.
//!
//! It also mends two things on the way: bollard encodes registry credentials in the standard
//! base64 alphabet where the engine wants the URL-safe one, so that some passwords fail; and it
//! refuses the states that Podman has beyond Docker's, so containers are asked for here.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::{BollardRequest, Docker};
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::upgrade::Upgraded;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::endpoint::Endpoint;
use super::engine::{empty, encode, full, message_of};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an engine may think about one container.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client for one engine. Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct Transport {
    typed: Client<Connector, <BollardRequest as RequestBody>::Body>,
    raw: Client<Connector, BoxBody<Bytes, io::Error>>,
    target: Arc<Target>,
}

/// Names the body type of a request type, which bollard does not export.
trait RequestBody {
    type Body;
}

impl<B> RequestBody for Request<B> {
    type Body = B;
}

impl Transport {
    /// A client for this endpoint; nothing is connected yet.
    ///
    /// # Errors
    /// When the endpoint's certificates cannot be read.
    pub fn new(endpoint: &Endpoint) -> io::Result<Self> {
        let target = Arc::new(Target::of(endpoint)?);
        let connector = Connector {
            target: Arc::clone(&target),
        };
        Ok(Self {
            typed: Client::builder(TokioExecutor::new()).build(connector.clone()),
            raw: Client::builder(TokioExecutor::new()).build(connector),
            target,
        })
    }

    /// Sends one of bollard's requests.
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub async fn send_typed(
        &self,
        mut request: BollardRequest,
    ) -> Result<Response<Incoming>, BollardError> {
        for name in ["x-registry-auth", "x-registry-config"] {
            if let Some(value) = request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                && value.contains(['+', '/'])
                && let Ok(mended) =
                    HeaderValue::from_str(&value.replace('+', "-").replace('/', "_"))
            {
                request.headers_mut().insert(name, mended);
            }
        }
        Ok(self.typed.request(request).await?)
    }

    /// Sends a request of our own.
    ///
    /// # Errors
    /// When the engine cannot be reached.
    pub async fn send(
        &self,
        request: Request<BoxBody<Bytes, io::Error>>,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        self.raw.request(request).await
    }

    /// What TLS has against a connection, found by making one and asking something on it.
    ///
    /// An engine refuses our certificate only after we took the handshake for done; the HTTP client
    /// then knows no more than that its connection is gone.
    pub(super) async fn tls_refusal(&self) -> Option<rustls::Error> {
        let asking = async {
            let mut stream = self.target.connect().await?;
            stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n").await?;
            stream.flush().await?;
            stream.read_u8().await
        };
        let refused = tokio::time::timeout(CONNECT_TIMEOUT, asking)
            .await
            .ok()?
            .err()?;
        refused.into_inner()?.downcast().ok().map(|error| *error)
    }

    /// bollard's client on this transport. An answer must begin within the timeout.
    ///
    /// # Errors
    /// bollard's own; none is known.
    pub fn typed_client(&self, timeout: Duration) -> Result<Docker, BollardError> {
        let transport = self.clone();
        Docker::connect_with_custom_transport(
            move |request: BollardRequest| {
                let transport = transport.clone();
                Box::pin(async move { transport.send_typed(request).await })
            },
            Some("http://engine"),
            timeout.as_secs(),
            bollard::API_DEFAULT_VERSION,
        )
    }

    /// A container, by name or id, as `docker inspect` shows it.
    ///
    /// # Errors
    /// bollard's, as from its own call: the engine does not answer, or has no such container.
    pub async fn inspect_container(
        &self,
        name: &str,
    ) -> Result<ContainerInspectResponse, BollardError> {
        let path = format!("/containers/{}/json", encode(name));
        self.get(&path, |container| {
            as_docker_says(&mut container["State"]["Status"])
        })
        .await
    }

    /// The containers that a filter lets through, also those that ended.
    ///
    /// # Errors
    /// bollard's, as from its own call.
    pub async fn list_containers(
        &self,
        filter: &str,
        values: &[String],
    ) -> Result<Vec<ContainerSummary>, BollardError> {
        let filters = serde_json::json!({ filter: values }).to_string();
        let path = format!("/containers/json?all=true&filters={}", encode(&filters));
        self.get(&path, |list| {
            for container in list.as_array_mut().into_iter().flatten() {
                as_docker_says(&mut container["State"]);
            }
        })
        .await
    }

    /// Asks something after which the connection carries the bytes of a process, in both directions. Shutting its
    /// writing side down closes the process's standard input.
    ///
    /// # Errors
    /// bollard's, as from its own calls: the engine does not answer, or refuses.
    pub async fn hijack(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<TokioIo<Upgraded>, BollardError> {
        let request = Request::post(format!("http://engine{path}"))
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "tcp")
            .header(CONTENT_TYPE, "application/json")
            .body(full(body.to_string()))?;
        let asking = async {
            let response = self.send(request).await?;
            let status = response.status();
            if status == StatusCode::SWITCHING_PROTOCOLS {
                return Ok(TokioIo::new(hyper::upgrade::on(response).await?));
            }
            let body = response.into_body().collect().await?.to_bytes();
            Err(refused(status, &body))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, asking)
            .await
            .map_err(|_| BollardError::RequestTimeoutError)?
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        mend: impl FnOnce(&mut Value),
    ) -> Result<T, BollardError> {
        let request = Request::get(format!("http://engine{path}")).body(empty())?;
        let asking = async {
            let response = self.send(request).await?;
            let status = response.status();
            Ok::<_, BollardError>((status, response.into_body().collect().await?.to_bytes()))
        };
        let (status, body) = tokio::time::timeout(ANSWER_TIMEOUT, asking)
            .await
            .map_err(|_| BollardError::RequestTimeoutError)??;
        if !status.is_success() {
            return Err(refused(status, &body));
        }
        let mut value = serde_json::from_slice(&body)?;
        mend(&mut value);
        Ok(serde_json::from_value(value)?)
    }
}

fn refused(status: StatusCode, body: &[u8]) -> BollardError {
    BollardError::DockerResponseServerError {
        status_code: status.as_u16(),
        message: message_of(body).unwrap_or_else(|| status.to_string()),
    }
}

/// Podman's words for a container's state that Docker's API has not.
fn as_docker_says(state: &mut Value) {
    let docker = match state.as_str() {
        // Ended, and its mounts and network are not put away yet.
        Some("stopped") => "exited",
        Some("configured" | "initialized") => "created",
        _ => return,
    };
    *state = Value::from(docker);
}

enum Target {
    Unix(std::path::PathBuf),
    Tcp(String),
    Tls {
        address: String,
        name: rustls::pki_types::ServerName<'static>,
        config: Arc<rustls::ClientConfig>,
    },
}

impl Target {
    fn of(endpoint: &Endpoint) -> io::Result<Self> {
        Ok(match endpoint {
            Endpoint::Unix(path) => Self::Unix(path.clone()),
            Endpoint::Tcp { address } => Self::Tcp(address.clone()),
            Endpoint::Tls { address, files } => {
                let host = address
                    .rsplit_once(':')
                    .map_or(address.as_str(), |(host, _)| host)
                    .trim_matches(['[', ']']);
                let name = rustls::pki_types::ServerName::try_from(host.to_owned())
                    .map_err(io::Error::other)?;
                Self::Tls {
                    address: address.clone(),
                    name,
                    config: crate::tls::client_config(files)?,
                }
            }
        })
    }

    async fn connect(&self) -> io::Result<Box<dyn Duplex>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => Box::new(TcpStream::connect(address).await?),
            Self::Tls {
                address,
                name,
                config,
            } => {
                let stream = TcpStream::connect(address).await?;
                let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                Box::new(connector.connect(name.clone(), stream).await?)
            }
        })
    }
}

#[derive(Clone)]
struct Connector {
    target: Arc<Target>,
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// A connection of any kind.
struct Wire(TokioIo<Box<dyn Duplex>>);

impl tower::Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let target = Arc::clone(&self.target);
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, target.connect()).await {
                Ok(stream) => Ok(Wire(TokioIo::new(stream?))),
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "no answer within 10 seconds",
                )),
            }
        })
    }
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_states_become_dockers_and_others_stay() {
        for (podman, docker) in [
            ("stopped", "exited"),
            ("initialized", "created"),
            ("running", "running"),
        ] {
            let mut state = Value::from(podman);
            as_docker_says(&mut state);
            assert_eq!(state, docker);
        }
    }
}
