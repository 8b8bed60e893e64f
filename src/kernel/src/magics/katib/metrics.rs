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
use crate::magics::analysis::{SourceArgs, deleted_trial, kept_files, read_folder};
use crate::magics::kubernetes::logs::{exported_lines, kept_log};
use crate::magics::kubernetes::quoted;
use crate::magics::{Context, Magic, MagicError, nearest};
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
        if let Some(trial) = &trial {
            note_unknown_metrics(ctx, trial, &names);
        }
        let mut seen = Seen::new(trying, names, self.lines);
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
                .await;
            let lines = match lines {
                Ok(lines) => lines,
                // Its pod may be gone.
                Err(error) => match kept_log(ctx, &cluster, &self.log, None).await {
                    Ok(kept) => kept.lines.into(),
                    Err(_) => return Err(error),
                },
            };
            return Ok((trial, Log::Lines(lines)));
        };
        let source = read_folder(ctx, folder).await?;
        let trial = source.trial(&self.log, folder)?;
        let lines = exported_lines(ctx, folder, &self.log, None).await;
        let lines = lines.map_err(|error| {
            if self.source.deleted {
                return MagicError::new(format!("no log of {} is kept", self.log))
                    .hint("name another trial");
            }
            error
        })?;
        Ok((trial.clone(), Log::Lines(lines.into())))
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

/// Metrics that were asked for and that the trial's experiment does not have.
fn note_unknown_metrics(ctx: &Context, trial: &Trial, names: &[String]) {
    let Some(objective) = &trial.spec.objective else {
        return;
    };
    let known: Vec<&str> = objective.metric_names().collect();
    for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
        let near = match nearest::to(name, known.iter().copied()).as_slice() {
            [] => String::new(),
            near => format!("; did you mean {}?", near.join(" or ")),
        };
        ctx.output.warn(format!(
            "the experiment of {} has no metric {name}, but {}{near}",
            trial.metadata.name(),
            known.join(", ")
        ));
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
    /// Lines with names that are like a metric's: how many there are, and the first of them.
    alike: BTreeMap<String, (u64, Vec<Marked>)>,
    /// By metric each filter that read it, with the first line of which it did.
    read: BTreeMap<String, Vec<(usize, String)>>,
    proposal: Option<(u64, String)>,
}

impl Seen {
    fn new(trying: capture::Trial, names: Vec<String>, lines: usize) -> Self {
        Self {
            trying,
            names,
            lines,
            all: 0,
            with_values: 0,
            with_misses: 0,
            tallies: BTreeMap::new(),
            matched: Vec::new(),
            missed: Vec::new(),
            alike: BTreeMap::new(),
            read: BTreeMap::new(),
            proposal: None,
        }
    }

