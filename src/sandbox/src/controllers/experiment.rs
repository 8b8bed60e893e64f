//! The experiment controller: counts its trials, decides whether the search goes on, and
//! keeps as many trials under way as are wanted.
//!
//! # Deliberate differences from Katib
//!
//! - An Experiment that is being deleted makes nothing new, so a foreground delete of a
//!   running one ends.
//! - One without `maxTrialCount` that reached its goal stays Succeeded; Katib restarts it
//!   about once a second for ever.
//! - Lowering `parallelTrialCount` deletes the newest trials *under way*; Katib deletes the
//!   newest ones, finished ones and their results included. The Suggestion forgets them
//!   before they are deleted, so that none is made again.
//! - No more trials are made from old assignments than are wanted now.
//! - The end of the Suggestion is written by this controller together with its conditions
//!   Running and DeploymentReady, since no Deployment has to be awaited.

use std::collections::HashSet;
use std::sync::Arc;

use katlab_katib::condition::{
    Conditioned, FALSE, TRUE, has_condition, remove_condition, set_condition,
};
use katlab_katib::names::condition::{DEPLOYMENT_READY, FAILED, RUNNING, SUCCEEDED};
use katlab_katib::names::{FINALIZER_EXPERIMENT, LABEL_EXPERIMENT, Reason, suggestion as reasons};
use katlab_katib::summary::{self, Balance, TrialState};
use katlab_katib::types::{
    Condition, Experiment, ExperimentStatus, ObjectMeta, OwnerReference, ResumePolicy, Suggestion,
    SuggestionSpec, SuggestionStatus, Trial, TrialAssignment, TrialSpec,
};
use kube::api::PropagationPolicy;
use serde_json::json;

use super::cache::Key;
use super::context::{Context, now};
use super::error::Result;
use super::objects::Kind;
use super::template;

/// Brings one Experiment further.
pub async fn reconcile(context: &Context, key: &Key) -> Result<()> {
    let Some(experiment) = context.experiments.get(key) else {
        return Ok(());
    };
    if experiment.is_deleting() {
        context
            .cluster
            .remove_finalizer(experiment.as_ref(), FINALIZER_EXPERIMENT)
            .await?;
        return Ok(());
    }
    let experiment = admit(context, experiment).await?;
    if experiment.is_completed() {
        after_the_end(context, &experiment).await?;
        return Ok(());
    }
    let trials = context.trials_of(&experiment);
    let mut status = experiment.status.clone().unwrap_or_default();
    if !trials.is_empty() {
        let seen = trials.iter().map(AsRef::as_ref);
        let findings = summary::count_trials(&mut status, &experiment.spec, seen);
        summary::judge(&mut status, &experiment.spec, findings, &now());
    }
    let balanced = if summary::is_completed(&status.conditions) {
        Ok(())
    } else {
        balance(context, &experiment, &mut status, &trials).await
    };
    let experiment = store(context, &experiment, status).await?;
    balanced?;
    if experiment.is_completed() {
        end_suggestion(context, &experiment).await?;
    }
    Ok(())
}

/// Gives a new Experiment its finalizer and its first condition.
async fn admit(context: &Context, mut experiment: Arc<Experiment>) -> Result<Arc<Experiment>> {
    if experiment
        .finalizers()
        .iter()
        .all(|held| held != FINALIZER_EXPERIMENT)
    {
        let stored = context
            .cluster
            .add_finalizer(experiment.as_ref(), FINALIZER_EXPERIMENT)
            .await?;
        experiment = context.experiments.learn(stored);
    }
    if !experiment.is_created() {
        let mut status = experiment.status.clone().unwrap_or_default();
        summary::mark_created(&mut status, &now());
        experiment = store(context, &experiment, status).await?;
    }
    Ok(experiment)
}

/// Writes the status if it is another one; answers the Experiment as it is then.
async fn store(
    context: &Context,
    experiment: &Arc<Experiment>,
    status: ExperimentStatus,
) -> Result<Arc<Experiment>> {
    if experiment.status.as_ref() == Some(&status) {
        return Ok(experiment.clone());
    }
    let stored = context
        .cluster
        .write_status(experiment.as_ref(), &status)
        .await?;
    Ok(context.experiments.learn(stored))
}

/// An Experiment that has ended: trials that were still under way are counted as they end;
/// more trials may be wanted now; else the Suggestion ends too.
async fn after_the_end(context: &Context, experiment: &Arc<Experiment>) -> Result<()> {
    let mut status = experiment.status.clone().unwrap_or_default();
    if is_anything_active(&status) {
        let trials = context.trials_of(experiment);
        let seen = trials.iter().map(AsRef::as_ref);
        summary::count_trials(&mut status, &experiment.spec, seen);
    }
    let experiment = &store(context, experiment, status).await?;
    if !summary::wants_restart(experiment) {
        return end_suggestion(context, experiment).await;
    }
    // The Suggestion first: were we stopped in between, the Experiment would still want to
    // restart and come here again.
    if experiment.spec.resume_policy == ResumePolicy::FromVolume {
        restart_suggestion(context, experiment).await?;
    }
    let mut status = experiment.status.clone().unwrap_or_default();
    summary::mark_restarting(&mut status, &now());
    store(context, experiment, status).await?;
    Ok(())
}

