//! One refusal, in Kubernetes' form.

use serde::Serialize;
use std::fmt;

/// The kind of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The value is not allowed.
    Invalid,
    /// A value is missing.
    Required,
    /// The field may not be changed.
    Forbidden,
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "Invalid value",
            Self::Required => "Required value",
            Self::Forbidden => "Forbidden",
        })
    }
}

/// A refused field: `spec.maxTrialCount: Invalid value: 0: must be greater than 0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// What kind of refusal.
    pub kind: ErrorKind,
    /// Which field.
    pub path: String,
    /// The refused value as it is printed, for invalid ones.
    pub value: Option<String>,
    /// Why.
    pub detail: String,
}

impl FieldError {
    /// An invalid text.
    pub fn invalid(path: &str, value: &str, detail: &str) -> Self {
        Self::invalid_json(path, &value, detail)
    }

    /// An invalid value, printed as JSON.
    pub fn invalid_json(path: &str, value: &impl Serialize, detail: &str) -> Self {
        let text = serde_json::to_string(value).unwrap_or_default();
        Self::invalid_value(path, text, detail)
    }

    /// An invalid value, printed as given.
    pub fn invalid_value(path: &str, value: String, detail: &str) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            path: path.to_owned(),
            value: Some(value),
            detail: detail.to_owned(),
        }
    }

    /// A missing value.
    pub fn required(path: &str, detail: &str) -> Self {
        Self {
            kind: ErrorKind::Required,
            path: path.to_owned(),
            value: None,
            detail: detail.to_owned(),
        }
    }

    /// A change that is not allowed.
    pub fn forbidden(path: &str, detail: &str) -> Self {
        Self {
            kind: ErrorKind::Forbidden,
            ..Self::required(path, detail)
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.path, self.kind)?;
        if let Some(value) = &self.value {
            write!(f, "{value}: ")?;
        }
        f.write_str(&self.detail)
    }
}

impl std::error::Error for FieldError {}

/// Several refusals as one text: alone as it is, else `[one, two]`, repetitions once.
pub fn aggregate(errors: &[FieldError]) -> Option<String> {
    let mut texts: Vec<String> = Vec::new();
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}
