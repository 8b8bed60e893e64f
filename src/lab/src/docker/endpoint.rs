//! Which engine is meant: explicit host, environment, docker context, then the usual sockets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::Error;
use crate::credentials;

/// Where an engine listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// Plain HTTP.
    Tcp {
        /// `HOST:PORT`.
        address: String,
    },
    /// HTTP over TLS.
    Tls {
        /// `HOST:PORT`.
        address: String,
        /// Certificates.
        files: TlsFiles,
    },
}

/// The certificates of a TLS endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Where they are looked for; nothing when no place was named.
    pub folder: Option<PathBuf>,
    /// The authority that signed the engine's certificate; the system's authorities when absent.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Our key.
    pub key: Option<PathBuf>,
    /// Accept whatever certificate the engine shows.
    pub skip_verify: bool,
}

impl TlsFiles {
    /// Those of a folder that are there, by docker's names.
    fn of(folder: PathBuf, skip_verify: bool) -> Self {
        let file = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        Self {
            ca: file("ca.pem"),
            cert: file("cert.pem"),
            key: file("key.pem"),
            skip_verify,
            folder: Some(folder),
        }
    }
}

/// An endpoint and who named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// Who named it, for messages.
    pub source: String,
    /// Whether somebody named it, or it is merely a place to look.
    pub named: bool,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { address } => write!(f, "tcp://{address}"),
            Self::Tls { address, .. } => write!(f, "tcp://{address} (TLS)"),
        }
    }
}

/// The variables that decide on the engine and on where credentials lie.
pub const VARIABLES: [&str; 6] = [
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "DOCKER_TLS",
];

/// What of the process's surroundings decides on the engine. Read once, so that tests and
/// notebooks with settings of their own can differ from the process's environment.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// Sockets to try when nothing names an engine.
    pub sockets: Vec<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let mut sockets = vec![PathBuf::from("/var/run/docker.sock")];
        let runtime = variables.get("XDG_RUNTIME_DIR").map(PathBuf::from);
        if let Some(runtime) = &runtime {
            sockets.push(runtime.join("docker.sock"));
            sockets.push(runtime.join("podman/podman.sock"));
        }
        sockets.push(PathBuf::from("/run/podman/podman.sock"));
        Self { variables, sockets }
    }

    /// The same with one variable set.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    fn config_folder(&self) -> Option<PathBuf> {
        self.get("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| self.get("HOME").map(|home| Path::new(home).join(".docker")))
    }

    /// The engines to try, in order. One that is named is the only one: falling back from it
    /// would act on another machine than the user thinks.
    ///
    /// # Errors
    /// When what names the engine makes no sense.
    pub fn candidates(&self, host: Option<&str>) -> Result<Vec<Candidate>, Error> {
        if let Some(host) = host {
            return self.named(host, "--host").map(|candidate| vec![candidate]);
        }
        if let Some(host) = self.get("DOCKER_HOST") {
            return self
                .named(host, "DOCKER_HOST")
                .map(|candidate| vec![candidate]);
        }
        let (context, source) = match self.get("DOCKER_CONTEXT") {
            Some(name) => (Some(name.to_owned()), "DOCKER_CONTEXT"),
            None => (self.current_context()?, "the current docker context"),
        };
        if let Some(name) = context.filter(|name| name != "default") {
            return self.context(&name, source).map(|candidate| vec![candidate]);
        }
        Ok(self.usual())
    }

    fn usual(&self) -> Vec<Candidate> {
        self.sockets
            .iter()
            .map(|path| Candidate {
                endpoint: Endpoint::Unix(path.clone()),
                source: "the usual place".to_owned(),
                named: false,
            })
            .collect()
    }

    /// The one engine for a program that outlives many engines: the named one, else that of the
    /// first socket which is there, else that of the first usual socket. Nothing is dialled.
    ///
    /// # Errors
    /// As [`Surroundings::candidates`].
    pub fn lasting(&self, host: Option<&str>) -> Result<Candidate, Error> {
        let mut candidates = self.candidates(host)?;
        let there = candidates.iter().position(|candidate| {
            matches!(&candidate.endpoint, Endpoint::Unix(path) if candidate.named || path.exists())
        });
        if candidates.is_empty() {
            return Err(Error::NoEngine {
                tried: Vec::new(),
                forbidden: false,
            });
        }
        Ok(candidates.swap_remove(there.unwrap_or(0)))
    }

    fn named(&self, host: &str, source: &str) -> Result<Candidate, Error> {
        let tls = self.get("DOCKER_TLS_VERIFY").is_some() || self.get("DOCKER_TLS").is_some();
        let files = tls.then(|| {
            let folder = self
                .get("DOCKER_CERT_PATH")
                .map(PathBuf::from)
                .or_else(|| self.config_folder())
                .unwrap_or_default();
            TlsFiles::of(folder, self.get("DOCKER_TLS_VERIFY").is_none())
        });
        let endpoint = endpoint(host, files, source)?;
        if let Endpoint::Tls { files, .. } = &endpoint
            && let Some(folder) = &files.folder
            && files.ca.is_none()
            && !files.skip_verify
        {
            // As docker: whoever wants the engine verified this way says by which authority.
            return Err(Error::Tls {
                endpoint: endpoint.to_string(),
                source_name: source.to_owned(),
                why: format!(
                    "DOCKER_TLS_VERIFY is set, and there is no ca.pem in {}",
                    folder.display()
                ),
                hint: "Set DOCKER_CERT_PATH to the folder of ca.pem, cert.pem and key.pem."
                    .to_owned(),
            });
        }
        Ok(Candidate {
            endpoint,
            source: source.to_owned(),
            named: true,
        })
    }

    fn current_context(&self) -> Result<Option<String>, Error> {
        let Some(folder) = self.config_folder() else {
            return Ok(None);
        };
        let config = credentials::read(&folder.join("config.json")).map_err(Error::Credentials)?;
        Ok(config
            .get("currentContext")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty())
            .map(str::to_owned))
    }

    fn context(&self, name: &str, source: &str) -> Result<Candidate, Error> {
        let source = format!("{source} `{name}`");
        let bad = |why: String| Error::BadContext {
            name: name.to_owned(),
            why,
        };
        let folder = self
            .config_folder()
            .ok_or_else(|| bad("there is no home directory to look for it in".to_owned()))?;
        // Docker files contexts under the hash of their name.
        let id = hex::encode(Sha256::digest(name.as_bytes()));
        let path = folder.join("contexts/meta").join(&id).join("meta.json");
        let text = std::fs::read_to_string(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => bad("there is no such context".to_owned()),
            _ => bad(format!("{}: {error}", path.display())),
        })?;
        let meta: Value = serde_json::from_str(&text)
            .map_err(|error| bad(format!("{}: {error}", path.display())))?;
        let docker = &meta["Endpoints"]["docker"];
        let host = docker["Host"].as_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| bad("it names no Docker host".to_owned()))?;
        let certificates = folder.join("contexts/tls").join(&id).join("docker");
        let skip_verify = docker["SkipTLSVerify"].as_bool().unwrap_or(false);
        let files =
            (certificates.is_dir() || skip_verify).then(|| TlsFiles::of(certificates, skip_verify));
        Ok(Candidate {
            endpoint: endpoint(host, files, &source)?,
            source,
            named: true,
        })
    }
}

