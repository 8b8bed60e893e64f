//! The kinds the controllers work on and the requests they make.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use katlab_katib::types::{Experiment, Suggestion, Trial};
use kube::Client;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::api::{GetParams, Preconditions, PropagationPolicy};
use kube::core::Request;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::cache::Key;
use super::error::{Error, Result};

/// The name under which the API server notes what Katib's controllers wrote.
const MANAGER: &str = "katib-controller";
/// The same for the controllers of Kubernetes itself.
const KUBERNETES: &str = "kube-controller-manager";

/// A kind of object, as far as a controller must know it.
pub trait Kind:
    Serialize + DeserializeOwned + Clone + std::fmt::Debug + Send + Sync + 'static
{
    /// Group; empty for the core group.
    const GROUP: &'static str;
    /// Version.
    const VERSION: &'static str;
    /// Kind.
    const KIND: &'static str;
    /// Plural, as in paths.
    const PLURAL: &'static str;

    /// Its name.
    fn name(&self) -> &str;
    /// Its namespace.
    fn namespace(&self) -> &str;
    /// Its identity.
    fn uid(&self) -> &str;
    /// Its version.
    fn version(&self) -> &str;
    /// Whether it waits for its finalizers to be done.
    fn is_deleting(&self) -> bool;
    /// Its finalizers.
    fn finalizers(&self) -> &[String];
    /// A label.
    fn label(&self, name: &str) -> Option<&str>;
    /// The owner that manages it.
    fn manager(&self) -> Option<Owner<'_>>;

    /// Its key.
    fn key(&self) -> Key {
        Key::new(self.namespace(), self.name())
    }

    /// `v1` or `group/version`.
    fn api_version() -> String {
        if Self::GROUP.is_empty() {
            Self::VERSION.to_owned()
        } else {
            format!("{}/{}", Self::GROUP, Self::VERSION)
        }
    }

    /// The key of the managing owner if it is of this kind.
    fn managed_by(&self, kind: &str) -> Option<Key> {
        let owner = self.manager().filter(|owner| owner.kind == kind)?;
        Some(Key::new(self.namespace(), owner.name))
    }

    /// A reference that makes this object the managing owner of another.
    fn owner_reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: Self::api_version(),
            kind: Self::KIND.to_owned(),
            name: self.name().to_owned(),
            uid: self.uid().to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}

/// The managing owner of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Its identity.
    pub uid: &'a str,
}

macro_rules! built_in {
    ($kind:ty, $group:literal, $version:literal, $plural:literal) => {
        impl Kind for $kind {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const KIND: &'static str = stringify!($kind);
            const PLURAL: &'static str = $plural;

            fn name(&self) -> &str {
                self.metadata.name.as_deref().unwrap_or_default()
            }
            fn namespace(&self) -> &str {
                self.metadata.namespace.as_deref().unwrap_or_default()
            }
            fn uid(&self) -> &str {
                self.metadata.uid.as_deref().unwrap_or_default()
            }
            fn version(&self) -> &str {
                self.metadata
                    .resource_version
                    .as_deref()
                    .unwrap_or_default()
            }
            fn is_deleting(&self) -> bool {
                self.metadata.deletion_timestamp.is_some()
            }
            fn finalizers(&self) -> &[String] {
                self.metadata.finalizers.as_deref().unwrap_or_default()
            }
            fn label(&self, name: &str) -> Option<&str> {
                let labels: Option<&BTreeMap<String, String>> = self.metadata.labels.as_ref();
                labels?.get(name).map(String::as_str)
            }
            fn manager(&self) -> Option<Owner<'_>> {
                let owners = self
                    .metadata
                    .owner_references
                    .as_deref()
                    .unwrap_or_default();
                let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
                Some(Owner {
                    kind: &owner.kind,
                    name: &owner.name,
                    uid: &owner.uid,
                })
            }
        }
    };
}

