//! What Katib and Kubernetes can do and the sandbox cannot. Each is refused by its name when
//! it is asked for, not found out when a trial hangs.

use k8s_openapi::api::core::v1::PodSpec;
use katlab_katib::template::{fill, parse_object};
use katlab_katib::types::{Experiment, ExperimentSpec};
use katlab_katib::validation::ConfigMapText;
use katlab_suggestion::ALGORITHMS;
use serde::Deserialize;
use serde_json::Value;

use super::{Refusal, text};
use crate::katib_config::KatibConfig;
use crate::runtime::refused;

/// Refuses an Experiment with an algorithm, a collector or a kind of trial that does not run
/// here. Only when it is made: one that is there must stay changeable.
pub(super) fn experiment(
    experiment: &Experiment,
    config_map: &ConfigMapText,
    config: &KatibConfig,
) -> Result<(), Refusal> {
    let spec = &experiment.spec;
    if spec.nas_config.is_some() {
        return Err(Refusal::beyond(
            "the sandbox does not search neural architectures (spec.nasConfig)",
        ));
    }
    let algorithm = spec.algorithm.clone().unwrap_or_default();
    let name = algorithm.algorithm_name.as_str();
    let is_own = config.algorithm(name).is_some();
    if !is_own && !ALGORITHMS.contains(&name) {
        return Err(Refusal::beyond(format!(
            "the sandbox runs the algorithms {} and those that ConfigMap kubeflow/katib-config gives an image, not \
             {name} (spec.algorithm.algorithmName)",
            ALGORITHMS.join(", "),
        )));
    }
    let mut settings = algorithm.algorithm_settings.iter();
    if is_own && settings.any(|one| one.name == "suggestion_trial_dir" && !one.value.is_empty()) {
        return Err(Refusal::beyond(
            "the sandbox does not mount the algorithm's volume into trials (setting suggestion_trial_dir)",
        ));
    }
    page(spec)?;
    let Some(template) = &spec.trial_template else {
        return Ok(());
    };
    match (&template.trial_spec, config_map) {
        (Some(object), _) => trial_object(object, "spec.trialTemplate.trialSpec"),
        (None, ConfigMapText::Text(text)) => {
            let values: Vec<(&str, String)> = template
                .parameters()
                .iter()
                .map(|parameter| (parameter.name.as_str(), "1".to_owned()))
                .collect();
            // What cannot be read with these values may be with others: rendering will say.
            match parse_object(&fill(text, &values)) {
                Ok(object) => trial_object(&object, "the trial template"),
                Err(_) => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Refuses a page of metrics that the trial's own pod does not offer over plain HTTP.
fn page(spec: &ExperimentSpec) -> Result<(), Refusal> {
    let collector = spec.metrics_collector_spec.as_ref();
    let source = collector.and_then(|collector| collector.source.as_ref());
    let Some(page) = source.and_then(|source| source.http_get.as_ref()) else {
        return Ok(());
    };
    let (scheme, host) = (text(page, "/scheme"), text(page, "/host"));
    let (field, value) = match (scheme, host) {
        ("" | "HTTP", "") => return Ok(()),
        ("" | "HTTP", host) => ("host", host),
        (scheme, _) => ("scheme", scheme),
    };
    Err(Refusal::beyond(format!(
        "the sandbox reads metrics from the trial's pod over plain HTTP \
         (spec.metricsCollectorSpec.source.httpGet.{field}: {value})"
    )))
}

/// Refuses a Trial whose object the sandbox does not run.
pub(super) fn trial(object: &Value) -> Result<(), Refusal> {
    match object.pointer("/spec/runSpec") {
        Some(run) if run.is_object() => trial_object(run, "spec.runSpec"),
        _ => Ok(()),
    }
}

fn trial_object(object: &Value, place: &str) -> Result<(), Refusal> {
    let (kind, api_version) = (text(object, "/kind"), text(object, "/apiVersion"));
    if kind != "Job" || api_version != "batch/v1" {
        return Err(Refusal::beyond(format!(
            "the sandbox runs trials of kind Job (batch/v1), not {kind} ({api_version}) ({place})"
        )));
    }
    job_at(object, &format!("{place}."))
}

/// Refuses to keep pods from the only node there is.
pub(super) fn node(object: &Value) -> Result<(), Refusal> {
    let spec = &object["spec"];
    let tainted = spec["taints"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    for (set, field) in [
        (spec["unschedulable"] == true, "unschedulable"),
        (tainted, "taints"),
    ] {
        if set {
            return Err(Refusal::beyond(format!(
                "the sandbox has one node, which takes every pod: it does not have spec.{field}"
            )));
        }
    }
    Ok(())
}

/// Refuses a Secret that somebody else would have to fill.
pub(super) fn secret(object: &Value) -> Result<(), Refusal> {
    const TYPE: &str = "kubernetes.io/service-account-token";
    if text(object, "/type") == TYPE && object["data"]["token"].is_null() {
        return Err(Refusal::beyond(format!(
            "the sandbox does not fill Secrets of type {TYPE}; `kubectl create token` gives a token"
        )));
    }
    Ok(())
}

/// Refuses a claim that wants a volume other than a new, empty directory.
pub(super) fn claim(object: &Value) -> Result<(), Refusal> {
    let refuse = |field: &str| {
        Err(Refusal::beyond(format!(
            "the sandbox's PersistentVolumeClaims do not have spec.{field}"
        )))
    };
    let spec = &object["spec"];
    for field in ["volumeName", "selector", "dataSource", "dataSourceRef"] {
        if !spec[field].is_null() && spec[field] != "" {
            return refuse(field);
        }
    }
    if text(spec, "/volumeMode") == "Block" {
        return refuse("volumeMode: Block");
    }
    Ok(())
}

/// Refuses a pod that wants something the runtime does not do.
pub(super) fn pod(object: &Value) -> Result<(), Refusal> {
    pod_spec(&object["spec"], "spec")
}

/// A spec that is none is for the checks that come after to tell.
fn pod_spec(spec: &Value, place: &str) -> Result<(), Refusal> {
    let fields =
        PodSpec::deserialize(spec).map_or_else(|_| Vec::new(), |spec| refused(&spec, place));
    if fields.is_empty() {
        return Ok(());
    }
    Err(Refusal::beyond(format!(
        "the sandbox does not run pods with {}",
        fields.join(", ")
    )))
}

/// Refuses a Job that wants something the Job controller or the runtime does not do.
pub(super) fn job(object: &Value) -> Result<(), Refusal> {
    job_at(object, "")
}

fn job_at(object: &Value, place: &str) -> Result<(), Refusal> {
    let Some(spec) = object.get("spec") else {
        return Ok(());
    };
    let refuse = |field: &str| {
        Err(Refusal::beyond(format!(
            "the sandbox's Jobs do not have {place}spec.{field}"
        )))
    };
    let set = |field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    for field in [
        "podFailurePolicy",
        "successPolicy",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
        "managedBy",
    ] {
        if set(field) {
            return refuse(field);
        }
    }
    if text(spec, "/completionMode") == "Indexed" {
        return refuse("completionMode: Indexed");
    }
    if text(spec, "/podReplacementPolicy") == "Failed" {
        return refuse("podReplacementPolicy: Failed");
    }
    pod_spec(
        &spec["template"]["spec"],
        &format!("{place}spec.template.spec"),
    )
}
