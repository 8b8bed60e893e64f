//! Why something does not go as hoped: conditions, jobs, pods, events and logs read together.

use katlab_katib::names::{LABEL_SUGGESTION, RECONCILE_ERROR, condition as kinds};
use katlab_katib::types::{CollectorKind, Trial};

use super::experiments::{self, Summary};
use super::suggestions;
use super::trials::{self, TrialRow};
use crate::cluster::{Action, Cluster, Error, Result, near_misses};
use crate::kubernetes::Scope;
use crate::kubernetes::events::{self, EventRow, Filter};
use crate::kubernetes::jobs::{self, JobRow};
use crate::kubernetes::logs::{self, Extent};
use crate::kubernetes::pods::{self, ContainerState, PodRow, State, TRIAL_LABEL};

/// What is said of a pod that waits for room.
const NO_PLACE: &str = "its pod finds no place";

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

    fn advise(&mut self, advice: impl Into<String>) {
        let advice = advice.into();
        if !self.advice.contains(&advice) {
            self.advice.push(advice);
        }
    }
}

/// Explains a trial or an experiment, whichever has that name.
pub async fn explain(cluster: &Cluster, namespace: &str, name: &str) -> Result<Diagnosis> {
    match trials::get(cluster, namespace, name).await {
        Ok(trial) => of_trial(cluster, namespace, &trial).await,
        Err(Error::NotFound {
            action,
            near: like_trials,
        }) => match experiments::get(cluster, namespace, name).await {
            Ok(experiment) => of_experiment(cluster, namespace, &Summary::of(&experiment)).await,
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

async fn of_experiment(cluster: &Cluster, namespace: &str, summary: &Summary) -> Result<Diagnosis> {
    let name = &summary.name;
    let mut found = Diagnosis::new(format!("experiment {name}"));
    found.fact(
        format!("experiment {name}"),
        format!("{}: {}", summary.status, summary.message),
    );

    let table = trials::of_experiment(cluster, namespace, name).await?;
    let unhappy: Vec<&TrialRow> = table
        .rows
        .iter()
        .filter(|row| {
            matches!(
                row.status.as_str(),
                kinds::FAILED | kinds::METRICS_UNAVAILABLE | kinds::KILLED
            )
        })
        .collect();

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
    let warnings = warnings(cluster, namespace, name, &["Experiment", "Suggestion"]).await;
    for event in warnings.iter().rev().take(3) {
        found.fact(
            format!("{} {}", event.kind.to_lowercase(), event.object),
            event_text(event),
        );
    }

    if summary.is_failed() || !unhappy.is_empty() {
        let failed = unhappy.len();
        let sentence = if summary.is_failed() {
            format!(
                "it failed: {} of {} trials did not bring a result",
                failed,
                table.rows.len()
            )
        } else {
            format!(
                "{failed} of {} trials did not bring a result",
                table.rows.len()
            )
        };
        found.conclude(Mood::Trouble, sentence);
        // Trials of one experiment fail alike; the first is explained, the rest are one question away.
        if let Some(first) = unhappy.first()
            && let Ok(trial) = trials::get(cluster, namespace, &first.name).await
        {
            let inner = of_trial(cluster, namespace, &trial).await?;
            found.verdict = format!("{}; {}: {}", found.verdict, first.name, inner.verdict);
            found.facts.extend(inner.facts);
            found.advice.extend(inner.advice);
            found.log = inner.log;
        }
        if failed > 1 {
            found.advise(format!(
                ":trials {name} --where status!=Succeeded lists them; :why TRIAL explains each"
            ));
        }
        return Ok(found);
    }
    if summary.is_completed() {
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
                found.advise("set maxFailedTrialCount, so that an experiment whose trials fail ends as Failed");
            }
        }
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
        let mut inner = of_trial(cluster, namespace, &trial).await?;
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

async fn of_trial(cluster: &Cluster, namespace: &str, trial: &Trial) -> Result<Diagnosis> {
    let row = TrialRow::of(trial, &[]);
    let name = row.name.clone();
    let scope = Scope::from(namespace);
    let mut found = Diagnosis::new(format!("trial {name}"));
    found.fact(
        format!("trial {name}"),
        if row.message.is_empty() {
            row.status.clone()
        } else {
            format!("{}: {}", row.status, row.message)
        },
    );

    let job = jobs::list(cluster, &scope, None)
        .await
        .unwrap_or_default()
        .into_iter()
        .find(|job| job.name == name);
    if let Some(job) = &job {
        let reason = job
            .reason
            .as_ref()
            .map(|reason| format!(" ({reason})"))
            .unwrap_or_default();
        found.fact(
            format!("job {name}"),
            format!("{}{reason}, {} failed", job.status, pods_text(job.failed)),
        );
    }
    let pods = pods::list(cluster, &scope, Some(&format!("{TRIAL_LABEL}={name}")))
        .await
        .unwrap_or_default();
    for pod in &pods {
        pod_facts(&mut found, pod);
    }
    let mut warnings = warnings(cluster, namespace, &name, &["Trial", "Job"]).await;
    for pod in &pods {
        warnings.extend(self::warnings(cluster, namespace, &pod.name, &["Pod"]).await);
    }
    for event in warnings.iter().rev().take(4) {
        found.fact(
            format!("{} {}", event.kind.to_lowercase(), event.object),
            event_text(event),
        );
    }

    let primary = &trial.spec.primary_container_name;
    let youngest = pods.last();
    let culprit = youngest.and_then(|pod| culprit(pod, primary));
    conclude_trial(
        &mut found,
        trial,
        &row,
        job.as_ref(),
        youngest,
        culprit,
        &warnings,
    );

    let wants_log = found.mood == Mood::Trouble
        && !culprit.is_some_and(|container| matches!(container.state, State::Waiting { .. }));
    if wants_log && youngest.is_some() {
        let target = logs::find(cluster, namespace, &name, None).await;
        if let Ok(target) = target
            && let Ok(lines) = logs::read(
                cluster,
                &target,
                Extent {
                    tail: Some(12),
                    ..Extent::default()
                },
            )
            .await
            && !lines.is_empty()
        {
            found.log = Some((
                format!("pod {}, container {}", target.pod, target.container),
                lines,
            ));
        }
    }
    Ok(found)
}

fn pods_text(count: i32) -> String {
    if count == 1 {
        "1 pod".into()
    } else {
        format!("{count} pods")
    }
}

/// The container that explains the pod: one that cannot be pulled, else the training's own, else
/// any that failed.
fn culprit<'a>(pod: &'a PodRow, primary: &str) -> Option<&'a ContainerState> {
    let trouble = |container: &&ContainerState| {
        container.state.is_trouble() || container.last.as_ref().is_some_and(State::is_trouble)
    };
    pod.states
        .iter()
        .find(|container| container.state.is_pull_failure())
        .or_else(|| {
            pod.states
                .iter()
                .find(|container| container.name == primary && trouble(container))
        })
        .or_else(|| pod.states.iter().find(trouble))
}

#[allow(clippy::too_many_arguments)]
fn conclude_trial(
    found: &mut Diagnosis,
    trial: &Trial,
    row: &TrialRow,
    job: Option<&JobRow>,
    pod: Option<&PodRow>,
    culprit: Option<&ContainerState>,
    warnings: &[EventRow],
) {
    let event = |reason: &str| warnings.iter().rev().find(|event| event.reason == reason);
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
    if let Some(container) = culprit {
        match &container.state {
            State::Waiting { reason, message } => {
                let image = &container.image;
                if container.state.is_pull_failure() {
                    let detail = warnings
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
                    found.advise(pull_advice(&detail));
                    if event("FailedToRetrieveImagePullSecret").is_some() {
                        found.advise("the pull secret named in the template does not exist in this namespace: :secret create NAME --from-login REGISTRY");
                    }
                    return;
                }
                found.conclude(
                    Mood::Trouble,
                    format!(
                        "container {} does not start: {reason} {message}",
                        container.name
                    ),
                );
            }
            State::Terminated {
                code,
                reason,
                message,
            } => terminated(found, container, *code, reason, message),
            State::Running { .. } => {
                if let Some(State::Terminated {
                    code,
                    reason,
                    message,
                }) = &container.last
                {
                    terminated(found, container, *code, reason, message);
                }
            }
        }
        if job.is_some_and(|job| job.status == "Running") && found.mood == Mood::Trouble {
            found.advise("the job tries again (backoffLimit, 6 by default, with growing pauses): set backoffLimit: 0 in the template to fail at once");
        }
        return;
    }
    if let Some(job) = job.filter(|job| job.reason.as_deref() == Some("DeadlineExceeded")) {
        found.conclude(
            Mood::Trouble,
            format!("job {} ran longer than its activeDeadlineSeconds", job.name),
        );
        found.advise("raise activeDeadlineSeconds in the trial template, or make a trial shorter");
        return;
    }
    if row.status == kinds::FAILED {
        found.conclude(Mood::Trouble, format!("it failed: {}", row.message));
        if pod.is_none() {
            found.advise("its pods are gone; set retain: true in the trial template to keep them");
        }
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
            found.advise("look whether the collector sidecar ran (:pods), what it printed (:logs TRIAL -c metrics-logger-and-collector), and whether it reaches the DB manager");
        }
        (Some(_), Some(pod)) => found.conclude(
            Mood::Waiting,
            format!("it is under way: pod {} is {}", pod.name, pod.status),
        ),
    }
}

