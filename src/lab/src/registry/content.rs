//! What is in a registry: repositories, tags, images.

use futures::StreamExt;
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::error::Error;
use super::{Registry, Result};
use crate::docker::image::nearest;
use crate::reference::Reference;

/// How many questions go to a registry at the same time.
const AT_ONCE: usize = 8;

/// Every kind of manifest that is understood.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// What an image is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Operating system, e.g. `linux`.
    pub os: String,
    /// Processor, e.g. `amd64`.
    pub architecture: String,
    /// Variant of the processor, e.g. `v8`.
    pub variant: Option<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// The digest of what it points to.
    pub digest: Option<String>,
    /// The compressed size of the image in bytes.
    pub size: Option<u64>,
    /// When the image was made.
    pub created: Option<jiff::Timestamp>,
    /// What it is made for.
    pub platforms: Vec<String>,
    /// Why nothing more is known of it.
    pub problem: Option<String>,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its digest.
    pub digest: String,
    /// Its compressed size in bytes.
    pub size: u64,
}

/// An image as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// How it was asked for.
    pub reference: String,
    /// The digest of its manifest, or of the index that lists its platforms.
    pub digest: String,
    /// The kind of manifest.
    pub media_type: String,
    /// The platforms there are.
    pub platforms: Vec<Platform>,
    /// The platform that the rest is about.
    pub platform: Option<Platform>,
    /// When it was made.
    pub created: Option<jiff::Timestamp>,
    /// Its compressed size in bytes.
    pub size: u64,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// The program it starts.
    pub entrypoint: Vec<String>,
    /// The arguments it starts it with.
    pub command: Vec<String>,
    /// The directory it starts in.
    pub workdir: Option<String>,
    /// As whom it starts.
    pub user: Option<String>,
    /// The names of its environment variables; their values may be secrets of a careless build.
    pub env: Vec<String>,
    /// Ports it says it listens on.
    pub ports: Vec<String>,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// How it was built, one line a step, where it tells.
    pub history: Vec<String>,
}

struct Manifest {
    body: Value,
    digest: String,
    media_type: String,
}

impl Registry {
    /// The repositories, in alphabetical order.
    ///
    /// # Errors
    /// [`Error::NoCatalog`] where the registry keeps that to itself.
    pub async fn repositories(&self) -> Result<Vec<String>> {
        match self
            .pages(
                "/v2/_catalog?n=1000".to_owned(),
                "registry:catalog:*",
                "repositories",
            )
            .await?
        {
            Ok(mut names) => {
                names.sort();
                Ok(names)
            }
            Err(response) => Err(match response.status() {
                // Basic authentication says nothing about rights: there a 401 is a wrong password.
                StatusCode::UNAUTHORIZED if self.scheme() == Some(super::Scheme::Basic) => {
                    self.complain(response, "list", "its repositories").await
                }
                StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED => Error::NoCatalog {
                    host: self.host().to_owned(),
                    why: super::client::reason(response).await,
                },
                _ => self.complain(response, "list", "its repositories").await,
            }),
        }
    }

    /// The names of a repository's tags, in alphabetical order.
    ///
    /// # Errors
    /// [`Error::NoRepository`] with near misses.
    pub async fn tag_names(&self, repository: &str) -> Result<Vec<String>> {
        match self
            .pages(
                format!("/v2/{repository}/tags/list?n=1000"),
                &pull_scope(repository),
                "tags",
            )
            .await?
        {
            Ok(mut names) => {
                names.sort();
                Ok(names)
            }
            Err(response) if response.status() == StatusCode::NOT_FOUND => {
                Err(self.no_repository(repository).await)
            }
            Err(response) => Err(self.complain(response, "read", repository).await),
        }
    }

    /// A repository's tags with what is behind them, newest first.
    ///
    /// # Errors
    /// As [`Registry::tag_names`]. A tag that cannot be read is listed with the reason.
    pub async fn tags(&self, repository: &str) -> Result<Vec<Tag>> {
        let names = self.tag_names(repository).await?;
        let mut tags: Vec<Tag> =
            futures::stream::iter(names.into_iter().map(|name| self.tag(repository, name)))
                .buffered(AT_ONCE)
                .collect()
                .await;
        tags.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
        Ok(tags)
    }

