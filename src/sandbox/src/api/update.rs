//! update and patch: replace, merge, strategic merge, JSON patch and server-side apply, on the
//! main path of an object or on a subresource.

use serde_json::{Value, json};

use crate::resources::{Flavor, Resource};
use crate::store::{Expect, Op, Write, WriteError, Written};

use super::Api;
use super::admission_hook::{AdmissionRequest, Operation};
use super::auth::User;
use super::body::{self, Body};
use super::managed::{self, Writer};
use super::meta;
use super::patch::Patch;
use super::path::Target;
use super::query::{FieldValidation, WriteOptions};
use super::status::{ApiError, FieldError};
use super::write::{Object, Outcome, RETRIES, served, set_or_remove};

/// What an update does.
#[derive(Debug, Clone)]
pub enum Change {
    /// Replace by the body.
    Replace(Body),
    /// Patch.
    Patch(Patch),
}

/// Whether two objects have the same members, those named left aside.
fn same_members(a: &Value, b: &Value, aside: &[&str]) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else {
        return a == b;
    };
    let counted = |key: &String| !aside.contains(&key.as_str());
    a.keys().filter(|key| counted(key)).count() == b.keys().filter(|key| counted(key)).count()
        && a.iter()
            .filter(|(key, _)| counted(key))
            .all(|(key, value)| b.get(key) == Some(value))
}

fn same_but_bookkeeping(a: &Value, b: &Value) -> bool {
    let bookkeeping = ["managedFields", "resourceVersion", "generation"];
    same_members(&a["metadata"], &b["metadata"], &bookkeeping) && same_members(a, b, &["metadata"])
}

/// Which managers own what, without the times.
fn same_ownership(a: &Value, b: &Value) -> bool {
    fn managers(object: &Value) -> &[Value] {
        let list = object["metadata"]["managedFields"].as_array();
        list.map_or(&[], Vec::as_slice)
    }
    let (a, b) = (managers(a), managers(b));
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_members(a, b, &["time"]))
}

