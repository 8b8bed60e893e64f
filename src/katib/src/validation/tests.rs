use super::*;
use crate::decode::decode_experiment;
use crate::defaults::set_defaults;
use serde_json::{Value, json};

fn lab() -> Value {
    json!({"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
        "metadata": {"name": "e", "namespace": "n"},
        "spec": {
            "objective": {"type": "maximize", "goal": 0.99, "objectiveMetricName": "accuracy",
                          "additionalMetricNames": ["loss"]},
            "algorithm": {"algorithmName": "random"},
            "parallelTrialCount": 3, "maxTrialCount": 6, "maxFailedTrialCount": 3,
            "parameters": [
                {"name": "--lr", "parameterType": "double", "feasibleSpace": {"min": "0.0001", "max": "0.01"}},
                {"name": "--bs", "parameterType": "int", "feasibleSpace": {"min": "16", "max": "128"}}],
            "trialTemplate": {
                "primaryContainerName": "train",
                "trialParameters": [{"name": "lr", "description": "rate", "reference": "--lr"},
                                    {"name": "bs", "description": "size", "reference": "--bs"}],
                "trialSpec": {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
                    "containers": [{"name": "train", "image": "i:1",
                        "command": ["python", "--lr=${trialParameters.lr}", "--bs=${trialParameters.bs}"],
                        "resources": {"limits": {"cpu": "1", "nvidia.com/gpu": 1}}}],
                    "restartPolicy": "Never"}}}}},
            "metricsCollectorSpec": {"collector": {"kind": "File"},
                "source": {"filter": {"metricsFormat": [r"{metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?)}"]},
                           "fileSystemPath": {"path": "/tmp/mnist.log", "kind": "File"}}}}})
}

/// The lab's Experiment with some fields set (or, given `null`, removed), defaulted.
fn changed(changes: &[(&str, Value)]) -> Experiment {
    let mut value = lab();
    for (pointer, new) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = value.pointer_mut(parent).unwrap();
        match (parent, new) {
            (Value::Object(fields), Value::Null) => drop(fields.remove(key)),
            (parent, new) => match key.parse::<usize>() {
                Ok(index) => parent[index] = new.clone(),
                Err(_) => parent[key] = new.clone(),
            },
        }
    }
    let mut experiment = decode_experiment(value).unwrap();
    set_defaults(&mut experiment.spec);
    experiment
}

fn refusal(changes: &[(&str, Value)]) -> String {
    let errors = validate_create(&changed(changes), &ClusterFacts::default());
    aggregate(&errors).unwrap_or_else(|| "accepted".to_owned())
}

#[test]
fn the_labs_experiment_is_accepted() {
    assert_eq!(refusal(&[]), "accepted");
}

#[test]
fn names_are_judged_by_first_letter_and_length() {
    let name = |name: String| refusal(&[("/metadata/name", json!(name))]);
    assert_eq!(name("a".repeat(40)), "accepted");
    assert_eq!(name("a.b".into()), "accepted");
    assert!(name("a".repeat(41)).starts_with("metadata.name: Invalid value: \"aaaa"));
    assert!(name("1abc".into()).ends_with("not be longer than 40 characters. "));
}

#[test]
fn counts_are_refused_in_katibs_words_and_order() {
    for (field, value, text) in [
        (
            "maxFailedTrialCount",
            json!(-1),
            "spec.maxFailedTrialCount: Invalid value: -1: should not be less than 0",
        ),
        (
            "maxFailedTrialCount",
            json!(7),
            "spec.maxFailedTrialCount: Invalid value: 7: should be less than or equal to spec.maxTrialCount",
        ),
        (
            "parallelTrialCount",
            json!(7),
            "spec.parallelTrialCount: Invalid value: 7: should be less than or equal to spec.maxTrialCount",
        ),
        (
            "parallelTrialCount",
            json!(0),
            "spec.parallelTrialCount: Invalid value: 0: must be greater than 0",
        ),
        (
            "maxTrialCount",
            json!(0),
            "[spec.maxTrialCount: Invalid value: 0: must be greater than 0, spec.maxFailedTrialCount: Invalid value: 3: should be less than or equal to spec.maxTrialCount, spec.parallelTrialCount: Invalid value: 3: should be less than or equal to spec.maxTrialCount]",
        ),
    ] {
        assert_eq!(refusal(&[(&format!("/spec/{field}"), value)]), text);
    }
}

