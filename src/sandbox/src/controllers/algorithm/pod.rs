//! The pod in which an algorithm of the user's own runs, and how it stands with it.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use katlab_katib::names::{LABEL_EXPERIMENT, LABEL_SUGGESTION};
use katlab_katib::types::{ResumePolicy, Suggestion};
use serde_json::{Value, json};

use super::super::cache::Key;
use super::super::context::Context;
use super::super::error::{Error, Result};
use super::super::objects::Kind;
use crate::katib_config::Algorithm;

/// Label with the name that Katib gives the Deployment.
const LABEL_DEPLOYMENT: &str = "katib.kubeflow.org/deployment";
/// Seconds between the request to end and the end. An algorithm has nothing to save that it would not
/// have saved with its last answer, and Katib's services do not listen.
const GRACE: i64 = 5;
/// The volume's name in the pod.
const VOLUME: &str = "suggestion-volume";

/// `<suggestion>-<algorithm>`: the name of all that Katib makes for a Suggestion.
pub(super) fn key_of(suggestion: &Suggestion) -> Key {
    let algorithm = suggestion.spec.algorithm.as_ref();
    let algorithm = algorithm.map_or("", |algorithm| algorithm.algorithm_name.as_str());
    let name = format!("{}-{algorithm}", suggestion.name());
    Key::new(suggestion.namespace(), name)
}

fn is_of(object: &impl Kind, suggestion: &Suggestion) -> bool {
    let owner = object.manager();
    owner.is_some_and(|owner| owner.uid == suggestion.uid())
}

/// The pod of a Suggestion, if there is one.
pub(super) fn find(context: &Context, suggestion: &Suggestion) -> Option<std::sync::Arc<Pod>> {
    let pod = context.pods.get(&key_of(suggestion))?;
    is_of(pod.as_ref(), suggestion).then_some(pod)
}

/// Makes the pod, and the claim that it mounts.
pub(super) async fn make(
    context: &Context,
    suggestion: &Suggestion,
    algorithm: &Algorithm,
) -> Result<()> {
    let key = key_of(suggestion);
    if suggestion.spec.resume_policy == ResumePolicy::FromVolume {
        let claim = claim(suggestion, algorithm, &key)?;
        let made = context
            .cluster
            .create::<PersistentVolumeClaim>(&key, &claim);
        unless_taken(context, suggestion, made.await).await?;
    }
    let pod = pod(suggestion, algorithm, &key)?;
    let made = context.cluster.create::<Pod>(&key, &pod).await;
    if let Some(pod) = unless_taken(context, suggestion, made).await? {
        context.pods.learn(pod);
    }
    Ok(())
}

/// What was made. That it is there already is well if it is this Suggestion's, or still that of an earlier one
/// of the same name: its end is on the way and wakes us.
async fn unless_taken<K: Kind>(
    context: &Context,
    suggestion: &Suggestion,
    made: Result<K>,
) -> Result<Option<K>> {
    let error = match made {
        Ok(made) => return Ok(Some(made)),
        Err(error) if error.is_already_exists() => error,
        Err(error) => return Err(error),
    };
    let object = key_of(suggestion);
    let held = context.cluster.get::<K>(&object).await?;
    match held {
        Some(held) if is_of(&held, suggestion) => Ok(None),
        Some(held) if held.managed_by(Suggestion::KIND).is_some() => Err(error),
        Some(_) => Err(Error::NameTaken {
            kind: K::KIND,
            object,
        }),
        None => Err(error),
    }
}

fn metadata(suggestion: &Suggestion, key: &Key) -> Value {
    json!({
        "name": key.name,
        "namespace": key.namespace,
        "ownerReferences": [suggestion.owner_reference()],
    })
}

fn claim(suggestion: &Suggestion, algorithm: &Algorithm, key: &Key) -> Result<Value> {
    let spec = algorithm.claim().map_err(Error::Configuration)?;
    Ok(json!({
        "apiVersion": PersistentVolumeClaim::api_version(), "kind": PersistentVolumeClaim::KIND,
        "metadata": metadata(suggestion, key), "spec": spec,
    }))
}

