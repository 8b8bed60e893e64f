//! Disks that fill up, break off or garble: nothing acknowledged is lost, what cannot be kept is
//! refused, and what was not written so is not opened.

mod disk;
mod harness;

use std::path::Path;

use disk::Room;
use harness::server_in;
use katlab_sandbox::store::{Expect, Op, Retention, Store, Write, encode};
use serde_json::{Value, json};

const SIZE: u64 = 2 << 20;

#[test]
fn a_full_disk_refuses_writes_until_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    disk::run_on("on_a_small_disk", dir.path(), SIZE);
}

#[tokio::test]
#[ignore = "run by the test above on a disk of its own"]
async fn on_a_small_disk() {
    let Some((dir, room)) = disk::here() else {
        return;
    };
    let dir = dir.as_path();
    let mounted = matches!(room, Room::Ballast(_));

    let server = server_in(dir).await;
    let maps = "/api/v1/namespaces/team/configmaps";
    let text = |n: usize| json!({"text": "x".repeat(n)});
    let map = |name: &str, n| json!({"metadata": {"name": name}, "data": text(n)});
    for i in 0..8 {
        assert_eq!(
            server.post(maps, map(&format!("m{i}"), 1000)).await.status,
            201
        );
    }
    for round in 0..3 {
        room.take();
        let before = server.get(maps).await.body;
        // Several at once share a transaction, and each is told.
        let creates = (0..4).map(|i| server.post(maps, map(&format!("r{round}-{i}"), 100_000)));
        let mut refused = futures::future::join_all(creates).await;
        refused.push(
            server
                .merge(&format!("{maps}/m0"), json!({"data": text(100_000)}))
                .await,
        );
        for answer in refused {
            let (status, said) = (answer.status, &answer.body["message"]);
            if mounted {
                assert_eq!(
                    (status, &answer.body["reason"]),
                    (507, &json!("InsufficientStorage"))
                );
                assert!(
                    said.as_str()
                        .is_some_and(|m| m.contains("is full: nothing was stored"))
                );
            } else {
                assert_eq!(status, 500, "{said}");
            }
        }
        let after = server.get(maps).await.body;
        assert_eq!(after, before);
        room.give_back();
        assert_eq!(
            server
                .post(maps, map(&format!("r{round}"), 100_000))
                .await
                .status,
            201
        );
        assert_eq!(
            server
                .merge(
                    &format!("{maps}/m0"),
                    json!({"data": {"round": round.to_string()}})
                )
                .await
                .status,
            200
        );
        assert_eq!(
            server
                .delete(&format!("{maps}/m{}", round + 1), json!({}))
                .await
                .status,
            200
        );
    }
    let last = server.get(maps).await.body;
    drop(server);
    let again = server_in(dir).await;
    assert_eq!(again.get(maps).await.body, last);
}

const PODS: &str = "pods";

fn open(dir: &Path) -> Store {
    Store::open(dir, [PODS], Retention::default()).expect("the store opens")
}

fn object(name: &str, value: i64) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "ns"}, "spec": {"value": value}})
}

fn put(name: &str, value: i64, expect: Expect) -> Write {
    Write {
        storage: PODS,
        path: format!("ns/{name}"),
        expect,
        guards: Vec::new(),
        op: Op::Put(Box::new(object(name, value))),
    }
}

/// A file as the first schema version left it, with one object that was changed once.
fn first_version(dir: &Path) {
    let mut db = rusqlite::Connection::open(dir.join("store.db")).expect("it works");
    db.pragma_update(None, "journal_mode", "WAL")
        .expect("it works");
    let tx = db.transaction().expect("it works");
    tx.execute_batch(
        "CREATE TABLE kv (
             revision INTEGER PRIMARY KEY, storage TEXT NOT NULL, path TEXT NOT NULL,
             created INTEGER NOT NULL, previous INTEGER NOT NULL, deleted INTEGER NOT NULL,
             meta_at INTEGER NOT NULL, meta_len INTEGER NOT NULL, object BLOB NOT NULL);
         CREATE INDEX kv_path ON kv (storage, path, revision);
         CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
         INSERT INTO state VALUES ('compacted', 0), ('revision', 0);",
    )
    .expect("it works");
    for (revision, previous) in [(1, 0), (2, 1)] {
        let (object, meta) = encode(&mut object("a", revision), revision as u64);
        tx.execute(
            "INSERT INTO kv VALUES (?1, 'pods', 'ns/a', 1, ?2, 0, ?3, ?4, ?5)",
            rusqlite::params![
                revision,
                previous,
                meta.start as i64,
                meta.len() as i64,
                &object[..]
            ],
        )
        .expect("it works");
    }
    tx.pragma_update(None, "user_version", 1).expect("it works");
    tx.commit().expect("it works");
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_migrated_and_goes_on() {
    let dir = tempfile::tempdir().expect("it works");
    first_version(dir.path());
    for _ in 0..2 {
        let store = open(dir.path());
        let found = store.get(PODS, "ns/a").expect("it works");
        assert_eq!(found.value()["spec"]["value"], 2);
        let (changes, _) = store
            .feed(PODS, 0)
            .expect("it works")
            .take()
            .expect("it works");
        assert_eq!(changes[1].previous.as_ref().map(|p| p.revision), Some(1));
    }
    let store = open(dir.path());
    store
        .write(put("a", 3, Expect::Revision(2)))
        .await
        .expect("it works");
    drop(store);
    assert_eq!(
        open(dir.path())
            .get(PODS, "ns/a")
            .expect("it works")
            .revision,
        3
    );
}

