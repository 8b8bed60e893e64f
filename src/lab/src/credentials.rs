//! Registry credentials, kept where the docker CLI keeps them, so that both tools agree.
//!
//! `config.json` names either a credential helper (a program `docker-credential-NAME`, spoken to
//! over stdin and stdout) or holds the credentials itself, base64-encoded, which is no encryption.
//! Whatever else is in that file is kept when we write it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::file;
use crate::reference::HUB;

mod helper;

/// The key under which Docker keeps the credentials of Docker Hub, for historical reasons.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// What a helper calls the user when the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// What proves to a registry who we are.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A user with a password.
    Password {
        /// The user's name.
        username: String,
        /// The password.
        password: SecretString,
    },
    /// A refresh token that the registry's token service gave out.
    IdentityToken {
        /// The user's name, where it is known.
        username: Option<String>,
        /// The token.
        token: SecretString,
    },
}

impl Credential {
    /// A user with a password.
    pub fn password(username: impl Into<String>, password: SecretString) -> Self {
        Self::Password {
            username: username.into(),
            password,
        }
    }

    /// The user's name, where it is known.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Password { username, .. } => Some(username),
            Self::IdentityToken { username, .. } => username.as_deref(),
        }
    }

    /// The secret itself: for a redaction filter, or to be sent.
    pub fn secret(&self) -> &SecretString {
        match self {
            Self::Password { password, .. } => password,
            Self::IdentityToken { token, .. } => token,
        }
    }
}

/// Where credentials lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a file, readable by whoever can read the file.
    File(PathBuf),
    /// In the store behind a credential helper.
    Helper(String),
}

/// Credentials and where they were found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The credentials.
    pub credential: Credential,
    /// Where they were found.
    pub place: Place,
}

/// Why credentials could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the Docker configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what Docker writes.
    #[error("the Docker configuration {} is not valid: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
    /// The file cannot be written.
    #[error("cannot write the Docker configuration {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file names a credential helper that is not installed.
    #[error(
        "the Docker configuration names the credential helper `{program}`, which is not installed"
    )]
    HelperMissing {
        /// The program.
        program: String,
    },
    /// The credential helper said no.
    #[error(
        "the credential helper `{program}` could not {action} the credentials of {host}: {why}"
    )]
    Helper {
        /// The program.
        program: String,
        /// What was asked of it.
        action: &'static str,
        /// For which registry.
        host: String,
        /// What it said.
        why: String,
    },
    /// There is no home directory to keep a configuration in.
    #[error("there is no place for a Docker configuration: neither HOME nor DOCKER_CONFIG is set")]
    NoHome,
}

impl Error {
    /// What to do next, in one sentence.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { path, .. } => {
                format!("Check who may read it: `ls -l {}`.", path.display())
            }
            Self::Syntax { path, .. } => format!(
                "Mend it, or move it away and log in again: `mv {0} {0}.old`.",
                path.display()
            ),
            Self::Write { path, .. } => format!(
                "Check that {} is yours and has room.",
                path.parent().unwrap_or(path).display()
            ),
            Self::HelperMissing { program } => {
                format!(
                    "Install `{program}`, or remove the line that names it (`credsStore` or `credHelpers`) from config.json."
                )
            }
            Self::Helper { program, .. } => format!("Try it by hand: `{program} list`."),
            Self::NoHome => "Set DOCKER_CONFIG to a folder of yours.".to_owned(),
        })
    }
}

/// The credentials of this machine's user.
#[derive(Clone, Debug)]
pub struct Store {
    config: PathBuf,
    also_read: Vec<PathBuf>,
    search_path: Option<std::ffi::OsString>,
}

impl Store {
    /// The store that the docker CLI would use in this process's environment.
    ///
    /// # Errors
    /// When neither `DOCKER_CONFIG` nor a home directory says where.
    pub fn from_environment() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The store that the docker CLI would use in an environment with these variables.
    ///
    /// # Errors
    /// When neither `DOCKER_CONFIG` nor a home directory says where.
    pub fn from_variables(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variable = |name| lookup(name).filter(|value| !value.is_empty());
        let config = match (variable("DOCKER_CONFIG"), variable("HOME")) {
            (Some(folder), _) => PathBuf::from(folder),
            (None, Some(home)) => PathBuf::from(home).join(".docker"),
            (None, None) => return Err(Error::NoHome),
        }
        .join("config.json");
        // Podman keeps its logins elsewhere; they are read, never written.
        let mut also_read = Vec::new();
        also_read.extend(variable("REGISTRY_AUTH_FILE").map(PathBuf::from));
        also_read.extend(
            variable("XDG_RUNTIME_DIR")
                .map(|folder| PathBuf::from(folder).join("containers/auth.json")),
        );
        also_read.extend(
            variable("HOME").map(|home| PathBuf::from(home).join(".config/containers/auth.json")),
        );
        Ok(Self {
            config,
            also_read,
            search_path: variable("PATH").map(Into::into),
        })
    }

