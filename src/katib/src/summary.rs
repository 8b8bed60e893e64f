//! What an Experiment's status says about its trials, and what follows from it.
//!
//! Pure functions: no clock, no cluster. Times come in as the strings they are stored as.
//!
//! # Deliberate differences from Katib
//!
//! - A value that is not a number (`nan`, empty, a word) never becomes the best one and never
//!   reaches a goal; Katib lets it win outright.
//! - A grid that is used up ends the search ([`end_of_suggestions`]); Katib's stalls.
//! - Ties are won by the trial made first, and lists are in that order; Katib's order is that
//!   of its cache.
//! - Fewer trials wanted at once ([`Balance::Remove`]) counts trials under way only: finished
//!   ones keep their results.

use crate::condition::{Conditioned, TRUE, has_condition, lower_condition, set_condition};
use crate::metrics;
use crate::names::condition::{
    CREATED, EARLY_STOPPED, FAILED, KILLED, METRICS_UNAVAILABLE, RESTARTING, RUNNING, SUCCEEDED,
};
use crate::names::{Reason, experiment};
use crate::types::{
    Condition, Experiment, ExperimentSpec, ExperimentStatus, ObjectiveSpec, ObjectiveType, Trial,
};
use crate::validation::is_restartable;

/// The group a trial is counted in, in the order in which Katib looks for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrialState {
    /// Somebody killed it.
    Killed,
    /// Its job failed.
    Failed,
    /// Its job succeeded and the objective was reported.
    Succeeded,
    /// It was cut short.
    EarlyStopped,
    /// Its job object exists.
    Running,
    /// Its job succeeded, the objective was not reported.
    MetricsUnavailable,
    /// Nothing of the above yet.
    Pending,
}

impl TrialState {
    /// The first group whose condition holds, in Katib's order.
    pub fn of(trial: &Trial) -> Self {
        // All trials of an Experiment are sorted whenever one changes: each looks once at what it has.
        let held = trial
            .conditions()
            .iter()
            .filter(|condition| condition.status == TRUE);
        let groups = held.filter_map(|condition| match condition.kind.as_str() {
            KILLED => Some(Self::Killed),
            FAILED => Some(Self::Failed),
            SUCCEEDED => Some(Self::Succeeded),
            EARLY_STOPPED => Some(Self::EarlyStopped),
            RUNNING => Some(Self::Running),
            METRICS_UNAVAILABLE => Some(Self::MetricsUnavailable),
            _ => None,
        });
        groups.min().unwrap_or(Self::Pending)
    }

    /// Whether the trial takes one of the places of `parallelTrialCount`.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Pending)
    }
}

/// The objective value of a trial, by its own objective's strategy.
pub fn objective_value(trial: &Trial) -> Option<f64> {
    let objective = trial.spec.objective.as_ref()?;
    let observation = trial.status.as_ref()?.observation.as_ref()?;
    metrics::objective_value(objective, observation)
}

/// Whether `a` is a better objective value than `b`.
pub fn is_better(objective: &ObjectiveSpec, a: f64, b: f64) -> bool {
    match objective.objective_type {
        ObjectiveType::Minimize => a < b,
        ObjectiveType::Maximize => a > b,
        _ => false,
    }
}

/// The best trial and its objective value; the first seen wins ties.
pub fn best_trial<'a>(
    objective: &ObjectiveSpec,
    trials: impl IntoIterator<Item = &'a Trial>,
) -> Option<(&'a Trial, f64)> {
    let mut best: Option<(&Trial, f64)> = None;
    for trial in trials {
        let Some(value) = objective_value(trial) else {
            continue;
        };
        if best.is_none_or(|(_, so_far)| is_better(objective, value, so_far)) {
            best = Some((trial, value));
        }
    }
    best
}

/// Whether a value is as good as the goal.
pub fn reaches_goal(objective: &ObjectiveSpec, value: f64) -> bool {
    match (objective.goal, &objective.objective_type) {
        (Some(goal), ObjectiveType::Minimize) => value <= goal,
        (Some(goal), ObjectiveType::Maximize) => value >= goal,
        _ => false,
    }
}

