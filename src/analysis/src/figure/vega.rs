//! A figure as Vega-Lite 5.
//!
//! Fields have names of our own (`x`, `y`, `trial`, …): names of parameters and metrics are titles only,
//! so whatever dots, brackets and quotes they hold means nothing to Vega.

use serde_json::{Map, Value as Json, json};

use super::{Axis, Figure, Layer, Panel, short};
use crate::chart::SCHEMA;
use crate::svg::{FAINT, INK, PALE, PAPER, RAMP, STRONG};

pub(super) fn figure(figure: &Figure) -> Json {
    let panels: Vec<Json> = figure
        .panels
        .iter()
        .enumerate()
        .map(|(number, one)| panel(one, number))
        .collect();
    let mut whole = json!({
        "$schema": SCHEMA,
        "background": PAPER,
        "config": config(),
        "title": {"text": figure.title, "subtitle": figure.notes, "anchor": "start"},
    });
    let Some(members) = whole.as_object_mut() else {
        return whole;
    };
    match <[Json; 1]>::try_from(panels) {
        Ok([Json::Object(only)]) => members.extend(only),
        Ok([other]) => {
            members.insert("concat".into(), json!([other]));
        }
        Err(panels) => {
            members.insert("concat".into(), json!(panels));
            members.insert("columns".into(), json!(figure.columns.max(1)));
        }
    }
    whole
}

/// Ink for the paper. A front end with a dark theme has light ink of its own, which a figure that paints
/// its paper must not leave to it.
pub(crate) fn config() -> Json {
    json!({
        "axis": {"labelColor": INK, "titleColor": INK, "tickColor": FAINT, "domainColor": PALE, "gridColor": FAINT},
        "header": {"labelColor": INK, "titleColor": INK},
        "text": {"color": INK},
        "title": {"color": INK, "subtitleColor": INK},
        "view": {"stroke": FAINT},
    })
}

fn panel(panel: &Panel, number: usize) -> Json {
    let mut brushed = false;
    let layers: Vec<Json> = panel
        .layers
        .iter()
        .flat_map(|one| layer(panel, one, number, &mut brushed))
        .collect();
    let mut made = json!({"width": panel.width, "height": panel.height, "layer": layers});
    if !panel.heading.is_empty() {
        made["title"] = json!(panel.heading);
    }
    made
}

fn axis(axis: &Axis, field: &str) -> Json {
    match axis {
        Axis::Number {
            title,
            scale,
            whole,
        } => {
            let (low, high) = scale.ends();
            let kind = if scale.is_logarithmic() {
                "log"
            } else {
                "linear"
            };
            let mut axis = json!({
                "field": field, "type": "quantitative", "title": title,
                "scale": {"type": kind, "domain": [low, high], "nice": false, "zero": false},
            });
            if *whole {
                axis["axis"] = json!({"tickMinStep": 1});
            }
            axis
        }
        Axis::Choices { title, names } => json!({
            "field": field, "type": "ordinal", "title": title,
            "scale": {"domain": names}, "sort": names,
        }),
    }
}

/// Vega draws ordinal axes of y from the top, and numbers from the bottom.
fn upward(axis: &Axis, mut encoding: Json) -> Json {
    if let Axis::Choices { names, .. } = axis {
        let reversed: Vec<&String> = names.iter().rev().collect();
        encoding["scale"]["domain"] = json!(reversed);
        encoding["sort"] = json!(reversed);
    }
    encoding
}

fn shade() -> Json {
    json!({"field": "s", "type": "quantitative", "legend": null, "scale": {"domain": [0, 1], "range": RAMP}})
}

fn hover(panel: &Panel, trial: bool, place: bool, tips: &[String]) -> Json {
    let mut all = Vec::new();
    if trial {
        all.push(json!({"field": "trial", "type": "nominal", "title": "trial"}));
    }
    if place {
        for (field, axis) in [("x", &panel.x), ("y", &panel.y)] {
            let kind = match axis {
                Axis::Number { .. } => "quantitative",
                Axis::Choices { .. } => "nominal",
            };
            all.push(json!({"field": field, "type": kind, "title": axis.title()}));
        }
    }
    for (number, title) in tips.iter().enumerate() {
        all.push(json!({"field": format!("t{number}"), "type": "nominal", "title": title}));
    }
    json!(all)
}

fn with_tips(mut row: Map<String, Json>, tips: &[Json]) -> Json {
    for (number, tip) in tips.iter().enumerate() {
        row.insert(format!("t{number}"), tip.clone());
    }
    Json::Object(row)
}

