//! `:tune`: an Experiment from a few flags, or from where an earlier one was best.

mod space;

use std::path::Path;

use clap::Parser;
use katlab_analysis::TrialTable;
use katlab_analysis::region::{self, Narrowed, Region};
use katlab_katib::defaults::default_strategy;
use katlab_katib::names::DEFAULT_FILTER;
use katlab_katib::types::{
    API_VERSION, AlgorithmSpec, CollectorKind, CollectorSpec, Experiment, FileSystemKind,
    FileSystemPath, FilterSpec, MetricStrategy, MetricsCollectorSpec, ObjectMeta, ObjectiveSpec,
    ObjectiveType, ParameterSpec, Setting, SourceSpec, Trial, TrialParameterSpec, TrialTemplate,
};
use katlab_katib::validation::ClusterFacts;
use katlab_lab::cluster::valid_name;
use serde_json::{Value as Json, json};

use super::proposal::ProposalArgs;
use crate::magics::analysis::{Source, SourceArgs, read_folder};
use crate::magics::kubernetes::{NamespaceArgs, quoted};
use crate::magics::{Context, Magic, MagicError, line, nearest};
use crate::render::counted;
use crate::render::table::{Column, Table, number_text};

/// How many trials when nobody says.
const TRIALS: i32 = 12;
/// How many at once when nobody says.
const AT_ONCE: i32 = 3;
/// So many failed trials end the experiment when nobody says.
const FAILURES: i32 = 3;

/// Build an Experiment from a few flags, or from where an earlier one was best, and show it
///
/// A parameter is a range or a list: `lr=1e-4..0.1:log`, `units=16..128:step=16`,
/// `optimizer=sgd,adam`. Each is given to the command as `--NAME=VALUE`, unless the command has
/// `${trialParameters.NAME}` in it. Nothing runs until it is created.
///
/// `--from-best` takes everything from an earlier experiment and searches where its best trials lie;
/// flags and parameters that are given as well replace what it had. With another objective its trials are
/// ranked by that. Where too few trials have a value, the search space is taken over as it was.
///
/// Parameters whose names begin with dashes stand last, behind ` -- `: `:tune NAME … -- --lr=1e-4..0.1`.
#[derive(Debug, Parser)]
pub struct Tune {
    /// The name of the new experiment
    #[arg(value_name = "NAME")]
    name: String,
    /// The search space
    #[arg(value_name = "PARAMETER=VALUES")]
    parameters: Vec<String>,
    /// The metric to make as large as possible
    #[arg(long, value_name = "METRIC", conflicts_with = "minimize")]
    maximize: Option<String>,
    /// The metric to make as small as possible
    #[arg(long, value_name = "METRIC")]
    minimize: Option<String>,
    /// Stop when the metric reaches this
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true, value_parser = goal)]
    goal: Option<f64>,
    /// Metrics to record besides
    #[arg(long, value_name = "METRIC", value_delimiter = ',')]
    metric: Vec<String>,
    /// The image of the trials
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// What a trial runs: 'python3 train.py --epochs 10'
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// The secret to pull the image with
    #[arg(long, value_name = "SECRET")]
    pull_secret: Option<String>,
    /// How the space is searched [default: random]
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,
    /// A setting of the algorithm
    #[arg(long = "setting", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// How many trials there are in all [default: 12]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least::<1>)]
    max_trials: Option<i32>,
    /// How many trials run at once [default: 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least::<1>)]
    parallel: Option<i32>,
    /// How many trials may fail [default: 3]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = at_least::<0>)]
    max_failed: Option<i32>,
    /// Read the metrics from this file of the container; without it from what it prints
    #[arg(long, value_name = "PATH")]
    metrics_file: Option<String>,
    /// How a line with a metric looks, with two groups for name and value; `:metrics test` tries it
    #[arg(long, value_name = "RE", allow_hyphen_values = true)]
    filter: Option<String>,
    /// Search where the best trials of this experiment lie; with a `/` in it, the folder of an export
    #[arg(long, value_name = "EXPERIMENT")]
    from_best: Option<String>,
    /// The share of the earlier trials that counts as best
    #[arg(long, value_name = "SHARE", default_value_t = 0.2, requires = "from_best", value_parser = share)]
    top: f64,
    #[command(flatten)]
    proposal: ProposalArgs,
    #[command(flatten)]
    place: NamespaceArgs,
}

