//! What a run looks like in a terminal, or in the log of a build.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use unicode_width::UnicodeWidthStr;

use crate::event::{Bundle, Event, InputError};
use crate::failure::Failure;

/// Prints a run. On a terminal, what is updated is rewritten in place; elsewhere its last state
/// is printed once, when the cell is over.
pub struct Terminal {
    live: bool,
    out: Option<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Displays of this cell that may be updated.
    open: Vec<Open>,
    /// The id and height of the display that is last on the screen.
    last: Option<(String, usize)>,
    column: bool,
}

/// A display that may be updated.
struct Open {
    id: String,
    shown: Bundle,
    printed: Bundle,
    caught_up: bool,
}

impl Terminal {
    /// A terminal that is looked at live, or a log.
    pub fn new(live: bool) -> Self {
        Self {
            live,
            out: Some(Mutex::default()),
        }
    }

    /// Prints nothing.
    #[cfg(test)]
    pub fn silent() -> Self {
        Self {
            live: false,
            out: None,
        }
    }

    /// A heading of the notebook's prose.
    pub fn heading(&self, text: &str) {
        self.with(|state| self.print(state, &format!("\n{}\n", self.paint("1", text))));
    }

    /// A cell begins.
    pub fn begin(&self, number: usize, of: usize, code: &str) {
        self.with(|state| {
            let mut text = String::new();
            let label = format!("[{number}/{of}]");
            for (index, line) in code.trim_end().lines().enumerate() {
                let margin = if index == 0 {
                    label.clone()
                } else {
                    " ".repeat(label.len())
                };
                text.push_str(&format!(
                    "{} {}\n",
                    self.paint("2", &margin),
                    self.paint("36", line)
                ));
            }
            self.print(state, &text);
        });
    }

    /// A cell is over.
    pub fn end(&self) {
        self.with(|state| {
            self.fresh_line(state);
            for open in std::mem::take(&mut state.open) {
                if open.shown != open.printed {
                    self.print(state, &block(&open.shown));
                }
            }
            state.last = None;
        });
    }

    /// A cell failed.
    pub fn error(&self, failure: &Failure) {
        self.with(|state| {
            self.fresh_line(state);
            let text = failure.traceback.join("\n");
            let text = if text.contains(&failure.message) {
                text
            } else {
                format!("{}: {}\n{text}", failure.name, failure.message)
            };
            let text = if self.live {
                text
            } else {
                without_colours(&text)
            };
            self.print(state, &format!("{text}\n"));
        });
    }

    /// Where the run stopped.
    pub fn failed(&self, number: usize, of: usize, written: &Path) {
        self.with(|state| {
            let text = format!(
                "cell {number} of {of} failed; outputs so far are in {}",
                written.display()
            );
            self.print(state, &format!("\n{}\n", self.paint("1;31", &text)));
        });
    }

    /// A run went well.
    pub fn summary(&self, cells: u64, took: Duration, written: &Path) {
        self.with(|state| {
            let text = format!(
                "{cells} cells in {:.1} s; outputs are in {}",
                took.as_secs_f64(),
                written.display()
            );
            self.print(state, &format!("\n{}\n", self.paint("1;32", &text)));
        });
    }

    /// Something a cell shows.
    pub fn show(&self, event: &Event) {
        self.with(|state| match event {
            Event::Stream { text, .. } => {
                self.catch_up(state);
                self.print(state, text);
            }
            Event::Result { bundle }
            | Event::Page { bundle }
            | Event::Display {
                bundle,
                display_id: None,
            } => {
                self.catch_up(state);
                self.fresh_line(state);
                self.print(state, &block(bundle));
            }
            Event::Display {
                bundle,
                display_id: Some(id),
            } => {
                self.catch_up(state);
                self.fresh_line(state);
                let text = block(bundle);
                self.print(state, &text);
                state.open.push(Open {
                    id: id.clone(),
                    shown: bundle.clone(),
                    printed: bundle.clone(),
                    caught_up: false,
                });
                state.last = self.height(&text).map(|height| (id.clone(), height));
            }
            Event::Update { display_id, bundle } => self.update(state, display_id, bundle),
            // A terminal keeps what it printed.
            Event::Clear { .. } => {}
        });
    }

    /// In a log, what came before is brought up to date before something new is printed; once,
    /// for a display that changes all the time would fill the log.
    fn catch_up(&self, state: &mut State) {
        let mut text = String::new();
        for open in &mut state.open {
            if !open.caught_up && open.shown != open.printed {
                open.caught_up = true;
                open.printed = open.shown.clone();
                text.push_str(&block(&open.shown));
            }
        }
        if !text.is_empty() {
            self.fresh_line(state);
            self.print(state, &text);
        }
    }

