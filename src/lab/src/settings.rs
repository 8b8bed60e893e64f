//! Named values that a session keeps: `$NAME` in a magic's arguments, and what survives a kernel restart.
//!
//! They live in one file under the home (0600). Several kernels may change it at once: every change
//! is applied, under a lock, to what the file holds at that moment, so nobody undoes another's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::home::{self, Home};

pub mod dotenv;

/// Why settings could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] home::Error),
    /// The settings file, or a file of values, could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The settings file does not hold settings.
    #[error("{path} does not hold settings: {source}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The lock that keeps two kernels from writing at once could not be taken.
    #[error("cannot lock {path}: {source}")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A name that could not be used as `$NAME`.
    #[error("{name:?} is not a name for a setting")]
    Name {
        /// The name.
        name: String,
    },
    /// A line of a `.env` file could not be understood.
    #[error("{path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from one.
        line: usize,
        /// What is wrong; never the value itself.
        reason: String,
    },
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Home(error) => error.hint(),
            Self::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
                Some("check the path; it is looked up from the notebook's directory".to_owned())
            }
            Self::Read { source, .. } if source.kind() == ErrorKind::IsADirectory => {
                Some("name a file in that folder".to_owned())
            }
            Self::Read { .. } | Self::Lock { .. } => {
                Some("check who owns the file and its permissions".to_owned())
            }
            Self::Damaged { path, .. } => Some(format!(
                "mend {path} or move it away, then set the values again",
                path = path.display()
            )),
            Self::Name { .. } => Some(
                "names are letters, digits and underscores, and do not begin with a digit"
                    .to_owned(),
            ),
            Self::Line { .. } => {
                Some("write NAME=VALUE, with quotes around a value that holds spaces".to_owned())
            }
        }
    }
}

/// One named value.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The value. Typed as a secret whether it is one or not: it is masked by choice of the reader.
    pub value: SecretString,
    /// Whether the value must not be shown.
    pub secret: bool,
    /// Where it came from (`set`, `ask`, or the file that was loaded).
    pub origin: String,
    /// When it was set.
    pub changed: jiff::Timestamp,
    /// False for a value of this process only (`katlab run --set`).
    pub kept: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    value: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    secret: bool,
    #[serde(default)]
    origin: String,
    #[serde(default)]
    changed: jiff::Timestamp,
}

#[derive(Default, Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    settings: BTreeMap<String, Stored>,
}

/// What tells one state of the file from another without reading it.
type Stamp = Option<(SystemTime, u64, u64)>;

#[derive(Default)]
struct State {
    kept: BTreeMap<String, Setting>,
    overlay: BTreeMap<String, Setting>,
    stamp: Stamp,
}

/// The settings of a home, shared by everything in this process.
pub struct Settings {
    home: Home,
    file: PathBuf,
    state: Mutex<State>,
}

/// A change to one setting.
pub enum Change {
    /// Sets a value.
    Set {
        /// The name.
        name: String,
        /// The value.
        value: SecretString,
        /// Whether it must not be shown, whatever its name says.
        secret: bool,
        /// Where it came from.
        origin: String,
    },
    /// Removes a value.
    Unset {
        /// The name.
        name: String,
    },
}

impl Settings {
    /// The settings kept in a home. Nothing is read until it is needed.
    pub fn new(home: Home) -> Self {
        let file = home.join("settings.json");
        Self {
            home,
            file,
            state: Mutex::default(),
        }
    }

