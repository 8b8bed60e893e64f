//! KL0204: the container that trains.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::schema::near;
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0204",
    name: "primary-container",
    severity: Severity::Error,
    what: "Whether primaryContainerName names a container of the template.",
    why: "Katib accepts the Experiment, then refuses every pod of every trial: the Jobs show \
          FailedCreate events and the trials stay Running for ever.",
    mend: "Use the name of the container that trains.",
    example: "primaryContainerName: training\n# …\ncontainers:\n- name: mnist-training",
    instead: "primaryContainerName: mnist-training",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(template) = subject.template() else {
        return;
    };
    let wanted = &template.primary_container_name;
    let containers = subject.containers();
    if wanted.is_empty() || containers.is_empty() || subject.primary_container().is_some() {
        return;
    }
    let names: Vec<&str> = containers
        .iter()
        .filter_map(|(_, container)| container.get("name").and_then(Value::as_str))
        .collect();
    let only = match names.as_slice() {
        [only] => Some(*only),
        several => near(wanted, several.iter().copied()),
    };
    let path = FieldPath::parse("spec.trialTemplate.primaryContainerName");
    // With one container there is no doubt which is meant.
    let fix = only.and_then(|name| {
        let place = subject.document.place(&path)?;
        Some(subject.replace(place.value.clone(), name))
    });
    findings.push(
        subject
            .at_value(
                &RULE,
                &path,
                format!(
                    "no container of the template is named {wanted}; there is {}",
                    names.join(", ")
                ),
            )
            .fix(fix),
    );
}
