//! The connection to an engine.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::Result;
use super::endpoint::{Candidate, Endpoint, Surroundings};
use super::error::Error;
use super::stream::{Messages, root_cause};
use super::transport::Transport;
use crate::credentials::Store;
use crate::tls;

/// How long an engine may think before it answers an ordinary question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What kind of engine answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Docker's own.
    Docker,
    /// Podman, which speaks Docker's API too.
    Podman,
}

/// What an engine said of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Docker or Podman.
    pub product: Product,
    /// The product's version, e.g. `20.10.24`.
    pub version: String,
    /// The newest API it speaks.
    pub api: String,
    /// Its operating system, e.g. `linux`.
    pub os: String,
    /// Its processor, e.g. `amd64`.
    pub architecture: String,
    /// How many processors it has.
    pub cpus: Option<i64>,
    /// How much memory it has, in bytes.
    pub memory: Option<i64>,
    /// How many images it holds.
    pub images: Option<i64>,
    /// How many containers run on it.
    pub running: Option<i64>,
    /// Registries it talks to without checking certificates.
    pub insecure_registries: Vec<String>,
}

/// A connection to an engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    docker: Docker,
    transport: Transport,
    candidate: Candidate,
    product: Product,
    api: (u32, u32),
    credentials: Option<Store>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("endpoint", &self.inner.candidate.endpoint.to_string())
            .finish()
    }
}

impl Engine {
    /// Finds the engine as the docker CLI does, with this process's environment.
    ///
    /// # Errors
    /// [`Error::NoEngine`] when none answers; [`Error::Unreachable`] when the named one does not.
    pub async fn connect(host: Option<&str>) -> Result<Self> {
        Self::connect_in(&Surroundings::of_process(), host).await
    }

    /// Finds the engine in given surroundings.
    ///
    /// # Errors
    /// As [`Engine::connect`].
    pub async fn connect_in(surroundings: &Surroundings, host: Option<&str>) -> Result<Self> {
        let candidates = surroundings.candidates(host)?;
        let mut tried = Vec::new();
        let mut forbidden = false;
        for candidate in candidates {
            match Self::open(candidate.clone(), surroundings).await {
                Ok(engine) => return Ok(engine),
                Err(OpenError::Version(version)) => {
                    return Err(Error::TooOld {
                        endpoint: candidate.endpoint.to_string(),
                        version,
                    });
                }
                Err(OpenError::Tls(trouble)) => {
                    return Err(Error::Tls {
                        endpoint: candidate.endpoint.to_string(),
                        source_name: candidate.source,
                        why: trouble.why,
                        hint: trouble.hint,
                    });
                }
                Err(OpenError::Connect { why, kind }) => {
                    if candidate.named {
                        return Err(Error::Unreachable {
                            endpoint: candidate.endpoint.to_string(),
                            source_name: candidate.source,
                            why,
                        });
                    }
                    forbidden |= kind == Some(io::ErrorKind::PermissionDenied);
                    let why = match kind {
                        Some(io::ErrorKind::NotFound) => "no such socket".to_owned(),
                        Some(io::ErrorKind::PermissionDenied) => "permission denied".to_owned(),
                        Some(io::ErrorKind::ConnectionRefused) => "nobody listens".to_owned(),
                        _ => why,
                    };
                    tried.push((candidate.endpoint.to_string(), why));
                }
            }
        }
        Err(Error::NoEngine { tried, forbidden })
    }

