//! Events: what the cluster says happened.

use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;

use super::Scope;
use crate::cluster::{Cluster, Error, Result};

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// When it was seen last.
    pub last: Option<Timestamp>,
    /// When it was seen first.
    pub first: Option<Timestamp>,
    /// How often.
    pub count: i32,
    /// Whether it is a warning.
    pub warning: bool,
    /// A word such as `FailedScheduling`.
    pub reason: String,
    /// The kind of the object it is about.
    pub kind: String,
    /// The object's name.
    pub object: String,
    /// The object's namespace.
    pub namespace: String,
    /// What happened.
    pub message: String,
    /// Who says so.
    pub source: String,
}

/// Which events.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// About objects of this name.
    pub name: Option<String>,
    /// About objects of this kind.
    pub kind: Option<String>,
    /// About the object of this uid.
    pub uid: Option<String>,
}

/// Lists events, oldest first.
pub async fn list(cluster: &Cluster, scope: &Scope, filter: &Filter) -> Result<Vec<EventRow>> {
    let (api, action): (Api<Event>, _) = match scope.namespace() {
        Some(namespace) => (
            Api::namespaced(cluster.client.clone(), namespace),
            cluster.action("list", "events").within(namespace),
        ),
        None => (
            Api::all(cluster.client.clone()),
            cluster.action("list", "events"),
        ),
    };
    let selector: Vec<String> = [
        ("involvedObject.name", &filter.name),
        ("involvedObject.kind", &filter.kind),
        ("involvedObject.uid", &filter.uid),
    ]
    .iter()
    .filter_map(|(field, value)| value.as_ref().map(|value| format!("{field}={value}")))
    .collect();
    let mut params = ListParams::default();
    if !selector.is_empty() {
        params = params.fields(&selector.join(","));
    }
    let found = api
        .list(&params)
        .await
        .map_err(|error| Error::from_kube(error, &action))?;
    if found.items.is_empty() {
        super::namespaces::expect(cluster, scope.namespace()).await?;
    }
    let mut rows: Vec<EventRow> = found.items.into_iter().map(row).collect();
    rows.sort_by(|left, right| {
        (left.last, &left.object, &left.reason).cmp(&(right.last, &right.object, &right.reason))
    });
    Ok(rows)
}

/// An event as a row.
pub(crate) fn row(event: Event) -> EventRow {
    // Newer components write eventTime (and a series), older ones first/lastTimestamp and a count.
    let single = event.event_time.as_ref().map(|time| time.0);
    let series = event.series.as_ref();
    let last = series
        .and_then(|series| series.last_observed_time.as_ref().map(|time| time.0))
        .or(event.last_timestamp.as_ref().map(|time| time.0))
        .or(single)
        .or(event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0));
    EventRow {
        first: event.first_timestamp.map(|time| time.0).or(single).or(last),
        last,
        count: series
            .and_then(|series| series.count)
            .or(event.count)
            .unwrap_or(1)
            .max(1),
        warning: event.type_.as_deref() == Some("Warning"),
        reason: event.reason.unwrap_or_default(),
        kind: event.involved_object.kind.unwrap_or_default(),
        object: event.involved_object.name.unwrap_or_default(),
        namespace: event.metadata.namespace.unwrap_or_default(),
        message: event.message.unwrap_or_default().trim().to_owned(),
        source: event
            .source
            .and_then(|source| source.component)
            .or(event.reporting_component)
            .unwrap_or_default(),
    }
}