#[test]
fn the_default_of_three_at_once_counts_against_a_budget_of_two() {
    let text = refusal(&[
        ("/spec/parallelTrialCount", Value::Null),
        ("/spec/maxFailedTrialCount", Value::Null),
        ("/spec/maxTrialCount", json!(2)),
    ]);
    assert_eq!(
        text,
        "spec.parallelTrialCount: Invalid value: 3: should be less than or equal to spec.maxTrialCount"
    );
}

#[test]
fn an_error_in_the_objective_hides_all_that_follows() {
    for (pointer, value, text) in [
        (
            "/spec/objective",
            Value::Null,
            "spec.objective: Required value: must be specified",
        ),
        (
            "/spec/objective/type",
            json!("best"),
            "spec.objective.type: Invalid value: \"best\": must be minimize or maximize",
        ),
        (
            "/spec/objective/objectiveMetricName",
            json!(""),
            "spec.objective.objectiveMetricName: Required value: must be specified",
        ),
        (
            "/spec/objective/additionalMetricNames",
            json!(["accuracy"]),
            "spec.objective.additionalMetricNames: Invalid value: [\"accuracy\"]: should not contain spec.objective.objectiveMetricName",
        ),
    ] {
        let text_with_more = refusal(&[(pointer, value), ("/spec/trialTemplate", Value::Null)]);
        assert_eq!(text_with_more, text);
    }
}

#[test]
fn algorithms_and_policies_must_be_known() {
    assert_eq!(
        refusal(&[("/spec/algorithm/algorithmName", json!("annealing"))]),
        "spec.algorithm.algorithmName: Invalid value: \"annealing\": unable to get Suggestion config data for algorithm annealing: failed to find suggestion config for algorithm: annealing in ConfigMap: katib-config"
    );
    assert_eq!(
        refusal(&[("/spec/algorithm", Value::Null)]),
        "spec.algorithm: Required value: must be specified"
    );
    assert_eq!(
        refusal(&[("/spec/earlyStopping", json!({"algorithmName": "nope"}))]),
        "spec.earlyStopping.algorithmName: Invalid value: \"nope\": unable to get EarlyStopping config data for algorithm nope: failed to find early stopping config for algorithm: nope in ConfigMap: katib-config"
    );
    assert_eq!(
        refusal(&[("/spec/resumePolicy", json!("Always"))]),
        "spec.resumePolicy: Invalid value: \"Always\": invalid ResumePolicyType"
    );
}

#[test]
fn the_search_space_is_checked_field_by_field() {
    let space = |kind: &str, space: Value| {
        refusal(&[(
            "/spec/parameters/0",
            json!({"name": "--lr", "parameterType": kind, "feasibleSpace": space}),
        )])
    };
    let at = "spec.parameters[0]";
    assert_eq!(
        space("float", json!({"min": "1", "max": "2"})),
        format!(
            "{at}.parameterType: Invalid value: \"float\": parameterType: float is not supported"
        )
    );
    assert_eq!(
        space(
            "double",
            json!({"min": "1", "max": "2", "distribution": "cauchy"})
        ),
        format!(
            "{at}.feasibleSpace.distribution: Invalid value: \"cauchy\": distribution: cauchy is not supported"
        )
    );
    assert_eq!(
        space(
            "double",
            json!({"min": "1", "max": "2", "list": ["1", "2"]})
        ),
        format!(
            "{at}.feasibleSpace.list: Invalid value: [\"1\",\"2\"]: feasibleSpace.list is not supported for parameterType: double"
        )
    );
    assert_eq!(
        space("double", json!({"min": "1"})),
        format!(
            "{at}.feasibleSpace.max: Required value: feasibleSpace.max or feasibleSpace.min must be specified for parameterType: double"
        )
    );
    assert_eq!(
        space("categorical", json!({"min": "1", "list": ["a"]})),
        format!(
            "{at}.feasibleSpace: Invalid value: {{\"min\":\"1\",\"list\":[\"a\"],\"distribution\":\"uniform\"}}: feasibleSpace .max, .min and .step is not supported for parameterType: categorical"
        )
    );
    assert_eq!(
        space("categorical", json!({})),
        "accepted",
        "Katib takes it"
    );
    assert_eq!(space("unknown", json!({})), "accepted", "Katib takes it");
    assert_eq!(
        refusal(&[("/spec/parameters", Value::Null)]),
        "spec: Required value: spec.parameters or spec.nasConfig must be specified"
    );
    assert!(
        refusal(&[("/spec/nasConfig", json!({"graphConfig": {"numLayers": 1}}))])
            .ends_with("only one of spec.parameters and spec.nasConfig can be specified")
    );
}

