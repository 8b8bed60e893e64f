//! Requests and what Kubernetes 1.36 with Katib answers to them.
//!
//! `answers.json` is the distilled record: what was asked, and the status, reason, message and
//! details that came back, in an order in which the objects they need are there. Where the full
//! recordings are at hand (`KATLAB_GOLDEN` names their folder), whole answers are compared too,
//! with only names, uids, times and versions made equal: `KATLAB_GOLDEN=FOLDER cargo test
//! --workspace --test recordings -- --include-ignored`.

mod harness;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use harness::{Answer, Server, server};
use katlab_sandbox::admission::KatibAdmission;
use katlab_sandbox::api::admission_hook::AdmitAll;
use katlab_sandbox::api::table::definitions;
use katlab_sandbox::resources;
use katlab_sandbox::store::Retention;
use prost::encoding::{WireType, decode_key, decode_varint};
use serde_json::{Value, json};

/// The folder of recordings, if there is one here.
fn golden() -> Option<PathBuf> {
    std::env::var_os("KATLAB_GOLDEN").map(PathBuf::from)
}

/// The folder of recordings, for tests that only run where it is.
fn recordings() -> PathBuf {
    golden().expect("KATLAB_GOLDEN names the folder of recordings")
}

fn read(path: &std::path::Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Uids, versions and other numbers are not the same twice.
fn normal(text: &str) -> String {
    let uid = regex::Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
        .expect("a pattern");
    let number = regex::Regex::new("[0-9]+").expect("a pattern");
    number
        .replace_all(&uid.replace_all(text, "UID"), "#")
        .into_owned()
}

/// Names, uids, times and versions made equal, nothing else.
fn equal(value: &Value) -> Value {
    static RULES: LazyLock<Vec<(regex::Regex, &str)>> = LazyLock::new(|| {
        let rule = |(pattern, with)| (regex::Regex::new(pattern).expect("a pattern"), with);
        MADE_EQUAL.iter().copied().map(rule).collect()
    });
    const MADE_EQUAL: &[(&str, &str)] = &[
        (
            "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "UID",
        ),
        ("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,15}Z", "TIME"),
        ("golden-(errors|watch)", "team"),
        ("^gen-[a-z0-9]{5}$", "gen-NAME"),
        ("127.0.0.1:[0-9]+", "ADDRESS"),
        ("^([0-9]+[smhdy])+$", "AGE"),
        ("in record \\([0-9]+\\)", "in record (N)"),
        ("golden(-recorder)?$", "suite"),
        (
            "resource version: [0-9]+ \\([0-9]+\\)",
            "resource version: N (N)",
        ),
        ("current: [0-9]+", "current: N"),
    ];
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            for (pattern, with) in RULES.iter() {
                text = pattern.replace_all(&text, *with).into_owned();
            }
            Value::String(text)
        }
        Value::Array(items) => items.iter().map(equal).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let value = match key.as_str() {
                    "resourceVersion" | "continue" | "storageVersionHash" if value != "" => {
                        json!("VERSION")
                    }
                    _ => equal(value),
                };
                (equal(&json!(key)).as_str().unwrap_or("").to_owned(), value)
            })
            .collect(),
        other => other.clone(),
    }
}

/// Where two values differ, by pointer.
fn differences(expected: &Value, got: &Value, at: &str, out: &mut Vec<String>) {
    match (expected, got) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let null = Value::String("<absent>".into());
                let (a, b) = (a.get(key).unwrap_or(&null), b.get(key).unwrap_or(&null));
                differences(a, b, &format!("{at}/{key}"), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                differences(a, b, &format!("{at}/{i}"), out);
            }
        }
        _ if expected == got => {}
        _ => {
            let short = |v: &Value| v.to_string().chars().take(600).collect::<String>();
            out.push(format!(
                "{at}\n    expected {}\n    answered {}",
                short(expected),
                short(got)
            ));
        }
    }
}