fn pod(suggestion: &Suggestion, algorithm: &Algorithm, key: &Key) -> Result<Value> {
    let mut metadata = metadata(suggestion, key);
    let mut labels = suggestion.metadata.labels.clone();
    for (label, value) in [
        (LABEL_DEPLOYMENT, key.name.as_str()),
        (LABEL_EXPERIMENT, suggestion.name()),
        (LABEL_SUGGESTION, suggestion.name()),
        ("sidecar.istio.io/inject", "false"),
    ] {
        labels.insert(label.to_owned(), value.to_owned());
    }
    metadata["labels"] = json!(labels);
    metadata["annotations"] = json!(suggestion.metadata.annotations);
    let mut container = algorithm.container().map_err(Error::Configuration)?;
    let mut spec = json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": GRACE});
    if suggestion.spec.resume_policy == ResumePolicy::FromVolume {
        let mounts = container.volume_mounts.get_or_insert_default();
        mounts.push(k8s_openapi::api::core::v1::VolumeMount {
            name: VOLUME.to_owned(),
            mount_path: algorithm.mount_path().to_owned(),
            ..Default::default()
        });
        spec["volumes"] =
            json!([{"name": VOLUME, "persistentVolumeClaim": {"claimName": key.name}}]);
    }
    spec["containers"] = json!([container]);
    if let Some(account) = algorithm.service_account() {
        spec["serviceAccountName"] = account.into();
    }
    Ok(json!({
        "apiVersion": Pod::api_version(), "kind": Pod::KIND, "metadata": metadata, "spec": spec,
    }))
}

/// How it stands with the pod.
#[derive(Debug, PartialEq)]
pub(super) enum Stand {
    /// Its program runs.
    Runs {
        /// The pod's address.
        address: IpAddr,
        /// Since when.
        since: Option<Timestamp>,
    },
    /// It does not run yet, or not any more; why, if that is more than that it takes a moment.
    Waits(Option<String>),
}

pub(super) fn stand(pod: &Pod) -> Stand {
    let status = pod.status.clone().unwrap_or_default();
    let text = |text: Option<String>| text.unwrap_or_default();
    let phase = text(status.phase);
    if matches!(phase.as_str(), "Failed" | "Succeeded") {
        let why = said(&text(status.reason), &text(status.message));
        return Stand::Waits(Some(format!(
            "the pod has ended ({phase}): {why}; once that is mended, delete the pod and it is made again"
        )));
    }
    let container = status.container_statuses.unwrap_or_default().pop();
    let state = container.as_ref().and_then(|one| one.state.clone());
    let running = state.as_ref().and_then(|state| state.running.as_ref());
    let address = status.pod_ip.and_then(|address| address.parse().ok());
    if let Some(running) = running {
        let since = running.started_at.as_ref().map(|time| time.0);
        let without = || {
            Stand::Waits(Some(
                "its program runs, and the pod has no address".to_owned(),
            ))
        };
        return address.map_or_else(without, |address| Stand::Runs { address, since });
    }
    let waiting = state.and_then(|state| state.waiting).unwrap_or_default();
    let reason = text(waiting.reason);
    if !matches!(
        reason.as_str(),
        "" | "ContainerCreating" | "PodInitializing"
    ) {
        let why = said(&reason, &text(waiting.message));
        let last = container.as_ref().and_then(last_end);
        return Stand::Waits(Some(why + &last.unwrap_or_default()));
    }
    let conditions = status.conditions.unwrap_or_default();
    let unscheduled = conditions
        .into_iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    Stand::Waits(
        unscheduled.map(|condition| said(&text(condition.reason), &text(condition.message))),
    )
}

fn said(reason: &str, message: &str) -> String {
    match (reason, message) {
        (reason, "") => reason.to_owned(),
        ("", message) => message.to_owned(),
        (reason, message) => format!("{reason}: {message}"),
    }
}

