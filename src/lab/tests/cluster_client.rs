//! The cluster client against an API server that misbehaves on purpose.

mod api_server;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api_server::{Answer, Server};
use katlab_lab::cluster::{self, Choice, Cluster, Error, Surroundings};
use katlab_lab::katib::experiments;
use katlab_lab::katib::watch::{self, Update};
use katlab_lab::kubernetes::logs::{self, Extent, Line, Target};
use katlab_lab::kubernetes::secrets::{self, Content, Outcome};
use katlab_lab::kubernetes::{Scope, jobs};
use secrecy::SecretString;
use serde_json::{Value, json};

const EXPERIMENTS: &str = "/apis/kubeflow.org/v1beta1/namespaces/lab/experiments";
const TRIALS: &str = "/apis/kubeflow.org/v1beta1/namespaces/lab/trials";
const PODS: &str = "/api/v1/namespaces/lab/pods";

fn kubeconfig(folder: &Path, server: &str, user: &str) -> PathBuf {
    let path = folder.join("config");
    let text = format!(
        "current-context: c\nclusters: [{{name: c, cluster: {{server: '{server}'}}}}]\nusers: [{{name: u, user: {user}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u, namespace: lab}}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

async fn connect(path: PathBuf) -> cluster::Result<Cluster> {
    let surroundings = Surroundings {
        kubeconfig: vec![path],
        ..Surroundings::default()
    };
    let plan = cluster::choose(&Choice::Automatic, &surroundings)?;
    cluster::connect(&plan, None, &surroundings).await
}

async fn connected(server: &Server) -> Cluster {
    let folder = tempfile::tempdir().unwrap();
    connect(kubeconfig(folder.path(), &server.url(), "{token: t}"))
        .await
        .unwrap()
}

fn plug_in(folder: &Path, script: &str) -> String {
    let path = folder.join("plug-in");
    std::fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    "{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./plug-in}}".to_owned()
}

fn list(kind: &str, version: &str, items: Value) -> Value {
    json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items})
}

fn experiment(version: &str, succeeded: u32, completed: bool) -> Value {
    let mut conditions = vec![json!({"type": "Created", "status": "True"})];
    conditions.push(json!({"type": "Running", "status": if completed { "False" } else { "True" }}));
    if completed {
        conditions.push(
            json!({"type": "Succeeded", "status": "True", "reason": "ExperimentMaxTrialsReached"}),
        );
    }
    json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
        "metadata": {"name": "mnist", "namespace": "lab", "uid": "u", "resourceVersion": version},
        "spec": {"objective": {"type": "maximize", "objectiveMetricName": "accuracy"}, "maxTrialCount": 3},
        "status": {"conditions": conditions, "trials": succeeded, "trialsSucceeded": succeeded,
            "currentOptimalTrial": {"observation": {}}}
    })
}

