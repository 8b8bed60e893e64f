//! `:apply`.

use clap::Parser;
use katlab_lab::document;
use katlab_lab::kubernetes::apply::{self, Change, Step};

use super::{NamespaceArgs, quoted, show_plan};
use crate::magics::{Body, Context, Magic, MagicError};
use crate::render::status::Status;
use crate::render::table::{Cell, Column, Table};

/// Make objects as a manifest describes them, or change those there are
///
/// The server is asked first what would change. Objects that are new are made at once; changes to
/// objects that are there are shown, and made with `--yes`.
#[derive(Debug, Parser)]
pub struct Apply {
    /// The manifest, YAML or JSON; `-` takes the rest of the cell
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: String,
    /// Change objects that are there already
    #[arg(short, long)]
    yes: bool,
    /// Only show what would happen
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: NamespaceArgs,
}

/// The text of a file, or the rest of the cell for `-`.
pub fn text_of(ctx: &Context, file: &str) -> Result<(String, String), MagicError> {
    if file == "-" {
        let body = ctx.body.clone().unwrap_or_default();
        if body.trim().is_empty() {
            return Err(MagicError::usage("there is nothing below this line")
                .hint("the manifest is the rest of the cell"));
        }
        return Ok(("the cell".to_owned(), body));
    }
    Ok((file.to_owned(), document::read(&ctx.session.resolve(file))?))
}

impl Magic for Apply {
    const NAME: &'static str = "apply";
    const BODY: Body = Body::Dash;

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let (origin, text) = text_of(ctx, &self.file)?;
        let objects = apply::parse(&text, &origin)?;
        let cluster = self.place.cluster(ctx).await?;
        let plan = ctx
            .or_interrupted(apply::plan(&cluster, &cluster.namespace, objects))
            .await?;
        let changes = plan
            .iter()
            .any(|step| matches!(step.change, Change::Update(_)));
        if self.dry_run || (changes && !self.yes) {
            let table = table(&plan).title(format!("this would happen on {}", cluster.name));
            if self.dry_run {
                ctx.output
                    .table(&table.footer("nothing was done (--dry-run)"));
            } else {
                show_plan(ctx, table);
            }
            return Ok(());
        }
        for step in &plan {
            ctx.or_interrupted(apply::execute(&cluster, step)).await?;
            let place = step
                .namespace
                .as_ref()
                .map(|name| format!(" in namespace {name}"))
                .unwrap_or_default();
            let word = match &step.change {
                Change::Create => "created",
                Change::Update(_) => "changed",
                Change::Nothing => "unchanged",
            };
            ctx.output.done(format!(
                "{} {} {word}{place} on {}",
                step.kind.singular, step.name, cluster.name
            ));
        }
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let dry = if self.dry_run {
            " --dry-run=server"
        } else {
            ""
        };
        vec![
            format!(
                "kubectl diff --server-side -f {}{}",
                quoted(&self.file),
                self.place.kubectl()
            ),
            format!(
                "kubectl apply --server-side -f {}{}{dry}",
                quoted(&self.file),
                self.place.kubectl()
            ),
        ]
    }
}

fn table(plan: &[Step]) -> Table {
    let mut table = Table::new([
        Column::new("KIND"),
        Column::new("NAME"),
        Column::new("NAMESPACE"),
        Column::new("WHAT"),
        Column::new("FIELD"),
        Column::new("NOW"),
        Column::new("THEN"),
    ]);
    for step in plan {
        let head = |word: &str, status| {
            vec![
                Cell::text(&step.kind.singular),
                Cell::text(&step.name),
                step.namespace.clone().into(),
                Cell::text(word).with_status(status),
            ]
        };
        let none = || [Cell::none(), Cell::none(), Cell::none()];
        match &step.change {
            Change::Create => {
                table.row(head("create", Status::Running).into_iter().chain(none()));
            }
            Change::Nothing => {
                table.row(head("nothing", Status::Ok).into_iter().chain(none()));
            }
            Change::Update(fields) => {
                for field in fields {
                    let cells = [
                        Cell::text(&field.path),
                        field.from.clone().into(),
                        field.to.clone().into(),
                    ];
                    table.row(head("change", Status::Warn).into_iter().chain(cells));
                }
            }
        }
    }
    table
}
