//! The engine's process: started over a private connection file, spoken to over loopback
//! sockets, watched in every wait.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use zeromq::util::PeerIdentity;
use zeromq::{DealerSocket, Socket, SocketOptions, SocketRecv, SocketSend, SubSocket, ZmqMessage};

use super::descendants::{self, Snapshot};
use super::toolchain::{self, MissingToolchain};
use crate::jupyter::connection::Connection;
use crate::jupyter::message::{Message, Signer};
use crate::output::Output;

/// How long a slow machine may take to bring the engine up.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Lines of the engine's own log that are kept for the day it dies.
const LOG_LINES: usize = 40;

/// Whoever holds outputs until their place among the printed lines comes by.
pub trait Held: Send + Sync {
    /// The place of a held output came by.
    fn shown(&self, ticket: &str, output: &Output);
}

/// What the engine needs to know at its start.
#[derive(Clone, Default)]
pub struct Environment {
    /// The executable that becomes the engine: this program.
    pub executable: PathBuf,
    /// Variables for the engine and the program of the cells.
    pub variables: BTreeMap<String, String>,
    /// Outputs that the cells' programs hand in beside their streams.
    pub held: Option<Arc<dyn Held>>,
}

/// Why the engine could not be started.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// The machine lacks something.
    #[error("{message}")]
    Missing {
        /// What.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Files or the process itself could not be made.
    #[error("the Rust engine could not be started: {0}")]
    System(String),
    /// It started and ended.
    #[error("the Rust engine ended while starting ({exit}){log}")]
    Ended {
        /// How it ended.
        exit: String,
        /// What it said last.
        log: String,
    },
    /// It never answered.
    #[error("the Rust engine did not answer within {} seconds{log}", START_LIMIT.as_secs())]
    Silent {
        /// What it said last.
        log: String,
    },
}

impl StartError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { hint, .. } => hint.clone(),
            Self::System(_) => Some(
                "free disk space and a writable temporary directory are needed (TMPDIR)".into(),
            ),
            Self::Ended { .. } => {
                Some("run the cell again; if it ends again, `rustc --version` may tell why".into())
            }
            Self::Silent { .. } => Some("run the cell again when the machine is less busy".into()),
        }
    }
}

impl From<MissingToolchain> for StartError {
    fn from(missing: MissingToolchain) -> Self {
        Self::Missing {
            message: missing.to_string(),
            hint: missing.hint(),
        }
    }
}

impl From<std::io::Error> for StartError {
    fn from(error: std::io::Error) -> Self {
        Self::System(error.to_string())
    }
}

/// Something the engine sent that belongs to one request.
#[derive(Debug)]
pub enum Incoming {
    /// Output.
    Output(Message),
    /// The reply on the shell channel.
    Reply(Message),
    /// A prompt of the cell's program.
    Prompt(Message),
}

type Routes = Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Incoming>>>>;

/// A running engine.
pub struct Process {
    pid: i32,
    session: String,
    shell: mpsc::UnboundedSender<Message>,
    control: mpsc::UnboundedSender<Message>,
    stdin: mpsc::UnboundedSender<Message>,
    routes: Routes,
    exit: watch::Receiver<Option<ExitStatus>>,
    log: Arc<Log>,
    directory: tempfile::TempDir,
    /// Whether the standard library's source is there, without which types are not inferred.
    pub has_source: bool,
    /// Whether panics announce themselves; lost when the program of the cells starts anew.
    pub hooked: AtomicBool,
    /// Whether the crate `katlab` was added.
    pub equipped: AtomicBool,
    /// Variables the program of the cells was told of since it began.
    pub told: Mutex<BTreeMap<String, String>>,
    /// Variables the engine was started with, which every new program of the cells inherits.
    inherited: BTreeMap<String, String>,
    lingering: Mutex<Option<tokio::task::AbortHandle>>,
    held: Option<Arc<dyn Held>>,
    tasks: Vec<tokio::task::AbortHandle>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<VecDeque<String>>,
    listener: Mutex<Option<mpsc::UnboundedSender<String>>>,
}

