//! What a session knows of the sandbox without asking it: where it listens, and its registry's login.

use std::time::SystemTime;

use katlab_lab::home::Home;
use secrecy::SecretString;
use serde::Deserialize;

/// Settings that are known on the sandbox without being set.
pub const IMPLIED: [&str; 3] = ["REGISTRY", "REGISTRY_USERNAME", "REGISTRY_PASSWORD"];

#[derive(Deserialize)]
struct Endpoint {
    registry_host: String,
}

#[derive(Deserialize)]
struct Login {
    username: String,
    password: SecretString,
}

fn read<T: serde::de::DeserializeOwned>(home: &Home, file: &str) -> Option<T> {
    let content = std::fs::read(home.sandbox().join(file)).ok()?;
    serde_json::from_slice(&content).ok()
}

/// The value of an implied setting, once the sandbox has run.
pub fn implied(home: &Home, name: &str) -> Option<SecretString> {
    match name {
        "REGISTRY" => {
            read::<Endpoint>(home, "endpoint.json").map(|endpoint| endpoint.registry_host.into())
        }
        "REGISTRY_USERNAME" => {
            read::<Login>(home, "registry.json").map(|login| login.username.into())
        }
        "REGISTRY_PASSWORD" => read::<Login>(home, "registry.json").map(|login| login.password),
        _ => None,
    }
}

/// When the files with secrets were last written; while that stays, so do the secrets.
pub fn stamp(home: &Home) -> Vec<Option<SystemTime>> {
    let written = |file: &str| {
        std::fs::metadata(home.sandbox().join(file))
            .and_then(|file| file.modified())
            .ok()
    };
    vec![written("registry.json"), written("kubeconfig")]
}

/// The secrets of the sandbox: any cell can read the files that hold them, so they are masked like
/// all others.
pub fn secrets(home: &Home) -> Vec<SecretString> {
    let mut secrets: Vec<SecretString> = implied(home, "REGISTRY_PASSWORD").into_iter().collect();
    let kubeconfig = std::fs::read_to_string(home.sandbox().join("kubeconfig")).unwrap_or_default();
    let kubeconfig: serde_json::Value = serde_saphyr::from_str(&kubeconfig).unwrap_or_default();
    for user in kubeconfig["users"].as_array().into_iter().flatten() {
        for field in ["token", "client-key-data"] {
            secrets.extend(user["user"][field].as_str().map(SecretString::from));
        }
    }
    secrets
}
