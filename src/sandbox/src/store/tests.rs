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
