//! Suggestions: what the algorithm was asked and what it gave.

use k8s_openapi::jiff::Timestamp;
use katlab_katib::condition::last_condition;
use katlab_katib::types::Suggestion;

use super::held;
use crate::cluster::{Cluster, Result};
use crate::kubernetes::Scope;

/// One Suggestion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuggestionRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name, the experiment's.
    pub name: String,
    /// The algorithm.
    pub algorithm: String,
    /// The condition kubectl shows: the last.
    pub kind: String,
    /// That condition's status.
    pub status: String,
    /// That condition's message.
    pub message: String,
    /// Assignments asked for.
    pub requested: i32,
    /// Assignments given.
    pub assigned: i32,
    /// When it was made.
    pub created: Option<Timestamp>,
}

/// A Suggestion as a row.
pub fn row(suggestion: &Suggestion) -> SuggestionRow {
    let status = suggestion.status.clone().unwrap_or_default();
    let last = last_condition(&status.conditions)
        .cloned()
        .unwrap_or_default();
    SuggestionRow {
        namespace: suggestion.metadata.namespace().to_owned(),
        name: suggestion.metadata.name().to_owned(),
        algorithm: suggestion
            .spec
            .algorithm
            .as_ref()
            .map(|one| one.algorithm_name.clone())
            .unwrap_or_default(),
        kind: last.kind,
        status: last.status,
        message: last.message,
        requested: suggestion.spec.requests,
        assigned: status.suggestion_count,
        created: held::time(suggestion.metadata.creation_timestamp.as_deref()),
    }
}

/// Lists Suggestions, newest first.
pub async fn list(cluster: &Cluster, scope: &Scope) -> Result<Vec<SuggestionRow>> {
    let mut rows: Vec<SuggestionRow> = held::list::<held::Suggestion>(cluster, scope, None)
        .await?
        .iter()
        .map(row)
        .collect();
    rows.sort_by(|left, right| {
        (right.created, &left.namespace, &left.name).cmp(&(
            left.created,
            &right.namespace,
            &right.name,
        ))
    });
    Ok(rows)
}

/// Reads one Suggestion.
pub async fn get(cluster: &Cluster, namespace: &str, name: &str) -> Result<Suggestion> {
    held::get::<held::Suggestion>(cluster, namespace, name).await
}
