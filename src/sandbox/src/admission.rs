//! What Katib's webhooks do to objects before they are stored, in process: Experiments get
//! their defaults and are checked, pods of trials get their labels and environment. And what
//! the sandbox cannot run is refused here, by name.
//!
//! # Deliberate differences from Katib
//!
//! - An unknown field of an Experiment is dropped as Katib drops it, but a warning names it.
//! - Katib's configuration (ConfigMap `katib-config`) is refused when it cannot be used; Katib
//!   refuses every Experiment afterwards.
//! - An Experiment on its way out is not checked again: a namespace that lost its label does
//!   not keep it from going.
//! - A pod of a trial gets neither a collector container nor a wrapped command.
//! - Where Katib prints whole containers as Go sees them, their names are printed.

mod experiment;
mod limits;
mod pod;

use katlab_katib::decode::denial;
use serde_json::Value;

use crate::api::admission_hook::{Admission, AdmissionRequest, Denied, Operation};
use crate::resources;
use crate::store::Store;

/// Objects as they are stored now.
pub trait Lookup: Send + Sync + 'static {
    /// The object of that kind and name, if there is one.
    fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Option<Value>;
}

impl Lookup for Store {
    fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let resource = resources::find_kind(api_version, kind)?;
        let entry = Store::get(self, resource.storage, &format!("{namespace}/{name}"))?;
        Some(entry.value())
    }
}

/// Katib's admission, and the sandbox's own limits.
#[derive(Debug)]
pub struct KatibAdmission<L> {
    objects: L,
}

impl<L: Lookup> KatibAdmission<L> {
    /// Admission that looks other objects up in `objects`.
    pub fn new(objects: L) -> Self {
        Self { objects }
    }
}

impl<L: Lookup> Admission for KatibAdmission<L> {
    fn admit(&self, request: AdmissionRequest<'_>) -> Result<Vec<String>, Denied> {
        let AdmissionRequest {
            object,
            namespace,
            old,
            operation,
            resource,
            ..
        } = request;
        let admitted = match (resource.group, resource.kind) {
            ("kubeflow.org", "Experiment") => {
                experiment::admit(object, old, namespace, &self.objects)
            }
            ("kubeflow.org", "Trial") if operation == Operation::Create => {
                limits::trial(object).map(|()| Vec::new())
            }
            ("batch", "Job") if operation == Operation::Create => {
                limits::job(object).map(|()| Vec::new())
            }
            ("", "Node") => limits::node(object).map(|()| Vec::new()),
            ("", "Secret") if operation == Operation::Create => {
                limits::secret(object).map(|()| Vec::new())
            }
            ("", "ConfigMap") => experiment::check_configuration(object).map(|()| Vec::new()),
            ("", "PersistentVolumeClaim") if operation == Operation::Create => {
                limits::claim(object).map(|()| Vec::new())
            }
            ("", "Pod") if operation == Operation::Create => {
                pod::admit(object, namespace, &self.objects)
                    .and_then(|()| limits::pod(object))
                    .map(|()| Vec::new())
            }
            _ => Ok(Vec::new()),
        };
        admitted.map_err(|refusal| Denied {
            code: refusal.code,
            reason: None,
            message: denial(refusal.by, &refusal.text),
        })
    }
}

/// Why an object is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    /// The webhook that would have said so.
    by: &'static str,
    code: u16,
    text: String,
}

/// The name under which the sandbox refuses what it cannot run.
const SANDBOX: &str = "limits.sandbox.katlab.dev";

impl Refusal {
    fn new(by: &'static str, text: impl Into<String>) -> Self {
        Self {
            by,
            code: 400,
            text: text.into(),
        }
    }

    /// Something Katib can do and the sandbox cannot.
    fn beyond(what: impl std::fmt::Display) -> Self {
        let text = format!("{what}; use a cluster with Katib for this (`:use cluster`)");
        Self::new(SANDBOX, text)
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
