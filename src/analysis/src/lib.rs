//! What the trials of an experiment taught: a table of numbers, and charts of it.
//!
//! [`TrialTable`] is made from Katib's objects; the functions of [`chart`] turn it into a [`Chart`]:
//! a Vega-Lite figure for JupyterLab, an SVG drawing of the same data, and a sentence for readers who
//! see neither. [`png`] turns the drawing into the picture that every static viewer shows.
//!
//! Nothing here reads a file, a clock or a socket.

pub mod chart;
pub mod png;
mod scale;
mod svg;
mod trials;

pub use chart::Chart;
pub use trials::{Parameter, Row, TrialTable, Value};