impl Api {
    /// Changes an object, by PUT or PATCH, on its main path or a subresource.
    pub async fn update(
        &self,
        target: &Target,
        change: Change,
        options: &WriteOptions,
        user: &User,
    ) -> Result<Outcome, ApiError> {
        let resource = target.resource;
        let name = target.name.as_deref().unwrap_or("");
        let path = target.path(name);
        for _ in 0..RETRIES {
            let Some(entry) = self.store().get(resource.storage, &path) else {
                return match change {
                    Change::Patch(Patch::Apply(applied)) if target.subresource.is_none() => {
                        self.apply_new(target, applied, options, user).await
                    }
                    _ => Err(ApiError::not_found(resource, name)),
                };
            };
            let current = entry.value();
            let mut warnings = Vec::new();
            let new = self.changed(target, &current, &change, options, user, &mut warnings)?;
            let Some(new) = new else {
                return Ok(Outcome {
                    code: 200,
                    object: Object::Stored(entry),
                    warnings,
                });
            };
            if options.dry_run {
                let object = Object::Computed(served(new, resource));
                return Ok(Outcome {
                    code: 200,
                    object,
                    warnings,
                });
            }
            let finished = gone_with_this(&new, target);
            let (op, last) = if finished {
                (Op::Delete, Some(new))
            } else {
                (Op::Put(Box::new(new)), None)
            };
            let write = Write {
                storage: resource.storage,
                path: path.clone(),
                expect: Expect::Revision(entry.revision),
                guards: Vec::new(),
                op,
            };
            match self.store().write(write).await {
                Ok(Written { entry }) => {
                    let object = match last {
                        Some(last) => Object::Computed(served(last, resource)),
                        None => Object::Stored(entry),
                    };
                    return Ok(Outcome {
                        code: 200,
                        object,
                        warnings,
                    });
                }
                // Somebody was faster. If the client named a version, the next round says so.
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApiError::modified(resource, name))
    }

    /// Server-side apply of an object that does not exist creates it.
    async fn apply_new(
        &self,
        target: &Target,
        applied: Value,
        options: &WriteOptions,
        user: &User,
    ) -> Result<Outcome, ApiError> {
        let applied = self.applied_config(target, &applied, options)?;
        let mut object = applied.clone();
        body::normalize(&mut object, target.resource, &mut Vec::new())?;
        let body = Body {
            object,
            complaints: Vec::new(),
        };
        self.create_as(target, body, options, user, Some(&applied))
            .await
    }

    /// Checks and completes what a client applies.
    fn applied_config(
        &self,
        target: &Target,
        applied: &Value,
        options: &WriteOptions,
    ) -> Result<Value, ApiError> {
        let resource = target.resource;
        if !options.manager_given {
            let error = FieldError::required("fieldManager", "is required for apply patch");
            return Err(ApiError::invalid_kind(
                "meta.k8s.io",
                "PatchOptions",
                "",
                &[error],
            ));
        }
        if !applied["metadata"]["managedFields"].is_null() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        let expected = resource.api_version();
        let (version, kind) = (&applied["apiVersion"], &applied["kind"]);
        if version != expected.as_str() || kind != resource.kind {
            return Err(ApiError::bad_request(format!(
                "the applied configuration must be of apiVersion {expected} and kind {}, not {version} and {kind}",
                resource.kind
            )));
        }
        let name = target.name.as_deref().unwrap_or("");
        let mut applied = applied.clone();
        let mut unknown = Vec::new();
        let mut checked = applied.clone();
        body::normalize(&mut checked, resource, &mut unknown)?;
        if let Some(first) = unknown.first() {
            let field = first.trim_start_matches("unknown field ").trim_matches('"');
            return Err(ApiError::unforeseen(format!(
                "failed to create typed patch object ({}/{name}; {}/{}, Kind={}): .{field}: field not declared in schema",
                applied["metadata"]["namespace"].as_str().unwrap_or(""),
                resource.group,
                resource.version,
                resource.kind
            )));
        }
        if let Some(given) = applied["metadata"]["name"].as_str()
            && given != name
        {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({name})"
            )));
        }
        applied["metadata"]["name"] = json!(name);
        Ok(applied)
    }

    /// The object after a change, or nothing if it changes nothing.
    fn changed(
        &self,
        target: &Target,
        current: &Value,
        change: &Change,
        options: &WriteOptions,
        user: &User,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Value>, ApiError> {
        let resource = target.resource;
        let name = target.name.as_deref().unwrap_or("");
        let subresource = target.subresource.as_deref().unwrap_or("");
        let mut applied_managers = None;
        let mut new = match change {
            Change::Replace(body) => {
                warnings.extend(body.complaints.iter().cloned());
                body.object.clone()
            }
            Change::Patch(Patch::Apply(applied)) => {
                let applied = self.applied_config(target, applied, options)?;
                let writer = Writer {
                    manager: &options.field_manager,
                    subresource,
                };
                let served_now = served(current.clone(), resource);
                let merged =
                    managed::apply(&served_now, &applied, resource, writer, options.force)?;
                applied_managers = Some(merged["metadata"]["managedFields"].clone());
                read_patched(merged, target, options, warnings)?
            }
            Change::Patch(patch) => {
                let patched = patch.apply_to(served(current.clone(), resource))?;
                read_patched(patched, target, options, warnings)?
            }
        };
        check_identity(&new, current, target)?;
        let conditional = new["metadata"]["resourceVersion"].as_str().unwrap_or("");
        if !conditional.is_empty()
            && new["metadata"]["resourceVersion"] != current["metadata"]["resourceVersion"]
        {
            return Err(ApiError::modified(resource, name));
        }
        if conditional.is_empty()
            && resource.flavor == Flavor::Custom
            && matches!(change, Change::Replace(_))
        {
            let error = FieldError::invalid(
                "metadata.resourceVersion",
                &json!(0),
                "must be specified for an update",
            );
            return Err(ApiError::invalid(resource, name, &[error]));
        }
        let given_managers = match subresource {
            "" => managed::given(&new),
            _ => None,
        };
        match subresource {
            "" => {
                check_finalizers(&new, current, target)?;
                meta::carry_over(&mut new, current);
                // A status can be most of an object: one that is the same is not copied.
                if resource.has_status() && new.get("status") != current.get("status") {
                    set_or_remove(&mut new, "status", current.get("status").cloned());
                }
                (resource.kind_rules.on_update)(&mut new, current);
                let ns = target.namespace.as_deref().and_then(|n| self.namespace(n));
                let ns = ns.map(|e| e.value());
                warnings.extend(self.inner.admission.admit(AdmissionRequest {
                    operation: Operation::Update,
                    resource,
                    namespace: ns.as_ref(),
                    object: &mut new,
                    old: Some(current),
                    dry_run: options.dry_run,
                    user: &user.name,
                })?);
                let mut errors = meta::validate(&new, resource);
                errors.extend((resource.kind_rules.validate)(&new));
                errors.extend((resource.kind_rules.validate_update)(&new, current));
                if !errors.is_empty() {
                    return Err(ApiError::invalid(resource, name, &errors));
                }
            }
            "status" => {
                let mut status = new.get_mut("status").map(Value::take).unwrap_or_default();
                if status["qosClass"].is_null() && current["status"]["qosClass"].is_string() {
                    status["qosClass"] = current["status"]["qosClass"].clone();
                }
                new = clone_without(current, "status");
                set_or_remove(&mut new, "status", Some(status));
            }
            "finalize" => {
                let mut finalized = current.clone();
                set_or_remove(
                    &mut finalized["spec"],
                    "finalizers",
                    new["spec"].get("finalizers").cloned(),
                );
                new = finalized;
            }
            other => {
                return Err(ApiError::not_done(&format!(
                    "writing {}/{other}",
                    resource.plural
                )));
            }
        }
        if resource.generation && subresource.is_empty() && spec_changed(&new, current, resource) {
            let generation = current["metadata"]["generation"]
                .as_i64()
                .unwrap_or(0)
                .saturating_add(1);
            new["metadata"]["generation"] = json!(generation);
        }
        if let Some(managers) = applied_managers {
            set_or_remove(&mut new["metadata"], "managedFields", Some(managers));
            managed::forget_gone(&mut new);
            if same_but_bookkeeping(&new, current) && same_ownership(&new, current) {
                return Ok(None);
            }
            return Ok(Some(new));
        } else {
            let managers =
                given_managers.or_else(|| current["metadata"].get("managedFields").cloned());
            set_or_remove(&mut new["metadata"], "managedFields", managers);
            if same_but_bookkeeping(&new, current) && same_ownership(&new, current) {
                return Ok(None);
            }
            let writer = Writer {
                manager: &options.field_manager,
                subresource,
            };
            managed::updated(&mut new, Some(current), resource, writer);
        }
        Ok(Some(new))
    }
}

