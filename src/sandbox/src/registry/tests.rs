//! The registry as a client sees it: one table of requests, run against our own server and, where the
//! Debian package is installed, against the reference registry, so that the table itself is checked.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use axum::body::Body;
use base64::Engine as _;
use http::{Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::SecretString;
use serde_json::json;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::name::Digest;
use super::{Credentials, Registry};

const USER: &str = "lab";
const PASSWORD: &str = "pä?ss~>word";

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: bytes::Bytes,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("text"))
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    fn code(&self) -> String {
        self.json()["errors"][0]["code"]
            .as_str()
            .expect("error code")
            .to_owned()
    }
}

struct Peer {
    client: Client<HttpConnector, Body>,
    address: SocketAddr,
    authorization: Option<String>,
}

impl Peer {
    fn new(address: SocketAddr) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            address,
            authorization: Some(basic(USER, PASSWORD)),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let address = if path.starts_with("http") {
            path.to_owned()
        } else {
            format!("http://{}{path}", self.address)
        };
        let mut request = Request::builder().method(method).uri(address);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .client
            .request(request.body(body.into()).expect("request"))
            .await
            .expect("answer");
        let (parts, body) = response.into_parts();
        let body = match axum::body::to_bytes(Body::new(body), usize::MAX).await {
            Ok(body) => body,
            // The reference registry announces the blob's length here and sends no body.
            Err(_) if parts.status == StatusCode::RANGE_NOT_SATISFIABLE => bytes::Bytes::new(),
            Err(error) => panic!("body: {error}"),
        };
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], Body::empty()).await
    }

    /// Pushes a blob in two chunks and the closing request.
    async fn push(&self, name: &str, content: &'static [u8]) -> Digest {
        let digest = Digest::sha256(content);
        let begun = self
            .send(Method::POST, &format!("/v2/{name}/blobs/uploads/"), &[], "")
            .await;
        assert_eq!(begun.status, StatusCode::ACCEPTED);
        let (one, two) = content.split_at(content.len() / 2);
        let chunk = [("content-type", "application/octet-stream")];
        let first = self
            .send(Method::PATCH, begun.header("location"), &chunk, one)
            .await;
        assert_eq!(first.status, StatusCode::ACCEPTED);
        assert_eq!(first.header("range"), format!("0-{}", one.len() - 1));
        let second = self
            .send(Method::PATCH, first.header("location"), &chunk, two)
            .await;
        assert_eq!(second.status, StatusCode::ACCEPTED);
        let location = second.header("location");
        let joint = if location.contains('?') { '&' } else { '?' };
        let done = self
            .send(
                Method::PUT,
                &format!("{location}{joint}digest={digest}"),
                &[],
                "",
            )
            .await;
        assert_eq!(done.status, StatusCode::CREATED, "{:?}", done.body);
        assert_eq!(done.header("docker-content-digest"), digest.as_str());
        digest
    }
}

fn basic(user: &str, password: &str) -> String {
    let joined = format!("{user}:{password}");
    let text = base64::engine::general_purpose::STANDARD.encode(joined);
    format!("Basic {text}")
}

async fn started(root: &std::path::Path) -> (SocketAddr, DropGuard) {
    let credentials = Credentials {
        username: USER.into(),
        password: SecretString::from(PASSWORD),
    };
    let registry = Registry::bind(([127, 0, 0, 1], 0).into(), root, credentials)
        .await
        .expect("registry");
    let shutdown = CancellationToken::new();
    let address = registry.address();
    tokio::spawn(registry.serve(shutdown.clone()));
    (address, shutdown.drop_guard())
}

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

fn manifest(config: &Digest, config_size: usize, layer: &Digest, layer_size: usize) -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": config.as_str(), "size": config_size,
        },
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "digest": layer.as_str(), "size": layer_size,
        }],
    })
    .to_string()
}

