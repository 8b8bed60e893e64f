//! Building an image with the engine's classic builder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::context::{Concern, Context};
use super::dockerfile::{self, Survey};
use super::engine::encode;
use super::transfer::LayerProgress;
use super::{Engine, Error, Result};
use crate::credentials::Credential;
use crate::reference::{HUB, Reference};
use secrecy::ExposeSecret;

mod progress;

use progress::Progress;

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct Build {
    /// The folder that is sent.
    pub context: PathBuf,
    /// The Dockerfile, when it is not the context's own.
    pub dockerfile: Option<PathBuf>,
    /// Names for the image.
    pub tags: Vec<Reference>,
    /// Build arguments; one without a value takes it from the caller's environment, which the
    /// caller has looked up already.
    pub arguments: BTreeMap<String, String>,
    /// The stage to stop at.
    pub target: Option<String>,
    /// Run every step anew.
    pub no_cache: bool,
    /// Look for a newer base image even when there is one.
    pub pull: bool,
    /// Labels for the image.
    pub labels: BTreeMap<String, String>,
}

/// What happens during a build, as it happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// The context was looked through.
    Scanned {
        /// How many files are sent.
        files: usize,
        /// How many bytes they hold.
        bytes: u64,
        /// How many entries stay behind by the ignore file.
        ignored: usize,
    },
    /// Something questionable; the build goes on.
    Warning(String),
    /// The context is on its way.
    Sending {
        /// How many bytes have gone.
        sent: u64,
    },
    /// A step begins.
    Step {
        /// Its number, from 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// The instruction.
        instruction: String,
    },
    /// The step's result was there already.
    Cached,
    /// The step printed a line.
    Output(String),
    /// A base image is being pulled.
    Pulling(LayerProgress),
    /// The step is done; its image has this id.
    Layer(String),
    /// The image has got a name.
    Tagged(String),
}

/// A built image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Its id, `sha256:…`.
    pub id: String,
    /// Its size in bytes.
    pub size: Option<i64>,
    /// The names it got.
    pub tags: Vec<String>,
    /// How many steps there were.
    pub steps: usize,
    /// How many of them were there already.
    pub cached: usize,
    /// How long it took.
    pub duration: Duration,
    /// What was questionable.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Builds an image.
    ///
    /// # Errors
    /// [`Error::StepFailed`] with the step's output when a step fails; [`Error::NeedsBuildKit`]
    /// before anything is sent; [`Error::Interrupted`] within a moment of being cancelled.
    pub async fn build(
        &self,
        build: &Build,
        report: &mut (dyn FnMut(Event) + Send),
        cancel: &CancellationToken,
    ) -> Result<Built> {
        let started = Instant::now();
        let (root, file) = (build.context.clone(), build.dockerfile.clone());
        let scan = tokio::task::spawn_blocking(move || Context::scan(&root, file.as_deref()));
        let context = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Error::Interrupted),
            scanned = scan => scanned.map_err(|error| Error::BuildFailed { why: error.to_string() })??,
        };
        let survey = dockerfile::survey(&context.dockerfile_text, &build.arguments);
        if let Some(modern) = survey.modern.first() {
            return Err(Error::NeedsBuildKit {
                path: context.dockerfile_path.clone(),
                line: modern.line,
                feature: modern.feature.clone(),
            });
        }
        report(Event::Scanned {
            files: context.files,
            bytes: context.bytes,
            ignored: context.ignored,
        });
        let warnings = warnings(&context.concerns, &survey, build);
        for warning in &warnings {
            report(Event::Warning(warning.clone()));
        }

        let path = query(build, &context.dockerfile);
        let mut headers = vec![("content-type", "application/x-tar".to_owned())];
        if let Some(config) = self.registry_config(&survey).await? {
            headers.push(("x-registry-config", config));
        }
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let pieces = ReceiverStream::new(context.into_stream()).map(move |piece| {
            piece.map(|piece| {
                counter.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Frame::data(piece)
            })
        });
        let mut opening = std::pin::pin!(self.stream(
            &path,
            &headers,
            BodyExt::boxed(StreamBody::new(pieces)),
            cancel
        ));
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        let opened = loop {
            tokio::select! {
                opened = &mut opening => break opened,
                _ = tick.tick() => report(Event::Sending { sent: sent.load(Ordering::Relaxed) }),
            }
        };
        let mut messages = opened.map_err(|error| early_failure(error, build))?;
        report(Event::Sending {
            sent: sent.load(Ordering::Relaxed),
        });

        let mut progress = Progress::of(survey.steps);
        loop {
            let message = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Error::Interrupted),
                message = messages.next() => message,
            };
            match message {
                Ok(Some(message)) => progress
                    .take(&message, report)
                    .map_err(|error| blame_target(error, build))?,
                Ok(None) => break,
                Err(why) => {
                    return Err(Error::Gone {
                        during: progress.place(),
                        why,
                    });
                }
            }
        }
        progress.finish(report);
        let Some(id) = progress.id.take() else {
            return Err(Error::Gone {
                during: progress.place(),
                why: "the answer ended without an image".to_owned(),
            });
        };
        let mut tags = Vec::new();
        for tag in &build.tags {
            let tag = tag.with_tag_written().to_string();
            report(Event::Tagged(tag.clone()));
            tags.push(tag);
        }
        // The engine names a short id; a build without a name is found by it all the same.
        let inspected = self
            .bollard()
            .inspect_image(&id)
            .await
            .map_err(|e| self.refused("show the built image", e))?;
        Ok(Built {
            id: inspected.id.unwrap_or(id),
            size: inspected.size,
            tags,
            steps: progress.step.max(survey.steps),
            cached: progress.cached,
            duration: started.elapsed(),
            warnings,
        })
    }

    /// The credentials for the registries of the base images, as the engine wants them.
    async fn registry_config(&self, survey: &Survey) -> Result<Option<String>> {
        let Some(store) = self.credentials() else {
            return Ok(None);
        };
        let mut config = serde_json::Map::new();
        for base in &survey.bases {
            let Ok(reference) = Reference::parse(&base.image) else {
                continue;
            };
            let host = reference.host();
            // A build from a local image needs no login: a broken helper must not stop it.
            let Ok(Some(found)) = store.get(host).await else {
                continue;
            };
            let key = if host == HUB {
                "https://index.docker.io/v1/"
            } else {
                host
            };
            config.insert(key.to_owned(), auth_config(&found.credential, key));
        }
        Ok((!config.is_empty()).then(|| URL_SAFE.encode(Value::Object(config).to_string())))
    }
}

