//! What can go wrong while reconciling.

use super::cache::Key;

/// A result of this module.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an object could not be reconciled. Every one of them is tried again later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused a request or could not be asked.
    #[error("{verb} {kind} {object}: {source}")]
    Api {
        /// What was asked for.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// The object.
        object: Key,
        /// The answer.
        source: Box<kube::Error>,
    },
    /// A request could not be put together.
    #[error("{verb} {kind} {object}: request cannot be written: {reason}")]
    Request {
        /// What was asked for.
        verb: &'static str,
        /// Kind of the object.
        kind: &'static str,
        /// The object.
        object: Key,
        /// Why.
        reason: String,
    },
    /// The observation log could not be read or written.
    #[error(transparent)]
    Observation(Box<crate::metrics::Error>),
    /// The observation log holds something that cannot be read.
    #[error("metrics of trial {trial}: {source}")]
    Metrics {
        /// The trial.
        trial: Key,
        /// Why.
        source: Box<katlab_katib::metrics::MetricsError>,
    },
    /// A trial template could not be rendered, with Katib's text where it has one.
    #[error(transparent)]
    Template(Box<katlab_katib::template::TemplateError>),
    /// A ConfigMap lacks the template an Experiment names.
    #[error("ConfigMap {object} has no key {template}")]
    NoTemplate {
        /// The ConfigMap.
        object: Key,
        /// The key.
        template: String,
    },
    /// Katib's configuration cannot be read.
    #[error("ConfigMap kubeflow/katib-config: {0}; mend the key katib-config.yaml")]
    Configuration(String),
    /// Nothing serves the algorithm, in Katib's words.
    #[error(
        "failed to find suggestion config for algorithm: {algorithm} in ConfigMap: katib-config"
    )]
    NoAlgorithm {
        /// The algorithm.
        algorithm: String,
    },
    /// A call to an algorithm of the user's own failed, in Katib's words.
    #[error("{answer} ({method} of pod {pod}; look at its log: kubectl logs -n {} {})", pod.namespace, pod.name)]
    Service {
        /// What was answered, or why nothing was.
        answer: String,
        /// What was asked for.
        method: &'static str,
        /// Who was asked.
        pod: Key,
    },
    /// An algorithm of the user's own gave something that no trials can be made from, in Katib's words.
    #[error(
        "The response contains unexpected trials: {0}; mend the algorithm and it is asked again"
    )]
    Reply(String),
    /// The algorithm refused the request.
    #[error(transparent)]
    Algorithm(Box<katlab_suggestion::SuggestionError>),
    /// Something that must exist does not (yet).
    #[error("{kind} {object} of {dependent} not found")]
    Missing {
        /// Kind of what is missing.
        kind: &'static str,
        /// What is missing.
        object: Key,
        /// Who needs it.
        dependent: Key,
    },
    /// A name that is needed is taken by an object of somebody else.
    #[error("{kind} {object} exists and belongs to somebody else")]
    NameTaken {
        /// Kind of the object.
        kind: &'static str,
        /// The object.
        object: Key,
    },
    /// The sandbox does not run objects of this kind.
    #[error("the sandbox runs trials of kind Job (batch/v1) only, not {kind} ({api_version})")]
    UnsupportedKind {
        /// The kind.
        kind: String,
        /// Its group and version.
        api_version: String,
    },
}

impl From<crate::metrics::Error> for Error {
    fn from(error: crate::metrics::Error) -> Self {
        Self::Observation(Box::new(error))
    }
}

impl From<katlab_katib::template::TemplateError> for Error {
    fn from(error: katlab_katib::template::TemplateError) -> Self {
        Self::Template(Box::new(error))
    }
}

impl From<katlab_suggestion::SuggestionError> for Error {
    fn from(error: katlab_suggestion::SuggestionError) -> Self {
        Self::Algorithm(Box::new(error))
    }
}

impl Error {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnsupportedKind { kind, .. } => Some(format!(
                "Use a cluster with Katib and the {kind} operator for this experiment (`:use cluster`)."
            )),
            Self::NameTaken { kind, object } => {
                Some(format!("Delete {kind} {object} or wait until it is gone."))
            }
            Self::Observation(error) => error.hint(),
            Self::Metrics { source, .. } => source.hint(),
            Self::Template(error) => error.hint(),
            Self::Algorithm(error) => error.hint(),
            _ => None,
        }
    }

    fn status(&self) -> Option<&kube::core::Status> {
        match self {
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => Some(status),
                _ => None,
            },
            _ => None,
        }
    }

    /// The object is not there.
    pub fn is_not_found(&self) -> bool {
        self.status().is_some_and(|status| status.code == 404)
    }

    /// The object has changed since it was read, or a name is taken.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409)
    }

    /// A name is taken.
    pub fn is_already_exists(&self) -> bool {
        self.status()
            .is_some_and(|status| status.code == 409 && status.reason == "AlreadyExists")
    }

    /// What the API server said, without what was asked.
    pub fn refusal(&self) -> String {
        self.status()
            .map_or_else(|| self.to_string(), |status| status.message.clone())
    }
}
