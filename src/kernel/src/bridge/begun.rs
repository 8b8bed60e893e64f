//! The calls that go on from one question to the next: an experiment that is watched, a log that is
//! read. What was begun on a connection lives as long as the connection.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use katlab::Request;
use katlab_lab::cluster::{Cluster, Error};
use katlab_lab::katib::trials::{self, TrialRow};
use katlab_lab::katib::watch::{self, Snapshot, Update};
use katlab_lab::kubernetes::logs::{self, Extent, Line, Lines, Target};
use serde_json::{Value as Json, json};

use super::Needed as _;
use super::answers::{experiment_json, trial_json};
use crate::magics::kubernetes::logs::kept_log;
use crate::magics::{Context, ErrorKind, MagicError};

/// How long a trial's end is waited for that the experiment has counted already.
const STRAGGLER: Duration = Duration::from_secs(2);
/// As many lines of a log travel together as are about so long.
const BATCH: usize = 256 * 1024;

/// What was begun on a connection.
#[derive(Default)]
pub(super) struct Begun {
    watching: Option<Watching>,
    reading: Option<Reading>,
    /// Lines of a log whose pod is gone.
    kept: Option<VecDeque<String>>,
}

/// A log that is read.
struct Reading {
    /// The first line, which tells whether there is a log at all.
    first: Option<Line>,
    lines: Lines,
}

impl Reading {
    async fn open(cluster: &Cluster, target: &Target, extent: Extent) -> Result<Self, Error> {
        let mut lines = logs::open(cluster, target, extent);
        let first = lines.next().await?;
        Ok(Self { first, lines })
    }

    async fn next(&mut self) -> Result<Option<Line>, Error> {
        match self.first.take() {
            Some(line) => Ok(Some(line)),
            None => self.lines.next().await,
        }
    }
}

impl Begun {
    /// Answers a call; nothing where it is none of these.
    pub(super) async fn answer(
        &mut self,
        request: &Request,
        ctx: &Context,
    ) -> Option<Result<Json, MagicError>> {
        Some(match request.call.as_str() {
            "watch" => self.watch(request, ctx).await,
            "next" => self.next(ctx).await,
            "logs" => self.logs(request, ctx).await,
            "lines" => self.lines(ctx).await,
            _ => return None,
        })
    }

    async fn watch(&mut self, request: &Request, ctx: &Context) -> Result<Json, MagicError> {
        let name = request.needed("experiment")?;
        let cluster = ctx.cluster(request.argument("namespace")).await?;
        let watch = ctx
            .or_interrupted(watch::open(&cluster, &cluster.namespace, name))
            .await?;
        ctx.keep(&cluster, name);
        self.watching = Some(Watching {
            watch,
            name: name.to_owned(),
            seen: Seen::default(),
            events: VecDeque::new(),
            last: false,
        });
        Ok(Json::Null)
    }

    /// The next event, or null after the last one.
    async fn next(&mut self, ctx: &Context) -> Result<Json, MagicError> {
        let Some(watching) = &mut self.watching else {
            return Ok(Json::Null);
        };
        let event = watching.next(ctx).await;
        if !matches!(event, Ok(Some(_))) {
            self.watching = None;
        }
        event.map(|event| event.unwrap_or(Json::Null))
    }

    async fn logs(&mut self, request: &Request, ctx: &Context) -> Result<Json, MagicError> {
        let name = request.needed("name")?;
        let tail = request.argument("tail").map(|tail| {
            tail.parse()
                .map_err(|_| MagicError::usage(format!("{tail} is no number of lines")))
        });
        let extent = Extent {
            tail: tail.transpose()?,
            ..Extent::default()
        };
        let cluster = ctx.cluster(request.argument("namespace")).await?;
        (self.reading, self.kept) = (None, None);
        let opened = ctx
            .or_interrupted(async { Ok::<_, MagicError>(read_log(&cluster, name, &extent).await) });
        let (target, reading) = match opened.await? {
            Ok(opened) => opened,
            Err(error) if error.is_not_found() || matches!(error, Error::Input { .. }) => {
                let Ok(kept) = Box::pin(kept_log(ctx, &cluster, name, extent.tail)).await else {
                    return Err(error.into());
                };
                ctx.output.note(kept.told);
                self.kept = Some(kept.lines);
                return Ok(json!({ "pod": kept.pod, "container": "", "trial": kept.trial }));
            }
            Err(error) => return Err(error.into()),
        };
        self.reading = Some(reading);
        Ok(json!({
            "pod": target.pod,
            "container": target.container,
            "trial": target.trial,
        }))
    }

