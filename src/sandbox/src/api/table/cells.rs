//! The cells of each kind's row.

use serde_json::Value;

use super::super::age;
use super::Cell;

fn text(value: &Value) -> Cell {
    Cell::Text(match value {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    })
}

fn text_or_none(value: &Value) -> Cell {
    match value.as_str() {
        Some(s) if !s.is_empty() => Cell::Text(s.to_owned()),
        _ => Cell::Text("<none>".into()),
    }
}

fn name(o: &Value) -> Cell {
    text(&o["metadata"]["name"])
}

fn since(value: &Value) -> Cell {
    match value.as_str().and_then(age::parse) {
        Some(at) => Cell::Since(at),
        None => Cell::Text("<unknown>".into()),
    }
}

fn created(o: &Value) -> Cell {
    since(&o["metadata"]["creationTimestamp"])
}

fn keys(value: &Value) -> i64 {
    value.as_object().map_or(0, |m| m.len() as i64)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn joined(values: impl Iterator<Item = String>) -> Cell {
    Cell::Text(values.collect::<Vec<_>>().join(","))
}

fn condition<'a>(o: &'a Value, kind: &str) -> Option<&'a str> {
    list(&o["status"]["conditions"])
        .iter()
        .find(|c| c["type"] == kind)?["status"]
        .as_str()
}

/// Name and age.
pub fn age_only(o: &Value) -> Vec<Cell> {
    vec![name(o), created(o)]
}

/// ConfigMaps.
pub fn configmap_cells(o: &Value) -> Vec<Cell> {
    vec![
        name(o),
        Cell::Number(keys(&o["data"]) + keys(&o["binaryData"])),
        created(o),
    ]
}

/// Secrets.
pub fn secret_cells(o: &Value) -> Vec<Cell> {
    vec![
        name(o),
        text(&o["type"]),
        Cell::Number(keys(&o["data"])),
        created(o),
    ]
}

/// Namespaces.
pub fn phase_cells(o: &Value) -> Vec<Cell> {
    vec![name(o), text(&o["status"]["phase"]), created(o)]
}

fn last_condition(o: &Value) -> (Cell, Cell) {
    let last = list(&o["status"]["conditions"])
        .last()
        .unwrap_or(&Value::Null);
    (text(&last["type"]), text(&last["status"]))
}

/// Experiments and trials: the last condition is what users see.
pub fn condition_cells(o: &Value) -> Vec<Cell> {
    let (kind, status) = last_condition(o);
    vec![name(o), kind, status, created(o)]
}

/// Suggestions.
pub fn suggestion_cells(o: &Value) -> Vec<Cell> {
    let (kind, status) = last_condition(o);
    let (requested, assigned) = (
        text(&o["spec"]["requests"]),
        text(&o["status"]["suggestionCount"]),
    );
    vec![name(o), kind, status, requested, assigned, created(o)]
}

/// Custom resource definitions.
pub fn crd_cells(o: &Value) -> Vec<Cell> {
    vec![name(o), text(&o["metadata"]["creationTimestamp"])]
}

/// Pods.
pub fn pod_cells(o: &Value) -> Vec<Cell> {
    let status = &o["status"];
    let state = pod_state(o);
    let total = list(&o["spec"]["containers"]).len();
    let gates = list(&o["spec"]["readinessGates"]);
    let gates = if gates.is_empty() {
        Cell::Text("<none>".into())
    } else {
        let held = gates
            .iter()
            .filter(|g| {
                g["conditionType"]
                    .as_str()
                    .is_some_and(|t| condition(o, t) == Some("True"))
            })
            .count();
        Cell::Text(format!("{held}/{}", gates.len()))
    };
    vec![
        name(o),
        Cell::Text(format!("{}/{total}", state.ready)),
        Cell::Text(state.reason),
        Cell::Restarts(
            state.restarts,
            state.last_restart.filter(|_| state.restarts > 0),
        ),
        created(o),
        text_or_none(&status["podIP"]),
        text_or_none(&o["spec"]["nodeName"]),
        text_or_none(&status["nominatedNodeName"]),
        gates,
    ]
}

struct PodState {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: Option<i64>,
}

fn ended(terminated: &Value) -> String {
    match terminated["reason"].as_str() {
        Some(reason) if !reason.is_empty() => reason.to_owned(),
        _ => match terminated["signal"].as_i64() {
            Some(signal) if signal != 0 => format!("Signal:{signal}"),
            _ => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        },
    }
}

