//! How a Job stands and what it needs next. Pure: pods and the time come in, a decision comes
//! out.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::controllers::objects::Kind;

/// Finalizer of a Job's pods: it goes once the pod is counted, so none is lost or counted
/// twice.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";

/// Failures a Job takes when it says nothing.
const DEFAULT_BACKOFF_LIMIT: i32 = 6;
/// Delay before the pod that follows the first failure; it doubles.
const FIRST_DELAY: Duration = Duration::from_secs(10);
/// The delay does not grow beyond this.
const LONGEST_DELAY: Duration = Duration::from_secs(360);
/// What Kubernetes' generated names are made of: no vowels, no look-alikes.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Condition types of a Job.
pub mod condition {
    /// Enough pods succeeded; the rest is being wound up.
    pub const SUCCESS_CRITERIA_MET: &str = "SuccessCriteriaMet";
    /// It ended well.
    pub const COMPLETE: &str = "Complete";
    /// It will fail; its pods are being stopped.
    pub const FAILURE_TARGET: &str = "FailureTarget";
    /// It failed.
    pub const FAILED: &str = "Failed";
    /// It waits.
    pub const SUSPENDED: &str = "Suspended";
}

/// How a Job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Enough pods succeeded.
    CompletionsReached,
    /// More pods failed than the Job takes.
    BackoffLimitExceeded,
    /// It ran longer than allowed.
    DeadlineExceeded,
}

impl End {
    /// The reason of its conditions.
    pub fn reason(self) -> &'static str {
        match self {
            Self::CompletionsReached => "CompletionsReached",
            Self::BackoffLimitExceeded => "BackoffLimitExceeded",
            Self::DeadlineExceeded => "DeadlineExceeded",
        }
    }

    /// The message of its conditions.
    pub fn message(self) -> &'static str {
        match self {
            Self::CompletionsReached => "Reached expected number of succeeded pods",
            Self::BackoffLimitExceeded => "Job has reached the specified backoff limit",
            Self::DeadlineExceeded => "Job was active longer than specified deadline",
        }
    }

    fn announced(self) -> &'static str {
        match self {
            Self::CompletionsReached => condition::SUCCESS_CRITERIA_MET,
            _ => condition::FAILURE_TARGET,
        }
    }

    fn reached(self) -> &'static str {
        match self {
            Self::CompletionsReached => condition::COMPLETE,
            _ => condition::FAILED,
        }
    }

    fn from_reason(reason: &str) -> Option<Self> {
        [
            Self::CompletionsReached,
            Self::BackoffLimitExceeded,
            Self::DeadlineExceeded,
        ]
        .into_iter()
        .find(|end| end.reason() == reason)
    }
}

/// A condition of a Job that holds.
pub fn holding<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    conditions
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")
}

/// When a Job ended, if it did.
pub fn finished_at(job: &Job) -> Option<Timestamp> {
    let end = holding(job, condition::COMPLETE).or_else(|| holding(job, condition::FAILED))?;
    end.last_transition_time.as_ref().map(|time| time.0)
}

/// Whether a Job ended.
pub fn is_finished(job: &Job) -> bool {
    holding(job, condition::COMPLETE).is_some() || holding(job, condition::FAILED).is_some()
}

/// Whether a Job's status says that it stands still.
pub fn is_suspended(job: &Job) -> bool {
    holding(job, condition::SUSPENDED).is_some()
}

fn phase(pod: &Pod) -> &str {
    let status = pod.status.as_ref();
    status
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default()
}

fn has_succeeded(pod: &Pod) -> bool {
    phase(pod) == "Succeeded"
}

/// Over, and not well.
pub fn has_failed(pod: &Pod) -> bool {
    phase(pod) == "Failed"
}

/// Over, one way or the other.
fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Neither over nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !pod.is_deleting()
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether the pod has yet to be counted.
pub fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers()
        .iter()
        .any(|finalizer| finalizer == TRACKING)
}