/// `0.2` or `20%`.
fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>().map(|number| number / unit) {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("a share is more than 0 and at most 1: 0.2 or 20%".to_owned()),
    }
}

/// The value to stop at.
fn goal(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|goal| goal.is_finite());
    number
        .ok_or_else(|| "the goal is a number that the metric is to reach, such as 0.98".to_owned())
}

/// How many of something.
fn at_least<const LEAST: i32>(text: &str) -> Result<i32, String> {
    let number = text.parse::<i32>().ok().filter(|number| *number >= LEAST);
    number.ok_or_else(|| format!("a whole number is wanted, {LEAST} or more"))
}

impl Magic for Tune {
    const NAME: &'static str = "tune";

    async fn run(self, ctx: &Context) -> Result<(), MagicError> {
        if let Some(valid) = valid_name(&self.name) {
            return Err(
                MagicError::usage(format!("`{}` is no name for an experiment", self.name)).hint(
                    format!("take small letters, digits and `-`, such as `{valid}`"),
                ),
            );
        }
        self.check_algorithm()?;
        let given: Vec<ParameterSpec> = self
            .parameters
            .iter()
            .map(|text| space::parse(text))
            .collect::<Result<_, _>>()?;
        if let Some(twice) =
            (1..given.len()).find(|at| given[..*at].iter().any(|one| one.name == given[*at].name))
        {
            return Err(MagicError::usage(format!(
                "the parameter `{}` is given twice",
                given[twice].name
            )));
        }
        let experiment = match &self.from_best {
            Some(earlier) => {
                let source = self.earlier(ctx, earlier).await?;
                self.after(ctx, &source, given)?
            }
            None => self.afresh(given)?,
        };
        self.proposal.propose(ctx, &experiment, &self.place).await
    }

    fn explain(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(earlier) = self.from_best.as_ref().filter(|name| !name.contains('/')) {
            lines.push(format!(
                "kubectl get experiment {}{} -o yaml",
                quoted(earlier),
                self.place.kubectl()
            ));
        }
        lines.extend(self.proposal.explain(&self.name, &self.place));
        lines
    }
}

impl Tune {
    /// A near miss of an algorithm that Katib brings. One that is near to none may be of somebody's own.
    fn check_algorithm(&self) -> Result<(), MagicError> {
        let Some(name) = &self.algorithm else {
            return Ok(());
        };
        let known = ClusterFacts::default().algorithms;
        if known.contains(name) {
            return Ok(());
        }
        match nearest::to(name, known.iter().map(String::as_str)).first() {
            Some(near) => Err(
                MagicError::usage(format!("Katib has no algorithm `{name}`")).hint(format!(
                    "did you mean `{near}`? There are {}",
                    known.join(", ")
                )),
            ),
            None => Ok(()),
        }
    }

    async fn earlier(&self, ctx: &Context, name: &str) -> Result<Source, MagicError> {
        if name.contains('/') {
            return read_folder(ctx, Path::new(name)).await;
        }
        let args = SourceArgs {
            place: self.place.clone(),
            ..SourceArgs::default()
        };
        args.read(ctx, Some(name)).await
    }

    /// An experiment of flags alone.
    fn afresh(&self, parameters: Vec<ParameterSpec>) -> Result<Experiment, MagicError> {
        let missing = |what: &str, how: &str| {
            Err(
                MagicError::usage(format!("{what} is not given")).hint(format!(
                    "{how}; or take it from an earlier experiment with --from-best"
                )),
            )
        };
        if parameters.is_empty() {
            return missing(
                "the search space",
                "write parameters behind the name: lr=1e-4..0.1:log optimizer=sgd,adam",
            );
        }
        if self.maximize.is_none() && self.minimize.is_none() {
            return missing(
                "the objective",
                "name a metric with --maximize or --minimize",
            );
        }
        let (Some(image), Some(_)) = (&self.image, &self.command) else {
            return if self.image.is_none() {
                missing("the image", "name it with --image")
            } else {
                // Without one, Katib would have to ask the registry what the image runs.
                missing(
                    "the command",
                    "write it such as --command 'python3 train.py'",
                )
            };
        };
        let mut experiment = Experiment {
            api_version: API_VERSION.to_owned(),
            kind: "Experiment".to_owned(),
            ..Experiment::default()
        };
        experiment.spec.parameters = parameters;
        experiment.spec.max_failed_trial_count = Some(FAILURES);
        experiment.spec.max_trial_count = Some(TRIALS);
        experiment.spec.parallel_trial_count = Some(AT_ONCE);
        experiment.spec.trial_template = Some(TrialTemplate {
            retain: true,
            primary_container_name: "training".to_owned(),
            trial_spec: Some(json!({
                "apiVersion": "batch/v1",
                "kind": "Job",
                "spec": {
                    "backoffLimit": 0,
                    "template": {
                        // A mesh's sidecar would keep the pod from ever ending.
                        "metadata": {"annotations": {"sidecar.istio.io/inject": "false"},
                                     "labels": {"sidecar.istio.io/inject": "false"}},
                        "spec": {
                            "containers": [{"name": "training", "image": image}],
                            "restartPolicy": "Never",
                        },
                    },
                },
            })),
            ..TrialTemplate::default()
        });
        self.apply(&mut experiment)?;
        Ok(experiment)
    }

