//! Katib's objects as the client library wants them, and as the rest of katlab does.

use k8s_openapi::jiff::Timestamp;
use katlab_katib::types;
use kube::Api;
use kube::api::ListParams;
use kube::core::{ApiResource, DynamicResourceScope, GroupVersionKind, Object};
use serde::de::DeserializeOwned;

use crate::cluster::{Action, Cluster, Error, Result};
use crate::kubernetes::Scope;
use crate::kubernetes::discovery::Kind;

pub(super) type Experiment = Object<types::ExperimentSpec, types::ExperimentStatus>;
pub(super) type Trial = Object<types::TrialSpec, types::TrialStatus>;
pub(super) type Suggestion = Object<types::SuggestionSpec, types::SuggestionStatus>;

/// What each of the three kinds is called.
pub(super) trait Held:
    kube::Resource<DynamicType = ApiResource, Scope = DynamicResourceScope>
    + Clone
    + std::fmt::Debug
    + DeserializeOwned
    + Send
    + 'static
{
    const KIND: &'static str;
    const PLURAL: &'static str;
    /// The same as katlab-katib's own type.
    type Plain;

    fn plain(self) -> Self::Plain;

    fn resource() -> ApiResource {
        let kind = GroupVersionKind::gvk("kubeflow.org", "v1beta1", Self::KIND);
        ApiResource::from_gvk_with_plural(&kind, Self::PLURAL)
    }

    /// The kind as discovery would give it; Katib's three are known beforehand, which saves a
    /// newly started kernel the discovery.
    fn known_kind() -> Kind {
        Kind {
            group: "kubeflow.org".into(),
            version: "v1beta1".into(),
            kind: Self::KIND.into(),
            plural: Self::PLURAL.into(),
            singular: Self::KIND.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            verbs: Vec::new(),
        }
    }
}

macro_rules! held {
    ($held:ty, $plain:ident, $plural:literal) => {
        impl Held for $held {
            const KIND: &'static str = stringify!($plain);
            const PLURAL: &'static str = $plural;
            type Plain = types::$plain;

            fn plain(self) -> types::$plain {
                types::$plain {
                    api_version: types::API_VERSION.into(),
                    kind: Self::KIND.into(),
                    metadata: metadata(self.metadata),
                    spec: self.spec,
                    status: self.status,
                }
            }
        }
    };
}

held!(Experiment, Experiment, "experiments");
held!(Trial, Trial, "trials");
held!(Suggestion, Suggestion, "suggestions");

/// The metadata that readers look at.
fn metadata(meta: kube::core::ObjectMeta) -> types::ObjectMeta {
    types::ObjectMeta {
        name: meta.name,
        generate_name: meta.generate_name,
        namespace: meta.namespace,
        uid: meta.uid,
        resource_version: meta.resource_version,
        generation: meta.generation,
        creation_timestamp: meta.creation_timestamp.map(|time| time.0.to_string()),
        deletion_timestamp: meta.deletion_timestamp.map(|time| time.0.to_string()),
        labels: meta.labels.unwrap_or_default(),
        annotations: meta.annotations.unwrap_or_default(),
        owner_references: meta
            .owner_references
            .unwrap_or_default()
            .into_iter()
            .map(|owner| types::OwnerReference {
                api_version: owner.api_version,
                kind: owner.kind,
                name: owner.name,
                uid: owner.uid,
                controller: owner.controller,
                block_owner_deletion: owner.block_owner_deletion,
            })
            .collect(),
        finalizers: meta.finalizers.unwrap_or_default(),
        rest: serde_json::Map::new(),
    }
}

pub(super) fn api<T: Held>(cluster: &Cluster, scope: &Scope) -> Api<T> {
    match scope.namespace() {
        Some(namespace) => Api::namespaced_with(cluster.client.clone(), namespace, &T::resource()),
        None => Api::all_with(cluster.client.clone(), &T::resource()),
    }
}

pub(super) fn action<T: Held>(cluster: &Cluster, verb: &str, scope: &Scope) -> Action {
    let action = cluster.action(verb, T::PLURAL);
    match scope.namespace() {
        Some(namespace) => action.within(namespace),
        None => action,
    }
}

/// Reads one object.
pub(super) async fn get<T: Held>(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> Result<T::Plain> {
    // A server would be asked for something else, or not at all.
    if name.is_empty() || name.contains(|c: char| c == '/' || c.is_whitespace()) {
        return Err(Error::Input {
            what: format!("`{name}` is no name"),
            reason: "names hold small letters, digits and `-`".to_owned(),
        });
    }
    let scope = Scope::from(namespace);
    match api::<T>(cluster, &scope).get(name).await {
        Ok(object) => Ok(object.plain()),
        Err(error) => Err(explain::<T>(
            cluster,
            &scope,
            error,
            action::<T>(cluster, "get", &scope).named(name),
        )
        .await),
    }
}

/// Reads all objects, page by page.
pub(super) async fn list<T: Held>(
    cluster: &Cluster,
    scope: &Scope,
    labels: Option<&str>,
) -> Result<Vec<T::Plain>> {
    let api = api::<T>(cluster, scope);
    let mut params = ListParams::default().limit(500);
    if let Some(labels) = labels {
        params = params.labels(labels);
    }
    let mut all = Vec::new();
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(error) => {
                return Err(explain::<T>(
                    cluster,
                    scope,
                    error,
                    action::<T>(cluster, "list", scope),
                )
                .await);
            }
        };
        all.extend(page.items.into_iter().map(Held::plain));
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params.continue_token = Some(token),
            _ => break,
        }
    }
    if all.is_empty() {
        crate::kubernetes::namespaces::expect(cluster, scope.namespace()).await?;
    }
    Ok(all)
}

/// Reads an error; a 404 without a name means that Katib is not installed.
pub(super) async fn explain<T: Held>(
    cluster: &Cluster,
    scope: &Scope,
    error: kube::Error,
    action: Action,
) -> Error {
    let error = Error::from_kube(error, &action);
    match &error {
        Error::NotFound { action, .. } if action.name.is_none() => Error::UnknownKind {
            kind: format!("{} (is Katib installed?)", T::KIND),
            near: Vec::new(),
        },
        _ => {
            crate::kubernetes::objects::explain(cluster, &T::known_kind(), scope.namespace(), error)
                .await
        }
    }
}

/// Reads a time of Katib's.
pub(super) fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}
