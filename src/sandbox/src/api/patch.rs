//! The four kinds of patch.

use serde_json::Value;

use crate::resources::{Flavor, Resource};

use super::body;
use super::status::ApiError;
use super::strategic;

/// Which kind of patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchKind {
    /// A list of operations (RFC 6902).
    Json,
    /// An object laid over another (RFC 7386).
    Merge,
    /// A merge that knows Kubernetes' lists.
    Strategic,
    /// Server-side apply.
    Apply,
}

/// The most operations of a JSON patch.
const MAX_OPERATIONS: usize = 10_000;

impl PatchKind {
    /// The Content-Types of the patches that a flavor of resources takes.
    pub fn content_types(flavor: Flavor) -> &'static [&'static str] {
        let all = &[
            "application/apply-patch+yaml",
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
        ];
        match flavor {
            Flavor::BuiltIn => all,
            Flavor::Custom => &all[..3],
        }
    }

    /// From a Content-Type.
    pub fn of(content_type: Option<&str>, resource: &Resource) -> Result<PatchKind, ApiError> {
        let media = content_type
            .unwrap_or("")
            .split(';')
            .next()
            .unwrap_or("")
            .trim();
        match media {
            "application/json-patch+json" => Ok(PatchKind::Json),
            "application/merge-patch+json" => Ok(PatchKind::Merge),
            "application/apply-patch+yaml" => Ok(PatchKind::Apply),
            "application/strategic-merge-patch+json" => match resource.flavor {
                Flavor::BuiltIn => Ok(PatchKind::Strategic),
                Flavor::Custom => Err(ApiError::unsupported_body(
                    "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
                )),
            },
            _ => Err(ApiError::unsupported_patch()),
        }
    }
}

/// A patch, read.
#[derive(Debug, Clone)]
pub enum Patch {
    /// Operations.
    Json(json_patch::Patch),
    /// Merge patch.
    Merge(Value),
    /// Strategic merge patch.
    Strategic(Value),
    /// The applied configuration.
    Apply(Value),
}

impl Patch {
    /// Reads a patch.
    pub fn read(kind: PatchKind, bytes: &[u8]) -> Result<Patch, ApiError> {
        let bad = |why: &str| ApiError::bad_request(format!("error decoding patch: {why}"));
        let format = if kind == PatchKind::Apply {
            body::Format::Yaml
        } else {
            body::Format::Json
        };
        let (value, _) = body::parse(bytes, format).map_err(|why| bad(&why))?;
        if kind != PatchKind::Json && !value.is_object() {
            return Err(bad(
                "json: cannot unmarshal into Go value of type map[string]interface {}",
            ));
        }
        Ok(match kind {
            PatchKind::Json => {
                if !value.is_array() {
                    return Err(bad(
                        "json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
                    ));
                }
                let patch: json_patch::Patch =
                    serde_json::from_value(value).map_err(|e| bad(&e.to_string()))?;
                if patch.0.len() > MAX_OPERATIONS {
                    return Err(bad("the JSON patch has too many operations"));
                }
                Patch::Json(patch)
            }
            PatchKind::Merge => Patch::Merge(value),
            PatchKind::Strategic => Patch::Strategic(value),
            PatchKind::Apply => Patch::Apply(value),
        })
    }

    /// The object after the patch. An apply is not done here: it needs to know who applies.
    pub fn apply_to(&self, mut value: Value) -> Result<Value, ApiError> {
        match self {
            Patch::Json(patch) => {
                operate(&mut value, patch)?;
            }
            Patch::Merge(patch) => json_patch::merge(&mut value, patch),
            Patch::Strategic(patch) => {
                strategic::apply(&mut value, patch).map_err(ApiError::bad_request)?;
            }
            Patch::Apply(_) => {}
        }
        if !value.is_object() || body::is_too_deep(&value) {
            return Err(ApiError::patch_rejected());
        }
        Ok(value)
    }
}

/// Applies operations one after the other. Copies are counted, since a copy of a copy grows
/// without bound, and so are the steps of a path, since each could go one level deeper.
fn operate(value: &mut Value, patch: &json_patch::Patch) -> Result<(), ApiError> {
    let mut copied = 0;
    for operation in &patch.0 {
        let steps = operation.path().as_str().matches('/').count();
        if let json_patch::PatchOperation::Copy(copy) = operation {
            let size = value
                .pointer(copy.from.as_str())
                .map_or(0, |v| v.to_string().len());
            copied += size;
        }
        if steps > body::MAX_DEPTH || copied > body::LIMIT {
            return Err(ApiError::patch_rejected());
        }
        if holds_by_absence(value, operation) {
            continue;
        }
        let one = std::slice::from_ref(operation);
        json_patch::patch(value, one).map_err(|_| ApiError::patch_rejected())?;
    }
    Ok(())
}

/// Kubernetes takes a field that is not there for `null` in a test: this is how clients add the
/// first finalizer.
fn holds_by_absence(value: &Value, operation: &json_patch::PatchOperation) -> bool {
    let json_patch::PatchOperation::Test(test) = operation else {
        return false;
    };
    let path = test.path.as_str();
    let parent = path.rfind('/').and_then(|end| value.pointer(&path[..end]));
    test.value.is_null() && value.pointer(path).is_none() && parent.is_some_and(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_json_patch_that_fails_changes_nothing() {
        let body =
            br#"[{"op":"replace","path":"/a","value":2},{"op":"test","path":"/a","value":3}]"#;
        let patch = Patch::read(PatchKind::Json, body).unwrap();
        assert_eq!(
            patch.apply_to(json!({"a": 1})).unwrap_err(),
            ApiError::patch_rejected()
        );
    }

    #[test]
    fn what_is_not_there_is_tested_as_null() {
        let first = br#"[{"op":"test","path":"/metadata/finalizers","value":null},{"op":"add","path":"/metadata/finalizers","value":["f"]}]"#;
        let first = Patch::read(PatchKind::Json, first).unwrap();
        let added = first.apply_to(json!({"metadata": {}})).unwrap();
        assert_eq!(added, json!({"metadata": {"finalizers": ["f"]}}));
        for held in [json!({}), added] {
            assert_eq!(
                first.apply_to(held).unwrap_err(),
                ApiError::patch_rejected()
            );
        }
    }

    #[test]
    fn copies_of_copies_end() {
        let copy = |i| format!(r#"{{"op":"copy","from":"/a","path":"/a/b{i}"}}"#);
        let body = format!("[{}]", (0..60).map(copy).collect::<Vec<_>>().join(","));
        let patch = Patch::read(PatchKind::Json, body.as_bytes()).unwrap();
        let refused = patch.apply_to(json!({"a": {"text": "x".repeat(1000)}}));
        assert!(refused.is_err_and(|e| e == ApiError::patch_rejected()));
    }

    #[test]
    fn malformed_patches_are_told_apart() {
        let message = |kind, body: &[u8]| Patch::read(kind, body).unwrap_err().message;
        assert_eq!(
            message(PatchKind::Json, br#"{"op":"add"}"#),
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
        );
        assert_eq!(
            message(PatchKind::Merge, br#"{"data":"#),
            "error decoding patch: unexpected end of JSON input"
        );
    }
}
