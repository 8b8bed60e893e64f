//! Pods as places of a cluster, in a whole sandbox on a real Docker Engine: who they are, what they reach, and what
//! their containers share. They need the lab's base image; each test removes what it made.

use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bollard::Docker;
use bollard::exec::CreateExecOptions;
use bollard::query_parameters::ListContainersOptionsBuilder;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Event, Pod, ServiceAccount};
use katlab_sandbox::lifecycle::{self, Endpoint, Options, state_dir};
use katlab_sandbox::runtime::sandbox_id;
use kube::api::{Api, DeleteParams, LogParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kubeflow-user";
const IMAGE: &str = "katlab/base:1";
const PATIENCE: Duration = Duration::from_secs(60);

/// The DBManager's port is one on a machine, so the tests take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The process under test: this program, as `katlab sandbox serve` would be.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the tests below in a process of its own"]
async fn process() {
    if let Some(home) = std::env::var_os("KATLAB_HOME") {
        lifecycle::serve(Options::new(home), CancellationToken::new())
            .await
            .expect("it serves");
    }
}

struct Sandbox {
    home: tempfile::TempDir,
    endpoint: Endpoint,
    client: Client,
    docker: Docker,
}

impl Sandbox {
    async fn start() -> Self {
        let home = tempfile::tempdir().expect("directory");
        let (endpoint, client) = up(home.path()).await;
        let docker = Docker::connect_with_unix_defaults().expect("engine");
        Self {
            home,
            endpoint,
            client,
            docker,
        }
    }

    /// `kill -9`, and up again.
    async fn crash(&mut self) {
        let pid = self.endpoint.pid.to_string();
        let killed = Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.expect("kill runs").success());
        (self.endpoint, self.client) = up(self.home.path()).await;
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    async fn pod(&self, name: &str, spec: Value) {
        let pod = json!({"metadata": {"name": name, "labels": {"a": "1"}}, "spec": spec});
        let pod = serde_json::from_value(pod).expect("pod");
        let made = self.pods().create(&PostParams::default(), &pod).await;
        made.expect("created");
    }

    async fn until(&self, name: &str, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let waiting = async {
            let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
            let pods = watcher(self.pods(), config).default_backoff();
            let mut pods = std::pin::pin!(pods.applied_objects());
            while let Some(pod) = pods.next().await {
                let Ok(pod) = pod else { continue };
                last = serde_json::to_value(pod).expect("pod");
                if is_wanted(&last) {
                    return last.clone();
                }
            }
            unreachable!("a watch does not end")
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(pod) => pod,
            Err(_) => panic!(
                "{name} is not {what}; last: {:#}\n{}",
                last["status"],
                self.events().await
            ),
        }
    }

    async fn phase(&self, name: &str, phase: &str) -> Value {
        let is_over = |pod: &Value| {
            matches!(
                pod["status"]["phase"].as_str(),
                Some("Succeeded" | "Failed")
            )
        };
        let pod = self
            .until(name, phase, |pod| {
                pod["status"]["phase"] == phase || is_over(pod)
            })
            .await;
        if pod["status"]["phase"] != phase {
            let containers = pod["spec"]["containers"].as_array().expect("containers");
            for container in containers {
                let container = container["name"].as_str().expect("name");
                eprintln!("{container}: {}", self.log(name, container).await);
            }
            panic!("{name} is not {phase}: {:#}", pod["status"]);
        }
        pod
    }

    async fn events(&self) -> String {
        let events: Api<Event> = Api::namespaced(self.client.clone(), NAMESPACE);
        let events = events.list(&Default::default()).await.expect("events");
        let events = events.into_iter();
        let lines = events.map(|event| event.message.unwrap_or_default());
        lines.collect::<Vec<_>>().join("\n")
    }

    async fn log(&self, name: &str, container: &str) -> String {
        let of = LogParams {
            container: Some(container.to_owned()),
            ..LogParams::default()
        };
        self.pods().logs(name, &of).await.expect("log")
    }

    /// The containers that this sandbox has on the engine: by name among their pod's, and whether they run.
    async fn containers(&self) -> Vec<(String, bool)> {
        let label = format!(
            "katlab.sandbox={}",
            sandbox_id(&state_dir(self.home.path()))
        );
        let filters = [("label", vec![label])].into();
        let query = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&filters)
            .build();
        let found = self.docker.list_containers(Some(query)).await;
        let mut names: Vec<(String, bool)> = found
            .expect("containers")
            .into_iter()
            .map(|one| {
                let labels = one.labels.unwrap_or_default();
                let running = one
                    .state
                    .is_some_and(|state| state.to_string() == "running");
                (labels["katlab.container"].clone(), running)
            })
            .collect();
        names.sort();
        names
    }

    /// Waits until the engine has these containers of this sandbox.
    async fn has(&self, wanted: &[(&str, bool)]) {
        let wanted: Vec<(String, bool)> =
            wanted.iter().map(|(n, r)| ((*n).to_owned(), *r)).collect();
        let mut last = Vec::new();
        let waiting = async {
            loop {
                last = self.containers().await;
                if last == wanted {
                    return;
                }
                // The engine tells nobody.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{last:?} instead of {wanted:?}");
    }

    async fn delete(&self, name: &str) {
        let deleted = self.pods().delete(name, &DeleteParams::default()).await;
        deleted.expect("deleted");
        self.has(&[]).await;
    }

    async fn touch(&self, pod: &Value, container: &str, path: &str) {
        let statuses = pod["status"]["containerStatuses"]
            .as_array()
            .expect("statuses");
        let status = statuses.iter().find(|one| one["name"] == container);
        let id = status.expect("status")["containerID"].as_str().expect("id");
        let id = id.trim_start_matches("docker://");
        let exec = CreateExecOptions {
            cmd: Some(vec!["touch", path]),
            ..CreateExecOptions::default()
        };
        let exec = self.docker.create_exec(id, exec).await.expect("exec");
        self.docker
            .start_exec(&exec.id, None)
            .await
            .expect("touched");
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let home = self.home.path().to_owned();
        let clean = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("tokio").block_on(lifecycle::reset(&home))
        });
        let clean = clean.join();
        if !std::thread::panicking() {
            clean.expect("cleaning").expect("removed");
        }
    }
}

