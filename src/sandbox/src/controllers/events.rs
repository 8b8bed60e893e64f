//! Events: what a controller tells people who describe an object.
//!
//! Written by a task of their own, so that no reconciliation waits for them. An event said
//! before is counted, not repeated: its name is derived from what it says, so that this holds
//! across restarts too.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::objects::Kind;

/// Longest message the API server takes.
const LONGEST_MESSAGE: usize = 1024;
/// Events whose count is remembered; beyond that the API server is asked again.
const REMEMBERED: usize = 4096;

/// How urgent an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    Normal,
    Warning,
}

/// One thing said about one object.
#[derive(Clone, Debug)]
struct Said {
    regarding: ObjectReference,
    severity: Severity,
    component: &'static str,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// Takes events of one component.
#[derive(Clone, Debug)]
pub struct Recorder {
    component: &'static str,
    sender: mpsc::UnboundedSender<Said>,
}

/// Events waiting to be written.
#[derive(Debug)]
pub struct Outbox(mpsc::UnboundedReceiver<Said>);

/// A recorder and the outbox that must be [written](write()).
pub fn recorder(component: &'static str) -> (Recorder, Outbox) {
    // Unbounded: events are small, and a reconciliation must not wait for them.
    let (sender, receiver) = mpsc::unbounded_channel();
    (Recorder { component, sender }, Outbox(receiver))
}

impl Recorder {
    /// The same outbox under another component's name.
    pub fn component(&self, component: &'static str) -> Self {
        Self {
            component,
            sender: self.sender.clone(),
        }
    }

    /// Something happened as it should.
    pub fn normal<K: Kind>(&self, object: &K, reason: &'static str, message: impl Into<String>) {
        self.say(object, Severity::Normal, reason, message.into());
    }

    /// Something happened that somebody should look at.
    pub fn warning<K: Kind>(&self, object: &K, reason: &'static str, message: impl Into<String>) {
        self.say(object, Severity::Warning, reason, message.into());
    }

    fn say<K: Kind>(
        &self,
        object: &K,
        severity: Severity,
        reason: &'static str,
        mut message: String,
    ) {
        if message.len() > LONGEST_MESSAGE {
            let end = (0..=LONGEST_MESSAGE - 3)
                .rev()
                .find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or(0));
            message.push_str("...");
        }
        let regarding = ObjectReference {
            api_version: Some(K::api_version()),
            kind: Some(K::KIND.to_owned()),
            namespace: Some(object.namespace().to_owned()),
            name: Some(object.name().to_owned()),
            uid: Some(object.uid().to_owned()),
            resource_version: Some(object.version().to_owned()),
            field_path: None,
        };
        // Nobody listens only after shutdown.
        let _ = self.sender.send(Said {
            regarding,
            severity,
            component: self.component,
            reason,
            message,
            at: Timestamp::now(),
        });
    }
}

impl Said {
    /// The event's name: the object's, and a digest of what is said.
    fn name(&self) -> String {
        let mut digest = Sha256::new();
        let uid = self.regarding.uid.as_deref().unwrap_or_default();
        let severity = match self.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        };
        for part in [uid, severity, self.component, self.reason, &self.message] {
            digest.update(part.as_bytes());
            digest.update([0]);
        }
        let digest = hex::encode(digest.finalize());
        let name = self.regarding.name.as_deref().unwrap_or_default();
        format!("{name}.{}", &digest[..16])
    }

    /// The program that says so on a cluster.
    fn manager(&self) -> String {
        let manager = match self.component {
            "kubelet" => "kubelet",
            "default-scheduler" => "kube-scheduler",
            "job-controller" => "kube-controller-manager",
            _ => "katib-controller",
        };
        manager.to_owned()
    }

    fn posting(&self) -> PostParams {
        PostParams {
            field_manager: Some(self.manager()),
            ..PostParams::default()
        }
    }

    fn patching(&self) -> PatchParams {
        PatchParams {
            field_manager: Some(self.manager()),
            ..PatchParams::default()
        }
    }

    fn event(&self, name: &str) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: self.regarding.namespace.clone(),
                ..ObjectMeta::default()
            },
            involved_object: self.regarding.clone(),
            reason: Some(self.reason.to_owned()),
            message: Some(self.message.clone()),
            source: Some(EventSource {
                component: Some(self.component.to_owned()),
                host: None,
            }),
            first_timestamp: Some(Time(self.at)),
            last_timestamp: Some(Time(self.at)),
            count: Some(1),
            type_: Some(
                match self.severity {
                    Severity::Normal => "Normal",
                    Severity::Warning => "Warning",
                }
                .to_owned(),
            ),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: Some(String::new()),
            ..Event::default()
        }
    }
}

/// Writes events until all recorders are gone.
pub async fn write(client: Client, mut outbox: Outbox) {
    let mut counts: HashMap<String, i32> = HashMap::new();
    while let Some(said) = outbox.0.recv().await {
        if counts.len() > REMEMBERED {
            counts.clear();
        }
        let name = said.name();
        let namespace = said.regarding.namespace.as_deref().unwrap_or_default();
        let events: Api<Event> = Api::namespaced(client.clone(), namespace);
        match write_one(&events, &said, &name, counts.get(&name).copied()).await {
            Ok(count) => {
                counts.insert(name, count);
            }
            // The namespace may be gone with all that was in it.
            Err(error) => tracing::debug!(event = %name, %error, "event not written"),
        }
    }
}

async fn write_one(
    events: &Api<Event>,
    said: &Said,
    name: &str,
    known: Option<i32>,
) -> Result<i32, kube::Error> {
    let known = match known {
        Some(count) => count,
        None => match events.create(&said.posting(), &said.event(name)).await {
            Ok(_) => return Ok(1),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
                events.get(name).await?.count.unwrap_or(1)
            }
            Err(error) => return Err(error),
        },
    };
    let count = known.saturating_add(1);
    let patch = json!({"count": count, "lastTimestamp": Time(said.at)});
    match events
        .patch(name, &said.patching(), &Patch::Merge(patch))
        .await
    {
        Ok(_) => Ok(count),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            events.create(&said.posting(), &said.event(name)).await?;
            Ok(1)
        }
        Err(error) => Err(error),
    }
}
