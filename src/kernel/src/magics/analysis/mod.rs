//! Magics about what the trials of an experiment taught.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use katlab_analysis::TrialTable;
use katlab_katib::types::{Experiment, Trial};
use katlab_lab::cluster::{self, Cluster};
use katlab_lab::katib::archive::{self, Archive, Work};
use katlab_lab::katib::experiments::{self, Summary};
use katlab_lab::katib::kept::{self, Entry, Store};
use katlab_lab::katib::observations::Point;
use katlab_lab::katib::{trials, trials::TrialTable as Listed};
use katlab_lab::kubernetes::Scope;

use crate::magics::kubernetes::{NamespaceArgs, elsewhere, quoted};
use crate::magics::{Context, MagicError, katib, nearest};
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
    /// Read what was kept of a deleted experiment; `:trials --deleted` lists them
    #[arg(long, conflicts_with = "from")]
    pub deleted: bool,
    #[command(flatten)]
    pub place: NamespaceArgs,
}

/// An experiment with its trials, from a cluster or a folder.
pub struct Source {
    /// The Experiment.
    pub experiment: Experiment,
    /// Its Trials.
    pub trials: Vec<Trial>,
    /// The experiment's name in a magic's line, which is `NAME@ID` for one of several that were deleted.
    pub known_as: String,
    /// What a line needs besides a name to read the same: `--from DIR`, `--deleted` or `-n NAMESPACE`.
    pub flags: String,
    /// Where more can be asked.
    pub origin: Origin,
}

/// Where an experiment was read from.
pub enum Origin {
    /// A cluster.
    Cluster(Cluster),
    /// A folder.
    Folder {
        /// Where it is.
        path: PathBuf,
        /// What is in it but the experiment, its trials and their metrics.
        archive: Box<Archive>,
    },
}

impl SourceArgs {
    /// Reads the experiment.
    ///
    /// # Errors
    /// When it is not there, or neither a name nor a folder was given.
    pub async fn read(&self, ctx: &Context, name: Option<&str>) -> Result<Source, MagicError> {
        // No name has an @ in it: `NAME@ID` is one of several that were deleted.
        let is_deleted = name.is_some_and(|name| name.contains('@')) && self.from.is_none();
        if self.deleted || is_deleted {
            let folder = deleted(ctx, &self.place, name).await?.folder;
            let flags = format!("--deleted{}", self.place.kubectl());
            let mut source = read_folder(ctx, &folder).await?;
            source.flags = flags;
            if let Some(name) = name {
                name.clone_into(&mut source.known_as);
            }
            return Ok(source);
        }
        match (&self.from, name) {
            (Some(folder), name) => {
                let source = read_folder(ctx, folder).await?;
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
                let (experiment, trials) = or_kept(ctx, &cluster, name, reading).await?;
                Ok(Source {
                    known_as: experiment.metadata.name().to_owned(),
                    experiment,
                    trials,
                    flags: self.place.kubectl().trim().to_owned(),
                    origin: Origin::Cluster(cluster),
                })
            }
            (None, None) => Err(MagicError::usage("which experiment?")
                .hint("write its name, or --from and the folder of an export; `:experiments` lists those there are")),
        }
    }

