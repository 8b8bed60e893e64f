//! What can go wrong with the engine, in words.

use std::path::PathBuf;

use crate::cluster::near_misses;
use crate::{credentials, reference};

/// Why something with the engine failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No engine answered at any of the usual places.
    #[error("no Docker Engine answers on this machine: {}", join(tried))]
    NoEngine {
        /// Where it was looked for, and what happened.
        tried: Vec<(String, String)>,
        /// Whether a socket was there but not ours to open.
        forbidden: bool,
    },
    /// The engine that was named does not answer.
    #[error("the Docker Engine at {endpoint} (named by {source_name}) does not answer: {why}")]
    Unreachable {
        /// Where it should be.
        endpoint: String,
        /// Who named it.
        source_name: String,
        /// What happened.
        why: String,
    },
    /// The engine that was named cannot be talked to by TLS.
    #[error("no TLS with the Docker Engine at {endpoint} (named by {source_name}): {why}")]
    Tls {
        /// Where it is.
        endpoint: String,
        /// Who named it.
        source_name: String,
        /// What is wrong.
        why: String,
        /// What to do.
        hint: String,
    },
    /// The engine went away in the middle.
    #[error("the Docker Engine went away during {during}: {why}")]
    Gone {
        /// What was going on.
        during: String,
        /// What happened.
        why: String,
    },
    /// The engine is too old.
    #[error(
        "the Docker Engine at {endpoint} speaks API {version}, older than 1.40, the oldest this tool understands"
    )]
    TooOld {
        /// Which engine.
        endpoint: String,
        /// What it speaks.
        version: String,
    },
    /// What names the engine makes no sense.
    #[error("`{host}` (from {source_name}) does not name a Docker Engine: {why}")]
    BadHost {
        /// What was given.
        host: String,
        /// Who gave it.
        source_name: String,
        /// What is wrong.
        why: String,
    },
    /// A docker context cannot be used.
    #[error("the docker context `{name}` cannot be used: {why}")]
    BadContext {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// A reference does not parse.
    #[error(transparent)]
    Reference(#[from] reference::Error),
    /// The credentials kept on this machine cannot be read.
    #[error(transparent)]
    Credentials(credentials::Error),
    /// The engine has no such image.
    #[error("there is no image `{image}` on this machine")]
    NoSuchImage {
        /// What was asked for.
        image: String,
        /// Local images with a similar name, the nearest first.
        near: Vec<String>,
    },
    /// The registry has no such image, or does not let us see it.
    #[error("cannot pull `{image}`: {why}")]
    PullRefused {
        /// What was asked for.
        image: String,
        /// What the engine said.
        why: String,
        /// The registry.
        host: String,
        /// Whether it is a matter of permission.
        denied: bool,
    },
    /// The registry does not take the image.
    #[error("cannot push `{image}`: {why}")]
    PushRefused {
        /// What was pushed.
        image: String,
        /// What the engine said.
        why: String,
        /// The registry.
        host: String,
        /// As whom; nobody when no credentials are kept for the registry.
        user: Option<String>,
        /// Whether it is a matter of permission.
        denied: bool,
    },
    /// The engine cannot reach the registry.
    #[error("the Docker Engine cannot reach the registry {host} to {action} `{image}`: {why}")]
    RegistryUnreachable {
        /// The registry.
        host: String,
        /// "pull" or "push".
        action: &'static str,
        /// Which image.
        image: String,
        /// What the engine said.
        why: String,
    },
    /// The engine does not trust the registry's certificate.
    #[error("the Docker Engine does not trust the certificate of {host}: {why}")]
    RegistryCertificate {
        /// The registry.
        host: String,
        /// What the engine said.
        why: String,
    },
    /// The build context cannot be used.
    #[error("cannot use {} as a build context: {why}", path.display())]
    Context {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Something in the build context cannot be read.
    #[error("cannot read {} of the build context: {source}", path.display())]
    ContextFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The Dockerfile cannot be read.
    #[error("cannot read the Dockerfile {}: {why}", path.display())]
    Dockerfile {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
        /// Files nearby that may be meant.
        near: Vec<String>,
    },
    /// The ignore file has a line that is no pattern.
    #[error("{}: {source}", path.display())]
    Ignore {
        /// The file.
        path: PathBuf,
        /// Which line and why.
        source: super::ignore::BadPattern,
    },
    /// The Dockerfile uses what only BuildKit can do.
    #[error("line {line} of {} needs BuildKit: {feature}", path.display())]
    NeedsBuildKit {
        /// The Dockerfile.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What it uses.
        feature: String,
    },
    /// A step of the build failed.
    #[error("step {step}/{total} of the build failed: {instruction}\n{why}")]
    StepFailed {
        /// The step's number, from 1.
        step: usize,
        /// How many steps there are.
        total: usize,
        /// The instruction.
        instruction: String,
        /// What the engine said.
        why: String,
        /// The exit code of the command, where a command failed.
        code: Option<i64>,
        /// The last lines the step printed.
        output: Vec<String>,
    },
    /// The build failed outside a step.
    #[error("the build failed: {why}")]
    BuildFailed {
        /// What the engine said.
        why: String,
    },
    /// An option of the call makes no sense.
    #[error("{option}: {why}")]
    Option {
        /// Which option.
        option: String,
        /// What is wrong.
        why: String,
        /// How it would be right.
        hint: String,
    },
    /// The container could not be started.
    #[error("cannot start a container of `{image}`: {why}")]
    NotStarted {
        /// The image.
        image: String,
        /// What the engine said.
        why: String,
        /// What the docker CLI would exit with: 125, 126 or 127.
        code: i64,
    },
    /// An image cannot be removed as things are.
    #[error("cannot remove `{image}`: {why}")]
    InUse {
        /// The image.
        image: String,
        /// What the engine said.
        why: String,
    },
    /// The engine refused for another reason.
    #[error("the Docker Engine could not {action}: {why}")]
    Refused {
        /// What was asked.
        action: String,
        /// The HTTP status, where there was one.
        status: Option<u16>,
        /// What it said.
        why: String,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// What to do next, in one sentence.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoEngine { forbidden: true, .. } => {
                "The engine runs but its socket is not yours to open: `sudo usermod -aG docker $USER`, then log in again.".to_owned()
            }
            Self::NoEngine { .. } => "Install and start one (Debian: `sudo apt-get install docker.io && sudo systemctl start docker`), or name one with DOCKER_HOST.".to_owned(),
            Self::Unreachable { source_name, .. } => {
                format!("Start that engine, or change what names it ({source_name}).")
            }
            Self::Tls { hint, .. } => hint.clone(),
            Self::Gone { .. } => "Look at its log (`journalctl -u docker` or the terminal it runs in), start it again, and repeat.".to_owned(),
            Self::TooOld { .. } => "Install Docker Engine 19.03 or newer.".to_owned(),
            Self::BadHost { why, .. } if why.contains("ssh") => {
                "Forward the socket, `ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`, and use unix:///tmp/docker.sock.".to_owned()
            }
            Self::BadHost { .. } => "Write unix:///PATH or tcp://HOST:PORT.".to_owned(),
            Self::BadContext { .. } => "See `docker context ls`, or set DOCKER_CONTEXT=default.".to_owned(),
            Self::Reference(error) => return error.hint(),
            Self::Credentials(error) => return error.hint(),
            Self::NoSuchImage { image, near } => match near.first() {
                Some(near) => format!("Did you mean `{near}`? `:images` lists what is here; `:pull {image}` fetches it."),
                None => format!("Build it with `:build`, or fetch it with `:pull {image}`."),
            },
            Self::PullRefused { denied: true, host, .. } => {
                format!("Check the name; if the image is private, `:registry login {host}` first.")
            }
            Self::PullRefused { host, image, .. } => format!("Check the name and tag, for example with `:registry tags {}`.", repository_hint(host, image)),
            Self::PushRefused { denied: true, user: None, host, .. } => format!("No credentials are kept for {host}: `:registry login {host}`."),
            Self::PushRefused { denied: true, user: Some(user), host, .. } => {
                format!("You are logged in to {host} as {user}; see what that user may do there with `:registry check`.")
            }
            Self::PushRefused { host, image, .. } => format!("See what the registry says with `:registry check {}`.", repository_hint(host, image)),
            Self::RegistryUnreachable { host, .. } => format!("See whether {host} answers with `:registry check {host}`, and check its spelling and your network."),
            Self::RegistryCertificate { host, .. } => {
                format!("Put the authority's certificate at /etc/docker/certs.d/{host}/ca.crt on the machine of the engine.")
            }
            Self::Context { .. } => "Name a folder that holds a Dockerfile and what it copies.".to_owned(),
            Self::ContextFile { .. } => "Make it readable, or leave it out with a line in .dockerignore.".to_owned(),
            Self::Dockerfile { near, .. } => match near.first() {
                Some(near) => format!("Did you mean `-f {near}`?"),
                None => "Write one with `:write`, or name it with -f.".to_owned(),
            },
            Self::Ignore { .. } => "Mend the line; `\\` before a special character takes its meaning away.".to_owned(),
            Self::NeedsBuildKit { .. } => "Write the step without it, or build this one in a terminal with `DOCKER_BUILDKIT=1 docker build`.".to_owned(),
            Self::StepFailed { code, instruction, why, .. } => return step_hint(*code, instruction, why),
            Self::BuildFailed { why } => return syntax_hint(why),
            Self::Option { hint, .. } => hint.clone(),
            Self::NotStarted { code: 127, .. } => "The command does not exist in the image; `:run IMAGE ls /bin` shows what does.".to_owned(),
            Self::NotStarted { code: 126, .. } => "The command is there but is not executable.".to_owned(),
            Self::NotStarted { .. } => return None,
            Self::InUse { .. } => "Remove the container first, or use --force.".to_owned(),
            Self::Refused { .. } | Self::Interrupted => return None,
        })
    }
}

