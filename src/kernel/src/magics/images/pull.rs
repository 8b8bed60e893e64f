//! `:pull`: an image from its registry.

use clap::Parser;
use katlab_lab::reference::Reference;

use super::{EngineArgs, Explained, engine, push};
use crate::magics::{Context, Magic, MagicError};
use crate::render::progress::Progress;

/// Fetch an image from the registry its name begins with
#[derive(Debug, Parser)]
pub struct Pull {
    /// The image, HOST/NAME:TAG or HOST/NAME@DIGEST; without a host it comes from Docker Hub
    #[arg(value_name = "IMAGE")]
    image: String,
    /// The platform to fetch it for, such as linux/arm64
    #[arg(long)]
    platform: Option<String>,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Magic for Pull {
    const NAME: &'static str = "pull";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let reference = Reference::parse(&self.image)?;
        let engine = engine(ctx, &self.engine).await?;
        let progress = Progress::start(&ctx.output, format!("pulling {reference}"));
        let outcome = engine
            .pull(
                &reference,
                self.platform.as_deref(),
                &mut |event| push::show(&progress, event),
                &ctx.cancel,
            )
            .await;
        push::finish(&progress, outcome, "pulled")
    }

    fn explain(&self) -> Vec<String> {
        let mut line = Explained::new(&self.engine, "pull");
        line.option("--platform", &self.platform)
            .words([&self.image]);
        line.line()
    }
}
