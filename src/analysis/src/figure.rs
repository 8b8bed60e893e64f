//! A figure: panels with axes and marks, from which the Vega-Lite figure and the drawing are both made,
//! so that they cannot disagree.

mod drawing;
mod vega;

pub(crate) use vega::config;

use serde_json::{Number, Value as Json, json};

use crate::chart::Chart;
use crate::scale::{Scale, label};

/// A figure of one panel or several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figure {
    pub title: String,
    /// What a reader must know to read it: what darkness means, what was left out.
    pub notes: Vec<String>,
    pub panels: Vec<Panel>,
    /// Panels beside each other; the rest goes below.
    pub columns: usize,
}

/// One pair of axes and what is drawn between them.
#[derive(Clone, Debug)]
pub(crate) struct Panel {
    pub heading: String,
    pub width: f64,
    pub height: f64,
    pub x: Axis,
    pub y: Axis,
    pub layers: Vec<Layer>,
}

/// An axis.
#[derive(Clone, Debug)]
pub(crate) enum Axis {
    Number {
        title: String,
        scale: Scale,
        /// Whether there is nothing between whole numbers: steps, trials.
        whole: bool,
    },
    /// Values are positions in the list.
    Choices { title: String, names: Vec<String> },
}

/// Marks of one sort.
#[derive(Clone, Debug)]
pub(crate) enum Layer {
    /// A point a trial.
    Points { dots: Vec<Dot>, tips: Vec<String> },
    /// A line a series.
    Curves(Vec<Curve>),
    /// From the smallest to the largest at each x.
    Band(Vec<(f64, f64, f64)>),
    /// Rectangles, the darker the more.
    Cells { cells: Vec<Area>, tips: Vec<String> },
    /// A line across at a height.
    Level { at: f64, words: String },
}

/// A point of a trial.
#[derive(Clone, Debug)]
pub(crate) struct Dot {
    pub x: f64,
    pub y: f64,
    /// From 0 (pale) to 1 (dark).
    pub shade: f64,
    pub trial: String,
    /// What is said of it when the mouse is over it, beside its place.
    pub tips: Vec<Json>,
}

/// A series.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub name: String,
    pub shade: f64,
    pub width: f64,
    pub stepped: bool,
    pub points: Vec<(f64, f64)>,
}

/// A rectangle.
#[derive(Clone, Debug)]
pub(crate) struct Area {
    pub x: (f64, f64),
    pub y: (f64, f64),
    pub shade: f64,
    /// Written into it.
    pub words: Option<String>,
    pub tips: Vec<Json>,
}

impl Axis {
    /// An axis of numbers that holds all of them, with some room.
    pub(crate) fn over(
        title: impl Into<String>,
        values: impl Iterator<Item = f64> + Clone,
        logarithmic: bool,
    ) -> Self {
        Self::Number {
            title: title.into(),
            scale: Scale::over(values, logarithmic).padded(),
            whole: false,
        }
    }

    /// The numbers of trials in the order they were made, from 1.
    pub(crate) fn trials(count: usize) -> Self {
        Self::Number {
            title: "trial".to_owned(),
            scale: Scale::Linear {
                low: 0.5,
                high: count as f64 + 0.5,
            },
            whole: true,
        }
    }

    pub(crate) fn title(&self) -> &str {
        match self {
            Self::Number { title, .. } | Self::Choices { title, .. } => title,
        }
    }

    /// The place of a value between 0 and 1.
    pub(crate) fn place(&self, value: f64) -> f64 {
        match self {
            Self::Number { scale, .. } => scale.place(value),
            Self::Choices { names, .. } => (value + 0.5) / names.len().max(1) as f64,
        }
    }

    /// How wide a choice is; numbers have no width.
    fn step(&self) -> f64 {
        match self {
            Self::Number { .. } => 0.0,
            Self::Choices { names, .. } => 1.0 / names.len().max(1) as f64,
        }
    }

    fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        match self {
            Self::Number { scale, whole, .. } => scale
                .ticks(count)
                .into_iter()
                .filter(|tick| !whole || tick.fract() == 0.0)
                .map(|tick| (scale.place(tick), label(tick)))
                .collect(),
            Self::Choices { names, .. } => {
                // Of very many choices not every one can be named.
                let every = names.len().div_ceil(60).max(1);
                names
                    .iter()
                    .enumerate()
                    .step_by(every)
                    .map(|(at, name)| (self.place(at as f64), name.clone()))
                    .collect()
            }
        }
    }

    /// How a value of this axis is written for Vega.
    fn value(&self, value: f64) -> Json {
        match self {
            Self::Number { .. } => short(value),
            Self::Choices { names, .. } => names
                .get(value.max(0.0) as usize)
                .map_or(Json::Null, |name| json!(name)),
        }
    }
}

impl Figure {
    /// The figure in all its forms; `words` say what it shows.
    pub(crate) fn chart(&self, words: String) -> Chart {
        Chart {
            vega_lite: vega::figure(self),
            svg: drawing::figure(self),
            text: words,
        }
    }
}

/// A number with no more digits than a screen can show: data of ten thousand trials must stay small.
pub(crate) fn short(value: f64) -> Json {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return json!(value as i64);
    }
    let rounded: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    Number::from_f64(rounded).map_or(Json::Null, Json::Number)
}