#[tokio::test]
async fn an_expired_token_is_renewed_once_and_the_request_sent_again() {
    let expired = Arc::new(std::sync::Mutex::new(None::<String>));
    let first = Arc::clone(&expired);
    let server = Server::start(move |request| {
        // The first token seen is the expired one.
        let token = request.header("authorization").unwrap().to_owned();
        if *first.lock().unwrap().get_or_insert(token.clone()) == token {
            return Answer::status(401, "Unauthorized", "Unauthorized", json!({}));
        }
        let jobs = list("JobList", "1", json!([{"metadata": {"name": "a"}}]));
        Answer::json(200, &jobs)
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    // Tokens without an expiry date: the client library never asks for another by itself.
    let user = plug_in(
        folder.path(),
        r#"cd "$(dirname "$0")"; echo x >> runs; n=$(wc -l < runs); echo "{\"apiVersion\":\"client.authentication.k8s.io/v1beta1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"token-$n\"}}""#,
    );
    let cluster = connect(kubeconfig(folder.path(), &server.url(), &user))
        .await
        .unwrap();
    let runs = || {
        std::fs::read_to_string(folder.path().join("runs"))
            .unwrap()
            .lines()
            .count()
    };
    let at_start = runs();
    for _ in 0..3 {
        let found = jobs::list(&cluster, &Scope::from("lab"), None)
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
    }
    assert_eq!(runs(), 2 * at_start, "one renewal, however many requests");
    assert_eq!(server.requests().len(), 4, "one request was sent twice");
}

#[tokio::test]
async fn a_credential_that_stays_refused_is_an_error_and_no_loop() {
    let server =
        Server::start(|_| Answer::status(401, "Unauthorized", "Unauthorized", json!({}))).await;
    let cluster = connected(&server).await;
    let error = jobs::list(&cluster, &Scope::from("lab"), None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_plug_in_that_fails_is_quoted_and_never_waits_for_input() {
    let server = Server::start(|_| Answer::json(200, &json!({}))).await;
    let folder = tempfile::tempdir().unwrap();
    let user = plug_in(
        folder.path(),
        "if read line; then echo asked >&2; fi; echo 'log in first' >&2; exit 3",
    );
    let connecting = connect(kubeconfig(folder.path(), &server.url(), &user));
    let error = tokio::time::timeout(Duration::from_secs(20), connecting)
        .await
        .unwrap()
        .unwrap_err();
    match error {
        Error::CredentialPlugin {
            command, reason, ..
        } => {
            assert!(command.ends_with("plug-in"), "{command}");
            assert_eq!(reason, "log in first");
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_plug_in_that_is_not_there_is_named_with_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let user = "{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: no-such-plug-in, installHint: get it from the console}}";
    let error = connect(kubeconfig(folder.path(), "http://127.0.0.1:1", user))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no-such-plug-in"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("get it from the console"));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = connect(kubeconfig(
        folder.path(),
        "http://127.0.0.1:1",
        "{token: t}",
    ))
    .await
    .unwrap();
    let started = Instant::now();
    let error = experiments::list(&cluster, &Scope::from("lab"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_busy_server_is_asked_again_a_few_times() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let server = Server::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Answer::status(429, "TooManyRequests", "busy", json!({})),
        _ => Answer::json(
            200,
            &list("JobList", "1", json!([{"metadata": {"name": "a"}}])),
        ),
    })
    .await;
    let cluster = connected(&server).await;
    assert_eq!(
        jobs::list(&cluster, &Scope::from("lab"), None)
            .await
            .unwrap()
            .len(),
        1
    );
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_empty_list_in_a_namespace_that_does_not_exist_says_so_with_near_misses() {
    let server = Server::start(|request| match request.path() {
        "/api/v1/namespaces/labb" => Answer::status(
            404,
            "NotFound",
            "namespaces \"labb\" not found",
            json!({"kind": "namespaces", "name": "labb"}),
        ),
        "/api/v1/namespaces" => Answer::json(
            200,
            &list("NamespaceList", "1", json!([{"metadata": {"name": "lab"}}])),
        ),
        _ => Answer::json(200, &list("JobList", "1", json!([]))),
    })
    .await;
    let cluster = connected(&server).await;
    let error = jobs::list(&cluster, &Scope::from("labb"), None)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::NoNamespace { near, .. } if near == &["lab"]),
        "{error}"
    );
}

#[tokio::test]
async fn an_experiment_that_is_not_there_comes_with_near_misses() {
    let server = Server::start(|request| match request.path() {
        EXPERIMENTS => Answer::json(
            200,
            &list(
                "ExperimentList",
                "1",
                json!([{"metadata": {"name": "mnist"}}]),
            ),
        ),
        "/api/v1/namespaces/lab" => Answer::json(200, &json!({"metadata": {"name": "lab"}})),
        _ => Answer::status(
            404,
            "NotFound",
            "not found",
            json!({"kind": "experiments", "name": "mnits"}),
        ),
    })
    .await;
    let cluster = connected(&server).await;
    let error = experiments::get(&cluster, "lab", "mnits")
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "experiment mnits in namespace lab does not exist"
    );
    assert_eq!(error.hint().as_deref(), Some("Did you mean mnist?"));
}

#[tokio::test]
async fn a_cluster_without_katib_says_that_it_has_none() {
    let server = Server::start(|_| Answer::text(404, "404 page not found\n")).await;
    let cluster = connected(&server).await;
    let error = experiments::list(&cluster, &Scope::from("lab"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is Katib installed?"), "{error}");
}

#[tokio::test]
async fn a_secret_is_created_then_found_unchanged_then_updated() {
    let kept = Arc::new(std::sync::Mutex::new(None::<Value>));
    let state = Arc::clone(&kept);
    let server = Server::start(move |request| {
        let mut kept = state.lock().unwrap();
        match (request.method(), kept.as_ref()) {
            ("POST", Some(_)) => {
                Answer::status(409, "AlreadyExists", "exists", json!({"kind": "secrets"}))
            }
            ("POST" | "PUT", _) => {
                let body: Value = serde_json::from_slice(request.body()).unwrap();
                *kept = Some(body.clone());
                Answer::json(201, &body)
            }
            (_, Some(found)) => Answer::json(200, found),
            (_, None) => Answer::status(404, "NotFound", "not found", json!({"kind": "secrets"})),
        }
    })
    .await;
    let cluster = connected(&server).await;
    let content =
        |value: &str| Content::Generic([("key".to_owned(), SecretString::from(value))].into());
    for (value, outcome) in [
        ("a", Outcome::Created),
        ("a", Outcome::Unchanged),
        ("b", Outcome::Updated),
    ] {
        assert_eq!(
            secrets::create(&cluster, "lab", "s", &content(value))
                .await
                .unwrap(),
            outcome
        );
    }
    assert_eq!(
        kept.lock().unwrap().as_ref().unwrap()["data"]["key"],
        "Yg=="
    );
    let login = Content::Registry(Vec::new());
    let error = secrets::create(&cluster, "lab", "s", &login)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cannot change"), "{error}");
}

/// A server whose experiment goes on while the watch is cut off, told that its position is gone, and refused.
#[tokio::test]
async fn a_watch_goes_on_after_a_cut_connection_and_after_410() {
    let turn = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&turn);
    let server = Server::start(move |request| {
        let watching = request.query().contains("watch=true");
        match (request.path(), watching) {
            (EXPERIMENTS, false) => {
                let turn = count.load(Ordering::SeqCst);
                let object = experiment(&format!("{}", 10 + turn), u32::try_from(turn.min(3)).unwrap(), turn >= 3);
                Answer::json(200, &list("ExperimentList", &format!("{}", 10 + turn), json!([object])))
            }
            (EXPERIMENTS, true) => match count.fetch_add(1, Ordering::SeqCst) {
                // Events, then the connection is cut in the middle of a line.
                0 => Answer::text(
                    200,
                    &format!("{}\n{{\"type\":\"MODI", json!({"type": "MODIFIED", "object": experiment("11", 1, false)})),
                ),
                // The position is too old: list again.
                _ => Answer::text(
                    200,
                    &format!(
                        "{}\n",
                        json!({"type": "ERROR", "object": {"kind": "Status", "apiVersion": "v1", "status": "Failure",
                            "reason": "Expired", "code": 410, "message": "too old resource version"}})
                    ),
                ),
            },
            (TRIALS, false) => Answer::json(200, &list("TrialList", "5", json!([]))),
            (TRIALS, true) => Answer::Hang,
            _ => Answer::json(200, &experiment("10", 0, false)),
        }
    })
    .await;
    let cluster = connected(&server).await;
    let mut seen = Vec::new();
    let work = watch::wait(
        &cluster,
        "lab",
        "mnist",
        watch::Until::Completed,
        Duration::from_secs(60),
        |update| {
            if let Update::Changed(snapshot) = update {
                seen.push(snapshot.experiment.counts.succeeded);
            }
        },
    );
    let last = work.await.unwrap();
    assert_eq!(last.experiment.counts.succeeded, 3);
    assert!(seen.is_sorted(), "nothing goes back: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_whose_listing_takes_its_time_is_not_taken_for_deleted() {
    let server = Server::start(|request| {
        let object = experiment("10", 0, false);
        match (request.path(), request.query().contains("watch=true")) {
            (EXPERIMENTS, false) => {
                // Longer than changes are gathered before they are told.
                std::thread::sleep(Duration::from_millis(400));
                Answer::json(200, &list("ExperimentList", "10", json!([object])))
            }
            (TRIALS, false) => Answer::json(200, &list("TrialList", "10", json!([]))),
            (_, true) => Answer::Hang,
            _ => Answer::json(200, &object),
        }
    })
    .await;
    let cluster = connected(&server).await;
    let mut watch = watch::open(&cluster, "lab", "mnist").await.unwrap();
    let update = watch.next().await.unwrap();
    assert!(matches!(update, Update::Changed(_)), "{update:?}");
}

#[tokio::test]
async fn a_server_that_goes_away_during_a_watch_is_told_once_and_taken_up_again() {
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let handler = move |request: &api_server::Asked| {
        let completed = count.load(Ordering::SeqCst) > 0;
        let object = experiment("10", 3, completed);
        match (request.path(), request.query().contains("watch=true")) {
            (EXPERIMENTS, false) => {
                Answer::json(200, &list("ExperimentList", "10", json!([object])))
            }
            (TRIALS, false) => Answer::json(200, &list("TrialList", "10", json!([]))),
            // A watch begins where the last one was cut off: with what happened since.
            (EXPERIMENTS, true) if completed => {
                let object = experiment("11", 3, true);
                let event = json!({"type": "MODIFIED", "object": object});
                Answer::text(200, &format!("{event}\n"))
            }
            (_, true) => Answer::Hang,
            _ => Answer::json(200, &object),
        }
    };
    let server = Server::start(handler.clone()).await;
    let port = server.port();
    let cluster = connected(&server).await;
    let mut watch = watch::open(&cluster, "lab", "mnist").await.unwrap();
    assert!(matches!(watch.next().await.unwrap(), Update::Changed(_)));
    server.stop().await;
    let update = tokio::time::timeout(Duration::from_secs(20), watch.next())
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(&update, Update::Trouble(_)), "{update:?}");
    done.store(1, Ordering::SeqCst);
    let _again = Server::start_on(port, handler).await;
    loop {
        match tokio::time::timeout(Duration::from_secs(20), watch.next())
            .await
            .unwrap()
            .unwrap()
        {
            Update::Changed(snapshot) if snapshot.experiment.is_completed() => break,
            Update::Changed(_) => {}
            other => panic!("trouble is told once: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_watch_that_is_not_allowed_fails_instead_of_trying_for_ever() {
    let server = Server::start(|request| match request.path() {
        TRIALS => Answer::status(
            403,
            "Forbidden",
            "trials is forbidden",
            json!({"kind": "trials"}),
        ),
        EXPERIMENTS => Answer::json(200, &list("ExperimentList", "1", json!([]))),
        _ => Answer::json(200, &experiment("1", 0, false)),
    })
    .await;
    let cluster = connected(&server).await;
    let mut watch = watch::open(&cluster, "lab", "mnist").await.unwrap();
    let error = loop {
        match tokio::time::timeout(Duration::from_secs(20), watch.next())
            .await
            .unwrap()
        {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::Forbidden { .. }), "{error}");
}

/// A Trial that Katib calls Running, and a pod of it whose image cannot be pulled.
fn held_up() -> (Value, Value) {
    let labels = json!({"katib.kubeflow.org/experiment": "mnist", "katib.kubeflow.org/trial": "a"});
    let trial = json!({
        "metadata": {"name": "a", "namespace": "lab", "resourceVersion": "5", "labels": labels},
        "spec": {"parameterAssignments": []},
        "status": {"conditions": [{"type": "Running", "status": "True"}]}});
    let pod = json!({
        "metadata": {"name": "a-x", "namespace": "lab", "resourceVersion": "6", "labels": labels},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": "Pending", "containerStatuses": [
            {"name": "main", "image": "i:1", "imageID": "", "ready": false, "restartCount": 0,
             "state": {"waiting": {"reason": "ImagePullBackOff"}}}]}});
    (trial, pod)
}

/// The experiment and its one trial, which stay as they are.
fn beside_pods(request: &api_server::Asked, trial: &Value) -> Answer {
    let object = experiment("10", 0, false);
    if request.query().contains("watch=true") {
        return Answer::Hang;
    }
    match request.path() {
        EXPERIMENTS => Answer::json(200, &list("ExperimentList", "10", json!([object]))),
        TRIALS => Answer::json(200, &list("TrialList", "5", json!([trial]))),
        _ => Answer::json(200, &object),
    }
}

#[tokio::test]
async fn a_watch_tells_of_a_pod_that_cannot_start_and_of_its_start() {
    let started = Arc::new(AtomicUsize::new(0));
    let is_started = Arc::clone(&started);
    let (trial, pod) = held_up();
    let server = Server::start(move |request| {
        match (request.path(), request.query().contains("watch=true")) {
            (PODS, false) => Answer::json(200, &list("PodList", "6", json!([pod]))),
            (PODS, true) if is_started.load(Ordering::SeqCst) > 0 => {
                let mut pod = pod.clone();
                pod["status"] = json!({"phase": "Running"});
                let event = json!({"type": "MODIFIED", "object": pod});
                Answer::text(200, &format!("{event}\n"))
            }
            (PODS, true) => Answer::text(200, ""),
            _ => beside_pods(request, &trial),
        }
    })
    .await;
    let cluster = connected(&server).await;
    let mut watch = watch::open(&cluster, "lab", "mnist").await.unwrap();
    let mut until = async |held: bool| {
        loop {
            let update = tokio::time::timeout(Duration::from_secs(20), watch.next());
            let Update::Changed(snapshot) = update.await.unwrap().unwrap() else {
                continue;
            };
            let row = &snapshot.trials.rows[0];
            assert_eq!(row.status, "Running");
            if row.obstacle.is_some() == held {
                return row.obstacle.clone();
            }
        }
    };
    let obstacle = until(true).await.unwrap();
    assert_eq!(obstacle.reason, "ImagePullBackOff");
    assert_eq!(obstacle.image.as_deref(), Some("i:1"));
    started.store(1, Ordering::SeqCst);
    until(false).await;
    let asked = server.requests();
    let of_pods = asked.iter().find(|one| one.path() == PODS).unwrap();
    let query = of_pods.query().replace("%3D", "=").replace("%21", "!");
    assert!(query.contains("status.phase!=Succeeded"), "{query}");
}

#[tokio::test]
async fn trials_are_listed_and_watched_where_pods_may_not_be_looked_at() {
    let (trial, _) = held_up();
    let server = Server::start(move |request| {
        match (request.path(), request.query().contains("watch=true")) {
            (PODS, _) => Answer::status(
                403,
                "Forbidden",
                "pods is forbidden",
                json!({"kind": "pods"}),
            ),
            _ => beside_pods(request, &trial),
        }
    })
    .await;
    let cluster = connected(&server).await;
    let table = katlab_lab::katib::trials::of_experiment(&cluster, "lab", "mnist")
        .await
        .unwrap();
    assert_eq!(table.rows[0].obstacle, None);
    let mut watch = watch::open(&cluster, "lab", "mnist").await.unwrap();
    let update = tokio::time::timeout(Duration::from_secs(20), watch.next());
    assert!(matches!(update.await.unwrap(), Ok(Update::Changed(_))));
}

fn pod(state: Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": "lab"}, "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": "main", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state}]}})
}

#[tokio::test]
async fn a_followed_log_is_taken_up_again_without_doubling_lines() {
    let turn = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&turn);
    let server = Server::start(move |request| {
        if !request.path().ends_with("/log") {
            let state = match count.load(Ordering::SeqCst) {
                0 | 1 => json!({"running": {}}),
                _ => json!({"terminated": {"exitCode": 0}}),
            };
            return Answer::json(200, &pod(state));
        }
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => Answer::text(200, "2026-01-01T00:00:01.1Z one\n2026-01-01T00:00:01.2Z two\n"),
            _ => {
                assert!(request.query().contains("sinceTime="), "{}", request.query());
                Answer::bytes(
                    200,
                    b"2026-01-01T00:00:01.1Z one\n2026-01-01T00:00:01.2Z two\n2026-01-01T00:00:02Z thr\xffee\n2026-01-01T00:00:03Z ",
                )
            }
        }
    })
    .await;
    let cluster = connected(&server).await;
    let target = Target {
        pod: "p".into(),
        namespace: "lab".into(),
        container: "main".into(),
        containers: vec!["main".into()],
        trial: None,
    };
    let mut lines = logs::open(
        &cluster,
        &target,
        Extent {
            follow: true,
            ..Extent::default()
        },
    );
    let mut texts = Vec::new();
    while let Some(line) = lines.next().await.unwrap() {
        if let Line::Text(text) = line {
            texts.push(text);
        }
    }
    assert_eq!(texts, ["one", "two", "thr\u{fffd}ee", ""]);
}

#[tokio::test]
async fn following_a_container_that_cannot_start_fails_with_the_reason() {
    let server = Server::start(|request| {
        let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"i\""}});
        match (request.path().ends_with("/log"), request.query().contains("watch=true")) {
            (true, _) => Answer::status(
                400,
                "BadRequest",
                "container \"main\" in pod \"p\" is waiting to start: trying and failing to pull image",
                json!({}),
            ),
            (_, true) => Answer::Hang,
            (_, false) => Answer::json(200, &list("PodList", "1", json!([pod(waiting)]))),
        }
    })
    .await;
    let cluster = connected(&server).await;
    let target = Target {
        pod: "p".into(),
        namespace: "lab".into(),
        container: "main".into(),
        containers: vec!["main".into()],
        trial: None,
    };
    let mut lines = logs::open(
        &cluster,
        &target,
        Extent {
            follow: true,
            ..Extent::default()
        },
    );
    let first = lines.next().await.unwrap();
    assert!(matches!(first, Some(Line::Note(note)) if note.contains("waiting for container main")));
    let error = tokio::time::timeout(Duration::from_secs(20), lines.next())
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("ImagePullBackOff: Back-off pulling image"),
        "{error}"
    );
}
