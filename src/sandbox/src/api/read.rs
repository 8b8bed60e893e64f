//! get and list.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::store::Entry;

use super::Api;
use super::encode::ListMeta;
use super::path::Target;
use super::query::Query;
use super::selector::{Fields, Labels};
use super::status::{ApiError, FieldError};

/// How long a list waits for a revision that is yet to come, as Kubernetes does.
const PATIENCE: Duration = Duration::from_secs(3);

/// Which objects a list or watch is about.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// By labels.
    pub labels: Labels,
    /// By fields.
    pub fields: Fields,
    /// By name, for a watch on an object's own path.
    pub name: Option<String>,
}

impl Selection {
    /// Reads the selectors of a request.
    pub fn read(target: &Target, query: &Query) -> Result<Selection, ApiError> {
        Ok(Selection {
            labels: Labels::parse(query.get("labelSelector").unwrap_or(""))?,
            fields: Fields::parse(query.get("fieldSelector").unwrap_or(""), target.resource)?,
            name: target.name.clone(),
        })
    }

    /// Whether it leaves nothing out.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty() && self.name.is_none()
    }

    /// Whether an object is in it.
    pub fn matches(&self, entry: &Entry, target: &Target) -> bool {
        let in_namespace = match (&target.namespace, target.resource.namespaced) {
            (Some(ns), true) => entry
                .path()
                .strip_prefix(ns.as_str())
                .is_some_and(|rest| rest.starts_with('/')),
            _ => true,
        };
        in_namespace
            && self.name.as_deref().is_none_or(|n| n == entry.meta().name)
            && (self.labels.is_empty() || self.labels.matches(&entry.meta().labels))
            && (self.fields.is_empty() || self.fields.matches(entry, target.resource))
    }
}

/// How a request relates to a resourceVersion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The newest.
    Unset,
    /// Any.
    Any,
    /// This one or newer.
    NotOlderThan(u64),
    /// This very one.
    Exact(u64),
}

/// The resourceVersion as a number, if there is one.
pub fn revision(query: &Query) -> Result<Option<u64>, ApiError> {
    query
        .get("resourceVersion")
        .map(|text| {
            text.parse().map_err(|_| {
                ApiError::unforeseen(format!(
                    "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
                ))
            })
        })
        .transpose()
}

fn list_options_error(field: &str, why: &str) -> ApiError {
    let error = FieldError::forbidden(field, why);
    ApiError::invalid_kind("meta.k8s.io", "ListOptions", "", &[error])
}

