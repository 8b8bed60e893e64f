//! KL0306: keeping Istio's sidecar out.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::names::ISTIO_INJECT;
use crate::path::FieldPath;
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0306",
    name: "istio",
    severity: Severity::Warning,
    what: "Whether a template that speaks of Istio's sidecar does it in both forms, label and \
           annotation.",
    why: "Current Istio looks at the label, older ones and the lab's cluster at the annotation. \
          With the sidecar in the pod the trial never completes: its collector waits for every \
          process to end.",
    mend: "Give the pod both: metadata.labels and metadata.annotations with \
           sidecar.istio.io/inject: \"false\".",
    example: "metadata:\n  annotations:\n    sidecar.istio.io/inject: \"false\"",
    instead: "metadata:\n  labels:\n    sidecar.istio.io/inject: \"false\"\n  annotations:\n    sidecar.istio.io/inject: \"false\"",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let metadata = FieldPath::parse("spec.trialTemplate.trialSpec.spec.template.metadata");
    let form = |group: &str| {
        subject
            .value(&metadata.key(group).key(ISTIO_INJECT))
            .and_then(Value::as_str)
    };
    let annotation = metadata.key("annotations").key(ISTIO_INJECT);
    let label = metadata.key("labels").key(ISTIO_INJECT);
    match (form("labels"), form("annotations")) {
        (None, Some("false")) => {
            // Next to the annotations, when the pod has no labels yet.
            let fix = if subject.value(&metadata.key("labels")).is_none() {
                let indent = subject.indent(&metadata.key("annotations"));
                indent.and_then(|indent| {
                    subject.insert_before(
                        &metadata.key("annotations"),
                        &format!("labels:\n{indent}  {ISTIO_INJECT}: 'false'"),
                    )
                })
            } else {
                None
            };
            let severity = if subject.is_sandbox() {
                Severity::Advice
            } else {
                RULE.severity
            };
            findings.push(
                subject
                    .at(
                        &RULE,
                        &annotation,
                        "only the annotation keeps Istio's sidecar out; current Istio wants the label",
                    )
                    .severity(severity)
                    .fix(fix),
            );
        }
        (Some("false"), None) if !subject.is_sandbox() => findings.push(
            subject
                .at(
                    &RULE,
                    &label,
                    "only the label keeps Istio's sidecar out; older clusters want the annotation",
                )
                .severity(Severity::Advice),
        ),
        _ => {}
    }
}
