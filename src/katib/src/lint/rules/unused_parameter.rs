//! KL0203: search parameters the template does not use.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "KL0203",
    name: "unused-parameter",
    severity: Severity::Error,
    what: "Whether every search parameter is the reference of a trial parameter.",
    why: "Katib accepts the Experiment, then fails to render any trial: it stays Created for \
          ever, with ReconcileError events.",
    mend: "Add a trialParameter that refers to it, or remove it from spec.parameters.",
    example: "parameters:\n- name: momentum\ntrialTemplate:\n  trialParameters: []",
    instead: "trialTemplate:\n  trialParameters:\n  - {name: momentum, reference: momentum}",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let (Some(spec), Some(template)) = (subject.spec(), subject.template()) else {
        return;
    };
    if template.trial_parameters.is_none() {
        return;
    }
    for (index, parameter) in spec.parameters.iter().enumerate() {
        let used = template
            .parameters()
            .iter()
            .any(|trial| trial.reference == parameter.name);
        if !used && !parameter.name.is_empty() {
            let path = FieldPath::parse("spec.parameters").index(index).key("name");
            findings.push(subject.at_value(
                &RULE,
                &path,
                format!("no trialParameter refers to {}", parameter.name),
            ));
        }
    }
}
