//! `:lab clean`: what is kept of experiments, and freeing it.

use std::time::Duration;

use clap::Parser;
use katlab_lab::katib::kept::Entry;

use crate::magics::analysis::kept_files;
use crate::magics::kubernetes::{logs::duration, show_plan};
use crate::magics::{Context, Magic, MagicError, nearest};
use crate::render::table::{Cell, Column, Table};
use crate::render::{age, counted};
use crate::session::KEPT_LIMIT;

/// Show what is kept of experiments, and free it
///
/// Logs and metrics of trials are kept in katlab's own folder, so that they outlast pods and experiments.
/// Without `--yes` it only shows what would go; experiments on the cluster are never touched. The whole is
/// bounded by the setting `KATLAB_KEPT_LIMIT` (500 MB unless set; 0 keeps nothing): beyond it the experiment
/// goes first that was kept longest ago. Of each log the last 4 MB are kept.
#[derive(Debug, Parser)]
pub struct Clean {
    /// Only these experiments, by name or NAME@ID
    #[arg(value_name = "EXPERIMENT")]
    names: Vec<String>,
    /// Only experiments that are known to be deleted
    #[arg(long)]
    deleted: bool,
    /// Only what was kept longer ago than this, such as `12h` or `7d`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    older_than: Option<Duration>,
    /// Do it
    #[arg(short, long)]
    yes: bool,
}

impl Magic for Clean {
    const NAME: &'static str = "lab clean";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let store = ctx.session.kept()?;
        let all = ctx
            .or_interrupted(async {
                ctx.session.settle_kept().await;
                Ok::<_, MagicError>(store.list())
            })
            .await?;
        let total: u64 = all.iter().map(|entry| entry.size).sum();
        let limit = format!(
            "{} kept; the limit is {} ({KEPT_LIMIT})",
            age::size(total),
            age::size(store.limit())
        );
        for name in &self.names {
            if !all.iter().any(|entry| is_named(entry, name)) {
                let known = all.iter().map(|entry| entry.index.whose.name.as_str());
                let error = MagicError::new(format!("nothing of experiment {name} is kept"));
                return Err(match nearest::to(name, known).first() {
                    Some(near) => error.hint(format!(
                        "did you mean {near}? `:lab clean` lists what is kept"
                    )),
                    None => error.hint("`:lab clean` lists what is kept"),
                });
            }
        }
        let now = jiff::Timestamp::now();
        let chosen: Vec<Entry> = all
            .into_iter()
            .filter(|entry| self.takes(entry, now))
            .collect();
        if chosen.is_empty() {
            ctx.output
                .note(format!("there is nothing to free: {limit}"));
            return Ok(());
        }
        let freed: u64 = chosen.iter().map(|entry| entry.size).sum();
        if !self.yes {
            let table = table(&chosen, now)
                .title(format!("this would free {}", age::size(freed)))
                .footer(limit);
            show_plan(ctx, table);
            return Ok(());
        }
        for entry in &chosen {
            store.remove(entry)?;
        }
        ctx.output.done(format!(
            "freed {} of {}",
            age::size(freed),
            counted(chosen.len(), "experiment")
        ));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let all = [None];
        let names: Vec<Option<&str>> = self.names.iter().map(|name| Some(name.as_str())).collect();
        let names = if names.is_empty() { &all[..] } else { &names };
        let command = if self.yes { "rm -r" } else { "du -sh" };
        let line = |name: &Option<&str>| format!("{command} {}", kept_files(*name, ""));
        names.iter().map(line).collect()
    }
}

impl Clean {
    fn takes(&self, entry: &Entry, now: jiff::Timestamp) -> bool {
        let age: Duration = now
            .duration_since(entry.index.kept)
            .try_into()
            .unwrap_or_default();
        (self.names.is_empty() || self.names.iter().any(|name| is_named(entry, name)))
            && (!self.deleted || entry.index.gone.is_some())
            && self.older_than.is_none_or(|limit| age > limit)
    }
}

fn is_named(entry: &Entry, name: &str) -> bool {
    let (name, id) = name.split_once('@').unwrap_or((name, ""));
    let whose = &entry.index.whose;
    whose.name == name && whose.uid.starts_with(id)
}

fn table(entries: &[Entry], now: jiff::Timestamp) -> Table {
    let mut table = Table::new([
        Column::new("NAME"),
        Column::new("ID"),
        Column::new("NAMESPACE"),
        Column::new("CLUSTER"),
        Column::number("TRIALS"),
        Column::number("LOGS"),
        Column::new("DELETED"),
        Column::number("KEPT").hover("when something of it was kept last"),
        Column::number("SIZE"),
    ]);
    for entry in entries {
        let index = &entry.index;
        let row = table.row([
            Cell::text(&index.whose.name),
            Cell::text(index.whose.id()),
            Cell::text(&index.whose.namespace),
            Cell::text(&index.whose.cluster),
            Cell::count(index.trials),
            Cell::count(index.logs.len()),
            Cell::bool(index.gone.is_some()),
            Cell::age(index.kept, now),
            Cell::size(entry.size),
        ]);
        row.name.clone_from(&index.whose.name);
    }
    table
}