    /// The file that holds them.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// One setting.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Setting>, Error> {
        let mut state = self.lock();
        self.refresh(&mut state)?;
        Ok(state
            .overlay
            .get(name)
            .or_else(|| state.kept.get(name))
            .cloned())
    }

    /// All settings by name.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn all(&self) -> Result<BTreeMap<String, Setting>, Error> {
        let mut state = self.lock();
        self.refresh(&mut state)?;
        let mut all = state.kept.clone();
        all.extend(
            state
                .overlay
                .iter()
                .map(|(name, setting)| (name.clone(), setting.clone())),
        );
        Ok(all)
    }

    /// Applies changes and keeps them. All of them, or none when one is refused.
    ///
    /// # Errors
    /// When a name is no name, or the file cannot be read or written.
    pub fn change(&self, changes: Vec<Change>) -> Result<(), Error> {
        for change in &changes {
            if let Change::Set { name, .. } = change {
                check_name(name)?;
            }
        }
        self.home.ensure()?;
        let lock_path = self.home.join("settings.lock");
        let locked = |source| Error::Lock {
            path: lock_path.clone(),
            source,
        };
        // Let go of when `lock` is dropped, also when this process is killed.
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&lock_path)
            .map_err(locked)?;
        lock.lock().map_err(locked)?;

        let mut state = self.lock();
        state.stamp = None;
        self.refresh(&mut state)?;
        let now = jiff::Timestamp::now();
        for change in changes {
            match change {
                Change::Set {
                    name,
                    value,
                    secret,
                    origin,
                } => {
                    state.overlay.remove(&name);
                    let secret = secret || is_secret_name(&name);
                    state.kept.insert(
                        name,
                        Setting {
                            value,
                            secret,
                            origin,
                            changed: now,
                            kept: true,
                        },
                    );
                }
                Change::Unset { name } => {
                    state.overlay.remove(&name);
                    state.kept.remove(&name);
                }
            }
        }
        let document = Document {
            settings: state
                .kept
                .iter()
                .map(|(name, setting)| {
                    let stored = Stored {
                        value: setting.value.expose_secret().to_owned(),
                        secret: setting.secret,
                        origin: setting.origin.clone(),
                        changed: setting.changed,
                    };
                    (name.clone(), stored)
                })
                .collect(),
        };
        let content = serde_json::to_vec_pretty(&document).map_err(|source| Error::Damaged {
            path: self.file.clone(),
            source,
        })?;
        home::write_private(&self.file, &content)?;
        state.stamp = self.stamp();
        Ok(())
    }

    /// Sets a value for this process only; it hides a kept one of the same name.
    ///
    /// # Errors
    /// When the name is no name.
    pub fn set_here(
        &self,
        name: &str,
        value: SecretString,
        secret: bool,
        origin: &str,
    ) -> Result<(), Error> {
        check_name(name)?;
        let setting = Setting {
            value,
            secret: secret || is_secret_name(name),
            origin: origin.to_owned(),
            changed: jiff::Timestamp::now(),
            kept: false,
        };
        self.lock().overlay.insert(name.to_owned(), setting);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is replaced as a whole, so it is sound even after a panic elsewhere.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn stamp(&self) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(&self.file).ok()?;
        // Every write makes a new file, so the inode changes even within the clock's resolution.
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    }

    fn refresh(&self, state: &mut State) -> Result<(), Error> {
        let stamp = self.stamp();
        if stamp.is_some() && stamp == state.stamp {
            return Ok(());
        }
        let document: Document = match std::fs::read(&self.file) {
            Ok(content) => serde_json::from_slice(&content).map_err(|source| Error::Damaged {
                path: self.file.clone(),
                source,
            })?,
            Err(source)
                if matches!(
                    source.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory
                ) =>
            {
                Document::default()
            }
            Err(source) => {
                return Err(Error::Read {
                    path: self.file.clone(),
                    source,
                });
            }
        };
        state.kept = document
            .settings
            .into_iter()
            .map(|(name, stored)| {
                let secret = stored.secret || is_secret_name(&name);
                let setting = Setting {
                    value: stored.value.into(),
                    secret,
                    origin: stored.origin,
                    changed: stored.changed,
                    kept: true,
                };
                (name, setting)
            })
            .collect();
        state.stamp = stamp;
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    if is_name(name) {
        Ok(())
    } else {
        Err(Error::Name {
            name: name.to_owned(),
        })
    }
}

/// Whether a text can be used as `$NAME`.
pub fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
}

/// Whether a name says that its value is a secret.
///
/// Looks at whole words between underscores (`ACC_KEY`, `DB_PASSWORD`), and for the longer ones at
/// their endings (`APIKEY`, `githubToken`), so that `MONKEY` or `AUTHOR` are not taken for secrets.
pub fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 14] = [
        "KEY",
        "KEYS",
        "SECRET",
        "SECRETS",
        "TOKEN",
        "TOKENS",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "PASS",
        "PWD",
        "AUTH",
        "CREDENTIAL",
        "CREDENTIALS",
    ];
    const ENDINGS: [&str; 8] = [
        "APIKEY",
        "ACCESSKEY",
        "SECRETKEY",
        "PRIVATEKEY",
        "SECRET",
        "TOKEN",
        "PASSWORD",
        "PASSWD",
    ];
    // The shell's own names for directories.
    if matches!(name, "PWD" | "OLDPWD") {
        return false;
    }
    let upper = name.to_ascii_uppercase();
    upper
        .split('_')
        .any(|word| WORDS.contains(&word) || ENDINGS.iter().any(|ending| word.ends_with(ending)))
}

#[cfg(test)]
mod tests;
