//! What a cell shows, as data: events that a session emits and that a sink delivers.
//!
//! Jupyter is one sink, `katlab run` in a terminal is another. Magics know this module and never
//! the wire, so the same magic serves both.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use serde_json::{Value, json};

use crate::render::html::{self, Html};

/// A MIME bundle: the same content in one or more representations, keyed by MIME type.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bundle {
    /// The representations.
    pub data: BTreeMap<String, Value>,
    /// What a front end should know about one of them, under the same key.
    pub metadata: BTreeMap<String, Value>,
}

impl Bundle {
    /// What a display becomes whose time is over. An update cannot take a display away.
    pub fn blank() -> Self {
        Self::text("").with("text/html", "")
    }

    /// Whether there is nothing to see.
    pub fn is_blank(&self) -> bool {
        *self == Self::blank()
    }

    /// A bundle of plain text, which every front end can show.
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().with("text/plain", text.into())
    }

    /// Adds or replaces one representation.
    pub fn with(mut self, mime: &str, content: impl Into<Value>) -> Self {
        self.data.insert(mime.to_owned(), content.into());
        self
    }

    /// Adds HTML in which dollar signs are just that. JupyterLab and exported pages take the text
    /// between two of them for a formula, except in elements of these classes: MathJax 3 knows the
    /// first, MathJax 2 the second.
    pub fn with_html(self, html: Html) -> Self {
        let shown = html::element("div", &[("class", "mathjax_ignore tex2jax_ignore")], &html);
        self.with("text/html", shown.into_string())
    }

    /// Adds a PNG picture, base64-encoded, that is to be shown at this size, whatever the number of
    /// its pixels.
    pub fn with_png(mut self, picture: impl Into<Value>, width: u32, height: u32) -> Self {
        let size = json!({ "width": width, "height": height });
        self.metadata.insert("image/png".to_owned(), size);
        self.with("image/png", picture)
    }

    /// The plain-text representation, or the empty string when there is none.
    pub fn plain(&self) -> &str {
        self.data
            .get("text/plain")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

impl FromIterator<(String, Value)> for Bundle {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(representations: T) -> Self {
        Self {
            data: representations.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// Which of the two text streams of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Ordinary output.
    Stdout,
    /// Warnings and diagnostics.
    Stderr,
}

/// One thing that a cell shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A new output; with a display id it can be updated later.
    Display {
        /// What to show.
        bundle: Bundle,
        /// Names the output for later updates; fresh for every run.
        display_id: Option<String>,
    },
    /// Replaces an output that was shown before under the same id.
    Update {
        /// The id given when the output was first shown.
        display_id: String,
        /// The new content.
        bundle: Bundle,
    },
    /// Text of a stream, as it comes; need not end with a newline.
    Stream {
        /// Which stream.
        stream: Stream,
        /// The text.
        text: String,
    },
    /// The value of the cell.
    Result {
        /// What to show.
        bundle: Bundle,
    },
    /// Removes the outputs of the cell so far; with `wait`, when the next one comes.
    Clear {
        /// Wait for the next output before removing.
        wait: bool,
    },
    /// Text for the pager (`name?`, `:help NAME`).
    Page {
        /// What to show.
        bundle: Bundle,
    },
}

/// Why a person could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The client does not allow prompts (`allow_stdin` is false, or a headless run).
    #[error("this client cannot be asked for input")]
    NotAllowed,
    /// The prompt was interrupted, or the client went away.
    #[error("the prompt was cancelled")]
    Cancelled,
}

/// Receives what a cell shows, in order, and can ask a person for a line.
pub trait Sink: Send + Sync {
    /// Delivers one event. Never blocks for long: sinks queue.
    fn emit(&self, event: Event);

    /// Asks for one line; with `password` the client does not show what is typed.
    fn input<'a>(
        &'a self,
        prompt: &'a str,
        password: bool,
    ) -> BoxFuture<'a, Result<String, InputError>>;
}
