//! delete and deletecollection.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::runtime::NODE;
use crate::store::{Entry, Expect, Op, Write, WriteError, Written};

use super::Api;
use super::age;
use super::path::Target;
use super::query::{Query, dry_run};
use super::status::{ApiError, FieldError};
use super::write::{Object, served};

/// The finalizer that keeps an owner until its dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that keeps an owner until its dependents have been let go.
pub const ORPHAN: &str = "orphan";

/// More seconds than anybody waits for a pod, and few enough for a date.
const LONGEST_GRACE: i64 = 100 * 365 * 24 * 3600;

/// Namespaces that stay.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// What becomes of the dependents of a deleted object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Propagation {
    /// They are deleted afterwards.
    #[default]
    Background,
    /// They are deleted first.
    Foreground,
    /// They stay.
    Orphan,
}

/// Options of a delete.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Do not store.
    pub dry_run: bool,
    /// Seconds a pod has to end.
    pub grace: Option<i64>,
    /// The dependents, if the client says.
    pub propagation: Option<Propagation>,
    /// The uid the object must have.
    pub uid: Option<String>,
    /// The version the object must be at.
    pub version: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeleteBody {
    dry_run: Option<Vec<String>>,
    grace_period_seconds: Option<i64>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    preconditions: Option<Preconditions>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Preconditions {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// Reads the options of a request, from its query and its body. The body wins.
    pub fn read(query: &Query, body: Option<&Value>) -> Result<DeleteOptions, ApiError> {
        let body: DeleteBody = match body {
            Some(value) => serde_json::from_value(value.clone())
                .map_err(|e| ApiError::bad_request(format!("DeleteOptions: {e}")))?,
            None => DeleteBody::default(),
        };
        let dry = match (body.dry_run, query.get("dryRun")) {
            (Some(list), _) => json!(list),
            (None, Some(text)) => json!(text),
            (None, None) => Value::Null,
        };
        let grace = match body.grace_period_seconds {
            Some(grace) => Some(grace),
            None => query.number("gracePeriodSeconds")?,
        };
        if grace.is_some_and(|g| g < 0) {
            let error = FieldError::invalid(
                "gracePeriodSeconds",
                &json!(grace),
                "must be greater than or equal to 0",
            );
            return Err(ApiError::invalid_kind(
                "meta.k8s.io",
                "DeleteOptions",
                "",
                &[error],
            ));
        }
        let policy = body
            .propagation_policy
            .or(query.get("propagationPolicy").map(str::to_owned));
        if let (Some(policy), Some(_)) = (&policy, body.orphan_dependents) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            let error = FieldError::invalid("propagationPolicy", &json!(policy), why);
            return Err(ApiError::invalid_kind(
                "meta.k8s.io",
                "DeleteOptions",
                "",
                &[error],
            ));
        }
        let propagation = match (policy.as_deref(), body.orphan_dependents) {
            (None, None) => None,
            (None, Some(true)) => Some(Propagation::Orphan),
            (None, Some(false)) | (Some("Background"), _) => Some(Propagation::Background),
            (Some("Foreground"), _) => Some(Propagation::Foreground),
            (Some("Orphan"), _) => Some(Propagation::Orphan),
            (Some(other), _) => {
                let error = FieldError::unsupported(
                    "propagationPolicy",
                    &json!(other),
                    &["Foreground", "Background", "Orphan", "nil"],
                );
                return Err(ApiError::invalid_kind(
                    "meta.k8s.io",
                    "DeleteOptions",
                    "",
                    &[error],
                ));
            }
        };
        let preconditions = body.preconditions.unwrap_or_default();
        Ok(DeleteOptions {
            dry_run: dry_run(&dry, "DeleteOptions")?,
            grace,
            propagation,
            uid: preconditions.uid,
            version: preconditions.resource_version,
        })
    }
}

/// What a delete did.
#[derive(Debug)]
pub enum Deleted {
    /// The object is still there, on its way out.
    Marked(Object),
    /// The object is gone; this is its last state.
    Gone(Arc<Entry>),
}

