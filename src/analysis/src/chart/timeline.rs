//! When each trial waited, ran and was collected.

use serde_json::json;

use super::{Chart, ChartError, counted};
use crate::absence::Absence;
use crate::figure::{Area, Axis, Curve, Figure, Layer, Panel, short};
use crate::scale::{Scale, label};
use crate::stats::median;
use crate::trials::{Row, TrialTable};

/// More bars than this are lines without names.
const BARS: usize = 300;
/// How dark waiting, running and collecting are.
const SHADES: [f64; 3] = [0.0, 0.9, 0.45];

/// A part of a trial, in seconds.
struct Part {
    which: usize,
    from: f64,
    to: f64,
}

/// Draws a bar a trial, or of very many how many ran at once. `now` ends what has not ended, in seconds
/// since 1970.
///
/// # Errors
/// [`ChartError::NoObservation`] when there is none with a time.
pub fn timeline(table: &TrialTable, now: f64) -> Result<Chart, ChartError> {
    let rows: Vec<(&Row, Vec<Part>)> = table
        .rows
        .iter()
        .map(|row| (row, parts(row, now)))
        .filter(|(_, parts)| !parts.is_empty())
        .collect();
    let ends = || rows.iter().flat_map(|(_, parts)| parts);
    let start = ends().map(|part| part.from).fold(f64::INFINITY, f64::min);
    let end = ends().map(|part| part.to).fold(f64::NEG_INFINITY, f64::max);
    if rows.is_empty() {
        return Err(ChartError::NoObservation(no_times(table)));
    }
    let (unit, seconds) = match end - start {
        long if long > 3.0 * 86_400.0 => ("days", 86_400.0),
        long if long > 3.0 * 3600.0 => ("hours", 3600.0),
        long if long > 300.0 => ("minutes", 60.0),
        _ => ("seconds", 1.0),
    };
    let at = |time: f64| (time - start) / seconds;
    let x = Axis::Number {
        title: format!("{unit} since the first trial was made"),
        scale: Scale::Linear {
            low: 0.0,
            high: at(end).max(1e-3),
        },
        whole: false,
    };
    let known = rows
        .iter()
        .filter(|(row, _)| row.times.began.is_some())
        .count();
    let mut notes = vec!["pale: waiting, dark: running, between: collecting metrics".to_owned()];
    if known < rows.len() {
        notes.push(format!(
            "of {} the Job is no longer there: their waiting and collecting count as running",
            counted(rows.len() - known, "trial")
        ));
    }
    let middle = |which: usize| {
        let lengths: Vec<f64> = ends()
            .filter(|part| part.which == which)
            .map(|part| part.to - part.from)
            .collect();
        median(&lengths)
    };
    let steps = running(&rows);
    let busiest = steps.iter().map(|step| step.1).fold(0.0, f64::max);
    let panel = if rows.len() <= BARS {
        bars(&rows, x, at)
    } else {
        notes = vec![format!(
            "{} trials: how many of them ran at once",
            rows.len()
        )];
        many(&steps, x, at)
    };
    let mut words = format!(
        "{}: {} over {}; at most {} at once",
        table.experiment,
        counted(rows.len(), "trial"),
        span(end - start),
        busiest,
    );
    for (which, name) in ["waiting", "running", "collecting metrics"]
        .into_iter()
        .enumerate()
    {
        if let Some(middle) = middle(which) {
            words.push_str(&format!("; {name} took {} in the middle", span(middle)));
        }
    }
    for note in &notes[1..] {
        words.push_str(&format!("\nnote: {note}"));
    }
    let figure = Figure {
        title: format!("{}: timeline", table.experiment),
        notes,
        columns: 1,
        panels: vec![panel],
    };
    Ok(figure.chart(words))
}

/// Why no trial has a time.
fn no_times(table: &TrialTable) -> Absence {
    let (experiment, count) = (&table.experiment, table.rows.len());
    let hint = format!("`:trials {}` shows how far the trials are", table.asked());
    let what = match count {
        0 => format!("`{experiment}` has no trials"),
        _ if table.rows.iter().any(|row| row.times.created.is_some()) => {
            format!("no trial of `{experiment}` has recorded when it began and ended")
        }
        1 => format!("the trial of `{experiment}` says neither when it was made nor when it ended"),
        _ => format!(
            "none of the {count} trials of `{experiment}` says when it was made and when it ended"
        ),
    };
    Absence { what, hint }
}

