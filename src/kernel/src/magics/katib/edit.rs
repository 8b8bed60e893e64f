//! `:experiment edit`.

use clap::Parser;
use katlab_lab::katib::budget::{self, Budget};
use katlab_lab::katib::experiments::{self, Summary};

use crate::magics::kubernetes::{NamespaceArgs, quoted, target};
use crate::magics::{Context, Magic, MagicError};

/// Change how many trials an experiment makes: the only thing about one that can be changed
#[derive(Debug, Parser)]
pub struct Edit {
    /// The experiment
    #[arg(value_name = "NAME")]
    name: String,
    /// Trials in all
    #[arg(long, value_name = "N")]
    max_trials: Option<u32>,
    /// Trials at once
    #[arg(long, value_name = "N")]
    parallel: Option<u32>,
    /// Failed trials that end it
    #[arg(long, value_name = "N")]
    max_failed: Option<u32>,
    /// Do it in spite of what is said about it
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Edit {
    const NAME: &'static str = "experiment edit";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let budget = Budget {
            max_trials: self.max_trials,
            parallel: self.parallel,
            max_failed: self.max_failed,
        };
        if budget == Budget::default() {
            return Err(
                MagicError::usage("nothing was said about what is to change")
                    .hint("give --max-trials, --parallel or --max-failed"),
            );
        }
        let cluster = self.place.cluster(ctx).await?;
        let before = ctx
            .or_interrupted(experiments::get(&cluster, &cluster.namespace, &self.name))
            .await?;
        let warnings = budget::warnings(&before, budget);
        for warning in &warnings {
            ctx.output.warn(warning);
        }
        if !warnings.is_empty() && !self.yes {
            ctx.output.note("nothing was done; add --yes to do it");
            return Ok(());
        }
        let after = ctx
            .or_interrupted(budget::edit(
                &cluster,
                &cluster.namespace,
                &self.name,
                budget,
            ))
            .await?;
        let before = Summary::of(&before);
        let word = |count: Option<u32>| {
            count.map_or_else(|| "no limit".to_owned(), |count| count.to_string())
        };
        let changes: Vec<String> = [
            ("trials in all", before.max_trials, after.max_trials),
            ("at once", before.parallel, after.parallel),
            ("failed at most", before.max_failed, after.max_failed),
        ]
        .iter()
        .filter(|(_, old, new)| old != new)
        .map(|(what, old, new)| format!("{what} {} → {}", word(*old), word(*new)))
        .collect();
        if changes.is_empty() {
            ctx.output
                .done(format!("experiment {} is that way already", self.name));
        } else {
            ctx.output.done(format!(
                "experiment {} changed in {}: {}",
                self.name,
                target(&cluster),
                changes.join(", ")
            ));
        }
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let counts: Vec<String> = [
            ("maxTrialCount", self.max_trials),
            ("parallelTrialCount", self.parallel),
            ("maxFailedTrialCount", self.max_failed),
        ]
        .iter()
        .filter_map(|(field, count)| count.map(|count| format!("\"{field}\":{count}")))
        .collect();
        vec![format!(
            "kubectl patch experiment {}{} --type merge -p '{{\"spec\":{{{}}}}}'",
            quoted(&self.name),
            self.place.kubectl(),
            counts.join(",")
        )]
    }
}
