//! KL0102: fields that mean nothing.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::{FieldPath, Step};
use crate::schema::{Problem, Schema};

pub(super) const RULE: Rule = Rule {
    code: "KL0102",
    name: "unknown-field",
    severity: Severity::Warning,
    what: "Whether a field of the Experiment, or of the Job in its template, is misspelt.",
    why: "Katib drops unknown fields of an Experiment without a word, so a misspelt one does \
          nothing.",
    mend: "Correct the name, or remove the field.",
    example: "spec:\n  paralelTrialCount: 4",
    instead: "spec:\n  parallelTrialCount: 4",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for departure in &subject.departures {
        if let Problem::UnknownField { owner, near } = &departure.problem {
            let message = message(&departure.path, owner, *near);
            let fix = near.and_then(|near| subject.rename(&departure.path, near));
            findings.push(subject.at(&RULE, &departure.path, message).fix(fix));
        }
    }
    if !subject.is_job() {
        return;
    }
    for departure in job_departures(subject) {
        if let Problem::UnknownField { owner, near } = &departure.problem {
            let message = message(&departure.path, owner, *near);
            let fix = near.and_then(|near| subject.rename(&departure.path, near));
            findings.push(
                subject
                    .at(&RULE, &departure.path, message)
                    .severity(Severity::Error)
                    .why("Katib refuses a Job with a field Kubernetes does not know.")
                    .fix(fix),
            );
        }
    }
}

/// Departures of the template from a Job, with paths from the Experiment's root.
pub(super) fn job_departures(subject: &Subject<'_>) -> Vec<crate::schema::Departure> {
    let root = FieldPath::parse("spec.trialTemplate.trialSpec");
    let Some(job) = subject.value(&root) else {
        return Vec::new();
    };
    Schema::job()
        .departures("Job", job)
        .into_iter()
        .map(|mut departure| {
            departure.path = departure
                .path
                .steps()
                .iter()
                .fold(root.clone(), |path, step| match step {
                    Step::Key(name) => path.key(name),
                    Step::Index(index) => path.index(*index),
                });
            departure
        })
        .collect()
}

fn message(path: &FieldPath, owner: &str, near: Option<&str>) -> String {
    let name = path.last_key().unwrap_or_default();
    match near {
        Some(near) => format!("{owner} has no field {name}; did you mean {near}?"),
        None => format!("{owner} has no field {name}"),
    }
}