    fn update(&self, state: &mut State, id: &str, bundle: &Bundle) {
        let Some(entry) = state.open.iter_mut().find(|entry| entry.id == id) else {
            return;
        };
        entry.shown = bundle.clone();
        if !self.live {
            return;
        }
        let Some((_, height)) = state.last.take_if(|last| last.0 == id) else {
            return;
        };
        entry.printed = bundle.clone();
        let text = block(bundle);
        // Up over the old text, clear to the end of the screen, print anew.
        self.print(state, &format!("\u{1b}[{height}F\u{1b}[J{text}"));
        state.last = self.height(&text).map(|height| (id.to_owned(), height));
    }

    /// How many lines of the screen a text takes; none when it cannot be rewritten in place,
    /// because its beginning has left the screen.
    fn height(&self, text: &str) -> Option<usize> {
        let (rows, columns) = if self.live {
            screen()?
        } else {
            (usize::MAX, usize::MAX)
        };
        let height = text
            .lines()
            .map(|line| without_colours(line).width().div_ceil(columns).max(1))
            .sum::<usize>();
        (height < rows).then_some(height)
    }

    /// Asks the person at the terminal, if there is one.
    ///
    /// # Errors
    /// When nobody is there, or the terminal is closed.
    pub async fn ask(&self, prompt: &str, password: bool) -> Result<String, InputError> {
        if !std::io::stdin().is_terminal() {
            return Err(InputError::NotAllowed);
        }
        let prompt = prompt.to_owned();
        tokio::task::spawn_blocking(move || read_line(&prompt, password))
            .await
            .map_err(|_| InputError::Cancelled)?
            .map_err(|_| InputError::Cancelled)
    }

    fn with(&self, act: impl FnOnce(&mut State)) {
        if let Some(out) = &self.out {
            act(&mut out.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn fresh_line(&self, state: &mut State) {
        if state.column {
            self.print(state, "\n");
        }
    }

    fn print(&self, state: &mut State, text: &str) {
        if text.is_empty() {
            return;
        }
        state.last = None;
        state.column = !text.ends_with('\n');
        let mut out = std::io::stdout().lock();
        // A closed pipe (`katlab run … | head`) must not end the run.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.live {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

fn block(bundle: &Bundle) -> String {
    if bundle.is_blank() {
        return String::new();
    }
    let text = bundle.plain().trim_end_matches('\n');
    if text.is_empty() && !bundle.data.is_empty() {
        let kinds: Vec<&str> = bundle.data.keys().map(String::as_str).collect();
        return format!("({})\n", kinds.join(", "));
    }
    format!("{text}\n")
}

/// Rows and columns of the terminal.
fn screen() -> Option<(usize, usize)> {
    // SAFETY: winsize is plain data that the call fills; the descriptor is standard output's.
    let size = unsafe {
        let mut size: libc::winsize = std::mem::zeroed();
        let asked = libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size);
        (asked == 0).then_some(size)
    }?;
    let (rows, columns) = (usize::from(size.ws_row), usize::from(size.ws_col));
    (rows > 0 && columns > 0).then_some((rows, columns))
}

fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        let tail = &rest[at + 2..];
        let end = tail
            .find(|c: char| c.is_ascii_alphabetic())
            .map_or(tail.len(), |end| end + 1);
        rest = &tail[end..];
    }
    plain.push_str(rest);
    plain
}

/// Reads a line from the terminal; a password without echo.
fn read_line(prompt: &str, password: bool) -> std::io::Result<String> {
    let mut out = std::io::stdout().lock();
    out.write_all(prompt.as_bytes())?;
    out.flush()?;
    let quiet = if password { Some(Quiet::new()?) } else { None };
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line)?;
    if quiet.is_some() {
        out.write_all(b"\n")?;
    }
    if read == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal without echo; as before when dropped.
struct Quiet(libc::termios);

impl Quiet {
    fn new() -> std::io::Result<Self> {
        // SAFETY: termios is plain data that tcgetattr fills; both calls take a valid pointer.
        unsafe {
            let mut before: libc::termios = std::mem::zeroed();
            if libc::tcgetattr(libc::STDIN_FILENO, &raw mut before) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            let mut quiet = before;
            quiet.c_lflag &= !libc::ECHO;
            if libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw const quiet) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(Self(before))
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // SAFETY: the settings are those the terminal had.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw const self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_leave_no_trace_in_a_log() {
        assert_eq!(without_colours("\u{1b}[1;31m✗\u{1b}[0m no\u{1b}["), "✗ no");
    }

    #[test]
    fn a_bundle_without_text_says_what_it_is() {
        assert_eq!(
            block(&Bundle::default().with("image/png", "x")),
            "(image/png)\n"
        );
    }
}
