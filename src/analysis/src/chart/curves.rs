//! Learning curves: what a metric was at each step of a trial.

use super::{Chart, ChartError, counted, darkness};
use crate::absence::{Absence, missing};
use crate::figure::{Axis, Curve, Figure, Layer, Panel};
use crate::scale::{Scale, label};
use crate::trials::{Row, TrialTable};

/// More points than this a curve has no use for.
const POINTS: usize = 400;
/// All curves together; fewer points each where there are many curves.
const ALL: usize = 12_000;

/// The values of one metric in the order of a trial's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// The trial.
    pub trial: String,
    /// The values; what was not a number is a gap.
    pub values: Vec<Option<f64>>,
}

/// Draws the logs of some trials, the best darkest.
///
/// # Errors
/// [`ChartError`] when no log holds a number.
pub fn curves(table: &TrialTable, metric: &str, asked: &[Log]) -> Result<Chart, ChartError> {
    let finite = |value: &Option<f64>| value.filter(|value| value.is_finite());
    let logs: Vec<&Log> = asked
        .iter()
        .filter(|log| log.values.iter().any(|value| finite(value).is_some()))
        .collect();
    if logs.is_empty() {
        return Err(ChartError::NoObservation(no_values(table, metric, asked)));
    }
    let ranked = table.ranked();
    let most = POINTS.min((ALL / logs.len()).max(20));
    let mut thinned = false;
    let mut curves: Vec<Curve> = logs
        .iter()
        .map(|log| {
            let rank = ranked.iter().position(|(row, _)| row.name == log.trial);
            let shade = rank.map_or(0.1, |rank| {
                1.0 - 0.8 * rank as f64 / (ranked.len().max(2) - 1) as f64
            });
            let points: Vec<(f64, f64)> = (1..)
                .zip(&log.values)
                .filter_map(|(step, value)| Some((f64::from(step), finite(value)?)))
                .collect();
            thinned |= points.len() > most;
            Curve {
                name: log.trial.clone(),
                shade,
                width: 1.5,
                stepped: false,
                points: thin(points, most),
            }
        })
        .collect();
    curves.sort_by(|left, right| left.shade.total_cmp(&right.shade));
    let longest = logs.iter().map(|log| log.values.len()).max().unwrap_or(1);
    let gaps: usize = logs
        .iter()
        .map(|log| {
            log.values
                .iter()
                .filter(|value| finite(value).is_none())
                .count()
        })
        .sum();
    let mut notes = vec![darkness(table)];
    if thinned {
        notes.push(format!(
            "of long logs the smallest and largest of each stretch are drawn, about {most} points a curve"
        ));
    }
    if gaps > 0 {
        notes.push(format!(
            "{} of nan, inf or unavailable left out",
            counted(gaps, "value")
        ));
    }
    let values = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point.1);
    let y = Axis::over(metric, values.collect::<Vec<_>>().into_iter(), false);
    let last = |curve: &Curve| curve.points.last().map_or(f64::NAN, |point| point.1);
    let best = curves.last().map(|curve| (curve.name.clone(), last(curve)));
    let mut words = format!(
        "{}: {metric} of {} over up to {}",
        table.experiment,
        counted(curves.len(), "trial"),
        counted(longest, "step"),
    );
    if let Some((name, value)) = best {
        words.push_str(&format!("; {name} ends at {}", label(value)));
    }
    for note in &notes[1..] {
        words.push_str(&format!("\nnote: {note}"));
    }
    let figure = Figure {
        title: format!("{}: {metric} step by step", table.experiment),
        notes,
        columns: 1,
        panels: vec![Panel {
            heading: String::new(),
            width: 560.0,
            height: 280.0,
            x: Axis::Number {
                title: "step".to_owned(),
                scale: Scale::Linear {
                    low: 1.0,
                    high: (longest as f64).max(2.0),
                },
                whole: true,
            },
            y,
            layers: vec![Layer::Curves(curves)],
        }],
    };
    Ok(figure.chart(words))
}

/// Why these logs hold no number.
fn no_values(table: &TrialTable, metric: &str, logs: &[Log]) -> Absence {
    let values: usize = logs.iter().map(|log| log.values.len()).sum();
    let mut with_values = logs.iter().filter(|log| !log.values.is_empty());
    if let Some(first) = with_values.next() {
        let whose = match with_values.count() {
            0 => format!("`{}`", first.trial),
            more => counted(more + 1, "trial"),
        };
        return Absence {
            what: match values {
                1 => format!("the one value of `{metric}` of {whose} is no number"),
                values => {
                    format!("none of the {values} values of `{metric}` of {whose} is a number")
                }
            },
            hint: format!("{} shows what it printed", table.log_of(&first.trial)),
        };
    }
    let rows: Vec<&Row> = logs
        .iter()
        .filter_map(|log| table.rows.iter().find(|row| row.name == log.trial))
        .collect();
    missing(table, &rows, metric)
}

/// At most about so many points: of each stretch the smallest and the largest, in their order, and the
/// ends. Peaks survive, which every how-manyth point would lose.
fn thin(points: Vec<(f64, f64)>, most: usize) -> Vec<(f64, f64)> {
    if points.len() <= most {
        return points;
    }
    let stretch = points.len().div_ceil(most.max(4) / 2);
    let mut kept = Vec::new();
    for part in points.chunks(stretch) {
        let by_value = |left: &&(f64, f64), right: &&(f64, f64)| left.1.total_cmp(&right.1);
        let (low, high) = (part.iter().min_by(by_value), part.iter().max_by(by_value));
        let mut both: Vec<(f64, f64)> = [low, high].into_iter().flatten().copied().collect();
        both.sort_by(|left, right| left.0.total_cmp(&right.0));
        both.dedup();
        kept.extend(both);
    }
    if let (Some(last), Some(kept_last)) = (points.last(), kept.last().copied())
        && *last != kept_last
    {
        kept.push(*last);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_steps_keep_their_peaks_and_their_end() {
        let mut points: Vec<(f64, f64)> = (0..1_000_000).map(|n| (f64::from(n), 0.5)).collect();
        points[333_333].1 = 9.0;
        points[999_999].1 = 0.25;
        let thinned = thin(points, 400);
        assert!(thinned.len() <= 410, "{}", thinned.len());
        assert!(thinned.contains(&(333_333.0, 9.0)));
        assert_eq!(thinned.last(), Some(&(999_999.0, 0.25)));
    }
}
