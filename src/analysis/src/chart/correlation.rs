//! How parameters and metrics go together: rank correlations.

use serde_json::json;

use super::{Chart, ChartError, counted};
use crate::figure::{Area, Axis, Figure, Layer, Panel};
use crate::stats::spearman;
use crate::trials::{Row, TrialTable, Value};

/// More than this would be unreadable.
const MOST: usize = 24;
const ENOUGH: usize = 10;

/// Draws Spearman's correlation between every two of the numeric parameters and metrics.
///
/// # Errors
/// [`ChartError`] when no trial has an objective value, or there are no two things to compare.
pub fn correlation(table: &TrialTable) -> Result<Chart, ChartError> {
    let rows: Vec<&Row> = table.observed().map(|(row, _)| row).collect();
    if rows.is_empty() {
        return Err(ChartError::no_observation(table));
    }
    let mut series: Vec<(String, Vec<Option<f64>>)> = Vec::new();
    let mut left_out = Vec::new();
    for (at, parameter) in table.parameters.iter().enumerate() {
        let values: Vec<Option<f64>> = rows
            .iter()
            .map(|row| row.parameters[at].as_ref().and_then(Value::number))
            .collect();
        if parameter.choices.is_empty() && values.iter().any(Option::is_some) {
            series.push((parameter.name.clone(), values));
        } else {
            left_out.push(parameter.name.clone());
        }
    }
    for (at, metric) in table.metrics.iter().enumerate() {
        series.push((
            metric.name.clone(),
            rows.iter().map(|row| row.metrics[at]).collect(),
        ));
    }
    // A metric may be called as a parameter is; an axis needs names that differ.
    for at in 1..series.len() {
        while series[..at].iter().any(|(name, _)| *name == series[at].0) {
            series[at].0.push('′');
        }
    }
    let beyond = series.len().saturating_sub(MOST);
    series.drain(..beyond);
    let mut cells = Vec::new();
    let mut strongest: Vec<(f64, String)> = Vec::new();
    for (up, (one, ones)) in series.iter().enumerate() {
        for (across, (other, others)) in series.iter().enumerate() {
            let pairs: Vec<(f64, f64)> = ones
                .iter()
                .zip(others)
                .filter_map(|(one, other)| Some(((*other)?, (*one)?)))
                .collect();
            let found = spearman(&pairs);
            let words = found.map_or("–".to_owned(), |found| format!("{found:+.2}"));
            if let Some(found) = found.filter(|_| across < up) {
                strongest.push((found, format!("{other} and {one} {words}")));
            }
            cells.push(Area {
                x: (across as f64, across as f64),
                y: (up as f64, up as f64),
                shade: found.unwrap_or_default().abs(),
                words: Some(words.clone()),
                tips: vec![json!(one), json!(other), json!(words), json!(pairs.len())],
            });
        }
    }
    if strongest.is_empty() {
        return Err(ChartError::TooFew {
            what: format!(
                "{} of `{}` with an objective cannot show what goes together with what",
                counted(rows.len(), "trial"),
                table.experiment
            ),
            hint: "at least three are needed, with two parameters or metrics that are numbers and vary".to_owned(),
        });
    }
    strongest.sort_by(|left, right| right.0.abs().total_cmp(&left.0.abs()));
    let mut notes =
        vec!["Spearman's rank correlation; darker is stronger, the sign says which way".to_owned()];
    if rows.len() < ENOUGH {
        notes.push(format!(
            "{} are few: any of these can be chance",
            counted(rows.len(), "trial")
        ));
    }
    if !left_out.is_empty() {
        notes.push(format!(
            "choices have no order, so these are left out: {}",
            left_out.join(", ")
        ));
    }
    if beyond > 0 {
        notes.push(format!("{beyond} more do not fit"));
    }
    let names: Vec<String> = series.into_iter().map(|(name, _)| name).collect();
    let size = 46.0 * names.len() as f64;
    let list: Vec<String> = strongest
        .into_iter()
        .take(3)
        .map(|(_, words)| words)
        .collect();
    let mut words = format!(
        "{}: rank correlations in {}; the strongest: {}",
        table.experiment,
        counted(rows.len(), "trial"),
        list.join(", ")
    );
    for note in &notes[1..] {
        words.push_str(&format!("\nnote: {note}"));
    }
    let figure = Figure {
        title: format!("{}: what goes together", table.experiment),
        notes,
        columns: 1,
        panels: vec![Panel {
            heading: " ".to_owned(),
            width: size.max(120.0),
            height: (size * 0.7).max(60.0),
            x: Axis::Choices {
                title: String::new(),
                names: names.clone(),
            },
            y: Axis::Choices {
                title: String::new(),
                names,
            },
            layers: vec![Layer::Cells {
                cells,
                tips: ["of", "with", "correlation", "trials"]
                    .map(str::to_owned)
                    .to_vec(),
            }],
        }],
    };
    Ok(figure.chart(words))
}
