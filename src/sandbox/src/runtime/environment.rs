//! A container's environment: values, field references, ConfigMaps and Secrets.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, Secret};
use kube::{Api, Client, ResourceExt};

use super::expansion::expanded;
use super::quantity;

/// Why a container's configuration cannot be put together. Kubernetes' words, since people search them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("{kind} \"{name}\" not found")]
    Missing { kind: &'static str, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    Key {
        kind: &'static str,
        namespace: String,
        name: String,
        key: String,
    },
    #[error("{0}")]
    Other(String),
}

/// ConfigMaps and Secrets of one namespace, each read at most once per start of a container.
pub(super) struct Sources {
    client: Client,
    namespace: String,
    /// Whether the binary data of ConfigMaps counts: for files, not for an environment.
    binary: bool,
    maps: HashMap<String, Option<BTreeMap<String, Vec<u8>>>>,
    secrets: HashMap<String, Option<BTreeMap<String, Vec<u8>>>>,
}

type Found<'a> = Option<&'a BTreeMap<String, Vec<u8>>>;

impl Sources {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
            binary: true,
            maps: HashMap::new(),
            secrets: HashMap::new(),
        }
    }

    /// For variables of an environment.
    pub(super) fn of_text(client: Client, namespace: &str) -> Self {
        Self {
            binary: false,
            ..Self::new(client, namespace)
        }
    }

    fn failed(kind: &str, name: &str, error: &kube::Error) -> ConfigError {
        ConfigError::Other(format!("cannot read {kind} \"{name}\": {error}"))
    }

    /// The client and the namespace that things are read with.
    pub(super) fn client(&self) -> (&Client, &str) {
        (&self.client, &self.namespace)
    }

    pub(super) async fn config_map(&mut self, name: &str) -> Result<Found<'_>, ConfigError> {
        if !self.maps.contains_key(name) {
            let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
            let found = api
                .get_opt(name)
                .await
                .map_err(|error| Self::failed("configmap", name, &error))?;
            let data = found.map(|map| {
                let text = map.data.unwrap_or_default().into_iter();
                let binary = map.binary_data.filter(|_| self.binary);
                let binary = binary.unwrap_or_default().into_iter();
                text.map(|(key, value)| (key, value.into_bytes()))
                    .chain(binary.map(|(key, value)| (key, value.0)))
                    .collect()
            });
            self.maps.insert(name.to_owned(), data);
        }
        Ok(self.maps.get(name).and_then(Option::as_ref))
    }

    pub(super) async fn secret(&mut self, name: &str) -> Result<Found<'_>, ConfigError> {
        if !self.secrets.contains_key(name) {
            let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
            let found = api
                .get_opt(name)
                .await
                .map_err(|error| Self::failed("secret", name, &error))?;
            let data = found.map(|secret| {
                let data = secret.data.unwrap_or_default().into_iter();
                data.map(|(key, value)| (key, value.0)).collect()
            });
            self.secrets.insert(name.to_owned(), data);
        }
        Ok(self.secrets.get(name).and_then(Option::as_ref))
    }
}

/// What a `fieldRef` path names. `None` for a path the sandbox cannot answer.
pub(super) fn field(pod: &Pod, path: &str, place: &Place<'_>) -> Option<String> {
    let keyed = |prefix: &str| {
        path.strip_prefix(prefix)?
            .strip_prefix("['")?
            .strip_suffix("']")
    };
    if let Some(key) = keyed("metadata.labels") {
        return Some(pod.labels().get(key).cloned().unwrap_or_default());
    }
    if let Some(key) = keyed("metadata.annotations") {
        return Some(pod.annotations().get(key).cloned().unwrap_or_default());
    }
    let spec = pod.spec.as_ref();
    match path {
        "metadata.name" => Some(pod.name_any()),
        "metadata.namespace" => pod.namespace(),
        "metadata.uid" => pod.uid(),
        "spec.nodeName" => Some(place.node.to_owned()),
        "spec.serviceAccountName" => Some(
            spec.and_then(|spec| spec.service_account_name.clone())
                .unwrap_or_else(|| "default".into()),
        ),
        "status.hostIP" | "status.hostIPs" => Some(place.host_ip.to_owned()),
        "status.podIP" | "status.podIPs" => place.pod_ip.map(str::to_owned),
        _ => None,
    }
}

/// `limits.cpu` and the like, divided and rounded up as Kubernetes does.
pub(super) fn resource_field(
    container: &Container,
    path: &str,
    divisor: Option<&str>,
) -> Option<String> {
    let (group, name) = path.split_once('.')?;
    let resources = container.resources.as_ref()?;
    let amounts = match group {
        "limits" => resources.limits.as_ref(),
        "requests" => resources.requests.as_ref(),
        _ => None,
    }?;
    let amount = quantity::thousandths(&amounts.get(name)?.0)?;
    let divisor = match divisor {
        None | Some("" | "0") => 1000,
        Some(text) => quantity::thousandths(text)?,
    };
    (divisor > 0).then(|| ((amount + divisor - 1) / divisor).to_string())
}

/// Where the values that are the node's come from, and the pod's address if it is known.
pub(super) struct Place<'a> {
    pub(super) node: &'a str,
    pub(super) host_ip: &'a str,
    pub(super) pod_ip: Option<&'a str>,
    /// What every container is told about the API server, which its own variables may replace.
    pub(super) services: &'a [(String, String)],
}

