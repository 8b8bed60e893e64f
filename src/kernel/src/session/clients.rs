//! The clients of a session: made when they are first needed, kept as long as nothing they depend on changes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::{Session, sandbox};
use crate::magics::{Context, MagicError};
use katlab_lab::cluster::{self, Choice, Cluster, Plan, Source};
use katlab_lab::docker::Engine;
use katlab_lab::docker::endpoint::{Surroundings, VARIABLES};
use katlab_lab::file;
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

    /// What `KUBECONFIG` is for programs that are to talk to the cluster that magics talk to; `None` where
    /// no file describes it.
    pub fn kubeconfig(&self) -> Option<String> {
        let (mut files, context) = match self.plan().ok()?.source {
            Source::Sandbox { kubeconfig } => (vec![kubeconfig], None),
            Source::Files { paths, context } => (paths, context),
            Source::ServiceAccount | Source::Settings(_) => return None,
        };
        files.retain(|file| file.exists());
        if files.is_empty() {
            return None;
        }
        if let Some(context) = context {
            // Of several files the first one chooses.
            files.insert(0, self.context_file(&context)?);
        }
        let joined = std::env::join_paths(&files).ok()?;
        Some(joined.to_string_lossy().into_owned())
    }

    /// A kubeconfig that does nothing but choose a context. One that cannot be written is left out.
    fn context_file(&self, context: &str) -> Option<PathBuf> {
        let digest = hex::encode(&Sha256::digest(context)[..8]);
        let file = self.home().path().join("contexts").join(digest);
        let name = serde_json::to_string(context).ok()?;
        let text = format!("apiVersion: v1\nkind: Config\ncurrent-context: {name}\n");
        if std::fs::read_to_string(&file).is_ok_and(|found| found == text) {
            return Some(file);
        }
        std::fs::create_dir_all(file.parent()?).ok()?;
        file::replace(&file, text.as_bytes(), 0o600).ok()?;
        Some(file)
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

#[cfg(test)]
mod tests {
    use crate::magics::tests::session;

    #[test]
    fn programs_are_given_the_context_that_was_chosen() {
        use super::{Choice, Chosen};
        let (folder, session) = session();
        let file = folder.path().join("config");
        let context = |name: &str| format!("- name: {name}\n  context: {{cluster: c, user: u}}\n");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: one\ncontexts:\n{}{}",
            context("one"),
            context("a: b")
        );
        std::fs::write(&file, text).unwrap();
        let chosen = |context: Option<&str>| Chosen {
            choice: Choice::Cluster {
                context: context.map(str::to_owned),
            },
            kubeconfig: Some(file.clone()),
            ..Chosen::default()
        };
        session.choose(chosen(None));
        assert_eq!(session.kubeconfig().unwrap(), file.display().to_string());
        session.choose(chosen(Some("a: b")));
        let joined = session.kubeconfig().unwrap();
        let (first, second) = joined.split_once(':').unwrap();
        assert_eq!(second, file.display().to_string());
        let chooses = std::fs::read_to_string(first).unwrap();
        assert!(chooses.contains("current-context: \"a: b\""), "{chooses}");
    }
}
