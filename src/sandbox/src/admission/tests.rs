use super::*;
use serde_json::json;
use std::collections::HashMap;

#[derive(Default)]
struct Shelf(HashMap<(String, String), Value>);

impl Shelf {
    fn with(mut self, object: Value) -> Self {
        let key = (
            text(&object, "/kind").to_owned(),
            text(&object, "/metadata/name").to_owned(),
        );
        self.0.insert(key, object);
        self
    }
}

impl Lookup for Shelf {
    fn get(&self, _: &str, kind: &str, _: &str, name: &str) -> Option<Value> {
        self.0.get(&(kind.to_owned(), name.to_owned())).cloned()
    }
}

fn namespace() -> Value {
    json!({"metadata": {"name": "lab", "labels": {
        "katib.kubeflow.org/metrics-collector-injection": "enabled"}}})
}

fn experiment() -> Value {
    json!({
        "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
        "metadata": {"name": "mnist", "namespace": "lab"},
        "spec": {
            "objective": {"type": "maximize", "goal": 0.99, "objectiveMetricName": "accuracy"},
            "algorithm": {"algorithmName": "random"},
            "maxTrialCount": 6,
            "parameters": [{"name": "lr", "parameterType": "double",
                            "feasibleSpace": {"min": "0.1", "max": "0.2"}}],
            "trialTemplate": {
                "primaryContainerName": "main",
                "trialParameters": [{"name": "lr", "reference": "lr"}],
                "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
                    "containers": [{"name": "main", "image": "i",
                                    "command": ["train", "--lr=${trialParameters.lr}"]}],
                    "restartPolicy": "Never"}}}}
            }
        }
    })
}

fn admit(object: &mut Value, shelf: &Shelf) -> Result<Vec<String>, Refusal> {
    experiment::admit(object, None, Some(&namespace()), shelf)
}

fn refused(change: impl FnOnce(&mut Value)) -> Refusal {
    let mut object = experiment();
    change(&mut object);
    admit(&mut object, &Shelf::default()).unwrap_err()
}

#[test]
fn a_good_experiment_gets_its_defaults() {
    let mut object = experiment();
    assert_eq!(admit(&mut object, &Shelf::default()), Ok(Vec::new()));
    assert_eq!(object["spec"]["parallelTrialCount"], 3);
    assert_eq!(object["spec"]["resumePolicy"], "Never");
    assert_eq!(
        object["spec"]["metricsCollectorSpec"]["collector"]["kind"],
        "StdOut"
    );
    let again = object.clone();
    assert_eq!(admit(&mut object, &Shelf::default()), Ok(Vec::new()));
    assert_eq!(object, again, "admitting twice changes nothing more");
}

#[test]
fn a_misspelt_field_is_dropped_with_a_warning() {
    let mut object = experiment();
    object["spec"]["maxTrialCounts"] = json!(7);
    object["extra"] = json!(1);
    let warnings = admit(&mut object, &Shelf::default()).unwrap();
    assert!(
        warnings.contains(
            &"unknown field \"spec.maxTrialCounts\" is dropped; did you mean maxTrialCount?".into()
        ),
        "{warnings:?}"
    );
    assert!(object["spec"].get("maxTrialCounts").is_none() && object.get("extra").is_none());
}

#[test]
fn refusals_bear_the_webhook_that_would_say_so() {
    let wrong_type = refused(|e| e["spec"]["objective"]["goal"] = json!("0.9"));
    assert_eq!(wrong_type.by, "defaulter.experiment.katib.kubeflow.org");
    let invalid = refused(|e| e["spec"]["maxTrialCount"] = json!(0));
    assert_eq!(
        (invalid.by, invalid.code),
        ("validator.experiment.katib.kubeflow.org", 400)
    );

    let mut object = experiment();
    let bare = json!({"metadata": {"name": "lab"}});
    for old in [None, Some(&experiment())] {
        let refused = experiment::admit(&mut object, old, Some(&bare), &Shelf::default());
        let refusal = refused.unwrap_err();
        assert!(refusal.text.contains("lacks label"), "{refusal:?}");
    }
}