/// What keeps a pod from starting, if it is more than a matter of moments: an image that does
/// not come, a configuration that is not there, no room on the node.
pub fn obstacle(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let text = |reason: &Option<String>, message: &Option<String>| {
        let reason = reason.as_deref().unwrap_or_default();
        match message.as_deref() {
            Some(message) if !message.is_empty() => format!("{reason}: {message}"),
            _ => reason.to_owned(),
        }
    };
    let unscheduled = status.conditions.iter().flatten().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
    });
    if let Some(condition) = unscheduled {
        return Some(text(&condition.reason, &condition.message));
    }
    let containers = status.init_container_statuses.iter().flatten();
    containers
        .chain(status.container_statuses.iter().flatten())
        .filter_map(|container| container.state.as_ref()?.waiting.as_ref())
        .find(|waiting| {
            let reason = waiting.reason.as_deref().unwrap_or_default();
            !matches!(reason, "" | "ContainerCreating" | "PodInitializing")
        })
        .map(|waiting| text(&waiting.reason, &waiting.message))
}

fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref());
    let containers = containers.into_iter().flatten();
    containers.fold(0, |sum, container| {
        i32::saturating_add(sum, container.restart_count)
    })
}

/// When the last container of a pod that is over ended.
fn ended_at(pod: &Pod) -> Option<Timestamp> {
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    containers
        .iter()
        .filter_map(|container| container.state.as_ref()?.terminated.as_ref())
        .filter_map(|ended| ended.finished_at.as_ref())
        .map(|time| time.0)
        .max()
        .or_else(|| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// What a Job needs next.
#[derive(Clone, Debug, PartialEq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// So many pods more.
    Pods(usize),
    /// Pods, but only after a while, because the last ones failed.
    Wait(Duration),
    /// So many pods fewer.
    Fewer(usize),
    /// The end: all pods that are left have to go.
    Wind(End),
    /// To stand still.
    Suspend,
}

fn limit(number: Option<i32>, default: i32) -> i32 {
    number.unwrap_or(default).max(0)
}

/// Pods counted so far, those of this look included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Succeeded.
    pub succeeded: i32,
    /// Failed.
    pub failed: i32,
}

/// How the pods that are over add up.
pub fn tally(job: &Job, pods: &[&Pod]) -> Tally {
    let status = job.status.clone().unwrap_or_default();
    let uncounted = uncounted(job, pods);
    let len = |uids: &Option<Vec<String>>| {
        i32::try_from(uids.as_ref().map_or(0, Vec::len)).unwrap_or(i32::MAX)
    };
    Tally {
        succeeded: status
            .succeeded
            .unwrap_or(0)
            .saturating_add(len(&uncounted.succeeded)),
        failed: status
            .failed
            .unwrap_or(0)
            .saturating_add(len(&uncounted.failed)),
    }
}

/// The pods that are over and not yet in the counters: those noted before, and those that
/// still carry the finalizer.
fn uncounted(job: &Job, pods: &[&Pod]) -> UncountedTerminatedPods {
    let status = job.status.as_ref();
    let noted = status.and_then(|status| status.uncounted_terminated_pods.clone());
    let noted = noted.unwrap_or_default();
    let mut succeeded = noted.succeeded.unwrap_or_default();
    let mut failed = noted.failed.unwrap_or_default();
    let suspended = job
        .spec
        .as_ref()
        .is_some_and(|spec| spec.suspend == Some(true));
    for pod in pods.iter().filter(|pod| is_tracked(pod)) {
        let uid = pod.uid().to_owned();
        if succeeded.contains(&uid) || failed.contains(&uid) {
            continue;
        }
        if has_succeeded(pod) {
            succeeded.push(uid);
        } else if has_failed(pod) || (pod.is_deleting() && !suspended) {
            // A pod somebody deletes is a failed one, at once: its replacement does not wait.
            failed.push(uid);
        }
    }
    let some = |uids: Vec<String>| (!uids.is_empty()).then_some(uids);
    UncountedTerminatedPods {
        succeeded: some(succeeded),
        failed: some(failed),
    }
}

