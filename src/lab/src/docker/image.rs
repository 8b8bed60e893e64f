//! Local images: list, tag, remove, and the near misses of a name.

use bollard::query_parameters::{ListImagesOptions, RemoveImageOptions, TagImageOptions};

use super::{Engine, Error, Product, Result};
use crate::reference::Reference;

/// One name of a local image; an image with several names is several rows, as docker has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The repository; nothing for an image without a name.
    pub repository: Option<String>,
    /// The tag; nothing for an image known by its digest alone.
    pub tag: Option<String>,
    /// The digest a registry knows it by, where it came from or went to one.
    pub digest: Option<String>,
    /// Its id, `sha256:…`.
    pub id: String,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Its size in bytes.
    pub size: i64,
    /// How many containers use it, where the engine says.
    pub containers: Option<i64>,
}

impl Image {
    /// `REPOSITORY:TAG`, or the short id.
    pub fn name(&self) -> String {
        match (&self.repository, &self.tag) {
            (Some(repository), Some(tag)) => format!("{repository}:{tag}"),
            _ => self.short_id().to_owned(),
        }
    }

    /// The first twelve digits of the id, as docker shows it.
    pub fn short_id(&self) -> &str {
        let id = self.id.strip_prefix("sha256:").unwrap_or(&self.id);
        id.get(..12).unwrap_or(id)
    }
}

/// Which images to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only images of this repository, or this repository and tag; `*` stands for anything.
    pub reference: Option<String>,
    /// Also intermediate images.
    pub all: bool,
}

/// What removing would do or has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// What was asked for.
    pub image: String,
    /// The id it stands for.
    pub id: String,
    /// Names that go.
    pub untagged: Vec<String>,
    /// Names the image keeps.
    pub kept: Vec<String>,
    /// Whether the image itself goes, its size with it.
    pub deletes: bool,
    /// The image's size in bytes.
    pub size: Option<i64>,
    /// Containers that use it: name and state.
    pub users: Vec<(String, String)>,
    /// Image ids that were deleted; only after the fact.
    pub deleted: Vec<String>,
}

