//! The objective of each trial in the order they were made, and the best so far.

use super::{Chart, ChartError, counted};
use crate::figure::{Axis, Curve, Dot, Figure, Layer, Panel};
use crate::scale::label;
use crate::stats::median;
use crate::trials::{Row, TrialTable};

/// More points than this cannot be told apart.
const POINTS: usize = 1500;
/// Stretches of trials that are drawn instead.
const STRETCHES: usize = 250;

/// Draws each trial's objective, the best so far and the goal.
///
/// # Errors
/// [`ChartError::NoObservation`] when no trial has an objective value.
pub fn history(table: &TrialTable) -> Result<Chart, ChartError> {
    let Some((best, best_value)) = table.best() else {
        return Err(ChartError::no_observation(table));
    };
    let observed: Vec<(f64, &Row, f64)> = (1..)
        .zip(&table.rows)
        .filter_map(|(number, row)| Some((f64::from(number), row, row.objective?)))
        .collect();
    let mut so_far: Vec<(f64, f64)> = Vec::new();
    for (number, _, value) in &observed {
        match so_far.last() {
            Some((_, best)) if !table.better(*value, *best) => {}
            _ => so_far.push((*number, *value)),
        }
    }
    let records: Vec<f64> = so_far.iter().map(|record| record.0).collect();
    so_far.push((table.rows.len() as f64, best_value));
    let dot = |(number, row, value): &(f64, &Row, f64)| Dot {
        x: *number,
        y: *value,
        shade: if records.contains(number) { 1.0 } else { 0.3 },
        trial: row.name.clone(),
        tips: Vec::new(),
    };
    let mut notes = vec!["dark: the best so far".to_owned()];
    let mut layers = Vec::new();
    if observed.len() > POINTS {
        let stretch = observed.len().div_ceil(STRETCHES);
        let (mut band, mut middle) = (Vec::new(), Vec::new());
        for part in observed.chunks(stretch) {
            let values: Vec<f64> = part.iter().map(|point| point.2).collect();
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            band.push((part[0].0, low, high));
            middle.extend(median(&values).map(|middle| (part[0].0, middle)));
        }
        notes.push(format!(
            "{} trials: the band goes from the smallest to the largest of {stretch} each, its line is their middle",
            observed.len()
        ));
        layers.push(Layer::Band(band));
        layers.push(curve("middle", 0.35, 1.0, false, middle));
        layers.push(curve("best so far", 1.0, 2.0, true, so_far));
        let dots = observed
            .iter()
            .filter(|point| records.contains(&point.0))
            .map(dot)
            .collect();
        layers.push(Layer::Points {
            dots,
            tips: Vec::new(),
        });
    } else {
        layers.push(curve("best so far", 1.0, 2.0, true, so_far));
        let dots = observed.iter().map(dot).collect();
        layers.push(Layer::Points {
            dots,
            tips: Vec::new(),
        });
    }
    if let Some(goal) = table.goal {
        layers.push(Layer::Level {
            at: goal,
            words: format!("goal {}", label(goal)),
        });
    }
    let goal = table.goal.map_or(String::new(), |goal| {
        let reached = if table.better(goal, best_value) {
            "not reached"
        } else {
            "reached"
        };
        format!("; goal {} {reached}", label(goal))
    });
    let place = table
        .rows
        .iter()
        .position(|row| row.name == best.name)
        .map_or(0, |at| at + 1);
    let missing = table.rows.len() - observed.len();
    let mut words = format!(
        "{}: best {} = {} by {}, reached at trial {place} of {}{goal}",
        table.experiment,
        table.objective,
        label(best_value),
        best.name,
        table.rows.len(),
    );
    if missing > 0 {
        words.push_str(&format!("; {} without a value", counted(missing, "trial")));
    }
    for note in &notes[1..] {
        words.push_str(&format!("\nnote: {note}"));
    }
    let values = observed.iter().map(|point| point.2).chain(table.goal);
    let y = Axis::over(
        &table.objective,
        values.collect::<Vec<_>>().into_iter(),
        false,
    );
    let figure = Figure {
        title: format!("{}: history", table.experiment),
        notes,
        columns: 1,
        panels: vec![Panel {
            heading: String::new(),
            width: 560.0,
            height: 240.0,
            x: Axis::trials(table.rows.len()),
            y,
            layers,
        }],
    };
    Ok(figure.chart(words))
}

fn curve(name: &str, shade: f64, width: f64, stepped: bool, points: Vec<(f64, f64)>) -> Layer {
    Layer::Curves(vec![Curve {
        name: name.to_owned(),
        shade,
        width,
        stepped,
        points,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::tests::table;

    #[test]
    fn the_sentence_names_the_best_trial_and_the_goal() {
        let chart = history(&table(&[Some(0.5), Some(0.9), None, Some(0.7)])).unwrap();
        assert_eq!(
            chart.text,
            "digits: best accuracy = 0.9 by digits-1, reached at trial 2 of 4; goal 0.99 not reached; 1 trial without a value"
        );
    }

    #[test]
    fn the_best_so_far_never_falls() {
        let chart = history(&table(&[Some(0.5), Some(0.9), Some(0.7)])).unwrap();
        let best: Vec<f64> = chart.vega_lite["layer"][0]["data"]["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|point| point["y"].as_f64().unwrap())
            .collect();
        assert_eq!(best, [0.5, 0.9, 0.9]);
    }
}
