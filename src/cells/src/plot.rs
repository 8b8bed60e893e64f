//! Charts: what to draw, and what came of it.

use std::fmt;

use crate::shown::Shown;
use crate::trials::Source;
use crate::{Error, Json, Result, Trial, bridge};

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
    /// The kind of chart
    #[doc(hidden)]
    pub kind: &'static str,
    /// An option of `:plot` and one of its values, in order
    #[doc(hidden)]
    pub options: Vec<(&'static str, String)>,
}

impl Plot {
    /// The objective trial by trial, with the best so far and the goal.
    pub fn history() -> Self {
        plot("history")
    }

    /// A line a trial through its parameters to its objective.
    pub fn parallel() -> Self {
        plot("parallel")
    }

    /// How much each parameter matters, by PED-ANOVA.
    pub fn importance() -> Self {
        plot("importance")
    }

    /// The objective over each parameter.
    pub fn slice() -> Self {
        plot("slice")
    }

    /// The objective over two parameters.
    pub fn contour() -> Self {
        plot("contour")
    }

    /// Learning curves: a metric step by step.
    pub fn metrics() -> Self {
        plot("metrics")
    }

    /// When each trial waited, ran and was collected.
    pub fn timeline() -> Self {
        plot("timeline")
    }

    /// Two metrics, and the trials that none surpasses in both.
    pub fn pareto() -> Self {
        plot("pareto")
    }

    /// How parameters and metrics go together.
    pub fn correlation() -> Self {
        plot("correlation")
    }

    /// These parameters, in this order: of `parallel` and `slice` any, of `contour` two. Leading dashes
    /// can be left out.
    pub fn params<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        with(self, "params", names)
    }

    /// The metric of `metrics`, or the two of `pareto`.
    pub fn metric<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        with(self, "metric", names)
    }

    /// In `pareto`, smaller values of this metric are better.
    pub fn minimize(self, metric: impl Into<String>) -> Self {
        with(self, "minimize", [metric])
    }

    /// In `pareto`, larger values of this metric are better.
    pub fn maximize(self, metric: impl Into<String>) -> Self {
        with(self, "maximize", [metric])
    }

    /// In `metrics`, the curves of so many of the best trials; ten unless this says otherwise.
    pub fn top(self, trials: usize) -> Self {
        with(self, "top", [trials.to_string()])
    }

    /// Only trials for which this holds, as `--where` of `:trials` has it: `"accuracy > 0.9"`.
    pub fn filter(self, condition: impl Into<String>) -> Self {
        with(self, "where", [condition])
    }
}

// What follows is no method of `Plot`, nor are its fields private: an editor offers a notebook also what is
// private in a crate that lies beside it.

fn plot(kind: &'static str) -> Plot {
    Plot {
        kind,
        options: Vec::new(),
    }
}

/// A plot of only these trials, whatever else the experiment has.
pub(crate) fn of(plot: Plot, trials: &[Trial]) -> Plot {
    // No trial at all is a choice as well.
    let none = trials.is_empty().then_some("");
    let names = trials.iter().map(|trial| trial.name.as_str());
    with(plot, "only", names.chain(none))
}

fn with<S: Into<String>>(
    mut plot: Plot,
    option: &'static str,
    values: impl IntoIterator<Item = S>,
) -> Plot {
    let values = values.into_iter().map(|value| (option, value.into()));
    plot.options.extend(values);
    plot
}

/// A chart that was drawn: interactive in JupyterLab, a picture elsewhere, and words.
///
/// It shows itself when it ends a cell. `println!` prints its words.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Where its trials come from
    #[doc(hidden)]
    pub source: Source,
    /// What was asked for
    #[doc(hidden)]
    pub plot: Plot,
    /// The representations by MIME type, PNG as base64
    #[doc(hidden)]
    pub bundle: Vec<(String, String)>,
    /// For whoever shows them: the picture's size
    #[doc(hidden)]
    pub metadata: String,
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
        representation(self, "application/vnd.vegalite.v5+json")
    }
}

impl Shown for Figure {
    fn evcxr_display(&self) {
        if let Err(error) = self.show() {
            error.evcxr_display();
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(representation(self, "text/plain"))
    }
}

fn representation<'f>(figure: &'f Figure, mime: &str) -> &'f str {
    let found = figure.bundle.iter().find(|(known, _)| known == mime);
    found.map_or("", |(_, content)| content)
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
