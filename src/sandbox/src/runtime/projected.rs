//! Volumes whose files come from several sources, and from the pod itself: `projected` and `downwardAPI`.

use std::collections::BTreeMap;
use std::path::{Component, PathBuf};

use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, Pod, ProjectedVolumeSource, ServiceAccount,
    ServiceAccountTokenProjection,
};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};

use super::container::named;
use super::environment::{ConfigError, Place, Sources, field, resource_field};
use super::volume::{Entry, Keyed, keyed};

/// How long a token in a volume lives at least, in seconds. It ends with its pod, so there is no need to renew it
/// while the pod runs; Kubernetes lets its own live as long, for clients that read them once.
const LIFETIME: i64 = 365 * 24 * 3600;

/// The files of all sources; later ones take the place of earlier ones of their path.
pub(super) async fn files(
    sources: &mut Sources,
    pod: &Pod,
    place: &Place<'_>,
    projected: &ProjectedVolumeSource,
) -> Result<Vec<Entry>, ConfigError> {
    let mode = projected.default_mode;
    let mut files: BTreeMap<PathBuf, Entry> = BTreeMap::new();
    for source in projected.sources.iter().flatten() {
        let mut found = Vec::new();
        if let Some(map) = &source.config_map {
            let from = Keyed::map(&map.name, map.items.as_deref(), map.optional);
            found.extend(keyed(sources, from, mode).await?);
        }
        if let Some(secret) = &source.secret {
            let from = Keyed::secret(&secret.name, secret.items.as_deref(), secret.optional);
            found.extend(keyed(sources, from, mode).await?);
        }
        if let Some(downward) = &source.downward_api {
            let items = downward.items.as_deref().unwrap_or_default();
            found.extend(self::downward(pod, place, items, mode)?);
        }
        if let Some(wanted) = &source.service_account_token {
            let (client, namespace) = sources.client();
            found.push(Entry {
                path: inside(&wanted.path)?,
                content: token(client, namespace, pod, wanted).await?.into_bytes(),
                mode: mode.map_or(0o644, |mode| mode as u32),
            });
        }
        files.extend(found.into_iter().map(|file| (file.path.clone(), file)));
    }
    Ok(files.into_values().collect())
}

/// The files that tell about the pod itself.
pub(super) fn downward(
    pod: &Pod,
    place: &Place<'_>,
    items: &[DownwardAPIVolumeFile],
    mode: Option<i32>,
) -> Result<Vec<Entry>, ConfigError> {
    let file = |item: &DownwardAPIVolumeFile| {
        let content = if let Some(reference) = &item.field_ref {
            match reference.field_path.as_str() {
                "metadata.labels" => Some(lines(pod.labels())),
                "metadata.annotations" => Some(lines(pod.annotations())),
                path => field(pod, path, place),
            }
        } else if let Some(reference) = &item.resource_field_ref {
            let divisor = reference.divisor.as_ref().map(|divisor| divisor.0.as_str());
            reference
                .container_name
                .as_deref()
                .and_then(|name| named(pod, name))
                .and_then(|container| resource_field(container, &reference.resource, divisor))
        } else {
            None
        };
        let content = content.ok_or_else(|| {
            ConfigError::Other(format!(
                "the sandbox has no value for the downwardAPI item {}",
                item.path
            ))
        })?;
        Ok(Entry {
            path: inside(&item.path)?,
            content: content.into_bytes(),
            mode: item.mode.or(mode).map_or(0o644, |mode| mode as u32),
        })
    };
    items.iter().map(file).collect()
}

/// `key="value"` lines, as Kubernetes writes maps.
fn lines(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    lines.join("\n")
}

/// A path that stays within its volume.
pub(super) fn inside(path: &str) -> Result<PathBuf, ConfigError> {
    let path = PathBuf::from(path);
    let stays = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if stays && path.components().next().is_some() {
        return Ok(path);
    }
    Err(ConfigError::Other(format!(
        "path {path:?} leaves the volume"
    )))
}

/// A token of the pod's service account, bound to the pod.
async fn token(
    client: &Client,
    namespace: &str,
    pod: &Pod,
    wanted: &ServiceAccountTokenProjection,
) -> Result<String, ConfigError> {
    let spec = pod.spec.as_ref();
    let account = spec
        .and_then(|spec| spec.service_account_name.clone())
        .unwrap_or_else(|| "default".to_owned());
    let request = TokenRequest {
        spec: Some(TokenRequestSpec {
            audiences: wanted.audience.clone().map(|audience| vec![audience]),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: pod.metadata.name.clone(),
                uid: pod.uid(),
            }),
            expiration_seconds: Some(wanted.expiration_seconds.unwrap_or(0).max(LIFETIME)),
        }),
        ..TokenRequest::default()
    };
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let failed = |why: String| {
        ConfigError::Other(format!(
            "failed to fetch token of service account {account}: {why}"
        ))
    };
    let answer = api
        .create_token_request(&account, &PostParams::default(), &request)
        .await
        .map_err(|error| match error {
            kube::Error::Api(status) => failed(status.message),
            error => failed(error.to_string()),
        })?;
    answer
        .status
        .and_then(|status| status.token)
        .ok_or_else(|| failed("the answer holds none".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_is_told_about_itself() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "lab", "labels": {"b": "2", "a": "say \"1\""}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}}}]},
        }))
        .expect("pod");
        let place = Place {
            node: "node",
            host_ip: "127.0.0.1",
            pod_ip: None,
            services: &[],
        };
        let told = |item: serde_json::Value| {
            let items = [serde_json::from_value(item).expect("item")];
            downward(&pod, &place, &items, Some(0o600))
        };
        let text = |item: serde_json::Value| {
            let mut files = told(item).expect("file");
            String::from_utf8(files.remove(0).content).expect("text")
        };
        let field = |path: &str| json!({"path": "f", "fieldRef": {"fieldPath": path}});
        assert_eq!(
            text(field("metadata.labels")),
            "a=\"say \\\"1\\\"\"\nb=\"2\""
        );
        assert_eq!(text(field("metadata.namespace")), "lab");
        let cpu = json!({"path": "f", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}});
        assert_eq!(text(cpu), "2");
        assert_eq!(told(field("metadata.name")).expect("file")[0].mode, 0o600);
        assert!(told(field("status.podIP")).is_err());
        let out = json!({"path": "../f", "fieldRef": {"fieldPath": "metadata.name"}});
        assert!(told(out).is_err());
    }
}
