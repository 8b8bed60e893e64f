//! Pulling and pushing, layer by layer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::build::auth_config;
use super::engine::{empty, encode};
use super::{Engine, Error, Product, Result};
use crate::reference::{HUB, Reference};

/// Where one layer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerProgress {
    /// The layer's short id.
    pub id: String,
    /// The engine's word for it: `Downloading`, `Pushing`, `Layer already exists`, …
    pub status: String,
    /// How many bytes are done.
    pub current: Option<u64>,
    /// How many there are.
    pub total: Option<u64>,
}

impl LayerProgress {
    /// Reads a layer's message; other messages are none.
    pub(super) fn of(message: &Value) -> Option<Self> {
        let id = message
            .get("id")
            .and_then(Value::as_str)
            .filter(|id| !id.is_empty())?;
        let status = message.get("status").and_then(Value::as_str)?;
        let detail = &message["progressDetail"];
        let number = |name: &str| detail[name].as_u64().filter(|n| *n > 0);
        Some(Self {
            id: id.to_owned(),
            status: status.to_owned(),
            current: number("current"),
            total: number("total"),
        })
    }

    /// Whether nothing is left to do for this layer.
    pub fn is_done(&self) -> bool {
        [
            "Pushed",
            "Pull complete",
            "Already exists",
            "Layer already exists",
        ]
        .contains(&self.status.as_str())
            || self.status.starts_with("Mounted from")
    }

    /// Whether the layer was where it should go already.
    pub fn is_reused(&self) -> bool {
        ["Already exists", "Layer already exists"].contains(&self.status.as_str())
            || self.status.starts_with("Mounted from")
    }
}

/// What happens during a transfer, as it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A layer moved on.
    Layer(LayerProgress),
    /// Something about the whole.
    Status(String),
}

/// A finished pull or push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The image.
    pub reference: String,
    /// What the registry calls this content.
    pub digest: Option<String>,
    /// The size of the manifest, which the engine tells for a push.
    pub manifest_size: Option<u64>,
    /// How many layers there are.
    pub layers: usize,
    /// How many of them were there already.
    pub reused: usize,
    /// How many bytes went over the wire, as far as the engine said.
    pub bytes: u64,
    /// Whether a pull changed nothing.
    pub up_to_date: bool,
    /// As whom.
    pub user: Option<String>,
    /// How long it took.
    pub duration: Duration,
}

impl Engine {
    /// Pulls an image.
    ///
    /// # Errors
    /// [`Error::PullRefused`], [`Error::RegistryUnreachable`], [`Error::RegistryCertificate`].
    pub async fn pull(
        &self,
        image: &Reference,
        platform: Option<&str>,
        report: &mut (dyn FnMut(Event) + Send),
        cancel: &CancellationToken,
    ) -> Result<Transferred> {
        let wanted = image.digest().or(image.tag_or_latest()).unwrap_or("latest");
        let mut path = format!(
            "/images/create?fromImage={}&tag={}",
            encode(&image.name()),
            encode(wanted)
        );
        if let Some(platform) = platform {
            path.push_str(&format!("&platform={}", encode(platform)));
        }
        self.transfer(image, "pull", &path, report, cancel).await
    }

    /// Pushes an image.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::PushRefused`], [`Error::RegistryUnreachable`],
    /// [`Error::RegistryCertificate`].
    pub async fn push(
        &self,
        image: &Reference,
        report: &mut (dyn FnMut(Event) + Send),
        cancel: &CancellationToken,
    ) -> Result<Transferred> {
        let tagged = image.with_tag_written();
        // The engine would try to reach the registry first and then complain about that.
        self.require_local(&tagged.to_string()).await?;
        let path = format!(
            "/images/{}/push?tag={}",
            tagged.name(),
            encode(tagged.tag_or_latest().unwrap_or("latest"))
        );
        self.transfer(&tagged, "push", &path, report, cancel).await
    }

