//! The best values of every algorithm on every test function, one for each seed, as JSON lines: what
//! `tests/search_bench.py` lays beside the samplers of Optuna and scikit-optimize.
//!
//! `cargo run --release -p katlab-suggestion --example quality -- TRIALS PARALLEL SEEDS [ALGORITHM...]`

#[allow(dead_code, reason = "shared with the tests, which use all of it")]
#[path = "../tests/common/mod.rs"]
mod common;

use katlab_suggestion::ALGORITHMS;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
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
                serde_json::json!({"algorithm": name, "function": function.name,
                    "noisy": is_noisy, "best": best, "milliseconds": per_trial})
            );
        }
    }
}
