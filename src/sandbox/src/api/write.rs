//! create: the way of a new object into the store, for every kind.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::store::{Entry, Expect, Guard, Op, Write, WriteError, Written};

use super::admission_hook::{AdmissionRequest, Operation};
use super::auth::User;
use super::body::Body;
use super::kinds::NewStatus;
use super::managed::{self, Writer};
use super::meta;
use super::path::Target;
use super::query::WriteOptions;
use super::status::ApiError;
use super::{Api, encode};

/// How often an unconditional change is tried again when somebody else was faster.
pub(super) const RETRIES: usize = 32;

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

pub(super) fn set_or_remove(object: &mut Value, key: &str, value: Option<Value>) {
    if let Some(map) = object.as_object_mut() {
        match value.filter(|v| !v.is_null()) {
            Some(value) => {
                map.insert(key.to_owned(), value);
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
    pub(super) async fn create_as(
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
            self.admit_service_account(target, &mut new)?;
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

/// The JSON of an object in an answer.
pub fn object_value(object: &Object, resource: &crate::resources::Resource) -> Value {
    match object {
        Object::Stored(entry) => encode::object_value(entry, resource),
        Object::Computed(value) => value.clone(),
    }
}
