//! Watched copies of one kind each, shared by all controllers.
//!
//! A cache is only ever a view: every decision taken from it is made safe by names that
//! are decided beforehand and by optimistic locking, so a stale view costs a retry and
//! never an object too many.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource, ResourceExt};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::objects::Kind;

/// How many deleted objects are remembered, so that a late answer to a write does not bring
/// one of them back. Answers come within moments of the write.
const REMEMBERED_DELETES: usize = 1024;

/// Names one namespaced object of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the object.
    pub name: String,
}

impl Key {
    /// A key of its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// How objects of a cache are grouped, e.g. Trials by their Experiment.
pub type Grouping<K> = fn(&K) -> Option<Key>;

/// The watched objects of one kind.
pub struct Cache<K> {
    group_of: Grouping<K>,
    state: RwLock<State<K>>,
    ready: watch::Sender<bool>,
}

struct State<K> {
    objects: HashMap<Key, Arc<K>>,
    groups: HashMap<Key, BTreeMap<Key, Arc<K>>>,
    deleted: VecDeque<String>,
}

impl<K> Default for State<K> {
    fn default() -> Self {
        Self {
            objects: HashMap::new(),
            groups: HashMap::new(),
            deleted: VecDeque::new(),
        }
    }
}

impl<K: Kind> Cache<K> {
    /// An empty cache whose objects are grouped by `group_of`.
    pub fn new(group_of: Grouping<K>) -> Arc<Self> {
        Arc::new(Self {
            group_of,
            state: RwLock::new(State::default()),
            ready: watch::Sender::new(false),
        })
    }

    /// The object as last seen.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().objects.get(key).cloned()
    }

    /// All objects of a group, in the order of their names.
    pub fn group(&self, group: &Key) -> Vec<Arc<K>> {
        let state = self.read();
        let members = state.groups.get(group).map(BTreeMap::values);
        members.into_iter().flatten().cloned().collect()
    }

    /// Takes in the answer to a write of our own, so that the next decision need not wait
    /// for the watch. What the watch knows better stays: newer versions, and deletes.
    pub fn learn(&self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        let mut state = self.write();
        if !state.deleted.iter().any(|uid| uid == object.uid()) {
            self.insert_unless_older(&mut state, object.clone());
        }
        object
    }

    /// Waits until the first complete list is in.
    pub async fn wait_until_ready(&self) {
        let mut ready = self.ready.subscribe();
        // The sender lives as long as self: this cannot fail while we are borrowed.
        let _ = ready.wait_for(|is_ready| *is_ready).await;
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State<K>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State<K>> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, state: &mut State<K>, key: Key, object: Arc<K>) {
        if let Some(old) = state.objects.get(&key).cloned() {
            self.leave_group(state, &key, &old);
        }
        if let Some(group) = (self.group_of)(&object) {
            let members = state.groups.entry(group).or_default();
            members.insert(key.clone(), object.clone());
        }
        state.objects.insert(key, object);
    }

    fn leave_group(&self, state: &mut State<K>, key: &Key, old: &K) {
        if let Some(group) = (self.group_of)(old)
            && let Some(members) = state.groups.get_mut(&group)
        {
            members.remove(key);
            if members.is_empty() {
                state.groups.remove(&group);
            }
        }
    }

    fn insert_unless_older(&self, state: &mut State<K>, object: Arc<K>) {
        let key = object.key();
        let older = state.objects.get(&key).is_some_and(|held| {
            held.uid() == object.uid() && version(held.as_ref()) > version(object.as_ref())
        });
        if !older {
            self.insert(state, key, object);
        }
    }

    /// Takes in what the watch tells and returns it, or what is held already and is as new.
    fn apply(&self, watched: &Watched<K>) -> Option<Arc<K>> {
        let held = self.get(&watched.key()).filter(|held| {
            watched.metadata.uid.as_deref() == Some(held.uid())
                && number(watched.metadata.resource_version.as_deref()) <= version(held.as_ref())
        });
        if held.is_some() {
            return held;
        }
        let object = Arc::new(watched.decoded()?);
        self.insert_unless_older(&mut self.write(), object.clone());
        Some(object)
    }

    fn delete(&self, key: &Key) -> Option<Arc<K>> {
        let mut state = self.write();
        let old = state.objects.remove(key)?;
        self.leave_group(&mut state, key, &old);
        state.deleted.push_back(old.uid().to_owned());
        if state.deleted.len() > REMEMBERED_DELETES {
            state.deleted.pop_front();
        }
        Some(old)
    }

    /// Drops what a fresh list no longer holds and returns it.
    fn retain(&self, listed: &BTreeSet<Key>) -> Vec<Arc<K>> {
        let gone: Vec<Key> = {
            let state = self.read();
            let keys = state.objects.keys();
            keys.filter(|key| !listed.contains(*key)).cloned().collect()
        };
        gone.iter().filter_map(|key| self.delete(key)).collect()
    }
}

/// Resource versions are opaque to clients except for one thing: later ones are larger
/// numbers, which Kubernetes guarantees for its own storage and we for ours. One that is no
/// number compares as oldest.
fn version<K: Kind>(object: &K) -> u64 {
    number(Some(object.version()))
}

