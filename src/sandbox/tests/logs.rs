//! What containers leave to be read: logs, and messages about their end. They need an engine with the lab's base
//! image; each test removes what it made.

mod machine;
mod server;

use futures::StreamExt;
use katlab_sandbox::api::logs::{LogOptions, LogSource};
use serde_json::{Value, json};

use machine::{Machine, NAMESPACE, main_status, shell};

async fn log(machine: &Machine, pod: &str, options: LogOptions) -> Result<String, String> {
    let pod = machine.pods().get(pod).await.expect("pod");
    let pod = serde_json::to_value(pod).expect("pod");
    let log = machine.runtime.logs(NAMESPACE, &pod, options).await;
    let mut log = log.map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    while let Some(chunk) = log.next().await {
        text.extend_from_slice(&chunk.expect("log"));
    }
    Ok(String::from_utf8(text).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_say_how_they_ended_in_a_file_or_with_their_last_words() {
    let machine = Machine::start().await;
    let fallback = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let elsewhere =
        json!({"terminationMessagePath": "/tmp/why", "securityContext": {"runAsUser": 1234}});
    let rows = [
        (
            "file",
            "echo output; printf because > /dev/termination-log; exit 1",
            json!({}),
            json!("because"),
        ),
        (
            "well",
            "printf fine > /dev/termination-log",
            fallback.clone(),
            json!("fine"),
        ),
        (
            "user",
            "printf mine > /tmp/why; exit 2",
            elsewhere,
            json!("mine"),
        ),
        (
            "words",
            "{ echo first; echo last; } >&2; exit 3",
            fallback.clone(),
            json!("first\nlast\n"),
        ),
        ("silent", "echo output", fallback, Value::Null),
        ("plain", "echo output; exit 1", json!({}), Value::Null),
        (
            "long",
            "head -c 100000 /dev/zero | tr '\\0' x > /dev/termination-log; exit 1",
            json!({}),
            json!("x".repeat(4096)),
        ),
    ];
    for (name, text, container, _) in &rows {
        machine
            .pod(name, shell(text, container.clone(), json!({})))
            .await;
    }
    for (name, _, _, message) in &rows {
        let pod = machine
            .until(name, "ended", |pod| {
                ["Succeeded", "Failed"].contains(&pod["status"]["phase"].as_str().unwrap_or(""))
            })
            .await;
        let ended = &main_status(&pod)["state"]["terminated"];
        assert_eq!(&ended["message"], message, "{name}: {ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_bounded_and_can_be_followed_while_it_is() {
    let machine = Machine::start().await;
    // Some eighty megabytes with what the engine adds; it keeps fifty.
    let script = "seq -f 'line %08g of many that nobody will ever read' 600000; touch /tmp/done; exec sleep 600";
    machine
        .pod("chatty", shell(script, json!({}), json!({})))
        .await;
    machine.phase("chatty", "Running").await;
    let follow = LogOptions {
        follow: true,
        ..LogOptions::default()
    };
    let pod = machine.pods().get("chatty").await.expect("pod");
    let pod = serde_json::to_value(pod).expect("pod");
    let mut followed = machine
        .runtime
        .logs(NAMESPACE, &pod, follow)
        .await
        .map_err(|e| e.to_string())
        .expect("log");
    let mut last = Vec::new();
    while !last.ends_with(b"line 00600000 of many that nobody will ever read\n") {
        let chunk = followed.next().await.expect("more").expect("log");
        last.extend_from_slice(&chunk);
        let surplus = last.len().saturating_sub(200);
        last.drain(..surplus);
    }
    let kept = log(&machine, "chatty", LogOptions::default())
        .await
        .expect("log");
    let first = kept.lines().next().expect("a line");
    assert!(
        first != "line 00000001 of many that nobody will ever read",
        "nothing was dropped"
    );
    let numbers: Vec<&str> = kept.lines().map(|line| &line[5..13]).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order");
    let tail = LogOptions {
        tail_lines: Some(2),
        ..LogOptions::default()
    };
    let tail = log(&machine, "chatty", tail).await.expect("log");
    assert_eq!(
        tail,
        "line 00599999 of many that nobody will ever read\nline 00600000 of many that nobody will ever read\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_of_this_run_or_the_one_before() {
    let machine = Machine::start().await;
    let spec = shell(
        "echo run; exit 1",
        json!({}),
        json!({"restartPolicy": "Always"}),
    );
    machine.pod("again", spec).await;
    let previous = || LogOptions {
        previous: true,
        ..LogOptions::default()
    };
    machine
        .until("again", "waiting to be started again", |pod| {
            main_status(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    assert_eq!(
        log(&machine, "again", previous()).await.as_deref(),
        Ok("run\n")
    );
    assert_eq!(
        log(&machine, "again", LogOptions::default())
            .await
            .as_deref(),
        Ok("run\n")
    );
    machine
        .pod(
            "once",
            shell("echo a; sleep 2; echo b", json!({}), json!({})),
        )
        .await;
    let once = machine.phase("once", "Succeeded").await;
    assert_eq!(
        log(&machine, "once", previous())
            .await
            .expect_err("no other run"),
        "previous terminated container \"main\" in pod \"once\" not found"
    );
    let started = main_status(&once)["state"]["terminated"]["startedAt"].as_str();
    let started: jiff::Timestamp = started.and_then(|time| time.parse().ok()).expect("time");
    let since = LogOptions {
        since_time: started
            .checked_add(jiff::SignedDuration::from_millis(1900))
            .ok(),
        ..LogOptions::default()
    };
    assert_eq!(log(&machine, "once", since).await.as_deref(), Ok("b\n"));
    let bytes = LogOptions {
        limit_bytes: Some(3),
        ..LogOptions::default()
    };
    assert_eq!(log(&machine, "once", bytes).await.as_deref(), Ok("a\nb"));
}
