//! Two metrics against each other, and the trials that none surpasses in both.

use super::{Chart, ChartError, counted, density};
use crate::absence::Absence;
use crate::figure::{Axis, Curve, Dot, Figure, Layer, Panel};
use crate::scale::label;
use crate::trials::{MetricColumn, Row, TrialTable};

/// Draws two metrics; where none are named, the objective and the first other one.
///
/// # Errors
/// [`ChartError`] when a metric is not there, or no trial has both.
pub fn pareto(table: &TrialTable, metrics: &[String]) -> Result<Chart, ChartError> {
    let known = || {
        table
            .metrics
            .iter()
            .map(|metric| metric.name.clone())
            .collect::<Vec<_>>()
    };
    let mut wanted = Vec::new();
    for name in metrics {
        wanted.push(table.metric(name).ok_or_else(|| ChartError::NoMetric {
            experiment: table.experiment.clone(),
            name: name.clone(),
            known: known(),
        })?);
    }
    for at in 0..table.metrics.len() {
        if wanted.len() < 2 && !wanted.contains(&at) {
            wanted.push(at);
        }
    }
    let [across, up] = wanted[..] else {
        return Err(ChartError::TooFew {
            what: match wanted.len() {
                0 | 1 => format!("the trials of `{}` have one metric, and this chart is of two", table.experiment),
                count => format!("this chart is of two metrics, and {count} are named"),
            },
            hint: "name further ones in the experiment's additionalMetricNames; --metric A,B chooses two".to_owned(),
        });
    };
    if across == up {
        return Err(ChartError::TooFew {
            what: "this chart is of two different metrics".to_owned(),
            hint: format!("there are {}", known().join(", ")),
        });
    }
    let rows: Vec<(&Row, f64, f64)> = table
        .rows
        .iter()
        .filter_map(|row| Some((row, row.metrics[across]?, row.metrics[up]?)))
        .collect();
    if rows.is_empty() {
        let (one, other) = (&table.metrics[across].name, &table.metrics[up].name);
        let is_over = table.rows.iter().all(Row::is_ended);
        return Err(ChartError::NoObservation(Absence {
            what: format!(
                "no trial of `{}` has a number as `{one}` and as `{other}`{}",
                table.experiment,
                if is_over { "" } else { " yet" }
            ),
            hint: format!("`:trials {}` shows what they have", table.asked()),
        }));
    }
    let (one, other) = (&table.metrics[across], &table.metrics[up]);
    let front = front(&rows, one, other);
    let dots: Vec<Dot> = rows
        .iter()
        .enumerate()
        .map(|(at, (row, x, y))| Dot {
            x: *x,
            y: *y,
            shade: if front.contains(&at) { 1.0 } else { 0.25 },
            trial: row.name.clone(),
            tips: Vec::new(),
        })
        .collect();
    let axis = |metric: &MetricColumn, values: Vec<f64>| {
        let title = format!("{} ({})", metric.name, way(metric));
        Axis::over(title, values.into_iter(), false)
    };
    let x = axis(one, rows.iter().map(|row| row.1).collect());
    let y = axis(other, rows.iter().map(|row| row.2).collect());
    let (mut layers, note) = density::layers(dots, Vec::new(), (&x, &y));
    let line: Vec<(f64, f64)> = front.iter().map(|at| (rows[*at].1, rows[*at].2)).collect();
    layers.insert(
        0,
        Layer::Curves(vec![Curve {
            name: "front".to_owned(),
            shade: 0.6,
            width: 1.5,
            stepped: false,
            points: line,
        }]),
    );
    let mut notes = vec![format!(
        "dark: the {} that no other surpasses in both",
        counted(front.len(), "trial")
    )];
    notes.extend(note);
    let ends: Vec<String> = [front.first(), front.last()]
        .into_iter()
        .flatten()
        .map(|at| {
            let (row, x, y) = rows[*at];
            format!(
                "{} ({} {}, {} {})",
                row.name,
                one.name,
                label(x),
                other.name,
                label(y)
            )
        })
        .collect();
    let (verb, which) = match (ends.as_slice(), front.len()) {
        ([only, _], 1) => ("is", only.clone()),
        _ => ("are", format!("from {}", ends.join(" to "))),
    };
    let words = format!(
        "{}: {} of {} {verb} on the front of {} ({}) and {} ({}), {which}; `--minimize` and `--maximize` set the way",
        table.experiment,
        front.len(),
        counted(rows.len(), "trial"),
        one.name,
        way(one),
        other.name,
        way(other),
    );
    let figure = Figure {
        title: format!("{}: {} against {}", table.experiment, other.name, one.name),
        notes,
        columns: 1,
        panels: vec![Panel {
            heading: String::new(),
            width: 460.0,
            height: 320.0,
            x,
            y,
            layers,
        }],
    };
    Ok(figure.chart(words))
}

fn way(metric: &MetricColumn) -> &'static str {
    if metric.minimize {
        "smaller is better"
    } else {
        "larger is better"
    }
}

/// The rows that none surpasses in one metric without losing in the other, in the order of the first.
fn front(rows: &[(&Row, f64, f64)], one: &MetricColumn, other: &MetricColumn) -> Vec<usize> {
    let good = |value: f64, metric: &MetricColumn| if metric.minimize { value } else { -value };
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|left, right| {
        let key = |at: usize| (good(rows[at].1, one), good(rows[at].2, other));
        let (left, right) = (key(*left), key(*right));
        left.0.total_cmp(&right.0).then(left.1.total_cmp(&right.1))
    });
    let mut least = f64::INFINITY;
    let mut before: Option<(f64, f64)> = None;
    order.retain(|at| {
        let values = (rows[*at].1, rows[*at].2);
        let second = good(rows[*at].2, other);
        let kept = second < least || before == Some(values);
        if kept {
            least = second;
            before = Some(values);
        }
        kept
    });
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::tests::space;

    #[test]
    fn the_front_holds_what_nothing_surpasses_in_both() {
        let mut table = space(4, |_, _, _| 0.0);
        // Larger accuracy is better, smaller loss.
        for (row, (accuracy, loss)) in
            table
                .rows
                .iter_mut()
                .zip([(0.9, 3.0), (0.8, 1.0), (0.7, 2.0), (0.9, 4.0)])
        {
            row.metrics = vec![Some(accuracy), Some(loss)];
        }
        let rows: Vec<_> = table
            .rows
            .iter()
            .map(|row| (row, row.metrics[0].unwrap(), row.metrics[1].unwrap()))
            .collect();
        assert_eq!(front(&rows, &table.metrics[0], &table.metrics[1]), [0, 1]);
        table.metrics[1].minimize = false;
        assert_eq!(front(&rows, &table.metrics[0], &table.metrics[1]), [3]);
        // A front of one has no two ends.
        let words = pareto(&table, &[]).unwrap().text;
        assert!(words.contains("1 of 4 trials is on the front"), "{words}");
        assert_eq!(words.matches(&table.rows[3].name).count(), 1, "{words}");
    }
}
