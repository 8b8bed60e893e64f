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

/// The requests an Experiment makes, with trials that fail, that are still under way, and
/// that report what `value` says.
fn rounds(
    algorithm: &AlgorithmSpec,
    parameters: &[ParameterSpec],
    objective: &ObjectiveType,
    value: impl Fn(&Assignments) -> f64,
    sizes: &[usize],
    seed: u64,
) -> Result<Vec<Given>, SuggestionError> {
    let mut history: Vec<Given> = Vec::new();
    for size in sizes {
        let request = Request {
            algorithm,
            parameters,
            objective,
            history: &history,
            count: *size,
            max_trial_count: None,
            seed,
        };
        let next = suggest(&request)?;
        assert_eq!(
            next,
            suggest(&request)?,
            "the same question, the same answer"
        );
        for assignments in next {
            let outcome = match history.len() % 7 {
                2 => Outcome::Failed,
                4 => Outcome::Open,
                5 => Outcome::Measured(f64::NAN),
                _ => Outcome::Measured(value(&assignments)),
            };
            history.push(Given {
                assignments,
                outcome,
            });
        }
    }
    Ok(history)
}

/// A number out of values, for spaces nobody knows.
fn checksum(assignments: &Assignments) -> f64 {
    let text = values(assignments).join(" ");
    (seed_of(&text) % 1000) as f64
}

/// Algorithms that need no settings of their own.
fn plain() -> impl Iterator<Item = AlgorithmSpec> {
    ALGORITHMS
        .iter()
        .filter(|name| **name != "hyperband")
        .map(|name| algorithm(name))
}

fn searching() -> impl Iterator<Item = AlgorithmSpec> {
    plain().filter(|algorithm| algorithm.algorithm_name != "grid")
}

#[test]
fn trials_under_way_are_not_proposed_again() {
    let space = parameters(json!([
        {"name": "a", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "6"}},
        {"name": "b", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1", "step": "0.25"}},
        {"name": "c", "parameterType": "categorical", "feasibleSpace": {"list": ["x", "y"]}}]));
    for algorithm in plain() {
        let name = &algorithm.algorithm_name;
        let minimize = ObjectiveType::Minimize;
        let sizes = [3, 20, 1, 1, 10, 25];
        let history = rounds(&algorithm, &space, &minimize, checksum, &sizes, 4).unwrap();
        let different: BTreeSet<_> = history.iter().map(|given| &given.assignments).collect();
        assert_eq!(different.len(), 60, "{name} goes through the whole space");
    }
}

#[test]
fn asking_for_several_is_asking_one_after_the_other() {
    for algorithm in searching() {
        let learned = rounds(
            &algorithm,
            &lab(),
            &ObjectiveType::Maximize,
            |a| a[0].value.parse().unwrap(),
            &[12, 9],
            1,
        )
        .unwrap();
        let ask = |history: &[Given], count| {
            suggest(&Request {
                algorithm: &algorithm,
                parameters: &lab(),
                objective: &ObjectiveType::Maximize,
                history,
                count,
                max_trial_count: None,
                seed: 1,
            })
            .unwrap()
        };
        let at_once = ask(&learned, 5);
        let mut history = learned.clone();
        for _ in 0..5 {
            let next = ask(&history, 1);
            history.extend(next.into_iter().map(Given::open));
        }
        assert_eq!(
            assignments(&history[21..]),
            at_once,
            "{}",
            algorithm.algorithm_name
        );
    }
}

#[test]
fn maximising_is_minimising_upside_down() {
    let rate = |a: &Assignments| a[0].value.parse::<f64>().unwrap();
    for algorithm in searching() {
        let sizes = [10, 5, 5];
        let up = rounds(
            &algorithm,
            &lab(),
            &ObjectiveType::Maximize,
            rate,
            &sizes,
            2,
        )
        .unwrap();
        let down = rounds(
            &algorithm,
            &lab(),
            &ObjectiveType::Minimize,
            |a| -rate(a),
            &sizes,
            2,
        )
        .unwrap();
        assert_eq!(
            assignments(&up),
            assignments(&down),
            "{}",
            algorithm.algorithm_name
        );
    }
}

