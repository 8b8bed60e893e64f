//! `:plot`: a chart of an experiment's trials.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use clap::{Parser, ValueEnum};
use katlab_analysis::chart::{ChartError, Log};
use katlab_analysis::png::{self, Picture};
use katlab_analysis::{Chart, Row, TrialTable, chart};
use katlab_lab::file;
use katlab_lab::katib::archive;
use katlab_lab::katib::observations::{self, Point};

use super::{Origin, Source, SourceArgs};
use crate::event::Bundle;
use crate::magics::{Context, Magic, MagicError};
use crate::render::counted;
use crate::render::list::names_of;

/// What a chart shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The objective trial by trial, with the best so far and the goal
    History,
    /// A line a trial through its parameters to its objective
    Parallel,
    /// How much each parameter matters, by PED-ANOVA
    Importance,
    /// The objective over each parameter
    Slice,
    /// The objective over two parameters
    Contour,
    /// Learning curves: a metric step by step
    Metrics,
    /// When each trial waited, ran and was collected
    Timeline,
    /// Two metrics, and the trials that none surpasses in both
    Pareto,
    /// How parameters and metrics go together
    Correlation,
}

impl Kind {
    fn named(word: &str) -> Result<Self, MagicError> {
        Self::from_str(word, true).map_err(|_| {
            let known: Vec<String> = Self::value_variants()
                .iter()
                .copied()
                .map(self::word)
                .collect();
            let near = crate::magics::nearest::to(word, known.iter().map(String::as_str));
            let error = MagicError::usage(format!("there is no chart `{word}`"));
            match near.first() {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("there are {}", known.join(", "))),
            }
        })
    }
}

/// Draw the trials of an experiment
///
/// In JupyterLab the chart answers to the mouse: the trial under it is named, and dragging over points
/// fades the others. Everywhere else it is a picture. Darker is better, in print as well; many trials
/// are summed up, and the chart says how.
#[derive(Clone, Debug, Parser)]
pub struct Plot {
    /// The experiment; not needed with --from
    #[arg(value_name = "EXPERIMENT")]
    name: Option<String>,
    /// What to draw [default: history]
    #[arg(value_enum)]
    kind: Option<Kind>,
    /// These parameters, in this order: of parallel and slice any, of contour two
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    params: Vec<String>,
    /// The metric of metrics, or the two of pareto
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    metric: Vec<String>,
    /// In pareto, smaller values of this metric are better
    #[arg(long, value_name = "METRIC", value_delimiter = ',')]
    minimize: Vec<String>,
    /// In pareto, larger values of this metric are better
    #[arg(long, value_name = "METRIC", value_delimiter = ',')]
    maximize: Vec<String>,
    /// In metrics, draw these trials
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "top"
    )]
    trial: Vec<String>,
    /// In metrics, draw so many of the best trials [default: 10]
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    /// Draw only trials for which this holds, as in `:trials`
    #[arg(long = "where", value_name = "CONDITION", allow_hyphen_values = true)]
    conditions: Vec<String>,
    /// Write the chart to a file instead: .svg, .png or .json (Vega-Lite)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    save: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
    /// From Rust cells: these trials and no others.
    #[arg(skip)]
    only: Option<Vec<String>>,
}

/// More logs than this are too many lines, and too many questions to the metric store.
const LOGS: usize = 100;

impl Magic for Plot {
    const NAME: &'static str = "plot";

    fn explain(&self) -> Vec<String> {
        // Nothing of kubectl draws; this is where the numbers come from.
        self.source.explain(self.name.as_deref())
    }

