//! `:tag`: another name for an image.

use clap::Parser;
use katlab_lab::reference::Reference;

use super::{EngineArgs, Explained, engine};
use crate::magics::{Context, Magic, MagicError};

/// Give an image another name, such as the one it is pushed under
#[derive(Debug, Parser)]
pub struct Tag {
    /// The image, by name or id
    #[arg(value_name = "IMAGE")]
    source: String,
    /// The name to give, NAME:TAG or HOST/NAME:TAG
    #[arg(value_name = "NAME:TAG")]
    target: String,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Magic for Tag {
    const NAME: &'static str = "tag";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let target = Reference::parse(&self.target)?;
        let engine = engine(ctx, &self.engine).await?;
        ctx.or_interrupted(engine.tag(&self.source, &target))
            .await?;
        ctx.output.done(format!(
            "{} is now also {}",
            self.source,
            target.with_tag_written()
        ));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let mut line = Explained::new(&self.engine, "tag");
        line.words([&self.source, &self.target]);
        line.line()
    }
}
