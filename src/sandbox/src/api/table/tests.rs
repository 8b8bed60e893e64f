use super::*;

const NOW: &str = "2026-11-23T18:00:00Z";

fn row(cells: fn(&Value) -> Vec<Cell>, object: &Value) -> Vec<String> {
    let now = age::parse(NOW).expect("a time");
    cells(object)
        .iter()
        .map(|c| match c.render(now) {
            Value::String(s) => s,
            other => other.to_string(),
        })
        .collect()
}

fn pod(status: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": "p", "creationTimestamp": "2026-11-23T17:53:21Z"}, "spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b"}]}, "status": status})
}

#[test]
fn a_pod_shows_the_reason_of_its_first_container() {
    let status = json!({"phase": "Pending", "containerStatuses": [
        {"name": "a", "restartCount": 0, "state": {"terminated": {"exitCode": 255, "reason": "Error"}}},
        {"name": "b", "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}},
    ]});
    assert_eq!(
        row(pod_cells, &pod(status))[..5],
        ["p", "0/2", "Error", "0", "6m39s"]
    );
    let status = json!({"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [
        {"ready": true, "restartCount": 1, "state": {"running": {}}, "lastState": {"terminated": {"finishedAt": "2026-11-23T17:59:00Z"}}},
        {"ready": true, "restartCount": 0, "state": {"running": {}}},
    ]});
    assert_eq!(
        row(pod_cells, &pod(status)),
        [
            "p",
            "2/2",
            "Running",
            "1 (60s ago)",
            "6m39s",
            "10.0.0.1",
            "n",
            "<none>",
            "<none>"
        ]
    );
    let status = json!({"phase": "Failed", "reason": "DeadlineExceeded"});
    assert_eq!(row(pod_cells, &pod(status))[2], "DeadlineExceeded");
    let mut going = pod(json!({"phase": "Running"}));
    going["metadata"]["deletionTimestamp"] = json!(NOW);
    assert_eq!(row(pod_cells, &going)[2], "Terminating");
}

#[test]
fn a_finished_pod_is_marked_for_kubectl() {
    let done = row_conditions(&pod(json!({"phase": "Succeeded"}))).expect("a condition");
    assert_eq!(done[0]["reason"], "Succeeded");
    assert_eq!(row_conditions(&pod(json!({"phase": "Running"}))), None);
}

#[test]
fn a_job_shows_status_completions_and_duration() {
    let mut job = json!({"metadata": {"name": "j", "creationTimestamp": "2026-11-23T17:53:21Z"}, "spec": {"completions": 1, "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}, "selector": {"matchLabels": {"u": "x"}}}, "status": {"startTime": "2026-11-23T17:59:30Z"}});
    assert_eq!(
        row(job_cells, &job),
        ["j", "Running", "0/1", "30s", "6m39s", "c", "i:1", "u=x"]
    );
    job["status"] = json!({"succeeded": 1, "startTime": "2026-11-23T17:53:21Z", "completionTime": "2026-11-23T17:53:30Z", "conditions": [{"type": "SuccessCriteriaMet", "status": "True"}, {"type": "Complete", "status": "True"}]});
    assert_eq!(row(job_cells, &job)[..4], ["j", "Complete", "1/1", "9s"]);
}

#[test]
fn an_experiment_shows_its_last_condition() {
    let e = json!({"metadata": {"name": "e", "creationTimestamp": NOW}, "status": {"conditions": [{"type": "Created", "status": "True"}, {"type": "Running", "status": "True"}]}});
    assert_eq!(row(condition_cells, &e), ["e", "Running", "True", "0s"]);
    let s = json!({"metadata": {"name": "s", "creationTimestamp": NOW}, "spec": {"requests": 6}, "status": {"suggestionCount": 6}});
    assert_eq!(row(suggestion_cells, &s), ["s", "", "", "6", "6", "0s"]);
}

#[test]
fn an_event_of_either_kind_shows_when_and_who() {
    let e = json!({"metadata": {"name": "e.1"}, "type": "Normal", "reason": "Pulled", "message": " done \n", "count": 3, "firstTimestamp": "2026-11-23T17:50:00Z", "lastTimestamp": "2026-11-23T17:58:00Z", "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"}, "source": {"component": "kubelet", "host": "n"}});
    assert_eq!(
        row(event_cells, &e),
        [
            "2m",
            "Normal",
            "Pulled",
            "pod/p",
            "spec.containers{c}",
            "kubelet, n",
            "done",
            "10m",
            "3",
            "e.1"
        ]
    );
    let e = json!({"metadata": {"name": "e.2"}, "eventTime": "2026-11-23T17:59:00.123456Z", "reportingComponent": "scheduler", "reportingInstance": "s-1", "involvedObject": {"kind": "Pod"}});
    let shown = row(event_cells, &e);
    assert_eq!(
        (shown[0].as_str(), shown[5].as_str(), shown[8].as_str()),
        ("60s", "scheduler, s-1", "1")
    );
}