    async fn run(mut self, ctx: &Context) -> Result<(), MagicError> {
        let mut read = None;
        // `:plot --from DIR history`: the folder names the experiment.
        if let Some(folder) = &self.source.from
            && self.kind.is_none()
            && let Some(word) = self.name.clone()
        {
            let source = super::read_folder(ctx, folder).await?;
            if source.experiment.metadata.name() != word {
                self.kind = Some(Kind::named(&word)?);
                self.name = None;
            }
            read = Some(source);
        }
        self.check()?;
        let source = match read {
            Some(source) => source,
            None => self.source.read(ctx, self.name.as_deref()).await?,
        };
        let chart = self.drawn(ctx, source).await?;
        match &self.save {
            Some(path) => {
                let (content, missing) = {
                    let path = path.clone();
                    ctx.compute(move || content(&path, &chart)).await?
                };
                written(ctx, path, &content, missing)?;
                ctx.output.done(format!("wrote {}", path.display()));
            }
            None => ctx.output.show(ctx.compute(move || bundle(&chart)).await?),
        }
        Ok(())
    }
}

impl Plot {
    /// What a Rust cell asks for: the options of the magic by their names, each as often as it has values.
    ///
    /// # Errors
    /// A kind or an option that there is not, or a number that is none.
    pub fn of_cell<'a>(
        options: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, MagicError> {
        let mut plot = Self::try_parse_from([Self::NAME])
            .map_err(|error| MagicError::usage(error.to_string()))?;
        for (option, value) in options {
            let text = value.to_owned();
            match option {
                "experiment" => plot.name = Some(text),
                "from" => plot.source.from = Some(value.into()),
                "namespace" => plot.source.place.namespace = Some(text),
                "kind" => plot.kind = Some(Kind::named(value)?),
                "params" => plot.params.push(text),
                "metric" => plot.metric.push(text),
                "minimize" => plot.minimize.push(text),
                "maximize" => plot.maximize.push(text),
                "where" => plot.conditions.push(text),
                "only" => plot.only.get_or_insert_default().push(text),
                "save" => plot.save = Some(value.into()),
                "top" => {
                    let top = value.parse().map_err(|_| {
                        MagicError::usage(format!("{value} is no number of trials"))
                    })?;
                    plot.top = Some(top);
                }
                other => {
                    return Err(
                        MagicError::usage(format!("a chart has no option `{other}`"))
                            .hint("`:help plot` lists them"),
                    );
                }
            }
        }
        Ok(plot)
    }

    /// Where a Rust cell wants the chart to be written, if anywhere.
    pub fn file(&self) -> Option<&std::path::Path> {
        self.save.as_deref()
    }

    /// Draws it.
    ///
    /// # Errors
    /// When the options do not go together, or there is nothing to draw.
    pub async fn chart(&self, ctx: &Context) -> Result<Chart, MagicError> {
        self.check()?;
        let source = self.source.read(ctx, self.name.as_deref()).await?;
        self.drawn(ctx, source).await
    }

    /// Draws it of an experiment that was read.
    async fn drawn(&self, ctx: &Context, source: Source) -> Result<Chart, MagicError> {
        let (plot, source) = (Arc::new(self.clone()), Arc::new(source));
        let chosen = {
            let (plot, source) = (Arc::clone(&plot), Arc::clone(&source));
            ctx.compute(move || plot.chosen(&source))
        };
        let mut table = chosen.await?;
        let mut curves = (String::new(), Vec::new());
        match self.kind.unwrap_or(Kind::History) {
            Kind::Metrics => {
                let metric = match self.metric.first() {
                    Some(name) => table.metrics[metric(&table, name)?].name.clone(),
                    None if table.objective.is_empty() => {
                        let known: Vec<&str> =
                            table.metrics.iter().map(|one| one.name.as_str()).collect();
                        return Err(MagicError::usage(format!(
                            "`{}` has no objective, which is drawn where no metric is named",
                            table.experiment
                        ))
                        .hint(match known.as_slice() {
                            [] => format!("`:trials {}` shows what they have", table.asked()),
                            known => {
                                format!("name it with --metric; there are {}", known.join(", "))
                            }
                        }));
                    }
                    None => table.objective.clone(),
                };
                let logs = ctx
                    .or_interrupted(self.logs(ctx, &source, &table, &metric))
                    .await?;
                curves = (metric, logs);
            }
            Kind::Timeline => {
                let work = ctx
                    .or_interrupted(async { Ok::<_, MagicError>(source.work().await) })
                    .await?;
                for row in &mut table.rows {
                    if let Some(work) = work.get(&row.name) {
                        row.times.began = work.began.as_deref().and_then(seconds);
                        row.times.done = work.done.as_deref().and_then(seconds);
                    }
                }
            }
            _ => {}
        }
        ctx.compute(move || plot.draw(&table, &curves.0, &curves.1).map_err(no_chart))
            .await
    }

