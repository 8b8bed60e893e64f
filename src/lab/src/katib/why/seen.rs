//! What was seen of a trial's work: its Job, its pods, and what was warned of them.

use katlab_katib::types::Trial;

use super::Diagnosis;
use super::facts::{self, event_text, pod_facts};
use super::trial::pods_text;
use crate::cluster::Cluster;
use crate::katib::archive::Work;
use crate::katib::evidence::Evidence;
use crate::kubernetes::Scope;
use crate::kubernetes::events::EventRow;
use crate::kubernetes::jobs::{self, JobRow};
use crate::kubernetes::pods::{self, ContainerState, PodRow, State, TRIAL_LABEL};

/// How many warnings are shown.
const WARNINGS: usize = 4;

/// A trial's Job, its pods, oldest first, and the warnings about all of them.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) job: Option<JobRow>,
    pub(super) pods: Vec<PodRow>,
    pub(super) warnings: Vec<EventRow>,
}

impl Seen {
    /// What the cluster has; nothing of what cannot be had.
    pub(super) async fn on(cluster: &Cluster, namespace: &str, trial: &str) -> Self {
        let scope = Scope::from(namespace);
        let labels = format!("{TRIAL_LABEL}={trial}");
        let (jobs, pods, mut warnings) = futures::join!(
            jobs::list(cluster, &scope, None),
            pods::list(cluster, &scope, Some(&labels)),
            facts::warnings(cluster, namespace, trial, &["Trial", "Job"]),
        );
        let pods = pods.unwrap_or_default();
        for pod in &pods {
            warnings.extend(facts::warnings(cluster, namespace, &pod.name, &["Pod"]).await);
        }
        let mut jobs = jobs.unwrap_or_default().into_iter();
        Self {
            job: jobs.find(|job| job.name == trial),
            pods,
            warnings,
        }
    }

    /// What was written down.
    pub(super) fn archived(trial: &str, work: Option<&Work>, evidence: &Evidence) -> Self {
        let (pods, warnings) = evidence.of_trial(trial);
        let failed = work.and_then(|work| work.reason.clone());
        let job = failed.map(|reason| JobRow {
            name: trial.to_owned(),
            status: "Failed".to_owned(),
            reason: Some(reason),
            failed: work.map_or(0, |work| work.failed),
            ..JobRow::default()
        });
        Self {
            job,
            pods,
            warnings,
        }
    }

    /// Adds what was written down to what there still is.
    pub(super) fn recall(&mut self, trial: &str, evidence: &Evidence) {
        let (pods, warnings) = evidence.of_trial(trial);
        if self.pods.is_empty() {
            self.pods = pods;
        }
        let known = |event: &EventRow| {
            let key = |one: &EventRow| (one.kind.clone(), one.object.clone(), one.reason.clone());
            self.warnings.iter().any(|one| key(one) == key(event))
        };
        let new: Vec<EventRow> = warnings.into_iter().filter(|one| !known(one)).collect();
        self.warnings.extend(new);
        self.warnings.sort_by_key(|event| event.last);
    }

    /// The pod that counts.
    pub(super) fn youngest(&self) -> Option<&PodRow> {
        self.pods.last()
    }

    /// The container that explains how the trial stands.
    pub(super) fn culprit(&self, trial: &Trial) -> Option<&ContainerState> {
        culprit(self.youngest()?, &trial.spec.primary_container_name)
    }

    /// The last warning with such a reason.
    pub(super) fn warning(&self, reason: &str) -> Option<&EventRow> {
        let mut warnings = self.warnings.iter().rev();
        warnings.find(|event| event.reason == reason)
    }

    pub(super) fn facts(&self, found: &mut Diagnosis) {
        if let Some(job) = &self.job {
            let reason = job
                .reason
                .as_ref()
                .map(|reason| format!(" ({reason})"))
                .unwrap_or_default();
            found.fact(
                format!("job {}", job.name),
                format!("{}{reason}, {} failed", job.status, pods_text(job.failed)),
            );
        }
        for pod in &self.pods {
            pod_facts(found, pod);
        }
        for event in self.warnings.iter().rev().take(WARNINGS) {
            found.fact(
                format!("{} {}", event.kind.to_lowercase(), event.object),
                event_text(event),
            );
        }
    }
}

/// The container that explains the pod: one that cannot be pulled, else the training's own, else
/// any that failed.
fn culprit<'a>(pod: &'a PodRow, primary: &str) -> Option<&'a ContainerState> {
    let trouble = |container: &&ContainerState| {
        container.state.is_trouble() || container.last.as_ref().is_some_and(State::is_trouble)
    };
    pod.states
        .iter()
        .find(|container| container.state.is_pull_failure())
        .or_else(|| {
            pod.states
                .iter()
                .find(|container| container.name == primary && trouble(container))
        })
        .or_else(|| pod.states.iter().find(trouble))
}