#[test]
fn an_algorithm_is_the_sandboxs_or_named_with_an_image_in_katibs_configuration() {
    let config = |text: &str| {
        json!({"kind": "ConfigMap", "metadata": {"name": "katib-config", "namespace": "kubeflow"},
               "data": {"katib-config.yaml": text}})
    };
    let good = config(
        "runtime: {suggestions: [{algorithmName: mine, image: 'mine:1'}, {algorithmName: pbt, image: 'pbt:1'}, \
         {algorithmName: darts, image: katlab.invalid/built-in}, {algorithmName: blank, image: ''}]}",
    );
    let shelf = Shelf::default().with(good.clone());
    // An old configuration that cannot be read takes nothing away.
    let broken = Shelf::default().with(config("runtime: 3"));
    let no_config =
        "failed to find suggestion config for algorithm: mine in ConfigMap: katib-config";
    let rows = [
        ("random", &shelf, None),
        ("random", &broken, None),
        ("mine", &shelf, None),
        ("pbt", &shelf, None),
        ("mine", &broken, Some(no_config)),
        ("mine", &Shelf::default(), Some(no_config)),
        ("blank", &shelf, Some("for algorithm: blank in ConfigMap")),
        (
            "darts",
            &shelf,
            Some("not darts (spec.algorithm.algorithmName)"),
        ),
    ];
    for (name, shelf, refused) in rows {
        let mut object = experiment();
        object["spec"]["algorithm"]["algorithmName"] = json!(name);
        match (admit(&mut object, shelf), refused) {
            (admitted, None) => assert_eq!(admitted, Ok(Vec::new()), "{name}"),
            (admitted, Some(why)) => {
                let refusal = admitted.expect_err(name);
                assert!(refusal.text.contains(why), "{name}: {refusal:?}");
            }
        }
    }
    let mut object = experiment();
    object["spec"]["algorithm"] = json!({"algorithmName": "pbt",
        "algorithmSettings": [{"name": "suggestion_trial_dir", "value": "/data"}]});
    let refusal = admit(&mut object, &shelf).unwrap_err();
    assert!(refusal.text.contains("suggestion_trial_dir"), "{refusal:?}");

    assert_eq!(experiment::check_configuration(&good), Ok(()));
    let refusal = experiment::check_configuration(&config("runtime: 3")).unwrap_err();
    assert!(
        refusal
            .text
            .starts_with("data[katib-config.yaml] cannot be used: "),
        "{refusal:?}"
    );
    let mut elsewhere = config("runtime: 3");
    elsewhere["metadata"]["namespace"] = json!("lab");
    assert_eq!(experiment::check_configuration(&elsewhere), Ok(()));
}

#[test]
fn budgets_can_be_changed_and_nothing_else() {
    let mut old = experiment();
    admit(&mut old, &Shelf::default()).unwrap();
    let update = |change: fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        experiment::admit(&mut new, Some(&old), Some(&namespace()), &Shelf::default())
    };
    assert_eq!(
        update(|e| e["spec"]["maxTrialCount"] = json!(9)),
        Ok(Vec::new())
    );
    assert_eq!(
        update(|e| e["metadata"]["labels"] = json!({"a": "b"})),
        Ok(Vec::new())
    );
    let refusal = update(|e| e["spec"]["objective"]["goal"] = json!(0.5)).unwrap_err();
    assert!(refusal.text.contains("Forbidden"), "{refusal:?}");
}

#[test]
fn an_experiment_on_its_way_out_is_not_held_up() {
    let mut object = experiment();
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let bare = json!({"metadata": {"name": "lab"}});
    let admitted = experiment::admit(&mut object, None, Some(&bare), &Shelf::default());
    assert_eq!(admitted, Ok(Vec::new()));
}

