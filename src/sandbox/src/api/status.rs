//! Errors as Kubernetes words them: a `Status` object with code, reason, details and causes.

use serde_json::{Value, json};

use crate::resources::Resource;
use crate::store::{ReadError, WriteError};

use super::admission_hook::Denied;

/// One wrong field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where, e.g. `spec.containers[0].name`.
    pub field: String,
    /// `FieldValueInvalid`, `FieldValueRequired`, …
    pub reason: &'static str,
    /// `Invalid value: "x": must …`.
    pub message: String,
}

impl FieldError {
    /// A value that is not allowed.
    pub fn invalid(field: impl Into<String>, value: &Value, why: impl std::fmt::Display) -> Self {
        let message = format!("Invalid value: {value}: {why}");
        FieldError {
            field: field.into(),
            reason: "FieldValueInvalid",
            message,
        }
    }

    /// A value that is missing.
    pub fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {why}")
        };
        FieldError {
            field: field.into(),
            reason: "FieldValueRequired",
            message,
        }
    }

    /// A value outside a list.
    pub fn unsupported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let supported = supported
            .iter()
            .map(|s| format!("{s:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        let message = format!("Unsupported value: {value}: supported values: {supported}");
        FieldError {
            field: field.into(),
            reason: "FieldValueNotSupported",
            message,
        }
    }

    /// A value that may not be set here.
    pub fn forbidden(field: impl Into<String>, why: impl std::fmt::Display) -> Self {
        let message = format!("Forbidden: {why}");
        FieldError {
            field: field.into(),
            reason: "FieldValueForbidden",
            message,
        }
    }

    /// A value that is there twice.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        let message = format!("Duplicate value: {value}");
        FieldError {
            field: field.into(),
            reason: "FieldValueDuplicate",
            message,
        }
    }
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status.
    pub code: u16,
    /// The reason clients test for; none for webhook denials.
    pub reason: Option<String>,
    /// What a person reads.
    pub message: String,
    /// `details` of the Status.
    pub details: Option<Box<Value>>,
    /// A continue token to go on with, for lists that have expired.
    pub next: Option<String>,
    /// Not a Status but plain text: what Kubernetes answers outside its known groups.
    pub plain: bool,
}