/// The instructions of a Dockerfile.
const INSTRUCTIONS: [&str; 17] = [
    "FROM",
    "RUN",
    "COPY",
    "ADD",
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "ARG",
    "WORKDIR",
    "EXPOSE",
    "LABEL",
    "USER",
    "VOLUME",
    "SHELL",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "ONBUILD",
];

/// What to do about a Dockerfile that the engine cannot read.
fn syntax_hint(why: &str) -> Option<String> {
    if let Some((_, word)) = why.split_once("unknown instruction: ") {
        let word = word.split_whitespace().next().unwrap_or_default();
        let near = near_misses(word, INSTRUCTIONS);
        return Some(match near.first() {
            Some(near) => {
                format!("Did you mean {near}? `:show FILE` shows the Dockerfile with line numbers.")
            }
            None => format!(
                "A line begins with one of {}; one that goes on from the line before needs a `\\` at its end.",
                INSTRUCTIONS.join(", ")
            ),
        });
    }
    if why.contains("no build stage in current context")
        || why.contains("file with no instructions")
    {
        return Some(
            "A Dockerfile begins with `FROM IMAGE`; only ARG may stand before it.".to_owned(),
        );
    }
    let lower = why.to_ascii_lowercase();
    (lower.contains("dockerfile parse error") || lower.contains("failed to parse dockerfile"))
        .then(|| "`:show FILE` shows the Dockerfile with line numbers; mend it there with `:write FILE --force`.".to_owned())
}

