use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

const PODS: &str = "pods";
const JOBS: &str = "jobs";

fn open(dir: &Path) -> Store {
    Store::open(dir, [PODS, JOBS], Retention::default()).expect("the store opens")
}

fn object(name: &str, value: i64) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "ns", "labels": {"l": value.to_string()}}, "spec": {"value": value}})
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

fn delete(name: &str, revision: u64) -> Write {
    Write {
        op: Op::Delete,
        ..put(name, 0, Expect::Revision(revision))
    }
}

#[tokio::test]
async fn writes_are_conditional_and_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let first = {
        let store = open(dir.path());
        let first = store
            .write(put("a", 1, Expect::Absent))
            .await
            .unwrap()
            .entry;
        assert_eq!(first.meta().name, "a");
        assert_eq!(
            first.value()["metadata"]["resourceVersion"],
            first.revision.to_string()
        );
        let taken = store.write(put("a", 2, Expect::Absent)).await.unwrap_err();
        assert!(matches!(taken, WriteError::Conflict(Some(e)) if e.revision == first.revision));
        let second = store
            .write(put("a", 2, Expect::Revision(first.revision)))
            .await
            .unwrap()
            .entry;
        assert!(second.revision > first.revision);
        assert!(store.write(delete("a", first.revision)).await.is_err());
        second
    };
    let store = open(dir.path());
    let found = store.get(PODS, "ns/a").expect("it is still there");
    assert_eq!(found.json(), first.json());
    assert_eq!(found.meta(), first.meta());
    assert_eq!(store.revision(), first.revision);
}

#[tokio::test]
async fn a_directory_has_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path());
    let second = Store::open(dir.path(), [PODS], Retention::default());
    assert!(matches!(second, Err(OpenError::InUse(_))));
}

#[tokio::test]
async fn a_guard_is_true_at_the_moment_of_the_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let needs = |path: &str| Guard::Exists {
        storage: JOBS,
        path: path.to_owned(),
    };
    let write = Write {
        guards: vec![needs("x")],
        ..put("a", 1, Expect::Absent)
    };
    assert!(matches!(
        store.write(write).await,
        Err(WriteError::Guard(_))
    ));
    store.write(put("a", 1, Expect::Absent)).await.unwrap();
    let write = Write {
        storage: JOBS,
        path: "ns".into(),
        guards: vec![Guard::NamespaceEmpty("ns".into())],
        ..put("b", 1, Expect::Absent)
    };
    assert!(matches!(
        store.write(write).await,
        Err(WriteError::Guard(_))
    ));
}

#[tokio::test]
async fn a_feed_goes_on_across_restarts_and_out_of_the_ring() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention {
        ring_changes: 2,
        ..Retention::default()
    };
    let mut revisions = Vec::new();
    {
        let store = Store::open(dir.path(), [PODS, JOBS], retention).unwrap();
        for i in 0..10 {
            let name = format!("p{i}");
            revisions.push(
                store
                    .write(put(&name, i, Expect::Absent))
                    .await
                    .unwrap()
                    .entry
                    .revision,
            );
        }
        let mut feed = store.feed(PODS, revisions[2]).unwrap();
        let seen: Vec<u64> = feed.take().unwrap().0.iter().map(|c| c.revision).collect();
        assert_eq!(seen, revisions[3..]);
    }
    let store = open(dir.path());
    let mut feed = store.feed(PODS, revisions[5]).unwrap();
    let seen: Vec<u64> = feed.take().unwrap().0.iter().map(|c| c.revision).collect();
    assert_eq!(seen, revisions[6..]);
    store.write(delete("p0", revisions[0])).await.unwrap();
    assert!(feed.changed().await);
    let (changes, _) = feed.take().unwrap();
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].kind, ChangeKind::Deleted);
    assert_eq!(
        changes[0].previous.as_ref().map(|p| p.revision),
        Some(revisions[0])
    );
    let tombstone = &changes[0].entry;
    assert_eq!(
        tombstone.value()["metadata"]["resourceVersion"],
        tombstone.revision.to_string()
    );
}