/// The one word kubectl shows for a pod: the first container with something to say wins, init
/// containers before all.
fn pod_state(o: &Value) -> PodState {
    let status = &o["status"];
    let mut reason = status["phase"].as_str().unwrap_or("").to_owned();
    if let Some(r) = status["reason"].as_str().filter(|r| !r.is_empty()) {
        reason = r.to_owned();
    }
    let mut state = PodState {
        reason: String::new(),
        ready: 0,
        restarts: 0,
        last_restart: None,
    };
    let restarted = |state: &mut PodState, c: &Value| {
        state.restarts += c["restartCount"].as_i64().unwrap_or(0);
        let at = c["lastState"]["terminated"]["finishedAt"]
            .as_str()
            .and_then(age::parse);
        state.last_restart = state.last_restart.max(at);
    };
    let mut initializing = false;
    let inits = list(&status["initContainerStatuses"]);
    for (i, c) in inits.iter().enumerate() {
        restarted(&mut state, c);
        let now = &c["state"];
        if now["terminated"].is_object() {
            if now["terminated"]["exitCode"] == 0 {
                continue;
            }
            reason = format!("Init:{}", ended(&now["terminated"]));
        } else {
            reason = match now["waiting"]["reason"].as_str() {
                Some(r) if !r.is_empty() && r != "PodInitializing" => format!("Init:{r}"),
                _ => format!("Init:{i}/{}", list(&o["spec"]["initContainers"]).len()),
            };
        }
        initializing = true;
        break;
    }
    if !initializing {
        state.restarts = 0;
        state.last_restart = None;
        let mut running = false;
        for c in list(&status["containerStatuses"]).iter().rev() {
            restarted(&mut state, c);
            let now = &c["state"];
            match now["waiting"]["reason"].as_str() {
                Some(r) if !r.is_empty() => reason = r.to_owned(),
                _ if now["terminated"].is_object() => reason = ended(&now["terminated"]),
                _ if c["ready"] == true && now["running"].is_object() => {
                    running = true;
                    state.ready += 1;
                }
                _ => {}
            }
        }
        if reason == "Completed" && running {
            let ready = condition(o, "Ready") == Some("True");
            reason = if ready { "Running" } else { "NotReady" }.into();
        }
    }
    let phase = status["phase"].as_str();
    if o["metadata"]["deletionTimestamp"].is_string()
        && !matches!(phase, Some("Succeeded" | "Failed"))
    {
        reason = "Terminating".into();
    }
    state.reason = reason;
    state
}

/// Jobs.
pub fn job_cells(o: &Value) -> Vec<Cell> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let holds = |kind: &str| condition(o, kind) == Some("True");
    let word = if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if o["metadata"]["deletionTimestamp"].is_string() {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    let succeeded = status["succeeded"].as_i64().unwrap_or(0);
    let completions = match (spec["completions"].as_i64(), spec["parallelism"].as_i64()) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, Some(parallel)) if parallel > 1 => format!("{succeeded}/1 of {parallel}"),
        _ => format!("{succeeded}/1"),
    };
    let start = status["startTime"].as_str().and_then(age::parse);
    let end = status["completionTime"].as_str().and_then(age::parse);
    let duration = match (start, end) {
        (None, _) => Cell::Text(String::new()),
        (Some(start), None) => Cell::Since(start),
        (Some(start), Some(end)) => Cell::Text(age::human(end - start)),
    };
    let containers = list(&spec["template"]["spec"]["containers"]);
    let field = |key: &'static str| {
        joined(
            containers
                .iter()
                .map(move |c| c[key].as_str().unwrap_or("").to_owned()),
        )
    };
    vec![
        name(o),
        Cell::Text(word.into()),
        Cell::Text(completions),
        duration,
        created(o),
        field("name"),
        field("image"),
        selector(&spec["selector"]),
    ]
}

fn selector(value: &Value) -> Cell {
    match value["matchLabels"].as_object() {
        Some(labels) if !labels.is_empty() => {
            let mut pairs: Vec<_> = labels
                .iter()
                .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or("")))
                .collect();
            pairs.sort();
            joined(pairs.into_iter())
        }
        _ => Cell::Text("<none>".into()),
    }
}

