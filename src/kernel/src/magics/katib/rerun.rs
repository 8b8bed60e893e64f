//! `:rerun`: a trial once more, in a container or as an experiment of one trial.

mod container;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Parser;
use katlab_katib::names::MAX_NAME_LENGTH;
use katlab_katib::types::{
    AlgorithmSpec, Experiment, FeasibleSpace, ObjectMeta, ParameterSpec, ParameterType, Trial,
};
use katlab_lab::docker::Engine;
use katlab_lab::katib::images::{self, Identity};
use katlab_lab::katib::kept::Whose;
use katlab_lab::katib::{experiments, trials};
use serde_json::Value as Json;

use self::container::{Heard, Primary};
use super::proposal::ProposalArgs;
use crate::magics::analysis::{Origin, SourceArgs, deleted_trial, or_kept, read_folder};
use crate::magics::images::run::{Run, command_line, finish, follow};
use crate::magics::images::{EngineArgs, engine, short};
use crate::magics::kubernetes::{NamespaceArgs, quoted};
use crate::magics::{Context, Magic, MagicError, nearest};

/// Run a trial again: the same image by its digest, the same arguments, in a container or as an experiment
///
/// `:rerun TRIAL` takes the trial of that name, `:rerun best EXPERIMENT` the best one. An Experiment of
/// one trial is shown; nothing runs until it is created. Where the digest of the image is not known any
/// more, the name is used, and that is said: it may stand for another image by now.
///
/// `--container` runs the trial's primary container at once on the engine that `:run` uses, with its
/// command, arguments, plain variables, working directory and limit of memory, and shows what the trial's metric filters
/// read from what it prints beside what the trial had. Values of Secrets and ConfigMaps, volumes and other
/// limits are left out, and that is said.
#[derive(Debug, Parser)]
pub struct Rerun {
    /// The trial, or `best`
    #[arg(value_name = "TRIAL|best")]
    trial: String,
    /// The experiment whose best trial is meant
    #[arg(value_name = "EXPERIMENT")]
    experiment: Option<String>,
    /// Run its container at once on the Docker Engine, with no experiment
    #[arg(long, conflicts_with_all = ["create", "output", "force", "name"])]
    container: bool,
    /// The name of the new experiment [default: the trial's with -rerun, shortened where it is too long]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    proposal: ProposalArgs,
    #[command(flatten)]
    source: SourceArgs,
}

/// The word that is no trial's name here.
const BEST: &str = "best";
/// What is put behind a trial's name.
const AGAIN: &str = "-rerun";

impl Magic for Rerun {
    const NAME: &'static str = "rerun";
    // Time to ask the program to end and to remove its container.
    const GRACE: Duration = Run::GRACE;

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        if self.trial != BEST && self.experiment.is_some() {
            return Err(
                MagicError::usage("a trial belongs to one experiment already")
                    .hint("write `:rerun TRIAL`, or `:rerun best EXPERIMENT`"),
            );
        }
        let found = if self.source.from.is_some() || self.source.deleted {
            self.of_folder(ctx).await?
        } else {
            self.of_cluster(ctx).await?
        };
        if self.container {
            return in_container(ctx, &found).await;
        }
        let Found {
            experiment,
            trial,
            ran,
            is_near,
        } = &found;
        let name = self
            .name
            .clone()
            .unwrap_or_else(|| default_name(trial.metadata.name()));
        let again = again(experiment, trial, &name, ran)?;
        for one in &again.unpinned {
            one.tell(ctx, *is_near).await?;
        }
        tell_reached(ctx, &found);
        self.proposal
            .propose(ctx, &again.experiment, &self.place())
            .await
    }

    fn explain(&self) -> Vec<String> {
        let place = self.source.place.kubectl();
        let is_read = self.source.from.is_some() || self.source.deleted;
        let trial = if self.trial == BEST {
            "TRIAL"
        } else {
            &self.trial
        };
        let mut lines = match &self.experiment {
            _ if is_read => self.source.explain(self.experiment.as_deref()),
            Some(experiment) => vec![format!(
                "kubectl get experiment {}{place} -o jsonpath='{{.status.currentOptimalTrial.bestTrialName}}'",
                quoted(experiment)
            )],
            None => Vec::new(),
        };
        if !is_read {
            lines.push(format!(
                "kubectl get trial {}{place} -o yaml",
                quoted(trial)
            ));
        }
        if self.container {
            lines.push(
                "docker run --rm -e NAME=VALUE -w DIRECTORY --entrypoint PROGRAM IMAGE@sha256:DIGEST ARGUMENTS"
                    .to_owned(),
            );
            return lines;
        }
        let name = self.name.clone().unwrap_or_else(|| default_name(trial));
        lines.extend(self.proposal.explain(&name, &self.place()));
        lines
    }
}

