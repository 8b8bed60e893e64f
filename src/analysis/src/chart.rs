//! Charts: one set of numbers, three forms.

mod history;
mod parallel;

pub use history::history;
pub use parallel::parallel;

use serde_json::Value as Json;

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
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChartError {
    /// No trial has an objective value yet.
    #[error(
        "no trial of `{experiment}` has a value of `{metric}` yet, so there is nothing to draw"
    )]
    NoObservation {
        /// The experiment.
        experiment: String,
        /// Its objective metric.
        metric: String,
    },
}

impl ChartError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let Self::NoObservation { experiment, .. } = self;
        Some(format!(
            "`:trials {experiment}` shows how far the trials are"
        ))
    }
}

const SCHEMA: &str = "https://vega.github.io/schema/vega-lite/v5.json";
