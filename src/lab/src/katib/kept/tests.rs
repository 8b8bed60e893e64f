use std::os::unix::fs::PermissionsExt as _;

use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::katib::observations::Point;
use crate::katib::value::Value;

fn store(home: &Path, limit: u64) -> Store {
    let redact = |text: &str| text.replace("hunter2", "••••••");
    Store::new(&Home::at(home), limit, Arc::new(redact))
}

fn whose(name: &str, uid: &str) -> Whose {
    Whose {
        cluster: "https://../10.0.0.1:6443".into(),
        namespace: "lab".into(),
        name: name.into(),
        uid: uid.into(),
    }
}

/// An experiment with trials, each with one value and a log.
fn catch(name: &str, trials: &[&str], log: &str) -> Catch {
    let trial = |name: &str| {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {}})).unwrap()
    };
    let point = Point {
        metric: "accuracy".into(),
        time: None,
        value: Some(Value::Number(0.5)),
    };
    let experiment = json!({
        "metadata": {"name": name, "namespace": "lab", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"objective": {"type": "maximize", "objectiveMetricName": "accuracy"}},
    });
    let each = || trials.iter().map(|trial| (*trial).to_owned());
    Catch {
        archive: Archive {
            experiment: serde_json::from_value(experiment).unwrap(),
            trials: trials.iter().map(|name| trial(name)).collect(),
            metrics: each().map(|name| (name, vec![point.clone()])).collect(),
            logs: each().map(|name| (name, log.to_owned())).collect(),
            ..Archive::default()
        },
        notes: each().map(|name| (name, note(1))).collect(),
        whole: false,
    }
}

fn note(bytes: u64) -> LogNote {
    LogNote {
        bytes,
        ..LogNote::default()
    }
}

fn names(store: &Store) -> Vec<String> {
    store
        .list()
        .into_iter()
        .map(|entry| entry.index.whose.name)
        .collect()
}

#[test]
fn what_is_kept_is_an_export_without_secrets_that_only_its_owner_can_read() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path(), DEFAULT_LIMIT);
    let whose = whose("a", "11112222-3333");
    store
        .keep(&whose, catch("a", &["a-1"], "password hunter2\n"))
        .unwrap();
    let [entry] = store.list().try_into().unwrap();
    assert_eq!(
        (entry.index.trials, entry.index.whose.id()),
        (1, "11112222")
    );
    assert_eq!(archive::metrics(&entry.folder).unwrap()["a-1"].len(), 1);
    let log = std::fs::read_to_string(entry.log("a-1")).unwrap();
    assert_eq!(log, "password ••••••\n");
    for found in walkdir::WalkDir::new(home.path().join("kept")) {
        let found = found.unwrap();
        let mode = found.metadata().unwrap().permissions().mode() & 0o777;
        let wanted = if found.file_type().is_dir() {
            0o700
        } else {
            0o600
        };
        // The lock is empty.
        if found.file_name() != LOCK {
            assert_eq!(mode, wanted, "{}", found.path().display());
        }
        assert!(
            !found.file_name().to_string_lossy().starts_with('.'),
            "{}",
            found.path().display()
        );
    }
}

#[test]
fn a_later_look_adds_and_what_is_gone_by_then_stays() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path(), DEFAULT_LIMIT);
    let whose = whose("a", "1");
    store.keep(&whose, catch("a", &["a-1"], "one\n")).unwrap();
    store
        .keep_log(&whose, "a-1", "one\ntwo\n", note(8))
        .unwrap();
    // Somebody who saw less of it writes last.
    store.keep_log(&whose, "a-1", "one\n", note(4)).unwrap();
    let mut later = catch("a", &["a-2"], "three\n");
    later.archive.logs.insert("a-1".into(), "on\n".into());
    later.notes.insert("a-1".into(), note(3));
    let kept = store.keep(&whose, later).unwrap();
    assert_eq!(kept.len(), 2);
    let [entry] = store.list().try_into().unwrap();
    assert_eq!(entry.index.trials, 2);
    assert_eq!(
        std::fs::read_to_string(entry.log("a-1")).unwrap(),
        "one\ntwo\n"
    );
    // A younger pod of the trial counts for more than a longer log.
    let young = LogNote {
        made: Some(Timestamp::UNIX_EPOCH),
        ..note(1)
    };
    store.keep_log(&whose, "a-1", "again\n", young).unwrap();
    assert_eq!(
        std::fs::read_to_string(entry.log("a-1")).unwrap(),
        "again\n"
    );
    // A name that leads elsewhere is no name of a log.
    store.keep_log(&whose, "../../evil", "x", note(9)).unwrap();
    assert!(!home.path().join("kept").join("evil.log").exists());
}