fn last_end(container: &ContainerStatus) -> Option<String> {
    let ended = container.last_state.as_ref()?.terminated.as_ref()?;
    let reason = ended.reason.as_deref().unwrap_or("Error");
    Some(format!(
        "; it ended last with exit code {} ({reason})",
        ended.exit_code
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::katib_config::KatibConfig;

    fn suggestion(policy: &str) -> Suggestion {
        serde_json::from_value(json!({
            "metadata": {"name": "mnist", "namespace": "lab", "uid": "u-1",
                "labels": {"team": "blue"}, "annotations": {"note": "x"}},
            "spec": {"algorithm": {"algorithmName": "mine"}, "resumePolicy": policy}
        }))
        .expect("suggestion")
    }

    #[test]
    fn the_pod_is_that_of_katibs_deployment() {
        let config = "runtime: {suggestions: [{algorithmName: mine, image: 'mine:1'}]}";
        let config = KatibConfig::parse(config).expect("configuration");
        let algorithm = config.algorithm("mine").expect("algorithm");
        let suggestion = suggestion("FromVolume");
        let key = key_of(&suggestion);
        let pod = pod(&suggestion, algorithm, &key).expect("pod");
        let owner = json!([{"apiVersion": "kubeflow.org/v1beta1", "kind": "Suggestion", "name": "mnist",
            "uid": "u-1", "controller": true, "blockOwnerDeletion": true}]);
        assert_eq!(
            pod["metadata"],
            json!({
                "name": "mnist-mine", "namespace": "lab", "ownerReferences": owner,
                "annotations": {"note": "x"},
                "labels": {"team": "blue", "katib.kubeflow.org/deployment": "mnist-mine",
                    "katib.kubeflow.org/experiment": "mnist", "katib.kubeflow.org/suggestion": "mnist",
                    "sidecar.istio.io/inject": "false"},
            })
        );
        let container = &pod["spec"]["containers"][0];
        assert_eq!(
            (&container["name"], &container["ports"][0]["name"]),
            (&json!("suggestion"), &json!("suggestion-api"))
        );
        assert_eq!(
            container["volumeMounts"],
            json!([{"name": "suggestion-volume", "mountPath": "/opt/katib/data"}])
        );
        let claim = claim(&suggestion, algorithm, &key).expect("claim");
        assert_eq!(claim["metadata"]["name"], "mnist-mine");
        assert_eq!(claim["metadata"]["ownerReferences"], owner);
    }

    #[test]
    fn how_it_stands_is_told_with_what_is_wrong() {
        let status = |state: Value, last: Value| {
            json!({"phase": "Running", "podIP": "172.17.0.5", "containerStatuses": [{
                "name": "suggestion", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "state": state, "lastState": last}]})
        };
        let ended = json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}});
        let waits = |why: Option<&str>| Stand::Waits(why.map(str::to_owned));
        let rows = [
            (json!({}), waits(None)),
            (
                status(
                    json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
                    json!({}),
                ),
                Stand::Runs {
                    address: [172, 17, 0, 5].into(),
                    since: Some("2026-01-01T00:00:00Z".parse().expect("time")),
                },
            ),
            (
                status(
                    json!({"waiting": {"reason": "ContainerCreating"}}),
                    json!({}),
                ),
                waits(None),
            ),
            (
                status(
                    json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}),
                    ended,
                ),
                waits(Some(
                    "CrashLoopBackOff: back-off; it ended last with exit code 137 (OOMKilled)",
                )),
            ),
            (
                json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
                    "reason": "Unschedulable", "message": "no room"}]}),
                waits(Some("Unschedulable: no room")),
            ),
            (
                json!({"phase": "Failed", "reason": "Evicted", "message": "no room"}),
                waits(Some(
                    "the pod has ended (Failed): Evicted: no room; once that is mended, delete the pod and it is made again",
                )),
            ),
        ];
        for (status, wanted) in rows {
            let pod = json!({"metadata": {"name": "p"}, "status": status});
            let pod: Pod = serde_json::from_value(pod).expect("pod");
            assert_eq!(stand(&pod), wanted);
        }
    }
}
