//! Parallel coordinates: a line a trial, across one axis a parameter, to the objective.

use serde_json::{Map, json};

use super::{Chart, ChartError, SCHEMA};
use crate::scale::{Scale, label};
use crate::svg::{Anchor, Drawing, INK};
use crate::trials::{Row, TrialTable, Value};

const HEIGHT: f64 = 340.0;
const GAP: f64 = 170.0;
const SIDE: f64 = 80.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 32.0;

/// One axis: where each trial crosses it, between 0 (bottom) and 1, and its labels.
struct Axis {
    title: String,
    places: Vec<Option<f64>>,
    ticks: Vec<(f64, String)>,
}

/// Draws a line a trial through its parameters to its objective; better trials are darker.
///
/// # Errors
/// [`ChartError::NoObservation`] when no trial has an objective value.
pub fn parallel(table: &TrialTable) -> Result<Chart, ChartError> {
    let mut rows: Vec<(&Row, f64)> = table.observed().collect();
    if rows.is_empty() {
        return Err(ChartError::NoObservation {
            experiment: table.experiment.clone(),
            metric: table.objective.clone(),
        });
    }
    // The best come last, so that they are drawn on top.
    rows.sort_by(|left, right| {
        let order = left.1.total_cmp(&right.1);
        if table.minimize {
            order.reverse()
        } else {
            order
        }
    });
    let mut axes: Vec<Axis> = (0..table.parameters.len())
        .map(|index| parameter_axis(table, &rows, index))
        .collect();
    axes.push(numeric_axis(
        &table.objective,
        rows.iter().map(|row| Some(row.1)).collect(),
        false,
    ));

    let shades: Vec<f64> = (0..rows.len())
        .map(|rank| (rank + 1) as f64 / rows.len() as f64)
        .collect();
    let mut data = Vec::new();
    for (position, (row, objective)) in rows.iter().enumerate() {
        for (order, axis) in axes.iter().enumerate() {
            let Some(place) = axis.places[position] else {
                continue;
            };
            let mut point = Map::new();
            point.insert("trial".into(), json!(row.name));
            point.insert("axis".into(), json!(axis.title));
            point.insert("order".into(), json!(order));
            point.insert("place".into(), json!((place * 1e4).round() / 1e4));
            point.insert("objective".into(), json!(objective));
            point.insert("shade".into(), json!(shades[position]));
            data.push(json!(point));
        }
    }
    let ticks: Vec<_> = axes
        .iter()
        .flat_map(|axis| {
            axis.ticks
                .iter()
                .map(|(place, text)| json!({"axis": axis.title, "place": place, "label": text}))
        })
        .collect();
    let titles: Vec<&str> = axes.iter().map(|axis| axis.title.as_str()).collect();
    let (best, value) = rows[rows.len() - 1];
    let settings: Vec<String> = table
        .parameters
        .iter()
        .zip(&best.parameters)
        .filter_map(|(parameter, value)| {
            Some(format!("{} {}", parameter.title(), words(value.as_ref()?)))
        })
        .collect();
    let y = json!({"field": "place", "type": "quantitative", "axis": null, "scale": {"domain": [0, 1]}});
    Ok(Chart {
        vega_lite: json!({
            "$schema": SCHEMA, "width": 560, "height": 260, "title": format!("{}: parallel coordinates", table.experiment),
            "encoding": {"x": {"field": "axis", "type": "nominal", "sort": titles, "title": null,
                               "axis": {"labelAngle": 0, "grid": true, "tickBand": "center"}}, "y": y},
            "layer": [
                {"data": {"values": data},
                 "params": [{"name": "hover", "select": {"type": "point", "fields": ["trial"], "on": "pointerover"}}],
                 "mark": {"type": "line", "strokeWidth": 2},
                 "encoding": {
                     "detail": {"field": "trial"}, "order": {"field": "order"},
                     "color": {"field": "shade", "type": "quantitative", "legend": null,
                               "scale": {"scheme": "blues", "domain": [-0.4, 1]}},
                     "opacity": {"condition": {"param": "hover", "value": 1}, "value": 0.15},
                     "tooltip": [{"field": "trial", "type": "nominal"},
                                 {"field": "objective", "type": "quantitative", "title": table.objective}]}},
                {"data": {"values": ticks},
                 "mark": {"type": "text", "dx": 6, "align": "left", "fontSize": 10},
                 "encoding": {"text": {"field": "label"}}}],
        }),
        svg: draw(table, &axes, &rows, &shades),
        text: format!(
            "{}: {} trials over {}; the best {} {} has {}",
            table.experiment,
            rows.len(),
            table
                .parameters
                .iter()
                .map(|parameter| parameter.title())
                .collect::<Vec<_>>()
                .join(", "),
            table.objective,
            label(value),
            settings.join(", ")
        ),
    })
}

fn words(value: &Value) -> String {
    match value {
        Value::Number(number) => label(*number),
        Value::Text(text) => text.clone(),
    }
}

