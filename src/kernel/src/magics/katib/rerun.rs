//! `:rerun`: a trial once more, as an experiment of one trial.

use std::collections::BTreeMap;

use clap::Parser;
use katlab_katib::types::{
    AlgorithmSpec, Experiment, FeasibleSpace, ObjectMeta, ParameterSpec, ParameterType, Trial,
};
use katlab_lab::katib::{experiments, images, trials};
use serde_json::Value as Json;

use super::proposal::ProposalArgs;
use crate::magics::analysis::{Origin, SourceArgs, deleted_trial, folder_source};
use crate::magics::kubernetes::{NamespaceArgs, quoted};
use crate::magics::{Context, Magic, MagicError, nearest};

/// Run a trial again: the same image by its digest, the same arguments, as an experiment of one trial
///
/// `:rerun TRIAL` takes the trial of that name, `:rerun best EXPERIMENT` the best one. The Experiment is
/// shown; nothing runs until it is created. Where the digest of the image is not known any more, the name
/// is used, and that is said: it may stand for another image by now.
#[derive(Debug, Parser)]
pub struct Rerun {
    /// The trial, or `best`
    #[arg(value_name = "TRIAL|best")]
    trial: String,
    /// The experiment whose best trial is meant
    #[arg(value_name = "EXPERIMENT")]
    experiment: Option<String>,
    /// The name of the new experiment [default: the trial's with -rerun]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    proposal: ProposalArgs,
    #[command(flatten)]
    source: SourceArgs,
}

/// The word that is no trial's name here.
const BEST: &str = "best";

impl Magic for Rerun {
    const NAME: &'static str = "rerun";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        if self.trial != BEST && self.experiment.is_some() {
            return Err(
                MagicError::usage("a trial belongs to one experiment already")
                    .hint("write `:rerun TRIAL`, or `:rerun best EXPERIMENT`"),
            );
        }
        let (experiment, trial, pinned) = if self.source.from.is_some() || self.source.deleted {
            self.of_folder(ctx).await?
        } else {
            self.of_cluster(ctx).await?
        };
        let name = self
            .name
            .clone()
            .unwrap_or_else(|| format!("{}-rerun", trial.metadata.name()));
        let again = again(&experiment, &trial, &name, &pinned)?;
        for image in &again.unpinned {
            ctx.output.warn(format!(
                "the digest of {image} is not known: what the name stands for now is run"
            ));
        }
        if let Some(reached) = reached(&experiment, &trial) {
            ctx.output
                .note(format!("{} reached {reached}", trial.metadata.name()));
        }
        self.proposal
            .propose(ctx, &again.experiment, &self.place())
            .await
    }

    fn explain(&self) -> Vec<String> {
        let mut lines = self.source.explain(self.experiment.as_deref());
        let name = self
            .name
            .clone()
            .unwrap_or_else(|| format!("{}-rerun", self.trial));
        if self.source.from.is_none() && !self.source.deleted && self.trial != BEST {
            lines = vec![format!(
                "kubectl get trial {}{} -o yaml",
                quoted(&self.trial),
                self.source.place.kubectl()
            )];
        }
        lines.extend(self.proposal.explain(&name, &self.place()));
        lines
    }
}

type Found = (Experiment, Trial, BTreeMap<String, String>);

impl Rerun {
    fn place(&self) -> NamespaceArgs {
        self.source.place.clone()
    }

    async fn of_folder(&self, ctx: &Context) -> Result<Found, MagicError> {
        let source = if self.source.deleted && self.trial != BEST {
            let entry = deleted_trial(ctx, &self.source.place, &self.trial).await?.0;
            folder_source(ctx, &entry.folder)?
        } else {
            self.source.read(ctx, self.experiment.as_deref()).await?
        };
        let name = if self.trial == BEST {
            best_of(&source.experiment)?
        } else {
            self.trial.clone()
        };
        let known = source.trials.iter().map(|one| one.metadata.name());
        let Some(trial) = source.trials.iter().find(|one| one.metadata.name() == name) else {
            let error = MagicError::usage(format!(
                "the export of {} has no trial {name}",
                source.experiment.metadata.name()
            ));
            return Err(match nearest::to(&name, known).first() {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("`:trials --from DIR` lists them"),
            });
        };
        let pinned = match &source.origin {
            Origin::Folder { archive, .. } => archive.provenance.as_ref(),
            Origin::Cluster(_) => None,
        };
        let pinned = pinned.map(|made| made.pinned(&name)).unwrap_or_default();
        Ok((source.experiment.clone(), trial.clone(), pinned))
    }

