//! What failures mean, and what to do about them.

use katlab_katib::capture;
use katlab_katib::types::{CollectorKind, Trial};

use super::{Diagnosis, Mood};
use crate::kubernetes::pods::ContainerState;

pub(super) fn terminated(
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
pub(super) fn start_reason(message: &str) -> &str {
    let told = message.rfind("exec: ").map_or(message, |at| &message[at..]);
    told.trim().trim_end_matches(": unknown")
}

/// The telling end of a pull message, with the image named once.
pub(super) fn pull_reason(image: &str, message: &str) -> String {
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

pub(super) fn pull_advice(message: &str) -> &'static str {
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

pub(super) fn collector_advice(trial: &Trial, objective: &str) -> String {
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

/// A filter that reads the metric where the trial's own does not, with the line of the log that shows it.
/// The log is what the collector reads where it takes standard output, and only there.
///
/// `from` is what the magics need to read the trial where it is no more on the cluster.
pub(super) fn filter_advice(
    trial: &Trial,
    objective: &str,
    log: &[String],
    from: &str,
) -> Option<String> {
    let spec = &trial.spec.metrics_collector;
    let kind = spec.collector.as_ref().map(|one| one.kind.clone());
    if !matches!(kind, None | Some(CollectorKind::StdOut)) {
        return None;
    }
    let filters = spec.source.as_ref().and_then(|one| one.filter.as_ref());
    let filters = filters.map_or(&[][..], |filter| &filter.metrics_format);
    let now = capture::Trial::new(filters, vec![objective.to_owned()]).ok()?;
    let unread = |line: &&String| line.contains(objective) && now.line(line).captures.is_empty();
    let (line, filter) = log
        .iter()
        .rev()
        .filter(unread)
        .find_map(|line| Some((line, capture::proposal(line, objective)?)))?;
    let name = trial.metadata.name();
    // In YAML between single quotes, a quote is written twice.
    let yaml = filter.replace('\'', "''");
    Some(format!(
        "the log has the line `{}`, which the filter does not read; with spec.metricsCollectorSpec.source.filter.metricsFormat: ['{yaml}'] it is read (`:metrics test {name}{from} --filter` tries it first)",
        line.trim()
    ))
}
