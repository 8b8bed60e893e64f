//! The values that a metrics filter finds in a log, for laying its speed beside that of others.
//!
//! `filter LOG METRIC… [--filter RE]` prints `{"milliseconds", "values"}`: how long the collector's reader takes for
//! the file, reading it included.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::time::Instant;

use katlab_katib::metrics::TextReader;
use katlab_katib::types::ObjectiveSpec;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let mut given = std::env::args().skip(1);
    let log = given.next().ok_or("which log?")?;
    let (mut names, mut filters) = (Vec::new(), Vec::new());
    while let Some(word) = given.next() {
        match word.as_str() {
            "--filter" => filters.extend(given.next()),
            _ => names.push(word),
        }
    }
    let objective: ObjectiveSpec = serde_json::from_value(json!({
        "objectiveMetricName": names.first().ok_or("which metric?")?,
        "additionalMetricNames": names[1..],
    }))?;
    let reader = TextReader::new(&objective, &filters)?;
    let started = Instant::now();
    let (mut file, mut line, mut values) = (BufReader::new(File::open(log)?), Vec::new(), 0);
    while file.read_until(b'\n', &mut line)? > 0 {
        values += reader.line(line.trim_ascii_end()).len();
        line.clear();
    }
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    println!(
        "{}",
        json!({"milliseconds": milliseconds, "values": values})
    );
    Ok(())
}
