//! What holds whatever is written: selectors select, pages add up, watches add up to lists, and
//! server-side apply keeps to who owns what.

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::Body;
use futures::StreamExt;
use harness::{Server, server, server_with};
use katlab_sandbox::api::admission_hook::AdmitAll;
use katlab_sandbox::store::Retention;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/team/configmaps";

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

fn escape(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

fn items(list: &Value) -> &[Value] {
    list["items"].as_array().expect("items")
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("a name")
}

fn names(list: &Value) -> Vec<&str> {
    items(list).iter().map(name).collect()
}

/// One condition on one label or field, as text and as what it means.
#[derive(Clone, Debug)]
enum Condition {
    Equal(&'static str, &'static str, &'static str),
    Unequal(&'static str, &'static str),
    In(&'static str, Vec<&'static str>),
    NotIn(&'static str, Vec<&'static str>),
    Exists(&'static str),
    Absent(&'static str),
    Above(&'static str, i64),
    Below(&'static str, i64),
}

use Condition::{Above, Absent, Below, Equal, Exists, In, NotIn, Unequal};

impl Condition {
    fn text(&self) -> String {
        match self {
            Equal(key, sign, value) => format!("{key}{sign}{value}"),
            Unequal(key, value) => format!("{key} != {value}"),
            In(key, values) => format!("{key} in ({})", values.join(", ")),
            NotIn(key, values) => format!("{key} notin ( {} )", values.join(",")),
            Exists(key) => (*key).to_owned(),
            Absent(key) => format!("! {key}"),
            Above(key, number) => format!("{key} > {number}"),
            Below(key, number) => format!("{key}<{number}"),
        }
    }

    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = |key: &str| labels.get(key).map(String::as_str);
        let number = |key: &str| value(key)?.parse::<i64>().ok();
        match self {
            Equal(key, _, wanted) => value(key) == Some(wanted),
            Unequal(key, wanted) => value(key) != Some(wanted),
            In(key, wanted) => value(key).is_some_and(|v| wanted.contains(&v)),
            NotIn(key, wanted) => value(key).is_none_or(|v| !wanted.contains(&v)),
            Exists(key) => value(key).is_some(),
            Absent(key) => value(key).is_none(),
            Above(key, than) => number(key).is_some_and(|n| n > *than),
            Below(key, than) => number(key).is_some_and(|n| n < *than),
        }
    }
}

const KEYS: &[&str] = &["a", "in", "example.org/b", "n"];
const VALUES: &[&str] = &["", "1", "2", "10", "x", "notin", "A_b.c"];

fn condition() -> impl Strategy<Value = Condition> {
    let (key, value) = (|| select(KEYS), || select(VALUES));
    let values = || proptest::collection::vec(select(VALUES), 1..4);
    prop_oneof![
        (key(), select(vec!["=", "==", " = "]), value()).prop_map(|(k, s, v)| Equal(k, s, v)),
        (key(), value()).prop_map(|(k, v)| Unequal(k, v)),
        (key(), values()).prop_map(|(k, v)| In(k, v)),
        (key(), values()).prop_map(|(k, v)| NotIn(k, v)),
        key().prop_map(Exists),
        key().prop_map(Absent),
        (key(), 0..12_i64).prop_map(|(k, n)| Above(k, n)),
        (key(), 0..12_i64).prop_map(|(k, n)| Below(k, n)),
    ]
}

fn labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = select(KEYS).prop_map(str::to_owned);
    proptest::collection::btree_map(key, select(VALUES).prop_map(str::to_owned), 0..4)
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn a_selector_selects_what_its_conditions_say(
        objects in proptest::collection::vec((labels(), select(vec!["Opaque", "team.example/x"])), 1..12),
        selectors in proptest::collection::vec(proptest::collection::vec(condition(), 0..4), 12),
        kinds in proptest::collection::vec((any::<bool>(), select(vec!["Opaque", "team.example/x", "other"]), 0..12_usize), 6),
    ) {
        block_on(async {
            let server = server().await;
            let path = "/api/v1/namespaces/team/secrets";
            for (i, (labels, kind)) in objects.iter().enumerate() {
                let made = json!({"metadata": {"name": format!("s{i:02}"), "labels": labels}, "type": kind});
                prop_assert_eq!(server.post(path, made).await.status, 201);
            }
            for selector in &selectors {
                let text = selector.iter().map(Condition::text).collect::<Vec<_>>().join(",");
                let list = server.get(&format!("{path}?labelSelector={}", escape(&text))).await.body;
                let expected = objects.iter().enumerate().filter(|(_, (labels, _))| selector.iter().all(|c| c.holds(labels)));
                let expected: Vec<String> = expected.map(|(i, _)| format!("s{i:02}")).collect();
                prop_assert_eq!(names(&list), expected, "{}", text);
            }
            for (equal, kind, number) in kinds {
                let sign = if equal { "=" } else { "!=" };
                let text = format!("type{sign}{kind},metadata.name!=s{number:02},metadata.namespace==team");
                let list = server.get(&format!("{path}?fieldSelector={}", escape(&text))).await.body;
                let expected = objects.iter().enumerate().filter(|(i, (_, k))| (*k == kind) == equal && *i != number);
                let expected: Vec<String> = expected.map(|(i, _)| format!("s{i:02}")).collect();
                prop_assert_eq!(names(&list), expected, "{}", text);
            }
            Ok(())
        })?;
    }
}

/// One write to one of a few objects.
#[derive(Clone, Debug)]
struct Step {
    key: usize,
    /// The value of the label `app`, or the end of the object.
    app: Option<&'static str>,
    /// Whether the watches break off and resume after this.
    breaks: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let app = prop_oneof![4 => select(vec!["x", "y"]).prop_map(Some), 1 => Just(None)];
    (0..5_usize, app, proptest::bool::weighted(0.2)).prop_map(|(key, app, breaks)| Step {
        key,
        app,
        breaks,
    })
}

/// A client that keeps what a watch tells.
struct Mirror {
    query: String,
    seen: u64,
    objects: BTreeMap<String, Value>,
}

impl Mirror {
    /// Watches from where it was until it has seen all up to a revision.
    async fn follow(&mut self, server: &Server, until: u64) -> Result<(), TestCaseError> {
        let path = format!(
            "{MAPS}?watch=1&allowWatchBookmarks=true&timeoutSeconds=2&resourceVersion={}{}",
            self.seen, self.query
        );
        let request = http::Request::builder()
            .uri(path)
            .header("authorization", "Bearer token");
        let request = request.body(Body::empty()).expect("a request");
        let answer = server.api.answer(request, false, "").await;
        prop_assert_eq!(answer.status(), 200);
        let mut frames = answer.into_body().into_data_stream();
        let mut text = Vec::new();
        while self.seen < until {
            // The watch ends with a bookmark, for those that had nothing to tell at the end.
            let Some(frame) = frames.next().await else {
                break;
            };
            text.extend(frame.expect("a frame"));
            while let Some(end) = text.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                self.note(&serde_json::from_slice(&line).expect("JSON"))?;
            }
        }
        Ok(())
    }

    fn note(&mut self, event: &Value) -> Result<(), TestCaseError> {
        let object = &event["object"];
        let version = object["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|v| v.parse().ok());
        let version: u64 = version.expect("a version");
        let kind = event["type"].as_str().unwrap_or_default();
        prop_assert!(
            version > self.seen || kind == "BOOKMARK",
            "{} comes after {}",
            event,
            self.seen
        );
        self.seen = version.max(self.seen);
        let before = match kind {
            "BOOKMARK" => return Ok(()),
            "DELETED" => self.objects.remove(name(object)),
            _ => {
                let mut object = object.clone();
                object
                    .as_object_mut()
                    .expect("an object")
                    .retain(|k, _| k != "kind" && k != "apiVersion");
                self.objects.insert(name(&object).to_owned(), object)
            }
        };
        prop_assert_eq!(before.is_some(), kind != "ADDED", "{}", event);
        Ok(())
    }
}

proptest! {
    #![proptest_config(cases(10))]

    #[test]
    fn what_a_watch_tells_adds_up_to_a_list(steps in proptest::collection::vec(step(), 1..30), ring in select(vec![2_usize, 4096])) {
        block_on(async {
            // With a short ring most of what a watch resumes with comes from the disk.
            let retention = Retention { ring_changes: ring, ..Retention::default() };
            let server = server_with(retention, |_| std::sync::Arc::new(AdmitAll)).await;
            let queries = ["", "&labelSelector=app%3Dx", "&labelSelector=app%21%3Dx", "&fieldSelector=metadata.name%3Dm1"];
            let mut mirrors = Vec::new();
            for query in queries {
                let list = server.get(&format!("{MAPS}?{query}")).await.body;
                let seen = list["metadata"]["resourceVersion"].as_str().and_then(|v| v.parse().ok()).expect("a version");
                let objects = items(&list).iter().map(|m| (name(m).to_owned(), m.clone())).collect();
                mirrors.push(Mirror { query: query.to_owned(), seen, objects });
            }
            let mut there = BTreeSet::new();
            for (i, step) in steps.iter().enumerate() {
                let path = format!("{MAPS}/m{}", step.key);
                let answer = match (step.app, there.contains(&step.key)) {
                    (None, _) => {
                        there.remove(&step.key);
                        server.delete(&path, json!({})).await
                    }
                    (Some(app), true) => server.merge(&path, json!({"metadata": {"labels": {"app": app}}, "data": {"i": i.to_string()}})).await,
                    (Some(app), false) => {
                        there.insert(step.key);
                        server.post(MAPS, json!({"metadata": {"name": format!("m{}", step.key), "labels": {"app": app}}})).await
                    }
                };
                prop_assert!(matches!(answer.status, 200 | 201 | 404), "{:?}", answer);
                if step.breaks {
                    let mirror = &mut mirrors[i % queries.len()];
                    mirror.follow(&server, server.api.store().revision()).await?;
                }
            }
            let until = server.api.store().revision();
            let following = mirrors.iter_mut().map(|mirror| mirror.follow(&server, until));
            for followed in futures::future::join_all(following).await {
                followed?;
            }
            for mirror in mirrors {
                let list = server.get(&format!("{MAPS}?{}", mirror.query)).await.body;
                let now = items(&list).iter().map(|m| (name(m).to_owned(), m.clone())).collect();
                prop_assert_eq!(mirror.objects, now, "{}", mirror.query);
            }
            Ok(())
        })?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_everything_once_while_others_write() {
    for ring in [16, 4096] {
        let retention = Retention {
            ring_changes: ring,
            ..Retention::default()
        };
        let server = server_with(retention, |_| std::sync::Arc::new(AdmitAll)).await;
        let map = |name: String| json!({"metadata": {"name": name, "labels": {"app": "x"}}});
        let stay: BTreeSet<String> = (0..60).map(|i| format!("m{i:02}")).collect();
        for name in &stay {
            assert_eq!(server.post(MAPS, map(name.clone())).await.status, 201);
        }
        let (over, written) = (AtomicBool::new(false), AtomicUsize::new(0));
        let writing = (0..3).map(|writer| {
            let (server, over, written) = (&server, &over, &written);
            async move {
                for turn in 0.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    // New ones come between those that stay and go again; those that stay change.
                    let name = format!("m{:02}-{writer}", turn * 7 % 60);
                    server.post(MAPS, map(name.clone())).await;
                    let changed = format!("{MAPS}/m{:02}", turn * 11 % 60);
                    server
                        .merge(&changed, json!({"data": {"turn": turn.to_string()}}))
                        .await;
                    server.delete(&format!("{MAPS}/{name}"), json!({})).await;
                    written.fetch_add(3, Ordering::Relaxed);
                }
            }
        });
        let reading = async {
            for limit in [1, 7, 20, 50] {
                let path = format!("{MAPS}?labelSelector=app%3Dx&limit={limit}");
                let mut page = server.get(&path).await.body;
                let version = page["metadata"]["resourceVersion"].clone();
                let moment = format!(
                    "{MAPS}?labelSelector=app%3Dx&resourceVersionMatch=Exact&resourceVersion={}",
                    version.as_str().expect("a version")
                );
                let moment = server.get(&moment).await.body;
                let mut seen = Vec::new();
                loop {
                    assert_eq!(page["metadata"]["resourceVersion"], version);
                    seen.extend(items(&page).iter().cloned());
                    let Some(next) = page["metadata"]["continue"].as_str() else {
                        break;
                    };
                    let before = written.load(Ordering::Relaxed);
                    while written.load(Ordering::Relaxed) == before {
                        tokio::task::yield_now().await;
                    }
                    page = server.get(&format!("{path}&continue={next}")).await.body;
                }
                let found: Vec<&str> = seen.iter().map(name).collect();
                assert!(found.is_sorted_by(|a, b| a < b), "{found:?}");
                let missing: Vec<_> = stay
                    .iter()
                    .filter(|n| !found.contains(&n.as_str()))
                    .collect();
                assert!(missing.is_empty(), "{missing:?}");
                assert_eq!(seen, items(&moment));
            }
            over.store(true, Ordering::Relaxed);
        };
        tokio::join!(reading, futures::future::join_all(writing));
    }
}

/// A change of an object's data by somebody.
#[derive(Clone, Debug)]
enum Edit {
    Apply {
        who: &'static str,
        data: BTreeMap<&'static str, &'static str>,
        force: bool,
    },
    Merge {
        data: BTreeMap<&'static str, Option<&'static str>>,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    let (key, value) = (|| select(vec!["a", "b", "c"]), || select(vec!["1", "2"]));
    let data = proptest::collection::btree_map(key(), value(), 0..4);
    let changes = proptest::collection::btree_map(key(), proptest::option::of(value()), 0..3);
    prop_oneof![
        3 => (select(vec!["one", "two"]), data, any::<bool>()).prop_map(|(who, data, force)| Edit::Apply { who, data, force }),
        1 => changes.prop_map(|data| Edit::Merge { data }),
    ]
}

/// What the data are and who owns each of them, by the rules of server-side apply.
#[derive(Clone, Debug, Default)]
struct Owned(BTreeMap<&'static str, (&'static str, BTreeSet<&'static str>)>);

impl Owned {
    /// Makes an edit; says whether it may be made.
    fn edit(&mut self, edit: &Edit) -> bool {
        match edit {
            Edit::Apply { who, data, force } => {
                let others = |owners: &BTreeSet<&str>| owners.iter().any(|o| o != who);
                let conflict = data.iter().any(|(key, value)| {
                    self.0
                        .get(key)
                        .is_some_and(|(now, owners)| now != value && others(owners))
                });
                if conflict && !force {
                    return false;
                }
                for (key, value) in data {
                    let (now, owners) = self.0.entry(key).or_insert((value, BTreeSet::new()));
                    if now != value {
                        owners.clear();
                        *now = value;
                    }
                    owners.insert(who);
                }
                self.0.retain(|key, (_, owners)| {
                    // What nobody asks for any more goes, if it was asked for.
                    !(!data.contains_key(key) && owners.remove(who) && owners.is_empty())
                });
            }
            Edit::Merge { data } => {
                for (key, value) in data {
                    match value {
                        None => drop(self.0.remove(key)),
                        Some(value) if self.0.get(key).is_some_and(|(now, _)| now == value) => {}
                        Some(value) => drop(self.0.insert(key, (value, BTreeSet::from(["merge"])))),
                    }
                }
            }
        }
        true
    }

    fn data(&self) -> BTreeMap<&str, &str> {
        self.0
            .iter()
            .map(|(key, (value, _))| (*key, *value))
            .collect()
    }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn an_apply_keeps_to_who_owns_what(edits in proptest::collection::vec(edit(), 1..14)) {
        block_on(async {
            let server = server().await;
            let path = format!("{MAPS}/shared");
            prop_assert_eq!(server.post(MAPS, json!({"metadata": {"name": "shared"}})).await.status, 201);
            let mut model = Owned::default();
            for edit in &edits {
                let send = async || match edit {
                    Edit::Apply { who, data, force } => {
                        let mut applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "shared"}});
                        if !data.is_empty() {
                            applied["data"] = json!(data);
                        }
                        let kind = [("content-type", "application/apply-patch+yaml")];
                        server.send("PATCH", &format!("{path}?fieldManager={who}&force={force}"), &kind, &applied.to_string()).await
                    }
                    Edit::Merge { data } => server.merge(&format!("{path}?fieldManager=merge"), json!({"data": data})).await,
                };
                let answer = send().await;
                let may = model.edit(edit);
                prop_assert_eq!(answer.status, if may { 200 } else { 409 }, "{:?} {:?}", edit, answer.body);
                let now = server.get(&path).await.body;
                let data: BTreeMap<&str, &str> = now["data"].as_object().into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str().unwrap_or(""))).collect();
                prop_assert_eq!(&data, &model.data(), "after {:?} of {:?}", edit, edits);
                if may {
                    // The same once more is nothing new.
                    let again = send().await;
                    prop_assert_eq!(again.status, 200);
                    prop_assert_eq!(&again.body["metadata"]["resourceVersion"], &now["metadata"]["resourceVersion"], "{:?}", edit);
                }
            }
            Ok(())
        })?;
    }
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(|n| json!(n)),
        "[a-c]{0,2}".prop_map(|s| json!(s)),
        Just(json!([1, 2])),
        Just(json!([]))
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        proptest::collection::btree_map("[a-d]", inner, 0..4).prop_map(|m| json!(m))
    })
}

