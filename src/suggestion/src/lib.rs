//! Search algorithms: from a space, settings and what was already given out to the next
//! assignments.
//!
//! Every algorithm is a pure function of its [`Request`]. Nothing is remembered between
//! calls, so a sandbox that was killed goes on where it stopped: what was given out stands
//! in the Suggestion's status and comes back as history. Randomness is
//! `Xoshiro256PlusPlus`, named here because a seed must mean the same numbers for years.
//!
//! ```
//! use katlab_katib::types::{AlgorithmSpec, ObjectiveType, ParameterSpec};
//! use katlab_suggestion::{Request, suggest};
//!
//! let parameters: Vec<ParameterSpec> = serde_json::from_value(serde_json::json!([
//!     {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.001", "max": "0.1"}}
//! ])).unwrap();
//! let algorithm = AlgorithmSpec { algorithm_name: "random".into(), ..Default::default() };
//! let first = suggest(&Request {
//!     algorithm: &algorithm,
//!     parameters: &parameters,
//!     objective: &ObjectiveType::Minimize,
//!     history: &[],
//!     count: 2,
//!     max_trial_count: None,
//!     seed: 7,
//! }).unwrap();
//! assert_eq!(first.len(), 2);
//! ```
//!
//! # Algorithms
//! | name | what it is, and Katib's service |
//! |---|---|
//! | `random` | each value by its distribution (hyperopt) |
//! | `grid` | every point once (Optuna) |
//! | `sobol` | points that fill the space evenly (goptuna) |
//! | `tpe` | tree-structured Parzen estimators, one parameter after the other (hyperopt) |
//! | `multivariate-tpe` | the same, all parameters together (Optuna) |
//! | `cmaes` | covariance matrix adaptation (goptuna) |
//! | `bayesianoptimization` | a Gaussian process or trees (scikit-optimize) |
//! | `hyperband` | the better ones again with more resources (Katib's own) |
//!
//! Each module names the paper it follows, and where it departs from Katib's service.
//! Settings are those of Katib, refused where Katib refuses them. `tests/search_bench.py`
//! lays the results beside those of Optuna and scikit-optimize.
//!
//! # Where this departs from Katib's services on purpose
//! Steps are anchored at `min` and every value stays inside its range (Katib's random search
//! rounds from zero and lets a normal distribution run over). No assignment is given out
//! twice while there are others, trials under way included. A grid that is used up says so instead of stalling.

mod axis;
mod bayesian;
mod cmaes;
mod forest;
mod gaussian;
mod grid;
mod history;
mod hyperband;
pub mod medianstop;
mod normal;
mod parzen;
mod promise;
mod quadratic;
mod random;
mod search;
mod sobol;
mod space;
mod tpe;
mod warp;

pub use history::{Given, Outcome};

use katlab_katib::algorithm::{self, SettingsError};
use katlab_katib::space::SpaceError;
use katlab_katib::types::{
    AlgorithmSpec, ExperimentSpec, ObjectiveType, ParameterAssignment, ParameterSpec,
};
use search::Search;

/// Algorithms that run here.
pub const ALGORITHMS: &[&str] = katlab_katib::names::SANDBOX_ALGORITHMS;

/// The values of one trial, in the order of the parameters.
pub type Assignments = Vec<ParameterAssignment>;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Algorithm and settings.
    pub algorithm: &'a AlgorithmSpec,
    /// The search space.
    pub parameters: &'a [ParameterSpec],
    /// Whether the objective is to be small or great.
    pub objective: &'a ObjectiveType,
    /// Every set of assignments already given out, oldest first, and what became of it.
    pub history: &'a [Given],
    /// How many more are wanted.
    pub count: usize,
    /// The Experiment's budget, if it has one.
    pub max_trial_count: Option<i32>,
    /// What randomness starts from when the settings say nothing (`random_state`). Take
    /// something that stays with the Experiment, its uid for example, see [`seed_of`].
    pub seed: u64,
}

