//! What all controllers share.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{Timestamp, ToSpan};
use katlab_katib::names::LABEL_EXPERIMENT;
use katlab_katib::types::{Experiment, Suggestion, Trial};
use kube::Client;

use crate::metrics::ObservationStore;

use super::cache::{Cache, Key};
use super::events::Recorder;
use super::objects::{Cluster, Kind};
use super::stopping::Curves;

/// The cluster as last seen, the way to change it, and the observation log.
pub struct Context {
    /// Requests.
    pub cluster: Cluster,
    /// Experiments.
    pub experiments: Arc<Cache<Experiment>>,
    /// Suggestions.
    pub suggestions: Arc<Cache<Suggestion>>,
    /// Trials, grouped by Experiment.
    pub trials: Arc<Cache<Trial>>,
    /// Jobs.
    pub jobs: Arc<Cache<Job>>,
    /// Pods, grouped by Job.
    pub pods: Arc<Cache<Pod>>,
    /// What trials reported.
    pub observation: ObservationStore,
    /// What early stopping has learned.
    pub curves: Curves,
    /// Events of the experiment controller.
    pub experiment_events: Recorder,
    /// Events of the suggestion controller.
    pub suggestion_events: Recorder,
    /// Events of the trial controller.
    pub trial_events: Recorder,
    /// Events of the Job controller.
    pub job_events: Recorder,
}

impl Context {
    /// Empty caches around a client.
    pub fn new(client: Client, observation: ObservationStore, recorder: &Recorder) -> Self {
        Self {
            cluster: Cluster::new(client),
            experiments: Cache::new(|_| None),
            suggestions: Cache::new(|_| None),
            trials: Cache::new(experiment_of),
            jobs: Cache::new(|_| None),
            pods: Cache::new(|pod| pod.managed_by(Job::KIND)),
            observation,
            curves: Curves::default(),
            experiment_events: recorder.component("experiment-controller"),
            suggestion_events: recorder.component("suggestion-controller"),
            trial_events: recorder.component("trial-controller"),
            job_events: recorder.component("job-controller"),
        }
    }

    /// Waits until every kind has been listed once.
    pub async fn wait_until_ready(&self) {
        tokio::join!(
            self.experiments.wait_until_ready(),
            self.suggestions.wait_until_ready(),
            self.trials.wait_until_ready(),
            self.jobs.wait_until_ready(),
            self.pods.wait_until_ready(),
        );
    }

    /// The trials of an Experiment, oldest first. Like Katib by label, but without those that an
    /// earlier Experiment of the same name has left and that are still to be collected.
    pub fn trials_of(&self, experiment: &Experiment) -> Vec<Arc<Trial>> {
        let mut trials = self.trials.group(&experiment.key());
        trials.retain(|trial| !is_left_behind(trial.as_ref(), experiment));
        trials.sort_by(|a, b| {
            fn made(trial: &Trial) -> Option<&str> {
                trial.metadata.creation_timestamp.as_deref()
            }
            made(a).cmp(&made(b)).then_with(|| a.name().cmp(b.name()))
        });
        trials
    }

    /// The Suggestion of an Experiment: the one of its name, unless an earlier Experiment of that
    /// name has left it.
    pub fn suggestion_of(&self, experiment: &Experiment) -> Option<Arc<Suggestion>> {
        let suggestion = self.suggestions.get(&experiment.key())?;
        (!is_left_behind(suggestion.as_ref(), experiment)).then_some(suggestion)
    }

    /// The Experiment a Suggestion is made for.
    pub fn experiment_of(&self, suggestion: &Suggestion) -> Option<Arc<Experiment>> {
        let experiment = self.experiments.get(&suggestion.key())?;
        (!is_left_behind(suggestion, &experiment)).then_some(experiment)
    }
}

/// Whether an object belongs to another Experiment than this one of the same name.
fn is_left_behind(object: &impl Kind, experiment: &Experiment) -> bool {
    object
        .manager()
        .is_some_and(|owner| owner.kind == Experiment::KIND && owner.uid != experiment.uid())
}

/// The Experiment a trial is labelled with.
pub fn experiment_of(trial: &Trial) -> Option<Key> {
    let experiment = trial.label(LABEL_EXPERIMENT)?;
    Some(Key::new(trial.namespace(), experiment))
}

/// The time as statuses hold it: whole seconds, UTC.
pub fn now() -> String {
    let now = Timestamp::now();
    let whole = now
        .checked_sub(i64::from(now.subsec_nanosecond()).nanoseconds())
        .unwrap_or(now);
    whole.to_string()
}
