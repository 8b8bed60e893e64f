//! Magics about images, containers and registries.

use katlab_lab::credentials::Store;
use katlab_lab::docker::Engine;
use katlab_lab::docker::endpoint::{Surroundings, VARIABLES};
use katlab_lab::{docker, download as downloading, reference, registry as registries};

use crate::magics::{Context, MagicError};

pub mod build;
pub mod download;
pub mod list;
pub mod pull;
pub mod push;
pub mod registry;
pub mod rmi;
pub mod run;
pub mod tag;

// A doc comment here would become the description of every magic that takes these flags.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct EngineArgs {
    /// The Docker Engine to use, such as `unix:///run/user/1000/docker.sock` or `tcp://HOST:2376`;
    /// otherwise DOCKER_HOST, the docker context, and the usual sockets decide
    #[arg(short = 'H', long, value_name = "URL", help_heading = "Engine")]
    pub host: Option<String>,
}

/// What decides on the engine in this session.
///
/// # Errors
/// When the settings cannot be read.
pub fn surroundings(ctx: &Context) -> Result<Surroundings, MagicError> {
    let mut surroundings = Surroundings::of_process();
    for name in VARIABLES {
        if let Some(value) = ctx.session.value(name)? {
            surroundings.variables.insert(name.to_owned(), value);
        }
    }
    Ok(surroundings)
}

/// The engine of this session.
///
/// # Errors
/// When none answers.
pub async fn engine(ctx: &Context, args: &EngineArgs) -> Result<Engine, MagicError> {
    let surroundings = surroundings(ctx)?;
    ctx.or_interrupted(Engine::connect_in(&surroundings, args.host.as_deref()))
        .await
}

/// The registry credentials of this session.
///
/// # Errors
/// When there is no place to keep them.
pub fn store(ctx: &Context) -> Result<Store, MagicError> {
    let surroundings = surroundings(ctx)?;
    Ok(Store::from_variables(|name| {
        surroundings.variables.get(name).cloned()
    })?)
}

/// Text for a shell: quoted where it must be.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A command line for `--explain`, growing option by option.
struct Explained(String);

impl Explained {
    fn new(args: &EngineArgs, command: &str) -> Self {
        Self(match &args.host {
            Some(host) => format!("docker -H {} {command}", quoted(host)),
            None => format!("docker {command}"),
        })
    }

    fn flag(&mut self, flag: &str, given: bool) -> &mut Self {
        if given {
            self.0.push_str(&format!(" {flag}"));
        }
        self
    }

    fn option<T: ToString>(
        &mut self,
        flag: &str,
        values: impl IntoIterator<Item = T>,
    ) -> &mut Self {
        for value in values {
            self.0
                .push_str(&format!(" {flag} {}", quoted(&value.to_string())));
        }
        self
    }

    fn words<T: AsRef<str>>(&mut self, words: impl IntoIterator<Item = T>) -> &mut Self {
        for word in words {
            self.0.push_str(&format!(" {}", quoted(word.as_ref())));
        }
        self
    }

    fn line(&self) -> Vec<String> {
        vec![self.0.clone()]
    }
}

/// The first twelve digits of an id or digest, as docker shows them.
pub fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

impl From<docker::Error> for MagicError {
    fn from(error: docker::Error) -> Self {
        match error {
            docker::Error::Interrupted => Self::interrupted(),
            docker::Error::StepFailed { ref output, .. } if !output.is_empty() => {
                let detail = output.join("\n");
                Self::new(error.to_string())
                    .detail(detail)
                    .maybe_hint(error.hint())
            }
            error => Self::new(error.to_string()).maybe_hint(error.hint()),
        }
    }
}

impl From<registries::Error> for MagicError {
    fn from(error: registries::Error) -> Self {
        Self::new(error.to_string()).maybe_hint(error.hint())
    }
}

impl From<reference::Error> for MagicError {
    fn from(error: reference::Error) -> Self {
        Self::new(error.to_string()).maybe_hint(error.hint())
    }
}

impl From<downloading::Error> for MagicError {
    fn from(error: downloading::Error) -> Self {
        match error {
            downloading::Error::Interrupted => Self::interrupted(),
            error => Self::new(error.to_string()).maybe_hint(error.hint()),
        }
    }
}

#[cfg(test)]
mod tests;