    async fn tag(&self, repository: &str, name: String) -> Tag {
        match self.image(repository, &name).await {
            Ok(image) => Tag {
                name,
                digest: Some(image.digest),
                size: Some(image.size),
                created: image.created,
                platforms: image.platforms.iter().map(ToString::to_string).collect(),
                problem: None,
            },
            Err(error) => Tag {
                name,
                digest: None,
                size: None,
                created: None,
                platforms: Vec::new(),
                problem: Some(error.to_string()),
            },
        }
    }

    /// The digest of an image, or nothing when it is not there.
    ///
    /// # Errors
    /// When the registry refuses or does not answer.
    pub async fn digest(&self, image: &Reference) -> Result<Option<String>> {
        let repository = image.repository();
        match self.manifest(&repository, image.api_reference()).await {
            Ok(manifest) => Ok(Some(manifest.digest)),
            Err(Error::NoImage { .. } | Error::NoRepository { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All there is to know of an image without pulling it.
    ///
    /// # Errors
    /// [`Error::NoImage`] or [`Error::NoRepository`] with near misses.
    pub async fn inspect(&self, image: &Reference) -> Result<Image> {
        let repository = image.repository();
        match self.image(&repository, image.api_reference()).await {
            Err(Error::NoImage {
                host,
                name,
                reference,
                ..
            }) => {
                // Told apart only now, since it costs a question more.
                let tags = self.tag_names(&repository).await?;
                let near = nearest(&reference, tags.into_iter());
                Err(Error::NoImage {
                    host,
                    name,
                    reference,
                    near,
                })
            }
            other => other,
        }
    }

    async fn image(&self, repository: &str, reference: &str) -> Result<Image> {
        let top = self.manifest(repository, reference).await?;
        let mut image = Image {
            reference: if reference.contains(':') {
                format!("{}/{repository}@{reference}", self.host())
            } else {
                format!("{}/{repository}:{reference}", self.host())
            },
            digest: top.digest.clone(),
            media_type: top.media_type.clone(),
            platforms: Vec::new(),
            platform: None,
            created: None,
            size: 0,
            layers: Vec::new(),
            entrypoint: Vec::new(),
            command: Vec::new(),
            workdir: None,
            user: None,
            env: Vec::new(),
            ports: Vec::new(),
            labels: Vec::new(),
            history: Vec::new(),
        };
        let manifest = match top.body["manifests"].as_array() {
            Some(entries) => {
                // Attestations are listed among the platforms, as of platform `unknown`.
                let usable: Vec<(&Value, Platform)> = entries
                    .iter()
                    .filter_map(|entry| Some((entry, platform(&entry["platform"])?)))
                    .collect();
                image.platforms = usable
                    .iter()
                    .map(|(_, platform)| platform.clone())
                    .collect();
                let own = usable
                    .iter()
                    .find(|(_, p)| p.os == "linux" && p.architecture == own_architecture());
                let Some((entry, _)) = own.or(usable.first()) else {
                    return Ok(image);
                };
                let digest = entry["digest"].as_str().unwrap_or_default();
                self.manifest(repository, digest).await?
            }
            None => top,
        };
        image.layers = manifest.body["layers"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|layer| Layer {
                digest: layer["digest"].as_str().unwrap_or_default().to_owned(),
                size: layer["size"].as_u64().unwrap_or_default(),
            })
            .collect();
        let config_size = manifest.body["config"]["size"].as_u64().unwrap_or_default();
        image.size = image.layers.iter().map(|layer| layer.size).sum::<u64>() + config_size;
        if let Some(digest) = manifest.body["config"]["digest"].as_str() {
            let config = self.config(repository, digest).await?;
            describe(&mut image, &config);
        }
        Ok(image)
    }

    async fn manifest(&self, repository: &str, reference: &str) -> Result<Manifest> {
        let url = format!("/v2/{repository}/manifests/{reference}");
        let response = self
            .send(Method::GET, &url, &pull_scope(repository), Some(MANIFESTS))
            .await?;
        if response.status() == StatusCode::NOT_FOUND {
            return Err(Error::NoImage {
                host: self.host().to_owned(),
                name: repository.to_owned(),
                reference: reference.to_owned(),
                near: Vec::new(),
            });
        }
        if !response.status().is_success() {
            return Err(self
                .complain(response, "read", &format!("{repository}:{reference}"))
                .await);
        }
        let text =
            |value: Option<&HeaderValue>| value.and_then(|v| v.to_str().ok()).map(str::to_owned);
        let media_type =
            text(response.headers().get(reqwest::header::CONTENT_TYPE)).unwrap_or_default();
        let status = response.status().as_u16();
        let body = self.body(response).await?;
        // Computed, not believed: the digest is what a pull will be checked against.
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&body)));
        let body: Value = serde_json::from_slice(&body).map_err(|error| Error::Unexpected {
            host: self.host().to_owned(),
            status,
            request: url,
            why: format!("the manifest is not JSON ({error})"),
        })?;
        let media_type = body["mediaType"]
            .as_str()
            .map(str::to_owned)
            .unwrap_or(media_type);
        Ok(Manifest {
            body,
            digest,
            media_type,
        })
    }

    async fn config(&self, repository: &str, digest: &str) -> Result<Value> {
        let url = format!("/v2/{repository}/blobs/{digest}");
        let response = self
            .send(Method::GET, &url, &pull_scope(repository), None)
            .await?;
        if !response.status().is_success() {
            return Err(self
                .complain(response, "read", &format!("{repository}@{digest}"))
                .await);
        }
        self.json(response, &url).await
    }

    async fn no_repository(&self, repository: &str) -> Error {
        let near = match self.repositories().await {
            Ok(names) => nearest(repository, names.into_iter()),
            Err(_) => Vec::new(),
        };
        Error::NoRepository {
            host: self.host().to_owned(),
            name: repository.to_owned(),
            near,
        }
    }
}

fn pull_scope(repository: &str) -> String {
    format!("repository:{repository}:pull")
}

fn platform(value: &Value) -> Option<Platform> {
    let text = |key: &str| {
        value[key]
            .as_str()
            .filter(|text| !text.is_empty() && *text != "unknown")
            .map(str::to_owned)
    };
    Some(Platform {
        os: text("os")?,
        architecture: text("architecture")?,
        variant: text("variant"),
    })
}

/// This machine's processor in the words of image manifests.
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn describe(image: &mut Image, config: &Value) {
    image.platform = platform(config);
    if image.platforms.is_empty() {
        image.platforms.extend(image.platform.clone());
    }
    image.created = config["created"]
        .as_str()
        .and_then(|text| text.parse().ok());
    let inner = &config["config"];
    let words = |key: &str| -> Vec<String> {
        inner[key]
            .as_array()
            .map(|a| {
                a.iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect()
            })
            .unwrap_or_default()
    };
    let text = |key: &str| {
        inner[key]
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    image.entrypoint = words("Entrypoint");
    image.command = words("Cmd");
    image.workdir = text("WorkingDir");
    image.user = text("User");
    image.env = words("Env")
        .into_iter()
        .map(|pair| pair.split('=').next().unwrap_or_default().to_owned())
        .collect();
    if let Some(ports) = inner["ExposedPorts"].as_object() {
        image.ports = ports.keys().cloned().collect();
    }
    if let Some(labels) = inner["Labels"].as_object() {
        image.labels = labels
            .iter()
            .map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()))
            .collect();
        image.labels.sort();
    }
    if let Some(history) = config["history"].as_array() {
        image.history = history
            .iter()
            .filter_map(|step| step["created_by"].as_str())
            .map(|step| {
                step.strip_prefix("/bin/sh -c #(nop) ")
                    .unwrap_or(step)
                    .trim()
                    .to_owned()
            })
            .collect();
    }
}
