//! Experiments, trials and their metrics as values.

use std::collections::HashMap;
use std::fmt;

use crate::bridge;
use crate::plot::{self, Figure, Plot};
use crate::shown::Shown;
use crate::table::short;
use crate::{Error, Json, Result, Table};

/// A parameter or metric: a number where it is one, else the text.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number
    Number(f64),
    /// Text, for instance a categorical parameter
    Text(String),
}

impl Value {
    /// The number, or `None` for text.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(*number),
            Value::Text(_) => None,
        }
    }

    fn from_json(json: &Json) -> Result<Self> {
        match json {
            Json::Number(number) => Ok(Value::Number(*number)),
            other => Ok(Value::Text(other.text()?.to_owned())),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(out, "{number}"),
            Value::Text(text) => out.write_str(text),
        }
    }
}

/// One trial of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its name
    pub name: String,
    /// Type of its last condition: `Running`, `Succeeded`, `Failed`, `MetricsUnavailable`, …
    pub status: String,
    /// Assigned parameters, in the order of the experiment's search space
    pub parameters: Vec<(String, Value)>,
    /// Observed metrics, each by the experiment's strategy; metrics that never came are absent
    pub metrics: Vec<(String, Value)>,
    /// The objective metric, when there is one
    pub objective: Option<f64>,
    /// Whether this is the experiment's best trial so far
    pub is_best: bool,
    /// Time from start to end in seconds; `None` while it runs
    pub seconds: Option<f64>,
    /// When it was made
    pub created: Option<Time>,
    /// When it started; `None` before that
    pub started: Option<Time>,
    /// When it ended; `None` while it runs
    pub ended: Option<Time>,
    /// Why it has its status, as one word; may be empty
    pub reason: String,
    /// Why, in a sentence; may be empty
    pub message: String,
    /// What was observed of each metric over the whole trial
    pub observed: Vec<(String, Observed)>,
}

/// The smallest, greatest and last value of a metric in one trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// The smallest
    pub min: Option<f64>,
    /// The greatest
    pub max: Option<f64>,
    /// The last one, which may be text
    pub latest: Option<Value>,
}

impl Observed {
    fn from_json(json: &Json) -> Result<Self> {
        let latest = json.get("latest").filter(|latest| **latest != Json::Null);
        Ok(Self {
            min: json.get("min").and_then(Json::number),
            max: json.get("max").and_then(Json::number),
            latest: latest.map(Value::from_json).transpose()?,
        })
    }
}

/// A point in time; written as RFC 3339.
#[derive(Clone, Debug, PartialEq)]
pub struct Time {
    #[doc(hidden)]
    pub text: String,
    #[doc(hidden)]
    pub unix: f64,
}

impl Time {
    /// Seconds since 1970.
    pub fn unix(&self) -> f64 {
        self.unix
    }

    /// Seconds from an earlier one to this one.
    pub fn since(&self, earlier: &Time) -> f64 {
        self.unix - earlier.unix
    }

    /// `None` where there is no time.
    fn from_json(json: &Json, member: &str) -> Result<Option<Self>> {
        match json.get(member) {
            None | Some(Json::Null) => Ok(None),
            Some(time) => Ok(Some(Self {
                text: text(time, "text")?,
                unix: time.get("unix").and_then(Json::number).unwrap_or_default(),
            })),
        }
    }
}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.unix.partial_cmp(&other.unix)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl Trial {
    /// What was observed of a metric over the whole trial: `t.observed("loss")?.min`.
    pub fn observed(&self, metric: &str) -> Option<&Observed> {
        let found = self.observed.iter().find(|(name, _)| name == metric);
        found.map(|(_, observed)| observed)
    }

    /// A parameter as a number; with or without the leading dashes of its name.
    pub fn parameter(&self, name: &str) -> Option<f64> {
        find(&self.parameters, name)?.number()
    }

    /// A parameter as text; with or without the leading dashes of its name.
    pub fn parameter_text(&self, name: &str) -> Option<String> {
        find(&self.parameters, name).map(Value::to_string)
    }

    /// A metric as a number.
    pub fn metric(&self, name: &str) -> Option<f64> {
        find(&self.metrics, name)?.number()
    }

    /// The trial as a table, a line for each thing known of it.
    pub fn table(&self) -> Table {
        let mark = if self.is_best { "★ " } else { "" };
        let mut table = Table::new(["trial".to_owned(), format!("{mark}{}", self.name)]);
        table.push(vec!["status".to_owned(), self.status.clone()]);
        for (name, value) in self.parameters.iter().chain(&self.metrics) {
            let name = name.trim_start_matches('-').to_owned();
            table.push(vec![name, value.to_string()]);
        }
        if let Some(seconds) = self.seconds {
            table.push(vec!["seconds".to_owned(), seconds.to_string()]);
        }
        let times = [
            ("created", &self.created),
            ("started", &self.started),
            ("ended", &self.ended),
        ];
        for (name, time) in times {
            if let Some(time) = time {
                table.push(vec![name.to_owned(), time.to_string()]);
            }
        }
        for (name, why) in [("reason", &self.reason), ("message", &self.message)] {
            if !why.is_empty() {
                table.push(vec![name.to_owned(), why.clone()]);
            }
        }
        table
    }

    pub(crate) fn from_json(json: &Json) -> Result<Self> {
        Ok(Self {
            name: text(json, "name")?,
            status: text(json, "status")?,
            parameters: members(json, "parameters", Value::from_json)?,
            metrics: members(json, "metrics", Value::from_json)?,
            objective: json.get("objective").and_then(Json::number),
            is_best: json.get("best") == Some(&Json::Bool(true)),
            seconds: json.get("seconds").and_then(Json::number),
            created: Time::from_json(json, "created")?,
            started: Time::from_json(json, "started")?,
            ended: Time::from_json(json, "ended")?,
            reason: text(json, "reason")?,
            message: text(json, "message")?,
            observed: members(json, "observed", Observed::from_json)?,
        })
    }
}

