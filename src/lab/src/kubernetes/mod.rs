//! Kubernetes, as far as a lab step needs it.
//!
//! Everything here takes the cluster and the namespace explicitly, asks the server, and returns
//! rows or objects; nothing is cached except the kinds a server knows. All functions can be
//! cancelled by dropping their future.

pub mod apply;
pub mod deletion;
pub mod describe;
pub mod discovery;
pub mod events;
pub mod jobs;
pub mod logs;
pub mod namespaces;
pub mod objects;
pub mod pods;
pub mod secrets;
pub mod table;

/// Where to look: one namespace or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One namespace.
    Namespace(String),
    /// Every namespace (needs the right to list cluster-wide).
    All,
}

impl Scope {
    /// The namespace, unless it is all of them.
    pub fn namespace(&self) -> Option<&str> {
        match self {
            Self::Namespace(name) => Some(name),
            Self::All => None,
        }
    }
}

impl From<&str> for Scope {
    fn from(name: &str) -> Self {
        Self::Namespace(name.to_owned())
    }
}
