//! What a log tells of a metric that was not found.

use katlab_katib::capture::{self, Found, Miss};
use katlab_katib::types::{CollectorKind, Trial};

use super::{Diagnosis, Mood};
use crate::words::quoted;

/// So many characters of a line are told.
const TOLD: usize = 120;

/// What the log tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// What is wrong, where it is something else than that there is no metric.
    pub verdict: Option<String>,
    /// What to do.
    pub advice: String,
    /// Whether nothing is to be added to that.
    pub is_all: bool,
}

/// What a collector takes from a log. The log is what it reads where it takes standard output, and only
/// there.
struct Reading {
    /// The objective alone.
    objective: capture::Trial,
    /// All metrics.
    all: capture::Trial,
    metric: String,
}

impl Reading {
    fn of(trial: &Trial) -> Option<Self> {
        let spec = &trial.spec.metrics_collector;
        let kind = spec.collector.as_ref().map(|one| &one.kind);
        if !matches!(kind, None | Some(CollectorKind::StdOut)) {
            return None;
        }
        let objective = trial.spec.objective.as_ref()?;
        let filters = spec.source.as_ref().and_then(|one| one.filter.as_ref());
        let filters = filters.map_or(&[][..], |filter| &filter.metrics_format);
        let metric = objective.objective_metric_name.clone();
        let names = objective.metric_names().map(str::to_owned).collect();
        Some(Self {
            objective: capture::Trial::new(filters, vec![metric.clone()]).ok()?,
            all: capture::Trial::new(filters, names).ok()?,
            metric,
        })
    }
}

/// What the log of a trial tells of its objective, which was not found: a value that is none, a line that
/// the filter does not read, or one with a name that is nearly right.
///
/// `place` is what the magics need to read the trial where it is not in the chosen namespace, or no more on
/// the cluster.
pub(super) fn told(trial: &Trial, log: &[String], place: &str) -> Option<Told> {
    let reading = Reading::of(trial)?;
    let metric = &reading.metric;
    let missed: Vec<(&str, Found)> = log
        .iter()
        .rev()
        .map(|line| (line.as_str(), reading.objective.line(line)))
        .filter(|(line, found)| {
            !found.misses.is_empty() && found.captures.iter().all(|one| one.number(line).is_none())
        })
        .collect();
    let miss = |is: fn(&Miss) -> bool, captured: bool| {
        missed
            .iter()
            .filter(|(_, found)| !captured || !found.captures.is_empty())
            .find_map(|(line, found)| Some((*line, found.misses.iter().find(|one| is(one))?)))
    };
    let diverged = |(line, miss): (&str, &Miss)| {
        let value = miss.place().map(|at| &line[at]).unwrap_or_default();
        Told {
            verdict: Some(format!(
                "it ran to its end, but the metric {metric} was no finite number: the log has the line `{}`",
                short(line)
            )),
            advice: format!(
                "training diverged, and {value} cannot be ranked: keep the search from such parameters (a smaller learning rate), or clip gradients; the other trials count as they are"
            ),
            is_all: true,
        }
    };
    let is_nan = |miss: &Miss| matches!(miss, Miss::NotFinite { .. });
    if let Some(found) = miss(is_nan, true) {
        return Some(diverged(found));
    }
    let unread = missed
        .iter()
        .filter(|(line, _)| line.contains(metric.as_str()))
        .find_map(|(line, found)| Some((*line, found, capture::proposal(line, metric)?)));
    if let Some((line, found, filter)) = unread {
        let filters = reading.all.and(&filter, log.iter().map(String::as_str));
        let corrected = corrected(trial, &filters, place);
        let wrapped = found
            .misses
            .iter()
            .find(|miss| matches!(miss, Miss::Wrapped { .. }));
        let (what, or) = match (wrapped, reading.objective.without_groups().first()) {
            (Some(miss), _) => (format!(": {}", miss.words(line, &[])), "; or"),
            (None, Some(filter)) => (
                format!(
                    ", which the filter {filter} cannot report, for it has fewer than two groups (name and value);"
                ),
                "",
            ),
            (None, None) => (", which the filter does not read;".to_owned(), ""),
        };
        return Some(Told {
            verdict: None,
            advice: format!(
                "the log has the line `{}`{what}{or} {corrected}",
                short(line)
            ),
            is_all: wrapped.is_some(),
        });
    }
    if let Some(found) = miss(is_nan, false) {
        return Some(diverged(found));
    }
    let (line, miss) = miss(Miss::is_of_value, false)
        .or_else(|| miss(|miss| matches!(miss, Miss::Alike { .. }), false))?;
    let mut advice = format!(
        "the log has the line `{}`: {}",
        short(line),
        miss.words(line, std::slice::from_ref(metric))
    );
    if let Miss::Alike { at, .. } = miss
        && let Some(filter) = capture::proposal(line, &line[at.clone()])
        && !is_read(trial, line, &line[at.clone()])
    {
        let filters = reading.all.and(&filter, log.iter().map(String::as_str));
        advice.push_str(&format!(
            "; the filter does not read that line either: {FIELD}: {}",
            list(&filters)
        ));
    } else if let Miss::NoNumber { .. } = miss {
        advice.push_str("; print a number there, such as 0.97");
    }
    Some(Told {
        verdict: None,
        advice,
        is_all: true,
    })
}

/// Whether the trial's filter reads the value of another metric on a line.
fn is_read(trial: &Trial, line: &str, metric: &str) -> bool {
    let mut other = trial.clone();
    if let Some(objective) = &mut other.spec.objective {
        objective.objective_metric_name = metric.to_owned();
    }
    let captures = Reading::of(&other).map(|reading| reading.objective.line(line).captures);
    captures.is_some_and(|all| all.iter().any(|one| one.number(line).is_some()))
}

/// Says that a value was read of a trial that succeeded, and is not what the log says.
pub(super) fn comma(found: &mut Diagnosis, trial: &Trial, log: &[String]) {
    let Some(reading) = Reading::of(trial) else {
        return;
    };
    let misread = log.iter().rev().find_map(|line| {
        let misses = reading.objective.line(line).misses;
        let miss = misses
            .into_iter()
            .find(|miss| matches!(miss, Miss::Comma { .. }))?;
        Some((line, miss))
    });
    if let Some((line, miss)) = misread {
        found.conclude(
            Mood::Trouble,
            format!(
                "it succeeded, but the metric {} was misread",
                reading.metric
            ),
        );
        found.advise(format!(
            "the log has the line `{}`: {}",
            short(line),
            miss.words(line, &[])
        ));
    }
}

/// The field that holds an experiment's filters.
const FIELD: &str = "spec.metricsCollectorSpec.source.filter.metricsFormat";

/// Filters with which the log is read, and the magic that tries them first.
fn corrected(trial: &Trial, filters: &[String], place: &str) -> String {
    let options: Vec<String> = filters
        .iter()
        .map(|filter| format!(" --filter {}", quoted(filter)))
        .collect();
    format!(
        "with {FIELD}: {} it is read (`:metrics test {}{place}{}` tries it first)",
        list(filters),
        quoted(trial.metadata.name()),
        options.concat()
    )
}

/// Filters as YAML writes a list; between single quotes, a quote is written twice.
fn list(filters: &[String]) -> String {
    let filters: Vec<String> = filters
        .iter()
        .map(|filter| format!("'{}'", filter.replace('\'', "''")))
        .collect();
    format!("[{}]", filters.join(", "))
}

fn short(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}
