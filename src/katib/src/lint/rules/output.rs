//! KL0308: output that comes late.

use super::command::collector;
use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::types::CollectorKind;
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0308",
    name: "buffered-output",
    severity: Severity::Advice,
    what: "Whether Python writes its output at once, under the StdOut collector.",
    why: "Python keeps output back when it is not written to a terminal: live curves and early \
          stopping see nothing until the trial ends.",
    mend: "Use python -u, or set PYTHONUNBUFFERED=1 in env.",
    example: "command: [\"python\", \"train.py\"]",
    instead: "command: [\"python\", \"-u\", \"train.py\"]",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    if collector(subject) != Some(CollectorKind::StdOut) {
        return;
    }
    let Some((path, container)) = subject.primary_container() else {
        return;
    };
    let Some(words) = container.get("command").and_then(Value::as_array) else {
        return;
    };
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let is_python = words
        .first()
        .and_then(|word| word.rsplit('/').next())
        .is_some_and(|word| word.starts_with("python"));
    let unbuffered = words.contains(&"-u")
        || container
            .get("env")
            .and_then(Value::as_array)
            .is_some_and(|env| {
                env.iter()
                    .any(|variable| variable.get("name") == Some(&"PYTHONUNBUFFERED".into()))
            });
    if is_python && !unbuffered {
        findings.push(subject.at(
            &RULE,
            &path.key("command"),
            "Python keeps its output back until the end",
        ));
    }
}
