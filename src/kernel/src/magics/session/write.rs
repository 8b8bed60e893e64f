//! `:write`: the rest of the cell becomes a file.

use std::path::PathBuf;

use clap::Parser;
use katlab_lab::document;

use crate::magics::{Body, Context, Magic, MagicError};
use crate::render::diff::Diff;
use crate::render::{age, counted};

/// Write the rest of the cell to a file
///
/// Folders are made as needed. A file that is there already with other content is overwritten only
/// with `--force`; without it the difference is shown.
#[derive(Debug, Parser)]
pub struct Write {
    /// The file to write
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    path: PathBuf,
    /// Overwrite a file that is there already with other content
    #[arg(long, visible_alias = "yes")]
    force: bool,
}

impl Magic for Write {
    const NAME: &'static str = "write";
    const BODY: Body = Body::Always;

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let shown = self.path.display();
        let body = ctx.body.as_deref().unwrap_or_default();
        if body.trim().is_empty() {
            return Err(
                MagicError::usage(format!("there is nothing to write to {shown}"))
                    .hint("the lines of the cell below this one become the file"),
            );
        }
        let mut content = body.strip_prefix('\n').unwrap_or(body).to_owned();
        if !content.ends_with('\n') {
            content.push('\n');
        }
        let path = ctx.session.resolve(&self.path);
        let old = match document::read(&path) {
            Ok(old) => Some(old),
            Err(document::Error::Missing { .. }) => None,
            // What is no text can be overwritten all the same, but not compared.
            Err(document::Error::Binary { .. } | document::Error::TooLarge { .. })
                if self.force =>
            {
                None
            }
            Err(error) => return Err(error.into()),
        };
        let lines = content.lines().count();
        let size = format!(
            "{}, {}",
            counted(lines, "line"),
            age::size(content.len() as u64)
        );
        let Some(old) = old else {
            document::write(&path, &content)?;
            ctx.output.done(format!("wrote {shown} ({size})"));
            return Ok(());
        };
        let diff = Diff::between(&old, &content);
        if old == content {
            ctx.output
                .done(format!("{shown} is as it should be ({size})"));
            return Ok(());
        }
        if !self.force {
            ctx.output
                .show(diff.bundle(&format!("{shown} would change: {}", diff.summary())));
            return Err(
                MagicError::new(format!("{shown} is there already, with other content"))
                    .hint("add --force to overwrite it"),
            );
        }
        document::write(&path, &content)?;
        ctx.output
            .done(format!("overwrote {shown}: {} ({size})", diff.summary()));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        vec![
            format!("cat > {} <<'EOF'", self.path.display()),
            "…".to_owned(),
            "EOF".to_owned(),
        ]
    }
}

impl From<document::Error> for MagicError {
    fn from(error: document::Error) -> Self {
        Self::new(error.to_string()).maybe_hint(error.hint())
    }
}