    fn line(&mut self, line: &str) {
        self.all += 1;
        let found = self.trying.line(line);
        if found.captures.iter().any(|one| one.is_value(line)) {
            self.with_values += 1;
            for capture in found.captures.iter().filter(|one| one.is_value(line)) {
                let name = &line[capture.name.clone()];
                self.count(name, &line[capture.value.clone()]);
                self.keep(line, capture.filter, name);
            }
            if self.matched.len() < self.lines {
                self.matched.push(self.taken(line, &found));
            }
        }
        if found.misses.is_empty() {
            return;
        }
        let alike = found.misses.iter().find_map(|miss| match miss {
            Miss::Alike { metric, .. } => Some(metric),
            _ => None,
        });
        let is_misread = |miss: &Miss| {
            miss.is_of_value() || matches!(miss, Miss::Cut { .. } | Miss::Comma { .. })
        };
        match alike.filter(|_| !found.misses.iter().any(is_misread)) {
            // Told where the metric itself never comes.
            Some(metric) => {
                let marked = self.near(line, &found.misses);
                let (all, shown) = self.alike.entry(metric.clone()).or_default();
                *all += 1;
                if shown.len() < self.lines {
                    shown.push(marked);
                }
            }
            None => {
                self.with_misses += 1;
                if self.missed.len() < self.lines {
                    self.missed.push(self.near(line, &found.misses));
                }
            }
        }
        let is_read = found.captures.iter().any(|one| one.number(line).is_some());
        if self.proposal.is_none() && !is_read {
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

    /// Keeps the first line of which a filter reads a metric: a filter that is proposed must not lose it.
    fn keep(&mut self, line: &str, filter: usize, name: &str) {
        if self.names.iter().any(|wanted| wanted == name) {
            if !self.read.contains_key(name) {
                self.read.insert(name.to_owned(), Vec::new());
            }
            if let Some(read) = self.read.get_mut(name)
                && read.iter().all(|(one, _)| *one != filter)
            {
                read.push((filter, line.to_owned()));
            }
        }
    }

    /// Lines that stand for all that was read.
    fn lines_read(&self) -> impl Iterator<Item = &str> {
        let all = self.read.values().flatten();
        all.map(|(_, line)| line.as_str())
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
            let words = miss.words(line, &self.names);
            marked.marks.extend(
                miss.place()
                    .filter(|range| !range.is_empty())
                    .map(|range| (range, Mark::Wrong)),
            );
            if !marked.words.contains(&words) {
                marked.words.push(words);
            }
        }
        marked
    }

    /// Lines with names that are like a metric's count where the metric itself never came.
    fn settle(&mut self) {
        for (metric, (all, shown)) in std::mem::take(&mut self.alike) {
            if !self.tallies.contains_key(&metric) {
                self.with_misses += all;
                self.missed.extend(shown);
            }
        }
        self.missed.sort_by_key(|one| one.number);
        self.missed.truncate(self.lines);
    }

    fn show(mut self, ctx: &Context, log: &str, filters: &[String]) {
        self.settle();
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
            let filters = self.trying.and(filter, self.lines_read());
            let options: Vec<String> = filters
                .iter()
                .map(|filter| format!("--filter {}", quoted(filter)))
                .collect();
            let what = match filters.len() {
                1 => "this filter reads",
                _ => "with what is read already, these filters read",
            };
            ctx.output
                .note(format!("{what} line {line}: {}", options.join(" ")));
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
        .empty(match self.names.is_empty() {
            true => "no line gave a value; with --metric NAME lines that nearly give one are shown",
            false => "no line gave a value",
        });
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
                // What is no number counts for no objective.
                Cell::text(name).with_status(match tally.least.is_nan() {
                    true => Status::Warn,
                    false => Status::Ok,
                }),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(filters: &[&str], log: &[&str]) -> Seen {
        let filters: Vec<String> = filters.iter().map(|one| (*one).to_owned()).collect();
        let names = vec!["accuracy".to_owned(), "loss".to_owned()];
        let trying = capture::Trial::new(&filters, names.clone()).unwrap();
        let mut seen = Seen::new(trying, names, 10);
        for line in log {
            seen.line(line);
        }
        seen.settle();
        seen
    }

    #[test]
    fn a_value_that_is_no_finite_number_is_no_value() {
        for (line, told) in [
            ("accuracy=nan", "`nan`, is no finite number"),
            (
                "accuracy=tensor(0.91)",
                "`tensor(0.91)`, is no number: print a plain 0.91",
            ),
            ("accuracy=", "no value stands behind the name"),
        ] {
            let seen = seen(&[], &["loss=0.5", line]);
            assert!(!seen.tallies.contains_key("accuracy"), "{line}");
            assert_eq!((seen.with_values, seen.with_misses), (1, 1), "{line}");
            let words = &seen.missed[0].words[0];
            assert!(words.contains(told), "{words}");
        }
    }

    #[test]
    fn a_name_that_is_nearly_right_is_told_where_the_metric_never_comes() {
        let lines = ["Accuracy=0.9", "val_accuracy=0.8", "acc=0.7"];
        let found = seen(&[], &lines);
        assert_eq!(found.missed.len(), 3);
        assert!(found.missed[0].words[0].contains("objectiveMetricName: Accuracy"));
        let found = seen(&[], &[&lines[..], &["accuracy=0.6"]].concat());
        assert_eq!((found.missed.len(), found.with_misses), (0, 0));
    }

    #[test]
    fn a_proposal_comes_with_what_is_read_already() {
        let seen = seen(&[], &["loss=0.25", "accuracy: 0.9"]);
        let (line, filter) = seen.proposal.as_ref().unwrap();
        assert_eq!(*line, 2);
        let all = seen.trying.and(filter, seen.lines_read());
        assert_eq!(all, [DEFAULT_FILTER, filter.as_str()]);
    }
}
