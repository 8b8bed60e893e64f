//! Why an experiment does not go as hoped.

use katlab_katib::names::{LABEL_SUGGESTION, RECONCILE_ERROR, condition as kinds};

use super::facts::{self, event_text, pod_facts};
use super::trial::of_trial;
use super::{Asked, Diagnosis, LOOKED_AT, Mood, NO_PLACE};
use crate::cluster::Result;
use crate::katib::experiments::Summary;
use crate::katib::suggestions;
use crate::katib::trials::{self, TrialRow, TrialTable};
use crate::kubernetes::pods;

pub(super) async fn of_experiment(asked: &Asked<'_>, summary: &Summary) -> Result<Diagnosis> {
    let Asked {
        cluster,
        namespace,
        place,
        ..
    } = *asked;
    let name = &summary.name;
    let mut found = Diagnosis::of_experiment(summary);

    let table = trials::of_experiment(cluster, namespace, name).await?;
    let unhappy = unhappy(&table);

    // What the algorithm says comes first: without assignments there are no trials.
    let suggestion = suggestions::get(cluster, namespace, name).await.ok();
    if let Some(suggestion) = &suggestion {
        let row = suggestions::row(suggestion);
        if row.kind == kinds::FAILED {
            found.fact(format!("suggestion {name}"), row.message.clone());
            let detail = row
                .message
                .rsplit("Error: ")
                .next()
                .unwrap_or_default()
                .to_owned();
            found.conclude(
                Mood::Trouble,
                format!(
                    "the algorithm {} refused its settings: {detail}",
                    row.algorithm
                ),
            );
            found.advise("correct spec.algorithm and create the experiment anew: a failed Suggestion is final");
            return Ok(found);
        }
        if table.rows.is_empty() && row.assigned == 0 && row.requested > 0 {
            found.fact(
                format!("suggestion {name}"),
                format!("{} {}: {}", row.kind, row.status, row.message),
            );
            for pod in pods::list(
                cluster,
                &namespace.into(),
                Some(&format!("{LABEL_SUGGESTION}={name}")),
            )
            .await
            .unwrap_or_default()
            {
                pod_facts(&mut found, &pod);
            }
        }
    }
    let warnings = facts::warnings(cluster, namespace, name, &["Experiment", "Suggestion"]).await;
    for event in warnings.iter().rev().take(3) {
        found.fact(
            format!("{} {}", event.kind.to_lowercase(), event.object),
            event_text(event),
        );
    }

    if summary.is_failed() || !unhappy.is_empty() {
        let mut inner = None;
        if let Some(first) = unhappy.first()
            && let Ok(trial) = trials::get(cluster, namespace, &first.name).await
        {
            inner = Some(of_trial(asked, &trial).await?);
        }
        trouble(&mut found, summary, &table, &unhappy, inner, place);
        return Ok(found);
    }
    if summary.is_completed() {
        completed(&mut found, summary);
        return Ok(found);
    }
    if let Some(event) = warnings
        .iter()
        .rev()
        .find(|event| event.reason == RECONCILE_ERROR)
        && table.rows.is_empty()
    {
        found.conclude(
            Mood::Trouble,
            format!("no trial can be made: {}", event.message),
        );
        found.advise("every search parameter must be used by a trialParameter of the template; :experiment lint names what is missing");
        return Ok(found);
    }
    // Trials that stand still: the first that has trouble explains the rest. One that finds no room
    // comes last, since it waits for the others, whose trouble is then what holds everything up.
    let mut roomless = None;
    let open = table.rows.iter().filter(|row| !row.is_ended());
    for row in open.take(LOOKED_AT) {
        let Ok(trial) = trials::get(cluster, namespace, &row.name).await else {
            continue;
        };
        let mut inner = of_trial(asked, &trial).await?;
        if inner.mood != Mood::Trouble {
            continue;
        }
        inner.verdict = format!("trial {}: {}", row.name, inner.verdict);
        if !inner.verdict.contains(NO_PLACE) {
            return Ok(found.explained_by(inner));
        }
        roomless.get_or_insert(inner);
    }
    if let Some(inner) = roomless {
        return Ok(found.explained_by(inner));
    }
    let counts = summary.counts;
    if table.rows.is_empty() {
        found.conclude(
            Mood::Waiting,
            "it has no trials yet: the algorithm has not given any assignments",
        );
    } else {
        found.conclude(
            Mood::Waiting,
            format!(
                "it is under way: {} of its trials have ended, {} run",
                counts.ended(),
                counts.running
            ),
        );
    }
    Ok(found)
}

/// The trials that brought no result.
pub(super) fn unhappy(table: &TrialTable) -> Vec<&TrialRow> {
    let is_unhappy = |row: &&TrialRow| {
        matches!(
            row.status.as_str(),
            kinds::FAILED | kinds::METRICS_UNAVAILABLE | kinds::KILLED
        )
    };
    table.rows.iter().filter(is_unhappy).collect()
}

/// Concludes that it failed, or that trials of it did. `inner` explains the first of them: trials of one
/// experiment fail alike, and the rest are one question away. `from` is what the magics need to read it
/// where it is no more on the cluster, or not in the chosen namespace.
pub(super) fn trouble(
    found: &mut Diagnosis,
    summary: &Summary,
    table: &TrialTable,
    unhappy: &[&TrialRow],
    inner: Option<Diagnosis>,
    from: &str,
) {
    if unhappy.is_empty() {
        return found.conclude(Mood::Trouble, format!("it failed: {}", summary.message));
    }
    let failed = unhappy.len();
    let whole = if summary.is_failed() {
        "it failed: "
    } else {
        ""
    };
    let all = table.rows.len();
    let mut verdict = format!("{whole}{failed} of {all} trials did not bring a result");
    if let (Some(first), Some(inner)) = (unhappy.first(), inner) {
        verdict = format!("{verdict}; {}: {}", first.name, inner.verdict);
        found.facts.extend(inner.facts);
        found.advice.extend(inner.advice);
        found.log = inner.log;
    }
    found.conclude(Mood::Trouble, verdict);
    if failed > 1 {
        found.advise(format!(
            ":trials {}{from} --where status!=Succeeded lists them; :why TRIAL{from} explains each",
            summary.name
        ));
    }
}

/// Concludes how an experiment ended of whose trials none failed.
pub(super) fn completed(found: &mut Diagnosis, summary: &Summary) {
    match &summary.best {
        Some(best) => found.conclude(
            Mood::Well,
            format!(
                "it ended as it should: {}; best trial {}",
                summary.message, best.trial
            ),
        ),
        None => {
            found.conclude(Mood::Trouble, "it ended without a best trial");
            found.advise(
                "set maxFailedTrialCount, so that an experiment whose trials fail ends as Failed",
            );
        }
    }
}
