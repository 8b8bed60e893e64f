//! Trials as rows of numbers.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use katlab_katib::condition::Conditioned as _;
use katlab_katib::names::{LABEL_EXPERIMENT, condition as kinds};
use katlab_katib::types::{ObjectiveSpec, Trial, TrialStatus};

use super::experiments::{self, MetricValue, Objective, Summary};
use super::held;
use super::obstacles::{self, Obstacle, Of};
use super::value::Value;
use crate::cluster::{Cluster, Result};
use crate::kubernetes::Scope;

/// One trial.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRow {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// The experiment it belongs to.
    pub experiment: String,
    /// `Created`, `Running`, `Succeeded`, `Failed`, `Killed`, `EarlyStopped` or
    /// `MetricsUnavailable`; `Pending` before Katib saw it.
    pub status: String,
    /// Why, as one word.
    pub reason: String,
    /// Why, as a sentence.
    pub message: String,
    /// Its parameters, in the order of the search space where that is known.
    pub parameters: Vec<(String, Value)>,
    /// Its metrics, the objective first.
    pub metrics: Vec<MetricValue>,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// Whether it is the experiment's best.
    pub best: bool,
    /// Why its pod does not start, where that was looked up: to Katib such a trial is Running.
    pub obstacle: Option<Obstacle>,
}

impl TrialRow {
    /// Whether it has ended, in whatever way.
    pub fn is_ended(&self) -> bool {
        matches!(
            self.status.as_str(),
            kinds::SUCCEEDED
                | kinds::FAILED
                | kinds::KILLED
                | kinds::EARLY_STOPPED
                | kinds::METRICS_UNAVAILABLE
        )
    }

    /// How long it took, or has been going on at `now`.
    pub fn duration(&self, now: Timestamp) -> Option<Duration> {
        let end = self.ended.or_else(|| (!self.is_ended()).then_some(now))?;
        end.duration_since(self.started?).try_into().ok()
    }

    /// What is known of a metric.
    pub fn of_metric(&self, name: &str) -> Option<&MetricValue> {
        self.metrics.iter().find(|one| one.name == name)
    }

    /// The value of a metric that stands for the trial.
    pub fn metric(&self, name: &str) -> Option<&Value> {
        self.of_metric(name)?.value.as_ref()
    }

    /// The value of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&Value> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
    }

    /// A Trial as a row; `order` is the search space's order of parameters.
    pub fn of(trial: &Trial, order: &[String]) -> Self {
        let spec = &trial.spec;
        let status = trial.status.as_ref();
        let condition = [
            kinds::EARLY_STOPPED,
            kinds::SUCCEEDED,
            kinds::FAILED,
            kinds::KILLED,
            kinds::METRICS_UNAVAILABLE,
            kinds::RUNNING,
            kinds::CREATED,
        ]
        .iter()
        .find_map(|kind| {
            trial
                .conditions()
                .iter()
                .find(|one| one.kind == *kind && one.status == "True")
        });
        let experiment = trial
            .metadata
            .labels
            .get(LABEL_EXPERIMENT)
            .cloned()
            .or_else(|| {
                trial
                    .metadata
                    .owner_references
                    .iter()
                    .find(|owner| owner.kind == "Experiment")
                    .map(|owner| owner.name.clone())
            })
            .unwrap_or_default();
        let transition = |kind: &str| {
            let condition = trial.conditions().iter().find(|one| one.kind == kind)?;
            held::time(condition.last_transition_time.as_deref())
        };
        Self {
            name: trial.metadata.name().to_owned(),
            namespace: trial.metadata.namespace().to_owned(),
            experiment,
            status: condition.map_or_else(|| "Pending".to_owned(), |one| one.kind.clone()),
            reason: condition.map(|one| one.reason.clone()).unwrap_or_default(),
            message: condition.map(|one| one.message.clone()).unwrap_or_default(),
            parameters: experiments::assignments(&spec.parameter_assignments, order),
            metrics: status
                .and_then(|status| status.observation.as_ref())
                .map(|observation| experiments::metrics(observation, spec.objective.as_ref()))
                .unwrap_or_default(),
            created: held::time(trial.metadata.creation_timestamp.as_deref()),
            started: held::time(status.and_then(|status| status.start_time.as_deref())),
            // Katib sets no completionTime when a trial is stopped early.
            ended: held::time(status.and_then(TrialStatus::completed_at))
                .or_else(|| transition(kinds::EARLY_STOPPED)),
            best: false,
            obstacle: None,
        }
    }
}

/// Notes what holds trials up on the rows of those that are under way.
pub fn hold_up<'a>(rows: &mut [TrialRow], obstacles: impl IntoIterator<Item = &'a Obstacle>) {
    let obstacles: HashMap<(&str, &str), &Obstacle> = obstacles
        .into_iter()
        .map(|one| ((one.namespace.as_str(), one.trial.as_str()), one))
        .collect();
    for row in rows.iter_mut().filter(|row| !row.is_ended()) {
        let found = obstacles.get(&(row.namespace.as_str(), row.name.as_str()));
        row.obstacle = found.copied().cloned();
    }
}

