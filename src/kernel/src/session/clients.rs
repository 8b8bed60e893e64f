//! The clients of a session: made when they are first needed, kept as long as nothing they depend on changes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Session, sandbox};
use crate::magics::{Context, MagicError};
use katlab_lab::cluster::{self, Choice, Cluster, Plan, Source};
use katlab_lab::docker::Engine;
use katlab_lab::docker::endpoint::{Surroundings, VARIABLES};
use katlab_sandbox::lifecycle;

/// What `:use` chose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Which cluster.
    pub choice: Choice,
    /// Which namespace, where one was named.
    pub namespace: Option<String>,
    /// Which kubeconfig, where one was named.
    pub kubeconfig: Option<PathBuf>,
}

/// The clients, each with what it was made from.
#[derive(Default)]
pub(super) struct Clients {
    engine: tokio::sync::Mutex<Option<(BTreeMap<String, String>, Engine)>>,
    cluster: tokio::sync::Mutex<Option<(String, Cluster)>>,
}

impl Session {
    /// What `:use` chose.
    pub fn chosen(&self) -> Chosen {
        self.lock().chosen.clone()
    }

    /// Chooses a cluster, a namespace, a kubeconfig.
    pub fn choose(&self, chosen: Chosen) {
        self.lock().chosen = chosen;
    }

    /// What the choice of a cluster depends on, with a choice that need not be the session's.
    pub fn surroundings(&self, chosen: &Chosen) -> cluster::Surroundings {
        let lookup = |name: &str| match (name, &chosen.kubeconfig) {
            ("KUBECONFIG", Some(path)) => Some(path.to_string_lossy().into_owned()),
            _ => self.own_value(name).ok().flatten(),
        };
        cluster::Surroundings::read(lookup, self.home().sandbox().join("kubeconfig"))
    }

    /// Which cluster magics would talk to, and why. Nothing is dialled or started.
    ///
    /// # Errors
    /// When a cluster was asked for and nothing describes one.
    pub fn plan(&self) -> Result<Plan, MagicError> {
        let chosen = self.chosen();
        Ok(cluster::choose(
            &chosen.choice,
            &self.surroundings(&chosen),
        )?)
    }

    /// The namespace that magics use when the cluster has no opinion.
    pub fn namespace(&self) -> Option<String> {
        self.lock().chosen.namespace.clone()
    }

    /// The Docker Engine.
    ///
    /// # Errors
    /// When none answers.
    pub async fn docker(&self) -> Result<Engine, MagicError> {
        let mut surroundings = Surroundings::of_process();
        for name in VARIABLES {
            if let Some(value) = self.own_value(name)? {
                surroundings.variables.insert(name.to_owned(), value);
            }
        }
        let mut made = self.clients.engine.lock().await;
        if let Some((from, engine)) = &*made
            && *from == surroundings.variables
        {
            return Ok(engine.clone());
        }
        let engine = Engine::connect_in(&surroundings, None).await?;
        *made = Some((surroundings.variables, engine.clone()));
        Ok(engine)
    }
}

impl Context {
    /// The Docker Engine.
    ///
    /// # Errors
    /// When none answers, or the person interrupts.
    pub async fn docker(&self) -> Result<Engine, MagicError> {
        self.or_interrupted(self.session.docker()).await
    }

    /// The cluster that magics talk to, in the namespace given, or else the one in use. Starts the
    /// sandbox when that is what magics talk to and it does not run.
    ///
    /// # Errors
    /// When there is none, or it cannot be connected to, or the person interrupts.
    pub async fn cluster(&self, namespace: Option<&str>) -> Result<Cluster, MagicError> {
        let chosen = self.session.chosen();
        self.or_interrupted(self.connect(&chosen, namespace)).await
    }

    /// Connects as a choice says that need not be the session's.
    pub(crate) async fn connect(
        &self,
        chosen: &Chosen,
        namespace: Option<&str>,
    ) -> Result<Cluster, MagicError> {
        let surroundings = self.session.surroundings(chosen);
        let plan = cluster::choose(&chosen.choice, &surroundings)?;
        if plan.needs_sandbox() {
            self.sandbox().await?;
        }
        let key = fingerprint(&plan, &surroundings);
        let mut made = self.session.clients.cluster.lock().await;
        let cluster = match &*made {
            Some((from, cluster)) if *from == key => cluster.clone(),
            _ => {
                let cluster = cluster::connect(&plan, None, &surroundings).await?;
                *made = Some((key, cluster.clone()));
                cluster
            }
        };
        drop(made);
        Ok(
            match namespace
                .map(str::to_owned)
                .or_else(|| chosen.namespace.clone())
            {
                Some(namespace) => cluster.in_namespace(namespace),
                None => cluster,
            },
        )
    }

    /// The sandbox, started when it does not run. Says so in one line.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn sandbox(&self) -> Result<lifecycle::Endpoint, MagicError> {
        let home = self.session.home().path();
        if let Some(endpoint) = lifecycle::running(home).await {
            return Ok(endpoint);
        }
        let started = std::time::Instant::now();
        // Its pods run on the engine that this session builds images on.
        let mut variables = Vec::new();
        for name in VARIABLES {
            if let Some(value) = self.session.own_value(name)? {
                variables.push((name.to_owned(), value));
            }
        }
        let endpoint = lifecycle::ensure(home, &self.session.executable()?, &variables).await?;
        let took = crate::render::age::took(started.elapsed());
        self.output
            .note(format!("the sandbox was started ({took})"));
        Ok(endpoint)
    }

    /// The value for `$NAME`, as [`Session::value`]; what is known on the sandbox only is asked for there.
    ///
    /// # Errors
    /// When the settings cannot be read, or the sandbox does not start.
    pub async fn value(&self, name: &str) -> Result<Option<String>, MagicError> {
        let value = self.session.value(name)?;
        if value.is_some()
            || !sandbox::IMPLIED.contains(&name)
            || !self.session.plan().is_ok_and(|plan| plan.needs_sandbox())
        {
            return Ok(value);
        }
        self.or_interrupted(self.sandbox()).await?;
        self.session.value(name)
    }
}

/// What a client was made from: when it changes, so does the client.
fn fingerprint(plan: &Plan, surroundings: &cluster::Surroundings) -> String {
    let files: Vec<&PathBuf> = match &plan.source {
        Source::Files { paths, .. } => paths.iter().collect(),
        Source::Sandbox { kubeconfig } => vec![kubeconfig],
        Source::ServiceAccount | Source::Settings(_) => Vec::new(),
    };
    let changed: Vec<_> = files
        .iter()
        .map(|path| {
            std::fs::metadata(path)
                .and_then(|file| file.modified())
                .ok()
        })
        .collect();
    format!("{plan:?} {surroundings:?} {changed:?}")
}

impl From<cluster::Error> for MagicError {
    fn from(error: cluster::Error) -> Self {
        Self::new(error.to_string()).maybe_hint(error.hint())
    }
}

impl From<lifecycle::LifecycleError> for MagicError {
    fn from(error: lifecycle::LifecycleError) -> Self {
        Self::new(error.to_string()).maybe_hint(error.hint())
    }
}
