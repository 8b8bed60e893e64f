//! What pods and events say.

use super::Diagnosis;
use crate::cluster::Cluster;
use crate::kubernetes::events::{self, EventRow, Filter};
use crate::kubernetes::pods::{PodRow, State};

pub(super) fn pod_facts(found: &mut Diagnosis, pod: &PodRow) {
    let message = pod
        .message
        .as_ref()
        .map(|message| format!(": {message}"))
        .unwrap_or_default();
    found.fact(
        format!("pod {}", pod.name),
        format!("{}{message}", pod.status),
    );
    for container in &pod.states {
        let seen = match &container.state {
            State::Waiting { reason, .. } => format!("waiting ({reason})"),
            State::Running { .. } => "running".to_owned(),
            State::Terminated { code, reason, .. } if reason.is_empty() => {
                format!("ended with exit code {code}")
            }
            State::Terminated { code, reason, .. } => {
                format!("ended with exit code {code} ({reason})")
            }
        };
        found.fact(
            format!("pod {}, container {}", pod.name, container.name),
            seen,
        );
    }
}

pub(super) async fn warnings(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    of: &[&str],
) -> Vec<EventRow> {
    let filter = Filter {
        name: Some(name.to_owned()),
        ..Filter::default()
    };
    let mut found = events::list(cluster, &namespace.into(), &filter)
        .await
        .unwrap_or_default();
    found.retain(|event| event.warning && of.contains(&event.kind.as_str()));
    found
}

pub(super) fn event_text(event: &EventRow) -> String {
    let times = if event.count > 1 {
        format!(" ({} times)", event.count)
    } else {
        String::new()
    };
    format!("{}: {}{times}", event.reason, event.message)
}
