use super::*;
use katlab_katib::space::Domain;
use katlab_katib::types::Setting;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn algorithm(name: &str) -> AlgorithmSpec {
    AlgorithmSpec {
        algorithm_name: name.into(),
        ..AlgorithmSpec::default()
    }
}

fn parameters(list: Value) -> Vec<ParameterSpec> {
    serde_json::from_value(list).unwrap()
}

fn lab() -> Vec<ParameterSpec> {
    parameters(json!([
        {"name": "--learning_rate", "parameterType": "double", "feasibleSpace": {"min": "0.0001", "max": "0.01"}},
        {"name": "--batch_size", "parameterType": "int", "feasibleSpace": {"min": "16", "max": "128"}}]))
}

fn ask(
    algorithm: &AlgorithmSpec,
    parameters: &[ParameterSpec],
    history: &[Assignments],
    count: usize,
    seed: u64,
) -> Result<Vec<Assignments>, SuggestionError> {
    let open: Vec<Given> = history.iter().cloned().map(Given::open).collect();
    suggest(&Request {
        algorithm,
        parameters,
        objective: &ObjectiveType::Minimize,
        history: &open,
        count,
        max_trial_count: None,
        seed,
    })
}

fn values(assignments: &Assignments) -> Vec<&str> {
    assignments.iter().map(|a| a.value.as_str()).collect()
}

#[test]
fn the_labs_space_gives_values_in_katibs_form() {
    let twelve = ask(&algorithm("random"), &lab(), &[], 12, 1).unwrap();
    assert_eq!(twelve.len(), 12);
    for assignments in &twelve {
        assert_eq!(assignments[0].name, "--learning_rate");
        let rate: f64 = assignments[0].value.parse().unwrap();
        let size: i64 = assignments[1].value.parse().unwrap();
        assert!((0.0001..=0.01).contains(&rate) && (16..=128).contains(&size));
    }
}

#[test]
fn the_seed_of_the_settings_comes_first() {
    let mut seeded = algorithm("random");
    seeded.algorithm_settings = vec![Setting {
        name: "random_state".into(),
        value: "10".into(),
    }];
    let one = ask(&seeded, &lab(), &[], 3, 1).unwrap();
    let two = ask(&seeded, &lab(), &[], 3, 2).unwrap();
    assert_eq!(one, two);
    assert_ne!(one, ask(&algorithm("random"), &lab(), &[], 3, 1).unwrap());
}

#[test]
fn the_sequence_does_not_depend_on_how_it_is_asked_for() {
    let at_once = ask(&algorithm("random"), &lab(), &[], 6, 5).unwrap();
    let mut history: Vec<Assignments> = Vec::new();
    while history.len() < 6 {
        let next = ask(&algorithm("random"), &lab(), &history, 2, 5).unwrap();
        history.extend(next);
    }
    assert_eq!(history, at_once);
}

#[test]
fn nothing_is_given_out_twice_while_there_is_something_else() {
    let space = parameters(json!([
        {"name": "a", "parameterType": "categorical", "feasibleSpace": {"list": ["x", "y", "z"]}},
        {"name": "b", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "4"}}]));
    let all = ask(&algorithm("random"), &space, &[], 12, 9).unwrap();
    let different: BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), 12);
    let more = ask(&algorithm("random"), &space, &all, 2, 9).unwrap();
    assert_eq!(more.len(), 2, "afterwards points come again");
}

#[test]
fn distributions_lean_where_they_should() {
    let below = |distribution: &str, limit: f64| {
        let space = parameters(json!([{"name": "p", "parameterType": "double",
            "feasibleSpace": {"min": "0.0001", "max": "1", "distribution": distribution}}]));
        ask(&algorithm("random"), &space, &[], 2000, 3)
            .unwrap()
            .iter()
            .filter(|a| a[0].value.parse::<f64>().unwrap() < limit)
            .count()
    };
    // Half of a logarithmic range lies below its geometric middle, a hundredth of a plain one.
    assert!((900..1100).contains(&below("logUniform", 0.01)));
    assert!(below("uniform", 0.01) < 60);
    assert!((900..1100).contains(&below("logNormal", 0.01)));
    assert!(below("normal", 0.2) < 150);
    assert!((900..1100).contains(&below("normal", 0.50005)));
}

