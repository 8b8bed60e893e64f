//! Which cluster, and why.

use std::fmt;
use std::path::{Path, PathBuf};

use super::provider::SETTINGS;
use super::{Error, Provider, Result, near_misses, proxy};

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Nothing: the pod's own cluster, then `$KUBECONFIG`, then the sandbox.
    #[default]
    Automatic,
    /// `:use sandbox`.
    Sandbox,
    /// `:use cluster [CONTEXT]`.
    Cluster {
        /// The context of the kubeconfig, or its current one.
        context: Option<String>,
    },
}

/// Where the connection's data come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The service account of the pod this runs in.
    ServiceAccount,
    /// One or more kubeconfig files, merged.
    Files {
        /// The files, first wins.
        paths: Vec<PathBuf>,
        /// The context, or the file's current one.
        context: Option<String>,
    },
    /// The provider's three settings.
    Settings(Provider),
    /// The embedded cluster.
    Sandbox {
        /// The kubeconfig it writes.
        kubeconfig: PathBuf,
    },
}

/// Why a cluster was chosen; shown to the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The user asked for it.
    Asked,
    /// This runs in a pod that has a service account.
    ServiceAccount,
    /// The environment variable `KUBECONFIG` is set.
    KubeconfigVariable,
    /// Nothing else was named.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Asked => "asked for with :use",
            Self::ServiceAccount => "the service account of this pod",
            Self::KubeconfigVariable => "KUBECONFIG is set",
            Self::Default => "nothing else is configured",
        })
    }
}

/// A source and the reason for it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the connection's data come from.
    pub source: Source,
    /// Why.
    pub origin: Origin,
}

impl Plan {
    /// Whether the embedded cluster must run before [`connect`](super::connect) can succeed.
    pub fn needs_sandbox(&self) -> bool {
        matches!(self.source, Source::Sandbox { .. })
    }
}

/// What the choice depends on, read once.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The files named by `KUBECONFIG`.
    pub kubeconfig: Vec<PathBuf>,
    /// The home directory.
    pub home: Option<PathBuf>,
    /// Whether this process has a pod's service account.
    pub in_cluster: bool,
    /// Proxies of the environment.
    pub proxy: proxy::Settings,
    /// The provider's settings, when all three are there.
    pub provider: Option<Provider>,
    /// Where the sandbox writes its kubeconfig.
    pub sandbox_kubeconfig: PathBuf,
}

impl Surroundings {
    /// Reads the surroundings through `lookup` (the session's settings over the environment).
    pub fn read(
        lookup: impl Fn(&str) -> Option<String>,
        sandbox_kubeconfig: impl Into<PathBuf>,
    ) -> Self {
        let filled = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let token = Path::new("/var/run/secrets/kubernetes.io/serviceaccount/token");
        Self {
            kubeconfig: filled("KUBECONFIG")
                .map(|list| {
                    std::env::split_paths(&list)
                        .filter(|path| !path.as_os_str().is_empty())
                        .collect()
                })
                .unwrap_or_default(),
            home: filled("HOME").map(PathBuf::from),
            in_cluster: filled("KUBERNETES_SERVICE_HOST").is_some() && token.exists(),
            proxy: proxy::Settings::read(&filled),
            provider: Provider::read(&filled),
            sandbox_kubeconfig: sandbox_kubeconfig.into(),
        }
    }

    fn sandbox(&self) -> Source {
        Source::Sandbox {
            kubeconfig: self.sandbox_kubeconfig.clone(),
        }
    }

    fn files(&self, context: Option<String>) -> Option<Source> {
        if !self.kubeconfig.is_empty() {
            return Some(Source::Files {
                paths: self.kubeconfig.clone(),
                context,
            });
        }
        let path = self.home.as_ref()?.join(".kube/config");
        path.exists().then(|| Source::Files {
            paths: vec![path],
            context,
        })
    }
}

/// The only cluster that is known is that of the settings, and it has another name.
fn unknown(context: &str, provider: &Provider) -> Error {
    Error::UnknownContext {
        context: context.to_owned(),
        path: SETTINGS.to_owned(),
        near: near_misses(context, [provider.name.as_str()]),
        known: vec![provider.name.clone()],
    }
}

