//! Importances of the trials on standard input, for laying them beside those of other programs.
//!
//! Reads `{"experiment": Experiment, "trials": [Trial, …]}`, prints `{"milliseconds", "shares": {name: share}}`.

use std::error::Error;
use std::io::Read as _;
use std::time::Instant;

use katlab_analysis::TrialTable;
use katlab_analysis::importance::importance;
use serde_json::{Map, Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let input: Value = serde_json::from_str(&text)?;
    let experiment = serde_json::from_value(input["experiment"].clone())?;
    let trials: Vec<_> = serde_json::from_value(input["trials"].clone())?;
    let table = TrialTable::new(&experiment, &trials);
    let started = Instant::now();
    let found = importance(&table)?;
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    let shares: Map<String, Value> = found
        .shares
        .into_iter()
        .map(|share| (share.parameter, json!(share.share)))
        .collect();
    println!(
        "{}",
        json!({"milliseconds": milliseconds, "shares": shares})
    );
    Ok(())
}
