//! What lasts from cell to cell: settings, the working directory, the clients, what `:use` chose.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use katlab_lab::home::{self, Home};
use katlab_lab::settings::{self, Settings, is_secret_name};
use secrecy::{ExposeSecret, SecretString};

use crate::magics::{MagicError, nearest};
use crate::redaction::Redactor;

mod clients;
mod keeping;
mod sandbox;

pub use clients::Chosen;
pub use keeping::LIMIT as KEPT_LIMIT;

/// What lasts from cell to cell. Shared by the subshells of a kernel.
pub struct Session {
    home: Home,
    settings: Settings,
    redactor: Arc<Redactor>,
    interactive: bool,
    clients: clients::Clients,
    keeping: keeping::Keeping,
    state: Mutex<State>,
}

struct State {
    chosen: Chosen,
    directory: PathBuf,
    learned: HashSet<String>,
    sandbox: Vec<Option<std::time::SystemTime>>,
    lists: HashMap<&'static str, Listed>,
    experiments: BTreeSet<String>,
}

/// What the list that a magic made last had.
#[derive(Clone, Default)]
pub struct Listed {
    /// The keys of its columns.
    pub columns: Vec<String>,
    /// What its first column has, of so many rows as a person looks through.
    pub names: Vec<String>,
    /// The words of the columns that have few, such as those of a status.
    pub values: BTreeMap<String, BTreeSet<String>>,
}

impl Session {
    /// A session with its state in a home. `interactive` says whether there is a person in front of
    /// it: false for `katlab run`.
    ///
    /// # Errors
    /// When the home cannot be made.
    pub fn new(home: Home, interactive: bool) -> Result<Arc<Self>, home::Error> {
        home.ensure()?;
        let directory = std::env::current_dir().unwrap_or_else(|_| home.path().to_owned());
        let session = Self {
            settings: Settings::new(home.clone()),
            home,
            redactor: Arc::default(),
            interactive,
            clients: clients::Clients::default(),
            keeping: keeping::Keeping::default(),
            state: Mutex::new(State {
                chosen: Chosen::default(),
                directory,
                learned: HashSet::new(),
                sandbox: Vec::new(),
                lists: HashMap::new(),
                experiments: BTreeSet::new(),
            }),
        };
        session.learn_secrets();
        Ok(Arc::new(session))
    }

    /// Where katlab keeps its own state.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// The named values.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The filter that knows the session's secrets. Whoever shows output of cells that are not magics
    /// wraps its sink with it ([`RedactingSink`](crate::redaction::RedactingSink)).
    pub fn redactor(&self) -> Arc<Redactor> {
        Arc::clone(&self.redactor)
    }

    /// Whether there is a person in front of it.
    pub fn interactive(&self) -> bool {
        self.interactive
    }

    /// The directory that relative paths start from.
    pub fn directory(&self) -> PathBuf {
        self.lock().directory.clone()
    }

    /// Changes the directory that relative paths start from.
    pub fn set_directory(&self, directory: PathBuf) {
        self.lock().directory = directory;
    }

