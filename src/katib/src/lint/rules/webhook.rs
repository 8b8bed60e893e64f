//! KL0201: what Katib's webhook refuses.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity, TextEdit};
use crate::names::{DEFAULT_EARLY_STOPPING, SANDBOX_ALGORITHMS, SANDBOX_COLLECTORS};
use crate::path::FieldPath;
use crate::schema::near;
use crate::types::{
    CollectorKind, Distribution, Experiment, FileFormat, FileSystemKind, ObjectiveType,
    ParameterType, ResumePolicy,
};
use crate::validation::{ErrorKind, FieldError, validate_create};
use crate::yaml::Style;
use serde_json::Value;

pub(super) const RULE: Rule = Rule {
    code: "KL0201",
    name: "refused",
    severity: Severity::Error,
    what: "Everything Katib's webhook checks when an Experiment is created.",
    why: "Katib refuses the Experiment when it is created (HTTP 400).",
    mend: "Correct the field.",
    example: "objective: {type: best, objectiveMetricName: accuracy}",
    instead: "objective: {type: maximize, objectiveMetricName: accuracy}",
};

const ALGORITHM: &str = "spec.algorithm.algorithmName";

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(defaulted) = &subject.defaulted else {
        return;
    };
    check_kind_of_template(subject, findings);
    let mut facts = subject.options.facts.clone();
    if subject.is_sandbox() {
        facts.collectors = SANDBOX_COLLECTORS
            .iter()
            .map(|kind| (*kind).to_owned())
            .collect();
    }
    for error in validate_create(&named(defaulted), &facts) {
        if told_elsewhere(subject, &error) {
            continue;
        }
        let path = place_of(&error);
        let detail = match error.kind {
            ErrorKind::Invalid => error.detail.trim().to_owned(),
            ErrorKind::Required if error.detail == "must be specified" => "is missing".to_owned(),
            _ => error.detail.clone(),
        };
        let separator = if detail == "is missing" || detail.starts_with("must be") {
            " "
        } else {
            ": "
        };
        let fix = near_word(subject, &path);
        let mut finding = subject
            .at_value(
                &RULE,
                &path,
                format!("{path}{separator}{}", shortened(&detail)),
            )
            .fix(fix);
        if error.kind == ErrorKind::Required {
            finding.mend = format!("Add {path}.");
        }
        if let Some(mend) = mend(&error) {
            finding.mend = mend;
        }
        // The cluster may know more algorithms than a default installation; the name is no slip of the pen.
        if finding.fix.is_none() && error.path == ALGORITHM && error.kind == ErrorKind::Invalid {
            finding = finding.severity(Severity::Warning).why(
                "Katib refuses the Experiment when it is created (HTTP 400), unless its configuration names an \
                 image for the algorithm.",
            );
        }
        findings.push(finding);
    }
}

/// A template without kind is refused before validation, by the decoder.
fn check_kind_of_template(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let path = FieldPath::parse("spec.trialTemplate.trialSpec");
    let Some(template) = subject.value(&path).filter(|value| value.is_object()) else {
        return;
    };
    let has_kind = template
        .get("kind")
        .and_then(Value::as_str)
        .is_some_and(|kind| !kind.is_empty());
    if !has_kind {
        findings.push(
            subject
                .at(&RULE, &path, "the trial template has no kind")
                .mend("Add apiVersion: batch/v1 and kind: Job to trialSpec."),
        );
    }
}

/// A name that the API server will make up is not judged, only its beginning.
fn named(experiment: &Experiment) -> Experiment {
    let mut experiment = experiment.clone();
    if experiment.metadata.name().is_empty() {
        let prefix = experiment.metadata.generate_name.clone();
        // A missing name has a rule of its own.
        experiment.metadata.name = Some(prefix.unwrap_or_else(|| "unnamed".to_owned()));
    }
    experiment
}

fn told_elsewhere(subject: &Subject<'_>, error: &FieldError) -> bool {
    let no_kind = subject
        .template()
        .and_then(|template| template.trial_spec.as_ref())
        .is_some_and(|spec| spec.get("kind").is_none());
    // Fields and types of the Job, with their own places.
    error.detail.contains("unable to convert")
        // The default of three at once.
        || error.path == "spec.parallelTrialCount" && !subject.has("spec.parallelTrialCount")
        || no_kind && error.path == "spec.trialTemplate"
}

