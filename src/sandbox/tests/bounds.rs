//! What a client may ask of the server has an end: bodies, heads, watches, objects.

mod harness;

use std::net::Ipv4Addr;
use std::sync::Arc;

use axum::body::Body;
use harness::server;
use katlab_sandbox::api;
use katlab_sandbox::api::watch::WATCHES;
use katlab_sandbox::tls::Identity;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const MAPS: &str = "/api/v1/namespaces/team/configmaps";

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_in_kubernetes_words() {
    let server = server().await;
    let huge = json!({"metadata": {"name": "huge"}, "data": {"a": "x".repeat(3 << 20)}});
    let answer = server.post(MAPS, huge.clone()).await;
    let expected = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "Request entity too large: limit is 3145728", "reason": "RequestEntityTooLarge", "code": 413});
    assert_eq!((answer.status, answer.body), (413, expected));
    let path = format!("{MAPS}/huge");
    for (method, kind) in [
        ("PUT", "application/json"),
        ("PATCH", "application/merge-patch+json"),
        ("DELETE", "application/json"),
    ] {
        let answer = server
            .send(method, &path, &[("content-type", kind)], &huge.to_string())
            .await;
        assert_eq!(answer.status, 413, "{method}");
    }
}

#[tokio::test]
async fn an_object_does_not_grow_beyond_its_limit() {
    let server = server().await;
    let trials = "/apis/kubeflow.org/v1beta1/namespaces/team/trials";
    let trial = json!({"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial", "metadata": {"name": "t"}, "spec": {}});
    assert_eq!(server.post(trials, trial).await.status, 201);
    let path = format!("{trials}/t");
    let mut sizes = Vec::new();
    let refused = loop {
        let part = json!({"spec": {format!("p{}", sizes.len()): "x".repeat(1 << 20)}});
        let answer = server.merge(&path, part).await;
        if answer.status != 200 {
            break answer;
        }
        sizes.push(answer.body.to_string().len());
        assert!(sizes.len() < 20, "{sizes:?}");
    };
    // As Kubernetes passes on its database's refusal.
    assert_eq!(
        (refused.status, &refused.body["message"]),
        (500, &json!("etcdserver: request is too large"))
    );
    assert_eq!(
        server.get(&path).await.body.to_string().len(),
        sizes[sizes.len() - 1]
    );
}

#[tokio::test]
async fn a_watch_too_many_is_told_to_come_back() {
    let server = server().await;
    let open = || {
        let request = http::Request::builder()
            .uri(format!("{MAPS}?watch=1"))
            .header("authorization", "Bearer token")
            .body(Body::empty())
            .expect("a request");
        server.api.answer(request, false, "")
    };
    let mut watches = Vec::new();
    for _ in 0..WATCHES {
        let answer = open().await;
        assert_eq!(answer.status(), 200);
        watches.push(answer);
    }
    let refused = open().await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    let body = http_body_util::BodyExt::collect(refused.into_body()).await;
    let status: Value = serde_json::from_slice(&body.expect("a body").to_bytes()).expect("JSON");
    assert_eq!(status["reason"], "TooManyRequests");
    assert_eq!(status["details"]["retryAfterSeconds"], 1);
    // Everything else goes on, and a watch that ends makes room for another.
    assert_eq!(server.get(MAPS).await.status, 200);
    watches.pop();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while open().await.status() != 200 {
        assert!(std::time::Instant::now() < deadline, "no room for a watch");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let server = server().await;
    let dir = tempfile::tempdir().expect("a directory");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let identity = Identity::open(dir.path()).expect("an identity");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    let tls = identity.server_config().expect("a configuration");
    tokio::spawn(api::server::serve(server.api.clone(), listener, tls));
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(identity.ca_pem().as_bytes()).expect("a certificate");
    roots.add(ca).expect("a root");
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let status = async |headers: &str| {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = ServerName::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        let mut stream = connector.connect(name, stream).await.expect("TLS");
        let request =
            format!("GET /version HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        // The server may close before it has read all.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut line = [0; 12];
        stream.read_exact(&mut line).await.expect("an answer");
        String::from_utf8_lossy(&line).into_owned()
    };
    assert_eq!(status("a: b\r\n").await, "HTTP/1.1 200");
    assert_eq!(
        status(&format!("a: {}\r\n", "x".repeat(60_000))).await,
        "HTTP/1.1 200"
    );
    assert_eq!(
        status(&format!("a: {}\r\n", "x".repeat(1 << 20))).await,
        "HTTP/1.1 431"
    );
    assert_eq!(status(&"a: b\r\n".repeat(200)).await, "HTTP/1.1 431");
}
