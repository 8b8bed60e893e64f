//! create, update and patch: one way into the store for every kind.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::resources::Flavor;
use crate::store::{Entry, Expect, Guard, Op, Write, WriteError, Written};

use super::admission_hook::{AdmissionRequest, Operation};
use super::auth::User;
use super::body::{self, Body};
use super::kinds::NewStatus;
use super::managed::{self, Writer};
use super::meta;
use super::patch::Patch;
use super::path::Target;
use super::query::{FieldValidation, WriteOptions};
use super::status::{ApiError, FieldError};
use super::{Api, encode};

/// How often an unconditional change is tried again when somebody else was faster.
const RETRIES: usize = 32;

/// The object after a write, or what it would have been.
#[derive(Debug)]
pub struct Outcome {
    /// HTTP status: 200 or 201.
    pub code: u16,
    /// The object.
    pub object: Object,
    /// `Warning` headers.
    pub warnings: Vec<String>,
}

/// An object in an answer.
#[derive(Debug, Clone)]
pub enum Object {
    /// As stored.
    Stored(Arc<Entry>),
    /// Not stored: dry run, or the last state of something that is gone.
    Computed(Value),
}

/// What an update does.
#[derive(Debug, Clone)]
pub enum Change {
    /// Replace by the body.
    Replace(Body),
    /// Patch.
    Patch(Patch),
}

fn same_but_bookkeeping(a: &Value, b: &Value) -> bool {
    let bare = |o: &Value| {
        let mut o = o.clone();
        let meta = meta::of(&mut o);
        meta.shift_remove("managedFields");
        meta.shift_remove("resourceVersion");
        meta.shift_remove("generation");
        o
    };
    bare(a) == bare(b)
}