    /// An experiment after an earlier one, where its best trials lie.
    fn after(
        &self,
        ctx: &Context,
        source: &Source,
        given: Vec<ParameterSpec>,
    ) -> Result<Experiment, MagicError> {
        let earlier = source.experiment.metadata.name().to_owned();
        if earlier == self.name {
            return Err(MagicError::usage(format!(
                "{earlier} is the name of the earlier experiment"
            ))
            .hint(format!("call the new one otherwise, such as {earlier}-2")));
        }
        let mut experiment = Experiment {
            metadata: ObjectMeta::default(),
            status: None,
            ..source.experiment.clone()
        };
        // By what is sought now, not by what was sought then.
        self.apply_objective(&mut experiment);
        let table = ranked(&experiment, &source.trials);
        let region = region::region(&table, self.top);
        if region.is_none() {
            let observed = match table.observed().count() {
                0 => "no trial".to_owned(),
                few => format!("only {}", counted(few, "trial")),
            };
            let observed = format!(
                "{observed} of {earlier} with a value of {}",
                table.objective
            );
            ctx.output.warn(format!(
                "{observed}: where the best lie cannot be said, and the search space is taken over as it was"
            ));
        }
        for one in &given {
            // With or without the dashes of a flag, as everywhere.
            let known = experiment.spec.parameters.iter();
            let title = |name: &str| name.trim_start_matches('-').to_owned();
            if !known
                .clone()
                .any(|spec| title(&spec.name) == title(&one.name))
            {
                let names: Vec<&str> = known.map(|spec| spec.name.as_str()).collect();
                return Err(MagicError::usage(format!(
                    "{earlier} has no parameter `{}`",
                    one.name
                ))
                .hint(format!("its template takes {}", names.join(", "))));
            }
        }
        let mut shown = Table::new([
            Column::new("PARAMETER"),
            Column::new("BEFORE"),
            Column::new("NOW"),
            Column::new("WHY"),
        ])
        .title(format!("the search space of {}", self.name));
        for (at, spec) in experiment.spec.parameters.iter_mut().enumerate() {
            let narrowed = region.as_ref().map(|region| &region.parameters[at]);
            let before = space::words(spec);
            let own = given
                .iter()
                .find(|one| one.name.trim_start_matches('-') == spec.name.trim_start_matches('-'));
            let why = match (own, narrowed) {
                (Some(own), _) => {
                    let name = spec.name.clone();
                    *spec = ParameterSpec {
                        name,
                        ..own.clone()
                    };
                    "as given"
                }
                (None, None) => "as it was",
                (None, Some(narrowed)) => {
                    *spec = space::narrow(spec, narrowed);
                    match narrowed {
                        Narrowed::Same => "the best lie nearly everywhere",
                        _ => "the best lie here",
                    }
                }
            };
            shown.row([
                spec.name.clone().into(),
                before.into(),
                space::words(spec).into(),
                why.to_owned().into(),
            ]);
        }
        if let Some(region) = &region {
            shown = shown.footer(self.rests_on(region));
        }
        ctx.output.table(&shown);
        self.apply(&mut experiment)?;
        Ok(experiment)
    }

