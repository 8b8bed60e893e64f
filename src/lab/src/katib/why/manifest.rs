//! What a trial's object says about its containers, whichever kind it is of.

use katlab_katib::types::Trial;
use serde_json::Value;

use crate::kubernetes::pods::ContainerState;
use crate::words::quoted;

/// All values below a key, wherever it stands.
fn below<'v>(value: &'v Value, key: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                if name == key {
                    found.push(inner);
                }
                below(inner, key, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| below(inner, key, found)),
        _ => {}
    }
}

fn all<'t>(trial: &'t Trial, key: &str) -> Vec<&'t Value> {
    let mut found = Vec::new();
    if let Some(object) = &trial.spec.run_spec {
        below(object, key, &mut found);
    }
    found
}

/// The names under imagePullSecrets.
pub(super) fn pull_secrets(trial: &Trial) -> impl Iterator<Item = &str> {
    let lists = all(trial, "imagePullSecrets").into_iter();
    let secrets = lists.filter_map(Value::as_array).flatten();
    secrets.filter_map(|secret| secret.get("name")?.as_str())
}

/// The keys that containers take from a Secret (`secretKeyRef`) or a ConfigMap (`configMapKeyRef`).
pub(super) fn keys<'t>(trial: &'t Trial, reference: &str, name: &str) -> Vec<&'t str> {
    let mut keys: Vec<&str> = all(trial, reference)
        .into_iter()
        .filter(|one| one.get("name").and_then(Value::as_str) == Some(name))
        .filter_map(|one| one.get("key")?.as_str())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The magic that runs on the engine of this machine what a container of the trial runs; `from` is what a
/// magic needs to find the trial, with a blank before.
pub(super) fn again(trial: &Trial, container: &ContainerState, from: &str) -> String {
    if container.name == trial.spec.primary_container_name {
        let trial = quoted(trial.metadata.name());
        return format!(
            "`:rerun {trial} --container{from}` runs the same on the engine of this machine"
        );
    }
    let mut lists = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|key| all(trial, key))
        .filter_map(Value::as_array);
    let image = lists.find_map(|list| {
        let one = list.iter().find(|one| one["name"] == container.name)?;
        one.get("image")?.as_str()
    });
    let image = quoted(image.unwrap_or(&container.image));
    format!(
        "`:run {image}` with the command of container {} behind it runs the same on the engine of this machine",
        container.name
    )
}
