//! Magics: lines that begin with a colon.
//!
//! A magic is one file: a clap struct, whose doc comments are its help, its completion and its manual
//! page, and one `run` that calls `katlab-lab` and shows the outcome. [`MAGICS`] has a line for each.
//!
//! ```text
//! line -> line::split -> entry -> line::expand ($NAME) -> clap -> explain | run
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use katlab_lab::file;
use tokio_util::sync::CancellationToken;

use crate::event::{Bundle, Sink};
use crate::output::Output;
use crate::render::counted;
use crate::render::list::{self, ListArgs, Rows};
use crate::session::Session;

pub mod analysis;
pub mod binding;
pub mod command;
pub mod completion;
mod error;
mod examples;
pub mod foreign;
pub mod help;
pub mod images;
pub mod katib;
pub mod kubernetes;
pub mod line;
pub mod nearest;
mod registry;
pub mod session;

pub use error::{ErrorKind, MagicError};
pub use registry::{Entry, Family, MAGICS, entry};

/// Whether a magic takes the lines below it in the cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// No: the next line is a magic or Rust of its own.
    #[default]
    None,
    /// Always: the rest of the cell is its body.
    Always,
    /// When one of its arguments is a lone `-`.
    Dash,
}

/// A magic.
pub trait Magic: clap::Parser + Send + Sync + 'static {
    /// Its name without the colon: one word, or the family's word and a verb (`registry login`).
    const NAME: &'static str;
    /// Whether it takes the rest of the cell.
    const BODY: Body = Body::None;
    /// How long it may go on after an interrupt, to clean up. When the time is over its future is dropped.
    const GRACE: Duration = Duration::from_millis(300);

    /// Does it.
    fn run(self, ctx: &Context) -> impl Future<Output = Result<(), MagicError>> + Send;

    /// The docker or kubectl commands that would do the same, one a line; none when there are none.
    fn explain(&self) -> Vec<String>;

    /// What could stand as the value of an argument (by its clap id), for completion. Must answer at
    /// once: from what is known, never from the network.
    fn candidates(_argument: &str, _session: &Session) -> Vec<String> {
        Vec::new()
    }
}

/// A list as its flags want it.
pub enum Ready {
    /// It is for the cell.
    Shown(Bundle),
    /// It is for a file.
    Saved {
        /// Where it goes.
        path: PathBuf,
        /// What is written.
        content: Vec<u8>,
        /// How many rows that is.
        rows: usize,
    },
}

/// What a magic runs in.
#[derive(Clone)]
pub struct Context {
    /// What lasts from cell to cell.
    pub session: Arc<Session>,
    /// Where it shows things.
    pub output: Output,
    /// Cancelled when the person interrupts the cell.
    pub cancel: CancellationToken,
    /// The rest of the cell, for magics that take it.
    pub body: Option<String>,
    /// The magic's name; none outside of one.
    pub magic: &'static str,
    /// The arguments that stand in the cell as they are, without a `$NAME` in them.
    pub written: Vec<String>,
    /// Where a magic puts what it found when a Rust variable takes it, in place of showing it.
    pub taker: Option<Arc<Mutex<Option<binding::Given>>>>,
}

impl Context {
    /// A context that shows to a sink, with the session's secrets masked.
    pub fn new(
        session: Arc<Session>,
        sink: Arc<dyn Sink>,
        cancel: CancellationToken,
        body: Option<String>,
    ) -> Self {
        session.learn_secrets();
        let output = Output::new(sink, session.redactor());
        Self {
            session,
            output,
            cancel,
            body,
            magic: "",
            written: Vec::new(),
            taker: None,
        }
    }

    /// Gives what was found to the variable that takes it.
    pub fn give(&self, given: binding::Given) {
        if let Some(taker) = &self.taker {
            *taker.lock().unwrap_or_else(PoisonError::into_inner) = Some(given);
        }
    }

    /// Whether a value stands in the cell itself, and so in the notebook's file. One that came through
    /// `$NAME` does not.
    pub fn is_written(&self, value: &str) -> bool {
        !value.is_empty() && self.written.iter().any(|word| word.ends_with(value))
    }

    /// Shows a list as its flags want it, or writes it to the file they name.
    ///
    /// # Errors
    /// When a flag names a column that is not there, a condition makes no sense, or the file cannot be
    /// written.
    pub fn list(&self, rows: impl Rows, list: &ListArgs) -> Result<(), MagicError> {
        let ready = self.ready(rows, list)?;
        self.show(ready)
    }

