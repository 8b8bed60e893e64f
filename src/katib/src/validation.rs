//! What Katib's validating webhook refuses, on create and on update.
//!
//! Errors name the field, the kind of error and, where Katib's own words help, repeat them;
//! Katib's long dumps of whole templates are left out. Everything that only a cluster knows
//! comes in as [`ClusterFacts`].

mod collector;
mod error;
mod template;

pub(crate) use collector::has_two_groups;
pub use error::{ErrorKind, FieldError, aggregate};

use crate::names::{
    DEFAULT_ALGORITHMS, DEFAULT_COLLECTORS, DEFAULT_EARLY_STOPPING, INJECTION_ENABLED,
    LABEL_INJECTION, MAX_NAME_LENGTH, experiment as reasons,
};
use crate::types::{
    Experiment, ExperimentSpec, FeasibleSpace, ObjectiveSpec, ObjectiveType, ParameterSpec,
    ParameterType, ResumePolicy,
};
use crate::{condition::Conditioned, names::condition::SUCCEEDED};
use std::collections::BTreeMap;

/// What validation needs to know about the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Algorithms the cluster has an image for.
    pub algorithms: Vec<String>,
    /// Early-stopping algorithms the cluster has an image for.
    pub early_stopping: Vec<String>,
    /// Collector kinds the cluster has an image for.
    pub collectors: Vec<String>,
    /// The text of the ConfigMap key that holds the template, when the Experiment has one.
    pub config_map: ConfigMapText,
}

impl Default for ClusterFacts {
    /// A default Katib installation.
    fn default() -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            algorithms: owned(DEFAULT_ALGORITHMS),
            early_stopping: owned(DEFAULT_EARLY_STOPPING),
            collectors: owned(DEFAULT_COLLECTORS),
            config_map: ConfigMapText::NotAsked,
        }
    }
}

/// What is known about a template's ConfigMap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConfigMapText {
    /// Nobody looked: the template itself is not checked.
    #[default]
    NotAsked,
    /// The text of the key.
    Text(String),
    /// Why there is none, for example `ConfigMap "a" not found`.
    Missing(String),
}

/// Refuses an Experiment in a namespace that lacks Katib's injection label.
///
/// # Errors
/// With the webhook's own sentence.
pub fn check_namespace(
    name: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), String> {
    if labels.get(LABEL_INJECTION).map(String::as_str) == Some(INJECTION_ENABLED) {
        return Ok(());
    }
    Err(format!(
        "Cannot create the Experiment \"{name}\" in namespace \"{namespace}\": the namespace \
         lacks label \"{LABEL_INJECTION}: {INJECTION_ENABLED}\""
    ))
}

/// Checks a new Experiment after its defaults are filled in.
pub fn validate_create(experiment: &Experiment, facts: &ClusterFacts) -> Vec<FieldError> {
    validate(experiment, None, facts)
}

/// Checks a changed Experiment after its defaults are filled in.
pub fn validate_update(
    experiment: &Experiment,
    old: &Experiment,
    facts: &ClusterFacts,
) -> Vec<FieldError> {
    validate(experiment, Some(old), facts)
}

/// Whether a completed Experiment can be taken up again by raising its budget.
pub fn is_restartable(experiment: &Experiment) -> bool {
    let at_limit = experiment.conditions().iter().any(|condition| {
        condition.kind == SUCCEEDED
            && condition.status == "True"
            && condition.reason == reasons::MAX_TRIALS_REACHED.reason
    });
    at_limit
        && matches!(
            experiment.spec.resume_policy,
            ResumePolicy::LongRunning | ResumePolicy::FromVolume
        )
}

fn validate(
    experiment: &Experiment,
    old: Option<&Experiment>,
    facts: &ClusterFacts,
) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &experiment.spec;
    check_name(experiment.metadata.name(), &mut errors);
    check_counts(spec, &mut errors);
    if let Some(old) = old {
        check_change(experiment, old, &mut errors);
    }
    let before = errors.len();
    check_objective(spec.objective.as_ref(), &mut errors);
    if errors.len() > before {
        return errors;
    }
    check_algorithms(spec, facts, &mut errors);
    if !spec.resume_policy.is_empty() && !spec.resume_policy.is_known() {
        errors.push(FieldError::invalid(
            "spec.resumePolicy",
            spec.resume_policy.as_str(),
            "invalid ResumePolicyType",
        ));
    }
    template::check(spec, facts, &mut errors);
    check_space(spec, &mut errors);
    collector::check(spec, facts, &mut errors);
    errors
}

