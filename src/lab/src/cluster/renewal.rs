//! A client that survives an expired credential and never waits for ever.
//!
//! A token without an expiry date is never refreshed by the client library, and its retry policy
//! is too patient for a cell. This layer bounds the wait for an answer, tries a busy server again
//! a few times, and on 401 builds the inner client anew once, which runs the credential plug-in or
//! reads the token file again.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use kube::{Client, Config};
use tokio::sync::RwLock;
use tower::BoxError;

use super::{Error, Result};

/// How long a server may take to begin its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a busy server (429, 503) is asked again, and the first pause.
const BUSY_RETRIES: u32 = 3;
const BUSY_PAUSE: Duration = Duration::from_millis(150);

/// The server did not begin to answer in time.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} seconds", ANSWER_TIMEOUT.as_secs())]
pub(super) struct NoAnswer;

struct Shared {
    config: Config,
    /// The client and how many times it was built.
    current: RwLock<(u64, Client)>,
}

#[derive(Clone)]
struct Renewing(Arc<Shared>);

/// Builds the client; the first run of a credential plug-in happens here.
pub(super) async fn client(config: Config, namespace: &str, server: &str) -> Result<Client> {
    let plugin = config
        .auth_info
        .exec
        .as_ref()
        .and_then(|exec| exec.command.clone());
    let hint = config
        .auth_info
        .exec
        .as_ref()
        .and_then(|exec| exec.install_hint.clone());
    let inner = build(config.clone())
        .await
        .map_err(|error| match (error, plugin) {
            (kube::Error::Auth(reason), Some(command)) => Error::CredentialPlugin {
                command,
                reason: plugin_reason(&reason),
                install: hint,
            },
            (error, _) => Error::Client {
                server: server.to_owned(),
                reason: super::kubeconfig::with_causes(&error),
            },
        })?;
    let shared = Shared {
        config,
        current: RwLock::new((0, inner)),
    };
    Ok(Client::new(Renewing(Arc::new(shared)), namespace))
}

fn plugin_reason(error: &kube::client::AuthError) -> String {
    match error {
        kube::client::AuthError::AuthExecRun { out, .. } => {
            let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
            if said.is_empty() {
                format!("it ended with {}", out.status)
            } else {
                said
            }
        }
        kube::client::AuthError::AuthExecStart(error) => error.to_string(),
        other => super::kubeconfig::with_causes(other),
    }
}

/// Plug-ins run synchronously inside the constructor, so it must not block the runtime.
async fn build(config: Config) -> std::result::Result<Client, kube::Error> {
    match tokio::task::spawn_blocking(move || Client::try_from(config)).await {
        Ok(result) => result,
        Err(error) => Err(kube::Error::Service(error.into())),
    }
}

impl Shared {
    async fn renew(&self, seen: u64) -> std::result::Result<Client, kube::Error> {
        let mut current = self.current.write().await;
        if current.0 == seen {
            *current = (seen + 1, build(self.config.clone()).await?);
        }
        Ok(current.1.clone())
    }

    async fn send(&self, request: Request<Body>) -> std::result::Result<Response<Body>, BoxError> {
        // Requests of this client are small and in memory; kept, so that they can be sent again.
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await?.to_bytes();
        let (generation, client) = self.current.read().await.clone();
        let response = attempt(&client, &parts, &bytes).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let renewed = self.renew(generation).await?;
        attempt(&renewed, &parts, &bytes).await
    }
}

async fn attempt(
    client: &Client,
    parts: &http::request::Parts,
    body: &Bytes,
) -> std::result::Result<Response<Body>, BoxError> {
    let mut pause = BUSY_PAUSE;
    let mut left = BUSY_RETRIES;
    loop {
        let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
        let response = tokio::time::timeout(ANSWER_TIMEOUT, client.send(request))
            .await
            .map_err(|_| NoAnswer)??;
        let busy = matches!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        if !busy || left == 0 {
            return Ok(response);
        }
        left -= 1;
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

impl tower::Service<Request<Body>> for Renewing {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, std::result::Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = self.0.clone();
        Box::pin(async move { shared.send(request).await })
    }
}
