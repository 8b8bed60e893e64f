//! The trial controller: one job per trial, and what came of it.
//!
//! # Deliberate differences from Katib
//!
//! - A job that succeeded is judged when the runtime has marked its pod's metrics as
//!   collected, not by asking the log once a second. A pod that is gone has nothing more to
//!   say: its trial is judged by what the log holds.
//! - A pod that cannot start is told in an event of the trial.
//! - A trial becomes EarlyStopped when the runtime has stopped it and collected its metrics, with
//!   its observation in the same write. So it keeps it under `retain: false` too, where Katib
//!   deletes the job first. What was compared is told in an event, `TrialEarlyStopped`.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use katlab_katib::condition::{Conditioned, TRUE, has_condition, lower_condition, set_condition};
use katlab_katib::job_condition::{JobCondition, JobState, job_state};
use katlab_katib::metrics::{MetricRow, objective_available, observe, unavailable_row};
use katlab_katib::names::condition::{
    CREATED, EARLY_STOPPED, FAILED, METRICS_UNAVAILABLE, RUNNING, SUCCEEDED,
};
use katlab_katib::names::{FINALIZER_TRIAL, Reason, trial as reasons};
use katlab_katib::types::{CollectorKind, ObjectiveSpec, Observation, Trial, TrialStatus};
use kube::api::PropagationPolicy;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;

use crate::metrics::{Filter, Row};

use super::cache::Key;
use super::context::{Context, now};
use super::error::{Error, Result};
use super::objects::Kind;

/// The runtime's mark on a pod whose metrics are in the log.
pub const COLLECTED: &str = "katlab.dev/metrics-collected";

/// The runtime's note on a pod whose trial it has stopped early: why.
pub const STOPPED: &str = "katlab.dev/stopped-early";

/// Brings one trial further.
pub async fn reconcile(context: &Context, key: &Key) -> Result<()> {
    let Some(trial) = context.trials.get(key) else {
        return Ok(());
    };
    if trial.is_deleting() {
        return finalize(context, &trial).await;
    }
    let trial = admit(context, trial).await?;
    let wanted = wanted_job(&trial)?;
    let job_key = Key::new(trial.namespace(), job_name(&wanted));
    let job = context.jobs.get(&job_key);
    let Some(job) = job.filter(|job| is_owned(job, &trial)) else {
        if !trial.is_completed() {
            let job = create_job(context, &trial, &job_key, wanted).await?;
            mark_running(context, &trial, &job).await?;
        }
        return Ok(());
    };
    let trial = if trial.is_completed() && !lacks_observation(&trial) {
        trial
    } else {
        say_what_holds_pods_up(context, &trial, &job);
        judge(context, trial, &job).await?
    };
    if trial.is_completed()
        && !lacks_observation(&trial)
        && !trial.spec.retain_run
        && !job.is_deleting()
    {
        let deleting = context
            .cluster
            .delete(job.as_ref(), PropagationPolicy::Foreground);
        if deleting.await? {
            let message = format!("Job {} has been deleted", job.name());
            context
                .trial_events
                .normal(trial.as_ref(), "JobDeleted", message);
        }
        // The next turn may come before the watch tells that it is being deleted.
        if let Some(job) = context.cluster.get(&job_key).await? {
            context.jobs.learn(job);
        }
    }
    Ok(())
}

/// Forgets what a trial reported, then lets it go.
async fn finalize(context: &Context, trial: &Trial) -> Result<()> {
    if trial
        .finalizers()
        .iter()
        .any(|held| held == FINALIZER_TRIAL)
    {
        let (namespace, name) = (trial.namespace(), trial.name());
        context
            .observation
            .forget(namespace, name, trial.uid())
            .await?;
        context
            .cluster
            .remove_finalizer(trial, FINALIZER_TRIAL)
            .await?;
    }
    Ok(())
}

/// Gives a new trial its finalizer and its first condition.
async fn admit(context: &Context, mut trial: Arc<Trial>) -> Result<Arc<Trial>> {
    if trial
        .finalizers()
        .iter()
        .all(|held| held != FINALIZER_TRIAL)
    {
        let stored = context
            .cluster
            .add_finalizer(trial.as_ref(), FINALIZER_TRIAL)
            .await?;
        trial = context.trials.learn(stored);
    }
    if !trial.is_created() {
        let now = now();
        let mut status = trial.status.clone().unwrap_or_default();
        status.start_time.get_or_insert_with(|| now.clone());
        status.completion_time = Some(None);
        set(
            &mut status,
            CREATED,
            reasons::CREATED,
            &JobCondition::default(),
            &now,
        );
        trial = store(context, &trial, &status).await?;
    }
    Ok(trial)
}

