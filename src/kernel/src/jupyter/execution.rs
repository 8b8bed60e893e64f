//! Cells of one shell: in order, interruptible, aborted after an error.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::message::Message;
use super::server::Kernel;
use super::sink::{CellOptions, CellSink};
use crate::engine::WhenBusy;
use crate::event::{Bundle, Event, InputError, Sink};
use crate::failure::Failure;

/// After a failed cell, requests a client sent before it could know are still on their way; they
/// belong to the same run and are aborted too.
const STRAGGLERS: Duration = Duration::from_millis(20);

/// The main shell, or a subshell.
pub(super) struct Shell {
    /// The subshell's id; none for the main shell.
    id: Option<String>,
    queue: Mutex<VecDeque<Message>>,
    arrived: Notify,
    running: Mutex<Option<Running>>,
    busy: watch::Sender<bool>,
    closed: CancellationToken,
}

struct Running {
    parent: Arc<Value>,
    cancel: CancellationToken,
}

impl Shell {
    pub fn new(id: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            id,
            queue: Mutex::default(),
            arrived: Notify::new(),
            running: Mutex::default(),
            busy: watch::Sender::new(false),
            closed: CancellationToken::new(),
        })
    }

    /// Queues a cell.
    pub fn push(&self, request: Message) {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(request);
        self.arrived.notify_one();
    }

    /// Interrupts the running cell; says whether there was one.
    pub fn interrupt(&self) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .as_ref()
            .inspect(|running| running.cancel.cancel())
            .is_some()
    }

    /// The header of the cell that runs.
    pub fn running_parent(&self) -> Option<Arc<Value>> {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(|running| running.parent.clone())
    }

    /// Waits until no cell runs.
    pub async fn idle(&self) {
        let mut busy = self.busy.subscribe();
        let _ = busy.wait_for(|busy| !*busy).await;
    }

    /// Ends this shell after the running cell, which is interrupted.
    pub fn close(&self) {
        self.closed.cancel();
        self.interrupt();
    }

    /// Runs cells until the shell is closed or the kernel ends.
    pub async fn work(self: Arc<Self>, kernel: Arc<Kernel>) {
        loop {
            let next = self
                .queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            match next {
                Some(request) if self.is_over(&kernel) => self.abort(&kernel, &request).await,
                Some(request) => {
                    self.busy.send_replace(true);
                    self.execute(&kernel, request).await;
                    self.busy.send_replace(false);
                }
                None if self.is_over(&kernel) => return,
                None => tokio::select! {
                    () = self.arrived.notified() => {}
                    () = self.closed.cancelled() => {}
                    () = kernel.ending.cancelled() => {}
                },
            }
        }
    }

    fn is_over(&self, kernel: &Kernel) -> bool {
        self.closed.is_cancelled() || kernel.ending.is_cancelled()
    }

    async fn abort(&self, kernel: &Kernel, request: &Message) {
        let parent = request.as_parent();
        kernel.publisher.status(&parent, "busy");
        // No count: the cell did not run, and clients would show the number of another.
        let content = json!({ "status": "aborted" });
        kernel.reply(&kernel.shell, request, content).await;
        kernel.publisher.status(&parent, "idle");
    }

    async fn execute(&self, kernel: &Arc<Kernel>, request: Message) {
        let parent = request.as_parent();
        let content = &request.content;
        let flag = |name: &str, default: bool| content[name].as_bool().unwrap_or(default);
        let code = content["code"].as_str().unwrap_or_default();
        let silent = flag("silent", false);
        let stored = !silent && flag("store_history", true);
        let cancel = CancellationToken::new();
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running {
            parent: parent.clone(),
            cancel: cancel.clone(),
        });
        // An interrupt or a shutdown may have come between the queue and here.
        if self.is_over(kernel) {
            cancel.cancel();
        }

        kernel.publisher.status(&parent, "busy");
        let count = next_count(&kernel.count, stored);
        if !silent {
            kernel.publisher.send(
                "execute_input",
                &parent,
                json!({ "code": code, "execution_count": count }),
            );
        }
        let options = CellOptions {
            count,
            silent,
            allow_stdin: flag("allow_stdin", true),
            cancel: cancel.clone(),
        };
        let sink = Arc::new(CellSink::new(
            kernel.publisher.clone(),
            kernel.prompts.clone(),
            parent.clone(),
            request.identities.clone(),
            options,
        ));
        let when_busy = if self.id.is_some() {
            WhenBusy::Refuse
        } else {
            WhenBusy::Wait
        };
        let outcome = kernel
            .interpreter
            .execute(code, sink.clone(), &cancel, when_busy)
            .await;
        if stored {
            // After the run: what the cell made secret is masked now.
            kernel
                .history
                .add(count, &kernel.interpreter.session().redactor().text(code));
        }

        let reply = match &outcome {
            Ok(()) => {
                let expressions =
                    evaluate(kernel, &content["user_expressions"], &cancel, when_busy).await;
                json!({
                    "status": "ok",
                    "execution_count": count,
                    "payload": sink.payload(),
                    "user_expressions": expressions,
                })
            }
            Err(failure) => {
                let shown = error(failure);
                kernel.publisher.send("error", &parent, shown.clone());
                let mut reply = shown;
                reply["status"] = json!("error");
                reply["execution_count"] = json!(count);
                reply["payload"] = json!(sink.payload());
                reply["user_expressions"] = json!({});
                reply
            }
        };
        kernel.publisher.flush().await;
        let mut aborted = VecDeque::new();
        if outcome.is_err() && flag("stop_on_error", true) {
            tokio::time::sleep(STRAGGLERS).await;
            aborted =
                std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = None;
        kernel.reply(&kernel.shell, &request, reply).await;
        kernel.publisher.status(&parent, "idle");
        for request in aborted {
            self.abort(kernel, &request).await;
        }
    }
}