/// The end that has been announced in the Job's status.
fn announced(job: &Job) -> Option<End> {
    [condition::FAILURE_TARGET, condition::SUCCESS_CRITERIA_MET]
        .into_iter()
        .filter_map(|kind| holding(job, kind))
        .find_map(|condition| End::from_reason(condition.reason.as_deref()?))
}

/// Decides what a Job that has not ended needs next.
pub fn need(job: &Job, pods: &[&Pod], now: Timestamp) -> Need {
    let spec = job.spec.clone().unwrap_or_default();
    let tally = tally(job, pods);
    if let Some(end) = announced(job) {
        return Need::Wind(end);
    }
    if spec.suspend == Some(true) {
        return Need::Suspend;
    }
    let backoff_limit = limit(spec.backoff_limit, DEFAULT_BACKOFF_LIMIT);
    let restarts = pods
        .iter()
        .filter(|pod| is_active(pod))
        .fold(0, |sum: i32, pod| sum.saturating_add(restarts(pod)));
    let on_failure = spec
        .template
        .spec
        .as_ref()
        .is_some_and(|pod| pod.restart_policy.as_deref() == Some("OnFailure"));
    let restarted_too_often = on_failure && restarts > 0 && restarts >= backoff_limit;
    if tally.failed > backoff_limit || restarted_too_often {
        return Need::Wind(End::BackoffLimitExceeded);
    }
    if deadline(job).is_some_and(|deadline| deadline <= now) {
        return Need::Wind(End::DeadlineExceeded);
    }
    let active = pods.iter().filter(|pod| is_active(pod)).count();
    let parallelism = limit(spec.parallelism, 1);
    let completions = match (spec.completions, spec.parallelism) {
        (None, None) => Some(1),
        (completions, _) => completions,
    };
    let done = match completions {
        Some(wanted) => tally.succeeded >= wanted,
        None => tally.succeeded > 0 && active == 0,
    };
    if done {
        return Need::Wind(End::CompletionsReached);
    }
    let wanted = match completions {
        Some(wanted) => limit(
            Some(wanted.saturating_sub(tally.succeeded).min(parallelism)),
            0,
        ),
        None if tally.succeeded > 0 => return Need::Nothing,
        None => parallelism,
    };
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if active > wanted {
        return Need::Fewer(active - wanted);
    }
    if active == wanted {
        return Need::Nothing;
    }
    match delay(pods, now) {
        Some(wait) => Need::Wait(wait),
        None => Need::Pods(wanted - active),
    }
}

/// How long a Job may still run; nothing where it has no deadline, and where that has passed.
pub fn time_left(job: &Job, now: Timestamp) -> Option<Duration> {
    let left = Duration::try_from(deadline(job)?.duration_since(now)).ok()?;
    Some(left).filter(|left| !left.is_zero())
}

/// When a Job's time is up.
fn deadline(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.active_deadline_seconds?;
    let started = job.status.as_ref()?.start_time.as_ref()?.0;
    started
        .checked_add(k8s_openapi::jiff::SignedDuration::from_secs(seconds))
        .ok()
}

/// How long the next pod has to wait: 10 s after the first failure in a row, then twice as
/// long each time. Not at all when the clock was set back since: Kubernetes would wait until it
/// is where it was.
pub fn delay(pods: &[&Pod], now: Timestamp) -> Option<Duration> {
    let last_success = pods
        .iter()
        .filter(|pod| has_succeeded(pod))
        .filter_map(|pod| ended_at(pod))
        .max();
    let failures: Vec<Timestamp> = pods
        .iter()
        .filter(|pod| has_failed(pod) && !pod.is_deleting())
        .filter_map(|pod| ended_at(pod))
        .filter(|at| last_success.is_none_or(|success| *at > success))
        .collect();
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX);
    let delay = FIRST_DELAY
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(LONGEST_DELAY);
    let since = now.duration_since(*last);
    if since.is_negative() && since.unsigned_abs() > delay {
        // The clock was set back since: how much of the delay has passed is not known.
        return None;
    }
    let passed = Duration::try_from(since).unwrap_or_default();
    delay.checked_sub(passed).filter(|left| !left.is_zero())
}

