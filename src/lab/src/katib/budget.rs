//! Changing the counts of an experiment: the only part of one that Katib lets anybody change.

use katlab_katib::names::experiment::MAX_TRIALS_REACHED;
use katlab_katib::types::{Experiment, ResumePolicy};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::experiments::Summary;
use super::held::{self, Held as _};
use crate::cluster::{Cluster, Error, Result};
use crate::kubernetes::Scope;

/// New counts; what is left out stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Trials in all.
    pub max_trials: Option<u32>,
    /// Trials at once.
    pub parallel: Option<u32>,
    /// Failed trials that end it.
    pub max_failed: Option<u32>,
}

/// What one has to know before the counts are changed; empty when nothing is unusual.
pub fn warnings(experiment: &Experiment, budget: Budget) -> Vec<String> {
    let summary = Summary::of(experiment);
    let mut warnings = Vec::new();
    if let (Some(new), Some(old)) = (budget.parallel, summary.parallel)
        && new < old
        && summary.counts.running + summary.counts.pending > new
    {
        warnings.push(format!(
            "lowering parallelTrialCount from {old} to {new} makes Katib delete the newest trials, finished ones included"
        ));
    }
    if summary.is_completed() && budget.max_trials.is_some() {
        let restartable = summary.reason == MAX_TRIALS_REACHED.reason
            && matches!(
                experiment.spec.resume_policy,
                ResumePolicy::LongRunning | ResumePolicy::FromVolume
            );
        if !restartable {
            warnings.push(format!(
                "the experiment has ended ({}) with resumePolicy {}; only one that ended by its trial count with LongRunning or FromVolume starts again",
                summary.reason, experiment.spec.resume_policy
            ));
        }
    }
    warnings
}

/// Changes the counts.
pub async fn edit(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    budget: Budget,
) -> Result<Summary> {
    let scope = Scope::from(namespace);
    let mut spec = serde_json::Map::new();
    for (field, value) in [
        ("maxTrialCount", budget.max_trials),
        ("parallelTrialCount", budget.parallel),
        ("maxFailedTrialCount", budget.max_failed),
    ] {
        if let Some(value) = value {
            spec.insert(field.into(), value.into());
        }
    }
    if spec.is_empty() {
        return Err(Error::Input {
            what: format!("experiment {name}"),
            reason: "no count was given".into(),
        });
    }
    let patch = Patch::Merge(json!({ "spec": spec }));
    let api = held::api::<held::Experiment>(cluster, &scope);
    let action = held::action::<held::Experiment>(cluster, "update", &scope).named(name);
    match api.patch(name, &PatchParams::default(), &patch).await {
        Ok(changed) => Ok(Summary::of(&changed.plain())),
        Err(error) => Err(held::explain::<held::Experiment>(cluster, &scope, error, action).await),
    }
}