/// Whatever takes the name of a trial takes the trial as well.
impl AsRef<str> for Trial {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

impl Shown for Trial {
    fn evcxr_display(&self) {
        self.table().evcxr_display();
    }
}

fn find<'a>(values: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    let exact = values.iter().find(|(key, _)| key == name);
    exact
        .or_else(|| {
            values
                .iter()
                .find(|(key, _)| key.trim_start_matches('-') == name)
        })
        .map(|(_, value)| value)
}

pub(crate) fn text(json: &Json, member: &str) -> Result<String> {
    Ok(json
        .get(member)
        .ok_or_else(|| Error::missing(member))?
        .text()?
        .to_owned())
}

fn members<T>(
    json: &Json,
    member: &str,
    read: impl Fn(&Json) -> Result<T>,
) -> Result<Vec<(String, T)>> {
    match json.get(member) {
        Some(Json::Object(members)) => members
            .iter()
            .map(|(name, value)| Ok((name.clone(), read(value)?)))
            .collect(),
        _ => Err(Error::missing(member)),
    }
}

/// Where trials come from, and more of them can be asked.
#[derive(Clone, Debug, Default, PartialEq)]
#[doc(hidden)]
pub struct Source {
    /// The experiment
    pub experiment: String,
    /// Of the cluster; empty for the session's own
    pub namespace: String,
    /// The folder of an export; empty for the cluster
    pub folder: String,
}

impl Source {
    /// As arguments of a call.
    pub fn arguments(&self) -> Vec<(&str, &str)> {
        [
            ("experiment", self.experiment.as_str()),
            ("namespace", self.namespace.as_str()),
            ("from", self.folder.as_str()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
    }
}

/// The trials of one experiment; behaves as a slice of [`Trial`] and shows itself as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Trials {
    // Not private, since an editor offers a notebook also what is.
    #[doc(hidden)]
    pub list: Vec<Trial>,
    #[doc(hidden)]
    pub source: Source,
    /// Whether a larger objective is better
    #[doc(hidden)]
    pub maximize: bool,
}

/// Some of the trials, which come from where all of them do.
fn among(all: &Trials, list: impl IntoIterator<Item = Trial>) -> Trials {
    Trials {
        list: list.into_iter().collect(),
        source: all.source.clone(),
        maximize: all.maximize,
    }
}

impl Trials {
    /// The experiment's best trial so far, as Katib chose it.
    pub fn best(&self) -> Option<&Trial> {
        self.list.iter().find(|trial| trial.is_best)
    }

    /// The trials that satisfy a condition.
    ///
    /// A trial without the value has `None`, which is less than every `Some`:
    /// `|t| t.objective > Some(0.9)` leaves it out, `|t| t.metric("loss").is_some_and(|loss| loss < 0.5)`
    /// does as well.
    pub fn filter(&self, keep: impl Fn(&Trial) -> bool) -> Trials {
        let kept = self.list.iter().filter(|trial| keep(trial));
        among(self, kept.cloned())
    }

