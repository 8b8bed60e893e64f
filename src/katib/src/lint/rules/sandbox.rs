//! KL0207: what only a real cluster runs.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::names::SANDBOX_ALGORITHMS;
use crate::path::FieldPath;
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0207",
    name: "sandbox",
    severity: Severity::Error,
    what: "Whether the sandbox runs the Experiment: algorithms random, grid, sobol, tpe, \
           multivariate-tpe, cmaes, bayesianoptimization and hyperband, every collector (pages of metrics \
           over plain HTTP), trials that are plain Jobs, no architecture search.",
    why: "The sandbox refuses what it does not run, by name.",
    mend: "Change it, or use a cluster with Katib: `:use cluster`.",
    example: "algorithm: {algorithmName: pbt}",
    instead: "algorithm: {algorithmName: random}",
};

/// Fields of a Job the sandbox's controller does not act on.
const JOB_FIELDS: &[&str] = &[
    "podFailurePolicy",
    "successPolicy",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
    "managedBy",
];

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(spec) = subject.spec().filter(|_| subject.is_sandbox()) else {
        return;
    };
    let known = &subject.options.facts.algorithms;
    if let Some(algorithm) = &spec.algorithm {
        let name = &algorithm.algorithm_name;
        if known.contains(name) && !SANDBOX_ALGORITHMS.contains(&name.as_str()) {
            findings.push(subject.at_value(
                &RULE,
                &FieldPath::parse("spec.algorithm.algorithmName"),
                format!("the sandbox does not run the algorithm {name}"),
            ));
        }
    }
    if spec.nas_config.is_some() {
        findings.push(subject.at(
            &RULE,
            &FieldPath::parse("spec.nasConfig"),
            "the sandbox does not run architecture search",
        ));
    }
    let template = FieldPath::parse("spec.trialTemplate.trialSpec");
    let kind = subject.value(&template.key("kind")).and_then(Value::as_str);
    if let Some(kind) = kind.filter(|_| !subject.is_job()) {
        findings.push(subject.at_value(
            &RULE,
            &template.key("kind"),
            format!("the sandbox runs trials of kind Job, not {kind}"),
        ));
    }
    check_page(subject, findings);
    check_job(subject, &template, findings);
}

fn check_page(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let page = FieldPath::parse("spec.metricsCollectorSpec.source.httpGet");
    for (field, usual) in [("scheme", "HTTP"), ("host", "")] {
        let path = page.key(field);
        let value = subject.value(&path).and_then(Value::as_str);
        if let Some(value) = value.filter(|value| !value.is_empty() && *value != usual) {
            findings.push(subject.at_value(
                &RULE,
                &path,
                format!(
                    "the sandbox reads metrics from the trial's pod over plain HTTP, not with \
                     {field} {value}"
                ),
            ));
        }
    }
}

fn check_job(subject: &Subject<'_>, template: &FieldPath, findings: &mut Vec<Finding>) {
    let job = template.key("spec");
    let Some(spec) = subject.value(&job).filter(|_| subject.is_job()) else {
        return;
    };
    let set = |field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    let is = |field: &str, word: &str| spec.get(field).and_then(Value::as_str) == Some(word);
    let fields = JOB_FIELDS
        .iter()
        .filter(|field| set(field))
        .map(|field| (*field, String::new()))
        .chain(
            [
                ("completionMode", "Indexed"),
                ("podReplacementPolicy", "Failed"),
            ]
            .into_iter()
            .filter(|(field, word)| is(field, word))
            .map(|(field, word)| (field, format!(": {word}"))),
        );
    for (field, word) in fields {
        findings.push(subject.at(
            &RULE,
            &job.key(field),
            format!("the sandbox's Jobs do not have {field}{word}"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_names_every_algorithm() {
        for name in SANDBOX_ALGORITHMS {
            assert!(RULE.what.contains(name), "{name}");
        }
    }
}