    /// Some lines of the log; none after the last one.
    async fn lines(&mut self, ctx: &Context) -> Result<Json, MagicError> {
        let (mut texts, mut bytes) = (Vec::new(), 0);
        if let Some(kept) = &mut self.kept {
            while bytes < BATCH
                && let Some(text) = kept.pop_front()
            {
                bytes += text.len() + 1;
                texts.push(text);
            }
            return Ok(json!(texts));
        }
        let Some(lines) = &mut self.reading else {
            return Ok(json!(texts));
        };
        while bytes < BATCH {
            match ctx.or_interrupted(lines.next()).await? {
                Some(Line::Text(text)) => {
                    bytes += text.len() + 1;
                    texts.push(text);
                }
                Some(Line::Note(note)) => ctx.output.note(note),
                None => {
                    self.reading = None;
                    break;
                }
            }
        }
        Ok(json!(texts))
    }
}

/// Opens the log meant by a name: also of an experiment, whose youngest trial with a log it is.
async fn read_log(
    cluster: &Cluster,
    name: &str,
    extent: &Extent,
) -> Result<(Target, Reading), Error> {
    let namespace = cluster.namespace.as_str();
    let open = async |name: &str| {
        let target = logs::find(cluster, namespace, name, None).await?;
        let reading = Reading::open(cluster, &target, extent.clone()).await?;
        Ok((target, reading))
    };
    let refused = match open(name).await {
        Err(error @ Error::LogOfExperiment { .. }) => error,
        opened => return opened,
    };
    let table = trials::of_experiment(cluster, namespace, name).await?;
    let mut latest = None;
    for trial in table.rows.iter().rev() {
        match open(&trial.name).await {
            Ok(opened) => return Ok(opened),
            // Without a pod that has started there is no log; the youngest trial says why there is none.
            Err(error @ (Error::Input { .. } | Error::Invalid { .. })) => {
                _ = latest.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(latest.unwrap_or(refused))
}

/// An experiment that is watched.
struct Watching {
    watch: watch::Watch,
    name: String,
    seen: Seen,
    events: VecDeque<Json>,
    /// Whether nothing comes after the events that wait.
    last: bool,
}

impl Watching {
    async fn next(&mut self, ctx: &Context) -> Result<Option<Json>, MagicError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if self.last {
                return Ok(None);
            }
            let update = if self.seen.is_ahead {
                let late = ctx.or_interrupted(self.watch.next());
                match tokio::time::timeout(STRAGGLER, late).await {
                    Ok(update) => update,
                    Err(_) => {
                        self.events.extend(self.seen.take_end());
                        self.last = true;
                        continue;
                    }
                }
            } else {
                ctx.or_interrupted(self.watch.next()).await
            };
            let update = update.map_err(|error| match error.kind {
                ErrorKind::Interrupted => error.hint("the experiment goes on"),
                _ => error,
            })?;
            match update {
                Update::Changed(snapshot) => {
                    self.events.extend(self.seen.news(&snapshot));
                    self.last = snapshot.experiment.is_completed() && !self.seen.is_ahead;
                }
                Update::Trouble(what) => ctx
                    .output
                    .note(format!("the cluster does not answer, trying again: {what}")),
                Update::Gone => {
                    return Err(MagicError::new(format!(
                        "experiment {} was deleted while it was watched",
                        self.name
                    )));
                }
            }
        }
    }
}

/// What a watcher was told already.
#[derive(Default)]
struct Seen {
    /// The trials that have started, and whether they have ended.
    trials: BTreeMap<String, bool>,
    status: String,
    /// The experiment's end, while it has counted trials whose end has not been seen: the two are
    /// watched apart, and either may come first.
    end: Option<Json>,
    is_ahead: bool,
}

impl Seen {
    /// What is new in a snapshot, in the order in which it happened.
    fn news(&mut self, snapshot: &Snapshot) -> Vec<Json> {
        let experiment = &snapshot.experiment;
        let metric = &snapshot.trials.objective.metric;
        let mut news = Vec::new();
        for trial in &snapshot.trials.rows {
            let known = self.trials.get(&trial.name).copied();
            let told = |kind| json!({ "kind": kind, "trial": trial_json(trial, metric) });
            if known.is_none() && has_started(trial) {
                news.push((trial.started, told("started")));
            }
            if known != Some(true) && trial.is_ended() {
                news.push((trial.ended, told("ended")));
            }
            if has_started(trial) {
                self.trials.insert(trial.name.clone(), trial.is_ended());
            }
        }
        // Times are whole seconds: what is of one second stays in the order of the trials.
        news.sort_by_key(|(time, _)| *time);
        let mut news: Vec<Json> = news.into_iter().map(|(_, event)| event).collect();
        let counted = usize::try_from(experiment.counts.ended()).unwrap_or(usize::MAX);
        let ended = snapshot.trials.rows.iter().filter(|row| row.is_ended());
        self.is_ahead = experiment.is_completed() && ended.count() < counted;
        if self.status != experiment.status {
            self.status.clone_from(&experiment.status);
            let event = json!({ "kind": "experiment", "experiment": experiment_json(experiment) });
            if experiment.is_completed() {
                self.end = Some(event);
            } else {
                news.insert(0, event);
            }
        }
        if !self.is_ahead {
            news.extend(self.take_end());
        }
        news
    }

    fn take_end(&mut self) -> Option<Json> {
        self.end.take()
    }
}

fn has_started(trial: &TrialRow) -> bool {
    trial.status == "Running" || trial.is_ended()
}

#[cfg(test)]
mod tests {
    use super::*;
    use katlab_lab::katib::experiments::Summary;
    use katlab_lab::katib::trials::TrialTable;

    /// An experiment in a condition with so many trials counted as ended, and trials: name, condition and
    /// the seconds of their start and end.
    fn snapshot(condition: &str, ended: u32, trials: &[(&str, &str, u8, u8)]) -> Snapshot {
        let conditions = |kind: &str| json!([{ "type": kind, "status": "True" }]);
        let at = |second: &u8| format!("2026-01-01T10:00:{second:02}Z");
        let trials: Vec<_> = trials
            .iter()
            .map(|(name, condition, start, end)| {
                let trial = json!({
                    "metadata": { "name": name, "creationTimestamp": at(start) },
                    "spec": {},
                    "status": { "conditions": conditions(condition), "startTime": at(start),
                                "completionTime": (*end > 0).then(|| at(end)) },
                });
                serde_json::from_value(trial).expect("a trial")
            })
            .collect();
        let experiment = json!({
            "metadata": { "name": "e" }, "spec": {},
            "status": { "conditions": conditions(condition), "trialsSucceeded": ended },
        });
        let experiment = Summary::of(&serde_json::from_value(experiment).expect("an experiment"));
        Snapshot {
            trials: TrialTable::of(Some(experiment.clone()), &trials),
            experiment,
            at: jiff::Timestamp::UNIX_EPOCH,
        }
    }

    fn told(events: Vec<Json>) -> Vec<String> {
        let told = |event: &Json| {
            let about = event
                .pointer("/trial/name")
                .or(event.pointer("/experiment/status"));
            format!("{} {}", event["kind"], about.unwrap_or(&Json::Null)).replace('"', "")
        };
        events.iter().map(told).collect()
    }

    #[test]
    fn a_watcher_is_told_each_thing_once_and_in_the_order_in_which_it_happened() {
        let mut seen = Seen::default();
        let mut news = |condition, ended, trials: &[_]| {
            let news = told(seen.news(&snapshot(condition, ended, trials)));
            (news, seen.is_ahead)
        };
        let (a, b) = (("a", "Succeeded", 1, 5), ("b", "Running", 2, 0));
        let first = ["experiment Running", "started a", "started b", "ended a"];
        assert_eq!(
            news("Running", 1, &[a, b]),
            (first.map(str::to_owned).into(), false)
        );
        assert_eq!(
            news("Running", 1, &[a, b, ("c", "Created", 6, 0)]),
            (vec![], false)
        );
        // The experiment has counted two ends, and the second is seen after it.
        assert_eq!(news("Succeeded", 2, &[a, b]), (vec![], true));
        let last = ["ended b", "experiment Succeeded"];
        assert_eq!(
            news("Succeeded", 2, &[a, ("b", "Failed", 2, 7)]),
            (last.map(str::to_owned).into(), false)
        );
    }
}
