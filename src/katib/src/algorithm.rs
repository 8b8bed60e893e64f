//! Settings of search algorithms and early stopping, as Katib's services check them when a
//! Suggestion starts. A setting that does not pass makes the Experiment fail for good, so
//! it is checked before anything is sent.

use crate::space::{Domain, SpaceError, combinations};
use crate::types::{AlgorithmSpec, ExperimentSpec, ParameterType, Setting};
use std::collections::BTreeSet;

/// Why settings are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The algorithm has no such setting.
    #[error("unknown setting {setting} for algorithm {algorithm}")]
    Unknown {
        /// The algorithm.
        algorithm: String,
        /// The setting.
        setting: String,
        /// What it has.
        known: Vec<&'static str>,
    },
    /// The value is not of the setting's type.
    #[error("failed to validate {setting}({value}): {wanted} is wanted")]
    Value {
        /// The setting.
        setting: String,
        /// What stands there.
        value: String,
        /// What should.
        wanted: &'static str,
    },
    /// The value is out of range.
    #[error("{setting} should be {wanted}")]
    Range {
        /// The setting.
        setting: String,
        /// What should stand there.
        wanted: String,
    },
    /// A setting of early stopping is too small, in that service's words.
    #[error("{setting} must be {wanted}")]
    TooSmall {
        /// The setting.
        setting: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// There is no such algorithm of early stopping.
    #[error("unknown algorithm name {0}")]
    UnknownAlgorithm(String),
    /// A setting that must be given is not.
    #[error("algorithm {algorithm} needs the setting {setting}")]
    Missing {
        /// The algorithm.
        algorithm: String,
        /// The setting.
        setting: &'static str,
    },
    /// The search space does not suit the algorithm.
    #[error("{0}")]
    Space(String),
    /// A parameter's values can't be read.
    #[error(transparent)]
    Parameter(#[from] SpaceError),
}

impl SettingsError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { known, .. } if known.is_empty() => {
                Some("remove the setting: the algorithm has none".to_owned())
            }
            Self::Unknown { setting, known, .. } => {
                Some(match crate::schema::near(setting, known.iter().copied()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("the settings are {}", known.join(", ")),
                })
            }
            Self::Value { wanted, .. } => Some(format!("write {wanted} in quotes")),
            Self::Range { .. } | Self::Missing { .. } => {
                Some("change spec.algorithm.algorithmSettings".to_owned())
            }
            Self::TooSmall { .. } => Some("change spec.earlyStopping.algorithmSettings".to_owned()),
            Self::UnknownAlgorithm(_) => Some("use medianstop".to_owned()),
            Self::Space(_) => Some("change spec.parameters or the budget".to_owned()),
            Self::Parameter(error) => error.hint(),
        }
    }

    /// The setting at fault, if it is one.
    pub fn setting(&self) -> Option<&str> {
        match self {
            Self::Unknown { setting, .. }
            | Self::Value { setting, .. }
            | Self::TooSmall { setting, .. }
            | Self::Range { setting, .. } => Some(setting),
            Self::Missing { .. }
            | Self::UnknownAlgorithm(_)
            | Self::Space(_)
            | Self::Parameter(_) => None,
        }
    }
}

/// What a setting's value must be.
#[derive(Clone, Copy)]
enum Rule {
    /// A whole number of at least this.
    Int(i64),
    /// A number strictly between two.
    Between(f64, f64),
    /// A number from one to the other, both allowed.
    Within(f64, f64),
    /// A number greater than this.
    Above(f64),
    /// A number of at least this.
    AtLeast(f64),
    /// Any number.
    Number,
    /// One of some words.
    OneOf(&'static [&'static str]),
    /// Anything.
    Text,
}

const SEED: (&str, Rule) = ("random_state", Rule::Int(0));

