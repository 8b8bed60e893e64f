//! `:experiment watch`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use katlab_lab::katib::obstacles::Obstacle;
use katlab_lab::katib::trials::{TrialRow, TrialTable};
use katlab_lab::katib::watch::{self, Snapshot, Update};

use super::{assignment, counts, goal, stacked};
use crate::event::Bundle;
use crate::magics::analysis::{is_kept, or_kept};
use crate::magics::kubernetes::{NamespaceArgs, elsewhere, jobs::took, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::counted;
use crate::render::key_values::Details;
use crate::render::live::Live;
use crate::render::progress::bar;
use crate::render::status::Status;
use crate::render::table::Cell;

/// How many trials are shown; there may be thousands.
const ROWS: usize = 12;
/// How often durations move on when nothing else does.
const TICK: Duration = Duration::from_secs(1);

/// Watch an experiment in one display that follows it to its end
///
/// Interrupting the cell stops the watching, not the experiment. What the trials print and report is kept
/// meanwhile, and until it ends or the kernel does: `:logs TRIAL` and `:trials --deleted` find it when pods
/// and experiment are gone.
#[derive(Debug, Parser)]
pub struct Watch {
    /// The experiment
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Watch {
    const NAME: &'static str = "experiment watch";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let cluster = self.place.cluster(ctx).await?;
        let watch = watch::open(&cluster, &cluster.namespace, &self.name);
        let mut watch = or_kept(ctx, &cluster, &self.name, watch).await?;
        ctx.keep(&cluster, &self.name);
        let place = elsewhere(ctx, &cluster.namespace).await;
        let picture = |snapshot: &Snapshot, note: Option<&str>| {
            picture(snapshot, jiff::Timestamp::now(), note, &place)
        };
        let mut display: Option<Live> = None;
        let mut last: Option<Snapshot> = None;
        let mut trouble: Option<String> = None;
        let mut ticks = tokio::time::interval(TICK);
        loop {
            let update = tokio::select! {
                biased;
                () = ctx.cancel.cancelled() => {
                    if let (Some(display), Some(last)) = (&display, &last) {
                        display.finish(picture(last, Some("no longer watched; the experiment goes on")));
                    }
                    return Err(MagicError::interrupted().hint(format!(
                        "the experiment goes on; :experiment watch {}{place} takes it up again", self.name)));
                }
                update = watch.next() => Some(update?),
                _ = ticks.tick() => None,
            };
            match update {
                Some(Update::Changed(snapshot)) => {
                    trouble = None;
                    last = Some(*snapshot);
                }
                Some(Update::Trouble(what)) => {
                    trouble = Some(format!("the cluster does not answer, trying again: {what}"))
                }
                Some(Update::Gone) => {
                    if let (Some(display), Some(last)) = (&display, &last) {
                        display.finish(picture(last, Some("the experiment was deleted")));
                    }
                    let error = MagicError::new(format!(
                        "experiment {} was deleted while it was watched",
                        self.name
                    ));
                    return Err(match is_kept(ctx, &cluster, &self.name) {
                        true => error.hint(format!(
                            "`:trials {}{place} --deleted` shows what is kept of it",
                            self.name
                        )),
                        false => error,
                    });
                }
                None => {}
            }
            let Some(snapshot) = &last else { continue };
            let shown = picture(snapshot, trouble.as_deref());
            let ended = snapshot.experiment.is_completed();
            match &display {
                Some(display) if ended => display.finish(shown),
                Some(display) => display.update(shown),
                None => display = Some(Live::start(&ctx.output, shown)),
            }
            if ended {
                ctx.kept_to_the_end(&cluster, &self.name);
                return Ok(());
            }
        }
    }

    fn explain(&self) -> Vec<String> {
        let place = self.place.kubectl();
        let name = quoted(&self.name);
        vec![
            format!("kubectl get experiment {name}{place} --watch"),
            format!("kubectl get trials{place} -l katib.kubeflow.org/experiment={name} --watch"),
        ]
    }
}

/// How it stands: bar, counts, best so far, and the trials that matter most now.
/// `place` is what a magic needs to look in the experiment's namespace: ` -n team-b`, or nothing.
fn picture(snapshot: &Snapshot, now: jiff::Timestamp, note: Option<&str>, place: &str) -> Bundle {
    let summary = &snapshot.experiment;
    let ended = summary.is_completed();
    let mut details = Details::new(
        Cell::text(format!("experiment {}: {}", summary.name, summary.status))
            .with_status(Status::of(&summary.status)),
    );
    let done = summary.counts.ended();
    match summary.max_trials {
        Some(max) => details.row(
            "Progress",
            format!("{} {done}/{max}", bar(done.into(), max.into())),
        ),
        None => details.row("Progress", format!("{done} ended; there is no limit")),
    };
    details.row("Trials", counts(&summary.counts));
    match (&summary.best, summary.best_value()) {
        (Some(best), Some(value)) => {
            let value = Cell::number(value);
            let text = format!(
                "{} {} with {}",
                summary.objective.metric,
                value.text,
                assignment(&best.parameters)
            );
            details.row(
                if ended { "Best" } else { "Best so far" },
                Cell { text, ..value },
            );
        }
        _ => {
            details.row(
                if ended { "Best" } else { "Best so far" },
                if ended { "none" } else { "none yet" },
            );
        }
    }
    for line in held_up(&snapshot.trials.rows, place) {
        details.row("Held up", Cell::text(line).with_status(Status::Warn));
    }
    let reached = match summary.goal_reached() {
        Some(true) => " (reached)",
        Some(false) if ended => " (not reached)",
        _ => "",
    };
    details.row("Goal", format!("{}{reached}", goal(&summary.objective)));
    details.row(
        "Duration",
        took(
            summary.started,
            summary.ended,
            if ended {
                summary.started.unwrap_or(now)
            } else {
                now
            },
        ),
    );
    if ended && !summary.message.is_empty() {
        details.row("Why it ended", summary.message.clone());
    }
    let still = snapshot
        .trials
        .rows
        .iter()
        .filter(|row| !row.is_ended())
        .count();
    if ended && still > 0 {
        details.row(
            "Still running",
            format!("{}, which Katib lets end", counted(still, "trial")),
        );
    }
    if let Some(note) = note {
        details.row("Note", Cell::text(note).with_status(Status::Warn));
    }
    if snapshot.trials.rows.is_empty() {
        return details.bundle();
    }
    let (shown, hidden) = chosen(&snapshot.trials);
    let mut table = super::trials::Listing::new(&shown, now).whole();
    if hidden > 0 {
        table = table.footer(format!("{hidden} more: :trials {}{place}", summary.name));
    }
    let narrow: Vec<usize> = (0..table.columns.len())
        .filter(|at| !table.columns[*at].wide)
        .collect();
    table.select(&narrow);
    stacked([details.bundle(), table.bundle()])
}

/// What keeps trials from their work, a line for each cause. Trials of one experiment share their
/// template, so there are few; a failed pull goes by two names in turn, and counts as one.
pub(super) fn held_up(rows: &[TrialRow], place: &str) -> Vec<String> {
    let mut causes: BTreeMap<&str, Vec<(&str, &Obstacle)>> = BTreeMap::new();
    for row in rows {
        if let Some(obstacle) = &row.obstacle {
            let cause = obstacle.image.as_ref().unwrap_or(&obstacle.reason);
            causes.entry(cause).or_default().push((&row.name, obstacle));
        }
    }
    let lines = causes.values().filter_map(|held| {
        let (trial, obstacle) = held.first()?;
        let what = match (obstacle.is_roomless(), obstacle.failing, held.len()) {
            (true, _, 1) => "waits for room",
            (true, ..) => "wait for room",
            (_, true, 1) => "fails and is tried again",
            (_, true, _) => "fail and are tried again",
            _ => "cannot start",
        };
        Some(format!(
            "{} {what}: {}; `:why {trial}{place}`",
            counted(held.len(), "trial"),
            obstacle.told()
        ))
    });
    lines.collect()
}

/// The best trial, those under way, then the youngest: as many as fit, in the order they were made.
fn chosen(all: &TrialTable) -> (TrialTable, usize) {
    let mut order: Vec<usize> = (0..all.rows.len()).collect();
    order.sort_by_key(|at| {
        let row = &all.rows[*at];
        (!row.best, row.is_ended(), std::cmp::Reverse(*at))
    });
    let hidden = order.len().saturating_sub(ROWS);
    order.truncate(ROWS);
    order.sort_unstable();
    let rows = order.into_iter().map(|at| all.rows[at].clone()).collect();
    let shown = TrialTable {
        experiment: None,
        parameters: all.parameters.clone(),
        metrics: all.metrics.clone(),
        objective: all.objective.clone(),
        rows,
    };
    (shown, hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_held_up_by_one_cause_are_one_line() {
        let trial = |name: &str, held: Option<(&str, Option<&str>)>| {
            let trial = serde_json::json!({"metadata": {"name": name}, "spec": {}});
            let trial = serde_json::from_value(trial).unwrap();
            TrialRow {
                obstacle: held.map(|(reason, image)| Obstacle {
                    namespace: String::new(),
                    trial: name.to_owned(),
                    reason: reason.to_owned(),
                    message: "no CPU is left".to_owned(),
                    image: image.map(str::to_owned),
                    failing: reason == "Error",
                }),
                ..TrialRow::of(&trial, &[])
            }
        };
        let rows = [
            trial("a", Some(("ErrImagePull", Some("i:1")))),
            trial("b", None),
            trial("c", Some(("Unschedulable", None))),
            trial("d", Some(("ImagePullBackOff", Some("i:1")))),
            trial("e", Some(("Error", None))),
        ];
        assert_eq!(
            held_up(&rows, " -n b"),
            [
                "1 trial fails and is tried again: Error (no CPU is left); `:why e -n b`",
                "1 trial waits for room: Unschedulable (no CPU is left); `:why c -n b`",
                "2 trials cannot start: ErrImagePull (image i:1); `:why a -n b`",
            ]
        );
        assert!(held_up(&rows[1..2], "").is_empty());
    }
}