    /// The trials in the order of a number, smallest first; trials without it come last. The largest come
    /// first by `|t| t.metric("accuracy").map(|value| -value)`, and [`top`](Trials::top) takes the best.
    pub fn sorted_by(&self, number: impl Fn(&Trial) -> Option<f64>) -> Trials {
        let mut trials = self.list.clone();
        let key = |trial: &Trial| number(trial).unwrap_or(f64::INFINITY);
        trials.sort_by(|left, right| key(left).total_cmp(&key(right)));
        among(self, trials)
    }

    /// So many of the best by their objective, the best first: the largest or the smallest, as the
    /// experiment has it. Trials without an objective are none of them.
    pub fn top(&self, count: usize) -> Trials {
        let sign = if self.maximize { -1.0 } else { 1.0 };
        let sorted = self.sorted_by(|trial| trial.objective.map(|value| sign * value));
        let best = sorted
            .list
            .into_iter()
            .filter(|trial| trial.objective.is_some());
        among(self, best.take(count))
    }

    /// Draws exactly these trials, as `:plot` draws an experiment's:
    /// `trials.filter(|t| t.objective > Some(0.9)).plot(Plot::parallel())?`
    ///
    /// # Errors
    /// No trial that the chart can be of, a name that the experiment does not have, or as
    /// [`trials`](crate::trials()).
    pub fn plot(&self, what: Plot) -> Result<Figure> {
        plot::draw(&self.source, plot::of(what, self))
    }

    /// The whole observation log of one of these trials, from where the trials were read.
    ///
    /// # Errors
    /// No trial of that name, or as [`trials`](crate::trials()).
    pub fn metrics(&self, trial: impl AsRef<str>) -> Result<MetricPoints> {
        let mut arguments = self.source.arguments();
        arguments.push(("trial", trial.as_ref()));
        MetricPoints::from_json(&bridge::call("metrics", &arguments)?)
    }

    /// The experiment that these are trials of.
    ///
    /// # Errors
    /// The experiment is gone, or as [`trials`](crate::trials()).
    pub fn experiment(&self) -> Result<Experiment> {
        Experiment::from_json(&bridge::call("experiment", &self.source.arguments())?)
    }

    /// The same trials as a table.
    pub fn table(&self) -> Table {
        table_of_trials(&self.list)
    }

    pub(crate) fn from_json(json: &Json) -> Result<Self> {
        let trials = json.get("trials").ok_or_else(|| Error::missing("trials"))?;
        let list = trials.items()?.iter().map(Trial::from_json);
        Ok(Self {
            list: list.collect::<Result<_>>()?,
            source: Source {
                experiment: text(json, "experiment")?,
                namespace: text(json, "namespace")?,
                folder: text(json, "from")?,
            },
            maximize: json.get("maximize") == Some(&Json::Bool(true)),
        })
    }
}

impl Shown for Trials {
    fn evcxr_display(&self) {
        self.table().evcxr_display();
    }
}

pub(crate) fn table_of_trials(trials: &[Trial]) -> Table {
    let names = |values: fn(&Trial) -> &Vec<(String, Value)>| {
        let mut names: Vec<String> = Vec::new();
        for (name, _) in trials.iter().flat_map(values) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    };
    let (parameters, metrics) = (
        names(|trial| &trial.parameters),
        names(|trial| &trial.metrics),
    );
    let mut table = Table::new(
        ["trial", "status"].map(String::from).into_iter().chain(
            parameters
                .iter()
                .chain(&metrics)
                .map(|name| name.trim_start_matches('-').to_owned()),
        ),
    );
    for trial in trials {
        let mark = if trial.is_best { "★ " } else { "" };
        let cell = |values: &[(String, Value)], name: &str| {
            find(values, name).map_or(String::new(), |value| match value {
                Value::Number(number) => short(*number),
                Value::Text(text) => text.clone(),
            })
        };
        let mut row = vec![format!("{mark}{}", trial.name), trial.status.clone()];
        row.extend(parameters.iter().map(|name| cell(&trial.parameters, name)));
        row.extend(metrics.iter().map(|name| cell(&trial.metrics, name)));
        table.push(row);
    }
    table
}

/// An experiment in short.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// Its name
    pub name: String,
    /// Its namespace
    pub namespace: String,
    /// Type of its last condition: `Created`, `Running`, `Succeeded`, `Failed`, …
    pub status: String,
    /// Why it has that condition, in a sentence; may be empty
    pub message: String,
    /// Name of the objective metric
    pub objective: String,
    /// The value to reach, if one was set
    pub goal: Option<f64>,
    /// Number of trials made so far
    pub trials: usize,
    /// Number of trials that succeeded
    pub succeeded: usize,
    /// Number of trials that failed
    pub failed: usize,
}

