//! Pods as containers of a real Docker Engine, under the real API server. They need an engine with the lab's base
//! image; each test removes what it made.

mod machine;
mod server;

use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, PushImageOptionsBuilder, RemoveImageOptionsBuilder,
    TagImageOptionsBuilder,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Secret};
use katlab_sandbox::metrics::Filter;
use katlab_sandbox::registry::{Credentials, Registry};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams,
};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use machine::{
    IMAGE, Machine, NAMESPACE, PATIENCE, condition, create, main_status, shell, terminated, wait,
};

#[tokio::test(flavor = "multi_thread")]
async fn ends_of_containers_are_told_with_code_reason_and_output() {
    let machine = Machine::start().await;
    machine
        .pod(
            "well",
            shell("echo out; echo err >&2", json!({}), json!({})),
        )
        .await;
    machine
        .pod("ill", shell("echo gone; exit 3", json!({}), json!({})))
        .await;
    let eater = json!({"command": ["python3", "-c", "x = bytearray(200 << 20)"],
                       "resources": {"limits": {"memory": "20Mi", "cpu": "10m"}}});
    machine.pod("eater", shell("", eater, json!({}))).await;
    machine
        .pod(
            "nothing",
            shell("", json!({"command": ["/no/such/program"]}), json!({})),
        )
        .await;

    let well = machine.phase("well", "Succeeded").await;
    assert_eq!(terminated(&well), (0, "Completed"));
    assert_eq!(
        condition(&well, "Ready"),
        ("False".into(), "PodCompleted".into())
    );
    assert_eq!(condition(&well, "PodScheduled").0, "True");
    assert!(well["status"]["startTime"].is_string());
    let log = machine.log("well").await;
    assert!(log.contains("out\n") && log.contains("err\n"), "{log}");
    for text in [
        "Scheduled: Successfully assigned lab/well",
        "Pulled: ",
        "Created: Container created",
        "Started: Container started",
    ] {
        machine.said("well", text).await;
    }
    // A list has them in their order. The scheduler's are of the newer form.
    let events = machine.api::<Event>().list(&ListParams::default()).await;
    let told: Vec<[String; 3]> = events
        .expect("events")
        .into_iter()
        .filter(|event| event.involved_object.name.as_deref() == Some("well"))
        .map(|event| [event.reason, event.action, event.involved_object.field_path])
        .map(|texts| texts.map(Option::unwrap_or_default))
        .collect();
    assert_eq!(
        told,
        [
            ["Scheduled", "Binding", ""],
            ["Pulled", "", "spec.containers{main}"],
            ["Created", "", "spec.containers{main}"],
            ["Started", "", "spec.containers{main}"],
        ]
    );

    let ill = machine.phase("ill", "Failed").await;
    assert_eq!(terminated(&ill), (3, "Error"));
    assert_eq!(
        condition(&ill, "Ready"),
        ("False".into(), "PodFailed".into())
    );
    assert_eq!(machine.log("ill").await, "gone\n");

    let eater = machine.phase("eater", "Failed").await;
    assert_eq!(terminated(&eater), (137, "OOMKilled"));

    let nothing = machine.phase("nothing", "Failed").await;
    assert_eq!(terminated(&nothing), (128, "StartError"));
}

