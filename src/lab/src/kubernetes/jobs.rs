//! Jobs as rows.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;

use super::Scope;
use crate::cluster::{Cluster, Error, Result};

/// One Job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name; for a trial's job, the trial's name.
    pub name: String,
    /// `Complete`, `Failed`, `Running`, `Suspended` or `Pending`.
    pub status: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// Pods that succeeded.
    pub succeeded: i32,
    /// Pods wanted; none when any one success is enough.
    pub completions: Option<i32>,
    /// Pods that failed.
    pub failed: i32,
    /// The Trial it belongs to.
    pub trial: Option<String>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// Lists Jobs, oldest first.
pub async fn list(cluster: &Cluster, scope: &Scope, labels: Option<&str>) -> Result<Vec<JobRow>> {
    let (api, action): (Api<Job>, _) = match scope.namespace() {
        Some(namespace) => (
            Api::namespaced(cluster.client.clone(), namespace),
            cluster.action("list", "jobs").within(namespace),
        ),
        None => (
            Api::all(cluster.client.clone()),
            cluster.action("list", "jobs"),
        ),
    };
    let mut params = ListParams::default();
    if let Some(labels) = labels {
        params = params.labels(labels);
    }
    let found = api
        .list(&params)
        .await
        .map_err(|error| Error::from_kube(error, &action))?;
    if found.items.is_empty() {
        super::namespaces::expect(cluster, scope.namespace()).await?;
    }
    let mut rows: Vec<JobRow> = found.items.into_iter().map(row).collect();
    rows.sort_by(|left, right| {
        (left.created, &left.namespace, &left.name).cmp(&(
            right.created,
            &right.namespace,
            &right.name,
        ))
    });
    Ok(rows)
}

fn row(job: Job) -> JobRow {
    let status = job.status.unwrap_or_default();
    let spec = job.spec.unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    let holds = |kind: &str| {
        conditions
            .iter()
            .find(|condition| condition.type_ == kind && condition.status == "True")
    };
    let word = if holds("Complete").is_some() {
        "Complete"
    } else if holds("Failed").is_some() {
        "Failed"
    } else if holds("Suspended").is_some() {
        "Suspended"
    } else if status.active.unwrap_or_default() > 0 {
        "Running"
    } else {
        "Pending"
    };
    let failure = holds("Failed").or_else(|| holds("FailureTarget"));
    let ended = status
        .completion_time
        .or_else(|| failure.and_then(|condition| condition.last_transition_time.clone()));
    let trial = job
        .metadata
        .owner_references
        .iter()
        .flatten()
        .find(|owner| owner.kind == "Trial")
        .map(|owner| owner.name.clone());
    JobRow {
        namespace: job.metadata.namespace.unwrap_or_default(),
        name: job.metadata.name.unwrap_or_default(),
        status: word.to_owned(),
        reason: failure.and_then(|condition| condition.reason.clone()),
        succeeded: status.succeeded.unwrap_or_default(),
        completions: spec
            .completions
            .or_else(|| spec.parallelism.is_none().then_some(1)),
        failed: status.failed.unwrap_or_default(),
        trial,
        started: status.start_time.map(|time| time.0),
        ended: ended.map(|time| time.0),
        created: job.metadata.creation_timestamp.map(|time| time.0),
    }
}