#[tokio::test]
async fn compacted_history_is_refused_and_the_rest_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let retention = Retention {
        age: std::time::Duration::ZERO,
        min_revisions: 5,
        interval: std::time::Duration::from_millis(1),
        ..Retention::default()
    };
    let store = Store::open(dir.path(), [PODS, JOBS], retention).unwrap();
    let first = store
        .write(put("a", 0, Expect::Absent))
        .await
        .unwrap()
        .entry
        .revision;
    let mut last = first;
    let mut refused = false;
    // Compaction runs on the writer's own clock; writes give it occasion.
    for i in 1..2000 {
        last = store
            .write(put("a", i, Expect::Revision(last)))
            .await
            .unwrap()
            .entry
            .revision;
        if matches!(
            store.list_at(PODS, None, first),
            Err(ReadError::TooOld { .. })
        ) {
            refused = true;
            break;
        }
    }
    assert!(refused, "history is given up");
    assert!(matches!(
        store.feed(PODS, first).unwrap().take(),
        Err(ReadError::TooOld { .. })
    ));
    let page = store.list_at(PODS, None, last - 2).unwrap();
    assert_eq!(page.entries.len(), 1);
    assert_eq!(page.entries[0].revision, last - 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever is written, what a feed delivers adds up to the list, and a list of the past is
    /// what the list was then.
    #[test]
    fn changes_add_up_to_the_list(steps in proptest::collection::vec((0..5u8, any::<bool>()), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let retention = Retention { ring_changes: 3, ..Retention::default() };
            let store = Store::open(dir.path(), [PODS, JOBS], retention).unwrap();
            let mut feed = store.feed(PODS, 0).unwrap();
            let mut mirror = BTreeMap::new();
            let mut past = Vec::new();
            let names = |page: &Page| -> Vec<(String, u64)> {
                page.entries.iter().map(|e| (e.path().to_string(), e.revision)).collect()
            };
            for (i, (key, remove)) in steps.iter().enumerate() {
                let name = format!("k{key}");
                let current = store.get(PODS, &format!("ns/{name}"));
                let write = match (current, remove) {
                    (None, _) => put(&name, i as i64, Expect::Absent),
                    (Some(e), true) => delete(&name, e.revision),
                    (Some(e), false) => put(&name, i as i64, Expect::Revision(e.revision)),
                };
                store.write(write).await.unwrap();
                past.push((store.revision(), names(&store.list(PODS, Some("ns")))));
            }
            for change in feed.take().unwrap().0 {
                match change.kind {
                    ChangeKind::Deleted => mirror.remove(&**change.entry.path()),
                    _ => mirror.insert(change.entry.path().to_string(), change.entry.revision),
                };
            }
            let now = names(&store.list(PODS, None));
            prop_assert_eq!(mirror.into_iter().collect::<Vec<_>>(), now);
            for (revision, then) in past {
                prop_assert_eq!(names(&store.list_at(PODS, Some("ns"), revision).unwrap()), then);
            }
            Ok(())
        })?;
    }
}

/// A file as the first schema version left it, with one object that was changed once.
fn first_version(dir: &Path) {
    let mut db = rusqlite::Connection::open(dir.join("store.db")).unwrap();
    db.pragma_update(None, "journal_mode", "WAL").unwrap();
    let tx = db.transaction().unwrap();
    schema::tables(&tx).unwrap();
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
        .unwrap();
    }
    tx.pragma_update(None, "user_version", 1).unwrap();
    tx.commit().unwrap();
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_migrated_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    first_version(dir.path());
    for _ in 0..2 {
        let store = open(dir.path());
        let found = store.get(PODS, "ns/a").unwrap();
        assert_eq!(found.value()["spec"]["value"], 2);
        let (changes, _) = store.feed(PODS, 0).unwrap().take().unwrap();
        assert_eq!(changes[1].previous.as_ref().map(|p| p.revision), Some(1));
    }
    let store = open(dir.path());
    store.write(put("a", 3, Expect::Revision(2))).await.unwrap();
    drop(store);
    assert_eq!(open(dir.path()).get(PODS, "ns/a").unwrap().revision, 3);
}

