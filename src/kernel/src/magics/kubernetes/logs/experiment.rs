//! The logs of an experiment: those of its trials, one after the other.

use std::path::Path;

use futures::StreamExt as _;
use katlab_lab::cluster::{Cluster, Error};
use katlab_lab::katib::trials;
use katlab_lab::kubernetes::logs::{self, Extent, Line, Lines};

use super::{Logs, exported_lines, kept_log, no_log};
use crate::event::Stream;
use crate::magics::analysis::{Source, read_folder};
use crate::magics::{Context, MagicError};
use crate::render::counted;

/// Logs opened ahead of the one that is shown.
const AHEAD: usize = 8;

impl Logs {
    /// Shows the logs of all trials, the oldest first, with the trial before each line.
    pub(super) async fn of_experiment(
        &self,
        ctx: &Context,
        cluster: &Cluster,
    ) -> Result<(), MagicError> {
        let name = &self.name;
        if self.follow {
            return Err(
                MagicError::usage(format!("{name} is an experiment, and -f follows one log"))
                    .hint(format!("`:logs TRIAL -f` follows a trial's, and `:trials {name}` lists them; `:experiment watch {name}` shows how they go")),
            );
        }
        let found = trials::of_experiment(cluster, &cluster.namespace, name);
        let rows = ctx.or_interrupted(found).await?.rows;
        if rows.is_empty() {
            ctx.output
                .note(format!("experiment {name} has no trials yet"));
            return Ok(());
        }
        let mut opened = futures::stream::iter(rows)
            .map(|trial| async move {
                let log = open(cluster, &trial.name, self).await;
                (trial.name, log)
            })
            .buffered(AHEAD);
        let (mut shown, mut kept_of, mut without) = (0, 0, Vec::new());
        let mut is_empty = true;
        let mut why = None;
        while let Some((trial, log)) = ctx
            .or_interrupted(async { Ok::<_, MagicError>(opened.next().await) })
            .await?
        {
            match log {
                Ok((mut line, mut lines)) => {
                    shown += 1;
                    while let Some(one) = line {
                        match one {
                            Line::Text(text) => {
                                is_empty = false;
                                let text = format!("[{trial}] {text}\n");
                                ctx.output.stream(Stream::Stdout, text);
                            }
                            Line::Note(note) => ctx.output.note(format!("{trial}: {note}")),
                        }
                        line = ctx.or_interrupted(lines.next()).await?;
                    }
                }
                // Without a pod that has started there is no log.
                Err(error @ (Error::Input { .. } | Error::Invalid { .. })) => {
                    if self.container.is_none()
                        && let Ok(kept) = kept_log(ctx, cluster, &trial, self.tail).await
                    {
                        shown += 1;
                        kept_of += 1;
                        is_empty &= kept.lines.is_empty();
                        for line in kept.lines {
                            let text = format!("[{trial}] {line}\n");
                            ctx.output.stream(Stream::Stdout, text);
                        }
                        continue;
                    }
                    without.push(trial);
                    why.get_or_insert(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if kept_of > 0 {
            let logs = counted(kept_of, "log");
            ctx.output
                .note(format!("{logs} of pods that are gone, as katlab kept them"));
        }
        if shown > 0 && is_empty {
            let trials = counted(shown, "trial");
            ctx.output.note(format!("nothing was printed by {trials}"));
        }
        match (why, without.as_slice()) {
            (Some(error), _) if shown == 0 => {
                return Err(no_log(ctx, cluster, Some(name), error).await);
            }
            (Some(error), [trial]) => ctx.output.note(format!("no log of {trial}: {error}")),
            (Some(error), [first, more @ ..]) => ctx.output.note(format!(
                "no log of {first} and {}: {error}",
                counted(more.len(), "other trial")
            )),
            _ => {}
        }
        Ok(())
    }
}

impl Logs {
    /// Shows logs of an export: a trial's, or those of all its trials where the experiment is named.
    pub(super) async fn exported(&self, ctx: &Context, folder: &Path) -> Result<(), MagicError> {
        let source = read_folder(ctx, folder).await?;
        if self.name != source.experiment.metadata.name() {
            source.trial(&self.name, folder)?;
            let lines = exported_lines(ctx, folder, &self.name, self.tail).await?;
            if lines.is_empty() {
                ctx.output.note("the log is empty");
            }
            for line in lines {
                ctx.output.stream(Stream::Stdout, format!("{line}\n"));
            }
            return Ok(());
        }
        self.of_trials(ctx, &source, folder).await
    }

    /// Shows the logs of all trials in the folder of an export.
    pub(super) async fn of_trials(
        &self,
        ctx: &Context,
        source: &Source,
        folder: &Path,
    ) -> Result<(), MagicError> {
        let mut trials: Vec<_> = source.trials.iter().map(|one| &one.metadata).collect();
        trials.sort_by_key(|one| (one.creation_timestamp.as_deref(), one.name()));
        let (mut shown, mut why) = (0, None);
        for trial in &trials {
            match exported_lines(ctx, folder, trial.name(), self.tail).await {
                Ok(lines) => {
                    shown += 1;
                    for line in lines {
                        let text = format!("[{}] {line}\n", trial.name());
                        ctx.output.stream(Stream::Stdout, text);
                    }
                }
                Err(error) => drop(why.get_or_insert(error)),
            }
        }
        match why {
            Some(error) if shown == 0 => return Err(error),
            Some(error) => ctx.output.note(format!(
                "{} of {}: {}",
                shown,
                counted(trials.len(), "log"),
                error.message
            )),
            None => {}
        }
        Ok(())
    }
}

/// Opens the log of a trial, up to its first line.
async fn open(
    cluster: &Cluster,
    trial: &str,
    asked: &Logs,
) -> Result<(Option<Line>, Lines), Error> {
    let container = asked.container.as_deref();
    let target = logs::find(cluster, &cluster.namespace, trial, container).await?;
    let extent = Extent {
        follow: false,
        ..asked.extent()
    };
    let mut lines = logs::open(cluster, &target, extent);
    Ok((lines.next().await?, lines))
}