fn parts(row: &Row, now: f64) -> Vec<Part> {
    let times = row.times;
    let Some(created) = times.created else {
        return Vec::new();
    };
    let end = match times.ended {
        Some(ended) => ended,
        None if row.is_ended() => return Vec::new(),
        None => now,
    };
    // Clocks of different machines, and times cut to seconds, can stand the wrong way round.
    let began = times
        .began
        .unwrap_or(created)
        .clamp(created, end.max(created));
    let waits = times.began.is_none() && !row.is_ended() && row.status != "Running";
    let done = times.done.unwrap_or(end).clamp(began, end.max(began));
    [
        (0, created, if waits { end } else { began }),
        (
            1,
            if waits { end } else { began },
            if waits { end } else { done },
        ),
        (2, done, end),
    ]
    .into_iter()
    .filter(|(which, from, to)| to > from || *which == 1)
    .map(|(which, from, to)| Part { which, from, to })
    .collect()
}

fn bars(rows: &[(&Row, Vec<Part>)], x: Axis, at: impl Fn(f64) -> f64) -> Panel {
    let last = rows.len() - 1;
    let mut cells = Vec::new();
    for (number, (row, parts)) in rows.iter().enumerate() {
        // The first trial stands on top.
        let line = (last - number) as f64;
        for part in parts {
            let name = ["waiting", "running", "collecting"][part.which];
            cells.push(Area {
                x: (at(part.from), at(part.to)),
                y: (line, line),
                shade: SHADES[part.which],
                words: None,
                tips: vec![
                    json!(row.name),
                    json!(row.status),
                    json!(name),
                    short(part.to - part.from),
                ],
            });
        }
    }
    Panel {
        heading: String::new(),
        width: 520.0,
        height: (16.0 * rows.len() as f64).clamp(40.0, 1200.0),
        x,
        y: Axis::Choices {
            title: "trial".to_owned(),
            names: rows.iter().rev().map(|(row, _)| row.name.clone()).collect(),
        },
        layers: vec![Layer::Cells {
            cells,
            tips: ["trial", "status", "part", "seconds"]
                .map(str::to_owned)
                .to_vec(),
        }],
    }
}

/// How many trials ran from when on.
fn running(rows: &[(&Row, Vec<Part>)]) -> Vec<(f64, f64)> {
    let mut changes: Vec<(f64, i64)> = rows
        .iter()
        .flat_map(|(_, parts)| parts)
        .filter(|part| part.which == 1 && part.to > part.from)
        .flat_map(|part| [(part.from, 1), (part.to, -1)])
        .collect();
    // Of one moment ends come first: trials that follow each other do not run at once.
    changes.sort_by(|left, right| left.0.total_cmp(&right.0).then(left.1.cmp(&right.1)));
    let mut count = 0;
    changes
        .into_iter()
        .map(|(time, change)| {
            count += change;
            (time, count as f64)
        })
        .collect()
}

/// The most that ran in each of several hundred stretches of time.
fn many(steps: &[(f64, f64)], x: Axis, at: impl Fn(f64) -> f64) -> Panel {
    let stretch = steps.len().div_ceil(600).max(1);
    let points: Vec<(f64, f64)> = steps
        .chunks(stretch)
        .map(|part| {
            let most = part.iter().map(|step| step.1).fold(0.0, f64::max);
            (at(part[0].0), most)
        })
        .collect();
    Panel {
        heading: String::new(),
        width: 560.0,
        height: 240.0,
        x,
        y: Axis::over(
            "trials running",
            points.iter().map(|point| point.1).chain([0.0]),
            false,
        ),
        layers: vec![Layer::Curves(vec![Curve {
            name: "running".to_owned(),
            shade: 0.9,
            width: 1.5,
            stepped: true,
            points,
        }])],
    }
}

fn span(seconds: f64) -> String {
    match seconds {
        long if long > 2.0 * 86_400.0 => format!("{} d", label((long / 8640.0).round() / 10.0)),
        long if long > 2.0 * 3600.0 => format!("{} h", label((long / 360.0).round() / 10.0)),
        long if long > 120.0 => format!("{} min", label((long / 6.0).round() / 10.0)),
        short => format!("{} s", label((short * 10.0).round() / 10.0)),
    }
}
