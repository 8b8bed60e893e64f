//! Pods of trials: the labels and the environment that tie them to their trial.

use katlab_katib::names::{ENV_TRIAL_NAME, INJECTION_ENABLED, LABEL_INJECTION, LABEL_TRIAL};
use serde_json::{Map, Value, json};

use super::{Lookup, Refusal, text};

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
    add_environment(pod, text(&trial, "/spec/primaryContainerName"))
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
    let environment = &mut containers[at]["env"];
    match environment.as_array_mut() {
        Some(list) => list.push(variable),
        None => *environment = json!([variable]),
    }
    Ok(())
}