#[test]
fn what_the_sandbox_cannot_run_is_refused_by_name() {
    let cases: [(&str, Refusal); 8] = [
        (
            "PyTorchJob (kubeflow.org/v1)",
            refused(|e| {
                let template = &mut e["spec"]["trialTemplate"];
                template["trialSpec"]["kind"] = json!("PyTorchJob");
                template["trialSpec"]["apiVersion"] = json!("kubeflow.org/v1");
            }),
        ),
        (
            "enas",
            refused(|e| e["spec"]["algorithm"]["algorithmName"] = json!("enas")),
        ),
        (
            "httpGet.scheme: HTTPS",
            refused(|e| {
                e["spec"]["metricsCollectorSpec"] = json!({
                    "collector": {"kind": "PrometheusMetric"},
                    "source": {"httpGet": {"port": 8080, "path": "/metrics", "scheme": "HTTPS"}}});
            }),
        ),
        (
            "spec.completionMode: Indexed",
            refused(|e| {
                let job = &mut e["spec"]["trialTemplate"]["trialSpec"]["spec"];
                job["completionMode"] = json!("Indexed");
                job["completions"] = json!(1);
            }),
        ),
        (
            "spec.nasConfig",
            refused(|e| {
                e["spec"].as_object_mut().unwrap().remove("parameters");
                e["spec"]["nasConfig"] = json!({"graphConfig": {"numLayers": 1}});
                e["spec"]["trialTemplate"]["trialParameters"][0]["reference"] = json!("x");
            }),
        ),
        (
            "spec.trialTemplate.trialSpec.spec.template.spec.hostNetwork",
            refused(|e| {
                let job = &mut e["spec"]["trialTemplate"]["trialSpec"]["spec"];
                job["template"]["spec"]["hostNetwork"] = json!(true);
            }),
        ),
        (
            "spec.template.spec.containers[0].livenessProbe",
            limits::job(&json!({"spec": {"template": {"spec": {"containers": [
                {"name": "c", "livenessProbe": {"exec": {"command": ["true"]}}}]}}}}))
            .unwrap_err(),
        ),
        (
            "spec.containers[0].securityContext.capabilities.add SYS_ADMIN, \
             spec.containers[0].securityContext.seccompProfile Localhost or Unconfined",
            limits::pod(
                &json!({"spec": {"containers": [{"name": "c", "securityContext": {
                "capabilities": {"add": ["CHOWN", "SYS_ADMIN"]},
                "seccompProfile": {"type": "Unconfined"}}}]}}),
            )
            .unwrap_err(),
        ),
    ];
    for (name, refusal) in cases {
        assert_eq!(refusal.by, SANDBOX, "{name}: {refusal:?}");
        assert!(refusal.text.contains(name), "{name}: {refusal:?}");
        assert!(refusal.text.contains("use a cluster"), "{refusal:?}");
    }
}

#[test]
fn a_template_is_read_from_its_config_map() {
    let template = "apiVersion: batch/v1\nkind: TFJob\nspec: {x: \"${trialParameters.lr}\"}\n";
    let map = json!({"kind": "ConfigMap", "metadata": {"name": "templates"},
                     "data": {"a.yaml": template}});
    let mut object = experiment();
    let change = |object: &mut Value, path: &str| {
        let template = &mut object["spec"]["trialTemplate"];
        template.as_object_mut().unwrap().remove("trialSpec");
        template["configMap"] = json!({"configMapName": "templates",
            "configMapNamespace": "lab", "templatePath": path});
        template["successCondition"] = json!("x");
        template["failureCondition"] = json!("y");
    };
    change(&mut object, "a.yaml");
    let shelf = Shelf::default().with(map);
    let refusal = admit(&mut object, &shelf).unwrap_err();
    assert!(refusal.text.contains("not TFJob"), "{refusal:?}");
    change(&mut object, "b.yaml");
    let refusal = admit(&mut object, &shelf).unwrap_err();
    assert_eq!(refusal.by, "validator.experiment.katib.kubeflow.org");
    assert!(refusal.text.contains("b.yaml"), "{refusal:?}");
}

fn trial() -> Value {
    json!({"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial",
           "metadata": {"name": "mnist-a", "labels": {"katib.kubeflow.org/experiment": "mnist"}},
           "spec": {"primaryContainerName": "main"}})
}

fn job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "ownerReferences": [
        {"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial", "name": "mnist-a"}]}})
}

fn pod(owner: &str) -> Value {
    json!({"kind": "Pod", "metadata": {"name": "p", "namespace": "lab", "labels": {"a": "b"},
        "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": owner}]},
        "spec": {"containers": [{"name": "side"}, {"name": "main", "env": [{"name": "A"}]}]}})
}

#[test]
fn a_trials_pod_gets_its_labels_and_its_name_in_the_environment() {
    let shelf = Shelf::default().with(trial()).with(job("mnist-a"));
    let mut pod = pod("mnist-a");
    pod::admit(&mut pod, Some(&namespace()), &shelf).unwrap();
    assert_eq!(
        pod["metadata"]["labels"],
        json!({"a": "b", "katib.kubeflow.org/experiment": "mnist",
               "katib.kubeflow.org/trial": "mnist-a"})
    );
    assert_eq!(
        pod["spec"]["containers"][1]["env"][1],
        json!({"name": "KATIB_TRIAL_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1",
               "fieldPath": "metadata.labels['katib.kubeflow.org/trial']"}}})
    );
    assert!(pod["spec"]["containers"][0].get("env").is_none());
}