/// Which managers own what, without the times.
fn same_ownership(a: &Value, b: &Value) -> bool {
    let bare = |o: &Value| -> Vec<Value> {
        let mut list = o["metadata"]["managedFields"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for entry in &mut list {
            entry["time"] = Value::Null;
        }
        list
    };
    bare(a) == bare(b)
}

fn set_or_remove(object: &mut Value, key: &str, value: Option<&Value>) {
    if let Some(map) = object.as_object_mut() {
        match value.filter(|v| !v.is_null()) {
            Some(value) => {
                map.insert(key.to_owned(), value.clone());
            }
            None => {
                map.shift_remove(key);
            }
        }
    }
}

impl Api {
    /// Creates an object.
    pub async fn create(
        &self,
        target: &Target,
        body: Body,
        options: &WriteOptions,
        user: &User,
    ) -> Result<Outcome, ApiError> {
        self.create_as(target, body, options, user, None).await
    }

    /// Creates an object; `applied` is the configuration if this is an apply.
    async fn create_as(
        &self,
        target: &Target,
        body: Body,
        options: &WriteOptions,
        user: &User,
        applied: Option<&Value>,
    ) -> Result<Outcome, ApiError> {
        let resource = target.resource;
        let Body {
            mut object,
            complaints,
        } = body;
        let mut warnings = complaints;
        let given = meta::of(&mut object).clone();
        let text = |key: &str| given.get(key).and_then(Value::as_str).unwrap_or("");
        let namespace = target.namespace.as_deref().filter(|_| resource.namespaced);
        if let Some(ns) = namespace
            && !text("namespace").is_empty()
            && text("namespace") != ns
        {
            return Err(ApiError::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        if resource.namespaced && namespace.is_none() {
            return Err(ApiError::method_not_allowed());
        }
        if !text("resourceVersion").is_empty() {
            return Err(ApiError::unforeseen(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let prefix = text("generateName");
        let fixed = match (&target.name, text("name")) {
            (Some(name), "") => name.as_str(),
            (_, name) => name,
        };
        let generate = fixed.is_empty() && !prefix.is_empty();
        let namespace_object = namespace.map(|ns| self.open_namespace(ns)).transpose()?;
        for attempt in 0.. {
            let name = if generate {
                meta::generate_name(prefix)
            } else {
                fixed.to_owned()
            };
            let mut new = object.clone();
            meta::fill_new(&mut new, resource, namespace, &name);
            if let Some(ns) = &namespace_object
                && ns["metadata"]["deletionTimestamp"].is_string()
            {
                return Err(terminating(target, &name));
            }
            match resource.kind_rules.new_status {
                NewStatus::Given => {}
                NewStatus::Set => set_or_remove(&mut new, "status", None),
                NewStatus::None if resource.has_status() => {
                    set_or_remove(&mut new, "status", None);
                }
                NewStatus::None => {}
            }
            // What the client sent is the client's; what the server adds is nobody's.
            set_or_remove(&mut new["metadata"], "managedFields", None);
            let writer = Writer {
                manager: &options.field_manager,
                subresource: "",
            };
            match applied {
                Some(applied) => new = managed::apply(&new, applied, resource, writer, true)?,
                None => managed::updated(&mut new, None, resource, writer),
            }
            warnings.extend(self.inner.admission.admit(AdmissionRequest {
                operation: Operation::Create,
                resource,
                namespace: namespace_object.as_ref(),
                object: &mut new,
                old: None,
                dry_run: options.dry_run,
                user: &user.name,
            })?);
            self.admit_service_account(target, &new)?;
            (resource.kind_rules.on_create)(&mut new);
            let mut errors = meta::validate(&new, resource);
            errors.extend((resource.kind_rules.validate)(&new));
            if !errors.is_empty() {
                return Err(ApiError::invalid(resource, &name, &errors));
            }
            let path = target.path(&name);
            if options.dry_run {
                if self.store().get(resource.storage, &path).is_some() {
                    return Err(ApiError::already_exists(resource, &name));
                }
                meta::of(&mut new).shift_remove("resourceVersion");
                let object = Object::Computed(served(new, resource));
                return Ok(Outcome {
                    code: 201,
                    object,
                    warnings,
                });
            }
            let guards = namespace
                .map(|ns| Guard::Exists {
                    storage: "namespaces",
                    path: ns.to_owned(),
                })
                .into_iter()
                .collect();
            let write = Write {
                storage: resource.storage,
                path,
                expect: Expect::Absent,
                guards,
                op: Op::Put(Box::new(new)),
            };
            match self.store().write(write).await {
                Ok(Written { entry }) => {
                    return Ok(Outcome {
                        code: 201,
                        object: Object::Stored(entry),
                        warnings,
                    });
                }
                Err(WriteError::Conflict(_)) if generate && attempt < RETRIES => {}
                Err(WriteError::Conflict(_)) => {
                    return Err(ApiError::already_exists(resource, &name));
                }
                Err(WriteError::Guard(_)) => {
                    return Err(ApiError::namespace_not_found(namespace.unwrap_or("")));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ApiError::internal("no free name was found"))
    }

    /// A pod's service account must exist.
    fn admit_service_account(&self, target: &Target, pod: &Value) -> Result<(), ApiError> {
        if target.resource.kind != "Pod" {
            return Ok(());
        }
        let account = pod["spec"]["serviceAccountName"]
            .as_str()
            .unwrap_or("default");
        let namespace = target.namespace.as_deref().unwrap_or("");
        if self
            .store()
            .get("serviceaccounts", &format!("{namespace}/{account}"))
            .is_some()
        {
            return Ok(());
        }
        let name = pod["metadata"]["name"].as_str().unwrap_or("");
        Err(ApiError::forbidden(
            target.resource,
            name,
            format!(
                "pods \"{name}\" is forbidden: error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
            ),
        ))
    }

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
            let op = if finished {
                Op::Delete
            } else {
                Op::Put(Box::new(new.clone()))
            };
            let write = Write {
                storage: resource.storage,
                path: path.clone(),
                expect: Expect::Revision(entry.revision),
                guards: Vec::new(),
                op,
            };
            match self.store().write(write).await {
                Ok(_) if finished => {
                    let object = Object::Computed(served(new, resource));
                    return Ok(Outcome {
                        code: 200,
                        object,
                        warnings,
                    });
                }
                Ok(Written { entry }) => {
                    return Ok(Outcome {
                        code: 200,
                        object: Object::Stored(entry),
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
                self.from_patch(merged, target, options, warnings)?
            }
            Change::Patch(patch) => {
                let patched = patch.apply_to(&served(current.clone(), resource))?;
                self.from_patch(patched, target, options, warnings)?
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
        let replaced_managers = match change {
            // A client that clears the list means it.
            Change::Replace(_) | Change::Patch(Patch::Json(_) | Patch::Merge(_)) => new["metadata"]
                ["managedFields"]
                .as_array()
                .is_some_and(|l| {
                    l.is_empty() || (l.len() == 1 && l[0].as_object().is_some_and(|m| m.is_empty()))
                }),
            _ => false,
        };
        match subresource {
            "" => {
                check_finalizers(&new, current, target)?;
                meta::carry_over(&mut new, current);
                if resource.has_status() {
                    set_or_remove(&mut new, "status", current.get("status"));
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
                let mut status = new.get("status").cloned().unwrap_or(Value::Null);
                if status["qosClass"].is_null() && current["status"]["qosClass"].is_string() {
                    status["qosClass"] = current["status"]["qosClass"].clone();
                }
                let mut with_status = current.clone();
                set_or_remove(&mut with_status, "status", Some(&status));
                new = with_status;
            }
            "finalize" => {
                let mut finalized = current.clone();
                set_or_remove(
                    &mut finalized["spec"],
                    "finalizers",
                    new["spec"].get("finalizers"),
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
            let generation = current["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            new["metadata"]["generation"] = json!(generation);
        }
        if replaced_managers {
            set_or_remove(&mut new["metadata"], "managedFields", None);
        } else if let Some(managers) = applied_managers {
            set_or_remove(&mut new["metadata"], "managedFields", Some(&managers));
            if same_but_bookkeeping(&new, current) && same_ownership(&new, current) {
                return Ok(None);
            }
            return Ok(Some(new));
        } else {
            if same_but_bookkeeping(&new, current) {
                return Ok(None);
            }
            set_or_remove(
                &mut new["metadata"],
                "managedFields",
                current["metadata"].get("managedFields"),
            );
            let writer = Writer {
                manager: &options.field_manager,
                subresource,
            };
            managed::updated(&mut new, Some(current), resource, writer);
        }
        Ok(Some(new))
    }

    /// What comes out of a patch is read like a body.
    fn from_patch(
        &self,
        mut patched: Value,
        target: &Target,
        options: &WriteOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiError> {
        let resource = target.resource;
        let mut complaints = Vec::new();
        if patched["kind"] != resource.kind
            || patched["apiVersion"] != resource.api_version().as_str()
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
}

/// From the stored form to the served one.
pub fn served(mut value: Value, resource: &crate::resources::Resource) -> Value {
    if let Some(serve) = resource.kind_rules.serve {
        serve(&mut value);
    }
    value
}

fn terminating(target: &Target, name: &str) -> ApiError {
    let namespace = target.namespace.as_deref().unwrap_or("");
    let mut error = ApiError::forbidden(
        target.resource,
        name,
        format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
            target.resource.qualified()
        ),
    );
    if let Some(details) = &mut error.details {
        details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
    }
    error
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

fn spec_changed(new: &Value, old: &Value, resource: &crate::resources::Resource) -> bool {
    if resource.flavor == Flavor::BuiltIn {
        return new["spec"] != old["spec"];
    }
    let rest = |o: &Value| {
        let mut o = o.clone();
        for key in ["metadata", "status"] {
            set_or_remove(&mut o, key, None);
        }
        o
    };
    rest(new) != rest(old)
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

/// The JSON of an object in an answer.
pub fn object_value(object: &Object, resource: &crate::resources::Resource) -> Value {
    match object {
        Object::Stored(entry) => encode::object_value(entry, resource),
        Object::Computed(value) => value.clone(),
    }
}