/// A trial to run again.
struct Found {
    experiment: Experiment,
    trial: Trial,
    /// What its images are known by, by container.
    ran: BTreeMap<String, Identity>,
    /// Whether it may have run on this machine's engine.
    is_near: bool,
}

impl Rerun {
    fn place(&self) -> NamespaceArgs {
        self.source.place.clone()
    }

    async fn of_folder(&self, ctx: &Context) -> Result<Found, MagicError> {
        let source = if self.source.deleted && self.trial != BEST {
            let entry = deleted_trial(ctx, &self.source.place, &self.trial).await?.0;
            read_folder(ctx, &entry.folder).await?
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
        let made = match &source.origin {
            Origin::Folder { archive, .. } => archive.provenance.as_ref(),
            Origin::Cluster(_) => None,
        };
        Ok(Found {
            ran: made.map(|made| made.ran(&name)).unwrap_or_default(),
            trial: trial.clone(),
            experiment: source.experiment,
            is_near: true,
        })
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
                    let found = experiments::get(&cluster, namespace, experiment);
                    let experiment = or_kept(ctx, &cluster, experiment, found).await?;
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
            let mut ran = images::ran(&cluster, namespace, &name).await?;
            if ran.is_empty() {
                let store = ctx.session.kept()?;
                let kept = store.provenance(&Whose::of(&cluster, &experiment));
                ran = kept.map(|kept| kept.ran(&name)).unwrap_or_default();
            }
            Ok::<_, MagicError>(Found {
                experiment,
                trial,
                ran,
                is_near: cluster.is_sandbox(),
            })
        };
        ctx.or_interrupted(found).await
    }
}

/// The name of a new experiment after a trial, as long as Katib takes one.
fn default_name(trial: &str) -> String {
    let name = format!("{trial}{AGAIN}");
    if name.len() <= MAX_NAME_LENGTH {
        return name;
    }
    // The trial's own part tells it from its fellows, so the experiment's is cut.
    let (experiment, own) = trial.rsplit_once('-').unwrap_or((trial, ""));
    let tail = match own.len() {
        1..=12 => format!("-{own}{AGAIN}"),
        _ => AGAIN.to_owned(),
    };
    let room = MAX_NAME_LENGTH - tail.len();
    let head: String = experiment.chars().take(room).collect();
    format!("{}{tail}", head.trim_end_matches('-'))
}

fn tell_reached(ctx: &Context, found: &Found) {
    if let Some(reached) = reached(&found.experiment, &found.trial) {
        ctx.output
            .note(format!("{} reached {reached}", found.trial.metadata.name()));
    }
}

/// Runs the trial's primary container on the engine, and shows what it reached now.
async fn in_container(ctx: &Context, found: &Found) -> Result<(), MagicError> {
    let trial = &found.trial;
    let Primary {
        name,
        mut wanted,
        left_out,
    } = Primary::of(trial)?;
    let mut heard = Heard::new(trial).map_err(|error| {
        let hint = error.hint();
        MagicError::new(error.to_string()).maybe_hint(hint)
    })?;
    let engine = engine(ctx, &EngineArgs::default()).await?;
    let title = wanted.image.clone();
    let known = found.ran.get(&name).cloned().unwrap_or_default();
    wanted.image = image(ctx, &engine, &title, known).await?;
    if !left_out.is_empty() {
        ctx.output.warn(format!(
            "left out, as only the cluster has it: {}",
            left_out.join(", ")
        ));
    }
    tell_reached(ctx, found);
    ctx.output.note(command_line(&wanted));
    let ran = follow(ctx, &engine, &wanted, &title, &mut |stream, text| {
        heard.take(stream, text);
    })
    .await?;
    match heard.observation() {
        Ok(Some(now)) => ctx.output.table(&container::beside(trial, now)),
        Ok(None) => ctx.output.note(match container::elsewhere(trial) {
            Some(path) => format!(
                "no metric is read from what it printed: the trial's came from {path}, which went with the container"
            ),
            None => "no metric is read from what it printed; `:metrics test` tries the filter on a log".to_owned(),
        }),
        Err(error) => ctx.output.warn(error.to_string()),
    }
    finish(ctx, &ran, &title)
}