/// Nodes.
pub fn node_cells(o: &Value) -> Vec<Cell> {
    let info = &o["status"]["nodeInfo"];
    let mut status = match condition(o, "Ready") {
        Some("True") => "Ready".to_owned(),
        Some("False") => "NotReady".to_owned(),
        _ => "Unknown".to_owned(),
    };
    if o["spec"]["unschedulable"] == true {
        status.push_str(",SchedulingDisabled");
    }
    let mut roles: Vec<&str> = o["metadata"]["labels"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| match k.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if k == "kubernetes.io/role" => v.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    let roles = if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    };
    let address = |kind: &str| {
        text_or_none(
            list(&o["status"]["addresses"])
                .iter()
                .find(|a| a["type"] == kind)
                .map_or(&Value::Null, |a| &a["address"]),
        )
    };
    let or_unknown = |value: &Value| match value.as_str() {
        Some(s) if !s.is_empty() => Cell::Text(s.to_owned()),
        _ => Cell::Text("<unknown>".into()),
    };
    vec![
        name(o),
        Cell::Text(status),
        Cell::Text(roles),
        created(o),
        text(&info["kubeletVersion"]),
        address("InternalIP"),
        address("ExternalIP"),
        or_unknown(&info["osImage"]),
        or_unknown(&info["kernelVersion"]),
        or_unknown(&info["containerRuntimeVersion"]),
    ]
}

/// Persistent volume claims.
pub fn pvc_cells(o: &Value) -> Vec<Cell> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let modes = joined(list(&status["accessModes"]).iter().map(|m| {
        match m.as_str().unwrap_or("") {
            "ReadWriteOnce" => "RWO",
            "ReadOnlyMany" => "ROX",
            "ReadWriteMany" => "RWX",
            "ReadWriteOncePod" => "RWOP",
            other => other,
        }
        .to_owned()
    }));
    let phase = if o["metadata"]["deletionTimestamp"].is_string() {
        Cell::Text("Terminating".into())
    } else {
        text(&status["phase"])
    };
    let or_unset = |value: &Value| match value.as_str() {
        Some(s) if !s.is_empty() => Cell::Text(s.to_owned()),
        _ => Cell::Text("<unset>".into()),
    };
    vec![
        name(o),
        phase,
        text(&spec["volumeName"]),
        text(&status["capacity"]["storage"]),
        modes,
        text(&spec["storageClassName"]),
        or_unset(&status["currentVolumeAttributesClassName"]),
        created(o),
        or_unset(&spec["volumeMode"]),
    ]
}

/// Events, in the form they are stored.
pub fn event_cells(o: &Value) -> Vec<Cell> {
    let first = match &o["firstTimestamp"] {
        Value::String(_) => since(&o["firstTimestamp"]),
        _ => since(&o["eventTime"]),
    };
    let mut last = match &o["lastTimestamp"] {
        Value::String(_) => since(&o["lastTimestamp"]),
        _ => first.clone(),
    };
    let mut count = o["count"].as_i64().unwrap_or(0);
    if o["series"].is_object() {
        last = since(&o["series"]["lastObservedTime"]);
        count = o["series"]["count"].as_i64().unwrap_or(count);
    } else if count == 0 {
        count = 1;
    }
    let about = &o["involvedObject"];
    let kind = about["kind"].as_str().unwrap_or("").to_lowercase();
    let about_name = about["name"].as_str().unwrap_or("");
    let target = if about_name.is_empty() {
        kind
    } else {
        format!("{kind}/{about_name}")
    };
    let part = |a: &Value, b: &Value| {
        a.as_str()
            .filter(|s| !s.is_empty())
            .or(b.as_str())
            .unwrap_or("")
            .to_owned()
    };
    let component = part(&o["source"]["component"], &o["reportingComponent"]);
    let host = part(&o["source"]["host"], &o["reportingInstance"]);
    let source = if host.is_empty() {
        component
    } else {
        format!("{component}, {host}")
    };
    vec![
        last,
        text(&o["type"]),
        text(&o["reason"]),
        Cell::Text(target),
        text(&about["fieldPath"]),
        Cell::Text(source),
        Cell::Text(o["message"].as_str().unwrap_or("").trim().to_owned()),
        first,
        Cell::Number(count),
        name(o),
    ]
}
