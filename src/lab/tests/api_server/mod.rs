//! A server on loopback that answers as a test wants and remembers what it was asked.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What a test was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    parts: http::request::Parts,
    body: Bytes,
}

impl Asked {
    pub fn method(&self) -> &str {
        self.parts.method.as_str()
    }

    pub fn path(&self) -> &str {
        self.parts.uri.path()
    }

    pub fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// What is answered.
pub enum Answer {
    /// A status, a content type, a body.
    Body(u16, &'static str, Bytes),
    /// A head, and then nothing until the connection ends.
    Hang,
}

impl Answer {
    pub fn json(code: u16, body: &Value) -> Self {
        Self::Body(code, "application/json", body.to_string().into())
    }

    pub fn text(code: u16, body: &str) -> Self {
        Self::Body(code, "text/plain", body.to_owned().into())
    }

    pub fn bytes(code: u16, body: &'static [u8]) -> Self {
        Self::Body(code, "text/plain", Bytes::from_static(body))
    }

    /// A Kubernetes `Status`.
    pub fn status(code: u16, reason: &str, message: &str, details: Value) -> Self {
        Self::json(
            code,
            &json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
                "reason": reason, "message": message, "details": details}),
        )
    }
}

/// The server.
pub struct Server {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    pub async fn start(handler: impl Fn(&Asked) -> Answer + Clone + Send + Sync + 'static) -> Self {
        Self::start_on(0, handler).await
    }

    pub async fn start_on(
        port: u16,
        handler: impl Fn(&Asked) -> Answer + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            asked: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (asked, stop, tasks) = (
            Arc::clone(&server.asked),
            server.stop.clone(),
            server.tasks.clone(),
        );
        server.tasks.spawn(async move {
            loop {
                let stream = tokio::select! {
                    () = stop.cancelled() => return,
                    accepted = listener.accept() => accepted.unwrap().0,
                };
                let (asked, handler, stop) = (Arc::clone(&asked), handler.clone(), stop.clone());
                tasks.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (asked, handler) = (Arc::clone(&asked), handler.clone());
                        async move {
                            let (parts, body) = request.into_parts();
                            let body = body.collect().await.unwrap().to_bytes();
                            let request = Asked { parts, body };
                            let answer = handler(&request);
                            asked.lock().unwrap().push(request);
                            Ok::<_, Infallible>(respond(answer))
                        }
                    });
                    let builder =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    // Dropping the connection is what a server that dies does.
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = connection => {}
                    }
                });
            }
        });
        server
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Cuts all connections and stops listening.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn respond(answer: Answer) -> Response<Body> {
    let (code, kind, body) = match answer {
        Answer::Body(code, kind, bytes) => (code, kind, Full::new(bytes).boxed_unsync()),
        Answer::Hang => {
            let nothing = stream::pending::<Result<Frame<Bytes>, Infallible>>().boxed();
            (
                200,
                "application/json",
                StreamBody::new(nothing).boxed_unsync(),
            )
        }
    };
    Response::builder()
        .status(code)
        .header("content-type", kind)
        .body(body)
        .unwrap()
}
