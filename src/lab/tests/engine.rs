//! Engines that are missing, strange, or go away in the middle.
#![allow(missing_docs)]

mod support;

use std::path::Path;

use katlab_lab::docker::build::Build;
use katlab_lab::docker::endpoint::Surroundings;
use katlab_lab::docker::{Engine, Error, Product};
use support::{engine, folder, never};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

#[tokio::test]
async fn the_engine_of_this_machine_says_what_it_is() {
    let engine = engine().await;
    let facts = engine.facts().await.unwrap();
    assert_eq!(
        (engine.product(), facts.os.as_str()),
        (Product::Docker, "linux")
    );
    assert!(engine.api() >= (1, 40) && !facts.version.is_empty() && facts.memory > Some(0));
    assert!(
        facts
            .insecure_registries
            .iter()
            .any(|network| network.starts_with("127."))
    );
}

#[tokio::test]
async fn without_any_engine_it_says_where_it_looked_and_how_to_get_one() {
    let nowhere = Surroundings {
        sockets: vec!["/nowhere/a.sock".into(), "/nowhere/b.sock".into()],
        ..Surroundings::default()
    };
    let error = Engine::connect_in(&nowhere, None).await.unwrap_err();
    assert!(matches!(
        error,
        Error::NoEngine {
            forbidden: false,
            ..
        }
    ));
    assert!(
        error
            .to_string()
            .contains("/nowhere/b.sock (no such socket)"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("docker.io"));
    let error = Engine::connect_in(&nowhere, Some("tcp://127.0.0.1:1"))
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. }) && error.to_string().contains("--host"),
        "{error}"
    );
}

/// An engine of two answers: to the ping, and to whatever comes next.
async fn fake(socket: &Path, ping: &'static str, then: &'static str) {
    let listener = UnixListener::bind(socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read);
                let mut first = String::new();
                let _ = lines.read_line(&mut first).await;
                let mut rest = String::new();
                while lines.read_line(&mut rest).await.is_ok_and(|n| n > 2) {}
                let answer = if first.contains("/_ping") { ping } else { then };
                let _ = write.write_all(answer.as_bytes()).await;
                let _ = write.flush().await;
                // What is still being sent when the engine goes would fail before its answer
                // is read.
                let mut body = Vec::new();
                while first.starts_with("POST") && !body.ends_with(b"0\r\n\r\n") {
                    if !lines.read_buf(&mut body).await.is_ok_and(|n| n > 0) {
                        return;
                    }
                }
                if !first.contains("/_ping") {
                    return;
                }
                let mut sink = [0; 64];
                while lines.read(&mut sink).await.is_ok_and(|n| n > 0) {}
            });
        }
    });
}

#[tokio::test]
async fn an_engine_that_is_too_old_or_none_at_all_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let old = home.path().join("old.sock");
    fake(
        &old,
        "HTTP/1.1 200 OK\r\napi-version: 1.24\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK",
        "",
    )
    .await;
    let surroundings = Surroundings {
        sockets: vec![old],
        ..Surroundings::default()
    };
    let error = Engine::connect_in(&surroundings, None).await.unwrap_err();
    assert!(
        matches!(&error, Error::TooOld { version, .. } if version == "1.24"),
        "{error}"
    );

    let other = home.path().join("other.sock");
    fake(
        &other,
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
        "",
    )
    .await;
    let host = format!("unix://{}", other.display());
    let error = Engine::connect_in(&Surroundings::default(), Some(&host))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("not a Docker Engine"), "{error}");
}

#[tokio::test]
async fn an_engine_that_dies_during_a_build_is_said_to_have_gone_and_at_which_step() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("dying.sock");
    let message = "{\"stream\":\"Step 1/2 : FROM scratch\\n\"}\r\n";
    let answer = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{message}\r\n",
        message.len()
    );
    fake(
        &socket,
        "HTTP/1.1 200 OK\r\napi-version: 1.41\r\ncontent-length: 2\r\nconnection: close\r\n\r\nOK",
        Box::leak(answer.into_boxed_str()),
    )
    .await;
    let surroundings = Surroundings {
        sockets: vec![socket],
        ..Surroundings::default()
    };
    let engine = Engine::connect_in(&surroundings, None).await.unwrap();
    let context = folder(&[("Dockerfile", "FROM scratch\nCOPY . /\n")]);
    let build = Build {
        context: context.path().to_owned(),
        ..Build::default()
    };
    let error = engine
        .build(&build, &mut |_| {}, &never())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Gone { .. }), "{error:?}");
    assert!(
        error.to_string().contains("step 1/2") && error.hint().is_some(),
        "{error}"
    );
}
