//! The Job controller: pods until enough of them succeeded or too many failed.
//!
//! A pod that is over is first noted in the Job's status by its identity, then let go of its
//! finalizer, then counted: killed at any point, the controller goes on where it was, and no
//! pod is lost or counted twice. Pod names follow from the Job's identity and the pod's turn,
//! so that no pod is made twice.

mod progress;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::PropagationPolicy;

use super::cache::Key;
use super::context::Context;
use super::error::{Error, Result};
use super::objects::Kind;
use super::queue::Again;
use progress::{End, Need, TRACKING};

pub use progress::{has_failed, is_finished, obstacle};

/// Labels every pod of a Job carries, in Kubernetes' two spellings each.
const JOB_NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];
const JOB_UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];

/// Brings one Job further.
pub async fn reconcile(context: &Context, key: &Key) -> Result<Again> {
    let pods = context.pods.group(key);
    let Some(job) = context.jobs.get(key) else {
        return release_orphans(context, key, &pods).await;
    };
    let pods: Vec<Arc<Pod>> = pods
        .into_iter()
        .filter(|pod| pod.manager().is_some_and(|owner| owner.uid == job.uid()))
        .collect();
    if job.is_deleting() {
        release(context, &pods, progress::is_tracked).await?;
        return Ok(None);
    }
    if is_finished(&job) {
        return after_the_end(context, &job, &pods).await;
    }
    advance(context, &job, pods).await
}

async fn advance(context: &Context, job: &Job, mut pods: Vec<Arc<Pod>>) -> Result<Again> {
    let now = Timestamp::now();
    let need = progress::need(job, &refs(&pods), now);
    let mut again = progress::time_left(job, now);
    let mut end = None;
    let mut refused = None;
    match need {
        Need::Nothing => {}
        Need::Wait(wait) => again = Some(again.map_or(wait, |other| other.min(wait))),
        Need::Pods(count) => {
            for name in progress::next_names(job, &refs(&pods), count) {
                match create_pod(context, job, &name).await {
                    Ok(pod) => pods.push(pod),
                    Err(error) => {
                        refused = Some(error);
                        break;
                    }
                }
            }
        }
        Need::Fewer(count) => delete_active(context, job, &mut pods, count, true).await?,
        Need::Suspend => delete_active(context, job, &mut pods, usize::MAX, false).await?,
        Need::Wind(how) => {
            end = Some(how);
            delete_active(context, job, &mut pods, usize::MAX, false).await?;
        }
    }
    let noted = progress::noted(job, &refs(&pods), end, now);
    let was_suspended = progress::is_suspended(job);
    let job = &*store(context, job, noted).await?;
    match (was_suspended, progress::is_suspended(job)) {
        (false, true) => context.job_events.normal(job, "Suspended", "Job suspended"),
        (true, false) => context.job_events.normal(job, "Resumed", "Job resumed"),
        _ => {}
    }
    release(context, &pods, |pod| is_noted(job, pod)).await?;
    if progress::is_suspended(job) {
        release(context, &pods, |pod| pod.is_deleting()).await?;
    }
    let counted = progress::counted(job, end, now);
    let job = &*store(context, job, counted).await?;
    if is_finished(job) {
        announce_end(context, job, end);
        return after_the_end(context, job, &[]).await;
    }
    match refused {
        Some(error) => Err(error),
        None => Ok(again),
    }
}

/// Lets go of some of the pods.
async fn release(context: &Context, pods: &[Arc<Pod>], of: impl Fn(&Pod) -> bool) -> Result<()> {
    let chosen: Vec<&Arc<Pod>> = pods.iter().filter(|pod| of(pod)).collect();
    for pod in chosen {
        let released = context.cluster.remove_finalizer(pod.as_ref(), TRACKING);
        if let Some(pod) = released.await? {
            context.pods.learn(pod);
        }
    }
    Ok(())
}

fn refs(pods: &[Arc<Pod>]) -> Vec<&Pod> {
    pods.iter().map(AsRef::as_ref).collect()
}

/// Whether the pod is about to be counted and still held by its finalizer.
fn is_noted(job: &Job, pod: &Pod) -> bool {
    let status = job.status.as_ref();
    let Some(noted) = status.and_then(|status| status.uncounted_terminated_pods.as_ref()) else {
        return false;
    };
    progress::is_tracked(pod)
        && [&noted.succeeded, &noted.failed]
            .into_iter()
            .flatten()
            .flatten()
            .any(|uid| uid == pod.uid())
}

/// Writes the status if it is another one; answers the Job as it is then.
async fn store(context: &Context, job: &Job, status: JobStatus) -> Result<Arc<Job>> {
    if job.status.as_ref() == Some(&status) {
        return Ok(Arc::new(job.clone()));
    }
    let stored = context.cluster.write_status(job, &status).await?;
    Ok(context.jobs.learn(stored))
}

