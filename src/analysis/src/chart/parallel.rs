//! Parallel coordinates: a line a trial, across one axis a parameter, to the objective.

use serde_json::{Map, json};

use super::{Chart, ChartError, SCHEMA, chosen};
use crate::figure::config;
use crate::scale::{Scale, label};
use crate::svg::{Anchor, Drawing, INK, PAPER, RAMP, shade, shorten};
use crate::trials::{Row, TrialTable, Value};

const HEIGHT: f64 = 356.0;
const GAP: f64 = 170.0;
const SIDE: f64 = 80.0;
const TOP: f64 = 72.0;
const BOTTOM: f64 = 32.0;

/// One axis: where each trial crosses it, between 0 (bottom) and 1, and its labels.
struct Axis {
    title: String,
    places: Vec<Option<f64>>,
    ticks: Vec<(f64, String)>,
}

/// More lines than this cannot be told apart.
const LINES: usize = 160;
/// Lines times axes, so that many parameters stay small in a notebook.
const CROSSINGS: usize = 6000;

/// Draws a line a trial through these parameters, or all, to its objective; better trials are darker.
///
/// # Errors
/// [`ChartError`] when no trial has an objective value, or a parameter is not there.
pub fn parallel(table: &TrialTable, parameters: &[String]) -> Result<Chart, ChartError> {
    let mut wanted = chosen(table, parameters)?;
    if parameters.is_empty() {
        wanted = (0..table.parameters.len()).collect();
    }
    // The best come last, so that they are drawn on top.
    let mut rows: Vec<(&Row, f64)> = table.ranked();
    rows.reverse();
    if rows.is_empty() {
        return Err(ChartError::no_observation(table));
    }
    let observed = rows.len();
    let most = LINES.min(CROSSINGS / (wanted.len() + 1)).max(20);
    let mut note = None;
    if observed > most {
        let (best, every) = (most / 2, (observed - most / 2).div_ceil(most / 2));
        let rest = observed - best;
        let mut kept: Vec<(&Row, f64)> = rows[..rest].iter().step_by(every).copied().collect();
        kept.extend(&rows[rest..]);
        rows = kept;
        note = Some(format!(
            "of {observed} trials the {best} best and 1 in {every} of the others"
        ));
    }
    let mut axes: Vec<Axis> = wanted
        .iter()
        .map(|index| parameter_axis(table, &rows, *index))
        .collect();
    axes.push(numeric_axis(
        &table.objective,
        rows.iter().map(|row| Some(row.1)).collect(),
        false,
    ));
    // A metric may be called as a parameter is, and two parameters may differ in dashes only.
    for at in 1..axes.len() {
        while axes[..at].iter().any(|axis| axis.title == axes[at].title) {
            axes[at].title.push('′');
        }
    }

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
    let settings: Vec<String> = wanted
        .iter()
        .filter_map(|at| {
            let value = best.parameters[*at].as_ref()?;
            Some(format!("{} {value}", table.parameters[*at].title()))
        })
        .collect();
    let way = if table.minimize { "smaller" } else { "larger" };
    let mut notes = vec![format!("darker is better: {way} {}", table.objective)];
    notes.extend(note.clone());
    let y = json!({"field": "place", "type": "quantitative", "axis": null, "scale": {"domain": [0, 1]}});
    Ok(Chart {
        vega_lite: json!({
            "$schema": SCHEMA, "width": 560, "height": 260, "background": PAPER, "config": config(),
            "title": {"text": format!("{}: parallel coordinates", table.experiment), "subtitle": notes, "anchor": "start"},
            "encoding": {"x": {"field": "axis", "type": "nominal", "sort": titles, "title": null,
                               "axis": {"labelAngle": 0, "grid": true, "tickBand": "center"}}, "y": y},
            "layer": [
                {"data": {"values": data},
                 "params": [{"name": "hover", "select": {"type": "point", "fields": ["trial"], "on": "pointerover"}}],
                 "mark": {"type": "line", "strokeWidth": 2},
                 "encoding": {
                     "detail": {"field": "trial"}, "order": {"field": "order"},
                     "color": {"field": "shade", "type": "quantitative", "legend": null,
                               "scale": {"range": RAMP, "domain": [0, 1]}},
                     "opacity": {"condition": {"param": "hover", "value": 1}, "value": 0.15},
                     "tooltip": [{"field": "trial", "type": "nominal"},
                                 {"field": "objective", "type": "quantitative", "title": table.objective}]}},
                // Paper around the labels first: lines run through them.
                {"data": {"values": ticks},
                 "layer": [
                     {"mark": {"type": "text", "dx": 6, "align": "left", "fontSize": 10,
                               "stroke": PAPER, "strokeWidth": 4, "strokeJoin": "round"}},
                     {"mark": {"type": "text", "dx": 6, "align": "left", "fontSize": 10}}],
                 "encoding": {"text": {"field": "label"}}}],
        }),
        svg: draw(table, &axes, &rows, &shades, &notes),
        text: format!(
            "{}: {} over {}; the best {} {} has {}{}",
            table.experiment,
            super::counted(observed, "trial"),
            wanted
                .iter()
                .map(|at| table.parameters[*at].title())
                .collect::<Vec<_>>()
                .join(", "),
            table.objective,
            label(value),
            settings.join(", "),
            note.map_or(String::new(), |note| format!("\nnote: {note}")),
        ),
    })
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
    for text in values.iter().flatten().map(|value| value.to_string()) {
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
                let text = (*value)?.to_string();
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

fn draw(
    table: &TrialTable,
    axes: &[Axis],
    rows: &[(&Row, f64)],
    shades: &[f64],
    notes: &[String],
) -> String {
    let width = 2.0 * SIDE + GAP * (axes.len() - 1) as f64;
    let x = |axis: usize| SIDE + GAP * axis as f64;
    let y = |place: f64| HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM);
    let mut drawing = Drawing::new(width as u32, HEIGHT as u32);
    drawing.words(
        (16.0, 20.0),
        Anchor::Start,
        &format!("{}: parallel coordinates", table.experiment),
    );
    drawing.small((16.0, 34.0), Anchor::Start, "#666666", &notes.join("; "));
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
        drawing.words(
            (x(index), TOP - 14.0),
            Anchor::Middle,
            &shorten(&axis.title, 22),
        );
        for (place, text) in &axis.ticks {
            drawing.line(
                (x(index) - 4.0, y(*place)),
                (x(index), y(*place)),
                INK,
                false,
            );
            drawing.words_on_lines(
                (x(index) - 7.0, y(*place) + 4.0),
                Anchor::End,
                &shorten(text, 12),
            );
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
        let chart = parallel(&table(&[Some(0.5), None, Some(0.7)]), &[]).unwrap();
        let points = chart.vega_lite["layer"][0]["data"]["values"]
            .as_array()
            .unwrap();
        assert_eq!(points.len(), 2 * 3);
        assert!(
            chart
                .text
                .contains("the best accuracy 0.7 has lr 0.003162, optimizer sgd"),
            "{}",
            chart.text
        );
    }

    #[test]
    fn the_drawing_becomes_a_picture() {
        let chart = parallel(&table(&[Some(0.5), Some(0.6)]), &[]).unwrap();
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
        assert_eq!(
            parallel(&table, &[]).unwrap(),
            parallel(&table, &[]).unwrap()
        );
    }
}
