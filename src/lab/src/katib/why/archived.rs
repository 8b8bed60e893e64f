//! Why an experiment or a trial did not go as hoped, told from what was written down of it: its Job,
//! its pods and their events are gone.

use std::path::Path;

use katlab_katib::types::{Experiment, Trial};

use super::experiment::{completed, trouble, unhappy};
use super::trial::{READ, conclude_trial};
use super::{Diagnosis, Mood};
use crate::katib::archive;
use crate::katib::experiments::Summary;
use crate::katib::trials::{TrialRow, TrialTable};

/// Explains an archived experiment, or one trial of it. `folder` holds the logs; `from` is what
/// the magics need to read it, with a blank before: ` --from DIR`.
pub fn explain_archived(
    experiment: &Experiment,
    trials: &[Trial],
    trial: Option<&Trial>,
    folder: &Path,
    from: &str,
) -> Diagnosis {
    match trial {
        Some(trial) => of_trial(trial, folder, from),
        None => of_experiment(experiment, trials, folder, from),
    }
}

fn of_trial(trial: &Trial, folder: &Path, from: &str) -> Diagnosis {
    let row = TrialRow::of(trial, &[]);
    let mut found = Diagnosis::of_trial(&row);
    if row.is_ended() {
        conclude_trial(&mut found, trial, &row, None, None, None, &[], from);
    } else {
        found.conclude(Mood::Waiting, "it was under way when this was written down");
    }
    if found.mood == Mood::Trouble {
        // Whoever made the export may have named a trial so that its log lies elsewhere.
        let name = Path::new(&row.name).file_name().unwrap_or_default();
        let log = std::fs::read(archive::log_file(folder, &name.to_string_lossy()));
        let log = log.unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let mut lines: Vec<String> = log
            .lines()
            .rev()
            .take(READ as usize)
            .map(str::to_owned)
            .collect();
        lines.reverse();
        if !lines.is_empty() {
            let whose = format!("trial {}", row.name);
            found.read_log(trial, &row.status, (whose, &lines), from);
        }
    }
    found
}

fn of_experiment(
    experiment: &Experiment,
    trials: &[Trial],
    folder: &Path,
    from: &str,
) -> Diagnosis {
    let summary = Summary::of(experiment);
    let table = TrialTable::of(Some(summary.clone()), trials);
    let mut found = Diagnosis::of_experiment(&summary);
    let unhappy = unhappy(&table);
    if summary.is_failed() || !unhappy.is_empty() {
        let first = unhappy
            .first()
            .and_then(|row| trials.iter().find(|one| one.metadata.name() == row.name));
        let inner = first.map(|trial| of_trial(trial, folder, from));
        trouble(&mut found, &summary, &table, &unhappy, inner, from);
    } else if summary.is_completed() {
        completed(&mut found, &summary);
    } else {
        found.conclude(
            Mood::Waiting,
            format!(
                "it was under way when this was written down: {} of its trials had ended",
                summary.counts.ended()
            ),
        );
    }
    found
}
