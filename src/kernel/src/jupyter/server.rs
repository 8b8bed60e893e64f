//! The kernel: reads requests, keeps their order, and ends when told to.
//!
//! Cells run one after the other on the main shell and on each subshell. Everything else is
//! answered at once, also while a cell runs: an editor's question must not wait for a training.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::answers;
use super::connection::{Connection, ConnectionError};
use super::execution::Shell;
use super::history::History;
use super::message::{Message, Signer};
use super::publisher::Publisher;
use super::stdin::Prompts;
use super::transport::{self, BindError, Incoming, Outgoing};
use crate::interpreter::Interpreter;

/// How long a running cell may take to end when the kernel is shut down.
const PARTING: Duration = Duration::from_secs(2);
/// How long writing what is kept of experiments may take then.
const KEEPING: Duration = Duration::from_secs(1);

/// Why a kernel did not come up.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The connection file is of no use.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The session could not be made.
    #[error("{0}")]
    Session(String),
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(#[from] std::io::Error),
}

/// What all parts of a kernel share.
pub(super) struct Kernel {
    pub interpreter: Interpreter,
    pub publisher: Publisher,
    pub prompts: Prompts,
    pub history: History,
    /// The session id in the headers of this kernel's messages.
    pub id: String,
    /// The last execution count given out.
    pub count: AtomicU64,
    pub main: Arc<Shell>,
    pub subshells: Mutex<HashMap<String, Arc<Shell>>>,
    pub shell: Outgoing,
    pub control: Outgoing,
    /// Set when the kernel is to end.
    pub ending: CancellationToken,
}

impl Kernel {
    /// Sends a reply on the channel its request came from.
    pub async fn reply(&self, channel: &Outgoing, request: &Message, content: Value) {
        let reply = request.reply(&self.id, content);
        if let Err(error) = channel.send(&reply).await {
            tracing::debug!(%error, kind = request.kind(), "a client went away before its reply");
        }
    }

    /// The shell a request is for; `None` when it names a subshell that is not there.
    fn shell_of(&self, request: &Message) -> Option<Arc<Shell>> {
        match request.header["subshell_id"].as_str() {
            None => Some(self.main.clone()),
            Some(id) => self
                .subshells
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(id)
                .cloned(),
        }
    }

    /// Ends what runs: on the main shell, or on the subshells when the main shell is idle.
    pub fn interrupt(&self) {
        if self.main.interrupt() {
            return;
        }
        for shell in self
            .subshells
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
        {
            shell.interrupt();
        }
    }
}

/// Serves a connection file until a client shuts the kernel down.
///
/// # Errors
/// When the kernel cannot come up.
pub async fn serve<F>(connection_file: &Path, interpreter: F) -> Result<(), ServeError>
where
    F: FnOnce() -> Result<Interpreter, String>,
{
    let connection = Connection::read(connection_file)?;
    // Sockets first: a client may be waiting already.
    let sockets = transport::bind(&connection).await?;
    let id = uuid::Uuid::new_v4().to_string();
    let (publisher, messages) = Publisher::new(&id);
    let publishing = tokio::spawn(transport::publish(
        sockets.iopub,
        Signer::new(&connection.key),
        messages,
    ));
    publisher.send(
        "status",
        &Arc::new(json!({})),
        json!({ "execution_state": "starting" }),
    );

    let interpreter = interpreter().map_err(ServeError::Session)?;
    let history = History::new(interpreter.session().home().join("history.jsonl"));
    let kernel = Arc::new(Kernel {
        interpreter,
        history,
        prompts: Prompts::new(sockets.stdin.outgoing, &id),
        publisher,
        id,
        count: AtomicU64::new(0),
        main: Shell::new(None),
        subshells: Mutex::default(),
        shell: sockets.shell.outgoing,
        control: sockets.control.outgoing,
        ending: CancellationToken::new(),
    });

    tokio::spawn(kernel.main.clone().work(kernel.clone()));
    // Completion may wait for the analyser; nothing else waits for completion.
    let (questions, queue) = mpsc::unbounded_channel();
    tokio::spawn(answer_in_order(kernel.clone(), queue));
    let (studies, queue) = mpsc::unbounded_channel();
    tokio::spawn(answer_in_order(kernel.clone(), queue));
    tokio::spawn(read_shell(
        kernel.clone(),
        sockets.shell.incoming,
        questions,
        studies,
    ));
    tokio::spawn(read_control(kernel.clone(), sockets.control.incoming));
    tokio::spawn(read_stdin(kernel.clone(), sockets.stdin.incoming));
    tokio::spawn(watch_parent(kernel.ending.clone()));

    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            () = kernel.ending.cancelled() => break,
            _ = terminations.recv() => break,
            _ = interrupts.recv() => kernel.interrupt(),
        }
    }
    part(&kernel).await;
    publishing.abort();
    Ok(())
}

async fn part(kernel: &Arc<Kernel>) {
    kernel.ending.cancel();
    kernel.main.interrupt();
    let subshells: Vec<_> = kernel
        .subshells
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .values()
        .cloned()
        .collect();
    for shell in &subshells {
        shell.interrupt();
    }
    let ended = async {
        kernel.main.idle().await;
        for shell in &subshells {
            shell.idle().await;
        }
    };
    let _ = tokio::time::timeout(PARTING, ended).await;
    let interpreter = &kernel.interpreter;
    tokio::join!(
        interpreter.engine().stop(),
        interpreter.session().stop_keeping(KEEPING)
    );
    kernel.publisher.flush().await;
    // Sending is queueing; the sockets need a moment to empty their queues.
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn read_shell(
    kernel: Arc<Kernel>,
    mut incoming: Incoming,
    questions: mpsc::UnboundedSender<Message>,
    studies: mpsc::UnboundedSender<Message>,
) {
    loop {
        let request = incoming.next().await;
        match request.kind() {
            "execute_request" => match kernel.shell_of(&request) {
                Some(shell) => shell.push(request),
                None => answers::no_subshell(&kernel, &request).await,
            },
            "complete_request" | "inspect_request" => {
                let _ = studies.send(request);
            }
            _ => {
                let _ = questions.send(request);
            }
        }
    }
}

async fn answer_in_order(kernel: Arc<Kernel>, mut queue: mpsc::UnboundedReceiver<Message>) {
    while let Some(request) = queue.recv().await {
        answers::shell(&kernel, request).await;
    }
}

async fn read_control(kernel: Arc<Kernel>, mut incoming: Incoming) {
    loop {
        let request = incoming.next().await;
        answers::control(&kernel, request).await;
    }
}

async fn read_stdin(kernel: Arc<Kernel>, mut incoming: Incoming) {
    loop {
        let reply = incoming.next().await;
        if reply.kind() == "input_reply" {
            kernel.prompts.answer(&reply);
        }
    }
}

/// Ends the kernel when the server that started it is gone: nobody could reach it any more.
async fn watch_parent(ending: CancellationToken) {
    let Some(parent) = std::env::var("JPY_PARENT_PID")
        .ok()
        .and_then(|pid| pid.parse::<u32>().ok())
    else {
        return;
    };
    if parent != std::os::unix::process::parent_id() {
        return;
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        if std::os::unix::process::parent_id() != parent {
            ending.cancel();
            return;
        }
    }
}
