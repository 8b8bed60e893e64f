//! Why something does not go as hoped: conditions, jobs, pods, events and logs read together.

mod advice;
mod archived;
mod experiment;
mod facts;
mod lacks;
mod log;
mod manifest;
mod seen;
#[cfg(test)]
mod tests;
mod trial;

use futures::future::BoxFuture;
use katlab_katib::names::condition as kinds;
use katlab_katib::types::Trial;

use super::evidence::Evidence;
use super::experiments::{self, Summary};
use super::trials::{self, TrialRow};
use crate::cluster::{Action, Cluster, Error, Result, near_misses};
pub use archived::{Archived, explain_archived};
use experiment::of_experiment;
use trial::of_trial;

/// What is said of a pod that waits for room.
const NO_PLACE: &str = "its pod finds no place";

/// How much of the end of a log is shown.
const SHOWN: usize = 12;

/// How many trials that stand still are looked at, each of which takes several requests.
const LOOKED_AT: usize = 50;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// All is well.
    Well,
    /// Nothing wrong so far; it takes its time.
    Waiting,
    /// Something is wrong.
    Trouble,
}

/// Something that was seen, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// The object: `trial a`, `job a`, `pod b, container c`.
    pub about: String,
    /// What was seen there.
    pub seen: String,
}

/// An explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// What was asked about: `experiment a` or `trial b`.
    pub subject: String,
    /// The answer, in one sentence.
    pub verdict: String,
    /// How bad it is.
    pub mood: Mood,
    /// What the answer rests on.
    pub facts: Vec<Fact>,
    /// What to do.
    pub advice: Vec<String>,
    /// The last lines of the log that matters, and whose they are.
    pub log: Option<(String, Vec<String>)>,
}

impl Diagnosis {
    fn new(subject: String) -> Self {
        Self {
            subject,
            verdict: String::new(),
            mood: Mood::Waiting,
            facts: Vec::new(),
            advice: Vec::new(),
            log: None,
        }
    }

    /// One of a trial, with its condition.
    fn of_trial(row: &TrialRow) -> Self {
        let mut found = Self::new(format!("trial {}", row.name));
        let seen = match row.message.as_str() {
            "" => row.status.clone(),
            message => format!("{}: {message}", row.status),
        };
        found.fact(format!("trial {}", row.name), seen);
        found
    }

    /// One of an experiment, with its condition.
    fn of_experiment(summary: &Summary) -> Self {
        let mut found = Self::new(format!("experiment {}", summary.name));
        found.fact(
            format!("experiment {}", summary.name),
            format!("{}: {}", summary.status, summary.message),
        );
        found
    }

    fn fact(&mut self, about: impl Into<String>, seen: impl Into<String>) {
        let fact = Fact {
            about: about.into(),
            seen: seen.into(),
        };
        if !self.facts.contains(&fact) {
            self.facts.push(fact);
        }
    }

    fn conclude(&mut self, mood: Mood, verdict: impl Into<String>) {
        self.mood = mood;
        self.verdict = verdict.into();
    }

    /// Takes over what was found about a part of it.
    fn explained_by(mut self, inner: Self) -> Self {
        self.conclude(inner.mood, inner.verdict);
        self.facts.extend(inner.facts);
        self.advice.extend(inner.advice);
        self.log = inner.log;
        self
    }

    /// What the log of a trial shows, and what it tells of a metric that was not found.
    fn read_log(
        &mut self,
        trial: &Trial,
        status: &str,
        (whose, lines): (String, &[String]),
        from: &str,
    ) {
        if status == kinds::METRICS_UNAVAILABLE
            && let Some(told) = log::told(trial, lines, from)
        {
            if told.is_all {
                self.advice.clear();
            }
            if let Some(verdict) = told.verdict {
                self.verdict = verdict;
            }
            self.advice.insert(0, told.advice);
        }
        let end = lines[lines.len().saturating_sub(SHOWN)..].to_vec();
        self.log = Some((whose, end));
    }

    fn advise(&mut self, advice: impl Into<String>) {
        let advice = advice.into();
        if !self.advice.contains(&advice) {
            self.advice.push(advice);
        }
    }
}

/// What was kept of a trial.
#[derive(Debug, Default)]
pub struct Kept {
    /// Whose its log was, and the last lines of it.
    pub log: Option<(String, Vec<String>)>,
    /// What is known of the experiment's pods.
    pub evidence: Evidence,
}

/// Finds what was kept of a trial.
pub type Keeps<'a> = dyn Fn(String) -> BoxFuture<'a, Option<Kept>> + Send + Sync + 'a;

/// Where something is looked for, and with what.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The namespace.
    pub namespace: &'a str,
    /// What a magic needs to look in that namespace, with a blank before: ` -n team-b`, or nothing where
    /// it is the chosen one.
    pub place: &'a str,
    /// For trials whose pods are gone.
    pub kept: &'a Keeps<'a>,
}

/// Explains a trial or an experiment, whichever has that name.
///
/// # Errors
/// When there is neither, or the cluster does not answer.
pub async fn explain(asked: &Asked<'_>, name: &str) -> Result<Diagnosis> {
    let Asked {
        cluster, namespace, ..
    } = *asked;
    match trials::get(cluster, namespace, name).await {
        Ok(trial) => of_trial(asked, &trial).await,
        Err(Error::NotFound {
            action,
            near: like_trials,
        }) => match experiments::get(cluster, namespace, name).await {
            Ok(experiment) => of_experiment(asked, &Summary::of(&experiment)).await,
            Err(Error::NotFound {
                near: like_experiments,
                ..
            }) => {
                let known: Vec<String> = like_experiments.into_iter().chain(like_trials).collect();
                let mut near = near_misses(name, known.iter().map(String::as_str));
                near.truncate(3);
                let action = Action {
                    resource: "trials or experiments".into(),
                    ..action
                };
                Err(Error::NotFound { action, near })
            }
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    }
}