    async fn of_cluster(&self, ctx: &Context) -> Result<Found, MagicError> {
        if self.trial == BEST && self.experiment.is_none() {
            return Err(MagicError::usage("the best of which experiment?")
                .hint("write `:rerun best EXPERIMENT`; `:experiments` lists them"));
        }
        let cluster = self.source.place.cluster(ctx).await?;
        let namespace = cluster.namespace.as_str();
        let found = async {
            let (experiment, name) = match &self.experiment {
                Some(experiment) => {
                    let experiment = experiments::get(&cluster, namespace, experiment).await?;
                    let name = best_of(&experiment)?;
                    (Some(experiment), name)
                }
                None => (None, self.trial.clone()),
            };
            let trial = trials::get(&cluster, namespace, &name).await?;
            let experiment = match experiment {
                Some(experiment) => experiment,
                None => {
                    let of = trials::row(&cluster, &trial).await.experiment;
                    experiments::get(&cluster, namespace, &of).await?
                }
            };
            let pinned = images::pinned(&cluster, namespace, &name).await?;
            Ok::<_, MagicError>((experiment, trial, pinned))
        };
        ctx.or_interrupted(found).await
    }
}

/// The trial that Katib chose.
fn best_of(experiment: &Experiment) -> Result<String, MagicError> {
    let best = experiment
        .status
        .as_ref()
        .map(|status| status.current_optimal_trial.best_trial_name.clone());
    best.filter(|name| !name.is_empty()).ok_or_else(|| {
        let name = experiment.metadata.name();
        MagicError::new(format!("experiment {name} has no best trial"))
            .hint(format!("`:trials {name}` shows how far its trials are"))
    })
}

/// `accuracy 0.986`.
fn reached(experiment: &Experiment, trial: &Trial) -> Option<String> {
    let metric = &experiment.spec.objective.as_ref()?.objective_metric_name;
    let row = trials::TrialRow::of(trial, &[]);
    Some(format!("{metric} {}", super::text(row.metric(metric)?)))
}

struct Again {
    experiment: Experiment,
    /// Images that are run by name.
    unpinned: Vec<String>,
}

