//! `:delete`.

use std::time::Duration;

use clap::Parser;
use katlab_lab::kubernetes::deletion::{self, Doomed};

use super::{NamespaceArgs, quoted, show_plan};
use crate::magics::{Context, Magic, MagicError};
use crate::render::table::{Cell, Column, Table};

/// How long deletion is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Delete objects, and what belongs to them
///
/// Without `--yes` it only shows what would go. Dependents (the trials, Jobs and Pods of an Experiment)
/// follow in the background.
#[derive(Debug, Parser)]
pub struct Delete {
    /// The kind, such as `job`
    #[arg(value_name = "KIND")]
    kind: String,
    /// The objects
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Do it
    #[arg(short, long)]
    yes: bool,
    /// Do nothing about objects that are not there
    #[arg(long)]
    ignore_not_found: bool,
    /// Do not wait until they are gone
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Delete {
    const NAME: &'static str = "delete";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let mut deletion = Deletion {
            kind: &self.kind,
            names: &self.names,
            place: &self.place,
            yes: self.yes,
        };
        deletion
            .run(ctx, self.ignore_not_found, !self.no_wait)
            .await
    }

    fn explain(&self) -> Vec<String> {
        kubectl(
            &self.kind,
            &self.names,
            &self.place,
            self.ignore_not_found,
            self.no_wait,
        )
    }
}

/// The command that does the same.
pub fn kubectl(
    kind: &str,
    names: &[String],
    place: &NamespaceArgs,
    ignore: bool,
    no_wait: bool,
) -> Vec<String> {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    let mut line = format!(
        "kubectl delete {} {}{}",
        quoted(kind),
        names.join(" "),
        place.kubectl()
    );
    if ignore {
        line.push_str(" --ignore-not-found");
    }
    if no_wait {
        line.push_str(" --wait=false");
    }
    vec![line]
}

/// What `:delete` and `:experiment delete` do.
pub struct Deletion<'a> {
    /// The kind, by any of its names.
    pub kind: &'a str,
    /// The objects.
    pub names: &'a [String],
    /// Where.
    pub place: &'a NamespaceArgs,
    /// In earnest.
    pub yes: bool,
}

impl Deletion<'_> {
    /// Plans, and with `yes` deletes.
    pub async fn run(
        &mut self,
        ctx: &Context,
        ignore_not_found: bool,
        wait: bool,
    ) -> Result<(), MagicError> {
        let cluster = self.place.cluster(ctx).await?;
        let kind = ctx
            .or_interrupted(cluster.discovery())
            .await?
            .kind(self.kind)?
            .clone();
        // All are looked at first, so that a wrong name stops it before anything is gone.
        let mut plans = Vec::new();
        for name in self.names {
            let plan = ctx
                .or_interrupted(async {
                    match deletion::plan(&cluster, &kind, &cluster.namespace, name).await {
                        Err(error) if ignore_not_found && error.is_not_found() => Ok(None),
                        plan => plan.map(Some),
                    }
                })
                .await?;
            match plan {
                Some(plan) => plans.push(plan),
                None => ctx.output.note(format!(
                    "there is no {} {name} in namespace {}",
                    kind.singular, cluster.namespace
                )),
            }
        }
        if plans.is_empty() {
            return Ok(());
        }
        if !self.yes {
            show_plan(
                ctx,
                table(&plans).title(format!("this would be deleted on {}", cluster.name)),
            );
            return Ok(());
        }
        let is_experiment = kind.group == "kubeflow.org" && kind.kind == "Experiment";
        for plan in &plans {
            let kept = if is_experiment {
                ctx.capture(&cluster, &plan.name).await?
            } else {
                None
            };
            ctx.or_interrupted(deletion::execute(&cluster, plan))
                .await?;
            let place = plan
                .namespace
                .as_ref()
                .map(|name| format!(" in namespace {name}"))
                .unwrap_or_default();
            if wait {
                ctx.or_interrupted(deletion::gone(&cluster, plan, PATIENCE))
                    .await?;
            }
            let with = dependents(plan);
            let with = if with.is_empty() {
                String::new()
            } else {
                format!(" with {with}")
            };
            ctx.output.done(format!(
                "{} {} deleted{place} on {}{with}",
                kind.singular, plan.name, cluster.name
            ));
            if let Some(kept) = kept {
                ctx.session.kept()?.mark(&kept, true)?;
                ctx.output.note(format!(
                    "`:trials {}{} --deleted` still shows what it left",
                    plan.name,
                    self.place.kubectl()
                ));
            }
            ctx.tell_kept();
        }
        Ok(())
    }
}

fn dependents(plan: &Doomed) -> String {
    plan.dependents
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn table(plans: &[Doomed]) -> Table {
    let mut table = Table::new([
        Column::new("KIND"),
        Column::new("NAME"),
        Column::new("NAMESPACE"),
        Column::new("WITH IT GO"),
    ]);
    for plan in plans {
        table.row([
            Cell::text(&plan.kind.singular),
            Cell::text(&plan.name),
            plan.namespace.clone().into(),
            Cell::text(dependents(plan)),
        ]);
    }
    table
}
