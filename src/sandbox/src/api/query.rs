//! Query strings and the options Kubernetes reads from them.

use serde_json::{Value, json};

use super::path::decode;
use super::status::{ApiError, FieldError};

/// The parameters of a query string.
#[derive(Debug, Clone, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads a query string. Empty pairs, as clients send them, are nothing.
    pub fn parse(text: &str) -> Query {
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let read = |s: &str| decode(&s.replace('+', " "));
            Some((read(key)?, read(value)?))
        };
        Query(
            text.split('&')
                .filter(|p| !p.is_empty())
                .filter_map(pair)
                .collect(),
        )
    }

    /// The value of a parameter; empty counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty())
    }

    /// All values of a parameter that may be there several times, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(k, _)| k == name);
        named.map(|(_, v)| v.as_str())
    }

    /// Whether a parameter is there, even empty.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(k, _)| k == name)
    }

    /// A flag as Kubernetes reads it: there, and neither `false` nor `0`.
    pub fn flag(&self, name: &str) -> bool {
        let value = self.0.iter().find(|(key, _)| key == name);
        value
            .is_some_and(|(_, value)| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// A number.
    pub fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    ApiError::bad_request(format!(
                        "strconv.ParseInt: parsing \"{text}\": invalid syntax"
                    ))
                })
            })
            .transpose()
    }
}

/// What to do with fields a kind does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and say so in `Warning` headers.
    #[default]
    Warn,
    /// Refuse the request.
    Strict,
}

/// Options of create, update and patch.
#[derive(Debug, Clone, Default)]
pub struct WriteOptions {
    /// Do everything but store.
    pub dry_run: bool,
    /// Who is said to own the fields.
    pub field_manager: String,
    /// Whether the client named the manager (apply wants that).
    pub manager_given: bool,
    /// Unknown fields.
    pub validation: FieldValidation,
    /// Take over fields of other managers (apply only).
    pub force: bool,
    /// Whether `force` was given at all.
    pub force_given: bool,
}

/// `dryRun`: nothing or `All`.
pub fn dry_run(value: &Value, kind: &str) -> Result<bool, ApiError> {
    let values: Vec<&str> = match value {
        Value::String(one) if !one.is_empty() => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    match values.as_slice() {
        [] => Ok(false),
        all if all.iter().all(|v| *v == "All") => Ok(true),
        wrong => {
            let list = json!(wrong);
            let error = FieldError::unsupported("dryRun", &list, &["All"]);
            Err(ApiError::invalid_kind("meta.k8s.io", kind, "", &[error]))
        }
    }
}

impl WriteOptions {
    /// Reads the options of a request. `kind` is `CreateOptions`, `UpdateOptions` or
    /// `PatchOptions`, for messages.
    pub fn read(query: &Query, user_agent: &str, kind: &str) -> Result<WriteOptions, ApiError> {
        let dry = query.get("dryRun").map_or(Value::Null, |v| json!(v));
        let validation = match query.get("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some(other) => {
                let supported = ["", "Ignore", "Strict", "Warn"];
                let error = FieldError::unsupported("fieldValidation", &json!(other), &supported);
                return Err(ApiError::invalid_kind("meta.k8s.io", kind, "", &[error]));
            }
        };
        let given = query.get("fieldManager");
        if let Some(given) = given {
            let mut errors = Vec::new();
            if given.len() > 128 {
                let message = "Too long: may not be more than 128 bytes".to_owned();
                errors.push(FieldError {
                    field: "fieldManager".into(),
                    reason: "FieldValueTooLong",
                    message,
                });
            }
            if given.chars().any(char::is_control) {
                let why = "should contain only printable characters";
                errors.push(FieldError::invalid("fieldManager", &json!(given), why));
            }
            if !errors.is_empty() {
                return Err(ApiError::invalid_kind("meta.k8s.io", kind, "", &errors));
            }
        }
        let from_agent = user_agent.split('/').next().unwrap_or("").trim();
        let manager = given.unwrap_or(if from_agent.is_empty() {
            "unknown"
        } else {
            from_agent
        });
        Ok(WriteOptions {
            dry_run: dry_run(&dry, kind)?,
            field_manager: manager.chars().take(128).collect(),
            manager_given: given.is_some(),
            validation,
            force: query.flag("force"),
            force_given: query.has("force"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_query_strings_are_read() {
        let query = Query::parse("&a=b&&watch=True&labelSelector=a+in+%28b%29&x");
        assert_eq!(query.get("a"), Some("b"));
        assert!(query.flag("watch"));
        assert_eq!(query.get("labelSelector"), Some("a in (b)"));
        assert!(query.has("x") && query.get("x").is_none());
    }

    #[test]
    fn the_user_agent_names_the_manager_unless_the_request_does() {
        let read = |q: &str| WriteOptions::read(&Query::parse(q), "kubectl/v1.32", "CreateOptions");
        assert_eq!(read("").unwrap().field_manager, "kubectl");
        assert_eq!(read("fieldManager=x").unwrap().field_manager, "x");
        assert!(read("dryRun=yes").is_err() && read("fieldValidation=Maybe").is_err());
    }
}
