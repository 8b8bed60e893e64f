//! How much each parameter matters, as bars with their uncertainty.

use serde_json::json;

use super::{Chart, ChartError, counted};
use crate::figure::{Area, Axis, Curve, Figure, Layer, Panel};
use crate::importance::{self, percent};
use crate::scale::Scale;
use crate::trials::TrialTable;

/// Draws the importance of each parameter by PED-ANOVA.
///
/// # Errors
/// [`ChartError`] when the trials cannot say it.
pub fn importance(table: &TrialTable) -> Result<Chart, ChartError> {
    if table.best().is_none() {
        return Err(ChartError::no_observation(table));
    }
    let found = importance::importance(table).map_err(|error| ChartError::TooFew {
        what: format!("`{}`: {error}", table.experiment),
        hint: "importance needs trials that differ in parameters and objective".to_owned(),
    })?;
    // The most important stands on top.
    let shown: Vec<_> = found.shares.iter().rev().collect();
    let cells = shown
        .iter()
        .enumerate()
        .map(|(at, share)| Area {
            x: (0.0, share.share),
            y: (at as f64, at as f64),
            shade: 0.75,
            words: None,
            tips: vec![
                json!(share.parameter),
                json!(percent(share.share)),
                json!(format!(
                    "{} to {}",
                    percent(share.interval.0),
                    percent(share.interval.1)
                )),
            ],
        })
        .collect();
    let curves = shown
        .iter()
        .enumerate()
        .map(|(at, share)| Curve {
            name: share.parameter.clone(),
            shade: 0.0,
            width: 3.0,
            stepped: false,
            points: vec![(share.interval.0, at as f64), (share.interval.1, at as f64)],
        })
        .collect();
    let mut notes = vec![format!(
        "PED-ANOVA over {}: what sets the best {} apart; the pale line is where the share lies in nine of ten resamplings",
        counted(found.trials, "trial"),
        found.good
    )];
    notes.extend(found.warnings.iter().cloned());
    let names: Vec<String> = shown.iter().map(|share| share.parameter.clone()).collect();
    let list: Vec<String> = found
        .shares
        .iter()
        .map(|share| format!("{} {}", share.parameter, percent(share.share)))
        .collect();
    let mut words = format!(
        "{}: importance for {} over {}: {}",
        table.experiment,
        table.objective,
        counted(found.trials, "trial"),
        list.join(", ")
    );
    if !found.constant.is_empty() {
        words.push_str(&format!("; never varied: {}", found.constant.join(", ")));
    }
    for warning in &found.warnings {
        words.push_str(&format!("\nnote: {warning}"));
    }
    let figure = Figure {
        title: format!("{}: importance of the parameters", table.experiment),
        notes,
        columns: 1,
        panels: vec![Panel {
            heading: String::new(),
            width: 460.0,
            height: 28.0 * names.len() as f64,
            x: Axis::Number {
                title: format!("share of what decides {}", table.objective),
                scale: Scale::Linear {
                    low: 0.0,
                    high: 1.0,
                },
                whole: false,
            },
            y: Axis::Choices {
                title: "parameter".to_owned(),
                names,
            },
            layers: vec![
                Layer::Cells {
                    cells,
                    tips: vec![
                        "parameter".to_owned(),
                        "share".to_owned(),
                        "nine of ten".to_owned(),
                    ],
                },
                Layer::Curves(curves),
            ],
        }],
    };
    Ok(figure.chart(words))
}