/// A closed store with a few objects.
async fn closed(dir: &Path) {
    let store = open(dir);
    let writes = (0..100).map(|i| store.write(put(&format!("p{i}"), i, Expect::Absent)));
    for written in futures::future::join_all(writes).await {
        written.expect("stored");
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_was_written_is_refused_and_left_alone() {
    /// Renames an object, also where pages still hold what they held before.
    fn rename(file: &mut [u8]) {
        let name = br#""name":"p7""#;
        let found = file.windows(name.len()).enumerate();
        let starts: Vec<usize> = found.filter(|(_, w)| w == name).map(|(at, _)| at).collect();
        starts.into_iter().for_each(|start| file[start + 9] = b'8');
    }
    type Harm = fn(&mut Vec<u8>);
    let harms: &[(&str, Harm, &str)] = &[
        ("an empty file", |f| f.clear(), "the file is empty"),
        (
            "another file",
            |f| *f = b"hello ".repeat(1000),
            "file is not a database",
        ),
        ("half of it", |f| f.truncate(f.len() / 2), ""),
        ("a page of noise", |f| f[8192..12288].fill(0xa5), ""),
        ("one changed byte in an object", |f| rename(f), "checksum"),
        (
            "a version to come",
            |f| f[60..64].copy_from_slice(&99_u32.to_be_bytes()),
            "has schema version 99, this program knows up to 2",
        ),
    ];
    for (what, harm, said) in harms {
        let dir = tempfile::tempdir().expect("it works");
        closed(dir.path()).await;
        let path = dir.path().join("store.db");
        let mut file = std::fs::read(&path).expect("it works");
        harm(&mut file);
        std::fs::write(&path, &file).expect("it works");
        for _ in 0..2 {
            let error = Store::open(dir.path(), [PODS], Retention::default()).expect_err(what);
            let text = error.to_string();
            assert!(text.contains(said), "{what}: {text}");
            assert!(
                text.contains(path.to_str().expect("it works")),
                "{what}: {text}"
            );
            assert!(error.hint().is_some_and(|h| h.contains("sandbox reset")));
            assert_eq!(std::fs::read(&path).expect("it works"), file, "{what}");
        }
    }
    // A file that is missing while its log is there was not lost by the store.
    let dir = tempfile::tempdir().expect("it works");
    std::fs::write(dir.path().join("store.db-wal"), b"x").expect("it works");
    let error = Store::open(dir.path(), [PODS], Retention::default()).expect_err("it is refused");
    assert!(error.to_string().contains("the file is missing"), "{error}");
    // A start that was killed while it made the file left nothing that counts.
    let dir = tempfile::tempdir().expect("it works");
    std::fs::write(dir.path().join("store.db.new"), b"half").expect("it works");
    assert_eq!(open(dir.path()).revision(), 0);
}

#[tokio::test]
async fn a_log_torn_anywhere_holds_every_commit_before() {
    let dir = tempfile::tempdir().expect("it works");
    let log = dir.path().join("store.db-wal");
    let length = || std::fs::metadata(&log).map_or(0, |m| m.len() as usize);
    let store = open(dir.path());
    let mut commits = vec![(length(), store.revision())];
    for i in 0..12 {
        // Of one page and of several.
        let mut write = put(&format!("p{i}"), i, Expect::Absent);
        if let Op::Put(object) = &mut write.op {
            object["data"] = json!("x".repeat(i as usize % 4 * 3000));
        }
        store.write(write).await.expect("it works");
        commits.push((length(), store.revision()));
    }
    // As a crash leaves them: closing the store would tidy up.
    let (file, bytes) = (
        std::fs::read(dir.path().join("store.db")).expect("it works"),
        std::fs::read(&log).expect("it works"),
    );
    drop(store);
    let edges = commits
        .iter()
        .flat_map(|(end, _)| [end.saturating_sub(1), *end, end + 1]);
    let cuts: Vec<usize> = edges.chain((0..bytes.len()).step_by(20_011)).collect();
    for cut in cuts.into_iter().filter(|cut| *cut <= bytes.len()) {
        let garbled = bytes[cut..].iter().map(|b| b ^ 0x5a);
        let tails: [Vec<u8>; 2] = [Vec::new(), garbled.collect()];
        for tail in tails {
            let dir = tempfile::tempdir().expect("it works");
            std::fs::write(dir.path().join("store.db"), &file).expect("it works");
            std::fs::write(
                dir.path().join("store.db-wal"),
                [&bytes[..cut], &tail].concat(),
            )
            .expect("it works");
            let store = open(dir.path());
            let whole = commits
                .iter()
                .rfind(|(end, _)| *end <= cut)
                .map_or(0, |(_, r)| *r);
            assert_eq!(store.revision(), whole, "cut at {cut}");
            assert_eq!(store.count(PODS) as u64, whole, "cut at {cut}");
            store
                .write(put("next", 1, Expect::Absent))
                .await
                .expect("it works");
        }
    }
}