fn endpoint(host: &str, tls: Option<TlsFiles>, source: &str) -> Result<Endpoint, Error> {
    let bad = |why: &str| Error::BadHost {
        host: host.to_owned(),
        source_name: source.to_owned(),
        why: why.to_owned(),
    };
    let (scheme, rest) = host.split_once("://").unwrap_or(("tcp", host));
    match scheme {
        "unix" if rest.is_empty() => Err(bad("the path of the socket is missing")),
        "unix" => Ok(Endpoint::Unix(PathBuf::from(rest))),
        "tcp" | "http" | "https" => {
            let address = rest.trim_end_matches('/');
            if address.is_empty() || address.contains('/') {
                return Err(bad("it should be tcp://HOST:PORT"));
            }
            let secure = tls.is_some() || scheme == "https";
            let has_port = address
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            let address = match (has_port, secure) {
                (true, _) => address.to_owned(),
                (false, true) => format!("{address}:2376"),
                (false, false) => format!("{address}:2375"),
            };
            Ok(match tls {
                Some(files) => Endpoint::Tls { address, files },
                None if secure => Endpoint::Tls {
                    address,
                    files: TlsFiles::default(),
                },
                None => Endpoint::Tcp { address },
            })
        }
        "ssh" => Err(bad(
            "engines behind ssh are not supported; forward the socket instead",
        )),
        "npipe" => Err(bad("named pipes exist on Windows only")),
        "fd" => Err(bad("it is a name for the engine's own use")),
        _ => Err(bad("its scheme is none of unix, tcp, http, https")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bare() -> Surroundings {
        Surroundings {
            variables: BTreeMap::new(),
            sockets: vec!["/a.sock".into(), "/b.sock".into()],
        }
    }

    fn write_context(home: &Path, name: &str, meta: &str) -> PathBuf {
        let id = hex::encode(Sha256::digest(name.as_bytes()));
        let folder = home.join(".docker/contexts/meta").join(&id);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("meta.json"), meta).unwrap();
        home.join(".docker/contexts/tls").join(id).join("docker")
    }

    #[test]
    fn what_names_an_engine_first_is_the_only_one_tried() {
        let home = tempfile::tempdir().unwrap();
        let at_home = bare().with("HOME", home.path().to_str().unwrap());
        assert_eq!(
            at_home.candidates(None).unwrap().len(),
            2,
            "nothing names one: the usual sockets"
        );

        write_context(
            home.path(),
            "far",
            r#"{"Endpoints":{"docker":{"Host":"tcp://far:1"}}}"#,
        );
        write_context(
            home.path(),
            "near",
            r#"{"Endpoints":{"docker":{"Host":"unix:///near.sock"}}}"#,
        );
        std::fs::write(
            home.path().join(".docker/config.json"),
            r#"{"currentContext":"far"}"#,
        )
        .unwrap();
        let only = |s: &Surroundings, host: Option<&str>| {
            let mut candidates = s.candidates(host).unwrap();
            assert_eq!(candidates.len(), 1);
            candidates.remove(0).endpoint.to_string()
        };
        assert_eq!(only(&at_home, None), "tcp://far:1");
        let s = at_home.with("DOCKER_CONTEXT", "near");
        assert_eq!(only(&s, None), "unix:///near.sock");
        let s = s.with("DOCKER_HOST", "tcp://env");
        assert_eq!(only(&s, None), "tcp://env:2375");
        assert_eq!(only(&s, Some("unix:///x")), "unix:///x");
    }

    #[test]
    fn a_lasting_engine_is_that_of_the_first_socket_there_unless_one_is_named() {
        let home = tempfile::tempdir().unwrap();
        let socket = home.path().join("b.sock");
        std::fs::write(&socket, "").unwrap();
        let mut s = bare();
        let address = |s: &Surroundings| s.lasting(None).unwrap().endpoint.to_string();
        assert_eq!(address(&s), "unix:///a.sock", "none is there");
        s.sockets[1] = socket.clone();
        assert_eq!(address(&s), format!("unix://{}", socket.display()));
        let s = s.with("DOCKER_HOST", "unix:///named.sock");
        assert_eq!(address(&s), "unix:///named.sock");
    }

    #[test]
    fn the_context_named_default_is_no_context() {
        assert_eq!(
            bare()
                .with("DOCKER_CONTEXT", "default")
                .candidates(None)
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn certificates_are_found_for_hosts_and_contexts() {
        let home = tempfile::tempdir().unwrap();
        let folder = write_context(
            home.path(),
            "safe",
            r#"{"Endpoints":{"docker":{"Host":"tcp://safe:2376","SkipTLSVerify":false}}}"#,
        );
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ca.pem"), "x").unwrap();
        let s = bare().with("HOME", home.path().to_str().unwrap());
        let candidate = s
            .clone()
            .with("DOCKER_CONTEXT", "safe")
            .candidates(None)
            .unwrap()
            .remove(0);
        assert!(
            matches!(candidate.endpoint, Endpoint::Tls { files, .. } if files.ca.is_some() && files.cert.is_none() && !files.skip_verify)
        );
        let verified = s.clone().with("DOCKER_TLS_VERIFY", "1");
        let error = verified.candidates(Some("tcp://h")).unwrap_err();
        assert!(error.to_string().contains("no ca.pem in"), "{error}");
        assert!(verified.candidates(Some("unix:///h")).is_ok());
        let s = s
            .with("DOCKER_TLS_VERIFY", "1")
            .with("DOCKER_CERT_PATH", folder.to_str().unwrap());
        let candidate = s.candidates(Some("tcp://h")).unwrap().remove(0);
        assert!(
            matches!(candidate.endpoint, Endpoint::Tls { address, files } if address == "h:2376" && files.ca.is_some())
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_origin() {
        for host in [
            "ssh://u@h",
            "unix://",
            "npipe:////./pipe/d",
            "tcp://h/path",
            "gopher://x",
            "tcp://",
        ] {
            let error = bare().candidates(Some(host)).unwrap_err();
            assert!(error.to_string().contains("--host"), "{error}");
        }
        let home = tempfile::tempdir().unwrap();
        let s = bare()
            .with("HOME", home.path().to_str().unwrap())
            .with("DOCKER_CONTEXT", "gone");
        assert!(
            s.candidates(None)
                .unwrap_err()
                .to_string()
                .contains("no such context")
        );
    }
}
