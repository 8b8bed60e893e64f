//! KL0103: a number where text is wanted, and the other way round.

use super::unknown_field::job_departures;
use crate::lint::subject::{Subject, coerced};
use crate::lint::{Finding, Rule, Severity};
use crate::schema::{Departure, Problem};
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0103",
    name: "wrong-type",
    severity: Severity::Error,
    what: "Whether each field holds the type Katib wants: bounds, steps and settings are text, \
           counts and the goal are numbers.",
    why: "Katib refuses the Experiment (HTTP 400, \"cannot unmarshal …\"), without a line number.",
    mend: "Put the value in quotes, or take it out of them.",
    example: "feasibleSpace: {min: 0.01, max: 0.1}",
    instead: "feasibleSpace: {min: \"0.01\", max: \"0.1\"}",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    for departure in &subject.departures {
        report(subject, departure, findings);
    }
    if subject.is_job() {
        for departure in job_departures(subject) {
            report(subject, &departure, findings);
        }
    }
}

fn report(subject: &Subject<'_>, departure: &Departure, findings: &mut Vec<Finding>) {
    let Departure { path, problem } = departure;
    let Problem::WrongType { found, wanted, .. } = problem else {
        return;
    };
    let value = subject.value(path).cloned().unwrap_or_default();
    let mended = coerced(&value, wanted);
    let fix = match &mended {
        Some(Value::String(_)) => subject.quote(path),
        Some(bare) if value.is_string() => subject.unquote(path, &bare.to_string()),
        Some(bare) => subject
            .document
            .place(path)
            .map(|place| subject.replace(place.value.clone(), bare.to_string())),
        None => None,
    };
    let name = path.last_key().unwrap_or_default();
    let (is, wants) = (plainly(found), plainly(wanted));
    let mut finding = subject
        .at_value(&RULE, path, format!("{name} is {is}; {wants} is wanted"))
        .fix(fix);
    finding.mend = match &mended {
        Some(Value::String(_)) => format!("Write {name}: \"{}\".", scalar(&value)),
        Some(bare) => format!("Write {name}: {bare}."),
        None => format!("Give {name} {wants}."),
    };
    findings.push(finding);
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Go's and JSON's words for types, in a person's.
fn plainly(word: &str) -> &'static str {
    if word.starts_with("number") {
        return "a number";
    }
    match word {
        "string" | "time" => "a string",
        "bool" => "true or false",
        "null" => "nothing",
        "int32" | "int64" => "a whole number",
        "float64" => "a number",
        "array" => "a list",
        "object" => "a mapping",
        "string or number" => "a string or a number",
        other if other.starts_with("[]") => "a list",
        other if other.starts_with("map[") => "a mapping",
        // The words of an enumeration, or a structure.
        other if ENUMERATIONS.contains(&other) => "a string",
        _ => "a mapping",
    }
}

const ENUMERATIONS: &[&str] = &[
    "v1beta1.ResumePolicyType",
    "v1beta1.ParameterType",
    "v1beta1.Distribution",
    "v1beta1.ObjectiveType",
    "v1beta1.MetricStrategyType",
    "v1beta1.FileSystemKind",
    "v1beta1.FileFormat",
    "v1beta1.CollectorKind",
    "v1.URIScheme",
];
