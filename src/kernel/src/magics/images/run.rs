//! `:run`: a container, to its end.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use katlab_lab::docker;
use katlab_lab::docker::run::{Event, Ran, Run as Wanted, parse_memory};
use katlab_lab::settings::is_secret_name;

use super::{EngineArgs, Explained, engine, short};
use crate::event::{Bundle, Stream};
use crate::magics::{Context, Magic, MagicError};
use crate::output::Output;
use crate::render::age;
use crate::render::live::Live;
use crate::render::status::Status;

/// Run a container of an image and show what it prints
///
/// The container is removed after its end, and when you interrupt the cell: it is first asked to end
/// (as Ctrl-C would), then made to. A cell has no keyboard to give to a program, so `-i` changes
/// nothing; `-t` gives the program a terminal to print on, which makes many print line by line.
#[derive(Debug, Parser)]
pub struct Run {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The command to run instead of the image's own
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    command: Vec<String>,
    /// A variable for the program; NAME alone passes the setting or variable of that name on
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A folder, file or volume to put into the container; `./data` is the notebook's
    #[arg(short, long, value_name = "SOURCE:TARGET[:ro]")]
    volume: Vec<String>,
    /// The directory to start in
    #[arg(short, long, value_name = "PATH")]
    workdir: Option<String>,
    /// The program to start instead of the image's own; an empty one takes it away
    #[arg(long, value_name = "PROGRAM")]
    entrypoint: Option<String>,
    /// The container's name
    #[arg(long)]
    name: Option<String>,
    /// The network: bridge, host, none, or the name of one
    #[arg(long, visible_alias = "net")]
    network: Option<String>,
    /// As whom to run, USER or UID:GID
    #[arg(short, long)]
    user: Option<String>,
    /// How many processors it may use, such as 0.5
    #[arg(long, value_name = "N")]
    cpus: Option<f64>,
    /// How much memory it may use, such as 512m
    #[arg(short, long, value_name = "AMOUNT")]
    memory: Option<String>,
    /// Accepted, as it stands in many examples; a cell has no keyboard to pass on
    #[arg(short, long)]
    interactive: bool,
    /// Give the program a terminal to print on
    #[arg(short, long)]
    tty: bool,
    /// Go on without waiting for its end
    #[arg(short, long)]
    detach: bool,
    /// Accepted; the container is removed after its end anyway
    #[arg(long)]
    rm: bool,
    /// Keep the container after its end
    #[arg(long, conflicts_with = "rm")]
    keep: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Magic for Run {
    const NAME: &'static str = "run";
    // Time to ask the program to end and to remove its container.
    const GRACE: Duration = Duration::from_millis(900);

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let wanted = Wanted {
            image: self.image.clone(),
            command: self.command.clone(),
            env: variables(ctx, &self.env).await?,
            volumes: self.volume.clone(),
            directory: Some(ctx.session.directory()),
            workdir: self.workdir.clone(),
            entrypoint: self.entrypoint.clone(),
            name: self.name.clone(),
            network: self.network.clone(),
            user: self.user.clone(),
            cpus: self.cpus,
            memory: self.memory.as_deref().map(parse_memory).transpose()?,
            terminal: self.tty,
            keep: self.keep,
            detach: self.detach,
        };
        let engine = engine(ctx, &self.engine).await?;
        let ran = follow(ctx, &engine, &wanted, &self.image, &mut |_, _| ()).await?;
        finish(ctx, &ran, &self.image)
    }

    fn explain(&self) -> Vec<String> {
        let mut line = Explained::new(&self.engine, "run");
        line.flag("--rm", !self.keep && !self.detach)
            .flag("-t", self.tty)
            .flag("-d", self.detach)
            .option("-e", &self.env)
            .option("-v", &self.volume)
            .option("-w", &self.workdir)
            .option("-u", &self.user)
            .option("--entrypoint", &self.entrypoint)
            .option("--name", &self.name)
            .option("--network", &self.network)
            .option("--cpus", self.cpus)
            .option("--memory", &self.memory)
            .words([&self.image])
            .words(&self.command);
        line.line()
    }
}

/// The `docker run` that runs the same.
pub fn command_line(wanted: &Wanted) -> String {
    let mut line = Explained::new(&EngineArgs::default(), "run");
    // The name alone passes a variable on.
    let env: Vec<&str> = wanted
        .env
        .iter()
        .map(|one| match one.split_once('=') {
            Some((name, _)) if is_secret_name(name) => name,
            _ => one,
        })
        .collect();
    line.flag("--rm", !wanted.keep && !wanted.detach)
        .option("-e", &env)
        .option("-w", &wanted.workdir)
        .option("-u", &wanted.user)
        .option("--memory", wanted.memory)
        .option("--entrypoint", &wanted.entrypoint)
        .words([&wanted.image])
        .words(&wanted.command);
    line.0
}

