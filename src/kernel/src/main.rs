//! The one binary of katlab: Jupyter kernel, notebook runner, sandbox, and the Rust engine's
//! processes, told apart by arguments and environment.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use katlab_kernel::cli::{Cli, Command, Sandbox};
use katlab_kernel::engine::Engine;
use katlab_kernel::interpreter::Interpreter;
use katlab_kernel::session::Session;
use katlab_kernel::{install, jupyter, run, scratch};
use katlab_lab::home::Home;
use katlab_sandbox::lifecycle::{self, Endpoint, LifecycleError, Status};
use tokio_util::sync::CancellationToken;

/// Objects are read, compared and let go by the thousand, in threads that change: a third of the
/// sandbox's time for a trial went into the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let engine = std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == "--control_file");
    if engine || std::env::var_os("EVCXR_IS_RUNTIME").is_some() {
        end_with_parent();
    }
    evcxr::runtime_hook();
    if engine {
        return match evcxr_jupyter::main() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    // One provider for every TLS connection; an error means that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    logging();
    match act(cli.command) {
        Ok(code) => code,
        Err((message, hint)) => {
            eprintln!("katlab: {message}");
            if let Some(hint) = hint {
                eprintln!("hint: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

type Complaint = (String, Option<String>);

fn act(command: Command) -> Result<ExitCode, Complaint> {
    match command {
        Command::Kernel { connection_file } => {
            on_runtime(async move { jupyter::server::serve(&connection_file, interpreter).await })?
                .map_err(|error| (error.to_string(), None))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(arguments) => {
            let options = run::Options {
                notebook: arguments.notebook,
                output: arguments.output,
                set: arguments.set,
                parameters: arguments.parameters,
                timeout: arguments.timeout,
            };
            let outcome = on_runtime(run::run(options))?
                .map_err(|error| (error.to_string(), error.hint()))?;
            Ok(match outcome {
                run::Outcome::Well => ExitCode::SUCCESS,
                run::Outcome::Failed => ExitCode::FAILURE,
                run::Outcome::Interrupted => ExitCode::from(130),
            })
        }
        Command::Install(place) => {
            let executable = std::env::current_exe().map_err(|error| (error.to_string(), None))?;
            let directory = install::install(&place.target(), &executable)
                .map_err(|error| (error.to_string(), error.hint()))?;
            println!("The katlab kernel is installed in {}", directory.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Sandbox(command) => sandbox(command),
        Command::Uninstall(place) => {
            let directory = install::uninstall(&place.target())
                .map_err(|error| (error.to_string(), error.hint()))?;
            println!("The katlab kernel was removed from {}", directory.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn sandbox(command: Sandbox) -> Result<ExitCode, Complaint> {
    let home = Home::from_env().map_err(|error| (error.to_string(), error.hint()))?;
    home.ensure()
        .map_err(|error| (error.to_string(), error.hint()))?;
    let home = home.path();
    let complain = |error: LifecycleError| (error.to_string(), error.hint());
    match command {
        Sandbox::Serve => {
            let options = lifecycle::Options::new(home);
            on_runtime(async move {
                let stop = CancellationToken::new();
                tokio::spawn(cancel_on_signals(stop.clone()));
                lifecycle::serve(options, stop).await
            })?
            .map_err(complain)?;
        }
        Sandbox::Up => {
            let exe = std::env::current_exe().map_err(|error| (error.to_string(), None))?;
            let endpoint = on_runtime(lifecycle::ensure(home, &exe, &[]))?.map_err(complain)?;
            print!("{}", running(&endpoint));
        }
        Sandbox::Down => {
            let stopped = on_runtime(lifecycle::down(home))?.map_err(complain)?;
            println!(
                "{}",
                if stopped {
                    "The sandbox was stopped."
                } else {
                    "The sandbox does not run."
                }
            );
        }
        Sandbox::Status => match lifecycle::status(home) {
            Status::Running(endpoint) => print!("{}", running(&endpoint)),
            Status::Changing => println!("The sandbox is starting or stopping."),
            Status::Stopped => {
                println!("The sandbox does not run.");
                // As `systemctl is-active` and others: a script can ask.
                return Ok(ExitCode::from(3));
            }
        },
        Sandbox::Reset { yes: false } => {
            let directory = lifecycle::state_dir(home);
            return Err((
                format!(
                    "this removes the sandbox in {}: its experiments, images and running containers",
                    directory.display()
                ),
                Some("add `--yes` to do it".to_owned()),
            ));
        }
        Sandbox::Reset { yes: true } => {
            on_runtime(lifecycle::reset(home))?.map_err(complain)?;
            println!("The sandbox was removed.");
        }
        Sandbox::Kubeconfig => {
            let path = lifecycle::kubeconfig(home);
            if !path.exists() {
                let hint = "`katlab sandbox up` starts it and writes the file".to_owned();
                return Err((
                    format!(
                        "the sandbox has not run yet: there is no {}",
                        path.display()
                    ),
                    Some(hint),
                ));
            }
            println!("{}", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn cancel_on_signals(stop: CancellationToken) {
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
}

fn running(endpoint: &Endpoint) -> String {
    format!(
        "The sandbox runs (process {}).\n  API server  https://127.0.0.1:{}\n  registry    {}\n  DB manager  127.0.0.1:{}\n  pods        {}\n",
        endpoint.pid,
        endpoint.api_port,
        endpoint.registry_host,
        endpoint.dbmanager_port,
        endpoint.engine
    )
}

/// The interpreter of a kernel. A home that cannot be used must not keep the kernel from coming
/// up, for a notebook would only see that it died: it says so in the first cell instead.
fn interpreter() -> Result<Interpreter, String> {
    let home = Home::from_env();
    match home.and_then(|home| Session::new(home, true)) {
        Ok(session) => on_session(session),
        Err(error) => {
            let scratch = scratch::directory("home")
                .map_err(|second| format!("{error}; {second}"))?
                .keep();
            let session = Session::new(Home::at(scratch), true)
                .map_err(|second| format!("{error}; {second}"))?;
            let hint = error.hint().unwrap_or_default();
            Ok(on_session(session)?.with_notice(format!(
                "{error}. Settings, history and the sandbox of this kernel last only as long as it does; {hint}"
            )))
        }
    }
}

fn on_session(session: Arc<Session>) -> Result<Interpreter, String> {
    let executable = session.executable().map_err(|error| error.message)?;
    let engine = Engine::new(executable, session.home().path());
    Ok(Interpreter::new(session, engine))
}

fn on_runtime<T>(future: impl Future<Output = T>) -> Result<T, Complaint> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        // As the main thread has: what a cell's call does is one deep future, and large where it is not optimised.
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
        .map_err(|error| (format!("the runtime could not be started: {error}"), None))?;
    let outcome = runtime.block_on(async {
        let outcome = future.await;
        katlab_lab::aftermath::finished(Duration::from_secs(10)).await;
        outcome
    });
    // A thread that waits for a terminal must not keep the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    Ok(outcome)
}

/// Warnings go to stderr; `KATLAB_LOG` asks for more, as `info` or `katlab_kernel=debug`.
fn logging() {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false);
    let filter = match std::env::var("KATLAB_LOG")
        .ok()
        .and_then(|filter| filter.parse().ok())
    {
        Some(filter) => filter,
        // The engine's sockets try again whenever the engine ends, which is no news.
        None => Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("zeromq", LevelFilter::ERROR)
            // Each failed attempt of a watch; the cell says it once, in words.
            .with_target("kube_client", LevelFilter::OFF),
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(filter)
        .init();
}

/// The engine and the program of the cells end when whoever started them is gone, even by
/// SIGKILL: a loop in a cell would otherwise run on, unseen.
fn end_with_parent() {
    let parent = std::os::unix::process::parent_id();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(500));
            if std::os::unix::process::parent_id() != parent {
                // SAFETY: _exit ends the process without running anything of it.
                unsafe { libc::_exit(1) };
            }
        }
    });
}
