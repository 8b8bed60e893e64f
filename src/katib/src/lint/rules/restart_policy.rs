//! KL0301: restart policy of a Job's pods.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::schema::near;
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0301",
    name: "restart-policy",
    severity: Severity::Error,
    what: "Whether the Job's pods have restartPolicy Never or OnFailure.",
    why: "Kubernetes refuses a Job with the default, Always: the Experiment is accepted, and no \
          trial can create its Job.",
    mend: "Write restartPolicy: Never in the pod's spec.",
    example: "spec:\n  template:\n    spec:\n      containers: […]",
    instead: "spec:\n  template:\n    spec:\n      restartPolicy: Never\n      containers: […]",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let pod = FieldPath::parse("spec.trialTemplate.trialSpec.spec.template.spec");
    let Some(spec) = subject.value(&pod).filter(|_| subject.is_job()) else {
        return;
    };
    let path = pod.key("restartPolicy");
    match spec.get("restartPolicy").and_then(Value::as_str) {
        Some("Never" | "OnFailure") => {}
        Some(other) => findings.push(subject.at_value(
            &RULE,
            &path,
            format!("restartPolicy is {other}; a Job takes Never or OnFailure"),
        )),
        // A misspelt one has a finding and a mend already.
        None if misspelt(spec) => {}
        None => findings.push(
            subject
                .at(
                    &RULE,
                    &pod,
                    "restartPolicy is missing; a Job takes Never or OnFailure",
                )
                .fix(subject.insert_before(&pod.key("containers"), "restartPolicy: Never")),
        ),
    }
}

fn misspelt(spec: &Value) -> bool {
    spec.as_object().is_some_and(|fields| {
        fields
            .keys()
            .any(|field| near(field, ["restartPolicy"]).is_some())
    })
}
