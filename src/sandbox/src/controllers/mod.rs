//! The controllers: Experiments become Suggestions and Trials, Trials become Jobs, Jobs
//! become Pods.
//!
//! They know the Kubernetes API and the observation log and nothing else, so the same code
//! could run beside a real API server. Nothing is in memory only: what they hold are watched
//! copies ([`cache`]), every name is decided and stored before the object is made, and every
//! write is conditional on what it was decided from. Killed at any point, they go on from
//! what the API server holds.
//!
//! They react to watch events; timers exist only where Kubernetes has them (deadlines,
//! back-off, time to live).
//!
//! # Deliberate differences from Katib
//!
//! - The sandbox's algorithms run in this process: their Suggestions have no Deployment, Service
//!   or volume. The condition DeploymentReady says that the algorithm answers. One of the
//!   user's own runs in a pod, see [`algorithm`].
//! - There is no collector container and the command is not wrapped: the runtime reads the
//!   metrics itself.
//! - A lost race for an object (409) is tried again silently; Katib says ReconcileError.
//!
//! More of them stand at the top of [`experiment`], [`suggestion`], [`trial`] and
//! [`katlab_katib::summary`].

pub mod algorithm;
pub mod cache;
pub mod context;
pub mod error;
pub mod events;
pub mod experiment;
pub mod job;
pub mod objects;
pub mod queue;
pub mod stopping;
pub mod suggestion;
pub mod template;
pub mod trial;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use katlab_katib::names::RECONCILE_ERROR;
use katlab_katib::types::{Experiment, Suggestion, Trial};
use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::ObservationStore;
use cache::{Key, follow};
use context::Context;
use error::Error;
use objects::Kind;
use queue::{Again, Retry, queue, work};

/// Keys of one kind worked on at once. Each waits mostly for the API server.
const CONCURRENCY: usize = 8;
/// Kubernetes waits a second before it tries again to create a pod that was refused.
const FIRST_JOB_DELAY: Duration = Duration::from_secs(1);

/// Runs all controllers until shutdown. Dropped before, it stops them where they are.
pub async fn run(client: Client, observation: ObservationStore, shutdown: CancellationToken) {
    let (recorder, outbox) = events::recorder("katlab", "");
    let context = Arc::new(Context::new(client.clone(), observation, &recorder));
    let mut tasks = JoinSet::new();
    // The writer ends when the last recorder is gone, that is when the controllers are.
    tasks.spawn(events::write(client, outbox));
    drop(recorder);
    spawn_controllers(&mut tasks, context, &shutdown);
    while tasks.join_next().await.is_some() {}
}

fn spawn_controllers(tasks: &mut JoinSet<()>, context: Arc<Context>, shutdown: &CancellationToken) {
    let (experiments, experiment_queue) = queue();
    let (suggestions, suggestion_queue) = queue();
    let (trials, trial_queue) = queue();
    let (jobs, job_queue) = queue();

    let (waker, cache) = (experiments.clone(), context.experiments.clone());
    let notify = move |experiment: &Experiment| waker.wake(experiment.key());
    tasks.spawn(follow(
        context.cluster.client(),
        cache,
        notify,
        shutdown.clone(),
    ));

    let (own_waker, waker) = (suggestions.clone(), experiments.clone());
    let cache = context.suggestions.clone();
    let notify = move |suggestion: &Suggestion| {
        own_waker.wake(suggestion.key());
        // Suggestion and Experiment share their name.
        waker.wake(suggestion.key());
    };
    tasks.spawn(follow(
        context.cluster.client(),
        cache,
        notify,
        shutdown.clone(),
    ));

    let (waker, cache) = (trials.clone(), context.trials.clone());
    let notify = move |trial: &Trial| {
        waker.wake(trial.key());
        experiments.wake_all(context::experiment_of(trial));
    };
    tasks.spawn(follow(
        context.cluster.client(),
        cache,
        notify,
        shutdown.clone(),
    ));

    let (job_waker, waker, cache) = (jobs.clone(), trials.clone(), context.jobs.clone());
    let notify = move |job: &Job| {
        job_waker.wake(job.key());
        waker.wake_all(job.managed_by(Trial::KIND));
    };
    tasks.spawn(follow(
        context.cluster.client(),
        cache,
        notify,
        shutdown.clone(),
    ));

    let (all_jobs, cache) = (context.jobs.clone(), context.pods.clone());
    let notify = move |pod: &Pod| {
        let job = pod.managed_by(Job::KIND);
        let owner = job.as_ref().and_then(|key| all_jobs.get(key));
        trials.wake_all(owner.and_then(|job| job.managed_by(Trial::KIND)));
        jobs.wake_all(job);
        suggestions.wake_all(pod.managed_by(Suggestion::KIND));
    };
    tasks.spawn(follow(
        context.cluster.client(),
        cache,
        notify,
        shutdown.clone(),
    ));

    for (queue, on) in [
        (experiment_queue, on_experiment as Reconcile),
        (suggestion_queue, on_suggestion),
        (trial_queue, on_trial),
        (job_queue, on_job),
    ] {
        let (context, shutdown) = (context.clone(), shutdown.clone());
        tasks.spawn(async move {
            // A first decision from half a picture could make what is already there.
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = context.wait_until_ready() => {}
            }
            work(queue, CONCURRENCY, |key| on(context.clone(), key), shutdown).await;
        });
    }
}