macro_rules! katib {
    ($kind:ty, $plural:literal) => {
        impl Kind for $kind {
            const GROUP: &'static str = "kubeflow.org";
            const VERSION: &'static str = "v1beta1";
            const KIND: &'static str = stringify!($kind);
            const PLURAL: &'static str = $plural;

            fn name(&self) -> &str {
                self.metadata.name()
            }
            fn namespace(&self) -> &str {
                self.metadata.namespace()
            }
            fn uid(&self) -> &str {
                self.metadata.uid.as_deref().unwrap_or_default()
            }
            fn version(&self) -> &str {
                self.metadata
                    .resource_version
                    .as_deref()
                    .unwrap_or_default()
            }
            fn is_deleting(&self) -> bool {
                self.metadata.deletion_timestamp.is_some()
            }
            fn finalizers(&self) -> &[String] {
                &self.metadata.finalizers
            }
            fn label(&self, name: &str) -> Option<&str> {
                self.metadata.labels.get(name).map(String::as_str)
            }
            fn manager(&self) -> Option<Owner<'_>> {
                let owners = &self.metadata.owner_references;
                let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
                Some(Owner {
                    kind: &owner.kind,
                    name: &owner.name,
                    uid: &owner.uid,
                })
            }
        }
    };
}

built_in!(Job, "batch", "v1", "jobs");
built_in!(Pod, "", "v1", "pods");
built_in!(ConfigMap, "", "v1", "configmaps");
built_in!(PersistentVolumeClaim, "", "v1", "persistentvolumeclaims");
katib!(Experiment, "experiments");
katib!(Suggestion, "suggestions");
katib!(Trial, "trials");

/// The body of a status update.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StatusUpdate<'a, S> {
    api_version: String,
    kind: &'a str,
    metadata: Value,
    status: &'a S,
}

