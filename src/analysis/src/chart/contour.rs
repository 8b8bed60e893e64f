//! The objective over two parameters: what trials measured there, with nothing made up in between.

use std::collections::{BTreeMap, HashSet};

use serde_json::json;

use super::density::{bin, ends};
use super::{Chart, ChartError, chosen, counted, darkness, parameter_axis, shades};
use crate::figure::{Area, Axis, Dot, Figure, Layer, Panel, short};
use crate::importance::importance;
use crate::scale::label;
use crate::stats::median;
use crate::trials::{Row, TrialTable};

/// Cells across and up.
const GRID: usize = 14;
/// More points than this would hide the cells.
const POINTS: usize = 500;

/// Draws the middle objective in each cell of two parameters; where none are named, of the two that
/// matter most, else of the first two.
///
/// # Errors
/// [`ChartError`] when no trial has an objective value, a parameter is not there, or there are not two.
pub fn contour(table: &TrialTable, parameters: &[String]) -> Result<Chart, ChartError> {
    let mut wanted = chosen(table, parameters)?;
    wanted.dedup();
    let too_few = |what: String| ChartError::TooFew {
        what,
        hint: format!(
            "name two of {}",
            table
                .parameters
                .iter()
                .map(|one| one.name.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    if table.parameters.len() < 2 {
        return Err(ChartError::TooFew {
            what: format!(
                "`{}` has {}, and this chart is of two",
                table.experiment,
                counted(table.parameters.len(), "parameter")
            ),
            hint: format!("`:plot {} slice` draws one", table.asked()),
        });
    }
    let observed: Vec<_> = table.observed().collect();
    if observed.is_empty() {
        return Err(ChartError::no_observation(table));
    }
    match (parameters.len(), wanted.as_slice()) {
        (0, _) => {
            let shares = importance(table)
                .map(|found| found.shares)
                .unwrap_or_default();
            wanted = shares
                .iter()
                .filter_map(|share| table.parameter(&share.parameter))
                .take(2)
                .collect();
            for at in 0..table.parameters.len() {
                if wanted.len() < 2 && !wanted.contains(&at) {
                    wanted.push(at);
                }
            }
        }
        (2, [_, _]) => {}
        (2, _) => {
            return Err(too_few(
                "this chart is of two different parameters".to_owned(),
            ));
        }
        (count, _) => {
            return Err(too_few(format!(
                "this chart is of two parameters, and {count} are named"
            )));
        }
    }
    let (across, up) = (wanted[0], wanted[1]);
    let rows: Vec<_> = observed
        .into_iter()
        .filter(|(row, _)| row.parameters[across].is_some() && row.parameters[up].is_some())
        .collect();
    let (x, xs) = box_axis(table, across, &rows);
    let (y, ys) = box_axis(table, up, &rows);
    let shades = shades(table, &rows);
    let mut cells: BTreeMap<(usize, usize), (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    let mut dots = Vec::new();
    for (number, (row, objective)) in rows.iter().enumerate() {
        let (Some(x_at), Some(y_at)) = (xs[number], ys[number]) else {
            continue;
        };
        let cell = cells
            .entry((bin(&x, x_at, GRID), bin(&y, y_at, GRID)))
            .or_default();
        cell.0.push(*objective);
        cell.1.push(shades[number]);
        dots.push(Dot {
            x: x_at,
            y: y_at,
            shade: shades[number],
            trial: row.name.clone(),
            tips: vec![short(*objective)],
        });
    }
    let best_cell = cells
        .iter()
        .filter_map(|(place, (objectives, _))| Some((*place, median(objectives)?)))
        .reduce(|best, next| {
            if table.better(next.1, best.1) {
                next
            } else {
                best
            }
        });
    let areas: Vec<Area> = cells
        .iter()
        .map(|((column, line), (objectives, shades))| Area {
            x: ends(&x, *column, GRID),
            y: ends(&y, *line, GRID),
            shade: median(shades).unwrap_or_default(),
            words: None,
            tips: vec![
                median(objectives).map_or(json!(null), short),
                json!(objectives.len()),
            ],
        })
        .collect();
    let mut notes = vec![
        darkness(table),
        "each box is the middle of the trials in it; where none ran there is none".to_owned(),
    ];
    let mut layers = vec![Layer::Cells {
        cells: areas,
        tips: vec![format!("middle {}", table.objective), "trials".to_owned()],
    }];
    if dots.len() <= POINTS {
        layers.push(Layer::Points {
            dots,
            tips: vec![table.objective.clone()],
        });
    } else {
        notes.push(format!(
            "{} trials are in the boxes, without points",
            rows.len()
        ));
    }
    let (one, other) = (
        table.parameters[across].title(),
        table.parameters[up].title(),
    );
    let mut words = format!(
        "{}: {} over {one} and {other} in {}",
        table.experiment,
        table.objective,
        counted(rows.len(), "trial"),
    );
    if let Some((place, value)) = best_cell {
        let range = |axis: &Axis, cell, places: &[Option<f64>]| match axis {
            Axis::Choices { names, .. } => names.get(cell).cloned().unwrap_or_default(),
            Axis::Number { .. } => {
                let inside = || {
                    let known = places.iter().flatten().copied();
                    known.filter(|place| bin(axis, *place, GRID) == cell)
                };
                let first = inside().next();
                // A box around trials of one value is as wide as the drawing needs it.
                if let Some(only) = first.filter(|first| inside().all(|one| one == *first)) {
                    return label(only);
                }
                let (low, high) = ends(axis, cell, GRID);
                match (brief(low), brief(high)) {
                    (one, other) if one == other => format!("{} to {}", label(low), label(high)),
                    (one, other) => format!("{one} to {other}"),
                }
            }
        };
        words.push_str(&format!(
            "; best around {one} {} and {other} {}, with a middle of {}",
            range(&x, place.0, &xs),
            range(&y, place.1, &ys),
            label(value)
        ));
    }
    let figure = Figure {
        title: format!(
            "{}: {} over {one} and {other}",
            table.experiment, table.objective
        ),
        notes,
        columns: 1,
        panels: vec![Panel {
            heading: String::new(),
            width: 460.0,
            height: 340.0,
            x,
            y,
            layers,
        }],
    };
    Ok(figure.chart(words))
}

/// As [`parameter_axis`], but a parameter of few values has a place for each, so that the boxes of its
/// trials lie around them and not beside.
fn box_axis(table: &TrialTable, at: usize, rows: &[(&Row, f64)]) -> (Axis, Vec<Option<f64>>) {
    let parameter = &table.parameters[at];
    let levels = parameter.few(GRID);
    let names: Vec<String> = levels.iter().copied().map(label).collect();
    let place = |row: &Row| {
        let value = row.parameters[at].as_ref()?.number()?;
        let near = |level: &f64| (level - value).abs() <= 1e-9 * value.abs().max(1e-300);
        levels.iter().position(near).map(|place| place as f64)
    };
    let places: Vec<Option<f64>> = rows.iter().map(|(row, _)| place(row)).collect();
    let distinct: HashSet<&String> = names.iter().collect();
    // A value that is none of the listed ones has a place on a line only.
    if levels.is_empty() || distinct.len() < names.len() || places.contains(&None) {
        return parameter_axis(table, at, rows);
    }
    let axis = Axis::Choices {
        title: parameter.name.clone(),
        names,
    };
    (axis, places)
}

/// Two digits are enough for the edge of a box.
fn brief(value: f64) -> String {
    label(format!("{value:.1e}").parse().unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::Value;
    use crate::trials::tests::space;

    #[test]
    fn boxes_lie_around_the_values_of_a_discrete_parameter() {
        let mut table = space(12, |_, _, _| 0.5);
        let levels = [16.0, 32.0, 64.0];
        table.parameters[1].levels = levels.to_vec();
        table.parameters[1].choices.clear();
        for (at, row) in table.rows.iter_mut().enumerate() {
            row.parameters[1] = Some(Value::Number(levels[at % 3]));
        }
        let rows: Vec<_> = table.observed().collect();
        let (axis, places) = box_axis(&table, 1, &rows);
        let Axis::Choices { names, .. } = axis else {
            panic!("a place for each value")
        };
        assert_eq!(names, ["16", "32", "64"]);
        assert_eq!(places[..3], [Some(0.0), Some(1.0), Some(2.0)]);
        // One that strays from the list brings the line back.
        let mut strays = table.clone();
        strays.rows[0].parameters[1] = Some(Value::Number(20.0));
        let rows: Vec<_> = strays.observed().collect();
        assert!(matches!(box_axis(&strays, 1, &rows).0, Axis::Number { .. }));
    }
}
