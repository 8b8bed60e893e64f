//! The objective over each parameter by itself.

use super::{Chart, ChartError, chosen, counted, darkness, density, parameter_axis, shades};
use crate::figure::{Axis, Dot, Figure, Panel};
use crate::stats::spearman;
use crate::trials::TrialTable;

/// Draws a panel for each of these parameters, or for all.
///
/// # Errors
/// [`ChartError`] when no trial has an objective value, or a parameter is not there.
pub fn slice(table: &TrialTable, parameters: &[String]) -> Result<Chart, ChartError> {
    let rows: Vec<_> = table.observed().collect();
    let mut wanted = chosen(table, parameters)?;
    if rows.is_empty() {
        return Err(ChartError::no_observation(table));
    }
    if parameters.is_empty() {
        wanted = (0..table.parameters.len()).collect();
    }
    let shades = shades(table, &rows);
    let mut figure = Figure {
        title: format!(
            "{}: {} over each parameter",
            table.experiment, table.objective
        ),
        notes: vec![darkness(table)],
        columns: 3,
        ..Figure::default()
    };
    let mut trends = Vec::new();
    for at in wanted {
        let (x, places) = parameter_axis(table, at, &rows);
        let y = Axis::over(&table.objective, rows.iter().map(|row| row.1), false);
        let dots: Vec<Dot> = rows
            .iter()
            .zip(&places)
            .zip(&shades)
            .filter_map(|(((row, objective), place), shade)| {
                Some(Dot {
                    x: (*place)?,
                    y: *objective,
                    shade: *shade,
                    trial: row.name.clone(),
                    tips: Vec::new(),
                })
            })
            .collect();
        if matches!(x, Axis::Number { .. }) {
            let pairs: Vec<(f64, f64)> = dots.iter().map(|dot| (dot.x, dot.y)).collect();
            trends.extend(
                spearman(&pairs)
                    .map(|trend| format!("{} {trend:+.2}", table.parameters[at].title())),
            );
        }
        let (layers, note) = density::layers(dots, Vec::new(), (&x, &y));
        if let Some(note) = note.filter(|note| !figure.notes.contains(note)) {
            figure.notes.push(note);
        }
        figure.panels.push(Panel {
            heading: String::new(),
            width: 220.0,
            height: 180.0,
            x,
            y,
            layers,
        });
    }
    if figure.panels.is_empty() {
        return Err(ChartError::TooFew {
            what: format!("`{}` has no parameters to draw", table.experiment),
            hint: "`:plot NAME history` needs none".to_owned(),
        });
    }
    let mut words = format!(
        "{}: {} over {} in {}",
        table.experiment,
        table.objective,
        counted(figure.panels.len(), "parameter"),
        counted(rows.len(), "trial"),
    );
    if !trends.is_empty() {
        words.push_str(&format!(
            "; rank correlation with it: {}",
            trends.join(", ")
        ));
    }
    Ok(figure.chart(words))
}