    /// A store in a folder of its own.
    pub fn in_folder(folder: impl AsRef<Path>) -> Self {
        Self {
            config: folder.as_ref().join("config.json"),
            also_read: Vec::new(),
            search_path: None,
        }
    }

    /// Looks for credential helpers in these folders instead of `PATH`.
    pub fn with_search_path(mut self, path: impl Into<std::ffi::OsString>) -> Self {
        self.search_path = Some(path.into());
        self
    }

    /// The file that is written.
    pub fn path(&self) -> &Path {
        &self.config
    }

    /// The credentials for a registry, if there are any.
    ///
    /// # Errors
    /// When the configuration cannot be read or its helper fails.
    pub async fn get(&self, host: &str) -> Result<Option<Found>, Error> {
        let config = read(&self.config)?;
        if let Some(helper) = helper_for(&config, host)
            && let Some(credential) = self.helper_get(&helper, host).await?
        {
            return Ok(Some(Found {
                credential,
                place: Place::Helper(helper),
            }));
        }
        if let Some(credential) = from_auths(&config, host, &self.config)? {
            return Ok(Some(Found {
                credential,
                place: Place::File(self.config.clone()),
            }));
        }
        for path in &self.also_read {
            // Somebody else's file: whatever is wrong with it is not this user's problem here.
            let Ok(other) = read(path) else { continue };
            if let Some(credential) = from_auths(&other, host, path)? {
                return Ok(Some(Found {
                    credential,
                    place: Place::File(path.clone()),
                }));
            }
        }
        Ok(None)
    }

    /// Keeps the credentials for a registry, and says where.
    ///
    /// # Errors
    /// When the configuration cannot be read or written, or its helper fails.
    pub async fn store(&self, host: &str, credential: &Credential) -> Result<Place, Error> {
        let mut config = read(&self.config)?;
        let key = key_for(host);
        if let Some(helper) = helper_for(&config, host) {
            let (user, secret) = match credential {
                Credential::Password { username, password } => (username.as_str(), password),
                Credential::IdentityToken { token, .. } => (TOKEN_USER, token),
            };
            let request =
                json!({ "ServerURL": key, "Username": user, "Secret": secret.expose_secret() })
                    .to_string();
            self.call_helper(&helper, "store", host, &request).await?;
            // The CLI leaves an empty entry: it is how `docker login` without a host finds it.
            auths_mut(&mut config).insert(key.to_owned(), json!({}));
            self.write(&config)?;
            return Ok(Place::Helper(helper));
        }
        let entry = match credential {
            Credential::Password { username, password } => {
                json!({ "auth": STANDARD.encode(format!("{username}:{}", password.expose_secret())) })
            }
            Credential::IdentityToken { username, token } => json!({
                "auth": STANDARD.encode(format!("{}:", username.as_deref().unwrap_or(TOKEN_USER))),
                "identitytoken": token.expose_secret(),
            }),
        };
        let auths = auths_mut(&mut config);
        auths.retain(|written, _| host_of_key(written) != canonical_host(host));
        auths.insert(key.to_owned(), entry);
        self.write(&config)?;
        Ok(Place::File(self.config.clone()))
    }

    /// Forgets the credentials for a registry; says whether there were any.
    ///
    /// # Errors
    /// When the configuration cannot be read or written, or its helper fails.
    pub async fn erase(&self, host: &str) -> Result<bool, Error> {
        let mut config = read(&self.config)?;
        let mut erased = false;
        if let Some(helper) = helper_for(&config, host)
            && self.helper_get(&helper, host).await?.is_some()
        {
            self.call_helper(&helper, "erase", host, key_for(host))
                .await?;
            erased = true;
        }
        if let Some(auths) = config.get_mut("auths").and_then(Value::as_object_mut) {
            let before = auths.len();
            auths.retain(|written, _| host_of_key(written) != canonical_host(host));
            if auths.len() < before {
                erased = true;
                self.write(&config)?;
            }
        }
        Ok(erased)
    }

