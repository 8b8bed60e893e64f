//! The engine's process: started over a private connection file, spoken to over loopback
//! sockets, watched in every wait.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use zeromq::util::PeerIdentity;
use zeromq::{DealerSocket, Socket, SocketOptions, SubSocket};

use super::descendants::{self, Snapshot};
use super::launch::{self, Environment, Library, START_LIMIT, StartError};
use super::link::{self, Conversation, Incoming, Routes, is_idle};
use super::log::{self, Log};
use super::toolchain::{self, Toolchain};
use crate::jupyter::connection::Connection;
use crate::jupyter::message::{Message, Signer};
use crate::output::Output;
use crate::scratch;

/// Whoever holds outputs until their place among the printed lines comes by, and answers what the program
/// of the cells asks.
pub trait Held: Send + Sync {
    /// The place of a held output came by.
    fn shown(&self, ticket: &str, output: &Output);

    /// Whether the program of the cells waits for an answer, or was given one by the interrupt.
    fn is_asked(&self) -> bool;
}

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

impl Process {
    /// Starts an engine and waits until it answers; with `Library::Later` it infers no types
    /// before it has a dependency.
    ///
    /// # Errors
    /// When the machine lacks a toolchain, or the engine ends or stays silent.
    pub async fn start(environment: &Environment, library: Library) -> Result<Self, StartError> {
        let toolchain = toolchain::find().await?;
        let mut last = None;
        // Ports are chosen before the engine binds them, so another program may get in between.
        for _ in 0..3 {
            match Self::attempt(environment, &toolchain, library).await {
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
        toolchain: &Toolchain,
        library: Library,
    ) -> Result<Self, StartError> {
        let directory = scratch::directory("rust")?;
        let connection = launch::free_connection()?;
        let file = directory.path().join("connection.json");
        connection
            .write(&file)
            .map_err(|error| StartError::System(error.to_string()))?;

        let build = directory.path().join("build");
        std::fs::create_dir(&build)?;
        let (helper, place) = (environment.helper.clone(), build.clone());
        let _ = tokio::task::spawn_blocking(move || helper.restore(&place)).await;
        let library = match library {
            Library::AtOnce => None,
            Library::Later => launch::empty_library(environment, directory.path())?,
        };
        let mut child =
            launch::command(environment, toolchain, &file, &build, library.as_deref()).spawn()?;
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .unwrap_or_default();
        let log = Arc::new(Log::default());
        let mut tasks = Vec::new();
        tasks.extend(
            child
                .stdout
                .take()
                .map(|pipe| log::follow(pipe, log.clone())),
        );
        tasks.extend(
            child
                .stderr
                .take()
                .map(|pipe| log::follow(pipe, log.clone())),
        );
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
        process.link(&connection, queues, deadline).await?;
        process.greet(deadline).await?;
        if let Some(library) = library {
            std::fs::remove_dir_all(library)?;
        }
        Ok(process)
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
            tokio::spawn(link::receive(
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
                tokio::spawn(link::receive(
                    recv,
                    signer.clone(),
                    self.routes.clone(),
                    kind,
                ))
                .abort_handle(),
            );
            self.tasks
                .push(tokio::spawn(link::transmit(send, signer.clone(), queue)).abort_handle());
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
        let conversation = Conversation::open(message.id(), &self.routes);
        // A closed queue means that the engine is gone; whoever waits sees its exit.
        let queue = if kind == "interrupt_request" || kind == "shutdown_request" {
            &self.control
        } else {
            &self.shell
        };
        let _ = queue.send(message);
        conversation
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
        self.log.listen()
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

    /// Where the engine builds the crate of each cell.
    pub fn build(&self) -> PathBuf {
        self.directory.path().join("build")
    }

    /// The place of a held output came by.
    pub fn shown(&self, ticket: &str, output: &Output) {
        if let Some(held) = &self.held {
            held.shown(ticket, output);
        }
    }

    /// Whether the program of the cells waits for the kernel, which an interrupt makes answer.
    pub fn waits_for_us(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_asked())
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
        let source = std::fs::read_to_string(self.build().join(file)).ok()?;
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

/// Sets a flag and says whether it was unset.
pub fn first_time(flag: &AtomicBool) -> bool {
    !flag.swap(true, Ordering::SeqCst)
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
