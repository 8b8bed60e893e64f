//! KL0101: is it an Experiment.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::types::API_VERSION;
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0101",
    name: "kind",
    severity: Severity::Error,
    what: "Whether the file holds an Experiment of kubeflow.org/v1beta1 with a name.",
    why: "The API server takes no other, or makes something else of it.",
    mend: "Begin the file with apiVersion: kubeflow.org/v1beta1 and kind: Experiment.",
    example: "apiVersion: kubeflow.org/v1alpha3\nkind: Experiment",
    instead: "apiVersion: kubeflow.org/v1beta1\nkind: Experiment",
};

/// Tells whether the rest of the rules has something to look at.
pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) -> bool {
    let root = FieldPath::root();
    let object = &subject.document.value;
    if !object.is_object() {
        findings.push(subject.at(&RULE, &root, "the file holds no object"));
        return false;
    }
    let text = |key: &str| object.get(key).and_then(Value::as_str);
    let kind_path = root.key("kind");
    match text("kind") {
        Some("Experiment") => {}
        Some(other) => {
            let is_ours = matches!(other, "Trial" | "Suggestion");
            findings.push(
                subject
                    .at_value(
                        &RULE,
                        &kind_path,
                        format!("kind is {other}, not Experiment"),
                    )
                    .why(if is_ours {
                        "Trials and Suggestions are made by Katib from an Experiment."
                    } else {
                        RULE.why
                    }),
            );
            return false;
        }
        None => findings.push(subject.at(&RULE, &root, "kind is missing")),
    }
    let version_path = root.key("apiVersion");
    match text("apiVersion") {
        Some(API_VERSION) => {}
        Some(other) => {
            let fix = subject
                .document
                .place(&version_path)
                .map(|place| subject.replace(place.value.clone(), API_VERSION));
            findings.push(
                subject
                    .at_value(
                        &RULE,
                        &version_path,
                        format!("apiVersion is {other}, not {API_VERSION}"),
                    )
                    .fix(fix),
            );
        }
        None => findings.push(subject.at(&RULE, &root, "apiVersion is missing")),
    }
    let named = ["name", "generateName"].iter().any(|key| {
        object
            .get("metadata")
            .and_then(|metadata| metadata.get(key))
            .and_then(Value::as_str)
            .is_some_and(|name| !name.is_empty())
    });
    if !named {
        findings.push(
            subject
                .at(
                    &RULE,
                    &root.key("metadata").key("name"),
                    "metadata.name is missing",
                )
                .mend("Give the Experiment a name."),
        );
    }
    true
}