fn check_name(name: &str, errors: &mut Vec<FieldError>) {
    // Katib's pattern is not anchored at its end: only the first letter counts.
    let begins_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !begins_well || name.len() > MAX_NAME_LENGTH {
        errors.push(FieldError::invalid(
            "metadata.name",
            name,
            "name must consist of lower case alphanumeric characters or '-', start with an \
             alphabetic character, and end with an alphanumeric character (e.g. 'my-name', or \
             'abc-123', regex used for validation is '^[a-z]([-a-z0-9]*[a-z0-9])?)') and may not \
             be longer than 40 characters. ",
        ));
    }
}

fn check_counts(spec: &ExperimentSpec, errors: &mut Vec<FieldError>) {
    let max = spec.max_trial_count;
    let failed = spec.max_failed_trial_count;
    let parallel = spec.parallel_trial_count;
    let mut refuse = |field: &str, value: i32, detail: &str| {
        errors.push(FieldError::invalid_value(
            &format!("spec.{field}"),
            value.to_string(),
            detail,
        ));
    };
    if let Some(failed) = failed.filter(|failed| *failed < 0) {
        refuse("maxFailedTrialCount", failed, "should not be less than 0");
    }
    if let Some(max) = max.filter(|max| *max <= 0) {
        refuse("maxTrialCount", max, "must be greater than 0");
    }
    if let Some(parallel) = parallel.filter(|parallel| *parallel <= 0) {
        refuse("parallelTrialCount", parallel, "must be greater than 0");
    }
    let over = "should be less than or equal to spec.maxTrialCount";
    let Some(max) = max else { return };
    if let Some(failed) = failed.filter(|failed| *failed > max) {
        refuse("maxFailedTrialCount", failed, over);
    }
    if let Some(parallel) = parallel.filter(|parallel| *parallel > max) {
        refuse("parallelTrialCount", parallel, over);
    }
}

fn check_change(new: &Experiment, old: &Experiment, errors: &mut Vec<FieldError>) {
    if new.spec == old.spec {
        return;
    }
    if old.is_completed() && !is_restartable(old) {
        errors.push(FieldError::invalid(
            "spec.resumePolicy",
            old.spec.resume_policy.as_str(),
            "Experiment can be restarted if it is in succeeded state by reaching max trials and \
             spec.resumePolicy = LongRunning or spec.resumePolicy = FromVolume, when experiment \
             is completed",
        ));
    }
    let made = old.status.as_ref().map_or(0, |status| status.trials);
    if let Some(max) = new.spec.max_trial_count.filter(|max| *max <= made) {
        errors.push(FieldError::invalid_value(
            "spec.maxTrialCount",
            max.to_string(),
            "must be greater than status.trials count",
        ));
    }
    let mut allowed = old.spec.clone();
    allowed.parallel_trial_count = new.spec.parallel_trial_count;
    allowed.max_trial_count = new.spec.max_trial_count;
    allowed.max_failed_trial_count = new.spec.max_failed_trial_count;
    if allowed != new.spec {
        errors.push(FieldError::forbidden(
            "spec",
            "only spec.parallelTrialCount, spec.maxTrialCount and spec.maxFailedTrialCount are \
             editable",
        ));
    }
}

fn check_objective(objective: Option<&ObjectiveSpec>, errors: &mut Vec<FieldError>) {
    let Some(objective) = objective else {
        errors.push(FieldError::required("spec.objective", "must be specified"));
        return;
    };
    if !matches!(
        objective.objective_type,
        ObjectiveType::Minimize | ObjectiveType::Maximize
    ) {
        errors.push(FieldError::invalid(
            "spec.objective.type",
            objective.objective_type.as_str(),
            "must be minimize or maximize",
        ));
    }
    let name = &objective.objective_metric_name;
    if name.is_empty() {
        errors.push(FieldError::required(
            "spec.objective.objectiveMetricName",
            "must be specified",
        ));
    }
    if objective.additional_metric_names.contains(name) {
        errors.push(FieldError::invalid_json(
            "spec.objective.additionalMetricNames",
            &objective.additional_metric_names,
            "should not contain spec.objective.objectiveMetricName",
        ));
    }
}

