//! Why a trial does not go as hoped.

use katlab_katib::names::{RECONCILE_ERROR, condition as kinds};
use katlab_katib::types::Trial;

use super::advice::{collector_advice, missing_logins, pull_advice, pull_reason, terminated};
use super::lacks::Lack;
use super::log::comma;
use super::manifest::again;
use super::seen::Seen;
use super::{Asked, Diagnosis, Mood, NO_PLACE};
use crate::cluster::Result;
use crate::katib::trials::TrialRow;
use crate::kubernetes::logs::{self, Extent};
use crate::kubernetes::pods::{PodRow, State};

/// How much of the end of a log is looked through.
pub(super) const READ: u32 = 1000;

/// What is done about a job whose pods fail.
const TRIED_AGAIN: &str = "the job tries again (backoffLimit, 6 by default, with growing pauses): set backoffLimit: 0 in the template to fail at once";

/// The Job controller's word for a Job that ran too long, whose pods it removes.
const OVERDUE: &str = "DeadlineExceeded";

pub(super) async fn of_trial(asked: &Asked<'_>, trial: &Trial) -> Result<Diagnosis> {
    let Asked {
        cluster,
        namespace,
        place,
        kept,
    } = *asked;
    let row = TrialRow::of(trial, &[]);
    let name = &row.name;
    let mut found = Diagnosis::of_trial(&row);
    let mut seen = Seen::on(cluster, namespace, name).await;
    let is_there = !seen.pods.is_empty();
    let kept = match is_there {
        true => None,
        false => kept(name.clone()).await,
    };
    if let Some(kept) = &kept {
        seen.recall(name, &kept.evidence);
    }
    seen.facts(&mut found);
    conclude_trial(&mut found, trial, &row, &seen, (place, place));

    let is_overdue = seen
        .job
        .as_ref()
        .is_some_and(|job| job.reason.as_deref() == Some(OVERDUE));
    let kept_log = kept.and_then(|kept| kept.log);
    if row.status == kinds::FAILED && seen.pods.is_empty() && kept_log.is_none() && !is_overdue {
        found.advise("its pods are gone; set retain: true in the trial template to keep them");
    }
    let has_log = seen.culprit(trial).is_none_or(|container| {
        container.last.is_some() || !matches!(container.state, State::Waiting { .. })
    });
    // A value may have been misread where all seems well.
    let wants_log = has_log && (found.mood == Mood::Trouble || row.status == kinds::SUCCEEDED);
    if !wants_log {
        return Ok(found);
    }
    if let Some((whose, lines)) = kept_log {
        said(&mut found, trial, &row, (whose, &lines), place);
    }
    if is_there {
        let end = Extent {
            tail: Some(READ),
            ..Extent::default()
        };
        if let Ok(target) = logs::find(cluster, namespace, name, None).await
            && let Ok(lines) = logs::read(cluster, &target, end).await
        {
            let whose = format!("pod {}, container {}", target.pod, target.container);
            said(&mut found, trial, &row, (whose, &lines), place);
        }
    }
    Ok(found)
}

/// What the end of a log has to do with how the trial ended.
fn said(
    found: &mut Diagnosis,
    trial: &Trial,
    row: &TrialRow,
    (whose, lines): (String, &[String]),
    place: &str,
) {
    if lines.is_empty() {
        return;
    }
    if row.status == kinds::SUCCEEDED {
        comma(found, trial, lines);
    }
    if found.mood == Mood::Trouble {
        found.read_log(trial, &row.status, (whose, lines), place);
    }
}

pub(super) fn pods_text(count: i32) -> String {
    if count == 1 {
        "1 pod".into()
    } else {
        format!("{count} pods")
    }
}

