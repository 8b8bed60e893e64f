//! KL0505: the namespace that is written down.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0505",
    name: "namespace",
    severity: Severity::Warning,
    what: "Whether the file names another namespace than the one that is used.",
    why: "The dashboard replaces it without a word; kubectl refuses or writes somewhere else. \
          Secrets made in one namespace are not seen in the other.",
    mend: "Remove metadata.namespace, or choose the other namespace with `-n` or `:use -n`.",
    example: "metadata:\n  name: tuning\n  namespace: kubeflow",
    instead: "metadata:\n  name: tuning",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let path = FieldPath::parse("metadata.namespace");
    let Some(written) = subject.value(&path).and_then(Value::as_str) else {
        return;
    };
    let Some(used) = &subject.options.namespace else {
        return;
    };
    if written != used {
        findings.push(subject.at_value(
            &RULE,
            &path,
            format!("the file names the namespace {written}; it goes to {used}, the one in use"),
        ));
    }
}