/// What a count of the trials found beyond what the status holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The best trial is as good as the goal.
    pub goal_reached: bool,
}

/// Writes lists, counters and the best trial into a status.
pub fn count_trials<'a, I>(
    status: &mut ExperimentStatus,
    spec: &ExperimentSpec,
    trials: I,
) -> Findings
where
    I: IntoIterator<Item = &'a Trial>,
    I::IntoIter: Clone,
{
    let trials = trials.into_iter();
    let mut lists: [Vec<String>; 7] = Default::default();
    for trial in trials.clone() {
        let list = match TrialState::of(trial) {
            TrialState::Killed => 0,
            TrialState::Failed => 1,
            TrialState::Succeeded => 2,
            TrialState::EarlyStopped => 3,
            TrialState::Running => 4,
            TrialState::MetricsUnavailable => 5,
            TrialState::Pending => 6,
        };
        lists[list].push(trial.metadata.name().to_owned());
    }
    let count = |list: &Vec<String>| i32::try_from(list.len()).unwrap_or(i32::MAX);
    let [
        killed,
        failed,
        succeeded,
        stopped,
        running,
        unavailable,
        pending,
    ] = lists;
    status.trials_killed = count(&killed);
    status.trials_failed = count(&failed);
    status.trials_succeeded = count(&succeeded);
    status.trials_early_stopped = count(&stopped);
    status.trials_running = count(&running);
    status.trial_metrics_unavailable = count(&unavailable);
    status.trials_pending = count(&pending);
    status.trials = status.trials_killed
        + status.trials_failed
        + status.trials_succeeded
        + status.trials_early_stopped
        + status.trials_running
        + status.trial_metrics_unavailable
        + status.trials_pending;
    status.killed_trial_list = killed;
    status.failed_trial_list = failed;
    status.succeeded_trial_list = succeeded;
    status.early_stopped_trial_list = stopped;
    status.running_trial_list = running;
    status.metrics_unavailable_trial_list = unavailable;
    status.pending_trial_list = pending;

    let Some(objective) = &spec.objective else {
        return Findings::default();
    };
    let Some((best, value)) = best_trial(objective, trials) else {
        return Findings::default();
    };
    let optimal = &mut status.current_optimal_trial;
    optimal.best_trial_name = best.metadata.name().to_owned();
    optimal.parameter_assignments = best.spec.parameter_assignments.clone();
    optimal.observation = best
        .status
        .as_ref()
        .and_then(|status| status.observation.clone())
        .unwrap_or_default();
    Findings {
        goal_reached: reaches_goal(objective, value),
    }
}

/// Marks a new Experiment: start time, an explicit null for the end, condition Created.
pub fn mark_created(status: &mut ExperimentStatus, now: &str) {
    if status.start_time.is_none() {
        status.start_time = Some(now.to_owned());
    }
    status.completion_time = Some(None);
    set(&mut status.conditions, CREATED, experiment::CREATED, now);
}

/// Whether the Experiment has ended.
pub fn is_completed(conditions: &[Condition]) -> bool {
    has_condition(conditions, SUCCEEDED) || has_condition(conditions, FAILED)
}

/// Sets the condition that follows from the counters: goal, then failures, then the number of
/// trials, else Running. Only for an Experiment that has trials and has not ended.
pub fn judge(status: &mut ExperimentStatus, spec: &ExperimentSpec, findings: Findings, now: &str) {
    if status.completion_time == Some(None) {
        // Only the very first status carries the explicit null.
        status.completion_time = None;
    }
    let failed = status.trials_failed + status.trial_metrics_unavailable;
    let done = done_trials(status) + status.trial_metrics_unavailable;
    if findings.goal_reached {
        finish(status, SUCCEEDED, experiment::GOAL_REACHED, now);
    } else if spec
        .max_failed_trial_count
        .is_some_and(|most| failed != 0 && failed >= most)
    {
        finish(status, FAILED, experiment::MAX_FAILED, now);
    } else if spec.max_trial_count.is_some_and(|most| done >= most) {
        finish(status, SUCCEEDED, experiment::MAX_TRIALS_REACHED, now);
    } else {
        set(&mut status.conditions, RUNNING, experiment::RUNNING, now);
    }
}

