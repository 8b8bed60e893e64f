//! `katlab run NOTEBOOK`: executes a notebook in a terminal, without Jupyter.
//!
//! The same interpreter and the same magics as in a notebook, with another sink: it prints what a
//! reader would see, and records the outputs for the executed notebook.

pub mod notebook;
pub mod parameters;
pub mod terminal;

mod recorder;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use katlab_lab::home::Home;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use self::notebook::{Notebook, NotebookError};
use self::parameters::ParameterError;
use self::recorder::Recorder;
use self::terminal::Terminal;
use crate::engine::{Engine, WhenBusy};
use crate::event::Sink;
use crate::failure::{Failure, INTERRUPTED};
use crate::interpreter::Interpreter;
use crate::session::Session;

/// How long writing what is kept of experiments may take at the end.
const KEEPING: Duration = Duration::from_secs(3);

/// What is run, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The notebook.
    pub notebook: PathBuf,
    /// Where the executed notebook goes; beside the notebook as `NAME.executed.ipynb` when unset.
    pub output: Option<PathBuf>,
    /// Settings for this run.
    pub set: Vec<(String, String)>,
    /// A YAML file with more of them.
    pub parameters: Option<PathBuf>,
    /// How long one cell may take.
    pub timeout: Option<Duration>,
}

/// Why a run could not begin, or its result not be kept.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The notebook is of no use.
    #[error(transparent)]
    Notebook(#[from] NotebookError),
    /// The parameters are of no use.
    #[error(transparent)]
    Parameters(#[from] ParameterError),
    /// The session could not be made.
    #[error("{message}")]
    Session {
        /// Why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl RunError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Notebook(error) => error.hint(),
            Self::Parameters(error) => error.hint(),
            Self::Session { hint, .. } => hint.clone(),
        }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every cell ran.
    Well,
    /// A cell failed.
    Failed,
    /// A person interrupted it.
    Interrupted,
}

/// Runs a notebook. Whatever happens, the outputs so far are written.
///
/// # Errors
/// When the notebook cannot be read or the executed one not be written.
pub async fn run(options: Options) -> Result<Outcome, RunError> {
    let source = absolute(&options.notebook);
    let target = match &options.output {
        Some(path) => absolute(path),
        None => source.with_extension("executed.ipynb"),
    };
    let mut notebook = Notebook::read(&source)?;
    let mut settings = match &options.parameters {
        Some(path) => parameters::read(path)?,
        None => Vec::new(),
    };
    settings.extend(options.set);
    notebook::check_target(&target)?;

    let interpreter = interpreter(&source, settings)?;
    let terminal = Arc::new(Terminal::new(std::io::stdout().is_terminal()));
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signals(stop.clone()));

    let began = Instant::now();
    let cells = notebook.begin();
    let mut outcome = Outcome::Well;
    let mut count = 0;
    let recorder = Arc::new(Recorder::new(terminal.clone()));
    for (position, index) in cells.iter().copied().enumerate() {
        for heading in notebook.headings_before(index) {
            terminal.heading(&heading);
        }
        let code = notebook.source(index);
        if code.trim().is_empty() || notebook.has_tag(index, "skip-execution") {
            continue;
        }
        count += 1;
        terminal.begin(position + 1, cells.len(), &code);
        recorder.begin(index);
        let result = one(
            &interpreter,
            &code,
            recorder.clone(),
            &stop,
            options.timeout,
        )
        .await;
        terminal.end();
        if let Err(failure) = &result {
            recorder.error(failure);
        }
        recorder.store(&mut notebook);
        notebook.executed(index, count);
        // After every cell: a run that is killed leaves what it had.
        notebook.write(&target)?;
        if let Err(failure) = result {
            terminal.error(&failure);
            if notebook.has_tag(index, "raises-exception") && !stop.is_cancelled() {
                continue;
            }
            outcome = if stop.is_cancelled() {
                Outcome::Interrupted
            } else {
                Outcome::Failed
            };
            terminal.failed(position + 1, cells.len(), &target);
            break;
        }
    }
    notebook.write(&target)?;
    tokio::join!(
        interpreter.engine().stop(),
        interpreter.session().stop_keeping(KEEPING)
    );
    if outcome == Outcome::Well {
        terminal.summary(count, began.elapsed(), &target);
    }
    Ok(outcome)
}

fn interpreter(source: &Path, settings: Vec<(String, String)>) -> Result<Interpreter, RunError> {
    let home = Home::from_env().map_err(|error| RunError::Session {
        hint: error.hint(),
        message: error.to_string(),
    })?;
    let session = Session::new(home, false).map_err(|error| RunError::Session {
        hint: error.hint(),
        message: error.to_string(),
    })?;
    // A notebook's relative paths start at the notebook, as in Jupyter.
    if let Some(directory) = source.parent() {
        session.set_directory(directory.to_owned());
    }
    for (name, value) in settings {
        session
            .set_here(&name, SecretString::from(value))
            .map_err(|error| RunError::Session {
                hint: error.hint(),
                message: error.to_string(),
            })?;
    }
    let executable = session.executable().map_err(|error| RunError::Session {
        message: error.message,
        hint: error.hint,
    })?;
    let engine = Engine::new(executable, session.home().path());
    Ok(Interpreter::new(session, engine))
}

async fn one(
    interpreter: &Interpreter,
    code: &str,
    sink: Arc<dyn Sink>,
    stop: &CancellationToken,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let cancel = stop.child_token();
    let run = interpreter.execute(code, sink, &cancel, WhenBusy::Wait);
    let Some(limit) = timeout else {
        return run.await;
    };
    tokio::pin!(run);
    tokio::select! {
        result = &mut run => result,
        () = tokio::time::sleep(limit) => {
            cancel.cancel();
            let _ = run.await;
            let message = format!("the cell did not end within {} s (--timeout)", limit.as_secs_f64());
            Err(Failure::new("Timeout", message))
        }
    }
    .map_err(|failure| {
        if failure.name == INTERRUPTED && !stop.is_cancelled() {
            Failure::new("Timeout", failure.message)
        } else {
            failure
        }
    })
}

/// The first interrupt ends the running cell and the run; the second ends the process.
async fn stop_on_signals(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupts), Ok(mut terminations)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
    stop.cancel();
    interrupts.recv().await;
    // SAFETY: signal and raise only restore and use the default action for this process.
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_DFL);
        libc::raise(libc::SIGINT);
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
