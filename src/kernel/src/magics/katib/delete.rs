//! `:experiment delete`.

use clap::Parser;

use crate::magics::kubernetes::NamespaceArgs;
use crate::magics::kubernetes::delete::{Deletion, kubectl};
use crate::magics::{Context, Magic, MagicError};

/// Delete experiments with their trials, Jobs and Pods
///
/// Without `--yes` it only shows what would go. Logs and metrics that are still to be had are kept first, for
/// `:trials NAME --deleted`.
#[derive(Debug, Parser)]
pub struct Delete {
    /// The experiments
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Do it
    #[arg(short, long)]
    yes: bool,
    /// Do nothing about experiments that are not there
    #[arg(long)]
    ignore_not_found: bool,
    /// Do not wait until they are gone
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    place: NamespaceArgs,
}

impl Magic for Delete {
    const NAME: &'static str = "experiment delete";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        let mut deletion = Deletion {
            kind: "experiments.kubeflow.org",
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
            "experiment",
            &self.names,
            &self.place,
            self.ignore_not_found,
            self.no_wait,
        )
    }
}
