//! What the API machinery does behind the requests: dependents follow their owners, namespaces
//! empty themselves before they go and fill themselves when they come, old events expire.
//!
//! It reads the store's feeds and acts through the API's own verbs, so that whatever it does is
//! an ordinary, durable write that a crash may interrupt at any point: the next start looks at
//! everything again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::api::age;
use crate::api::auth::User;
use crate::api::body::Body;
use crate::api::delete::{DeleteOptions, FOREGROUND, ORPHAN, Propagation};
use crate::api::patch::Patch;
use crate::api::path::Target;
use crate::api::query::WriteOptions;
use crate::api::status::ApiError;
use crate::api::update::Change as Update;
use crate::resources::{self, RESOURCES, Resource};
use crate::store::{
    Change, ChangeKind, Entry, Expect, Guard, Op, OwnerReference, Write, WriteError,
};

/// How long an event is kept.
const EVENT_AGE: Duration = Duration::from_secs(3600);
/// How often old events are looked for.
const EVENT_SWEEP: Duration = Duration::from_secs(60);
/// How many objects are worked on at once; their writes share transactions.
const CONCURRENCY: usize = 32;

/// Runs until shutdown. `ca_pem` is what pods find in `kube-root-ca.crt`.
pub async fn run(api: Api, ca_pem: String, shutdown: CancellationToken) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for storage in resources::storages() {
        let sender = sender.clone();
        let api = api.clone();
        tasks.spawn(async move { follow(&api, storage, &sender).await });
    }
    let collector = Arc::new(Collector {
        api: api.clone(),
        ca_pem,
        again: sender,
    });
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = collector.run(receiver) => {}
        () = expire_events(&api) => {}
    }
}

/// Something that may need work.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Item {
    storage: &'static str,
    path: Arc<str>,
}

enum Message {
    Seen(&'static str, Arc<Entry>),
    Changed(&'static str, Arc<Change>),
    Again(Item),
}

/// Tells the collector about everything of a storage, from now on and forever.
async fn follow(api: &Api, storage: &'static str, sender: &mpsc::UnboundedSender<Message>) {
    loop {
        let page = api.store().list(storage, None);
        let Some(mut feed) = api.store().feed(storage, page.revision) else {
            return;
        };
        for entry in page.entries {
            if sender.send(Message::Seen(storage, entry)).is_err() {
                return;
            }
        }
        // Only compaction ends this loop: then everything is listed again.
        while let Ok((changes, _)) = feed.take() {
            for change in changes {
                if sender.send(Message::Changed(storage, change)).is_err() {
                    return;
                }
            }
            if !feed.changed().await {
                return;
            }
        }
    }
}

struct Collector {
    api: Api,
    ca_pem: String,
    again: mpsc::UnboundedSender<Message>,
}

impl Collector {
    async fn run(self: Arc<Self>, mut messages: mpsc::UnboundedReceiver<Message>) {
        let mut batch = Vec::new();
        while messages.recv_many(&mut batch, 1024).await > 0 {
            let mut work = HashSet::new();
            for message in batch.drain(..) {
                self.note(message, &mut work);
            }
            let jobs = work
                .into_iter()
                .map(|item| self.clone().work_on(item))
                .collect();
            side_by_side(jobs).await;
        }
    }

    fn work_on(self: Arc<Self>, item: Item) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            if let Err(error) = self.look_at(&item).await {
                if !matches!(error.code, 404 | 409) {
                    tracing::warn!(%error, path = %item.path, "clean-up failed, it is tried again");
                }
                self.later(item);
            }
        })
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = Item> + use<> {
        let dependents = self.api.store().dependents(uid).into_iter();
        dependents.map(|(storage, entry)| Item {
            storage,
            path: entry.path().clone(),
        })
    }