fn row<const N: usize>(members: [(&str, Json); N]) -> Map<String, Json> {
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn layer(panel: &Panel, layer: &Layer, number: usize, brushed: &mut bool) -> Vec<Json> {
    let (x, y) = (axis(&panel.x, "x"), upward(&panel.y, axis(&panel.y, "y")));
    match layer {
        Layer::Points { dots, tips } => {
            let data: Vec<Json> = dots
                .iter()
                .map(|dot| {
                    let members = row([
                        ("x", panel.x.value(dot.x)),
                        ("y", panel.y.value(dot.y)),
                        ("s", short(dot.shade)),
                        ("trial", json!(dot.trial)),
                    ]);
                    with_tips(members, &dot.tips)
                })
                .collect();
            let mut made = json!({
                "data": {"values": data},
                "mark": {"type": "circle", "size": 50, "opacity": 1, "stroke": PALE, "strokeWidth": 0.7},
                "encoding": {"x": x, "y": y, "color": shade(), "tooltip": hover(panel, true, true, tips)},
            });
            if !std::mem::replace(brushed, true) {
                let brush = format!("brush{number}");
                made["params"] = json!([{"name": brush, "select": "interval"}]);
                made["encoding"]["opacity"] =
                    json!({"condition": {"param": brush, "value": 1}, "value": 0.15});
            }
            vec![made]
        }
        Layer::Curves(curves) => {
            let mut data = Vec::new();
            for (which, curve) in curves.iter().enumerate() {
                for (x, y) in &curve.points {
                    data.push(Json::Object(row([
                        ("x", panel.x.value(*x)),
                        ("y", panel.y.value(*y)),
                        ("s", short(curve.shade)),
                        ("c", json!(which)),
                        ("trial", json!(curve.name)),
                    ])));
                }
            }
            let stepped = curves.iter().any(|curve| curve.stepped);
            let width = curves.iter().map(|curve| curve.width).fold(0.5, f64::max);
            let named = format!("curve{number}");
            let mut made = json!({
                "data": {"values": data},
                "mark": {"type": "line", "strokeWidth": width, "interpolate": if stepped { "step-after" } else { "linear" }},
                "encoding": {"x": x, "y": y, "color": shade(), "detail": {"field": "c", "type": "nominal"},
                             "tooltip": hover(panel, true, true, &[])},
            });
            if curves.len() > 1 {
                made["params"] = json!([{"name": named, "select": {"type": "point", "fields": ["c"], "on": "pointerover"}}]);
                made["encoding"]["opacity"] =
                    json!({"condition": {"param": named, "value": 1}, "value": 0.15});
            }
            vec![made]
        }
        Layer::Band(points) => {
            let data: Vec<Json> = points
                .iter()
                .map(|(x, low, high)| {
                    Json::Object(row([
                        ("x", panel.x.value(*x)),
                        ("y", panel.y.value(*low)),
                        ("y2", panel.y.value(*high)),
                    ]))
                })
                .collect();
            vec![json!({
                "data": {"values": data},
                "mark": {"type": "area", "color": RAMP[0], "opacity": 0.8},
                "encoding": {"x": x, "y": y, "y2": {"field": "y2"}},
            })]
        }
        Layer::Cells { cells, tips } => {
            let data: Vec<Json> = cells
                .iter()
                .map(|cell| {
                    let mut members = row([
                        ("x", panel.x.value(cell.x.0)),
                        ("y", panel.y.value(cell.y.0)),
                        ("s", short(cell.shade)),
                    ]);
                    if matches!(panel.x, Axis::Number { .. }) {
                        members.insert("x2".into(), panel.x.value(cell.x.1));
                    }
                    if matches!(panel.y, Axis::Number { .. }) {
                        members.insert("y2".into(), panel.y.value(cell.y.1));
                    }
                    if let Some(words) = &cell.words {
                        members.insert("w".into(), json!(words));
                    }
                    with_tips(members, &cell.tips)
                })
                .collect();
            let mut encoding = json!({"x": x, "y": y, "color": shade(), "tooltip": hover(panel, false, false, tips)});
            if matches!(panel.x, Axis::Number { .. }) {
                encoding["x2"] = json!({"field": "x2"});
            }
            if matches!(panel.y, Axis::Number { .. }) {
                encoding["y2"] = json!({"field": "y2"});
            }
            let mut made = vec![json!({
                "data": {"values": data}, "mark": {"type": "rect", "stroke": PAPER, "strokeWidth": 0.5}, "encoding": encoding,
            })];
            if cells.iter().any(|cell| cell.words.is_some()) {
                made.push(json!({
                    "data": {"values": data},
                    "mark": {"type": "text", "fontSize": 10},
                    "encoding": {"x": x, "y": y, "text": {"field": "w"},
                                 "color": {"condition": {"test": "datum.s > 0.5", "value": PAPER}, "value": INK}},
                }));
            }
            made
        }
        Layer::Level { at, words } => vec![json!({
            "data": {"values": [{"y": panel.y.value(*at), "w": words}]},
            "mark": {"type": "rule", "strokeDash": [5, 4], "color": STRONG},
            // From edge to edge: with the x of the other layers it would be an upright line at each trial.
            "encoding": {"x": {"value": 0}, "x2": {"value": "width"}, "y": y,
                         "tooltip": [{"field": "w", "type": "nominal", "title": " "}]},
        })],
    }
}