/// The trials of one experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialTable {
    /// The experiment, unless it is gone.
    pub experiment: Option<Summary>,
    /// The parameters, in the order of the search space.
    pub parameters: Vec<String>,
    /// The metrics, the objective first.
    pub metrics: Vec<String>,
    /// What is optimised.
    pub objective: Objective,
    /// The trials, oldest first.
    pub rows: Vec<TrialRow>,
}

impl TrialTable {
    /// The experiment's name, as far as it is known; empty where there is neither it nor a trial.
    pub fn name(&self) -> &str {
        let named = self.experiment.as_ref().map(|one| one.name.as_str());
        let row = self.rows.first().map(|row| row.experiment.as_str());
        named.or(row).unwrap_or_default()
    }

    /// Makes the table; the best row is Katib's own choice where the experiment has one, else ours by
    /// the same rule.
    pub fn of(experiment: Option<Summary>, trials: &[Trial]) -> Self {
        let spec: Option<&ObjectiveSpec> = trials
            .iter()
            .find_map(|trial| trial.spec.objective.as_ref());
        let objective = match &experiment {
            Some(experiment) => experiment.objective.clone(),
            None => Objective::of(spec),
        };
        let mut parameters = experiment
            .as_ref()
            .map(|one| one.parameters.clone())
            .unwrap_or_default();
        for assignment in trials
            .iter()
            .flat_map(|trial| &trial.spec.parameter_assignments)
        {
            if !parameters.contains(&assignment.name) {
                parameters.push(assignment.name.clone());
            }
        }
        let mut metrics: Vec<String> = std::iter::once(&objective.metric)
            .chain(&objective.additional)
            .filter(|name| !name.is_empty())
            .cloned()
            .collect();
        let mut rows: Vec<TrialRow> = trials
            .iter()
            .map(|trial| TrialRow::of(trial, &parameters))
            .collect();
        for metric in rows.iter().flat_map(|row| &row.metrics) {
            if !metrics.contains(&metric.name) {
                metrics.push(metric.name.clone());
            }
        }
        rows.sort_by(|left, right| (left.created, &left.name).cmp(&(right.created, &right.name)));
        let chosen = experiment.as_ref().and_then(|one| one.best.as_ref());
        let best = chosen
            .map(|best| best.trial.clone())
            .or_else(|| best(&rows, &objective));
        if let Some(best) = best {
            for row in &mut rows {
                row.best = row.name == best;
            }
        }
        Self {
            experiment,
            parameters,
            metrics,
            objective,
            rows,
        }
    }
}

/// The best trial by the objective; the first wins ties.
fn best(rows: &[TrialRow], objective: &Objective) -> Option<String> {
    let mut best: Option<(f64, &str)> = None;
    for row in rows {
        let Some(value) = row.metric(&objective.metric).and_then(Value::number) else {
            continue;
        };
        if best.is_none_or(|(so_far, _)| objective.is_better(value, so_far)) {
            best = Some((value, &row.name));
        }
    }
    best.map(|(_, name)| name.to_owned())
}

/// The trials of an experiment.
///
/// # Errors
/// An experiment that is not there and left no trials behind comes with near misses.
pub async fn of_experiment(
    cluster: &Cluster,
    namespace: &str,
    experiment: &str,
) -> Result<TrialTable> {
    let (summary, trials) = futures::future::join(
        experiments::summary(cluster, namespace, experiment),
        objects(cluster, namespace, experiment),
    )
    .await;
    let trials = trials?;
    let mut table = match summary {
        Ok(summary) => TrialTable::of(Some(summary), &trials),
        // Deleted with --orphan, or otherwise gone: its trials still tell the story.
        Err(error) if error.is_not_found() && !trials.is_empty() => TrialTable::of(None, &trials),
        Err(error) => return Err(error),
    };
    look_at_pods(
        cluster,
        &namespace.into(),
        Of::Experiment(experiment),
        &mut table.rows,
    )
    .await;
    Ok(table)
}

/// One more request, and only when a trial is under way.
async fn look_at_pods(cluster: &Cluster, scope: &Scope, of: Of<'_>, rows: &mut [TrialRow]) {
    if rows.iter().any(|row| row.status == kinds::RUNNING) {
        hold_up(rows, &obstacles::list(cluster, scope, of).await);
    }
}

/// A trial as a row, with what holds it up.
pub async fn row(cluster: &Cluster, trial: &Trial) -> TrialRow {
    let mut row = TrialRow::of(trial, &[]);
    let scope = Scope::from(row.namespace.as_str());
    let name = row.name.clone();
    look_at_pods(
        cluster,
        &scope,
        Of::Trial(&name),
        std::slice::from_mut(&mut row),
    )
    .await;
    row
}