async fn store(context: &Context, trial: &Trial, status: &TrialStatus) -> Result<Arc<Trial>> {
    let stored = context.cluster.write_status(trial, status).await?;
    Ok(context.trials.learn(stored))
}

fn set(status: &mut TrialStatus, kind: &str, reason: Reason, job: &JobCondition, now: &str) {
    let message = job.trial_message(reason.message);
    let reason = job.trial_reason(reason.reason);
    set_condition(&mut status.conditions, kind, TRUE, &reason, &message, now);
}

/// The object the trial runs, with the trial as its owner.
fn wanted_job(trial: &Trial) -> Result<Value> {
    let mut wanted = trial.spec.run_spec.clone().unwrap_or_default();
    let text = |pointer: &str| {
        wanted
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (kind, api_version) = (text("/kind"), text("/apiVersion"));
    if kind != Job::KIND || api_version != Job::api_version() {
        return Err(Error::UnsupportedKind {
            kind: kind.to_owned(),
            api_version: api_version.to_owned(),
        });
    }
    let owner = encode(trial, &[trial.owner_reference()])?;
    if text("/metadata/name").is_empty() {
        wanted["metadata"]["name"] = trial.name().into();
    }
    wanted["metadata"]["namespace"] = trial.namespace().into();
    wanted["metadata"]["ownerReferences"] = owner;
    Ok(wanted)
}

fn encode(trial: &Trial, value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::Request {
        verb: "encode the job of",
        kind: Trial::KIND,
        object: trial.key(),
        reason: error.to_string(),
    })
}

