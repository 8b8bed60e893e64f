//! KL0207: what only a real cluster runs.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "KL0207",
    name: "sandbox",
    severity: Severity::Error,
    what: "Whether the sandbox runs the Experiment: algorithms random and grid, trials that are \
           Jobs, no early stopping and no architecture search.",
    why: "The sandbox refuses what it does not run, by name.",
    mend: "Change it, or use a cluster with Katib: `:use cluster`.",
    example: "algorithm: {algorithmName: tpe}",
    instead: "algorithm: {algorithmName: random}",
};

/// Algorithms the sandbox runs.
const ALGORITHMS: &[&str] = &["random", "grid"];

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(spec) = subject.spec().filter(|_| subject.is_sandbox()) else {
        return;
    };
    let known = &subject.options.facts.algorithms;
    if let Some(algorithm) = &spec.algorithm {
        let name = &algorithm.algorithm_name;
        if known.contains(name) && !ALGORITHMS.contains(&name.as_str()) {
            findings.push(subject.at_value(
                &RULE,
                &FieldPath::parse("spec.algorithm.algorithmName"),
                format!("the sandbox does not run the algorithm {name}"),
            ));
        }
    }
    for (present, field, what) in [
        (
            spec.early_stopping.is_some(),
            "earlyStopping",
            "early stopping",
        ),
        (
            spec.nas_config.is_some(),
            "nasConfig",
            "architecture search",
        ),
    ] {
        if present {
            findings.push(subject.at(
                &RULE,
                &FieldPath::parse("spec").key(field),
                format!("the sandbox does not run {what}"),
            ));
        }
    }
    let template = FieldPath::parse("spec.trialTemplate.trialSpec");
    let kind = subject
        .value(&template.key("kind"))
        .and_then(serde_json::Value::as_str);
    if let Some(kind) = kind.filter(|_| !subject.is_job()) {
        findings.push(subject.at_value(
            &RULE,
            &template.key("kind"),
            format!("the sandbox runs trials of kind Job, not {kind}"),
        ));
    }
}
