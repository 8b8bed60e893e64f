//! Requests and what Kubernetes 1.36 answers to them, and the promises behind lists, watches,
//! deletion and garbage collection.

mod harness;

use std::sync::Arc;

use harness::{Server, server, server_in};
use katlab_sandbox::admission::KatibAdmission;
use katlab_sandbox::api::storages;
use katlab_sandbox::store::{Expect, Op, Retention, Store, Write};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/team/configmaps";
const TRIALS: &str = "/apis/kubeflow.org/v1beta1/namespaces/team/trials";

async fn fill(server: &Server, count: usize) {
    for i in 0..count {
        let body = json!({"metadata": {"name": format!("m{i:03}"), "labels": {"app": "x", "odd": (i % 2).to_string()}}, "data": {"i": i.to_string()}});
        assert_eq!(server.post(MAPS, body).await.status, 201);
    }
}

#[tokio::test]
async fn pages_of_a_list_show_one_moment() {
    let server = server().await;
    fill(&server, 25).await;
    let mut seen = Vec::new();
    let first = server
        .get(&format!("{MAPS}?labelSelector=app%3Dx&limit=10"))
        .await
        .body;
    assert!(first["metadata"]["remainingItemCount"].is_null());
    let mut page = first.clone();
    loop {
        for item in page["items"].as_array().expect("items") {
            seen.push(
                item["metadata"]["name"]
                    .as_str()
                    .expect("a name")
                    .to_owned(),
            );
        }
        assert_eq!(
            page["metadata"]["resourceVersion"],
            first["metadata"]["resourceVersion"]
        );
        // Between the pages one object goes and one comes; neither shows.
        server.delete(&format!("{MAPS}/m024"), json!({})).await;
        let name = format!("m02{}x", seen.len());
        server
            .post(
                MAPS,
                json!({"metadata": {"name": name, "labels": {"app": "x"}}}),
            )
            .await;
        match page["metadata"]["continue"].as_str() {
            Some(next) => {
                let path = format!("{MAPS}?labelSelector=app%3Dx&limit=10&continue={next}");
                page = server.get(&path).await.body;
            }
            None => break,
        }
    }
    let expected: Vec<String> = (0..25).map(|i| format!("m{i:03}")).collect();
    assert_eq!(seen, expected);
    // 25, less one, and three made on the way, and the namespace's own.
    let all = server.get(&format!("{MAPS}?limit=10")).await.body;
    assert_eq!(all["metadata"]["remainingItemCount"], 28 - 10);
    assert_eq!(
        server
            .get(&format!("{MAPS}?limit=2&resourceVersion=0"))
            .await
            .body["items"]
            .as_array()
            .map(Vec::len),
        Some(28)
    );
}

#[tokio::test]
async fn many_writers_of_one_object_all_succeed() {
    let server = server().await;
    server
        .post(MAPS, json!({"metadata": {"name": "shared"}}))
        .await;
    let path = format!("{MAPS}/shared");
    let patches = (0..24).map(|i| {
        let patch = json!({"data": {format!("k{i}"): "v"}});
        let (server, path) = (&server, path.as_str());
        async move { server.merge(path, patch).await.status }
    });
    let statuses = futures::future::join_all(patches).await;
    assert!(statuses.iter().all(|s| *s == 200), "{statuses:?}");
    let data = server.get(&path).await.body["data"].clone();
    assert_eq!(data.as_object().map(|m| m.len()), Some(24));
}