/// What any registry must do, in the order a client does it.
async fn table(address: SocketAddr) {
    let mut peer = Peer::new(address);
    let name = "kakao-registry/deep/hyperparam";

    let base = peer.get("/v2/").await;
    assert_eq!(base.status, StatusCode::OK);
    assert_eq!(
        base.header("docker-distribution-api-version"),
        "registry/2.0"
    );
    for wrong in [None, Some(basic(USER, "wrong")), Some(basic("x", PASSWORD))] {
        let kept = std::mem::replace(&mut peer.authorization, wrong);
        let refused = peer.get("/v2/").await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert!(
            refused
                .header("www-authenticate")
                .starts_with("Basic realm=")
        );
        assert_eq!(refused.code(), "UNAUTHORIZED");
        peer.authorization = kept;
    }

    // Nothing is there yet.
    let nowhere = peer.get(&format!("/v2/{name}/tags/list")).await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert_eq!(nowhere.code(), "NAME_UNKNOWN");
    let nothing = peer.get(&format!("/v2/{name}/manifests/1.0")).await;
    assert_eq!(nothing.status, StatusCode::NOT_FOUND);
    assert_eq!(nothing.code(), "MANIFEST_UNKNOWN");

    let (config, layer): (&'static [u8], &'static [u8]) = (br#"{"os":"linux"}"#, b"0123456789");
    let config_digest = peer.push(name, config).await;
    let layer_digest = peer.push(name, layer).await;
    let blob = format!("/v2/{name}/blobs/{layer_digest}");
    let head = peer.send(Method::HEAD, &blob, &[], "").await;
    assert_eq!(head.status, StatusCode::OK);
    assert_eq!(head.header("content-length"), "10");
    assert_eq!(&peer.get(&blob).await.body[..], layer);
    let part = peer
        .send(Method::GET, &blob, &[("range", "bytes=2-4")], "")
        .await;
    assert_eq!(part.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(&part.body[..], b"234");
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let behind = peer
        .send(Method::GET, &blob, &[("range", "bytes=99-")], "")
        .await;
    assert_eq!(behind.status, StatusCode::RANGE_NOT_SATISFIABLE);

    // A digest that does not fit what was sent.
    let begun = peer
        .send(Method::POST, &format!("/v2/{name}/blobs/uploads/"), &[], "")
        .await;
    let location = begun.header("location");
    let joint = if location.contains('?') { '&' } else { '?' };
    let lie = Digest::sha256(b"something else");
    let refused = peer
        .send(
            Method::PUT,
            &format!("{location}{joint}digest={lie}"),
            &[("content-type", "application/octet-stream")],
            "truth",
        )
        .await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert_eq!(refused.code(), "DIGEST_INVALID");

    // A manifest is taken once its blobs are there, by tag and by digest.
    let missing = manifest(&config_digest, config.len(), &lie, 14);
    let path = format!("/v2/{name}/manifests/1.0");
    let typed = [("content-type", DOCKER_MANIFEST)];
    let refused = peer.send(Method::PUT, &path, &typed, missing).await;
    assert!(refused.status.is_client_error());
    assert_eq!(refused.code(), "MANIFEST_BLOB_UNKNOWN");
    let text = manifest(&config_digest, config.len(), &layer_digest, layer.len());
    let stored = peer.send(Method::PUT, &path, &typed, text.clone()).await;
    assert_eq!(stored.status, StatusCode::CREATED);
    let digest = Digest::sha256(text.as_bytes());
    assert_eq!(stored.header("docker-content-digest"), digest.as_str());
    for reference in ["1.0", digest.as_str()] {
        let accept = [("accept", DOCKER_MANIFEST)];
        let path = format!("/v2/{name}/manifests/{reference}");
        let got = peer.send(Method::GET, &path, &accept, "").await;
        assert_eq!(got.status, StatusCode::OK);
        assert_eq!(got.header("content-type"), DOCKER_MANIFEST);
        assert_eq!(&got.body[..], text.as_bytes());
        let head = peer.send(Method::HEAD, &path, &accept, "").await;
        assert_eq!(head.header("docker-content-digest"), digest.as_str());
        assert_eq!(head.header("content-length"), text.len().to_string());
    }
    let broken = peer.send(Method::PUT, &path, &typed, "no JSON").await;
    assert_eq!(broken.status, StatusCode::BAD_REQUEST);
    assert_eq!(broken.code(), "MANIFEST_INVALID");

    // Another repository takes the layer over without sending it.
    let mounted = peer
        .send(
            Method::POST,
            &format!("/v2/other/blobs/uploads/?mount={layer_digest}&from={name}"),
            &[],
            "",
        )
        .await;
    assert_eq!(mounted.status, StatusCode::CREATED);
    let there = peer.get(&format!("/v2/other/blobs/{layer_digest}")).await;
    assert_eq!(there.status, StatusCode::OK);
    let not_there = peer.get(&format!("/v2/other/blobs/{config_digest}")).await;
    assert_eq!(not_there.status, StatusCode::NOT_FOUND);
    assert_eq!(not_there.code(), "BLOB_UNKNOWN");

    // Lists, whole and by pages.
    for tag in ["1.1", "latest"] {
        let path = format!("/v2/{name}/manifests/{tag}");
        peer.send(Method::PUT, &path, &typed, text.clone()).await;
    }
    let mut tags = peer.get(&format!("/v2/{name}/tags/list")).await.json();
    // The specification wants them in order; the reference registry gives them as they come.
    if let Some(tags) = tags["tags"].as_array_mut() {
        tags.sort_by_key(|tag| tag.to_string());
    }
    assert_eq!(
        tags,
        json!({ "name": name, "tags": ["1.0", "1.1", "latest"] })
    );
    let page = peer.get("/v2/_catalog?n=1").await;
    assert_eq!(page.json(), json!({ "repositories": [name] }));
    assert!(
        page.header("link").contains("rel=\"next\""),
        "{:?}",
        page.headers
    );
    let rest = peer.get(&format!("/v2/_catalog?n=9&last={name}")).await;
    assert_eq!(rest.json(), json!({ "repositories": ["other"] }));

    // Removal.
    let path = format!("/v2/{name}/manifests/{digest}");
    let removed = peer.send(Method::DELETE, &path, &[], "").await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    let gone = peer.get(&format!("/v2/{name}/manifests/1.0")).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    let removed = peer.send(Method::DELETE, &blob, &[], "").await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    assert_eq!(peer.get(&blob).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_client_pushes_lists_pulls_and_deletes() {
    let root = tempfile::tempdir().expect("directory");
    let (address, _guard) = started(root.path()).await;
    table(address).await;
}

#[tokio::test]
async fn the_reference_registry_passes_the_same_table() {
    let root = tempfile::tempdir().expect("directory");
    let hashed = Command::new("htpasswd")
        .args(["-nbB", USER, PASSWORD])
        .output()
        .expect("htpasswd");
    std::fs::write(root.path().join("users"), hashed.stdout).expect("users");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("port")
        .port();
    let text = format!(
        "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n\
         http: {{addr: '127.0.0.1:{port}'}}\nauth: {{htpasswd: {{realm: test, path: {root}/users}}}}\n",
        root = root.path().display()
    );
    let settings = root.path().join("registry.yml");
    std::fs::write(&settings, text).expect("settings");
    let mut server = Command::new("docker-registry")
        .arg("serve")
        .arg(&settings)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("docker-registry");
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(server.try_wait().expect("state").is_none(), "it ended");
        tokio::task::yield_now().await;
    }
    let outcome = tokio::spawn(table(address)).await;
    server.kill().expect("stop");
    server.wait().expect("end");
    outcome.expect("the table");
}

#[tokio::test]
async fn an_upload_goes_on_where_it_stood_after_a_restart() {
    let root = tempfile::tempdir().expect("directory");
    let (address, guard) = started(root.path()).await;
    let peer = Peer::new(address);
    let begun = peer
        .send(Method::POST, "/v2/a/blobs/uploads/", &[], "")
        .await;
    let location = begun.header("location").to_owned();
    peer.send(Method::PATCH, &location, &[], "first ").await;
    drop(guard);

    let (address, _guard) = started(root.path()).await;
    let peer = Peer::new(address);
    let state = peer.get(&location).await;
    assert_eq!(state.status, StatusCode::NO_CONTENT);
    assert_eq!(state.header("range"), "0-5");
    let gap = [("content-range", "9-12")];
    let refused = peer.send(Method::PATCH, &location, &gap, "gap").await;
    assert_eq!(refused.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(refused.header("range"), "0-5");
    let digest = Digest::sha256(b"first second");
    let path = format!("{location}?digest={digest}");
    let done = peer
        .send(Method::PUT, &path, &[("content-range", "6-11")], "second")
        .await;
    assert_eq!(done.status, StatusCode::CREATED);
    assert_eq!(
        &peer.get(&format!("/v2/a/blobs/{digest}")).await.body[..],
        b"first second"
    );
}

#[tokio::test]
async fn a_blob_may_come_in_one_request_and_under_sha512() {
    let root = tempfile::tempdir().expect("directory");
    let (address, _guard) = started(root.path()).await;
    let peer = Peer::new(address);
    let like = Digest::from_parts("sha512", &"0".repeat(128));
    for digest in [Digest::sha256(b"whole"), like.same_algorithm(b"whole")] {
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        let done = peer.send(Method::POST, &path, &[], "whole").await;
        assert_eq!(done.status, StatusCode::CREATED);
        let path = format!("/v2/a/blobs/{digest}");
        assert_eq!(&peer.get(&path).await.body[..], b"whole");
    }
}

#[tokio::test]
async fn what_refers_to_a_manifest_is_listed_by_kind() {
    let root = tempfile::tempdir().expect("directory");
    let (address, _guard) = started(root.path()).await;
    let peer = Peer::new(address);
    let empty = peer.push("a", b"{}").await;
    let subject = Digest::sha256(b"anything");
    let text = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "text/note",
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty.as_str(), "size": 2 },
        "layers": [],
        "subject": { "mediaType": "x/y", "digest": subject.as_str(), "size": 8 },
        "annotations": { "k": "v" },
    })
    .to_string();
    let stored = peer
        .send(Method::PUT, "/v2/a/manifests/note", &[], text)
        .await;
    assert_eq!(stored.status, StatusCode::CREATED);
    assert_eq!(stored.header("oci-subject"), subject.as_str());
    let list = |query: &str| format!("/v2/a/referrers/{subject}{query}");
    let all = peer.get(&list("")).await.json();
    assert_eq!(all["manifests"][0]["annotations"]["k"], "v");
    assert_eq!(all["manifests"][0]["artifactType"], "text/note");
    let none = peer.get(&list("?artifactType=other")).await.json();
    assert_eq!(none["manifests"], json!([]));
}