fn place_of(error: &FieldError) -> FieldPath {
    if error.path == "spec.trialTemplate.TrialSource" {
        return FieldPath::parse("spec.trialTemplate.trialSpec");
    }
    if error
        .detail
        .starts_with("feasibleSpace.max or feasibleSpace.min")
    {
        return FieldPath::parse(&error.path).parent().unwrap_or_default();
    }
    FieldPath::parse(&error.path)
}

/// Without the dump of all parameters that Katib appends.
fn shortened(detail: &str) -> String {
    [
        " in spec.trialTemplate.trialParameters: [",
        " does not exist in spec.parameters: [",
        " not found in spec.trialParameters: [",
    ]
    .iter()
    .find_map(|mark| {
        let at = detail.find(mark)?;
        let words = mark.trim_end_matches(": [");
        Some(format!("{}{words}", &detail[..at]))
    })
    .unwrap_or_else(|| detail.to_owned())
}

fn mend(error: &FieldError) -> Option<String> {
    let words = |known: &[&str]| format!("Use one of {}.", known.join(", "));
    let field = error.path.rsplit('.').next().unwrap_or_default();
    let text = match field {
        "name" if error.path == "metadata.name" => {
            "Begin with a lower-case letter, go on with lower-case letters, digits and '-', and \
             stay within 40 characters."
                .to_owned()
        }
        "maxFailedTrialCount" | "parallelTrialCount" | "maxTrialCount" => {
            "Keep parallelTrialCount and maxFailedTrialCount at or below maxTrialCount, and \
             maxTrialCount above 0."
                .to_owned()
        }
        "type" => words(ObjectiveType::ALL),
        "parameterType" => words(&["double", "int", "discrete", "categorical"]),
        "distribution" => words(&["uniform", "logUniform", "normal", "logNormal"]),
        "resumePolicy" => words(ResumePolicy::ALL),
        "kind" if error.value.as_deref() == Some("\"None\"") => {
            "Use Push when the training code reports by itself, or leave metricsCollectorSpec out."
                .to_owned()
        }
        "kind" if error.detail.starts_with("GetMetrics") => {
            "Use StdOut, File, TensorFlowEvent, Push or Custom: this Katib has no image for that \
             collector."
                .to_owned()
        }
        "kind" => words(&["StdOut", "File", "TensorFlowEvent", "Custom", "Push"]),
        "metricsFormat" => {
            "Write a regular expression of Go's with two groups: name, then value.".to_owned()
        }
        "algorithmName" if error.path == ALGORITHM => format!(
            "Use one of {}, or name the image of one of your own in ConfigMap kubeflow/katib-config, under \
             runtime.suggestions.",
            SANDBOX_ALGORITHMS.join(", ")
        ),
        "algorithmName" => words(DEFAULT_EARLY_STOPPING),
        "list" | "feasibleSpace" => {
            "Give min and max to double and int, a list to discrete and categorical.".to_owned()
        }
        _ if error.detail.contains("not found in spec.trialTemplate") => {
            "Use the trial parameter in the template as ${trialParameters.NAME}, or remove it."
                .to_owned()
        }
        _ if error.detail.contains("not found in spec.trialParameters") => {
            "Add a trialParameter for the placeholder, or remove the placeholder.".to_owned()
        }
        _ => return None,
    };
    Some(text)
}

/// A misspelt word of an enumeration, put right.
fn near_word(subject: &Subject<'_>, path: &FieldPath) -> Option<TextEdit> {
    let facts = &subject.options.facts;
    let owned = |names: &'static [&'static str]| names.to_vec();
    let known: Vec<&str> = match path.last_key()? {
        "type" => owned(ObjectiveType::ALL),
        "parameterType" => owned(ParameterType::ALL),
        "distribution" => owned(Distribution::ALL),
        "resumePolicy" => owned(ResumePolicy::ALL),
        "format" => owned(FileFormat::ALL),
        "kind" if path.to_string().ends_with("fileSystemPath.kind") => owned(FileSystemKind::ALL),
        "kind" => owned(CollectorKind::ALL),
        "algorithmName" if path.to_string().contains("earlyStopping") => {
            facts.early_stopping.iter().map(String::as_str).collect()
        }
        "algorithmName" => facts.algorithms.iter().map(String::as_str).collect(),
        _ => return None,
    };
    let written = subject.value(path)?.as_str()?;
    let near = near(written, known).filter(|near| *near != written)?;
    let place = subject.document.place(path)?;
    matches!(
        place.style,
        Style::Plain | Style::SingleQuoted | Style::DoubleQuoted
    )
    .then(|| subject.replace(place.value.clone(), near))
}
