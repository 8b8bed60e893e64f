//! KL0402: additional metrics.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "KL0402",
    name: "additional-metric",
    severity: Severity::Advice,
    what: "Which metrics the training must write besides the objective.",
    why: "A metric that is never written does not fail a trial: it shows `unavailable`, and the \
          column stays empty.",
    mend: "Make sure the training writes it the same way as the objective, or take it off the \
           list.",
    example: "additionalMetricNames: [loss]   # the script prints only accuracy",
    instead: "additionalMetricNames: []",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(objective) = subject.spec().and_then(|spec| spec.objective.as_ref()) else {
        return;
    };
    let list = FieldPath::parse("spec.objective.additionalMetricNames");
    for (index, name) in objective.additional_metric_names.iter().enumerate() {
        // Who says how a metric's value is taken from its log has thought of it.
        let strategies = &objective.metric_strategies;
        if strategies.iter().any(|strategy| strategy.name == *name) {
            continue;
        }
        findings.push(subject.at_value(
            &RULE,
            &list.index(index),
            format!("{name} is `unavailable` unless the training writes it as well"),
        ));
    }
}