#[test]
fn trial_parameters_must_fit_the_template_and_the_space() {
    let parameters = |list: Value| refusal(&[("/spec/trialTemplate/trialParameters", list)]);
    let lr = json!({"name": "lr", "reference": "--lr"});
    let bs = json!({"name": "bs", "reference": "--bs"});
    let left = "spec.trialTemplate: Invalid value: \"\": parameters: [${trialParameters.bs}] in spec.trialTemplate not found in spec.trialParameters: ";
    assert_eq!(
        parameters(Value::Null),
        "spec.trialTemplate.trialParameters: Required value: must be specified"
    );
    assert_eq!(parameters(json!([lr])), format!("{left}[{{lr  --lr}}]"));
    assert_eq!(
        parameters(json!([lr, {"name": "", "reference": "--bs"}])),
        format!(
            "[spec.trialTemplate.trialParameters[1]: Invalid value: \"\": name and reference must be specified and name must not contain '{{' or '}}', {left}[{{lr  --lr}} {{  --bs}}]]"
        )
    );
    assert_eq!(
        parameters(json!([lr, {"name": "lr", "reference": "--bs"}])),
        format!(
            "[spec.trialTemplate.trialParameters[1].name: Invalid value: \"lr\": parameter name lr can't be duplicated in spec.trialTemplate.trialParameters: [{{lr  --lr}} {{lr  --bs}}], {left}[{{lr  --lr}} {{lr  --bs}}]]"
        )
    );
    assert_eq!(
        parameters(json!([lr, {"name": "bs", "reference": "--lr"}])),
        format!(
            "[spec.trialTemplate.trialParameters[1].reference: Invalid value: \"--lr\": parameter reference --lr can't be duplicated in spec.trialTemplate.trialParameters: [{{lr  --lr}} {{bs  --lr}}], {left}[{{lr  --lr}} {{bs  --lr}}]]"
        )
    );
    assert_eq!(
        parameters(json!([lr, {"name": "bs", "reference": "--nope"}])),
        "spec.trialTemplate.trialParameters[1].reference: Invalid value: \"--nope\": parameter reference --nope does not exist in spec.parameters: [{--lr double {0.01 0.0001 []  uniform}} {--bs int {128 16 []  uniform}}]"
    );
    assert!(parameters(json!([lr, bs, {"name": "x", "reference": "${trialSpec.Name}"}]))
        .starts_with("spec.trialTemplate.trialParameters[2].name: Invalid value: \"x\": parameter name: x in spec.trialParameters not found"));
}

#[test]
fn the_template_must_be_a_whole_job_without_a_name() {
    let job = "/spec/trialTemplate/trialSpec";
    assert_eq!(
        refusal(&[(&format!("{job}/metadata"), json!({"name": "x"}))]),
        "spec.trialTemplate: Invalid value: \"\": metadata.name and metadata.namespace in spec.trialTemplate must be omitted"
    );
    assert_eq!(
        refusal(&[(&format!("{job}/apiVersion"), Value::Null)]),
        "spec.trialTemplate: Required value: APIVersion and Kind in spec.trialTemplate must be specified"
    );
    assert_eq!(
        refusal(&[(&format!("{job}/spec/backofLimit"), json!(1))]),
        "spec.trialTemplate: Invalid value: \"\": invalid spec.trialTemplate: unable to convert: /spec/backofLimit - 1 to Job"
    );
    assert_eq!(
        refusal(&[(
            &format!("{job}/spec/template/spec/containers/0/comand"),
            json!(["x"])
        )]),
        "spec.trialTemplate: Invalid value: \"\": invalid spec.trialTemplate: unable to convert: /spec/template/spec/containers/0/comand - [x] to Job"
    );
    assert!(
        refusal(&[(&format!("{job}/spec/backoffLimit"), json!("x"))])
            .contains("unrecognized type: int32")
    );
    assert_eq!(
        refusal(&[("/spec/trialTemplate/trialSpec", Value::Null)]),
        "[spec.trialTemplate: Required value: successCondition and failureCondition must be specified, spec.trialTemplate.TrialSource: Required value: spec.trialTemplate.trialSpec or spec.trialTemplate.configMap must be specified]"
    );
    assert_eq!(
        refusal(&[(&format!("{job}/kind"), json!("Workflow"))]),
        "spec.trialTemplate: Required value: successCondition and failureCondition must be specified"
    );
    assert_eq!(
        refusal(&[("/spec/trialTemplate/primaryContainerName", json!(""))]),
        "spec.trialTemplate.primaryContainerName: Required value: must be specified"
    );
}

