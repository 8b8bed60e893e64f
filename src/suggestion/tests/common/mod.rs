//! Functions to test searches on, as search spaces of an Experiment.

use katlab_katib::types::{AlgorithmSpec, ObjectiveType, ParameterSpec, Setting};
use katlab_suggestion::{Assignments, Given, Request, suggest};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution as _, StandardNormal};
use serde_json::{Value, json};
use std::f64::consts::{E, PI};

/// A function with its space. Smaller is better.
pub struct Function {
    pub name: &'static str,
    pub parameters: Vec<ParameterSpec>,
    pub value: fn(&[&str]) -> f64,
    /// The deviation of the errors that noise adds.
    pub noise: f64,
}

fn doubles(count: usize, min: f64, max: f64) -> Vec<Value> {
    (0..count)
        .map(|index| {
            json!({"name": format!("x{index}"), "parameterType": "double",
                "feasibleSpace": {"min": min.to_string(), "max": max.to_string()}})
        })
        .collect()
}

fn function(
    name: &'static str,
    noise: f64,
    parameters: Vec<Value>,
    value: fn(&[&str]) -> f64,
) -> Function {
    Function {
        name,
        parameters: serde_json::from_value(Value::Array(parameters)).unwrap(),
        value,
        noise,
    }
}

fn numbers(values: &[&str]) -> Vec<f64> {
    values.iter().map(|value| value.parse().unwrap()).collect()
}

pub fn all() -> Vec<Function> {
    let mut branin = doubles(2, -5.0, 10.0);
    branin[1]["feasibleSpace"] = json!({"min": "0", "max": "15"});
    // What a network is trained with: every type, steps, and a logarithmic scale.
    let mixed = vec![
        json!({"name": "lr", "parameterType": "double",
            "feasibleSpace": {"min": "0.00001", "max": "1", "distribution": "logUniform"}}),
        json!({"name": "layers", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "12"}}),
        json!({"name": "dropout", "parameterType": "double",
            "feasibleSpace": {"min": "0", "max": "0.9", "step": "0.05"}}),
        json!({"name": "batch", "parameterType": "discrete",
            "feasibleSpace": {"list": ["16", "32", "64", "128", "256"]}}),
        json!({"name": "optimizer", "parameterType": "categorical",
            "feasibleSpace": {"list": ["sgd", "adam", "rmsprop", "ftrl"]}}),
    ];
    vec![
        function("Branin", 0.5, branin, |values| {
            let x = numbers(values);
            let bowl = x[1] - 5.1 / (4.0 * PI * PI) * x[0] * x[0] + 5.0 / PI * x[0] - 6.0;
            bowl * bowl + 10.0 * (1.0 - 1.0 / (8.0 * PI)) * x[0].cos() + 10.0 - 0.397_887
        }),
        function("Hartmann-6", 0.2, doubles(6, 0.0, 1.0), |values| {
            hartmann(&numbers(values)) + 3.322_37
        }),
        function("Rosenbrock-4", 2.0, doubles(4, -2.0, 2.0), |values| {
            let x = numbers(values);
            x.windows(2)
                .map(|pair| 100.0 * (pair[1] - pair[0] * pair[0]).powi(2) + (1.0 - pair[0]).powi(2))
                .sum()
        }),
        function("Ackley-5", 0.5, doubles(5, -20.0, 30.0), |values| {
            let x = numbers(values);
            let count = x.len() as f64;
            let squares = x.iter().map(|x| x * x).sum::<f64>() / count;
            let waves = x.iter().map(|x| (2.0 * PI * x).cos()).sum::<f64>() / count;
            20.0 + E - 20.0 * (-0.2 * squares.sqrt()).exp() - waves.exp()
        }),
        function("mixed", 0.1, mixed, |values| {
            let optimizer = values[4];
            let x = numbers(&values[..4]);
            let (shift, loss) = match optimizer {
                "adam" => (-3.0, 0.0),
                "rmsprop" => (-2.5, 0.3),
                "sgd" => (-1.0, 0.1),
                _ => (-1.5, 1.0),
            };
            let batch = (x[3].log2() - 6.0).abs() * 0.15;
            let rate = (x[0].log10() - shift).powi(2);
            loss + rate + ((x[1] - 7.0) / 4.0).powi(2) + 3.0 * (x[2] - 0.35).powi(2) + batch
        }),
    ]
}

fn hartmann(x: &[f64]) -> f64 {
    const ALPHA: [f64; 4] = [1.0, 1.2, 3.0, 3.2];
    const A: [[f64; 6]; 4] = [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ];
    const P: [[f64; 6]; 4] = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ];
    let term = |row: usize| {
        let sum: f64 = (0..6).map(|i| A[row][i] * (x[i] - P[row][i]).powi(2)).sum();
        ALPHA[row] * (-sum).exp()
    };
    -(0..4).map(term).sum::<f64>()
}

/// An algorithm with a seed, as an Experiment names it.
pub fn algorithm(name: &str, settings: &[(&str, &str)]) -> AlgorithmSpec {
    AlgorithmSpec {
        algorithm_name: name.to_owned(),
        algorithm_settings: settings
            .iter()
            .map(|(name, value)| Setting {
                name: (*name).to_owned(),
                value: (*value).to_owned(),
            })
            .collect(),
    }
}

/// What a trial of the function reports.
pub fn measure(function: &Function, assignments: &Assignments) -> f64 {
    let values: Vec<&str> = assignments.iter().map(|a| a.value.as_str()).collect();
    (function.value)(&values)
}

/// The best value after a number of trials, `parallel` at a time. With noise it is what the
/// trial that measured best is really worth.
pub fn best(
    algorithm: &AlgorithmSpec,
    function: &Function,
    is_noisy: bool,
    trials: usize,
    parallel: usize,
    seed: u64,
) -> f64 {
    let mut history: Vec<Given> = Vec::new();
    let mut errors = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut best = (f64::INFINITY, f64::INFINITY);
    while history.len() < trials {
        let next = suggest(&Request {
            algorithm,
            parameters: &function.parameters,
            objective: &ObjectiveType::Minimize,
            history: &history,
            count: parallel.min(trials - history.len()),
            max_trial_count: None,
            seed,
        })
        .unwrap();
        assert!(!next.is_empty());
        for assignments in next {
            let value = measure(function, &assignments);
            let error: f64 = StandardNormal.sample(&mut errors);
            let measured = value
                + if is_noisy {
                    function.noise * error
                } else {
                    0.0
                };
            if measured < best.0 {
                best = (measured, value);
            }
            history.push(Given::measured(assignments, measured));
        }
    }
    best.1
}

/// The best value for each seed, in order of size.
pub fn all_best(
    algorithm: &AlgorithmSpec,
    function: &Function,
    is_noisy: bool,
    trials: usize,
    parallel: usize,
    seeds: u64,
) -> Vec<f64> {
    let mut values: Vec<f64> = (0..seeds)
        .map(|seed| best(algorithm, function, is_noisy, trials, parallel, seed))
        .collect();
    values.sort_unstable_by(f64::total_cmp);
    values
}

/// The median over seeds, without noise.
pub fn median_best(
    algorithm: &AlgorithmSpec,
    function: &Function,
    trials: usize,
    parallel: usize,
    seeds: u64,
) -> f64 {
    let values = all_best(algorithm, function, false, trials, parallel, seeds);
    values[values.len() / 2]
}
