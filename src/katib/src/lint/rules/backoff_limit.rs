//! KL0302: retries of a failing trial.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "KL0302",
    name: "backoff-limit",
    severity: Severity::Warning,
    what: "Whether the Job says how often a failed pod is tried again.",
    why: "The default is 6: a trial with a fault in its program runs seven times, with growing \
          pauses, before it counts as failed.",
    mend: "Write backoffLimit: 0 in the Job's spec (or a small number where failures pass by \
           themselves).",
    example: "trialSpec:\n  kind: Job\n  spec:\n    template: …",
    instead: "trialSpec:\n  kind: Job\n  spec:\n    backoffLimit: 0\n    template: …",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let job = FieldPath::parse("spec.trialTemplate.trialSpec.spec");
    let Some(spec) = subject.value(&job).filter(|_| subject.is_job()) else {
        return;
    };
    if spec.is_object() && spec.get("backoffLimit").is_none() {
        findings.push(subject.at(
            &RULE,
            &job,
            "backoffLimit is left out: a failing trial is tried seven times",
        ));
    }
}