#[test]
fn searches_lean_to_what_was_good_whatever_the_type() {
    // Good is what is small on every axis.
    let space = parameters(json!([
        {"name": "double", "parameterType": "double", "feasibleSpace": {"min": "0.0001", "max": "1", "distribution": "logUniform"}},
        {"name": "step", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "10", "step": "0.5", "distribution": "normal"}},
        {"name": "int", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "1000", "distribution": "logNormal"}},
        {"name": "discrete", "parameterType": "discrete", "feasibleSpace": {"list": ["1", "2", "4", "8"]}},
        {"name": "categorical", "parameterType": "categorical", "feasibleSpace": {"list": ["a", "b", "c", "d"]}}]));
    let value = |a: &Assignments| {
        let number = |index: usize| a[index].value.parse::<f64>().unwrap();
        let letter = a[4].value.as_bytes()[0] - b'a';
        number(0).log10()
            + number(1) / 2.5
            + number(2).log10()
            + number(3).log2()
            + f64::from(letter)
    };
    for algorithm in searching() {
        let name = algorithm.algorithm_name.as_str();
        let history = rounds(
            &algorithm,
            &space,
            &ObjectiveType::Minimize,
            value,
            &[4; 20],
            6,
        )
        .unwrap();
        let mean = |history: &[Given]| {
            history
                .iter()
                .map(|given| value(&given.assignments))
                .sum::<f64>()
                / history.len() as f64
        };
        let (first, last) = (mean(&history[..20]), mean(&history[60..]));
        if matches!(name, "random" | "sobol") {
            assert!((first - last).abs() < 1.5, "{name}: {first} then {last}");
        } else {
            assert!(last < first - 1.2, "{name}: {first} then {last}");
        }
    }
}

#[test]
fn a_batch_is_spread() {
    let space = parameters(json!([
        {"name": "x", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}},
        {"name": "y", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}]));
    let numbers = |a: &Assignments| -> Vec<f64> {
        values(a)
            .iter()
            .map(|value| value.parse().unwrap())
            .collect()
    };
    // Waves, so that nobody is sure of the best point after 20 trials.
    let value = |a: &Assignments| {
        let at = numbers(a);
        (17.0 * at[0]).sin() + (13.0 * at[1] + 2.0 * at[0]).cos()
    };
    for algorithm in searching() {
        let history = rounds(
            &algorithm,
            &space,
            &ObjectiveType::Minimize,
            value,
            &[20, 10],
            3,
        )
        .unwrap();
        let batch: Vec<Vec<f64>> = history[20..]
            .iter()
            .map(|given| numbers(&given.assignments))
            .collect();
        for (index, one) in batch.iter().enumerate() {
            for other in &batch[..index] {
                let apart = (one[0] - other[0]).hypot(one[1] - other[1]);
                assert!(
                    apart > 1e-3,
                    "{}: {one:?} and {other:?}",
                    algorithm.algorithm_name
                );
            }
        }
    }
}

#[test]
fn sobol_fills_distributions_evenly() {
    let space = parameters(json!([
        {"name": "log", "parameterType": "double", "feasibleSpace": {"min": "0.0001", "max": "1", "distribution": "logUniform"}},
        {"name": "bell", "parameterType": "double", "feasibleSpace": {"min": "-3", "max": "3", "distribution": "normal"}},
        {"name": "list", "parameterType": "categorical", "feasibleSpace": {"list": ["a", "b", "c", "d"]}}]));
    let points = ask(&algorithm("sobol"), &space, &[], 255, 1).unwrap();
    let count = |holds: &dyn Fn(&Assignments) -> bool| points.iter().filter(|a| holds(a)).count();
    let number = |a: &Assignments, index: usize| a[index].value.parse::<f64>().unwrap();
    // The corner at zero is left out: one less in the lower half.
    assert_eq!(count(&|a| number(a, 0) < 0.0099), 127);
    // 68 of 100 lie within one deviation.
    assert!((172..177).contains(&count(&|a| number(a, 1).abs() < 1.0)));
    assert_eq!(count(&|a| a[2].value == "d"), 64);
    assert!(
        (number(&points[0], 0) - 0.01).abs() < 1e-9,
        "the first is the middle"
    );
    assert_eq!(values(&points[0])[1..], ["0.0", "c"]);
}

