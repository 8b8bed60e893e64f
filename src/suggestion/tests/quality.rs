//! Whether searches find more than chance does. Seeds are fixed: the verdict is always the same.

mod common;

use common::{Function, algorithm, all, median_best};

const SEEDS: u64 = 11;
const TRIALS: usize = 80;

fn share_of_random(name: &str, function: &Function, parallel: usize) -> f64 {
    let random = median_best(&algorithm("random", &[]), function, TRIALS, 1, SEEDS);
    let found = median_best(&algorithm(name, &[]), function, TRIALS, parallel, SEEDS);
    println!(
        "{name:20} {parallel} at a time, {:12} {found:9.4} beside {random:9.4} at random",
        function.name
    );
    found / random
}

/// The median of the best values is this share of random search's, or less.
fn check(name: &str, parallel: usize, most: f64) {
    for function in all() {
        let share = share_of_random(name, &function, parallel);
        assert!(share <= most, "{name} on {}: {share:.2}", function.name);
    }
}

#[test]
fn tpe_beats_random_search() {
    check("tpe", 1, 0.8);
    check("tpe", 4, 0.85);
}

#[test]
fn multivariate_tpe_beats_random_search() {
    check("multivariate-tpe", 1, 0.6);
    check("multivariate-tpe", 4, 0.7);
}

#[test]
fn cmaes_beats_random_search() {
    check("cmaes", 1, 0.6);
    check("cmaes", 6, 0.6);
}

#[test]
fn bayesian_optimisation_beats_random_search() {
    // The middle and the worst of the functions: trees are no good where all is smooth.
    for (settings, middle, worst) in [
        (&[][..], 0.3, 0.6),
        (&[("base_estimator", "RF")], 0.85, 1.2),
        (&[("base_estimator", "ET")], 0.85, 1.2),
        (&[("base_estimator", "GBRT")], 0.85, 1.2),
        (&[("acq_func", "EI")], 0.3, 0.6),
        (&[("acq_func", "LCB")], 0.3, 0.6),
        (&[("acq_func", "PI")], 0.5, 0.8),
        (&[("acq_optimizer", "sampling")], 0.5, 0.8),
    ] {
        let algorithm = algorithm("bayesianoptimization", settings);
        let mut shares: Vec<f64> = all()
            .iter()
            .map(|function| {
                let chance = common::algorithm("random", &[]);
                let random = median_best(&chance, function, 60, 1, SEEDS);
                median_best(&algorithm, function, 60, 3, 5) / random
            })
            .collect();
        println!("{settings:?}: {shares:.2?} of random search");
        shares.sort_by(f64::total_cmp);
        assert!(
            shares[2] <= middle && shares[4] <= worst,
            "{settings:?}: {shares:.2?}"
        );
    }
}

#[test]
fn cmaes_comes_down_to_the_optimum() {
    let rosenbrock = &all()[2];
    for strategy in ["none", "ipop", "bipop"] {
        let algorithm = algorithm("cmaes", &[("restart_strategy", strategy)]);
        let best = median_best(&algorithm, rosenbrock, 1500, 8, 3);
        assert!(best < 1e-6, "{strategy}: {best}");
    }
}
