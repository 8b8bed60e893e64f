//! `:metrics test`: a filter tried on a real log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use clap::Parser;
use katlab_katib::capture::{self, Found, Miss};
use katlab_katib::names::DEFAULT_FILTER;
use katlab_katib::types::{CollectorKind, FileFormat, Trial};
use katlab_lab::katib::trials;
use katlab_lab::kubernetes::logs::{self, Extent};
use tokio_util::sync::CancellationToken;

use super::stacked;
use crate::magics::analysis::{SourceArgs, deleted_trial, folder_source, kept_files};
use crate::magics::kubernetes::quoted;
use crate::magics::{Context, Magic, MagicError};
use crate::render::captures::{self, Mark, Marked};
use crate::render::table::{Cell, Column, Table};
use crate::render::{counted, status::Status};

/// The longest line that is read as one.
const LINE: u64 = 1024 * 1024;

/// Try a metrics filter on a real log, before any trial is spent
///
/// Shows what a collector would report: names and values are marked in the lines they stand in. Lines
/// that nearly matched follow, each with how far the filter came, and where it helps a filter that reads
/// the line. A filter is a regular expression of Go's with two groups, the metric's name and its value.
#[derive(Debug, Parser)]
pub struct Test {
    /// A log file, or a trial whose log is read
    #[arg(value_name = "FILE|TRIAL", value_hint = clap::ValueHint::FilePath)]
    log: String,
    /// The filter; several may be given. Without it that of the trial, else Katib's default
    #[arg(long = "filter", value_name = "RE", allow_hyphen_values = true)]
    filters: Vec<String>,
    /// The metrics that count; without it those of the trial, else every name
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    metric: Vec<String>,
    /// Show at most so many lines of each sort
    #[arg(long, value_name = "N", default_value_t = 10)]
    lines: usize,
    #[command(flatten)]
    source: SourceArgs,
}

impl Magic for Test {
    const NAME: &'static str = "metrics test";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let path = ctx.session.resolve(&self.log);
        // No trial has a dot or a slash in its name.
        let (trial, log) = if self.source.from.is_none()
            && !self.source.deleted
            && (path.is_file() || self.log.contains(['/', '.']))
        {
            (None, Log::File)
        } else {
            let (trial, log) = self.of_trial(ctx).await?;
            (Some(trial), log)
        };
        let (filters, names) = self.asked(trial.as_ref())?;
        let trying = capture::Trial::new(&filters, names.clone()).map_err(|error| {
            let hint = error.hint();
            let failure = MagicError::usage(error.to_string());
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        })?;
        if let Some(filter) = trying.without_groups().first() {
            return Err(MagicError::usage(format!(
                "the filter `{filter}` reports nothing: it has fewer than two groups in brackets"
            ))
            .hint(
                "put one around the metric's name and one around its value: (accuracy)=([0-9.]+)",
            ));
        }
        let mut seen = Seen {
            trying,
            names,
            lines: self.lines,
            all: 0,
            with_values: 0,
            with_misses: 0,
            tallies: BTreeMap::new(),
            matched: Vec::new(),
            missed: Vec::new(),
            proposal: None,
        };
        let seen = match log {
            Log::File => read_file(path, seen, ctx)
                .await
                .map_err(|error| match error {
                    Unread::Interrupted => MagicError::interrupted(),
                    Unread::File(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        MagicError::new(format!("there is no file {}", self.log))
                            .hint("name a log file, or a trial; `:trials` lists those")
                    }
                    Unread::File(error) => {
                        MagicError::new(format!("{} cannot be read: {error}", self.log))
                    }
                })?,
            Log::Lines(lines) => {
                for line in &lines {
                    seen.line(line);
                }
                seen
            }
        };
        if let Some(trial) = &trial {
            note_where_metrics_are(ctx, trial);
        }
        seen.show(ctx, &self.log, &filters);
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let filter = self.filters.first().map_or(DEFAULT_FILTER, String::as_str);
        let log = quoted(&self.log);
        let source = match &self.source.from {
            None if self.source.deleted => {
                format!("cat {}", kept_files(None, &format!("logs/{log}.log")))
            }
            Some(folder) => format!(
                "cat {}/logs/{log}.log",
                quoted(&folder.display().to_string())
            ),
            None if self.log.contains(['/', '.']) => format!("cat {log}"),
            None => format!(
                "kubectl logs{} -l katib.kubeflow.org/trial={log} --tail -1",
                self.source.place.kubectl()
            ),
        };
        vec![format!("{source} | grep -nP {}", quoted(filter))]
    }
}