    /// Makes of a list what [`show`](Self::show) shows, which takes its time where the list is long.
    ///
    /// # Errors
    /// When a flag names a column that is not there, or a condition makes no sense.
    pub fn ready(&self, rows: impl Rows, list: &ListArgs) -> Result<Ready, MagicError> {
        self.session.note_list(self.magic, list::noted(&rows));
        Ok(match &list.save {
            None => Ready::Shown(list.render(rows)?),
            Some(path) => {
                let (content, rows) = list.file(rows, &self.session.redactor())?;
                Ready::Saved {
                    path: path.clone(),
                    content,
                    rows,
                }
            }
        })
    }

    /// Shows a list, or writes it to its file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn show(&self, list: Ready) -> Result<(), MagicError> {
        let (path, content, rows) = match list {
            Ready::Shown(bundle) => {
                self.output.show(bundle);
                return Ok(());
            }
            Ready::Saved {
                path,
                content,
                rows,
            } => (path, content, rows),
        };
        file::replace(&self.session.resolve(&path), &content, 0o644).map_err(|error| {
            MagicError::new(format!("{} cannot be written: {error}", path.display()))
                .hint("choose another file with --save")
        })?;
        self.output.done(format!(
            "wrote {} to {}",
            counted(rows, "row"),
            path.display()
        ));
        Ok(())
    }

    /// Reads files or computes, unless the person interrupts first: such work never waits, so that
    /// nothing else would be heard on a thread that does it. It must not show anything, for it goes on
    /// to its end unheard.
    ///
    /// # Errors
    /// What the work fails with, or [`MagicError::interrupted`].
    pub async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, MagicError> + Send + 'static,
    ) -> Result<T, MagicError> {
        self.or_interrupted(async {
            match tokio::task::spawn_blocking(work).await {
                Ok(outcome) => outcome,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    // The kernel ends.
                    Err(_) => Err(MagicError::interrupted()),
                },
            }
        })
        .await
    }

    /// Waits for something, unless the person interrupts first.
    ///
    /// # Errors
    /// What the future fails with, or [`MagicError::interrupted`].
    pub async fn or_interrupted<T, E: Into<MagicError>>(
        &self,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, MagicError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(MagicError::interrupted()),
            result = future => result.map_err(Into::into),
        }
    }
}

/// The magic that a line calls, and how many words its name has.
fn find(words: &[String]) -> Option<(&'static Entry, usize)> {
    let first = words.first()?.strip_prefix(':')?;
    if let Some(second) = words.get(1) {
        let name = format!("{first} {second}");
        if let Some(entry) = MAGICS.iter().find(|entry| entry.name == name) {
            return Some((entry, 2));
        }
    }
    MAGICS
        .iter()
        .find(|entry| entry.name == first)
        .map(|entry| (entry, 1))
}

/// A magic by its name, with or without the colon.
pub fn by_name(name: &str) -> Option<&'static Entry> {
    let name = name
        .trim()
        .trim_start_matches(':')
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    MAGICS.iter().find(|entry| entry.name == name)
}

/// Whether a line (or a name, with or without the colon) belongs to a magic of ours. True as well for
/// a family's first word with a verb that there is not, for that error is ours to explain.
pub fn is_magic(line: &str) -> bool {
    let first = line
        .trim_start()
        .split(char::is_whitespace)
        .next()
        .unwrap_or_default();
    let first = first.strip_prefix(':').unwrap_or(first);
    !first.is_empty()
        && MAGICS
            .iter()
            .any(|entry| entry.name.split(' ').next() == Some(first))
}

/// Whether the magic on this line takes the rest of the cell as its body.
pub fn takes_body(line: &str) -> bool {
    let (words, _) = line::split_leniently(line.trim_start());
    let words: Vec<String> = words.iter().map(line::Word::raw).collect();
    match find(&words) {
        Some((entry, used)) => match entry.body {
            Body::None => false,
            Body::Always => !words[used..]
                .iter()
                .any(|word| matches!(word.as_str(), "-h" | "--help" | "--explain")),
            Body::Dash => words[used..].iter().any(|word| word == "-"),
        },
        None => false,
    }
}

/// Runs the magic on a line.
///
/// # Errors
/// When the line makes no sense, when the magic fails, and when the person interrupts it.
pub async fn dispatch(line: &str, ctx: &Context) -> Result<(), MagicError> {
    ctx.session.learn_secrets();
    let result = run_line(line.trim(), ctx).await;
    ctx.output.flush();
    result.map_err(|error| mask(error, &ctx.session))
}

