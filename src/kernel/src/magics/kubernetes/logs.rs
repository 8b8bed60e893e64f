//! `:logs`.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use katlab_lab::cluster::{Cluster, Error};
use katlab_lab::katib::archive;
use katlab_lab::kubernetes::logs::{self, Extent, Line};

use super::{NamespaceArgs, elsewhere, quoted};
use crate::event::Stream;
use crate::magics::analysis::{deleted_of_either, kept_files, kept_trial, or_kept, read_folder};
use crate::magics::{Context, Magic, MagicError};

/// Show the log of a Pod, a trial, a Job or an experiment
///
/// Of an experiment the logs of all its trials are shown, the oldest first, with the trial before each
/// line; `--tail 5` shows the end of each.
///
/// Without `-c` the container is the one that matters for a trial: the collector where it prints what
/// the training wrote, else the training itself. With `-f` the log is followed until the container
/// ends; interrupting the cell stops the following only. Where the pod is gone, what katlab kept of the
/// trial's log is shown; `--from DIR` shows logs of an export.
#[derive(Debug, Parser)]
pub struct Logs {
    /// The Pod, trial, Job or experiment
    #[arg(value_name = "NAME")]
    name: String,
    /// The container
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Show what comes until the container ends; waits for one that has not started
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "N")]
    tail: Option<u32>,
    /// Only what is younger than this, such as `90s`, `10m` or `2h`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    /// The log of the run before this one, after a restart
    #[arg(short, long)]
    previous: bool,
    /// With the time before each line
    #[arg(long)]
    timestamps: bool,
    /// Show what was kept of the log of a trial, whether or not its pod is there, or of those of a deleted experiment
    #[arg(long, conflicts_with_all = ["container", "follow", "since", "previous", "timestamps"])]
    deleted: bool,
    /// Read an exported experiment from this folder; no cluster is needed then
    #[arg(
        long,
        value_name = "DIR",
        value_hint = clap::ValueHint::DirPath,
        conflicts_with_all = ["container", "follow", "since", "previous", "timestamps", "deleted", "namespace"]
    )]
    from: Option<PathBuf>,
    #[command(flatten)]
    place: NamespaceArgs,
}

mod experiment;

/// Reads `90s`, `10m`, `2h`, `1h30m`, or a number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no duration; write 90s, 10m, 2h or 1h30m");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = match rest[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86400,
            _ => return Err(wrong()),
        };
        total = number
            .checked_mul(unit)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
    }
    if text.is_empty() {
        Err(wrong())
    } else {
        Ok(Duration::from_secs(total))
    }
}

impl Magic for Logs {
    const NAME: &'static str = "logs";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        if let Some(folder) = &self.from {
            return self.exported(ctx, folder).await;
        }
        if self.deleted {
            let (entry, trial) = deleted_of_either(ctx, &self.place, &self.name).await?;
            if trial.is_none() {
                return self
                    .of_trials(ctx, &read_folder(ctx, &entry.folder).await?, &entry.folder)
                    .await;
            }
        }
        let cluster = self.place.cluster(ctx).await?;
        if self.deleted {
            return self.kept(ctx, &cluster).await;
        }
        let found = async {
            let (place, container) = (&cluster.namespace, self.container.as_deref());
            Ok::<_, MagicError>(logs::find(&cluster, place, &self.name, container).await)
        };
        let target = match ctx.or_interrupted(found).await? {
            Ok(target) => target,
            Err(Error::LogOfExperiment { .. }) => return self.of_experiment(ctx, &cluster).await,
            Err(error) => {
                let is_gone = error.is_not_found() || matches!(error, Error::Input { .. });
                if is_gone && self.container.is_none() && self.kept(ctx, &cluster).await.is_ok() {
                    return Ok(());
                }
                let failed = std::future::ready(Err(error));
                return or_kept(ctx, &cluster, &self.name, failed).await;
            }
        };
        if target.pod != self.name || (self.container.is_none() && target.containers.len() > 1) {
            let others: Vec<&str> = target
                .containers
                .iter()
                .filter(|name| **name != target.container)
                .map(String::as_str)
                .collect();
            let others = if others.is_empty() {
                String::new()
            } else {
                format!(" (also: {})", others.join(", "))
            };
            ctx.output.note(format!(
                "pod {}, container {}{others}",
                target.pod, target.container
            ));
        }
        let mut lines = logs::open(&cluster, &target, self.extent());
        let mut count = 0_usize;
        loop {
            let next = async { Ok::<_, MagicError>(lines.next().await) };
            let line = match ctx.or_interrupted(next).await? {
                Ok(line) => line,
                Err(error) => {
                    let trial = target.trial.as_deref();
                    return Err(no_log(ctx, &cluster, trial, error).await);
                }
            };
            match line {
                Some(Line::Text(line)) => {
                    count += 1;
                    ctx.output.stream(Stream::Stdout, format!("{line}\n"));
                }
                Some(Line::Note(note)) => ctx.output.note(note),
                None => break,
            }
        }
        if count == 0 {
            ctx.output.note("the log is empty");
        }
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        if let Some(folder) = &self.from {
            let folder = quoted(&folder.display().to_string());
            return vec![format!("cat {folder}/logs/{}.log", quoted(&self.name))];
        }
        if self.deleted {
            let file = format!("logs/{}.log", quoted(&self.name));
            return vec![format!("cat {}", kept_files(None, &file))];
        }
        let mut line = format!(
            "kubectl logs {}{}",
            quoted(&self.name),
            self.place.kubectl()
        );
        if let Some(container) = &self.container {
            line.push_str(&format!(" -c {}", quoted(container)));
        }
        for (flag, given) in [
            (" -f", self.follow),
            (" --previous", self.previous),
            (" --timestamps", self.timestamps),
        ] {
            if given {
                line.push_str(flag);
            }
        }
        if let Some(tail) = self.tail {
            line.push_str(&format!(" --tail {tail}"));
        }
        if let Some(since) = self.since {
            line.push_str(&format!(" --since {}s", since.as_secs()));
        }
        let labels = format!(
            "kubectl logs -l katib.kubeflow.org/trial={}{} --all-containers",
            quoted(&self.name),
            self.place.kubectl()
        );
        let of_experiment = format!(
            "kubectl logs -l katib.kubeflow.org/experiment={}{} --all-containers --prefix",
            quoted(&self.name),
            self.place.kubectl()
        );
        vec![
            line,
            format!("# for a trial: {labels}"),
            format!("# for an experiment: {of_experiment}"),
        ]
    }
}