    /// The trials that it is of, as numbers.
    fn chosen(&self, source: &Source) -> Result<TrialTable, MagicError> {
        let mut table = source.filtered(&self.conditions)?;
        if let Some(only) = &self.only {
            let only: HashSet<&str> = only.iter().map(String::as_str).collect();
            let had_some = !table.rows.is_empty();
            table.rows.retain(|row| only.contains(row.name.as_str()));
            if table.rows.is_empty() && had_some {
                return Err(MagicError::usage("there is no trial to draw: the filter left none, or they are gone")
                    .hint("loosen it; `None` is less than every `Some`, and a name that is wrong gives `None`"));
            }
        }
        for (names, minimize) in [(&self.minimize, true), (&self.maximize, false)] {
            for name in names {
                let at = metric(&table, name)?;
                table.metrics[at].minimize = minimize;
            }
        }
        Ok(table)
    }

    fn draw(&self, table: &TrialTable, metric: &str, logs: &[Log]) -> Result<Chart, ChartError> {
        let params = names_of(&self.params, |name| table.parameter(name).is_some());
        match self.kind.unwrap_or(Kind::History) {
            Kind::History => chart::history(table),
            Kind::Parallel => chart::parallel(table, &params),
            Kind::Importance => chart::importance(table),
            Kind::Slice => chart::slice(table, &params),
            Kind::Contour => chart::contour(table, &params),
            Kind::Pareto => chart::pareto(table, &self.metric),
            Kind::Correlation => chart::correlation(table),
            Kind::Metrics => chart::curves(table, metric, logs),
            Kind::Timeline => {
                let now = jiff::Timestamp::now().as_millisecond();
                chart::timeline(table, now as f64 / 1000.0)
            }
        }
    }

    /// Options of other charts are slips, and silence about them would hide it.
    fn check(&self) -> Result<(), MagicError> {
        let kind = self.kind.unwrap_or(Kind::History);
        let options: [(&str, bool, &[Kind]); 6] = [
            (
                "params",
                !self.params.is_empty(),
                &[Kind::Parallel, Kind::Slice, Kind::Contour],
            ),
            (
                "metric",
                !self.metric.is_empty(),
                &[Kind::Metrics, Kind::Pareto],
            ),
            ("minimize", !self.minimize.is_empty(), &[Kind::Pareto]),
            ("maximize", !self.maximize.is_empty(), &[Kind::Pareto]),
            ("trial", !self.trial.is_empty(), &[Kind::Metrics]),
            ("top", self.top.is_some(), &[Kind::Metrics]),
        ];
        for (option, given, kinds) in options {
            if given && !kinds.contains(&kind) {
                let names: Vec<String> = kinds.iter().map(|kind| word(*kind)).collect();
                return Err(MagicError::usage(format!(
                    "the chart `{}` takes no `{option}`",
                    word(kind)
                ))
                .hint(format!("it belongs to {}", names.join(", "))));
            }
        }
        if kind == Kind::Metrics && self.metric.len() > 1 {
            return Err(MagicError::usage("the chart `metrics` is of one metric")
                .hint("draw one chart for each, or two metrics against each other with `pareto`"));
        }
        if self.top == Some(0) {
            return Err(MagicError::usage("`--top 0` leaves no trial to draw")
                .hint("write 1 or more; without it the ten best are drawn"));
        }
        if let Some(path) = &self.save {
            form(path)?;
        }
        Ok(())
    }