async fn up(home: &Path) -> (Endpoint, Client) {
    let exe = home.join("program");
    if !exe.exists() {
        let this = std::env::current_exe().expect("this program");
        let body = format!(
            "exec '{}' process --exact --ignored --nocapture",
            this.display()
        );
        std::fs::write(&exe, format!("#!/bin/sh\n{body}\n")).expect("a script");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&exe, mode).expect("its mode");
    }
    let endpoint = lifecycle::ensure(home, &exe, &[]).await.expect("it starts");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = kube::config::Kubeconfig::read_from(lifecycle::kubeconfig(home));
    let options = kube::config::KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig.expect("kubeconfig"), &options).await;
    let client = Client::try_from(config.expect("configuration"));
    (endpoint, client.expect("client"))
}

fn python(name: &str, program: &str) -> Value {
    json!({"name": name, "image": IMAGE, "imagePullPolicy": "Never", "command": ["python3", "-u", "-c", program],
           "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}}})
}

/// An in-cluster client with nothing but what a container finds.
const CLIENT: &str = r#"
import json, os, socket, ssl, time, urllib.error, urllib.request
here = "/var/run/secrets/kubernetes.io/serviceaccount/"
read = lambda name: open(here + name).read()
context = ssl.create_default_context(cafile=here + "ca.crt")
def ask(path, host=os.environ["KUBERNETES_SERVICE_HOST"], token=read("token"), method="GET", body=None):
    url = f"https://{host}:{os.environ['KUBERNETES_SERVICE_PORT']}{path}"
    request = urllib.request.Request(url, method=method, data=body,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except urllib.error.URLError:
        # The sandbox may be on its way back.
        time.sleep(0.2)
        return ask(path, host, token, method, body)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_is_a_client_of_its_cluster() {
    let _turn = TURN.lock().await;
    let sandbox = Sandbox::start().await;
    let program = format!(
        "{CLIENT}{}",
        r#"
code, body = ask(f"/api/v1/namespaces/{read('namespace')}/pods")
print(code, [pod["metadata"]["name"] for pod in body["items"]])
code, body = ask("/api/v1/namespaces/default/pods")
print(code, body["message"])
code, body = ask("/api/v1/nodes", host="kubernetes.default.svc")
print(code, body["message"])
print(ask("/api", token="e30.e30.e30")[0])
code, body = ask("/apis/authentication.k8s.io/v1/selfsubjectreviews", method="POST", body=b"{}")
print(body["status"]["userInfo"])
socket.create_connection(("katib-db-manager.kubeflow", 6789), 10).close()
print("metrics at", socket.gethostbyname("katib-db-manager.kubeflow.svc"))
print("at", os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"])
"#
    );
    let spec = json!({"restartPolicy": "Never", "containers": [python("main", &program)]});
    sandbox.pod("client", spec).await;
    let pod = sandbox.phase("client", "Succeeded").await;
    let log = sandbox.log("client", "main").await;
    let lines: Vec<&str> = log.lines().collect();
    let account = "system:serviceaccount:kubeflow-user:default";
    let forbidden = |what: &str, scope: &str| {
        format!(
            "403 {what} is forbidden: User \"{account}\" cannot list resource \"{what}\" in API group \"\" {scope}"
        )
    };
    assert_eq!(
        lines[..4],
        [
            "200 ['client']",
            &forbidden("pods", "in the namespace \"default\""),
            &forbidden("nodes", "at the cluster scope"),
            "401",
        ],
        "{log}"
    );
    for group in [
        account,
        "system:serviceaccounts:kubeflow-user",
        "system:authenticated",
    ] {
        assert!(lines[4].contains(group), "{log}");
    }
    let [.., metrics, at] = lines.as_slice() else {
        panic!("{log}")
    };
    let address = metrics.trim_start_matches("metrics at ");
    let (host, port) = at
        .trim_start_matches("at ")
        .split_once(' ')
        .expect("host and port");
    assert_eq!(host, address);

    // Its credentials are shown as Kubernetes shows them, and it is one container.
    let volume = pod["spec"]["volumes"][0]["name"]
        .as_str()
        .expect("a volume");
    assert!(volume.starts_with("kube-api-access-"), "{volume}");
    let mount = &pod["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(
        *mount,
        json!({"name": volume, "readOnly": true,
                              "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"})
    );
    sandbox.has(&[("main", false)]).await;

    // Whoever is no pod of this sandbox is hung up on.
    for port in [port, "6789"] {
        let mut stream = TcpStream::connect(format!("{address}:{port}")).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("patience");
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    }

    // Nothing is mounted for who does not want it.
    let spec = json!({"restartPolicy": "Never", "automountServiceAccountToken": false,
                      "containers": [python("main", "import os; print(os.path.exists('/var/run/secrets'))")]});
    sandbox.delete("client").await;
    sandbox.pod("alone", spec).await;
    let pod = sandbox.phase("alone", "Succeeded").await;
    assert_eq!(pod["spec"]["volumes"], Value::Null);
    assert_eq!(sandbox.log("alone", "main").await, "False\n");
    sandbox.delete("alone").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_keeps_its_place_when_a_container_ends_and_when_the_sandbox_is_killed() {
    let _turn = TURN.lock().await;
    let mut sandbox = Sandbox::start().await;
    let program = format!(
        "{CLIENT}{}",
        r#"
import http.server, threading
http.server.SimpleHTTPRequestHandler.log_message = lambda *_: None
server = http.server.ThreadingHTTPServer(("", 8123), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
while not os.path.exists("/tmp/go"):
    time.sleep(0.1)
print(urllib.request.urlopen("http://localhost:8123/").status)
print(ask(f"/api/v1/namespaces/{read('namespace')}/pods/pair")[1]["status"]["podIP"], os.environ["POD_IP"])
print(socket.gethostname(), socket.gethostbyname("friend"), "friend" in open("/etc/hosts").read())
"#
    );
    let mut side = python("side", &program);
    side["env"] =
        json!([{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
    let spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "hostname": "place",
                      "hostAliases": [{"ip": "10.9.8.7", "hostnames": ["friend"]}],
                      "containers": [python("main", "print('done')"), side]});
    sandbox.pod("pair", spec).await;
    let first_is_over = |pod: &Value| {
        let statuses = &pod["status"]["containerStatuses"];
        statuses[0]["state"]["terminated"]["exitCode"] == 0
            && statuses[1]["state"]["running"].is_object()
    };
    let before = sandbox.until("pair", "one of two", first_is_over).await;
    sandbox
        .has(&[("POD", true), ("main", false), ("side", true)])
        .await;
    sandbox.crash().await;
    sandbox.touch(&before, "side", "/tmp/go").await;
    let after = sandbox.phase("pair", "Succeeded").await;
    let address = before["status"]["podIP"].as_str().expect("an address");
    assert_eq!(after["status"]["podIP"], address);
    assert_eq!(after["status"]["containerStatuses"][1]["restartCount"], 0);
    let log = sandbox.log("pair", "side").await;
    assert!(
        log.ends_with(&format!("200\n{address} {address}\nplace 10.9.8.7 True\n")),
        "{log}"
    );
    // Over, it holds nothing any more.
    sandbox
        .has(&[("POD", false), ("main", false), ("side", false)])
        .await;
    sandbox.delete("pair").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_see_each_others_processes_and_files_tell_of_the_pod() {
    let _turn = TURN.lock().await;
    let sandbox = Sandbox::start().await;
    let accounts: Api<ServiceAccount> = Api::namespaced(sandbox.client.clone(), NAMESPACE);
    let other = serde_json::from_value(json!({"metadata": {"name": "other"}})).expect("account");
    accounts
        .create(&PostParams::default(), &other)
        .await
        .expect("created");
    let program = r#"
import base64, json, os, signal, time
def others():
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if b"patient" in open(f"/proc/{pid}/cmdline", "rb").read() and int(pid) != os.getpid():
                yield int(pid)
        except OSError:
            pass
while not (found := list(others())):
    time.sleep(0.1)
print("first process:", open("/proc/1/cmdline").read().strip("\0"))
for name in sorted(os.listdir("/told")):
    text = open(f"/told/{name}").read()
    if name == "token":
        text = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
        text = text["sub"], text["aud"], text["kubernetes.io"]["pod"]["name"]
    print(name, oct(os.stat(f"/told/{name}").st_mode & 0o777), text)
os.kill(found[0], signal.SIGKILL)
"#;
    let mut main = python("main", program);
    main["volumeMounts"] = json!([{"name": "told", "mountPath": "/told", "readOnly": true}]);
    let patient = python("other", "import time; 'patient'; time.sleep(300)");
    let item = |path: &str, field: &str| json!({"path": path, "fieldRef": {"fieldPath": field}});
    let spec = json!({
        "restartPolicy": "Never", "shareProcessNamespace": true, "terminationGracePeriodSeconds": 1,
        "serviceAccountName": "other", "containers": [main, patient],
        "volumes": [{"name": "told", "projected": {"defaultMode": 0o440, "sources": [
            {"serviceAccountToken": {"path": "token", "audience": "vault"}},
            {"downwardAPI": {"items": [item("labels", "metadata.labels"), item("name", "metadata.name")]}},
            {"configMap": {"name": "kube-root-ca.crt", "optional": true, "items": []}},
        ]}}],
    });
    sandbox.pod("shared", spec).await;
    let pod = sandbox.phase("shared", "Failed").await;
    assert_eq!(
        pod["status"]["containerStatuses"][1]["state"]["terminated"]["exitCode"],
        137
    );
    let log = sandbox.log("shared", "main").await;
    let told = [
        "first process: /pause",
        "labels 0o440 a=\"1\"",
        "name 0o440 shared",
        "token 0o440 ('system:serviceaccount:kubeflow-user:other', ['vault'], 'shared')",
    ];
    for line in told {
        assert!(log.contains(line), "{line} in {log}");
    }
    sandbox.delete("shared").await;

    // A sandbox that is removed takes its image along, unless another one's pods need it.
    let mut image = python("main", "pass");
    image["env"] =
        json!([{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]);
    sandbox
        .pod(
            "last",
            json!({"restartPolicy": "Never", "containers": [image]}),
        )
        .await;
    sandbox.phase("last", "Succeeded").await;
    sandbox.has(&[("POD", false), ("main", false)]).await;
    lifecycle::reset(sandbox.home.path())
        .await
        .expect("removed");
    assert!(sandbox.containers().await.is_empty());
    let image = sandbox.docker.inspect_image("katlab/pause:1").await;
    assert!(image.is_err(), "{image:?}");
}