/// The names of the next pods. A pod's name follows from the Job's identity and the pod's
/// turn, so that a pod asked for twice is made once.
pub fn next_names(job: &Job, pods: &[&Pod], count: usize) -> Vec<String> {
    let tally = tally(job, pods);
    let over = u64::try_from(tally.succeeded.saturating_add(tally.failed)).unwrap_or(0);
    (over..)
        .map(|turn| pod_name(job, turn))
        .filter(|name| pods.iter().all(|pod| pod.name() != name))
        .take(count)
        .collect()
}

/// The name of the pod of a turn.
pub fn pod_name(job: &Job, turn: u64) -> String {
    let mut digest = Sha256::new();
    digest.update(job.uid().as_bytes());
    digest.update(turn.to_be_bytes());
    let suffix: String = digest
        .finalize()
        .iter()
        .take(5)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect();
    format!("{}-{suffix}", job.name())
}

/// The status before pods that are over are let go: they are noted by their identity.
pub fn noted(job: &Job, pods: &[&Pod], end: Option<End>, now: Timestamp) -> JobStatus {
    let mut status = job.status.clone().unwrap_or_default();
    let suspended = job
        .spec
        .as_ref()
        .is_some_and(|spec| spec.suspend == Some(true));
    if suspended {
        status.start_time = None;
    } else if status.start_time.is_none() {
        status.start_time = Some(Time(now));
    }
    let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let count = |of: fn(&Pod) -> bool| number(pods.iter().filter(|pod| of(pod)).count());
    status.active = Some(count(is_active)).filter(|active| *active != 0);
    status.ready = Some(count(|pod| is_active(pod) && is_ready(pod)));
    status.terminating = Some(count(|pod| pod.is_deleting() && !is_terminal(pod)));
    status.uncounted_terminated_pods = Some(uncounted(job, pods));
    suspension(&mut status, suspended, now);
    if let Some(end) = end {
        add_condition(&mut status, end.announced(), end, now);
    }
    status
}

/// The status after the noted pods have been let go: they are in the counters.
pub fn counted(job: &Job, end: Option<End>, now: Timestamp) -> JobStatus {
    let mut status = job.status.clone().unwrap_or_default();
    let noted = status
        .uncounted_terminated_pods
        .replace(UncountedTerminatedPods::default());
    let noted = noted.unwrap_or_default();
    for (counter, uids) in [
        (&mut status.succeeded, noted.succeeded),
        (&mut status.failed, noted.failed),
    ] {
        let more = i32::try_from(uids.map_or(0, |uids| uids.len())).unwrap_or(i32::MAX);
        if more > 0 {
            *counter = Some(counter.unwrap_or(0).saturating_add(more));
        }
    }
    if let Some(end) = end
        && status.active.is_none()
        && status.terminating.unwrap_or(0) == 0
    {
        add_condition(&mut status, end.reached(), end, now);
        if end == End::CompletionsReached && status.completion_time.is_none() {
            status.completion_time = Some(Time(now));
        }
    }
    status
}

fn add_condition(status: &mut JobStatus, kind: &str, end: End, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|condition| condition.type_ == kind) {
        return;
    }
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
        reason: Some(end.reason().to_owned()),
        message: Some(end.message().to_owned()),
    });
}

/// Says in the status whether the Job stands still.
fn suspension(status: &mut JobStatus, suspended: bool, now: Timestamp) {
    let said = status.conditions.as_deref().unwrap_or_default();
    let said = said
        .iter()
        .find(|condition| condition.type_ == condition::SUSPENDED);
    if said.is_none() && !suspended {
        return;
    }
    let wanted = if suspended { "True" } else { "False" };
    if said.is_some_and(|condition| condition.status == wanted) {
        return;
    }
    let (reason, message) = if suspended {
        ("JobSuspended", "Job suspended")
    } else {
        ("JobResumed", "Job resumed")
    };
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|condition| condition.type_ != condition::SUSPENDED);
    conditions.push(JobCondition {
        type_: condition::SUSPENDED.to_owned(),
        status: wanted.to_owned(),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
    });
}
