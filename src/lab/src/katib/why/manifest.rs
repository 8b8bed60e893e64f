//! What a trial's object says about its containers, whichever kind it is of.

use katlab_katib::types::Trial;
use serde_json::Value;

use crate::kubernetes::pods::ContainerState;
use crate::words::quoted;

/// A longer command is not written out.
const LINE: usize = 160;

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

/// The magic that runs on the engine of this machine what a container of the trial runs.
pub(super) fn again(trial: &Trial, container: &ContainerState) -> String {
    let lists = ["containers", "initContainers"].map(|key| all(trial, key));
    let spec = lists
        .iter()
        .flatten()
        .filter_map(|list| list.as_array())
        .flatten()
        .find(|one| one.get("name").and_then(Value::as_str) == Some(&container.name));
    let text = |key: &str| spec.and_then(|spec| spec.get(key)?.as_str());
    let image = quoted(text("image").unwrap_or(&container.image));
    let words = |key: &str| -> Vec<String> {
        let list = spec.and_then(|spec| spec.get(key)?.as_array());
        let words = list.into_iter().flatten().filter_map(Value::as_str);
        words.map(quoted).collect()
    };
    let (command, arguments) = (words("command"), words("args"));
    // As in a pod, the command takes the place of the image's entrypoint.
    let line = match command.split_first() {
        Some((program, rest)) => format!(
            ":run --entrypoint {program} {}",
            [std::slice::from_ref(&image), rest, &arguments]
                .concat()
                .join(" ")
        ),
        None => format!(
            ":run {}",
            [std::slice::from_ref(&image), &arguments]
                .concat()
                .join(" ")
        ),
    };
    if line.contains('\n') || line.chars().count() > LINE {
        format!(
            "`:run {image}` with the template's command behind it runs the same on the engine of this machine"
        )
    } else {
        format!("`{line}` runs the same on the engine of this machine")
    }
}