/// The environment in the order of its definition, a later name taking an earlier one's place.
pub(super) async fn resolve(
    sources: &mut Sources,
    pod: &Pod,
    container: &Container,
    place: &Place<'_>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut known: Vec<(String, String)> = place.services.to_vec();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(map), _) => ("configmap", &map.name, map.optional),
            (None, Some(secret)) => ("secret", &secret.name, secret.optional),
            (None, None) => continue,
        };
        let data = if kind == "configmap" {
            sources.config_map(name).await?
        } else {
            sources.secret(name).await?
        };
        match data {
            Some(data) => {
                for (key, value) in data {
                    let value = String::from_utf8_lossy(value).into_owned();
                    set(&mut known, format!("{prefix}{key}"), value);
                }
            }
            None if optional == Some(true) => {}
            None => {
                return Err(ConfigError::Missing {
                    kind,
                    name: name.clone(),
                });
            }
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match &variable.value_from {
            None => {
                let text = variable.value.as_deref().unwrap_or_default();
                Some(expanded(text, |name| lookup(&known, name)))
            }
            Some(_) => referenced(sources, pod, container, place, variable).await?,
        };
        if let Some(value) = value {
            set(&mut known, variable.name.clone(), value);
        }
    }
    Ok(known)
}

async fn referenced(
    sources: &mut Sources,
    pod: &Pod,
    container: &Container,
    place: &Place<'_>,
    variable: &EnvVar,
) -> Result<Option<String>, ConfigError> {
    let Some(from) = &variable.value_from else {
        return Ok(None);
    };
    if let Some(reference) = &from.field_ref {
        return field(pod, &reference.field_path, place)
            .map(Some)
            .ok_or_else(|| {
                ConfigError::Other(format!(
                    "the sandbox has no value for fieldRef {}",
                    reference.field_path
                ))
            });
    }
    if let Some(reference) = &from.resource_field_ref {
        let divisor = reference.divisor.as_ref().map(|divisor| divisor.0.as_str());
        return resource_field(container, &reference.resource, divisor)
            .map(Some)
            .ok_or_else(|| {
                ConfigError::Other(format!(
                    "container {} has no {} for resourceFieldRef",
                    container.name, reference.resource
                ))
            });
    }
    let (kind, name, key, optional) = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(map), _) => ("configmap", &map.name, &map.key, map.optional),
        (None, Some(secret)) => ("secret", &secret.name, &secret.key, secret.optional),
        (None, None) => {
            return Err(ConfigError::Other(format!(
                "the sandbox does not know the source of variable {}",
                variable.name
            )));
        }
    };
    let namespace = sources.namespace.clone();
    let data = if kind == "configmap" {
        sources.config_map(name).await?
    } else {
        sources.secret(name).await?
    };
    let optional = optional == Some(true);
    match data.map(|data| data.get(key)) {
        Some(Some(value)) => Ok(Some(String::from_utf8_lossy(value).into_owned())),
        _ if optional => Ok(None),
        Some(None) => Err(ConfigError::Key {
            kind: if kind == "configmap" {
                "ConfigMap"
            } else {
                "Secret"
            },
            namespace,
            name: name.clone(),
            key: key.clone(),
        }),
        None => Err(ConfigError::Missing {
            kind,
            name: name.clone(),
        }),
    }
}

pub(super) fn lookup(known: &[(String, String)], name: &str) -> Option<String> {
    let found = known.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.clone())
}

fn set(known: &mut Vec<(String, String)>, name: String, value: String) {
    match known.iter_mut().find(|(known, _)| *known == name) {
        Some(entry) => entry.1 = value,
        None => known.push((name, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn field_references_read_labels_by_their_whole_key() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "lab", "uid": "u",
                         "labels": {"katib.kubeflow.org/trial": "t"}},
            "spec": {"containers": []},
        }))
        .expect("pod");
        let place = |pod_ip| Place {
            node: "node",
            host_ip: "127.0.0.1",
            pod_ip,
            services: &[],
        };
        let of = |path: &str| field(&pod, path, &place(None));
        assert_eq!(
            of("metadata.labels['katib.kubeflow.org/trial']"),
            Some("t".into())
        );
        assert_eq!(of("metadata.labels['none']"), Some(String::new()));
        assert_eq!(of("metadata.namespace"), Some("lab".into()));
        assert_eq!(of("spec.serviceAccountName"), Some("default".into()));
        assert_eq!(of("status.podIP"), None);
        let address = field(&pod, "status.podIP", &place(Some("172.17.0.2")));
        assert_eq!(address, Some("172.17.0.2".into()));
    }

    #[test]
    fn resource_fields_are_divided_and_rounded_up() {
        let container: Container = serde_json::from_value(json!({
            "name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "100Mi"}},
        }))
        .expect("container");
        let of = |path: &str, divisor| resource_field(&container, path, divisor);
        assert_eq!(of("limits.cpu", None), Some("2".into()));
        assert_eq!(of("limits.cpu", Some("1m")), Some("1500".into()));
        assert_eq!(of("limits.memory", Some("1Mi")), Some("100".into()));
        assert_eq!(of("requests.cpu", None), None);
    }
}