    /// A path as the person means it: from the notebook's directory, `~` for their own.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        match (path.strip_prefix("~"), std::env::home_dir()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => self.directory().join(path),
        }
    }

    /// The program that the sandbox and the Rust engine are started from: this one, or in tests the
    /// one that `KATLAB_EXE` names.
    ///
    /// # Errors
    /// When the system does not say which program this is.
    pub fn executable(&self) -> Result<PathBuf, MagicError> {
        match std::env::var_os("KATLAB_EXE").filter(|exe| !exe.is_empty()) {
            Some(exe) => Ok(exe.into()),
            None => std::env::current_exe().map_err(|error| {
                MagicError::new(format!(
                    "cannot find out where the katlab program is: {error}"
                ))
                .hint("set KATLAB_EXE to its path")
            }),
        }
    }

    /// The value for `$NAME`: a setting, else a variable of the environment that the kernel was
    /// started in, else what is known on the sandbox once it has run (its registry and its login).
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub fn value(&self, name: &str) -> Result<Option<String>, MagicError> {
        if let Some(value) = self.own_value(name)? {
            return Ok(Some(value));
        }
        if !sandbox::IMPLIED.contains(&name) || !self.plan()?.needs_sandbox() {
            return Ok(None);
        }
        let value = sandbox::implied(&self.home, name);
        if let Some(value) = value.as_ref().filter(|_| is_secret_name(name)) {
            self.redactor.learn(value);
        }
        Ok(value.map(|value| value.expose_secret().to_owned()))
    }

    /// A setting, else a variable of the environment.
    fn own_value(&self, name: &str) -> Result<Option<String>, MagicError> {
        if let Some(setting) = self.settings.get(name)? {
            return Ok(Some(setting.value.expose_secret().to_owned()));
        }
        let Ok(value) = std::env::var(name) else {
            return Ok(None);
        };
        if is_secret_name(name) {
            self.redactor.learn(&SecretString::from(value.as_str()));
        }
        Ok(Some(value))
    }

    /// Where the value for `$NAME` comes from, in a few words.
    ///
    /// # Errors
    /// When the settings cannot be read.
    pub fn origin(&self, name: &str) -> Result<String, MagicError> {
        Ok(match self.settings.get(name)? {
            Some(setting) => format!("settings ({})", setting.origin),
            None if self.own_value(name)?.is_some() => "environment".to_owned(),
            None => "the sandbox".to_owned(),
        })
    }

    /// The settings that are known on the sandbox without being set, where they hold.
    pub fn implied(&self) -> Vec<(&'static str, SecretString)> {
        if !self.plan().is_ok_and(|plan| plan.needs_sandbox()) {
            return Vec::new();
        }
        let known = sandbox::IMPLIED
            .iter()
            .filter(|name| self.own_value(name).is_ok_and(|value| value.is_none()));
        known
            .filter_map(|name| Some((*name, sandbox::implied(&self.home, name)?)))
            .collect()
    }

    /// The names of all settings, those that are known on the sandbox among them.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .settings
            .all()
            .map(|all| all.into_keys().collect())
            .unwrap_or_default();
        names.extend(self.implied().into_iter().map(|(name, _)| name.to_owned()));
        names
    }

    /// Keeps what the list that a magic has made had.
    pub fn note_list(&self, magic: &'static str, list: Listed) {
        self.lock().lists.insert(magic, list);
    }

    /// What the list that a magic made last had.
    pub fn listed(&self, magic: &str) -> Listed {
        self.lock().lists.get(magic).cloned().unwrap_or_default()
    }

    /// Notes an experiment that a cell had to do with.
    pub fn note_experiment(&self, name: &str) {
        self.lock().experiments.insert(name.to_owned());
    }

    /// The experiments that cells had to do with.
    pub fn experiments(&self) -> Vec<String> {
        self.lock().experiments.iter().cloned().collect()
    }

    /// The error for a setting that there is not.
    pub fn unknown_setting(&self, name: &str) -> MagicError {
        let names = self.names();
        let error = MagicError::new(format!("there is no setting {name}"));
        match nearest::to(name, names.iter().map(String::as_str)).first() {
            Some(near) => error.hint(format!("did you mean {near}? `:env` lists all of them")),
            None => error.hint("`:env` lists all of them"),
        }
    }

    /// Makes the redaction filter know all secrets there are now. Cheap when nothing changed.
    pub fn learn_secrets(&self) {
        let mut secrets: Vec<SecretString> = Vec::new();
        if let Ok(all) = self.settings.all() {
            secrets.extend(
                all.into_values()
                    .filter(|setting| setting.secret)
                    .map(|setting| setting.value),
            );
        }
        let mut state = self.lock();
        // Whether or not it is the sandbox that magics talk to.
        let stamp = sandbox::stamp(&self.home);
        if state.sandbox != stamp {
            secrets.extend(sandbox::secrets(&self.home));
            state.sandbox = stamp;
        }
        for secret in secrets {
            if state.learned.insert(secret.expose_secret().to_owned()) {
                self.redactor.learn(&secret);
            }
        }
    }

    /// Sets a value for this process only, as `katlab run --set` does.
    ///
    /// # Errors
    /// When the name is no name.
    pub fn set_here(&self, name: &str, value: SecretString) -> Result<(), settings::Error> {
        self.settings.set_here(name, value, false, "run")?;
        self.learn_secrets();
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