fn terminated(
    found: &mut Diagnosis,
    container: &ContainerState,
    code: i32,
    reason: &str,
    message: &str,
) {
    let name = &container.name;
    match (reason, code) {
        ("OOMKilled", _) => {
            found.conclude(
                Mood::Trouble,
                format!("container {name} needed more memory than it may have and was killed"),
            );
            found.advise("raise resources.limits.memory in the trial template, or use less (a smaller batch)");
        }
        ("StartError" | "ContainerCannotRun", _) => {
            found.conclude(
                Mood::Trouble,
                format!(
                    "container {name} could not be started: {}",
                    start_reason(message)
                ),
            );
            found.advise("check command in the template against the image: :run IMAGE COMMAND");
        }
        (_, 126) => {
            found.conclude(
                Mood::Trouble,
                format!("container {name}: the command exists but cannot be run (exit code 126)"),
            );
        }
        (_, 127) => {
            found.conclude(
                Mood::Trouble,
                format!("container {name}: the command was not found in the image (exit code 127)"),
            );
            found.advise("check command in the template against the image: :run IMAGE COMMAND");
        }
        (_, 137) => {
            found.conclude(Mood::Trouble, format!("container {name} was killed (exit code 137): deleted, past a deadline, or out of memory"));
        }
        _ => {
            found.conclude(
                Mood::Trouble,
                format!("the program in container {name} ended with exit code {code}"),
            );
            found.advise("read its log below; :run IMAGE COMMAND runs the same on the engine of this machine");
        }
    }
}

