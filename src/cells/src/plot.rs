//! Charts: what to draw, and what came of it.

use std::fmt;

use crate::trials::Source;
use crate::{Error, Json, Result, Trials, bridge};

/// What to draw, as `:plot` has it: a kind of chart with its options.
///
/// ```
/// use katlab::Plot;
///
/// let curves = Plot::metrics().metric(["loss"]).top(5);
/// let where_to_look = Plot::contour().params(["learning_rate", "batch_size"]).filter("accuracy > 0.9");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    kind: &'static str,
    /// An option of `:plot` and one of its values, in order.
    options: Vec<(&'static str, String)>,
}

macro_rules! kinds {
    ($($(#[$what:meta])* $kind:ident,)*) => {$(
        $(#[$what])*
        pub fn $kind() -> Self {
            Self {
                kind: stringify!($kind),
                options: Vec::new(),
            }
        }
    )*};
}

impl Plot {
    kinds! {
        /// The objective trial by trial, with the best so far and the goal.
        history,
        /// A line a trial through its parameters to its objective.
        parallel,
        /// How much each parameter matters, by PED-ANOVA.
        importance,
        /// The objective over each parameter.
        slice,
        /// The objective over two parameters.
        contour,
        /// Learning curves: a metric step by step.
        metrics,
        /// When each trial waited, ran and was collected.
        timeline,
        /// Two metrics, and the trials that none surpasses in both.
        pareto,
        /// How parameters and metrics go together.
        correlation,
    }

    /// These parameters, in this order: of `parallel` and `slice` any, of `contour` two. Leading dashes
    /// can be left out.
    pub fn params<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        self.with("params", names)
    }

    /// The metric of `metrics`, or the two of `pareto`.
    pub fn metric<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        self.with("metric", names)
    }

    /// In `pareto`, smaller values of this metric are better.
    pub fn minimize(self, metric: impl Into<String>) -> Self {
        self.with("minimize", [metric])
    }

    /// In `pareto`, larger values of this metric are better.
    pub fn maximize(self, metric: impl Into<String>) -> Self {
        self.with("maximize", [metric])
    }

    /// In `metrics`, the curves of so many of the best trials; ten unless this says otherwise.
    pub fn top(self, trials: usize) -> Self {
        self.with("top", [trials.to_string()])
    }

    /// Only trials for which this holds, as `--where` of `:trials` has it: `"accuracy > 0.9"`.
    pub fn filter(self, condition: impl Into<String>) -> Self {
        self.with("where", [condition])
    }

    /// Only these trials, whatever else the experiment has.
    pub(crate) fn of(self, trials: &Trials) -> Self {
        let plot = self.with("only", trials.iter().map(|trial| trial.name.as_str()));
        // No trial at all is a choice as well.
        if trials.is_empty() {
            plot.with("only", [""])
        } else {
            plot
        }
    }

    fn with<S: Into<String>>(
        mut self,
        option: &'static str,
        values: impl IntoIterator<Item = S>,
    ) -> Self {
        let values = values.into_iter().map(|value| (option, value.into()));
        self.options.extend(values);
        self
    }
}

/// A chart that was drawn: interactive in JupyterLab, a picture elsewhere, and words.
///
/// It shows itself when it ends a cell. `println!` prints its words.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    source: Source,
    plot: Plot,
    /// The representations by MIME type, PNG as base64.
    bundle: Vec<(String, String)>,
    /// For whoever shows them: the picture's size.
    metadata: String,
}

pub(crate) fn draw(source: &Source, plot: Plot) -> Result<Figure> {
    let answer = ask(source, &plot, None)?;
    let Some(Json::Object(data)) = answer.get("data") else {
        return Err(Error::missing("data"));
    };
    let representation = |(mime, content): &(String, Json)| {
        let content = match content {
            Json::Text(text) => text.clone(),
            other => other.to_string(),
        };
        (mime.clone(), content)
    };
    Ok(Figure {
        source: source.clone(),
        plot,
        bundle: data.iter().map(representation).collect(),
        metadata: answer
            .get("metadata")
            .map(Json::to_string)
            .unwrap_or_default(),
    })
}

fn ask(source: &Source, plot: &Plot, save: Option<&str>) -> Result<Json> {
    let mut arguments = source.arguments();
    arguments.push(("kind", plot.kind));
    for (option, value) in &plot.options {
        arguments.push((option, value));
    }
    arguments.extend(save.map(|path| ("save", path)));
    bridge::call("plot", &arguments)
}

impl Figure {
    /// Shows the chart on the running cell, at this place.
    ///
    /// # Errors
    /// No katlab kernel around this cell.
    pub fn show(&self) -> Result<()> {
        let mut arguments: Vec<(&str, &str)> = Vec::new();
        for (mime, content) in &self.bundle {
            arguments.push((mime, content));
        }
        arguments.push(("metadata", &self.metadata));
        crate::show("display", &arguments).map(drop)
    }

    /// Writes the chart to a file: `.svg`, `.png` or `.json` (Vega-Lite).
    ///
    /// # Errors
    /// Another ending, a folder that cannot be written to, or as [`trials`](crate::trials()).
    pub fn save(&self, path: &str) -> Result<()> {
        ask(&self.source, &self.plot, Some(path)).map(drop)
    }

    /// The chart as Vega-Lite v5, a JSON text: for those who want to change it.
    pub fn vega_lite(&self) -> &str {
        self.representation("application/vnd.vegalite.v5+json")
    }

    fn representation(&self, mime: &str) -> &str {
        let found = self.bundle.iter().find(|(known, _)| known == mime);
        found.map_or("", |(_, content)| content)
    }

    /// Shows the chart; evcxr calls this for a value that ends a cell.
    pub fn evcxr_display(&self) {
        if let Err(error) = self.show() {
            eprintln!("{error}");
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.representation("text/plain"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_keep_their_order_and_their_commas() {
        let plot = Plot::contour()
            .params(["batch, size", "lr"])
            .filter("a > 1");
        assert_eq!(plot.kind, "contour");
        assert_eq!(
            plot.options,
            [
                ("params", "batch, size".to_owned()),
                ("params", "lr".to_owned()),
                ("where", "a > 1".to_owned())
            ]
        );
    }

    #[test]
    fn outside_a_notebook_a_plot_says_so() {
        let error = crate::plot("digits", Plot::history()).unwrap_err();
        assert!(error.to_string().contains("katlab notebook"), "{error}");
    }
}