/// What a whole answer must share with its recording.
fn compare(response: &Value, answer: &Answer) -> Vec<String> {
    let mut out = Vec::new();
    differences(
        &response["status"],
        &json!(answer.status),
        "status",
        &mut out,
    );
    for name in ["Cache-Control", "Content-Type", "Warning", "Retry-After"] {
        let expected = response["headers"][name].as_str().unwrap_or("");
        differences(&json!(expected), &json!(answer.all(name)), name, &mut out);
    }
    differences(
        &equal(&response["body"]),
        &equal(&answer.body),
        "",
        &mut out,
    );
    out
}
/// Answers that differ from their recordings on purpose, by file, with the part that does.
const OTHERWISE: &[(&str, &str)] = &[
    // Who asks, and how they have proved it.
    ("201-selfsubjectreview", "/status/userInfo"),
    // There is no OpenID configuration to read.
    ("201-selfsubjectrulesreview", "/status/nonResourceRules"),
    // Kubernetes prints the template as Go sees it.
    ("422-job-immutable-template", "/message"),
    ("422-job-immutable-template", "/details/causes/0/message"),
    // The message shows the body, which is shorter here.
    ("400-cr-without-kind", "/message"),
    // Kubernetes warns of fields it has not looked at.
    ("400-cr-wrong-version", "Warning"),
    // No answer is in protobuf.
    ("406-accept", "/message"),
    // What controllers have written meanwhile: none runs here.
    ("200-delete-foreground", "/metadata/managedFields"),
    ("200-delete-foreground", "/status"),
    // A misspelt field is dropped as Katib drops it, and named.
    ("201-unknown-field", "Warning"),
    // Katib prints whole objects as Go sees them.
    ("400-parameters-and-nas", "/message"),
    ("400-trial-parameter-not-in-template", "/message"),
    ("400-trial-spec-job-misspelt-container-field", "/message"),
    ("400-trial-spec-job-misspelt-field", "/message"),
    ("400-trial-spec-job-wrong-type", "/message"),
    // No tokens are issued, and definitions are there to be read.
    (
        "api-aggregated",
        "/items/0/versions/0/resources/7/subresources",
    ),
    (
        "apis-aggregated",
        "/items/4/versions/0/resources/0/subresources",
    ),
    ("apis-aggregated", "/items/4/versions/0/resources/0/verbs"),
    ("apis-apiextensions.k8s.io-v1", "/resources/0/verbs"),
    // The groups of a whole cluster.
    (
        "openapi-v3-kubeflow.org-v1beta1",
        "/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions/x-kubernetes-group",
    ),
    // There are no roles: the sandbox's own record asks for an account of another namespace.
    ("403-impersonated-serviceaccount", "/message"),
    // The sandbox collects from such pages by itself.
    ("400-collector-prometheus-without-image", ""),
    // Another program.
    ("version", "/compiler"),
    ("version", "/gitCommit"),
    ("version", "/gitVersion"),
    ("version", "/goVersion"),
    ("version", "/platform"),
];

