//! Secrets: listed without ever fetching their values, made from a registry login or from literals.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::Scope;
use super::table::{self, Query};
use crate::cluster::{Cluster, Error, Result, near_misses};

/// The type of a Secret with registry credentials.
pub const DOCKER_CONFIG: &str = "kubernetes.io/dockerconfigjson";
/// Its one key.
const DOCKER_CONFIG_KEY: &str = ".dockerconfigjson";

/// One Secret, as far as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its type, such as `Opaque`.
    pub kind: String,
    /// How many keys it holds.
    pub keys: u64,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// Lists Secrets. The server counts the keys: no value comes over the wire.
pub async fn list(cluster: &Cluster, scope: &Scope) -> Result<Vec<SecretRow>> {
    let kind = cluster.discovery().await?.kind("secrets")?;
    let table = table::read(cluster, kind, &Query::all(scope.clone())).await?;
    Ok(table
        .rows
        .iter()
        .map(|row| SecretRow {
            namespace: row.namespace().to_owned(),
            name: row.name().to_owned(),
            kind: table
                .cell(row, "type")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            keys: table.cell(row, "data").and_then(number).unwrap_or_default(),
            created: row.created(),
        })
        .collect())
}

fn number(cell: &Value) -> Option<u64> {
    cell.as_u64().or_else(|| cell.as_str()?.parse().ok())
}

/// A login at a registry.
#[derive(Clone, Debug)]
pub struct Login {
    /// The registry's host, as in image names.
    pub server: String,
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: SecretString,
    /// An address, which old registries wanted.
    pub email: Option<String>,
}

/// What a Secret is to hold.
#[derive(Clone, Debug)]
pub enum Content {
    /// Registry credentials.
    Registry(Vec<Login>),
    /// Keys and values.
    Generic(BTreeMap<String, SecretString>),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not there before.
    Created,
    /// It was there with other content.
    Updated,
    /// It was there with this very content.
    Unchanged,
}

/// Creates a Secret or brings it up to date.
///
/// # Errors
/// Beside the usual ones: a Secret of another type is there, which cannot be changed in place.
pub async fn create(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    content: &Content,
) -> Result<Outcome> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let (kind, data) = encode(content)?;
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        type_: Some(kind.to_owned()),
        data: Some(data.clone()),
        ..Secret::default()
    };
    let action = cluster
        .action("create", "secrets")
        .named(name)
        .within(namespace);
    match api
        .create(&PostParams::default(), &secret)
        .await
        .map_err(|error| Error::from_kube(error, &action))
    {
        Ok(_) => return Ok(Outcome::Created),
        Err(Error::AlreadyExists { .. }) => {}
        Err(error) => return Err(error),
    }
    let action = cluster
        .action("update", "secrets")
        .named(name)
        .within(namespace);
    let mut found = api
        .get(name)
        .await
        .map_err(|error| Error::from_kube(error, &action))?;
    let old = found.type_.clone().unwrap_or_default();
    if old != kind {
        return Err(Error::Invalid {
            action,
            reason: format!(
                "it is of type {old}, and the type of a Secret cannot change to {kind}"
            ),
        });
    }
    if found.data.as_ref() == Some(&data) {
        return Ok(Outcome::Unchanged);
    }
    // The fetched resourceVersion goes back with it: somebody else's change in between is a
    // conflict and not overwritten.
    found.data = Some(data);
    api.replace(name, &PostParams::default(), &found)
        .await
        .map_err(|error| Error::from_kube(error, &action))?;
    Ok(Outcome::Updated)
}

fn encode(content: &Content) -> Result<(&'static str, BTreeMap<String, ByteString>)> {
    use base64::Engine as _;
    match content {
        Content::Registry(logins) => {
            let auths: serde_json::Map<String, Value> = logins
                .iter()
                .map(|login| {
                    let password = login.password.expose_secret();
                    let pair = format!("{}:{password}", login.username);
                    let mut entry = json!({
                        "username": login.username,
                        "password": password,
                        "auth": base64::engine::general_purpose::STANDARD.encode(pair),
                    });
                    if let Some(email) = &login.email {
                        entry["email"] = email.clone().into();
                    }
                    (login.server.clone(), entry)
                })
                .collect();
            let text =
                serde_json::to_vec(&json!({ "auths": auths })).map_err(|error| Error::Input {
                    what: "the login".into(),
                    reason: error.to_string(),
                })?;
            Ok((
                DOCKER_CONFIG,
                BTreeMap::from([(DOCKER_CONFIG_KEY.to_owned(), ByteString(text))]),
            ))
        }
        Content::Generic(values) => {
            for key in values.keys() {
                let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
                if key.is_empty() || key.len() > 253 || !key.chars().all(allowed) {
                    return Err(Error::Input {
                        what: format!("the key {key:?}"),
                        reason: "keys of a Secret hold letters, digits, '-', '_' and '.' only"
                            .into(),
                    });
                }
            }
            let data = values
                .iter()
                .map(|(key, value)| {
                    (
                        key.clone(),
                        ByteString(value.expose_secret().as_bytes().to_vec()),
                    )
                })
                .collect();
            Ok(("Opaque", data))
        }
    }
}