    fn later(&self, item: Item) {
        let sender = self.again.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let _ = sender.send(Message::Again(item));
        });
    }

    /// Says what to look at.
    fn note(&self, message: Message, work: &mut HashSet<Item>) {
        let (storage, entry, previous, gone) = match message {
            Message::Again(item) => {
                work.insert(item);
                return;
            }
            Message::Seen(storage, entry) => (storage, entry, None, false),
            Message::Changed(storage, change) => {
                let gone = change.kind == ChangeKind::Deleted;
                (storage, change.entry.clone(), change.previous.clone(), gone)
            }
        };
        let item = Item {
            storage,
            path: entry.path().clone(),
        };
        let meta = entry.meta();
        let owners = |entry: &Entry| {
            let meta = entry.meta();
            let owners = meta.owner_references.iter();
            let items = owners.filter_map(|o| owner_item(o, meta.namespace.as_deref()));
            items.collect::<Vec<_>>()
        };
        if let Some(previous) = &previous
            && previous.meta().owner_references != meta.owner_references
        {
            // An owner that waits for its dependents may have one less.
            work.extend(owners(previous));
        }
        if gone {
            work.extend(self.dependents_of(&meta.uid));
            work.extend(owners(&entry));
            if let Some(ns) = &meta.namespace {
                work.insert(Item {
                    storage: "namespaces",
                    path: Arc::from(ns.as_str()),
                });
            }
            return;
        }
        if meta.deletion_timestamp.is_some() {
            work.extend(self.dependents_of(&meta.uid));
        }
        if !meta.owner_references.is_empty()
            || meta.deletion_timestamp.is_some()
            || storage == "namespaces"
        {
            work.insert(item);
        }
    }

    async fn look_at(&self, item: &Item) -> Result<(), ApiError> {
        let Some(resource) = resources::of_storage(item.storage) else {
            return Ok(());
        };
        let Some(entry) = self.api.store().get(item.storage, &item.path) else {
            return Ok(());
        };
        if resource.kind == "Namespace" {
            return self.namespace(&entry).await;
        }
        if self.follow_owners(resource, &entry).await? {
            return Ok(());
        }
        let meta = entry.meta();
        if meta.deletion_timestamp.is_none() {
            return Ok(());
        }
        let holds = |name: &str| meta.finalizers.iter().any(|f| f == name);
        let dependents = self.api.store().dependents(&meta.uid).into_iter();
        let dependents: Vec<(&'static Resource, Arc<Entry>)> = dependents
            .filter_map(|(storage, entry)| Some((resources::of_storage(storage)?, entry)))
            .collect();
        if holds(ORPHAN) {
            for (resource, dependent) in &dependents {
                self.drop_owners(resource, dependent, |o| o.uid == meta.uid)
                    .await?;
            }
            return self.drop_finalizer(resource, &entry, ORPHAN).await;
        }
        if holds(FOREGROUND) {
            let blocking = dependents.iter().any(|(_, d)| {
                d.meta()
                    .owner_references
                    .iter()
                    .any(|o| o.uid == meta.uid && o.block_owner_deletion)
            });
            if !blocking {
                return self.drop_finalizer(resource, &entry, FOREGROUND).await;
            }
        }
        Ok(())
    }

    /// Deletes an object whose owners are all gone or going first to last; forgets owners that
    /// are gone. Says whether it did anything.
    async fn follow_owners(
        &self,
        resource: &'static Resource,
        entry: &Entry,
    ) -> Result<bool, ApiError> {
        let meta = entry.meta();
        if meta.owner_references.is_empty() {
            return Ok(false);
        }
        let (mut solid, mut waiting, mut absent) = (0, 0, Vec::new());
        for owner in &meta.owner_references {
            // An owner of a kind that is not served here cannot be looked at.
            let Some(item) = owner_item(owner, meta.namespace.as_deref()) else {
                solid += 1;
                continue;
            };
            match self.api.store().get(item.storage, &item.path) {
                Some(found) if found.meta().uid == owner.uid => {
                    let m = found.meta();
                    let foreground = m.deletion_timestamp.is_some()
                        && m.finalizers.iter().any(|f| f == FOREGROUND);
                    if foreground { waiting += 1 } else { solid += 1 }
                }
                _ => absent.push(owner.uid.clone()),
            }
        }
        if solid > 0 {
            if absent.is_empty() {
                return Ok(false);
            }
            self.drop_owners(resource, entry, |o| absent.contains(&o.uid))
                .await?;
            return Ok(true);
        }
        if meta.deletion_timestamp.is_some() {
            return Ok(false);
        }
        let has_dependents = self.dependents_of(&meta.uid).next().is_some();
        let propagation = if waiting > 0 && has_dependents {
            Some(Propagation::Foreground)
        } else {
            Some(Propagation::Background)
        };
        let options = DeleteOptions {
            propagation,
            uid: Some(meta.uid.clone()),
            ..DeleteOptions::default()
        };
        let target = Target::new(resource, meta.namespace.as_deref(), Some(&meta.name));
        match self.api.delete(&target, &options).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == 404 => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn patch(
        &self,
        resource: &'static Resource,
        entry: &Entry,
        mut metadata: Value,
    ) -> Result<(), ApiError> {
        let meta = entry.meta();
        metadata["uid"] = json!(meta.uid);
        metadata["resourceVersion"] = json!(entry.revision.to_string());
        let target = Target::new(resource, meta.namespace.as_deref(), Some(&meta.name));
        let patch = Patch::Merge(json!({"metadata": metadata}));
        let user = User::machinery("garbage-collector");
        match self
            .api
            .update(&target, Update::Patch(patch), &options(), &user)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.code == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn drop_finalizer(
        &self,
        resource: &'static Resource,
        entry: &Entry,
        name: &str,
    ) -> Result<(), ApiError> {
        let left: Vec<&String> = entry
            .meta()
            .finalizers
            .iter()
            .filter(|f| *f != name)
            .collect();
        self.patch(resource, entry, json!({"finalizers": left}))
            .await
    }

    async fn drop_owners(
        &self,
        resource: &'static Resource,
        entry: &Entry,
        gone: impl Fn(&OwnerReference) -> bool,
    ) -> Result<(), ApiError> {
        let value = entry.value();
        let uids: Vec<&str> = entry
            .meta()
            .owner_references
            .iter()
            .filter(|o| gone(o))
            .map(|o| o.uid.as_str())
            .collect();
        let left: Vec<&Value> = value["metadata"]["ownerReferences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|o| o["uid"].as_str().is_none_or(|uid| !uids.contains(&uid)))
            .collect();
        self.patch(resource, entry, json!({"ownerReferences": left}))
            .await
    }

    /// Writes on a namespace that goes what it waits for.
    async fn tell(&self, entry: &Entry, left: &Remains) -> Result<(), ApiError> {
        let mut namespace = entry.value();
        let before = namespace["status"]["conditions"].take();
        let conditions = left.conditions(&before);
        if before == conditions {
            return Ok(());
        }
        namespace["status"]["conditions"] = conditions;
        let write = Write {
            storage: "namespaces",
            path: entry.meta().name.clone(),
            expect: Expect::Revision(entry.revision),
            guards: Vec::new(),
            op: Op::Put(Box::new(namespace)),
        };
        match self.api.store().write(write).await {
            // Whoever was faster brings it back here.
            Ok(_) | Err(WriteError::Conflict(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn namespace(&self, entry: &Entry) -> Result<(), ApiError> {
        let name = entry.meta().name.clone();
        if entry.meta().deletion_timestamp.is_none() {
            return furnish(&self.api, &name, &self.ca_pem).await;
        }
        let mut left = Remains::default();
        let mut targets = Vec::new();
        for resource in RESOURCES
            .iter()
            .filter(|r| r.namespaced && !r.storage.is_empty())
        {
            if resources::of_storage(resource.storage) != Some(resource) {
                continue;
            }
            let page = self.api.store().list(resource.storage, Some(&name));
            left.count(resource, &page.entries);
            let going = page
                .entries
                .iter()
                .filter(|e| e.meta().deletion_timestamp.is_none());
            targets.extend(going.map(|e| Target::new(resource, Some(&name), Some(&e.meta().name))));
        }
        delete_all(&self.api, targets).await?;
        if !left.kinds.is_empty() {
            self.tell(entry, &left).await?;
            // Each object that goes brings the namespace back here; so does the next round.
            self.later(Item {
                storage: "namespaces",
                path: Arc::from(name.as_str()),
            });
            return Ok(());
        }
        let mut emptied = entry.value();
        emptied["spec"] = json!({});
        let gone = entry.meta().finalizers.is_empty();
        let write = Write {
            storage: "namespaces",
            path: name.clone(),
            expect: Expect::Revision(entry.revision),
            // Nothing may slip in between looking and removing.
            guards: vec![Guard::NamespaceEmpty(name.clone())],
            op: if gone {
                Op::Delete
            } else {
                Op::Put(Box::new(emptied))
            },
        };
        match self.api.store().write(write).await {
            Ok(_) => Ok(()),
            Err(WriteError::Conflict(_) | WriteError::Guard(_)) => {
                self.later(Item {
                    storage: "namespaces",
                    path: Arc::from(name.as_str()),
                });
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// What is left in a namespace that goes.
#[derive(Default)]
struct Remains {
    /// How many there are, by `plural.group`.
    kinds: BTreeMap<String, usize>,
    /// How many of them wait for a finalizer.
    finalizers: BTreeMap<String, usize>,
}

impl Remains {
    fn count(&mut self, resource: &Resource, entries: &[Arc<Entry>]) {
        if entries.is_empty() {
            return;
        }
        let kind = format!("{}.{}", resource.plural, resource.group);
        *self.kinds.entry(kind).or_default() += entries.len();
        for finalizer in entries.iter().flat_map(|entry| &entry.meta().finalizers) {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    /// The conditions of Kubernetes' namespace controller, in its words. Those of `before` that hold still keep
    /// their time.
    fn conditions(&self, before: &Value) -> Value {
        let listed = |counts: &BTreeMap<String, usize>, what: &str| {
            let all = counts.iter();
            let all = all.map(|(name, count)| format!("{name} {what} {count} resource instances"));
            all.collect::<Vec<_>>().join(", ")
        };
        let remaining = format!(
            "Some resources are remaining: {}",
            listed(&self.kinds, "has")
        );
        let finalizers = format!(
            "Some content in the namespace has finalizers remaining: {}",
            listed(&self.finalizers, "in")
        );
        let waits = !self.finalizers.is_empty();
        let all = [
            (
                "NamespaceDeletionDiscoveryFailure",
                false,
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                false,
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            (
                "NamespaceDeletionContentFailure",
                false,
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            (
                "NamespaceContentRemaining",
                true,
                "SomeResourcesRemain",
                &remaining,
            ),
            if waits {
                (
                    "NamespaceFinalizersRemaining",
                    true,
                    "SomeFinalizersRemain",
                    &finalizers,
                )
            } else {
                (
                    "NamespaceFinalizersRemaining",
                    false,
                    "ContentHasNoFinalizers",
                    "All content-preserving finalizers finished",
                )
            },
        ];
        let now = age::now();
        let conditions = all.map(|(kind, holds, reason, message)| {
            let status = if holds { "True" } else { "False" };
            let known = before.as_array().into_iter().flatten();
            let since = known
                .filter(|one| one["type"] == kind && one["status"] == status)
                .find_map(|one| one["lastTransitionTime"].as_str())
                .unwrap_or(&now);
            json!({"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message})
        });
        Value::Array(conditions.to_vec())
    }
}

fn options() -> WriteOptions {
    WriteOptions {
        field_manager: "katlab-sandbox".into(),
        ..WriteOptions::default()
    }
}

fn owner_item(owner: &OwnerReference, namespace: Option<&str>) -> Option<Item> {
    let resource = resources::find_kind(&owner.api_version, &owner.kind)?;
    let path = match (resource.namespaced, namespace) {
        (true, Some(ns)) => format!("{ns}/{}", owner.name),
        (true, None) => return None,
        (false, _) => owner.name.clone(),
    };
    Some(Item {
        storage: resource.storage,
        path: Arc::from(path),
    })
}

/// Makes an object if it is not there.
pub async fn ensure(
    api: &Api,
    resource: &'static Resource,
    namespace: Option<&str>,
    object: Value,
) -> Result<(), ApiError> {
    let name = object["metadata"]["name"].as_str().unwrap_or("").to_owned();
    let target = Target::new(resource, namespace, None);
    if api
        .store()
        .get(resource.storage, &target.path(&name))
        .is_some()
    {
        return Ok(());
    }
    let body = Body {
        object,
        complaints: Vec::new(),
    };
    match api
        .create(
            &target,
            body,
            &options(),
            &User::machinery("namespace-controller"),
        )
        .await
    {
        Ok(_) => Ok(()),
        // Made meanwhile, or the namespace is on its way out.
        Err(error) if matches!(error.code, 409 | 403 | 404) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What every namespace has: the account that pods run as, and the CA they trust.
pub async fn furnish(api: &Api, namespace: &str, ca_pem: &str) -> Result<(), ApiError> {
    let (Some(accounts), Some(maps)) = (
        resources::find("", "v1", "serviceaccounts"),
        resources::find("", "v1", "configmaps"),
    ) else {
        return Ok(());
    };
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    let ca = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt", "annotations": {"kubernetes.io/description": "The certificate of the API server's own authority."}}, "data": {"ca.crt": ca_pem}});
    ensure(api, accounts, Some(namespace), account).await?;
    ensure(api, maps, Some(namespace), ca).await?;
    // An authority that was made anew takes the old one's place.
    let path = format!("{namespace}/kube-root-ca.crt");
    let Some(entry) = api.store().get(maps.storage, &path) else {
        return Ok(());
    };
    let mut map = entry.value();
    if map["data"]["ca.crt"] == ca_pem {
        return Ok(());
    }
    map["data"] = json!({"ca.crt": ca_pem});
    let write = Write {
        storage: maps.storage,
        path,
        expect: Expect::Revision(entry.revision),
        guards: Vec::new(),
        op: Op::Put(Box::new(map)),
    };
    match api.store().write(write).await {
        // Changed meanwhile: the next round looks again.
        Ok(_) | Err(WriteError::Conflict(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn expire_events(api: &Api) {
    let Some(events) = resources::find("", "v1", "events") else {
        return;
    };
    let mut ticks = tokio::time::interval(EVENT_SWEEP);
    loop {
        ticks.tick().await;
        let oldest = jiff::Timestamp::now().as_second() - EVENT_AGE.as_secs() as i64;
        let old = api
            .store()
            .list("events", None)
            .entries
            .into_iter()
            .filter(|e| {
                let event = e.value();
                [
                    "/lastTimestamp",
                    "/series/lastObservedTime",
                    "/eventTime",
                    "/metadata/creationTimestamp",
                ]
                .iter()
                .filter_map(|p| event.pointer(p)?.as_str().and_then(age::parse))
                .max()
                .is_some_and(|at| at < oldest)
            });
        let targets = old
            .map(|e| Target::new(events, e.meta().namespace.as_deref(), Some(&e.meta().name)))
            .collect();
        if let Err(error) = delete_all(api, targets).await {
            tracing::warn!(%error, "an old event could not be removed");
        }
    }
}

/// Runs jobs, a bounded number at a time.
async fn side_by_side<T: Send + 'static>(jobs: Vec<BoxFuture<'static, T>>) -> Vec<T> {
    futures::stream::iter(jobs)
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await
}

/// Deletes objects with their dependents; what is gone already is fine.
async fn delete_all(api: &Api, targets: Vec<Target>) -> Result<(), ApiError> {
    let options = DeleteOptions {
        propagation: Some(Propagation::Background),
        ..DeleteOptions::default()
    };
    let jobs: Vec<BoxFuture<'static, Result<(), ApiError>>> = targets
        .into_iter()
        .map(|target| {
            let (api, options) = (api.clone(), options.clone());
            let job: BoxFuture<'static, _> = Box::pin(async move {
                match api.delete(&target, &options).await {
                    Ok(_) => Ok(()),
                    Err(error) if error.code == 404 => Ok(()),
                    Err(error) => Err(error),
                }
            });
            job
        })
        .collect();
    side_by_side(jobs).await.into_iter().collect()
}
