//! Jobs.

use serde_json::{Value, json};

use super::super::status::FieldError;
use super::pods;
use super::{list, set_default};

pub(super) fn defaults(o: &mut Value) {
    let Some(spec) = o.get_mut("spec").filter(|s| s.is_object()) else {
        return;
    };
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        spec["completions"] = json!(1);
    }
    let ttl = spec["ttlSecondsAfterFinished"].clone();
    set_default(spec, "parallelism", json!(1));
    set_default(spec, "backoffLimit", json!(6));
    set_default(spec, "completionMode", json!("NonIndexed"));
    set_default(spec, "suspend", json!(false));
    set_default(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
    set_default(spec, "manualSelector", json!(false));
    if let Some(pod) = spec.pointer_mut("/template/spec") {
        pods::spec_defaults(pod);
    }
    if let Some(map) = spec.as_object_mut() {
        map.retain(|_, v| !v.is_null());
    }
    if !ttl.is_null() {
        spec["ttlSecondsAfterFinished"] = ttl;
    }
}

/// The selector and labels that tie pods to the job, made from its uid.
pub(super) fn created(o: &mut Value) {
    let uid = o["metadata"]["uid"].clone();
    let name = o["metadata"]["name"].clone();
    let manual = o["spec"]["manualSelector"] == true;
    if !manual && o["spec"].is_object() {
        let labels = [
            ("batch.kubernetes.io/controller-uid", &uid),
            ("batch.kubernetes.io/job-name", &name),
            ("controller-uid", &uid),
            ("job-name", &name),
        ];
        if o["spec"]["template"].is_null() {
            o["spec"]["template"] = json!({});
        }
        for (key, value) in labels {
            let template = &mut o["spec"]["template"]["metadata"]["labels"];
            if template.is_null() {
                *template = json!({});
            }
            template[key] = value.clone();
        }
        if o["metadata"]["labels"].is_null() {
            // A job without labels shows those of its template.
            o["metadata"]["labels"] = o["spec"]["template"]["metadata"]["labels"].clone();
        }
        // What the client gave stays, for the check of what was made.
        if !o["spec"]["selector"].is_object() {
            o["spec"]["selector"] = json!({});
        }
        let labels = &mut o["spec"]["selector"]["matchLabels"];
        if !labels.is_object() {
            *labels = json!({});
        }
        labels["batch.kubernetes.io/controller-uid"] = uid;
    }
    o["status"] = json!({});
}

pub(super) fn validate(o: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &o["spec"];
    for key in [
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ] {
        if spec[key].as_i64().is_some_and(|n| n < 0) {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(format!("spec.{key}"), &spec[key], why));
        }
    }
    let mode = &spec["completionMode"];
    if !matches!(mode.as_str(), None | Some("NonIndexed" | "Indexed")) {
        let supported = ["Indexed", "NonIndexed"];
        errors.push(FieldError::unsupported(
            "spec.completionMode",
            mode,
            &supported,
        ));
    }
    if mode == "Indexed" && spec["completions"].is_null() {
        errors.push(FieldError::required(
            "spec.completions",
            "when completion mode is Indexed",
        ));
    }
    let template = &spec["template"];
    check_selector(o, &mut errors);
    super::super::meta::check_labels(
        &template["metadata"]["labels"],
        "spec.template.labels",
        &mut errors,
    );
    pods::check_spec(&template["spec"], "spec.template.spec", &mut errors);
    let policy = &template["spec"]["restartPolicy"];
    match policy.as_str() {
        None | Some("") => errors.push(FieldError::required(
            "spec.template.spec.restartPolicy",
            "valid values: \"OnFailure\", \"Never\"",
        )),
        Some("OnFailure" | "Never") => {}
        Some(_) => errors.push(FieldError::unsupported(
            "spec.template.spec.restartPolicy",
            policy,
            &["OnFailure", "Never"],
        )),
    }
    errors
}

/// A selector that the server made is all there is; one of the client's must find the job's own pods.
fn check_selector(o: &Value, errors: &mut Vec<FieldError>) {
    let spec = &o["spec"];
    let selector = &spec["selector"];
    let field = "spec.selector";
    if !spec["template"].is_object() {
        return;
    }
    if spec["manualSelector"] != true {
        let uid = &o["metadata"]["uid"];
        let made = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
        if uid.is_string() && *selector != made {
            let why = "`selector` not auto-generated";
            errors.push(FieldError::invalid(field, selector, why));
        }
        return;
    }
    if !selector.is_object() {
        errors.push(FieldError::required(field, ""));
        return;
    }
    let labels = &spec["template"]["metadata"]["labels"];
    let wanted = selector["matchLabels"].as_object().into_iter().flatten();
    let mut wanted = wanted.peekable();
    let says_nothing = wanted.peek().is_none() && list(&selector["matchExpressions"]).is_empty();
    if says_nothing || !wanted.all(|(key, value)| labels[key] == *value) {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            labels,
            why,
        ));
    }
}

pub(super) fn change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let field = |o: &Value, key: &str| o["spec"][key].clone();
    // The scheduling part of the template of a suspended job that never started may change;
    // the sandbox has one node, so it holds the template fixed.
    for key in ["completions", "selector", "completionMode"] {
        if field(new, key) != field(old, key) {
            let name = format!("spec.{key}");
            errors.push(FieldError::invalid(
                name,
                &field(new, key),
                "field is immutable",
            ));
        }
    }
    let part = |o: &Value, key: &str| o["spec"]["template"][key].clone();
    for key in ["metadata", "spec"] {
        if part(new, key) != part(old, key) {
            let name = format!("spec.template.{key}");
            errors.push(FieldError::invalid(
                name,
                &part(new, key),
                "field is immutable",
            ));
        }
    }
    errors
}