fn set(conditions: &mut Vec<Condition>, kind: &str, status: &str, reason: Reason, now: &str) {
    set_condition(conditions, kind, status, reason.reason, reason.message, now);
}

/// Ends the Suggestion unless the policy keeps it running.
async fn end_suggestion(context: &Context, experiment: &Experiment) -> Result<()> {
    let reason = match experiment.spec.resume_policy {
        ResumePolicy::LongRunning => return Ok(()),
        ResumePolicy::FromVolume => reasons::SUCCEEDED_FROM_VOLUME,
        _ => reasons::SUCCEEDED_NEVER,
    };
    let Some(suggestion) = context.suggestion_of(experiment) else {
        return Ok(());
    };
    if suggestion.is_completed() || suggestion.is_deleting() {
        return Ok(());
    }
    let now = now();
    let mut status = suggestion.status.clone().unwrap_or_default();
    let conditions = &mut status.conditions;
    set(conditions, RUNNING, FALSE, reasons::END_NOT_RUNNING, &now);
    set(
        conditions,
        DEPLOYMENT_READY,
        FALSE,
        reasons::END_NOT_READY,
        &now,
    );
    set(conditions, SUCCEEDED, TRUE, reason, &now);
    store_suggestion(context, &suggestion, &status).await?;
    Ok(())
}

async fn restart_suggestion(context: &Context, experiment: &Experiment) -> Result<()> {
    let Some(suggestion) = context.suggestion_of(experiment) else {
        return Ok(());
    };
    let mut status = suggestion.status.clone().unwrap_or_default();
    if !remove_condition(&mut status.conditions, SUCCEEDED) {
        return Ok(());
    }
    set(
        &mut status.conditions,
        RUNNING,
        FALSE,
        reasons::RESTARTING,
        &now(),
    );
    store_suggestion(context, &suggestion, &status).await?;
    Ok(())
}

async fn store_suggestion(
    context: &Context,
    suggestion: &Suggestion,
    status: &SuggestionStatus,
) -> Result<Arc<Suggestion>> {
    let stored = context.cluster.write_status(suggestion, status).await?;
    Ok(context.suggestions.learn(stored))
}

/// Brings the number of trials under way nearer to the wanted one.
async fn balance(
    context: &Context,
    experiment: &Arc<Experiment>,
    status: &mut ExperimentStatus,
    trials: &[Arc<Trial>],
) -> Result<()> {
    match summary::balance(&experiment.spec, status) {
        Balance::Level => Ok(()),
        Balance::Remove(count) => remove_trials(context, experiment, trials, count).await,
        Balance::Add(count) => {
            let seen = trials.iter().map(AsRef::as_ref);
            let requests = summary::requests(seen, count);
            let Some(suggestion) = context.suggestion_of(experiment) else {
                return create_suggestion(context, experiment, requests).await;
            };
            if has_condition(conditions_of(&suggestion), FAILED) {
                summary::fail_with_suggestion(status, &now());
                return Ok(());
            }
            let made = add_trials(context, experiment, &suggestion, trials, count).await;
            if has_condition(conditions_of(&suggestion), SUCCEEDED) {
                // It has ended before us: the algorithm has nothing more to offer.
                if made.as_ref().is_ok_and(|made| *made == 0) && !is_anything_active(status) {
                    summary::end_of_suggestions(status, &now());
                }
                return made.map(|_| ());
            }
            if suggestion.spec.requests != requests {
                let patch = json!({"spec": {"requests": requests}});
                let stored = context
                    .cluster
                    .merge_anyway(suggestion.as_ref(), patch)
                    .await?;
                context.suggestions.learn(stored);
            }
            made.map(|_| ())
        }
    }
}

fn is_anything_active(status: &ExperimentStatus) -> bool {
    status.trials_running + status.trials_pending > 0
}

fn conditions_of(suggestion: &Suggestion) -> &[Condition] {
    suggestion
        .status
        .as_ref()
        .map_or(&[], |status| &status.conditions)
}

async fn create_suggestion(
    context: &Context,
    experiment: &Experiment,
    requests: i32,
) -> Result<()> {
    let mut metadata = ObjectMeta::named(experiment.name(), experiment.namespace());
    metadata.labels = experiment.metadata.labels.clone();
    metadata.annotations = experiment.metadata.annotations.clone();
    metadata.owner_references = vec![owner(experiment)];
    let suggestion = Suggestion {
        api_version: Suggestion::api_version(),
        kind: Suggestion::KIND.to_owned(),
        metadata,
        spec: SuggestionSpec {
            algorithm: experiment.spec.algorithm.clone(),
            early_stopping: experiment.spec.early_stopping.clone(),
            requests,
            resume_policy: experiment.spec.resume_policy.clone(),
        },
        status: None,
    };
    match context
        .cluster
        .create::<Suggestion>(&experiment.key(), &suggestion)
        .await
    {
        Ok(stored) => {
            context.suggestions.learn(stored);
            Ok(())
        }
        // Its event is on the way; or one that an earlier Experiment left is about to go, and
        // its end will wake us.
        Err(error) if error.is_already_exists() => Ok(()),
        Err(error) => Err(error),
    }
}