/// Where lines come from.
enum Log {
    File,
    Lines(Vec<String>),
}

impl Test {
    /// A trial with its log, from the cluster or an export.
    async fn of_trial(&self, ctx: &Context) -> Result<(Trial, Log), MagicError> {
        let folder = match &self.source.from {
            Some(folder) => Some(folder.clone()),
            None if self.source.deleted => {
                let kept = deleted_trial(ctx, &self.source.place, &self.log).await?;
                Some(kept.0.folder)
            }
            None => None,
        };
        let Some(folder) = &folder else {
            let cluster = self.source.place.cluster(ctx).await?;
            let namespace = cluster.namespace.as_str();
            let trial = ctx
                .or_interrupted(trials::get(&cluster, namespace, &self.log))
                .await?;
            let lines = ctx
                .or_interrupted(async {
                    let target = logs::find(&cluster, namespace, &self.log, None).await?;
                    logs::read(&cluster, &target, Extent::default()).await
                })
                .await?;
            return Ok((trial, Log::Lines(lines)));
        };
        let source = folder_source(ctx, folder)?;
        let trial = source.trial(&self.log, folder)?;
        let path = ctx
            .session
            .resolve(folder.join("logs").join(format!("{}.log", self.log)));
        let text = std::fs::read(&path).map_err(|error| {
            if self.source.deleted {
                return MagicError::new(format!("no log of {} is kept: {error}", self.log))
                    .hint("name another trial");
            }
            MagicError::new(format!("the export has no log of {}: {error}", self.log))
                .hint("its pod was gone when it was exported")
        })?;
        let text = String::from_utf8_lossy(&text);
        let lines = text.lines().map(str::to_owned).collect();
        Ok((trial.clone(), Log::Lines(lines)))
    }

    /// The filters and the metrics that are tried.
    fn asked(&self, trial: Option<&Trial>) -> Result<(Vec<String>, Vec<String>), MagicError> {
        let mut filters = self.filters.clone();
        let mut names = self.metric.clone();
        if let Some(trial) = trial {
            let spec = &trial.spec;
            let source = spec.metrics_collector.source.as_ref();
            let is_json = source
                .and_then(|source| source.file_system_path.as_ref())
                .is_some_and(|path| path.format == FileFormat::Json);
            if filters.is_empty() {
                if is_json {
                    return Err(MagicError::usage(format!(
                        "the metrics of {} are lines of JSON, which are read without a filter",
                        self.log
                    ))
                    .hint("give one with --filter to try it all the same"));
                }
                let own = source.and_then(|source| source.filter.as_ref());
                filters = own
                    .map(|filter| filter.metrics_format.clone())
                    .unwrap_or_default();
            }
            if names.is_empty()
                && let Some(objective) = &spec.objective
            {
                names = objective.metric_names().map(str::to_owned).collect();
            }
        }
        if filters.is_empty() {
            filters.push(DEFAULT_FILTER.to_owned());
        }
        Ok((filters, names))
    }
}

