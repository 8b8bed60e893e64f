//! The best values of every algorithm on every test function, one for each seed, as JSON lines: what
//! `tests/search_bench.py` lays beside the samplers of Optuna and scikit-optimize.
//!
//! `cargo run --release -p katlab-suggestion --example quality -- TRIALS PARALLEL SEEDS [ALGORITHM...]`
//!
//! With `draws` as the only argument: values of `random` for every distribution.

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/common/mod.rs"]
mod common;

use katlab_katib::types::ObjectiveType;
use katlab_suggestion::{ALGORITHMS, Request, suggest};
use serde_json::json;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments == ["draws"] {
        return draws();
    }
    let number = |index: usize, default: usize| {
        let text = arguments.get(index);
        text.and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (trials, parallel, seeds) = (number(0, 100), number(1, 1), number(2, 21));
    let chosen = arguments.get(3..).unwrap_or_default();
    for name in ALGORITHMS.iter().filter(|name| **name != "grid") {
        if !chosen.is_empty() && !chosen.iter().any(|wanted| wanted == name) {
            continue;
        }
        let algorithm = common::algorithm(name, &[]);
        for (function, is_noisy) in common::all()
            .iter()
            .flat_map(|function| [(function, false), (function, true)])
        {
            let started = std::time::Instant::now();
            let best = common::all_best(
                &algorithm,
                function,
                is_noisy,
                trials,
                parallel,
                seeds as u64,
            );
            let per_trial = started.elapsed().as_secs_f64() * 1000.0 / (trials * seeds) as f64;
            println!(
                "{}",
                json!({"algorithm": name, "function": function.name,
                    "noisy": is_noisy, "best": best, "milliseconds": per_trial})
            );
        }
    }
}

fn draws() {
    for distribution in ["uniform", "logUniform", "normal", "logNormal"] {
        let parameters = json!([{"name": "x", "parameterType": "double",
            "feasibleSpace": {"min": "0.001", "max": "10", "distribution": distribution}}]);
        let found = suggest(&Request {
            algorithm: &common::algorithm("random", &[]),
            parameters: &serde_json::from_value::<Vec<_>>(parameters).unwrap(),
            objective: &ObjectiveType::Minimize,
            history: &[],
            count: 2000,
            max_trial_count: None,
            seed: 1,
        })
        .unwrap();
        let values: Vec<f64> = found.iter().map(|a| a[0].value.parse().unwrap()).collect();
        println!(
            "{}",
            json!({"distribution": distribution, "values": values})
        );
    }
}
