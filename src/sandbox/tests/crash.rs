//! `kill -9` at any moment: whatever was acknowledged is there.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};

use katlab_sandbox::store::{Expect, Op, Retention, Store, Write};
use serde_json::json;

const DIRECTORY: &str = "KATLAB_CRASH_DIRECTORY";

fn open(dir: &std::path::Path) -> Store {
    Store::open(dir, ["configmaps"], Retention::default()).expect("the store opens")
}

/// The part that is killed: eight writers that print what was acknowledged.
#[test]
#[ignore = "run by the test below in a process of its own"]
fn writer() {
    let Some(dir) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = open(dir.as_ref());
        let writers = (0..8).map(|w| {
            let store = store.clone();
            tokio::spawn(async move {
                let path = format!("ns/w{w}");
                let mut at = store.get("configmaps", &path).map(|e| e.revision);
                for i in 0_u64.. {
                    let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": format!("w{w}"), "namespace": "ns"}, "data": {"i": i.to_string()}});
                    let write = Write {
                        storage: "configmaps",
                        path: path.clone(),
                        expect: at.map_or(Expect::Absent, Expect::Revision),
                        guards: Vec::new(),
                        op: Op::Put(Box::new(object)),
                    };
                    let entry = store.write(write).await.expect("an acknowledgement").entry;
                    at = Some(entry.revision);
                    let mut out = std::io::stdout().lock();
                    let _ = writeln!(out, "acknowledged {path} {} {i}", entry.revision);
                    let _ = out.flush();
                }
            })
        });
        futures::future::join_all(writers).await;
    });
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let kills: usize = std::env::var("KATLAB_KILLS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(8);
    let dir = tempfile::tempdir().expect("a directory");
    let mut acknowledged: HashMap<String, (u64, u64)> = HashMap::new();
    for round in 0..kills {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["writer", "--exact", "--ignored", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the writer starts");
        let stdout = child.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout).lines();
        let mut seen = 0;
        let enough = 20 + round * 13 % 170;
        let mut note = |line: &str| {
            let parts: Vec<&str> = line.split_whitespace().collect();
            let ["acknowledged", path, revision, value] = parts.as_slice() else {
                return false;
            };
            let (Ok(revision), Ok(value)) = (revision.parse(), value.parse()) else {
                return false;
            };
            acknowledged.insert((*path).to_owned(), (revision, value));
            true
        };
        while seen < enough {
            let line = lines.next().expect("the writer goes on").expect("a line");
            seen += usize::from(note(&line));
        }
        child.kill().expect("the kill");
        child.wait().expect("the end");
        // What it had printed before it died counts too.
        for line in lines.map_while(Result::ok) {
            note(&line);
        }
        let store = open(dir.path());
        for (path, (revision, value)) in &acknowledged {
            let entry = store.get("configmaps", path).expect("the object");
            assert!(
                entry.revision >= *revision,
                "{path} is at {} after {revision}",
                entry.revision
            );
            if entry.revision == *revision {
                assert_eq!(entry.value()["data"]["i"], value.to_string());
            }
        }
    }
    assert!(!acknowledged.is_empty());
}
