//! `:rmi`: images go.

use clap::Parser;
use katlab_lab::docker::image::Removal;

use super::{EngineArgs, Explained, engine, short};
use crate::magics::{Context, Magic, MagicError};
use crate::render::status::Status;
use crate::render::table::{Cell, Column, Table};

/// Remove images, or names of images
///
/// Without `--yes` it only shows what would go: an image with other names keeps those and loses one.
#[derive(Debug, Parser)]
pub struct Rmi {
    /// The images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
    /// Do it
    #[arg(short, long)]
    yes: bool,
    /// Also when an ended container was made from it
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

impl Magic for Rmi {
    const NAME: &'static str = "rmi";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let engine = engine(ctx, &self.engine).await?;
        let mut plans = Vec::new();
        for image in &self.images {
            // All are looked at first, so that a wrong name stops it before anything is gone.
            plans.push(ctx.or_interrupted(engine.plan_removal(image)).await?);
        }
        if !self.yes {
            // Names of one image that go together take the image with them.
            let going: Vec<String> = plans
                .iter()
                .flat_map(|plan| plan.untagged.clone())
                .collect();
            for plan in &mut plans {
                plan.kept.retain(|name| !going.contains(name));
                plan.deletes = plan.kept.is_empty();
            }
            ctx.output.table(
                &table(&plans)
                    .title("this would be removed")
                    .footer("nothing was removed; add --yes to do it"),
            );
            return Ok(());
        }
        let mut removed = Vec::new();
        for image in &self.images {
            match ctx.or_interrupted(engine.remove(image, self.force)).await {
                Ok(removal) => removed.push(removal),
                Err(error) => {
                    if !removed.is_empty() {
                        ctx.output.table(&table(&removed).title("removed"));
                    }
                    return Err(error);
                }
            }
        }
        ctx.output.table(&table(&removed).title("removed"));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let mut line = Explained::new(&self.engine, "rmi");
        line.flag("--force", self.force).words(&self.images);
        line.line()
    }
}

fn table(removals: &[Removal]) -> Table {
    let mut table = Table::new([
        Column::new("IMAGE"),
        Column::new("IMAGE ID"),
        Column::new("WHAT GOES"),
        Column::number("SIZE").hover("as far as no other image shares it"),
        Column::new("USED BY"),
    ]);
    for removal in removals {
        let what = match (removal.deletes, removal.kept.as_slice()) {
            (true, _) if removal.untagged.len() > 1 => {
                format!("the image and its names {}", some_of(&removal.untagged))
            }
            (true, _) => "the image".to_owned(),
            (false, []) => "the name".to_owned(),
            (false, kept) => format!("the name; it stays as {}", some_of(kept)),
        };
        let users: Vec<String> = removal
            .users
            .iter()
            .map(|(name, state)| format!("{name} ({state})"))
            .collect();
        let used = match users.as_slice() {
            [] => Cell::none(),
            users => Cell::text(some_of(users))
                .hover(users.join(", "))
                .with_status(Status::Warn),
        };
        let size = removal
            .size
            .filter(|_| removal.deletes)
            .and_then(|size| u64::try_from(size).ok());
        table.row([
            Cell::text(&removal.image),
            Cell::text(short(&removal.id)).hover(removal.id.clone()),
            Cell::text(what),
            size.map(Cell::size).unwrap_or_default(),
            used,
        ]);
    }
    table
}

/// The first few of many names: an image may have dozens of trials' containers.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names.len().checked_sub(SHOWN) {
        None | Some(0) => names.join(", "),
        Some(more) => format!("{} and {more} more", names[..SHOWN].join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_many_containers_use_makes_no_endless_line() {
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(String::from).into();
        assert_eq!(some_of(&names), "a, b, c and 2 more");
        assert_eq!(some_of(&names[..3]), "a, b, c");
        assert_eq!(some_of(&[]), "");
    }
}
