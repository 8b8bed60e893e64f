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
use crate::magics::{Context, MagicError};

/// How long a trial's end is waited for that the experiment has counted already.
const STRAGGLER: Duration = Duration::from_secs(2);
/// As many lines of a log travel together as are about so long.
const BATCH: usize = 256 * 1024;

/// What was begun on a connection.
#[derive(Default)]
pub(super) struct Begun {
    watching: Option<Watching>,
    reading: Option<Lines>,
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
        let cluster = ctx.cluster(request.argument("namespace")).await?;
        let target = ctx.or_interrupted(find(&cluster, name)).await?;
        let extent = Extent {
            tail: tail.transpose()?,
            ..Extent::default()
        };
        self.reading = Some(logs::open(&cluster, &target, extent));
        Ok(json!({
            "pod": target.pod,
            "container": target.container,
            "trial": target.trial,
        }))
    }

    /// Some lines of the log; none after the last one.
    async fn lines(&mut self, ctx: &Context) -> Result<Json, MagicError> {
        let (mut texts, mut bytes) = (Vec::new(), 0);
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

/// The log meant by a name: also of an experiment, whose youngest trial with a pod it is.
async fn find(cluster: &Cluster, name: &str) -> Result<Target, Error> {
    let namespace = cluster.namespace.as_str();
    let refused = match logs::find(cluster, namespace, name, None).await {
        Err(error @ Error::LogOfExperiment { .. }) => error,
        found => return found,
    };
    let table = trials::of_experiment(cluster, namespace, name).await?;
    let mut latest = None;
    for trial in table.rows.iter().rev() {
        match logs::find(cluster, namespace, &trial.name, None).await {
            Ok(target) => return Ok(target),
            // Without pods there is no log; the youngest trial says why there are none.
            Err(error @ Error::Input { .. }) => _ = latest.get_or_insert(error),
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
            let interrupted = |error: MagicError| error.hint("the experiment goes on");
            let update = if self.seen.is_ahead {
                let late = async { Ok::<_, Error>(self.watch.next().await?) };
                match tokio::time::timeout(STRAGGLER, ctx.or_interrupted(late)).await {
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
                crate::magics::ErrorKind::Interrupted => interrupted(error),
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
