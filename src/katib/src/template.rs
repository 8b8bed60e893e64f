//! From a trial template and a set of assignments to the object a trial creates.
//!
//! The template is text: a `trialSpec` encoded as one line of JSON, or the value of a
//! ConfigMap key. Every `${trialParameters.NAME}` in it is replaced as text, without
//! escaping, as Katib does: in a `trialSpec` a value therefore stays a string, while an
//! unquoted placeholder in a ConfigMap's YAML can become a number, and a value with a quote
//! in it breaks a `trialSpec`. The result gets the trial's name and namespace and nothing
//! else.

use crate::decode::one_line;
use crate::types::{ParameterAssignment, TrialParameterSpec, TrialTemplate};
use serde_json::Value;

/// How a placeholder begins.
pub const PLACEHOLDER: &str = "${trialParameters.";
const METADATA: &str = "${trialSpec.";

/// Why a template does not become an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Assignments and trial parameters do not match one to one. Katib wants every search
    /// parameter to be used; the Experiment makes no trial until it is created anew.
    #[error(
        "unable to find parameter from ParameterAssignment in TrialParameters: parameter assignments: [{assignments}], non-meta trial parameter count: {count}"
    )]
    UnusedParameter {
        /// Names and values.
        assignments: String,
        /// Trial parameters that refer to search parameters.
        count: usize,
    },
    /// A trial parameter refers to a search parameter the algorithm gave no value for.
    #[error(
        "trial parameter {name} refers to {reference}, which is not among the assignments: [{assignments}]"
    )]
    MissingAssignment {
        /// The trial parameter.
        name: String,
        /// What it refers to.
        reference: String,
        /// Names and values.
        assignments: String,
    },
    /// A metadata reference names something the template does not have.
    #[error("trial parameter {name} refers to {reference}, which the trial template does not have")]
    MissingMetadata {
        /// The trial parameter.
        name: String,
        /// What it refers to.
        reference: String,
    },
    /// There is neither a `trialSpec` nor the text of a ConfigMap.
    #[error("the trial template has no text")]
    NoText,
    /// The text is neither JSON nor YAML with a kind.
    #[error("the trial template is no object: {0}")]
    NotAnObject(String),
}

impl TemplateError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnusedParameter { .. } => {
                "give every search parameter a trialParameter that refers to it, or remove it from spec.parameters"
                    .to_owned()
            }
            Self::MissingAssignment { reference, .. } => {
                format!("add {reference} to spec.parameters, or refer to a parameter that is there")
            }
            Self::MissingMetadata { .. } => {
                "the known references are ${trialSpec.Name}, .Namespace, .Kind, .APIVersion, .Annotations[key] and .Labels[key]"
                    .to_owned()
            }
            Self::NoText => "set spec.trialTemplate.trialSpec or .configMap".to_owned(),
            Self::NotAnObject(_) => {
                "check that the template is an object with apiVersion and kind after its placeholders are filled in"
                    .to_owned()
            }
        })
    }
}

/// The text of a template: its `trialSpec`, else the given text of its ConfigMap.
///
/// # Errors
/// When there is neither.
pub fn template_text(
    template: &TrialTemplate,
    config_map: Option<&str>,
) -> Result<String, TemplateError> {
    match (&template.trial_spec, config_map) {
        (Some(spec), _) => Ok(one_line(spec)),
        (None, Some(text)) => Ok(text.to_owned()),
        (None, None) => Err(TemplateError::NoText),
    }
}

/// Renders the object of one trial.
///
/// # Errors
/// When assignments and trial parameters do not fit together, when a metadata reference
/// leads nowhere, or when the filled-in text is no object.
pub fn render_trial(
    template: &TrialTemplate,
    text: &str,
    assignments: &[ParameterAssignment],
    name: &str,
    namespace: &str,
) -> Result<Value, TemplateError> {
    let mut values = Vec::new();
    let mut searched = 0;
    for parameter in template.parameters() {
        let value = match metadata_reference(&parameter.reference) {
            Some(reference) => {
                let object = match &template.trial_spec {
                    Some(spec) => spec.clone(),
                    None => parse_object(text)?,
                };
                metadata_value(reference, &object, name, namespace).ok_or_else(|| {
                    TemplateError::MissingMetadata {
                        name: parameter.name.clone(),
                        reference: parameter.reference.clone(),
                    }
                })?
            }
            None => {
                searched += 1;
                assignments
                    .iter()
                    .find(|assignment| assignment.name == parameter.reference)
                    .map(|assignment| assignment.value.clone())
                    .ok_or_else(|| TemplateError::MissingAssignment {
                        name: parameter.name.clone(),
                        reference: parameter.reference.clone(),
                        assignments: listed(assignments),
                    })?
            }
        };
        values.push((parameter.name.as_str(), value));
    }
    if searched != assignments.len() {
        return Err(TemplateError::UnusedParameter {
            assignments: listed(assignments),
            count: searched,
        });
    }
    let mut object = parse_object(&fill(text, &values))?;
    if let Value::Object(fields) = &mut object {
        let metadata = fields
            .entry("metadata")
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        if !metadata.is_object() {
            *metadata = Value::Object(serde_json::Map::new());
        }
        metadata["name"] = name.into();
        metadata["namespace"] = namespace.into();
    }
    Ok(object)
}

