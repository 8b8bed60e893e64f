//! Charts: one set of numbers, three forms.

mod compare;
mod contour;
mod correlation;
mod curves;
mod density;
mod history;
mod importance;
mod parallel;
mod pareto;
mod slice;
mod timeline;

pub use compare::compare;
pub use contour::contour;
pub use correlation::correlation;
pub use curves::{Log, curves};
pub use history::history;
pub use importance::importance;
pub use parallel::parallel;
pub use pareto::pareto;
pub use slice::slice;
pub use timeline::timeline;

use serde_json::Value as Json;

use crate::absence::Absence;
use crate::figure::Axis;
use crate::stats::ranks;
use crate::trials::{Row, TrialTable, Value};

/// A chart in every form a viewer may need.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// A Vega-Lite 5 figure, interactive in JupyterLab.
    pub vega_lite: Json,
    /// The same data as a drawing; [`crate::png::from_svg`] makes a picture of it.
    pub svg: String,
    /// What the chart says, in words.
    pub text: String,
}

/// Why there is nothing to draw.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChartError {
    /// No trial has a value.
    #[error("{}, so there is nothing to draw", .0.what)]
    NoObservation(Absence),
    /// No trial has begun.
    #[error("no trial of `{experiment}` has begun yet, so there is nothing to draw")]
    NoTrial {
        /// The experiment.
        experiment: String,
    },
    /// A parameter that is not there.
    #[error("`{experiment}` has no parameter `{name}`")]
    NoParameter {
        /// The experiment.
        experiment: String,
        /// What was asked for.
        name: String,
        /// The parameters there are.
        known: Vec<String>,
    },
    /// A metric that is not there.
    #[error("the trials of `{experiment}` have no metric `{name}`")]
    NoMetric {
        /// The experiment.
        experiment: String,
        /// What was asked for.
        name: String,
        /// The metrics there are.
        known: Vec<String>,
    },
    /// Too few things to lay beside each other.
    #[error("{what}")]
    TooFew {
        /// What there is too little of.
        what: String,
        /// What to do next.
        hint: String,
    },
}

impl ChartError {
    /// What to do next.
    pub fn hint(&self) -> String {
        match self {
            Self::NoObservation(absence) => absence.hint.clone(),
            Self::NoTrial { experiment } => {
                format!("`:trials {experiment}` shows how far the trials are")
            }
            Self::NoParameter { known, .. } => format!("there are {}", known.join(", ")),
            Self::NoMetric { known, .. } => format!("there are {}", known.join(", ")),
            Self::TooFew { hint, .. } => hint.clone(),
        }
    }

    fn no_observation(table: &TrialTable) -> Self {
        Self::NoObservation(table.absence())
    }
}

/// Where the parameters named are; all that vary where none is named.
///
/// # Errors
/// A name that is not there.
fn chosen(table: &TrialTable, names: &[String]) -> Result<Vec<usize>, ChartError> {
    names
        .iter()
        .map(|name| {
            table
                .parameter(name)
                .ok_or_else(|| ChartError::NoParameter {
                    experiment: table.experiment.clone(),
                    name: name.clone(),
                    known: table
                        .parameters
                        .iter()
                        .map(|one| one.name.clone())
                        .collect(),
                })
        })
        .collect()
}

/// What a value of a parameter is on its axis, and the axis itself, for these rows.
fn parameter_axis(table: &TrialTable, at: usize, rows: &[(&Row, f64)]) -> (Axis, Vec<Option<f64>>) {
    let parameter = &table.parameters[at];
    let values: Vec<Option<&Value>> = rows
        .iter()
        .map(|(row, _)| row.parameters[at].as_ref())
        .collect();
    let numeric = parameter.choices.is_empty()
        && values
            .iter()
            .flatten()
            .all(|value| value.number().is_some());
    if numeric {
        let numbers: Vec<Option<f64>> = values
            .iter()
            .map(|value| value.and_then(Value::number))
            .collect();
        let axis = Axis::over(
            parameter.name.clone(),
            numbers.iter().copied().flatten(),
            parameter.logarithmic,
        );
        return (axis, numbers);
    }
    let mut names = parameter.choices.clone();
    let places = values
        .into_iter()
        .map(|value| {
            let text = value?.to_string();
            let place = names.iter().position(|name| *name == text);
            Some(place.unwrap_or_else(|| {
                names.push(text);
                names.len() - 1
            }) as f64)
        })
        .collect();
    let axis = Axis::Choices {
        title: parameter.name.clone(),
        names,
    };
    (axis, places)
}

/// The darkness of each row: by rank, the best darkest, so that one outlier does not make the rest equal.
fn shades(table: &TrialTable, rows: &[(&Row, f64)]) -> Vec<f64> {
    let ranks = ranks(&rows.iter().map(|row| row.1).collect::<Vec<_>>());
    let last = (rows.len().max(2) - 1) as f64;
    ranks
        .into_iter()
        .map(|rank| {
            let share = (rank - 1.0) / last;
            if table.minimize { 1.0 - share } else { share }
        })
        .collect()
}

/// What darkness means, for a chart's notes.
fn darkness(table: &TrialTable) -> String {
    let way = if table.minimize { "smaller" } else { "larger" };
    format!("darker is better: {way} {}", table.objective)
}

/// `1 trial`, `2 trials`.
fn counted(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

pub(crate) const SCHEMA: &str = "https://vega.github.io/schema/vega-lite/v5.json";

#[cfg(test)]
mod tests;
