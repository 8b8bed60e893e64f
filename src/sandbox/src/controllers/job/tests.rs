use super::pod_of;
use super::progress::*;
use crate::controllers::objects::Kind;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{Timestamp, ToSpan};
use serde_json::{Value, json};
use std::time::Duration;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + seconds.seconds()
}

fn job(spec: Value, status: Value) -> Job {
    let mut object = json!({
        "metadata": {"name": "job", "namespace": "lab", "uid": "u-1"},
        "spec": {"template": {"spec": {"containers": [], "restartPolicy": "Never"}}},
        "status": status
    });
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

fn pod(job: &Job, turn: u64, phase: &str, ended: Option<i64>) -> Pod {
    let mut pod = pod_of(job, &pod_name(job, turn));
    pod.metadata.uid = Some(format!("pod-{turn}"));
    let containers = ended.map(|seconds| {
        json!([{"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 1, "finishedAt": at(seconds).to_string()}}}])
    });
    pod.status = serde_json::from_value(json!({
        "phase": phase, "containerStatuses": containers,
        "conditions": [{"type": "Ready", "status": if phase == "Running" {"True"} else {"False"}}]
    }))
    .unwrap();
    pod
}

fn with_status(job: &Job, status: JobStatus) -> Job {
    Job {
        status: Some(status),
        ..job.clone()
    }
}

fn kinds(status: &JobStatus) -> Vec<String> {
    let conditions = status.conditions.iter().flatten();
    conditions
        .map(|c| format!("{} {}", c.type_, c.reason.as_deref().unwrap_or_default()))
        .collect()
}

#[test]
fn a_new_job_wants_one_pod_and_says_so_as_recorded() {
    let job = job(json!({}), json!({}));
    assert_eq!(need(&job, &[], at(0)), Need::Pods(1));
    let first = pod(&job, 0, "Pending", None);
    assert_eq!(need(&job, &[&first], at(0)), Need::Nothing);
    assert_eq!(
        serde_json::to_value(noted(&job, &[&first], None, at(0))).unwrap(),
        json!({"startTime": "1970-01-01T00:00:00Z", "active": 1, "ready": 0, "terminating": 0,
               "uncountedTerminatedPods": {}})
    );
}

#[test]
fn success_is_noted_then_counted_with_both_conditions() {
    let job = job(json!({}), json!({"startTime": at(0).to_string()}));
    let done = pod(&job, 0, "Succeeded", Some(5));
    let need = need(&job, &[&done], at(6));
    assert_eq!(need, Need::Wind(End::CompletionsReached));
    let end = Some(End::CompletionsReached);
    let first = noted(&job, &[&done], end, at(6));
    assert_eq!(kinds(&first), ["SuccessCriteriaMet CompletionsReached"]);
    assert_eq!(first.active, None);
    let uids = first.uncounted_terminated_pods.clone().unwrap().succeeded;
    assert_eq!(uids, Some(vec!["pod-0".to_owned()]));
    assert_eq!(first.succeeded, None);

    let second = counted(&with_status(&job, first), end, at(6));
    assert_eq!(
        kinds(&second),
        [
            "SuccessCriteriaMet CompletionsReached",
            "Complete CompletionsReached"
        ]
    );
    assert_eq!(second.succeeded, Some(1));
    assert!(second.completion_time.is_some());
    assert!(is_finished(&with_status(&job, second)));
}

#[test]
fn a_pod_is_counted_once_however_often_the_controller_was_stopped() {
    let job = job(json!({"completions": 2, "parallelism": 1}), json!({}));
    let mut done = pod(&job, 0, "Succeeded", Some(1));
    let first = with_status(&job, noted(&job, &[&done], None, at(2)));
    // Stopped before the finalizer went: the same pod is noted again, once.
    let again = with_status(&first, noted(&first, &[&done], None, at(2)));
    assert_eq!(tally(&again, &[&done]).succeeded, 1);
    // Stopped after it went.
    done.metadata.finalizers = None;
    let again = with_status(&again, noted(&again, &[&done], None, at(2)));
    let counted_once = with_status(&again, counted(&again, None, at(2)));
    assert_eq!(tally(&counted_once, &[&done]).succeeded, 1);
    // And the next look adds nothing.
    let later = with_status(&counted_once, noted(&counted_once, &[&done], None, at(3)));
    let later = with_status(&later, counted(&later, None, at(3)));
    assert_eq!(tally(&later, &[&done]).succeeded, 1);
    assert_eq!(need(&later, &[&done], at(3)), Need::Pods(1));
}

#[test]
fn failures_wait_ten_seconds_then_twice_as_long_until_the_limit() {
    let job = job(json!({"backoffLimit": 2}), json!({}));
    let one = pod(&job, 0, "Failed", Some(100));
    let seconds = Duration::from_secs;
    assert_eq!(need(&job, &[&one], at(103)), Need::Wait(seconds(7)));
    assert_eq!(need(&job, &[&one], at(110)), Need::Pods(1));
    let two = pod(&job, 1, "Failed", Some(114));
    assert_eq!(need(&job, &[&one, &two], at(114)), Need::Wait(seconds(20)));
    let three = pod(&job, 2, "Failed", Some(140));
    let pods = [&one, &two, &three];
    assert_eq!(
        need(&job, &pods, at(140)),
        Need::Wind(End::BackoffLimitExceeded)
    );
    let end = Some(End::BackoffLimitExceeded);
    let first = noted(&job, &pods, end, at(140));
    assert_eq!(kinds(&first), ["FailureTarget BackoffLimitExceeded"]);
    let last = counted(&with_status(&job, first), end, at(140));
    assert_eq!(
        kinds(&last),
        [
            "FailureTarget BackoffLimitExceeded",
            "Failed BackoffLimitExceeded"
        ]
    );
    assert_eq!((last.failed, last.completion_time), (Some(3), None));
}

#[test]
fn the_delay_stops_growing_at_six_minutes_and_starts_anew_after_a_success() {
    let job = job(json!({"backoffLimit": 20, "completions": 5}), json!({}));
    let failures: Vec<Pod> = (0..9)
        .map(|turn| pod(&job, turn, "Failed", Some(0)))
        .collect();
    let mut pods: Vec<&Pod> = failures.iter().collect();
    assert_eq!(delay(&pods, at(0)), Some(Duration::from_secs(360)));
    let good = pod(&job, 9, "Succeeded", Some(1));
    pods.push(&good);
    assert_eq!(delay(&pods, at(1)), None);
    let bad = pod(&job, 10, "Failed", Some(2));
    pods.push(&bad);
    assert_eq!(delay(&pods, at(2)), Some(Duration::from_secs(10)));
    // The engine's clock may be a little ahead; a clock that was set back keeps nobody waiting.
    assert_eq!(delay(&pods, at(1)), Some(Duration::from_secs(10)));
    assert_eq!(delay(&pods, at(-86_400)), None);
}

#[test]
fn a_backoff_limit_of_zero_fails_at_once_and_six_is_the_default() {
    let strict = job(json!({"backoffLimit": 0}), json!({}));
    let one = pod(&strict, 0, "Failed", Some(1));
    assert_eq!(
        need(&strict, &[&one], at(1)),
        Need::Wind(End::BackoffLimitExceeded)
    );
    let default = job(json!({}), json!({"failed": 6}));
    assert!(!matches!(need(&default, &[], at(1)), Need::Wind(_)));
    assert!(matches!(need(&default, &[&one], at(1)), Need::Wind(_)));
}

#[test]
fn the_deadline_fails_the_job_and_waits_for_its_pods_to_stop() {
    let started = json!({"startTime": at(0).to_string()});
    let job = job(json!({"activeDeadlineSeconds": 8}), started);
    let mut live = pod(&job, 0, "Running", None);
    assert_eq!(need(&job, &[&live], at(7)), Need::Nothing);
    assert_eq!(time_left(&job, at(7)), Some(Duration::from_secs(1)));
    // Its pods may take their time to stop: nothing is to be done until they have.
    assert_eq!(time_left(&job, at(8)), None);
    assert_eq!(time_left(&job, at(9)), None);
    assert_eq!(
        need(&job, &[&live], at(8)),
        Need::Wind(End::DeadlineExceeded)
    );
    live.metadata.deletion_timestamp = Some(at(8).into());
    let end = Some(End::DeadlineExceeded);
    let first = with_status(&job, noted(&job, &[&live], end, at(8)));
    let status = first.status.clone().unwrap();
    assert_eq!((status.terminating, status.active), (Some(1), None));
    assert_eq!(
        tally(&first, &[]).failed,
        1,
        "a pod being stopped counts as failed at once"
    );
    let second = with_status(&first, counted(&first, end, at(8)));
    assert!(!is_finished(&second));
    live.metadata.finalizers = None;
    live.status.as_mut().unwrap().phase = Some("Failed".into());
    assert_eq!(
        need(&second, &[&live], at(9)),
        Need::Wind(End::DeadlineExceeded)
    );
    let third = with_status(&second, noted(&second, &[&live], end, at(9)));
    let last = counted(&third, end, at(9));
    assert_eq!(
        kinds(&last),
        ["FailureTarget DeadlineExceeded", "Failed DeadlineExceeded"]
    );
    assert_eq!(last.failed, Some(1));
}

#[test]
fn parallelism_and_completions_bound_the_pods() {
    let wide = job(json!({"parallelism": 3, "completions": 4}), json!({}));
    assert_eq!(need(&wide, &[], at(0)), Need::Pods(3));
    let three: Vec<Pod> = (0..3)
        .map(|turn| pod(&wide, turn, "Running", None))
        .collect();
    let refs: Vec<&Pod> = three.iter().collect();
    assert_eq!(need(&wide, &refs, at(0)), Need::Nothing);
    let two_done = job(
        json!({"parallelism": 3, "completions": 4}),
        json!({"succeeded": 2}),
    );
    assert_eq!(need(&two_done, &refs, at(0)), Need::Fewer(1));
    let narrow = job(json!({"parallelism": 0}), json!({}));
    assert_eq!(need(&narrow, &[], at(0)), Need::Nothing);
    // A work queue: the first success ends it once the others are over.
    let queue = job(json!({"parallelism": 2}), json!({"succeeded": 1}));
    assert_eq!(need(&queue, &refs[..1], at(0)), Need::Nothing);
    assert_eq!(
        need(&queue, &[], at(0)),
        Need::Wind(End::CompletionsReached)
    );
}

#[test]
fn a_suspended_job_has_no_pods_and_no_start() {
    let job = job(json!({"suspend": true}), json!({}));
    assert_eq!(need(&job, &[], at(0)), Need::Suspend);
    let status = noted(&job, &[], None, at(0));
    assert_eq!(kinds(&status), ["Suspended JobSuspended"]);
    assert_eq!(status.start_time, None);
    let mut resumed = with_status(&job, status);
    resumed.spec.as_mut().unwrap().suspend = Some(false);
    let status = noted(&resumed, &[], None, at(5));
    assert_eq!(kinds(&status), ["Suspended JobResumed"]);
    assert!(status.start_time.is_some());
}

#[test]
fn pod_names_follow_from_the_job_and_the_turn() {
    let job = job(json!({"parallelism": 2, "completions": 3}), json!({}));
    let names = next_names(&job, &[], 2);
    assert_eq!(names, next_names(&job, &[], 2), "asked twice, made once");
    assert_ne!(names[0], names[1]);
    let suffix = names[0].strip_prefix("job-").unwrap();
    assert_eq!(suffix.len(), 5);
    let live = pod(&job, 0, "Running", None);
    assert_eq!(next_names(&job, &[&live], 1), [pod_name(&job, 1)]);
    let over = pod(&job, 0, "Succeeded", Some(1));
    assert_eq!(
        next_names(&job, &[&over, &pod(&job, 1, "Running", None)], 1),
        [pod_name(&job, 2)]
    );
}

#[test]
fn pods_carry_labels_owner_and_finalizer_as_recorded() {
    let mut job = job(json!({}), json!({}));
    let template = &mut job.spec.as_mut().unwrap().template;
    template.metadata = serde_json::from_value(json!({
        "labels": {"app": "x"}, "annotations": {"sidecar.istio.io/inject": "false"}}))
    .unwrap();
    let pod = serde_json::to_value(pod_of(&job, "job-abcde")).unwrap();
    assert_eq!(
        pod["metadata"],
        json!({
            "name": "job-abcde", "generateName": "job-", "namespace": "lab",
            "labels": {
                "app": "x", "batch.kubernetes.io/controller-uid": "u-1",
                "batch.kubernetes.io/job-name": "job", "controller-uid": "u-1", "job-name": "job"},
            "annotations": {"sidecar.istio.io/inject": "false"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "job",
                "uid": "u-1", "controller": true, "blockOwnerDeletion": true}],
            "finalizers": ["batch.kubernetes.io/job-tracking"]
        })
    );
    assert_eq!(job.key().to_string(), "lab/job");
}

#[test]
fn a_pod_says_what_keeps_it_from_starting() {
    let job = job(json!({}), json!({}));
    let mut waiting = pod(&job, 0, "Pending", None);
    let mut with = |status: Value| {
        waiting.status = serde_json::from_value(status).unwrap();
        obstacle(&waiting)
    };
    let state = |reason: &str| {
        json!({"phase": "Pending", "containerStatuses": [{"name": "c", "image": "i", "imageID": "",
            "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": reason, "message": "not found"}}}]})
    };
    assert_eq!(
        with(state("ErrImagePull")),
        Some("ErrImagePull: not found".into())
    );
    assert_eq!(with(state("ContainerCreating")), None);
    let full = json!({"phase": "Pending", "conditions": [{"type": "PodScheduled",
        "status": "False", "reason": "Unschedulable", "message": "Insufficient cpu"}]});
    assert_eq!(with(full), Some("Unschedulable: Insufficient cpu".into()));
}
