//! Nonsense at the API: whatever is sent is answered, in bounded time and memory, without a panic
//! anywhere in the process, and afterwards everything works as before.
//!
//! Requests are right ones that were broken: in their objects, their bytes, their paths, queries
//! and headers. KATLAB_FUZZ_SECONDS says for how long (some seconds by default), KATLAB_FUZZ_SEED
//! repeats a run.

mod harness;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use futures::StreamExt;
use futures::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request};
use katlab_sandbox::admission::KatibAdmission;
use katlab_sandbox::api::Api;
use katlab_sandbox::api::logs::{LogError, LogOptions, LogSource, LogStream};
use katlab_sandbox::controllers;
use katlab_sandbox::metrics::ObservationStore;
use katlab_sandbox::resources::{RESOURCES, Resource};
use katlab_sandbox::store::Retention;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

/// An answer that takes longer is a hang.
const ANSWER: Duration = Duration::from_secs(20);
/// What the process may use, in megabytes.
const MEMORY: u64 = 1500;

static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn pick<'a, T>(rng: &mut StdRng, of: &'a [T]) -> &'a T {
    of.choose(rng).expect("something to choose from")
}

/// Texts that are fine in one place and wrong in most others.
const TEXTS: &[&str] = &[
    "",
    "a",
    "b",
    "team",
    "default",
    "A_B",
    "-",
    ".",
    "..",
    "a/b",
    "a,b",
    "a=b",
    "!a",
    "a in (b)",
    "(",
    "\\",
    "\"",
    "\0",
    "\u{1f600}",
    "한글",
    "\u{202e}",
    "%",
    "%00",
    "%ff",
    "null",
    "true",
    "0",
    "-1",
    "1e309",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1Ei",
    "100m",
    "-5m",
    "1e-99",
    "2026-11-29T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "-009999-01-01T00:00:00Z",
    "foregroundDeletion",
    "orphan",
    "All",
    "Strict",
    "Foreground",
    "${trialParameters.lr}",
    "$(VAR)",
    "$patch",
    "metadata.name=a",
    "status.phase!=Failed",
    "spec.nodeName=",
    "a notin (b,c),!d",
    "x>1,y<2",
    "application/json",
    "kubernetes.io/dockerconfigjson",
    "katib.kubeflow.org/trial",
];

fn text(rng: &mut StdRng) -> String {
    let base = (*pick(rng, TEXTS)).to_owned();
    match rng.random_range(0..12) {
        0 => base.repeat(rng.random_range(2..300)),
        1 => base + *pick(rng, TEXTS),
        2 => "x".repeat(1 << rng.random_range(0..18)),
        _ => base,
    }
}

fn value(rng: &mut StdRng, depth: usize) -> Value {
    match rng.random_range(0..if depth > 3 { 7 } else { 10 }) {
        0 => Value::Null,
        1 => json!(rng.random::<bool>()),
        2 => json!(rng.random_range(-3..300_i64)),
        3 => json!(*pick(
            rng,
            &[
                i64::MAX,
                i64::MIN,
                i64::from(i32::MAX) + 1,
                i64::from(i32::MIN)
            ]
        )),
        4 => json!(*pick(rng, &[1.5, -0.0, 1e300, 5e-324])),
        5 | 6 => json!(text(rng)),
        7 => (0..rng.random_range(0..4))
            .map(|_| value(rng, depth + 1))
            .collect(),
        8 => {
            let mut deep = json!({});
            for _ in 0..rng.random_range(1..120) {
                deep = if rng.random() {
                    json!([deep])
                } else {
                    json!({"a": deep})
                };
            }
            deep
        }
        _ => {
            let pairs = (0..rng.random_range(0..4)).map(|_| (text(rng), value(rng, depth + 1)));
            Value::Object(pairs.collect())
        }
    }
}

