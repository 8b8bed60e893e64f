//! `kill -9` at any moment: whatever was acknowledged is there.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use katlab_sandbox::lifecycle::{self, Options};
use katlab_sandbox::store::{Expect, Op, Retention, Store, Write};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::api::{WatchEvent, WatchParams};
use kube::config::Kubeconfig;
use serde_json::json;
use tokio_util::sync::CancellationToken;

const DIRECTORY: &str = "KATLAB_CRASH_DIRECTORY";
const HOME: &str = "KATLAB_CRASH_HOME";

/// How often a test kills: KATLAB_KILLS, or a number that takes seconds.
fn kills(few: usize) -> usize {
    let asked = std::env::var("KATLAB_KILLS").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(few)
}

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
    let kills = kills(8);
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

/// The part that is killed: a whole sandbox.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test below in a process of its own"]
async fn sandbox() {
    if let Some(home) = std::env::var_os(HOME) {
        lifecycle::serve(Options::new(home), CancellationToken::new())
            .await
            .expect("it serves");
    }
}

/// A sandbox in a process of its own; killed when it goes.
struct Sandbox(std::process::Child);

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Sandbox {
    fn start(home: &Path) -> Sandbox {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["sandbox", "--exact", "--ignored", "--nocapture"])
            .env(HOME, home)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Sandbox(child.expect("the sandbox starts"))
    }

    /// A client, once it answers.
    async fn client(&mut self, home: &Path) -> kube::Client {
        let path = lifecycle::kubeconfig(home);
        loop {
            assert!(self.0.try_wait().expect("its state").is_none(), "it ended");
            if let lifecycle::Status::Running(endpoint) = lifecycle::status(home)
                && endpoint.pid == self.0.id()
            {
                let kubeconfig = Kubeconfig::read_from(&path).expect("a kubeconfig");
                let options = kube::config::KubeConfigOptions::default();
                let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
                let client =
                    kube::Client::try_from(config.expect("a configuration")).expect("a client");
                if client.apiserver_version().await.is_ok() {
                    return client;
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What is known of one object: what was last acknowledged, and what was asked for since and not
/// answered, which may have happened or not. `None` is an object that is not there.
#[derive(Clone, Debug, Default)]
struct Known {
    acknowledged: Option<BTreeMap<String, String>>,
    asked: Option<Option<BTreeMap<String, String>>>,
}

/// Creates, replaces, patches and deletes one object until the server is gone.
async fn write(
    maps: Api<ConfigMap>,
    name: String,
    mut known: Known,
    mut seed: u64,
    done: Arc<AtomicUsize>,
) -> Known {
    let parameters = PostParams::default();
    for turn in 0_u64.. {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let value = format!("{seed:x}-{turn}");
        let mut data = known.acknowledged.clone().unwrap_or_default();
        data.insert(format!("k{}", seed >> 61), value);
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            data: Some(data.clone()),
            ..ConfigMap::default()
        };
        let (wanted, answer) = match (&known.acknowledged, (seed >> 33) % 4) {
            (None, _) => {
                known.asked = Some(Some(data));
                (
                    &known.asked,
                    maps.create(&parameters, &object).await.map(drop),
                )
            }
            (Some(_), 0) => {
                known.asked = Some(None);
                (
                    &known.asked,
                    maps.delete(&name, &DeleteParams::default()).await.map(drop),
                )
            }
            (Some(_), 1) => {
                known.asked = Some(Some(data));
                (
                    &known.asked,
                    maps.replace(&name, &parameters, &object).await.map(drop),
                )
            }
            (Some(_), _) => {
                known.asked = Some(Some(data.clone()));
                let patch = Patch::Merge(json!({"data": data}));
                (
                    &known.asked,
                    maps.patch(&name, &PatchParams::default(), &patch)
                        .await
                        .map(drop),
                )
            }
        };
        match answer {
            Ok(()) => {
                known.acknowledged = wanted.clone().expect("it was asked for");
                known.asked = None;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Err(kube::Error::Api(status)) => panic!("{name}: {status:?} in {known:?}"),
            // The connection broke: nobody knows.
            Err(_) => break,
        }
    }
    known
}

/// Follows the objects from a revision on until the server is gone; answers with the last
/// revision it saw.
async fn follow(
    maps: Api<ConfigMap>,
    mut seen: String,
    mirror: &mut BTreeMap<String, String>,
) -> String {
    let Ok(events) = maps.watch(&WatchParams::default(), &seen).await else {
        return seen;
    };
    let mut events = std::pin::pin!(events);
    while let Some(Ok(event)) = events.next().await {
        seen = note(event, mirror).unwrap_or(seen);
    }
    seen
}

fn note(event: WatchEvent<ConfigMap>, mirror: &mut BTreeMap<String, String>) -> Option<String> {
    let version = |map: &ConfigMap| map.resource_version().expect("a version");
    match event {
        WatchEvent::Added(map) => {
            let before = mirror.insert(map.name_any(), version(&map));
            assert_eq!(before, None, "what is there does not come again");
            Some(version(&map))
        }
        WatchEvent::Modified(map) => {
            let before = mirror.insert(map.name_any(), version(&map));
            assert!(before.is_some(), "what changes was there");
            Some(version(&map))
        }
        WatchEvent::Deleted(map) => {
            assert!(
                mirror.remove(&map.name_any()).is_some(),
                "what goes was there"
            );
            Some(version(&map))
        }
        WatchEvent::Bookmark(mark) => Some(mark.metadata.resource_version),
        WatchEvent::Error(status) => panic!("{status:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_killed_under_load_loses_nothing_it_answered() {
    let kills = kills(6);
    let directory = tempfile::tempdir().expect("a directory");
    let home = directory.path();
    let mut sandbox = Sandbox::start(home);
    let client = sandbox.client(home).await;
    let of = |client: kube::Client| Api::<ConfigMap>::namespaced(client, "kubeflow-user");
    let list = async |client: kube::Client| {
        let list = of(client)
            .list(&ListParams::default())
            .await
            .expect("a list");
        let version = list.metadata.resource_version.expect("a version");
        (list.items, version)
    };
    let mut known = vec![Known::default(); 6];
    let (items, mut seen) = list(client.clone()).await;
    let versions = |items: &[ConfigMap]| -> BTreeMap<String, String> {
        items
            .iter()
            .map(|m| (m.name_any(), m.resource_version().unwrap_or_default()))
            .collect()
    };
    let mut mirror = versions(&items);
    let mut client = client;
    for round in 0..kills {
        let done = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = known
            .drain(..)
            .enumerate()
            .map(|(i, known)| {
                let seed = (round * 1000 + i) as u64;
                tokio::spawn(write(
                    of(client.clone()),
                    format!("w{i}"),
                    known,
                    seed,
                    done.clone(),
                ))
            })
            .collect();
        let enough = 10 + round * 37 % 150;
        let killing = async {
            while done.load(Ordering::Relaxed) < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            sandbox.0.kill().expect("the kill");
            sandbox.0.wait().expect("the end");
        };
        // The watch is younger than the first writes and older than the last.
        let watching = follow(of(client.clone()), seen, &mut mirror);
        let ((), last) = tokio::join!(killing, watching);
        seen = last;
        for writer in writers {
            known.push(writer.await.expect("the writer"));
        }

        sandbox = Sandbox::start(home);
        client = sandbox.client(home).await;
        let (items, version) = list(client.clone()).await;
        for (i, known) in known.iter_mut().enumerate() {
            let found = items.iter().find(|m| m.name_any() == format!("w{i}"));
            let found = found.map(|m| m.data.clone().unwrap_or_default());
            let expected = found == known.acknowledged || Some(&found) == known.asked.as_ref();
            assert!(expected, "w{i} is {found:?}, not as in {known:?}");
            *known = Known {
                acknowledged: found,
                asked: None,
            };
        }
        // The watch goes on where it was, and what it tells adds up to the list.
        let now = versions(&items);
        let until: u64 = version.parse().expect("a number");
        let events = of(client.clone())
            .watch(&WatchParams::default(), &seen)
            .await;
        let mut events = std::pin::pin!(events.expect("a watch"));
        let catching_up = async {
            while mirror != now {
                let event = events.next().await.expect("more").expect("an event");
                seen = note(event, &mut mirror).unwrap_or(seen.clone());
                assert!(
                    seen.parse::<u64>().expect("a number") <= until,
                    "{mirror:?} is not {now:?}"
                );
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), catching_up).await;
        assert!(in_time.is_ok(), "{mirror:?} is not {now:?}");
    }
}