    /// The logs of the trials that are to be drawn.
    async fn logs(
        &self,
        ctx: &Context,
        source: &Arc<Source>,
        table: &TrialTable,
        metric: &str,
    ) -> Result<Vec<Log>, MagicError> {
        let names: Vec<String> = if self.trial.is_empty() {
            let top = self.top.unwrap_or(10).min(LOGS);
            let ranked: Vec<&str> = table
                .ranked()
                .iter()
                .map(|(row, _)| row.name.as_str())
                .collect();
            // Those that run have values before they have an objective.
            let is_ranked: HashSet<&str> = ranked.iter().copied().collect();
            let rest = table.rows.iter().rev().map(|row| row.name.as_str());
            ranked
                .into_iter()
                .chain(rest.filter(|name| !is_ranked.contains(name)))
                .take(top)
                .map(str::to_owned)
                .collect()
        } else {
            for name in &self.trial {
                if !table.rows.iter().any(|row| row.name == *name) {
                    let known = table.rows.iter().map(|row| row.name.as_str());
                    let near = crate::magics::nearest::to(name, known);
                    let error =
                        MagicError::usage(format!("{} has no trial {name}", table.experiment));
                    return Err(match near.first() {
                        Some(near) => error.hint(format!("did you mean `{near}`?")),
                        None => error.hint(format!("`:trials {}` lists them", table.asked())),
                    });
                }
            }
            self.trial.iter().take(LOGS).cloned().collect()
        };
        if self.trial.len() > LOGS || self.top.is_some_and(|top| top > LOGS) {
            ctx.output.note(format!(
                "drawn are {}, the most that can be told apart",
                counted(LOGS, "trial")
            ));
        }
        let log = |trial: &str, points: &[Point]| Log {
            trial: trial.to_owned(),
            values: points
                .iter()
                .filter(|point| point.metric == metric)
                .map(|point| point.value.as_ref().and_then(|value| value.number()))
                .collect(),
        };
        match &source.origin {
            Origin::Folder { path, .. } => {
                let file = archive::metrics_file(path);
                if !file.exists() {
                    return Err(MagicError::new(format!(
                        "{} is missing, from which the curves are drawn",
                        file.display()
                    ))
                    .hint("export the experiment again; the other charts do without it"));
                }
                let exported = {
                    let source = Arc::clone(source);
                    ctx.compute(move || source.exported_metrics()).await?
                };
                let logs: Vec<Log> = names
                    .iter()
                    .map(|name| log(name, exported.get(name).map_or(&[], Vec::as_slice)))
                    .collect();
                let at = table.metric(metric);
                let has_value = |row: &Row| at.is_some_and(|at| row.metrics[at].is_some());
                let is_known = |log: &Log| {
                    let row = table.rows.iter().find(|row| row.name == log.trial);
                    row.is_some_and(has_value)
                };
                // The trials tell of values that the file should have.
                if logs.iter().all(|log| log.values.is_empty()) && logs.iter().any(is_known) {
                    return Err(MagicError::new(format!(
                        "{} has no value of `{metric}` of {}",
                        file.display(),
                        match names.as_slice() {
                            [name] => name.clone(),
                            names => format!("these {} trials", names.len()),
                        }
                    ))
                    .hint("export the experiment again; the other charts do without it"));
                }
                Ok(logs)
            }
            Origin::Cluster(cluster) => {
                let way = observations::open(cluster).await?;
                let mut logs = Vec::new();
                for name in &names {
                    logs.push(log(name, &way.of_trial(name, Some(metric)).await?));
                }
                Ok(logs)
            }
        }
    }
}