fn parameter_axis(table: &TrialTable, rows: &[(&Row, f64)], index: usize) -> Axis {
    let parameter = &table.parameters[index];
    let values: Vec<Option<&Value>> = rows
        .iter()
        .map(|(row, _)| row.parameters[index].as_ref())
        .collect();
    if values
        .iter()
        .flatten()
        .all(|value| value.number().is_some())
    {
        let numbers = values
            .iter()
            .map(|value| value.and_then(Value::number))
            .collect();
        return numeric_axis(parameter.title(), numbers, parameter.logarithmic);
    }
    let mut choices = parameter.choices.clone();
    for text in values.iter().flatten().map(|value| words(value)) {
        if !choices.contains(&text) {
            choices.push(text);
        }
    }
    let place = |position: usize| (position as f64 + 0.5) / choices.len() as f64;
    Axis {
        title: parameter.title().to_owned(),
        places: values
            .iter()
            .map(|value| {
                let text = words((*value)?);
                choices.iter().position(|choice| *choice == text).map(place)
            })
            .collect(),
        ticks: choices
            .iter()
            .enumerate()
            .map(|(position, choice)| (place(position), choice.clone()))
            .collect(),
    }
}

fn numeric_axis(title: &str, values: Vec<Option<f64>>, logarithmic: bool) -> Axis {
    let scale = Scale::over(values.iter().copied().flatten(), logarithmic);
    let mut ticks: Vec<f64> = scale.ticks(5);
    ticks.retain(|tick| (0.0..=1.0).contains(&scale.place(*tick)));
    Axis {
        title: title.to_owned(),
        places: values
            .into_iter()
            .map(|value| Some(scale.place(value?)))
            .collect(),
        ticks: ticks
            .into_iter()
            .map(|tick| (scale.place(tick), label(tick)))
            .collect(),
    }
}

/// From pale to dark blue; in greyscale the same order of lightness.
fn shade(position: f64) -> String {
    let mix = |pale: f64, dark: f64| (pale + (dark - pale) * position).round() as u8;
    format!(
        "#{:02x}{:02x}{:02x}",
        mix(206.0, 20.0),
        mix(218.0, 60.0),
        mix(235.0, 130.0)
    )
}

fn draw(table: &TrialTable, axes: &[Axis], rows: &[(&Row, f64)], shades: &[f64]) -> String {
    let width = 2.0 * SIDE + GAP * (axes.len() - 1) as f64;
    let x = |axis: usize| SIDE + GAP * axis as f64;
    let y = |place: f64| HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM);
    let mut drawing = Drawing::new(width as u32, HEIGHT as u32);
    drawing.words(
        (16.0, 20.0),
        Anchor::Start,
        &format!("{}: parallel coordinates", table.experiment),
    );
    for (position, (row, objective)) in rows.iter().enumerate() {
        let points: Vec<(f64, f64)> = axes
            .iter()
            .enumerate()
            .filter_map(|(index, axis)| Some((x(index), y(axis.places[position]?))))
            .collect();
        let best = position + 1 == rows.len();
        let title = format!("{}: {} {}", row.name, table.objective, label(*objective));
        drawing.path(
            &points,
            &shade(shades[position]),
            if best { 3.5 } else { 1.5 },
            &title,
        );
    }
    for (index, axis) in axes.iter().enumerate() {
        drawing.line((x(index), y(0.0)), (x(index), y(1.0)), INK, false);
        drawing.words((x(index), TOP - 14.0), Anchor::Middle, &axis.title);
        for (place, text) in &axis.ticks {
            drawing.line(
                (x(index) - 4.0, y(*place)),
                (x(index), y(*place)),
                INK,
                false,
            );
            drawing.words((x(index) - 7.0, y(*place) + 4.0), Anchor::End, text);
        }
    }
    drawing.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::tests::table;

    #[test]
    fn every_observed_trial_has_a_point_on_every_axis() {
        let chart = parallel(&table(&[Some(0.5), None, Some(0.7)])).unwrap();
        let points = chart.vega_lite["layer"][0]["data"]["values"]
            .as_array()
            .unwrap();
        assert_eq!(points.len(), 2 * 3);
        assert!(
            chart
                .text
                .contains("the best accuracy 0.7 has lr 0.0032, optimizer sgd"),
            "{}",
            chart.text
        );
    }

    #[test]
    fn the_drawing_becomes_a_picture() {
        let chart = parallel(&table(&[Some(0.5), Some(0.6)])).unwrap();
        assert!(
            crate::png::from_svg(&chart.svg)
                .unwrap()
                .png
                .starts_with(b"\x89PNG")
        );
    }

    #[test]
    fn equal_input_gives_equal_bytes() {
        let table = table(&[Some(0.5), Some(0.6), Some(0.55)]);
        assert_eq!(parallel(&table).unwrap(), parallel(&table).unwrap());
    }
}
