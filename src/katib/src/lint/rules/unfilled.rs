//! KL0003: variables nobody filled in.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::{FieldPath, Step};
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0003",
    name: "unfilled-variable",
    severity: Severity::Error,
    what: "Whether a `${NAME}` is left outside commands. Katib's own `${trialParameters.x}` is \
           something else.",
    why: "Nobody fills it in on the way: the image is pulled by that very name.",
    mend: "Render the template first: `:experiment render FILE -o FILE`.",
    example: "image: ${PROJECT_NAME}.example.dev/hyperparam:1.0",
    instead: "image: my-project.example.dev/hyperparam:1.0",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    walk(
        subject,
        &subject.document.value,
        &FieldPath::root(),
        findings,
    );
}

fn walk(subject: &Subject<'_>, value: &Value, path: &FieldPath, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) => {
            let mut names: Vec<String> = Vec::new();
            for name in variables(text) {
                let name = format!("${{{name}}}");
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let message = match names.as_slice() {
                [] => return,
                [name] => format!("{name} is not filled in"),
                [names @ .., last] => format!("{} and {last} are not filled in", names.join(", ")),
            };
            findings.push(subject.at_value(&RULE, path, message));
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(subject, item, &path.index(index), findings);
            }
        }
        Value::Object(fields) => {
            for (key, item) in fields {
                // A shell in the container may fill these in.
                let is_commands = matches!(key.as_str(), "command" | "args")
                    || key == "value" && matches!(path.steps().last(), Some(Step::Index(_)));
                if !is_commands {
                    walk(subject, item, &path.key(key), findings);
                }
            }
        }
        _ => {}
    }
}

fn variables(text: &str) -> Vec<&str> {
    text.match_indices("${")
        .filter_map(|(at, _)| {
            let inside = &text[at + 2..];
            let name = &inside[..inside.find('}')?];
            let is_name = !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            is_name.then_some(name)
        })
        .collect()
}