/// By what the image that a trial ran is run again, the surest first.
async fn image(
    ctx: &Context,
    engine: &Engine,
    name: &str,
    known: Identity,
) -> Result<String, MagicError> {
    if name.contains("@sha256:") {
        return Ok(name.to_owned());
    }
    if let Some(digest) = known.digest {
        return Ok(digest);
    }
    let Some(id) = known.id else {
        ctx.output.warn(unknown(name));
        return Ok(name.to_owned());
    };
    if ctx.or_interrupted(engine.has_image(&id)).await? {
        return Ok(id);
    }
    ctx.output.warn(format!(
        "the image {} that ran is not on this engine any more: what {name} stands for now is run",
        short(&id)
    ));
    Ok(name.to_owned())
}

fn unknown(image: &str) -> String {
    format!("the digest of {image} is not known: what the name stands for now is run")
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
    unpinned: Vec<Unpinned>,
}

/// An image that is run by name.
#[derive(Debug, PartialEq, Eq)]
struct Unpinned {
    name: String,
    /// The id of the one that ran, where that is known.
    id: Option<String>,
}

/// What an engine has under a name.
enum Now {
    Same,
    Other(String),
    Nothing,
    Unknown,
}

impl Unpinned {
    /// Says what is run; `is_near` where the engine of this machine may have the image that ran.
    async fn tell(&self, ctx: &Context, is_near: bool) -> Result<(), MagicError> {
        let Some(id) = &self.id else {
            ctx.output.warn(unknown(&self.name));
            return Ok(());
        };
        let now = match is_near {
            true => {
                ctx.or_interrupted(async { Ok::<_, MagicError>(self.now(ctx, id).await) })
                    .await?
            }
            false => Now::Unknown,
        };
        let text = self.words(id, &now);
        match now {
            Now::Same => ctx.output.note(text),
            _ => ctx.output.warn(text),
        }
        Ok(())
    }

    async fn now(&self, ctx: &Context, id: &str) -> Now {
        let Ok(engine) = ctx.session.docker().await else {
            return Now::Unknown;
        };
        match engine.image_id(&self.name).await {
            Ok(Some(now)) if bare(&now) == bare(id) => Now::Same,
            Ok(Some(now)) => Now::Other(now),
            Ok(None) => Now::Nothing,
            Err(_) => Now::Unknown,
        }
    }

    fn words(&self, id: &str, now: &Now) -> String {
        let Self { name, .. } = self;
        let id = short(id);
        let now = match now {
            Now::Same => "the name still stands for it on this machine's engine".to_owned(),
            Now::Other(now) => format!(
                "the name stands for another image now ({}), which is run; --container runs the one that ran",
                short(now)
            ),
            Now::Nothing => format!(
                "this machine's engine has no image of that name any more: `:tag {id} {name}` where it still has the image"
            ),
            Now::Unknown => "what the name stands for now is run".to_owned(),
        };
        format!(
            "{name} was never pushed to a registry, so it has an id ({id}) but no digest: {now}"
        )
    }
}

fn bare(id: &str) -> &str {
    id.strip_prefix("sha256:").unwrap_or(id)
}