#[test]
fn a_config_map_template_is_checked_as_far_as_it_is_known() {
    let experiment = changed(&[
        ("/spec/trialTemplate/trialSpec", Value::Null),
        ("/spec/trialTemplate/successCondition", json!("a")),
        ("/spec/trialTemplate/failureCondition", json!("b")),
        (
            "/spec/trialTemplate/configMap",
            json!({"configMapName": "a", "configMapNamespace": "b", "templatePath": "c"}),
        ),
    ]);
    let verdict = |config_map| {
        let facts = ClusterFacts {
            config_map,
            ..ClusterFacts::default()
        };
        aggregate(&validate_create(&experiment, &facts))
    };
    assert_eq!(verdict(ConfigMapText::NotAsked), None);
    assert_eq!(
        verdict(ConfigMapText::Missing("ConfigMap \"a\" not found".into())).unwrap(),
        "spec.trialTemplate: Invalid value: \"\": unable to parse spec.trialTemplate: configMap not found: ConfigMap \"a\" not found"
    );
    let text =
        "apiVersion: v1\nkind: X\nargs: ['${trialParameters.lr}', \"${trialParameters.bs}\"]\n";
    assert_eq!(verdict(ConfigMapText::Text(text.into())), None);
    assert!(verdict(ConfigMapText::Text("{".into())).is_some());
}

#[test]
fn collectors_are_checked_each_in_its_way() {
    let collector = |spec: Value| refusal(&[("/spec/metricsCollectorSpec", spec)]);
    let source = "spec.metricsCollectorSpec.source";
    let kind = "spec.metricsCollectorSpec.collector.kind";
    for (spec, text) in [
        (json!({"collector": {}}), format!("{kind}: Invalid value: \"\": invalid metrics collector kind: ")),
        (json!({"collector": {"kind": "None"}}), format!("{kind}: Invalid value: \"None\": invalid metrics collector kind: None")),
        (json!({"collector": {"kind": "PrometheusMetric"}}), format!("{kind}: Invalid value: \"PrometheusMetric\": GetMetricsCollectorConfigData failed: failed to find metrics collector config for kind: PrometheusMetric in ConfigMap: katib-config")),
        (json!({"collector": {"kind": "Custom"}}), "spec.metricsCollectorSpec.collector.customCollector: Required value: metrics collector kind: Custom is required".into()),
        (json!({"collector": {"kind": "File"}, "source": {"fileSystemPath": {"path": "x"}}}), format!("{source}.fileSystemPath.path: Required value: file path where metrics file exists is required")),
        (json!({"collector": {"kind": "File"}, "source": {"fileSystemPath": {"kind": "Directory"}}}), format!("{source}.fileSystemPath.path: Required value: file path where metrics file exists is required")),
        (json!({"collector": {"kind": "File"}, "source": {"fileSystemPath": {"format": "XML"}}}), format!("{source}.fileSystemPath.format: Required value: format of metrics file is required for metrics collector")),
        (json!({"collector": {"kind": "File"}, "source": {"fileSystemPath": {"format": "JSON"}, "filter": {}}}), format!("{source}.filter: Invalid value: \"\": filter must be nil when format of metrics file is json")),
        (json!({"collector": {"kind": "TensorFlowEvent"}, "source": {"fileSystemPath": {"kind": "File"}}}), format!("{source}: Required value: directory path where tensorflow event files exist is required by .spec.metricsCollectorSpec.source.fileSystemPath.path")),
        (json!({"collector": {"kind": "File"}, "source": {"filter": {"metricsFormat": ["([a-z]+)=(["]}}}), format!("{source}.filter.metricsFormat: Invalid value: \"([a-z]+)=([\": invalid filter: error parsing regexp: missing closing ]: `[`")),
        (json!({"collector": {"kind": "File"}, "source": {"filter": {"metricsFormat": ["accuracy=(.*)"]}}}), format!("{source}.filter.metricsFormat: Invalid value: \"accuracy=(.*)\": two top subexpressions are required")),
        (json!({"collector": {"kind": "StdOut"}, "source": {"filter": {"metricsFormat": ["(["]}}}), "accepted".into()),
        (json!({"collector": {"kind": "Push"}}), "accepted".into()),
        (json!(null), "accepted".into()),
    ] {
        assert_eq!(collector(spec.clone()), text, "{spec}");
    }
}