impl Engine {
    /// The local images, newest first.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn images(&self, filter: &Filter) -> Result<Vec<Image>> {
        let mut filters = std::collections::HashMap::new();
        if let Some(reference) = &filter.reference {
            filters.insert("reference".to_owned(), vec![reference.clone()]);
        }
        let options = ListImagesOptions {
            all: filter.all,
            filters: Some(filters),
            // Podman answers nothing at all when asked for digests, and tells them anyway.
            digests: self.product() == Product::Docker,
            ..Default::default()
        };
        let summaries = self
            .bollard()
            .list_images(Some(options))
            .await
            .map_err(|e| self.refused("list the images", e))?;
        let mut images = Vec::new();
        for summary in summaries {
            let digest_of = |repository: &str| {
                summary.repo_digests.iter().find_map(|d| {
                    d.split_once('@')
                        .filter(|(r, _)| *r == repository)
                        .map(|(_, d)| d.to_owned())
                })
            };
            let row = |repository: Option<&str>, tag: Option<&str>, digest| Image {
                repository: repository.map(|name| shown_name(self.product(), name)),
                tag: tag.map(str::to_owned),
                digest,
                id: summary.id.clone(),
                created: summary.created,
                size: summary.size,
                containers: Some(summary.containers).filter(|n| *n >= 0),
            };
            let named: Vec<&str> = summary
                .repo_tags
                .iter()
                .map(String::as_str)
                .filter(|name| *name != "<none>:<none>")
                .collect();
            for name in &named {
                let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
                images.push(row(Some(repository), Some(tag), digest_of(repository)));
            }
            if named.is_empty() {
                let by_digest = summary
                    .repo_digests
                    .iter()
                    .find_map(|d| d.split_once('@'))
                    .filter(|(r, _)| *r != "<none>");
                images.push(row(
                    by_digest.map(|(r, _)| r),
                    None,
                    by_digest.map(|(_, d)| d.to_owned()),
                ));
            }
        }
        images.sort_by(|a, b| {
            b.created
                .cmp(&a.created)
                .then_with(|| a.name().cmp(&b.name()))
        });
        Ok(images)
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`] when there is no source.
    pub async fn tag(&self, source: &str, target: &Reference) -> Result<()> {
        let written = target.with_tag_written();
        if written.digest().is_some() {
            return Err(Error::Option {
                option: target.to_string(),
                why: "an image cannot be given a digest, it has one".to_owned(),
                hint: "Give it a name and a tag.".to_owned(),
            });
        }
        let options = TagImageOptions {
            repo: Some(written.name()),
            tag: written.tag().map(str::to_owned),
        };
        match self.bollard().tag_image(source, Some(options)).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self
                .missing_or(source, format!("tag {source}"), error)
                .await),
        }
    }

    /// What removing an image would do. Nothing is changed.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`].
    pub async fn plan_removal(&self, image: &str) -> Result<Removal> {
        let inspected = match self.bollard().inspect_image(image).await {
            Ok(inspected) => inspected,
            Err(error) => {
                return Err(self
                    .missing_or(image, format!("inspect {image}"), error)
                    .await);
            }
        };
        let id = inspected.id.unwrap_or_default();
        let names = inspected.repo_tags.unwrap_or_default();
        let by_id = is_id(image, &id);
        let meant = Reference::parse(image)
            .map(|r| r.with_tag_written().to_string())
            .unwrap_or_else(|_| image.to_owned());
        let (untagged, kept): (Vec<String>, Vec<String>) = names
            .into_iter()
            .map(|name| shown_name(self.product(), &name))
            .partition(|name| by_id || *name == meant);
        let containers = self
            .transport()
            .list_containers("ancestor", std::slice::from_ref(&id))
            .await
            .map_err(|e| self.refused("list the containers", e))?;
        let mut users: Vec<(String, String)> = containers
            .into_iter()
            .filter(|container| container.image_id.as_deref() == Some(id.as_str()))
            .map(|container| {
                let name = container
                    .names
                    .unwrap_or_default()
                    .into_iter()
                    .next()
                    .unwrap_or_default();
                let state = container
                    .state
                    .map(|state| state.to_string())
                    .unwrap_or_default();
                (name.trim_start_matches('/').to_owned(), state)
            })
            .collect();
        users.sort();
        Ok(Removal {
            image: image.to_owned(),
            id,
            deletes: kept.is_empty(),
            untagged,
            kept,
            size: inspected.size,
            users,
            deleted: Vec::new(),
        })
    }

    /// Removes an image or one of its names.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::InUse`].
    pub async fn remove(&self, image: &str, force: bool) -> Result<Removal> {
        let mut removal = self.plan_removal(image).await?;
        let options = RemoveImageOptions {
            force,
            ..Default::default()
        };
        let items = match self
            .bollard()
            .remove_image(image, Some(options), None)
            .await
        {
            Ok(items) => items,
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 409,
                message,
            }) => {
                return Err(Error::InUse {
                    image: image.to_owned(),
                    why: message,
                });
            }
            Err(error) => {
                return Err(self
                    .missing_or(image, format!("remove {image}"), error)
                    .await);
            }
        };
        removal.untagged = items
            .iter()
            .filter_map(|item| item.untagged.as_deref())
            .filter(|name| !name.contains('@'))
            .map(|name| shown_name(self.product(), name))
            .collect();
        removal.deleted = items.into_iter().filter_map(|item| item.deleted).collect();
        removal.deletes = !removal.deleted.is_empty();
        Ok(removal)
    }

    /// Whether an image is here.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn has_image(&self, image: &str) -> Result<bool> {
        Ok(self.image_id(image).await?.is_some())
    }

    /// The id, `sha256:…`, of the image that a name, a digest or an id stands for here; nothing where it
    /// stands for none.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn image_id(&self, image: &str) -> Result<Option<String>> {
        match self.bollard().inspect_image(image).await {
            Ok(found) => Ok(Some(found.id.unwrap_or_default())),
            Err(bollard::errors::Error::DockerResponseServerError {
                status_code: 404 | 400,
                ..
            }) => Ok(None),
            Err(error) => Err(self.refused(format!("inspect {image}"), error)),
        }
    }

    /// Fails with near misses when an image is not here.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`].
    pub async fn require_local(&self, image: &str) -> Result<()> {
        if self.has_image(image).await? {
            Ok(())
        } else {
            Err(self.no_such_image(image).await)
        }
    }

    /// The error for an image that is not here, with the names that come near.
    pub async fn no_such_image(&self, image: &str) -> Error {
        Error::NoSuchImage {
            image: image.to_owned(),
            near: self.near(image).await,
        }
    }

    /// The names of local images that come near a name, the nearest first.
    pub async fn near(&self, image: &str) -> Vec<String> {
        match self.images(&Filter::default()).await {
            Ok(images) => nearest(
                image,
                images.iter().filter(|i| i.tag.is_some()).map(Image::name),
            ),
            Err(_) => Vec::new(),
        }
    }

    async fn missing_or(
        &self,
        image: &str,
        action: String,
        error: bollard::errors::Error,
    ) -> Error {
        match error {
            bollard::errors::Error::DockerResponseServerError {
                status_code: 404, ..
            } => self.no_such_image(image).await,
            other => self.refused(action, other),
        }
    }
}