/// Runs a container to its end, or to the start of one that goes on, and shows what it prints; `heard` is
/// told the same. `title` is what the image is called.
///
/// # Errors
/// When it cannot be started, or the person interrupts: the container is stopped and removed then.
pub async fn follow(
    ctx: &Context,
    engine: &docker::Engine,
    wanted: &Wanted,
    title: &str,
    heard: &mut (dyn FnMut(Stream, &str) + Send),
) -> Result<Ran, MagicError> {
    let mut container = None;
    let silence = Silence::default();
    let mut report = |event| {
        let (stream, text) = match event {
            Event::Started { name, .. } => {
                silence.begin(title, &name);
                container = Some(name);
                return;
            }
            Event::Stdout(text) => (Stream::Stdout, text),
            Event::Stderr(text) => (Stream::Stderr, text),
        };
        silence.end();
        heard(stream, &text);
        ctx.output.stream(stream, text);
    };
    let outcome = {
        let mut run = pin!(engine.run(wanted, &mut report, &ctx.cancel));
        let mut ticks = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                biased;
                outcome = &mut run => break outcome,
                _ = ticks.tick() => silence.tell(&ctx.output),
            }
        }
    };
    drop(silence);
    match outcome {
        Ok(ran) => Ok(ran),
        Err(docker::Error::Interrupted) => {
            if let Some(name) = container {
                ctx.output
                    .note(format!("the container {name} was stopped and removed"));
            }
            Err(MagicError::interrupted())
        }
        Err(docker::Error::NotStarted { image, why, code }) => {
            let error = docker::Error::NotStarted { image, why, code };
            let message = format!("{error} (exit code {code})");
            Err(MagicError::new(message).maybe_hint(error.hint()))
        }
        Err(error) => Err(error.into()),
    }
}

/// How often a silent program's sign of life is renewed.
const TICK: Duration = Duration::from_millis(250);
/// How long a program may be silent before a sign of life is shown in its place.
const SILENT: Duration = Duration::from_secs(1);

/// A line that says that a program runs, from a second after its start to its first own word.
#[derive(Default)]
struct Silence(Mutex<Option<(String, Instant, Option<Live>)>>);

impl Silence {
    fn lock(&self) -> MutexGuard<'_, Option<(String, Instant, Option<Live>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, image: &str, name: &str) {
        *self.lock() = Some((format!("{image} runs as {name}"), Instant::now(), None));
    }

    fn tell(&self, output: &Output) {
        let mut state = self.lock();
        let Some((what, started, live)) = &mut *state else {
            return;
        };
        let silent = started.elapsed();
        if silent < SILENT {
            return;
        }
        let text = format!("{what}, silent for {} s", silent.as_secs());
        let bundle =
            Bundle::text(Status::Running.label(&text)).with_html(Status::Running.label_html(&text));
        match live {
            Some(live) => live.update(bundle),
            None => *live = Some(Live::start(output, bundle)),
        }
    }

    fn end(&self) {
        if let Some((.., Some(live))) = self.lock().take() {
            live.finish(Bundle::blank());
        }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.end();
    }
}

async fn variables(ctx: &Context, given: &[String]) -> Result<Vec<String>, MagicError> {
    let mut variables = Vec::new();
    for variable in given {
        if variable.contains('=') {
            variables.push(variable.clone());
            continue;
        }
        match ctx.value(variable).await? {
            Some(value) => variables.push(format!("{variable}={value}")),
            None => return Err(ctx.session.unknown_setting(variable)),
        }
    }
    Ok(variables)
}

/// Says how a container ended, or how one that goes on is ended.
///
/// # Errors
/// When its exit code is not zero.
pub fn finish(ctx: &Context, ran: &Ran, title: &str) -> Result<(), MagicError> {
    let Some(code) = ran.code else {
        ctx.output.done(format!(
            "{title} runs as container {} ({})",
            ran.name,
            short(&ran.id)
        ));
        ctx.output.note(format!(
            "it goes on by itself; end it with `!docker rm -f {}`",
            ran.name
        ));
        return Ok(());
    };
    let took = age::took(ran.duration);
    if code == 0 {
        ctx.output
            .done(format!("{title} ended with exit code 0 after {took}"));
        return Ok(());
    }
    let meaning = ran
        .explanation()
        .map(|meaning| format!(": {meaning}"))
        .unwrap_or_default();
    Err(MagicError::new(format!(
        "{title} ended with exit code {code} after {took}{meaning}"
    ))
    .hint("what it printed above tells more"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::output::testing::Recorder;
    use crate::redaction::Redactor;

    #[test]
    fn a_silent_program_shows_a_sign_of_life_until_its_first_word() {
        let recorder = Arc::new(Recorder::default());
        let output = Output::new(recorder.clone(), Arc::new(Redactor::default()));
        let silence = Silence::default();
        silence.tell(&output);
        silence.begin("a:1", "busy_box");
        silence.tell(&output);
        assert!(recorder.events().is_empty(), "too early");
        let earlier = Instant::now().checked_sub(Duration::from_secs(3)).unwrap();
        silence.lock().as_mut().unwrap().1 = earlier;
        silence.tell(&output);
        assert_eq!(
            recorder.plain().trim(),
            "● a:1 runs as busy_box, silent for 3 s"
        );
        silence.end();
        silence.tell(&output);
        assert!(recorder.displays()[0].is_blank() && recorder.displays().len() == 1);
    }
}
