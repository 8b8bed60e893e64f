//! Running a container to its end, with its output as it comes.

use std::time::{Duration, Instant};

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, KillContainerOptions, RemoveContainerOptions,
    WaitContainerOptions,
};
use futures::StreamExt;
use futures::future::OptionFuture;
use tokio_util::sync::CancellationToken;

use super::{Engine, Error, Result};
use crate::aftermath;

mod options;
mod text;

use options::bind;
pub use options::parse_memory;
use text::Text;

/// The label that containers of ours carry.
pub const LABEL: &str = "katlab.run";

/// How long a program may take to end after it was asked to.
const GRACE: Duration = Duration::from_millis(400);

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The image, by name or id.
    pub image: String,
    /// The command; the image's own when empty.
    pub command: Vec<String>,
    /// Environment, `NAME=VALUE` each.
    pub env: Vec<String>,
    /// Volumes, `SOURCE:TARGET[:ro]` each; a source that begins with `.` or `~` is a path.
    pub volumes: Vec<String>,
    /// The folder that relative sources of volumes start from; this process's own when absent.
    pub directory: Option<std::path::PathBuf>,
    /// The working directory in the container.
    pub workdir: Option<String>,
    /// The program to start instead of the image's own; an empty one takes it away.
    pub entrypoint: Option<String>,
    /// The container's name.
    pub name: Option<String>,
    /// The network to join: `bridge`, `host`, `none` or a name.
    pub network: Option<String>,
    /// As whom to run.
    pub user: Option<String>,
    /// How many processors it may use.
    pub cpus: Option<f64>,
    /// How much memory it may use, in bytes.
    pub memory: Option<i64>,
    /// Give the program a terminal, so that it prints line by line and in colour.
    pub terminal: bool,
    /// Keep the container after its end.
    pub keep: bool,
    /// Return as soon as it runs.
    pub detach: bool,
}

/// What happens during a run, as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The container runs.
    Started {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
    /// Text of its ordinary output.
    Stdout(String),
    /// Text of its error output.
    Stderr(String),
}

/// A run that ended, or goes on detached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The container's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image.
    pub image: String,
    /// Its exit code; nothing while it goes on.
    pub code: Option<i64>,
    /// Whether it was killed for want of memory.
    pub out_of_memory: bool,
    /// From its start to its end.
    pub duration: Duration,
    /// Whether the container is still there.
    pub kept: bool,
}

impl Ran {
    /// What the exit code means, when it means something in particular.
    pub fn explanation(&self) -> Option<String> {
        let code = self.code?;
        if self.out_of_memory {
            return Some(
                "it was killed because it used more memory than it may: give it more with --memory"
                    .to_owned(),
            );
        }
        Some(match code {
            0 => return None,
            125 => "the engine could not run it".to_owned(),
            126 => "its command is there but cannot be executed".to_owned(),
            127 => "its command does not exist in the image".to_owned(),
            137 => {
                "it was killed (SIGKILL): by `docker kill`, or by the machine for want of memory"
                    .to_owned()
            }
            139 => "it accessed memory that is not its own (SIGSEGV)".to_owned(),
            143 => "it was asked to end (SIGTERM)".to_owned(),
            code @ 129..=165 => format!("it was ended by signal {}", code - 128),
            _ => return None,
        })
    }
}