fn owner(experiment: &Experiment) -> OwnerReference {
    OwnerReference::controller_of(
        Experiment::api_version(),
        Experiment::KIND,
        experiment.name(),
        experiment.uid(),
    )
}

/// Makes trials from assignments that have none yet and tells how many.
async fn add_trials(
    context: &Context,
    experiment: &Experiment,
    suggestion: &Suggestion,
    trials: &[Arc<Trial>],
    count: i32,
) -> Result<usize> {
    let mut made = 0;
    let existing: HashSet<&str> = trials.iter().map(|trial| trial.name()).collect();
    let given = suggestion
        .status
        .as_ref()
        .map_or(&[][..], |status| &status.suggestions);
    let wanted = given
        .iter()
        .filter(|assignment| !existing.contains(assignment.name.as_str()))
        .take(usize::try_from(count).unwrap_or(0));
    for assignment in wanted {
        let trial = trial_of(context, experiment, assignment).await?;
        match context.cluster.create::<Trial>(&trial.key(), &trial).await {
            Ok(stored) => {
                context.trials.learn(stored);
            }
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error),
        }
        made += 1;
    }
    Ok(made)
}

async fn trial_of(
    context: &Context,
    experiment: &Experiment,
    assignment: &TrialAssignment,
) -> Result<Trial> {
    let spec = &experiment.spec;
    let run_spec = template::render(context, experiment, assignment).await?;
    let template = spec.trial_template.clone().unwrap_or_default();
    let mut metadata = ObjectMeta::named(&assignment.name, experiment.namespace());
    metadata.labels = experiment.metadata.labels.clone();
    metadata
        .labels
        .insert(LABEL_EXPERIMENT.to_owned(), experiment.name().to_owned());
    metadata.labels.extend(assignment.labels.clone());
    metadata.owner_references = vec![owner(experiment)];
    let early_stopping_rules = match spec.early_stopping {
        Some(_) => assignment.early_stopping_rules.clone(),
        None => Vec::new(),
    };
    Ok(Trial {
        api_version: Trial::api_version(),
        kind: Trial::KIND.to_owned(),
        metadata,
        spec: TrialSpec {
            objective: spec.objective.clone(),
            parameter_assignments: assignment.parameter_assignments.clone(),
            early_stopping_rules,
            run_spec: Some(run_spec),
            retain_run: template.retain,
            metrics_collector: spec.metrics_collector_spec.clone().unwrap_or_default(),
            primary_pod_labels: template.primary_pod_labels,
            primary_container_name: template.primary_container_name,
            success_condition: template.success_condition,
            failure_condition: template.failure_condition,
            ..TrialSpec::default()
        },
        status: None,
    })
}

/// Takes the newest trials under way back.
async fn remove_trials(
    context: &Context,
    experiment: &Experiment,
    trials: &[Arc<Trial>],
    count: i32,
) -> Result<()> {
    let mut active: Vec<&Arc<Trial>> = trials
        .iter()
        .filter(|trial| TrialState::of(trial).is_active())
        .collect();
    // Those on their way out count, and go first.
    active.sort_by_key(|trial| !trial.is_deleting());
    let going = active.iter().filter(|trial| trial.is_deleting()).count();
    let count = usize::try_from(count).unwrap_or(0).saturating_sub(going);
    let doomed: Vec<&Arc<Trial>> = active[going..].iter().rev().take(count).copied().collect();
    if doomed.is_empty() {
        return Ok(());
    }
    let names: HashSet<&str> = doomed.iter().map(|trial| trial.name()).collect();
    forget_assignments(context, experiment, &names).await?;
    for trial in doomed {
        context
            .cluster
            .delete(trial.as_ref(), PropagationPolicy::Background)
            .await?;
    }
    Ok(())
}

/// Takes assignments out of the Suggestion. The number of requests sinks first, so that no
/// new ones are given for them.
async fn forget_assignments(
    context: &Context,
    experiment: &Experiment,
    names: &HashSet<&str>,
) -> Result<()> {
    let Some(mut suggestion) = context.suggestion_of(experiment) else {
        return Ok(());
    };
    let mut status = suggestion.status.clone().unwrap_or_default();
    status
        .suggestions
        .retain(|assignment| !names.contains(assignment.name.as_str()));
    let left = i32::try_from(status.suggestions.len()).unwrap_or(i32::MAX);
    status.suggestion_count = left;
    if suggestion.spec.requests != left {
        let patch = json!({"spec": {"requests": left}});
        let stored = context
            .cluster
            .merge_anyway(suggestion.as_ref(), patch)
            .await?;
        suggestion = context.suggestions.learn(stored);
    }
    if suggestion.status.as_ref() != Some(&status) {
        store_suggestion(context, &suggestion, &status).await?;
    }
    Ok(())
}