/// Replaces placeholders by their values, in one pass: a value is never looked into.
pub fn fill(text: &str, values: &[(&str, String)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PLACEHOLDER) {
        let (before, tail) = rest.split_at(at);
        filled.push_str(before);
        let inside = &tail[PLACEHOLDER.len()..];
        let known = values.iter().find(|(name, _)| {
            inside
                .strip_prefix(name)
                .is_some_and(|after| after.starts_with('}'))
        });
        match known {
            Some((name, value)) => {
                filled.push_str(value);
                rest = &inside[name.len() + 1..];
            }
            None => {
                filled.push_str(PLACEHOLDER);
                rest = inside;
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// The placeholders in a text, each once, in order of appearance.
pub fn placeholders(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(PLACEHOLDER) {
        let tail = &rest[at..];
        // At least one character between the dot and the brace, as Katib's pattern wants.
        let inside = &tail[PLACEHOLDER.len()..];
        let skip = inside.chars().next().map_or(0, char::len_utf8);
        match inside[skip..].find('}') {
            Some(end) if skip > 0 => {
                let whole = &tail[..PLACEHOLDER.len() + skip + end + 1];
                if !found.contains(&whole) {
                    found.push(whole);
                }
                rest = &tail[whole.len()..];
            }
            _ => rest = inside,
        }
    }
    found
}

/// What stands between `${trialSpec.` and `}`, if that is what the reference is.
pub fn metadata_reference(reference: &str) -> Option<&str> {
    let (_, inside) = reference.split_once(METADATA)?;
    let (inside, _) = inside.split_once('}')?;
    (!inside.is_empty()).then_some(inside)
}

fn metadata_value(reference: &str, object: &Value, name: &str, namespace: &str) -> Option<String> {
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    match reference {
        "Name" => return Some(name.to_owned()),
        "Namespace" => return Some(namespace.to_owned()),
        "Kind" => return text("/kind"),
        "APIVersion" => return text("/apiVersion"),
        _ => {}
    }
    let (what, key) = reference.strip_suffix(']')?.split_once('[')?;
    let group = match what {
        "Annotations" => "annotations",
        "Labels" => "labels",
        _ => return None,
    };
    object
        .get("metadata")?
        .get(group)?
        .get(key)?
        .as_str()
        .map(str::to_owned)
}

/// Reads a filled-in template, JSON or YAML, that must be an object with a kind.
///
/// # Errors
/// When it is not.
pub fn parse_object(text: &str) -> Result<Value, TemplateError> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(json) if text.trim_start().starts_with('{') => {
            return Err(TemplateError::NotAnObject(json.to_string()));
        }
        Err(_) => crate::yaml::parse(text)
            .map_err(|error| TemplateError::NotAnObject(error.to_string()))?,
    };
    if value
        .get("kind")
        .and_then(Value::as_str)
        .is_none_or(str::is_empty)
    {
        return Err(TemplateError::NotAnObject(
            "Object 'Kind' is missing".to_owned(),
        ));
    }
    Ok(value)
}

fn listed(assignments: &[ParameterAssignment]) -> String {
    assignments
        .iter()
        .map(|assignment| format!("{{{} {}}}", assignment.name, assignment.value))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A trial parameter as Go prints it.
pub(crate) fn go_parameters(parameters: &[TrialParameterSpec]) -> String {
    let items: Vec<String> = parameters
        .iter()
        .map(|p| format!("{{{} {} {}}}", p.name, p.description, p.reference))
        .collect();
    format!("[{}]", items.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(spec: Value, parameters: Value) -> TrialTemplate {
        serde_json::from_value(json!({"trialSpec": spec, "trialParameters": parameters})).unwrap()
    }

    fn values(pairs: &[(&str, &str)]) -> Vec<ParameterAssignment> {
        pairs
            .iter()
            .map(|(name, value)| ParameterAssignment::new(*name, *value))
            .collect()
    }

    fn rendered(
        template: &TrialTemplate,
        assignments: &[ParameterAssignment],
    ) -> Result<Value, TemplateError> {
        let text = template_text(template, None)?;
        render_trial(template, &text, assignments, "e-abcd", "user")
    }

    #[test]
    fn assignments_and_every_metadata_reference_are_filled_in() {
        let template = template(
            json!({"apiVersion": "batch/v1", "kind": "Job",
                   "metadata": {"labels": {"team": "blue"}, "annotations": {"a.b/c": "x"}},
                   "spec": {"args": ["--lr=${trialParameters.lr}", "${trialParameters.name}",
                       "${trialParameters.ns}", "${trialParameters.kind}",
                       "${trialParameters.api}", "${trialParameters.team}",
                       "${trialParameters.note}", "${trialSpec.Name}"]}}),
            json!([{"name": "lr", "reference": "--lr"},
                   {"name": "name", "reference": "${trialSpec.Name}"},
                   {"name": "ns", "reference": "${trialSpec.Namespace}"},
                   {"name": "kind", "reference": "${trialSpec.Kind}"},
                   {"name": "api", "reference": "${trialSpec.APIVersion}"},
                   {"name": "team", "reference": "${trialSpec.Labels[team]}"},
                   {"name": "note", "reference": "${trialSpec.Annotations[a.b/c]}"}]),
        );
        let object = rendered(&template, &values(&[("--lr", "0.1")])).unwrap();
        assert_eq!(
            object["spec"]["args"],
            json!([
                "--lr=0.1",
                "e-abcd",
                "user",
                "Job",
                "batch/v1",
                "blue",
                "x",
                "${trialSpec.Name}"
            ])
        );
        assert_eq!(object["metadata"]["name"], "e-abcd");
        assert_eq!(object["metadata"]["namespace"], "user");
        assert_eq!(object["metadata"]["labels"], json!({"team": "blue"}));
    }

    #[test]
    fn an_unused_search_parameter_is_refused_in_katibs_words() {
        let template = template(
            json!({"apiVersion": "batch/v1", "kind": "Job", "spec": "${trialParameters.a}"}),
            json!([{"name": "a", "reference": "--learning_rate"}]),
        );
        let error = rendered(
            &template,
            &values(&[("--learning_rate", "0.008"), ("--batch_size", "47")]),
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "unable to find parameter from ParameterAssignment in TrialParameters: parameter \
             assignments: [{--learning_rate 0.008} {--batch_size 47}], non-meta trial parameter count: 1"
        );
    }

    #[test]
    fn a_config_map_template_can_yield_numbers() {
        let template: TrialTemplate =
            serde_json::from_value(json!({"trialParameters": [{"name": "n", "reference": "n"}]}))
                .unwrap();
        let text = "apiVersion: batch/v1\nkind: Job\nspec:\n  backoffLimit: ${trialParameters.n}\n";
        let object = render_trial(&template, text, &values(&[("n", "4")]), "t", "u").unwrap();
        assert_eq!(object["spec"]["backoffLimit"], 4);
    }

    #[test]
    fn a_value_with_a_quote_breaks_a_trial_spec_as_it_does_in_katib() {
        let template = template(
            json!({"apiVersion": "v1", "kind": "Job", "x": "${trialParameters.a}"}),
            json!([{"name": "a", "reference": "a"}]),
        );
        let error = rendered(&template, &values(&[("a", "say \"hi\"")])).unwrap_err();
        assert!(matches!(error, TemplateError::NotAnObject(_)), "{error}");
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_is_not_looked_into() {
        let filled = fill(
            "${trialParameters.a} ${trialParameters.b} ${trialParameters.c}",
            &[("a", "${trialParameters.b}".into()), ("b", "2".into())],
        );
        assert_eq!(filled, "${trialParameters.b} 2 ${trialParameters.c}");
        assert_eq!(
            placeholders("x${trialParameters.b}${trialParameters.}y${trialParameters.b}"),
            [
                "${trialParameters.b}",
                "${trialParameters.}y${trialParameters.b}"
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn filling_never_panics(text in ".*", name in "[a-z}{$]{0,4}", value in ".*") {
            fill(&text, &[(name.as_str(), value)]);
            placeholders(&format!("{text}${{trialParameters.{name}"));
            metadata_reference(&text);
        }
    }
}