fn check_algorithms(spec: &ExperimentSpec, facts: &ClusterFacts, errors: &mut Vec<FieldError>) {
    match &spec.algorithm {
        None => errors.push(FieldError::required("spec.algorithm", "must be specified")),
        Some(algorithm) => {
            let name = &algorithm.algorithm_name;
            if name.is_empty() {
                errors.push(FieldError::required(
                    "spec.algorithm.algorithmName",
                    "must be specified",
                ));
            }
            if !facts.algorithms.contains(name) {
                errors.push(FieldError::invalid(
                    "spec.algorithm.algorithmName",
                    name,
                    &format!(
                        "unable to get Suggestion config data for algorithm {name}: failed to \
                         find suggestion config for algorithm: {name} in ConfigMap: katib-config"
                    ),
                ));
            }
        }
    }
    let Some(early) = &spec.early_stopping else {
        return;
    };
    let name = &early.algorithm_name;
    if name.is_empty() {
        errors.push(FieldError::required(
            "spec.earlyStopping.algorithmName",
            "must be specified",
        ));
    }
    if !facts.early_stopping.contains(name) {
        errors.push(FieldError::invalid(
            "spec.earlyStopping.algorithmName",
            name,
            &format!(
                "unable to get EarlyStopping config data for algorithm {name}: failed to find \
                 early stopping config for algorithm: {name} in ConfigMap: katib-config"
            ),
        ));
    }
}

fn check_space(spec: &ExperimentSpec, errors: &mut Vec<FieldError>) {
    match (spec.parameters.is_empty(), &spec.nas_config) {
        (true, None) => errors.push(FieldError::required(
            "spec",
            "spec.parameters or spec.nasConfig must be specified",
        )),
        (false, Some(_)) => errors.push(FieldError::invalid_json(
            "spec",
            spec,
            "only one of spec.parameters and spec.nasConfig can be specified",
        )),
        _ => {}
    }
    for (index, parameter) in spec.parameters.iter().enumerate() {
        check_parameter(&format!("spec.parameters[{index}]"), parameter, errors);
    }
}

fn check_parameter(path: &str, parameter: &ParameterSpec, errors: &mut Vec<FieldError>) {
    let kind = &parameter.parameter_type;
    let space = &parameter.feasible_space;
    if !kind.is_known() {
        errors.push(FieldError::invalid(
            &format!("{path}.parameterType"),
            kind.as_str(),
            &format!("parameterType: {kind} is not supported"),
        ));
    }
    if !space.distribution.is_empty() && !space.distribution.is_known() {
        let distribution = &space.distribution;
        errors.push(FieldError::invalid(
            &format!("{path}.feasibleSpace.distribution"),
            distribution.as_str(),
            &format!("distribution: {distribution} is not supported"),
        ));
    }
    if *space == FeasibleSpace::default() {
        errors.push(FieldError::required(
            &format!("{path}.feasibleSpace"),
            "feasibleSpace must be specified",
        ));
        return;
    }
    match kind {
        ParameterType::Double | ParameterType::Int => {
            if !space.list.is_empty() {
                errors.push(FieldError::invalid_json(
                    &format!("{path}.feasibleSpace.list"),
                    &space.list,
                    &format!("feasibleSpace.list is not supported for parameterType: {kind}"),
                ));
            }
            if space.max.is_empty() || space.min.is_empty() {
                errors.push(FieldError::required(
                    &format!("{path}.feasibleSpace.max"),
                    &format!(
                        "feasibleSpace.max or feasibleSpace.min must be specified for \
                         parameterType: {kind}"
                    ),
                ));
            }
        }
        ParameterType::Categorical | ParameterType::Discrete => {
            if !space.max.is_empty() || !space.min.is_empty() || !space.step.is_empty() {
                errors.push(FieldError::invalid_json(
                    &format!("{path}.feasibleSpace"),
                    space,
                    &format!(
                        "feasibleSpace .max, .min and .step is not supported for \
                         parameterType: {kind}"
                    ),
                ));
            }
        }
        ParameterType::Unknown | ParameterType::Other(_) => {}
    }
}

#[cfg(test)]
mod tests;