fn step_hint(code: Option<i64>, instruction: &str, why: &str) -> Option<String> {
    let lower = why.to_ascii_lowercase();
    let from = instruction.to_ascii_uppercase().starts_with("FROM ");
    if from && (lower.contains("denied") || lower.contains("unauthorized")) {
        return Some("Check the name of the base image; if it is private, `:registry login` to its registry first.".to_owned());
    }
    if from && (lower.contains("not found") || lower.contains("manifest unknown")) {
        return Some("The base image does not exist under that name and tag.".to_owned());
    }
    if from
        && [
            "timeout",
            "no such host",
            "connection refused",
            "unreachable",
            "deadline",
        ]
        .iter()
        .any(|w| lower.contains(w))
    {
        return Some("The engine cannot reach the registry of the base image: check the network, or build from an image that is here (`:images`).".to_owned());
    }
    if lower.contains("not found in build context")
        || lower.contains("no such file or directory") && code.is_none()
    {
        return Some("The path is relative to the context folder; look also at what .dockerignore leaves out.".to_owned());
    }
    Some(match code? {
        127 => "The command does not exist in the image at this step.".to_owned(),
        137 => "The command was killed, most likely for want of memory.".to_owned(),
        _ => "The lines above are what the command printed; try it in a container of the step before with `:run`.".to_owned(),
    })
}

fn repository_hint(host: &str, image: &str) -> String {
    match reference::Reference::parse(image) {
        Ok(reference) => reference.name(),
        Err(_) => host.to_owned(),
    }
}

fn join(tried: &[(String, String)]) -> String {
    if tried.is_empty() {
        return "there is no place to look".to_owned();
    }
    tried
        .iter()
        .map(|(place, why)| format!("{place} ({why})"))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dockerfile_that_cannot_be_read_comes_with_a_mend() {
        for (why, mend) in [
            (
                "dockerfile parse error line 1: unknown instruction: FORM",
                "Did you mean FROM?",
            ),
            (
                "Dockerfile parse error line 2: unknown instruction: RUNN",
                "Did you mean RUN?",
            ),
            (
                "dockerfile parse error line 3: unknown instruction: --INSTALL",
                "goes on",
            ),
            (
                "no build stage in current context",
                "begins with `FROM IMAGE`",
            ),
            (
                "failed to parse Dockerfile: ENV must have two arguments",
                ":show",
            ),
        ] {
            let hint = Error::BuildFailed { why: why.into() }.hint().unwrap();
            assert!(hint.contains(mend), "{why}: {hint}");
        }
        assert_eq!(
            Error::BuildFailed {
                why: "no space left on device".into()
            }
            .hint(),
            None
        );
    }
}
