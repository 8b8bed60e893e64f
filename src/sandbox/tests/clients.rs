//! kube-rs as programs use it: typed and dynamic objects, watchers, reflectors, a controller with
//! finalizers, conditions waited for, events recorded.

mod harness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use harness::{server, server_with};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Secret};
use katlab_sandbox::api::admission_hook::AdmitAll;
use katlab_sandbox::store::Retention;
use kube::api::{
    Api, DeleteParams, DynamicObject, GroupVersionKind, ListParams, ObjectMeta, Patch, PatchParams,
    PostParams, Preconditions, PropagationPolicy,
};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::events::{Event as Said, EventType, Recorder, Reporter};
use kube::runtime::finalizer::{Event as Turn, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, Resource, ResourceExt, discovery};
use serde_json::json;

fn map(name: &str, data: &[(&str, &str)]) -> ConfigMap {
    let data = data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([("app".to_owned(), "x".to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(data.collect()),
        ..ConfigMap::default()
    }
}

fn refusal<T: std::fmt::Debug>(answer: kube::Result<T>) -> (u16, String) {
    match answer {
        Err(kube::Error::Api(status)) => (status.code, status.reason.clone()),
        other => panic!("{other:?}"),
    }
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(30);
    let Ok(value) = tokio::time::timeout(limit, future).await else {
        panic!("{what} did not happen");
    };
    value
}

#[tokio::test]
async fn typed_objects_are_created_changed_and_deleted() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "team");
    let (post, patch) = (PostParams::default(), PatchParams::apply("test"));
    let made = maps
        .create(&post, &map("a", &[("k", "1")]))
        .await
        .expect("created");
    assert_eq!(
        refusal(maps.create(&post, &map("a", &[])).await),
        (409, "AlreadyExists".into())
    );
    assert_eq!(refusal(maps.get("b").await), (404, "NotFound".into()));
    assert!(maps.get_opt("b").await.expect("an answer").is_none());
    let mut newer = made.clone();
    newer
        .data
        .get_or_insert_default()
        .insert("k".into(), "2".into());
    let newer = maps.replace("a", &post, &newer).await.expect("replaced");
    assert_eq!(
        refusal(maps.replace("a", &post, &made).await),
        (409, "Conflict".into())
    );
    assert!(newer.resource_version() > made.resource_version());
    let stale = DeleteParams {
        preconditions: Some(Preconditions {
            resource_version: made.resource_version(),
            uid: None,
        }),
        ..DeleteParams::default()
    };
    assert_eq!(
        refusal(maps.delete("a", &stale).await),
        (409, "Conflict".into())
    );
    let strategic = Patch::Strategic(json!({"data": {"s": "1"}}));
    maps.patch("a", &PatchParams::default(), &strategic)
        .await
        .expect("patched");
    let operations = json!([{"op": "replace", "path": "/data/k", "value": "3"}]);
    let operations = Patch::<ConfigMap>::Json(serde_json::from_value(operations).expect("a patch"));
    let patched = maps
        .patch("a", &PatchParams::default(), &operations)
        .await
        .expect("patched");
    assert_eq!(
        patched.data,
        Some(BTreeMap::from([
            ("k".into(), "3".into()),
            ("s".into(), "1".into())
        ]))
    );
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "9"}});
    assert_eq!(
        refusal(maps.patch("a", &patch, &Patch::Apply(&applied)).await),
        (409, "Conflict".into())
    );
    let forced = maps
        .patch("a", &patch.clone().force(), &Patch::Apply(&applied))
        .await
        .expect("applied");
    assert_eq!(forced.data.unwrap_or_default()["k"], "9");
    for i in 0..5 {
        maps.create(&post, &map(&format!("p{i}"), &[]))
            .await
            .expect("created");
    }
    let mut pages = ListParams::default().labels("app=x").limit(2);
    let mut seen = Vec::new();
    loop {
        let page = maps.list(&pages).await.expect("a page");
        seen.extend(page.items.iter().map(ResourceExt::name_any));
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => pages = pages.continue_token(&next),
            None => break,
        }
    }
    assert_eq!(seen, ["a", "p0", "p1", "p2", "p3", "p4"]);
    let metadata = maps.get_metadata("a").await.expect("metadata");
    assert_eq!(
        metadata.types.map(|t| t.kind),
        Some("PartialObjectMetadata".into())
    );
    maps.delete_collection(
        &DeleteParams::default(),
        &ListParams::default().labels("app=x"),
    )
    .await
    .expect("deleted");
    assert!(
        maps.list(&ListParams::default().labels("app=x"))
            .await
            .expect("a list")
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn discovery_leads_to_dynamic_objects() {
    let server = server().await;
    let client = server.client();
    let found = discovery::Discovery::new(client.clone())
        .run()
        .await
        .expect("discovery");
    let group = found.get("kubeflow.org").expect("Katib's group");
    let (trial, capabilities) = group.recommended_kind("Trial").expect("trials");
    assert!(capabilities.supports_operation(discovery::verbs::WATCH));
    let trials: Api<DynamicObject> = Api::namespaced_with(client.clone(), "team", &trial);
    let object = DynamicObject::new("t", &trial)
        .within("team")
        .data(json!({"spec": {"a": 1}}));
    trials
        .create(&PostParams::default(), &object)
        .await
        .expect("created");
    let status = Patch::Merge(json!({"status": {"s": 1}}));
    let changed = trials
        .patch_status("t", &PatchParams::default(), &status)
        .await
        .expect("patched");
    assert_eq!(changed.data, json!({"spec": {"a": 1}, "status": {"s": 1}}));
    let kind = GroupVersionKind::gvk("kubeflow.org", "v1beta1", "Trial");
    let (pinned, _) = discovery::pinned_kind(&client, &kind)
        .await
        .expect("the kind");
    assert_eq!(pinned, trial);
}

#[tokio::test]
async fn a_watcher_shows_what_is_there_and_what_comes() {
    let server = server().await;
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "team");
    for (turn, config) in [
        watcher::Config::default().page_size(2),
        watcher::Config::default().streaming_lists(),
    ]
    .into_iter()
    .enumerate()
    {
        for i in 0..3 {
            maps.create(&PostParams::default(), &map(&format!("t{turn}-{i}"), &[]))
                .await
                .expect("created");
        }
        let events = watcher(maps.clone(), config.labels("app=x"));
        let mut events = std::pin::pin!(events);
        let mut initial = Vec::new();
        in_time("the first list", async {
            loop {
                match events.try_next().await.expect("no error").expect("more") {
                    watcher::Event::Init => {}
                    watcher::Event::InitApply(map) => initial.push(map.name_any()),
                    watcher::Event::InitDone => break,
                    other => panic!("{other:?}"),
                }
            }
        })
        .await;
        assert_eq!(
            initial,
            (0..3).map(|i| format!("t{turn}-{i}")).collect::<Vec<_>>()
        );
        let name = format!("t{turn}-0");
        let unlabelled = Patch::Merge(json!({"metadata": {"labels": {"app": null}}}));
        maps.patch(&name, &PatchParams::default(), &unlabelled)
            .await
            .expect("patched");
        let event = in_time("the change", events.try_next())
            .await
            .expect("no error");
        assert!(matches!(event, Some(watcher::Event::Delete(map)) if map.name_any() == name));
        maps.delete_collection(&DeleteParams::default(), &ListParams::default())
            .await
            .expect("deleted");
    }
}

