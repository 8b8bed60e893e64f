//! Why an experiment or a trial did not go as hoped, told from what was written down of it: its Job,
//! its pods and their events are gone.

use std::collections::BTreeMap;
use std::path::Path;

use katlab_katib::types::{Experiment, Trial};

use super::experiment::{completed, trouble, unhappy};
use super::seen::Seen;
use super::trial::{READ, conclude_trial};
use super::{Diagnosis, LOOKED_AT, Mood};
use crate::katib::archive::{self, Work};
use crate::katib::evidence::Evidence;
use crate::katib::experiments::Summary;
use crate::katib::trials::{TrialRow, TrialTable};

/// An experiment that was written down.
#[derive(Clone, Copy)]
pub struct Archived<'a> {
    /// The experiment.
    pub experiment: &'a Experiment,
    /// Its trials.
    pub trials: &'a [Trial],
    /// How the trials' Jobs went, by trial.
    pub work: &'a BTreeMap<String, Work>,
    /// What is known of their pods.
    pub evidence: &'a Evidence,
    /// The folder with the logs.
    pub folder: &'a Path,
    /// What the magics need to read it, with a blank before: ` --from DIR`.
    pub from: &'a str,
    /// What they need to do something in its namespace: ` -n team-b`, or nothing.
    pub place: &'a str,
}

/// Explains an archived experiment, or one trial of it.
pub fn explain_archived(archived: &Archived<'_>, trial: Option<&Trial>) -> Diagnosis {
    match trial {
        Some(trial) => of_trial(archived, trial),
        None => of_experiment(archived),
    }
}

fn of_trial(archived: &Archived<'_>, trial: &Trial) -> Diagnosis {
    let row = TrialRow::of(trial, &[]);
    let mut found = Diagnosis::of_trial(&row);
    let work = archived.work.get(&row.name);
    let seen = Seen::archived(&row.name, work, archived.evidence);
    seen.facts(&mut found);
    let reach = (archived.place, archived.from);
    conclude_trial(&mut found, trial, &row, &seen, reach);
    if !row.is_ended() {
        let so_far = match found.mood {
            Mood::Trouble => format!(": {}", found.verdict),
            Mood::Well | Mood::Waiting => String::new(),
        };
        found.verdict = format!("it was under way when this was written down{so_far}");
    }
    if found.mood == Mood::Trouble {
        let log = archive::read_log(archived.folder, &row.name).unwrap_or_default();
        let mut lines: Vec<String> = log
            .lines()
            .rev()
            .take(READ as usize)
            .map(str::to_owned)
            .collect();
        lines.reverse();
        if !lines.is_empty() {
            let whose = format!("trial {}", row.name);
            found.read_log(trial, &row.status, (whose, &lines), archived.from);
        }
    }
    found
}

fn of_experiment(archived: &Archived<'_>) -> Diagnosis {
    let Archived { trials, from, .. } = *archived;
    let summary = Summary::of(archived.experiment);
    let table = TrialTable::of(Some(summary.clone()), trials);
    let mut found = Diagnosis::of_experiment(&summary);
    let unhappy = unhappy(&table);
    if summary.is_failed() || !unhappy.is_empty() {
        let first = unhappy
            .first()
            .and_then(|row| trials.iter().find(|one| one.metadata.name() == row.name));
        let inner = first.map(|trial| of_trial(archived, trial));
        trouble(&mut found, &summary, &table, &unhappy, inner, from);
        return found;
    }
    if summary.is_completed() {
        completed(&mut found, &summary);
        return found;
    }
    // The first that has trouble explains the rest, as of one that is there.
    let open = table.rows.iter().filter(|row| !row.is_ended());
    for row in open.take(LOOKED_AT) {
        let trial = trials.iter().find(|one| one.metadata.name() == row.name);
        if let Some(mut inner) = trial.map(|trial| of_trial(archived, trial))
            && inner.mood == Mood::Trouble
        {
            inner.verdict = format!("trial {}: {}", row.name, inner.verdict);
            return found.explained_by(inner);
        }
    }
    found.conclude(
        Mood::Waiting,
        format!(
            "it was under way when this was written down: {} of its trials had ended",
            summary.counts.ended()
        ),
    );
    found
}