/// What a trial printed is not always where its metrics are.
fn note_where_metrics_are(ctx: &Context, trial: &Trial) {
    let spec = &trial.spec.metrics_collector;
    let kind = spec.collector.as_ref().map(|one| one.kind.clone());
    let path = spec
        .source
        .as_ref()
        .and_then(|source| source.file_system_path.as_ref())
        .map(|file| file.path.as_str())
        .unwrap_or_default();
    match kind {
        None | Some(CollectorKind::StdOut) => {}
        Some(CollectorKind::File) => ctx.output.note(format!(
            "this is what the trial printed; its collector reads {path}"
        )),
        Some(kind) => ctx.output.note(format!(
            "this is what the trial printed; its collector, {kind}, uses no filter"
        )),
    }
}

enum Unread {
    Interrupted,
    File(std::io::Error),
}

/// Reads a file line by line, so that its size does not matter.
async fn read_file(path: std::path::PathBuf, seen: Seen, ctx: &Context) -> Result<Seen, Unread> {
    let cancel = ctx.cancel.clone();
    let read = move || read_lines(&path, seen, &cancel);
    match tokio::task::spawn_blocking(read).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Unread::Interrupted),
    }
}

fn read_lines(path: &Path, mut seen: Seen, cancel: &CancellationToken) -> Result<Seen, Unread> {
    let mut reader = BufReader::new(File::open(path).map_err(Unread::File)?);
    let mut line = Vec::new();
    loop {
        if cancel.is_cancelled() {
            return Err(Unread::Interrupted);
        }
        line.clear();
        let read = (&mut reader)
            .take(LINE)
            .read_until(b'\n', &mut line)
            .map_err(Unread::File)?;
        if read == 0 {
            return Ok(seen);
        }
        let text = String::from_utf8_lossy(&line);
        seen.line(text.trim_end_matches(['\n', '\r']));
    }
}

/// What was seen of a metric.
#[derive(Clone, Debug)]
struct Tally {
    values: u64,
    first: String,
    last: String,
    least: f64,
    most: f64,
}

/// What was seen in a log.
struct Seen {
    trying: capture::Trial,
    names: Vec<String>,
    /// So many lines of each sort are kept.
    lines: usize,
    all: u64,
    with_values: u64,
    with_misses: u64,
    tallies: BTreeMap<String, Tally>,
    matched: Vec<Marked>,
    missed: Vec<Marked>,
    proposal: Option<(u64, String)>,
}

impl Seen {
    fn line(&mut self, line: &str) {
        self.all += 1;
        let found = self.trying.line(line);
        if !found.captures.is_empty() {
            self.with_values += 1;
            for capture in &found.captures {
                self.count(&line[capture.name.clone()], &line[capture.value.clone()]);
            }
            if self.matched.len() < self.lines {
                self.matched.push(self.taken(line, &found));
            }
        }
        if !found.misses.is_empty() {
            self.with_misses += 1;
            if self.missed.len() < self.lines {
                self.missed.push(self.near(line, &found.misses));
            }
            if self.proposal.is_none() && found.captures.is_empty() {
                let named = self
                    .names
                    .iter()
                    .filter(|name| line.contains(name.as_str()));
                let filter = named
                    .filter_map(|name| capture::proposal(line, name))
                    .next();
                self.proposal = filter.map(|filter| (self.all, filter));
            }
        }
    }

    fn count(&mut self, name: &str, value: &str) {
        let number = value.parse().unwrap_or(f64::NAN);
        let tally = self
            .tallies
            .entry(name.to_owned())
            .or_insert_with(|| Tally {
                values: 0,
                first: value.to_owned(),
                last: String::new(),
                least: f64::NAN,
                most: f64::NAN,
            });
        tally.values += 1;
        value.clone_into(&mut tally.last);
        tally.least = tally.least.min(number);
        tally.most = tally.most.max(number);
    }

    fn taken(&self, line: &str, found: &Found) -> Marked {
        let marks = found.captures.iter().flat_map(|capture| {
            [
                (capture.name.clone(), Mark::Name),
                (capture.value.clone(), Mark::Value),
            ]
        });
        Marked {
            number: self.all,
            line: line.to_owned(),
            marks: marks.filter(|(range, _)| !range.is_empty()).collect(),
            words: Vec::new(),
        }
    }