    async fn open(candidate: Candidate, surroundings: &Surroundings) -> Result<Self, OpenError> {
        let transport =
            Transport::new(&candidate.endpoint).map_err(|error| OpenError::Connect {
                why: error.to_string(),
                kind: None,
            })?;
        let ping = send(&transport, Method::GET, "/_ping", &[], empty());
        let response = tokio::time::timeout(Duration::from_secs(15), ping)
            .await
            .map_err(|_| OpenError::Connect {
                why: "no answer within 15 seconds".to_owned(),
                kind: None,
            })?;
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                if let Endpoint::Tls { files, .. } = &candidate.endpoint
                    && let Some(error) = transport.tls_refusal().await
                {
                    return Err(OpenError::Tls(tls::trouble(&error, files)));
                }
                return Err(OpenError::Connect {
                    kind: io_kind(&error),
                    why: root_cause(&error),
                });
            }
        };
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        let product = if header("libpod-api-version").is_some() {
            Product::Podman
        } else {
            Product::Docker
        };
        let Some(api) = header("api-version") else {
            let plain = matches!(candidate.endpoint, Endpoint::Tcp { .. });
            if plain && response.status() == StatusCode::BAD_REQUEST {
                // What a server written in Go answers on a port for TLS.
                return Err(OpenError::Tls(tls::Trouble {
                    why: "it seems to want TLS, and was asked without".to_owned(),
                    hint: "Set DOCKER_TLS_VERIFY=1, and DOCKER_CERT_PATH to the folder of ca.pem, cert.pem and key.pem.".to_owned(),
                }));
            }
            return Err(OpenError::Connect {
                why: "what answers there is not a Docker Engine".to_owned(),
                kind: None,
            });
        };
        let api = match parse_version(&api) {
            Some(version) if version >= (1, 40) => version,
            _ => return Err(OpenError::Version(api)),
        };
        let docker =
            transport
                .typed_client(ANSWER_TIMEOUT)
                .map_err(|error| OpenError::Connect {
                    why: error.to_string(),
                    kind: None,
                })?;
        let inner = Inner {
            docker,
            transport,
            candidate,
            product,
            api,
            credentials: Store::from_variables(|name| surroundings.variables.get(name).cloned())
                .ok(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The same engine, with credentials from another store than the user's own.
    pub fn with_credentials(&self, store: Store) -> Self {
        let inner = &*self.inner;
        Self {
            inner: Arc::new(Inner {
                docker: inner.docker.clone(),
                transport: inner.transport.clone(),
                candidate: inner.candidate.clone(),
                product: inner.product,
                api: inner.api,
                credentials: Some(store),
            }),
        }
    }

    /// Where this engine listens and who named it.
    pub fn candidate(&self) -> &Candidate {
        &self.inner.candidate
    }

    /// Docker or Podman.
    pub fn product(&self) -> Product {
        self.inner.product
    }

    /// The newest API the engine speaks.
    pub fn api(&self) -> (u32, u32) {
        self.inner.api
    }

    /// bollard's client for this engine, for calls that this module has no word for.
    pub fn bollard(&self) -> &Docker {
        &self.inner.docker
    }

    /// The way to this engine, for what bollard does not read as Podman writes it.
    pub fn transport(&self) -> &Transport {
        &self.inner.transport
    }

    /// The credentials used for this engine's pulls and pushes.
    pub fn credentials(&self) -> Option<&Store> {
        self.inner.credentials.as_ref()
    }

    /// What the engine says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn facts(&self) -> Result<Facts> {
        let (version, info) = tokio::try_join!(self.get_json("/version"), self.get_json("/info"))?;
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let mut insecure: Vec<String> = Vec::new();
        if let Some(indexes) = info["RegistryConfig"]["IndexConfigs"].as_object() {
            insecure.extend(
                indexes
                    .iter()
                    .filter(|(_, index)| index["Secure"] == Value::Bool(false))
                    .map(|(name, _)| name.clone()),
            );
        }
        if let Some(networks) = info["RegistryConfig"]["InsecureRegistryCIDRs"].as_array() {
            insecure.extend(networks.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        Ok(Facts {
            product: self.inner.product,
            version: text(&version, "Version"),
            api: text(&version, "ApiVersion"),
            os: text(&version, "Os"),
            architecture: text(&version, "Arch"),
            cpus: info["NCPU"].as_i64(),
            memory: info["MemTotal"].as_i64(),
            images: info["Images"].as_i64(),
            running: info["ContainersRunning"].as_i64(),
            insecure_registries: insecure,
        })
    }

    async fn get_json(&self, path: &str) -> Result<Value> {
        let response = self.raw(Method::GET, path, &[], empty()).await?;
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| self.gone("a question", &error))?
            .to_bytes();
        serde_json::from_slice(&body).map_err(|error| Error::Refused {
            action: format!("answer {path}"),
            status: None,
            why: error.to_string(),
        })
    }

    /// Sends a request of our own; an answer that is a refusal becomes [`Error::Refused`].
    pub(super) async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: BoxBody<Bytes, io::Error>,
    ) -> Result<Response<Incoming>> {
        let response = send(&self.inner.transport, method, path, headers, body)
            .await
            .map_err(|error| self.gone("a request", &error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        let body = response
            .into_body()
            .collect()
            .await
            .map(|body| body.to_bytes())
            .unwrap_or_default();
        Err(Error::Refused {
            action: path.split('?').next().unwrap_or(path).to_owned(),
            status: Some(status.as_u16()),
            why: message_of(&body).unwrap_or_else(|| status.to_string()),
        })
    }

    /// As [`Engine::raw`], for an answer that is a stream of messages, unless cancelled first.
    pub(super) async fn stream(
        &self,
        path: &str,
        headers: &[(&str, String)],
        body: BoxBody<Bytes, io::Error>,
        cancel: &CancellationToken,
    ) -> Result<Messages> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Interrupted),
            response = self.raw(Method::POST, path, headers, body) => Ok(Messages::of(response?)),
        }
    }

    pub(super) fn gone(&self, during: &str, error: &(dyn std::error::Error + 'static)) -> Error {
        Error::Gone {
            during: during.to_owned(),
            why: root_cause(error),
        }
    }

    /// Words for one of bollard's errors.
    pub(super) fn refused(
        &self,
        action: impl Into<String>,
        error: bollard::errors::Error,
    ) -> Error {
        use bollard::errors::Error as B;
        let action = action.into();
        match error {
            B::DockerResponseServerError {
                status_code,
                message,
            } => Error::Refused {
                action,
                status: Some(status_code),
                why: message,
            },
            B::DockerStreamError { error } => Error::Refused {
                action,
                status: None,
                why: error,
            },
            B::RequestTimeoutError => Error::Gone {
                during: action,
                why: format!("no answer within {} seconds", ANSWER_TIMEOUT.as_secs()),
            },
            B::JsonDataError { message, .. } => unreadable(action, &message),
            B::JsonSerdeError { err } => unreadable(action, &err),
            other => Error::Gone {
                during: action,
                why: root_cause(&other),
            },
        }
    }
}

