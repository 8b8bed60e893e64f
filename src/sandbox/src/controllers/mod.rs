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
//! - The algorithm runs in this process: a Suggestion has no Deployment, Service or volume.
//!   Its condition DeploymentReady says that the algorithm answers.
//! - There is no collector container and the command is not wrapped: the runtime reads the
//!   metrics itself.
//! - A lost race for an object (409) is tried again silently; Katib says ReconcileError.
//!
//! More of them stand at the top of [`experiment`], [`suggestion`], [`trial`] and
//! [`katlab_katib::summary`].

pub mod cache;
pub mod context;
pub mod error;
pub mod events;
pub mod experiment;
pub mod job;
pub mod objects;
pub mod queue;
pub mod suggestion;
pub mod template;
pub mod trial;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use katlab_katib::names::RECONCILE_ERROR;
use katlab_katib::types::{Experiment, Trial};
use kube::Client;
use tokio_util::sync::CancellationToken;

use crate::metrics::ObservationStore;
use cache::{Key, follow};
use context::Context;
use error::Error;
use objects::Kind;
use queue::{Again, Retry, Waker, queue, work};

/// Keys of one kind worked on at once. Each waits mostly for the API server.
const CONCURRENCY: usize = 8;
/// Kubernetes waits a second before it tries again to create a pod that was refused.
const FIRST_JOB_DELAY: Duration = Duration::from_secs(1);

/// Runs all controllers until shutdown.
pub async fn run(client: Client, observation: ObservationStore, shutdown: CancellationToken) {
    let (recorder, outbox) = events::recorder("katlab");
    let writer = events::write(client.clone(), outbox);
    let context = Arc::new(Context::new(client, observation, &recorder));
    drop(recorder);
    // The writer ends when the last recorder is gone, that is when the controllers are.
    tokio::join!(writer, run_controllers(context, shutdown));
}

async fn run_controllers(context: Arc<Context>, shutdown: CancellationToken) {
    let (experiments, experiment_queue) = queue();
    let (suggestions, suggestion_queue) = queue();
    let (trials, trial_queue) = queue();
    let (jobs, job_queue) = queue();
    let client = || context.cluster.client();

    let watches = async {
        tokio::join!(
            follow(
                client(),
                context.experiments.clone(),
                wake(&experiments),
                shutdown.clone()
            ),
            follow(
                client(),
                context.suggestions.clone(),
                |suggestion| {
                    suggestions.wake(suggestion.key());
                    // Suggestion and Experiment share their name.
                    experiments.wake(suggestion.key());
                },
                shutdown.clone(),
            ),
            follow(
                client(),
                context.trials.clone(),
                |trial| {
                    trials.wake(trial.key());
                    experiments.wake_all(context::experiment_of(trial));
                },
                shutdown.clone(),
            ),
            follow(
                client(),
                context.jobs.clone(),
                |job| {
                    jobs.wake(job.key());
                    trials.wake_all(job.managed_by(Trial::KIND));
                },
                shutdown.clone(),
            ),
            follow(
                client(),
                context.pods.clone(),
                |pod| {
                    let job = pod.managed_by(Job::KIND);
                    let owner = job.as_ref().and_then(|key| context.jobs.get(key));
                    trials.wake_all(owner.and_then(|job| job.managed_by(Trial::KIND)));
                    jobs.wake_all(job);
                },
                shutdown.clone(),
            ),
        )
    };
    let controllers = async {
        // A first decision from half a picture could make what is already there.
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = context.wait_until_ready() => {}
        }
        tokio::join!(
            work(
                experiment_queue,
                CONCURRENCY,
                |key| on_experiment(&context, key),
                shutdown.clone()
            ),
            work(
                suggestion_queue,
                CONCURRENCY,
                |key| on_suggestion(&context, key),
                shutdown.clone()
            ),
            work(
                trial_queue,
                CONCURRENCY,
                |key| on_trial(&context, key),
                shutdown.clone()
            ),
            work(
                job_queue,
                CONCURRENCY,
                |key| on_job(&context, key),
                shutdown.clone()
            ),
        );
    };
    tokio::join!(watches, controllers);
}

fn wake(waker: &Waker) -> impl Fn(&Experiment) + '_ {
    |experiment| waker.wake(experiment.key())
}

async fn on_experiment(context: &Context, key: Key) -> Result<Again, Retry> {
    experiment::reconcile(context, &key).await.map_err(|error| {
        if is_worth_saying(&key, Experiment::KIND, &error)
            && let Some(experiment) = context.experiments.get(&key)
        {
            let message = format!("Failed to reconcile: {error}");
            context
                .experiment_events
                .warning(experiment.as_ref(), RECONCILE_ERROR, message);
        }
        Retry::default()
    })
}

async fn on_suggestion(context: &Context, key: Key) -> Result<Again, Retry> {
    suggestion::reconcile(context, &key).await.map_err(|error| {
        if is_worth_saying(&key, "Suggestion", &error)
            && let Some(suggestion) = context.suggestions.get(&key)
        {
            let message = error.to_string();
            context
                .suggestion_events
                .warning(suggestion.as_ref(), RECONCILE_ERROR, message);
        }
        Retry::default()
    })
}

async fn on_trial(context: &Context, key: Key) -> Result<Again, Retry> {
    trial::reconcile(context, &key).await.map_err(|error| {
        if is_worth_saying(&key, Trial::KIND, &error)
            && let Some(trial) = context.trials.get(&key)
        {
            let message = format!("Failed to reconcile: {error}");
            context
                .trial_events
                .warning(trial.as_ref(), RECONCILE_ERROR, message);
        }
        Retry::default()
    })
}

async fn on_job(context: &Context, key: Key) -> Result<Again, Retry> {
    job::reconcile(context, &key).await.map_err(|error| {
        // Refused pods have had their event.
        match is_worth_saying(&key, Job::KIND, &error) {
            true => Retry(FIRST_JOB_DELAY),
            false => Retry::default(),
        }
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