fn number(version: Option<&str>) -> u64 {
    version.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// An object as watched: its metadata, and its text.
///
/// Most events tell of the controllers' own writes, which need not be read again. And one object
/// that somebody wrote by hand and that does not fit our types must not blind the controllers to
/// all others.
#[derive(Clone, Debug)]
struct Watched<K> {
    metadata: ObjectMeta,
    text: Box<RawValue>,
    kind: PhantomData<fn() -> K>,
}

impl<'de, K> Deserialize<'de> for Watched<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Head {
            metadata: ObjectMeta,
        }
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let Head { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        Ok(Self {
            metadata,
            text,
            kind: PhantomData,
        })
    }
}

impl<K: Kind> Resource for Watched<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        K::KIND.into()
    }

    fn group(_: &()) -> Cow<'_, str> {
        K::GROUP.into()
    }

    fn version(_: &()) -> Cow<'_, str> {
        K::VERSION.into()
    }

    fn plural(_: &()) -> Cow<'_, str> {
        K::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<K: Kind> Watched<K> {
    fn key(&self) -> Key {
        Key::new(self.namespace().unwrap_or_default(), self.name_any())
    }

    fn decoded(&self) -> Option<K> {
        match serde_json::from_str(self.text.get()) {
            Ok(object) => Some(object),
            Err(error) => {
                let (kind, key) = (K::KIND, self.key());
                tracing::warn!(kind, object = %key, %error, "object does not decode, left alone");
                None
            }
        }
    }
}

/// Keeps a cache up to date and tells `notify` of every object that came, changed or went.
pub async fn follow<K: Kind>(
    client: Client,
    cache: Arc<Cache<K>>,
    notify: impl Fn(&K),
    shutdown: CancellationToken,
) {
    let api: Api<Watched<K>> = Api::all(client);
    let events = watcher(api, watcher::Config::default()).default_backoff();
    let mut events = std::pin::pin!(events);
    let mut listed = BTreeSet::new();
    loop {
        let event = tokio::select! {
            () = shutdown.cancelled() => return,
            event = events.next() => event,
        };
        match event {
            None => return,
            Some(Err(error)) => {
                tracing::warn!(kind = K::KIND, %error, "watch interrupted, trying again");
            }
            Some(Ok(watcher::Event::Init)) => listed.clear(),
            Some(Ok(watcher::Event::InitApply(object))) => {
                listed.insert(object.key());
                if let Some(object) = cache.apply(&object) {
                    notify(&object);
                }
            }
            Some(Ok(watcher::Event::InitDone)) => {
                for gone in cache.retain(&listed) {
                    notify(&gone);
                }
                listed.clear();
                cache.ready.send_replace(true);
            }
            Some(Ok(watcher::Event::Apply(object))) => {
                if let Some(object) = cache.apply(&object) {
                    notify(&object);
                }
            }
            Some(Ok(watcher::Event::Delete(object))) => {
                if let Some(gone) = cache.delete(&object.key()) {
                    notify(&gone);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    #[test]
    fn an_object_that_does_not_fit_still_has_its_metadata() {
        let object = r#"{"metadata": {"name": "a", "resourceVersion": "7"}, "spec": 3}"#;
        let watched: Watched<Pod> = serde_json::from_str(object).unwrap();
        assert_eq!(watched.resource_version().as_deref(), Some("7"));
        assert!(watched.decoded().is_none());
    }

    fn labelled(name: &str, version: &str, owner: &str) -> Pod {
        let mut object = Pod::default();
        object.metadata.name = Some(name.into());
        object.metadata.namespace = Some("lab".into());
        object.metadata.uid = Some(format!("uid-{name}"));
        object.metadata.resource_version = Some(version.into());
        object.labels_mut().insert("owner".into(), owner.into());
        object
    }

    fn told(name: &str, version: &str, owner: &str) -> Watched<Pod> {
        let text = serde_json::to_string(&labelled(name, version, owner)).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn cache() -> Arc<Cache<Pod>> {
        Cache::new(|object| object.label("owner").map(|owner| Key::new("lab", owner)))
    }

    #[test]
    fn an_object_that_changes_its_group_is_found_in_the_new_one_only() {
        let cache = cache();
        cache.apply(&told("a", "1", "x"));
        cache.apply(&told("a", "2", "y"));
        assert!(cache.group(&Key::new("lab", "x")).is_empty());
        assert_eq!(cache.group(&Key::new("lab", "y")).len(), 1);
        cache.delete(&Key::new("lab", "a"));
        assert!(cache.group(&Key::new("lab", "y")).is_empty());
    }

    #[test]
    fn an_event_older_than_the_answer_to_our_own_write_is_ignored() {
        let cache = cache();
        cache.apply(&told("a", "9", "x"));
        cache.learn(labelled("a", "10", "y"));
        cache.apply(&told("a", "9", "x"));
        assert_eq!(cache.group(&Key::new("lab", "y")).len(), 1);
    }

    #[test]
    fn a_late_answer_to_a_write_does_not_bring_back_a_deleted_object() {
        let cache = cache();
        cache.learn(labelled("a", "9", "x"));
        cache.delete(&Key::new("lab", "a"));
        cache.learn(labelled("a", "10", "x"));
        assert!(cache.get(&Key::new("lab", "a")).is_none());
    }

    #[test]
    fn a_fresh_list_reports_what_is_gone() {
        let cache = cache();
        cache.apply(&told("a", "1", "x"));
        cache.apply(&told("b", "2", "x"));
        let gone = cache.retain(&BTreeSet::from([Key::new("lab", "b")]));
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].name(), "a");
    }
}
