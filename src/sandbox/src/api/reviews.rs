//! Questions about oneself and others: posted, answered, not stored.

use serde_json::{Value, json};

use super::age;
use crate::resources::Resource;

use super::auth::{self, MASTERS, User};
use super::managed::{self, Writer};
use super::status::ApiError;

/// Whom a review asks about.
fn subject(spec: &Value) -> Result<User, &'static str> {
    let groups = spec["groups"].as_array().into_iter().flatten();
    let groups: Vec<String> = groups
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    match spec["user"].as_str().unwrap_or_default() {
        "" if groups.is_empty() => {
            Err("at least one of spec.user and spec.groups must be specified")
        }
        name => Ok(User::named(name, groups)),
    }
}

/// Answers a review.
pub fn answer(
    resource: &Resource,
    mut body: Value,
    user: &User,
    manager: &str,
) -> Result<Value, ApiError> {
    body["metadata"] = json!({});
    match resource.kind {
        "SelfSubjectReview" => {
            body["metadata"] = json!({"creationTimestamp": age::now()});
            body["status"] = json!({"userInfo": {"username": user.name, "groups": user.groups}});
        }
        "SelfSubjectAccessReview" | "SubjectAccessReview" => {
            let spec = &body["spec"];
            let other = (resource.kind == "SubjectAccessReview").then(|| subject(spec));
            let user = match &other {
                Some(Ok(other)) => other,
                Some(Err(error)) => return Err(ApiError::bad_request(*error)),
                None => user,
            };
            let allowed = match (&spec["resourceAttributes"], &spec["nonResourceAttributes"]) {
                (Value::Object(r), Value::Null) => {
                    let text = |key: &str| r.get(key).and_then(Value::as_str).unwrap_or("");
                    let namespace = Some(text("namespace")).filter(|n| !n.is_empty());
                    auth::allowed(
                        user,
                        text("verb"),
                        text("group"),
                        text("resource"),
                        namespace,
                    )
                }
                (Value::Null, Value::Object(p)) => {
                    let path = p.get("path").and_then(Value::as_str).unwrap_or("");
                    let segments: Vec<String> = path
                        .split('/')
                        .filter(|s| !s.is_empty())
                        .map(str::to_owned)
                        .collect();
                    auth::allowed_path(user, &segments)
                }
                _ => {
                    return Err(ApiError::bad_request(
                        "exactly one of spec.resourceAttributes and spec.nonResourceAttributes must be specified",
                    ));
                }
            };
            let writer = Writer {
                manager,
                subresource: "",
            };
            managed::updated(&mut body, None, resource, writer);
            body["status"] = json!({"allowed": allowed});
        }
        "SelfSubjectRulesReview" => {
            let mut rules = vec![
                json!({"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]}),
                json!({"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]}),
            ];
            let mut paths = vec![
                json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]}),
                json!({"verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"]}),
            ];
            if user.groups.iter().any(|g| g == MASTERS) {
                rules.insert(
                    0,
                    json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}),
                );
                paths.insert(0, json!({"verbs": ["*"], "nonResourceURLs": ["*"]}));
            }
            body["spec"] = json!({});
            body["status"] =
                json!({"resourceRules": rules, "nonResourceRules": paths, "incomplete": false});
        }
        "TokenReview" => {
            // The token a client asks about is never one of the sandbox's own but the admin's,
            // which nobody should send around.
            body["spec"] = json!({});
            body["status"] = json!({"user": {}, "authenticated": false, "error": "the sandbox reviews no tokens"});
        }
        other => return Err(ApiError::not_done(&format!("reviews of kind {other}"))),
    }
    Ok(body)
}