impl Engine {
    /// Runs a container to its end.
    ///
    /// A container that is interrupted is stopped and removed before this returns; one whose
    /// future is dropped is removed in the background.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::NotStarted`], [`Error::Interrupted`]. A program that
    /// fails is no error here: see [`Ran::code`].
    pub async fn run(
        &self,
        run: &Run,
        report: &mut (dyn FnMut(Event) + Send),
        cancel: &CancellationToken,
    ) -> Result<Ran> {
        let body = body(run)?;
        let options = CreateContainerOptions {
            name: run.name.clone(),
            ..Default::default()
        };
        // A request that is cut off may have made a container whose id nobody knows.
        let engine = self.clone();
        let created = aftermath::spawn(async move {
            let created = engine
                .bollard()
                .create_container(Some(options), body)
                .await?;
            Ok(Guard {
                engine,
                id: created.id,
                armed: true,
            })
        })
        .await
        .unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic()));
        let mut guard = match created {
            Ok(guard) => guard,
            Err(error) => return Err(self.not_created(run, error).await),
        };
        let outcome = self.run_created(run, &guard.id, report, cancel).await;
        let stays = match &outcome {
            Ok(_) => run.keep || run.detach,
            Err(_) => false,
        };
        if !stays && let Err(error) = self.discard(&guard.id).await {
            // Why the run failed says more than why the tidying after it did.
            return Err(outcome.err().unwrap_or(error));
        }
        guard.armed = false;
        outcome
    }

    async fn run_created(
        &self,
        run: &Run,
        id: &str,
        report: &mut (dyn FnMut(Event) + Send),
        cancel: &CancellationToken,
    ) -> Result<Ran> {
        let docker = self.bollard();
        if cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        // Attached before the start, so that not a line is lost.
        let options = AttachContainerOptions {
            stream: true,
            stdout: true,
            stderr: true,
            ..Default::default()
        };
        let mut output = match run.detach {
            true => None,
            false => Some(
                docker
                    .attach_container(id, Some(options))
                    .await
                    // Podman prepares the container now, and finds that there is no such command.
                    .map_err(|e| not_started(run, self.refused("attach to the container", e)))?
                    .output,
            ),
        };
        let started = Instant::now();
        if let Err(error) = docker.start_container(id, None).await {
            return Err(not_started(run, self.refused("start the container", error)));
        }
        let inspected = self
            .transport()
            .inspect_container(id)
            .await
            .map_err(|e| self.refused("inspect the container", e))?;
        let name = inspected
            .name
            .unwrap_or_default()
            .trim_start_matches('/')
            .to_owned();
        report(Event::Started {
            id: id.to_owned(),
            name: name.clone(),
        });
        let mut ran = Ran {
            id: id.to_owned(),
            name,
            image: run.image.clone(),
            code: None,
            out_of_memory: false,
            duration: started.elapsed(),
            kept: run.keep || run.detach,
        };
        if run.detach {
            return Ok(ran);
        }
        let (mut stdout, mut stderr) = (Text::new(run.terminal), Text::new(run.terminal));
        if let Some(output) = &mut output {
            let mut deadline = None;
            loop {
                let piece = tokio::select! {
                    piece = output.next() => piece,
                    () = cancel.cancelled(), if deadline.is_none() => {
                        // As Ctrl-C in a terminal would; what it prints on that is still shown.
                        let options = KillContainerOptions { signal: "SIGINT".to_owned() };
                        let _ = docker.kill_container(id, Some(options)).await;
                        deadline = Some(tokio::time::Instant::now() + GRACE);
                        continue;
                    }
                    Some(()) = OptionFuture::from(deadline.map(tokio::time::sleep_until)) => break,
                };
                match piece {
                    Some(Ok(LogOutput::StdErr { message })) => {
                        emit(&mut stderr, &message, Event::Stderr, report)
                    }
                    Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => {
                        emit(&mut stdout, &message, Event::Stdout, report);
                    }
                    Some(Ok(LogOutput::StdIn { .. })) => {}
                    Some(Err(error)) => {
                        return Err(self.refused("follow the container's output", error));
                    }
                    None => break,
                }
            }
        }
        for (text, event) in [
            (stdout.rest(), Event::Stdout as fn(String) -> Event),
            (stderr.rest(), Event::Stderr),
        ] {
            if !text.is_empty() {
                report(event(text));
            }
        }
        if cancel.is_cancelled() {
            return Err(Error::Interrupted);
        }
        // A program may close its output and go on.
        let mut waiting = docker.wait_container(
            id,
            Some(WaitContainerOptions {
                condition: "not-running".to_owned(),
            }),
        );
        tokio::select! {
            () = cancel.cancelled() => return Err(Error::Interrupted),
            waited = waiting.next() => match waited {
                // bollard makes an error of a code that is not zero; here it is the answer.
                Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. })) => {}
                Some(Err(error)) => return Err(self.refused("wait for the container", error)),
                None => return Err(Error::Gone { during: "a run".to_owned(), why: "the answer ended early".to_owned() }),
            },
        }
        ran.duration = started.elapsed();
        let inspected = self
            .transport()
            .inspect_container(id)
            .await
            .map_err(|e| self.refused("inspect the container", e))?;
        if let Some(state) = inspected.state {
            ran.code = state.exit_code;
            ran.out_of_memory = state.oom_killed.unwrap_or(false);
        }
        Ok(ran)
    }

    /// Stops and removes a container, whatever it is doing.
    async fn discard(&self, id: &str) -> Result<()> {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            ..Default::default()
        };
        match self.bollard().remove_container(id, Some(options)).await {
            // Gone already, or going: both are what was wanted.
            Ok(())
            | Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => Ok(()),
            Err(error) => Err(self.refused("remove the container", error)),
        }
    }

    async fn not_created(&self, run: &Run, error: bollard::errors::Error) -> Error {
        match error {
            bollard::errors::Error::DockerResponseServerError {
                status_code: 404,
                message,
            } if message.to_ascii_lowercase().contains("no such image") => {
                self.no_such_image(&run.image).await
            }
            // Podman says 500 where Docker says 409.
            bollard::errors::Error::DockerResponseServerError {
                status_code,
                message,
            } if status_code == 409 || message.contains("is already in use") => Error::Option {
                option: format!("--name {}", run.name.as_deref().unwrap_or_default()),
                why: message,
                hint: "Choose another name, or remove the container that has it.".to_owned(),
            },
            other => not_started(run, self.refused("create the container", other)),
        }
    }
}