/// One turn of a controller: the context, and the object that may need something.
type Reconcile = fn(Arc<Context>, Key) -> BoxFuture<'static, Result<Again, Retry>>;

fn on_experiment(context: Arc<Context>, key: Key) -> BoxFuture<'static, Result<Again, Retry>> {
    Box::pin(async move {
        let Err(error) = experiment::reconcile(&context, &key).await else {
            return Ok(None);
        };
        if is_worth_saying(&key, Experiment::KIND, &error)
            && let Some(experiment) = context.experiments.get(&key)
        {
            let message = format!("Failed to reconcile: {error}");
            let events = &context.experiment_events;
            events.warning(experiment.as_ref(), RECONCILE_ERROR, message);
        }
        Err(Retry::default())
    })
}

fn on_suggestion(context: Arc<Context>, key: Key) -> BoxFuture<'static, Result<Again, Retry>> {
    Box::pin(async move {
        let error = match suggestion::reconcile(&context, &key).await {
            Ok(again) => return Ok(again),
            Err(error) => error,
        };
        if is_worth_saying(&key, Suggestion::KIND, &error)
            && let Some(suggestion) = context.suggestions.get(&key)
        {
            let events = &context.suggestion_events;
            events.warning(suggestion.as_ref(), RECONCILE_ERROR, error.to_string());
        }
        Err(Retry::default())
    })
}

fn on_trial(context: Arc<Context>, key: Key) -> BoxFuture<'static, Result<Again, Retry>> {
    Box::pin(async move {
        let Err(error) = trial::reconcile(&context, &key).await else {
            return Ok(None);
        };
        if is_worth_saying(&key, Trial::KIND, &error)
            && let Some(trial) = context.trials.get(&key)
        {
            let message = format!("Failed to reconcile: {error}");
            context
                .trial_events
                .warning(trial.as_ref(), RECONCILE_ERROR, message);
        }
        Err(Retry::default())
    })
}

fn on_job(context: Arc<Context>, key: Key) -> BoxFuture<'static, Result<Again, Retry>> {
    Box::pin(async move {
        // Refused pods have had their event.
        job::reconcile(&context, &key).await.map_err(|error| {
            match is_worth_saying(&key, Job::KIND, &error) {
                true => Retry(FIRST_JOB_DELAY),
                false => Retry::default(),
            }
        })
    })
}

/// A lost race is part of the work; a name that is about to be free again nearly so.
fn is_worth_saying(key: &Key, kind: &str, error: &Error) -> bool {
    if error.is_conflict() || matches!(error, Error::NameTaken { .. }) {
        tracing::debug!(%key, kind, %error, "trying again");
        return false;
    }
    tracing::warn!(%key, kind, %error, "reconciliation failed, trying again");
    true
}
