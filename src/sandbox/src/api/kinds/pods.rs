//! Pods: Kubernetes' defaults, what the server sets, and what may change.

mod check;

use serde_json::{Value, json};

use super::super::status::FieldError;
use super::quantity::{self, Quantity};
use super::{list, set_default};

pub(super) use check::check_spec;

fn image_policy(image: &str) -> &'static str {
    // A digest or any tag but `latest` may come from the node.
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains('@') {
        return "IfNotPresent";
    }
    match name.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

fn container_defaults(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    for env in container["env"].as_array_mut().into_iter().flatten() {
        if let Some(field) = env.pointer_mut("/valueFrom/fieldRef") {
            set_default(field, "apiVersion", json!("v1"));
        }
    }
    for port in container["ports"].as_array_mut().into_iter().flatten() {
        set_default(port, "protocol", json!("TCP"));
    }
    quantity::canonical_resources(&mut container["resources"]);
    let resources = container["resources"].take();
    if let Some(map) = container.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
    container["resources"] = if resources.is_object() {
        resources
    } else {
        json!({})
    };
    // Requests default to limits.
    let limits = container["resources"]["limits"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    for (name, amount) in limits {
        if container["resources"]["requests"].get(&name).is_none() {
            container["resources"]["requests"][&name] = amount;
        }
    }
    if let Some(map) = container["resources"].as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
    let policy = image_policy(container["image"].as_str().unwrap_or(""));
    set_default(
        container,
        "terminationMessagePath",
        json!("/dev/termination-log"),
    );
    set_default(container, "terminationMessagePolicy", json!("File"));
    set_default(container, "imagePullPolicy", json!(policy));
}

fn downward_defaults(source: &mut Value) {
    let items = source.get_mut("items").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten() {
        if let Some(field) = item.get_mut("fieldRef") {
            set_default(field, "apiVersion", json!("v1"));
        }
    }
}

/// Defaults of a pod's spec, also of a job's template.
pub(super) fn spec_defaults(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    for key in ["containers", "initContainers"] {
        for container in spec[key].as_array_mut().into_iter().flatten() {
            container_defaults(container);
        }
    }
    for volume in spec["volumes"].as_array_mut().into_iter().flatten() {
        for key in ["secret", "configMap", "projected", "downwardAPI"] {
            if let Some(source) = volume.get_mut(key).filter(|v| v.is_object()) {
                set_default(source, "defaultMode", json!(420));
            }
        }
        if let Some(source) = volume.get_mut("downwardAPI") {
            downward_defaults(source);
        }
        let sources = volume.pointer_mut("/projected/sources");
        for source in sources.and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(token) = source.get_mut("serviceAccountToken") {
                set_default(token, "expirationSeconds", json!(3600));
            }
            if let Some(source) = source.get_mut("downwardAPI") {
                downward_defaults(source);
            }
        }
        if let Some(source) = volume.get_mut("hostPath").filter(|v| v.is_object()) {
            set_default(source, "type", json!(""));
        }
    }
    if let Some(map) = spec.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
    set_default(spec, "terminationGracePeriodSeconds", json!(30));
    set_default(spec, "dnsPolicy", json!("ClusterFirst"));
    set_default(spec, "securityContext", json!({}));
    set_default(spec, "schedulerName", json!("default-scheduler"));
    // Two names of one field, kept equal.
    let account = spec["serviceAccountName"]
        .as_str()
        .or(spec["serviceAccount"].as_str());
    if let Some(account) = account.filter(|a| !a.is_empty()).map(str::to_owned) {
        spec["serviceAccountName"] = json!(account);
        spec["serviceAccount"] = json!(account);
    }
    if let Some(map) = spec.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
}

pub(super) fn defaults(o: &mut Value) {
    if let Some(spec) = o.get_mut("spec").filter(|s| s.is_object()) {
        set_default(spec, "restartPolicy", json!("Always"));
        set_default(spec, "enableServiceLinks", json!(true));
        spec_defaults(spec);
    }
}

pub(super) fn created(o: &mut Value) {
    let qos = qos_class(&o["spec"]);
    if let Some(spec) = o.get_mut("spec").filter(|s| s.is_object()) {
        if spec["serviceAccountName"].is_null() {
            spec["serviceAccountName"] = json!("default");
            spec["serviceAccount"] = json!("default");
        }
        set_default(spec, "priority", json!(0));
        set_default(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
        let tolerate = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        for key in [
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
        ] {
            let known = list(&spec["tolerations"])
                .iter()
                .any(|t| t["key"] == key || (t["key"].is_null() && t["operator"] == "Exists"));
            if !known {
                match spec["tolerations"].as_array_mut() {
                    Some(tolerations) => tolerations.push(tolerate(key)),
                    None => spec["tolerations"] = json!([tolerate(key)]),
                }
            }
        }
    }
    o["status"] = json!({"phase": "Pending", "qosClass": qos});
}

fn qos_class(spec: &Value) -> &'static str {
    let mut any = false;
    let mut guaranteed = true;
    for container in list(&spec["containers"])
        .iter()
        .chain(list(&spec["initContainers"]))
    {
        let resources = &container["resources"];
        for kind in ["cpu", "memory"] {
            let amount = |key: &str| resources[key][kind].as_str().and_then(Quantity::parse);
            let (request, limit) = (amount("requests"), amount("limits"));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request == limit;
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Whether the amounts in a pod's spec are quantities; Kubernetes finds that out while decoding.
pub(crate) fn quantities_in(spec: &Value) -> Result<(), String> {
    for container in list(&spec["containers"])
        .iter()
        .chain(list(&spec["initContainers"]))
    {
        if !quantity::well_formed(&container["resources"]) {
            return Err(quantity::MALFORMED.to_owned());
        }
    }
    Ok(())
}

pub(super) fn validate(o: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check_spec(&o["spec"], "spec", &mut errors);
    let policy = &o["spec"]["restartPolicy"];
    if o["spec"].is_object() && !matches!(policy.as_str(), Some("Always" | "OnFailure" | "Never")) {
        let supported = ["Always", "OnFailure", "Never"];
        errors.push(FieldError::unsupported(
            "spec.restartPolicy",
            policy,
            &supported,
        ));
    }
    errors
}

/// What may change in a pod's spec is little: images, deadlines, tolerations, and the node while
/// it has none.
pub(super) fn change(new: &Value, old: &Value) -> Vec<FieldError> {
    let comparable = |o: &Value| {
        let mut spec = o["spec"].clone();
        for key in ["containers", "initContainers"] {
            for container in spec[key].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        for key in [
            "activeDeadlineSeconds",
            "tolerations",
            "terminationGracePeriodSeconds",
        ] {
            spec[key] = Value::Null;
        }
        if old["spec"]["nodeName"].as_str().unwrap_or("").is_empty() {
            spec["nodeName"] = Value::Null;
        }
        if let Some(map) = spec.as_object_mut() {
            map.retain(|_, v| !v.is_null());
        }
        spec
    };
    if comparable(new) == comparable(old) {
        Vec::new()
    } else {
        vec![FieldError::forbidden(
            "spec",
            "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_version_is_always_pulled() {
        assert_eq!(image_policy("busybox"), "Always");
        assert_eq!(image_policy("127.0.0.1:5000/a/b"), "Always");
        assert_eq!(image_policy("a/b:latest"), "Always");
        assert_eq!(image_policy("127.0.0.1:5000/a/b:1.0"), "IfNotPresent");
        assert_eq!(image_policy("a@sha256:00"), "IfNotPresent");
    }
}
