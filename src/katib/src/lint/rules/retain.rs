//! KL0303: jobs that vanish.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "KL0303",
    name: "retain",
    severity: Severity::Advice,
    what: "Whether jobs stay after their trial ended.",
    why: "Without retain: true the job and its pods go with the end of the trial, and their logs \
          with them.",
    mend: "Write retain: true while you are learning what the trials do.",
    example: "trialTemplate:\n  primaryContainerName: training",
    instead: "trialTemplate:\n  retain: true\n  primaryContainerName: training",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if subject.template().is_some_and(|template| !template.retain) {
        findings.push(subject.at(
            &RULE,
            &FieldPath::parse("spec.trialTemplate.retain"),
            "jobs and logs go as soon as a trial has ended",
        ));
    }
}