/// The part of a start failure that names the program; the rest is about who said it to whom.
fn start_reason(message: &str) -> &str {
    let told = message.rfind("exec: ").map_or(message, |at| &message[at..]);
    told.trim().trim_end_matches(": unknown")
}

/// The telling end of a pull message, with the image named once.
fn pull_reason(image: &str, message: &str) -> String {
    let tail = message.rsplit(": ").next().unwrap_or(message).trim();
    let whole = message.replace('\n', " ");
    if message.contains("401") || message.contains("nauthorized") {
        format!("{image}: the registry does not accept the credentials ({tail})")
    } else if message.contains("not found") || message.contains("manifest unknown") {
        format!("{image} is not in the registry")
    } else if message.contains("no basic auth") {
        format!("{image}: the registry wants credentials and there are none")
    } else {
        format!("{image}: {whole}")
    }
}

fn pull_advice(message: &str) -> &'static str {
    if message.contains("401") || message.contains("nauthorized") {
        "log in again (:registry login HOST) and renew the secret (:secret create NAME --from-login HOST)"
    } else if message.contains("no basic auth") {
        "make a pull secret (:secret create NAME --from-login HOST) and name it under imagePullSecrets"
    } else if message.contains("not found") || message.contains("manifest unknown") {
        "see what is there with :registry tags HOST/REPOSITORY, then push the image or correct its name"
    } else if message.contains("refused") || message.contains("no such host") {
        "the registry does not answer from where the pods run: check its name and whether it runs"
    } else {
        "check the image's name, and whether its registry can be reached from the cluster"
    }
}

fn collector_advice(trial: &Trial, objective: &str) -> String {
    let spec = &trial.spec.metrics_collector;
    let kind = spec
        .collector
        .as_ref()
        .map(|one| one.kind.clone())
        .unwrap_or_default();
    let filter = spec
        .source
        .as_ref()
        .and_then(|source| source.filter.as_ref())
        .map(|filter| filter.metrics_format.join(" or "))
        .filter(|formats| !formats.is_empty());
    let path = spec
        .source
        .as_ref()
        .and_then(|source| source.file_system_path.as_ref())
        .map(|one| one.path.clone());
    let line = match &filter {
        Some(filter) => format!("a line that matches {filter} with the name {objective}"),
        None => format!("a line such as {objective}=0.97"),
    };
    match kind {
        CollectorKind::File => format!("write {line} to {}", path.unwrap_or_default()),
        CollectorKind::Push => format!("call report_metrics with {objective} in the training code"),
        CollectorKind::TensorFlowEvent => format!(
            "write a scalar {objective} below {}",
            path.unwrap_or_default()
        ),
        _ => format!("print {line} on standard output"),
    }
}

fn pod_facts(found: &mut Diagnosis, pod: &PodRow) {
    let message = pod
        .message
        .as_ref()
        .map(|message| format!(": {message}"))
        .unwrap_or_default();
    found.fact(
        format!("pod {}", pod.name),
        format!("{}{message}", pod.status),
    );
    for container in &pod.states {
        let seen = match &container.state {
            State::Waiting { reason, .. } => format!("waiting ({reason})"),
            State::Running { .. } => "running".to_owned(),
            State::Terminated { code, reason, .. } if reason.is_empty() => {
                format!("ended with exit code {code}")
            }
            State::Terminated { code, reason, .. } => {
                format!("ended with exit code {code} ({reason})")
            }
        };
        found.fact(
            format!("pod {}, container {}", pod.name, container.name),
            seen,
        );
    }
}