/// Reads resourceVersion and resourceVersionMatch, with their rules.
pub fn version(query: &Query, watch: bool) -> Result<Version, ApiError> {
    let revision = revision(query)?;
    let rule = query.get("resourceVersionMatch");
    if query.flag("sendInitialEvents") || (watch && query.get("sendInitialEvents").is_some()) {
        if rule != Some("NotOlderThan") {
            return Err(list_options_error(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
    } else if rule.is_some() && watch {
        return Err(list_options_error(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    } else if rule.is_some() && revision.is_none() {
        return Err(list_options_error(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ));
    }
    Ok(match (revision, rule) {
        (None, _) => Version::Unset,
        (Some(0), Some("Exact")) => {
            return Err(list_options_error(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        (Some(0), _) => Version::Any,
        (Some(n), Some("Exact")) => Version::Exact(n),
        (Some(n), None | Some("NotOlderThan")) => Version::NotOlderThan(n),
        (Some(_), Some(other)) => {
            let supported = ["Exact", "NotOlderThan", ""];
            let error = FieldError::unsupported("resourceVersionMatch", &json!(other), &supported);
            return Err(ApiError::invalid_kind(
                "meta.k8s.io",
                "ListOptions",
                "",
                &[error],
            ));
        }
    })
}

/// A list, ready to be encoded.
#[derive(Debug)]
pub struct Listing {
    /// The objects.
    pub entries: Vec<Arc<Entry>>,
    /// Its metadata.
    pub meta: ListMeta,
}

fn token(revision: i64, start: &str) -> String {
    let text = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": format!("/{start}\0")});
    URL_SAFE_NO_PAD.encode(text.to_string())
}

fn read_token(text: &str) -> Result<(i64, String), ApiError> {
    let bad = |why: String| ApiError::bad_request(format!("invalid continue token: {why}"));
    let bytes = URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|e| bad(format!("continue key is not valid: {e}")))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|_| {
        let first = bytes.first().map_or(String::new(), |b| {
            if b.is_ascii_graphic() {
                char::from(*b).to_string()
            } else {
                format!("\\x{b:02x}")
            }
        });
        bad(format!(
            "continue key is not valid: invalid character '{first}' looking for beginning of value"
        ))
    })?;
    if value["v"] != "meta.k8s.io/v1" {
        return Err(bad(format!(
            "continue key is not valid: server does not recognize this encoded version \"{}\"",
            value["v"].as_str().unwrap_or("")
        )));
    }
    let start = value["start"].as_str().unwrap_or("");
    if start.is_empty() {
        return Err(bad(
            "continue key is not valid: encoded start key missing".into()
        ));
    }
    let start = start.trim_start_matches('/').trim_end_matches('\0');
    Ok((value["rv"].as_i64().unwrap_or(0), start.to_owned()))
}

impl Api {
    /// One object.
    pub fn get(&self, target: &Target) -> Result<Arc<Entry>, ApiError> {
        let name = target.name.as_deref().unwrap_or("");
        self.store()
            .get(target.resource.storage, &target.path(name))
            .ok_or_else(|| ApiError::not_found(target.resource, name))
    }

    /// Waits, a little, until the store has reached a revision that a client has seen elsewhere.
    async fn reached(&self, revision: u64) -> Result<(), ApiError> {
        let waiting = async {
            while self.store().revision() < revision {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting)
            .await
            .map_err(|_| ApiError::revision_too_large(revision, self.store().revision()))
    }

    /// A list of objects: all, or a page.
    pub async fn list(&self, target: &Target, query: &Query) -> Result<Listing, ApiError> {
        let selection = Selection::read(target, query)?;
        let limit = query
            .number("limit")?
            .filter(|n| *n > 0)
            .map(|n| n as usize);
        let storage = target.resource.storage;
        let namespace = target
            .namespace
            .as_deref()
            .filter(|_| target.resource.namespaced);
        let mut after = None;
        let mut page = if let Some(text) = query.get("continue") {
            if query.get("resourceVersion").is_some_and(|v| v != "0") {
                return Err(ApiError::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let (revision, start) = read_token(text)?;
            let page = match u64::try_from(revision) {
                Ok(revision) if revision > 0 => {
                    self.store().list_at(storage, namespace, revision).map_err(|_| {
                        let mut error = ApiError::expired("The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.");
                        error.next = Some(token(-1, &start));
                        error
                    })?
                }
                _ => self.store().list(storage, namespace),
            };
            after = Some(match namespace {
                Some(ns) => format!("{ns}/{start}"),
                None => start,
            });
            page
        } else {
            match version(query, false)? {
                Version::Unset | Version::Any => self.store().list(storage, namespace),
                Version::NotOlderThan(revision) => {
                    self.reached(revision).await?;
                    self.store().list(storage, namespace)
                }
                Version::Exact(revision) => {
                    self.reached(revision).await?;
                    self.store().list_at(storage, namespace, revision)?
                }
            }
        };
        if let Some(after) = &after {
            let start = page.entries.partition_point(|e| **e.path() <= **after);
            page.entries.drain(..start);
        }
        let everything = selection.is_everything();
        if !everything {
            page.entries.retain(|e| selection.matches(e, target));
        }
        let mut meta = ListMeta {
            revision: page.revision,
            ..ListMeta::default()
        };
        let any = query.get("resourceVersion") == Some("0") && after.is_none();
        if let Some(limit) = limit.filter(|limit| !any && page.entries.len() > *limit) {
            let left = page.entries.len() - limit;
            page.entries.truncate(limit);
            if let Some(last) = page.entries.last() {
                let start = match namespace {
                    Some(ns) => last.path()[ns.len() + 1..].to_owned(),
                    None => last.path().to_string(),
                };
                meta.next = Some(token(page.revision as i64, &start));
                meta.remaining = everything.then_some(left);
            }
        }
        Ok(Listing {
            entries: page.entries,
            meta,
        })
    }
}
