//! What a refusal means, and which role or magic helps.

use super::Action;

pub(super) fn list_magic(action: &Action) -> String {
    match action.resource.as_str() {
        resource @ ("experiments" | "trials" | "suggestions" | "secrets" | "jobs" | "pods") => {
            format!(":{resource}")
        }
        "trials or experiments" => ":experiments and :trials".to_owned(),
        resource => format!(":get {resource}"),
    }
}

/// Names the roles that grant what was refused.
pub(super) fn forbidden_hint(action: &Action) -> String {
    let namespace = action.namespace.as_deref().unwrap_or("the namespace");
    match (action.resource.as_str(), action.verb.as_str()) {
        ("experiments" | "trials" | "suggestions", "get" | "list" | "watch") => {
            format!(
                "The role kubeflow-katib-view (part of kubeflow-view) in {namespace} grants it; a cluster-wide list needs a ClusterRoleBinding."
            )
        }
        ("experiments" | "trials" | "suggestions", _) | ("pods/log", _) => {
            format!(
                "The role kubeflow-katib-edit (part of kubeflow-edit) in {namespace} grants it; a Kubeflow profile gives it to default-editor."
            )
        }
        ("namespaces" | "nodes" | "persistentvolumes", _) => {
            "It is cluster-wide, which a Kubeflow profile does not grant; ask an administrator."
                .into()
        }
        (resource, verb) => format!(
            "A Role with verb {verb} on {resource} bound to you in {namespace} grants it; in Kubeflow that is kubeflow-edit. Is {namespace} your own namespace?"
        ),
    }
}

/// The webhook named in a denial.
pub(super) fn webhook(message: &str) -> Option<String> {
    let rest = message.split_once("admission webhook \"")?.1;
    Some(rest.split_once('"')?.0.to_owned())
}

/// What a denial of Katib's webhooks means.
pub(super) fn reading(message: &str) -> Option<String> {
    let said = |text: &str| message.contains(text);
    Some(if said("metrics-collector-injection") {
        "Katib works only in namespaces that carry the label katib.kubeflow.org/metrics-collector-injection: enabled; a Kubeflow profile's namespace has it, elsewhere an administrator adds it.".into()
    } else if said("cannot unmarshal number") {
        "A number stands where Katib wants a string: put min, max, step and the values of settings in quotes.".into()
    } else if said("cannot unmarshal string") {
        "A string stands where Katib wants a number: take the quotes from goal and the counts."
            .into()
    } else if said("Unable to find primary container") {
        "primaryContainerName must be the name of a container of the trial's pod.".into()
    } else if (said("spec.maxTrialCount") && said("parallelTrialCount"))
        || said("should be greater than or equal to parallelTrialCount")
        || said("parallelTrialCount should be")
    {
        "parallelTrialCount (3 when left out) may not be larger than maxTrialCount.".into()
    } else if said("collector") && said("PrometheusMetric") {
        "Katib ships no collector for Prometheus metrics; use StdOut, File, TensorFlowEvent or Push.".into()
    } else {
        return None;
    })
}