#[test]
fn what_is_missing_or_out_of_place_is_named_by_field_and_kind() {
    let template = "/spec/trialTemplate";
    let with = |field: &str| format!("{template}/{field}");
    let own = [
        (with("successCondition"), json!("a")),
        (with("failureCondition"), json!("b")),
        (with("trialSpec"), Value::Null),
    ];
    let parameter = |kind: &str, space: Value| {
        let new = json!({"name": "--lr", "parameterType": kind, "feasibleSpace": space});
        vec![("/spec/parameters/0".to_owned(), new)]
    };
    let second = |name: &str, reference: &str| {
        let new = json!({"name": name, "reference": reference});
        vec![(with("trialParameters/1"), new)]
    };
    let collector = |spec: Value| vec![("/spec/metricsCollectorSpec".to_owned(), spec)];
    let page = |page: Value| {
        collector(json!({"collector": {"kind": "PrometheusMetric"}, "source": {"httpGet": page}}))
    };
    let one = |pointer: &str, new: Value| vec![(pointer.to_owned(), new)];
    let source = "spec.metricsCollectorSpec.source";
    let rows: Vec<(Vec<(String, Value)>, String)> = vec![
        (
            one("/spec/algorithm/algorithmName", json!("")),
            "spec.algorithm.algorithmName: Required".into(),
        ),
        (
            one("/spec/earlyStopping", json!({})),
            "spec.earlyStopping.algorithmName: Required".into(),
        ),
        (
            one(template, Value::Null),
            "spec.trialTemplate: Required".into(),
        ),
        (
            one(&with("configMap"), json!({"configMapName": "a"})),
            "spec.trialTemplate: Required".into(),
        ),
        (
            [
                own.as_slice(),
                &one(&with("configMap"), json!({"configMapName": "a"})),
            ]
            .concat(),
            "spec.trialTemplate.configMap: Required".into(),
        ),
        (
            one(&with("trialParameters"), json!([])),
            "spec.trialTemplate: Invalid".into(),
        ),
        (
            second("bs", ""),
            "spec.trialTemplate.trialParameters[1]: Invalid".into(),
        ),
        (
            second("b{s", "--bs"),
            "spec.trialTemplate.trialParameters[1]: Invalid".into(),
        ),
        (
            one(&with("trialSpec/metadata"), json!({"namespace": "n"})),
            "spec.trialTemplate: Invalid".into(),
        ),
        (
            parameter("int", json!({"max": "2"})),
            "spec.parameters[0].feasibleSpace.max: Required".into(),
        ),
        (
            parameter("int", json!({"min": "1", "max": "2", "list": ["1"]})),
            "spec.parameters[0].feasibleSpace.list: Invalid".into(),
        ),
        (
            parameter("discrete", json!({"list": ["1"], "step": "1"})),
            "spec.parameters[0].feasibleSpace: Invalid".into(),
        ),
        (
            collector(
                json!({"collector": {"kind": "TensorFlowEvent"}, "source": {"fileSystemPath": {"format": "TEXT"}}}),
            ),
            format!("{source}.fileSystemPath.format: Invalid"),
        ),
        (
            collector(
                json!({"collector": {"kind": "Custom", "customCollector": {"name": "c"}}, "source": {"fileSystemPath": {"path": "x", "kind": "File"}}}),
            ),
            format!("{source}.fileSystemPath: Invalid"),
        ),
        (
            page(json!({"port": "http"})),
            format!("{source}.httpGet.port: Invalid"),
        ),
        (
            page(json!({"port": 80, "path": "metrics"})),
            format!("{source}.httpGet.path: Invalid"),
        ),
    ];
    let mut facts = ClusterFacts::default();
    facts.collectors.push("PrometheusMetric".to_owned());
    for (changes, wanted) in rows {
        let changes: Vec<(&str, Value)> = changes
            .iter()
            .map(|(at, new)| (at.as_str(), new.clone()))
            .collect();
        let refused = aggregate(&validate_create(&changed(&changes), &facts)).unwrap_or_default();
        let found = refused.starts_with(&wanted)
            || refused.contains(&format!("[{wanted}"))
            || refused.contains(&format!(", {wanted}"));
        assert!(found, "{wanted}: {refused} of {changes:?}");
    }
}

