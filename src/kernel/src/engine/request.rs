//! One cell on the engine: sent, listened to, and judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::interrupt;
use super::link::{Conversation, Incoming, is_idle};
use super::marks::{self, Panic, Piece, Wrong};
use super::process::Process;
use super::progress::Progress;
use crate::event::{Bundle, InputError, Stream};
use crate::failure::Failure;
use crate::jupyter::message::Message;
use crate::output::Output;

/// After the end, streams must have been quiet this long (and the engine must have answered a
/// question meanwhile, which makes the window wider where the machine is slow).
const QUIET: Duration = Duration::from_millis(30);
/// How long a stream's end mark is waited for.
const MARK_LIMIT: Duration = Duration::from_secs(2);

/// What the program of the cells says before it lists the calls that led to its end.
const CRASHES: [&str; 3] = ["Segmentation fault.", "Illegal instruction.", "Bus error."];

/// How a cell ended.
pub enum Ended {
    /// As it should.
    Well,
    /// With an error; the engine is as it was.
    Failed(Failure),
    /// With the program of the cells gone: variables are lost.
    ProgramLost(Failure),
    /// With the engine gone or broken.
    EngineLost(Failure),
    /// The engine was gone before it saw the cell.
    EngineAbsent,
}

/// How much of a cell its reader sees.
#[derive(Clone, Copy)]
pub enum Shown<'a> {
    /// All of it.
    Cell(&'a Output),
    /// What is built for it: the cell itself is hidden.
    Builds(&'a Output),
    /// Nothing.
    Nothing,
}

/// Runs code.
pub async fn run(
    process: &Arc<Process>,
    code: &str,
    shown: Shown<'_>,
    cancel: &CancellationToken,
    hinted: &AtomicBool,
) -> Ended {
    let (output, progress) = match shown {
        Shown::Cell(output) => (Some(output), Some(output)),
        Shown::Builds(output) => (None, Some(output)),
        Shown::Nothing => (None, None),
    };
    let (marked, has_mark) = if output.is_some() {
        marks::append(code)
    } else {
        (code.to_owned(), false)
    };
    let mut build = process.listen();
    let mut progress = progress.map(|output| Progress::new(output.clone()));
    let content = json!({
        "code": marked,
        "silent": false,
        "store_history": false,
        "user_expressions": {},
        "allow_stdin": output.is_some(),
        "stop_on_error": false,
    });
    process.linger(None);
    let mut cell = Cell::new(
        process.clone(),
        process.ask("execute_request", content),
        output.cloned(),
    );
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut ladder: Option<tokio::task::JoinHandle<()>> = None;
    let ended = loop {
        tokio::select! {
            incoming = cell.conversation.next() => match incoming {
                Some(incoming) => cell.take(incoming),
                None => break false,
            },
            () = process.exited() => break false,
            Some(line) = build.recv() => {
                if let Some(progress) = &mut progress {
                    progress.line(&line);
                }
            }
            _ = ticks.tick() => {
                if let Some(progress) = &mut progress {
                    progress.tick();
                }
            }
            () = cancel.cancelled(), if ladder.is_none() => {
                // What prints is a program that runs: there is no compile to wait for.
                let prints = cell.printed && cell.last_text.elapsed() < Duration::from_millis(300);
                ladder = Some(if process.waits_for_us() {
                    tokio::spawn(interrupt::end_asking_cell(process.clone()))
                } else if prints {
                    tokio::spawn(interrupt::end_program(process.clone()))
                } else {
                    tokio::spawn(interrupt::end_cell(process.clone()))
                });
            }
        }
        if cell.is_over() {
            break true;
        }
    };
    if let Some(ladder) = ladder {
        ladder.abort();
    }
    if let Some(progress) = &mut progress {
        progress.finish(if cell.errors.is_empty() {
            "Compiled"
        } else {
            "Compiling stopped after"
        });
    }
    if !ended {
        return if cell.seen {
            cell.engine_lost()
        } else {
            Ended::EngineAbsent
        };
    }
    let shows_itself =
        process.equipped.load(Ordering::SeqCst) && crate::cell::scan::ends_in_value(code);
    let prints = may_print(code) || shows_itself;
    if cell.reply.is_some() && cell.errors.is_empty() && prints {
        cell.settle_streams(has_mark).await;
    }
    if cancel.is_cancelled() && cell.printed && cell.has_backlog().await {
        process.kill();
        return Ended::EngineLost(Failure::interrupted(
            "it had printed more than the Rust engine could deliver, so the engine was ended: variables, items \
             and dependencies are gone",
        ));
    }
    let verdict = cell.verdict(code, has_mark, cancel.is_cancelled(), hinted);
    if let Some(output) = output {
        output.flush();
        cell.linger(output.clone());
    }
    verdict
}

/// Whether running code can print: without a call or a macro there is nothing to wait for, but for a value
/// of the crate that ends the cell and shows itself.
fn may_print(code: &str) -> bool {
    let mut rust = code
        .lines()
        .filter(|line| crate::cell::word(line).is_none());
    rust.any(|line| line.contains(['(', '!']))
}

pub(super) struct Cell {
    pub(super) process: Arc<Process>,
    conversation: Conversation,
    pub(super) output: Option<Output>,
    pub(super) reply: Option<Message>,
    idle: Option<Instant>,
    pub(super) errors: Vec<Value>,
    pub(super) marks: (bool, bool),
    pub(super) panic: Option<Panic>,
    /// The error that the cell ends in.
    pub(super) error: Option<Wrong>,
    pub(super) results: usize,
    pub(super) after_panic: bool,
    last_text: Instant,
    pub(super) stderr: String,
    pub(super) denied: Arc<AtomicBool>,
    seen: bool,
    printed: bool,
    /// The program told of a crash: what follows on stderr are the engine's own calls.
    crashed: bool,
}

impl Cell {
    fn new(process: Arc<Process>, conversation: Conversation, output: Option<Output>) -> Self {
        Self {
            process,
            conversation,
            output,
            reply: None,
            idle: None,
            errors: Vec::new(),
            marks: (false, false),
            panic: None,
            error: None,
            results: 0,
            after_panic: false,
            last_text: Instant::now(),
            stderr: String::new(),
            denied: Arc::default(),
            seen: false,
            printed: false,
            crashed: false,
        }
    }

    /// The request is over when both its reply and idle have come, or idle alone for a while:
    /// an engine whose execution task panicked never replies.
    fn is_over(&self) -> bool {
        match self.idle {
            Some(since) => self.reply.is_some() || since.elapsed() > Duration::from_secs(1),
            None => false,
        }
    }

    fn take(&mut self, incoming: Incoming) {
        self.seen = true;
        match incoming {
            Incoming::Reply(message) => self.reply = Some(message),
            Incoming::Prompt(message) => self.prompt(message),
            Incoming::Output(message) if is_idle(&message) => self.idle = Some(Instant::now()),
            Incoming::Output(message) => self.show(message),
        }
    }

    fn show(&mut self, message: Message) {
        match message.kind() {
            "stream" => {
                let stream = if message.content["name"] == "stderr" {
                    Stream::Stderr
                } else {
                    Stream::Stdout
                };
                self.text(stream, message.content["text"].as_str().unwrap_or_default());
            }
            "execute_result" => {
                self.results += 1;
                self.after_panic = false;
                self.panic = None;
                if let (Some(output), Some(data)) =
                    (&self.output, message.content["data"].as_object())
                {
                    let bundle: Bundle = data
                        .iter()
                        .map(|(mime, value)| (mime.clone(), value.clone()))
                        .collect();
                    // A second one is the engine's note on how long the cell took.
                    if self.results == 1 {
                        output.result(bundle)
                    } else {
                        output.show(bundle)
                    }
                }
            }
            "error" => self.errors.push(message.content),
            // Status and input echo are the front's own affair.
            _ => {}
        }
    }

    fn text(&mut self, stream: Stream, text: &str) {
        self.last_text = Instant::now();
        self.printed = true;
        if stream == Stream::Stderr {
            if self.crashed {
                return;
            }
            self.crashed = CRASHES.contains(&text.trim_end());
        }
        for piece in marks::read(text) {
            match (piece, stream) {
                (Piece::Text(text), _) => self.print(stream, text),
                (Piece::End, Stream::Stdout) => self.marks.0 = true,
                (Piece::End, Stream::Stderr) => self.marks.1 = true,
                (Piece::Panic(panic), _) => self.announce(panic),
                (Piece::Error(wrong), _) => self.error = Some(wrong),
                (Piece::Show(ticket), _) => {
                    if let Some(output) = &self.output {
                        output.flush();
                        self.after_panic = self.panic.is_some();
                        self.process.shown(&ticket, output);
                    }
                }
            }
        }
    }

    fn announce(&mut self, panic: Panic) {
        match &panic.thread {
            None => {
                self.panic = Some(panic);
                self.after_panic = false;
            }
            Some(thread) => {
                let note = format!("thread `{thread}` panicked: {}\n", panic.message);
                if let Some(output) = &self.output {
                    output.stream(Stream::Stderr, note);
                }
            }
        }
    }

    fn print(&mut self, stream: Stream, text: String) {
        if stream == Stream::Stdout {
            self.after_panic = self.panic.is_some();
        } else {
            self.stderr.push_str(&text);
            if self.stderr.len() > 16 * 1024 {
                let cut = self.stderr.len() - 8 * 1024;
                let cut = (cut..self.stderr.len())
                    .find(|at| self.stderr.is_char_boundary(*at))
                    .unwrap_or(0);
                self.stderr.drain(..cut);
            }
        }
        if let Some(output) = &self.output {
            output.stream(stream, text);
        }
    }

    /// Asks the person on behalf of the cell's program. Runs beside the cell, so that output and
    /// interrupts get through meanwhile.
    fn prompt(&self, message: Message) {
        let Some(output) = self.output.clone() else {
            self.process.answer(&message, "");
            return;
        };
        let process = self.process.clone();
        let denied = self.denied.clone();
        tokio::spawn(async move {
            let prompt = message.content["prompt"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            let answer = if message.content["password"] == true {
                output
                    .ask_secret(&prompt)
                    .await
                    .map(|secret| secret.expose_secret().to_owned())
            } else {
                output.ask(&prompt).await
            };
            denied.fetch_or(
                matches!(answer, Err(InputError::NotAllowed)),
                Ordering::SeqCst,
            );
            process.answer(&message, answer.as_deref().unwrap_or_default());
        });
    }

    /// Whether the engine still has lines and lines to deliver after the end of the cell. It hands
    /// them on one by one, and runs no other cell before the last of them.
    async fn has_backlog(&mut self) -> bool {
        let end = Instant::now() + Duration::from_millis(300);
        let mut late = 0;
        while let Ok(Some(_)) = tokio::time::timeout_at(end, self.conversation.next()).await {
            late += 1;
        }
        late > 50
    }

    /// Waits for text that the engine still holds. The end of a cell overtakes its stderr.
    async fn settle_streams(&mut self, has_mark: bool) {
        let limit = Instant::now() + MARK_LIMIT;
        let stops_early = self.panic.is_some() || !self.marks.0;
        if has_mark && !stops_early {
            while !self.marks.1 && Instant::now() < limit {
                match tokio::time::timeout_at(limit, self.conversation.next()).await {
                    Ok(Some(incoming)) => self.take(incoming),
                    _ => break,
                }
            }
            return;
        }
        let mut question = self.process.ask("kernel_info_request", json!({}));
        let mut answered = false;
        while Instant::now() < limit {
            let quiet = self.last_text.max(self.idle.unwrap_or(self.last_text)) + QUIET;
            if answered && Instant::now() >= quiet {
                break;
            }
            tokio::select! {
                incoming = self.conversation.next() => match incoming {
                    Some(incoming) => self.take(incoming),
                    None => break,
                },
                answer = question.next(), if !answered => answered = matches!(answer, Some(Incoming::Reply(_)) | None),
                () = tokio::time::sleep_until(quiet), if answered => {}
                () = tokio::time::sleep_until(limit) => break,
                () = self.process.exited() => break,
            }
        }
    }

    /// Shows what still comes for this cell (a thread it started), until the next one begins.
    fn linger(self, output: Output) {
        let process = self.process.clone();
        let mut cell = self;
        let task = tokio::spawn(async move {
            while let Some(incoming) = cell.conversation.next().await {
                cell.take(incoming);
                output.flush();
            }
        });
        process.linger(Some(task.abort_handle()));
    }
}
