//! What a cluster can say about an Experiment before it is created.

use katlab_katib::types::Experiment;

use super::{details, held};
use crate::cluster::{Cluster, Error, Result};
use crate::kubernetes::namespaces::{self, Standing};
use crate::kubernetes::secrets::{self, PullSecret};

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Could not be looked at.
    Unknown,
    /// It will be created, but is likely to fail.
    Warning,
    /// It cannot work.
    Bad,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub subject: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    pub mend: Option<String>,
}

impl Check {
    fn new(subject: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            verdict,
            detail: detail.into(),
            mend: None,
        }
    }

    fn mend(self, mend: impl Into<String>) -> Self {
        Self {
            mend: Some(mend.into()),
            ..self
        }
    }
}

/// Whether an experiment's name is free; nothing where we may not look, for creating may still be
/// allowed.
///
/// # Errors
/// The experiment does exist, the namespace does not, or the cluster does not answer.
pub async fn name(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Check>> {
    match held::get::<held::Experiment>(cluster, namespace, name).await {
        Ok(_) => Err(Error::AlreadyExists {
            action: cluster
                .action("create", "experiments")
                .named(name)
                .within(namespace),
        }),
        Err(Error::NotFound { .. }) => Ok(Some(Check::new(
            "name",
            Verdict::Good,
            format!("{name} is free"),
        ))),
        Err(Error::Forbidden { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks at namespace and pull secrets.
///
/// # Errors
/// The namespace does not exist, or the cluster does not answer.
pub async fn run(
    cluster: &Cluster,
    namespace: &str,
    experiment: &Experiment,
) -> Result<Vec<Check>> {
    let mut checks = vec![match namespaces::standing(cluster, namespace).await? {
        Standing::Labelled => Check::new("namespace", Verdict::Good, format!("{namespace} exists and Katib works in it")),
        Standing::Unlabelled => Check::new(
            "namespace",
            Verdict::Bad,
            format!("{namespace} lacks the label {}: enabled, so Katib will refuse", namespaces::INJECTION_LABEL),
        )
        .mend(format!(
            "choose a labelled namespace with -n, or have an administrator run: kubectl label namespace {namespace} {}=enabled",
            namespaces::INJECTION_LABEL
        )),
        Standing::Hidden => Check::new("namespace", Verdict::Unknown, format!("we may not look at namespace {namespace}")),
    }];

    if let Some(pod) = details::pod_spec(experiment) {
        let wanted = details::pull_secrets(pod);
        let mut covered: Vec<String> = Vec::new();
        for secret in &wanted {
            let subject = format!("pull secret {secret}");
            checks.push(match secrets::pull_secret(cluster, namespace, secret).await? {
                PullSecret::For(hosts) => {
                    let check = Check::new(subject, Verdict::Good, format!("holds credentials for {}", hosts.join(", ")));
                    covered.extend(hosts);
                    check
                }
                PullSecret::OtherType(kind) => Check::new(
                    subject,
                    Verdict::Bad,
                    format!("is of type {kind}, not {}, so it is not used for pulling", secrets::DOCKER_CONFIG),
                )
                .mend(format!("remove it and run :secret create {secret} --from-login REGISTRY -n {namespace}")),
                PullSecret::Missing => {
                    Check::new(subject, Verdict::Warning, format!("does not exist in namespace {namespace}"))
                        .mend(format!(":secret create {secret} --from-login REGISTRY -n {namespace}"))
                }
                PullSecret::Hidden => Check::new(subject, Verdict::Unknown, "we may not look at it"),
            });
        }
        if !covered.is_empty() {
            for image in details::images(pod) {
                let host = registry_host(&image);
                if !covered.iter().any(|known| same_registry(known, host)) {
                    checks.push(
                        Check::new(
                            format!("image {image}"),
                            Verdict::Warning,
                            format!("none of the pull secrets is for its registry, {host}"),
                        )
                        .mend(format!("log in there (:registry login {host}) and make a secret from that login")),
                    );
                }
            }
        }
    }
    Ok(checks)
}

/// The registry in an image's name, as Docker reads it.
pub fn registry_host(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// Whether an entry of a pull secret is for a registry: entries may carry a scheme and a path, and
/// Docker Hub has an old name.
fn same_registry(entry: &str, host: &str) -> bool {
    let entry = entry
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let entry = entry.split('/').next().unwrap_or(entry);
    entry == host
        || (host == "docker.io" && matches!(entry, "index.docker.io" | "registry-1.docker.io"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_of_an_image_is_read_as_docker_does() {
        assert_eq!(registry_host("python:3.11"), "docker.io");
        assert_eq!(registry_host("library/python"), "docker.io");
        assert_eq!(
            registry_host("127.0.0.1:5000/lab/hyperparam:1.0"),
            "127.0.0.1:5000"
        );
        assert_eq!(registry_host("localhost/x"), "localhost");
    }

    #[test]
    fn entries_of_a_pull_secret_may_carry_scheme_and_path() {
        assert!(same_registry("https://index.docker.io/v1/", "docker.io"));
        assert!(same_registry("https://r.example/v2/", "r.example"));
        assert!(!same_registry("r.example", "r.example.org"));
    }
}
