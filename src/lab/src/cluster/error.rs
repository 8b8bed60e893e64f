//! What can go wrong between a cell and a cluster, said so that a person can act on it.

use std::fmt;

use kube::core::Status;

use super::Cluster;
use super::provider::SETTINGS;
use super::reading::{forbidden_hint, list_magic, reading, webhook};

/// The result of everything that talks to a cluster.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What was being done when an error came: verb, kind, object, namespace, server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// `get`, `list`, `create`, … as in RBAC rules.
    pub verb: String,
    /// The plural resource name, such as `experiments`.
    pub resource: String,
    /// The object, where it is one.
    pub name: Option<String>,
    /// The namespace, for namespaced kinds.
    pub namespace: Option<String>,
    /// The server's address.
    pub server: String,
    /// Whether the server is the embedded one.
    pub sandbox: bool,
}

impl Action {
    /// A verb on a resource.
    pub fn new(verb: &str, resource: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            ..Self::default()
        }
    }

    /// On this cluster.
    pub fn on(mut self, cluster: &Cluster) -> Self {
        self.server = cluster.server.clone();
        self.sandbox = cluster.is_sandbox();
        self
    }

    /// On this object.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// In this namespace.
    pub fn within(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(formatter, " {name}")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(formatter, " in namespace {namespace}")?;
        }
        Ok(())
    }
}

/// Errors of `cluster`, `kubernetes` and `katib`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A cluster was asked for and nothing describes one.
    #[error("no cluster is configured: no service account, no KUBECONFIG, no ~/.kube/config")]
    NoCluster,
    /// None of the named kubeconfig files exists.
    #[error("the kubeconfig {path} does not exist")]
    NoKubeconfig {
        /// The files looked for.
        path: String,
    },
    /// A kubeconfig that cannot be used.
    #[error("{path} cannot be used: {reason}")]
    Kubeconfig {
        /// What it was read from: a file, or settings.
        path: String,
        /// Why.
        reason: String,
    },
    /// The kubeconfig has no such context.
    #[error("there is no context {context} in {path}")]
    UnknownContext {
        /// The name asked for.
        context: String,
        /// What it was read from: a file, or settings.
        path: String,
        /// Similar names.
        near: Vec<String>,
        /// All names.
        known: Vec<String>,
    },
    /// The pod's service account cannot be used.
    #[error("the service account of this pod cannot be used: {reason}")]
    ServiceAccount {
        /// Why.
        reason: String,
    },
    /// The plug-in that should make a credential failed.
    #[error("the credential plug-in {command} failed: {reason}")]
    CredentialPlugin {
        /// The program.
        command: String,
        /// What it said.
        reason: String,
        /// How the kubeconfig says to get it.
        install: Option<String>,
    },
    /// The client could not be built.
    #[error("no client can be made for {server}: {reason}")]
    Client {
        /// The server.
        server: String,
        /// Why.
        reason: String,
    },
    /// The embedded cluster does not run.
    #[error("the sandbox does not answer: {reason}")]
    SandboxDown {
        /// Why.
        reason: String,
    },
    /// Nothing answers at the server's address.
    #[error("cannot {action}: {server} does not answer: {reason}")]
    Unreachable {
        /// What was attempted.
        action: Action,
        /// The server.
        server: String,
        /// Why.
        reason: String,
    },
    /// The server does not accept the credential, not even a fresh one.
    #[error("cannot {action}: {server} does not accept the credential: {reason}")]
    Unauthorized {
        /// What was attempted.
        action: Action,
        /// The server.
        server: String,
        /// What the server said.
        reason: String,
    },
    /// The user may not do this.
    #[error("not allowed to {action}: {reason}")]
    Forbidden {
        /// What was attempted.
        action: Action,
        /// What the server said.
        reason: String,
    },
    /// The object does not exist.
    #[error("{} does not exist", object(.action))]
    NotFound {
        /// What was attempted.
        action: Action,
        /// Objects with similar names.
        near: Vec<String>,
    },
    /// The namespace does not exist.
    #[error("the namespace {namespace} does not exist")]
    NoNamespace {
        /// The namespace.
        namespace: String,
        /// Namespaces with similar names.
        near: Vec<String>,
    },
    /// The object is there already.
    #[error("{} exists already", object(.action))]
    AlreadyExists {
        /// What was attempted.
        action: Action,
    },
    /// Somebody else changed the object in between.
    #[error("cannot {action}: {reason}")]
    Conflict {
        /// What was attempted.
        action: Action,
        /// What the server said.
        reason: String,
    },
    /// An admission webhook refused.
    #[error("cannot {action}: {message}")]
    Denied {
        /// What was attempted.
        action: Action,
        /// The webhook's name.
        webhook: String,
        /// The server's message, word for word.
        message: String,
        /// What it means, where we know.
        reading: Option<String>,
    },
    /// The object is not valid.
    #[error("cannot {action}: {reason}")]
    Invalid {
        /// What was attempted.
        action: Action,
        /// What the server said.
        reason: String,
    },
    /// The server knows no such kind.
    #[error("the server knows no kind {kind}")]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// Similar kinds.
        near: Vec<String>,
    },
    /// Any other refusal.
    #[error("cannot {action}: {reason} (HTTP {code})")]
    Refused {
        /// What was attempted.
        action: Action,
        /// The status code.
        code: u16,
        /// What the server said.
        reason: String,
    },
    /// An answer that does not make sense to us.
    #[error("cannot {action}: the answer is not understood: {reason}")]
    Answer {
        /// What was attempted.
        action: Action,
        /// Why.
        reason: String,
    },
    /// Input that cannot be used (a manifest, a flag).
    #[error("{what}: {reason}")]
    Input {
        /// The thing.
        what: String,
        /// Why.
        reason: String,
    },
    /// A log was asked for of something that has none of its own.
    #[error("{name} is an experiment, which has no log of its own; its trials have")]
    LogOfExperiment {
        /// The experiment.
        name: String,
    },
    /// The condition waited for did not come in time.
    #[error("{what} after {seconds} s")]
    TimedOut {
        /// What is still not so.
        what: String,
        /// How long we waited.
        seconds: u64,
    },
    /// Something ended in the opposite of what was waited for.
    #[error("{0}")]
    Ended(String),
    /// The store of observation logs cannot be reached.
    #[error("the metric store of Katib cannot be reached: {0}")]
    Observations(String),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}