/// An error is shown past the output, so it goes through the filter here.
pub(crate) fn mask(error: MagicError, session: &Session) -> MagicError {
    let redactor = session.redactor();
    MagicError {
        message: redactor.text(&error.message),
        hint: error.hint.map(|hint| redactor.text(&hint)),
        detail: error.detail.map(|detail| redactor.text(&detail)),
        kind: error.kind,
    }
}

async fn run_line(line: &str, ctx: &Context) -> Result<(), MagicError> {
    let words = line::split(line)
        .map_err(|error| MagicError::usage(error.message).detail(line::caret(line, error.span)))?;
    let raw: Vec<String> = words.iter().map(line::Word::raw).collect();
    let Some((entry, used)) = find(&raw) else {
        return Err(unknown(&raw));
    };
    let words = &words[used..];
    let mut values = BTreeMap::new();
    for name in line::variables(words) {
        values.insert(name, ctx.value(name).await?);
    }
    let value = |name: &str| values.get(name).cloned().flatten();
    let arguments = line::expand(line, words, value, || ctx.session.names())?;
    let call = match command::parse(entry, &arguments)? {
        command::Parsed::Help => {
            ctx.output.show(help::page(entry));
            return Ok(());
        }
        command::Parsed::Call {
            call,
            explain: true,
        } => {
            ctx.output.show(help::explanation(entry, &call.explain()));
            return Ok(());
        }
        command::Parsed::Call {
            call,
            explain: false,
        } => call,
    };
    let plain = words.iter().filter(|word| {
        let mut pieces = word.pieces.iter();
        pieces.all(|piece| matches!(piece, line::Piece::Text(_)))
    });
    let ctx = Context {
        magic: entry.name,
        written: plain.map(line::Word::raw).collect(),
        ..ctx.clone()
    };
    supervise(call, &ctx).await
}

/// Runs a magic, and drops it when it goes on for too long after an interrupt.
async fn supervise(call: Box<dyn registry::Call>, ctx: &Context) -> Result<(), MagicError> {
    let grace = call.grace();
    supervised(call.run(ctx), grace, ctx).await
}

/// Does something as a magic does: an interrupt leaves it so much time to clean up.
///
/// # Errors
/// What the future fails with, or [`MagicError::interrupted`].
pub(crate) async fn supervised<T>(
    run: impl Future<Output = Result<T, MagicError>>,
    grace: Duration,
    ctx: &Context,
) -> Result<T, MagicError> {
    let cut = async {
        ctx.cancel.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        result = run => match result {
            // Whatever broke on the way was the interrupt's doing; what the magic says of it stays.
            Err(error) if ctx.cancel.is_cancelled() && error.kind != ErrorKind::Interrupted => {
                Err(MagicError::interrupted())
            }
            result => result,
        },
        () = cut => Err(MagicError::interrupted()),
    }
}

/// The error for a line that begins with a colon and is nobody's.
pub fn unknown_magic(line: &str) -> MagicError {
    let (words, _) = line::split_leniently(line.trim());
    unknown(&words.iter().map(line::Word::raw).collect::<Vec<_>>())
}

fn unknown(words: &[String]) -> MagicError {
    let first = words
        .first()
        .map(|word| word.trim_start_matches(':'))
        .unwrap_or_default();
    let verbs: Vec<&str> = MAGICS
        .iter()
        .filter_map(|entry| entry.name.split_once(' '))
        .filter(|(family, _)| *family == first)
        .map(|(_, verb)| verb)
        .collect();
    if !verbs.is_empty() {
        let error = match words.get(1) {
            Some(verb) => MagicError::usage(format!("there is no magic `:{first} {verb}`")),
            None => MagicError::usage(format!("`:{first}` wants a verb")),
        };
        let near = words
            .get(1)
            .map(|verb| nearest::to(verb, verbs.iter().copied()))
            .unwrap_or_default();
        let all = verbs
            .iter()
            .map(|verb| format!(":{first} {verb}"))
            .collect::<Vec<_>>()
            .join(", ");
        return match near.first() {
            Some(near) => error.hint(format!("did you mean `:{first} {near}`? There are {all}")),
            None => error.hint(format!("there are {all}")),
        };
    }
    let names = MAGICS.iter().map(|entry| entry.name).chain(
        MAGICS
            .iter()
            .filter_map(|entry| entry.name.split(' ').next()),
    );
    let error = MagicError::usage(format!("there is no magic `:{first}`"));
    let mut line: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(word) = line.first_mut() {
        *word = first;
    }
    if let Some(instead) = foreign::instead(&line) {
        return error.hint(instead);
    }
    let near = nearest::to(first, names);
    match near.first() {
        Some(near) => error.hint(format!("did you mean `:{near}`? `:help` lists all magics")),
        None => error.hint("`:help` lists all magics"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