    /// What its registry calls a local image; Podman does not tell it while pulling.
    async fn digest_of(&self, image: &Reference) -> Option<String> {
        let name = image.with_tag_written().to_string();
        let found = self.bollard().inspect_image(&name).await.ok()?;
        let mut digests = found.repo_digests?.into_iter();
        digests.find_map(|pinned| {
            let (repository, digest) = pinned.split_once('@')?;
            (Reference::parse(repository).ok()?.name() == image.name()).then(|| digest.to_owned())
        })
    }

    async fn transfer(
        &self,
        image: &Reference,
        action: &'static str,
        path: &str,
        report: &mut (dyn FnMut(Event) + Send),
        cancel: &CancellationToken,
    ) -> Result<Transferred> {
        let started = Instant::now();
        let host = image.host();
        let found = match self.credentials() {
            Some(store) => store.get(host).await.map_err(Error::Credentials)?,
            None => None,
        };
        let server = if host == HUB {
            "https://index.docker.io/v1/"
        } else {
            host
        };
        let (auth, user) = match &found {
            Some(found) => (
                auth_config(&found.credential, server),
                found.credential.username().map(str::to_owned),
            ),
            // A push without the header is refused by old engines; an empty one means nobody.
            None => (json!({}), None),
        };
        let headers = [("x-registry-auth", URL_SAFE.encode(auth.to_string()))];
        let failed = |why: &str| failure(self.product(), action, image, why, user.clone());
        let mut messages = match self.stream(path, &headers, empty(), cancel).await {
            Ok(messages) => messages,
            Err(Error::Refused { why, .. }) => return Err(failed(&why)),
            Err(other) => return Err(other),
        };
        let mut layers: BTreeMap<String, LayerProgress> = BTreeMap::new();
        let mut moved: BTreeMap<String, u64> = BTreeMap::new();
        let mut outcome = Transferred {
            reference: image.with_tag_written().to_string(),
            digest: None,
            manifest_size: None,
            layers: 0,
            reused: 0,
            bytes: 0,
            up_to_date: false,
            user: user.clone(),
            duration: Duration::ZERO,
        };
        loop {
            let message = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Error::Interrupted),
                message = messages.next() => message,
            };
            let message = match message {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(why) => {
                    return Err(Error::Gone {
                        during: format!("the {action} of {image}"),
                        why,
                    });
                }
            };
            if let Some(error) = message.get("error").and_then(Value::as_str) {
                let why = message["errorDetail"]["message"].as_str().unwrap_or(error);
                return Err(failed(why));
            }
            if let Some(digest) = message["aux"]["Digest"].as_str() {
                outcome.digest = Some(digest.to_owned());
                outcome.manifest_size = message["aux"]["Size"].as_u64();
            }
            let status = message
                .get("status")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if let Some(digest) = status.strip_prefix("Digest: ") {
                outcome.digest = Some(digest.to_owned());
            } else if let Some((digest, size)) = pushed(status) {
                outcome.digest = Some(digest.to_owned());
                outcome.manifest_size = Some(size);
            } else if status.contains("Image is up to date") {
                outcome.up_to_date = true;
            }
            match LayerProgress::of(&message) {
                // `1.0: Pulling from …` has the tag for an id.
                Some(layer) if !layer.status.starts_with("Pulling from") => {
                    if matches!(
                        layer.status.as_str(),
                        "Downloading" | "Pushing" | "Pushed" | "Download complete"
                    ) {
                        let seen = moved.entry(layer.id.clone()).or_default();
                        *seen = (*seen).max(layer.total.or(layer.current).unwrap_or(0));
                    }
                    layers.insert(layer.id.clone(), layer.clone());
                    report(Event::Layer(layer));
                }
                _ if !status.is_empty() => report(Event::Status(status.to_owned())),
                _ => {}
            }
        }
        if action == "pull" && outcome.digest.is_none() {
            outcome.digest = self.digest_of(image).await;
        }
        if action == "push" && outcome.digest.is_none() {
            return Err(Error::Gone {
                during: format!("the push of {image}"),
                why: "the answer ended without a digest".to_owned(),
            });
        }
        outcome.layers = layers.len();
        outcome.reused = layers.values().filter(|layer| layer.is_reused()).count();
        outcome.bytes = moved.values().sum();
        outcome.duration = started.elapsed();
        Ok(outcome)
    }
}

