//! The Rust engine: evcxr's own kernel in a process of its own, started when first needed.
//!
//! The process is this very program under another name (`katlab --control_file …`), so a crash of
//! the analyser, a runaway compile or an out-of-memory kill takes the engine and never the magics.
//! [`Engine`] runs one cell at a time and turns what comes back into events.

pub mod commands;
pub mod helper;
pub mod marks;
pub mod process;

mod advice;
mod descendants;

mod interrupt;
mod launch;
mod link;
mod log;
mod progress;
mod request;
mod study;
pub mod toolchain;
mod verdict;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::helper::Helper;
use self::launch::{Environment, Library, StartError};
use self::process::{Held, Process};
use self::request::{Ended, Shown};
pub use self::study::Completed;
use crate::event::Bundle;
use crate::failure::Failure;
use crate::output::Output;

/// What to do when another cell holds the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenBusy {
    /// Wait for it.
    Wait,
    /// Say so and end.
    Refuse,
}

/// The right to use the engine; given back when dropped.
pub struct Turn<'a>(
    #[expect(dead_code, reason = "held, not read")] tokio::sync::MutexGuard<'a, ()>,
);

type Starting = watch::Receiver<Option<Result<Arc<Process>, StartError>>>;

enum Slot {
    Absent,
    /// The token ends what is built meanwhile.
    Starting(Starting, CancellationToken),
    Ready(Arc<Process>),
}

/// The Rust engine of a kernel. Clones share it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    environment: Mutex<Environment>,
    slot: Mutex<Slot>,
    gate: tokio::sync::Mutex<()>,
    hinted: AtomicBool,
}

impl Engine {
    /// An engine that starts when a Rust cell needs it. `executable` is this program; `home` is
    /// where the crate for Rust cells is unpacked.
    pub fn new(executable: std::path::PathBuf, home: &std::path::Path) -> Self {
        let environment = Environment {
            executable,
            helper: Helper::new(home),
            ..Environment::default()
        };
        Self {
            shared: Arc::new(Shared {
                environment: Mutex::new(environment),
                slot: Mutex::new(Slot::Absent),
                gate: tokio::sync::Mutex::default(),
                hinted: AtomicBool::new(false),
            }),
        }
    }

    /// Sets the variables that Rust cells see; a running program is told before its next cell.
    pub fn set_variables(&self, variables: BTreeMap<String, String>) {
        self.environment().variables = variables;
    }

    /// Sets the directory that cells' relative paths start from, for the engine's next start.
    pub fn set_directory(&self, directory: std::path::PathBuf) {
        self.environment().directory = Some(directory);
    }

    /// Sets who holds the outputs that cells hand in beside their streams.
    pub fn set_held(&self, held: Arc<dyn Held>) {
        self.environment().held = Some(held);
    }

    /// Whether an engine is up.
    pub fn is_running(&self) -> bool {
        self.ready().is_some()
    }

