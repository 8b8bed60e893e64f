//! Checks of the trial template.

use super::{ClusterFacts, ConfigMapText, FieldError};
use crate::path::{FieldPath, Step};
use crate::schema::{Problem, Schema};
use crate::template::{
    PLACEHOLDER, TemplateError, fill, go_parameters, metadata_reference, parse_object,
    placeholders, template_text,
};
use crate::types::{ExperimentSpec, ParameterSpec, TrialParameterSpec, TrialTemplate};
use serde_json::Value;

const PATH: &str = "spec.trialTemplate";
/// What Katib puts in the place of a value while it checks.
const TEST_VALUE: &str = "test-value";

pub(super) fn check(spec: &ExperimentSpec, facts: &ClusterFacts, errors: &mut Vec<FieldError>) {
    let Some(template) = &spec.trial_template else {
        errors.push(FieldError::required(PATH, "must be specified"));
        return;
    };
    if template.primary_container_name.is_empty() {
        errors.push(FieldError::required(
            "spec.trialTemplate.primaryContainerName",
            "must be specified",
        ));
    }
    if template.success_condition.is_empty() || template.failure_condition.is_empty() {
        errors.push(FieldError::required(
            PATH,
            "successCondition and failureCondition must be specified",
        ));
    }
    if template.trial_parameters.is_none() {
        errors.push(FieldError::required(
            "spec.trialTemplate.trialParameters",
            "must be specified",
        ));
        return;
    }
    let Some(text) = source_text(template, facts, errors) else {
        return;
    };
    if let Some(filled) = check_parameters(spec, template, &text, errors) {
        check_object(&filled, errors);
    }
}

/// The template's text, unless something about its source is wrong or unknown.
fn source_text(
    template: &TrialTemplate,
    facts: &ClusterFacts,
    errors: &mut Vec<FieldError>,
) -> Option<String> {
    match (&template.trial_spec, &template.config_map) {
        (None, None) => {
            errors.push(FieldError::required(
                "spec.trialTemplate.TrialSource",
                "spec.trialTemplate.trialSpec or spec.trialTemplate.configMap must be specified",
            ));
            None
        }
        (Some(_), Some(_)) => {
            errors.push(FieldError::required(
                PATH,
                "only one of spec.trialTemplate.trialSpec or spec.trialTemplate.configMap can be \
                 specified",
            ));
            None
        }
        (Some(_), None) => template_text(template, None).ok(),
        (None, Some(source)) => {
            if source.config_map_name.is_empty()
                || source.config_map_namespace.is_empty()
                || source.template_path.is_empty()
            {
                errors.push(FieldError::required(
                    "spec.trialTemplate.configMap",
                    "configMapName, configMapNamespace and templatePath must be specified",
                ));
                return None;
            }
            match &facts.config_map {
                ConfigMapText::NotAsked => None,
                ConfigMapText::Text(text) => Some(text.clone()),
                ConfigMapText::Missing(why) => {
                    errors.push(FieldError::invalid(
                        PATH,
                        "",
                        &format!("unable to parse spec.trialTemplate: configMap not found: {why}"),
                    ));
                    None
                }
            }
        }
    }
}