impl Log {
    fn add(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line.clone());
        drop(lines);
        if let Some(listener) = &*self.listener.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = listener.send(line);
        }
    }

    fn tail(&self) -> String {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // Cargo's chatter says nothing about a death.
        let telling = |line: &&String| {
            let line = line.trim_start();
            !line.is_empty()
                && !["Compiling", "Finished", "warning"]
                    .iter()
                    .any(|word| line.starts_with(word))
        };
        let last: Vec<&str> = lines.iter().filter(telling).map(String::as_str).collect();
        let from = last.len().saturating_sub(8);
        last[from..]
            .iter()
            .fold(String::new(), |text, line| text + "\n  " + line)
    }
}

impl Process {
    /// Starts an engine and waits until it answers.
    ///
    /// # Errors
    /// When the machine lacks a toolchain, or the engine ends or stays silent.
    pub async fn start(environment: &Environment) -> Result<Self, StartError> {
        let toolchain = toolchain::find().await?;
        let mut last = None;
        // Ports are chosen before the engine binds them, so another program may get in between.
        for _ in 0..3 {
            match Self::attempt(environment, &toolchain).await {
                Err(StartError::Ended { exit, log }) if log.contains("in use") => {
                    last = Some(StartError::Ended { exit, log });
                }
                outcome => return outcome,
            }
        }
        Err(last.unwrap_or_else(|| StartError::System("no free ports".to_owned())))
    }

    async fn attempt(
        environment: &Environment,
        toolchain: &toolchain::Toolchain,
    ) -> Result<Self, StartError> {
        let directory = build_directory()?;
        let connection = free_connection()?;
        let file = directory.path().join("connection.json");
        connection
            .write(&file)
            .map_err(|error| StartError::System(error.to_string()))?;

        let build = directory.path().join("build");
        std::fs::create_dir(&build)?;
        let mut child = command(environment, toolchain, &file, &build).spawn()?;
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .unwrap_or_default();
        let log = Arc::new(Log::default());
        let mut tasks = Vec::new();
        tasks.extend(child.stdout.take().map(|pipe| follow(pipe, log.clone())));
        tasks.extend(child.stderr.take().map(|pipe| follow(pipe, log.clone())));
        let (ended, exit) = watch::channel(None);
        tokio::spawn(async move {
            let status = child
                .wait()
                .await
                .unwrap_or_else(|_| ExitStatus::from_raw(0));
            let _ = ended.send(Some(status));
        });

        let routes = Routes::default();
        let (shell, shell_queue) = mpsc::unbounded_channel();
        let (control, control_queue) = mpsc::unbounded_channel();
        let (stdin, stdin_queue) = mpsc::unbounded_channel();
        let mut process = Self {
            pid,
            session: uuid::Uuid::new_v4().to_string(),
            shell,
            control,
            stdin,
            routes,
            exit,
            log,
            directory,
            has_source: toolchain.has_source,
            hooked: AtomicBool::new(false),
            equipped: AtomicBool::new(false),
            told: Mutex::new(environment.variables.clone()),
            inherited: environment.variables.clone(),
            lingering: Mutex::default(),
            held: environment.held.clone(),
            tasks,
        };
        let deadline = Instant::now() + START_LIMIT;
        let queues = [shell_queue, control_queue, stdin_queue];
        let linked = process.link(&connection, queues, deadline).await;
        match linked {
            Ok(()) => process.greet(deadline).await.map(|()| process),
            Err(error) => Err(error),
        }
    }

