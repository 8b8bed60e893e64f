//! Several experiments in one chart: the best so far of each.

use super::{Chart, ChartError, counted};
use crate::figure::{Axis, Curve, Figure, Layer, Panel};
use crate::scale::label;
use crate::trials::TrialTable;

/// Draws the best so far of each experiment, trial by trial.
///
/// # Errors
/// [`ChartError`] when they have different objectives, or none has a value.
pub fn compare(tables: &[(String, TrialTable)]) -> Result<Chart, ChartError> {
    let different = |one: &TrialTable, other: &TrialTable| {
        one.objective != other.objective || one.minimize != other.minimize
    };
    let Some((_, first)) = tables.first() else {
        return Err(ChartError::NoTrial {
            experiment: String::new(),
        });
    };
    if let Some((name, other)) = tables.iter().find(|(_, other)| different(first, other)) {
        let way = |table: &TrialTable| {
            if table.minimize {
                "minimise"
            } else {
                "maximise"
            }
        };
        return Err(ChartError::TooFew {
            what: format!(
                "`{}` is to {} {} and `{name}` to {} {}: their curves cannot be compared",
                tables[0].0,
                way(first),
                first.objective,
                way(other),
                other.objective
            ),
            hint: "the table compares the rest".to_owned(),
        });
    }
    let mut curves = Vec::new();
    for (at, (name, table)) in tables.iter().enumerate() {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (number, row) in (1..).zip(&table.rows) {
            let Some(value) = row.objective else { continue };
            match points.last() {
                Some((_, best)) if !table.better(value, *best) => {}
                _ => points.push((f64::from(number), value)),
            }
        }
        if let Some((_, best)) = points.last().copied() {
            points.push((table.rows.len() as f64, best));
            let last = (tables.len().max(2) - 1) as f64;
            curves.push(Curve {
                name: name.clone(),
                shade: 1.0 - 0.85 * at as f64 / last,
                width: 2.0,
                stepped: true,
                points,
            });
        }
    }
    if curves.is_empty() {
        return Err(ChartError::no_observation(first));
    }
    let names: Vec<&str> = curves.iter().map(|curve| curve.name.as_str()).collect();
    let longest = tables
        .iter()
        .map(|(_, table)| table.rows.len())
        .max()
        .unwrap_or(1);
    let ends: Vec<String> = curves
        .iter()
        .filter_map(|curve| Some(format!("{} {}", curve.name, label(curve.points.last()?.1))))
        .collect();
    let values: Vec<f64> = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point.1)
        .collect();
    let words = format!(
        "best {} of {}: {}",
        first.objective,
        counted(curves.len(), "experiment"),
        ends.join(", ")
    );
    let figure = Figure {
        title: format!("best {} so far", first.objective),
        notes: vec![format!("from dark to pale: {}", names.join(", "))],
        columns: 1,
        panels: vec![Panel {
            heading: String::new(),
            width: 560.0,
            height: 240.0,
            x: Axis::trials(longest),
            y: Axis::over(&first.objective, values.into_iter(), false),
            layers: vec![Layer::Curves(curves)],
        }],
    };
    Ok(figure.chart(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::tests::table;

    #[test]
    fn experiments_of_one_objective_are_drawn_and_others_refused() {
        let (one, mut other) = (table(&[Some(0.5), Some(0.7)]), table(&[Some(0.9)]));
        let pair = |other: &TrialTable| {
            [
                ("one".to_owned(), one.clone()),
                ("other".to_owned(), other.clone()),
            ]
        };
        assert_eq!(
            compare(&pair(&other)).unwrap().text,
            "best accuracy of 2 experiments: one 0.7, other 0.9"
        );
        other.minimize = true;
        let error = compare(&pair(&other)).unwrap_err();
        assert!(
            error.to_string().contains("to minimise accuracy"),
            "{error}"
        );
    }
}