/// The exit codes that the docker CLI would give.
fn not_started(run: &Run, error: Error) -> Error {
    match error {
        Error::Refused { why, .. } => {
            let lower = why.to_ascii_lowercase();
            let code = if lower.contains("executable file not found")
                || lower.contains("no such file or directory") && lower.contains("exec")
            {
                127
            } else if lower.contains("permission denied") || lower.contains("is a directory") {
                126
            } else {
                125
            };
            Error::NotStarted {
                image: run.image.clone(),
                why,
                code,
            }
        }
        other => other,
    }
}

fn emit(
    text: &mut Text,
    bytes: &[u8],
    event: fn(String) -> Event,
    report: &mut (dyn FnMut(Event) + Send),
) {
    let decoded = text.take(bytes);
    if !decoded.is_empty() {
        report(event(decoded));
    }
}

/// Removes a container that nobody waits for any more.
struct Guard {
    engine: Engine,
    id: String,
    armed: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        // Without a runtime there is nothing left that could talk to the engine.
        if tokio::runtime::Handle::try_current().is_ok() {
            let (engine, id) = (self.engine.clone(), self.id.clone());
            aftermath::spawn(async move {
                if let Err(error) = engine.discard(&id).await {
                    tracing::warn!(container = %id, %error, "a container could not be removed");
                }
            });
        }
    }
}

fn body(run: &Run) -> Result<ContainerCreateBody> {
    let binds = run
        .volumes
        .iter()
        .map(|volume| bind(volume, run.directory.as_deref()))
        .collect::<Result<Vec<_>>>()?;
    let nano_cpus = match run.cpus {
        Some(cpus) if cpus.is_finite() && cpus > 0.0 => Some((cpus * 1e9).round() as i64),
        Some(cpus) => {
            return Err(Error::Option {
                option: format!("--cpus {cpus}"),
                why: "it must be more than nothing".to_owned(),
                hint: "For example --cpus 0.5 for half a processor.".to_owned(),
            });
        }
        None => None,
    };
    Ok(ContainerCreateBody {
        image: Some(run.image.clone()),
        cmd: (!run.command.is_empty()).then(|| run.command.clone()),
        env: (!run.env.is_empty()).then(|| run.env.clone()),
        working_dir: run.workdir.clone(),
        user: run.user.clone(),
        entrypoint: run
            .entrypoint
            .as_ref()
            .map(|entrypoint| vec![entrypoint.clone()]),
        tty: Some(run.terminal),
        attach_stdout: Some(!run.detach),
        attach_stderr: Some(!run.detach),
        labels: Some(std::collections::HashMap::from([(
            LABEL.to_owned(),
            "1".to_owned(),
        )])),
        host_config: Some(HostConfig {
            binds: (!binds.is_empty()).then_some(binds),
            network_mode: run.network.clone(),
            nano_cpus,
            memory: run.memory,
            // Without this a limit on memory could be passed by swapping as much again.
            memory_swap: run.memory,
            ..Default::default()
        }),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_explains_itself() {
        let ran = |code, out_of_memory| Ran {
            id: String::new(),
            name: String::new(),
            image: String::new(),
            code: Some(code),
            out_of_memory,
            duration: Duration::ZERO,
            kept: false,
        };
        assert_eq!(ran(0, false).explanation(), None);
        assert_eq!(ran(1, false).explanation(), None);
        assert!(ran(137, true).explanation().unwrap().contains("--memory"));
        assert!(ran(143, false).explanation().unwrap().contains("SIGTERM"));
        assert!(ran(130, false).explanation().unwrap().contains("signal 2"));
    }
}
