//! Commands in containers and the streams of what runs there, by a client that reaches the API server over TLS.
//! They need an engine with the lab's base image; each test removes what it made.

mod machine;
mod server;

use std::sync::Arc;

use futures::SinkExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Client;
use kube::api::{Api, AttachParams, AttachedProcess, TerminalSize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use machine::{Machine, NAMESPACE, PATIENCE, shell};

/// What a process wrote and how it ended.
#[derive(Debug)]
struct Said {
    out: String,
    err: String,
    status: Value,
}

async fn all(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let mut text = Vec::new();
    if let Some(mut stream) = stream {
        stream.read_to_end(&mut text).await.expect("output");
    }
    String::from_utf8(text).expect("text")
}

async fn hear(mut process: AttachedProcess) -> Said {
    let status = process.take_status().expect("status");
    let (out, err) = (process.stdout(), process.stderr());
    let hearing = async { tokio::join!(all(out), all(err), status) };
    let heard = tokio::time::timeout(PATIENCE, hearing).await;
    let (out, err, status): (_, _, Option<Status>) = heard.expect("in time");
    let status = serde_json::to_value(status.expect("a status")).expect("status");
    Said { out, err, status }
}

struct Wired {
    machine: Machine,
    client: Client,
    pods: Api<Pod>,
}

/// A machine whose API is reached over TLS, with a pod that waits.
async fn wired() -> Wired {
    let machine = Machine::start().await;
    machine
        .server
        .api
        .set_stream_source(Arc::new(machine.runtime.clone()));
    let client = machine.server.over_the_wire().await;
    let pods = Api::namespaced(client.clone(), NAMESPACE);
    machine
        .pod("waits", shell("exec sleep 600", json!({}), json!({})))
        .await;
    machine.phase("waits", "Running").await;
    Wired {
        machine,
        client,
        pods,
    }
}

fn all_streams() -> AttachParams {
    AttachParams::default().stdin(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_its_streams_and_tells_its_exit_code() {
    let wired = wired().await;
    let exec = |command: &[&str], streams: AttachParams| {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let pods = wired.pods.clone();
        async move { pods.exec("waits", command, &streams).await.expect("exec") }
    };
    let said = hear(
        exec(
            &["sh", "-c", "echo out; echo err >&2; exit 3"],
            AttachParams::default(),
        )
        .await,
    )
    .await;
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
    assert_eq!(said.status["reason"], "NonZeroExitCode");
    assert_eq!(
        said.status["details"]["causes"],
        json!([{"reason": "ExitCode", "message": "3"}])
    );

    // More than any buffer on the way holds, in and out at once, to the end of the input.
    let mut cat = exec(&["cat"], all_streams()).await;
    let mut input = cat.stdin().expect("stdin");
    let sent: String = (0..400_000).map(|line| format!("{line}\n")).collect();
    let copy = sent.clone();
    tokio::spawn(async move {
        input.write_all(copy.as_bytes()).await.expect("input");
        input.shutdown().await.expect("the end of the input");
    });
    let said = hear(cat).await;
    assert!(
        said.out == sent,
        "{} of {} bytes",
        said.out.len(),
        sent.len()
    );
    assert_eq!(said.status["status"], "Success");

    let said = hear(exec(&["no-such-program"], AttachParams::default()).await).await;
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    let message = said.status["message"].as_str().expect("message");
    assert!(
        message.starts_with("Internal error occurred: error executing command in container: ")
            && message.contains("no-such-program"),
        "{message}"
    );

    // A terminal: both outputs are one, and its size can be changed.
    let mut terminal = exec(
        &[
            "sh",
            "-c",
            "test -t 0 && test -t 1 && read line && until test \"$(stty size)\" = '33 99'; do sleep 0.1; done && echo $line >&2",
        ],
        AttachParams::interactive_tty(),
    )
    .await;
    let mut size = terminal.terminal_size().expect("a size");
    let (height, width) = (33, 99);
    size.send(TerminalSize { width, height })
        .await
        .expect("size");
    let mut input = terminal.stdin().expect("stdin");
    input.write_all(b"typed\n").await.expect("input");
    let said = hear(terminal).await;
    assert_eq!(said.out, "typed\r\ntyped\r\n", "{:?}", said.status);

    // A client that goes away stops nothing.
    let command = ["sh", "-c", "sleep 1; echo done > /proc/1/fd/1"];
    drop(exec(&command, AttachParams::default()).await);
    let streams = AttachParams::default();
    let mut log = wired.pods.attach("waits", &streams).await.expect("attach");
    let mut line = [0; 5];
    let mut out = log.stdout().expect("stdout");
    let read = tokio::time::timeout(PATIENCE, out.read_exact(&mut line)).await;
    read.expect("in time").expect("output");
    assert_eq!(&line, b"done\n");

    // It is over when its pod goes.
    let running = exec(&["sleep", "600"], AttachParams::default()).await;
    let delete = kube::api::DeleteParams::default().grace_period(0);
    wired.pods.delete("waits", &delete).await.expect("deleted");
    let said = hear(running).await;
    assert_eq!(said.status["status"], "Failure");
    drop(wired.machine);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_attaches_talks_with_what_runs() {
    let wired = wired().await;
    let talks = json!({"stdin": true, "stdinOnce": true});
    wired
        .machine
        .pod("talks", shell("exec cat", talks, json!({})))
        .await;
    wired.machine.phase("talks", "Running").await;
    let streams = all_streams();
    let mut attached = wired.pods.attach("talks", &streams).await.expect("attach");
    let mut input = attached.stdin().expect("stdin");
    input.write_all(b"hello\n").await.expect("input");
    input.shutdown().await.expect("the end of the input");
    let said = hear(attached).await;
    assert_eq!(said.out, "hello\n");
    assert_eq!(said.status["status"], "Success");
    wired.machine.phase("talks", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_streamed_is_said_in_kubernetes_words() {
    let wired = wired().await;
    let two = shell("sleep 600", json!({}), json!({}));
    let mut spec = two.clone();
    let mut beside = two["containers"][0].clone();
    beside["name"] = json!("beside");
    beside["command"] = json!(["true"]);
    spec["containers"] = json!([two["containers"][0], beside]);
    wired.machine.pod("two", spec).await;
    wired
        .machine
        .until("two", "half ended", |pod| {
            pod["status"]["containerStatuses"][1]["state"]["terminated"].is_object()
        })
        .await;
    // Asked by version 4 of the protocol, errors are the server's answer.
    let socket: &[(&str, &str)] = &[
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let version_4 = ("sec-websocket-protocol", "v4.channel.k8s.io");
    let spdy: &[(&str, &str)] = &[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let with = |protocol| [socket, &[protocol]].concat();
    let rows = [
        (
            "GET",
            "nobody/exec?command=a",
            vec![],
            404,
            "pods \"nobody\" not found",
        ),
        (
            "GET",
            "waits/exec?command=a",
            vec![],
            400,
            "Upgrade request required",
        ),
        (
            "POST",
            "waits/attach?stdout=1",
            vec![],
            400,
            "Upgrade request required",
        ),
        (
            "DELETE",
            "waits/exec",
            vec![],
            405,
            "the server does not allow this method on the requested resource",
        ),
        (
            "POST",
            "waits/exec?command=a",
            spdy.to_vec(),
            501,
            "the sandbox does not do this: pods/exec over SPDY/3.1; use a client that speaks WebSocket: kubectl 1.31 or newer does",
        ),
        (
            "POST",
            "two/exec?command=a",
            spdy.to_vec(),
            400,
            "a container name must be specified for pod two, choose one of: [main beside]",
        ),
        (
            "GET",
            "two/exec?container=third",
            with(version_4),
            400,
            "container third is not valid for pod two",
        ),
        (
            "GET",
            "two/exec?container=beside&command=a&stdout=1",
            with(version_4),
            404,
            "container not found (\"beside\")",
        ),
        (
            "GET",
            "waits/exec?command=a",
            with(version_4),
            400,
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        (
            "GET",
            "waits/exec?command=a&stdout=1",
            with(("sec-websocket-protocol", "chat")),
            400,
            "none of the requested protocols is supported; pods/exec supports v5.channel.k8s.io and v4.channel.k8s.io",
        ),
        (
            "POST",
            "waits/portforward?ports=80",
            spdy.to_vec(),
            501,
            "the sandbox does not do this: pods/portforward",
        ),
    ];
    for (method, path, headers, code, message) in rows {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("/api/v1/namespaces/{NAMESPACE}/pods/{path}"));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let request = request.body(Vec::new()).expect("request");
        let answer = wired.client.request_text(request).await;
        let Err(kube::Error::Api(status)) = answer else {
            panic!("{path}: {answer:?}");
        };
        assert_eq!(
            (status.code, status.message.as_str()),
            (code, message),
            "{path}"
        );
    }
    // Version 5 tells what the node says when the connection is there.
    let streams = AttachParams::default().container("beside");
    let process = wired.pods.exec("two", ["true"], &streams).await;
    let said = hear(process.expect("a connection")).await;
    assert_eq!(
        said.status["message"],
        "Internal error occurred: unable to upgrade connection: container not found (\"beside\")"
    );
}
