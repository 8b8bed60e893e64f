//! KL0304: many trials that ask for nothing.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "KL0304",
    name: "resources",
    severity: Severity::Warning,
    what: "Whether four trials or more run at once without resource requests.",
    why: "The scheduler takes such pods for free and puts them all on one machine: together they \
          may take it down, or each other.",
    mend: "Give the container resources.requests for cpu and memory, or lower parallelTrialCount.",
    example: "parallelTrialCount: 10\n# …\ncontainers:\n- name: training",
    instead: "containers:\n- name: training\n  resources:\n    requests: {cpu: \"1\", memory: 1Gi}",
};

/// From here on they are many.
const MANY: i32 = 4;

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let parallel = subject
        .defaulted_spec()
        .and_then(|spec| spec.parallel_trial_count)
        .unwrap_or_default();
    let Some((_, container)) = subject.primary_container().filter(|_| parallel >= MANY) else {
        return;
    };
    let asks = container.get("resources").is_some_and(|resources| {
        // Limits alone count as requests.
        ["requests", "limits"].iter().any(|kind| {
            resources
                .get(kind)
                .and_then(serde_json::Value::as_object)
                .is_some_and(|amounts| !amounts.is_empty())
        })
    });
    if !asks {
        findings.push(subject.at(
            &RULE,
            &FieldPath::parse("spec.parallelTrialCount"),
            format!("{parallel} trials run at once, and none says what it needs"),
        ));
    }
}