#[tokio::test]
async fn a_watcher_that_falls_too_far_behind_lists_again_and_misses_nothing() {
    let retention = Retention {
        ring_changes: 4,
        min_revisions: 0,
        age: Duration::ZERO,
        interval: Duration::from_millis(10),
        ..Retention::default()
    };
    let server = server_with(retention, |_| Arc::new(AdmitAll)).await;
    let maps: Api<ConfigMap> = Api::namespaced(server.client(), "team");
    let events = watcher(maps.clone(), watcher::Config::default().labels("app=x"));
    let mut events = std::pin::pin!(events);
    while !matches!(
        events.try_next().await.expect("no error"),
        Some(watcher::Event::InitDone)
    ) {}
    // More than waits for a client that does not read.
    let text = "x".repeat(40_000);
    for i in 0..30 {
        maps.create(
            &PostParams::default(),
            &map(&format!("m{i:02}"), &[("t", &text)]),
        )
        .await
        .expect("created");
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let (mut seen, mut expired) = (BTreeSet::new(), 0);
    in_time("all objects", async {
        while seen.len() < 30 {
            match events.next().await.expect("more") {
                Ok(watcher::Event::InitApply(map) | watcher::Event::Apply(map)) => {
                    seen.insert(map.name_any());
                }
                Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                Ok(other) => panic!("{other:?}"),
                Err(watcher::Error::WatchError(status)) => {
                    assert_eq!((status.code, status.reason.as_str()), (410, "Expired"));
                    expired += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await;
    assert_eq!(expired, 1);
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Failed(#[from] kube::Error);

/// Keeps a Secret beside each ConfigMap, and leaves a mark elsewhere when one goes.
async fn reconcile(
    map: Arc<ConfigMap>,
    client: Arc<Client>,
) -> Result<Action, kube::runtime::finalizer::Error<Failed>> {
    let (namespace, name) = (map.namespace().unwrap_or_default(), map.name_any());
    let secrets: Api<Secret> = Api::namespaced((*client).clone(), &namespace);
    let maps: Api<ConfigMap> = Api::namespaced((*client).clone(), &namespace);
    finalizer(&maps, "example.org/test", map, |turn| async {
        let manager = PatchParams::apply("controller").force();
        match turn {
            Turn::Apply(map) => {
                let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "ownerReferences": [map.controller_owner_ref(&())]}, "stringData": map.data});
                secrets.patch(&name, &manager, &Patch::Apply(secret)).await?;
            }
            Turn::Cleanup(_) => {
                let mark = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("{name}-gone")}});
                secrets.patch(&format!("{name}-gone"), &manager, &Patch::Apply(mark)).await?;
            }
        }
        Ok(Action::await_change())
    })
    .await
}

#[tokio::test]
async fn a_controller_owns_finalizes_and_is_followed_by_a_reflector() {
    let server = server().await;
    let client = server.client();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "team");
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "team");
    let selected = watcher::Config::default().labels("app=x");
    let controller = Controller::new(maps.clone(), selected)
        .owns(secrets.clone(), watcher::Config::default())
        .run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_millis(50)),
            Arc::new(client.clone()),
        );
    let running = tokio::spawn(controller.for_each(|_| async {}));
    let (reader, writer) = reflector::store();
    let followed = reflector(
        writer,
        watcher(secrets.clone(), watcher::Config::default()).default_backoff(),
    );
    let following = tokio::spawn(followed.for_each(|_| async {}));
    reader.wait_until_ready().await.expect("it follows");

    maps.create(&PostParams::default(), &map("m", &[("k", "v")]))
        .await
        .expect("created");
    in_time(
        "the secret",
        await_condition(secrets.clone(), "m", |s: Option<&Secret>| s.is_some()),
    )
    .await
    .expect("a watch");
    // What it owns comes back when somebody takes it away.
    let first = secrets.get("m").await.expect("the secret");
    assert_eq!(
        first.data.as_ref().map(|d| d["k"].0.as_slice()),
        Some(b"v".as_slice())
    );
    secrets
        .delete("m", &DeleteParams::default())
        .await
        .expect("deleted");
    let renewed = move |s: Option<&Secret>| s.is_some_and(|s| s.uid() != first.uid());
    in_time(
        "the next secret",
        await_condition(secrets.clone(), "m", renewed),
    )
    .await
    .expect("a watch");

    let uid = maps
        .get("m")
        .await
        .expect("the map")
        .uid()
        .unwrap_or_default();
    maps.delete("m", &DeleteParams::default())
        .await
        .expect("marked");
    in_time(
        "the map's end",
        await_condition(maps.clone(), "m", conditions::is_deleted(&uid)),
    )
    .await
    .expect("a watch");
    secrets.get("m-gone").await.expect("the mark");
    in_time("what the reflector holds", async {
        let names = || {
            reader
                .state()
                .iter()
                .map(|s| s.name_any())
                .collect::<Vec<_>>()
        };
        while names() != ["m-gone"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    running.abort();
    following.abort();
}

#[tokio::test]
async fn a_recorded_event_is_counted_and_seen_in_both_groups() {
    let server = server().await;
    let client = server.client();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "team");
    let made = maps
        .create(&PostParams::default(), &map("told", &[]))
        .await
        .expect("created");
    let recorder = Recorder::new(
        client.clone(),
        Reporter {
            controller: "tester".into(),
            instance: Some("one".into()),
        },
    );
    let said = Said {
        type_: EventType::Warning,
        reason: "Odd".into(),
        note: Some("it is odd".into()),
        action: "Looking".into(),
        secondary: None,
    };
    for _ in 0..3 {
        recorder
            .publish(&said, &made.object_ref(&()))
            .await
            .expect("published");
    }
    let events: Api<Event> = Api::namespaced(client, "team");
    let found = events
        .list(&ListParams::default().fields("involvedObject.name=told"))
        .await
        .expect("a list")
        .items;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].message.as_deref(), Some("it is odd"));
    assert_eq!(found[0].type_.as_deref(), Some("Warning"));
    assert_eq!(found[0].reporting_component.as_deref(), Some("tester"));
    assert_eq!(found[0].series.as_ref().and_then(|s| s.count), Some(3));
}

