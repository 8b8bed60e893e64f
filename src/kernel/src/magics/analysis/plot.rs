//! `:plot`: a chart of an experiment's trials.

use std::path::PathBuf;

use base64::Engine as _;
use clap::{Parser, ValueEnum};
use katlab_analysis::png::{self, Picture};
use katlab_analysis::{Chart, TrialTable, chart};
use katlab_lab::file;
use katlab_lab::katib::{experiments, trials};

use crate::event::Bundle;
use crate::magics::kubernetes::NamespaceArgs;
use crate::magics::{Context, Magic, MagicError};

/// What a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The objective trial by trial, with the best so far and the goal
    History,
    /// A line a trial through its parameters to its objective
    Parallel,
}

/// Draw the trials of an experiment
///
/// In JupyterLab the chart answers to the mouse; everywhere else it is a picture.
#[derive(Debug, Parser)]
pub struct Plot {
    /// The experiment
    #[arg(value_name = "EXPERIMENT")]
    name: String,
    /// What to draw
    #[arg(value_enum, default_value = "history")]
    kind: Kind,
    #[command(flatten)]
    place: NamespaceArgs,
    /// Write the chart to a file instead: .svg, .png or .json (Vega-Lite)
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

impl Magic for Plot {
    const NAME: &'static str = "plot";

    fn explain(&self) -> Vec<String> {
        // Nothing of kubectl draws; this is where the numbers come from.
        let namespace = self
            .place
            .namespace
            .as_deref()
            .map_or(String::new(), |name| format!(" -n {name}"));
        vec![format!(
            "kubectl get trials{namespace} -l katib.kubeflow.org/experiment={} -o json",
            self.name
        )]
    }

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let cluster = ctx.cluster(self.place.namespace.as_deref()).await?;
        let reading = futures::future::try_join(
            experiments::get(&cluster, &cluster.namespace, &self.name),
            trials::objects(&cluster, &cluster.namespace, &self.name),
        );
        let (experiment, objects) = ctx.or_interrupted(reading).await?;
        let table = TrialTable::new(&experiment, &objects);
        let chart = match self.kind {
            Kind::History => chart::history(&table),
            Kind::Parallel => chart::parallel(&table),
        }
        .map_err(|error| {
            let hint = error.hint();
            MagicError::new(error.to_string()).maybe_hint(hint)
        })?;
        match self.save {
            Some(path) => save(ctx, &path, &chart),
            None => {
                ctx.output.show(bundle(&chart)?);
                Ok(())
            }
        }
    }
}

fn picture(chart: &Chart) -> Result<Picture, MagicError> {
    png::from_svg(&chart.svg).map_err(|error| MagicError::new(error.to_string()))
}

/// No text/html and no SVG here: JupyterLab would show either instead of the interactive chart.
fn bundle(chart: &Chart) -> Result<Bundle, MagicError> {
    let Picture { png, width, height } = picture(chart)?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(png);
    Ok(Bundle::text(&chart.text)
        .with("application/vnd.vegalite.v5+json", chart.vega_lite.clone())
        .with_png(encoded, width, height))
}

fn save(ctx: &Context, path: &std::path::Path, chart: &Chart) -> Result<(), MagicError> {
    let content = match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => chart.svg.clone().into_bytes(),
        Some("png") => picture(chart)?.png,
        Some("json") => format!("{:#}\n", chart.vega_lite).into_bytes(),
        _ => {
            return Err(MagicError::usage(format!(
                "{} is no name of a chart's file",
                path.display()
            ))
            .hint("end it in .svg, .png or .json"));
        }
    };
    file::replace(&ctx.session.resolve(path), &content, 0o644).map_err(|error| {
        MagicError::new(format!("{} cannot be written: {error}", path.display()))
    })?;
    ctx.output.done(format!("wrote {}", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_picture_says_at_what_size_it_is_meant_to_be_shown() {
        let chart = Chart {
            vega_lite: json!({}),
            svg: "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"90\" height=\"30\"></svg>"
                .into(),
            text: "one trial".into(),
        };
        let metadata = bundle(&chart).unwrap().metadata;
        let size = json!({ "width": 90, "height": 30 });
        assert_eq!(metadata, [("image/png".to_owned(), size)].into());
    }
}
