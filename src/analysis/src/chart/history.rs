//! The objective of each trial in the order they were made, and the best so far.

use serde_json::json;

use super::{Chart, ChartError, SCHEMA};
use crate::scale::{Scale, label};
use crate::svg::{Anchor, Drawing, FAINT, INK, PALE, STRONG};
use crate::trials::TrialTable;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 32.0;
const BOTTOM: f64 = 48.0;

/// Draws each trial's objective, the best so far and the goal.
///
/// # Errors
/// [`ChartError::NoObservation`] when no trial has an objective value.
pub fn history(table: &TrialTable) -> Result<Chart, ChartError> {
    let Some((best, best_value)) = table.best() else {
        return Err(ChartError::NoObservation {
            experiment: table.experiment.clone(),
            metric: table.objective.clone(),
        });
    };
    let mut so_far = Vec::new();
    for (number, row) in (1..).zip(&table.rows) {
        let Some(value) = row.objective else { continue };
        let previous = so_far.last().map_or(value, |(_, _, _, best)| *best);
        let best = if table.better(previous, value) {
            previous
        } else {
            value
        };
        so_far.push((number, row, value, best));
    }
    let data: Vec<_> = so_far
        .iter()
        .map(|(number, row, value, best)| json!({"n": number, "trial": row.name, "value": value, "best": best}))
        .collect();
    let y = json!({"field": "value", "type": "quantitative", "title": table.objective, "scale": {"zero": false}});
    let mut layers = vec![
        json!({"mark": {"type": "line", "interpolate": "step-after", "color": STRONG},
               "encoding": {"y": {"field": "best", "type": "quantitative"}}}),
        json!({"mark": {"type": "point", "filled": true, "size": 60, "color": PALE},
               "encoding": {"y": y, "tooltip": [
                   {"field": "trial", "type": "nominal"},
                   {"field": "value", "type": "quantitative", "title": table.objective}]}}),
    ];
    if let Some(goal) = table.goal {
        // From edge to edge: with the x of the other layers it would be an upright line at each trial.
        layers.push(
            json!({"mark": {"type": "rule", "strokeDash": [5, 4], "color": STRONG},
                           "encoding": {"x": {"value": 0}, "x2": {"value": "width"}, "y": {"datum": goal}}}),
        );
    }
    let x =
        json!({"field": "n", "type": "quantitative", "title": "trial", "axis": {"tickMinStep": 1}});
    let text = format!(
        "{}: best {} = {} by {}, reached at trial {} of {}{}",
        table.experiment,
        table.objective,
        label(best_value),
        best.name,
        table
            .rows
            .iter()
            .position(|row| row.name == best.name)
            .map_or(0, |index| index + 1),
        table.rows.len(),
        table.goal.map_or(String::new(), |goal| {
            let reached = !table.better(goal, best_value);
            format!(
                "; goal {} {}",
                label(goal),
                if reached { "reached" } else { "not reached" }
            )
        }),
    );
    Ok(Chart {
        vega_lite: json!({
            "$schema": SCHEMA, "width": 560, "height": 240, "title": format!("{}: history", table.experiment),
            "data": {"values": data}, "encoding": {"x": x}, "layer": layers,
        }),
        svg: draw(
            table,
            &so_far
                .iter()
                .map(|(n, row, value, best)| (*n, row.name.as_str(), *value, *best))
                .collect::<Vec<_>>(),
        ),
        text,
    })
}

fn draw(table: &TrialTable, points: &[(usize, &str, f64, f64)]) -> String {
    let values = points.iter().map(|point| point.2).chain(table.goal);
    let vertical = Scale::over(values, false).padded();
    let across = Scale::Linear {
        low: 0.5,
        high: table.rows.len() as f64 + 0.5,
    };
    let x = |number: f64| LEFT + across.place(number) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - vertical.place(value) * (HEIGHT - TOP - BOTTOM);
    let mut drawing = Drawing::new(WIDTH as u32, HEIGHT as u32);
    drawing.words(
        (LEFT, 20.0),
        Anchor::Start,
        &format!("{}: history", table.experiment),
    );
    for tick in vertical.ticks(5) {
        drawing.line((LEFT, y(tick)), (WIDTH - RIGHT, y(tick)), FAINT, false);
        drawing.words((LEFT - 8.0, y(tick) + 4.0), Anchor::End, &label(tick));
    }
    for tick in across
        .ticks(8)
        .into_iter()
        .filter(|tick| tick.fract() == 0.0)
    {
        drawing.words(
            (x(tick), HEIGHT - BOTTOM + 18.0),
            Anchor::Middle,
            &label(tick),
        );
    }
    drawing.words(
        ((LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 10.0),
        Anchor::Middle,
        "trial",
    );
    drawing.words((WIDTH - RIGHT, 20.0), Anchor::End, &table.objective);
    if let Some(goal) = table.goal {
        drawing.line((LEFT, y(goal)), (WIDTH - RIGHT, y(goal)), INK, true);
        drawing.words(
            (WIDTH - RIGHT, y(goal) - 5.0),
            Anchor::End,
            &format!("goal {}", label(goal)),
        );
    }
    let mut steps = Vec::new();
    for (index, (number, _, _, best)) in points.iter().enumerate() {
        if index > 0 {
            steps.push((x(*number as f64), y(points[index - 1].3)));
        }
        steps.push((x(*number as f64), y(*best)));
    }
    drawing.path(&steps, STRONG, 2.0, "best so far");
    for (number, name, value, best) in points {
        let colour = if value == best { STRONG } else { PALE };
        drawing.dot(
            (x(*number as f64), y(*value)),
            4.0,
            colour,
            &format!("{name}: {}", label(*value)),
        );
    }
    drawing.finish()
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
            "digits: best accuracy = 0.9 by digits-1, reached at trial 2 of 4; goal 0.99 not reached"
        );
    }

    #[test]
    fn the_best_so_far_never_falls() {
        let chart = history(&table(&[Some(0.5), Some(0.9), Some(0.7)])).unwrap();
        let best: Vec<f64> = chart.vega_lite["data"]["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|point| point["best"].as_f64().unwrap())
            .collect();
        assert_eq!(best, [0.5, 0.9, 0.9]);
    }

    #[test]
    fn without_an_observation_there_is_a_reason_instead_of_a_chart() {
        assert!(matches!(
            history(&table(&[None])),
            Err(ChartError::NoObservation { .. })
        ));
    }
}