#[tokio::test]
async fn a_status_write_changes_nothing_else_and_the_other_way_round() {
    let server = server().await;
    let trial = json!({"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial", "metadata": {"name": "t"}, "spec": {"a": 1}, "status": {"lost": true}});
    let made = server.post(TRIALS, trial).await.body;
    assert!(made.get("status").is_none());
    let path = format!("{TRIALS}/t");
    let both = json!({"metadata": {"labels": {"l": "1"}}, "spec": {"a": 2}, "status": {"s": 1}});
    let after = server
        .merge(&format!("{path}/status"), both.clone())
        .await
        .body;
    assert_eq!(
        (&after["spec"], &after["status"]),
        (&json!({"a": 1}), &json!({"s": 1}))
    );
    assert!(after["metadata"].get("labels").is_none());
    assert_eq!(after["metadata"]["generation"], 1);
    let mut other = both;
    other["status"] = json!({"s": 2});
    let after = server.merge(&path, other).await.body;
    assert_eq!(
        (&after["spec"], &after["status"]),
        (&json!({"a": 2}), &json!({"s": 1}))
    );
    assert_eq!(after["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_watch_shows_what_enters_and_leaves_its_selection() {
    let server = server().await;
    let start = server.get(MAPS).await.body["metadata"]["resourceVersion"].clone();
    let start = start.as_str().expect("a version");
    server
        .post(
            MAPS,
            json!({"metadata": {"name": "a", "labels": {"app": "x"}}}),
        )
        .await;
    server.post(MAPS, json!({"metadata": {"name": "b"}})).await;
    server
        .merge(
            &format!("{MAPS}/b"),
            json!({"metadata": {"labels": {"app": "x"}}}),
        )
        .await;
    server
        .merge(&format!("{MAPS}/b"), json!({"data": {"k": "v"}}))
        .await;
    server
        .merge(
            &format!("{MAPS}/a"),
            json!({"metadata": {"labels": {"app": null}}}),
        )
        .await;
    server.delete(&format!("{MAPS}/b"), json!({})).await;
    let path = format!("{MAPS}?watch=1&resourceVersion={start}&labelSelector=app%3Dx");
    let events = server.watch(&path, 5).await;
    let shown: Vec<(&str, &str)> = events
        .iter()
        .map(|e| {
            (
                e["type"].as_str().unwrap_or(""),
                e["object"]["metadata"]["name"].as_str().unwrap_or(""),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("ADDED", "a"),
            ("ADDED", "b"),
            ("MODIFIED", "b"),
            ("DELETED", "a"),
            ("DELETED", "b")
        ]
    );
    // What leaves is shown as it was while it was in.
    assert_eq!(events[3]["object"]["metadata"]["labels"]["app"], "x");
    let versions: Vec<u64> = events
        .iter()
        .filter_map(|e| {
            e["object"]["metadata"]["resourceVersion"]
                .as_str()?
                .parse()
                .ok()
        })
        .collect();
    assert!(versions.is_sorted() && versions.len() == 5, "{versions:?}");
}

#[tokio::test]
async fn initial_events_end_with_a_bookmark() {
    let server = server().await;
    fill(&server, 2).await;
    let path = format!(
        "{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&labelSelector=app%3Dx"
    );
    let events = server.watch(&path, 3).await;
    assert_eq!(events[0]["type"], "ADDED");
    assert_eq!(events[2]["type"], "BOOKMARK");
    assert_eq!(
        events[2]["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
}

#[tokio::test]
async fn a_table_is_refused_with_objects_of_an_unknown_kind() {
    let server = server().await;
    let path = format!("{MAPS}?includeObject=Nothing");
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let refused = server.send("GET", &path, &table, "").await;
    assert_eq!(refused.status, 400);
    assert_eq!(
        refused.body["message"],
        "Unable to convert to Table as requested: includeObject: Invalid value: \"Nothing\": must be 'Metadata', 'Object', 'None', or empty"
    );
    assert_eq!(server.send("GET", &path, &[], "").await.status, 200);
}

#[tokio::test]
async fn people_get_json_with_lines() {
    let server = server().await;
    for (query, agent, lines) in [
        ("", "curl/8.0", true),
        ("?pretty=false", "curl/8.0", false),
        ("?pretty=true", "kubectl/v1.36.0", true),
        ("", "kubectl/v1.36.0", false),
    ] {
        for path in [MAPS, "/version", "/api/v1/namespaces/nowhere"] {
            let request = http::Request::builder()
                .uri(format!("{path}{query}"))
                .header("authorization", "Bearer token")
                .header("user-agent", agent)
                .body(axum::body::Body::empty())
                .expect("a request");
            let body = server.api.answer(request, false, "").await.into_body();
            let bytes = http_body_util::BodyExt::collect(body)
                .await
                .expect("JSON")
                .to_bytes();
            let text = String::from_utf8_lossy(&bytes);
            assert_eq!(
                text.starts_with("{\n  \""),
                lines,
                "{path}{query} for {agent}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn a_watch_as_table_names_its_columns_once() {
    let server = server().await;
    fill(&server, 2).await;
    let request = http::Request::builder()
        .uri(format!(
            "{MAPS}?watch=1&timeoutSeconds=1&labelSelector=app%3Dx"
        ))
        .header("authorization", "Bearer token")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
        .body(axum::body::Body::empty())
        .expect("a request");
    let body = server.api.answer(request, false, "").await.into_body();
    let bytes = http_body_util::BodyExt::collect(body)
        .await
        .expect("lines")
        .to_bytes();
    let events: Vec<Value> = serde_json::Deserializer::from_slice(&bytes)
        .into_iter()
        .map(|v| v.expect("JSON"))
        .collect();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["object"]["columnDefinitions"][1]["name"], "Data");
    assert!(events[1]["object"]["columnDefinitions"].is_null());
    assert_eq!(
        events[1]["object"]["rows"][0]["cells"].first(2),
        [json!("m001"), json!(1)]
    );
}

trait Prefix {
    fn first(&self, n: usize) -> Vec<Value>;
}

impl Prefix for Value {
    fn first(&self, n: usize) -> Vec<Value> {
        self.as_array()
            .into_iter()
            .flatten()
            .take(n)
            .cloned()
            .collect()
    }
}

async fn owned(server: &Server, name: &str, owner: &Value, block: bool) {
    let body = json!({"metadata": {"name": name, "ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "blockOwnerDeletion": block}]}});
    let made = server.post(MAPS, body).await;
    assert_eq!(made.status, 201, "{made:?}");
}

#[tokio::test]
async fn dependents_follow_their_owner_wait_for_or_outlive_it() {
    let server = server().await;
    let make = |name: &'static str| server.post(MAPS, json!({"metadata": {"name": name}}));
    let gone = |name: &str| format!("{MAPS}/{name}");

    let owner = make("background").await.body;
    owned(&server, "b1", &owner, true).await;
    server.delete(&gone("background"), json!({})).await;
    server.until(&gone("b1"), |a| a.status == 404).await;

    let owner = make("foreground").await.body;
    owned(&server, "f1", &owner, true).await;
    server
        .merge(
            &gone("f1"),
            json!({"metadata": {"finalizers": ["example.org/hold"]}}),
        )
        .await;
    let answer = server
        .delete(
            &gone("foreground"),
            json!({"propagationPolicy": "Foreground"}),
        )
        .await;
    assert_eq!(
        answer.body["metadata"]["finalizers"],
        json!(["foregroundDeletion"])
    );
    server
        .until(&gone("f1"), |a| {
            a.body["metadata"]["deletionTimestamp"].is_string()
        })
        .await;
    assert_eq!(
        server.get(&gone("foreground")).await.status,
        200,
        "it waits for what blocks it"
    );
    server
        .merge(&gone("f1"), json!({"metadata": {"finalizers": null}}))
        .await;
    server.until(&gone("foreground"), |a| a.status == 404).await;
    assert_eq!(server.get(&gone("f1")).await.status, 404);

    // A dependent that no longer names its owner no longer holds it up.
    let owner = make("left").await.body;
    owned(&server, "l1", &owner, true).await;
    server
        .merge(
            &gone("l1"),
            json!({"metadata": {"finalizers": ["example.org/hold"]}}),
        )
        .await;
    let foreground = json!({"propagationPolicy": "Foreground"});
    server.delete(&gone("left"), foreground).await;
    server
        .merge(&gone("l1"), json!({"metadata": {"ownerReferences": null}}))
        .await;
    server.until(&gone("left"), |a| a.status == 404).await;

    let owner = make("orphan").await.body;
    owned(&server, "o1", &owner, true).await;
    server
        .delete(&gone("orphan"), json!({"propagationPolicy": "Orphan"}))
        .await;
    server.until(&gone("orphan"), |a| a.status == 404).await;
    let left = server.get(&gone("o1")).await;
    assert_eq!(left.status, 200);
    assert!(left.body["metadata"].get("ownerReferences").is_none());

    // An owner that never was: the dependent has nobody to live for.
    let ghost =
        json!({"metadata": {"name": "ghost", "uid": "11111111-1111-1111-1111-111111111111"}});
    owned(&server, "g1", &ghost, false).await;
    server.until(&gone("g1"), |a| a.status == 404).await;
}

#[tokio::test]
async fn a_namespace_empties_itself_before_it_goes() {
    let server = server().await;
    server
        .post(
            MAPS,
            json!({"metadata": {"name": "held", "finalizers": ["example.org/hold"]}}),
        )
        .await;
    fill(&server, 3).await;
    let answer = server.delete("/api/v1/namespaces/team", json!({})).await;
    assert_eq!(answer.body["status"]["phase"], "Terminating");
    server
        .until(&format!("{MAPS}/m001"), |a| a.status == 404)
        .await;
    let refused = server
        .post(MAPS, json!({"metadata": {"name": "late"}}))
        .await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.body["details"]["causes"][0]["reason"],
        "NamespaceTerminating"
    );
    assert_eq!(server.get("/api/v1/namespaces/team").await.status, 200);
    server
        .merge(
            &format!("{MAPS}/held"),
            json!({"metadata": {"finalizers": null}}),
        )
        .await;
    server
        .until("/api/v1/namespaces/team", |a| a.status == 404)
        .await;
}

#[tokio::test]
async fn a_running_pod_is_asked_to_end_and_others_go_at_once() {
    let server = server().await;
    let pods = "/api/v1/namespaces/team/pods";
    let pod = |name: &str| json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let made = server.post(pods, pod("waiting")).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(
        made.body["status"],
        json!({"phase": "Pending", "qosClass": "BestEffort"})
    );
    assert_eq!(
        server
            .delete(&format!("{pods}/waiting"), json!({}))
            .await
            .body["kind"],
        "Pod"
    );
    assert_eq!(server.get(&format!("{pods}/waiting")).await.status, 404);

    server.post(pods, pod("running")).await;
    let path = format!("{pods}/running");
    let bound = server
        .merge(&path, json!({"spec": {"nodeName": "n"}}))
        .await;
    assert_eq!(bound.status, 200, "{bound:?}");
    server
        .merge(
            &format!("{path}/status"),
            json!({"status": {"phase": "Running"}}),
        )
        .await;
    let going = server.delete(&path, json!({})).await.body;
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(going["status"]["qosClass"], "BestEffort");
    let sooner = server
        .delete(&path, json!({"gracePeriodSeconds": 1}))
        .await
        .body;
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 1);
    server.delete(&path, json!({"gracePeriodSeconds": 0})).await;
    assert_eq!(server.get(&path).await.status, 404);
}

#[tokio::test]
async fn nobody_gets_in_without_a_credential() {
    let server = server().await;
    let ask = |path: &str, token: Option<&str>| {
        let mut request = http::Request::builder().uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(axum::body::Body::empty()).expect("a request");
        let api = server.api.clone();
        async move { api.answer(request, false, "").await.status().as_u16() }
    };
    for path in ["/version", "/healthz", "/readyz", "/livez"] {
        assert_eq!(ask(path, None).await, 200, "{path}");
    }
    for path in [
        "/",
        "/api",
        "/apis",
        "/openapi/v3",
        "/api/v1/namespaces",
        "/apis/apps/v1/deployments",
        MAPS,
    ] {
        assert_eq!(ask(path, None).await, 403, "{path}");
        assert_eq!(ask(path, Some("wrong")).await, 401, "{path}");
    }
}

#[tokio::test]
async fn an_account_works_in_its_namespace_while_it_and_its_pod_live() {
    let server = server().await;
    let tokens = "/api/v1/namespaces/team/serviceaccounts/default/token";
    let pods = "/api/v1/namespaces/team/pods";
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pod = server.post(pods, pod).await.body;
    let bound =
        json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": pod["metadata"]["uid"]});
    let free = server.post(tokens, json!({"spec": {}})).await;
    assert_eq!(
        (free.status, &free.body["kind"]),
        (201, &json!("TokenRequest"))
    );
    let bound = server
        .post(tokens, json!({"spec": {"boundObjectRef": bound}}))
        .await;
    assert_eq!(bound.status, 201, "{bound:?}");
    let token = |answer: &harness::Answer| {
        let token = answer.body["status"]["token"].as_str().expect("a token");
        format!("Bearer {token}")
    };
    let (free, bound) = (token(&free), token(&bound));
    let ask = async |method: &str, path: &str, token: &str, body: &str| {
        let headers = [
            ("authorization", token),
            ("content-type", "application/json"),
        ];
        server.send(method, path, &headers, body).await
    };
    for token in [&free, &bound] {
        assert_eq!(ask("GET", pods, token, "").await.status, 200);
        assert_eq!(ask("GET", "/apis", token, "").await.status, 200);
        let denied = ask("GET", "/api/v1/namespaces/other/secrets", token, "").await;
        assert_eq!(denied.status, 403);
        assert_eq!(
            denied.body["message"],
            "secrets is forbidden: User \"system:serviceaccount:team:default\" cannot list resource \"secrets\" in API group \"\" in the namespace \"other\""
        );
        let map = r#"{"metadata": {"name": "m"}}"#;
        let deleted = format!("{MAPS}/m");
        assert_eq!(ask("POST", MAPS, token, map).await.status, 201);
        assert_eq!(ask("DELETE", &deleted, token, "").await.status, 200);
        assert_eq!(ask("GET", "/api/v1/pods", token, "").await.status, 403);
        assert_eq!(
            ask("POST", "/api/v1/namespaces", token, map).await.status,
            403
        );
    }

    // What a token is asked for is checked, and for whom it is.
    let refused = [
        (json!({"spec": {"expirationSeconds": 5}}), 422),
        (
            json!({"spec": {"boundObjectRef": {"kind": "Pod", "name": "none"}}}),
            404,
        ),
        (
            json!({"spec": {"boundObjectRef": {"kind": "Pod", "name": "p", "uid": "other"}}}),
            409,
        ),
        (
            json!({"spec": {"boundObjectRef": {"kind": "Node", "name": "n"}}}),
            400,
        ),
    ];
    for (body, status) in refused {
        let answer = server.post(tokens, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
    }
    let missing = server
        .post(&tokens.replace("default", "nobody"), json!({"spec": {}}))
        .await;
    assert_eq!(missing.status, 404);
    let elsewhere = server
        .post(tokens, json!({"spec": {"audiences": ["vault"]}}))
        .await;
    assert_eq!(ask("GET", pods, &token(&elsewhere), "").await.status, 401);

    // Gone with what it was for.
    let now = json!({"gracePeriodSeconds": 0});
    assert_eq!(server.delete(&format!("{pods}/p"), now).await.status, 200);
    assert_eq!(ask("GET", pods, &bound, "").await.status, 401);
    assert_eq!(ask("GET", pods, &free, "").await.status, 200);
    let account = tokens.trim_end_matches("/token");
    assert_eq!(server.delete(account, json!({})).await.status, 200);
    assert_eq!(ask("GET", pods, &free, "").await.status, 401);
}

#[tokio::test]
async fn a_pod_has_its_accounts_credentials_and_pull_secrets_unless_it_says_otherwise() {
    let server = server().await;
    let accounts = "/api/v1/namespaces/team/serviceaccounts";
    let quiet = json!({"metadata": {"name": "quiet"}, "automountServiceAccountToken": false,
                       "imagePullSecrets": [{"name": "regcred"}]});
    assert_eq!(server.post(accounts, quiet).await.status, 201);
    let mut number = 0;
    let mut made = async |account: &str, automount: Value| {
        number += 1;
        let spec = json!({"serviceAccountName": account, "automountServiceAccountToken": automount,
                          "containers": [{"name": "c", "image": "i"}]});
        let pod = json!({"metadata": {"name": format!("p{number}")}, "spec": spec});
        let answer = server.post("/api/v1/namespaces/team/pods", pod).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["spec"].clone()
    };
    let mounts = |spec: &Value| {
        spec["containers"][0]["volumeMounts"]
            .as_array()
            .map_or(0, Vec::len)
    };
    for (account, automount, expected) in [
        ("default", json!(null), 1),
        ("default", json!(false), 0),
        ("quiet", json!(null), 0),
        ("quiet", json!(true), 1),
    ] {
        let spec = made(account, automount.clone()).await;
        assert_eq!(mounts(&spec), expected, "{account}, {automount}");
        let secrets = spec["imagePullSecrets"][0]["name"].as_str();
        assert_eq!(secrets, (account == "quiet").then_some("regcred"));
    }
}

#[tokio::test]
async fn events_are_the_same_in_both_groups() {
    let server = server().await;
    let events = "/api/v1/namespaces/team/events";
    let body = json!({"metadata": {"name": "e.1"}, "involvedObject": {"kind": "Pod", "namespace": "team", "name": "p", "uid": "u"}, "reason": "Pulled", "message": "done", "type": "Normal"});
    assert_eq!(server.post(events, body).await.status, 201);
    let list = server
        .get("/apis/events.k8s.io/v1/namespaces/team/events?fieldSelector=regarding.name%3Dp")
        .await
        .body;
    assert_eq!(list["kind"], "EventList");
    assert_eq!(list["items"][0]["note"], "done");
    assert_eq!(list["apiVersion"], "events.k8s.io/v1");
    let none = server
        .get(&format!(
            "{events}?fieldSelector=involvedObject.name%3Dq,reason%3DPulled"
        ))
        .await
        .body;
    assert_eq!(none["items"].first(1), Vec::<Value>::new());
}

#[tokio::test]
async fn events_that_are_old_go_and_others_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let age = |seconds: i64| {
        let at = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds);
        format!("{at:.0}")
    };
    {
        // As an earlier run left them.
        let store = Store::open(dir.path(), storages(), Retention::default()).expect("a store");
        let rows = [
            ("young", json!({"metadata": {"creationTimestamp": age(60)}})),
            ("old", json!({"metadata": {"creationTimestamp": age(4000)}})),
            (
                "counted-lately",
                json!({"metadata": {"creationTimestamp": age(9000)}, "lastTimestamp": age(60)}),
            ),
            (
                "counted-long-ago",
                json!({"metadata": {"creationTimestamp": age(9000)}, "lastTimestamp": age(3700)}),
            ),
        ];
        for (name, mut event) in rows {
            event["kind"] = json!("Event");
            event["apiVersion"] = json!("v1");
            event["metadata"]["name"] = json!(name);
            event["metadata"]["namespace"] = json!("default");
            let write = Write {
                storage: "events",
                path: format!("default/{name}"),
                expect: Expect::Absent,
                guards: Vec::new(),
                op: Op::Put(Box::new(event)),
            };
            store.write(write).await.expect("stored");
        }
    }
    let server = server_in(dir.path()).await;
    let names = |answer: &harness::Answer| -> Vec<String> {
        let items = answer.body["items"].as_array().into_iter().flatten();
        items
            .map(|e| e["metadata"]["name"].as_str().unwrap_or("").to_owned())
            .collect()
    };
    let events = "/api/v1/namespaces/default/events";
    server
        .until(events, |a| names(a) == ["counted-lately", "young"])
        .await;
}

#[tokio::test]
async fn a_pod_is_bound_once_and_nobody_owns_its_node() {
    let server = server().await;
    let pods = "/api/v1/namespaces/team/pods";
    let spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    let pod = json!({"metadata": {"name": "p"}, "spec": spec});
    assert_eq!(server.post(pods, pod).await.status, 201);
    let binding = |uid: &str| {
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p", "uid": uid},
                                     "target": {"kind": "Node", "name": "katlab"}})
    };
    let path = format!("{pods}/p/binding");
    assert_eq!(server.post(&path, binding("another")).await.status, 409);
    assert_eq!(server.post(&path, json!({"target": {}})).await.status, 422);
    let bound = server.post(&path, binding("")).await;
    assert_eq!(
        (bound.status, &bound.body["status"]),
        (201, &json!("Success"))
    );
    let pod = server.get(&format!("{pods}/p")).await.body;
    assert_eq!(pod["spec"]["nodeName"], "katlab");
    assert_eq!(pod["metadata"]["generation"], 1);
    assert_eq!(pod["status"]["conditions"][0]["type"], "PodScheduled");
    let managers = pod["metadata"]["managedFields"].to_string();
    assert!(
        !managers.contains("nodeName") && !managers.contains("PodScheduled"),
        "{managers}"
    );
    let again = server.post(&path, binding("")).await;
    assert_eq!(again.status, 409);
    let message = again.body["message"].as_str().unwrap_or("");
    assert!(
        message.contains("pod p is already assigned to node \"katlab\""),
        "{message}"
    );
}

/// `kubectl apply --server-side` on what was applied by the client before.
#[tokio::test]
async fn managers_that_a_client_names_take_the_place_of_those_known() {
    let server = server().await;
    let path = format!("{MAPS}/m?fieldManager=kubectl-client-side-apply");
    let map = json!({"metadata": {"name": "m"}, "data": {"a": "1", "b": "2"}});
    server.post(&path.replace("/m?", "?"), map).await;
    let path = format!("{MAPS}/m");
    let mut managers = server.get(&path).await.body["metadata"]["managedFields"].clone();
    managers[0]["manager"] = json!("kubectl");
    managers[0]["operation"] = json!("Apply");
    let names = |map: &Value| -> Vec<Value> {
        let managers = map["metadata"]["managedFields"].as_array();
        managers
            .into_iter()
            .flatten()
            .map(|m| m["manager"].clone())
            .collect()
    };
    let patch = json!([{"op": "replace", "path": "/metadata/managedFields", "value": managers}]);
    let kind = [("content-type", "application/json-patch+json")];
    let moved = server.send("PATCH", &path, &kind, &patch.to_string()).await;
    assert_eq!(names(&moved.body), ["kubectl"]);
    // What the manifest does not say any more goes, as it has no other owner.
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}});
    let kind = [("content-type", "application/apply-patch+yaml")];
    let query = format!("{path}?fieldManager=kubectl");
    let applied = server
        .send("PATCH", &query, &kind, &applied.to_string())
        .await;
    assert_eq!(applied.body["data"], json!({"a": "1"}));
    // An empty list says nothing; one empty entry clears it.
    let empty = json!({"metadata": {"managedFields": []}, "data": {"c": "3"}});
    let kept = server.merge(&format!("{path}?fieldManager=x"), empty).await;
    assert_eq!(names(&kept.body), ["kubectl", "x"]);
    let cleared = server
        .merge(&path, json!({"metadata": {"managedFields": [{}]}}))
        .await;
    assert_eq!(names(&cleared.body), Vec::<Value>::new());
}

#[tokio::test]
async fn a_jobs_selector_is_the_servers_or_finds_its_pods() {
    let server = server().await;
    let jobs = "/apis/batch/v1/namespaces/team/jobs?dryRun=All";
    let job = |more: Value, labels: Value| {
        let mut spec = json!({"template": {"metadata": {"labels": labels}, "spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}});
        for (key, value) in more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        json!({"metadata": {"name": "j"}, "spec": spec})
    };
    let selector = json!({"matchLabels": {"a": "b"}});
    for (more, labels, code, told) in [
        (json!({}), json!({}), 201, ""),
        (
            json!({"selector": selector}),
            json!({"a": "b"}),
            422,
            "`selector` not auto-generated",
        ),
        (
            json!({"selector": selector, "manualSelector": true}),
            json!({"a": "b"}),
            201,
            "",
        ),
        (
            json!({"selector": selector, "manualSelector": true}),
            json!({}),
            422,
            "does not match template",
        ),
        (
            json!({"manualSelector": true}),
            json!({"a": "b"}),
            422,
            "spec.selector: Required value",
        ),
    ] {
        let answer = server.post(jobs, job(more, labels)).await;
        assert_eq!(answer.status, code, "{answer:?}");
        assert!(answer.body.to_string().contains(told), "{answer:?}");
    }
}

#[tokio::test]
async fn who_acts_for_an_account_may_what_it_may() {
    let server = server().await;
    let account = ("impersonate-user", "system:serviceaccount:team:default");
    for (path, code) in [
        (MAPS, 200),
        ("/api/v1/namespaces/team", 200),
        ("/api/v1/namespaces/kube-system", 403),
        ("/api/v1/namespaces", 403),
    ] {
        assert_eq!(
            server.send("GET", path, &[account], "").await.status,
            code,
            "{path}"
        );
    }
    let gone = server
        .send("DELETE", "/api/v1/namespaces/team", &[account], "")
        .await;
    assert_eq!(gone.status, 403);
    // The same, asked by somebody who lets others in, as the Katib UI does.
    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    for (user, namespace, allowed) in [
        (account.1, "team", true),
        (account.1, "kube-system", false),
        ("jane@example.com", "team", false),
    ] {
        let attributes = json!({"verb": "list", "group": "kubeflow.org", "version": "v1beta1",
                                "resource": "experiments", "namespace": namespace});
        let asked = json!({"spec": {"user": user, "resourceAttributes": attributes}});
        let answer = server.post(reviews, asked).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(
            answer.body["status"]["allowed"], allowed,
            "{user} in {namespace}"
        );
    }
    let nobody = json!({"spec": {"resourceAttributes": {"verb": "list"}}});
    assert_eq!(server.post(reviews, nobody).await.status, 400);
    server
        .post("/api/v1/nodes", json!({"metadata": {"name": "katlab"}}))
        .await;
    let node = server.delete("/api/v1/nodes/katlab", json!({})).await;
    assert_eq!(node.status, 403, "{node:?}");
    let head = server.send("HEAD", MAPS, &[], "").await;
    assert_eq!((head.status, head.body), (200, json!("")));
    assert!(head.headers.contains_key("content-length"));
}

/// Puts changes over a value; null takes away, lists are replaced.
fn change(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                match value {
                    Value::Null => drop(into.remove(key)),
                    value => change(into.entry(key).or_insert(Value::Null), value),
                }
            }
        }
        (into, value) => *into = value.clone(),
    }
}

#[tokio::test]
async fn experiments_as_katibs_examples_are_written_are_admitted_or_refused_by_name() {
    let server = harness::server_with(Retention::default(), |store| {
        Arc::new(KatibAdmission::new(store.clone()))
    })
    .await;
    let label = json!({"metadata": {"labels": {
        "katib.kubeflow.org/metrics-collector-injection": "enabled"}}});
    let labelled = server.merge("/api/v1/namespaces/team", label).await;
    assert_eq!(labelled.status, 200);
    let cases: Value = serde_saphyr::from_str(include_str!("examples.yaml")).expect("the examples");
    let template = &cases["base"]["trialTemplate"]["trialSpec"];
    let map = json!({"metadata": {"name": "trial-templates"},
                     "data": {"train.yaml": serde_saphyr::to_string(template).expect("YAML")}});
    assert_eq!(server.post(MAPS, map).await.status, 201);

    let mut wrong = Vec::new();
    let cases_of = |part: &str| cases[part].as_object().expect("cases").clone();
    for (name, case, refused) in cases_of("examples")
        .into_iter()
        .map(|(name, spec)| (name, spec, None))
        .chain(cases_of("refused").into_iter().map(|(name, case)| {
            let says = case["says"].as_str().map(str::to_owned);
            (name, case["spec"].clone(), says)
        }))
    {
        let mut spec = cases["base"].clone();
        change(&mut spec, &case);
        let experiment = json!({"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
            "metadata": {"namespace": "team", "name": name}, "spec": spec});
        let text = serde_saphyr::to_string(&experiment).expect("YAML");
        let answer = server
            .send(
                "POST",
                "/apis/kubeflow.org/v1beta1/namespaces/team/experiments",
                &[("content-type", "application/yaml")],
                &text,
            )
            .await;
        let message = answer.body["message"].as_str().unwrap_or_default();
        let as_wanted = match &refused {
            // Nothing of an example is unknown, so there is nothing to warn of.
            None => answer.status == 201 && answer.all("warning").is_empty(),
            Some(says) => answer.status == 400 && message.contains(says.as_str()),
        };
        if !as_wanted {
            wrong.push(format!(
                "{name}: {} {message} {}",
                answer.status,
                answer.all("warning")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