impl Api {
    /// Deletes one object, or marks it if something holds it.
    pub async fn delete(
        &self,
        target: &Target,
        options: &DeleteOptions,
    ) -> Result<Deleted, ApiError> {
        let resource = target.resource;
        let name = target.name.as_deref().unwrap_or("");
        let path = target.path(name);
        if resource.kind == "Namespace" && IMMORTAL.contains(&name) {
            return Err(ApiError::forbidden(
                resource,
                name,
                format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted"),
            ));
        }
        if resource.kind == "Node" && name == NODE {
            return Err(ApiError::forbidden(
                resource,
                name,
                format!(
                    "nodes \"{name}\" is forbidden: it is the sandbox itself, which `katlab sandbox down` stops"
                ),
            ));
        }
        loop {
            let entry = self
                .store()
                .get(resource.storage, &path)
                .ok_or_else(|| ApiError::not_found(resource, name))?;
            check_preconditions(&entry, target, options)?;
            let current = entry.value();
            let op = match marked(&current, target, options) {
                Step::Remove => Op::Delete,
                Step::Nothing => return Ok(Deleted::Marked(Object::Stored(entry))),
                Step::Mark(new) => {
                    if options.dry_run {
                        return Ok(Deleted::Marked(Object::Computed(served(*new, resource))));
                    }
                    Op::Put(new)
                }
            };
            if options.dry_run {
                return Ok(Deleted::Gone(entry));
            }
            let removes = matches!(op, Op::Delete);
            let write = Write {
                storage: resource.storage,
                path: path.clone(),
                expect: Expect::Revision(entry.revision),
                guards: Vec::new(),
                op,
            };
            match self.store().write(write).await {
                Ok(Written { entry }) if removes => return Ok(Deleted::Gone(entry)),
                Ok(Written { entry }) => return Ok(Deleted::Marked(Object::Stored(entry))),
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Deletes what a list would show; answers with it.
    pub async fn delete_collection(
        &self,
        target: &Target,
        query: &Query,
        options: &DeleteOptions,
    ) -> Result<super::read::Listing, ApiError> {
        let mut listing = self.list(target, query).await?;
        let mut deleted = Vec::with_capacity(listing.entries.len());
        for entry in &listing.entries {
            let meta = entry.meta();
            let one = Target::new(target.resource, meta.namespace.as_deref(), Some(&meta.name));
            match self.delete(&one, options).await {
                Ok(Deleted::Gone(entry) | Deleted::Marked(Object::Stored(entry))) => {
                    deleted.push(entry);
                }
                Ok(Deleted::Marked(Object::Computed(_))) => deleted.push(entry.clone()),
                Err(error) if error.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        listing.entries = deleted;
        Ok(listing)
    }
}

fn check_preconditions(
    entry: &Entry,
    target: &Target,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    let name = target.name.as_deref().unwrap_or("");
    let uid = &entry.meta().uid;
    if let Some(wanted) = options.uid.as_ref().filter(|w| *w != uid) {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have been deleted and then recreated"
        );
        return Err(ApiError::precondition(target.resource, name, &why));
    }
    let version = entry.revision.to_string();
    if let Some(wanted) = options.version.as_ref().filter(|w| **w != version) {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record ({version}). The object might have been modified"
        );
        return Err(ApiError::precondition(target.resource, name, &why));
    }
    Ok(())
}

enum Step {
    Remove,
    Mark(Box<Value>),
    Nothing,
}

/// What a delete does to an object in its present state.
fn marked(current: &Value, target: &Target, options: &DeleteOptions) -> Step {
    let mut new = current.clone();
    let text = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let mut finalizers = text(&current["metadata"]["finalizers"]);
    if let Some(propagation) = options.propagation {
        let own = match propagation {
            Propagation::Background => None,
            Propagation::Foreground => Some(FOREGROUND),
            Propagation::Orphan => Some(ORPHAN),
        };
        finalizers.retain(|f| f == &json!(own) || (*f != FOREGROUND && *f != ORPHAN));
        if let Some(own) = own
            && !finalizers.iter().any(|f| f == own)
        {
            finalizers.push(json!(own));
        }
    }
    let namespace_held =
        target.resource.kind == "Namespace" && !text(&current["spec"]["finalizers"]).is_empty();
    let grace = if target.resource.kind_rules.graceful {
        pod_grace(current, options)
    } else {
        0
    };
    if finalizers.is_empty() && !namespace_held && grace == 0 {
        return Step::Remove;
    }
    let meta = super::meta::of(&mut new);
    if finalizers.is_empty() {
        meta.shift_remove("finalizers");
    } else {
        meta.insert("finalizers".into(), Value::Array(finalizers));
    }
    let already = current["metadata"]["deletionTimestamp"].is_string();
    let had = current["metadata"]["deletionGracePeriodSeconds"].as_i64();
    if !already || had.is_some_and(|had| grace < had) {
        let at = jiff::Timestamp::now().as_second() + grace;
        meta.insert("deletionTimestamp".into(), json!(age::rfc3339(at)));
        meta.insert("deletionGracePeriodSeconds".into(), json!(grace));
        if let Some(generation) = current["metadata"]["generation"]
            .as_i64()
            .filter(|_| !already)
        {
            meta.insert("generation".into(), json!(generation.saturating_add(1)));
        }
    }
    if namespace_held {
        new["status"]["phase"] = json!("Terminating");
    }
    if new == *current {
        Step::Nothing
    } else {
        Step::Mark(Box::new(new))
    }
}

/// How long a pod has: as asked, else as it says itself; nothing if it never ran or has ended.
fn pod_grace(pod: &Value, options: &DeleteOptions) -> i64 {
    let ended = matches!(
        pod["status"]["phase"].as_str(),
        Some("Succeeded" | "Failed")
    );
    let scheduled = pod["spec"]["nodeName"]
        .as_str()
        .is_some_and(|n| !n.is_empty());
    if ended || !scheduled {
        return 0;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"]
        .as_i64()
        .unwrap_or(30);
    let asked = options.grace.unwrap_or(own).clamp(0, LONGEST_GRACE);
    // A second delete may shorten the time, not lengthen it.
    match pod["metadata"]["deletionGracePeriodSeconds"].as_i64() {
        Some(had) if options.grace.is_none() => had,
        Some(had) => asked.min(had),
        None => asked,
    }
}