/// Why there are no assignments.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuggestionError {
    /// The algorithm does not run here.
    #[error(
        "the sandbox runs the algorithms {} so far; {algorithm} needs a cluster with Katib",
        ALGORITHMS.join(", ")
    )]
    Unsupported {
        /// Which one.
        algorithm: String,
    },
    /// A setting or the space does not suit the algorithm.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A parameter's values can't be read.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// There are no parameters.
    #[error("the search space has no parameters")]
    NoParameters,
    /// Every point of the grid was given out.
    #[error("all {total} points of the grid were given out; none is left")]
    Exhausted {
        /// How many there were.
        total: u64,
    },
    /// The grid has more points than can be numbered.
    #[error("the grid has more points than can be numbered")]
    TooLarge,
}

impl SuggestionError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { .. } => Some(
                "set algorithmName to one of these, or connect to a cluster with `:use cluster`"
                    .to_owned(),
            ),
            Self::Settings(error) => error.hint(),
            Self::Space(error) => error.hint(),
            Self::NoParameters => Some("add spec.parameters".to_owned()),
            Self::Exhausted { total } => Some(format!(
                "set maxTrialCount to at most {total}, or refine the steps"
            )),
            Self::TooLarge => Some("use coarser steps or fewer parameters".to_owned()),
        }
    }

    /// Whether the search has simply come to its end.
    pub fn is_exhausted(&self) -> bool {
        matches!(self, Self::Exhausted { .. })
    }
}

/// The next assignments: as many as are wanted, fewer (but at least one) when a grid comes
/// to its end.
///
/// # Errors
/// When the algorithm does not run here, its settings or the space are refused, or a grid is
/// used up.
pub fn suggest(request: &Request<'_>) -> Result<Vec<Assignments>, SuggestionError> {
    let name = request.algorithm.algorithm_name.as_str();
    check_supported(name)?;
    algorithm::validate_settings(&as_spec(request))?;
    let search = Search::read(request)?;
    Ok(match name {
        "grid" => grid::suggest(&search)?,
        "sobol" => sobol::suggest(&search),
        "tpe" => tpe::Tpe::separate(&search).suggest(&search),
        "bayesianoptimization" => bayesian::suggest(&search),
        "cmaes" => cmaes::suggest(&search),
        "hyperband" => hyperband::suggest(&search, request.parameters)?,
        "multivariate-tpe" => tpe::Tpe::joint(&search).suggest(&search),
        _ => random::suggest(&search),
    })
}

/// Checks what a Suggestion checks when it starts: that the algorithm runs here, and that
/// its settings and the space suit it.
///
/// # Errors
/// As [`suggest`], the end of a grid excepted.
pub fn validate_settings(spec: &ExperimentSpec) -> Result<(), SuggestionError> {
    let name = spec
        .algorithm
        .as_ref()
        .map(|algorithm| algorithm.algorithm_name.as_str())
        .unwrap_or_default();
    check_supported(name)?;
    algorithm::validate_settings(spec)?;
    space::Space::read(&spec.parameters).map(|_| ())
}

/// A seed out of a text that stays with an Experiment (its uid).
pub fn seed_of(text: &str) -> u64 {
    // FNV-1a: not for secrets, the same everywhere.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn check_supported(name: &str) -> Result<(), SuggestionError> {
    if ALGORITHMS.contains(&name) {
        return Ok(());
    }
    Err(SuggestionError::Unsupported {
        algorithm: name.to_owned(),
    })
}

fn as_spec(request: &Request<'_>) -> ExperimentSpec {
    ExperimentSpec {
        algorithm: Some(request.algorithm.clone()),
        parameters: request.parameters.to_vec(),
        max_trial_count: request.max_trial_count,
        // Whether enough trials run at once was checked with the Experiment.
        parallel_trial_count: Some(i32::MAX),
        ..ExperimentSpec::default()
    }
}

#[cfg(test)]
mod tests;