/// Settings of an algorithm, and whether it refuses others.
fn rules(algorithm: &str) -> Option<(&'static [(&'static str, Rule)], bool)> {
    Some(match algorithm {
        "random" | "grid" => (&[SEED], true),
        "tpe" => (
            &[
                ("gamma", Rule::Between(0.0, 1.0)),
                ("prior_weight", Rule::Above(0.0)),
                ("n_EI_candidates", Rule::Int(1)),
                SEED,
            ],
            true,
        ),
        "multivariate-tpe" => (
            &[
                ("n_startup_trials", Rule::Int(0)),
                ("n_ei_candidates", Rule::Int(0)),
                SEED,
            ],
            true,
        ),
        "bayesianoptimization" => (
            &[
                ("base_estimator", Rule::OneOf(&["GP", "RF", "ET", "GBRT"])),
                ("n_initial_points", Rule::Int(0)),
                (
                    "acq_func",
                    Rule::OneOf(&["gp_hedge", "LCB", "EI", "PI", "EIps", "PIps"]),
                ),
                ("acq_optimizer", Rule::OneOf(&["auto", "sampling", "lbfgs"])),
                SEED,
            ],
            true,
        ),
        "cmaes" => (
            &[
                ("random_state", Rule::Int(i64::MIN)),
                ("sigma", Rule::Number),
                ("restart_strategy", Rule::OneOf(&["ipop", "bipop", "none"])),
            ],
            false,
        ),
        "hyperband" => (
            &[
                ("r_l", Rule::AtLeast(0.0)),
                ("eta", Rule::Number),
                ("resource_name", Rule::Text),
            ],
            false,
        ),
        "pbt" => (
            &[
                ("suggestion_trial_dir", Rule::Text),
                ("n_population", Rule::Int(5)),
                ("truncation_threshold", Rule::Within(0.0, 1.0)),
            ],
            true,
        ),
        "medianstop" => (
            &[
                ("min_trials_required", Rule::Int(1)),
                ("start_step", Rule::Int(1)),
            ],
            true,
        ),
        _ => return None,
    })
}

/// Checks an Experiment's algorithm settings, and what its algorithm asks of the space and
/// the budget. Algorithms without a table here (architecture search, foreign ones) pass.
///
/// # Errors
/// With the first setting or parameter that the algorithm's service would refuse.
pub fn validate_settings(spec: &ExperimentSpec) -> Result<(), SettingsError> {
    let Some(algorithm) = &spec.algorithm else {
        return Ok(());
    };
    check_table(algorithm)?;
    match algorithm.algorithm_name.as_str() {
        "grid" => check_grid(spec),
        "cmaes" => check_numeric(spec),
        "sobol" => check_unique(spec),
        "hyperband" => check_hyperband(spec, algorithm),
        "pbt" => [
            "suggestion_trial_dir",
            "n_population",
            "truncation_threshold",
        ]
        .into_iter()
        .try_for_each(|name| required(algorithm, name).map(|_| ())),
        _ => Ok(()),
    }
}

/// Checks the settings of early stopping.
///
/// # Errors
/// With the first setting the service would refuse.
pub fn validate_early_stopping(spec: &ExperimentSpec) -> Result<(), SettingsError> {
    let Some(early) = &spec.early_stopping else {
        return Ok(());
    };
    if early.algorithm_name != "medianstop" {
        return Err(SettingsError::UnknownAlgorithm(
            early.algorithm_name.clone(),
        ));
    }
    check_table(early).map_err(|error| match error {
        SettingsError::Range { setting, .. } => SettingsError::TooSmall {
            wanted: match setting.as_str() {
                "start_step" => "greater or equal than one (>=1)",
                _ => "greater than zero (>0)",
            },
            setting,
        },
        other => other,
    })
}

/// The value of a setting.
pub fn setting<'s>(settings: &'s [Setting], name: &str) -> Option<&'s str> {
    settings
        .iter()
        .find(|setting| setting.name == name)
        .map(|setting| setting.value.as_str())
}

fn required<'s>(
    algorithm: &'s AlgorithmSpec,
    name: &'static str,
) -> Result<&'s str, SettingsError> {
    setting(&algorithm.algorithm_settings, name).ok_or_else(|| SettingsError::Missing {
        algorithm: algorithm.algorithm_name.clone(),
        setting: name,
    })
}

fn check_table(algorithm: &AlgorithmSpec) -> Result<(), SettingsError> {
    let Some((table, strict)) = rules(&algorithm.algorithm_name) else {
        return Ok(());
    };
    for setting in &algorithm.algorithm_settings {
        match table.iter().find(|(name, _)| *name == setting.name) {
            Some((_, rule)) => rule.check(setting)?,
            None if strict => {
                return Err(SettingsError::Unknown {
                    algorithm: algorithm.algorithm_name.clone(),
                    setting: setting.name.clone(),
                    known: table.iter().map(|(name, _)| *name).collect(),
                });
            }
            None => {}
        }
    }
    Ok(())
}

