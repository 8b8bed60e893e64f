//! `:help`.

use clap::Parser;

use crate::magics::{Context, MAGICS, Magic, MagicError, help};
use crate::session::Session;

/// List all magics, or show the page of one
#[derive(Debug, Parser)]
pub struct Help {
    /// The magic, with or without its colon, such as `registry login`
    #[arg(value_name = "MAGIC")]
    name: Vec<String>,
}

impl Magic for Help {
    const NAME: &'static str = "help";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        if self.name.is_empty() {
            ctx.output.show(help::index());
            return Ok(());
        }
        let name = self.name.join(" ");
        ctx.output
            .page(help::help_page(&name).ok_or_else(|| help::no_page(&name))?);
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        match self.name.first() {
            None => vec!["docker --help".to_owned(), "kubectl --help".to_owned()],
            Some(_) => Vec::new(),
        }
    }

    fn candidates(_argument: &str, _session: &Session) -> Vec<String> {
        MAGICS.iter().map(|entry| entry.name.to_owned()).collect()
    }
}
