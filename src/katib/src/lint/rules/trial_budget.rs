//! KL0503: searches without an end.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "KL0503",
    name: "trial-budget",
    severity: Severity::Warning,
    what: "Whether maxTrialCount is set.",
    why: "Without it trials are made until the goal is reached, or for ever. Katib then also flips \
          a finished Experiment between Succeeded and Restarting.",
    mend: "Write maxTrialCount.",
    example: "spec:\n  parallelTrialCount: 3",
    instead: "spec:\n  parallelTrialCount: 3\n  maxTrialCount: 12",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if subject
        .spec()
        .is_some_and(|spec| spec.max_trial_count.is_none())
    {
        findings.push(subject.at(
            &RULE,
            &FieldPath::parse("spec.maxTrialCount"),
            "maxTrialCount is left out: the search has no end of its own",
        ));
    }
}