impl Rule {
    fn check(self, setting: &Setting) -> Result<(), SettingsError> {
        let Setting { name, value } = setting;
        let range = |wanted: String| SettingsError::Range {
            setting: name.clone(),
            wanted,
        };
        let number = || {
            value
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|number| !number.is_nan())
                .ok_or_else(|| SettingsError::Value {
                    setting: name.clone(),
                    value: value.clone(),
                    wanted: "a number",
                })
        };
        let (holds, wanted) = match self {
            Self::Int(least) => {
                let number: i64 = value.trim().parse().map_err(|_| SettingsError::Value {
                    setting: name.clone(),
                    value: value.clone(),
                    wanted: "a whole number",
                })?;
                (number >= least, format!("greater than or equal to {least}"))
            }
            Self::Between(low, high) => {
                let number = number()?;
                (
                    number > low && number < high,
                    format!("in the range of ({low}, {high})"),
                )
            }
            Self::Within(low, high) => (
                (low..=high).contains(&number()?),
                format!("in the range of [{low}, {high}]"),
            ),
            Self::Above(low) => (number()? > low, format!("greater than {low}")),
            Self::AtLeast(low) => (number()? >= low, format!("greater than or equal to {low}")),
            Self::Number => (number().is_ok(), "a number".to_owned()),
            Self::OneOf(words) => (
                words.contains(&value.as_str()),
                format!("one of {}", words.join(", ")),
            ),
            Self::Text => (true, String::new()),
        };
        if holds { Ok(()) } else { Err(range(wanted)) }
    }
}

fn check_grid(spec: &ExperimentSpec) -> Result<(), SettingsError> {
    let mut domains = Vec::new();
    for parameter in &spec.parameters {
        if parameter.parameter_type == ParameterType::Double
            && parameter.feasible_space.step.is_empty()
        {
            return Err(SettingsError::Space(format!(
                "parameter {} is a double without step: grid needs one",
                parameter.name
            )));
        }
        domains.push(Domain::of(parameter)?);
    }
    let (Some(total), Some(max)) = (combinations(&domains), spec.max_trial_count) else {
        return Ok(());
    };
    if u64::try_from(max).is_ok_and(|max| max > total) {
        return Err(SettingsError::Space(format!(
            "Max Trial Count: {max} > all possible search combinations: {total}"
        )));
    }
    Ok(())
}

fn check_unique(spec: &ExperimentSpec) -> Result<(), SettingsError> {
    let mut names = BTreeSet::new();
    match spec.parameters.iter().find(|p| !names.insert(&p.name)) {
        None => Ok(()),
        Some(twice) => Err(SettingsError::Space(format!(
            "parameter {} is there twice",
            twice.name
        ))),
    }
}

fn check_numeric(spec: &ExperimentSpec) -> Result<(), SettingsError> {
    check_unique(spec)?;
    let numeric = spec
        .parameters
        .iter()
        .filter(|p| matches!(p.parameter_type, ParameterType::Double | ParameterType::Int))
        .count();
    if numeric < 2 {
        return Err(SettingsError::Space(format!(
            "cmaes needs two parameters of type int or double; there are {numeric}"
        )));
    }
    Ok(())
}