/// Ends the Experiment because the algorithm has nothing more to offer. Katib has the words
/// for it and never says them: its search stalls.
pub fn end_of_suggestions(status: &mut ExperimentStatus, now: &str) {
    finish(status, SUCCEEDED, experiment::SUGGESTION_END, now);
}

/// Ends the Experiment because its Suggestion failed. Katib writes no completion time here.
pub fn fail_with_suggestion(status: &mut ExperimentStatus, now: &str) {
    status.completion_time = None;
    lower_condition(&mut status.conditions, RUNNING, now);
    set(
        &mut status.conditions,
        FAILED,
        experiment::SUGGESTION_FAILED,
        now,
    );
}

fn finish(status: &mut ExperimentStatus, kind: &str, reason: Reason, now: &str) {
    lower_condition(&mut status.conditions, RUNNING, now);
    set(&mut status.conditions, kind, reason, now);
    status.completion_time = Some(Some(now.to_owned()));
}

fn set(conditions: &mut Vec<Condition>, kind: &str, reason: Reason, now: &str) {
    set_condition(conditions, kind, TRUE, reason.reason, reason.message, now);
}

/// Whether an Experiment that has ended now wants more trials than it has, and may have them
/// ([`is_restartable`]). One without a limit does not want them: Katib would restart it for
/// ever.
pub fn wants_restart(experiment: &Experiment) -> bool {
    let trials = experiment.status.as_ref().map_or(0, |status| status.trials);
    is_restartable(experiment)
        && experiment
            .spec
            .max_trial_count
            .is_some_and(|wanted| wanted > trials)
}

/// Takes an ended Experiment up again. The old completion time stays until the next end.
pub fn mark_restarting(status: &mut ExperimentStatus, now: &str) {
    status
        .conditions
        .retain(|condition| condition.kind != SUCCEEDED && condition.kind != FAILED);
    set(
        &mut status.conditions,
        RESTARTING,
        experiment::RESTARTING,
        now,
    );
}

/// Trials that need no place any more and count against `maxTrialCount` when new ones are
/// planned. Those without metrics are not among them: they are made up for.
fn done_trials(status: &ExperimentStatus) -> i32 {
    status.trials_succeeded
        + status.trials_failed
        + status.trials_killed
        + status.trials_early_stopped
}

/// How the number of trials under way is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// As many are under way as wanted.
    Level,
    /// So many more are wanted.
    Add(i32),
    /// So many too many are under way.
    Remove(i32),
}

/// Compares the trials under way with those wanted.
pub fn balance(spec: &ExperimentSpec, status: &ExperimentStatus) -> Balance {
    let parallel = spec
        .parallel_trial_count
        .unwrap_or(crate::names::DEFAULT_PARALLEL);
    let active = status.trials_pending + status.trials_running;
    if active > parallel {
        return Balance::Remove(active - parallel);
    }
    let wanted = spec
        .max_trial_count
        .map_or(parallel, |most| (most - done_trials(status)).min(parallel));
    match (wanted - active).max(0) {
        0 => Balance::Level,
        add => Balance::Add(add),
    }
}

/// The number of assignments to ask for in all: one for every trial there is and one for
/// every trial to be added, less those that were cut short without a value.
pub fn requests<'a>(trials: impl IntoIterator<Item = &'a Trial>, add: i32) -> i32 {
    let counted = trials
        .into_iter()
        .filter(|trial| {
            TrialState::of(trial) != TrialState::EarlyStopped || objective_value(trial).is_some()
        })
        .count();
    i32::try_from(counted)
        .unwrap_or(i32::MAX)
        .saturating_add(add)
}

/// Whether a trial is part of the history an algorithm learns from.
pub fn is_history(trial: &Trial) -> bool {
    match TrialState::of(trial) {
        TrialState::MetricsUnavailable => false,
        TrialState::EarlyStopped => objective_value(trial).is_some(),
        _ => true,
    }
}

#[cfg(test)]
#[path = "summary/tests.rs"]
mod tests;