/// Cells that are kept in the history are numbered from 1; others show the number they had.
fn next_count(count: &AtomicU64, stored: bool) -> u64 {
    if stored {
        count.fetch_add(1, Ordering::SeqCst) + 1
    } else {
        count.load(Ordering::SeqCst).max(1)
    }
}

fn error(failure: &Failure) -> Value {
    json!({ "ename": failure.name, "evalue": failure.message, "traceback": failure.traceback })
}

/// Evaluates a request's `user_expressions`, each like a cell of its own whose value is the answer.
async fn evaluate(
    kernel: &Arc<Kernel>,
    wanted: &Value,
    cancel: &CancellationToken,
    when_busy: WhenBusy,
) -> Value {
    let mut answers = Map::new();
    for (name, code) in wanted.as_object().into_iter().flatten() {
        let capture = Arc::new(Capture::default());
        let code = code.as_str().unwrap_or_default();
        let outcome = kernel
            .interpreter
            .execute(code, capture.clone(), cancel, when_busy)
            .await;
        let answer = match outcome {
            Ok(()) => {
                let Bundle { data, metadata } = capture.value();
                json!({ "status": "ok", "data": data, "metadata": metadata })
            }
            Err(failure) => {
                let mut answer = error(&failure);
                answer["status"] = json!("error");
                answer
            }
        };
        answers.insert(name.clone(), answer);
    }
    Value::Object(answers)
}

/// Keeps the last value that was shown.
#[derive(Default)]
struct Capture(Mutex<Bundle>);

impl Capture {
    fn value(&self) -> Bundle {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Sink for Capture {
    fn emit(&self, event: Event) {
        if let Event::Result { bundle }
        | Event::Display { bundle, .. }
        | Event::Update { bundle, .. } = event
        {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = bundle;
        }
    }

    fn input<'a>(
        &'a self,
        _prompt: &'a str,
        _password: bool,
    ) -> BoxFuture<'a, Result<String, InputError>> {
        Box::pin(std::future::ready(Err(InputError::NotAllowed)))
    }
}