#[tokio::test]
async fn requests_are_answered_as_kubernetes_answers_them() {
    let server = server().await;
    let cases: Vec<Value> = serde_json::from_str(include_str!("answers.json")).expect("the record");
    let mut wrong = Vec::new();
    for case in &cases {
        let text = |key: &str| case[key].as_str().unwrap_or("");
        let headers: Vec<(&str, &str)> = [
            ("content-type", "type"),
            ("impersonate-user", "as"),
            ("accept", "accept"),
            ("authorization", "authorization"),
        ]
        .into_iter()
        .filter(|(_, key)| case[*key].is_string())
        .map(|(name, key)| (name, text(key)))
        .collect();
        let answer = server
            .send(text("method"), text("path"), &headers, text("body"))
            .await;
        let name = format!("{}-{}", case["status"], text("case").replace(' ', "-"));
        let mut complain = |what: &str, expected: &Value, got: &Value| {
            if normal(&expected.to_string()) != normal(&got.to_string()) {
                wrong.push(format!(
                    "{name}: {what}\n  expected {expected}\n  answered {got}"
                ));
            }
        };
        complain("status", &case["status"], &json!(answer.status));
        for key in ["reason", "message", "details"] {
            if !case[key].is_null() {
                complain(key, &case[key], &answer.body[key]);
            }
        }
        if case["text"].is_string() {
            complain("text", &case["text"], &answer.body);
        }
        if case["warning"].is_string() {
            complain("warning", &case["warning"], &json!(answer.all("warning")));
        }
        if let Some(folder) = golden() {
            let recorded = read(&folder.join(format!("errors/{name}.json")));
            wrong.extend(against(&name, &recorded["response"], &answer));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

fn on_purpose(name: &str, difference: &str) -> bool {
    OTHERWISE
        .iter()
        .any(|(file, part)| *file == name && difference.starts_with(part))
}

/// The differences of an answer that are not on purpose.
fn against(name: &str, response: &Value, answer: &Answer) -> Vec<String> {
    compare(response, answer)
        .into_iter()
        .filter(|difference| !on_purpose(name, difference))
        .map(|difference| format!("{name}: {difference}"))
        .collect()
}

/// What a recorded request asks, in this suite's namespace.
async fn replay(server: &Server, request: &Value) -> Answer {
    let body = match &request["body"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        body => equal(body).to_string(),
    };
    let path = equal(&request["path"]);
    let headers: Vec<(&str, &str)> = request["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
        .collect();
    let method = request["method"].as_str().unwrap_or("GET");
    server
        .send(method, path.as_str().unwrap_or(""), &headers, &body)
        .await
}

/// Katib's webhooks: every Experiment they let through, with what they set, and every refusal.
#[tokio::test]
#[ignore = "compares with recordings that KATLAB_GOLDEN names"]
async fn experiments_are_admitted_as_katib_admits_them() {
    let folder = recordings();
    let server = harness::server_with(Retention::default(), |store| {
        Arc::new(KatibAdmission::new(store.clone()))
    })
    .await;
    for (name, labelled) in [
        ("katib-errors", true),
        ("katib-errors-unlabelled", false),
        ("kubeflow-user", true),
    ] {
        let mut namespace = json!({"metadata": {"name": name}});
        if labelled {
            namespace["metadata"]["labels"] =
                json!({"katib.kubeflow.org/metrics-collector-injection": "enabled"});
        }
        server.post("/api/v1/namespaces", namespace).await;
    }
    // The Experiment of the lab run, completed.
    let run = read(&folder.join("lab-run/final-experiments.json"));
    let done = &run["items"][0];
    let path = "/apis/kubeflow.org/v1beta1/namespaces/kubeflow-user/experiments";
    let body = json!({"apiVersion": done["apiVersion"], "kind": done["kind"], "metadata": {"name": done["metadata"]["name"]}, "spec": done["spec"]});
    let made = server.post(path, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let name = done["metadata"]["name"].as_str().unwrap_or("");
    let status = json!({"status": done["status"]});
    let made = server.merge(&format!("{path}/{name}/status"), status).await;
    assert_eq!(made.status, 200, "{made:?}");

    let mut recorded: Vec<(String, Value)> = folder_of(&folder.join("errors/katib"))
        .into_iter()
        .collect();
    // What the others need comes first, and goes last.
    recorded.sort_by_key(|(name, _)| match name.as_str() {
        "201-created-waiting" => 0,
        "200-delete-foreground" => 2,
        _ => 1,
    });
    let mut wrong = Vec::new();
    for (name, recorded) in recorded {
        // The sandbox refuses by name the algorithm of the recorded Experiment that waits.
        let text = recorded.to_string().replace("darts", "random");
        let recorded: Value = serde_json::from_str(&text).expect("JSON");
        let answer = replay(&server, &recorded["request"]).await;
        let found = against(&name, &recorded["response"], &answer);
        // The controller, which does not run here, has taken up what was there before.
        let controllers = ["/metadata/finalizers", "/metadata/managedFields", "/status"];
        wrong.extend(found.into_iter().filter(|difference| {
            let part = &difference[name.len() + 2..];
            !name.starts_with("200-") || !controllers.iter().any(|c| part.starts_with(c))
        }));
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

fn uid(object: &Value) -> String {
    let uid = object["metadata"]["uid"].as_str();
    uid.unwrap_or_default().to_owned()
}

/// Columns of Tables, and the rows of the objects whose last state is recorded.
#[test]
#[ignore = "compares with recordings that KATLAB_GOLDEN names"]
fn tables_are_as_recorded() {
    let folder = recordings();
    let mut objects = BTreeMap::new();
    let mut runs = vec![folder.join("lab-run")];
    runs.extend(
        std::fs::read_dir(folder.join("failures"))
            .expect("the folder")
            .filter_map(|run| Some(run.ok()?.path()))
            .filter(|run| run.is_dir()),
    );
    for run in runs {
        for (file, list) in folder_of(&run) {
            let Some(plural) = file.strip_prefix("final-") else {
                continue;
            };
            let items = list["items"].as_array().or(list.as_array());
            for item in items.into_iter().flatten() {
                objects.insert((plural.to_owned(), uid(item)), item.clone());
            }
        }
    }
    let duration = regex::Regex::new("([0-9]+[smhdy])+").expect("a pattern");
    let (mut wrong, mut rows) = (Vec::new(), 0);
    for part in ["tables", "tables/failing"] {
        for (file, recorded) in folder_of(&folder.join(part)) {
            let Some(name) = file.strip_suffix(".table") else {
                continue;
            };
            let (group, plural) = match name {
                "events.events.k8s.io" => ("events.k8s.io", "events"),
                name => ("", name.rsplit('.').next().unwrap_or(name)),
            };
            let resource = resources::RESOURCES
                .iter()
                .find(|r| r.plural == plural && (group.is_empty() || r.group == group))
                .unwrap_or_else(|| panic!("{plural}"));
            let columns = definitions(resource.columns);
            let mut out = Vec::new();
            let mut recorded_columns = recorded["columnDefinitions"].clone();
            in_own_words(&mut recorded_columns, &columns);
            differences(&recorded_columns, &columns, "columns", &mut out);
            for row in recorded["rows"].as_array().into_iter().flatten() {
                let kind = if plural == "events" {
                    "core-events"
                } else {
                    plural
                };
                let Some(object) = objects.get(&(kind.to_owned(), uid(&row["object"]))) else {
                    continue;
                };
                rows += 1;
                let now = jiff::Timestamp::now().as_second();
                let cells: Value = (resource.cells)(object)
                    .iter()
                    .map(|c| c.render(now))
                    .collect();
                let time = |v: &Value| -> Value {
                    let text = duration.replace_all(&v.to_string(), "TIME").into_owned();
                    serde_json::from_str(&text).unwrap_or_default()
                };
                differences(&time(&row["cells"]), &time(&cells), "row", &mut out);
            }
            wrong.extend(out.into_iter().map(|o| format!("{file}: {o}")));
        }
    }
    assert!(rows > 80, "{rows} rows");
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// The events of a stream, from a body of lines.
fn events(answer: &Answer) -> Vec<Value> {
    match &answer.body {
        Value::String(lines) => lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("an event"))
            .collect(),
        one => vec![one.clone()],
    }
}

/// Makes the changes that a recorded stream shows.
async fn change(server: &Server, recorded: &[Value]) {
    let maps = "/api/v1/namespaces/team/configmaps";
    let mut seen: Vec<&Value> = Vec::new();
    for (i, event) in recorded.iter().enumerate() {
        let object = &event["object"];
        let meta = &object["metadata"];
        let (name, uid) = (meta["name"].as_str().unwrap_or(""), &meta["uid"]);
        let path = format!("{maps}/{name}");
        let comes_back = recorded[i + 1..]
            .iter()
            .any(|e| e["object"]["metadata"]["uid"] == *uid);
        let answer = match event["type"].as_str().unwrap_or("") {
            // It was there before.
            _ if name == "a" || name.is_empty() => continue,
            "ADDED" if !seen.contains(&uid) => {
                seen.push(uid);
                let mut body = json!({"metadata": {"name": name, "labels": meta["labels"], "finalizers": meta["finalizers"]}, "data": object["data"]});
                if let Some(meta) = body["metadata"].as_object_mut() {
                    meta.retain(|_, v| !v.is_null());
                }
                server.post(maps, body).await
            }
            "MODIFIED" if meta["deletionTimestamp"].is_string() => {
                server.delete(&path, json!({})).await
            }
            "ADDED" | "MODIFIED" => {
                let patch = json!({"metadata": {"labels": meta["labels"]}, "data": object["data"]});
                server.merge(&path, patch).await
            }
            // It leaves the selection.
            "DELETED" if comes_back => {
                let patch = json!({"metadata": {"labels": {"app": null}}});
                server.merge(&path, patch).await
            }
            "DELETED" if meta["finalizers"].is_array() => {
                let patch = json!({"metadata": {"finalizers": null}});
                server.merge(&path, patch).await
            }
            _ => server.delete(&path, json!({})).await,
        };
        assert!(answer.status < 300, "{answer:?}");
    }
}

/// One recorded stream, replayed; the differences.
async fn stream(name: String, lines: Vec<Value>) -> Vec<String> {
    let server = server().await;
    let maps = "/api/v1/namespaces/team/configmaps";
    let a = json!({"metadata": {"name": "a", "labels": {"app": "x"}}, "data": {"v": "1"}});
    let made = server.post(maps, a).await;
    let version = made.body["metadata"]["resourceVersion"]
        .as_str()
        .unwrap_or("");
    let mut request = lines[0]["request"].clone();
    let path = request["path"].as_str().unwrap_or("");
    request["path"] = json!(path.replace("=7238", &format!("={version}")));
    request["headers"] = json!({"Accept": request["Accept"]});
    let (answer, ()) = tokio::join!(replay(&server, &request), change(&server, &lines[1..]));
    // When bookmarks come in between is a matter of time.
    let told = |e: &Value| {
        let bookmark = e["type"] == "BOOKMARK";
        !bookmark
            || name.starts_with("bookmarks")
            || e["object"]["metadata"]["annotations"].is_object()
    };
    let got: Vec<Value> = events(&answer).into_iter().filter(&told).collect();
    let mut expected: Vec<Value> = lines[1..].iter().filter(|e| told(e)).cloned().collect();
    for event in &mut expected {
        if let Some(event) = event.as_object_mut() {
            event.shift_remove("after_ms");
        }
    }
    let mut out = Vec::new();
    let (mut expected, got) = (json!(expected), json!(got));
    if name == "as-table" {
        in_own_words(&mut expected, &got);
    }
    differences(&equal(&expected), &equal(&got), "", &mut out);
    out.into_iter().map(|o| format!("{name}: {o}")).collect()
}

#[tokio::test]
#[ignore = "compares with recordings that KATLAB_GOLDEN names"]
async fn streams_are_as_recorded() {
    let folder = recordings();
    let mut streams = Vec::new();
    for file in std::fs::read_dir(folder.join("watch")).expect("the folder") {
        let path = file.expect("a file").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        // One needs more than a minute, one a whole run.
        if path.extension().is_none_or(|e| e != "jsonl")
            || matches!(&*name, "bookmarks-70s" | "sendinitialevents-cr")
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a recording");
        let lines = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        streams.push(stream(name.into_owned(), lines));
    }
    let wrong = futures::future::join_all(streams).await.concat();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
#[ignore = "compares with recordings that KATLAB_GOLDEN names"]
async fn pages_are_as_recorded() {
    let folder = recordings();
    let server = server().await;
    let secrets = "/api/v1/namespaces/team/secrets";
    for i in 0..30 {
        let labels = json!({"odd": (i % 2).to_string()});
        let body = json!({"metadata": {"name": format!("s{i:02}"), "labels": labels}, "stringData": {"k": i.to_string()}});
        server.post(secrets, body).await;
    }
    let mut wrong = Vec::new();
    let (mut next, mut current) = (Value::Null, Value::Null);
    for page in read(&folder.join("watch/paging-secrets.json"))
        .as_array()
        .into_iter()
        .flatten()
    {
        let Some(path) = page["request"].as_str() else {
            if page["note"].as_str().is_some_and(|n| n.contains("s05b")) {
                for name in ["s05b", "s15b"] {
                    server
                        .post(secrets, json!({"metadata": {"name": name}}))
                        .await;
                }
            }
            continue;
        };
        let mut path = path.replace("golden-watch", "team");
        if let Some((head, token)) = path.split_once("continue=") {
            let rest = token.split_once('&').map_or("", |(_, rest)| rest);
            let token = next.as_str().unwrap_or("");
            path = format!("{head}continue={token}&{rest}");
        }
        for version in ["8457", "8459"] {
            let ours = current.as_str().unwrap_or("0");
            path = path.replace(
                &format!("resourceVersion={version}"),
                &format!("resourceVersion={ours}"),
            );
        }
        let answer = server.get(&path).await;
        let names: Value = answer.body["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| item["metadata"]["name"].clone())
            .collect();
        next = answer.body["metadata"]["continue"].clone();
        current = answer.body["metadata"]["resourceVersion"].clone();
        let mut out = Vec::new();
        differences(&page["status"], &json!(answer.status), "status", &mut out);
        differences(
            &equal(&page["metadata"]),
            &equal(&answer.body["metadata"]),
            "metadata",
            &mut out,
        );
        differences(&page["names"], &names, "names", &mut out);
        wrong.extend(out.into_iter().map(|o| format!("{path}: {o}")));
    }
    let recorded = read(&folder.join("watch/paging-first-page-body.json"));
    let answer = server.get(&format!("{secrets}?limit=2")).await;
    differences(&equal(&recorded), &equal(&answer.body), "body", &mut wrong);
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

fn folder_of(folder: &std::path::Path) -> BTreeMap<String, Value> {
    std::fs::read_dir(folder)
        .expect("the folder")
        .filter_map(|file| {
            let path = file.ok()?.path();
            (path.extension()? == "json").then(|| {
                let name = path.file_stem().unwrap_or_default().to_string_lossy();
                (name.into_owned(), read(&path))
            })
        })
        .collect()
}

/// Discovery, plain and aggregated, of the groups served here: each entry is as recorded.
#[tokio::test]
#[ignore = "compares with recordings that KATLAB_GOLDEN names"]
async fn discovery_is_as_recorded() {
    let folder = recordings();
    let server = server().await;
    let mut wrong = Vec::new();
    for (file, recorded) in folder_of(&folder.join("discovery")) {
        let Some(head) = file.strip_suffix(".headers") else {
            continue;
        };
        let path = recorded["request"]["path"].as_str().unwrap_or("");
        let accept = recorded["request"]["Accept"].as_str().unwrap_or("");
        if head.starts_with("openapi-v3-index") || head.starts_with("apiservice") {
            continue;
        }
        let answer = server.send("GET", path, &[("accept", accept)], "").await;
        let expected = read(&folder.join(format!("discovery/{head}.json")));
        if answer.status == 404 {
            continue;
        }
        let mut out = Vec::new();
        let mut body = served(&expected, &answer.body);
        if head.starts_with("openapi") {
            in_own_words(&mut body, &answer.body);
        }
        differences(&equal(&body), &equal(&answer.body), "", &mut out);
        let content = &recorded["headers"]["Content-Type"];
        differences(
            content,
            &json!(answer.all("content-type")),
            "type",
            &mut out,
        );
        out.retain(|difference| !on_purpose(head, difference));
        wrong.extend(out.into_iter().map(|o| format!("{head}: {o}")));
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// OpenAPI describes in its own words, and says nothing of defaults.
fn in_own_words(recorded: &mut Value, ours: &Value) {
    match (recorded, ours) {
        (Value::Object(map), ours) => {
            let property = |v: &Value| v.get("type").is_some() || v.get("allOf").is_some();
            map.retain(|key, value| key != "default" || property(value));
            for (key, value) in map {
                match ours.get(key) {
                    Some(text @ Value::String(_)) if key == "description" => *value = text.clone(),
                    other => in_own_words(value, other.unwrap_or(&Value::Null)),
                }
            }
        }
        (Value::Array(items), Value::Array(ours)) => {
            for (item, ours) in items.iter_mut().zip(ours) {
                in_own_words(item, ours);
            }
        }
        _ => {}
    }
}

/// The part of a recorded answer that is about what is served here: items of lists are dropped
/// when the answer has none of that name.
fn served(recorded: &Value, answer: &Value) -> Value {
    const NAMES: &[&str] = &[
        "/name",
        "/resource",
        "/subresource",
        "/metadata/name",
        "/groupVersion",
    ];
    let name = |v: &Value| {
        NAMES
            .iter()
            .find_map(|p| v.pointer(p).cloned())
            .unwrap_or(Value::Null)
    };
    match (recorded, answer) {
        (Value::Array(items), Value::Array(ours)) if items.iter().all(Value::is_object) => items
            .iter()
            .filter_map(|item| {
                let other = ours.iter().find(|o| name(o) == name(item))?;
                Some(served(item, other))
            })
            .collect(),
        (Value::Object(map), Value::Object(ours)) => map
            .iter()
            .map(|(key, value)| {
                let other = ours.get(key).unwrap_or(&Value::Null);
                (key.clone(), served(value, other))
            })
            .collect(),
        _ => recorded.clone(),
    }
}

#[tokio::test]
async fn what_is_too_old_is_gone() {
    let short = Retention {
        ring_changes: 1,
        ring_bytes: 1,
        min_revisions: 1,
        max_revisions: 1,
        age: Duration::ZERO,
        interval: Duration::from_millis(20),
    };
    let server = harness::server_with(short, |_| Arc::new(AdmitAll)).await;
    let maps = "/api/v1/namespaces/team/configmaps";
    for name in ["a", "b", "c"] {
        server.post(maps, json!({"metadata": {"name": name}})).await;
    }
    // The token is `{"v":"meta.k8s.io/v1","rv":1,"start":"a\0"}`.
    let old = "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0&limit=1";
    let gone = server
        .until(&format!("{maps}?{old}"), |a| a.status == 410)
        .await;
    assert_eq!(gone.body["reason"], "Expired");
    // The token in the answer goes on from there, with what there is now.
    let next = gone.body["metadata"]["continue"].as_str().expect("a token");
    let rest = server.get(&format!("{maps}?continue={next}")).await;
    let names: Vec<&str> = rest.body["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect();
    assert_eq!(names, ["b", "c", "kube-root-ca.crt"]);
    let watch = server
        .get(&format!(
            "{maps}?watch=1&resourceVersion=1&timeoutSeconds=2"
        ))
        .await;
    assert_eq!((watch.status, &watch.body["type"]), (200, &json!("ERROR")));
    assert_eq!(watch.body["object"]["code"], 410);
    assert_eq!(watch.body["object"]["reason"], "Expired");
    let message = watch.body["object"]["message"].as_str().unwrap_or("");
    assert!(
        message.starts_with("too old resource version: 1 ("),
        "{message}"
    );
}

#[tokio::test]
async fn discovery_names_kinds_as_kubernetes_does() {
    let server = server().await;
    let core = server.get("/api/v1").await.body;
    assert!(core.get("apiVersion").is_none());
    assert_eq!(server.get("/apis/batch/v1").await.body["apiVersion"], "v1");
    let accept = [(
        "accept",
        "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    )];
    let groups = server.send("GET", "/apis", &accept, "").await.body;
    let resource = |plural: &str| {
        let groups = groups["items"].as_array().into_iter().flatten();
        groups
            .flat_map(|g| {
                g["versions"][0]["resources"]
                    .as_array()
                    .into_iter()
                    .flatten()
            })
            .find(|r| r["resource"] == plural)
            .cloned()
            .expect("it is served")
    };
    let (jobs, trials) = (resource("jobs"), resource("trials"));
    assert_eq!(
        jobs["responseKind"],
        json!({"group": "", "version": "", "kind": "Job"})
    );
    assert_eq!(
        trials["responseKind"],
        json!({"group": "kubeflow.org", "version": "v1beta1", "kind": "Trial"})
    );
    for resource in [jobs, trials] {
        assert_eq!(resource["subresources"][0]["subresource"], "status");
        assert_eq!(resource["verbs"].as_array().map(Vec::len), Some(8));
    }
    let katib = server.get("/apis/kubeflow.org/v1beta1").await.body;
    let named = |name: &str| {
        let all = katib["resources"].as_array().into_iter().flatten();
        all.clone()
            .find(|r| r["name"] == name)
            .cloned()
            .expect(name)
    };
    for singular in ["experiment", "suggestion", "trial"] {
        let one = named(&format!("{singular}s"));
        assert_eq!(one["singularName"], singular);
        assert_eq!(one["categories"], json!(["all", "kubeflow", "katib"]));
        assert_eq!(one.get("shortNames"), None);
        named(&format!("{singular}s/status"));
    }
}

#[tokio::test]
async fn only_custom_objects_repeat_their_kind_in_lists() {
    let server = server().await;
    let trials = "/apis/kubeflow.org/v1beta1/namespaces/team/trials";
    let body =
        json!({"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial", "metadata": {"name": "t"}});
    assert_eq!(server.post(trials, body).await.status, 201);
    let first = server.get(trials).await.body["items"][0].clone();
    assert_eq!(first["kind"], "Trial");
    let maps = server.get("/api/v1/namespaces/team/configmaps").await.body;
    let keys = maps["items"][0]
        .as_object()
        .map(|m| m.keys().cloned().collect());
    assert_eq!(keys, Some(vec!["metadata".to_owned(), "data".to_owned()]));
}

/// The references in a document that lead nowhere.
fn dangling(value: &Value, document: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref")
                && document
                    .pointer(reference.trim_start_matches('#'))
                    .is_none()
            {
                out.push(reference.clone());
            }
            map.values().for_each(|v| dangling(v, document, out));
        }
        Value::Array(items) => items.iter().for_each(|v| dangling(v, document, out)),
        _ => {}
    }
}

#[tokio::test]
async fn openapi_describes_every_kind_that_is_served() {
    let server = server().await;
    let index = server.get("/openapi/v3").await.body;
    let v2 = server.get("/openapi/v2").await.body;
    for resource in resources::RESOURCES {
        let key = match resource.group {
            "" => format!("api/{}", resource.version),
            group => format!("apis/{group}/{}", resource.version),
        };
        let url = index["paths"][&key]["serverRelativeURL"].as_str();
        let url = url.unwrap_or_else(|| panic!("{key}"));
        let document = server.get(url).await;
        let tag = document.all("etag");
        assert!(url.ends_with(tag.trim_matches('"')), "{url} {tag}");
        let again = server
            .send("GET", url, &[("if-none-match", &tag)], "")
            .await;
        assert_eq!((again.status, again.body), (304, json!("")));
        let gvk =
            json!([{"group": resource.group, "kind": resource.kind, "version": resource.version}]);
        for (document, at) in [
            (&document.body, "/components/schemas"),
            (&v2, "/definitions"),
        ] {
            let mut nowhere = Vec::new();
            dangling(document, document, &mut nowhere);
            assert_eq!(nowhere, Vec::<String>::new(), "{key}");
            let schemas = document
                .pointer(at)
                .and_then(Value::as_object)
                .expect("schemas");
            let found = schemas
                .values()
                .filter(|s| s["x-kubernetes-group-version-kind"] == gvk)
                .count();
            assert_eq!(found, 1, "{} in {at}", resource.kind);
        }
    }
    let schema = |name: &str| v2["definitions"][name].clone();
    let container = schema("io.k8s.api.core.v1.Container");
    assert_eq!(container["required"], json!(["name"]));
    assert_eq!(
        container["properties"]["env"]["x-kubernetes-patch-merge-key"],
        "name"
    );
    assert_eq!(schema("io.k8s.api.core.v1.Pod").get("required"), None);
    // kubectl takes properties for all there are.
    assert_eq!(schema("org.kubeflow.v1beta1.Trial").get("properties"), None);
    let quantity = schema("io.k8s.apimachinery.pkg.api.resource.Quantity");
    assert_eq!(quantity["type"], "string");

    let custom = server
        .get("/openapi/v3/apis/kubeflow.org/v1beta1")
        .await
        .body;
    let path = "/apis/kubeflow.org/v1beta1/namespaces/{namespace}/trials/{name}";
    let patch = &custom["paths"][path]["patch"];
    assert_eq!(
        patch["operationId"],
        "patchKubeflowOrgV1beta1NamespacedTrial"
    );
    let types: Vec<&String> = patch["requestBody"]["content"]
        .as_object()
        .map(|m| m.keys().collect())
        .unwrap_or_default();
    assert_eq!(types.len(), 3, "no strategic merge patch: {types:?}");
    let parameters: Vec<&str> = patch["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|p| p["name"].as_str())
        .collect();
    assert_eq!(
        parameters,
        ["dryRun", "fieldManager", "fieldValidation", "force"]
    );
}

/// The fields of a protobuf message that hold bytes.
fn fields(mut message: &[u8]) -> Vec<(u32, &[u8])> {
    let mut out = Vec::new();
    while !message.is_empty() {
        let (number, kind) = decode_key(&mut message).expect("a key");
        assert_eq!(kind, WireType::LengthDelimited);
        let length = decode_varint(&mut message).expect("a length") as usize;
        let (content, rest) = message.split_at(length);
        out.push((number, content));
        message = rest;
    }
    out
}

#[tokio::test]
async fn openapi_version_2_is_the_same_in_protobuf() {
    let server = server().await;
    let v2 = server.get("/openapi/v2").await.body;
    let request = http::Request::builder()
        .uri("/openapi/v2")
        .header("authorization", "Bearer token")
        .header(
            "accept",
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
        )
        .body(axum::body::Body::empty())
        .expect("a request");
    let answer = server.api.answer(request, false, "").await.into_body();
    let bytes = http_body_util::BodyExt::collect(answer)
        .await
        .expect("a body")
        .to_bytes();
    let document = fields(&bytes);
    let part = |number: u32| {
        let found = document.iter().find(|(n, _)| *n == number);
        fields(found.expect("the part").1)
    };
    assert_eq!(document[0], (1, b"2.0".as_slice()));
    for (number, name) in [(8, "paths"), (9, "definitions")] {
        let names: Vec<String> = part(number)
            .iter()
            .map(|(_, entry)| String::from_utf8_lossy(fields(entry)[0].1).into_owned())
            .collect();
        let expected: Vec<String> = v2[name]
            .as_object()
            .map(|m| m.keys().cloned().collect())
            .unwrap_or_default();
        assert_eq!(names, expected);
    }
}