    fn near(&self, line: &str, misses: &[Miss]) -> Marked {
        let mut marked = Marked {
            number: self.all,
            line: line.to_owned(),
            ..Marked::default()
        };
        for miss in misses {
            let (range, words) = match miss {
                Miss::Name { at } => (
                    Some(at.clone()),
                    format!(
                        "the name it captured, `{}`, is none of {}",
                        &line[at.clone()],
                        self.names.join(", ")
                    ),
                ),
                Miss::Cut { value, end } => (
                    Some(value.start..*end),
                    format!(
                        "the value is cut: `{}` of `{}`",
                        &line[value.clone()],
                        &line[value.start..*end]
                    ),
                ),
                Miss::NoNumber { value } => (
                    Some(value.clone()),
                    format!("the value, `{}`, is no number", &line[value.clone()]),
                ),
                Miss::Stopped {
                    filter,
                    matched,
                    begun,
                } => (
                    Some(matched.clone()),
                    format!(
                        "the filter matches so far; then it wants `{}`",
                        &filter[*begun..]
                    ),
                ),
                Miss::Nothing => (None, "no part of the filter matches here".to_owned()),
            };
            marked.marks.extend(
                range
                    .filter(|range| !range.is_empty())
                    .map(|range| (range, Mark::Wrong)),
            );
            if !marked.words.contains(&words) {
                marked.words.push(words);
            }
        }
        marked
    }

    fn show(self, ctx: &Context, log: &str, filters: &[String]) {
        let values: u64 = self.tallies.values().map(|one| one.values).sum();
        let title = format!(
            "{log}: {} in {} of {}, by {}",
            counted(values as usize, "value"),
            self.with_values,
            counted(self.all as usize, "line"),
            filters.join(" or ")
        );
        let mut parts = vec![self.table(title).bundle()];
        if !self.matched.is_empty() {
            let title = first_of("lines with values", self.matched.len(), self.with_values);
            parts.push(captures::bundle(&title, &self.matched));
        }
        if !self.missed.is_empty() {
            let title = first_of(
                "lines that nearly matched",
                self.missed.len(),
                self.with_misses,
            );
            parts.push(captures::bundle(&title, &self.missed));
        }
        ctx.output.show(stacked(parts));
        if let Some((line, filter)) = &self.proposal {
            ctx.output.note(format!(
                "this filter reads line {line}: --filter {}",
                quoted(filter)
            ));
        }
    }

    /// What would be reported, a row for each metric; one that never came is a row as well.
    fn table(&self, title: String) -> Table {
        let mut table = Table::new([
            Column::new("METRIC"),
            Column::number("VALUES"),
            Column::number("FIRST"),
            Column::number("LAST"),
            Column::number("MIN"),
            Column::number("MAX"),
        ])
        .title(title)
        .empty("no line gave a value");
        let unseen = self
            .names
            .iter()
            .filter(|name| !self.tallies.contains_key(*name));
        for name in unseen {
            table.row([
                Cell::text(name).with_status(Status::Failed),
                Cell::count(0u64),
            ]);
        }
        for (name, tally) in &self.tallies {
            let number = |value: f64| {
                if value.is_nan() {
                    Cell::default()
                } else {
                    Cell::number(value)
                }
            };
            table.row([
                Cell::text(name).with_status(Status::Ok),
                Cell::count(tally.values),
                Cell::text(&tally.first),
                Cell::text(&tally.last),
                number(tally.least),
                number(tally.most),
            ]);
        }
        table
    }
}

/// `the first 10 of 300 lines with values`.
fn first_of(what: &str, shown: usize, all: u64) -> String {
    if shown as u64 == all {
        what.to_owned()
    } else {
        format!("the first {shown} of {all} {what}")
    }
}
