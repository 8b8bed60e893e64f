//! A figure as SVG.

use super::{Axis, Figure, Layer, Panel};
use crate::svg::{Anchor, Drawing, FAINT, INK, PALE, PAPER, RAMP, STRONG, shade, shorten};

const SIDE: f64 = 16.0;
const TITLE: f64 = 26.0;
const NOTE: f64 = 16.0;
const HEADING: f64 = 22.0;
const FOOT: f64 = 46.0;
/// Names of choices at the left of an axis are cut to this many characters.
const LONGEST: usize = 24;

fn margin(panel: &Panel) -> f64 {
    let longest = panel
        .y
        .ticks(5)
        .iter()
        .map(|(_, text)| width(&shorten(text, LONGEST)))
        .fold(0.0, f64::max);
    longest + 34.0
}

/// About how wide a text is; characters of East Asia are wider than Latin ones.
fn width(text: &str) -> f64 {
    text.chars()
        .map(|char| if char > '\u{2e7f}' { 12.0 } else { 7.0 })
        .sum()
}

pub(super) fn figure(figure: &Figure) -> String {
    let columns = figure.columns.clamp(1, figure.panels.len().max(1));
    let top = TITLE + NOTE * figure.notes.len() as f64 + 6.0;
    let mut places = Vec::new();
    let (mut widest, mut y) = (0.0f64, top);
    for line in figure.panels.chunks(columns) {
        let mut x = SIDE;
        let mut tallest = 0.0f64;
        for panel in line {
            let left = margin(panel);
            places.push((x + left, y + HEADING));
            x += left + panel.width + SIDE;
            tallest = tallest.max(HEADING + panel.height + FOOT);
        }
        widest = widest.max(x);
        y += tallest;
    }
    let words = figure
        .notes
        .iter()
        .map(|note| width(note))
        .fold(width(&figure.title), f64::max);
    let mut drawing = Drawing::new(widest.max(words + 2.0 * SIDE).min(2000.0) as u32, y as u32);
    drawing.words((SIDE, 20.0), Anchor::Start, &figure.title);
    for (number, note) in figure.notes.iter().enumerate() {
        let at = (SIDE, TITLE + 10.0 + NOTE * number as f64);
        drawing.small(at, Anchor::Start, "#666666", note);
    }
    for (one, place) in figure.panels.iter().zip(places) {
        panel(&mut drawing, one, place);
    }
    drawing.finish()
}

fn panel(drawing: &mut Drawing, panel: &Panel, (left, top): (f64, f64)) {
    let (wide, high) = (panel.width, panel.height);
    let x = |place: f64| left + place * wide;
    let y = |place: f64| top + high - place * high;
    drawing.words(
        (left, top - 8.0),
        Anchor::Start,
        &shorten(&panel.heading, (wide / 7.0) as usize),
    );
    for (place, text) in panel.y.ticks(5) {
        if matches!(panel.y, Axis::Number { .. }) {
            drawing.line((left, y(place)), (left + wide, y(place)), FAINT, false);
        }
        drawing.words(
            (left - 6.0, y(place) + 4.0),
            Anchor::End,
            &shorten(&text, LONGEST),
        );
    }
    let ticks = panel.x.ticks((wide / 70.0) as usize);
    let room = (wide / ticks.len().max(1) as f64 / 7.0) as usize;
    for (place, text) in &ticks {
        if matches!(panel.x, Axis::Number { .. }) {
            drawing.line((x(*place), top), (x(*place), top + high), FAINT, false);
        }
        drawing.words(
            (x(*place), top + high + 16.0),
            Anchor::Middle,
            &shorten(text, room.clamp(3, LONGEST)),
        );
    }
    for layer in &panel.layers {
        marks(drawing, panel, layer, &x, &y);
    }
    drawing.line((left, top), (left, top + high), INK, false);
    drawing.line((left, top + high), (left + wide, top + high), INK, false);
    let title = shorten(panel.x.title(), (wide / 7.0) as usize);
    drawing.words(
        (left + wide / 2.0, top + high + 34.0),
        Anchor::Middle,
        &title,
    );
    // Where a heading stands it names the axis, or the reader needs no name.
    if panel.heading.is_empty() {
        drawing.words(
            (left, top - 8.0),
            Anchor::Start,
            &shorten(panel.y.title(), (wide / 7.0) as usize),
        );
    }
}

fn marks(
    drawing: &mut Drawing,
    panel: &Panel,
    layer: &Layer,
    x: &impl Fn(f64) -> f64,
    y: &impl Fn(f64) -> f64,
) {
    let at = |value: (f64, f64)| (x(panel.x.place(value.0)), y(panel.y.place(value.1)));
    match layer {
        Layer::Points { dots, .. } => {
            for dot in dots {
                drawing.dot(at((dot.x, dot.y)), 4.0, PALE, "");
                drawing.dot(at((dot.x, dot.y)), 3.3, &shade(dot.shade), &dot.trial);
            }
        }
        Layer::Curves(curves) => {
            for curve in curves {
                let mut points: Vec<(f64, f64)> = Vec::new();
                for value in &curve.points {
                    let next = at(*value);
                    if curve.stepped
                        && let Some(last) = points.last()
                    {
                        points.push((next.0, last.1));
                    }
                    points.push(next);
                }
                drawing.path(&points, &shade(curve.shade), curve.width, &curve.name);
            }
        }
        Layer::Band(points) => {
            let low = points.iter().map(|(x, low, _)| at((*x, *low)));
            let high = points.iter().rev().map(|(x, _, high)| at((*x, *high)));
            let corners: Vec<_> = low.chain(high).collect();
            drawing.polygon(&corners, RAMP[0]);
        }
        Layer::Cells { cells, .. } => {
            for cell in cells {
                let (wide, high) = (panel.x.step() / 2.0, panel.y.step() / 2.0);
                let left = x(panel.x.place(cell.x.0) - wide);
                let right = x(panel.x.place(cell.x.1) + wide);
                let bottom = y(panel.y.place(cell.y.0) - high);
                let top = y(panel.y.place(cell.y.1) + high);
                drawing.area(
                    (left.min(right), top.min(bottom)),
                    ((right - left).abs() - 0.5, (bottom - top).abs() - 0.5),
                    &shade(cell.shade),
                    "",
                );
                if let Some(words) = &cell.words {
                    let ink = if cell.shade > 0.5 { PAPER } else { INK };
                    let middle = ((left + right) / 2.0, (top + bottom) / 2.0 + 4.0);
                    drawing.small(middle, Anchor::Middle, ink, words);
                }
            }
        }
        Layer::Level { at: level, words } => {
            let height = y(panel.y.place(*level));
            drawing.line((x(0.0), height), (x(1.0), height), STRONG, true);
            drawing.small((x(1.0), height - 4.0), Anchor::End, INK, words);
        }
    }
}