/// Lists those Secrets that are meant, in that order.
///
/// # Errors
/// One of them does not exist; it comes with near misses.
pub async fn named(cluster: &Cluster, namespace: &str, names: &[String]) -> Result<Vec<SecretRow>> {
    let found = list(cluster, &namespace.into()).await?;
    let find = |name: &String| {
        let row = found.iter().find(|row| row.name == *name).cloned();
        row.ok_or_else(|| Error::NotFound {
            action: cluster
                .action("get", "secrets")
                .named(name)
                .within(namespace),
            near: near_misses(name, found.iter().map(|row| row.name.as_str())),
        })
    };
    names.iter().map(find).collect()
}

/// Deletes a Secret.
pub async fn delete(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let action = cluster
        .action("delete", "secrets")
        .named(name)
        .within(namespace);
    match api.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = Error::from_kube(error, &action);
            let kind = cluster.discovery().await?.kind("secrets")?;
            Err(super::objects::explain(cluster, kind, Some(namespace), error).await)
        }
    }
}

/// What a Secret is good for when images are pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullSecret {
    /// It holds credentials for these registries.
    For(Vec<String>),
    /// It is there, but holds no registry credentials.
    OtherType(String),
    /// It is not there.
    Missing,
    /// We may not look.
    Hidden,
}

/// Looks at a pull Secret; only the registries' names leave this function.
pub async fn pull_secret(cluster: &Cluster, namespace: &str, name: &str) -> Result<PullSecret> {
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), namespace);
    let action = cluster
        .action("get", "secrets")
        .named(name)
        .within(namespace);
    let secret = match api
        .get(name)
        .await
        .map_err(|error| Error::from_kube(error, &action))
    {
        Ok(secret) => secret,
        Err(Error::NotFound { .. }) => return Ok(PullSecret::Missing),
        Err(Error::Forbidden { .. }) => return Ok(PullSecret::Hidden),
        Err(error) => return Err(error),
    };
    let kind = secret.type_.unwrap_or_default();
    if kind != DOCKER_CONFIG && kind != "kubernetes.io/dockercfg" {
        return Ok(PullSecret::OtherType(kind));
    }
    let data = secret.data.unwrap_or_default();
    let parse = |key: &str| {
        data.get(key)
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes.0).ok())
    };
    let auths = match parse(DOCKER_CONFIG_KEY) {
        Some(mut config) => config.get_mut("auths").map(Value::take),
        None => parse(".dockercfg"),
    };
    let hosts = auths
        .and_then(|auths| Some(auths.as_object()?.keys().cloned().collect()))
        .unwrap_or_default();
    Ok(PullSecret::For(hosts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_secret_is_what_kubectl_makes() {
        let login = Login {
            server: "registry.example".into(),
            username: "me".into(),
            password: SecretString::from("hush"),
            email: Some("me@example".into()),
        };
        let (kind, data) = encode(&Content::Registry(vec![login])).unwrap();
        assert_eq!(kind, DOCKER_CONFIG);
        let config: Value = serde_json::from_slice(&data[DOCKER_CONFIG_KEY].0).unwrap();
        assert_eq!(
            config,
            json!({"auths": {"registry.example": {
                "username": "me", "password": "hush", "auth": "bWU6aHVzaA==", "email": "me@example"}}})
        );
    }

    #[test]
    fn a_key_that_kubernetes_refuses_is_refused_here_by_name() {
        let content = Content::Generic(BTreeMap::from([(
            "a b".to_owned(),
            SecretString::from("x"),
        )]));
        assert!(
            encode(&content)
                .unwrap_err()
                .to_string()
                .contains("\"a b\"")
        );
    }
}