fn word(kind: Kind) -> String {
    kind.to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn metric(table: &TrialTable, name: &str) -> Result<usize, MagicError> {
    table.metric(name).ok_or_else(|| {
        no_chart(ChartError::NoMetric {
            experiment: table.experiment.clone(),
            name: name.to_owned(),
            known: table
                .metrics
                .iter()
                .map(|metric| metric.name.clone())
                .collect(),
        })
    })
}

fn no_chart(error: ChartError) -> MagicError {
    let hint = error.hint();
    MagicError::new(error.to_string()).hint(hint)
}

/// A time of the cluster's in seconds since 1970.
fn seconds(time: &str) -> Option<f64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(time.as_millisecond() as f64 / 1000.0)
}

fn picture(chart: &Chart) -> Result<Picture, MagicError> {
    png::from_svg(&chart.svg).map_err(|error| MagicError::new(error.to_string()))
}

/// No text/html and no SVG here: JupyterLab would show either instead of the interactive chart.
pub(crate) fn bundle(chart: &Chart) -> Result<Bundle, MagicError> {
    let picture = picture(chart)?;
    let encoded = base64::engine::general_purpose::STANDARD.encode(&picture.png);
    let text = match without_font(&picture) {
        Some(words) => format!("{}\n{words}", chart.text),
        None => chart.text.clone(),
    };
    Ok(Bundle::text(text)
        .with("application/vnd.vegalite.v5+json", chart.vega_lite.clone())
        .with_png(encoded, picture.width, picture.height))
}

/// What is to be said of a picture with letters that no font has. Browsers have fonts of their own, and
/// draw the interactive chart and the SVG with them.
fn without_font(picture: &Picture) -> Option<String> {
    const NAMED: usize = 12;
    let mut named: String = picture.missing.chars().take(NAMED).collect();
    if picture.missing.chars().count() > NAMED {
        named.push('…');
    }
    (!named.is_empty()).then(|| {
        format!(
            "the PNG has Latin letters in place of {named}, which no font on this machine has; install one (for Korean fonts-noto-cjk), or take the interactive chart or --save FILE.svg"
        )
    })
}

/// A file's form, by its ending.
#[derive(Clone, Copy)]
enum Form {
    Svg,
    Png,
    Json,
}

fn form(path: &std::path::Path) -> Result<Form, MagicError> {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending.map(str::to_lowercase).as_deref() {
        Some("svg") => Ok(Form::Svg),
        Some("png") => Ok(Form::Png),
        Some("json") => Ok(Form::Json),
        _ => Err(
            MagicError::usage(format!("{} is no name of a chart's file", path.display()))
                .hint("end it in .svg, .png or .json"),
        ),
    }
}

/// Writes a chart to a file.
pub(crate) fn write(
    ctx: &Context,
    path: &std::path::Path,
    chart: &Chart,
) -> Result<(), MagicError> {
    let (content, missing) = content(path, chart)?;
    written(ctx, path, &content, missing)
}

/// What a chart is as a file, and what is to be said of its letters.
fn content(path: &std::path::Path, chart: &Chart) -> Result<(Vec<u8>, Option<String>), MagicError> {
    Ok(match form(path)? {
        Form::Svg => (chart.svg.clone().into_bytes(), None),
        Form::Png => {
            let picture = picture(chart)?;
            let missing = without_font(&picture);
            (picture.png, missing)
        }
        Form::Json => (format!("{:#}\n", chart.vega_lite).into_bytes(), None),
    })
}

fn written(
    ctx: &Context,
    path: &std::path::Path,
    content: &[u8],
    missing: Option<String>,
) -> Result<(), MagicError> {
    if let Some(words) = missing {
        ctx.output.warn(words);
    }
    file::replace(&ctx.session.resolve(path), content, 0o644)
        .map_err(|error| MagicError::new(format!("{} cannot be written: {error}", path.display())))
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