/// Decides which cluster to use.
///
/// # Errors
/// Only when a cluster was asked for and nothing describes one, or only one of another name.
pub fn choose(choice: &Choice, surroundings: &Surroundings) -> Result<Plan> {
    let asked = |source| {
        Ok(Plan {
            source,
            origin: Origin::Asked,
        })
    };
    match choice {
        Choice::Sandbox => asked(surroundings.sandbox()),
        Choice::Cluster { context: None } if surroundings.in_cluster => {
            asked(Source::ServiceAccount)
        }
        Choice::Cluster { context } => {
            // The three settings were typed into this very session, so they come before a file
            // that may have lain in the home directory for years; a context by name is looked up
            // where contexts live, unless it is the very cluster the settings describe.
            let provider = surroundings
                .provider
                .clone()
                .filter(|provider| match context {
                    Some(context) => *context == provider.name,
                    None => surroundings.kubeconfig.is_empty(),
                });
            match provider
                .map(Source::Settings)
                .or_else(|| surroundings.files(context.clone()))
            {
                Some(source) => asked(source),
                None => Err(match (context, &surroundings.provider) {
                    (Some(context), Some(provider)) => unknown(context, provider),
                    _ => Error::NoCluster,
                }),
            }
        }
        Choice::Automatic if surroundings.in_cluster => Ok(Plan {
            source: Source::ServiceAccount,
            origin: Origin::ServiceAccount,
        }),
        Choice::Automatic if !surroundings.kubeconfig.is_empty() => Ok(Plan {
            source: Source::Files {
                paths: surroundings.kubeconfig.clone(),
                context: None,
            },
            origin: Origin::KubeconfigVariable,
        }),
        Choice::Automatic => Ok(Plan {
            source: surroundings.sandbox(),
            origin: Origin::Default,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(variables: &[(&str, &str)]) -> Surroundings {
        let variables: Vec<(String, String)> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Surroundings::read(
            |name| {
                variables
                    .iter()
                    .find(|(key, _)| key == name)
                    .map(|(_, value)| value.clone())
            },
            "/state/sandbox/kubeconfig",
        )
    }

    #[test]
    fn a_bare_machine_gets_the_sandbox() {
        let plan = choose(&Choice::Automatic, &surroundings(&[])).unwrap();
        assert!(plan.needs_sandbox());
        assert_eq!(plan.origin, Origin::Default);
    }

    #[test]
    fn a_kubeconfig_in_the_home_directory_is_used_only_when_asked_for() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".kube")).unwrap();
        std::fs::write(home.path().join(".kube/config"), "{}").unwrap();
        let around = surroundings(&[("HOME", home.path().to_str().unwrap())]);
        assert!(choose(&Choice::Automatic, &around).unwrap().needs_sandbox());
        let plan = choose(
            &Choice::Cluster {
                context: Some("prod".into()),
            },
            &around,
        )
        .unwrap();
        assert!(
            matches!(plan.source, Source::Files { context: Some(context), .. } if context == "prod")
        );
        assert_eq!(plan.origin, Origin::Asked);
    }

    #[test]
    fn the_kubeconfig_variable_comes_before_the_sandbox() {
        let plan = choose(
            &Choice::Automatic,
            &surroundings(&[("KUBECONFIG", "/a:/b")]),
        )
        .unwrap();
        assert_eq!(plan.origin, Origin::KubeconfigVariable);
        assert!(matches!(plan.source, Source::Files { paths, .. } if paths.len() == 2));
    }

    #[test]
    fn a_service_account_comes_before_the_kubeconfig_variable() {
        let around = Surroundings {
            in_cluster: true,
            ..surroundings(&[("KUBECONFIG", "/a")])
        };
        let plan = choose(&Choice::Automatic, &around).unwrap();
        assert!(matches!(plan.source, Source::ServiceAccount));
    }

    #[test]
    fn the_providers_settings_describe_a_cluster() {
        let around = surroundings(&[
            ("AUTH_DATA", "Y2E="),
            ("API_SERVER", "https://api.example"),
            ("CLUSTER_NAME", "lab"),
        ]);
        assert!(
            choose(&Choice::Automatic, &around).unwrap().needs_sandbox(),
            "settings alone never leave the sandbox"
        );
        for context in [None, Some("lab".to_owned())] {
            let plan = choose(&Choice::Cluster { context }, &around).unwrap();
            assert!(matches!(plan.source, Source::Settings(_)));
        }
    }

    #[test]
    fn another_name_than_the_settings_have_is_answered_with_theirs() {
        let around = surroundings(&[
            ("AUTH_DATA", "Y2E="),
            ("API_SERVER", "https://api.example"),
            ("CLUSTER_NAME", "lab-cluster"),
        ]);
        let context = Some("lab-clutser".to_owned());
        let error = choose(&Choice::Cluster { context }, &around).unwrap_err();
        assert!(error.to_string().contains("CLUSTER_NAME"), "{error}");
        assert!(error.hint().unwrap().contains("mean lab-cluster?"));
    }

    #[test]
    fn asking_for_a_cluster_that_nothing_describes_is_an_error() {
        assert!(matches!(
            choose(&Choice::Cluster { context: None }, &surroundings(&[])),
            Err(Error::NoCluster)
        ));
    }
}
