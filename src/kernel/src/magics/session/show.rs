//! `:show`: a file with line numbers.

use std::path::PathBuf;

use clap::Parser;
use katlab_lab::document;
use katlab_lab::settings::{dotenv, is_secret_name};

use crate::magics::{Context, Magic, MagicError};
use crate::render::code::Listing;
use crate::render::counted;

/// How many lines are shown when nobody says how many.
const LINES: usize = 500;

/// Show a file with line numbers
#[derive(Debug, Parser)]
pub struct Show {
    /// The file to show
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    path: PathBuf,
    /// Show only these lines: `10-20`, `10-` or `-20`
    #[arg(short, long, value_name = "FROM-TO", value_parser = range, allow_hyphen_values = true)]
    lines: Option<(usize, usize)>,
}

fn range(text: &str) -> Result<(usize, usize), String> {
    let number = |text: &str, default| {
        if text.is_empty() {
            Ok(default)
        } else {
            text.parse::<usize>().map_err(|error| error.to_string())
        }
    };
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (number(from.trim(), 1)?, number(to.trim(), usize::MAX)?),
        None => {
            let line = text
                .trim()
                .parse::<usize>()
                .map_err(|error| error.to_string())?;
            (line, line)
        }
    };
    if from == 0 || to < from {
        return Err(
            "lines are counted from 1, and the last one cannot stand before the first".to_owned(),
        );
    }
    Ok((from, to))
}

impl Magic for Show {
    const NAME: &'static str = "show";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let content = document::read(&ctx.session.resolve(&self.path))?;
        let shown = self.path.display().to_string();
        // A file of values is often shown before it is loaded.
        let name = self
            .path
            .file_name()
            .map(|name| name.to_string_lossy().to_ascii_lowercase())
            .unwrap_or_default();
        if (name.starts_with(".env") || name.ends_with(".env"))
            && let Ok(values) = dotenv::parse(&content)
        {
            for (_, value) in values.iter().filter(|(name, _)| is_secret_name(name)) {
                ctx.session.redactor().learn(value);
            }
        }
        let all: Vec<&str> = content.lines().collect();
        let total = all.len();
        let (from, to) = self.lines.unwrap_or((1, LINES));
        if from > total && total > 0 {
            return Err(
                MagicError::new(format!("{shown} has only {}", counted(total, "line")))
                    .hint(format!("ask for lines up to {total}")),
            );
        }
        let lines: Vec<&str> = all
            .into_iter()
            .skip(from - 1)
            .take(to.saturating_sub(from - 1))
            .collect();
        ctx.output.show(
            Listing {
                path: &shown,
                lines,
                first: from,
                total,
            }
            .bundle(),
        );
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        match self.lines {
            None => vec![format!("cat -n {}", self.path.display())],
            Some((from, to)) => {
                let to = if to == usize::MAX {
                    "$".to_owned()
                } else {
                    to.to_string()
                };
                vec![format!("sed -n {from},{to}p {}", self.path.display())]
            }
        }
    }
}
