//! `:push`: an image to its registry.

use clap::Parser;
use katlab_lab::docker;
use katlab_lab::docker::transfer::{Event, LayerProgress, Transferred};
use katlab_lab::reference::Reference;

use super::{EngineArgs, Explained, engine};
use crate::magics::{Context, Magic, MagicError};
use crate::render::age;
use crate::render::key_values::Details;
use crate::render::progress::Progress;
use crate::render::status::Status;
use crate::render::table::Cell;

/// Push an image to the registry its name begins with
///
/// The credentials are those of `:registry login` or `docker login`. With two arguments the image is
/// first given the second name, as `:tag` does.
#[derive(Debug, Parser)]
pub struct Push {
    /// The image, HOST/NAME:TAG; or, with a target, the name it has here
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The name to give it and to push it under
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Magic for Push {
    const NAME: &'static str = "push";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let reference = Reference::parse(self.target.as_deref().unwrap_or(&self.image))?;
        if let Some(digest) = reference.digest() {
            return Err(MagicError::usage(format!(
                "an image is pushed by its tag, not by its digest {digest}"
            ))
            .hint(format!("push {}", reference.name())));
        }
        let engine = engine(ctx, &self.engine).await?;
        if self.target.is_some() {
            ctx.or_interrupted(engine.tag(&self.image, &reference))
                .await?;
        }
        if !reference.names_host() {
            ctx.output.warn(format!(
                "{reference} names no registry, so it goes to Docker Hub; `:push {reference} HOST/{reference}` pushes it to another"
            ));
        }
        let progress = Progress::start(&ctx.output, format!("pushing {reference}"));
        let outcome = engine
            .push(&reference, &mut |event| show(&progress, event), &ctx.cancel)
            .await;
        finish(&progress, outcome, "pushed")
    }

    fn explain(&self) -> Vec<String> {
        let target = self.target.as_ref().unwrap_or(&self.image);
        let mut lines = Vec::new();
        if self.target.is_some() {
            let mut tag = Explained::new(&self.engine, "tag");
            lines.extend(tag.words([&self.image, target]).line());
        }
        let mut push = Explained::new(&self.engine, "push");
        lines.extend(push.words([target]).line());
        lines
    }
}

/// Shows a transfer under way.
pub(super) fn show(progress: &Progress, event: Event) {
    match event {
        Event::Layer(layer) => {
            let status = match layer.status.as_str() {
                "Preparing" | "Waiting" | "Pulling fs layer" => Status::Waiting,
                _ if layer.is_done() => Status::Ok,
                _ => Status::Running,
            };
            progress.item_with(&layer.id, &word(&layer), layer.current, layer.total, status);
        }
        Event::Status(status) => progress.detail(status),
    }
}

fn word(layer: &LayerProgress) -> String {
    match layer.status.as_str() {
        "Layer already exists" | "Already exists" => "already there".to_owned(),
        other => other.to_lowercase(),
    }
}

/// Ends the display of a transfer.
pub(super) fn finish(
    progress: &Progress,
    outcome: docker::Result<Transferred>,
    verb: &str,
) -> Result<(), MagicError> {
    match outcome {
        Ok(done) => {
            progress.replace(summary(&done, verb).bundle());
            Ok(())
        }
        Err(docker::Error::Interrupted) => {
            progress.finish(Status::Stopped, format!("not {verb}: interrupted"), false);
            Err(MagicError::interrupted())
        }
        Err(error) => {
            progress.finish(Status::Failed, format!("not {verb}"), false);
            Err(error.into())
        }
    }
}

fn summary(done: &Transferred, verb: &str) -> Details {
    let title = if done.up_to_date {
        format!("{} was up to date", done.reference)
    } else {
        format!("{} is {verb}", done.reference)
    };
    let mut details = Details::new(Cell::text(title).with_status(Status::Ok));
    if let Some(digest) = &done.digest {
        details.row("Digest", Cell::text(digest));
    }
    if done.layers > 0 {
        let moved = done.layers - done.reused;
        let size = if done.bytes > 0 {
            format!(", {}", age::size(done.bytes))
        } else {
            String::new()
        };
        let layers = match done.reused {
            0 => format!("{moved} {verb}{size}"),
            reused => format!("{moved} {verb}{size}; {reused} already there"),
        };
        details.row("Layers", Cell::text(layers));
    }
    if let Some(user) = &done.user {
        details.row("As", Cell::text(user));
    }
    details.row("Took", Cell::took(done.duration));
    details
}
