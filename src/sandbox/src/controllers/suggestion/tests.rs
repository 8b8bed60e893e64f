use super::*;
use katlab_katib::types::ObjectiveType;
use serde_json::json;

fn suggestion(requests: i32) -> Suggestion {
    serde_json::from_value(json!({
        "metadata": {"name": "mnist", "namespace": "lab", "uid": "u-1"},
        "spec": {"requests": requests}
    }))
    .unwrap()
}

fn grid(settings: serde_json::Value) -> ExperimentSpec {
    serde_json::from_value(json!({
        "parameters": [{"name": "n", "parameterType": "int",
                        "feasibleSpace": {"min": "1", "max": "3"}}],
        "algorithm": {"algorithmName": "grid", "algorithmSettings": settings}
    }))
    .unwrap()
}

fn kinds(status: &SuggestionStatus) -> Vec<String> {
    let conditions = status.conditions.iter();
    conditions
        .map(|c| format!("{} {} {}", c.kind, c.status, c.reason))
        .collect()
}

#[test]
fn readiness_and_the_first_assignments_come_together() {
    let mut status = SuggestionStatus::default();
    advance(&suggestion(2), &grid(json!([])), &[], &[], &mut status).unwrap();
    assert_eq!(
        kinds(&status),
        [
            "DeploymentReady True DeploymentReady",
            "Running True SuggestionRunning"
        ]
    );
    assert_eq!((status.suggestion_count, status.suggestions.len()), (2, 2));
    let names: HashSet<&str> = status.suggestions.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| name.len() == "mnist-".len() + 8));
}

#[test]
fn a_refused_setting_fails_in_katibs_words() {
    let mut status = SuggestionStatus::default();
    let spec = grid(json!([{"name": "colour", "value": "blue"}]));
    advance(&suggestion(2), &spec, &[], &[], &mut status).unwrap();
    assert_eq!(
        kinds(&status),
        [
            "DeploymentReady True DeploymentReady",
            "Failed True SuggestionFailed"
        ]
    );
    assert_eq!(
        status.conditions[1].message,
        "Validation failed: ValidateAlgorithmSettings Error: unknown setting colour for algorithm grid"
    );
    assert!(status.suggestions.is_empty());
}

#[test]
fn no_more_is_given_than_is_asked_for() {
    let mut status = SuggestionStatus::default();
    advance(&suggestion(1), &grid(json!([])), &[], &[], &mut status).unwrap();
    let before = status.clone();
    for requests in [1, 0] {
        let mut suggestion = suggestion(requests);
        suggestion.status = Some(status.clone());
        advance(&suggestion, &grid(json!([])), &[], &[], &mut status).unwrap();
        assert_eq!(status, before);
    }
}

#[test]
fn a_grid_that_is_used_up_ends_the_suggestion() {
    let mut status = SuggestionStatus::default();
    let mut suggestion = suggestion(4);
    advance(&suggestion, &grid(json!([])), &[], &[], &mut status).unwrap();
    assert_eq!(status.suggestion_count, 3, "what is left is given");
    suggestion.status = Some(status.clone());
    advance(&suggestion, &grid(json!([])), &[], &[], &mut status).unwrap();
    assert_eq!(
        kinds(&status),
        [
            "Running False Suggestion is succeeded",
            "DeploymentReady False Suggestion is succeeded",
            "Succeeded True SuggestionEndReached"
        ]
    );
    assert_eq!(status.suggestion_count, 3);
}

#[test]
fn settings_the_algorithm_returned_come_back_to_it() {
    let experiment = Experiment {
        spec: grid(json!([{"name": "random_state", "value": "1"}])),
        ..Experiment::default()
    };
    let status: SuggestionStatus = serde_json::from_value(json!({
        "algorithmSettings": [{"name": "random_state", "value": "2"}, {"name": "s", "value": "3"}]
    }))
    .unwrap();
    let spec = effective_spec(&experiment, &suggestion(1), &status);
    let settings = spec.algorithm.unwrap().algorithm_settings;
    let settings: Vec<(&str, &str)> = settings
        .iter()
        .map(|s| (s.name.as_str(), s.value.as_str()))
        .collect();
    assert_eq!(settings, [("random_state", "2"), ("s", "3")]);
}

#[test]
fn what_trials_reported_guides_the_search() {
    let spec: ExperimentSpec = serde_json::from_value(json!({
        "parameters": [{"name": "x", "parameterType": "double",
                        "feasibleSpace": {"min": "0", "max": "1"}}],
        "objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
        "algorithm": {"algorithmName": "tpe"}
    }))
    .unwrap();
    // Accuracy grows with x; four trials are under way, one in five failed.
    let mut status = SuggestionStatus::default();
    let mut suggestion = suggestion(40);
    advance(&suggestion, &spec, &[], &[], &mut status).unwrap();
    let trials: Vec<Arc<Trial>> = status
        .suggestions
        .iter()
        .enumerate()
        .map(|(number, given)| {
            let kind = match number {
                0..4 => "Running",
                _ if number % 5 == 0 => "Failed",
                _ => "Succeeded",
            };
            let value = &given.parameter_assignments[0].value;
            let trial = serde_json::from_value(json!({
                "metadata": {"name": given.name, "namespace": "lab"},
                "spec": {"objective": {"type": "maximize", "objectiveMetricName": "accuracy",
                    "metricStrategies": [{"name": "accuracy", "value": "max"}]}},
                "status": {"conditions": [{"type": kind, "status": "True"}],
                    "observation": {"metrics": [{"name": "accuracy", "min": value, "max": value, "latest": value}]}}
            }));
            Arc::new(trial.unwrap())
        })
        .collect();
    let mean = |status: &SuggestionStatus| {
        let values = status.suggestions[40..]
            .iter()
            .map(|given| given.parameter_assignments[0].value.parse::<f64>().unwrap());
        values.sum::<f64>() / 4.0
    };
    suggestion.spec.requests = 44;
    suggestion.status = Some(status.clone());
    let seen: Vec<Outcome> = trials.iter().map(|trial| outcome(trial)).collect();
    assert_eq!(seen[3..6], [Outcome::Open, seen[4], Outcome::Failed]);
    let value = &status.suggestions[4].parameter_assignments[0].value;
    assert_eq!(seen[4], Outcome::Measured(value.parse().unwrap()));
    // The same trials, and the opposite wish.
    let mut opposite = spec.clone();
    opposite.objective.as_mut().unwrap().objective_type = ObjectiveType::Minimize;
    let mut low = status.clone();
    advance(&suggestion, &opposite, &trials, &[], &mut low).unwrap();
    advance(&suggestion, &spec, &trials, &[], &mut status).unwrap();
    let (low, high) = (mean(&low), mean(&status));
    assert!(low + 0.3 < high, "{low} and {high}");
}
