//! Magics about what the trials of an experiment taught.

use std::collections::BTreeMap;
use std::path::PathBuf;

use katlab_analysis::TrialTable;
use katlab_katib::types::{Experiment, Trial};
use katlab_lab::cluster::Cluster;
use katlab_lab::katib::archive::{self, Archive, Work};
use katlab_lab::katib::experiments::{self, Summary};
use katlab_lab::katib::{trials, trials::TrialTable as Listed};

use crate::magics::kubernetes::{NamespaceArgs, quoted};
use crate::magics::{Context, MagicError, katib};
use crate::render::list::ListArgs;

pub mod analyze;
pub mod compare;
pub mod export;
pub mod plot;

// A doc comment here would become the description of every magic that takes these flags.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SourceArgs {
    /// Read an exported experiment from this folder; no cluster is needed then
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, conflicts_with = "namespace")]
    pub from: Option<PathBuf>,
    #[command(flatten)]
    pub place: NamespaceArgs,
}

/// An experiment with its trials, from a cluster or a folder.
pub struct Source {
    /// The Experiment.
    pub experiment: Experiment,
    /// Its Trials.
    pub trials: Vec<Trial>,
    /// Where more can be asked.
    pub origin: Origin,
}

/// Where an experiment was read from.
pub enum Origin {
    /// A cluster.
    Cluster(Cluster),
    /// A folder, with all that is in it.
    Folder(Box<Archive>),
}

impl SourceArgs {
    /// Reads the experiment.
    ///
    /// # Errors
    /// When it is not there, or neither a name nor a folder was given.
    pub async fn read(&self, ctx: &Context, name: Option<&str>) -> Result<Source, MagicError> {
        match (&self.from, name) {
            (Some(folder), name) => {
                let source = folder_source(ctx, folder)?;
                let found = source.experiment.metadata.name();
                if let Some(name) = name.filter(|name| *name != found) {
                    return Err(MagicError::usage(format!(
                        "{} holds the experiment {found}, not {name}",
                        folder.display()
                    ))
                    .hint("leave the name out, or name another folder"));
                }
                Ok(source)
            }
            (None, Some(name)) => {
                let cluster = self.place.cluster(ctx).await?;
                let reading = futures::future::try_join(
                    experiments::get(&cluster, &cluster.namespace, name),
                    trials::objects(&cluster, &cluster.namespace, name),
                );
                let (experiment, trials) = ctx.or_interrupted(reading).await?;
                Ok(Source {
                    experiment,
                    trials,
                    origin: Origin::Cluster(cluster),
                })
            }
            (None, None) => Err(MagicError::usage("which experiment?")
                .hint("write its name, or --from and the folder of an export; `:experiments` lists those there are")),
        }
    }

    /// The command that reads the same, by kubectl or from the folder.
    pub fn explain(&self, name: Option<&str>) -> Vec<String> {
        match (&self.from, name) {
            (Some(folder), _) => {
                let folder = quoted(&folder.display().to_string());
                vec![format!("cat {folder}/experiment.yaml {folder}/trials.json")]
            }
            (None, Some(name)) => vec![format!(
                "kubectl get trials{} -l katib.kubeflow.org/experiment={} -o json",
                self.place.kubectl(),
                quoted(name)
            )],
            (None, None) => Vec::new(),
        }
    }
}

/// Reads an exported experiment.
pub fn folder_source(ctx: &Context, folder: &std::path::Path) -> Result<Source, MagicError> {
    let mut archive = archive::read(&ctx.session.resolve(folder))
        .map_err(|error| MagicError::new(error.to_string()).hint(error.hint()))?;
    Ok(Source {
        experiment: std::mem::take(&mut archive.experiment),
        trials: std::mem::take(&mut archive.trials),
        origin: Origin::Folder(Box::new(archive)),
    })
}

impl Source {
    /// The trials as numbers.
    pub fn table(&self) -> TrialTable {
        TrialTable::new(&self.experiment, &self.trials)
    }

    /// The trials as `:trials` lists them.
    pub fn listed(&self) -> Listed {
        Listed::of(Some(Summary::of(&self.experiment)), &self.trials)
    }

    /// The trials for which the conditions hold, as numbers.
    ///
    /// # Errors
    /// When a condition makes no sense, or holds for no trial.
    pub fn filtered(&self, conditions: &[String]) -> Result<TrialTable, MagicError> {
        let mut table = self.table();
        if conditions.is_empty() {
            return Ok(table);
        }
        let list = ListArgs {
            conditions: conditions.to_vec(),
            ..ListArgs::default()
        };
        let kept = list.filter(katib::trials::table(&self.listed(), jiff::Timestamp::now()))?;
        let names: std::collections::HashSet<&str> =
            kept.rows.iter().map(|row| row.name.as_str()).collect();
        if names.is_empty() && !table.rows.is_empty() {
            return Err(MagicError::new(format!(
                "none of the {} trials of {} satisfies --where",
                table.rows.len(),
                table.experiment
            ))
            .hint(format!("`:trials {}` shows them", table.experiment)));
        }
        table.rows.retain(|row| names.contains(row.name.as_str()));
        Ok(table)
    }

    /// When the trials' Jobs ran, as far as they are still there.
    pub async fn work(&self) -> BTreeMap<String, Work> {
        match &self.origin {
            Origin::Cluster(cluster) => archive::work(cluster, &self.trials).await,
            Origin::Folder(archive) => archive.work.clone(),
        }
    }
}
