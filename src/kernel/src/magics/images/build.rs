//! `:build`: an image from a folder.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use clap::Parser;
use katlab_lab::docker;
use katlab_lab::docker::build::{Build as Wanted, Built, Event};
use katlab_lab::reference::Reference;

use super::{EngineArgs, Explained, engine, short};
use crate::magics::{Context, Magic, MagicError};
use crate::render::key_values::Details;
use crate::render::progress::Progress;
use crate::render::status::Status;
use crate::render::table::Cell;
use crate::render::{age, counted};

/// Build an image from a folder with a Dockerfile
///
/// What `.dockerignore` names is left out, by Docker's own rules. Before anything is sent you are
/// warned about files that look like secrets, about very big ones, and about a base image that may be
/// another one tomorrow.
#[derive(Debug, Parser)]
pub struct Build {
    /// The folder that is sent to the engine
    #[arg(value_name = "FOLDER", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    context: PathBuf,
    /// A name for the image, NAME:TAG; may be given several times
    #[arg(short, long = "tag", value_name = "NAME:TAG")]
    tags: Vec<String>,
    /// The Dockerfile, when it is not the folder's own
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// A value for an ARG of the Dockerfile; NAME alone takes the setting or variable of that name
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,
    /// The stage to stop at
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// A label for the image
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Run every step anew
    #[arg(long)]
    no_cache: bool,
    /// Look for a newer base image even when there is one here
    #[arg(long)]
    pull: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Build {
    /// A build as a Rust cell wants it: a folder, and options with their values.
    ///
    /// # Errors
    /// An option that there is not.
    pub fn of_cell<'a>(
        folder: &str,
        options: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, MagicError> {
        let mut build = Self {
            context: folder.into(),
            tags: Vec::new(),
            file: None,
            build_arg: Vec::new(),
            target: None,
            label: Vec::new(),
            no_cache: false,
            pull: false,
            engine: EngineArgs::default(),
        };
        for (option, value) in options {
            match option {
                "tag" => build.tags.push(value.to_owned()),
                "file" => build.file = Some(value.into()),
                "build_arg" => build.build_arg.push(value.to_owned()),
                "target" => build.target = Some(value.to_owned()),
                "label" => build.label.push(value.to_owned()),
                "no_cache" => build.no_cache = true,
                "pull" => build.pull = true,
                other => {
                    return Err(
                        MagicError::usage(format!("a build has no option `{other}`"))
                            .hint("`:help build` lists them"),
                    );
                }
            }
        }
        Ok(build)
    }

    /// Does it, and returns what was built.
    ///
    /// # Errors
    /// When the folder or the Dockerfile is not as it should be, a step fails, or the person interrupts.
    pub async fn build(self, ctx: &Context) -> Result<Built, MagicError> {
        let mut tags = Vec::new();
        for tag in &self.tags {
            let reference = Reference::parse(tag)?;
            if reference.digest().is_some() {
                return Err(MagicError::usage(format!(
                    "{tag}: an image cannot be given a digest, it has one"
                ))
                .hint("give it a name and a tag"));
            }
            tags.push(reference);
        }
        let wanted = Wanted {
            context: ctx.session.resolve(&self.context),
            // From the notebook's folder when it is there, else from the context, as docker has it.
            dockerfile: self.file.as_ref().map(|file| {
                let here = ctx.session.resolve(file);
                if here.is_file() { here } else { file.clone() }
            }),
            tags,
            arguments: arguments(ctx, &self.build_arg).await?,
            target: self.target,
            no_cache: self.no_cache,
            pull: self.pull,
            labels: self
                .label
                .iter()
                .map(|label| label.split_once('=').unwrap_or((label, "")))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        };
        let engine = engine(ctx, &self.engine).await?;
        let name = self.tags.first().cloned();
        let title = format!("building {}", name.as_deref().unwrap_or("an image"));
        let progress = Progress::start(&ctx.output, title);
        let mut log = Log {
            ctx,
            progress: &progress,
            steps: Vec::new(),
        };
        let outcome = engine
            .build(&wanted, &mut |event| log.take(event), &ctx.cancel)
            .await;
        match outcome {
            Ok(built) => {
                let mut details = summary(&built, name.as_deref());
                log.describe(&mut details);
                progress.replace(details.bundle());
                if built.tags.is_empty() {
                    ctx.output.note(format!(
                        "the image has no name; `:tag {} NAME:TAG` gives it one",
                        short(&built.id)
                    ));
                }
                Ok(built)
            }
            Err(docker::Error::Interrupted) => {
                progress.finish(Status::Stopped, "the build was interrupted", false);
                Err(MagicError::interrupted())
            }
            Err(error) => {
                // The error itself carries the step's output.
                progress.finish(Status::Failed, "the build failed", false);
                Err(error.into())
            }
        }
    }
}

impl Magic for Build {
    const NAME: &'static str = "build";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        self.build(ctx).await.map(drop)
    }