#[test]
fn settings_steer_the_searches() {
    let found = |algorithm: &AlgorithmSpec| {
        let rate = |a: &Assignments| a[0].value.parse().unwrap();
        let maximize = ObjectiveType::Maximize;
        assignments(&rounds(algorithm, &lab(), &maximize, rate, &[3; 12], 1).unwrap())
    };
    let with = |name: &str, setting: &str, value: &str| {
        let mut algorithm = algorithm(name);
        algorithm.algorithm_settings = vec![Setting {
            name: setting.into(),
            value: value.into(),
        }];
        found(&algorithm)
    };
    for (name, setting, usual, other) in [
        ("tpe", "prior_weight", "1.0", "5"),
        ("tpe", "n_EI_candidates", "24", "2"),
        ("tpe", "random_state", "1", "2"),
        ("multivariate-tpe", "n_startup_trials", "10", "4"),
        ("multivariate-tpe", "n_ei_candidates", "24", "2"),
        ("multivariate-tpe", "random_state", "1", "2"),
        ("cmaes", "sigma", "0.00165", "0.0001"),
        ("cmaes", "random_state", "1", "-2"),
        ("bayesianoptimization", "n_initial_points", "10", "4"),
        ("bayesianoptimization", "base_estimator", "GP", "RF"),
        ("bayesianoptimization", "acq_func", "gp_hedge", "EI"),
        ("bayesianoptimization", "random_state", "1", "2"),
    ] {
        if !ALGORITHMS.contains(&name) {
            continue;
        }
        let plain = found(&algorithm(name));
        assert!(
            with(name, setting, usual) == plain,
            "{name}: {setting} is {usual} without a word"
        );
        assert!(with(name, setting, other) != plain, "{name}: {setting}");
    }
    // Without `gamma` a tenth is good; with it, hyperopt's share of the root.
    let (narrow, wide) = (with("tpe", "gamma", "0.25"), with("tpe", "gamma", "0.9"));
    assert!(narrow != wide && narrow != found(&algorithm("tpe")));
}

fn assignments(history: &[Given]) -> Vec<Assignments> {
    history
        .iter()
        .map(|given| given.assignments.clone())
        .collect()
}

fn hyperband(settings: &[(&str, &str)]) -> AlgorithmSpec {
    AlgorithmSpec {
        algorithm_name: "hyperband".into(),
        algorithm_settings: settings
            .iter()
            .map(|(name, value)| Setting {
                name: (*name).into(),
                value: (*value).into(),
            })
            .collect(),
    }
}

fn epochs() -> Vec<ParameterSpec> {
    parameters(json!([
        {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}},
        {"name": "epochs", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "9"}},
        {"name": "opt", "parameterType": "categorical", "feasibleSpace": {"list": ["sgd", "adam"]}}]))
}

#[test]
fn hyperband_gives_the_best_more_resources() {
    let algorithm = hyperband(&[("r_l", "9"), ("resource_name", "epochs")]);
    let lr = |a: &Assignments| a[0].value.parse::<f64>().unwrap();
    let mut history: Vec<Given> = Vec::new();
    let mut ask = |count: usize| -> Vec<Assignments> {
        let next = suggest(&Request {
            algorithm: &algorithm,
            parameters: &epochs(),
            objective: &ObjectiveType::Maximize,
            history: &history,
            count,
            max_trial_count: None,
            seed: 1,
        })
        .unwrap();
        history.extend(next.iter().map(|a| Given::measured(a.clone(), lr(a))));
        next
    };
    let resources = |batch: &[Assignments]| -> Vec<String> {
        batch.iter().map(|a| a[1].value.clone()).collect()
    };
    let first = ask(9);
    assert_eq!(resources(&first), ["1"; 9]);
    let mut ranked = first.clone();
    ranked.sort_by(|a, b| lr(b).total_cmp(&lr(a)));
    // The best three rise; beside them the next bracket begins.
    let second = ask(9);
    assert_eq!(
        resources(&second),
        ["3", "3", "3", "3", "3", "3", "3", "3", "9"]
    );
    for (risen, good) in second.iter().zip(&ranked[..3]) {
        assert_eq!((&risen[0], &risen[2]), (&good[0], &good[2]));
    }
    let third = ask(2);
    assert_eq!(resources(&third)[0], "9");
    assert_eq!(
        lr(&third[0]),
        lr(&ranked[0]),
        "the best of the first bracket"
    );
}

