//! What a session knows of the sandbox without asking it: where it listens, and its registry's login.

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