/// The experiment that runs one trial as `trial` was run.
fn again(
    experiment: &Experiment,
    trial: &Trial,
    name: &str,
    ran: &BTreeMap<String, Identity>,
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
    let object = trial.spec.run_spec.as_ref();
    for part in ["initContainers", "containers"] {
        let path = format!("/spec/template/spec/{part}");
        let containers = run.pointer_mut(&path).and_then(Json::as_array_mut);
        for container in containers.into_iter().flatten() {
            let of = container["name"].as_str().unwrap_or_default().to_owned();
            // A parameter may have chosen the image; what ran is in the trial.
            let image = object
                .and_then(|object| object.pointer(&path)?.as_array())
                .and_then(|all| all.iter().find(|one| one["name"] == of.as_str()))
                .and_then(|one| one["image"].as_str())
                .or(container["image"].as_str())
                .unwrap_or_default()
                .to_owned();
            if image.contains("@sha256:") {
                continue;
            }
            let known = ran.get(&of).cloned().unwrap_or_default();
            match known.digest {
                Some(digest) => container["image"] = Json::from(digest),
                None => unpinned.push(Unpinned {
                    name: image,
                    id: known.id,
                }),
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
        let ran = |id: &str| [("training".to_owned(), Identity::of(id))].into();
        let by_digest = ran("host/a@sha256:12");
        let again = again(&experiment, &trial, "digits-1-rerun", &by_digest).unwrap();
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
        let by_name = |ran| {
            super::again(&experiment, &trial, "x", &ran)
                .unwrap()
                .unpinned
        };
        let unpinned = |id: Option<&str>| Unpinned {
            name: "host/a:1".to_owned(),
            id: id.map(str::to_owned),
        };
        assert_eq!(by_name(BTreeMap::new()), [unpinned(None)]);
        let local = by_name(ran("docker-pullable://sha256:12"));
        assert_eq!(local, [unpinned(Some("sha256:12"))]);
    }

    #[test]
    fn an_image_that_was_never_pushed_is_told_from_what_its_name_stands_for() {
        let one = Unpinned {
            name: "digits:1".to_owned(),
            id: None,
        };
        let words = |now| one.words("sha256:123456789abcdef", &now);
        assert_eq!(
            words(Now::Same),
            "digits:1 was never pushed to a registry, so it has an id (123456789abc) but no digest: \
             the name still stands for it on this machine's engine"
        );
        assert!(words(Now::Other("sha256:ab".into())).contains("another image now (ab)"));
        assert!(words(Now::Nothing).contains("`:tag 123456789abc digits:1`"));
        assert!(words(Now::Unknown).ends_with("what the name stands for now is run"));
    }

    #[test]
    fn the_default_name_is_as_long_as_katib_takes_one() {
        assert_eq!(default_name("digits-abcdefgh"), "digits-abcdefgh-rerun");
        let long = "a".repeat(24) + "-" + &"b".repeat(15);
        let name = default_name(&format!("{long}-abcdefgh"));
        assert_eq!(name, format!("{}-abcdefgh-rerun", "a".repeat(24)));
        for trial in [
            "x".repeat(63),
            format!("{}-{}", "y".repeat(30), "z".repeat(30)),
            "a-".repeat(30),
        ] {
            let name = default_name(&trial);
            assert!(
                name.len() <= MAX_NAME_LENGTH && name.ends_with("-rerun"),
                "{name}"
            );
        }
    }

    #[test]
    fn what_is_explained_names_the_trial_or_a_place_for_it() {
        let lines =
            |line: &[&str]| Rerun::parse_from(std::iter::once(&"rerun").chain(line)).explain();
        assert_eq!(
            lines(&["best", "digits"]),
            [
                "kubectl get experiment digits -o jsonpath='{.status.currentOptimalTrial.bestTrialName}'",
                "kubectl get trial TRIAL -o yaml",
                "kubectl create --dry-run=client -f TRIAL-rerun.yaml",
            ]
        );
        let lines = lines(&["digits-1", "--container"]);
        assert_eq!(lines[0], "kubectl get trial digits-1 -o yaml");
        assert!(lines[1].starts_with("docker run --rm ") && lines.len() == 2);
        let clash = Rerun::try_parse_from(["rerun", "digits-1", "--container", "--create"]);
        assert!(clash.is_err());
    }
}