/// Checks the trial parameters; gives the text with test values in it unless a parameter has
/// no placeholder, which ends the checks.
fn check_parameters(
    spec: &ExperimentSpec,
    template: &TrialTemplate,
    text: &str,
    errors: &mut Vec<FieldError>,
) -> Option<String> {
    let parameters = template.parameters();
    let all = go_parameters(parameters);
    let mut filled = text.to_owned();
    let mut seen: Vec<&TrialParameterSpec> = Vec::new();
    for (index, parameter) in parameters.iter().enumerate() {
        let path = format!("spec.trialTemplate.trialParameters[{index}]");
        let TrialParameterSpec {
            name, reference, ..
        } = parameter;
        if name.is_empty() || reference.is_empty() || name.contains(['{', '}']) {
            errors.push(FieldError::invalid(
                &path,
                "",
                "name and reference must be specified and name must not contain '{' or '}'",
            ));
            continue;
        }
        if seen.iter().any(|other| other.name == *name) {
            errors.push(FieldError::invalid(
                &format!("{path}.name"),
                name,
                &format!(
                    "parameter name {name} can't be duplicated in \
                     spec.trialTemplate.trialParameters: {all}"
                ),
            ));
            continue;
        }
        if seen.iter().any(|other| other.reference == *reference) {
            errors.push(FieldError::invalid(
                &format!("{path}.reference"),
                reference,
                &format!(
                    "parameter reference {reference} can't be duplicated in \
                     spec.trialTemplate.trialParameters: {all}"
                ),
            ));
            continue;
        }
        seen.push(parameter);
        let searched = spec.parameters.iter().any(|p| p.name == *reference);
        if !spec.parameters.is_empty() && !searched && metadata_reference(reference).is_none() {
            errors.push(FieldError::invalid(
                &format!("{path}.reference"),
                reference,
                &format!(
                    "parameter reference {reference} does not exist in spec.parameters: {}",
                    go_space(&spec.parameters)
                ),
            ));
        }
        if !filled.contains(&format!("{PLACEHOLDER}{name}}}")) {
            errors.push(FieldError::invalid(
                &format!("{path}.name"),
                name,
                &format!(
                    "parameter name: {name} in spec.trialParameters not found in \
                     spec.trialTemplate"
                ),
            ));
            return None;
        }
        filled = fill(&filled, &[(name.as_str(), TEST_VALUE.to_owned())]);
    }
    let left = placeholders(&filled);
    if !left.is_empty() {
        errors.push(FieldError::invalid(
            PATH,
            "",
            &format!(
                "parameters: [{}] in spec.trialTemplate not found in spec.trialParameters: {all}",
                left.join(" ")
            ),
        ));
    }
    Some(filled)
}

fn check_object(filled: &str, errors: &mut Vec<FieldError>) {
    let object = match parse_object(filled) {
        Ok(object) => object,
        Err(error) => {
            let why = match error {
                TemplateError::NotAnObject(why) => why,
                other => other.to_string(),
            };
            errors.push(FieldError::invalid(
                PATH,
                "",
                &format!("unable to convert spec.trialTemplate: {why}"),
            ));
            return;
        }
    };
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if !text("/metadata/name").is_empty() || !text("/metadata/namespace").is_empty() {
        errors.push(FieldError::invalid(
            PATH,
            "",
            "metadata.name and metadata.namespace in spec.trialTemplate must be omitted",
        ));
    }
    if text("/apiVersion").is_empty() || text("/kind").is_empty() {
        errors.push(FieldError::required(
            PATH,
            "APIVersion and Kind in spec.trialTemplate must be specified",
        ));
    }
    if text("/apiVersion") == "batch/v1" && text("/kind") == "Job" {
        check_job(&object, errors);
    }
}

/// A Job that loses something on its way through Kubernetes' own type is refused.
fn check_job(object: &Value, errors: &mut Vec<FieldError>) {
    let departures = Schema::job().departures("Job", object);
    for departure in &departures {
        if let Problem::WrongType { wanted, .. } = &departure.problem {
            errors.push(FieldError::invalid(
                PATH,
                "",
                &format!(
                    "invalid spec.trialTemplate: unable to convert spec.TrialTemplate to Job: \
                     unrecognized type: {wanted} at {}",
                    departure.path
                ),
            ));
            return;
        }
    }
    for departure in &departures {
        let way = pointer(&departure.path);
        if way.contains("/resources/limits/") || way.contains("/resources/requests/") {
            continue;
        }
        let value = departure.path.find(object).cloned().unwrap_or_default();
        errors.push(FieldError::invalid(
            PATH,
            "",
            &format!(
                "invalid spec.trialTemplate: unable to convert: {way} - {} to Job",
                go_value(&value)
            ),
        ));
        return;
    }
}

fn pointer(path: &FieldPath) -> String {
    path.steps()
        .iter()
        .map(|step| match step {
            Step::Key(name) => format!("/{name}"),
            Step::Index(index) => format!("/{index}"),
        })
        .collect()
}

/// A value as Go's `%v` prints it.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_value).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(entries) => {
            let mut items: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{key}:{}", go_value(value)))
                .collect();
            items.sort();
            format!("map[{}]", items.join(" "))
        }
        other => other.to_string(),
    }
}

fn go_space(parameters: &[ParameterSpec]) -> String {
    let items: Vec<String> = parameters
        .iter()
        .map(|parameter| {
            let space = &parameter.feasible_space;
            format!(
                "{{{} {} {{{} {} [{}] {} {}}}}}",
                parameter.name,
                parameter.parameter_type,
                space.max,
                space.min,
                space.list.join(" "),
                space.step,
                space.distribution
            )
        })
        .collect();
    format!("[{}]", items.join(" "))
}