    /// Connects the sockets; output first, so that nothing is missed.
    async fn link(
        &mut self,
        connection: &Connection,
        queues: [mpsc::UnboundedReceiver<Message>; 3],
        deadline: Instant,
    ) -> Result<(), StartError> {
        let signer = Signer::new(&connection.key);
        // Prompts find their way by identity, so shell and stdin must share one.
        let identity = uuid::Uuid::new_v4().simple().to_string();

        let mut output = SubSocket::new();
        self.connect(
            &mut output,
            connection.endpoint(connection.iopub_port),
            deadline,
        )
        .await?;
        output
            .subscribe("")
            .await
            .map_err(|error| StartError::System(error.to_string()))?;
        self.tasks.push(
            tokio::spawn(receive(
                output,
                signer.clone(),
                self.routes.clone(),
                Incoming::Output,
            ))
            .abort_handle(),
        );

        let ports = [
            connection.shell_port,
            connection.control_port,
            connection.stdin_port,
        ];
        let kinds: [fn(Message) -> Incoming; 3] =
            [Incoming::Reply, Incoming::Reply, Incoming::Prompt];
        for ((port, kind), queue) in ports.into_iter().zip(kinds).zip(queues) {
            let mut options = SocketOptions::default();
            if let Ok(identity) = identity.parse::<PeerIdentity>() {
                options.peer_identity(identity);
            }
            options.connect_timeout(Duration::from_secs(2));
            let mut socket = DealerSocket::with_options(options);
            self.connect(&mut socket, connection.endpoint(port), deadline)
                .await?;
            let (send, recv) = socket.split();
            self.tasks.push(
                tokio::spawn(receive(recv, signer.clone(), self.routes.clone(), kind))
                    .abort_handle(),
            );
            self.tasks
                .push(tokio::spawn(transmit(send, signer.clone(), queue)).abort_handle());
        }
        Ok(())
    }

    async fn connect<S: Socket>(
        &self,
        socket: &mut S,
        endpoint: String,
        deadline: Instant,
    ) -> Result<(), StartError> {
        loop {
            if let Some(error) = self.ended() {
                return Err(error);
            }
            match tokio::time::timeout(Duration::from_secs(3), socket.connect(&endpoint)).await {
                Ok(Ok(())) => return Ok(()),
                _ if Instant::now() > deadline => {
                    return Err(StartError::Silent {
                        log: self.log.tail(),
                    });
                }
                _ => tokio::time::sleep(Duration::from_millis(25)).await,
            }
        }
    }

    /// Waits until both the reply and the output of a question have come: then all sockets work
    /// and the compiler context stands.
    async fn greet(&self, deadline: Instant) -> Result<(), StartError> {
        loop {
            let mut answers = self.ask("kernel_info_request", json!({}));
            let patience = Instant::now() + Duration::from_millis(500);
            let (mut replied, mut idle) = (false, false);
            loop {
                let limit = if replied {
                    patience.max(Instant::now() + Duration::from_millis(200))
                } else {
                    deadline
                };
                tokio::select! {
                    answer = answers.next() => match answer {
                        Some(Incoming::Reply(_)) => replied = true,
                        Some(Incoming::Output(message)) => idle |= is_idle(&message),
                        _ => {}
                    },
                    () = self.exited() => {
                        return Err(self.ended().unwrap_or_else(|| StartError::Silent { log: self.log.tail() }));
                    }
                    () = tokio::time::sleep_until(limit) => break,
                }
                if replied && idle {
                    return Ok(());
                }
            }
            if Instant::now() > deadline {
                return Err(StartError::Silent {
                    log: self.log.tail(),
                });
            }
        }
    }

    fn ended(&self) -> Option<StartError> {
        let status = *self.exit.borrow();
        status.map(|status| StartError::Ended {
            exit: describe(status),
            log: self.log.tail(),
        })
    }