    /// The command that reads the same, by kubectl or from the folder.
    pub fn explain(&self, name: Option<&str>) -> Vec<String> {
        if self.deleted {
            return vec![format!("cat {}", kept_files(name, "trials.json"))];
        }
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

/// The files that are kept of experiments, for a shell.
pub fn kept_files(name: Option<&str>, file: &str) -> String {
    let folder = match name.map(|name| name.split_once('@').unwrap_or((name, ""))) {
        Some((name, id)) => format!("{}.{id}*", quoted(name)),
        None => "*".to_owned(),
    };
    format!("${{KATLAB_HOME:-~/.local/share/katlab}}/kept/*/*/{folder}/{file}")
}

/// What was kept of a deleted experiment, by its name or as `NAME@ID`.
///
/// # Errors
/// When nothing of that name is kept, or it is still there.
pub async fn deleted(
    ctx: &Context,
    place: &NamespaceArgs,
    name: Option<&str>,
) -> Result<Entry, MagicError> {
    let Some(name) = name else {
        return Err(MagicError::usage("which experiment?")
            .hint("write its name; `:trials --deleted` lists those that are kept"));
    };
    let cluster = place.cluster(ctx).await?;
    let store = ctx.session.kept()?;
    let scope = Scope::Namespace(cluster.namespace.clone());
    // Notes which are gone.
    gone(ctx, &store, &cluster, &scope).await?;
    let mut found = store.find(&kept::identity(&cluster), &cluster.namespace, name)?;
    let entry = found.remove(0);
    if !found.is_empty() {
        let others: Vec<String> = found
            .iter()
            .map(|one| format!("{}@{}", one.index.whose.name, one.index.whose.id()))
            .collect();
        ctx.output.note(format!(
            "the one made last is shown; before it there were {}",
            others.join(", ")
        ));
    }
    Ok(entry)
}

/// What was kept of a deleted experiment or of a trial, whichever has that name; and the trial, if it is one.
///
/// # Errors
/// When nothing of that name is kept, or it is an experiment that is still there.
pub async fn deleted_of_either(
    ctx: &Context,
    place: &NamespaceArgs,
    name: &str,
) -> Result<(Entry, Option<String>), MagicError> {
    let cluster = place.cluster(ctx).await?;
    if let Ok((entry, trial)) = kept_trial(ctx, &cluster, name).await {
        return Ok((entry, Some(trial)));
    }
    let error = match deleted(ctx, place, Some(name)).await {
        Ok(entry) => return Ok((entry, None)),
        Err(error) => error,
    };
    // Of a trial it is where one has the name that is nearest.
    let (store, known) = (ctx.session.kept()?, kept::identity(&cluster));
    let of_trial = store.find_trial(&known, &cluster.namespace, name).err();
    let of_experiment = store.find(&known, &cluster.namespace, name).err();
    let near = |error: &Option<kept::Error>| match error {
        Some(kept::Error::Unknown { near, .. }) => near.clone(),
        _ => Vec::new(),
    };
    let trials = near(&of_trial);
    let all = [near(&of_experiment), trials.clone()].concat();
    let nearest = nearest::to(name, all.iter().map(String::as_str));
    let is_trial = nearest
        .first()
        .is_some_and(|name| trials.iter().any(|one| one == name));
    match of_trial.filter(|_| is_trial && !is_kept(ctx, &cluster, name)) {
        Some(of_trial) => Err(of_trial.into()),
        None => Err(error),
    }
}

/// What was kept of a trial, deleted or not, and the trial's name.
///
/// # Errors
/// When nothing of it is kept.
pub async fn deleted_trial(
    ctx: &Context,
    place: &NamespaceArgs,
    name: &str,
) -> Result<(Entry, String), MagicError> {
    kept_trial(ctx, &place.cluster(ctx).await?, name).await
}

/// As [`deleted_trial`], on a cluster that is known already; a pod's name will do as well.
///
/// # Errors
/// When nothing of it is kept.
pub async fn kept_trial(
    ctx: &Context,
    cluster: &Cluster,
    name: &str,
) -> Result<(Entry, String), MagicError> {
    let store = ctx.session.kept()?;
    ctx.or_interrupted(async {
        ctx.session.settle_kept().await;
        store.find_trial(&kept::identity(cluster), &cluster.namespace, name)
    })
    .await
}

/// The deleted experiments of which something is kept.
///
/// # Errors
/// When the person interrupts.
pub async fn gone(
    ctx: &Context,
    store: &Store,
    cluster: &Cluster,
    scope: &Scope,
) -> Result<Vec<Entry>, MagicError> {
    let gone = ctx
        .or_interrupted(async {
            ctx.session.settle_kept().await;
            Ok::<_, MagicError>(kept::gone(store, cluster, scope).await)
        })
        .await?;
    if let Some(why) = gone.unsure {
        ctx.output.warn(format!(
            "only what is known to be deleted is shown, because the cluster cannot be asked: {why}"
        ));
    }
    Ok(gone.entries)
}

/// Whether something is kept of an experiment of this name, in the cluster's namespace.
pub fn is_kept(ctx: &Context, cluster: &Cluster, name: &str) -> bool {
    let Ok(store) = ctx.session.kept() else {
        return false;
    };
    let here = store.list_of(&kept::identity(cluster), Some(&cluster.namespace));
    here.iter().any(|entry| entry.index.whose.name == name)
}

/// The answer to a question about an experiment. Where it is not there, but was deleted and is kept, the error
/// says so.
///
/// # Errors
/// That of the question, or when the person interrupts.
pub async fn or_kept<T>(
    ctx: &Context,
    cluster: &Cluster,
    name: &str,
    answer: impl Future<Output = Result<T, cluster::Error>>,
) -> Result<T, MagicError> {
    let asking = async {
        match Box::pin(answer).await {
            Ok(found) => Ok(found),
            Err(error) => Err(kept_instead(ctx, cluster, name, error).await),
        }
    };
    ctx.or_interrupted(asking).await
}

async fn kept_instead(
    ctx: &Context,
    cluster: &Cluster,
    name: &str,
    error: cluster::Error,
) -> MagicError {
    let is_gone = error.is_not_found();
    let error = MagicError::from(error);
    if is_gone && is_kept(ctx, cluster, name) {
        let place = elsewhere(ctx, &cluster.namespace).await;
        error.hint(format!(
            "if it was deleted, --deleted shows what is kept of it: `:trials {name} --deleted{place}`"
        ))
    } else {
        error
    }
}

/// Reads an exported experiment.
///
/// # Errors
/// When there is no export, or the person interrupts.
pub async fn read_folder(ctx: &Context, folder: &std::path::Path) -> Result<Source, MagicError> {
    let (context, folder) = (ctx.clone(), folder.to_owned());
    ctx.compute(move || folder_source(&context, &folder)).await
}

fn folder_source(ctx: &Context, folder: &std::path::Path) -> Result<Source, MagicError> {
    let path = ctx.session.resolve(folder);
    let mut archive = archive::read(&path)?;
    Ok(Source {
        flags: from(folder),
        known_as: archive.experiment.metadata.name().to_owned(),
        experiment: std::mem::take(&mut archive.experiment),
        trials: std::mem::take(&mut archive.trials),
        origin: Origin::Folder {
            path,
            archive: Box::new(archive),
        },
    })
}

/// The flag that reads an export.
fn from(folder: &std::path::Path) -> String {
    format!("--from {}", quoted(&folder.display().to_string()))
}

impl From<archive::Error> for MagicError {
    fn from(error: archive::Error) -> Self {
        Self::new(error.to_string()).hint(error.hint())
    }
}

impl Source {
    /// One of the trials of an export, whose folder was named so.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn trial(&self, name: &str, folder: &std::path::Path) -> Result<&Trial, MagicError> {
        let found = self.trials.iter().find(|one| one.metadata.name() == name);
        found.ok_or_else(|| {
            let error = MagicError::usage(format!("{} has no trial {name}", folder.display()));
            let known = self.trials.iter().map(|one| one.metadata.name());
            match nearest::to(name, known).first() {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!("`:trials {}` lists them", from(folder))),
            }
        })
    }

