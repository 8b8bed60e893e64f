//! `--parameters FILE.yaml`: settings for one run, as papermill users keep them.

use std::path::{Path, PathBuf};

use serde_yaml::{Mapping, Value};

/// A parameter file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParameterError {
    /// It cannot be read.
    #[error("parameters {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not YAML, or not a mapping.
    #[error("parameters {path} are not a YAML mapping of names to values: {source}")]
    Yaml {
        /// Which file.
        path: PathBuf,
        /// Why, and where.
        source: serde_yaml::Error,
    },
    /// A name is not text.
    #[error("parameters {path}: the name {name} is not text")]
    Name {
        /// Which file.
        path: PathBuf,
        /// What stands there.
        name: String,
    },
    /// A value is a list or a mapping.
    #[error("parameters {path}: the value of {name} is a list or a mapping; a setting is text")]
    Value {
        /// Which file.
        path: PathBuf,
        /// Whose value.
        name: String,
    },
}

impl ParameterError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some("write one `NAME: value` a line".to_owned())
    }
}

/// Reads names and values, in the order of the file.
///
/// # Errors
/// When the file is missing or is no mapping of names to plain values.
pub fn read(path: &Path) -> Result<Vec<(String, String)>, ParameterError> {
    let text = std::fs::read_to_string(path).map_err(|source| ParameterError::File {
        path: path.to_owned(),
        source,
    })?;
    parse(&text, path)
}

#[expect(
    clippy::disallowed_methods,
    reason = "values at the notebook's edge are `serde_yaml`'s, whose mapping refuses duplicate names"
)]
fn parse(text: &str, path: &Path) -> Result<Vec<(String, String)>, ParameterError> {
    let mapping: Mapping = serde_yaml::from_str(text).map_err(|source| ParameterError::Yaml {
        path: path.to_owned(),
        source,
    })?;
    mapping
        .iter()
        .map(|(name, value)| {
            let name = name
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| ParameterError::Name {
                    path: path.to_owned(),
                    name: plain(name).unwrap_or_else(|| "of a list or mapping".to_owned()),
                })?;
            let value = plain(value).ok_or_else(|| ParameterError::Value {
                path: path.to_owned(),
                name: name.clone(),
            })?;
            Ok((name, value))
        })
        .collect()
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Sequence(_) | Value::Mapping(_) => None,
        Value::Tagged(tagged) => plain(&tagged.value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, String> {
        parse(text, Path::new("p.yaml")).map_err(|error| error.to_string())
    }

    #[test]
    fn plain_values_become_text() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            parsed("A: 1\nB: on\nC: 0.10\nD: true\nE:\n"),
            Ok(vec![
                pair("A", "1"),
                pair("B", "on"),
                pair("C", "0.1"),
                pair("D", "true"),
                pair("E", "")
            ])
        );
    }

    #[test]
    fn what_is_no_setting_is_refused_by_name() {
        assert!(parsed("A: [1]").is_err_and(|error| error.contains("A is a list")));
        assert!(parsed("- a").is_err_and(|error| error.contains("not a YAML mapping")));
        assert!(parsed("1: a").is_err_and(|error| error.contains("name 1")));
        assert!(parsed("A: 1\nA: 2").is_err_and(|error| error.contains("duplicate")));
    }
}
