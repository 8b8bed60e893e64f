//! `:images`: what images are here.

use clap::Parser;
use katlab_lab::docker::image::{Filter, Image};

use super::{EngineArgs, Explained, engine};
use crate::magics::{Context, Magic, MagicError};
use crate::render::list::ListArgs;
use crate::render::table::{Cell, Column, Table};

/// List the images of the Docker Engine, newest first
#[derive(Debug, Parser)]
pub struct Images {
    /// Only images of this repository, or of this repository and tag; `*` stands for anything
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
    /// Also intermediate images
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Magic for Images {
    const NAME: &'static str = "images";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let engine = engine(ctx, &self.engine).await?;
        let filter = Filter {
            reference: self.reference.clone(),
            all: self.all,
        };
        let images = ctx.or_interrupted(engine.images(&filter)).await?;
        let empty = match &self.reference {
            Some(reference) => {
                let near = match images.is_empty() {
                    true => engine.near(reference).await,
                    false => Vec::new(),
                };
                match near.first() {
                    Some(near) => {
                        format!("there is no image {reference} here; did you mean {near}?")
                    }
                    None => format!(
                        "there is no image {reference} here; `:build` makes one, `:pull` fetches one"
                    ),
                }
            }
            None => "there are no images here; `:build` makes one, `:pull` fetches one".to_owned(),
        };
        ctx.list(
            table(&images, jiff::Timestamp::now()).empty(empty),
            &self.list,
        )
    }

    fn explain(&self) -> Vec<String> {
        let mut line = Explained::new(&self.engine, "images");
        line.flag("--all", self.all).words(&self.reference);
        line.line()
    }
}

/// A row for each name of an image.
pub fn table(images: &[Image], now: jiff::Timestamp) -> Table {
    let mut table = Table::new([
        Column::new("REPOSITORY"),
        Column::new("TAG"),
        Column::new("IMAGE ID"),
        Column::number("CREATED").hover("how long ago the image was built"),
        Column::number("SIZE").hover("on this disk, with all its layers"),
        Column::new("DIGEST")
            .wide()
            .hover("what registries call it"),
    ]);
    for image in images {
        let created = match jiff::Timestamp::from_second(image.created) {
            // Some builders write no time at all, which comes out as 1970.
            Ok(time) if image.created > 0 => Cell::age(time, now),
            _ => Cell::none(),
        };
        let row = table.row([
            image.repository.clone().into(),
            image.tag.clone().into(),
            Cell::text(image.short_id()).hover(image.id.clone()),
            created,
            Cell::size(u64::try_from(image.size).unwrap_or_default()),
            image.digest.clone().into(),
        ]);
        row.name = image.name();
        row.object = Some(serde_json::json!({
            "repository": image.repository,
            "tag": image.tag,
            "id": image.id,
            "digest": image.digest,
            "created": jiff::Timestamp::from_second(image.created).map(|time| time.to_string()).ok(),
            "size": image.size,
        }));
    }
    table
}