/// The trials of an experiment as Katib's own objects.
///
/// # Errors
/// As [`crate::kubernetes::objects::list`]; an experiment without trials is an empty list.
pub async fn objects(cluster: &Cluster, namespace: &str, experiment: &str) -> Result<Vec<Trial>> {
    let selector = format!("{LABEL_EXPERIMENT}={experiment}");
    held::list::<held::Trial>(cluster, &Scope::from(namespace), Some(&selector)).await
}

/// All trials of a scope, oldest first, the best of each experiment marked.
pub async fn list(cluster: &Cluster, scope: &Scope) -> Result<Vec<TrialRow>> {
    let (trials, found) = futures::future::join(
        held::list::<held::Trial>(cluster, scope, None),
        experiments::list(cluster, scope),
    )
    .await;
    let found = found.unwrap_or_default();
    let mut rows: Vec<TrialRow> = trials?
        .iter()
        .map(|trial| {
            let row = TrialRow::of(trial, &[]);
            let own = found
                .iter()
                .find(|one| one.name == row.experiment && one.namespace == row.namespace);
            let Some(own) = own else { return row };
            let best = own.best.as_ref().is_some_and(|best| best.trial == row.name);
            TrialRow {
                best,
                ..TrialRow::of(trial, &own.parameters)
            }
        })
        .collect();
    rows.sort_by(|left, right| {
        (left.created, &left.namespace, &left.name).cmp(&(
            right.created,
            &right.namespace,
            &right.name,
        ))
    });
    look_at_pods(cluster, scope, Of::All, &mut rows).await;
    Ok(rows)
}

/// Reads one trial.
pub async fn get(cluster: &Cluster, namespace: &str, name: &str) -> Result<Trial> {
    held::get::<held::Trial>(cluster, namespace, name).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trial(name: &str, accuracy: &str, created: &str) -> Trial {
        serde_json::from_value(json!({
            "metadata": {"name": name, "creationTimestamp": created, "labels": {"katib.kubeflow.org/experiment": "mnist"}},
            "spec": {
                "objective": {"type": "maximize", "objectiveMetricName": "accuracy",
                    "metricStrategies": [{"name": "accuracy", "value": "max"}]},
                "parameterAssignments": [{"name": "--lr", "value": "0.01"}, {"name": "--batch", "value": "51"}]},
            "status": {
                "startTime": "2026-11-23T17:48:02Z", "completionTime": "2026-11-23T17:48:11Z",
                "conditions": [{"type": "Created", "status": "True"}, {"type": "Running", "status": "False"},
                    {"type": "Succeeded", "status": "True", "reason": "TrialSucceeded. Job reason: CompletionsReached"}],
                "observation": {"metrics": [{"name": "accuracy", "min": accuracy, "max": accuracy, "latest": accuracy}]}}
        }))
        .unwrap()
    }

    #[test]
    fn without_its_experiment_the_best_row_is_found_by_the_objective_and_the_first_wins_ties() {
        let trials = [
            trial("a", "0.9", "2026-11-23T17:48:02Z"),
            trial("b", "0.96", "2026-11-23T17:48:03Z"),
            trial("c", "0.96", "2026-11-23T17:48:04Z"),
            trial("d", "unavailable", "2026-11-23T17:48:01Z"),
        ];
        let table = TrialTable::of(None, &trials);
        let names: Vec<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["d", "a", "b", "c"]);
        assert_eq!(
            table
                .rows
                .iter()
                .filter(|row| row.best)
                .map(|row| row.name.as_str())
                .collect::<Vec<_>>(),
            ["b"]
        );
        assert_eq!(table.parameters, ["--lr", "--batch"]);
    }

    #[test]
    fn a_row_has_numbers_and_a_duration() {
        let row = TrialRow::of(&trial("a", "0.9", "2026-11-23T17:48:02Z"), &[]);
        assert_eq!(row.parameter("--batch"), Some(&Value::Int(51)));
        assert_eq!(row.metric("accuracy"), Some(&Value::Number(0.9)));
        assert_eq!(
            row.duration(Timestamp::UNIX_EPOCH),
            Some(Duration::from_secs(9))
        );
        assert_eq!(
            (row.status.as_str(), row.experiment.as_str()),
            ("Succeeded", "mnist")
        );
    }

    #[test]
    fn a_trial_stopped_early_is_told_from_one_that_runs() {
        let mut trial = trial("a", "0.9", "2026-11-23T17:48:02Z");
        let status = trial.status.as_mut().unwrap();
        status.completion_time = None;
        status.conditions = serde_json::from_value(json!([
            {"type": "Created", "status": "True"}, {"type": "Running", "status": "True"},
            {"type": "EarlyStopped", "status": "True", "lastTransitionTime": "2026-11-23T17:48:07Z"}]))
        .unwrap();
        let row = TrialRow::of(&trial, &[]);
        assert_eq!(row.status, "EarlyStopped");
        assert_eq!(
            row.duration(Timestamp::UNIX_EPOCH),
            Some(Duration::from_secs(5))
        );
    }
}