async fn warnings(cluster: &Cluster, namespace: &str, name: &str, of: &[&str]) -> Vec<EventRow> {
    let filter = Filter {
        name: Some(name.to_owned()),
        ..Filter::default()
    };
    let mut found = events::list(cluster, &namespace.into(), &filter)
        .await
        .unwrap_or_default();
    found.retain(|event| event.warning && of.contains(&event.kind.as_str()));
    found
}

fn event_text(event: &EventRow) -> String {
    let times = if event.count > 1 {
        format!(" ({} times)", event.count)
    } else {
        String::new()
    };
    format!("{}: {}{times}", event.reason, event.message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trial(status: &str) -> Trial {
        serde_json::from_value(json!({
            "metadata": {"name": "t"},
            "spec": {
                "objective": {"type": "maximize", "objectiveMetricName": "accuracy"},
                "primaryContainerName": "training",
                "metricsCollector": {"collector": {"kind": "File"}, "source": {"fileSystemPath": {"path": "/tmp/m.log"}}}},
            "status": {"conditions": [{"type": status, "status": "True", "message": "said so"}]}
        }))
        .unwrap()
    }

    fn pod(state: State) -> PodRow {
        PodRow {
            namespace: "n".into(),
            name: "t-abcde".into(),
            ready: 0,
            containers: 2,
            status: "x".into(),
            message: None,
            restarts: 0,
            trial: Some("t".into()),
            node: None,
            created: None,
            states: vec![
                ContainerState {
                    name: "metrics-logger-and-collector".into(),
                    image: "c".into(),
                    state: State::Terminated {
                        code: 255,
                        reason: "Error".into(),
                        message: String::new(),
                    },
                    restarts: 0,
                    last: None,
                },
                ContainerState {
                    name: "training".into(),
                    image: "r.example/i:1".into(),
                    state,
                    restarts: 0,
                    last: None,
                },
            ],
        }
    }

    fn diagnosed(status: &str, pod: Option<&PodRow>, warnings: &[EventRow]) -> Diagnosis {
        let trial = trial(status);
        let row = TrialRow::of(&trial, &[]);
        let mut found = Diagnosis::new("trial t".into());
        let culprit = pod.and_then(|pod| culprit(pod, "training"));
        conclude_trial(&mut found, &trial, &row, None, pod, culprit, warnings);
        found
    }

    #[test]
    fn an_image_that_cannot_be_pulled_is_the_reason_although_the_collector_failed_first() {
        let message = "Back-off pulling image \"r.example/i:1\": ErrImagePull: failed to pull and unpack image: r.example/i:1: not found";
        let pod = pod(State::Waiting {
            reason: "ImagePullBackOff".into(),
            message: message.into(),
        });
        let found = diagnosed("Running", Some(&pod), &[]);
        assert_eq!(found.mood, Mood::Trouble);
        assert_eq!(
            found.verdict,
            "its image cannot be pulled: r.example/i:1 is not in the registry"
        );
        assert!(found.advice[0].contains(":registry tags"));
    }

    #[test]
    fn a_killed_container_is_told_from_one_that_failed_by_itself() {
        let killed = pod(State::Terminated {
            code: 137,
            reason: "OOMKilled".into(),
            message: String::new(),
        });
        assert!(
            diagnosed("Failed", Some(&killed), &[])
                .verdict
                .contains("memory")
        );
        let failed = pod(State::Terminated {
            code: 1,
            reason: "Error".into(),
            message: String::new(),
        });
        assert_eq!(
            diagnosed("Failed", Some(&failed), &[]).verdict,
            "the program in container training ended with exit code 1"
        );
    }

    #[test]
    fn a_metric_that_never_came_is_answered_with_the_line_to_print() {
        let found = diagnosed("MetricsUnavailable", None, &[]);
        assert!(
            found
                .verdict
                .contains("the metric accuracy was never found")
        );
        assert_eq!(
            found.advice,
            ["write a line such as accuracy=0.97 to /tmp/m.log"]
        );
    }

    #[test]
    fn a_pod_refused_by_the_webhook_is_found_in_the_events() {
        let event = EventRow {
            last: None,
            first: None,
            count: 5,
            warning: true,
            reason: "FailedCreate".into(),
            kind: "Job".into(),
            object: "t".into(),
            namespace: "n".into(),
            message: "admission webhook denied the request: Unable to find primary container"
                .into(),
            source: "job-controller".into(),
        };
        let found = diagnosed("Running", None, &[event]);
        assert!(found.verdict.starts_with("its pod was refused"));
        assert!(found.advice[0].contains("primaryContainerName"));
    }
}