#[tokio::test(flavor = "multi_thread")]
async fn values_files_and_volumes_reach_a_container() {
    let machine = Machine::start().await;
    create(
        &machine.api::<ConfigMap>(),
        json!({"metadata": {"name": "map"}, "data": {"KEY": "from-map", "file": "in a file"}}),
    )
    .await;
    create(
        &machine.api::<Secret>(),
        json!({"metadata": {"name": "secret"}, "stringData": {"word": "from-secret"}}),
    )
    .await;
    let container = json!({
        "env": [
            {"name": "PLAIN", "value": "plain"},
            {"name": "JOINED", "value": "$(PLAIN)-$$(PLAIN)-$(NONE)"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "word"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "map"}}],
        "command": ["sh", "-c",
            "echo \"$JOINED|$POD|$WORD|$KEY|$1\"; cat /map/file; echo; cat /secret/word; echo; id -u; \
             echo kept > /scratch/x && cat /scratch/x; echo x > /map/y || echo read-only", "sh", "$(PLAIN)"],
        "securityContext": {"runAsUser": 1234},
        "volumeMounts": [{"name": "map", "mountPath": "/map"}, {"name": "secret", "mountPath": "/secret"},
                         {"name": "scratch", "mountPath": "/scratch"}],
    });
    let volumes = json!({"volumes": [{"name": "map", "configMap": {"name": "map"}},
                                     {"name": "secret", "secret": {"secretName": "secret"}},
                                     {"name": "scratch", "emptyDir": {}}]});
    machine.pod("values", shell("", container, volumes)).await;
    machine.phase("values", "Succeeded").await;
    let log = machine.log("values").await;
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| !line.contains("cannot create"))
        .collect();
    assert_eq!(
        lines,
        [
            "plain-$(PLAIN)-$(NONE)|values|from-secret|from-map|plain",
            "in a file",
            "from-secret",
            "1234",
            "kept",
            "read-only"
        ]
    );

    // What is missing may come.
    let env = json!({"env": [{"name": "LATE", "valueFrom": {"configMapKeyRef": {"name": "late", "key": "k"}}}]});
    machine
        .pod("waits", shell("echo $LATE", env, json!({})))
        .await;
    let waits = machine
        .until("waits", "waiting", |pod| {
            main_status(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
        .await;
    assert_eq!(
        main_status(&waits)["state"]["waiting"]["message"],
        "configmap \"late\" not found"
    );
    create(
        &machine.api::<ConfigMap>(),
        json!({"metadata": {"name": "late"}, "data": {"k": "here"}}),
    )
    .await;
    machine.phase("waits", "Succeeded").await;
    assert_eq!(machine.log("waits").await, "here\n");

    for name in ["values", "waits"] {
        machine
            .pods()
            .delete(name, &DeleteParams::default())
            .await
            .expect("deleted");
        machine.gone(name).await;
    }
    machine.emptied().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_share_a_volume_and_init_containers_come_first() {
    let machine = Machine::start().await;
    let mount = json!([{"name": "shared", "mountPath": "/shared"}]);
    let one = |name: &str, text: &str| {
        json!({"name": name, "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", text],
               "volumeMounts": mount, "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}})
    };
    let spec = json!({
        "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "shared", "emptyDir": {}}],
        "initContainers": [one("first", "echo 1 >> /shared/x"), one("second", "echo 2 >> /shared/x")],
        "containers": [one("main", "until test -e /shared/ready; do sleep 0.1; done; cat /shared/x"),
                       one("side", "touch /shared/ready")],
    });
    machine.pod("several", spec.clone()).await;
    let pod = machine.phase("several", "Succeeded").await;
    assert_eq!(condition(&pod, "Initialized").0, "True");
    let mut broken = spec;
    broken["initContainers"][0] = one("first", "exit 4");
    machine.pod("broken", broken).await;
    let pod = machine.phase("broken", "Failed").await;
    assert_eq!(
        pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"],
        4
    );
    assert_eq!(
        main_status(&pod)["state"]["waiting"]["reason"],
        "PodInitializing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_tried_again_and_deadlines_end_pods() {
    let machine = Machine::start().await;
    let scratch = json!({"volumeMounts": [{"name": "s", "mountPath": "/s"}]});
    let volume = json!({"restartPolicy": "OnFailure", "volumes": [{"name": "s", "emptyDir": {}}]});
    machine
        .pod(
            "again",
            shell(
                "n=$(ls /s | wc -l); touch /s/$n; test $n -ge 2 || exit 5; echo third",
                scratch,
                volume,
            ),
        )
        .await;
    machine
        .pod(
            "late",
            shell(
                "trap 'exit 9' TERM; sleep 60 & wait",
                json!({}),
                json!({"activeDeadlineSeconds": 6}),
            ),
        )
        .await;
    let late = machine.phase("late", "Failed").await;
    assert_eq!(late["status"]["reason"], "DeadlineExceeded");
    assert_eq!(terminated(&late).0, 9, "{:#}", late["status"]);
    let waiting = machine
        .until("again", "backing off", |pod| {
            main_status(pod)["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
        .await;
    assert_eq!(
        main_status(&waiting)["lastState"]["terminated"]["exitCode"],
        5
    );
    // The first time it was started again at once.
    assert_eq!(main_status(&waiting)["restartCount"], 1);
    let message = main_status(&waiting)["state"]["waiting"]["message"].to_string();
    assert!(message.contains("back-off 10s restarting"), "{message}");
    let again = machine.phase("again", "Succeeded").await;
    assert_eq!(main_status(&again)["restartCount"], 2);
    assert_eq!(machine.log("again").await, "third\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_waits_for_room_and_a_running_pod_goes_within_its_grace() {
    let machine = Machine::start().await;
    let nodes: Api<Node> = Api::all(machine.client.clone());
    let node = wait(&nodes, "katlab", "ready", |node| {
        node["status"]["capacity"]["cpu"].is_string()
    })
    .await;
    let all = json!({"resources": {"requests": {"cpu": node["status"]["capacity"]["cpu"]}}});
    let patient = "trap 'exit 0' TERM; sleep 300 & wait";
    machine
        .pod(
            "big",
            shell(
                patient,
                all.clone(),
                json!({"terminationGracePeriodSeconds": 20}),
            ),
        )
        .await;
    machine.phase("big", "Running").await;
    machine.pod("next", shell("echo ran", all, json!({}))).await;
    let next = machine
        .until("next", "unschedulable", |pod| {
            condition(pod, "PodScheduled") == ("False".into(), "Unschedulable".into())
        })
        .await;
    assert_eq!(next["status"]["phase"], "Pending");
    machine
        .said(
            "next",
            "FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu",
        )
        .await;
    machine
        .pods()
        .delete("big", &DeleteParams::default())
        .await
        .expect("deleted");
    machine
        .said("big", "Killing: Stopping container main")
        .await;
    machine.gone("big").await;
    machine.phase("next", "Succeeded").await;
    assert_eq!(machine.containers().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_deleted_while_its_container_is_made_leaves_nothing() {
    let machine = Machine::start().await;
    for round in 0..4 {
        let name = format!("short-{round}");
        machine
            .pod(&name, shell("sleep 300", json!({}), json!({})))
            .await;
        machine.said(&name, "Pulled: ").await;
        let now = DeleteParams::default().grace_period(0);
        machine.pods().delete(&name, &now).await.expect("deleted");
    }
    let empty = async {
        // The engine tells nobody when it has nothing left of a label.
        while machine.containers().await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, empty)
        .await
        .expect("nothing is left");
    // Nor comes anything later.
    machine
        .pod("after", shell("true", json!({}), json!({})))
        .await;
    machine.phase("after", "Succeeded").await;
    assert_eq!(machine.containers().await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sandbox_finds_its_containers_again() {
    let mut machine = Machine::start().await;
    let scratch = json!({"volumeMounts": [{"name": "s", "mountPath": "/s"}]});
    let volume = json!({"volumes": [{"name": "s", "emptyDir": {}}]});
    let text = "echo began; until test -e /s/go; do sleep 0.1; done; echo ended";
    machine.pod("long", shell(text, scratch, volume)).await;
    machine
        .pod("lost", shell("sleep 300", json!({}), json!({})))
        .await;
    let before = machine.phase("long", "Running").await;
    let lost = machine.phase("lost", "Running").await;
    let states = {
        let (states, api) = (std::sync::Arc::new(Mutex::new(Vec::new())), machine.pods());
        let noted = states.clone();
        let watching = tokio::spawn(async move {
            let config = watcher::Config::default().fields("metadata.name=long");
            let mut events = std::pin::pin!(watcher(api, config).applied_objects());
            while let Some(Ok(pod)) = events.next().await {
                let phase = pod
                    .status
                    .and_then(|status| status.phase)
                    .unwrap_or_default();
                noted.lock().expect("noted").push(phase);
            }
        });
        (states, watching)
    };
    machine.task.abort();
    let id = |pod: &Value| {
        main_status(pod)["containerID"]
            .as_str()
            .expect("id")
            .trim_start_matches("docker://")
            .to_owned()
    };
    let force = bollard::query_parameters::RemoveContainerOptionsBuilder::default()
        .force(true)
        .build();
    machine
        .docker
        .remove_container(&id(&lost), Some(force))
        .await
        .expect("removed");
    machine.crash().await;
    // A container that ran and is not there any more is not run a second time.
    let lost = machine.phase("lost", "Failed").await;
    assert_eq!(terminated(&lost), (137, "ContainerStatusUnknown"));

    let exec = bollard::exec::CreateExecOptions {
        cmd: Some(vec!["touch", "/s/go"]),
        ..Default::default()
    };
    let exec = machine
        .docker
        .create_exec(&id(&before), exec)
        .await
        .expect("exec");
    machine
        .docker
        .start_exec(&exec.id, None)
        .await
        .expect("touched");
    let after = machine.phase("long", "Succeeded").await;
    assert_eq!(id(&before), id(&after));
    assert_eq!(main_status(&after)["restartCount"], 0);
    assert_eq!(machine.log("long").await, "began\nended\n");
    assert_eq!(machine.containers().await, 1);
    states.1.abort();
    let states = states.0.lock().expect("states");
    assert!(!states.iter().any(|phase| phase == "Pending"), "{states:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_read_from_the_file_of_an_ended_container() {
    let machine = Machine::start().await;
    let kind = GroupVersionKind::gvk("kubeflow.org", "v1beta1", "Trial");
    let resource = ApiResource::from_gvk_with_plural(&kind, "trials");
    let trials: Api<DynamicObject> =
        Api::namespaced_with(machine.client.clone(), NAMESPACE, &resource);
    let path = "/results/metrics.log";
    create(
        &trials,
        json!({
            "apiVersion": "kubeflow.org/v1beta1", "kind": "Trial", "metadata": {"name": "t"},
            "spec": {
                "objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
                "parameterAssignments": [], "primaryContainerName": "main",
                "metricsCollector": {"collector": {"kind": "File"},
                    "source": {"fileSystemPath": {"path": path, "kind": "File", "format": "TEXT"}}},
                "runSpec": {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "t"}},
            },
        }),
    )
    .await;
    let container = json!({"securityContext": {"runAsUser": 1234},
                           "volumeMounts": [{"name": "results", "mountPath": "/results"}]});
    let spec = shell(
        &format!("echo accuracy=0.5 > {path}; echo accuracy=0.75 >> {path}"),
        container,
        json!({"volumes": [{"name": "results", "emptyDir": {}}]}),
    );
    create(&machine.pods(), json!({"metadata": {"name": "trial", "labels": {"katib.kubeflow.org/trial": "t"}}, "spec": spec})).await;
    let pod = machine.phase("trial", "Succeeded").await;
    assert!(
        pod["metadata"]["annotations"].to_string().contains("true"),
        "{pod:#}"
    );
    let rows = machine
        .observation
        .rows(NAMESPACE, "t", Filter::default())
        .await
        .expect("rows");
    let rows: Vec<_> = rows
        .iter()
        .map(|row| (row.metric.as_str(), row.value.as_str()))
        .collect();
    assert_eq!(rows, [("accuracy", "0.5"), ("accuracy", "0.75")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_done_is_refused_by_name() {
    let machine = Machine::start().await;
    let probe = json!({"livenessProbe": {"exec": {"command": ["true"]}}});
    let pod = json!({"metadata": {"name": "probed"}, "spec": shell("true", probe, json!({}))});
    let pod = serde_json::from_value(pod).expect("a pod");
    let refused = machine.pods().create(&PostParams::default(), &pod).await;
    let message = refused.expect_err("refused").to_string();
    assert!(
        message.contains("spec.containers[0].livenessProbe"),
        "{message}"
    );
    // Nobody is asked to run as root who must not.
    let spec = json!({"securityContext": {"runAsNonRoot": true}});
    machine
        .pod("root", shell("true", json!({}), spec.clone()))
        .await;
    let user = json!({"securityContext": {"runAsUser": 1234}});
    machine.pod("user", shell("true", user, spec)).await;
    machine.phase("user", "Succeeded").await;
    let root = machine
        .until("root", "refused", |pod| {
            main_status(pod)["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        })
        .await;
    let message = main_status(&root)["state"]["waiting"]["message"].as_str();
    let message = message.expect("message");
    assert!(
        message
            .starts_with("container has runAsNonRoot and image will run as root (pod: \"root_lab("),
        "{message}"
    );
    machine
        .pods()
        .delete("root", &DeleteParams::default())
        .await
        .expect("deleted");
    // Shared memory is memory, of the size that is asked for.
    let shm = json!({"volumeMounts": [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "v", "mountPath": "/v"}]});
    let spec = json!({"volumes": [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
                                  {"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}]});
    let text = "df -k --output=fstype,size /dev/shm | tail -1";
    machine.pod("shm", shell(text, shm, spec)).await;
    machine
        .said(
            "shm",
            "NotEnforced: the sizeLimit of emptyDir \"v\" is not enforced",
        )
        .await;
    machine.phase("shm", "Succeeded").await;
    let log = machine.log("shm").await;
    let shown: Vec<&str> = log.split_whitespace().collect();
    assert_eq!(shown, ["tmpfs", "8192"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn images_of_the_registry_need_the_right_login() {
    let machine = Machine::start().await;
    let credentials = Credentials {
        username: "user".into(),
        password: "pass+/word".to_owned().into(),
    };
    let loopback = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let registry = Registry::bind(loopback, &machine.directory.join("registry"), credentials)
        .await
        .expect("registry");
    let host = registry.address().to_string();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(registry.serve(stop.clone()));
    let image = format!("{host}/digits/tiny:1");
    push_tiny(&machine.docker, &host, &machine.directory).await;

    for (secret, password) in [("right", "pass+/word"), ("wrong", "guess")] {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("user:{password}"));
        let config = json!({"auths": {&host: {"auth": auth}}}).to_string();
        create(
            &machine.api::<Secret>(),
            json!({"metadata": {"name": secret}, "type": "kubernetes.io/dockerconfigjson",
                                                "stringData": {".dockerconfigjson": config}}),
        )
        .await;
    }
    let container =
        |image: &str| json!({"image": image, "imagePullPolicy": null, "command": ["/program"]});
    let with = |secret: &str| json!({"imagePullSecrets": [{"name": secret}]});
    machine
        .pod(
            "absent",
            shell(
                "",
                container(&format!("{host}/digits/none:1")),
                with("right"),
            ),
        )
        .await;
    machine
        .pod("wrong", shell("", container(&image), with("wrong")))
        .await;
    machine
        .pod("missing", shell("", container(&image), with("nowhere")))
        .await;
    let backs_off =
        |pod: &Value| main_status(pod)["state"]["waiting"]["reason"] == "ImagePullBackOff";
    for (name, words) in [
        ("absent", "not found"),
        ("wrong", "401 Unauthorized"),
        ("missing", "no basic auth credentials"),
    ] {
        machine.said(name, "Failed: Error: ErrImagePull").await;
        let pod = machine.until(name, "backing off", backs_off).await;
        let message = main_status(&pod)["state"]["waiting"]["message"]
            .as_str()
            .expect("message");
        assert!(message.starts_with("Back-off pulling image"), "{message}");
        assert!(message.contains(words), "{message}");
        assert_eq!(pod["status"]["phase"], "Pending");
    }
    machine
        .said(
            "missing",
            "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (nowhere)",
        )
        .await;

    machine
        .pod("right", shell("", container(&image), with("right")))
        .await;
    machine
        .said("right", "Pulled: Successfully pulled image")
        .await;
    // The image holds no program that could run; it came, and that is what counts.
    machine.phase("right", "Failed").await;
    // That it is on the machine now does not open it for others.
    machine
        .pod("thief", shell("", container(&image), with("wrong")))
        .await;
    machine.said("thief", "401 Unauthorized").await;

    let force = RemoveImageOptionsBuilder::default().force(true).build();
    machine
        .docker
        .remove_image(&image, Some(force), None)
        .await
        .expect("removed");
    stop.cancel();
    let _ = serving.await;
}

/// Puts an image of one file, which no other image shares, into a registry and takes it off the engine.
async fn push_tiny(docker: &Docker, host: &str, mark: &std::path::Path) {
    let mut archive = tar::Builder::new(Vec::new());
    let content = mark.display().to_string();
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    archive
        .append_data(&mut header, "mark", content.as_bytes())
        .expect("file");
    let archive = archive.into_inner().expect("archive");
    let local = format!("katlab-test/{}", host.replace(['.', ':'], "-"));
    let options = CreateImageOptionsBuilder::default()
        .from_src("-")
        .repo(&local)
        .tag("1")
        .build();
    let mut lines = docker.create_image(
        Some(options),
        Some(bollard::body_full(archive.into())),
        None,
    );
    while let Some(line) = lines.next().await {
        line.expect("imported");
    }
    let repository = format!("{host}/digits/tiny");
    let tag = TagImageOptionsBuilder::default()
        .repo(&repository)
        .tag("1")
        .build();
    docker
        .tag_image(&format!("{local}:1"), Some(tag))
        .await
        .expect("tagged");
    let credentials = DockerCredentials {
        username: Some("user".into()),
        password: Some("pass+/word".into()),
        serveraddress: Some(host.to_owned()),
        ..DockerCredentials::default()
    };
    let options = PushImageOptionsBuilder::default().tag("1").build();
    let mut lines = docker.push_image(&repository, Some(options), Some(credentials));
    while let Some(line) = lines.next().await {
        let line = line.expect("pushed");
        assert!(line.error_detail.is_none(), "{line:?}");
    }
    for name in [format!("{repository}:1"), format!("{local}:1")] {
        docker
            .remove_image(
                &name,
                None::<bollard::query_parameters::RemoveImageOptions>,
                None,
            )
            .await
            .expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_belong_to_the_pods_group() {
    let machine = Machine::start().await;
    let key = json!({"metadata": {"name": "key"}, "stringData": {"k": "secret"}});
    create(&machine.api::<Secret>(), key).await;
    let mounts = json!({"volumeMounts": [
        {"name": "s", "mountPath": "/s"}, {"name": "e", "mountPath": "/e"}]});
    let more = json!({
        "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000},
        "volumes": [{"name": "s", "secret": {"secretName": "key", "defaultMode": 0o400}}, {"name": "e", "emptyDir": {}}],
    });
    let look = "cat /s/k; echo; stat -c '%g %a' /s/k /e; touch /e/mine; stat -c %g /e/mine";
    machine.pod("grouped", shell(look, mounts, more)).await;
    machine.phase("grouped", "Succeeded").await;
    let log = machine.log("grouped").await;
    assert_eq!(log, "secret\n2000 440\n2000 2777\n2000\n");
}