fn job_name(wanted: &Value) -> &str {
    wanted
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_owned(job: &Job, trial: &Trial) -> bool {
    job.manager().is_some_and(|owner| owner.uid == trial.uid())
}

async fn create_job(
    context: &Context,
    trial: &Trial,
    key: &Key,
    wanted: Value,
) -> Result<Arc<Job>> {
    match context.cluster.create::<Job>(key, &wanted).await {
        Ok(job) => {
            let message = format!("Job {} has been created", key.name);
            context.trial_events.normal(trial, "JobCreated", message);
            Ok(context.jobs.learn(job))
        }
        Err(error) if error.is_already_exists() => {
            // Made before a restart, or left by a trial of the same name that is going.
            match context.cluster.get::<Job>(key).await? {
                Some(job) if is_owned(&job, trial) => Ok(context.jobs.learn(job)),
                _ => Err(Error::NameTaken {
                    kind: Job::KIND,
                    object: key.clone(),
                }),
            }
        }
        Err(error) => Err(error),
    }
}

async fn mark_running(context: &Context, trial: &Trial, job: &Job) -> Result<Arc<Trial>> {
    let mut status = trial.status.clone().unwrap_or_default();
    status.completion_time = None;
    set(
        &mut status,
        RUNNING,
        reasons::RUNNING,
        &JobCondition::default(),
        &now(),
    );
    let stored = store(context, trial, &status).await?;
    let message = format!("Job {} is running", job.name());
    context.trial_events.normal(trial, "JobRunning", message);
    Ok(stored)
}

/// A trial that was stopped early gets its observation when its job has ended.
fn lacks_observation(trial: &Trial) -> bool {
    trial.has(EARLY_STOPPED)
        && trial
            .status
            .as_ref()
            .is_some_and(|status| status.observation.is_none())
}

/// Reads the end of the trial, if it has come, from its job.
async fn judge(context: &Context, trial: Arc<Trial>, job: &Job) -> Result<Arc<Trial>> {
    if !trial.is_completed()
        && let Some(why) = stopped(context, &trial, job)
    {
        return stop(context, &trial, &why).await;
    }
    let object = encode(&trial, job)?;
    let spec = &trial.spec;
    match job_state(&object, &spec.success_condition, &spec.failure_condition) {
        JobState::Failed(outcome) if !trial.has(EARLY_STOPPED) => {
            return fail(context, &trial, job, &outcome).await;
        }
        JobState::Succeeded(outcome) => return succeed(context, trial, job, &outcome).await,
        JobState::Running if !trial.is_running() && !trial.is_completed() => {
            return mark_running(context, &trial, job).await;
        }
        _ => {}
    }
    if lacks_observation(&trial) && super::job::is_finished(job) {
        return observe_stopped(context, trial, job).await;
    }
    Ok(trial)
}

/// Why the trial was stopped early, once its metrics are in the log.
fn stopped(context: &Context, trial: &Trial, job: &Job) -> Option<String> {
    sources(context, trial, job)
        .iter()
        .filter(|pod| is_marked(pod))
        .find_map(|pod| pod.metadata.annotations.as_ref()?.get(STOPPED).cloned())
}

/// Running stays True and there is no time of completion: in Katib somebody else than the controller
/// writes this condition.
async fn stop(context: &Context, trial: &Trial, why: &str) -> Result<Arc<Trial>> {
    let mut status = trial.status.clone().unwrap_or_default();
    status.observation = match (observation(context, trial).await?, &trial.spec.objective) {
        (None, Some(objective)) => Some(seen(trial, objective, &[])?),
        (observation, _) => observation,
    };
    let nothing = JobCondition::default();
    set(
        &mut status,
        EARLY_STOPPED,
        reasons::EARLY_STOPPED,
        &nothing,
        &now(),
    );
    let stored = store(context, trial, &status).await?;
    let message = format!("Trial is stopped early: {why}");
    let reason = reasons::EARLY_STOPPED.reason;
    context.trial_events.normal(trial, reason, message);
    Ok(stored)
}

async fn fail(
    context: &Context,
    trial: &Trial,
    job: &Job,
    outcome: &JobCondition,
) -> Result<Arc<Trial>> {
    let now = now();
    let mut status = trial.status.clone().unwrap_or_default();
    finish(&mut status, FAILED, reasons::FAILED, outcome, &now);
    let stored = store(context, trial, &status).await?;
    let mut message = format!("Job {} has failed", job.name());
    if !outcome.message.is_empty() || !outcome.reason.is_empty() {
        message.push_str(&format!(". {} {}", outcome.message, outcome.reason));
    }
    context.trial_events.normal(trial, "JobFailed", message);
    Ok(stored)
}

async fn succeed(
    context: &Context,
    trial: Arc<Trial>,
    job: &Job,
    outcome: &JobCondition,
) -> Result<Arc<Trial>> {
    let is_push = trial
        .spec
        .metrics_collector
        .collector
        .as_ref()
        .is_some_and(|collector| collector.kind == CollectorKind::Push);
    if !is_push && !is_collected(context, &trial, job) {
        // The runtime's mark on the pod wakes us.
        return match trial.is_running() || trial.is_completed() {
            true => Ok(trial),
            false => mark_running(context, &trial, job).await,
        };
    }
    let observation = observation(context, &trial).await?;
    let objective = trial.spec.objective.as_ref();
    let is_available = objective
        .zip(observation.as_ref())
        .is_some_and(|(objective, seen)| objective_available(objective, seen));
    if let (None, Some(objective)) = (&observation, objective) {
        report_unavailable(context, &trial, objective).await?;
    }
    let now = now();
    let mut status = trial.status.clone().unwrap_or_default();
    // Katib leaves the observation of a pushing trial that reported nothing out.
    status.observation = match (observation, is_push) {
        (None, false) => match objective {
            Some(objective) => Some(seen(&trial, objective, &[])?),
            None => None,
        },
        (observation, _) => observation,
    };
    if trial.has(EARLY_STOPPED) {
        return store(context, &trial, &status).await;
    }
    if is_available {
        finish(&mut status, SUCCEEDED, reasons::SUCCEEDED, outcome, &now);
        let stored = store(context, &trial, &status).await?;
        let message = format!("Job {} has succeeded", job.name());
        context
            .trial_events
            .normal(trial.as_ref(), "JobSucceeded", message);
        return Ok(stored);
    }
    finish(
        &mut status,
        METRICS_UNAVAILABLE,
        reasons::METRICS_UNAVAILABLE,
        outcome,
        &now,
    );
    let stored = store(context, &trial, &status).await?;
    let message = format!("Metrics are not available for Job {}", job.name());
    context
        .trial_events
        .warning(trial.as_ref(), "MetricsUnavailable", message);
    Ok(stored)
}

async fn observe_stopped(context: &Context, trial: Arc<Trial>, job: &Job) -> Result<Arc<Trial>> {
    if !is_collected(context, &trial, job) {
        return Ok(trial);
    }
    let Some(objective) = &trial.spec.objective else {
        return Ok(trial);
    };
    let observation = observation(context, &trial).await?;
    let mut status = trial.status.clone().unwrap_or_default();
    status.observation = match observation {
        Some(observation) => Some(observation),
        None => Some(seen(&trial, objective, &[])?),
    };
    store(context, &trial, &status).await
}

fn finish(status: &mut TrialStatus, kind: &str, reason: Reason, job: &JobCondition, now: &str) {
    if has_condition(&status.conditions, RUNNING) {
        lower_condition(&mut status.conditions, RUNNING, now);
    }
    set(status, kind, reason, job, now);
    status.completion_time = Some(Some(now.to_owned()));
}

/// Tells on the trial why a pod of it does not start. Katib leaves that to whoever looks at
/// the pod, and its trial runs for ever.
fn say_what_holds_pods_up(context: &Context, trial: &Trial, job: &Job) {
    for pod in context.pods.group(&job.key()) {
        if let Some(obstacle) = super::job::obstacle(&pod) {
            let message = format!("Pod {} does not start: {obstacle}", pod.name());
            context
                .trial_events
                .warning(trial, "PodNotStarting", message);
        }
    }
}

/// The pods of a job whose metrics may count: primary ones that have not failed.
fn sources(context: &Context, trial: &Trial, job: &Job) -> Vec<Arc<Pod>> {
    let is_primary = |pod: &Pod| {
        let labels = &trial.spec.primary_pod_labels;
        labels
            .iter()
            .all(|(name, value)| pod.label(name) == Some(value))
    };
    let mut pods = context.pods.group(&job.key());
    pods.retain(|pod| {
        let is_own = pod.manager().is_some_and(|owner| owner.uid == job.uid());
        is_own && is_primary(pod) && !super::job::has_failed(pod)
    });
    pods
}

/// Whether the metrics of a succeeded job are in the log: one of its primary pods bears the
/// runtime's mark. Without a pod that succeeded or still may, nothing more will come.
fn is_collected(context: &Context, trial: &Trial, job: &Job) -> bool {
    let sources = sources(context, trial, job);
    sources.is_empty() || sources.iter().any(|pod| is_marked(pod))
}

fn is_marked(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.is_some_and(|held| held.get(COLLECTED).is_some_and(|mark| mark == "true"))
}

/// What the log says about a trial; nothing when it has no rows.
async fn observation(context: &Context, trial: &Trial) -> Result<Option<Observation>> {
    let Some(objective) = &trial.spec.objective else {
        return Ok(None);
    };
    let (namespace, name) = (trial.namespace(), trial.name());
    let rows = context
        .observation
        .rows(namespace, name, Filter::default())
        .await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let rows: Vec<MetricRow> = rows
        .into_iter()
        .map(|row| MetricRow::new(row.time.to_string(), row.metric, row.value))
        .collect();
    seen(trial, objective, &rows).map(Some)
}

fn seen(trial: &Trial, objective: &ObjectiveSpec, rows: &[MetricRow]) -> Result<Observation> {
    observe(objective, rows).map_err(|source| Error::Metrics {
        trial: trial.key(),
        source: Box::new(source),
    })
}

/// Notes in the log that a trial has no objective value, as Katib's collector does.
async fn report_unavailable(
    context: &Context,
    trial: &Trial,
    objective: &ObjectiveSpec,
) -> Result<()> {
    let row = unavailable_row(objective);
    let row = Row {
        // A time that does not parse would be a mistake of ours: the year 1 does.
        time: row.time.parse().unwrap_or(Timestamp::UNIX_EPOCH),
        metric: row.name.into(),
        value: row.value.into(),
    };
    // Once, even if we are stopped before the trial's status says so.
    let (namespace, name) = (trial.namespace(), trial.name());
    let log = &context.observation;
    log.append(namespace, name, trial.uid(), "", 0, vec![row])
        .await?;
    Ok(())
}
