//! KL0208: metadata references in the wrong place.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0208",
    name: "trial-spec-reference",
    severity: Severity::Warning,
    what: "Whether `${trialSpec.…}` stands in the template itself.",
    why: "Katib replaces only `${trialParameters.…}` there; the text goes to the container as it \
          is.",
    mend: "Add a trialParameter whose reference it is, and use that.",
    example: "args: [\"--name=${trialSpec.Name}\"]",
    instead: "trialParameters:\n- {name: trialName, reference: \"${trialSpec.Name}\"}\n# …\nargs: [\"--name=${trialParameters.trialName}\"]",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let path = FieldPath::parse("spec.trialTemplate.trialSpec");
    if let Some(template) = subject.value(&path) {
        walk(subject, template, &path, findings);
    }
}

fn walk(subject: &Subject<'_>, value: &Value, path: &FieldPath, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) if text.contains("${trialSpec.") => findings.push(subject.at_value(
            &RULE,
            path,
            "${trialSpec.…} is not filled in inside the template",
        )),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(subject, item, &path.index(index), findings);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                walk(subject, item, &path.key(key), findings);
            }
        }
        _ => {}
    }
}