    /// The registries there are credentials for, in alphabetical order.
    ///
    /// # Errors
    /// When the configuration cannot be read or its helper fails.
    pub async fn hosts(&self) -> Result<BTreeMap<String, Place>, Error> {
        let config = read(&self.config)?;
        let mut hosts = BTreeMap::new();
        if let Some(auths) = config.get("auths").and_then(Value::as_object) {
            for (key, entry) in auths {
                let host = host_of_key(key);
                let empty = entry.as_object().is_none_or(Map::is_empty);
                match helper_for(&config, &host) {
                    Some(helper) => hosts.insert(host, Place::Helper(helper)),
                    None if empty => None,
                    None => hosts.insert(host, Place::File(self.config.clone())),
                };
            }
        }
        if let Some(helpers) = config.get("credHelpers").and_then(Value::as_object) {
            for (host, helper) in helpers {
                if let Some(helper) = helper.as_str() {
                    hosts
                        .entry(host_of_key(host))
                        .or_insert_with(|| Place::Helper(helper.to_owned()));
                }
            }
        }
        Ok(hosts)
    }

    fn write(&self, config: &Value) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(config).map_err(|error| Error::Syntax {
            path: self.config.clone(),
            why: error.to_string(),
        })?;
        text.push('\n');
        file::replace(&self.config, text.as_bytes(), 0o600).map_err(|source| Error::Write {
            path: self.config.clone(),
            source,
        })
    }
}

/// Reads a configuration; one that does not exist is empty.
pub(crate) fn read(path: &Path) -> Result<Value, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(json!({})),
        Err(source) => {
            return Err(Error::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    let syntax = |why: String| Error::Syntax {
        path: path.to_owned(),
        why,
    };
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| syntax(format!("line {}, column {}", error.line(), error.column())))?;
    if value.is_object() {
        Ok(value)
    } else {
        Err(syntax("it is not a JSON object".to_owned()))
    }
}

fn auths_mut(config: &mut Value) -> &mut Map<String, Value> {
    if !config.is_object() {
        *config = json!({});
    }
    let auths = &mut config["auths"];
    if !auths.is_object() {
        *auths = json!({});
    }
    match auths {
        Value::Object(map) => map,
        _ => unreachable!("made an object just above"),
    }
}

fn helper_for(config: &Value, host: &str) -> Option<String> {
    let own = config
        .get("credHelpers")
        .and_then(Value::as_object)
        .and_then(|helpers| {
            helpers
                .iter()
                .find(|(key, _)| host_of_key(key) == canonical_host(host))
        })
        .and_then(|(_, helper)| helper.as_str());
    own.or_else(|| config.get("credsStore").and_then(Value::as_str))
        .filter(|helper| !helper.is_empty())
        .map(str::to_owned)
}

fn from_auths(config: &Value, host: &str, path: &Path) -> Result<Option<Credential>, Error> {
    let Some(auths) = config.get("auths").and_then(Value::as_object) else {
        return Ok(None);
    };
    // The exact key wins over other spellings of the same host.
    let exact = auths.get(key_for(host));
    let entry = exact.or_else(|| {
        auths
            .iter()
            .find(|(key, _)| host_of_key(key) == canonical_host(host))
            .map(|(_, v)| v)
    });
    let Some(entry) = entry else { return Ok(None) };
    let text = |name| {
        entry
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let bad = || Error::Syntax {
        path: path.to_owned(),
        why: format!("the entry for {host} is not base64 of USER:PASSWORD"),
    };
    let (username, password) = match text("auth") {
        Some(auth) => {
            let bytes = STANDARD
                .decode(auth)
                .or_else(|_| STANDARD_NO_PAD.decode(auth))
                .map_err(|_| bad())?;
            let decoded = zeroize::Zeroizing::new(String::from_utf8(bytes).map_err(|_| bad())?);
            let (user, password) = decoded.split_once(':').ok_or_else(bad)?;
            // Docker pads with NUL where an old client did.
            (
                Some(user.to_owned()),
                Some(SecretString::from(password.trim_end_matches('\0'))),
            )
        }
        None => (
            text("username").map(str::to_owned),
            text("password").map(SecretString::from),
        ),
    };
    if let Some(token) = text("identitytoken") {
        let username = username.filter(|user| user != TOKEN_USER && !user.is_empty());
        return Ok(Some(Credential::IdentityToken {
            username,
            token: token.into(),
        }));
    }
    Ok(match (username, password) {
        (Some(username), Some(password)) if !username.is_empty() => {
            Some(Credential::Password { username, password })
        }
        _ => None,
    })
}

/// The key under which Docker keeps a host's credentials.
fn key_for(host: &str) -> &str {
    if canonical_host(host) == HUB {
        HUB_KEY
    } else {
        host
    }
}

fn canonical_host(host: &str) -> String {
    match host.to_ascii_lowercase().as_str() {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => {
            HUB.to_owned()
        }
        other => other.to_owned(),
    }
}

/// The host that a key means: old clients wrote URLs.
fn host_of_key(key: &str) -> String {
    let rest = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"))
        .unwrap_or(key);
    canonical_host(rest.split('/').next().unwrap_or(rest))
}

#[cfg(test)]
mod tests;
