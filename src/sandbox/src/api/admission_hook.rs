//! Where defaults and validation that are not the API machinery's own come in: the place of
//! Kubernetes' admission webhooks. Called for create and update, dry run included, after the
//! machinery's own defaults and before its validation and the write. Status writes are not
//! admitted.

use serde_json::Value;

use crate::resources::Resource;

/// What is about to happen to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// The object is new.
    Create,
    /// The object exists; `old` is it.
    Update,
}

/// One object on its way into the store.
pub struct AdmissionRequest<'a> {
    /// Create or update.
    pub operation: Operation,
    /// The entry of the resource table.
    pub resource: &'static Resource,
    /// The namespace object, for namespaced resources.
    pub namespace: Option<&'a Value>,
    /// The object; may be changed.
    pub object: &'a mut Value,
    /// The object as stored, on update.
    pub old: Option<&'a Value>,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// Who asks.
    pub user: &'a str,
}

/// The refusal of a request, as it goes to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// HTTP status; Katib's webhooks answer 400.
    pub code: u16,
    /// The `reason` of the Status; webhooks give none.
    pub reason: Option<String>,
    /// The whole message, `admission webhook "…" denied the request: ` included.
    pub message: String,
}

/// Decides about objects before they are stored.
pub trait Admission: Send + Sync + 'static {
    /// Changes or refuses the object. The strings of an `Ok` become `Warning` headers.
    fn admit(&self, request: AdmissionRequest<'_>) -> Result<Vec<String>, Denied>;
}

/// Lets everything pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct AdmitAll;

impl Admission for AdmitAll {
    fn admit(&self, _: AdmissionRequest<'_>) -> Result<Vec<String>, Denied> {
        Ok(Vec::new())
    }
}
