//! Persistent volume claims. A claim is bound from the start: the engine has room for it or nobody has.

use serde_json::{Value, json};

use super::super::status::FieldError;
use super::{Quantity, list, quantity, set_default};

/// The finalizer that keeps a claim there while pods use it.
pub const PROTECTION: &str = "kubernetes.io/pvc-protection";

pub(super) fn defaults(o: &mut Value) {
    if let Some(spec) = o.get_mut("spec") {
        set_default(spec, "volumeMode", json!("Filesystem"));
        quantity::canonical_resources(&mut spec["resources"]);
        if spec["resources"].is_null() {
            spec["resources"] = json!({});
        }
    }
}

/// What a provisioner and the volume controller write.
pub(super) fn created(o: &mut Value) {
    let uid = o["metadata"]["uid"].as_str().unwrap_or_default();
    let volume = format!("pvc-{uid}");
    let finalizers = &mut o["metadata"]["finalizers"];
    if finalizers.is_null() {
        *finalizers = json!([]);
    }
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|finalizer| finalizer == PROTECTION)
    {
        finalizers.push(json!(PROTECTION));
    }
    let annotations = &mut o["metadata"]["annotations"];
    annotations["pv.kubernetes.io/bind-completed"] = json!("yes");
    annotations["pv.kubernetes.io/bound-by-controller"] = json!("yes");
    o["spec"]["volumeName"] = json!(volume);
    let storage = &o["spec"]["resources"]["requests"]["storage"];
    o["status"] = json!({
        "phase": "Bound",
        "accessModes": o["spec"]["accessModes"],
        "capacity": {"storage": storage},
    });
}

/// The volume grows with the claim: nothing bounds it but the disk.
pub(super) fn updated(new: &mut Value, _: &Value) {
    let wanted = new["spec"]["resources"]["requests"]["storage"].clone();
    let capacity = &mut new["status"]["capacity"]["storage"];
    if amount(&wanted) > amount(capacity) {
        *capacity = wanted;
    }
}

fn amount(value: &Value) -> Option<i128> {
    Some(Quantity::parse(value.as_str()?)?.nanos())
}

pub(super) fn validate(o: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &o["spec"];
    if list(&spec["accessModes"]).is_empty() {
        errors.push(FieldError::required(
            "spec.accessModes",
            "at least 1 access mode is required",
        ));
    }
    if spec["resources"]["requests"]["storage"].is_null() {
        errors.push(FieldError::required("spec.resources[storage]", ""));
    }
    errors
}

/// A claim may grow, and nothing else.
pub(super) fn change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let fixed = |o: &Value| {
        let mut spec = o["spec"].clone();
        spec["resources"]["requests"] = Value::Null;
        spec
    };
    if fixed(new) != fixed(old) {
        errors.push(FieldError::forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
        ));
    }
    let wanted = &new["spec"]["resources"]["requests"]["storage"];
    if amount(wanted) < amount(&old["status"]["capacity"]["storage"]) {
        errors.push(FieldError::forbidden(
            "spec.resources.requests.storage",
            "field can not be less than status.capacity",
        ));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_bound_at_once_and_may_only_grow() {
        let mut claim = json!({"metadata": {"uid": "u"}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        defaults(&mut claim);
        created(&mut claim);
        assert_eq!(claim["status"]["phase"], "Bound");
        assert_eq!(claim["spec"]["volumeName"], "pvc-u");
        assert_eq!(claim["metadata"]["finalizers"], json!([PROTECTION]));
        let with = |storage: &str| {
            let mut new = claim.clone();
            new["spec"]["resources"]["requests"]["storage"] = json!(storage);
            updated(&mut new, &claim);
            let wrong = change(&new, &claim);
            (wrong.len(), new["status"]["capacity"]["storage"].clone())
        };
        assert_eq!(with("2Gi"), (0, json!("2Gi")));
        assert_eq!(with("1Mi"), (1, json!("1Gi")));
        let mut other = claim.clone();
        other["spec"]["accessModes"] = json!(["ReadWriteMany"]);
        assert_eq!(change(&other, &claim)[0].field, "spec");
    }
}
