//! `:experiment wait`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use katlab_lab::cluster::Error;
use katlab_lab::katib::experiments::Summary;
use katlab_lab::katib::watch::{self, Snapshot, Until, Update};

use super::watch::held_up;
use super::{counts, goal};
use crate::magics::analysis::is_kept;
use crate::magics::kubernetes::{NamespaceArgs, elsewhere, logs::duration, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::progress::Progress;
use crate::render::status::Status;
use crate::render::table::number_text;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum For {
    /// It has ended, well or badly
    Completed,
    /// It has ended well; ending badly is an error
    Succeeded,
    /// It has ended badly; ending well is an error
    Failed,
    /// It runs, or has ended already
    Running,
}

/// Wait for an experiment, and fail if it does not get there
///
/// Unlike `:experiment watch` it fails when the experiment does, so that a notebook stops there.
#[derive(Debug, Parser)]
pub struct Wait {
    /// The experiment
    #[arg(value_name = "NAME")]
    name: String,
    /// What to wait for
    #[arg(
        long = "for",
        value_enum,
        default_value = "succeeded",
        value_name = "CONDITION"
    )]
    condition: For,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "30m", value_parser = duration)]
    timeout: Duration,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Wait {
    /// Waits until an experiment has ended, well or badly.
    pub fn for_the_end(name: &str, timeout: Duration, place: NamespaceArgs) -> Self {
        Self {
            name: name.to_owned(),
            condition: For::Completed,
            timeout,
            place,
        }
    }

    /// Does it, and returns how the experiment stands then.
    ///
    /// # Errors
    /// When the time is up, or the experiment cannot get there any more.
    pub async fn wait(self, ctx: &Context) -> Result<Summary, MagicError> {
        let cluster = self.place.cluster(ctx).await?;
        ctx.keep(&cluster, &self.name);
        let until = match self.condition {
            For::Completed => Until::Completed,
            For::Succeeded => Until::Succeeded,
            For::Failed => Until::Failed,
            For::Running => Until::Running,
        };
        let progress =
            Progress::start(&ctx.output, format!("waiting for experiment {}", self.name));
        let report = progress.clone();
        let place = elsewhere(ctx, &cluster.namespace).await;
        let held_up = |snapshot: &Snapshot| {
            let lines = held_up(&snapshot.trials.rows, &place).into_iter();
            lines.map(|line| format!("; {line}")).collect::<String>()
        };
        let (gone, late) = (AtomicBool::new(false), AtomicBool::new(false));
        let (is_gone, is_late) = (&gone, &late);
        let seen = move |update: &Update| match update {
            Update::Changed(snapshot) => {
                let summary = &snapshot.experiment;
                let best = summary
                    .best_value()
                    .map(|value| {
                        format!(
                            "; best {} (goal {})",
                            number_text(value),
                            goal(&summary.objective)
                        )
                    })
                    .unwrap_or_default();
                report.detail(format!(
                    "{}; {}{best}{}",
                    summary.status,
                    counts(&summary.counts),
                    held_up(snapshot)
                ));
                if let Some(max) = summary.max_trials {
                    report.bar(summary.counts.ended().into(), max.into());
                }
            }
            Update::Trouble(what) => {
                report.line(format!("the cluster does not answer, trying again: {what}"))
            }
            Update::Gone => is_gone.store(true, Ordering::Relaxed),
        };
        let waited = ctx
            .or_interrupted(async {
                let namespace = &cluster.namespace;
                watch::wait(&cluster, namespace, &self.name, until, self.timeout, seen)
                    .await
                    .inspect_err(|error| {
                        is_gone.fetch_or(error.is_not_found(), Ordering::Relaxed);
                        is_late.store(matches!(error, Error::TimedOut { .. }), Ordering::Relaxed);
                    })
            })
            .await;
        match waited {
            Ok(snapshot) => {
                let summary = snapshot.experiment;
                if summary.is_completed() {
                    ctx.kept_to_the_end(&cluster, &self.name);
                }
                let ended = format!(
                    "experiment {}: {}; {}",
                    self.name,
                    summary.status,
                    counts(&summary.counts)
                );
                let badly = self.condition == For::Completed && summary.is_failed();
                let status = if badly { Status::Failed } else { Status::Ok };
                progress.finish(status, ended, false);
                Ok(summary)
            }
            Err(error) => {
                if error.kind == crate::magics::ErrorKind::Interrupted {
                    return Err(error.hint(format!(
                        "the experiment goes on; :experiment wait {}{place} takes it up again",
                        self.name
                    )));
                }
                progress.failed(error.message.clone());
                ctx.tell_kept();
                let is_late = late.load(Ordering::Relaxed);
                let is_gone = gone.load(Ordering::Relaxed);
                Err(match error.hint {
                    _ if is_gone && is_kept(ctx, &cluster, &self.name) => error.hint(format!(
                        ":why {}{place} --deleted explains what is kept of it",
                        self.name
                    )),
                    _ if is_late => error.hint(format!(
                        "it goes on without this cell; :why {}{place} says how it stands, and --timeout waits longer",
                        self.name
                    )),
                    None if !is_gone => error.hint(format!(":why {}{place} explains", self.name)),
                    _ => error,
                })
            }
        }
    }
}

impl Magic for Wait {
    const NAME: &'static str = "experiment wait";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        self.wait(ctx).await.map(drop)
    }

    fn explain(&self) -> Vec<String> {
        let condition = match self.condition {
            For::Completed | For::Succeeded => "Succeeded",
            For::Failed => "Failed",
            For::Running => "Running",
        };
        vec![format!(
            "kubectl wait experiment/{}{} --for condition={condition} --timeout {}s",
            quoted(&self.name),
            self.place.kubectl(),
            self.timeout.as_secs()
        )]
    }
}