/// The experiment that runs one trial as `trial` was run.
fn again(
    experiment: &Experiment,
    trial: &Trial,
    name: &str,
    pinned: &BTreeMap<String, String>,
) -> Result<Again, MagicError> {
    let mut spec = experiment.spec.clone();
    // A list of one keeps the value as it was written; a range would write it anew.
    spec.parameters = trial
        .spec
        .parameter_assignments
        .iter()
        .map(|assignment| ParameterSpec {
            name: assignment.name.clone(),
            parameter_type: ParameterType::Categorical,
            feasible_space: FeasibleSpace {
                list: vec![assignment.value.clone()],
                ..FeasibleSpace::default()
            },
        })
        .collect();
    spec.algorithm = Some(AlgorithmSpec {
        algorithm_name: "random".to_owned(),
        ..AlgorithmSpec::default()
    });
    // It is to run to its end, whatever others did.
    spec.early_stopping = None;
    (spec.max_trial_count, spec.parallel_trial_count) = (Some(1), Some(1));
    spec.max_failed_trial_count = Some(0);
    if let Some(objective) = &mut spec.objective {
        objective.goal = None;
    }
    let mut unpinned = Vec::new();
    let template = spec.trial_template.as_mut();
    let Some(run) = template.and_then(|template| template.trial_spec.as_mut()) else {
        return Err(MagicError::new(format!(
            "the template of {} stands in a ConfigMap, and cannot be pinned to an image",
            experiment.metadata.name()
        ))
        .hint("copy it into spec.trialTemplate.trialSpec and create the experiment by hand"));
    };
    let ran = trial.spec.run_spec.as_ref();
    for part in ["initContainers", "containers"] {
        let path = format!("/spec/template/spec/{part}");
        let containers = run.pointer_mut(&path).and_then(Json::as_array_mut);
        for container in containers.into_iter().flatten() {
            let of = container["name"].as_str().unwrap_or_default().to_owned();
            // A parameter may have chosen the image; what ran is in the trial.
            let image = ran
                .and_then(|ran| ran.pointer(&path)?.as_array())
                .and_then(|all| all.iter().find(|one| one["name"] == of.as_str()))
                .and_then(|one| one["image"].as_str())
                .or(container["image"].as_str())
                .unwrap_or_default()
                .to_owned();
            if image.contains("@sha256:") {
                continue;
            }
            match pinned.get(&of) {
                Some(digest) => container["image"] = Json::from(digest.clone()),
                None => unpinned.push(image),
            }
        }
    }
    Ok(Again {
        experiment: Experiment {
            api_version: experiment.api_version.clone(),
            kind: experiment.kind.clone(),
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            spec,
            status: None,
        },
        unpinned,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_trial_is_run_again_by_digest_and_with_its_values_as_they_were() {
        let pod = |image: &str, rate: &str| {
            json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {
                "containers": [{"name": "training", "image": image, "command": ["train", rate]}]}}}})
        };
        let experiment: Experiment = serde_json::from_value(json!({
            "apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment",
            "metadata": {"name": "digits", "uid": "1"},
            "spec": {
                "objective": {"type": "maximize", "goal": 0.9, "objectiveMetricName": "accuracy"},
                "algorithm": {"algorithmName": "tpe"}, "maxTrialCount": 50, "parallelTrialCount": 5,
                "earlyStopping": {"algorithmName": "medianstop"},
                "parameters": [{"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}],
                "trialTemplate": {"primaryContainerName": "training",
                    "trialParameters": [{"name": "lr", "reference": "lr"}],
                    "trialSpec": pod("host/a:1", "--lr=${trialParameters.lr}")}},
            "status": {"currentOptimalTrial": {"bestTrialName": "digits-1", "observation": {}}},
        }))
        .unwrap();
        let trial: Trial = serde_json::from_value(json!({
            "metadata": {"name": "digits-1"},
            "spec": {"parameterAssignments": [{"name": "lr", "value": "0.10"}],
                     "runSpec": pod("host/a:1", "--lr=0.10")},
        }))
        .unwrap();
        assert_eq!(best_of(&experiment).unwrap(), "digits-1");
        let pinned = [("training".to_owned(), "host/a@sha256:12".to_owned())].into();
        let again = again(&experiment, &trial, "digits-1-rerun", &pinned).unwrap();
        assert!(again.unpinned.is_empty());
        let made = serde_json::to_value(&again.experiment).unwrap();
        assert_eq!(made["metadata"], json!({"name": "digits-1-rerun"}));
        assert_eq!(made["spec"]["maxTrialCount"], 1);
        assert_eq!(
            made["spec"]["parameters"][0]["feasibleSpace"],
            json!({"list": ["0.10"]})
        );
        assert!(made["spec"].get("earlyStopping").is_none() && made.get("status").is_none());
        assert!(made["spec"]["objective"].get("goal").is_none());
        let container = &made["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"]
            [0];
        assert_eq!(container["image"], "host/a@sha256:12");
        assert_eq!(container["command"][1], "--lr=${trialParameters.lr}");
        let by_name = super::again(&experiment, &trial, "x", &BTreeMap::new()).unwrap();
        assert_eq!(by_name.unpinned, ["host/a:1"]);
    }
}