/// Requests to the API server, typed by [`Kind`].
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// Requests through a client.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Reads an object; nothing if it is not there.
    pub async fn get<K: Kind>(&self, key: &Key) -> Result<Option<K>> {
        let call = Call::<K>::new("get", key);
        let request = collection::<K>(&key.namespace).get(&key.name, &GetParams::default());
        match call.answer(&self.client, request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates an object from anything that encodes as one.
    pub async fn create<K: Kind>(&self, key: &Key, object: &impl Serialize) -> Result<K> {
        let call = Call::<K>::new("create", key);
        let body = call.body(object)?;
        let request = collection::<K>(&key.namespace).create(&posting::<K>(), body);
        call.answer(&self.client, request).await
    }

    /// Writes the status an object was given, unless the object changed since it was read.
    pub async fn write_status<K: Kind>(&self, object: &K, status: &impl Serialize) -> Result<K> {
        let key = object.key();
        let call = Call::<K>::new("update status of", &key);
        let body = call.body(&StatusUpdate {
            api_version: K::api_version(),
            kind: K::KIND,
            metadata: json!({
                "name": key.name,
                "namespace": key.namespace,
                "uid": object.uid(),
                "resourceVersion": object.version(),
            }),
            status,
        })?;
        let request = collection::<K>(&key.namespace).replace_subresource(
            "status",
            &key.name,
            &posting::<K>(),
            body,
        );
        call.answer(&self.client, request).await
    }

    /// Merges a patch into an object, unless the object changed since it was read.
    pub async fn merge<K: Kind>(&self, object: &K, mut patch: Value) -> Result<K> {
        patch["metadata"]["resourceVersion"] = object.version().into();
        self.merge_anyway(object, patch).await
    }

    /// Merges a patch into an object whatever else changed in it, for fields that nobody else
    /// writes. Another object of the same name is left alone.
    pub async fn merge_anyway<K: Kind>(&self, object: &K, mut patch: Value) -> Result<K> {
        let key = object.key();
        let call = Call::<K>::new("patch", &key);
        patch["metadata"]["uid"] = object.uid().into();
        let params = patching::<K>();
        let request =
            collection::<K>(&key.namespace).patch(&key.name, &params, &Patch::Merge(patch));
        call.answer(&self.client, request).await
    }

    /// Adds a finalizer.
    pub async fn add_finalizer<K: Kind>(&self, object: &K, finalizer: &str) -> Result<K> {
        let mut finalizers = object.finalizers().to_vec();
        finalizers.push(finalizer.to_owned());
        self.merge(object, json!({"metadata": {"finalizers": finalizers}}))
            .await
    }

    /// Removes a finalizer whatever else changed on the object meanwhile, and answers the
    /// object as it is then. It being gone, or the whole object, is what was wanted.
    pub async fn remove_finalizer<K: Kind>(
        &self,
        object: &K,
        finalizer: &str,
    ) -> Result<Option<K>> {
        let key = object.key();
        let mut finalizers = object.finalizers().to_vec();
        loop {
            let Some(at) = finalizers.iter().position(|held| held == finalizer) else {
                return self.get(&key).await;
            };
            match self.drop_finalizer(object, finalizer, at).await {
                Ok(now) => return Ok(Some(now)),
                Err(error) if error.is_not_found() => return Ok(None),
                // The list may have changed since it was read.
                Err(error) => match self.get::<K>(&key).await? {
                    Some(now) if now.uid() == object.uid() => {
                        if now.finalizers() == finalizers {
                            return Err(error);
                        }
                        finalizers = now.finalizers().to_vec();
                    }
                    _ => return Ok(None),
                },
            }
        }
    }

    async fn drop_finalizer<K: Kind>(&self, object: &K, finalizer: &str, at: usize) -> Result<K> {
        let key = object.key();
        let call = Call::<K>::new("remove finalizer of", &key);
        let path = format!("/metadata/finalizers/{at}");
        let patch = json!([
            {"op": "test", "path": "/metadata/uid", "value": object.uid()},
            {"op": "test", "path": path, "value": finalizer},
            {"op": "remove", "path": path},
        ]);
        let patch: json_patch::Patch =
            serde_json::from_value(patch).map_err(|error| call.unwritable(error))?;
        let patch = Patch::<()>::Json(patch);
        let request = collection::<K>(&key.namespace).patch(&key.name, &patching::<K>(), &patch);
        call.answer(&self.client, request).await
    }

    /// Deletes an object. It being gone already is what was wanted; returns whether it was there.
    pub async fn delete<K: Kind>(
        &self,
        object: &K,
        propagation: PropagationPolicy,
    ) -> Result<bool> {
        let key = object.key();
        let call = Call::<K>::new("delete", &key);
        let params = DeleteParams {
            propagation_policy: Some(propagation),
            preconditions: Some(Preconditions {
                uid: Some(object.uid().to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let request = collection::<K>(&key.namespace).delete(&key.name, &params);
        match call.answer::<IgnoredAny>(&self.client, request).await {
            Ok(_) => Ok(true),
            // A conflict is the precondition: another object has the name by now.
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn posting<K: Kind>() -> PostParams {
    // Katib makes Jobs and leaves the rest to the Job controller.
    let manager = if K::KIND == "Pod" {
        KUBERNETES
    } else {
        MANAGER
    };
    PostParams {
        field_manager: Some(manager.to_owned()),
        ..PostParams::default()
    }
}

fn patching<K: Kind>() -> PatchParams {
    let manager = if matches!(K::KIND, "Pod" | "Job") {
        KUBERNETES
    } else {
        MANAGER
    };
    PatchParams {
        field_manager: Some(manager.to_owned()),
        ..PatchParams::default()
    }
}

fn collection<K: Kind>(namespace: &str) -> Request {
    let group = if K::GROUP.is_empty() { "api" } else { "apis" };
    let version = K::api_version();
    let plural = K::PLURAL;
    Request::new(format!(
        "/{group}/{version}/namespaces/{namespace}/{plural}"
    ))
}

/// One request and what its error will say.
struct Call<'a, K> {
    verb: &'static str,
    key: &'a Key,
    kind: std::marker::PhantomData<K>,
}

impl<'a, K: Kind> Call<'a, K> {
    fn new(verb: &'static str, key: &'a Key) -> Self {
        Self {
            verb,
            key,
            kind: std::marker::PhantomData,
        }
    }

    fn unwritable(&self, error: impl std::fmt::Display) -> Error {
        Error::Request {
            verb: self.verb,
            kind: K::KIND,
            object: self.key.clone(),
            reason: error.to_string(),
        }
    }

    fn body(&self, value: &impl Serialize) -> Result<Vec<u8>> {
        serde_json::to_vec(value).map_err(|error| self.unwritable(error))
    }

    async fn answer<T: DeserializeOwned>(
        &self,
        client: &Client,
        request: std::result::Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T> {
        let request = request.map_err(|error| self.unwritable(error))?;
        client.request(request).await.map_err(|source| Error::Api {
            verb: self.verb,
            kind: K::KIND,
            object: self.key.clone(),
            source: Box::new(source),
        })
    }
}