#[test]
fn experiments_are_found_when_they_are_gone_by_name_or_by_id() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path(), DEFAULT_LIMIT);
    let (old, new, other) = (
        whose("mnist", "aaaa"),
        whose("mnist", "bbbb"),
        whose("digits", "cccc"),
    );
    for whose in [&old, &new, &other] {
        store
            .keep(
                whose,
                catch(&whose.name, &[&format!("{}-{}", whose.name, whose.uid)], ""),
            )
            .unwrap();
    }
    let find = |name: &str| {
        let found = store.find(&old.cluster, "lab", name);
        found.map(|found| {
            found
                .into_iter()
                .map(|one| one.index.whose.uid)
                .collect::<Vec<_>>()
        })
    };
    assert!(matches!(find("mnist"), Err(Error::NotGone(_))));
    store.mark(&old, true).unwrap();
    store.mark(&other, true).unwrap();
    assert_eq!(find("mnist").unwrap(), ["aaaa"]);
    assert_eq!(find("mnist@bb").unwrap(), ["bbbb"]);
    let error = find("digit").unwrap_err();
    assert!(
        error.hint().unwrap().contains("did you mean digits"),
        "{error}"
    );
    assert!(store.find("sandbox", "lab", "mnist").is_err());
    let (entry, trial) = store.find_trial(&old.cluster, "lab", "mnist-bbbb").unwrap();
    assert_eq!(
        (entry.index.whose.uid.as_str(), trial.as_str()),
        ("bbbb", "mnist-bbbb")
    );
    assert!(matches!(store.find_trial(&old.cluster, "lab", "mnist-bbb"),
        Err(Error::Unknown { near, .. }) if near == ["mnist-bbbb"]));
}

#[test]
fn beyond_the_limit_the_oldest_goes_first_and_of_the_last_its_oldest_logs() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path(), 60_000);
    let log = "x".repeat(20_000);
    for name in ["a", "b", "c"] {
        store
            .keep(
                &whose(name, name),
                catch(name, &[&format!("{name}-1")], &log),
            )
            .unwrap();
    }
    assert_eq!(names(&store), ["c", "b"]);
    // One that alone is too large loses logs until it is not.
    store
        .keep(
            &whose("d", "d"),
            catch("d", &["d-1", "d-2", "d-3", "d-4"], &log),
        )
        .unwrap();
    let [entry] = store.list().try_into().unwrap();
    assert!(entry.size <= 60_000, "{}", entry.size);
    assert_eq!(entry.index.dropped, 60_000_usize.div_ceil(20_000) - 1);
    assert!(entry.index.logs.contains_key("d-4") && !entry.index.logs.contains_key("d-1"));
    // Logs alone are bounded too, and with no room nothing is kept.
    for at in 0..10 {
        store
            .keep_log(&whose("d", "d"), &format!("e-{at}"), &log, note(at))
            .unwrap();
        let total: u64 = store.list().iter().map(|entry| entry.size).sum();
        assert!(total <= 60_000, "{total}");
    }
    let none = Store::new(
        &Home::at(home.path().join("none")),
        0,
        Arc::new(str::to_owned),
    );
    none.keep(&whose("a", "a"), catch("a", &["a-1"], ""))
        .unwrap();
    assert!(!home.path().join("none").exists());
}

#[test]
fn what_is_torn_or_not_ours_is_passed_over_and_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path(), 30_000);
    let whose = whose("a", "a");
    store.keep(&whose, catch("a", &["a-1"], "")).unwrap();
    let [entry] = store.list().try_into().unwrap();
    let namespace = entry.folder.parent().unwrap();
    let foreign = namespace.join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("big"), "x".repeat(100_000)).unwrap();
    let torn = namespace.join("torn");
    std::fs::create_dir(&torn).unwrap();
    std::fs::write(torn.join(INDEX), "{\"cluster\":").unwrap();
    let removed = home.path().join("kept").join(format!("{REMOVED}x"));
    std::fs::create_dir(&removed).unwrap();
    std::fs::write(entry.folder.join(".katlab-half"), "half").unwrap();
    assert_eq!(names(&store), ["a"]);
    // What a killed kernel left of a removal goes with the next writing; what is not ours stays.
    store.keep(&whose, catch("a", &["a-2"], "")).unwrap();
    assert!(!removed.exists() && foreign.exists() && torn.exists());
    store.remove(&entry).unwrap();
    assert!(!entry.folder.exists() && foreign.exists());
    assert_eq!(names(&store), Vec::<String>::new());
}

#[test]
fn writers_at_once_lose_nothing_and_readers_never_meet_half_a_file() {
    let home = tempfile::tempdir().unwrap();
    let id = whose("a", "a");
    let write = |writer: usize| {
        let store = store(home.path(), DEFAULT_LIMIT);
        for at in 0..8 {
            let trial = format!("a-{writer}-{at}");
            store.keep(&id, catch("a", &[&trial], "")).unwrap();
            let log = format!("{trial}\n");
            store
                .keep_log(&id, &trial, &log, note(log.len() as u64))
                .unwrap();
        }
    };
    std::thread::scope(|scope| {
        let writers = [scope.spawn(|| write(1)), scope.spawn(|| write(2))];
        let reader = store(home.path(), DEFAULT_LIMIT);
        while writers.iter().any(|writer| !writer.is_finished()) {
            for entry in reader.list() {
                if entry.index.trials > 0 {
                    archive::read(&entry.folder).unwrap();
                }
            }
        }
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
    });
    let [entry] = store(home.path(), DEFAULT_LIMIT).list().try_into().unwrap();
    assert_eq!((entry.index.trials, entry.index.logs.len()), (16, 16));
    assert_eq!(archive::metrics(&entry.folder).unwrap().len(), 16);
}
