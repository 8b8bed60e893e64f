//! What can go wrong with a registry, in words.

use std::path::PathBuf;

use crate::{credentials, reference};

/// Why something with a registry failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody answers there.
    #[error("the registry {host} does not answer: {why}")]
    Unreachable {
        /// The registry.
        host: String,
        /// What happened.
        why: String,
    },
    /// Its certificate is not to be trusted.
    #[error("the certificate of the registry {host} is not trusted: {why}")]
    Certificate {
        /// The registry.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// It speaks plain HTTP, which would show the password to everybody on the way.
    #[error("the registry {host} speaks plain HTTP, not TLS")]
    PlainHttp {
        /// The registry.
        host: String,
    },
    /// What answers is no registry.
    #[error("{host} answers, but it is not an image registry: {why}")]
    NotARegistry {
        /// The host.
        host: String,
        /// What it said.
        why: String,
    },
    /// It refused the credentials.
    #[error("the registry {host} refused the login of {user}: {why}")]
    Refused {
        /// The registry.
        host: String,
        /// As whom.
        user: String,
        /// Its reason.
        why: String,
    },
    /// It wants credentials, and none are kept.
    #[error("the registry {host} wants a login, and none is kept for it")]
    NoCredentials {
        /// The registry.
        host: String,
    },
    /// It knows us, but does not let us.
    #[error("the registry {host} does not let {} {action} {name}: {why}", user.as_deref().unwrap_or("anonymous users"))]
    Denied {
        /// The registry.
        host: String,
        /// As whom.
        user: Option<String>,
        /// What was tried, e.g. "read".
        action: &'static str,
        /// The repository or image.
        name: String,
        /// Its reason.
        why: String,
    },
    /// There is no such repository.
    #[error("the registry {host} has no repository `{name}`")]
    NoRepository {
        /// The registry.
        host: String,
        /// The repository.
        name: String,
        /// Repositories or tags with similar names, the nearest first.
        near: Vec<String>,
    },
    /// There is no such image in the repository.
    #[error("there is no `{reference}` in the repository {host}/{name}")]
    NoImage {
        /// The registry.
        host: String,
        /// The repository.
        name: String,
        /// The tag or digest.
        reference: String,
        /// Tags with similar names, the nearest first.
        near: Vec<String>,
    },
    /// It does not list its repositories.
    #[error("the registry {host} does not list its repositories: {why}")]
    NoCatalog {
        /// The registry.
        host: String,
        /// Its reason.
        why: String,
    },
    /// Too many requests.
    #[error("the registry {host} wants fewer requests: {why}")]
    RateLimited {
        /// The registry.
        host: String,
        /// Its reason.
        why: String,
        /// Seconds to wait, where it said.
        after: Option<u64>,
    },
    /// It answered something unexpected.
    #[error("the registry {host} answered {status} to {request}: {why}")]
    Unexpected {
        /// The registry.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What was asked.
        request: String,
        /// What it said.
        why: String,
    },
    /// It wants the password sent somewhere it would not be safe.
    #[error("the registry {host} wants the password sent to {realm}, which is not encrypted")]
    UnsafeRealm {
        /// The registry.
        host: String,
        /// Where to.
        realm: String,
    },
    /// A certificate file cannot be used.
    #[error("cannot use the certificate {}: {source}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No connection can be made at all.
    #[error("cannot set up a connection: {why}")]
    Setup {
        /// Why.
        why: String,
    },
    /// A reference does not parse.
    #[error(transparent)]
    Reference(#[from] reference::Error),
    /// The credentials kept on this machine cannot be read or written.
    #[error(transparent)]
    Credentials(#[from] credentials::Error),
}

impl Error {
    /// What to do next, in one sentence.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreachable { host, .. } => format!("Check the spelling of {host}, that it runs, and your network."),
            Self::Certificate { host, .. } => format!(
                "If the registry is yours, give its authority's certificate with --ca FILE, or put it at /etc/docker/certs.d/{host}/ca.crt, where the engine looks too."
            ),
            Self::PlainHttp { host } => format!(
                "Plain HTTP is used for this machine only, and for hosts in the engine's `insecure-registries`: add {host} there if its network is safe."
            ),
            Self::NotARegistry { .. } => "Registries often have a host or port of their own, apart from their web page.".to_owned(),
            Self::Refused { host, .. } => format!("Log in again with `:registry login {host}`; some registries want an access key or token instead of a password."),
            Self::NoCredentials { host } => format!("Log in with `:registry login {host}`."),
            Self::Denied { host, user: None, .. } => format!("Log in with `:registry login {host}`."),
            Self::Denied { user: Some(_), .. } => "Ask the registry's owner for the right, or create the repository in its console first if it must exist.".to_owned(),
            Self::NoRepository { near, host, .. } => match near.first() {
                Some(near) => format!("Did you mean `{host}/{near}`?"),
                None => format!("`:registry repos {host}` lists what is there; a repository appears with its first push, or must be created in the registry's console."),
            },
            Self::NoImage { near, host, name, .. } => match near.first() {
                Some(near) => format!("Did you mean `{host}/{name}:{near}`?"),
                None => format!("`:registry tags {host}/{name}` lists what is there."),
            },
            Self::NoCatalog { .. } => "Name the repository: `:registry tags HOST/REPOSITORY`.".to_owned(),
            Self::RateLimited { after: Some(seconds), .. } => format!("Wait {seconds} seconds and try again."),
            Self::RateLimited { host, .. } => format!("Wait a while, or log in with `:registry login {host}` for a higher limit."),
            Self::UnsafeRealm { .. } => "Nothing was sent. Tell the registry's owner; its token service should be behind TLS.".to_owned(),
            Self::CaFile { .. } => "It should be a PEM file with the authority's certificate.".to_owned(),
            Self::Reference(error) => return error.hint(),
            Self::Credentials(error) => return error.hint(),
            Self::Unexpected { .. } | Self::Setup { .. } => return None,
        })
    }
}
