//! What Katib fills in before it looks at an Experiment (its defaulting webhook, on create
//! and on update).

use crate::names::{DEFAULT_EVENT_DIRECTORY, DEFAULT_METRICS_FILE, DEFAULT_PARALLEL};
use crate::types::{
    CollectorKind, CollectorSpec, Distribution, ExperimentSpec, FileFormat, FileSystemKind,
    FileSystemPath, MetricStrategy, MetricsCollectorSpec, ObjectiveSpec, ObjectiveType,
    ResumePolicy, SourceSpec, StrategyType, TrialTemplate,
};
use serde_json::{Value, json};

/// Fills in everything that Katib fills in. Doing it twice changes nothing more.
pub fn set_defaults(spec: &mut ExperimentSpec) {
    spec.parallel_trial_count.get_or_insert(DEFAULT_PARALLEL);
    if spec.resume_policy.is_empty() {
        spec.resume_policy = ResumePolicy::Never;
    }
    if let Some(objective) = &mut spec.objective {
        default_strategies(objective);
    }
    if let Some(template) = &mut spec.trial_template {
        default_template(template);
    }
    default_collector(spec.metrics_collector_spec.get_or_insert_default());
    for parameter in &mut spec.parameters {
        if parameter.feasible_space.distribution.is_empty() {
            parameter.feasible_space.distribution = Distribution::Uniform;
        }
    }
}

/// The strategy Katib gives to a metric that has none: the objective's direction, for
/// additional metrics too. So a `loss` beside a maximised accuracy is judged by its maximum.
pub fn default_strategy(objective: &ObjectiveType) -> StrategyType {
    match objective {
        ObjectiveType::Minimize => StrategyType::Min,
        ObjectiveType::Maximize => StrategyType::Max,
        ObjectiveType::Other(_) => StrategyType::Latest,
    }
}

fn default_strategies(objective: &mut ObjectiveSpec) {
    let names: Vec<String> = objective.metric_names().map(str::to_owned).collect();
    for name in names {
        if objective.strategy(&name).is_none() {
            objective.metric_strategies.push(MetricStrategy {
                name,
                value: default_strategy(&objective.objective_type),
            });
        }
    }
}