#[test]
fn a_grid_gives_every_point_once_and_then_says_so() {
    let space = parameters(json!([
        {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.1", "max": "0.3", "step": "0.1"}},
        {"name": "opt", "parameterType": "categorical", "feasibleSpace": {"list": ["sgd", "adam"]}}]));
    let mut history = ask(&algorithm("grid"), &space, &[], 4, 1).unwrap();
    let rest = ask(&algorithm("grid"), &space, &history, 4, 1).unwrap();
    assert_eq!(rest.len(), 2, "fewer than wanted at the end");
    history.extend(rest);
    let points: BTreeSet<String> = history.iter().map(|a| values(a).join(" ")).collect();
    let wanted = [
        "0.1 adam", "0.1 sgd", "0.2 adam", "0.2 sgd", "0.3 adam", "0.3 sgd",
    ];
    assert_eq!(points, wanted.map(String::from).into());
    let error = ask(&algorithm("grid"), &space, &history, 1, 1).unwrap_err();
    assert!(error.is_exhausted(), "{error}");
    assert_eq!(
        ask(&algorithm("grid"), &space, &history, 0, 1)
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn a_point_taken_back_is_given_out_again() {
    let space = parameters(json!([
        {"name": "a", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "3"}}]));
    let mut history = ask(&algorithm("grid"), &space, &[], 3, 1).unwrap();
    let back = history.remove(1);
    assert_eq!(
        ask(&algorithm("grid"), &space, &history, 1, 1).unwrap(),
        [back]
    );
}

#[test]
fn what_does_not_run_here_is_refused_by_name() {
    let error = ask(&algorithm("pbt"), &lab(), &[], 1, 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the sandbox runs the algorithms {} so far; pbt needs a cluster with Katib",
            ALGORITHMS.join(", ")
        )
    );
    let spec: ExperimentSpec = serde_json::from_value(json!({"algorithm": {"algorithmName": "grid"},
        "parameters": [{"name": "p", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "12"}}],
        "maxTrialCount": 13}))
    .unwrap();
    assert_eq!(
        validate_settings(&spec).unwrap_err().to_string(),
        "Max Trial Count: 13 > all possible search combinations: 12"
    );
    assert_eq!(
        ask(&algorithm("random"), &[], &[], 1, 1),
        Err(SuggestionError::NoParameters)
    );
}

fn any_parameter() -> impl Strategy<Value = Value> {
    let distribution = prop::sample::select(vec!["uniform", "logUniform", "normal", "logNormal"]);
    let number = (1u32..2000, 0u32..3000, 0u32..300, distribution, any::<bool>()).prop_map(
        |(min, width, step, distribution, whole)| {
            let text = |n: u32| if whole { n.to_string() } else { format!("{}", f64::from(n) / 1000.0) };
            let step = if step == 0 { String::new() } else { text(step) };
            json!({"parameterType": if whole { "int" } else { "double" }, "feasibleSpace":
                {"min": text(min), "max": text(min + width), "step": step, "distribution": distribution}})
        },
    );
    let list = prop::collection::vec("[a-z]{1,4}", 1..5)
        .prop_map(|list| json!({"parameterType": "categorical", "feasibleSpace": {"list": list}}));
    prop_oneof![number, list]
}

proptest! {
    #[test]
    fn no_suggestion_leaves_the_space(
        space in prop::collection::vec(any_parameter(), 1..4), seed in any::<u64>(), name in prop::sample::select(ALGORITHMS), count in 0usize..20,
    ) {
        let mut space = space;
        for (index, parameter) in space.iter_mut().enumerate() {
            parameter["name"] = json!(format!("p{index}"));
        }
        let space = parameters(Value::Array(space));
        let domains: Vec<Domain> = space.iter().map(|p| Domain::of(p).unwrap()).collect();
        match ask(&algorithm(name), &space, &[], count, seed) {
            Err(SuggestionError::Settings(_) | SuggestionError::TooLarge) => prop_assert_eq!(name, "grid"),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
            Ok(found) => {
                prop_assert!(found.len() == count || name == "grid");
                for assignments in &found {
                    for (assignment, domain) in assignments.iter().zip(&domains) {
                        prop_assert!(domain.contains(&assignment.value), "{} in {:?}", assignment.value, domain);
                    }
                }
                prop_assert_eq!(ask(&algorithm(name), &space, &[], count, seed).unwrap(), found);
            }
        }
    }

    #[test]
    fn a_grid_is_exhausted_exactly_once(sizes in prop::collection::vec(1u32..5, 1..4), seed in any::<u64>(), batch in 1usize..7) {
        let space: Vec<Value> = sizes.iter().enumerate().map(|(index, size)| json!({"name": format!("p{index}"),
            "parameterType": "int", "feasibleSpace": {"min": "1", "max": size.to_string()}})).collect();
        let space = parameters(Value::Array(space));
        let total: u32 = sizes.iter().product();
        let mut history: Vec<Assignments> = Vec::new();
        let error = loop {
            match ask(&algorithm("grid"), &space, &history, batch, seed) {
                Ok(next) => history.extend(next),
                Err(error) => break error,
            }
        };
        prop_assert!(error.is_exhausted());
        prop_assert_eq!(history.len(), total as usize);
        prop_assert_eq!(history.iter().collect::<BTreeSet<_>>().len(), total as usize);
    }
}
