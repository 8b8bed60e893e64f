//! Pods of trials: the labels and the environment that tie them to their trial, and what their collector needs.
//!
//! # Deliberate differences from Katib
//!
//! - There is no collector container for `StdOut`, `File`, `TensorFlowEvent` and `PrometheusMetric`, and the command is
//!   not wrapped: the runtime collects. The volume at the place of the metrics is there as in Katib.
//! - The containers of a pod with a `Custom` collector do not share their processes: the collector has to see the end
//!   of the training in the volume, or on the network.

use katlab_katib::names::{ENV_TRIAL_NAME, INJECTION_ENABLED, LABEL_INJECTION, LABEL_TRIAL};
use serde_json::{Map, Value, json};

use super::{Lookup, Refusal, text};
use crate::resources;

const MUTATOR: &str = "mutator.pod.katib.kubeflow.org";
const TRIAL_VERSION: &str = "kubeflow.org/v1beta1";
/// Owners looked through on the way up: a pod, its Job, its Trial, and room for more.
const MOST_OWNERS: usize = 8;

/// Marks a pod that belongs to a trial; leaves all others as they are.
pub(super) fn admit(
    pod: &mut Value,
    namespace: Option<&Value>,
    objects: &dyn Lookup,
) -> Result<(), Refusal> {
    let labels = namespace.and_then(|namespace| namespace.pointer("/metadata/labels"));
    let injection = labels.and_then(|labels| labels.get(LABEL_INJECTION));
    if injection.and_then(Value::as_str) != Some(INJECTION_ENABLED) {
        return Ok(());
    }
    let namespace = text(pod, "/metadata/namespace").to_owned();
    let Some(name) = trial_of(pod, &namespace, objects, MOST_OWNERS) else {
        return Ok(());
    };
    let Some(trial) = objects.get(TRIAL_VERSION, "Trial", &namespace, &name) else {
        return Err(Refusal {
            code: 500,
            ..Refusal::new(MUTATOR, format!("Trial {namespace}/{name} not found"))
        });
    };
    add_labels(pod, &trial, &name);
    let primary = text(&trial, "/spec/primaryContainerName");
    add_environment(pod, primary)?;
    if has_primary_labels(pod, &trial) {
        add_collector(pod, &trial, primary);
    }
    Ok(())
}

/// Whether the metrics of this pod count. A Trial without such labels takes every pod.
fn has_primary_labels(pod: &Value, trial: &Value) -> bool {
    let wanted = trial
        .pointer("/spec/primaryPodLabels")
        .and_then(Value::as_object);
    let labels = &pod["metadata"]["labels"];
    wanted
        .into_iter()
        .flatten()
        .all(|(label, value)| &labels[label] == value)
}

/// Adds the user's collector, and the volume in which metrics are exchanged: mounted at the directory, or at that of
/// the file.
fn add_collector(pod: &mut Value, trial: &Value, primary: &str) {
    const VOLUME: &str = "metrics-volume";
    let collector = &trial["spec"]["metricsCollector"];
    let kind = text(collector, "/collector/kind");
    let mut mounting = vec![primary.to_owned()];
    if kind == "Custom"
        && let Some(container) = collector.pointer("/collector/customCollector")
        && let Some(containers) = pod["spec"]["containers"].as_array_mut()
    {
        containers.push(container.clone());
        mounting.push(text(container, "/name").to_owned());
        // A collector waits for the training by its process, as Katib's own does.
        pod["spec"]["shareProcessNamespace"] = json!(true);
        // The API server fills in what a webhook leaves out.
        if let Some(pods) = resources::find("", "v1", "pods") {
            (pods.kind_rules.defaults)(pod);
        }
    }
    let path = text(collector, "/source/fileSystemPath/path");
    let place = match text(collector, "/source/fileSystemPath/kind") {
        "Directory" => path,
        _ => path.rsplit_once('/').map_or("", |(directory, _)| directory),
    };
    if !["File", "TensorFlowEvent", "Custom"].contains(&kind) || place.is_empty() {
        return;
    }
    append(
        &mut pod["spec"]["volumes"],
        json!({"name": VOLUME, "emptyDir": {}}),
    );
    let containers = pod["spec"]["containers"].as_array_mut();
    for container in containers.into_iter().flatten() {
        if mounting.iter().any(|name| name == text(container, "/name")) {
            let mount = json!({"name": VOLUME, "mountPath": place});
            append(&mut container["volumeMounts"], mount);
        }
    }
}

fn append(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(list) => list.push(item),
        None => *list = json!([item]),
    }
}

/// The name of the Trial an object belongs to, straight or through its owners. What a Trial
/// owns has the Trial's name; anything else is not its job.
fn trial_of(object: &Value, namespace: &str, objects: &dyn Lookup, depth: usize) -> Option<String> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    for owner in owners {
        let (kind, name) = (text(owner, "/kind"), text(owner, "/name"));
        let version = text(owner, "/apiVersion");
        if kind == "Trial" && version == TRIAL_VERSION {
            if text(object, "/metadata/name") == name {
                return Some(name.to_owned());
            }
        } else if depth > 0
            && let Some(owner) = objects.get(version, kind, namespace, name)
            && let Some(found) = trial_of(&owner, namespace, objects, depth - 1)
        {
            return Some(found);
        }
    }
    None
}

fn add_labels(pod: &mut Value, trial: &Value, name: &str) {
    let labels = &mut pod["metadata"]["labels"];
    if !labels.is_object() {
        *labels = Value::Object(Map::new());
    }
    if let Some(more) = trial.pointer("/metadata/labels").and_then(Value::as_object) {
        for (label, value) in more {
            labels[label] = value.clone();
        }
    }
    labels[LABEL_TRIAL] = name.into();
}

fn add_environment(pod: &mut Value, primary: &str) -> Result<(), Refusal> {
    let containers = pod
        .pointer_mut("/spec/containers")
        .and_then(Value::as_array_mut);
    let containers = containers.map_or(&mut [][..], Vec::as_mut_slice);
    let names: Vec<String> = containers
        .iter()
        .map(|container| text(container, "/name").to_owned())
        .collect();
    let Some(at) = names.iter().position(|name| name == primary) else {
        return Err(Refusal::new(
            MUTATOR,
            format!(
                "Unable to find primary container {primary} in mutated pod containers [{}]",
                names.join(" ")
            ),
        ));
    };
    let variable = json!({
        "name": ENV_TRIAL_NAME,
        "valueFrom": {"fieldRef": {
            "apiVersion": "v1", "fieldPath": format!("metadata.labels['{LABEL_TRIAL}']")}}
    });
    append(&mut containers[at]["env"], variable);
    Ok(())
}