    /// The right to use the engine, which runs one cell at a time.
    ///
    /// # Errors
    /// When another cell has it and this one will not wait, or is interrupted while it waits.
    pub async fn turn(
        &self,
        cancel: &CancellationToken,
        when_busy: WhenBusy,
    ) -> Result<Turn<'_>, Failure> {
        match (self.shared.gate.try_lock(), when_busy) {
            (Ok(turn), _) => Ok(Turn(turn)),
            (Err(_), WhenBusy::Refuse) => Err(Failure::new(
                "EngineBusy",
                "the Rust engine is busy with another cell",
            )
            .with_hint(Some(
                "magics run meanwhile; run this cell again when the other one is done".into(),
            ))),
            (Err(_), WhenBusy::Wait) => tokio::select! {
                turn = self.shared.gate.lock() => Ok(Turn(turn)),
                () = cancel.cancelled() => Err(Failure::interrupted("it had not begun")),
            },
        }
    }

    /// Starts the engine before there is a cell for it, since an editor asked what may stand at a cursor; the
    /// cell that comes says how far it is. The question is asked once more when the engine is up, so that its
    /// analyser has read all it needs by the time of the next one.
    pub fn warm(&self, code: &str, cursor: usize) {
        // The loss of an engine is told in the cell that starts the next one.
        let mut slot = self.slot();
        if !matches!(&*slot, Slot::Absent) {
            return;
        }
        let mut starting = self.starting(&mut slot, code, None);
        let (engine, code) = (self.clone(), code.to_owned());
        tokio::spawn(async move {
            if starting.wait_for(Option::is_some).await.is_ok() {
                engine.complete(&code, cursor).await;
            }
        });
    }

    /// Runs Rust (with evcxr's commands before it).
    ///
    /// # Errors
    /// A compile error, a panic, a returned error, an interrupt, or an engine that is missing or
    /// gone.
    pub async fn execute(
        &self,
        _turn: &Turn<'_>,
        code: &str,
        output: &Output,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        for _ in 0..2 {
            let process = self.ensure(code, output, cancel).await?;
            let ended = match self
                .prepare(&process, code, Shown::Builds(output), cancel)
                .await
            {
                Err(_) if !process.is_alive() && !cancel.is_cancelled() => Ended::EngineAbsent,
                Err(failure) => return Err(failure),
                Ok(()) => self.run(&process, code, Shown::Cell(output), cancel).await,
            };
            // An engine that ended before it saw the cell costs the cell nothing: it runs on the
            // next one, which says what is gone.
            if !matches!(ended, Ended::EngineAbsent) {
                if matches!(ended, Ended::Well) && process.equipped.load(Ordering::SeqCst) {
                    let (helper, build) = (self.environment().helper.clone(), process.build());
                    // Without it engines to come build the crate themselves.
                    let _ = tokio::task::spawn_blocking(move || helper.keep(&build)).await;
                }
                if code
                    .lines()
                    .any(|line| crate::cell::word(line) == Some("clear"))
                {
                    process.equipped.store(false, Ordering::SeqCst);
                    process.program_is_new();
                }
                return self.settle(&process, ended);
            }
        }
        Err(Failure::new(
            "EngineError",
            "the Rust engine ended twice before it saw the cell",
        )
        .with_hint(Some(
            "free some memory, or look at the log of the notebook server".into(),
        )))
    }

    /// Starts the program of the cells again: variables go, items and dependencies stay.
    ///
    /// # Errors
    /// As [`Engine::execute`].
    pub async fn restart(
        &self,
        output: &Output,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let Some(process) = self.ready() else {
            output.text("The Rust engine is not running; the next Rust cell starts it.");
            return Ok(());
        };
        let _turn = self.shared.gate.lock().await;
        // evcxr's own `:restart` remembers variables that are gone, and the next cell aborts over
        // them. A program that is killed is noticed by the cell after it, which forgets them.
        process.interrupt().await;
        let ended = self
            .run(&process, marks::HOOK, Shown::Nothing, cancel)
            .await;
        match ended {
            Ended::ProgramLost(_) | Ended::Well => process.program_is_new(),
            ended => self.settle(&process, ended)?,
        }
        output.text("The program of the Rust cells was started again: variables are gone, items and dependencies stay.");
        Ok(())
    }

    /// Ends the engine; the next Rust cell starts a fresh one.
    pub async fn stop(&self) -> bool {
        let slot = std::mem::replace(&mut *self.slot(), Slot::Absent);
        match slot {
            Slot::Ready(process) => {
                process.stop().await;
                true
            }
            Slot::Starting(mut starting, stop) => {
                stop.cancel();
                // It may be ready by now; else it ends when it is, for nobody holds it.
                let outcome = starting.borrow_and_update().clone();
                if let Some(Ok(process)) = outcome {
                    process.stop().await;
                }
                true
            }
            Slot::Absent => false,
        }
    }

    fn environment(&self) -> std::sync::MutexGuard<'_, Environment> {
        self.shared
            .environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.shared
            .slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> Option<Arc<Process>> {
        let mut slot = self.slot();
        // One that was started without a cell has nobody who waits for it.
        let started = match &*slot {
            Slot::Starting(starting, _) => starting.borrow().clone(),
            _ => None,
        };
        if let Some(Ok(process)) = started {
            *slot = Slot::Ready(process);
        }
        match &*slot {
            Slot::Ready(process) if process.is_alive() => Some(process.clone()),
            _ => None,
        }
    }

    /// The engine, started if need be, with a line in the cell that says so.
    async fn ensure(
        &self,
        code: &str,
        output: &Output,
        cancel: &CancellationToken,
    ) -> Result<Arc<Process>, Failure> {
        let (lost, mut starting) = {
            let mut slot = self.slot();
            let lost = match &*slot {
                Slot::Ready(process) if process.is_alive() => return Ok(process.clone()),
                Slot::Ready(process) => process.post_mortem(),
                Slot::Starting(..) | Slot::Absent => None,
            };
            (lost, self.starting(&mut slot, code, Some(output)))
        };
        let lost = lost.map(|how| {
            format!(
                "The Rust engine had ended ({}): variables, items and dependencies are gone. ",
                first_line(&how)
            )
        });
        let lost = lost.unwrap_or_default();
        let began = Instant::now();
        let id = output.display(Bundle::text(format!("{lost}Starting the Rust engine …")));
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        let outcome = loop {
            tokio::select! {
                outcome = settled(&mut starting) => break outcome,
                _ = ticks.tick() => {
                    let seconds = began.elapsed().as_secs();
                    if seconds > 0 {
                        let text = format!("{lost}Starting the Rust engine … {seconds} s");
                        output.update(&id, Bundle::text(text));
                    }
                }
                () = cancel.cancelled() => {
                    output.update(&id, Bundle::text(format!("{lost}The Rust engine is starting.")));
                    return Err(Failure::interrupted("the Rust engine goes on starting"));
                }
            }
        };
        match self.started(outcome) {
            Ok(process) => {
                let seconds = began.elapsed().as_secs_f64();
                output.update(
                    &id,
                    Bundle::text(format!("{lost}The Rust engine started in {seconds:.1} s.")),
                );
                Ok(process)
            }
            Err(error) => {
                output.update(
                    &id,
                    Bundle::text(format!("{lost}The Rust engine did not start.")),
                );
                Err(Failure::new("EngineError", error.to_string()).with_hint(error.hint()))
            }
        }
    }

    /// The start under way, or a new one.
    fn starting(&self, slot: &mut Slot, code: &str, output: Option<&Output>) -> Starting {
        if let Slot::Starting(starting, _) = slot {
            return starting.clone();
        }
        let stop = CancellationToken::new();
        let starting = self.begin(helper::is_named(code), output.cloned(), stop.clone());
        *slot = Slot::Starting(starting.clone(), stop);
        starting
    }

    /// Takes over what a start led to.
    fn started(
        &self,
        outcome: Option<Result<Arc<Process>, StartError>>,
    ) -> Result<Arc<Process>, StartError> {
        let outcome =
            outcome.unwrap_or_else(|| Err(StartError::System("it was stopped".to_owned())));
        *self.slot() = match &outcome {
            Ok(process) => Slot::Ready(process.clone()),
            Err(_) => Slot::Absent,
        };
        outcome
    }

    fn begin(&self, with_crate: bool, output: Option<Output>, stop: CancellationToken) -> Starting {
        let (sender, receiver) = watch::channel(None);
        let engine = self.clone();
        tokio::spawn(async move {
            let outcome = engine.start(with_crate, output.as_ref(), &stop).await;
            let _ = sender.send(Some(outcome));
        });
        receiver
    }

    /// A new engine; one whose first cell names the crate has it from the start, and its analyser
    /// reads the standard library once, together with the crate.
    async fn start(
        &self,
        with_crate: bool,
        output: Option<&Output>,
        stop: &CancellationToken,
    ) -> Result<Arc<Process>, StartError> {
        let environment = self.environment().clone();
        if with_crate {
            let process = Arc::new(Process::start(&environment, Library::Later).await?);
            let shown = output.map_or(Shown::Nothing, Shown::Builds);
            let equipped = self.equip(&process, shown, stop).await;
            if equipped.is_ok() {
                return Ok(process);
            }
            if stop.is_cancelled() {
                return Err(StartError::System("it was stopped".to_owned()));
            }
            // It never read the library. The cell tells what was wrong, on the next one.
            process.kill();
        }
        Ok(Arc::new(
            Process::start(&environment, Library::AtOnce).await?,
        ))
    }

    /// Hidden cells before a visible one: the panic hook after every start of the program, and
    /// the crate `katlab` before the first cell that names it.
    async fn prepare(
        &self,
        process: &Arc<Process>,
        code: &str,
        shown: Shown<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        if helper::is_named(code) && !process.equipped.load(Ordering::SeqCst) {
            match self.equip(process, shown, cancel).await {
                Ok(()) => {}
                Err(failure)
                    if failure.name == crate::failure::INTERRUPTED || !process.is_alive() =>
                {
                    return Err(failure);
                }
                Err(failure) => {
                    if let Shown::Builds(output) = shown {
                        output.warn(format!(
                            "the crate `katlab` is not available to this cell: {}",
                            failure.message
                        ));
                    }
                }
            }
        }
        if !process.hooked.load(Ordering::SeqCst) {
            let ended = self.run(process, marks::HOOK, Shown::Nothing, cancel).await;
            self.settle(process, ended)?;
            process.hooked.store(true, Ordering::SeqCst);
        }
        let variables = self.environment().variables.clone();
        let news = {
            let told = process.told.lock().unwrap_or_else(PoisonError::into_inner);
            news(&told, &variables)
        };
        if let Some(news) = news {
            let ended = self.run(process, &news, Shown::Nothing, cancel).await;
            self.settle(process, ended)?;
            *process.told.lock().unwrap_or_else(PoisonError::into_inner) = variables;
        }
        Ok(())
    }

    /// Adds the crate `katlab` to what cells depend on, and sets the panic hook on the way: every
    /// hidden cell costs a build.
    async fn equip(
        &self,
        process: &Arc<Process>,
        shown: Shown<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let helper = self.environment().helper.clone();
        let directory = helper.unpack().map_err(|error| {
            Failure::new(
                "EngineError",
                format!(
                    "its sources could not be written to {}: {error}",
                    helper.directory().display()
                ),
            )
        })?;
        let directory = directory.display().to_string();
        let directory = directory.replace('\\', "\\\\").replace('"', "\\\"");
        // A hook of the person's own, set since, stays.
        let hook = match process.hooked.load(Ordering::SeqCst) {
            true => "",
            false => marks::HOOK,
        };
        let code =
            format!(":dep katlab = {{ path = \"{directory}\" }}\nuse katlab::Shown as _;\n{hook}");
        let ended = self.run(process, &code, shown, cancel).await;
        self.settle(process, ended)?;
        process.hooked.store(true, Ordering::SeqCst);
        process.equipped.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn run(
        &self,
        process: &Arc<Process>,
        code: &str,
        shown: Shown<'_>,
        cancel: &CancellationToken,
    ) -> Ended {
        request::run(process, code, shown, cancel, &self.shared.hinted).await
    }

    fn settle(&self, process: &Arc<Process>, ended: Ended) -> Result<(), Failure> {
        match ended {
            Ended::Well => Ok(()),
            Ended::Failed(failure) => Err(failure),
            Ended::ProgramLost(failure) => {
                process.program_is_new();
                Err(failure)
            }
            Ended::EngineAbsent => Err(Failure::new("EngineError", "the Rust engine ended")),
            Ended::EngineLost(failure) => {
                process.kill();
                let mut slot = self.slot();
                if matches!(&*slot, Slot::Ready(current) if Arc::ptr_eq(current, process)) {
                    *slot = Slot::Absent;
                }
                Err(failure)
            }
        }
    }
}

/// Rust that brings the environment of the program up to date; `None` when it is.
fn news(told: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> Option<String> {
    let set = wanted
        .iter()
        .filter(|(name, value)| told.get(*name) != Some(*value))
        .map(|(name, value)| format!("std::env::set_var({name:?}, {value:?});"));
    let gone = told
        .keys()
        .filter(|name| !wanted.contains_key(*name))
        .map(|name| format!("std::env::remove_var({name:?});"));
    let changes: String = set.chain(gone).collect();
    (!changes.is_empty()).then(|| format!("unsafe {{ {changes} }}"))
}

/// How the start went; `None` when whoever started it is gone.
async fn settled(starting: &mut Starting) -> Option<Result<Arc<Process>, StartError>> {
    starting.wait_for(Option::is_some).await.ok()?.clone()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