fn check_hyperband(spec: &ExperimentSpec, algorithm: &AlgorithmSpec) -> Result<(), SettingsError> {
    let resource = required(algorithm, "resource_name")?;
    if !spec.parameters.iter().any(|p| p.name == resource) {
        return Err(SettingsError::Space(format!(
            "resource_name {resource} is not a parameter"
        )));
    }
    let budget: f64 = required(algorithm, "r_l")?.parse().unwrap_or_default();
    let eta = setting(&algorithm.algorithm_settings, "eta")
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|eta| *eta > 0.0)
        .unwrap_or(3.0);
    let brackets = (budget.ln() / eta.ln()).trunc();
    let wanted = eta.powf(brackets).ceil();
    let parallel = spec
        .parallel_trial_count
        .unwrap_or(crate::names::DEFAULT_PARALLEL);
    if wanted.is_finite() && f64::from(parallel) < wanted {
        return Err(SettingsError::Space(format!(
            "parallelTrialCount must be at least {wanted} for r_l {budget} and eta {eta}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn verdict(algorithm: &str, settings: &[(&str, &str)], more: Value) -> String {
        let settings: Vec<Value> = settings
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let mut spec = json!({
            "algorithm": {"algorithmName": algorithm, "algorithmSettings": settings},
            "parallelTrialCount": 3,
            "parameters": [{"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}},
                           {"name": "bs", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "4"}}]});
        if let (Value::Object(spec), Value::Object(more)) = (&mut spec, more) {
            spec.extend(more);
        }
        let spec: ExperimentSpec = serde_json::from_value(spec).unwrap();
        validate_settings(&spec).map_or_else(|error| error.to_string(), |()| "fine".into())
    }

    #[test]
    fn early_stopping_is_judged_in_its_services_words() {
        for (algorithm, name, value, text) in [
            ("medianstop", "start_step", "1", "fine"),
            ("medianstop", "min_trials_required", "1", "fine"),
            (
                "medianstop",
                "start_step",
                "0",
                "start_step must be greater or equal than one (>=1)",
            ),
            (
                "medianstop",
                "min_trials_required",
                "0",
                "min_trials_required must be greater than zero (>0)",
            ),
            (
                "medianstop",
                "start_step",
                "x",
                "failed to validate start_step(x): a whole number is wanted",
            ),
            (
                "medianstop",
                "patience",
                "1",
                "unknown setting patience for algorithm medianstop",
            ),
            ("hyperband", "r_l", "1", "unknown algorithm name hyperband"),
        ] {
            let spec: ExperimentSpec = serde_json::from_value(json!({"earlyStopping": {
                "algorithmName": algorithm,
                "algorithmSettings": [{"name": name, "value": value}]}}))
            .unwrap();
            let verdict = validate_early_stopping(&spec);
            let verdict = verdict.map_or_else(|error| error.to_string(), |()| "fine".into());
            assert_eq!(verdict, text);
        }
    }

    #[test]
    fn settings_are_judged_by_name_type_and_range() {
        for (algorithm, name, value, text) in [
            ("random", "random_state", "0", "fine"),
            (
                "random",
                "random_state",
                "-1",
                "random_state should be greater than or equal to 0",
            ),
            (
                "random",
                "random_state",
                "x",
                "failed to validate random_state(x): a whole number is wanted",
            ),
            (
                "random",
                "seed",
                "1",
                "unknown setting seed for algorithm random",
            ),
            (
                "tpe",
                "gamma",
                "7",
                "gamma should be in the range of (0, 1)",
            ),
            ("tpe", "n_EI_candidates", "24", "fine"),
            (
                "tpe",
                "n_ei_candidates",
                "24",
                "unknown setting n_ei_candidates for algorithm tpe",
            ),
            ("multivariate-tpe", "n_ei_candidates", "24", "fine"),
            (
                "bayesianoptimization",
                "acq_func",
                "UCB",
                "acq_func should be one of gp_hedge, LCB, EI, PI, EIps, PIps",
            ),
            ("cmaes", "anything", "1", "fine"),
            ("sobol", "anything", "1", "fine"),
            (
                "hyperband",
                "eta",
                "3",
                "algorithm hyperband needs the setting resource_name",
            ),
            ("darts", "num_epochs", "x", "fine"),
        ] {
            assert_eq!(verdict(algorithm, &[(name, value)], json!({})), text);
        }
    }

    #[test]
    fn a_grid_needs_steps_and_enough_points() {
        assert_eq!(
            verdict("grid", &[], json!({})),
            "parameter lr is a double without step: grid needs one"
        );
        let space = json!([{"name": "a", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "4"}},
            {"name": "b", "parameterType": "categorical", "feasibleSpace": {"list": ["x", "y", "z"]}}]);
        assert_eq!(
            verdict(
                "grid",
                &[],
                json!({"parameters": space, "maxTrialCount": 13})
            ),
            "Max Trial Count: 13 > all possible search combinations: 12"
        );
        assert_eq!(
            verdict(
                "grid",
                &[],
                json!({"parameters": space, "maxTrialCount": 12})
            ),
            "fine"
        );
        assert_eq!(verdict("grid", &[], json!({"parameters": space})), "fine");
    }

    #[test]
    fn hyperband_wants_a_whole_bracket_at_once() {
        let settings = [("r_l", "9"), ("resource_name", "bs")];
        assert_eq!(
            verdict("hyperband", &settings, json!({})),
            "parallelTrialCount must be at least 9 for r_l 9 and eta 3"
        );
        assert_eq!(
            verdict("hyperband", &settings, json!({"parallelTrialCount": 9})),
            "fine"
        );
    }
}