fn object(action: &Action) -> String {
    let kind = singular(&action.resource);
    let mut text = match &action.name {
        Some(name) => format!("{kind} {name}"),
        None => kind,
    };
    if let Some(namespace) = &action.namespace {
        text.push_str(&format!(" in namespace {namespace}"));
    }
    text
}

fn singular(resource: &str) -> String {
    match resource {
        "namespaces" => "namespace".into(),
        "trials or experiments" => "trial or experiment".into(),
        other => other.strip_suffix('s').unwrap_or(other).to_owned(),
    }
}

impl Error {
    /// Reads an error of the client library.
    pub fn from_kube(error: kube::Error, action: &Action) -> Self {
        let action = action.clone();
        match error {
            kube::Error::Api(status) => Self::from_status(&status, action),
            kube::Error::Auth(reason) => Self::Unauthorized {
                server: action.server.clone(),
                reason: super::kubeconfig::with_causes(&reason),
                action,
            },
            error @ (kube::Error::SerdeError(_) | kube::Error::FromUtf8(_)) => Self::Answer {
                action,
                reason: super::kubeconfig::with_causes(&error),
            },
            other => Self::unreachable(super::kubeconfig::with_causes(&other), action),
        }
    }

    fn unreachable(reason: String, action: Action) -> Self {
        // The library prefixes its own type names; a person needs the last, plainest part.
        let reason = reason
            .trim_start_matches("ServiceError: ")
            .trim_start_matches("HyperError: ")
            .to_owned();
        if action.sandbox {
            return Self::SandboxDown { reason };
        }
        Self::Unreachable {
            server: action.server.clone(),
            action,
            reason,
        }
    }

    /// Reads a refusal of the server.
    pub fn from_status(status: &Status, action: Action) -> Self {
        let message = status.message.clone();
        if let Some(webhook) = webhook(&message) {
            let reading = reading(&message);
            return Self::Denied {
                action,
                webhook,
                message,
                reading,
            };
        }
        match (status.code, status.reason.as_str()) {
            (401, _) => Self::Unauthorized {
                server: action.server.clone(),
                reason: message,
                action,
            },
            (403, _) => Self::Forbidden {
                action,
                reason: message,
            },
            (404, _) => {
                let kind = status
                    .details
                    .as_ref()
                    .map(|details| details.kind.as_str())
                    .unwrap_or_default();
                match (kind, &action.namespace) {
                    ("namespaces", Some(namespace)) if action.resource != "namespaces" => {
                        Self::NoNamespace {
                            namespace: namespace.clone(),
                            near: Vec::new(),
                        }
                    }
                    _ => Self::NotFound {
                        action,
                        near: Vec::new(),
                    },
                }
            }
            (409, "AlreadyExists") => Self::AlreadyExists { action },
            (409, _) => Self::Conflict {
                action,
                reason: message,
            },
            (400 | 422, _) => Self::Invalid {
                action,
                reason: message,
            },
            (code, _) => Self::Refused {
                action,
                code,
                reason: message,
            },
        }
    }