/// Reads `TAG: digest: sha256:… size: N`, where Podman tells what others tell in fields.
fn pushed(status: &str) -> Option<(&str, u64)> {
    let (_, told) = status.split_once(": digest: ")?;
    let (digest, size) = told.split_once(" size: ")?;
    Some((digest, size.parse().ok()?))
}

/// The engine's sentence, sorted into what a person can do about it.
fn failure(
    product: Product,
    action: &'static str,
    image: &Reference,
    why: &str,
    user: Option<String>,
) -> Error {
    let host = image.host().to_owned();
    let why = why.trim().to_owned();
    let lower = why.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let name = image.with_tag_written().to_string();
    if has(&[
        "x509",
        "certificate signed by unknown authority",
        "certificate is not trusted",
        "tls: failed to verify",
    ]) {
        return Error::RegistryCertificate { host, why };
    }
    if has(&["server gave http response to https client"]) {
        // Docker allows it on loopback by itself, Podman nowhere.
        let allowed = match product {
            Product::Docker => "in its `insecure-registries`".to_owned(),
            Product::Podman => format!(
                "that a file in /etc/containers/registries.conf.d has as `[[registry]]`, `location = \"{host}\"`, `insecure = true`"
            ),
        };
        return Error::RegistryUnreachable {
            host,
            action,
            image: name,
            why: format!(
                "it speaks plain HTTP, which the engine allows only for hosts {allowed} ({why})"
            ),
        };
    }
    if has(&[
        "connection refused",
        "no such host",
        "i/o timeout",
        "no route to host",
        "network is unreachable",
        "deadline exceeded",
        "eof",
        "client.timeout",
        "server misbehaving",
        "connection reset",
        "lookup ",
    ]) {
        return Error::RegistryUnreachable {
            host,
            action,
            image: name,
            why,
        };
    }
    let denied = has(&[
        "denied",
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
        "forbidden",
        "insufficient_scope",
        "incorrect username or password",
    ]);
    if action == "pull" {
        Error::PullRefused {
            image: name,
            why,
            host,
            denied,
        }
    } else {
        Error::PushRefused {
            image: name,
            why,
            host,
            user,
            denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_last_word_on_a_push_has_the_digest() {
        assert_eq!(
            pushed("1.0: digest: sha256:1a29 size: 420"),
            Some(("sha256:1a29", 420))
        );
        assert_eq!(pushed("The push refers to repository [r/a:1]"), None);
    }

    #[test]
    fn what_the_engine_says_is_sorted_into_what_can_be_done() {
        let image = Reference::parse("127.0.0.1:5000/a:1").unwrap();
        let sort = |action, why| failure(Product::Docker, action, &image, why, None);
        assert!(matches!(
            sort("push", "no basic auth credentials"),
            Error::PushRefused {
                denied: true,
                user: None,
                ..
            }
        ));
        assert!(matches!(
            sort("push", "requested access to the resource is denied"),
            Error::PushRefused { denied: true, .. }
        ));
        assert!(matches!(
            sort("push", "blob upload invalid"),
            Error::PushRefused { denied: false, .. }
        ));
        assert!(matches!(
            sort("pull", "manifest for a:1 not found: manifest unknown"),
            Error::PullRefused { denied: false, .. }
        ));
        let refused = "Get \"http://127.0.0.1:5000/v2/\": dial tcp 127.0.0.1:5000: connect: connection refused";
        assert!(matches!(
            sort("pull", refused),
            Error::RegistryUnreachable { .. }
        ));
        assert!(matches!(
            sort("pull", "x509: certificate signed by unknown authority"),
            Error::RegistryCertificate { .. }
        ));
        let plain = sort("push", "http: server gave HTTP response to HTTPS client");
        assert!(plain.to_string().contains("insecure-registries"));
        let on_podman = failure(
            Product::Podman,
            "push",
            &image,
            "http: server gave HTTP response to HTTPS client",
            None,
        );
        assert!(
            on_podman
                .to_string()
                .contains("location = \"127.0.0.1:5000\""),
            "{on_podman}"
        );
        for error in [plain, sort("push", "denied"), sort("pull", "x")] {
            assert!(error.hint().is_some());
        }
    }
}