    /// `rests on the best 3 of 20 trials`, and why these are more than the share that was asked for.
    fn rests_on(&self, region: &Region) -> String {
        let used = region.trials.len();
        let share = (region.of as f64 * self.top).ceil() as usize;
        let mut text = format!(
            "rests on the best {used} of {}",
            counted(region.of, "trial")
        );
        if share < used {
            let percent = number_text(self.top * 100.0);
            text.push_str(&format!(
                "; {percent}% would be {share}, and fewer than {} say nothing of a region",
                region::FEWEST
            ));
        }
        text
    }

    /// The objective that the flags name, over the one that is there.
    fn apply_objective(&self, experiment: &mut Experiment) {
        let objective = experiment
            .spec
            .objective
            .get_or_insert_with(ObjectiveSpec::default);
        let wanted = [
            (&self.maximize, ObjectiveType::Maximize),
            (&self.minimize, ObjectiveType::Minimize),
        ];
        for (metric, way) in wanted {
            let Some(metric) = metric else { continue };
            if *metric == objective.objective_metric_name && way == objective.objective_type {
                continue;
            }
            // What was recorded so far still is.
            let before = std::mem::take(objective);
            let mut additional: Vec<String> = Vec::new();
            for name in before.metric_names().filter(|name| !name.is_empty()) {
                if name != metric && !additional.iter().any(|known| known == name) {
                    additional.push(name.to_owned());
                }
            }
            // Strategies and the goal belong to the metric they were written for.
            *objective = ObjectiveSpec {
                objective_type: way,
                objective_metric_name: metric.clone(),
                additional_metric_names: additional,
                ..ObjectiveSpec::default()
            };
        }
        if !self.metric.is_empty() {
            objective.additional_metric_names.clone_from(&self.metric);
        }
        objective.goal = self.goal.or(objective.goal);
    }

