//! Points, as long as they can be told apart; beyond that how many lie where, and the best of them.

use serde_json::json;

use crate::figure::{Area, Axis, Dot, Layer};

/// So many points can be told apart, and stay small in a notebook.
const POINTS: usize = 1500;
/// Of more, so many of the best are drawn as points.
const BEST: usize = 150;
/// Cells across and up.
const GRID: (usize, usize) = (48, 32);

/// Layers for the points, the pale first; and a note where they were counted instead of drawn.
pub(super) fn layers(
    mut dots: Vec<Dot>,
    tips: Vec<String>,
    axes: (&Axis, &Axis),
) -> (Vec<Layer>, Option<String>) {
    // The darkest come last, on top.
    dots.sort_by(|left, right| left.shade.total_cmp(&right.shade));
    if dots.len() <= POINTS {
        return (vec![Layer::Points { dots, tips }], None);
    }
    let all = dots.len();
    let cells = counts(&dots, axes);
    let best = dots.split_off(all - BEST);
    let note = format!(
        "{all} trials: boxes are the darker the more trials they hold, points are the {BEST} best"
    );
    let layers = vec![
        Layer::Cells {
            cells,
            tips: vec!["trials".to_owned()],
        },
        Layer::Points { dots: best, tips },
    ];
    (layers, Some(note))
}

fn counts(dots: &[Dot], (x, y): (&Axis, &Axis)) -> Vec<Area> {
    let mut counts = std::collections::BTreeMap::new();
    for dot in dots {
        *counts
            .entry((bin(x, dot.x, GRID.0), bin(y, dot.y, GRID.1)))
            .or_insert(0usize) += 1;
    }
    let most = counts.values().copied().max().unwrap_or(1) as f64;
    counts
        .into_iter()
        .map(|((across, up), count)| Area {
            x: ends(x, across, GRID.0),
            y: ends(y, up, GRID.1),
            // Half of the ramp: the points on top must stand out.
            shade: 0.6 * (1.0 + count as f64).ln() / (1.0 + most).ln(),
            words: None,
            tips: vec![json!(count)],
        })
        .collect()
}

/// The cell that a value lies in; a choice is a cell of its own.
pub(super) fn bin(axis: &Axis, value: f64, cells: usize) -> usize {
    match axis {
        Axis::Choices { .. } => value as usize,
        Axis::Number { .. } => ((axis.place(value) * cells as f64) as usize).min(cells - 1),
    }
}

/// Where a cell begins and ends.
pub(super) fn ends(axis: &Axis, cell: usize, cells: usize) -> (f64, f64) {
    match axis {
        Axis::Choices { .. } => (cell as f64, cell as f64),
        Axis::Number { scale, .. } => (
            scale.at(cell as f64 / cells as f64),
            scale.at((cell + 1) as f64 / cells as f64),
        ),
    }
}