impl Api {
    /// Gives a pod its node, as a scheduler asks for it. Nobody owns the fields that this sets, and it does not
    /// count as a change of the spec.
    pub(super) async fn bind(
        &self,
        target: &Target,
        binding: &Value,
        dry_run: bool,
    ) -> Result<(), ApiError> {
        let resource = target.resource;
        let name = target.name.as_deref().unwrap_or("");
        let path = target.path(name);
        let node = binding["target"]["name"].as_str().unwrap_or("");
        if node.is_empty() {
            let error = FieldError::required("target.name", "");
            return Err(ApiError::invalid_kind("", "Binding", name, &[error]));
        }
        for _ in 0..RETRIES {
            let Some(entry) = self.store().get(resource.storage, &path) else {
                return Err(ApiError::not_found(resource, name));
            };
            let mut pod = entry.value();
            let uid = binding["metadata"]["uid"].as_str().unwrap_or("");
            if !uid.is_empty() && uid != entry.meta().uid {
                let why = format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    entry.meta().uid
                );
                return Err(ApiError::conflict(resource, name, &why));
            }
            if pod["metadata"]["deletionTimestamp"].is_string() {
                let why = format!("pod {name} is being deleted, cannot be assigned to a host");
                return Err(ApiError::conflict(resource, name, &why));
            }
            if let Some(taken) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
                let why = format!("pod {name} is already assigned to node {taken:?}");
                return Err(ApiError::conflict(resource, name, &why));
            }
            pod["spec"]["nodeName"] = json!(node);
            let scheduled = json!({
                "type": "PodScheduled",
                "status": "True",
                "lastProbeTime": null,
                "lastTransitionTime": super::age::now(),
            });
            let conditions = pod["status"]["conditions"].take();
            let mut conditions = conditions.as_array().cloned().unwrap_or_default();
            conditions.retain(|condition| condition["type"] != "PodScheduled");
            conditions.push(scheduled);
            pod["status"]["conditions"] = json!(conditions);
            if dry_run {
                return Ok(());
            }
            let write = Write {
                storage: resource.storage,
                path: path.clone(),
                expect: Expect::Revision(entry.revision),
                guards: Vec::new(),
                op: Op::Put(Box::new(pod)),
            };
            match self.store().write(write).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApiError::modified(resource, name))
    }
}