fn unreadable(action: String, why: &dyn std::fmt::Display) -> Error {
    Error::Refused {
        action,
        status: None,
        why: format!("its answer does not read as expected: {why}"),
    }
}

enum OpenError {
    Tls(tls::Trouble),
    Connect {
        why: String,
        kind: Option<io::ErrorKind>,
    },
    Version(String),
}

/// A request without a body.
pub(super) fn empty() -> BoxBody<Bytes, io::Error> {
    Empty::new().map_err(|never| match never {}).boxed()
}

/// A request with a JSON body.
pub(super) fn full(bytes: impl Into<Bytes>) -> BoxBody<Bytes, io::Error> {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

async fn send(
    transport: &Transport,
    method: Method,
    path: &str,
    headers: &[(&str, String)],
    body: BoxBody<Bytes, io::Error>,
) -> Result<Response<Incoming>, SendError> {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("http://engine{path}"));
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(body).map_err(SendError::Request)?;
    transport.send(request).await.map_err(SendError::Send)
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("the request is malformed: {0}")]
    Request(#[source] http::Error),
    #[error("cannot send")]
    Send(#[source] hyper_util::client::legacy::Error),
}

fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = current.source();
    }
    None
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The engine's own words in the body of a refusal.
pub(super) fn message_of(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let message = value["message"]
        .as_str()
        .or_else(|| value["cause"].as_str())?;
    Some(message.trim().to_owned())
}

/// Percent-encodes one value of a query.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions_compare_as_numbers() {
        assert!(parse_version("1.100") > parse_version("1.41"));
        assert!(parse_version("1.39").unwrap() < (1, 40));
        assert_eq!(parse_version("next"), None);
    }

    #[test]
    fn a_query_value_survives_whatever_is_in_it() {
        assert_eq!(encode("a b&c=d/é"), "a%20b%26c%3Dd%2F%C3%A9");
    }
}