/// How the engine wants credentials.
pub(super) fn auth_config(credential: &Credential, server: &str) -> Value {
    match credential {
        Credential::Password { username, password } => {
            json!({ "username": username, "password": password.expose_secret(), "serveraddress": server })
        }
        Credential::IdentityToken { token, .. } => {
            json!({ "identitytoken": token.expose_secret(), "serveraddress": server })
        }
    }
}

fn warnings(concerns: &[Concern], survey: &Survey, build: &Build) -> Vec<String> {
    const SHOWN: usize = 10;
    let mut warnings: Vec<String> = concerns
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    if concerns.len() > SHOWN {
        warnings.push(format!(
            "and {} more files like these",
            concerns.len() - SHOWN
        ));
    }
    for base in survey.bases.iter().filter(|base| base.is_unpinned()) {
        warnings.push(format!(
            "line {}: `FROM {}` means whatever is `latest` that day; name a tag, so that the image can be built again",
            base.line, base.image
        ));
    }
    if let Some(syntax) = &survey.syntax {
        warnings.push(format!("line {}: {} is for BuildKit; this build uses the classic builder, which passes over it", syntax.line, syntax.feature));
    }
    for name in build.arguments.keys() {
        if !survey.arguments.contains(name) && !is_predefined(name) {
            warnings.push(format!(
                "the build argument {name} is declared nowhere: the Dockerfile has no `ARG {name}`"
            ));
        }
    }
    warnings
}

fn is_predefined(name: &str) -> bool {
    matches!(
        name.to_ascii_lowercase().as_str(),
        "http_proxy" | "https_proxy" | "ftp_proxy" | "no_proxy" | "all_proxy"
    )
}

fn query(build: &Build, dockerfile: &str) -> String {
    let mut query = format!("/build?dockerfile={}&rm=1&forcerm=1", encode(dockerfile));
    for tag in &build.tags {
        query.push_str(&format!(
            "&t={}",
            encode(&tag.with_tag_written().to_string())
        ));
    }
    let mut json = |name: &str, values: &BTreeMap<String, String>| {
        if !values.is_empty() {
            query.push_str(&format!("&{name}={}", encode(&json!(values).to_string())));
        }
    };
    json("buildargs", &build.arguments);
    json("labels", &build.labels);
    if let Some(target) = &build.target {
        query.push_str(&format!("&target={}", encode(target)));
    }
    if build.no_cache {
        query.push_str("&nocache=1");
    }
    if build.pull {
        query.push_str("&pull=1");
    }
    query
}

/// A refusal before the first step: a Dockerfile that does not parse, a stage that is not there.
fn early_failure(error: Error, build: &Build) -> Error {
    match error {
        Error::Refused { why, .. } => blame_target(Error::BuildFailed { why }, build),
        Error::Gone { why, .. } => Error::Gone {
            during: "sending the build context".to_owned(),
            why,
        },
        other => other,
    }
}

/// A stage that is not there is the option's fault.
fn blame_target(error: Error, build: &Build) -> Error {
    match (error, &build.target) {
        (Error::BuildFailed { why }, Some(target))
            if why.contains("build target") || why.contains("target stage") =>
        {
            Error::Option {
                option: format!("--target {target}"),
                why,
                hint: format!("The Dockerfile has no `FROM … AS {target}`."),
            }
        }
        (error, _) => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_carries_every_option_escaped() {
        let build = Build {
            tags: vec![
                Reference::parse("a").unwrap(),
                Reference::parse("h.io/b:2").unwrap(),
            ],
            arguments: BTreeMap::from([("A".to_owned(), "x & y".to_owned())]),
            target: Some("t".to_owned()),
            no_cache: true,
            pull: true,
            ..Build::default()
        };
        let query = query(&build, "dir/D file");
        for part in [
            "dockerfile=dir%2FD%20file",
            "t=a%3Alatest",
            "t=h.io%2Fb%3A2",
            "x%20%26%20y",
            "target=t",
            "nocache=1",
            "pull=1",
        ] {
            assert!(query.contains(part), "{query} lacks {part}");
        }
    }
}