    /// The trials as numbers.
    pub fn table(&self) -> TrialTable {
        TrialTable {
            flags: self.flags.clone(),
            known_as: self.known_as.clone(),
            ..TrialTable::new(&self.experiment, &self.trials)
        }
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
        let listed = self.listed();
        let rows = katib::trials::Listing::new(&listed, jiff::Timestamp::now());
        let kept = list.filter(&rows)?;
        let never = kept.is_empty().then(|| list.never(&rows));
        let names: HashSet<&str> = kept
            .into_iter()
            .map(|row| listed.rows[row].name.as_str())
            .collect();
        if names.is_empty() && !table.rows.is_empty() {
            return Err(MagicError::new(format!(
                "none of the {} trials of {} satisfies --where{}",
                table.rows.len(),
                table.experiment,
                never.unwrap_or_default()
            ))
            .hint(format!("`:trials {}` shows them", table.asked())));
        }
        table.rows.retain(|row| names.contains(row.name.as_str()));
        Ok(table)
    }

    /// When the trials' Jobs ran, as far as they are still there.
    pub async fn work(&self) -> BTreeMap<String, Work> {
        match &self.origin {
            Origin::Cluster(cluster) => archive::work(cluster, &self.trials).await,
            Origin::Folder { archive, .. } => archive.work.clone(),
        }
    }

    /// The observation logs that the folder holds, by trial; a cluster is asked for each trial's.
    ///
    /// # Errors
    /// When the folder's file cannot be read.
    pub fn exported_metrics(&self) -> Result<BTreeMap<String, Vec<Point>>, MagicError> {
        match &self.origin {
            Origin::Cluster(_) => Ok(BTreeMap::new()),
            Origin::Folder { path, .. } => Ok(archive::metrics(path)?),
        }
    }
}

#[cfg(test)]
mod tests;
