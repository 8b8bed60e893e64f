//! The suggestion controller: checks the algorithm's settings, then gives as many assignments
//! as are asked for.
//!
//! An algorithm of the user's own is asked in its pod ([`algorithm`]). One of the sandbox's is a pure function of the space, its settings, what was given before and what
//! came of it, so nothing is forgotten when this process is stopped; and names and assignments
//! are in the Suggestion's status before any trial is made from them.
//!
//! # Deliberate differences from Katib
//!
//! - DeploymentReady becomes True at once, together with Running and the first assignments;
//!   there is no Deployment that could be not ready (but see [`algorithm`]).
//! - An algorithm that has nothing more to offer ends the Suggestion (Succeeded, reason
//!   `SuggestionEndReached`), and with it the Experiment; Katib's stalls with errors.
//! - Rules of early stopping ([`katlab_suggestion::medianstop`]) are made in this process too, from
//!   the observation log, and go on every assignment of a batch.
//! - Histories are those of one Experiment; Katib mixes equally named ones of different
//!   namespaces.

use std::collections::{HashMap, HashSet};
use std::panic::resume_unwind;
use std::sync::Arc;

use katlab_katib::algorithm::validate_early_stopping;
use katlab_katib::condition::{Conditioned, FALSE, TRUE, set_condition};
use katlab_katib::name::trial_name;
use katlab_katib::names::condition::{CREATED, DEPLOYMENT_READY, FAILED, RUNNING, SUCCEEDED};
use katlab_katib::names::{Reason, suggestion as reasons};
use katlab_katib::summary::{TrialState, objective_value};
use katlab_katib::types::{
    AlgorithmSpec, EarlyStoppingRule, Experiment, ExperimentSpec, Setting, Suggestion,
    SuggestionStatus, Trial, TrialAssignment,
};
use katlab_suggestion::{
    Assignments, Given, Outcome, Request, SuggestionError, seed_of, suggest, validate_settings,
};
use tokio::task::spawn_blocking;

use super::algorithm::{self, Place};
use super::cache::Key;
use super::context::{Context, now};
use super::error::Result;
use super::objects::Kind;
use super::queue::Again;
use super::stopping::rules_now;

/// Reason of the Succeeded condition when there is nothing more to suggest.
const END_REACHED: &str = "SuggestionEndReached";

/// Brings one Suggestion further; tells when to look again.
pub async fn reconcile(context: &Context, key: &Key) -> Result<Again> {
    let Some(mut suggestion) = context.suggestions.get(key) else {
        context.curves.forget(key);
        return Ok(None);
    };
    if suggestion.is_deleting() || suggestion.is_completed() {
        context.curves.forget(key);
        algorithm::close(context, &suggestion).await?;
        return Ok(None);
    }
    if !suggestion.is_created() {
        let now = now();
        let mut status = suggestion.status.clone().unwrap_or_default();
        status.start_time.get_or_insert_with(|| now.clone());
        set(&mut status, CREATED, reasons::CREATED, &now);
        suggestion = store(context, &suggestion, &status).await?;
    }
    if suggestion.is_running() && missing(&suggestion) == 0 {
        return Ok(None);
    }
    // An orphan has nobody to suggest for. A Suggestion is made by a controller that holds
    // its Experiment in the same cache, so this is no race.
    let Some(experiment) = context.experiment_of(&suggestion) else {
        return Ok(None);
    };
    let mut status = suggestion.status.clone().unwrap_or_default();
    let spec = effective_spec(&experiment, &suggestion, &status);
    let trials = context.trials_of(&experiment);
    let rules = rules_now(context, key, &spec, &trials).await?;
    if let Place::Pod = algorithm::place(context, &suggestion).await? {
        let own = algorithm::advance(context, &suggestion, &spec, &trials, &rules, &mut status);
        let given = own.await;
        if suggestion.status.as_ref() != Some(&status) {
            store(context, &suggestion, &status).await?;
        }
        return given;
    }
    // A model of many trials takes a while to fit: not on a thread that answers requests.
    let model = suggestion.clone();
    let advanced = spawn_blocking(move || {
        let given = advance(&model, &spec, &trials, &rules, &mut status);
        (given, status)
    });
    let (given, status) = match advanced.await {
        Ok(advanced) => advanced,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // This process is on its way out.
            Err(_) => return Ok(None),
        },
    };
    if suggestion.status.as_ref() != Some(&status) {
        store(context, &suggestion, &status).await?;
    }
    given.map(|()| None)
}

async fn store(
    context: &Context,
    suggestion: &Suggestion,
    status: &SuggestionStatus,
) -> Result<Arc<Suggestion>> {
    let stored = context.cluster.write_status(suggestion, status).await?;
    Ok(context.suggestions.learn(stored))
}

fn set(status: &mut SuggestionStatus, kind: &str, reason: Reason, now: &str) {
    set_condition(
        &mut status.conditions,
        kind,
        TRUE,
        reason.reason,
        reason.message,
        now,
    );
}

/// The Experiment's spec with the algorithm as the Suggestion has it, and the settings the
/// algorithm returned laid over its own.
fn effective_spec(
    experiment: &Experiment,
    suggestion: &Suggestion,
    status: &SuggestionStatus,
) -> ExperimentSpec {
    let mut spec = experiment.spec.clone();
    if suggestion.spec.algorithm.is_some() {
        spec.algorithm = suggestion.spec.algorithm.clone();
    }
    if let Some(AlgorithmSpec {
        algorithm_settings, ..
    }) = &mut spec.algorithm
    {
        for returned in &status.algorithm_settings {
            let own = algorithm_settings
                .iter_mut()
                .find(|own| own.name == returned.name);
            match own {
                Some(Setting { value, .. }) => value.clone_from(&returned.value),
                None => algorithm_settings.push(returned.clone()),
            }
        }
    }
    spec
}