impl Experiment {
    pub(crate) fn from_json(json: &Json) -> Result<Self> {
        let count = |member: &str| json.get(member).and_then(Json::number).unwrap_or(0.0) as usize;
        Ok(Self {
            name: text(json, "name")?,
            namespace: text(json, "namespace")?,
            status: text(json, "status")?,
            message: text(json, "message")?,
            objective: text(json, "objective")?,
            goal: json.get("goal").and_then(Json::number),
            trials: count("trials"),
            succeeded: count("succeeded"),
            failed: count("failed"),
        })
    }
}

impl Shown for Experiment {
    fn evcxr_display(&self) {
        table_of(std::slice::from_ref(self)).evcxr_display();
    }
}

/// The experiments of a namespace; behaves as a slice of [`Experiment`] and shows itself as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiments(Vec<Experiment>);

impl Experiments {
    /// The same experiments as a table.
    pub fn table(&self) -> Table {
        table_of(&self.0)
    }

    pub(crate) fn from_json(json: &Json) -> Result<Self> {
        json.items()?
            .iter()
            .map(Experiment::from_json)
            .collect::<Result<_>>()
            .map(Self)
    }
}

impl Shown for Experiments {
    fn evcxr_display(&self) {
        self.table().evcxr_display();
    }
}

fn table_of(experiments: &[Experiment]) -> Table {
    let titles = [
        "experiment",
        "status",
        "objective",
        "goal",
        "trials",
        "succeeded",
        "failed",
    ];
    let mut table = Table::new(titles.map(String::from));
    for experiment in experiments {
        table.push(vec![
            experiment.name.clone(),
            experiment.status.clone(),
            experiment.objective.clone(),
            experiment
                .goal
                .map_or(String::new(), |goal| goal.to_string()),
            experiment.trials.to_string(),
            experiment.succeeded.to_string(),
            experiment.failed.to_string(),
        ]);
    }
    table
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoint {
    /// Name of the metric
    pub metric: String,
    /// Its value
    pub value: Value,
    /// Which value of its metric this is, counted from 1
    pub step: usize,
    /// When it was written; `None` for a line without a time
    pub time: Option<Time>,
}

/// The observation log of one trial; behaves as a slice of [`MetricPoint`].
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPoints(Vec<MetricPoint>);

impl MetricPoints {
    /// The numbers of one metric in the order of the log.
    pub fn of(&self, metric: &str) -> Vec<f64> {
        self.0
            .iter()
            .filter(|point| point.metric == metric)
            .filter_map(|point| point.value.number())
            .collect()
    }

    pub(crate) fn from_json(json: &Json) -> Result<Self> {
        let mut steps: HashMap<String, usize> = HashMap::new();
        let point = |json: &Json| -> Result<MetricPoint> {
            let metric = text(json, "metric")?;
            let step = steps.entry(metric.clone()).or_default();
            *step += 1;
            Ok(MetricPoint {
                value: Value::from_json(json.get("value").ok_or_else(|| Error::missing("value"))?)?,
                step: *step,
                time: Time::from_json(json, "time")?,
                metric,
            })
        };
        json.items()?
            .iter()
            .map(point)
            .collect::<Result<_>>()
            .map(Self)
    }
}

impl Shown for MetricPoints {
    fn evcxr_display(&self) {
        let mut table = Table::new(["time", "metric", "step", "value"].map(String::from));
        for point in &self.0 {
            table.push(vec![
                point.time.as_ref().map(Time::to_string).unwrap_or_default(),
                point.metric.clone(),
                point.step.to_string(),
                point.value.to_string(),
            ]);
        }
        table.evcxr_display();
    }
}

/// Makes a list behave as a slice, and a loop over it or over a reference to it one over its items.
macro_rules! behaves_as_slice {
    ($($list:ty, $field:tt, $item:ty;)*) => {$(
        impl ::std::ops::Deref for $list {
            type Target = [$item];

            fn deref(&self) -> &[$item] {
                &self.$field
            }
        }

        impl IntoIterator for $list {
            type Item = $item;
            type IntoIter = std::vec::IntoIter<$item>;

            fn into_iter(self) -> Self::IntoIter {
                self.$field.into_iter()
            }
        }

        impl<'a> IntoIterator for &'a $list {
            type Item = &'a $item;
            type IntoIter = std::slice::Iter<'a, $item>;

            fn into_iter(self) -> Self::IntoIter {
                self.$field.iter()
            }
        }
    )*};
}

pub(crate) use behaves_as_slice;

behaves_as_slice! {
    Trials, list, Trial;
    Experiments, 0, Experiment;
    MetricPoints, 0, MetricPoint;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_trials() -> Trials {
        let text = r#"{"experiment":"digits","namespace":"lab","from":"","trials":[
            {"name":"a","status":"Succeeded","parameters":{"--lr":0.1,"opt":"sgd"},"metrics":{"accuracy":0.9},
             "objective":0.9,"best":false,"seconds":2,"reason":"","message":"",
             "started":{"text":"2026-01-01T00:00:00Z","unix":1767225600},
             "ended":{"text":"2026-01-01T00:00:02Z","unix":1767225602},
             "observed":{"accuracy":{"min":0.5,"max":0.9,"latest":0.8}}},
            {"name":"b","status":"Succeeded","parameters":{"--lr":0.0123456789,"opt":"adam"},
             "metrics":{"accuracy":0.95},"objective":0.95,"best":true,"seconds":3,
             "reason":"TrialSucceeded","message":"","observed":{}}]}"#;
        Trials::from_json(&Json::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn parameters_are_found_without_their_dashes() {
        let trials = two_trials();
        assert_eq!(trials[0].parameter("lr"), Some(0.1));
        assert_eq!(trials[0].parameter("--lr"), Some(0.1));
        assert_eq!(trials[0].parameter_text("opt").as_deref(), Some("sgd"));
    }

    #[test]
    fn times_are_typed_and_metrics_known_from_end_to_end() {
        let trials = two_trials();
        let first = &trials[0];
        let (started, ended) = (first.started.clone().unwrap(), first.ended.clone().unwrap());
        assert!(started < ended);
        assert_eq!(ended.since(&started), 2.0);
        assert_eq!(ended.to_string(), "2026-01-01T00:00:02Z");
        assert_eq!(first.observed("accuracy").unwrap().max, Some(0.9));
        let log = r#"[{"metric":"loss","value":2,"time":null},{"metric":"accuracy","value":0.5,"time":null},
            {"metric":"loss","value":1,"time":{"text":"2026-01-01T00:00:02Z","unix":1767225602}}]"#;
        let points = MetricPoints::from_json(&Json::parse(log).unwrap()).unwrap();
        let steps: Vec<usize> = points.iter().map(|point| point.step).collect();
        assert_eq!(steps, [1, 1, 2]);
    }

    #[test]
    fn the_best_trial_is_the_one_that_katib_chose() {
        assert_eq!(two_trials().best().unwrap().name, "b");
    }

    #[test]
    fn the_top_is_the_best_in_the_experiments_own_direction() {
        let names = |trials: Trials| -> Vec<String> {
            trials.into_iter().map(|trial| trial.name).collect()
        };
        let mut trials = two_trials();
        trials.list[0].objective = Some(0.1);
        assert_eq!(names(trials.top(1)), ["a"]);
        trials.maximize = true;
        assert_eq!(names(trials.top(5)), ["b", "a"]);
        trials.list[1].objective = None;
        assert_eq!(names(trials.top(5)), ["a"]);
    }

    #[test]
    fn trials_that_are_filtered_know_where_they_come_from() {
        let trials = two_trials().filter(|trial| trial.objective > Some(0.92));
        assert_eq!(trials.len(), 1);
        assert_eq!(
            trials.source.arguments(),
            [("experiment", "digits"), ("namespace", "lab")]
        );
    }

    #[test]
    fn the_table_marks_the_best_and_shortens_numbers() {
        let text = two_trials().table().to_string();
        assert!(text.contains("★ b"), "{text}");
        assert!(text.contains("0.0123457"), "{text}");
    }

    #[test]
    fn a_trial_and_an_experiment_show_all_that_is_known_of_them() {
        assert_eq!(
            two_trials()[1].table().to_string(),
            "trial     ★ b\nstatus    Succeeded\nlr        0.0123456789\nopt       adam\naccuracy  0.95\nseconds   3\nreason    TrialSucceeded"
        );
        let text = r#"[{"name":"digits","namespace":"lab","status":"Running","objective":"accuracy","goal":0.99,
            "trials":3,"succeeded":2,"failed":1,"message":""}]"#;
        let experiments = Experiments::from_json(&Json::parse(text).unwrap()).unwrap();
        let table = experiments.table().to_string();
        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row,
            ["digits", "Running", "accuracy", "0.99", "3", "2", "1"]
        );
    }

    #[test]
    fn an_answer_without_a_name_is_an_error_that_says_so() {
        let error = Trials::from_json(&Json::parse(r#"{"trials":[{}]}"#).unwrap()).unwrap_err();
        assert!(error.to_string().contains("`name`"), "{error}");
    }
}