/// Changes something somewhere in an object.
fn disturb(rng: &mut StdRng, object: &mut Value) {
    match object {
        Value::Object(map) if !map.is_empty() => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let key = pick(rng, &keys).clone();
            match rng.random_range(0..14) {
                0 => drop(map.remove(&key)),
                1 => drop(map.insert(key, value(rng, 1))),
                2 => drop(map.insert(text(rng), value(rng, 1))),
                3 => {
                    let other = map[pick(rng, &keys)].clone();
                    map.insert(key, other);
                }
                _ => disturb(rng, &mut map[&key]),
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let i = rng.random_range(0..items.len());
            match rng.random_range(0..10) {
                0 => drop(items.remove(i)),
                1 => items[i] = value(rng, 1),
                2 => {
                    let twice = items[i].clone();
                    items.extend(std::iter::repeat_n(twice, rng.random_range(1..50)));
                }
                _ => disturb(rng, &mut items[i]),
            }
        }
        other => *other = value(rng, 1),
    }
}

/// Changes some bytes.
fn garble(rng: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..=bytes.len());
        match rng.random_range(0..6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.random()),
            2 if at < bytes.len() => bytes[at] = rng.random(),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => {
                let end = rng.random_range(at..=bytes.len().min(at + 60));
                let part = bytes[at..end].to_vec();
                let times = rng.random_range(1..40);
                let more = part.iter().copied().cycle().take(part.len() * times);
                bytes.splice(at..at, more);
            }
            _ => drop(bytes.splice(at..at, text(rng).into_bytes())),
        }
    }
}

fn container() -> Value {
    json!({"name": "main", "image": "i:1", "command": ["sh", "-c", "echo ${trialParameters.lr}"], "env": [{"name": "A", "value": "$(B)"}, {"name": "P", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}, "requests": {"cpu": 1}}, "volumeMounts": [{"name": "v", "mountPath": "/v"}], "ports": [{"containerPort": 80}]})
}

fn pod_spec() -> Value {
    json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "nodeName": "n", "containers": [container()], "initContainers": [{"name": "init", "image": "i:1"}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "c", "configMap": {"name": "a", "items": [{"key": "k", "path": "p"}]}}], "imagePullSecrets": [{"name": "s"}]})
}