/// A closed store with a few objects.
async fn closed(dir: &Path) {
    let store = open(dir);
    for i in 0..200 {
        let write = put(&format!("p{i}"), i, Expect::Absent);
        store.write(write).await.unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_was_written_is_refused_and_left_alone() {
    fn at(file: &mut [u8], what: &[u8]) -> usize {
        let found = file.windows(what.len()).position(|w| w == what);
        found.expect("these bytes are in the file")
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
        (
            "one changed byte in an object",
            |f| {
                let start = at(f, br#""name":"p7""#);
                f[start + 9] = b'8';
            },
            "checksum",
        ),
        (
            "a version to come",
            |f| f[60..64].copy_from_slice(&99_u32.to_be_bytes()),
            "has schema version 99, this program knows up to 2",
        ),
    ];
    for (what, harm, said) in harms {
        let dir = tempfile::tempdir().unwrap();
        closed(dir.path()).await;
        let path = dir.path().join("store.db");
        let mut file = std::fs::read(&path).unwrap();
        harm(&mut file);
        std::fs::write(&path, &file).unwrap();
        for _ in 0..2 {
            let error = Store::open(dir.path(), [PODS], Retention::default()).expect_err(what);
            let text = error.to_string();
            assert!(text.contains(said), "{what}: {text}");
            assert!(text.contains(path.to_str().unwrap()), "{what}: {text}");
            assert!(error.hint().is_some_and(|h| h.contains("sandbox reset")));
            assert_eq!(std::fs::read(&path).unwrap(), file, "{what}");
        }
    }
    // A file that is missing while its log is there was not lost by the store.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("store.db-wal"), b"x").unwrap();
    let error = Store::open(dir.path(), [PODS], Retention::default()).unwrap_err();
    assert!(error.to_string().contains("the file is missing"), "{error}");
    // A start that was killed while it made the file left nothing that counts.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("store.db.new"), b"half").unwrap();
    assert_eq!(open(dir.path()).revision(), 0);
}

#[tokio::test]
async fn a_log_torn_anywhere_holds_every_commit_before() {
    let dir = tempfile::tempdir().unwrap();
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
        store.write(write).await.unwrap();
        commits.push((length(), store.revision()));
    }
    // As a crash leaves them: closing the store would tidy up.
    let (file, bytes) = (
        std::fs::read(dir.path().join("store.db")).unwrap(),
        std::fs::read(&log).unwrap(),
    );
    drop(store);
    let edges = commits
        .iter()
        .flat_map(|(end, _)| [end.saturating_sub(1), *end, end + 1]);
    let cuts: Vec<usize> = edges.chain((0..bytes.len()).step_by(7919)).collect();
    for cut in cuts.into_iter().filter(|cut| *cut <= bytes.len()) {
        let garbled = bytes[cut..].iter().map(|b| b ^ 0x5a);
        let tails: [Vec<u8>; 2] = [Vec::new(), garbled.collect()];
        for tail in tails {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("store.db"), &file).unwrap();
            std::fs::write(
                dir.path().join("store.db-wal"),
                [&bytes[..cut], &tail].concat(),
            )
            .unwrap();
            let store = open(dir.path());
            let whole = commits
                .iter()
                .rfind(|(end, _)| *end <= cut)
                .map_or(0, |(_, r)| *r);
            assert_eq!(store.revision(), whole, "cut at {cut}");
            assert_eq!(store.count(PODS) as u64, whole, "cut at {cut}");
            store.write(put("next", 1, Expect::Absent)).await.unwrap();
        }
    }
}
