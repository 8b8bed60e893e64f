//! `:why`.

use std::collections::BTreeMap;

use clap::Parser;
use futures::FutureExt as _;
use katlab_lab::cluster::Cluster;
use katlab_lab::katib::evidence::Evidence;
use katlab_lab::katib::why::{self, Archived, Asked, Diagnosis, Kept, Mood};

use super::stacked;
use crate::event::Bundle;
use crate::magics::analysis::{
    Origin, SourceArgs, deleted_of_either, kept_files, kept_trial, or_kept, read_folder,
};
use crate::magics::kubernetes::logs::lines;
use crate::magics::kubernetes::{elsewhere, quoted};
use crate::magics::{Context, Magic, MagicError};
use crate::render::key_values::Details;
use crate::render::status::Status;
use crate::render::table::Cell;

/// Explain why a trial or an experiment does not do what it should, and what to do about it
///
/// Conditions, Job, Pods, containers, events and the end of the log are read together, also from what was kept or
/// exported of them.
#[derive(Debug, Parser)]
pub struct Why {
    /// The trial or the experiment; with --from the exported experiment when left out
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
}

impl Magic for Why {
    const NAME: &'static str = "why";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        if self.name.is_none() && self.source.from.is_none() {
            let hint = match self.source.deleted {
                true => "write its name; `:trials --deleted` lists what is kept",
                false => {
                    "write its name, or --from and the folder of an export; `:experiments` and `:trials` list those there are"
                }
            };
            return Err(MagicError::usage("which trial or experiment?").hint(hint));
        }
        let name = self.name.as_deref().unwrap_or_default();
        let found = if self.source.from.is_some() || self.source.deleted || name.contains('@') {
            self.archived(ctx).await?
        } else {
            let cluster = self.source.place.cluster(ctx).await?;
            let place = elsewhere(ctx, &cluster.namespace).await;
            let kept = |trial: String| kept(ctx, &cluster, trial).boxed();
            let asked = Asked {
                cluster: &cluster,
                namespace: &cluster.namespace,
                place: &place,
                kept: &kept,
            };
            or_kept(ctx, &cluster, name, why::explain(&asked, name)).await?
        };
        ctx.output.show(bundle(&found));
        Ok(())
    }

    fn explain(&self) -> Vec<String> {
        let name = self.name.as_deref().unwrap_or_default();
        if self.source.deleted || name.contains('@') {
            return vec![format!(
                "grep {} {}",
                quoted(name),
                kept_files(None, "trials.json")
            )];
        }
        if self.source.from.is_some() {
            return self.source.explain(None);
        }
        let name = quoted(name);
        let place = self.source.place.kubectl();
        // Only the cluster knows whether it is the name of a trial or of an experiment.
        vec![
            format!(
                "kubectl get trials,experiments,jobs{place} --field-selector metadata.name={name} -o yaml"
            ),
            format!("kubectl get events{place} --field-selector involvedObject.name={name}"),
            "# of a trial:".to_owned(),
            format!("kubectl describe pods -l katib.kubeflow.org/trial={name}{place}"),
            format!(
                "kubectl logs -l katib.kubeflow.org/trial={name}{place} --all-containers --tail 12"
            ),
            "# of an experiment:".to_owned(),
            format!("kubectl get trials,pods -l katib.kubeflow.org/experiment={name}{place}"),
        ]
    }
}

impl Why {
    /// Explains what was exported or kept.
    async fn archived(&self, ctx: &Context) -> Result<Diagnosis, MagicError> {
        let (folder, trial) = match (&self.source.from, &self.name) {
            (Some(folder), name) => (folder.clone(), name.clone()),
            (None, name) => {
                let name = name.as_deref().unwrap_or_default();
                let (entry, trial) = deleted_of_either(ctx, &self.source.place, name).await?;
                (entry.folder, trial)
            }
        };
        let source = read_folder(ctx, &folder).await?;
        let experiment = source.experiment.metadata.name();
        let trial = match trial.filter(|name| name != experiment) {
            Some(name) => Some(source.trial(&name, &folder)?),
            None => None,
        };
        let from = match &self.source.from {
            Some(folder) => format!(" --from {}", quoted(&folder.display().to_string())),
            None => format!(" --deleted{}", self.source.place.kubectl()),
        };
        let path = ctx.session.resolve(&folder);
        let trial = trial.cloned();
        let place = self.source.place.kubectl();
        ctx.compute(move || {
            let work = match &source.origin {
                Origin::Folder { archive, .. } => archive.work.clone(),
                Origin::Cluster(_) => BTreeMap::new(),
            };
            let archived = Archived {
                experiment: &source.experiment,
                trials: &source.trials,
                work: &work,
                evidence: &Evidence::read(&path),
                folder: &path,
                from: &from,
                place: &place,
            };
            Ok(why::explain_archived(&archived, trial.as_ref()))
        })
        .await
    }
}

/// So many lines of the end of a log tell how a trial ended.
const LINES: usize = 1000;

/// What is kept of a trial whose pods are gone.
async fn kept(ctx: &Context, cluster: &Cluster, trial: String) -> Option<Kept> {
    let (entry, trial) = kept_trial(ctx, cluster, &trial).await.ok()?;
    let read = move || {
        let log = entry.index.logs.get(&trial).and_then(|note| {
            let end = lines(&entry.folder, &trial, Some(LINES)).ok()?;
            let whose = format!("pod {}, as katlab kept its log", note.pod);
            Some((whose, end.into()))
        });
        let evidence = Evidence::read(&entry.folder);
        Ok(Kept { log, evidence })
    };
    ctx.compute(read).await.ok()
}

fn bundle(found: &Diagnosis) -> Bundle {
    let status = match found.mood {
        Mood::Well => Status::Ok,
        Mood::Waiting => Status::Running,
        Mood::Trouble => Status::Failed,
    };
    let mut details = Details::new(
        Cell::text(format!("{}: {}", found.subject, found.verdict)).with_status(status),
    );
    for (number, advice) in found.advice.iter().enumerate() {
        let name = if number == 0 { "What to do" } else { "" };
        details.row(name, advice.clone());
    }
    let mut facts = Details::new("What was seen");
    for fact in &found.facts {
        facts.row(fact.about.clone(), fact.seen.clone());
    }
    let mut parts = vec![details.bundle(), facts.bundle()];
    if let Some((whose, lines)) = &found.log {
        let mut log = Details::new("The end of the log");
        log.row(whose.clone(), lines.join("\n"));
        parts.push(log.bundle());
    }
    stacked(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_fit_a_trial_and_an_experiment() {
        let why = Why::try_parse_from(["why", "mnist", "-n", "team-b"]).unwrap();
        let commands = why.explain();
        assert!(commands[0].starts_with("kubectl get trials,experiments,jobs -n team-b "));
        assert!(
            commands
                .iter()
                .all(|line| !line.contains("describe trial "))
        );
    }
}
