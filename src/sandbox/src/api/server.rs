//! The sockets: TLS on loopback, HTTP/1.1 and HTTP/2, and what is read off them.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use futures::FutureExt;
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Api;
use super::answer::failure;
use super::status::ApiError;
use crate::doorway::Guests;

/// Connections served at once; more wait.
const CONNECTIONS: usize = 2048;

/// Bytes that the head of a request may take.
const HEAD: usize = 128 << 10;

/// Serves the API on a listener until the API's shutdown.
pub async fn serve(api: Api, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
    let shutdown = api.inner.shutdown.clone();
    serve_until(api, listener, tls, None, shutdown).await;
}

/// Serves the API for guests only, until the token is cancelled.
pub(crate) async fn serve_guests(
    api: Api,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    (guests, shutdown): (Guests, CancellationToken),
) {
    serve_until(api, listener, tls, Some(guests), shutdown).await;
}

async fn serve_until(
    api: Api,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    guests: Option<Guests>,
    shutdown: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let permits = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    let address = listener
        .local_addr()
        .map(|a| a.to_string())
        .unwrap_or_default();
    let address: Arc<str> = Arc::from(address);
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let (stream, peer) = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, most likely: others will close soon.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let _ = stream.set_nodelay(true);
        let (api, acceptor, address) = (api.clone(), acceptor.clone(), address.clone());
        let (shutdown, guests) = (shutdown.clone(), guests.clone());
        tokio::spawn(async move {
            let _permit = permit;
            if let Some(guests) = guests
                && !guests(peer.ip()).await
            {
                return;
            }
            let handshake =
                tokio::time::timeout(std::time::Duration::from_secs(10), acceptor.accept(stream));
            let Ok(Ok(stream)) = handshake.await else {
                return;
            };
            // The verifier only lets through certificates that our own CA signed for the owner.
            let certificate = stream
                .get_ref()
                .1
                .peer_certificates()
                .is_some_and(|c| !c.is_empty());
            let service =
                hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                    let (api, address) = (api.clone(), address.clone());
                    async move {
                        let (parts, body) = request.into_parts();
                        let request = Request::from_parts(parts, Body::new(body));
                        let answer = api.answer(request, certificate, &address);
                        // A bug in one request is that request's, not the connection's.
                        let answer = AssertUnwindSafe(answer).catch_unwind().await;
                        Ok::<_, Infallible>(answer.unwrap_or_else(|_| {
                            failure(&ApiError::internal("the request could not be handled"))
                        }))
                    }
                });
            let builder = {
                let mut builder =
                    hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                builder
                    .http1()
                    .timer(TokioTimer::new())
                    .header_read_timeout(std::time::Duration::from_secs(30))
                    .max_headers(100)
                    .max_buf_size(HEAD);
                builder.http2().max_header_list_size(HEAD as u32);
                builder.http2().max_concurrent_streams(500);
                builder
            };
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            tokio::pin!(connection);
            tokio::select! {
                _ = connection.as_mut() => {}
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), connection).await;
                }
            }
        });
    }
}