#[tokio::test]
async fn owners_and_namespaces_take_along_what_is_theirs() {
    let server = server().await;
    let client = server.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = json!({"metadata": {"name": "short"}});
    namespaces
        .create(
            &PostParams::default(),
            &serde_json::from_value(namespace).expect("a namespace"),
        )
        .await
        .expect("created");
    let jobs: Api<Job> = Api::namespaced(client.clone(), "short");
    let job = json!({"metadata": {"name": "j"}, "spec": {"suspend": true, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}});
    let job = jobs
        .create(
            &PostParams::default(),
            &serde_json::from_value(job).expect("a job"),
        )
        .await
        .expect("created");
    let maps: Api<ConfigMap> = Api::namespaced(client, "short");
    let mut owned = map("owned", &[]);
    let mut owner = job.controller_owner_ref(&()).expect("a reference");
    owner.block_owner_deletion = Some(true);
    owned.metadata.owner_references = Some(vec![owner]);
    maps.create(&PostParams::default(), &owned)
        .await
        .expect("created");
    let foreground = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    jobs.delete("j", &foreground).await.expect("marked");
    in_time(
        "the job's end",
        await_condition(
            jobs,
            "j",
            conditions::is_deleted(&job.uid().unwrap_or_default()),
        ),
    )
    .await
    .expect("a watch");
    assert!(maps.get_opt("owned").await.expect("an answer").is_none());
    maps.create(&PostParams::default(), &map("left", &[]))
        .await
        .expect("created");
    let uid = namespaces
        .get("short")
        .await
        .expect("the namespace")
        .uid()
        .unwrap_or_default();
    namespaces
        .delete("short", &DeleteParams::default())
        .await
        .expect("marked");
    in_time(
        "the namespace's end",
        await_condition(namespaces, "short", conditions::is_deleted(&uid)),
    )
    .await
    .expect("a watch");
    assert_eq!(refusal(maps.get("left").await).0, 404);
}