/// RFC 7386, as it is written there.
fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut out = target.as_object().cloned().unwrap_or_default();
    for (key, value) in patch {
        if value.is_null() {
            out.shift_remove(key);
        } else {
            let merged = merged(out.get(key).unwrap_or(&Value::Null), value);
            out.insert(key.clone(), merged);
        }
    }
    Value::Object(out)
}

fn without_nulls(value: &Value) -> Value {
    merged(&Value::Null, value)
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn patches_do_what_their_documents_say(start in document(), patches in proptest::collection::vec(document(), 1..8)) {
        block_on(async {
            let server = server().await;
            let trials = "/apis/kubeflow.org/v1beta1/namespaces/team/trials";
            let path = format!("{trials}/t");
            let spec = |value: &Value| json!({"held": value});
            let mut expected = spec(&without_nulls(&start));
            let made = json!({"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial", "metadata": {"name": "t"}, "spec": expected});
            prop_assert_eq!(server.post(trials, made).await.status, 201);
            for patch in &patches {
                let answer = server.merge(&path, json!({"spec": spec(patch)})).await;
                prop_assert_eq!(answer.status, 200, "{:?}", answer.body);
                expected = merged(&expected, &spec(patch));
                prop_assert_eq!(&answer.body["spec"], &expected, "{}", patch);
                // Put in place and moved away by operations, and tested on the way.
                let patch = without_nulls(patch);
                let operations = json!([
                    {"op": "add", "path": "/spec/other", "value": patch},
                    {"op": "test", "path": "/spec/other", "value": patch},
                    {"op": "copy", "from": "/spec/other", "path": "/spec/third"},
                    {"op": "move", "from": "/spec/third", "path": "/spec/other"},
                    {"op": "remove", "path": "/spec/other"},
                ]);
                let kind = [("content-type", "application/json-patch+json")];
                let unchanged = server.send("PATCH", &path, &kind, &operations.to_string()).await;
                prop_assert_eq!(unchanged.status, 200, "{:?}", unchanged.body);
                prop_assert_eq!(&unchanged.body, &answer.body);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_strategic_patch_merges_lists_by_their_keys(
        start in proptest::collection::btree_map("[a-d]", "[x-z]", 0..4),
        changes in proptest::collection::vec(proptest::collection::btree_map("[a-f]", proptest::option::of("[x-z]"), 0..4), 1..6),
    ) {
        block_on(async {
            let server = server().await;
            let accounts = "/api/v1/namespaces/team/serviceaccounts";
            let list = |names: &BTreeMap<String, String>| -> Value {
                names.iter().map(|(name, namespace)| json!({"name": name, "namespace": namespace})).collect()
            };
            let made = json!({"metadata": {"name": "robot"}, "secrets": list(&start)});
            prop_assert_eq!(server.post(accounts, made).await.status, 201);
            let mut expected = start.clone();
            for change in changes {
                let patch: Value = change.iter().map(|(name, namespace)| match namespace {
                    Some(namespace) => json!({"name": name, "namespace": namespace}),
                    None => json!({"name": name, "$patch": "delete"}),
                }).collect();
                let kind = [("content-type", "application/strategic-merge-patch+json")];
                let patch = json!({"secrets": patch}).to_string();
                for _ in 0..2 {
                    let answer = server.send("PATCH", &format!("{accounts}/robot"), &kind, &patch).await;
                    prop_assert_eq!(answer.status, 200, "{:?}", answer.body);
                    for (name, namespace) in &change {
                        match namespace {
                            Some(namespace) => drop(expected.insert(name.clone(), namespace.clone())),
                            None => drop(expected.remove(name)),
                        }
                    }
                    let found = answer.body["secrets"].as_array().into_iter().flatten();
                    let found: Vec<(String, String)> = found.map(|s| (name_of(s, "name"), name_of(s, "namespace"))).collect();
                    let unique: BTreeMap<String, String> = found.iter().cloned().collect();
                    prop_assert_eq!(found.len(), unique.len());
                    prop_assert_eq!(&unique, &expected, "{}", patch);
                }
            }
            Ok(())
        })?;
    }
}

fn name_of(object: &Value, field: &str) -> String {
    object[field].as_str().unwrap_or("").to_owned()
}