fn completed(policy: &str, reason: &str) -> Experiment {
    let mut old = changed(&[("/spec/resumePolicy", json!(policy))]);
    old.status = serde_json::from_value(json!({"trials": 6, "conditions": [
        {"type": "Succeeded", "status": "True", "reason": reason}]}))
    .unwrap();
    old
}

#[test]
fn only_the_three_counts_can_be_changed() {
    let old = changed(&[]);
    let verdict = |changes: &[(&str, Value)]| {
        aggregate(&validate_update(
            &changed(changes),
            &old,
            &ClusterFacts::default(),
        ))
    };
    let forbidden = "spec: Forbidden: only spec.parallelTrialCount, spec.maxTrialCount and spec.maxFailedTrialCount are editable";
    assert_eq!(verdict(&[]), None);
    assert_eq!(
        verdict(&[
            ("/spec/parallelTrialCount", json!(2)),
            ("/spec/maxTrialCount", json!(9)),
            ("/spec/maxFailedTrialCount", json!(1))
        ]),
        None
    );
    assert_eq!(
        verdict(&[("/spec/objective/goal", json!(0.5))]).as_deref(),
        Some(forbidden)
    );
    assert_eq!(
        verdict(&[("/spec/algorithm/algorithmName", json!("tpe"))]).as_deref(),
        Some(forbidden)
    );
}

#[test]
fn a_completed_experiment_restarts_only_by_a_larger_budget_and_policy() {
    let verdict = |old: &Experiment, max: i32| {
        let mut new = old.clone();
        new.spec.max_trial_count = Some(max);
        aggregate(&validate_update(&new, old, &ClusterFacts::default()))
    };
    let not_restartable = "spec.resumePolicy: Invalid value: \"Never\": Experiment can be restarted if it is in succeeded state by reaching max trials and spec.resumePolicy = LongRunning or spec.resumePolicy = FromVolume, when experiment is completed";
    let never = completed("Never", "ExperimentMaxTrialsReached");
    assert_eq!(verdict(&never, 12).as_deref(), Some(not_restartable));
    assert_eq!(
        verdict(&never, 5),
        Some(format!(
            "[{not_restartable}, spec.maxTrialCount: Invalid value: 5: must be greater than status.trials count]"
        ))
    );
    let running = completed("LongRunning", "ExperimentMaxTrialsReached");
    assert_eq!(verdict(&running, 12), None);
    assert!(verdict(&completed("LongRunning", "ExperimentGoalReached"), 12).is_some());
}

#[test]
fn a_namespace_needs_the_injection_label() {
    let mut labels = BTreeMap::new();
    assert_eq!(
        check_namespace("e", "n", &labels).unwrap_err(),
        "Cannot create the Experiment \"e\" in namespace \"n\": the namespace lacks label \"katib.kubeflow.org/metrics-collector-injection: enabled\""
    );
    labels.insert(LABEL_INJECTION.into(), INJECTION_ENABLED.into());
    assert_eq!(check_namespace("e", "n", &labels), Ok(()));
}
