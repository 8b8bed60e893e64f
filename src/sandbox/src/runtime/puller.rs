//! Images on the engine: found, or pulled with the logins a pod brings.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::auth::DockerCredentials;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures::StreamExt;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::engine::{Engine, is_unreachable, refusal};
use super::image::{Login, NoImage, Policy, Reference, fitting};

/// An image that is on the engine.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) id: String,
    /// `repository@sha256:…` where the image came from a registry, else its id.
    pub(super) pinned: String,
    pub(super) size: i64,
}

/// How an image came to be there.
pub(super) enum Outcome {
    Present(Image),
    Pulled {
        image: Image,
        took: Duration,
        with_waiting: Duration,
    },
}

/// Why an image could not be had: the image's own fault, or the engine's.
pub(super) enum Failure {
    Image(NoImage),
    Engine(bollard::errors::Error),
}

/// With which logins an image was pulled. Another pod may use it when it brings one of them, or when it
/// was free for all; an image that was on the engine before is for everybody, as Kubernetes has it.
#[derive(Default, Serialize, Deserialize)]
struct Pulled {
    #[serde(default)]
    anonymous: bool,
    #[serde(default)]
    fingerprints: Vec<String>,
}

pub(super) struct Puller {
    engine: Engine,
    record: PathBuf,
    pulled: Mutex<HashMap<String, Pulled>>,
    /// One pull of an image at a time: the second pod finds what the first one pulled.
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Puller {
    pub(super) fn new(engine: Engine, state_dir: &Path) -> Self {
        let record = state_dir.join("pulled-images.json");
        let pulled = std::fs::read(&record)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        Self {
            engine,
            record,
            pulled: Mutex::new(pulled),
            turns: Mutex::default(),
        }
    }

    /// The image as the engine has it.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Image>, bollard::errors::Error> {
        match self.engine.docker().inspect_image(name).await {
            Ok(found) => {
                let id = found.id.unwrap_or_default();
                let repository = Reference::parse(name).map(|reference| {
                    reference
                        .repository()
                        .trim_start_matches("docker.io/library/")
                        .trim_start_matches("docker.io/")
                        .to_owned()
                });
                let digests = found.repo_digests.unwrap_or_default();
                let own = digests.iter().find(|digest| {
                    let front = digest.split('@').next();
                    front.map(str::to_owned) == repository
                });
                Ok(Some(Image {
                    pinned: own.cloned().unwrap_or_else(|| id.clone()),
                    id,
                    size: found.size.unwrap_or_default(),
                }))
            }
            Err(error) if matches!(refusal(&error), Some((404, _))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn may_use(&self, image: &Image, logins: &[&Login], reference: &Reference) -> bool {
        let pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = pulled.get(&image.id) else {
            return true;
        };
        record.anonymous
            || logins.iter().any(|login| {
                let fingerprint = login.fingerprint(&reference.registry);
                record.fingerprints.contains(&fingerprint)
            })
    }

    /// Finds or pulls an image. `begin` is called once when a pull begins.
    pub(super) async fn ensure(
        &self,
        name: &str,
        policy: Option<&str>,
        logins: &[Login],
        begin: impl FnOnce(),
    ) -> Result<Outcome, Failure> {
        let Some(reference) = Reference::parse(name) else {
            return Err(Failure::Image(NoImage::invalid_name(name)));
        };
        let policy = Policy::of(policy, &reference);
        let logins = fitting(logins, &reference);
        if policy != Policy::Always
            && let Some(image) = self.find(name).await.map_err(Failure::Engine)?
            && self.may_use(&image, &logins, &reference)
        {
            return Ok(Outcome::Present(image));
        }
        if policy == Policy::Never {
            return Err(Failure::Image(NoImage::never_pulled(name)));
        }
        begin();
        let waited = Instant::now();
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(name.to_owned()).or_default().clone()
        };
        let _turn = turn.lock().await;
        let started = Instant::now();
        let image = self.pull(name, &reference, &logins).await?;
        Ok(Outcome::Pulled {
            image,
            took: started.elapsed(),
            with_waiting: waited.elapsed(),
        })
    }

    /// Tries the logins one after the other, or none if there is none.
    async fn pull(
        &self,
        name: &str,
        reference: &Reference,
        logins: &[&Login],
    ) -> Result<Image, Failure> {
        let attempts: Vec<Option<&Login>> = if logins.is_empty() {
            vec![None]
        } else {
            logins.iter().copied().map(Some).collect()
        };
        let mut last = None;
        for login in attempts {
            match self.pull_with(reference, login).await {
                Ok(()) => {
                    let image = self.find(name).await.map_err(Failure::Engine)?;
                    let Some(image) = image else {
                        let text = "the engine pulled it and does not have it";
                        return Err(Failure::Image(NoImage::pull(name, reference, text, true)));
                    };
                    self.remember(&image, login, reference);
                    return Ok(image);
                }
                Err(error) if is_unreachable(&error) => return Err(Failure::Engine(error)),
                Err(error) => {
                    let text = match &error {
                        bollard::errors::Error::DockerStreamError { error } => error.clone(),
                        other => match refusal(other) {
                            Some((_, message)) => message.to_owned(),
                            None => other.to_string(),
                        },
                    };
                    last = Some(NoImage::pull(name, reference, &text, login.is_some()));
                }
            }
        }
        let nothing = || NoImage::pull(name, reference, "no attempt was made", false);
        Err(Failure::Image(last.unwrap_or_else(nothing)))
    }

    async fn pull_with(
        &self,
        reference: &Reference,
        login: Option<&Login>,
    ) -> Result<(), bollard::errors::Error> {
        let options = CreateImageOptionsBuilder::default()
            .from_image(&reference.repository())
            .tag(reference.version())
            .build();
        let credentials = login.map(|login| DockerCredentials {
            username: Some(login.username.clone()),
            password: Some(login.password.expose_secret().to_owned()),
            serveraddress: Some(reference.registry.clone()),
            ..DockerCredentials::default()
        });
        let docker = self.engine.docker();
        let mut progress = std::pin::pin!(docker.create_image(Some(options), None, credentials));
        // The last line may be an error inside an answer that began well.
        while let Some(line) = progress.next().await {
            let line = line?;
            if let Some(message) = line.error_detail.and_then(|detail| detail.message) {
                return Err(bollard::errors::Error::DockerStreamError { error: message });
            }
        }
        Ok(())
    }

    fn remember(&self, image: &Image, login: Option<&Login>, reference: &Reference) {
        let mut pulled = self.pulled.lock().unwrap_or_else(PoisonError::into_inner);
        let record = pulled.entry(image.id.clone()).or_default();
        match login {
            None => record.anonymous = true,
            Some(login) => {
                let fingerprint = login.fingerprint(&reference.registry);
                if record.fingerprints.contains(&fingerprint) {
                    return;
                }
                record.fingerprints.push(fingerprint);
            }
        }
        // Losing this file makes images usable by more pods, not fewer: worth a warning, no failure.
        if let Err(error) = write_record(&self.record, &pulled) {
            tracing::warn!(path = %self.record.display(), %error, "cannot note how an image was pulled");
        }
    }
}

fn write_record(path: &Path, pulled: &HashMap<String, Pulled>) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&serde_json::to_vec(pulled)?)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