impl Logs {
    fn extent(&self) -> Extent {
        Extent {
            follow: self.follow,
            tail: self.tail,
            since: self.since,
            previous: self.previous,
            timestamps: self.timestamps,
        }
    }
}

impl Logs {
    /// Shows what is kept of a trial's log.
    async fn kept(&self, ctx: &Context, cluster: &Cluster) -> Result<(), MagicError> {
        let kept = kept_log(ctx, cluster, &self.name, self.tail).await?;
        ctx.output.note(kept.told);
        for line in &kept.lines {
            ctx.output.stream(Stream::Stdout, format!("{line}\n"));
        }
        if kept.lines.is_empty() {
            ctx.output.note("the log is empty");
        }
        Ok(())
    }
}

/// The lines of a trial's log in an export; with `tail` only so many of its end.
///
/// # Errors
/// When it is not there, or the person interrupts.
pub async fn exported_lines(
    ctx: &Context,
    folder: &Path,
    trial: &str,
    tail: Option<u32>,
) -> Result<VecDeque<String>, MagicError> {
    let (path, name) = (ctx.session.resolve(folder), trial.to_owned());
    let tail = tail.and_then(|tail| usize::try_from(tail).ok());
    ctx.compute(move || {
        lines(&path, &name, tail).map_err(|error| match error.kind() {
            ErrorKind::NotFound => MagicError::new(format!("the export has no log of {name}"))
                .hint("its pod was gone when it was exported"),
            _ => MagicError::new(format!(
                "{} cannot be read: {error}",
                archive::log_file(&path, &name).display()
            ))
            .hint("look at its permissions"),
        })
    })
    .await
}

/// A log that was kept.
pub struct KeptLog {
    /// The trial.
    pub trial: String,
    /// Its pod.
    pub pod: String,
    /// Where it is from, in words.
    pub told: String,
    /// Its lines, or the last of them.
    pub lines: VecDeque<String>,
}

/// What is kept of a log, by the name of a trial or of its pod; with `tail` only so many lines of its end.
///
/// # Errors
/// When nothing of it is kept.
pub async fn kept_log(
    ctx: &Context,
    cluster: &Cluster,
    name: &str,
    tail: Option<u32>,
) -> Result<KeptLog, MagicError> {
    let (entry, trial) = kept_trial(ctx, cluster, name).await?;
    let Some(note) = entry.index.logs.get(&trial) else {
        return Err(
            MagicError::new(format!("no log of trial {trial} is kept")).hint(
                "a log is kept while `:experiment watch` or `:experiment wait` sees the trial run",
            ),
        );
    };
    let tail = tail.and_then(|tail| usize::try_from(tail).ok());
    let lines = lines(&entry.folder, &trial, tail).map_err(|error| {
        MagicError::new(format!(
            "the kept log of trial {trial} cannot be read: {error}"
        ))
        .hint(format!("look at {}", entry.log(&trial).display()))
    })?;
    let since = crate::render::age::since(entry.index.kept, jiff::Timestamp::now());
    Ok(KeptLog {
        told: format!(
            "pod {} of experiment {}, as katlab kept its log (last written {since} ago)",
            note.pod, entry.index.whose.name
        ),
        pod: note.pod.clone(),
        lines,
        trial,
    })
}

/// Why there is no log, of a trial or an experiment; what a container waits for, `:why` says.
async fn no_log(ctx: &Context, cluster: &Cluster, whose: Option<&str>, error: Error) -> MagicError {
    let waits = matches!(&error, Error::Invalid { .. } | Error::Ended(_));
    let error = MagicError::from(error);
    match whose.filter(|_| waits) {
        Some(name) => {
            let place = elsewhere(ctx, &cluster.namespace).await;
            error.hint(format!("`:why {name}{place}` says what it waits for"))
        }
        None => error,
    }
}

/// The lines of a trial's log in the folder of an export; with `tail` only so many of its end.
///
/// # Errors
/// When the file cannot be read.
pub fn lines(folder: &Path, trial: &str, tail: Option<usize>) -> std::io::Result<VecDeque<String>> {
    let text = archive::read_log(folder, trial)?;
    let mut lines: VecDeque<String> = text.lines().map(str::to_owned).collect();
    lines.drain(..lines.len().saturating_sub(tail.unwrap_or(usize::MAX)));
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubectl_does() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("45"), Ok(Duration::from_secs(45)));
        for wrong in ["", "h", "5x", "10 m", "-5s", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