#[test]
fn a_trials_pod_gets_what_its_collector_needs() {
    let at = |path: &str, kind: &str| json!({"fileSystemPath": {"path": path, "kind": kind}});
    let own = json!({"name": "own", "image": "i"});
    // The kind, the source, and where a volume is mounted: in the primary container and in the user's.
    for (kind, source, mounted) in [
        ("StdOut", json!({}), [None, None]),
        ("File", at("/tmp/m.log", "File"), [Some("/tmp"), None]),
        (
            "TensorFlowEvent",
            at("/logs", "Directory"),
            [Some("/logs"), None],
        ),
        (
            "PrometheusMetric",
            json!({"httpGet": {"port": 8080}}),
            [None, None],
        ),
        ("Push", json!({}), [None, None]),
        (
            "Custom",
            at("/out/m.csv", "File"),
            [Some("/out"), Some("/out")],
        ),
        ("Custom", json!({}), [None, None]),
    ] {
        let mut trial = trial();
        trial["spec"]["primaryPodLabels"] = json!({"a": "b"});
        trial["spec"]["metricsCollector"] =
            json!({"collector": {"kind": kind, "customCollector": own}, "source": source});
        let shelf = Shelf::default().with(trial.clone()).with(job("mnist-a"));
        let mut given = pod("mnist-a");
        pod::admit(&mut given, Some(&namespace()), &shelf).unwrap();
        let containers = given["spec"]["containers"].as_array().unwrap();
        assert_eq!(
            containers.len(),
            if kind == "Custom" { 3 } else { 2 },
            "{kind}"
        );
        let shared = given["spec"].get("shareProcessNamespace");
        assert_eq!(shared.is_some(), kind == "Custom", "{kind}");
        for (container, path) in containers[1..].iter().zip(mounted) {
            let mount = path.map(|path| json!([{"name": "metrics-volume", "mountPath": path}]));
            assert_eq!(container.get("volumeMounts"), mount.as_ref(), "{kind}");
        }
        let volumes = mounted[0].map(|_| json!([{"name": "metrics-volume", "emptyDir": {}}]));
        assert_eq!(given["spec"].get("volumes"), volumes.as_ref(), "{kind}");
        // Pods of the job that are not primary have nothing to collect.
        trial["spec"]["primaryPodLabels"] = json!({"a": "c"});
        let shelf = Shelf::default().with(trial).with(job("mnist-a"));
        let mut other = pod("mnist-a");
        pod::admit(&mut other, Some(&namespace()), &shelf).unwrap();
        assert_eq!(other["spec"]["containers"].as_array().unwrap().len(), 2);
        assert_eq!(other["spec"].get("volumes"), None);
    }
}

#[test]
fn other_pods_are_left_alone() {
    let shelf = Shelf::default()
        .with(trial())
        .with(job("mnist-a"))
        .with(job("other"));
    let plain = json!({"kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}});
    for given in [plain, pod("other"), pod("gone")] {
        let mut pod = given.clone();
        pod::admit(&mut pod, Some(&namespace()), &shelf).unwrap();
        assert_eq!(pod, given);
    }
    let mut pod = pod("mnist-a");
    let given = pod.clone();
    pod::admit(&mut pod, Some(&json!({"metadata": {}})), &shelf).unwrap();
    assert_eq!(pod, given, "no label on the namespace, no injection");
}

#[test]
fn a_pod_without_the_primary_container_is_refused() {
    let mut trial = trial();
    trial["spec"]["primaryContainerName"] = json!("training");
    let shelf = Shelf::default().with(trial).with(job("mnist-a"));
    let refusal = pod::admit(&mut pod("mnist-a"), Some(&namespace()), &shelf).unwrap_err();
    assert_eq!(
        (refusal.by, refusal.code),
        ("mutator.pod.katib.kubeflow.org", 400)
    );
    assert_eq!(
        refusal.text,
        "Unable to find primary container training in mutated pod containers [side main]"
    );
}
