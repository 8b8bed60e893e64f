//! The API without sockets: requests in, answers out.
#![allow(dead_code)]

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures::StreamExt;
use http::{Request, header};
use http_body_util::BodyExt;
use katlab_sandbox::api::admission_hook::{Admission, AdmitAll};
use katlab_sandbox::api::auth::Credentials;
use katlab_sandbox::api::{Api, storages};
use katlab_sandbox::gc;
use katlab_sandbox::store::{OpenError, Retention, Store};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// An API over a store of its own.
pub struct Server {
    pub api: Api,
    pub shutdown: CancellationToken,
    home: Option<tempfile::TempDir>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// One answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The values of a header.
    pub fn all(&self, name: &str) -> String {
        let values: Vec<&str> = self
            .headers
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .collect();
        values.join(", ")
    }
}

/// A server with a namespace `team` and the collector running.
pub async fn server() -> Server {
    server_with(Retention::default(), |_| Arc::new(AdmitAll)).await
}

/// The same, with a memory and an admission of its own.
pub async fn server_with(
    retention: Retention,
    admission: impl FnOnce(&Store) -> Arc<dyn Admission>,
) -> Server {
    let home = tempfile::tempdir().expect("a directory");
    let mut server = start(home.path(), retention, admission).await;
    server.home = Some(home);
    server
}

/// A server whose state is in a directory of the caller's, new or from before.
pub async fn server_in(dir: &Path) -> Server {
    start(dir, Retention::default(), |_| Arc::new(AdmitAll)).await
}

async fn start(
    dir: &Path,
    retention: Retention,
    admission: impl FnOnce(&Store) -> Arc<dyn Admission>,
) -> Server {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let store = loop {
        match Store::open(dir, storages(), retention.clone()) {
            // What an earlier server began ends in its own time.
            Err(OpenError::InUse(_)) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            opened => break opened.expect("a store"),
        }
    };
    let shutdown = CancellationToken::new();
    let credentials = Credentials::new("token".to_owned().into(), "key".to_owned().into());
    let admission = admission(&store);
    let api = Api::new(store, admission, credentials, shutdown.clone());
    tokio::spawn(gc::run(api.clone(), "ca".into(), shutdown.clone()));
    let server = Server {
        api,
        shutdown,
        home: None,
    };
    let made = server
        .post("/api/v1/namespaces", json!({"metadata": {"name": "team"}}))
        .await;
    assert!(matches!(made.status, 201 | 409), "{made:?}");
    server
        .until("/api/v1/namespaces/team/serviceaccounts/default", |a| {
            a.status == 200
        })
        .await;
    server
        .until("/api/v1/namespaces/team/configmaps/kube-root-ca.crt", |a| {
            a.status == 200
        })
        .await;
    server
}

impl Server {
    /// A client of it, in process.
    pub fn client(&self) -> kube::Client {
        let api = self.api.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move {
                let (mut parts, body) = request.into_parts();
                let owner = http::HeaderValue::from_static("Bearer token");
                parts.headers.insert(header::AUTHORIZATION, owner);
                let request = Request::from_parts(parts, Body::new(body));
                Ok::<_, Infallible>(api.answer(request, false, "127.0.0.1:0").await)
            }
        });
        kube::Client::new(service, "default")
    }

    /// Sends a request as the owner.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::USER_AGENT, "suite/1");
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.header(header::AUTHORIZATION, "Bearer token");
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let response = self.api.answer(request, false, "127.0.0.1:0").await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("a body").to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(
            "POST",
            path,
            &[("content-type", "application/json")],
            &body.to_string(),
        )
        .await
    }

    pub async fn merge(&self, path: &str, patch: Value) -> Answer {
        let kind = [("content-type", "application/merge-patch+json")];
        self.send("PATCH", path, &kind, &patch.to_string()).await
    }

    pub async fn delete(&self, path: &str, options: Value) -> Answer {
        self.send(
            "DELETE",
            path,
            &[("content-type", "application/json")],
            &options.to_string(),
        )
        .await
    }

    /// Waits until a GET answers as wanted.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let answer = self.get(path).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{path} stays {answer:?}"
            );
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The first events of a watch.
    pub async fn watch(&self, path: &str, events: usize) -> Vec<Value> {
        let request = Request::builder()
            .uri(path)
            .header(header::AUTHORIZATION, "Bearer token")
            .body(Body::empty())
            .expect("a request");
        let response = self.api.answer(request, false, "127.0.0.1:0").await;
        assert_eq!(response.status(), 200);
        let mut stream = response.into_body().into_data_stream();
        let mut text = Vec::new();
        let collected = async {
            while text.iter().filter(|b| **b == b'\n').count() < events {
                match stream.next().await {
                    Some(bytes) => text.extend(bytes.expect("a line")),
                    None => break,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), collected)
            .await
            .expect("events in time");
        serde_json::Deserializer::from_slice(&text)
            .into_iter()
            .map(|v| v.expect("a JSON line"))
            .collect()
    }
}
