//! KL0307: what wrapping does to a command.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::types::CollectorKind;
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0307",
    name: "command",
    severity: Severity::Warning,
    what: "Whether the container's command survives being wrapped.",
    why: "Under the collectors StdOut, File and TensorFlowEvent Katib joins command and args with \
          spaces, without quotes, and gives them to `sh -c`. Only a command that begins with \
          exactly `sh -c` or `bash -c` keeps its script as it is.",
    mend: "Begin with [\"sh\", \"-c\", \"the whole command\"], or avoid spaces and shell characters \
           in the words.",
    example: "command: [\"/bin/sh\", \"-c\", \"python train.py --tag 'a b'\"]",
    instead: "command: [\"sh\", \"-c\", \"python train.py --tag 'a b'\"]",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(collector) = collector(subject) else {
        return;
    };
    let Some((path, container)) = subject.primary_container() else {
        return;
    };
    let words = |key: &str| -> Vec<(FieldPath, String)> {
        container
            .get(key)
            .and_then(Value::as_array)
            .map(|items| {
                items
                    .iter()
                    .enumerate()
                    .filter_map(|(index, word)| {
                        Some((path.key(key).index(index), word.as_str()?.to_owned()))
                    })
                    .collect()
            })
            .unwrap_or_default()
    };
    let command = words("command");
    if command.is_empty() {
        check_entrypoint(subject, &path, container, findings);
        return;
    }
    let all: Vec<_> = command.into_iter().chain(words("args")).collect();
    let first = |index: usize| all.get(index).map_or("", |(_, word)| word.as_str());
    match (first(0), first(1)) {
        ("sh" | "bash", "-c") => {
            for (at, body) in all.iter().skip(2) {
                check_body(subject, at, body, &collector, findings);
            }
        }
        (shell, flag) if is_shell(shell) && flag.starts_with('-') && flag.contains('c') => {
            let fix = (flag == "-c")
                .then(|| {
                    let name = shell.rsplit('/').next()?;
                    let place = subject.document.place(&all.first()?.0)?;
                    Some(subject.replace(place.value.clone(), name))
                })
                .flatten();
            findings.push(
                subject
                    .at_value(
                        &RULE,
                        &all[0].0,
                        format!(
                            "{shell} {flag} is not recognised: only the script's first word runs"
                        ),
                    )
                    .fix(fix),
            );
        }
        _ => {
            for (at, word) in &all {
                if let Some(odd) = shell_character(word) {
                    findings.push(subject.at_value(
                        &RULE,
                        at,
                        format!("the word holds {odd}, which the shell that Katib adds will read"),
                    ));
                }
            }
        }
    }
}

/// The collector, if it wraps commands.
pub(super) fn collector(subject: &Subject<'_>) -> Option<CollectorKind> {
    let kind = &subject
        .defaulted_spec()?
        .metrics_collector_spec
        .as_ref()?
        .collector
        .as_ref()?
        .kind;
    matches!(
        kind,
        CollectorKind::StdOut | CollectorKind::File | CollectorKind::TensorFlowEvent
    )
    .then(|| kind.clone())
}

fn is_shell(word: &str) -> bool {
    matches!(
        word.rsplit('/').next(),
        Some("sh" | "bash" | "dash" | "ash" | "zsh")
    )
}

fn check_body(
    subject: &Subject<'_>,
    at: &FieldPath,
    body: &str,
    collector: &CollectorKind,
    findings: &mut Vec<Finding>,
) {
    if body.ends_with('\n') {
        findings.push(
            subject
                .at_value(&RULE, at, "the script ends with a line break")
                .why(
                    "Katib appends to the script. After a line break that is a line of its own: \
                     nothing is redirected and nothing collected.",
                )
                .mend("Begin the block with |- instead of |."),
        );
    } else if *collector == CollectorKind::StdOut
        && (body.trim_end().contains('\n') || body.contains("; ") || body.contains("&& "))
    {
        findings.push(
            subject
                .at_value(
                    &RULE,
                    at,
                    "the script has several commands, and only the last one's output is collected",
                )
                .why("Katib appends its redirection to the end of the script.")
                .mend("Put the commands into a script of the image, or braces around them: { a; b; }."),
        );
    }
}

/// Without a command Katib asks the registry for the image's.
fn check_entrypoint(
    subject: &Subject<'_>,
    path: &FieldPath,
    container: &Value,
    findings: &mut Vec<Finding>,
) {
    let image = container
        .get("image")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let host = image.split('/').next().unwrap_or_default();
    let qualified = image.contains('/') && (host.contains(['.', ':']) || host == "localhost")
        || image.starts_with("${");
    if !qualified && !image.is_empty() && !subject.is_sandbox() {
        findings.push(
            subject
                .at(
                    &RULE,
                    &path.key("image"),
                    format!("there is no command, and {image} does not name its registry"),
                )
                .why(
                    "Katib must read the image's own command from the registry, and refuses pods \
                     whose image is not written as HOST/PATH:TAG.",
                )
                .mend("Write the command, or the image's full name."),
        );
    }
}

fn shell_character(word: &str) -> Option<String> {
    // Katib's placeholders become values before a shell sees them.
    let mut rest = word.to_owned();
    while let Some(start) = rest.find("${trialParameters.") {
        let end = rest[start..]
            .find('}')
            .map_or(rest.len(), |at| start + at + 1);
        rest.replace_range(start..end, "");
    }
    rest.chars()
        .find(|c| " \t\n'\"`$;&|<>()*?[]#~\\".contains(*c))
        .map(|c| match c {
            ' ' => "a space".to_owned(),
            '\t' => "a tab".to_owned(),
            '\n' => "a line break".to_owned(),
            other => other.to_string(),
        })
}