/// Concludes from what was seen. What magics need, with a blank before: `place` to do something in the
/// trial's namespace, `from` to find the trial.
pub(super) fn conclude_trial(
    found: &mut Diagnosis,
    trial: &Trial,
    row: &TrialRow,
    seen: &Seen,
    (place, from): (&str, &str),
) {
    let (job, pod) = (seen.job.as_ref(), seen.youngest());
    let event = |reason: &str| seen.warning(reason);
    if row.status == kinds::SUCCEEDED {
        let missing: Vec<&str> = row
            .metrics
            .iter()
            .filter(|metric| metric.value.is_none())
            .map(|metric| metric.name.as_str())
            .collect();
        found.conclude(Mood::Well, "it succeeded");
        if !missing.is_empty() {
            found.fact(
                format!("trial {}", row.name),
                format!("never reported: {}", missing.join(", ")),
            );
            found.advise(format!(
                "have the training print {} too, or take it from additionalMetricNames",
                missing.join(" and ")
            ));
        }
        return;
    }
    if row.status == kinds::METRICS_UNAVAILABLE {
        let objective = trial
            .spec
            .objective
            .as_ref()
            .map(|one| one.objective_metric_name.clone())
            .unwrap_or_default();
        found.conclude(
            Mood::Trouble,
            format!("it ran to its end, but the metric {objective} was never found where the collector looks"),
        );
        found.advise(collector_advice(trial, &objective));
        return;
    }
    if row.status == kinds::EARLY_STOPPED {
        found.conclude(
            Mood::Well,
            "early stopping ended it: it fell behind the others",
        );
        return;
    }
    if let Some(container) = seen.culprit(trial) {
        let ended = |found: &mut Diagnosis, state: Option<&State>| match state {
            Some(State::Terminated {
                code,
                reason,
                message,
            }) => {
                let again = again(trial, container, from);
                terminated(found, container, (*code, reason, message), &again);
                true
            }
            _ => false,
        };
        match &container.state {
            State::Waiting { reason, message } => {
                let image = &container.image;
                if container.state.is_pull_failure() {
                    let detail = seen
                        .warnings
                        .iter()
                        .rev()
                        .find(|event| event.message.contains("ull image"))
                        .map_or_else(|| message.clone(), |event| event.message.clone());
                    found.conclude(
                        Mood::Trouble,
                        format!(
                            "its image cannot be pulled: {}",
                            pull_reason(image, &detail)
                        ),
                    );
                    if let Some(event) = event("FailedToRetrieveImagePullSecret") {
                        found.advise(missing_logins(&event.message, image, place));
                    }
                    found.advise(pull_advice(&detail, image, trial, place));
                    return;
                }
                if let Some(lack) = Lack::of(message) {
                    found.conclude(
                        Mood::Trouble,
                        format!("container {} cannot be made: {lack}", container.name),
                    );
                    found.advise(lack.advice(trial, place));
                    return;
                }
                if ended(found, container.last.as_ref()) {
                    return found.advise(TRIED_AGAIN);
                }
                found.conclude(
                    Mood::Trouble,
                    format!(
                        "container {} does not start: {reason} {message}",
                        container.name
                    ),
                );
            }
            State::Terminated { .. } => {
                ended(found, Some(&container.state));
            }
            State::Running { .. } => {
                ended(found, container.last.as_ref());
            }
        }
        // A container that cannot be made has not failed, and its job waits for it for ever.
        let has_failed = !matches!(container.state, State::Waiting { .. });
        if has_failed
            && job.is_some_and(|job| job.status == "Running")
            && found.mood == Mood::Trouble
        {
            found.advise(TRIED_AGAIN);
        }
        return;
    }
    if let Some(job) = job.filter(|job| job.reason.as_deref() == Some(OVERDUE)) {
        found.conclude(
            Mood::Trouble,
            format!("job {} ran longer than its activeDeadlineSeconds", job.name),
        );
        found.advise("raise activeDeadlineSeconds in the trial template, or make a trial shorter");
        return;
    }
    if row.status == kinds::KILLED {
        found.conclude(Mood::Trouble, format!("it was killed: {}", row.message));
        return;
    }
    if row.status == kinds::FAILED {
        found.conclude(Mood::Trouble, format!("it failed: {}", row.message));
        return;
    }
    if let Some(event) = event("FailedCreate") {
        found.conclude(
            Mood::Trouble,
            format!("its pod was refused: {}", event.message),
        );
        if event.message.contains("primary container") {
            found.advise("primaryContainerName must be the name of a container of the trial's pod");
        }
        return;
    }
    // The event stays for an hour; the pod may have found its place since.
    let waits = pod.is_none_or(|pod| pod.states.is_empty());
    if let Some(event) = event("FailedScheduling").filter(|_| waits) {
        found.conclude(Mood::Trouble, format!("{NO_PLACE}: {}", event.message));
        found.advise("ask for less CPU and memory in the template, or run fewer trials at once (parallelTrialCount)");
        return;
    }
    let is_made = |pod: &PodRow| {
        let mut states = pod.states.iter().map(|container| &container.state);
        states.any(|state| !matches!(state, State::Waiting { .. }))
    };
    if let Some(event) = event("FailedMount").filter(|_| !pod.is_some_and(is_made)) {
        let lack = Lack::of(&event.message);
        let why = lack
            .as_ref()
            .map_or_else(|| event.message.clone(), Lack::to_string);
        found.conclude(
            Mood::Trouble,
            format!("a volume of its pod cannot be made: {why}"),
        );
        match lack {
            Some(lack) => found.advise(lack.advice(trial, place)),
            None => found.advise("check volumes and volumeMounts in the template"),
        }
        return;
    }
    if let Some(event) = event(RECONCILE_ERROR) {
        found.conclude(
            Mood::Trouble,
            format!("Katib cannot go on with it: {}", event.message),
        );
        return;
    }
    match (job, pod) {
        (None, _) => found.conclude(Mood::Waiting, "its job has not been made yet"),
        (Some(_), None) => found.conclude(Mood::Waiting, "its pod has not been made yet"),
        (Some(job), Some(pod)) if pod.status == "Completed" || job.status == "Complete" => {
            found.conclude(
                Mood::Trouble,
                "its pod has completed, but no metric has arrived",
            );
            found.advise(format!("look whether the collector sidecar ran (:pods{place}), what it printed (:logs {name} -c metrics-logger-and-collector{place}), and whether it reaches the DB manager", name = row.name));
        }
        (Some(_), Some(pod)) => found.conclude(
            Mood::Waiting,
            format!("it is under way: pod {} is {}", pod.name, pod.status),
        ),
    }
}
