//! KL0202: the default of three trials at once.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::names::DEFAULT_PARALLEL;
use crate::path::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "KL0202",
    name: "parallel-default",
    severity: Severity::Error,
    what: "Whether maxTrialCount is below 3 while parallelTrialCount is left out.",
    why: "parallelTrialCount is 3 when it is left out, and may not exceed maxTrialCount: Katib \
          refuses the Experiment.",
    mend: "Write parallelTrialCount too.",
    example: "spec:\n  maxTrialCount: 2",
    instead: "spec:\n  parallelTrialCount: 2\n  maxTrialCount: 2",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(spec) = subject.spec() else { return };
    let Some(max) = spec.max_trial_count else {
        return;
    };
    if spec.parallel_trial_count.is_some() || !(1..DEFAULT_PARALLEL).contains(&max) {
        return;
    }
    let path = FieldPath::parse("spec.maxTrialCount");
    findings.push(
        subject
            .at(
                &RULE,
                &path,
                format!(
                    "parallelTrialCount is left out and so {DEFAULT_PARALLEL}, more than \
                     maxTrialCount {max}"
                ),
            )
            .mend(format!("Write parallelTrialCount: {max}."))
            .fix(subject.insert_before(&path, &format!("parallelTrialCount: {max}"))),
    );
}
