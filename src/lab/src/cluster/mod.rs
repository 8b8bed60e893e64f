//! The cluster a cell talks to: which one, why that one, and a client for it.
//!
//! The choice is made in two steps so that it can be shown before anything is dialled:
//! [`choose`] is pure and names the [`Source`] and the [`Origin`] (why), [`connect`] builds the
//! client. A kubeconfig in the home directory is used only when somebody asks for a cluster:
//! a tutorial must not touch somebody's production cluster by accident.

mod choice;
mod error;
mod kubeconfig;
mod near;
mod provider;
mod proxy;
mod reading;
mod renewal;

use std::sync::Arc;
use std::time::Duration;

use kube::{Client, Config};
use tokio::sync::OnceCell;

pub use choice::{Choice, Origin, Plan, Source, Surroundings, choose};
pub use error::{Action, Error, Result};
pub use near::{near_misses, valid_name};
pub use provider::Provider;

pub(crate) use kubeconfig::with_causes;

use crate::kubernetes::discovery::Discovery;

/// The namespace used when neither the user, the pod nor the context names one.
pub const DEFAULT_NAMESPACE: &str = "kubeflow-user";

/// How long connecting may take before a cell is told that nothing answers.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster that was chosen, with a client for it. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// The client; renews its credential once when the server answers 401.
    pub client: Client,
    /// The namespace that magics use unless told otherwise.
    pub namespace: String,
    /// Why this cluster was chosen.
    pub origin: Origin,
    /// What to call it: `sandbox`, the context's name, or `in-cluster`.
    pub name: String,
    /// The address of its API server.
    pub server: String,
    /// Where the sandbox serves observation logs (`host:port`).
    pub(crate) observations: Option<String>,
    sandbox: bool,
    discovery: Arc<OnceCell<Discovery>>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("name", &self.name)
            .field("server", &self.server)
            .field("namespace", &self.namespace)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// A cluster around an existing client; for callers that dial by other means.
    pub fn new(
        client: Client,
        name: impl Into<String>,
        namespace: impl Into<String>,
        origin: Origin,
    ) -> Self {
        Self {
            client,
            namespace: namespace.into(),
            origin,
            name: name.into(),
            server: String::new(),
            observations: None,
            sandbox: false,
            discovery: Arc::default(),
        }
    }

    /// Whether this is the embedded cluster.
    pub fn is_sandbox(&self) -> bool {
        self.sandbox
    }

    /// The same cluster with another default namespace.
    pub fn in_namespace(&self, namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            ..self.clone()
        }
    }

    /// The kinds this server knows; asked once and kept.
    pub async fn discovery(&self) -> Result<&Discovery> {
        self.discovery
            .get_or_try_init(|| Discovery::read(self))
            .await
    }

    /// Asks the server for its version, which also shows whether it answers and lets us in.
    pub async fn version(&self) -> Result<String> {
        let info =
            self.client.apiserver_version().await.map_err(|error| {
                Error::from_kube(error, &Action::new("get", "version").on(self))
            })?;
        Ok(info.git_version)
    }

    /// What an action on this cluster is called in errors.
    pub(crate) fn action(&self, verb: &str, resource: &str) -> Action {
        Action::new(verb, resource).on(self)
    }
}

/// Builds the client for a plan.
///
/// `namespace` is the user's own choice (`-n`, `:use -n`); without it the pod's or the context's
/// namespace holds, then [`DEFAULT_NAMESPACE`].
///
/// # Errors
/// A kubeconfig that cannot be read, names an unknown context or holds a bad certificate, and a
/// credential plug-in that fails. Whether the server answers shows at the first request.
pub async fn connect(
    plan: &Plan,
    namespace: Option<&str>,
    surroundings: &Surroundings,
) -> Result<Cluster> {
    // Two TLS providers may be linked; rustls wants one named. The first call wins, later ones
    // report that it is set already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let (mut config, name, own_namespace) = match &plan.source {
        Source::ServiceAccount => {
            let config = Config::incluster().map_err(|error| Error::ServiceAccount {
                reason: error.to_string(),
            })?;
            let namespace = Some(config.default_namespace.clone()).filter(|name| !name.is_empty());
            (config, "in-cluster".to_owned(), namespace)
        }
        Source::Files { paths, context } => {
            let loaded = kubeconfig::read(paths)?;
            let configured =
                kubeconfig::configure(&loaded, context.as_deref(), &surroundings.proxy);
            configured.map_err(|error| with_settings(error, surroundings.provider.as_ref()))?
        }
        Source::Settings(provider) => {
            let loaded = provider.kubeconfig()?;
            kubeconfig::configure(&loaded, None, &surroundings.proxy)?
        }
        Source::Sandbox { kubeconfig } => {
            let loaded =
                kubeconfig::read(std::slice::from_ref(kubeconfig)).map_err(
                    |error| match error {
                        Error::NoKubeconfig { path, .. } => Error::SandboxDown {
                            reason: format!("{path} does not exist"),
                        },
                        other => other,
                    },
                )?;
            let (config, _, namespace) =
                kubeconfig::configure(&loaded, None, &proxy::Settings::default())?;
            (config, "sandbox".to_owned(), namespace)
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Kube's own policy retries fifteen times with delays that grow to a quarter of an hour; a
    // cell wants an answer in seconds. The renewal layer retries briefly instead.
    config.default_retry = false;

    let server = config
        .cluster_url
        .to_string()
        .trim_end_matches('/')
        .to_owned();
    let namespace = namespace
        .map(str::to_owned)
        .or(own_namespace)
        .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
    let sandbox = matches!(plan.source, Source::Sandbox { .. });
    let observations = match &plan.source {
        Source::Sandbox { kubeconfig } => observations(kubeconfig),
        _ => None,
    };
    let client = renewal::client(config, &namespace, &server).await?;
    Ok(Cluster {
        client,
        namespace,
        origin: plan.origin.clone(),
        name,
        server,
        observations,
        sandbox,
        discovery: Arc::default(),
    })
}

/// The cluster of the settings can be asked for by its name as well, so it is among those there are.
fn with_settings(mut error: Error, provider: Option<&Provider>) -> Error {
    if let (
        Error::UnknownContext {
            context,
            near,
            known,
            ..
        },
        Some(provider),
    ) = (&mut error, provider)
    {
        known.push(provider.name.clone());
        *near = near_misses(context, known.iter().map(String::as_str));
    }
    error
}

/// The sandbox writes its ports beside its kubeconfig.
fn observations(kubeconfig: &std::path::Path) -> Option<String> {
    let text = std::fs::read(kubeconfig.with_file_name("endpoint.json")).ok()?;
    let endpoint: serde_json::Value = serde_json::from_slice(&text).ok()?;
    let port = endpoint.get("dbmanager_port")?.as_u64()?;
    Some(format!("127.0.0.1:{port}"))
}
