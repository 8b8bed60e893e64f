//! KL0502: when everything fails.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "KL0502",
    name: "failure-budget",
    severity: Severity::Warning,
    what: "Whether maxFailedTrialCount is set.",
    why: "Without it failures never end an Experiment: when all trials fail it runs to its end and \
          counts as Succeeded, without a best trial.",
    mend: "Write maxFailedTrialCount, 3 for example.",
    example: "spec:\n  maxTrialCount: 12",
    instead: "spec:\n  maxFailedTrialCount: 3\n  maxTrialCount: 12",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if subject
        .spec()
        .is_some_and(|spec| spec.max_failed_trial_count.is_none())
    {
        findings.push(subject.at(
            &RULE,
            &FieldPath::parse("spec.maxFailedTrialCount"),
            "maxFailedTrialCount is left out: no number of failures ends the Experiment",
        ));
    }
}