    /// What the flags say, over what is there.
    fn apply(&self, experiment: &mut Experiment) -> Result<(), MagicError> {
        experiment.metadata = ObjectMeta {
            name: Some(self.name.clone()),
            namespace: self.place.namespace.clone(),
            ..ObjectMeta::default()
        };
        self.apply_objective(experiment);
        let spec = &mut experiment.spec;
        let settings = self
            .settings
            .iter()
            .map(|text| match text.split_once('=') {
                Some((name, value)) => Ok(Setting {
                    name: name.to_owned(),
                    value: value.to_owned(),
                }),
                None => Err(
                    MagicError::usage(format!("the setting `{text}` has no value"))
                        .hint("write --setting NAME=VALUE"),
                ),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let algorithm = spec.algorithm.get_or_insert_with(|| AlgorithmSpec {
            algorithm_name: "random".to_owned(),
            ..AlgorithmSpec::default()
        });
        if let Some(name) = &self.algorithm {
            *algorithm = AlgorithmSpec {
                algorithm_name: name.clone(),
                ..AlgorithmSpec::default()
            };
        }
        for setting in settings {
            algorithm
                .algorithm_settings
                .retain(|one| one.name != setting.name);
            algorithm.algorithm_settings.push(setting);
        }
        spec.max_trial_count = self.max_trials.or(spec.max_trial_count);
        spec.parallel_trial_count = self.parallel.or(spec.parallel_trial_count);
        if let (Some(parallel), Some(most)) = (spec.parallel_trial_count, spec.max_trial_count) {
            spec.parallel_trial_count = Some(parallel.min(most));
        }
        spec.max_failed_trial_count = self.max_failed.or(spec.max_failed_trial_count);
        if let (Some(failures), Some(most)) = (spec.max_failed_trial_count, spec.max_trial_count) {
            spec.max_failed_trial_count = Some(failures.min(most));
        }
        if self.metrics_file.is_some() || self.filter.is_some() || self.from_best.is_none() {
            spec.metrics_collector_spec = Some(self.collector(spec.metrics_collector_spec.take()));
        }
        self.apply_template(experiment)
    }

    fn collector(&self, earlier: Option<MetricsCollectorSpec>) -> MetricsCollectorSpec {
        let earlier = earlier.unwrap_or_default();
        let source = earlier.source.unwrap_or_default();
        let filter = match (&self.filter, source.filter) {
            (Some(filter), _) => Some(filter.clone()),
            (None, Some(filter)) => {
                return MetricsCollectorSpec {
                    source: Some(SourceSpec {
                        filter: Some(filter),
                        file_system_path: self.file().or(source.file_system_path),
                        ..SourceSpec::default()
                    }),
                    collector: self.kind().or(earlier.collector),
                };
            }
            // Written out, so that it can be seen and changed.
            (None, None) => Some(DEFAULT_FILTER.to_owned()),
        };
        MetricsCollectorSpec {
            source: Some(SourceSpec {
                filter: filter.map(|filter| FilterSpec {
                    metrics_format: vec![filter],
                }),
                file_system_path: self.file().or(source.file_system_path),
                ..SourceSpec::default()
            }),
            collector: self.kind().or(earlier.collector).or(Some(CollectorSpec {
                kind: CollectorKind::StdOut,
                ..CollectorSpec::default()
            })),
        }
    }

    fn file(&self) -> Option<FileSystemPath> {
        self.metrics_file.as_ref().map(|path| FileSystemPath {
            path: path.clone(),
            kind: FileSystemKind::File,
            ..FileSystemPath::default()
        })
    }

    fn kind(&self) -> Option<CollectorSpec> {
        self.metrics_file.as_ref().map(|_| CollectorSpec {
            kind: CollectorKind::File,
            ..CollectorSpec::default()
        })
    }

    /// Image, command and pull secret of the container that trains.
    fn apply_template(&self, experiment: &mut Experiment) -> Result<(), MagicError> {
        let names: Vec<String> = experiment
            .spec
            .parameters
            .iter()
            .map(|one| one.name.clone())
            .collect();
        let Some(template) = &mut experiment.spec.trial_template else {
            return Ok(());
        };
        let primary = template.primary_container_name.clone();
        let pod = template
            .trial_spec
            .as_mut()
            .and_then(|spec| spec.pointer_mut("/spec/template/spec"));
        let Some(pod) = pod else {
            if self.image.is_some() || self.command.is_some() || self.pull_secret.is_some() {
                return Err(MagicError::new(
                    "the trials of the earlier experiment are no Jobs whose container could be changed",
                )
                .hint("leave out --image, --command and --pull-secret, and edit the file that -o writes"));
            }
            return Ok(());
        };
        if let Some(secret) = &self.pull_secret {
            pod["imagePullSecrets"] = json!([{ "name": secret }]);
        }
        let container = pod
            .get_mut("containers")
            .and_then(Json::as_array_mut)
            .and_then(|all| all.iter_mut().find(|one| one["name"] == primary.as_str()));
        let Some(container) = container else {
            return Ok(());
        };
        if let Some(image) = &self.image {
            container["image"] = json!(image);
        }
        if let Some(command) = &self.command {
            let words = line::split(command).map_err(|error| {
                MagicError::usage(format!("--command: {}", error.message))
                    .detail(line::caret(command, error.span))
            })?;
            let mut words: Vec<String> = words.iter().map(line::Word::raw).collect();
            let mut parameters = Vec::new();
            for name in &names {
                // A placeholder's name has no dashes in front, as the field writes it.
                let plain = name.trim_start_matches('-').replace(['.', ' '], "_");
                let placeholder = format!("${{trialParameters.{plain}}}");
                if !words.iter().any(|word| word.contains(&placeholder)) {
                    let flag = if name.starts_with('-') {
                        name.clone()
                    } else {
                        format!("--{name}")
                    };
                    words.push(format!("{flag}={placeholder}"));
                }
                parameters.push(TrialParameterSpec {
                    name: plain,
                    reference: name.clone(),
                    ..TrialParameterSpec::default()
                });
            }
            container["command"] = json!(words);
            if let Some(object) = container.as_object_mut() {
                object.remove("args");
            }
            template.trial_parameters = Some(parameters);
        }
        Ok(())
    }
}

/// Earlier trials by an experiment's objective, each by the value that Katib would take for it.
fn ranked(experiment: &Experiment, trials: &[Trial]) -> TrialTable {
    let mut experiment = experiment.clone();
    if let Some(objective) = &mut experiment.spec.objective {
        let name = objective.objective_metric_name.clone();
        if objective.strategy(&name).is_none() {
            let value = default_strategy(&objective.objective_type);
            objective
                .metric_strategies
                .push(MetricStrategy { name, value });
        }
    }
    TrialTable::new(&experiment, trials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &[&str]) -> Tune {
        Tune::parse_from(["tune", "next"].iter().chain(line))
    }

    fn earlier() -> Experiment {
        serde_json::from_value(json!({
            "metadata": {"name": "env"},
            "spec": {
                "objective": {"type": "maximize", "goal": 0.9, "objectiveMetricName": "accuracy",
                    "additionalMetricNames": ["loss", "time"],
                    "metricStrategies": [{"name": "accuracy", "value": "max"}]},
                "parameters": [{"name": "x", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}],
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_earlier_trials_are_ranked_by_the_new_objective() {
        let trials: Vec<Trial> = [0.3, 0.4, 0.5, 0.6, 0.7]
            .iter()
            .map(|value| {
                let text = value.to_string();
                serde_json::from_value(json!({
                    "metadata": {"name": format!("env-{value}")},
                    "spec": {"parameterAssignments": [{"name": "x", "value": text}]},
                    "status": {"observation": {"metrics": [
                        {"name": "accuracy", "min": text, "max": text, "latest": text}]}},
                }))
                .unwrap()
            })
            .collect();
        let best = |line: &[&str]| {
            let mut experiment = earlier();
            of(line).apply_objective(&mut experiment);
            let table = ranked(&experiment, &trials);
            region::region(&table, 0.2).map(|region| region.trials[0].clone())
        };
        assert_eq!(best(&[]).as_deref(), Some("env-0.7"));
        assert_eq!(
            best(&["--minimize", "accuracy"]).as_deref(),
            Some("env-0.3")
        );
        assert_eq!(best(&["--minimize", "loss"]), None);
    }

    #[test]
    fn another_objective_leaves_the_earlier_metrics_recorded() {
        let made = |line: &[&str]| {
            let mut experiment = earlier();
            of(line).apply_objective(&mut experiment);
            of(line).apply_objective(&mut experiment);
            experiment.spec.objective.unwrap()
        };
        let objective = made(&["--minimize", "loss"]);
        assert_eq!(objective.additional_metric_names, ["accuracy", "time"]);
        assert_eq!(objective.goal, None);
        assert_eq!(made(&["--maximize", "accuracy"]).goal, Some(0.9));
        let given = made(&["--minimize", "loss", "--metric", "f1"]);
        assert_eq!(given.additional_metric_names, ["f1"]);
    }

    #[test]
    fn why_more_trials_are_used_than_asked_for_is_said() {
        let region = |used: usize, of| Region {
            trials: vec![String::new(); used],
            of,
            parameters: Vec::new(),
        };
        let tune = of(&["--from-best", "env", "--top", "10%"]);
        assert_eq!(
            tune.rests_on(&region(3, 20)),
            "rests on the best 3 of 20 trials; 10% would be 2, and fewer than 3 say nothing of a region"
        );
        assert_eq!(
            tune.rests_on(&region(5, 43)),
            "rests on the best 5 of 43 trials"
        );
    }

    #[test]
    fn a_near_miss_of_an_algorithm_is_no_algorithm() {
        let error = of(&["--algorithm", "ranom"]).check_algorithm().unwrap_err();
        assert!(error.hint.unwrap().contains("did you mean `random`?"));
        for name in ["tpe", "our-own-search"] {
            assert_eq!(
                of(&["--algorithm", name]).check_algorithm(),
                Ok(()),
                "{name}"
            );
        }
    }

    #[test]
    fn numbers_that_make_no_sense_are_said_in_our_own_words() {
        let refused = |line: [&str; 2]| {
            let line = ["tune", "next"].into_iter().chain(line);
            Tune::try_parse_from(line).unwrap_err().to_string()
        };
        for (line, said) in [
            (
                ["--max-trials", "-1"],
                "a whole number is wanted, 1 or more",
            ),
            (
                ["--parallel", "many"],
                "a whole number is wanted, 1 or more",
            ),
            (
                ["--max-failed", "-1"],
                "a whole number is wanted, 0 or more",
            ),
            (["--goal", "high"], "a number that the metric is to reach"),
            (["--goal", "nan"], "a number that the metric is to reach"),
        ] {
            let error = refused(line);
            assert!(error.contains(said), "{error}");
        }
        assert_eq!(of(&["--goal", "-0.5"]).goal, Some(-0.5));
    }
}
