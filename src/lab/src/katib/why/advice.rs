//! What failures mean, and what to do about them.

use katlab_katib::capture;
use katlab_katib::names::DEFAULT_FILTER;
use katlab_katib::types::{CollectorKind, Trial};

use super::{Diagnosis, Mood, manifest};
use crate::katib::checks::registry_host;
use crate::kubernetes::pods::ContainerState;
use crate::words::quoted;

/// Concludes from how a container ended; `again` says what runs the same on the engine of this machine.
pub(super) fn terminated(
    found: &mut Diagnosis,
    container: &ContainerState,
    (code, reason, message): (i32, &str, &str),
    again: &str,
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
            found.advise(format!(
                "check command in the template against the image: {again}"
            ));
        }
        (_, 126) => {
            found.conclude(
                Mood::Trouble,
                format!("container {name}: the command exists but cannot be run (exit code 126)"),
            );
            found.advise(format!("make the file executable in the image (chmod +x), or write what runs it before it, as in [\"sh\", \"run.sh\"]: {again}"));
        }
        (_, 127) => {
            found.conclude(
                Mood::Trouble,
                format!("container {name}: the command was not found in the image (exit code 127)"),
            );
            found.advise(format!(
                "check command in the template against the image: {again}"
            ));
        }
        (_, 137) => {
            found.conclude(
                Mood::Trouble,
                format!("container {name} was killed from outside (exit code 137 is SIGKILL)"),
            );
            found.advise("a node kills so where it runs short of memory or disk, Kubernetes where a deadline has passed (activeDeadlineSeconds) or the pod is deleted, and a person by hand; ask for the memory it needs under resources.requests, raise the deadline, or create the experiment again");
        }
        _ => {
            found.conclude(
                Mood::Trouble,
                format!("the program in container {name} ended with exit code {code}"),
            );
            found.advise(format!("read its log below; {again}"));
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

pub(super) fn pull_advice(message: &str, image: &str, trial: &Trial, place: &str) -> String {
    let host = registry_host(image);
    let secret = manifest::pull_secrets(trial).next();
    let secret = secret.map_or_else(|| "NAME".to_owned(), quoted);
    if message.contains("401") || message.contains("nauthorized") {
        format!(
            "log in again (`:registry login {host}`) and renew the secret (`:secret create {secret} --from-login {host}{place}`)"
        )
    } else if message.contains("no basic auth") {
        format!(
            "make a pull secret (`:secret create {secret} --from-login {host}{place}`) and name it under imagePullSecrets"
        )
    } else if message.contains("not found") || message.contains("manifest unknown") {
        let repository = repository(image);
        format!(
            "see what is there with `:registry tags {repository}`, then push the image or correct its name"
        )
    } else if message.contains("refused") || message.contains("no such host") {
        format!(
            "the registry {host} does not answer from where the pods run: check its name and whether it runs"
        )
    } else {
        format!(
            "check the image's name, and whether its registry, {host}, can be reached from the cluster"
        )
    }
}

/// An image's name without tag and digest, with its registry.
fn repository(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let end = match (name.rfind(':'), name.rfind('/')) {
        (Some(colon), Some(slash)) if colon < slash => name.len(),
        (Some(colon), _) => colon,
        (None, _) => name.len(),
    };
    let name = &name[..end];
    let host = registry_host(name);
    match name.strip_prefix(host) {
        Some(_) => name.to_owned(),
        None if name.contains('/') => format!("{host}/{name}"),
        None => format!("{host}/library/{name}"),
    }
}

/// What to do about the pull secrets that an event says are not there.
pub(super) fn missing_logins(message: &str, image: &str, place: &str) -> String {
    let host = registry_host(image);
    let named = message
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'));
    let names = named.map_or("NAME", |(names, _)| names);
    let makes: Vec<String> = names
        .split(',')
        .map(|name| {
            format!(
                "`:secret create {} --from-login {host}{place}`",
                quoted(name.trim())
            )
        })
        .collect();
    let what = match makes.len() {
        1 => format!("the pull secret {names} of the template does not exist in this namespace"),
        _ => format!("the pull secrets {names} of the template do not exist in this namespace"),
    };
    format!(
        "{what}: {} (`:registry login {host}` first)",
        makes.join(", ")
    )
}

pub(super) fn collector_advice(trial: &Trial, objective: &str) -> String {
    let spec = &trial.spec.metrics_collector;
    let kind = spec
        .collector
        .as_ref()
        .map(|one| one.kind.clone())
        .unwrap_or_default();
    let filters = spec
        .source
        .as_ref()
        .and_then(|source| source.filter.as_ref())
        .map_or(&[][..], |filter| &filter.metrics_format);
    let groupless = capture::Trial::new(filters, Vec::new());
    let groupless = groupless.as_ref().map(capture::Trial::without_groups);
    if let (CollectorKind::StdOut | CollectorKind::File, Ok([filter, ..])) =
        (&kind, groupless.as_deref())
        && groupless
            .as_ref()
            .is_ok_and(|all| all.len() == filters.len())
    {
        return format!(
            "the filter {filter} has fewer than two groups in brackets, and so reads nothing: the first must hold the metric's name, the second its value; write metricsFormat: ['{DEFAULT_FILTER}'], or leave the filter out, and {objective}=0.97 is read"
        );
    }
    let filter = (!filters.is_empty()).then(|| filters.join(" or "));
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