fn check_identity(new: &Value, current: &Value, target: &Target) -> Result<(), ApiError> {
    let resource = target.resource;
    let name = target.name.as_deref().unwrap_or("");
    let text = |o: &Value, key: &str| o["metadata"][key].as_str().unwrap_or("").to_owned();
    let given = text(new, "name");
    if !given.is_empty() && given != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let namespace = text(new, "namespace");
    if let Some(ns) = &target.namespace
        && !namespace.is_empty()
        && namespace != *ns
    {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let (uid, real) = (text(new, "uid"), text(current, "uid"));
    if !uid.is_empty() && uid != real {
        return Err(ApiError::conflict(
            resource,
            name,
            &format!(
                "StorageError: invalid object, Code: 4, Key: /registry/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {real}",
                resource.storage,
                target.path(name)
            ),
        ));
    }
    Ok(())
}

fn check_finalizers(new: &Value, current: &Value, target: &Target) -> Result<(), ApiError> {
    if !current["metadata"]["deletionTimestamp"].is_string() {
        return Ok(());
    }
    let list = |o: &Value| -> Vec<String> {
        let items = o["metadata"]["finalizers"].as_array().into_iter().flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let had = list(current);
    let added: Vec<String> = list(new)
        .into_iter()
        .filter(|f| !had.contains(f))
        .map(|f| format!("{f:?}"))
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let error = FieldError::forbidden(
        "metadata.finalizers",
        format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.join(", ")
        ),
    );
    let name = target.name.as_deref().unwrap_or("");
    Err(ApiError::invalid(
        target.resource,
        name,
        &[error.clone(), error],
    ))
}

/// A copy of an object in which one member is null, in the same place.
fn clone_without(object: &Value, member: &str) -> Value {
    let members = object.as_object().into_iter().flatten();
    let copied = members.map(|(key, value)| {
        let value = if key == member { &Value::Null } else { value };
        (key.clone(), value.clone())
    });
    Value::Object(copied.collect())
}

fn spec_changed(new: &Value, old: &Value, resource: &Resource) -> bool {
    if resource.flavor == Flavor::BuiltIn {
        return new["spec"] != old["spec"];
    }
    !same_members(new, old, &["metadata", "status"])
}

/// Whether an object on its way out has nothing left that holds it.
fn gone_with_this(new: &Value, target: &Target) -> bool {
    let meta = &new["metadata"];
    let held = |list: &Value| list.as_array().is_some_and(|l| !l.is_empty());
    meta["deletionTimestamp"].is_string()
        && !held(&meta["finalizers"])
        && (target.resource.kind != "Namespace" || !held(&new["spec"]["finalizers"]))
        && meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}

/// What comes out of a patch is read like a body.
fn read_patched(
    mut patched: Value,
    target: &Target,
    options: &WriteOptions,
    warnings: &mut Vec<String>,
) -> Result<Value, ApiError> {
    let resource = target.resource;
    let mut complaints = Vec::new();
    if patched["kind"] != resource.kind || patched["apiVersion"] != resource.api_version().as_str()
    {
        return Err(ApiError::bad_request(
            "apiVersion and kind cannot be changed by a patch",
        ));
    }
    body::normalize(&mut patched, resource, &mut complaints)?;
    match options.validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            let errors: Vec<FieldError> = vec![FieldError::invalid(
                "patch",
                &json!(complaints.join(", ")),
                format!("strict decoding error: {}", complaints.join(", ")),
            )];
            Err(ApiError::invalid(
                resource,
                target.name.as_deref().unwrap_or(""),
                &errors,
            ))
        }
        FieldValidation::Ignore => Ok(patched),
        _ => {
            warnings.extend(complaints);
            Ok(patched)
        }
    }
}
