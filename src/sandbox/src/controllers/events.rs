//! Events: what a controller tells people who describe an object.
//!
//! Written by a task of their own, so that no reconciliation waits for them. An event said
//! before is counted, not repeated, as far as this process remembers. An event's name ends in
//! the moment it was first said, so that a list has an object's events in their order.
//!
//! The scheduler writes events of `events.k8s.io`, everybody else those of the core group, as on
//! a cluster.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::api::events::v1 as series;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

use super::objects::Kind;

/// Longest message the API server takes.
const LONGEST_MESSAGE: usize = 1024;
/// Events whose count is remembered.
const REMEMBERED: usize = 4096;
/// The component whose events are those of `events.k8s.io`.
pub(crate) const SCHEDULER: &str = "default-scheduler";

/// How urgent an event is.
#[derive(Clone, Copy, Debug, Hash)]
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
    host: &'static str,
    reason: &'static str,
    message: String,
    at: Timestamp,
}

/// Takes events of one component.
#[derive(Clone, Debug)]
pub struct Recorder {
    component: &'static str,
    host: &'static str,
    field_path: Option<String>,
    sender: mpsc::UnboundedSender<Said>,
}

/// Events waiting to be written.
#[derive(Debug)]
pub struct Outbox(mpsc::UnboundedReceiver<Said>);

/// A recorder and the outbox that must be [written](write()). The component runs on a host, unless that is empty.
pub fn recorder(component: &'static str, host: &'static str) -> (Recorder, Outbox) {
    // Unbounded: events are small, and a reconciliation must not wait for them.
    let (sender, receiver) = mpsc::unbounded_channel();
    let recorder = Recorder {
        component,
        host,
        field_path: None,
        sender,
    };
    (recorder, Outbox(receiver))
}

impl Recorder {
    /// The same outbox under another component's name.
    pub fn component(&self, component: &'static str) -> Self {
        Self {
            component,
            ..self.clone()
        }
    }

    /// The same for events about a part of the object, for instance `spec.containers{main}`.
    pub fn part(&self, field_path: String) -> Self {
        Self {
            field_path: Some(field_path),
            ..self.clone()
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
            field_path: self.field_path.clone(),
        };
        // Nobody listens only after shutdown.
        let _ = self.sender.send(Said {
            regarding,
            severity,
            component: self.component,
            host: self.host,
            reason,
            message,
            at: Timestamp::now(),
        });
    }
}

impl Said {
    /// What makes two events the same.
    fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let about = &self.regarding;
        (&about.uid, &about.field_path, self.component).hash(&mut hasher);
        (self.severity, self.reason, &self.message).hash(&mut hasher);
        hasher.finish()
    }

    fn type_(&self) -> String {
        match self.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        }
        .to_owned()
    }

    /// The program that says so on a cluster.
    fn manager(&self) -> Option<String> {
        let manager = match self.component {
            "kubelet" => "kubelet",
            SCHEDULER => "kube-scheduler",
            "job-controller" => "kube-controller-manager",
            _ => "katib-controller",
        };
        Some(manager.to_owned())
    }

    fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: self.regarding.namespace.clone(),
            ..ObjectMeta::default()
        }
    }

    fn event(&self, name: &str) -> Event {
        Event {
            metadata: self.metadata(name),
            involved_object: self.regarding.clone(),
            reason: Some(self.reason.to_owned()),
            message: Some(self.message.clone()),
            source: Some(EventSource {
                component: Some(self.component.to_owned()),
                host: (!self.host.is_empty()).then(|| self.host.to_owned()),
            }),
            first_timestamp: Some(Time(self.at)),
            last_timestamp: Some(Time(self.at)),
            count: Some(1),
            type_: Some(self.type_()),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: Some(self.host.to_owned()),
            ..Event::default()
        }
    }

    fn event_of_series(&self, name: &str) -> series::Event {
        series::Event {
            metadata: self.metadata(name),
            regarding: Some(self.regarding.clone()),
            reason: Some(self.reason.to_owned()),
            note: Some(self.message.clone()),
            action: Some(match self.severity {
                Severity::Normal => "Binding".to_owned(),
                Severity::Warning => "Scheduling".to_owned(),
            }),
            event_time: Some(MicroTime(self.at)),
            type_: Some(self.type_()),
            reporting_controller: Some(self.component.to_owned()),
            reporting_instance: Some(format!("{}-{}", self.component, self.host)),
            ..series::Event::default()
        }
    }

    /// Writes it as new.
    async fn create(&self, client: &Client, name: &str) -> Result<(), kube::Error> {
        let namespace = self.regarding.namespace.as_deref().unwrap_or_default();
        let posting = PostParams {
            field_manager: self.manager(),
            ..PostParams::default()
        };
        if self.component == SCHEDULER {
            let events: Api<series::Event> = Api::namespaced(client.clone(), namespace);
            let event = self.event_of_series(name);
            events.create(&posting, &event).await.map(drop)
        } else {
            let events: Api<Event> = Api::namespaced(client.clone(), namespace);
            events.create(&posting, &self.event(name)).await.map(drop)
        }
    }

    /// Counts it once more.
    async fn count(&self, client: &Client, name: &str, count: i32) -> Result<(), kube::Error> {
        let namespace = self.regarding.namespace.as_deref().unwrap_or_default();
        let patching = PatchParams {
            field_manager: self.manager(),
            ..PatchParams::default()
        };
        if self.component == SCHEDULER {
            let events: Api<series::Event> = Api::namespaced(client.clone(), namespace);
            let patch = json!({"series": {"count": count, "lastObservedTime": MicroTime(self.at)}});
            let patched = events.patch(name, &patching, &Patch::Merge(patch)).await;
            patched.map(drop)
        } else {
            let events: Api<Event> = Api::namespaced(client.clone(), namespace);
            let patch = json!({"count": count, "lastTimestamp": Time(self.at)});
            let patched = events.patch(name, &patching, &Patch::Merge(patch)).await;
            patched.map(drop)
        }
    }
}

/// An event that has been written.
struct Written {
    name: String,
    count: i32,
}

/// Writes events until all recorders are gone.
pub async fn write(client: Client, mut outbox: Outbox) {
    let mut written: HashMap<u64, Written> = HashMap::new();
    while let Some(said) = outbox.0.recv().await {
        if written.len() > REMEMBERED {
            written.clear();
        }
        let key = said.key();
        match write_one(&client, &said, written.remove(&key)).await {
            Ok(event) => {
                written.insert(key, event);
            }
            // The namespace may be gone with all that was in it.
            Err(error) => tracing::debug!(?said, %error, "event not written"),
        }
    }
}

async fn write_one(
    client: &Client,
    said: &Said,
    known: Option<Written>,
) -> Result<Written, kube::Error> {
    if let Some(mut event) = known {
        event.count = event.count.saturating_add(1);
        match said.count(client, &event.name, event.count).await {
            Ok(()) => return Ok(event),
            // It was too old, or somebody deleted it.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let object = said.regarding.name.as_deref().unwrap_or_default();
    let mut moment = said.at.as_nanosecond();
    loop {
        let name = format!("{object}.{moment:016x}");
        match said.create(client, &name).await {
            Ok(()) => return Ok(Written { name, count: 1 }),
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => moment += 1,
            Err(error) => return Err(error),
        }
    }
}
