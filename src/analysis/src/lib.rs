//! What the trials of an experiment taught: a table of numbers, and charts of it.
//!
//! [`TrialTable`] is made from Katib's objects; the functions of [`chart`] turn it into a [`Chart`]:
//! a Vega-Lite figure for JupyterLab, an SVG drawing of the same data, and a sentence for readers who
//! see neither. [`png`] turns the drawing into the picture that every static viewer shows.
//!
//! What the trials say in numbers: [`importance`], [`best`], [`effects`] and [`findings`]; each tells how
//! many trials it rests on. [`region`] is where the best of them lie. [`condition`] is the language of `--where`, for the rows of any list.
//!
//! Nothing here reads a file, a clock or a socket.

mod absence;
pub mod best;
pub mod chart;
pub mod condition;
pub mod effects;
mod figure;
pub mod findings;
pub mod importance;
pub mod png;
pub mod region;
mod scale;
mod stats;
mod svg;
mod trials;

pub use absence::Absence;
pub use chart::Chart;
pub use trials::{MetricColumn, Parameter, Row, Times, TrialTable, Value};