    /// Sends a request and listens to what comes back for it.
    pub fn ask(&self, kind: &str, content: Value) -> Conversation {
        let message = Message::new(kind, &self.session, Arc::new(json!({})), content);
        let (sender, receiver) = mpsc::unbounded_channel();
        let id = message.id().to_owned();
        self.routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.clone(), sender);
        // A closed queue means that the engine is gone; whoever waits sees its exit.
        let queue = if kind == "interrupt_request" || kind == "shutdown_request" {
            &self.control
        } else {
            &self.shell
        };
        let _ = queue.send(message);
        Conversation {
            id,
            incoming: receiver,
            routes: self.routes.clone(),
        }
    }

    /// Answers a prompt.
    pub fn answer(&self, prompt: &Message, value: &str) {
        let reply = Message::new(
            "input_reply",
            &self.session,
            prompt.as_parent(),
            json!({ "value": value }),
        );
        let _ = self.stdin.send(reply);
    }

    /// Returns when the process is over.
    pub async fn exited(&self) {
        let mut exit = self.exit.clone();
        let _ = exit.wait_for(Option::is_some).await;
    }

    /// How the process ended, if it did, with the last words of its log.
    pub fn post_mortem(&self) -> Option<String> {
        let status = *self.exit.borrow();
        status.map(|status| format!("{}{}", describe(status), self.log.tail()))
    }

    /// Whether the process is there.
    pub fn is_alive(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends cargo's messages to this listener, until the next one takes over.
    pub fn listen(&self) -> mpsc::UnboundedReceiver<String> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self
            .log
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(sender);
        receiver
    }

    /// Kills the program of the cells, as the engine itself does on an interrupt.
    pub async fn interrupt(&self) {
        let mut conversation = self.ask("interrupt_request", json!({}));
        let done = async {
            while !matches!(conversation.next().await, Some(Incoming::Reply(_)) | None) {}
        };
        tokio::select! {
            () = done => {}
            () = self.exited() => {}
            () = tokio::time::sleep(Duration::from_secs(5)) => {}
        }
    }

    /// A new program of the cells began: it has no hook, and only the engine's environment.
    pub fn program_is_new(&self) {
        self.hooked.store(false, Ordering::SeqCst);
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = self.inherited.clone();
    }

    /// The place of a held output came by.
    pub fn shown(&self, ticket: &str, output: &Output) {
        if let Some(held) = &self.held {
            held.shown(ticket, output);
        }
    }

    /// Whoever shows the late output of a cell does so until the next cell begins.
    pub fn linger(&self, task: Option<tokio::task::AbortHandle>) {
        let mut lingering = self
            .lingering
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *lingering, task) {
            before.abort();
        }
    }

    /// A line of the crate that was compiled last, for messages that name a place in it.
    pub fn compiled_line(&self, place: &str) -> Option<String> {
        let (file, line) = place.rsplit_once(':')?;
        if file != "src/lib.rs" {
            return None;
        }
        let source =
            std::fs::read_to_string(self.directory.path().join("build").join(file)).ok()?;
        let line: usize = line.parse().ok()?;
        Some(source.lines().nth(line.checked_sub(1)?)?.trim().to_owned())
    }

    /// Ends the engine: politely first, and then for certain.
    pub async fn stop(&self) {
        if self.is_alive() {
            let _conversation = self.ask("shutdown_request", json!({ "restart": false }));
            let _ = tokio::time::timeout(Duration::from_millis(500), self.exited()).await;
        }
        self.kill();
    }

    /// Ends the engine and everything below it at once.
    pub fn kill(&self) {
        self.linger(None);
        if self.is_alive() && self.pid > 0 {
            let mut all = Snapshot::take().below(self.pid);
            all.push(self.pid);
            descendants::signal(&all, libc::SIGKILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// One request and what comes back for it.
pub struct Conversation {
    id: String,
    incoming: mpsc::UnboundedReceiver<Incoming>,
    routes: Routes,
}

impl Conversation {
    /// The next thing; `None` never comes while the engine lives.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.routes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

/// Whether a message says that its request is over.
pub fn is_idle(message: &Message) -> bool {
    message.kind() == "status" && message.content["execution_state"] == "idle"
}

/// How a process ended, in words.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (_, Some(libc::SIGKILL)) => "killed, most likely because memory ran out".to_owned(),
        (_, Some(signal)) => format!("ended by signal {signal}"),
        (Some(code), None) => format!("exit status {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn command(
    environment: &Environment,
    toolchain: &toolchain::Toolchain,
    connection: &Path,
    build: &Path,
) -> tokio::process::Command {
    let mut libraries = vec![toolchain.libraries.clone()];
    if let Some(more) = std::env::var_os("LD_LIBRARY_PATH") {
        libraries.extend(std::env::split_paths(&more));
    }
    let mut command = tokio::process::Command::new(&environment.executable);
    command
        .arg("--control_file")
        .arg(connection)
        .envs(&environment.variables)
        .env("PATH", &toolchain.path)
        // A cell's library looks for libstd relative to the wrong directory.
        .env(
            "LD_LIBRARY_PATH",
            std::env::join_paths(libraries).unwrap_or_else(|_| toolchain.libraries.clone().into()),
        )
        .env("EVCXR_TMPDIR", build)
        // At its start the engine would "update" a Rust kernel found under this path to itself.
        .env("JUPYTER_PATH", build.join("none"))
        .env_remove("EVCXR_IS_RUNTIME")
        .env_remove("EVCXR_RUSTC_WRAPPER")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A private directory that names its owner, so that what a killed kernel left can be found.
fn build_directory() -> std::io::Result<tempfile::TempDir> {
    const PREFIX: &str = "katlab-rust-";
    let parent = std::env::temp_dir();
    for entry in std::fs::read_dir(&parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            name.strip_prefix(PREFIX)?
                .split('-')
                .next()?
                .parse::<u32>()
                .ok()
        });
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another user's leftovers cannot be removed, and need not be.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{}-", std::process::id()))
        .tempdir_in(parent)
}

fn free_connection() -> std::io::Result<Connection> {
    let listeners: Vec<TcpListener> = (0..5)
        .map(|_| TcpListener::bind(("127.0.0.1", 0)))
        .collect::<Result<_, _>>()?;
    let ports: Vec<u16> = listeners
        .iter()
        .map(|listener| listener.local_addr().map(|at| at.port()))
        .collect::<Result<_, _>>()?;
    Ok(Connection {
        transport: "tcp".to_owned(),
        ip: "127.0.0.1".to_owned(),
        shell_port: ports[0],
        control_port: ports[1],
        stdin_port: ports[2],
        iopub_port: ports[3],
        hb_port: ports[4],
        key: uuid::Uuid::new_v4().to_string(),
        signature_scheme: "hmac-sha256".to_owned(),
    })
}

fn follow(
    pipe: impl AsyncRead + Unpin + Send + 'static,
    log: Arc<Log>,
) -> tokio::task::AbortHandle {
    tokio::spawn(async move {
        let mut lines = BufReader::new(pipe).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            log.add(String::from_utf8_lossy(&line).into_owned());
        }
    })
    .abort_handle()
}

async fn receive<S: SocketRecv>(
    mut socket: S,
    signer: Signer,
    routes: Routes,
    kind: fn(Message) -> Incoming,
) {
    loop {
        let frames = match socket.recv().await {
            Ok(frames) => frames,
            Err(error) => {
                tracing::debug!(%error, "the engine's socket failed");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        match Message::decode(frames.into_vec(), &signer) {
            Ok(message) => {
                let routes = routes.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(route) = routes.get(message.parent_id()) {
                    let _ = route.send(kind(message));
                }
            }
            Err(error) => tracing::warn!(%error, "dropped a message of the engine"),
        }
    }
}

async fn transmit<S: SocketSend>(
    mut socket: S,
    signer: Signer,
    mut queue: mpsc::UnboundedReceiver<Message>,
) {
    while let Some(message) = queue.recv().await {
        if let Ok(frames) = ZmqMessage::try_from(message.encode(&signer))
            && let Err(error) = socket.send(frames).await
        {
            tracing::debug!(%error, "a message did not reach the engine");
        }
    }
}

/// Sets a flag and says whether it was unset.
pub fn first_time(flag: &AtomicBool) -> bool {
    !flag.swap(true, Ordering::SeqCst)
}