#[test]
fn hyperband_goes_on_with_failed_trials_and_asks_for_what_it_needs() {
    let algorithm = hyperband(&[("r_l", "9"), ("eta", "3"), ("resource_name", "epochs")]);
    let minimize = ObjectiveType::Minimize;
    let history = rounds(
        &algorithm,
        &epochs(),
        &minimize,
        checksum,
        &[9, 4, 1, 1, 7, 20],
        3,
    )
    .unwrap();
    let given = assignments(&history);
    assert_eq!(
        given.iter().collect::<BTreeSet<_>>().len(),
        42,
        "nothing twice"
    );
    for (number, trial) in given.iter().enumerate() {
        let earlier = given[..number].iter().zip(&history);
        let lower: Vec<_> = earlier
            .filter(|(other, _)| (&other[0], &other[2]) == (&trial[0], &trial[2]))
            .collect();
        for (other, given) in lower {
            assert!(other[1].value < trial[1].value, "resources grow");
            assert!(matches!(given.outcome, Outcome::Measured(value) if value.is_finite()));
        }
    }
    let most = given.iter().filter(|a| a[1].value == "9").count();
    assert!(most > 3, "{most}");
    for (settings, text) in [
        (
            vec![("r_l", "9")],
            "algorithm hyperband needs the setting resource_name",
        ),
        (
            vec![("r_l", "9"), ("resource_name", "time")],
            "resource_name time is not a parameter",
        ),
        (
            vec![("r_l", "-1"), ("resource_name", "epochs")],
            "r_l should be greater than or equal to 0",
        ),
    ] {
        let error = ask(&hyperband(&settings), &epochs(), &[], 1, 1).unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    for odd in [
        [("r_l", "0"), ("eta", "1")],
        [("r_l", "2e9"), ("eta", "-2")],
        [("r_l", "inf"), ("eta", "inf")],
    ] {
        let mut settings = odd.to_vec();
        settings.push(("resource_name", "epochs"));
        assert_eq!(
            ask(&hyperband(&settings), &epochs(), &[], 3, 1)
                .unwrap()
                .len(),
            3,
            "{odd:?}"
        );
    }
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
        space in prop::collection::vec(any_parameter(), 1..4), seed in any::<u64>(),
        name in prop::sample::select(ALGORITHMS), sizes in prop::collection::vec(0usize..8, 1..6),
    ) {
        let mut space = space;
        for (index, parameter) in space.iter_mut().enumerate() {
            parameter["name"] = json!(format!("p{index}"));
        }
        let space = parameters(Value::Array(space));
        let domains: Vec<Domain> = space.iter().map(|p| Domain::of(p).unwrap()).collect();
        match rounds(&algorithm(name), &space, &ObjectiveType::Maximize, checksum, &sizes, seed) {
            Err(SuggestionError::Settings(_)) => prop_assert!(matches!(name, "grid" | "cmaes" | "hyperband")),
            Err(SuggestionError::TooLarge | SuggestionError::Exhausted { .. }) => prop_assert_eq!(name, "grid"),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
            Ok(found) => {
                let wanted: usize = sizes.iter().sum();
                prop_assert!(found.len() == wanted || name == "grid");
                for given in &found {
                    for (assignment, domain) in given.assignments.iter().zip(&domains) {
                        prop_assert!(domain.contains(&assignment.value), "{} in {:?}", assignment.value, domain);
                    }
                }
                let different: BTreeSet<_> = found.iter().map(|given| &given.assignments).collect();
                let there_are = katlab_katib::space::combinations(&domains).unwrap_or(u64::MAX);
                prop_assert_eq!(different.len() as u64, there_are.min(found.len() as u64));
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
