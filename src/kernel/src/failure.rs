//! Why a cell ended before its end, in the three parts that clients show.

/// A failed cell: what `error` messages and terminals are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A short class: `KeyboardInterrupt`, `CompileError`, `panic`, the name of a magic.
    pub name: String,
    /// One sentence: what failed and why.
    pub message: String,
    /// What is shown, line by line; may hold ANSI colours.
    pub traceback: Vec<String>,
}

/// The class of an interrupted cell: the name that every front end knows.
pub const INTERRUPTED: &str = "KeyboardInterrupt";

impl Failure {
    /// A failure that is its message.
    pub fn new(name: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            name: name.to_owned(),
            traceback: vec![format!("\u{1b}[1;31m✗\u{1b}[0m {message}")],
            message,
        }
    }

    /// Adds a line of advice.
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        if let Some(hint) = hint {
            self.traceback.push(format!("\u{1b}[36m→\u{1b}[0m {hint}"));
        }
        self
    }

    /// The cell was interrupted; `detail` says what that cost.
    pub fn interrupted(detail: &str) -> Self {
        let message = if detail.is_empty() {
            "the cell was interrupted".to_owned()
        } else {
            format!("the cell was interrupted; {detail}")
        };
        Self::new(INTERRUPTED, message)
    }
}
