//! The three kinds of `kubeflow.org/v1beta1` and what they are made of.
//!
//! The field order is that of Katib's own structures, so that an object encoded here reads
//! like one encoded by Katib. Decoding is forgiving where the API server is: words outside
//! an enumeration are kept as they are (validation names them), `null` stands for the empty
//! value, and unknown fields are dropped, as Katib's defaulting webhook drops them.
//! [`Trial`] and [`Suggestion`] are decoded the same way.

mod experiment;
mod meta;
mod status;
mod suggestion;
mod trial;
mod words;

pub use experiment::*;
pub use meta::*;
pub use status::*;
pub use suggestion::*;
pub use trial::*;
pub use words::*;

use serde::{Deserialize, Deserializer, Serializer};

/// Group and version shared by the three kinds.
pub const API_VERSION: &str = "kubeflow.org/v1beta1";

/// `null` and an absent key both mean the empty value, as in Go.
pub(crate) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Tells an explicit `null` (`Some(None)`) from an absent key (`None`).
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}

pub(crate) fn is_zero(number: &i32) -> bool {
    *number == 0
}

pub(crate) fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Go writes a whole float64 without a fraction (`1`, not `1.0`).
pub(crate) fn go_float<S: Serializer>(
    number: &Option<f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match number {
        None => serializer.serialize_none(),
        Some(value) if value.fract() == 0.0 && value.abs() < 9e15 => {
            serializer.serialize_i64(*value as i64)
        }
        Some(value) => serializer.serialize_f64(*value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_experiment_survives_a_round_trip_with_its_unknown_metadata() {
        let given = json!({
            "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
            "metadata": {"name": "e", "namespace": "n", "labels": {"a": "b"},
                         "managedFields": [{"manager": "kubectl"}], "selfLink": "/x"},
            "spec": {
                "parameters": [{"name": "lr", "parameterType": "double",
                                "feasibleSpace": {"max": "1", "min": "0"}}],
                "objective": {"type": "maximize", "goal": 1, "objectiveMetricName": "acc"},
                "algorithm": {"algorithmName": "random"},
                "trialTemplate": {"retain": true, "trialSpec": {"kind": "Job", "x": null},
                                  "trialParameters": []},
                "parallelTrialCount": 3
            },
            "status": {"completionTime": null,
                       "currentOptimalTrial": {"observation": {}}}
        });
        let read: Experiment = serde_json::from_value(given.clone()).unwrap();
        assert_eq!(read.status.as_ref().unwrap().completion_time, Some(None));
        assert_eq!(serde_json::to_value(&read).unwrap(), given);
    }

    #[test]
    fn a_new_status_holds_the_optimal_trial_and_neither_counters_nor_lists() {
        let status = ExperimentStatus::default();
        assert_eq!(
            serde_json::to_value(status).unwrap(),
            json!({"currentOptimalTrial": {"observation": {}}})
        );
    }

    #[test]
    fn a_word_outside_an_enumeration_is_kept() {
        let kind: ParameterType = serde_json::from_value(json!("float")).unwrap();
        assert_eq!(kind, ParameterType::Other("float".into()));
        assert_eq!(serde_json::to_value(kind).unwrap(), json!("float"));
    }

    #[test]
    fn null_reads_as_the_empty_value() {
        let spec: ExperimentSpec = serde_json::from_value(json!({
            "parameters": null, "resumePolicy": null, "trialTemplate": {"trialParameters": null}
        }))
        .unwrap();
        assert!(spec.parameters.is_empty());
        assert!(spec.trial_template.unwrap().trial_parameters.is_none());
    }
}