/// How many assignments are asked for beyond those given.
pub(super) fn missing(suggestion: &Suggestion) -> usize {
    let given = suggestion
        .status
        .as_ref()
        .map_or(0, |status| status.suggestion_count);
    usize::try_from(suggestion.spec.requests.saturating_sub(given)).unwrap_or(0)
}

/// Checks what has not been checked and gives what has been asked for. The status holds what
/// was achieved even when this fails.
fn advance(
    suggestion: &Suggestion,
    spec: &ExperimentSpec,
    trials: &[Arc<Trial>],
    rules: &[EarlyStoppingRule],
    status: &mut SuggestionStatus,
) -> Result<()> {
    let now = now();
    set(status, DEPLOYMENT_READY, reasons::DEPLOYMENT_READY, &now);
    if !suggestion.is_running() {
        if let Some(error) = refusal_of(spec) {
            let message = format!("Validation failed: {error}");
            let reason = reasons::FAILED.reason;
            set_condition(&mut status.conditions, FAILED, TRUE, reason, &message, &now);
            return Ok(());
        }
        set(status, RUNNING, reasons::RUNNING, &now);
    }
    let wanted = missing(suggestion);
    if wanted == 0 {
        return Ok(());
    }
    match next(suggestion, spec, trials, status, wanted) {
        Ok(assignments) => {
            let assignments = assignments.into_iter().map(|values| TrialAssignment {
                parameter_assignments: values,
                ..TrialAssignment::default()
            });
            append(suggestion, status, assignments, rules);
            Ok(())
        }
        Err(error) if error.is_exhausted() => {
            let conditions = &mut status.conditions;
            let (running, ready) = (reasons::END_NOT_RUNNING, reasons::END_NOT_READY);
            set_condition(
                conditions,
                RUNNING,
                FALSE,
                running.reason,
                running.message,
                &now,
            );
            set_condition(
                conditions,
                DEPLOYMENT_READY,
                FALSE,
                ready.reason,
                ready.message,
                &now,
            );
            set_condition(
                conditions,
                SUCCEEDED,
                TRUE,
                END_REACHED,
                &error.to_string(),
                &now,
            );
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Why the search cannot be made, in the words of the service that says so.
fn refusal_of(spec: &ExperimentSpec) -> Option<String> {
    if let Err(error) = validate_settings(spec) {
        return Some(format!("ValidateAlgorithmSettings Error: {error}"));
    }
    let error = validate_early_stopping(spec).err()?;
    Some(format!("ValidateEarlyStoppingSettings Error: {error}"))
}

fn next(
    suggestion: &Suggestion,
    spec: &ExperimentSpec,
    trials: &[Arc<Trial>],
    status: &SuggestionStatus,
    count: usize,
) -> std::result::Result<Vec<Assignments>, SuggestionError> {
    let made: HashMap<&str, &Trial> = trials
        .iter()
        .map(|trial| (trial.name(), trial.as_ref()))
        .collect();
    let history: Vec<Given> = status
        .suggestions
        .iter()
        .map(|given| Given {
            assignments: given.parameter_assignments.clone(),
            outcome: made
                .get(given.name.as_str())
                .map_or(Outcome::Open, |trial| outcome(trial)),
        })
        .collect();
    let objective = spec.objective.clone().unwrap_or_default().objective_type;
    let algorithm = spec.algorithm.clone().unwrap_or_default();
    suggest(&Request {
        algorithm: &algorithm,
        parameters: &spec.parameters,
        objective: &objective,
        history: &history,
        count,
        max_trial_count: spec.max_trial_count,
        seed: seed_of(suggestion.uid()),
    })
}

/// What the search learns from a trial. What one that was cut short had reached counts, as
/// Katib has it.
fn outcome(trial: &Trial) -> Outcome {
    match TrialState::of(trial) {
        TrialState::Running | TrialState::Pending => Outcome::Open,
        TrialState::Succeeded | TrialState::EarlyStopped => {
            objective_value(trial).map_or(Outcome::Failed, Outcome::Measured)
        }
        TrialState::Killed | TrialState::Failed | TrialState::MetricsUnavailable => Outcome::Failed,
    }
}

/// Notes the assignments, each with a name if it has none yet.
pub(super) fn append(
    suggestion: &Suggestion,
    status: &mut SuggestionStatus,
    assignments: impl IntoIterator<Item = TrialAssignment>,
    rules: &[EarlyStoppingRule],
) {
    let assignments: Vec<TrialAssignment> = assignments.into_iter().collect();
    let mut taken: HashSet<String> = status
        .suggestions
        .iter()
        .chain(&assignments)
        .map(|given| given.name.clone())
        .collect();
    for mut assignment in assignments {
        while assignment.name.is_empty() {
            let name = trial_name(suggestion.name(), rand::random::<u64>);
            if taken.insert(name.clone()) {
                assignment.name = name;
            }
        }
        assignment.early_stopping_rules = rules.to_vec();
        status.suggestions.push(assignment);
    }
    status.suggestion_count = i32::try_from(status.suggestions.len()).unwrap_or(i32::MAX);
}

#[cfg(test)]
mod tests;