    fn explain(&self) -> Vec<String> {
        let mut line = Explained::new(&self.engine, "build");
        line.option("-t", &self.tags)
            .option("-f", self.file.iter().map(|file| file.display()))
            .option("--build-arg", &self.build_arg)
            .option("--target", &self.target)
            .option("--label", &self.label)
            .flag("--no-cache", self.no_cache)
            .flag("--pull", self.pull)
            .words([self.context.to_string_lossy()]);
        line.line()
    }
}

async fn arguments(
    ctx: &Context,
    given: &[String],
) -> Result<BTreeMap<String, String>, MagicError> {
    let mut arguments = BTreeMap::new();
    for argument in given {
        match argument.split_once('=') {
            Some((name, value)) => {
                if katlab_lab::settings::is_secret_name(name) {
                    ctx.output.warn(format!(
                        "the build argument {name} can be read in the image's history by everybody who has the image"
                    ));
                }
                arguments.insert(name.to_owned(), value.to_owned());
            }
            None => match ctx.value(argument).await? {
                Some(value) => {
                    arguments.insert(argument.clone(), value);
                }
                None => ctx.output.warn(format!(
                    "there is no setting {argument}, so the build argument keeps the Dockerfile's own value"
                )),
            },
        }
    }
    Ok(arguments)
}

/// How many lines of a step's output stay in the notebook.
const LINES: usize = 8;

/// One step as it stays in the notebook.
struct Step {
    instruction: String,
    cached: bool,
    lines: VecDeque<String>,
    hidden: usize,
}

/// What happened in a build, bounded.
struct Log<'a> {
    ctx: &'a Context,
    progress: &'a Progress,
    steps: Vec<Step>,
}

impl Log<'_> {
    fn take(&mut self, event: Event) {
        let progress = self.progress;
        match event {
            Event::Scanned {
                files,
                bytes,
                ignored,
            } => {
                let left_out = match ignored {
                    0 => String::new(),
                    ignored => format!(", {ignored} left out"),
                };
                let files = counted(files, "file");
                progress.detail(format!("{files}, {}{left_out}", age::size(bytes)));
            }
            Event::Warning(warning) => self.ctx.output.warn(warning),
            Event::Sending { sent } if sent > 1_000_000 => {
                progress.detail(format!("{} sent", age::size(sent)));
            }
            Event::Step {
                number,
                total,
                instruction,
            } => {
                self.end_step();
                progress.bar(number.saturating_sub(1) as u64, total as u64);
                progress.detail(&instruction);
                progress.item_with(
                    &number.to_string(),
                    &instruction,
                    None,
                    None,
                    Status::Running,
                );
                self.steps.push(Step {
                    instruction,
                    cached: false,
                    lines: VecDeque::new(),
                    hidden: 0,
                });
            }
            Event::Cached => {
                if let Some(step) = self.steps.last_mut() {
                    step.cached = true;
                }
            }
            Event::Output(line) => {
                progress.line(&line);
                if let Some(step) = self.steps.last_mut() {
                    step.lines.push_back(line);
                    if step.lines.len() > LINES {
                        step.lines.pop_front();
                        step.hidden += 1;
                    }
                }
            }
            Event::Pulling(layer) => {
                progress.item(&layer.id, &layer.status, layer.current, layer.total);
            }
            Event::Sending { .. } | Event::Layer(_) | Event::Tagged(_) => {}
        }
    }

    fn end_step(&self) {
        if let Some(step) = self.steps.last() {
            let number = self.steps.len().to_string();
            self.progress
                .item_with(&number, &step.instruction, None, None, Status::Ok);
        }
    }

    /// The steps with the last lines of what they printed.
    fn describe(&self, details: &mut Details) {
        details.section("Steps");
        for (index, step) in self.steps.iter().enumerate() {
            let mut text = step.instruction.clone();
            if step.cached {
                text.push_str("  (from the cache)");
            }
            if step.hidden > 0 {
                text.push_str(&format!("\n  … {} earlier lines", step.hidden));
            }
            for line in &step.lines {
                text.push_str(&format!("\n  {line}"));
            }
            details.row((index + 1).to_string(), Cell::text(text));
        }
    }
}

fn summary(built: &Built, name: Option<&str>) -> Details {
    let title = match (built.tags.first(), name) {
        (Some(tag), _) => format!("{tag} is built"),
        (None, Some(name)) => format!("{name} is built"),
        (None, None) => "the image is built".to_owned(),
    };
    let mut details = Details::new(Cell::text(title).with_status(Status::Ok));
    details.row(
        "Image id",
        Cell::text(short(&built.id)).hover(built.id.clone()),
    );
    if let Some(size) = built.size.and_then(|size| u64::try_from(size).ok()) {
        details.row("Size", Cell::size(size));
    }
    if built.tags.len() > 1 {
        details.row("Names", Cell::text(built.tags.join("\n")));
    }
    details.row("Took", Cell::took(built.duration));
    details
}
