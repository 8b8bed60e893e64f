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
use super::marks::{self, Panic, Piece};
use super::process::{Process, first_time};
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

/// Runs code. Without an output it is a hidden cell.
pub async fn run(
    process: &Arc<Process>,
    code: &str,
    output: Option<&Output>,
    cancel: &CancellationToken,
    hinted: &AtomicBool,
) -> Ended {
    let (marked, has_mark) = if output.is_some() {
        marks::append(code)
    } else {
        (code.to_owned(), false)
    };
    let mut build = process.listen();
    let mut progress = output.map(|output| Progress::new(output.clone()));
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
                ladder = Some(tokio::spawn(interrupt::end_cell(process.clone())));
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
    if cell.reply.is_some() && cell.errors.is_empty() {
        cell.settle_streams(has_mark).await;
    }
    let verdict = cell.verdict(code, has_mark, cancel.is_cancelled(), hinted);
    if let Some(output) = output {
        output.flush();
        cell.linger(output.clone());
    }
    verdict
}

struct Cell {
    process: Arc<Process>,
    conversation: Conversation,
    output: Option<Output>,
    reply: Option<Message>,
    idle: Option<Instant>,
    errors: Vec<Value>,
    marks: (bool, bool),
    panic: Option<Panic>,
    results: usize,
    after_panic: bool,
    last_text: Instant,
    stderr: String,
    denied: Arc<AtomicBool>,
    seen: bool,
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
            results: 0,
            after_panic: false,
            last_text: Instant::now(),
            stderr: String::new(),
            denied: Arc::default(),
            seen: false,
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
                    let bundle = Bundle(
                        data.iter()
                            .map(|(mime, value)| (mime.clone(), value.clone()))
                            .collect(),
                    );
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
        for piece in marks::read(text) {
            match (piece, stream) {
                (Piece::Text(text), _) => self.print(stream, text),
                (Piece::End, Stream::Stdout) => self.marks.0 = true,
                (Piece::End, Stream::Stderr) => self.marks.1 = true,
                (Piece::Panic(panic), _) => self.announce(panic),
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

    fn verdict(&self, code: &str, has_mark: bool, cancelled: bool, hinted: &AtomicBool) -> Ended {
        let Some(reply) = &self.reply else {
            let message = "the Rust engine failed inside and was ended; variables, items and dependencies are gone";
            return Ended::EngineLost(
                Failure::new("EngineError", message)
                    .with_hint(Some("the next Rust cell starts a fresh engine".to_owned())),
            );
        };
        if let Some(first) = self.errors.first() {
            return self.failed(first, cancelled, hinted);
        }
        if reply.content["status"] == "error" {
            return Ended::Failed(Failure::new(
                "Error",
                "the Rust engine reported an error without saying which",
            ));
        }
        let reached_end = if has_mark {
            self.marks.0
        } else {
            self.results > 0
        };
        if let Some(panic) = &self.panic
            && !reached_end
            && (has_mark || !self.after_panic)
        {
            return Ended::Failed(self.panicked(panic, code));
        }
        if self.denied.load(Ordering::SeqCst) {
            return Ended::Failed(
                Failure::new(
                    "InputError",
                    "the cell asked for input, and this client cannot be asked",
                )
                .with_hint(Some(
                    "use a setting (`:env`) or a file instead of a prompt".to_owned(),
                )),
            );
        }
        // A `?` that returns early prints its error and reports success.
        let returned = code.contains('?')
            && !reached_end
            && !self.stderr.trim().is_empty()
            && self.output.is_some();
        if returned && (has_mark || crate::cell::scan::ends_in_value(code)) {
            let message = self.stderr.trim().to_owned();
            return Ended::Failed(Failure {
                name: "Error".to_owned(),
                traceback: vec![
                    "the cell returned early: a `?` met an error".to_owned(),
                    message.clone(),
                ],
                message,
            });
        }
        Ended::Well
    }

    fn failed(&self, first: &Value, cancelled: bool, hinted: &AtomicBool) -> Ended {
        let message = first["evalue"].as_str().unwrap_or_default().to_owned();
        let program_lost = message.contains("Subprocess terminated")
            || message.contains("Subprocess didn't start");
        if cancelled {
            return if program_lost {
                Ended::ProgramLost(Failure::interrupted(
                    "the program of the Rust cells was ended, so variables are gone",
                ))
            } else {
                Ended::Failed(Failure::interrupted("variables are kept"))
            };
        }
        if program_lost {
            return Ended::ProgramLost(program_failure(&message));
        }
        let mut traceback = Vec::new();
        for error in &self.errors {
            if !traceback.is_empty() {
                traceback.push(String::new());
            }
            let lines = error["traceback"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            traceback.extend(
                lines
                    .filter(|line| !line.contains("katlab:end"))
                    .map(str::to_owned),
            );
        }
        let asks_for_type = self.errors.iter().any(|error| {
            error["evalue"]
                .as_str()
                .is_some_and(|text| text.contains("determine type of variable"))
        });
        if asks_for_type && !self.process.has_source && first_time(hinted) {
            traceback.push(
                "hint: the toolchain has no source of the standard library, so the types of variables must be \
                 written out; `!rustup component add rust-src` and a restart of the kernel make them inferred"
                    .to_owned(),
            );
        }
        let message = match self.errors.len() {
            1 => message,
            more => format!("{message} (and {} more)", more - 1),
        };
        Ended::Failed(Failure {
            name: "CompileError".to_owned(),
            message,
            traceback,
        })
    }

    fn panicked(&self, panic: &Panic, code: &str) -> Failure {
        let mut traceback = vec![format!("panicked: {}", panic.message)];
        match self.process.compiled_line(&panic.place) {
            Some(line) if !line.is_empty() => {
                let number = code.lines().position(|own| own.trim() == line);
                traceback.push(match number {
                    Some(number) => format!("  at line {}: {line}", number + 1),
                    None => format!("  at {line}"),
                });
            }
            _ if panic.place.is_empty() || panic.place.starts_with("src/lib.rs") => {}
            _ => traceback.push(format!("  at {}", panic.place)),
        }
        Failure {
            name: "panic".to_owned(),
            message: panic.message.clone(),
            traceback,
        }
    }

    fn engine_lost(&self) -> Ended {
        let how = self
            .process
            .post_mortem()
            .unwrap_or_else(|| "it closed its sockets".to_owned());
        let message = format!(
            "the Rust engine ended ({}); variables, items and dependencies are gone",
            how.lines().next().unwrap_or_default()
        );
        let mut failure = Failure::new("EngineError", message);
        failure
            .traceback
            .extend(how.lines().skip(1).map(str::to_owned));
        Ended::EngineLost(
            failure.with_hint(Some("the next Rust cell starts a fresh engine".to_owned())),
        )
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

fn program_failure(message: &str) -> Failure {
    let lost = "variables are gone, items and dependencies stay";
    let how = message.lines().last().unwrap_or_default();
    let before: Vec<&str> = message
        .lines()
        .filter(|line| !line.contains("Subprocess"))
        .collect();
    let text = if how.contains("signal: 9") {
        format!(
            "the program of the Rust cells was killed, most likely because memory ran out; {lost}"
        )
    } else if let Some(status) = how.rsplit_once("status: ").map(|(_, status)| status) {
        format!("the program of the Rust cells ended ({status}); {lost}")
    } else {
        format!("the program of the Rust cells ended; {lost}")
    };
    let mut failure = Failure::new("ProgramEnded", text);
    let mut traceback: Vec<String> = before.iter().map(|line| (*line).to_owned()).collect();
    traceback.append(&mut failure.traceback);
    failure.traceback = traceback;
    failure
}
