//! Secrets and ConfigMaps that a container needs and that are not there.

use std::fmt;
use std::sync::LazyLock;

use katlab_katib::types::Trial;
use regex::Regex;

use super::manifest;
use crate::words::quoted;

/// As a node says it: `secret "a" not found`.
static OBJECT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?i)\b(secret|configmap) "([^"]+)" not found"#).expect("a fixed pattern")
});

/// As a node says it: `couldn't find key b in Secret default/a`.
static KEY: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?i)couldn't find key (\S+) in (secret|configmap) (?:[^/\s]+/)?([^\s,;]+)";
    Regex::new(pattern).expect("a fixed pattern")
});

/// A Secret or a ConfigMap that is not there, or has not the key that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    is_secret: bool,
    name: String,
    /// The key it has not, where there is such an object.
    key: Option<String>,
}

impl Lack {
    /// What a message of a node says is missing.
    pub(super) fn of(message: &str) -> Option<Self> {
        let is_secret = |kind: &str| kind.eq_ignore_ascii_case("secret");
        if let Some(groups) = KEY.captures(message) {
            return Some(Self {
                is_secret: is_secret(&groups[2]),
                name: groups[3].to_owned(),
                key: Some(groups[1].to_owned()),
            });
        }
        let groups = OBJECT.captures(message)?;
        Some(Self {
            is_secret: is_secret(&groups[1]),
            name: groups[2].to_owned(),
            key: None,
        })
    }

    fn kind(&self) -> &'static str {
        if self.is_secret {
            "Secret"
        } else {
            "ConfigMap"
        }
    }

    /// What to do about it; `place` is what a magic needs to do it in the trial's namespace.
    pub(super) fn advice(&self, trial: &Trial, place: &str) -> String {
        let (kind, name) = (self.kind(), &self.name);
        let reference = if self.is_secret {
            "secretKeyRef"
        } else {
            "configMapKeyRef"
        };
        let mut keys = manifest::keys(trial, reference, name);
        if keys.is_empty() {
            keys.push(self.key.as_deref().unwrap_or("KEY"));
        }
        let word = quoted(name);
        let each = |what: &str, between: &str| -> String {
            let lines = keys.iter().map(|key| format!("{what} {}", quoted(key)));
            lines.collect::<Vec<_>>().join(between)
        };
        let values = each(" --from-setting", "");
        let soon = "the pod starts by itself then";
        match (self.is_secret, &self.key) {
            (true, None) => {
                let asked = each("`:env ask", "`, ");
                format!(
                    "set its values with {asked}`, then make it: `:secret create {word}{values}{place}`; {soon}"
                )
            }
            (true, Some(key)) => format!(
                "make it anew, with the other keys that it has: `:secret create {word}{values}{place}`; {soon}. Or correct the key, {key}, in the template"
            ),
            (false, _) => format!(
                "write a {kind} {name} with {} under data into a file and `:apply FILE --yes{place}` it; {soon}. Or correct the name in the template",
                keys.join(", ")
            ),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "the {} {} has no key {key}", self.kind(), self.name),
            None => write!(
                f,
                "the {} {} does not exist in its namespace",
                self.kind(),
                self.name
            ),
        }
    }
}
