//! From JSON to an Experiment, refused in the words of Katib's defaulting webhook.

use crate::path::Step;
use crate::schema::{Departure, Problem, Schema};
use crate::types::Experiment;
use serde_json::Value;

/// Name of the webhook that fills in defaults.
pub const DEFAULTER: &str = "defaulter.experiment.katib.kubeflow.org";
/// Name of the webhook that validates.
pub const VALIDATOR: &str = "validator.experiment.katib.kubeflow.org";

/// Why an object is not an Experiment. The text is what Katib's webhook answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field holds another type than Katib wants: a bare number where it wants a string,
    /// for example. Quote or unquote the value.
    #[error("json: cannot unmarshal {found} into Go struct field {field} of type {wanted}")]
    WrongType {
        /// What was found.
        found: String,
        /// Type and way, as Go writes them.
        field: String,
        /// What is wanted.
        wanted: String,
        /// The way to the field.
        path: String,
    },
    /// The trial template has no kind. Add `apiVersion` and `kind` to `trialSpec`.
    #[error("Object 'Kind' is missing in '{template}'")]
    MissingKind {
        /// The template as one line of JSON.
        template: String,
    },
    /// The object cannot be read at all.
    #[error("{0}")]
    Malformed(String),
}

impl DecodeError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::WrongType { path, wanted, .. } if wanted == "string" => Some(format!(
                "put the value of {path} in quotes: Katib wants a string there"
            )),
            Self::WrongType { path, wanted, .. } => Some(format!("{path} must be a {wanted}")),
            Self::MissingKind { .. } => {
                Some("add apiVersion and kind to spec.trialTemplate.trialSpec".to_owned())
            }
            Self::Malformed(_) => None,
        }
    }
}

/// Reads an Experiment.
///
/// # Errors
/// When a field has another type than Katib's, or the trial template has no kind.
pub fn decode_experiment(value: Value) -> Result<Experiment, DecodeError> {
    let departures = Schema::experiment().departures("Experiment", &value);
    for departure in &departures {
        if let Some(error) = wrong_type(departure) {
            return Err(error);
        }
    }
    if let Some(template) = value.pointer("/spec/trialTemplate/trialSpec")
        && !template.is_null()
        && template
            .get("kind")
            .and_then(Value::as_str)
            .is_none_or(str::is_empty)
    {
        return Err(DecodeError::MissingKind {
            template: one_line(template),
        });
    }
    serde_json::from_value(value).map_err(|error| DecodeError::Malformed(error.to_string()))
}

/// The error of a departure, if Katib refuses it: unknown fields it drops without a word.
pub fn wrong_type(departure: &Departure) -> Option<DecodeError> {
    let Problem::WrongType {
        found,
        wanted,
        owner,
    } = &departure.problem
    else {
        return None;
    };
    let way: Vec<&str> = departure
        .path
        .steps()
        .iter()
        .filter_map(|step| match step {
            Step::Key(name) => Some(name.as_str()),
            Step::Index(_) => None,
        })
        .collect();
    Some(DecodeError::WrongType {
        found: found.clone(),
        field: format!("{owner}.{}", way.join(".")),
        wanted: wanted.clone(),
        path: departure.path.to_string(),
    })
}

/// One line of JSON with sorted keys, as Go encodes a free-form object.
pub fn one_line(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(entries) => {
                let mut keys: Vec<&String> = entries.keys().collect();
                keys.sort();
                keys.into_iter()
                    .map(|key| (key.clone(), sorted(&entries[key])))
                    .collect()
            }
            Value::Array(items) => items.iter().map(sorted).collect(),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

/// The message of a Status with which the API server passes on a webhook's denial.
pub fn denial(webhook: &str, text: &str) -> String {
    format!("admission webhook \"{webhook}\" denied the request: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(spec: Value) -> String {
        decode_experiment(
            json!({"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
            "metadata": {"name": "e"}, "spec": spec}),
        )
        .unwrap_err()
        .to_string()
    }

    #[test]
    fn wrong_types_are_refused_in_the_words_of_the_webhook() {
        assert_eq!(
            refusal(json!({"parameters": [{"feasibleSpace": {"min": 0.01}}]})),
            "json: cannot unmarshal number into Go struct field \
             FeasibleSpace.spec.parameters.feasibleSpace.min of type string"
        );
        assert_eq!(
            refusal(json!({"objective": {"goal": "0.9"}})),
            "json: cannot unmarshal string into Go struct field \
             ObjectiveSpec.spec.objective.goal of type float64"
        );
        assert_eq!(
            refusal(json!({"parameters": [{"feasibleSpace": {"distribution": ["a"]}}]})),
            "json: cannot unmarshal array into Go struct field \
             FeasibleSpace.spec.parameters.feasibleSpace.distribution of type v1beta1.Distribution"
        );
    }

    #[test]
    fn a_template_without_kind_is_refused_with_its_text() {
        assert_eq!(
            refusal(
                json!({"trialTemplate": {"trialSpec": {"spec": {}, "apiVersion": "batch/v1"}}})
            ),
            "Object 'Kind' is missing in '{\"apiVersion\":\"batch/v1\",\"spec\":{}}'"
        );
    }

    #[test]
    fn unknown_fields_vanish() {
        let read = decode_experiment(json!({"kind": "Experiment", "spec":
            {"paralelTrialCount": 2, "trialTemplate": {"trialSpec": {"kind": "Job", "x": 1}}}}))
        .unwrap();
        let back = serde_json::to_value(read).unwrap();
        assert!(back["spec"].get("paralelTrialCount").is_none());
        assert_eq!(back["spec"]["trialTemplate"]["trialSpec"]["x"], 1);
    }
}
