//! What an experiment was asked to do: objective, algorithm, search space, template, collector.

use katlab_katib::types::Experiment;
use serde_json::Value as Json;

/// The container that trains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Training {
    /// Its name.
    pub container: String,
    /// Its image.
    pub image: String,
    /// Its command and arguments, as written.
    pub command: Vec<String>,
    /// Requests and limits, such as `limits.memory`.
    pub resources: Vec<(String, String)>,
    /// Pull secrets of the pod.
    pub pull_secrets: Vec<String>,
}

/// The pod template inside a trial template, where the kind has one we know.
pub fn pod_spec(experiment: &Experiment) -> Option<&Json> {
    let spec = experiment
        .spec
        .trial_template
        .as_ref()?
        .trial_spec
        .as_ref()?;
    spec.pointer("/spec/template/spec")
}

/// The container that trains, by `primaryContainerName`.
pub fn training(experiment: &Experiment) -> Option<Training> {
    let pod = pod_spec(experiment)?;
    let name = &experiment
        .spec
        .trial_template
        .as_ref()?
        .primary_container_name;
    let containers = pod.get("containers")?.as_array()?;
    let text = |value: &Json, field: &str| {
        value
            .get(field)
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let container = containers.iter().find(|one| text(one, "name") == *name)?;
    let words = |field: &str| -> Vec<String> {
        let list = container.get(field).and_then(Json::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|word| word.as_str().map(str::to_owned))
            .collect()
    };
    let mut resources = Vec::new();
    for part in ["requests", "limits"] {
        let quantities = container
            .pointer(&format!("/resources/{part}"))
            .and_then(Json::as_object);
        for (resource, quantity) in quantities.into_iter().flatten() {
            let quantity = quantity
                .as_str()
                .map_or_else(|| quantity.to_string(), str::to_owned);
            resources.push((format!("{part}.{resource}"), quantity));
        }
    }
    Some(Training {
        container: name.clone(),
        image: text(container, "image"),
        command: [words("command"), words("args")].concat(),
        resources,
        pull_secrets: pull_secrets(pod),
    })
}

/// The names of a pod's pull secrets.
pub fn pull_secrets(pod: &Json) -> Vec<String> {
    let list = pod.get("imagePullSecrets").and_then(Json::as_array);
    list.into_iter()
        .flatten()
        .filter_map(|one| Some(one.get("name")?.as_str()?.to_owned()))
        .collect()
}

/// The images of a pod's containers.
pub fn images(pod: &Json) -> Vec<String> {
    let mut images = Vec::new();
    for part in ["initContainers", "containers"] {
        let containers = pod.get(part).and_then(Json::as_array).into_iter().flatten();
        for image in containers.filter_map(|one| one.get("image")?.as_str()) {
            if !images.iter().any(|known| known == image) {
                images.push(image.to_owned());
            }
        }
    }
    images
}