/// Podman puts `localhost/` or `docker.io/` before names that have no host, where Docker leaves them
/// as they were given.
fn shown_name(product: Product, name: &str) -> String {
    match product {
        Product::Podman => ["localhost/", "docker.io/library/", "docker.io/"]
            .iter()
            .find_map(|added| name.strip_prefix(added))
            .unwrap_or(name),
        Product::Docker => name,
    }
    .to_owned()
}

fn is_id(text: &str, id: &str) -> bool {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    let text = text.strip_prefix("sha256:").unwrap_or(text);
    text.len() >= 4 && hex.starts_with(text)
}

/// Up to three names near to what was asked for: same repository, or few letters apart.
pub fn nearest(wanted: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    // A colon before the last slash is a registry's port.
    let untagged = |name: &str| match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository.to_owned(),
        _ => name.to_owned(),
    };
    let wanted_repository = untagged(wanted);
    let is_tagged = wanted_repository != wanted;
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let mut scored: Vec<(usize, String)> = names
        .filter_map(|name| {
            let repository = untagged(&name);
            // Who gave no tag mistyped none.
            let compared = if is_tagged { &name } else { &repository };
            let whole = distance(wanted, compared);
            let score = if repository == wanted_repository {
                0
            } else if last(&repository) == last(&wanted_repository) {
                1
            } else {
                2 + whole.min(distance(&last(wanted), &last(compared)))
            };
            let allowed = 2 + wanted.chars().count() / 4;
            (score <= allowed.max(3)).then_some((score * 1000 + whole, name))
        })
        .collect();
    scored.sort();
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(3).map(|(_, name)| name).collect()
}

/// How many letters must change to get from one text to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_those_a_person_would_have_meant() {
        let names = [
            "hyperparam:1.0",
            "hyperparam:1.1",
            "katlab/base:bookworm",
            "reg.io/x/hyperparam:1.0",
            "python:3.11",
        ];
        let near = |wanted| nearest(wanted, names.iter().map(|n| (*n).to_owned()));
        assert_eq!(near("hyperparam:2.0")[0], "hyperparam:1.0");
        assert_eq!(near("hyperparm:1.0")[0], "hyperparam:1.0");
        assert_eq!(
            near("hyperparam")[..2],
            ["hyperparam:1.0", "hyperparam:1.1"]
        );
        assert_eq!(near("hyperparm")[0], "hyperparam:1.0");
        assert!(near("reg.io:5000/x/pyton").contains(&"python:3.11".to_owned()));
        assert!(near("hyperparam:1.9").contains(&"reg.io/x/hyperparam:1.0".to_owned()));
        assert!(near("completely-different-thing:1").is_empty());
    }

    #[test]
    fn names_lose_what_podman_adds_and_nothing_else() {
        assert_eq!(shown_name(Product::Podman, "localhost/a"), "a");
        assert_eq!(
            shown_name(Product::Podman, "docker.io/library/python"),
            "python"
        );
        assert_eq!(shown_name(Product::Podman, "docker.io/a/b:1"), "a/b:1");
        assert_eq!(
            shown_name(Product::Podman, "localhost:5000/a"),
            "localhost:5000/a"
        );
        assert_eq!(shown_name(Product::Docker, "localhost/a"), "localhost/a");
    }
}
