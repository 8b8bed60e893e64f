//! `:download`: a URL into a file.

use std::path::PathBuf;

use clap::Parser;
use katlab_lab::download::{self, Download as Wanted, Downloaded, Error, Outcome};

use super::quoted;
use crate::magics::{Context, Magic, MagicError};
use crate::render::key_values::Details;
use crate::render::progress::Progress;
use crate::render::status::Status;
use crate::render::table::Cell;

/// Download a file
///
/// It appears whole or not at all. A different file that is there already is kept unless you say
/// `--force`; the same one is left as it is.
#[derive(Debug, Parser)]
pub struct Download {
    /// Where it is, http:// or https://
    #[arg(value_name = "URL")]
    url: String,
    /// The file to write, or the folder to write it into; otherwise the notebook's folder
    #[arg(short, long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Replace a different file that is there already
    #[arg(short, long)]
    force: bool,
    /// The SHA-256 that the file must have
    #[arg(long, value_name = "DIGEST")]
    sha256: Option<String>,
}

impl Magic for Download {
    const NAME: &'static str = "download";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let output = match &self.output {
            Some(output) if output.to_string_lossy().ends_with('/') => {
                ctx.session.resolve(output).join("")
            }
            Some(output) => ctx.session.resolve(output),
            None => ctx.session.directory(),
        };
        let wanted = Wanted {
            url: self.url.clone(),
            output,
            force: self.force,
            sha256: self.sha256,
        };
        let name = download::suggested_name(&self.url).unwrap_or_else(|| self.url.clone());
        let progress = Progress::start(&ctx.output, format!("downloading {name}"));
        let outcome = download::download(
            &wanted,
            &mut |now| progress.item(&name, "downloading", Some(now.received), now.total),
            &ctx.cancel,
        )
        .await;
        match outcome {
            Ok(done) => {
                progress.replace(summary(ctx, &done).bundle());
                Ok(())
            }
            Err(Error::Interrupted) => {
                progress.finish(
                    Status::Stopped,
                    format!("{name} was not downloaded: interrupted"),
                    false,
                );
                Err(MagicError::interrupted())
            }
            Err(error) => {
                progress.finish(Status::Failed, format!("{name} was not downloaded"), false);
                Err(error.into())
            }
        }
    }

    fn explain(&self) -> Vec<String> {
        let output = match &self.output {
            Some(output) => format!("-o {}", quoted(&output.to_string_lossy())),
            None => "-O".to_owned(),
        };
        vec![format!("curl -fL {output} {}", quoted(&self.url))]
    }
}

fn summary(ctx: &Context, done: &Downloaded) -> Details {
    // Shown as people wrote it: from the notebook's folder.
    let path = done
        .path
        .strip_prefix(ctx.session.directory())
        .unwrap_or(&done.path)
        .display()
        .to_string();
    let title = match done.outcome {
        Outcome::Created => format!("{path} is downloaded"),
        Outcome::Replaced => format!("{path} is downloaded and replaced the old file"),
        Outcome::Unchanged => format!("{path} was there already, and is the same"),
    };
    let mut details = Details::new(Cell::text(title).with_status(Status::Ok));
    details
        .row("Size", Cell::size(done.bytes))
        .row("SHA-256", Cell::text(&done.sha256))
        .row("From", Cell::text(&done.url))
        .row("Took", Cell::took(done.duration));
    details
}