impl ApiError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self.code {
            401 => Some("use the kubeconfig that `katlab sandbox kubeconfig` names".into()),
            409 => Some("read the object again and repeat the change".into()),
            410 => Some("list again and watch from the new resourceVersion".into()),
            _ => None,
        }
    }

    fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        ApiError {
            code,
            reason: Some(reason.to_owned()),
            message: message.into(),
            details: None,
            next: None,
            plain: false,
        }
    }

    fn with(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The `Status` object.
    pub fn to_status(&self) -> Value {
        let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message});
        if let Some(next) = &self.next {
            status["metadata"]["continue"] = json!(next);
        }
        if let Some(reason) = &self.reason {
            status["reason"] = json!(reason);
        }
        if let Some(details) = &self.details {
            status["details"] = (**details).clone();
        }
        status["code"] = json!(self.code);
        status
    }

    fn details(resource: &Resource, name: &str) -> Value {
        Self::group_details(name, resource.group, resource.plural)
    }

    fn group_details(name: &str, group: &str, kind: &str) -> Value {
        let mut details = json!({});
        if !name.is_empty() {
            details["name"] = json!(name);
        }
        if !group.is_empty() {
            details["group"] = json!(group);
        }
        details["kind"] = json!(kind);
        details
    }

    /// 404 outside of everything known: plain text.
    pub fn unknown_path() -> Self {
        ApiError {
            plain: true,
            ..Self::new(404, "NotFound", "404 page not found\n")
        }
    }

    /// 404 for a resource that a known group does not have.
    pub fn unknown_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with(json!({}))
    }

    /// 404 for an object.
    pub fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} \"{name}\" not found", resource.qualified()),
        )
        .with(Self::details(resource, name))
    }

    /// 404 for a namespace.
    pub fn namespace_not_found(name: &str) -> Self {
        Self::new(404, "NotFound", format!("namespaces \"{name}\" not found"))
            .with(Self::group_details(name, "", "namespaces"))
    }

    /// 404 with a message of its own.
    pub fn gone_missing(message: String) -> Self {
        Self::new(404, "NotFound", message).with(json!({}))
    }

    /// 409 for a name that is taken.
    pub fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} \"{name}\" already exists", resource.qualified()),
        )
        .with(Self::details(resource, name))
    }

    /// 409 for an object that someone else has changed meanwhile.
    pub fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 409 with a reason of its own.
    pub fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} \"{name}\": {why}",
                resource.qualified()
            ),
        )
        .with(Self::details(resource, name))
    }

    /// 409 for a delete whose precondition does not hold; named by kind, as Kubernetes does.
    pub fn precondition(resource: &Resource, name: &str, why: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} \"{name}\": {why}",
                resource.qualified_kind()
            ),
        )
        .with(Self::group_details(name, resource.group, resource.kind))
    }

    /// 409 of server-side apply.
    pub fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        let count = conflicts.len();
        let mut managers: Vec<&str> = Vec::new();
        for (manager, _) in conflicts {
            if !managers.contains(&manager.as_str()) {
                managers.push(manager);
            }
        }
        let plural = if count == 1 { "" } else { "s" };
        let mut message = format!("Apply failed with {count} conflict{plural}: ");
        let parts: Vec<String> = managers
            .iter()
            .map(|manager| {
                let fields: Vec<&str> = conflicts
                    .iter()
                    .filter(|(m, _)| m == manager)
                    .map(|(_, f)| f.as_str())
                    .collect();
                match fields.as_slice() {
                    [one] => format!("conflict with {manager}: {one}"),
                    many => format!("conflicts with {manager}:\n- {}", many.join("\n- ")),
                }
            })
            .collect();
        message.push_str(&parts.join("\n"));
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, field)| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": field})
            })
            .collect();
        Self::new(409, "Conflict", message).with(json!({"causes": causes}))
    }

    /// 422 for an object.
    pub fn invalid(resource: &Resource, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_kind(resource.group, resource.kind, name, errors)
    }

    /// 422 for anything that has a kind.
    pub fn invalid_kind(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for error in errors {
            let text = format!("{}: {}", error.field, error.message);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let text = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let mut details = Self::group_details(name, group, kind);
        details["causes"] = errors
            .iter()
            .map(|e| json!({"reason": e.reason, "message": e.message, "field": e.field}))
            .collect();
        Self::new(
            422,
            "Invalid",
            format!("{qualified} \"{name}\" is invalid: {text}"),
        )
        .with(details)
    }

    /// 422 for a patch that could not be applied.
    pub fn patch_rejected() -> Self {
        Self::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .with(json!({}))
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 with a message of its own.
    pub fn forbidden(resource: &Resource, name: &str, message: impl Into<String>) -> Self {
        Self::new(403, "Forbidden", message).with(Self::details(resource, name))
    }

    /// 403 for a path that is no resource.
    pub fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        Self::new(
            403,
            "Forbidden",
            format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\""),
        )
        .with(json!({}))
    }

    /// 403 for who may not act as another.
    pub fn forbidden_impersonation(user: &str, wanted: &str) -> Self {
        let (plural, name, scope) = match super::auth::account_parts(wanted) {
            Some((namespace, name)) => {
                let scope = format!("in the namespace \"{namespace}\"");
                ("serviceaccounts", name, scope)
            }
            None => ("users", wanted, "at the cluster scope".to_owned()),
        };
        Self::new(
            403,
            "Forbidden",
            format!(
                "{plural} \"{name}\" is forbidden: User \"{user}\" cannot impersonate resource \"{plural}\" in API group \"\" {scope}"
            ),
        )
        .with(json!({"name": name, "kind": plural}))
    }

    /// 405.
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with(json!({}))
    }

    /// 406.
    pub fn not_acceptable() -> Self {
        Self::new(
            406,
            "NotAcceptable",
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/json;stream=watch",
        )
        .with(json!({}))
    }

    /// 410.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 415 for a body in a format the server does not read.
    pub fn unsupported_body(accepted: &str) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {accepted}"
            ),
        )
    }

    /// 415 for a patch without a type.
    pub fn unsupported_patch() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").with(json!({}))
    }

    /// 429 for a client that may come back later.
    pub fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(429, "TooManyRequests", message).with(json!({"retryAfterSeconds": 1}))
    }

    /// What a node has answered, passed on as it is: plain text.
    pub fn from_node(code: u16, message: impl Into<String>) -> Self {
        ApiError {
            plain: true,
            ..Self::new(code, "", message)
        }
    }

    /// 500 without a reason, as Kubernetes answers what it did not foresee.
    pub fn unforeseen(message: impl Into<String>) -> Self {
        ApiError {
            reason: None,
            ..Self::new(500, "", message)
        }
    }

    /// 500.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let message = format!("Internal error occurred: {message}");
        let details = json!({"causes": [{"message": message}]});
        Self::new(500, "InternalError", message).with(details)
    }

    /// 501 for what the sandbox does not do.
    pub fn not_done(what: &str) -> Self {
        Self::new(
            501,
            "NotImplemented",
            format!("the sandbox does not do this: {what}"),
        )
    }

    /// 504 for a body that does not come.
    pub fn body_timeout() -> Self {
        Self::new(
            504,
            "Timeout",
            "Timeout: the body of the request did not arrive in time",
        )
        .with(json!({}))
    }

    /// 507 for a write that the disk has no room for.
    pub fn disk_full() -> Self {
        Self::new(
            507,
            "InsufficientStorage",
            "the disk that holds the sandbox's state is full: nothing was stored; free some space and repeat the request",
        )
    }

    /// 504 for a revision that does not exist yet.
    pub fn revision_too_large(asked: u64, current: u64) -> Self {
        Self::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        )
        .with(json!({"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}], "retryAfterSeconds": 1}))
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> Self {
        ApiError {
            code: denied.code,
            reason: denied.reason,
            message: denied.message,
            details: None,
            next: None,
            plain: false,
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::TooOld { .. } => Self::expired(error.to_string()),
            ReadError::Sqlite(_) => Self::internal(error),
        }
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Full => Self::disk_full(),
            // As Kubernetes passes on what its database says.
            WriteError::TooLarge => Self::unforeseen("etcdserver: request is too large"),
            error => Self::internal(error),
        }
    }
}
