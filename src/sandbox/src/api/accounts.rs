//! What Kubernetes' ServiceAccount admission does to a new pod: its account must exist; the account's pull
//! secrets become the pod's if it names none; and unless pod or account do not want it, each container finds
//! the account's token, the server's CA and the namespace mounted.

use serde_json::{Value, json};

use super::path::Target;
use super::status::ApiError;
use super::{Api, meta};

/// Where in-cluster clients look for their credentials.
pub(crate) const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Kubernetes asks for an hour and seven seconds, by which its own tokens are told from others.
const EXPIRATION: i64 = 3607;

impl Api {
    /// Admits a new pod; everything else passes as it is.
    pub(super) fn admit_service_account(
        &self,
        target: &Target,
        pod: &mut Value,
    ) -> Result<(), ApiError> {
        if target.resource.kind != "Pod" {
            return Ok(());
        }
        let account = pod["spec"]["serviceAccountName"]
            .as_str()
            .filter(|name| !name.is_empty())
            .unwrap_or("default");
        let namespace = target.namespace.as_deref().unwrap_or("");
        let Some(found) = self
            .store()
            .get("serviceaccounts", &format!("{namespace}/{account}"))
        else {
            let name = pod["metadata"]["name"].as_str().unwrap_or("");
            return Err(ApiError::forbidden(
                target.resource,
                name,
                format!(
                    "pods \"{name}\" is forbidden: error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
                ),
            ));
        };
        let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) else {
            return Ok(());
        };
        let account = found.value();
        let has_any = |list: &Value| list.as_array().is_some_and(|list| !list.is_empty());
        if has_any(&account["imagePullSecrets"]) && !has_any(&spec["imagePullSecrets"]) {
            spec["imagePullSecrets"] = account["imagePullSecrets"].clone();
        }
        let wanted = |object: &Value| object["automountServiceAccountToken"].as_bool();
        if wanted(spec).or_else(|| wanted(&account)).unwrap_or(true) {
            mount(spec);
        }
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|_, value| !value.is_null());
        }
        Ok(())
    }
}

/// Mounts the credentials into each container that has nothing at their place.
fn mount(spec: &mut Value) {
    let is_ours = |volume: &&Value| {
        volume["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("kube-api-access-"))
            && volume["projected"].is_object()
    };
    let known = spec["volumes"].as_array().into_iter().flatten();
    let known = known.clone().find(is_ours).map(|v| v["name"].clone());
    let is_new = known.is_none();
    let name = known.unwrap_or_else(|| json!(meta::generate_name("kube-api-access-")));
    let mut used = false;
    for key in ["initContainers", "containers"] {
        let containers = spec.get_mut(key).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if !container.is_object() {
                continue;
            }
            let mounts = &mut container["volumeMounts"];
            if !mounts.is_array() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else {
                continue;
            };
            if mounts.iter().all(|mount| mount["mountPath"] != MOUNT_PATH) {
                mounts.push(json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}));
                used = true;
            }
        }
    }
    if used && is_new {
        let volume = json!({"name": name, "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": EXPIRATION, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
            ],
            "defaultMode": 420,
        }});
        match spec["volumes"].as_array_mut() {
            Some(volumes) => volumes.push(volume),
            None => spec["volumes"] = json!([volume]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_finds_the_credentials_once() {
        let mut spec = json!({
            "initContainers": [{"name": "i"}],
            "containers": [{"name": "a", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}, {"name": "b"}],
            "volumes": [{"name": "own", "emptyDir": {}}],
        });
        mount(&mut spec);
        let volume = &spec["volumes"][1];
        let name = volume["name"].as_str().expect("a name").to_owned();
        assert!(name.starts_with("kube-api-access-") && name.len() == "kube-api-access-".len() + 5);
        let paths: Vec<&str> = ["token", "ca.crt", "namespace"].to_vec();
        let text = volume.to_string();
        assert!(paths.iter().all(|path| text.contains(path)), "{text}");
        let mounted = |at: &str| spec.pointer(at).map(|m| m["name"].clone());
        assert_eq!(
            mounted("/initContainers/0/volumeMounts/0"),
            Some(json!(name))
        );
        assert_eq!(mounted("/containers/0/volumeMounts/0"), Some(json!("own")));
        assert_eq!(mounted("/containers/0/volumeMounts/1"), None);
        assert_eq!(mounted("/containers/1/volumeMounts/0"), Some(json!(name)));
    }
}
