//! Why a magic failed, in words for the person who ran it.

use crate::event::InputError;

/// What kind of failure it is, for clients that look at the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorKind {
    /// The magic could not do what it was asked to.
    #[default]
    Failed,
    /// The command line makes no sense.
    Usage,
    /// The person interrupted it.
    Interrupted,
}

impl ErrorKind {
    /// The name that goes to the client.
    pub fn name(self) -> &'static str {
        match self {
            Self::Failed => "MagicError",
            Self::Usage => "UsageError",
            // The name that every front end knows.
            Self::Interrupted => "KeyboardInterrupt",
        }
    }
}

/// Why a magic failed: what, on which object, why; and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MagicError {
    /// What failed, on which object, and why.
    pub message: String,
    /// What to do next, in one sentence.
    pub hint: Option<String>,
    /// Text that stands between the two as it is: a line with a caret, a list, what a server said.
    pub detail: Option<String>,
    /// What kind of failure it is.
    pub kind: ErrorKind,
}

impl MagicError {
    /// A failure, said in one sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            detail: None,
            kind: ErrorKind::Failed,
        }
    }

    /// A command line that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Usage,
            ..Self::new(message)
        }
    }

    /// The person interrupted the magic.
    pub fn interrupted() -> Self {
        Self {
            kind: ErrorKind::Interrupted,
            ..Self::new("interrupted")
        }
    }

    /// With what to do next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// With what to do next, if there is anything to say.
    #[must_use]
    pub fn maybe_hint(self, hint: Option<String>) -> Self {
        Self {
            hint: hint.or(self.hint),
            ..self
        }
    }

    /// With text that stands between message and hint as it is.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }
}

impl From<katlab_lab::settings::Error> for MagicError {
    fn from(error: katlab_lab::settings::Error) -> Self {
        Self::new(error.to_string()).maybe_hint(error.hint())
    }
}

impl From<katlab_lab::home::Error> for MagicError {
    fn from(error: katlab_lab::home::Error) -> Self {
        Self::new(error.to_string()).maybe_hint(error.hint())
    }
}

impl From<InputError> for MagicError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::NotAllowed => Self::new(error.to_string()).hint(
                "set the value beforehand (`:env set NAME=VALUE`, `:env load FILE`, or `katlab run --set NAME=VALUE`)",
            ),
            InputError::Cancelled => Self::interrupted(),
        }
    }
}

impl From<katlab_lab::credentials::Error> for MagicError {
    fn from(error: katlab_lab::credentials::Error) -> Self {
        Self::new(error.to_string()).maybe_hint(error.hint())
    }
}