/// The success and failure conditions Katib knows for a kind of job.
pub fn conditions_of_kind(kind: &str) -> Option<(String, String)> {
    let path = |word: &str| format!(r#"status.conditions.#(type=="{word}")#|#(status=="True")#"#);
    let success = match kind {
        "Job" | "TrainJob" => "Complete",
        "TFJob" | "PyTorchJob" | "XGBoostJob" | "MPIJob" => "Succeeded",
        _ => return None,
    };
    Some((path(success), path("Failed")))
}

fn default_template(template: &mut TrialTemplate) {
    let Some(kind) = template
        .trial_spec
        .as_ref()
        .and_then(|spec| spec.get("kind"))
        .and_then(Value::as_str)
    else {
        return;
    };
    let Some((success, failure)) = conditions_of_kind(kind) else {
        return;
    };
    if template.primary_pod_labels.is_empty() {
        let labels: &[(&str, &str)] = match kind {
            "Job" => &[],
            "TrainJob" => &[
                ("jobset.sigs.k8s.io/replicatedjob-name", "node"),
                ("batch.kubernetes.io/job-completion-index", "0"),
            ],
            _ => &[("training.kubeflow.org/job-role", "master")],
        };
        template.primary_pod_labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
    }
    if template.success_condition.is_empty() {
        template.success_condition = success;
    }
    if template.failure_condition.is_empty() {
        template.failure_condition = failure;
    }
}

fn default_collector(spec: &mut MetricsCollectorSpec) {
    // A collector that is written but has no kind stays so, and is refused later.
    let kind = spec
        .collector
        .get_or_insert_with(|| CollectorSpec {
            kind: CollectorKind::StdOut,
            custom_collector: None,
        })
        .kind
        .clone();
    match kind {
        CollectorKind::PrometheusMetric => {
            let source = spec.source.get_or_insert_default();
            let endpoint = source.http_get.get_or_insert_with(|| json!({}));
            default_endpoint(endpoint);
        }
        CollectorKind::File => {
            let path = file_system_path(spec.source.get_or_insert_default());
            if path.kind.is_empty() {
                path.kind = FileSystemKind::File;
            }
            if path.path.is_empty() {
                path.path = DEFAULT_METRICS_FILE.to_owned();
            }
            if path.format.is_empty() {
                path.format = FileFormat::Text;
            }
        }
        CollectorKind::TensorFlowEvent => {
            let path = file_system_path(spec.source.get_or_insert_default());
            if path.kind.is_empty() {
                path.kind = FileSystemKind::Directory;
            }
            if path.path.is_empty() {
                path.path = DEFAULT_EVENT_DIRECTORY.to_owned();
            }
        }
        CollectorKind::StdOut
        | CollectorKind::Custom
        | CollectorKind::Push
        | CollectorKind::Other(_) => {}
    }
}

fn file_system_path(source: &mut SourceSpec) -> &mut FileSystemPath {
    source.file_system_path.get_or_insert_default()
}

fn default_endpoint(endpoint: &mut Value) {
    let Value::Object(fields) = endpoint else {
        return;
    };
    let empty = |value: Option<&Value>| {
        value.is_none_or(|value| value.is_null() || value == "" || value == 0 || value == "0")
    };
    if empty(fields.get("path")) {
        fields.insert("path".into(), json!("/metrics"));
    }
    if empty(fields.get("port")) {
        fields.insert("port".into(), json!(8080));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaulted(spec: Value) -> Value {
        let mut spec: ExperimentSpec = serde_json::from_value(spec).unwrap();
        set_defaults(&mut spec);
        let once = spec.clone();
        set_defaults(&mut spec);
        assert_eq!(spec, once, "defaulting twice changes nothing more");
        serde_json::to_value(spec).unwrap()
    }

    #[test]
    fn counts_policy_and_collector_have_defaults() {
        assert_eq!(
            defaulted(json!({})),
            json!({"parallelTrialCount": 3, "resumePolicy": "Never",
                   "metricsCollectorSpec": {"collector": {"kind": "StdOut"}}})
        );
    }

    #[test]
    fn additional_metrics_take_the_direction_of_the_objective() {
        let spec = defaulted(json!({"objective": {"type": "maximize",
            "objectiveMetricName": "acc", "additionalMetricNames": ["loss", "f1"],
            "metricStrategies": [{"name": "f1", "value": "latest"}]}}));
        assert_eq!(
            spec["objective"]["metricStrategies"],
            json!([{"name": "f1", "value": "latest"}, {"name": "acc", "value": "max"},
                   {"name": "loss", "value": "max"}])
        );
        for (direction, strategy) in [("minimize", "min"), ("other", "latest")] {
            let spec =
                defaulted(json!({"objective": {"type": direction, "objectiveMetricName": "m"}}));
            let strategies = &spec["objective"]["metricStrategies"];
            assert_eq!(strategies, &json!([{"name": "m", "value": strategy}]));
        }
    }

    #[test]
    fn every_parameter_has_a_distribution() {
        let spec = defaulted(json!({"parameters": [
            {"name": "a", "parameterType": "categorical", "feasibleSpace": {"list": ["x"]}},
            {"name": "b", "parameterType": "double",
             "feasibleSpace": {"min": "1", "max": "2", "distribution": "logUniform"}}]}));
        for (place, distribution) in [(0, "uniform"), (1, "logUniform")] {
            let space = &spec["parameters"][place]["feasibleSpace"];
            assert_eq!(space["distribution"], distribution);
        }
    }

    #[test]
    fn the_kind_of_job_decides_conditions_and_labels() {
        let master = || json!({"training.kubeflow.org/job-role": "master"});
        for (kind, success, labels) in [
            ("Job", "Complete", json!(null)),
            ("TFJob", "Succeeded", master()),
            ("PyTorchJob", "Succeeded", master()),
            ("XGBoostJob", "Succeeded", master()),
            ("MPIJob", "Succeeded", master()),
            (
                "TrainJob",
                "Complete",
                json!({"jobset.sigs.k8s.io/replicatedjob-name": "node",
                       "batch.kubernetes.io/job-completion-index": "0"}),
            ),
        ] {
            let spec = defaulted(json!({"trialTemplate": {"trialSpec": {"kind": kind}}}));
            let template = &spec["trialTemplate"];
            for (condition, kind) in [
                ("successCondition", success),
                ("failureCondition", "Failed"),
            ] {
                let wanted = format!("status.conditions.#(type==\"{kind}\")#|#(status==\"True\")#");
                assert_eq!(template[condition], wanted);
            }
            assert_eq!(
                template
                    .get("primaryPodLabels")
                    .cloned()
                    .unwrap_or_default(),
                labels
            );
        }
        let own = json!({"app": "mine"});
        let kept = defaulted(json!({"trialTemplate": {"primaryPodLabels": own,
            "successCondition": "mine", "trialSpec": {"kind": "TFJob"}}}));
        assert_eq!(kept["trialTemplate"]["primaryPodLabels"], own);
        assert_eq!(kept["trialTemplate"]["successCondition"], "mine");
        let other = defaulted(json!({"trialTemplate": {"trialSpec": {"kind": "Workflow"}}}));
        assert!(other["trialTemplate"].get("successCondition").is_none());
    }

    #[test]
    fn each_collector_has_its_own_place() {
        let file = defaulted(json!({"metricsCollectorSpec": {"collector": {"kind": "File"}}}));
        assert_eq!(
            file["metricsCollectorSpec"]["source"]["fileSystemPath"],
            json!({"path": "/var/log/katib/metrics.log", "kind": "File", "format": "TEXT"})
        );
        let events =
            defaulted(json!({"metricsCollectorSpec": {"collector": {"kind": "TensorFlowEvent"}}}));
        assert_eq!(
            events["metricsCollectorSpec"]["source"]["fileSystemPath"],
            json!({"path": "/var/log/katib/tfevent/", "kind": "Directory"})
        );
        let prometheus = defaulted(json!({"metricsCollectorSpec":
            {"collector": {"kind": "PrometheusMetric"}, "source": {"httpGet": {"port": 0}}}}));
        assert_eq!(
            prometheus["metricsCollectorSpec"]["source"]["httpGet"],
            json!({"port": 8080, "path": "/metrics"})
        );
        let empty = defaulted(json!({"metricsCollectorSpec": {"collector": {}}}));
        assert_eq!(empty["metricsCollectorSpec"]["collector"], json!({}));
    }
}