async fn create_pod(context: &Context, job: &Job, name: &str) -> Result<Arc<Pod>> {
    let key = Key::new(job.namespace(), name);
    match context
        .cluster
        .create::<Pod>(&key, &pod_of(job, name))
        .await
    {
        Ok(pod) => {
            context
                .job_events
                .normal(job, "SuccessfulCreate", format!("Created pod: {name}"));
            Ok(context.pods.learn(pod))
        }
        Err(error) if error.is_already_exists() => {
            // Made before a restart, or by a turn whose event is still on its way.
            let pod = context.cluster.get::<Pod>(&key).await?;
            match pod {
                Some(pod) if pod.manager().is_some_and(|owner| owner.uid == job.uid()) => {
                    Ok(context.pods.learn(pod))
                }
                _ => Err(Error::NameTaken {
                    kind: Pod::KIND,
                    object: key,
                }),
            }
        }
        Err(error) => {
            let message = format!("Error creating: {}", error.refusal());
            context.job_events.warning(job, "FailedCreate", message);
            Err(error)
        }
    }
}

/// A pod as the Job's template wants it.
fn pod_of(job: &Job, name: &str) -> Pod {
    let template = job
        .spec
        .as_ref()
        .map(|spec| spec.template.clone())
        .unwrap_or_default();
    let mut metadata = template.metadata.unwrap_or_default();
    let labels = metadata.labels.get_or_insert_default();
    for label in JOB_NAME_LABELS {
        labels.insert(label.to_owned(), job.name().to_owned());
    }
    for label in JOB_UID_LABELS {
        labels.insert(label.to_owned(), job.uid().to_owned());
    }
    metadata.name = Some(name.to_owned());
    metadata.generate_name = Some(format!("{}-", job.name()));
    metadata.namespace = Some(job.namespace().to_owned());
    metadata.owner_references = Some(vec![job.owner_reference()]);
    metadata
        .finalizers
        .get_or_insert_default()
        .push(TRACKING.to_owned());
    Pod {
        metadata,
        spec: template.spec,
        status: None,
    }
}

/// Deletes up to `count` pods that are not over, the youngest first, and marks them so in
/// the list.
async fn delete_active(
    context: &Context,
    job: &Job,
    pods: &mut [Arc<Pod>],
    count: usize,
    surplus: bool,
) -> Result<()> {
    let mut active: Vec<&mut Arc<Pod>> = pods
        .iter_mut()
        .filter(|pod| progress::is_active(pod))
        .collect();
    active.sort_by(|a, b| {
        let made = |pod: &Pod| pod.metadata.creation_timestamp.clone();
        made(b).cmp(&made(a)).then_with(|| b.name().cmp(a.name()))
    });
    for pod in active.into_iter().take(count) {
        // Who is one too many has not failed: nobody waits to count it.
        if surplus
            && let Some(released) = context
                .cluster
                .remove_finalizer(pod.as_ref(), TRACKING)
                .await?
        {
            *pod = context.pods.learn(released);
        }
        context
            .cluster
            .delete(pod.as_ref(), PropagationPolicy::Background)
            .await?;
        let message = format!("Deleted pod: {}", pod.name());
        context.job_events.normal(job, "SuccessfulDelete", message);
        let mut deleted = Pod::clone(pod);
        deleted.metadata.deletion_timestamp = Some(Timestamp::now().into());
        *pod = Arc::new(deleted);
    }
    Ok(())
}

fn announce_end(context: &Context, job: &Job, end: Option<End>) {
    match end {
        Some(End::CompletionsReached) => {
            context.job_events.normal(job, "Completed", "Job completed");
        }
        Some(end) => context.job_events.warning(job, end.reason(), end.message()),
        None => {}
    }
}

/// Lets go of what is left and removes the Job when its time has come.
async fn after_the_end(context: &Context, job: &Job, pods: &[Arc<Pod>]) -> Result<Again> {
    release(context, pods, progress::is_tracked).await?;
    let ttl = job
        .spec
        .as_ref()
        .and_then(|spec| spec.ttl_seconds_after_finished);
    let (Some(ttl), Some(finished)) = (ttl, progress::finished_at(job)) else {
        return Ok(None);
    };
    let age = Timestamp::now().duration_since(finished);
    let left = k8s_openapi::jiff::SignedDuration::from_secs(ttl.into()) - age;
    match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => Ok(Some(left)),
        _ => {
            context
                .cluster
                .delete(job, PropagationPolicy::Foreground)
                .await?;
            Ok(None)
        }
    }
}

/// Pods whose Job is gone are no longer counted by anybody and must not be held.
async fn release_orphans(context: &Context, key: &Key, pods: &[Arc<Pod>]) -> Result<Again> {
    if !pods.iter().any(|pod| progress::is_tracked(pod)) {
        return Ok(None);
    }
    // The cache may not have seen a Job that was just made.
    let job = context.cluster.get::<Job>(key).await?;
    let uid = job.as_ref().map(Kind::uid);
    release(context, pods, |pod| {
        progress::is_tracked(pod) && pod.manager().map(|owner| owner.uid) != uid
    })
    .await?;
    Ok(None)
}

#[cfg(test)]
mod tests;
