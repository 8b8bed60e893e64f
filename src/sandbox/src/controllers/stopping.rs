//! What early stopping learns from trials that have succeeded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use katlab_katib::metrics::number;
use katlab_katib::summary::TrialState;
use katlab_katib::types::{EarlyStoppingRule, ExperimentSpec, Trial};
use katlab_suggestion::medianstop::{rules, running_averages};

use super::cache::Key;
use super::context::Context;
use super::error::Result;
use super::objects::Kind;
use crate::metrics::Filter;

/// Values of one trial that are looked at, from the first on.
const MOST_STEPS: usize = 10_000;

/// The running averages of trials by their uid.
type Averages = HashMap<String, Arc<[f64]>>;

/// The running averages of the succeeded trials of each Experiment. They are read from the
/// observation log once: what a trial that has succeeded reported does not change.
#[derive(Debug, Default)]
pub struct Curves {
    held: Mutex<HashMap<Key, Averages>>,
}

impl Curves {
    fn take(&self, experiment: &Key) -> Averages {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(experiment).unwrap_or_default()
    }

    fn keep(&self, experiment: Key, curves: Averages) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(experiment, curves);
    }

    /// Drops what is held of an Experiment whose search is over.
    pub fn forget(&self, experiment: &Key) {
        self.take(experiment);
    }
}

/// The rules for trials that begin now.
pub async fn rules_now(
    context: &Context,
    experiment: &Key,
    spec: &ExperimentSpec,
    trials: &[Arc<Trial>],
) -> Result<Vec<EarlyStoppingRule>> {
    let (Some(stopping), Some(objective)) = (&spec.early_stopping, &spec.objective) else {
        return Ok(Vec::new());
    };
    let mut known = context.curves.take(experiment);
    let mut curves = Averages::new();
    let succeeded = trials
        .iter()
        .filter(|trial| TrialState::of(trial) == TrialState::Succeeded);
    for trial in succeeded {
        let curve = match known.remove(trial.uid()) {
            Some(curve) => curve,
            None => {
                let filter = Filter {
                    metric: Some(objective.objective_metric_name.clone()),
                    ..Filter::default()
                };
                let (namespace, name) = (trial.namespace(), trial.name());
                let rows = context.observation.rows(namespace, name, filter).await?;
                let values = rows.iter().filter_map(|row| number(&row.value));
                running_averages(values.take(MOST_STEPS)).into()
            }
        };
        curves.insert(trial.uid().to_owned(), curve);
    }
    let all: Vec<Arc<[f64]>> = curves.values().cloned().collect();
    context.curves.keep(experiment.clone(), curves);
    Ok(rules(stopping, objective, &all))
}