/// A right body of a kind.
fn body(resource: &Resource) -> Value {
    let mut object = match resource.kind {
        "ConfigMap" => json!({"data": {"a": "1"}, "binaryData": {"b": "AAE="}, "immutable": false}),
        "Secret" => {
            json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": STANDARD.encode(r#"{"auths":{}}"#)}, "stringData": {"a": "b"}})
        }
        "ServiceAccount" => {
            json!({"secrets": [{"name": "s"}], "imagePullSecrets": [{"name": "s"}]})
        }
        "PersistentVolumeClaim" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
        }
        "Event" if resource.group.is_empty() => {
            json!({"involvedObject": {"kind": "Pod", "namespace": "team", "name": "a", "uid": "u"}, "reason": "r", "message": "m", "type": "Normal", "count": 1, "firstTimestamp": "2026-01-01T00:00:00Z"})
        }
        "Event" => {
            json!({"regarding": {"kind": "Pod", "namespace": "team", "name": "a"}, "reason": "r", "note": "m", "type": "Normal", "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "c", "reportingInstance": "i", "action": "x"})
        }
        "Pod" => {
            json!({"spec": pod_spec(), "status": {"phase": "Running", "containerStatuses": [{"name": "main", "restartCount": 1, "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}}]}})
        }
        "Job" => {
            json!({"spec": {"parallelism": 1, "completions": 2, "backoffLimit": 1, "activeDeadlineSeconds": 100, "ttlSecondsAfterFinished": 1, "suspend": false, "template": {"spec": pod_spec()}}, "status": {"succeeded": 1, "startTime": "2026-01-01T00:00:00Z", "conditions": [{"type": "Complete", "status": "True"}]}})
        }
        "Experiment" => {
            json!({"spec": {"objective": {"type": "maximize", "goal": 0.9, "objectiveMetricName": "accuracy"}, "algorithm": {"algorithmName": "random", "algorithmSettings": [{"name": "random_state", "value": "1"}]}, "parallelTrialCount": 1, "maxTrialCount": 2, "maxFailedTrialCount": 1,
            "parameters": [{"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.01", "max": "0.1", "step": "0.01"}}, {"name": "o", "parameterType": "categorical", "feasibleSpace": {"list": ["a", "b"]}}],
            "trialTemplate": {"primaryContainerName": "main", "trialParameters": [{"name": "lr", "reference": "lr"}], "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod_spec()}}}}}})
        }
        "Trial" => {
            json!({"spec": {"objective": {"type": "maximize", "objectiveMetricName": "accuracy"}, "parameterAssignments": [{"name": "lr", "value": "0.1"}], "primaryContainerName": "main", "runSpec": {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "team"}, "spec": {"template": {"spec": pod_spec()}}}},
            "status": {"conditions": [{"type": "Running", "status": "True"}], "observation": {"metrics": [{"name": "accuracy", "latest": "0.1", "max": "0.1", "min": "0.1"}]}}})
        }
        "Suggestion" => {
            json!({"spec": {"algorithm": {"algorithmName": "tpe"}, "requests": 2}, "status": {"suggestionCount": 1, "suggestions": [{"name": "a", "parameterAssignments": [{"name": "lr", "value": "0.1"}]}]}})
        }
        _ => {
            json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "team"}, "nonResourceAttributes": {"path": "/x", "verb": "get"}, "token": "t"}})
        }
    };
    object["apiVersion"] = json!(resource.api_version());
    object["kind"] = json!(resource.kind);
    object["metadata"] = json!({"name": "a", "labels": {"app": "x"}, "annotations": {"n": "v"}, "finalizers": ["example.org/f"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u", "blockOwnerDeletion": true}]});
    object
}

/// A protobuf message of an object: fields by number, some of them messages again.
fn protobuf(rng: &mut StdRng, resource: &Resource) -> Vec<u8> {
    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = content.len();
        while length > 127 {
            out.push(length as u8 | 128);
            length >>= 7;
        }
        out.push(length as u8);
        out.extend(content);
        out
    }
    fn message(rng: &mut StdRng, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..rng.random_range(0..6) {
            let number = rng.random_range(1..16);
            match rng.random_range(0..4) {
                0 => out.extend([number << 3, rng.random_range(0..128)]),
                1 if depth < 40 => out.extend(bytes(number, &message(rng, depth + 1))),
                _ => out.extend(bytes(number, text(rng).as_bytes())),
            }
        }
        out
    }
    let version = resource.api_version();
    let kind = [
        bytes(1, version.as_bytes()),
        bytes(2, resource.kind.as_bytes()),
    ]
    .concat();
    let meta = bytes(1, &[bytes(1, b"a"), message(rng, 2)].concat());
    let raw = [meta, message(rng, 1)].concat();
    [b"k8s\0".to_vec(), bytes(1, &kind), bytes(2, &raw)].concat()
}

const TYPES: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

const PARAMETERS: &[&str] = &[
    "watch",
    "limit",
    "continue",
    "labelSelector",
    "fieldSelector",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "allowWatchBookmarks",
    "timeoutSeconds",
    "dryRun",
    "fieldManager",
    "fieldValidation",
    "force",
    "gracePeriodSeconds",
    "propagationPolicy",
    "container",
    "follow",
    "previous",
    "tailLines",
    "sinceSeconds",
    "sinceTime",
    "limitBytes",
    "timestamps",
    "includeObject",
    "pretty",
];

/// Escapes a text for a query or a path, most of the time.
fn escaped(rng: &mut StdRng, text: &str) -> String {
    let plain = rng.random_range(0..10) == 0;
    let keep =
        |b: u8| plain && b.is_ascii_graphic() || b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let one = |b: u8| {
        if keep(b) {
            char::from(b).to_string()
        } else {
            format!("%{b:02X}")
        }
    };
    text.bytes().take(2000).map(one).collect()
}

fn token(rng: &mut StdRng) -> String {
    let mut token =
        json!({"v": "meta.k8s.io/v1", "rv": rng.random_range(-2..3000), "start": "/a\0"});
    if rng.random() {
        disturb(rng, &mut token);
    }
    URL_SAFE_NO_PAD.encode(token.to_string())
}

#[derive(Debug)]
struct Sent {
    method: &'static str,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fn operations(rng: &mut StdRng) -> Value {
    let paths = [
        "",
        "/metadata/labels/app",
        "/metadata/name",
        "/spec",
        "/spec/template/spec/containers/0",
        "/data/a",
        "/data/-",
        "/status",
        "/metadata/finalizers/-",
        "/a/b/c",
        "/~0~1~2",
    ];
    let one = |rng: &mut StdRng| {
        let op = *pick(rng, &["add", "remove", "replace", "move", "copy", "test"]);
        json!({"op": op, "path": pick(rng, &paths), "from": pick(rng, &paths), "value": value(rng, 1)})
    };
    (0..rng.random_range(0..6)).map(|_| one(rng)).collect()
}

fn request(rng: &mut StdRng) -> Sent {
    let resource = pick(rng, RESOURCES);
    let name = |rng: &mut StdRng| match rng.random_range(0..8) {
        0 => {
            let t = text(rng);
            escaped(rng, &t)
        }
        _ => (*pick(rng, &["a", "b", "c"])).to_owned(),
    };
    let method = *pick(
        rng,
        &[
            "GET", "GET", "GET", "GET", "POST", "POST", "POST", "POST", "POST", "PUT", "PUT",
            "PUT", "PATCH", "PATCH", "PATCH", "PATCH", "PATCH", "DELETE", "HEAD", "OPTIONS",
        ],
    );
    let mut path = if resource.group.is_empty() {
        String::from("/api/v1")
    } else {
        format!("/apis/{}/{}", resource.group, resource.version)
    };
    if resource.namespaced && rng.random_range(0..10) > 0 {
        let namespace = match rng.random_range(0..12) {
            0 => name(rng),
            _ => "team".into(),
        };
        path += &format!("/namespaces/{namespace}");
    }
    path += &format!("/{}", resource.plural);
    if method != "POST" && rng.random_range(0..5) > 0 || rng.random_range(0..20) == 0 {
        path += &format!("/{}", name(rng));
        if rng.random_range(0..6) == 0 {
            let sub = *pick(
                rng,
                &[
                    "status", "status", "status", "status", "log", "log", "finalize", "exec",
                    "scale", "binding", "eviction",
                ],
            );
            path += &format!("/{sub}");
        }
    }
    if rng.random_range(0..25) == 0 {
        path = (*pick(
            rng,
            &[
                "/",
                "/version",
                "/api",
                "/apis",
                "/openapi/v3",
                "/openapi/v2",
                "/openapi/v3/api/v1",
                "/apis/a/b",
                "/metrics",
                "/healthz/x",
                "//",
                "/api/v1/../x",
                "/api/v1/watch/pods",
            ],
        ))
        .to_owned();
    }
    let mut query = Vec::new();
    for _ in 0..*pick(rng, &[0, 0, 1, 2, 4]) {
        let key = *pick(rng, PARAMETERS);
        let value = match key {
            "continue" => token(rng),
            _ if rng.random_range(0..3) == 0 => (*pick(rng, &["1", "true", "5"])).to_owned(),
            _ => text(rng),
        };
        query.push(format!("{key}={}", escaped(rng, &value)));
    }
    // A watch that nobody stops would end the fuzzing.
    if !query.is_empty() {
        path += &format!("?{}", query.join("&"));
    }
    let mut content = *pick(
        rng,
        if method == "PATCH" {
            &TYPES[3..]
        } else {
            &TYPES[..3]
        },
    );
    if rng.random_range(0..30) == 0 {
        content = *pick(rng, TYPES);
    }
    let mut object = body(resource);
    object["metadata"]["name"] = json!(*pick(rng, &["a", "b", "c"]));
    if rng.random_range(0..3) > 0 {
        object["metadata"]
            .as_object_mut()
            .expect("it has")
            .retain(|k, _| k == "name" || k == "labels");
    }
    for _ in 0..*pick(rng, &[0, 0, 1, 1, 2, 5]) {
        disturb(rng, &mut object);
    }
    let mut bytes = match (content, method) {
        ("application/json-patch+json", _) => operations(rng).to_string().into_bytes(),
        (_, "DELETE") => {
            let mut options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 1, "propagationPolicy": "Foreground", "preconditions": {"uid": "u"}});
            if rng.random() {
                disturb(rng, &mut options);
            }
            if rng.random() {
                Vec::new()
            } else {
                options.to_string().into_bytes()
            }
        }
        ("application/vnd.kubernetes.protobuf", _) => protobuf(rng, resource),
        ("application/yaml" | "application/apply-patch+yaml", _) if rng.random() => {
            serde_saphyr::to_string(&object)
                .unwrap_or_default()
                .into_bytes()
        }
        _ => object.to_string().into_bytes(),
    };
    if rng.random_range(0..5) == 0 {
        garble(rng, &mut bytes);
    }
    let mut headers = vec![("content-type".to_owned(), content.as_bytes().to_vec())];
    let accept = [
        "",
        "",
        "",
        "application/json",
        "application/json",
        "application/json",
        "application/yaml",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
        "*/*;q=0",
        "text/html",
        "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io",
    ];
    headers.push(("accept".into(), pick(rng, &accept).as_bytes().to_vec()));
    if rng.random_range(0..10) == 0 {
        let key = *pick(
            rng,
            &[
                "accept",
                "content-type",
                "user-agent",
                "authorization",
                "impersonate-user",
                "impersonate-group",
                "if-none-match",
                "content-length",
                "x",
            ],
        );
        let mut value = text(rng).into_bytes();
        garble(rng, &mut value);
        headers.push((key.into(), value));
    }
    Sent {
        method,
        path,
        headers,
        body: bytes,
    }
}

fn build(sent: &Sent) -> Option<Request<Body>> {
    // What is no request at all does not get past the HTTP parser.
    let mut request = Request::builder().method(sent.method).uri(&sent.path);
    if !sent.headers.iter().any(|(key, _)| key == "authorization") {
        request = request.header("authorization", "Bearer token");
    }
    for (key, value) in &sent.headers {
        let key = HeaderName::from_bytes(key.as_bytes()).ok()?;
        request = request.header(key, HeaderValue::from_bytes(value).ok()?);
    }
    request.body(Body::from(sent.body.clone())).ok()
}

/// Sends one; answers with the status and what was said.
async fn send(api: &Api, sent: &Sent) -> Option<(u16, String)> {
    let answer = api.answer(build(sent)?, false, "").await;
    let status = answer.status().as_u16();
    let endless = sent.path.contains("watch") || sent.path.contains("follow");
    let mut frames = answer.into_body().into_data_stream();
    let mut text = Vec::new();
    let quiet = Duration::from_millis(2);
    loop {
        let frame = if endless {
            // What comes at once is enough of a watch.
            match tokio::time::timeout(quiet, frames.next()).await {
                Ok(frame) => frame,
                Err(_) => break,
            }
        } else {
            frames.next().await
        };
        match frame {
            Some(bytes) if text.len() < 4096 => text.extend(bytes.expect("a frame")),
            Some(_) => {}
            None => break,
        }
    }
    Some((status, String::from_utf8_lossy(&text).into_owned()))
}

/// What is answered with 500 because something in here went wrong. Kubernetes answers some
/// requests with a 500 of another kind, without a reason.
fn is_failure(status: u16, said: &str) -> bool {
    status >= 500 && !matches!(status, 501 | 504) && said.contains(r#""reason":"InternalError""#)
}

struct OneLine;

impl LogSource for OneLine {
    fn logs<'a>(
        &'a self,
        _: &'a str,
        _: &'a Value,
        _: LogOptions,
    ) -> BoxFuture<'a, Result<LogStream, LogError>> {
        let line = futures::stream::iter([Ok("a line\n".into())]);
        Box::pin(async { Ok(Box::pin(line) as LogStream) })
    }
}

fn resident_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .unwrap_or("0");
    line.split_whitespace()
        .next()
        .and_then(|n| n.parse::<u64>().ok())
        .unwrap_or(0)
        / 1024
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_does_no_harm() {
    let earlier = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.lock().expect("the list").push(panic.to_string());
        earlier(panic);
    }));
    let seconds = number("KATLAB_FUZZ_SECONDS").unwrap_or(8);
    let seed = number("KATLAB_FUZZ_SEED").unwrap_or_else(rand::random);
    println!("KATLAB_FUZZ_SEED={seed}");
    let retention = Retention {
        min_revisions: 100,
        max_revisions: 2000,
        interval: Duration::from_secs(1),
        ..Retention::default()
    };
    let server = harness::server_with(retention, |store| {
        Arc::new(KatibAdmission::new(store.clone()))
    })
    .await;
    server.api.set_log_source(Arc::new(OneLine));
    let client = server.client();
    let home = tempfile::tempdir().expect("a directory");
    let observation = ObservationStore::open(&home.path().join("o.db"))
        .await
        .expect("an observation log");
    tokio::spawn(controllers::run(
        client,
        observation,
        server.shutdown.clone(),
    ));

    let until = Instant::now() + Duration::from_secs(seconds);
    let workers = (0..4).map(|worker| {
        let api = server.api.clone();
        let mut rng = StdRng::seed_from_u64(seed + worker);
        tokio::spawn(async move {
            let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
            while Instant::now() < until {
                let sent = request(&mut rng);
                let shown = || {
                    format!(
                        "{} {} {:?}\n{}",
                        sent.method,
                        sent.path,
                        sent.headers,
                        String::from_utf8_lossy(&sent.body)
                    )
                };
                let Ok(answer) = tokio::time::timeout(ANSWER, send(&api, &sent)).await else {
                    panic!("no answer: {}", shown());
                };
                let Some((status, said)) = answer else {
                    continue;
                };
                assert!(!is_failure(status, &said), "{said}\n{}", shown());
                *statuses.entry(status).or_default() += 1;
            }
            statuses
        })
    });
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for worker in futures::future::join_all(workers.collect::<Vec<_>>()).await {
        let worker = worker.expect("every request was answered");
        worker
            .into_iter()
            .for_each(|(status, n)| *statuses.entry(status).or_default() += n);
    }
    println!("{statuses:?}, {} MB", resident_megabytes());
    // The requests are broken, not just noise: many get far.
    assert!(
        statuses.contains_key(&201) && statuses.contains_key(&422) && statuses.contains_key(&409),
        "{statuses:?}"
    );
    assert!(resident_megabytes() < MEMORY);

    // What was stored is whole, in every form.
    for resource in RESOURCES.iter().filter(|r| r.verbs.has("list")) {
        let group = if resource.group.is_empty() {
            "/api".into()
        } else {
            format!("/apis/{}", resource.group)
        };
        let path = format!("{group}/{}/{}", resource.version, resource.plural);
        for accept in [
            "application/json",
            "application/json;as=Table;v=v1;g=meta.k8s.io",
            "application/yaml",
        ] {
            assert_eq!(
                server
                    .send("GET", &path, &[("accept", accept)], "")
                    .await
                    .status,
                200,
                "{path}"
            );
        }
    }
    // Everything still works: an experiment made now gets its trials.
    let experiments = RESOURCES
        .iter()
        .find(|r| r.kind == "Experiment")
        .expect("in the table");
    let mut experiment = body(experiments);
    experiment["metadata"] = json!({"name": "sane"});
    // The template uses the first of its parameters alone.
    experiment["spec"]["parameters"]
        .as_array_mut()
        .expect("parameters")
        .truncate(1);
    experiment["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["nodeName"] =
        Value::Null;
    let katib = "/apis/kubeflow.org/v1beta1/namespaces/sane";
    server
        .post(
            "/api/v1/namespaces",
            json!({"metadata": {"name": "sane",
                "labels": {"katib.kubeflow.org/metrics-collector-injection": "enabled"}}}),
        )
        .await;
    server
        .until("/api/v1/namespaces/sane/serviceaccounts/default", |a| {
            a.status == 200
        })
        .await;
    let made = server
        .post(&format!("{katib}/experiments"), experiment)
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    server
        .until(&format!("{katib}/trials"), |a| {
            a.body["items"].as_array().is_some_and(|l| !l.is_empty())
        })
        .await;
    let panics = PANICS.lock().expect("the list").clone();
    assert!(panics.is_empty(), "{panics:#?}");
}