    /// Whether the object (or its namespace) does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoNamespace { .. })
    }

    /// What to do next, in one sentence.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoCluster => {
                "Set KUBECONFIG to a kubeconfig file, or set AUTH_DATA, API_SERVER and CLUSTER_NAME with :env; :use sandbox needs none of them.".into()
            }
            Self::NoKubeconfig { .. } => "Check the path in KUBECONFIG, or :use sandbox.".into(),
            Self::UnknownContext { near, known, .. } => match (near.first(), known.is_empty()) {
                (Some(near), _) => format!("Did you mean {near}? There are: {}.", known.join(", ")),
                (None, false) => format!("There are: {}.", known.join(", ")),
                (None, true) => "It has no contexts at all.".into(),
            },
            Self::Kubeconfig { path, .. } if path == SETTINGS => {
                "AUTH_DATA is the cluster's certificate authority, a PEM file in base64, as the provider's console shows it.".into()
            }
            Self::CredentialPlugin { command, install, .. } => match install {
                Some(text) if !text.trim().is_empty() => text.trim().to_owned(),
                _ => format!("Install {command} where this kernel finds it on PATH, or log in with it in a terminal first."),
            },
            Self::SandboxDown { .. } => "Start it with `katlab sandbox up`, or :use sandbox, which does the same.".into(),
            Self::Unreachable { .. } => "Check the network, a VPN and HTTPS_PROXY/NO_PROXY; :lab shows what is connected, :use changes it.".into(),
            Self::Unauthorized { .. } => "Get a fresh token or certificate (log in again), then repeat the cell.".into(),
            Self::Forbidden { action, .. } => forbidden_hint(action),
            Self::NotFound { action, near } => match near.as_slice() {
                [] => format!("List what there is with {}.", list_magic(action)),
                near => format!("Did you mean {}?", near.join(" or ")),
            },
            Self::NoNamespace { near, .. } => match near.as_slice() {
                [] => "Choose another with -n or :use -n, or create it where you may: `:apply` takes a Namespace.".into(),
                near => format!("Did you mean {}?", near.join(" or ")),
            },
            Self::Invalid { action, reason } if reason.contains("RFC 1123") => {
                let name = super::valid_name(action.name.as_deref()?)?;
                format!("Names hold small letters, digits and `-`, such as `{name}`.")
            }
            Self::AlreadyExists { action } => match &action.name {
                Some(name) if action.resource == "experiments" => format!(
                    "Choose another name, or remove the old one with :experiment delete {name} --yes."
                ),
                _ => "Choose another name, or remove the old one with :delete.".into(),
            },
            Self::Conflict { .. } => "Somebody changed it in between; repeat the cell.".into(),
            Self::Denied { reading, .. } => return reading.clone(),
            Self::UnknownKind { near, .. } => match near.as_slice() {
                [] => "List the kinds with :get kinds.".into(),
                near => format!("Did you mean {}?", near.join(" or ")),
            },
            Self::LogOfExperiment { name } => {
                format!("List them with :trials {name}, then :logs TRIAL; :why {name} reads the log that matters.")
            }
            Self::TimedOut { .. } => "It goes on without this cell; look again later.".into(),
            Self::Observations(_) => {
                "Inside the cluster it is reached by name, from outside through a port-forward, which needs the right to pods/portforward where Katib runs.".into()
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, reason: &str, message: &str, kind: &str) -> Status {
        serde_json::from_value(serde_json::json!({
            "status": "Failure", "code": code, "reason": reason, "message": message,
            "details": {"kind": kind, "name": "x"}
        }))
        .unwrap()
    }

    #[test]
    fn a_404_that_names_the_namespace_says_that_the_namespace_is_missing() {
        let action = Action::new("create", "experiments")
            .named("mnist")
            .within("kubefow");
        let error = Error::from_status(
            &status(
                404,
                "NotFound",
                "namespaces \"kubefow\" not found",
                "namespaces",
            ),
            action,
        );
        assert_eq!(error.to_string(), "the namespace kubefow does not exist");
    }

    #[test]
    fn a_403_says_verb_resource_and_role() {
        let action = Action::new("create", "experiments").within("kubeflow");
        let error = Error::from_status(
            &status(403, "Forbidden", "experiments is forbidden", "experiments"),
            action,
        );
        assert!(
            error
                .to_string()
                .contains("create experiments in namespace kubeflow")
        );
        assert!(error.hint().unwrap().contains("kubeflow-katib-edit"));
    }

    #[test]
    fn a_webhooks_denial_is_kept_word_for_word_and_read() {
        let said = "admission webhook \"validator.experiment.katib.kubeflow.org\" denied the request: Cannot create the Experiment \"a\" in namespace \"b\": the namespace lacks label \"katib.kubeflow.org/metrics-collector-injection: enabled\"";
        let error = Error::from_status(
            &status(400, "", said, ""),
            Action::new("create", "experiments"),
        );
        assert!(error.to_string().contains(said));
        assert!(
            error
                .hint()
                .unwrap()
                .contains("only in namespaces that carry the label")
        );
        assert!(
            matches!(error, Error::Denied { webhook, .. } if webhook == "validator.experiment.katib.kubeflow.org")
        );
    }
}
