//! Images of the Docker Engine: listed, and built.

use std::fmt;

use crate::shown::{Shown, plain};
use crate::table::size;
use crate::trials::{behaves_as_slice, text};
use crate::{Error, Json, Result, Table};

/// One name of an image; an image with several names is several of these, as docker has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// `REPOSITORY:TAG`, or the short id of an image without a name
    pub name: String,
    /// The repository; `None` for an image without a name
    pub repository: Option<String>,
    /// The tag; `None` for an image known by its digest alone
    pub tag: Option<String>,
    /// Its id, `sha256:…`
    pub id: String,
    /// The digest that a registry knows it by, where it came from or went to one
    pub digest: Option<String>,
    /// When it was made, RFC 3339; `None` where its builder wrote no time
    pub created: Option<String>,
    /// Its size in bytes, with all its layers
    pub size: u64,
}

impl Image {
    fn from_json(json: &Json) -> Result<Self> {
        Ok(Self {
            name: text(json, "name")?,
            repository: optional(json, "repository"),
            tag: optional(json, "tag"),
            id: text(json, "id")?,
            digest: optional(json, "digest"),
            created: optional(json, "created"),
            size: bytes(json).unwrap_or_default(),
        })
    }
}

impl Shown for Image {
    fn evcxr_display(&self) {
        table_of(std::slice::from_ref(self)).evcxr_display();
    }
}

/// The name, as `:run` and `:push` take it.
impl fmt::Display for Image {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}

/// The images of the Docker Engine; behaves as a slice of [`Image`] and shows itself as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Images(Vec<Image>);

impl Images {
    /// The images that satisfy a condition.
    pub fn filter(&self, keep: impl Fn(&Image) -> bool) -> Images {
        Images(self.0.iter().filter(|image| keep(image)).cloned().collect())
    }

    /// The same images as a table.
    pub fn table(&self) -> Table {
        table_of(&self.0)
    }

    pub(crate) fn from_json(json: &Json) -> Result<Self> {
        json.items()?
            .iter()
            .map(Image::from_json)
            .collect::<Result<_>>()
            .map(Self)
    }
}

impl Shown for Images {
    fn evcxr_display(&self) {
        self.table().evcxr_display();
    }
}

behaves_as_slice! {
    Images, 0, Image;
}

fn table_of(images: &[Image]) -> Table {
    let titles = ["repository", "tag", "image id", "created", "size"];
    let mut table = Table::new(titles.map(String::from));
    for image in images {
        table.push(vec![
            image.repository.clone().unwrap_or_default(),
            image.tag.clone().unwrap_or_default(),
            short(&image.id).to_owned(),
            image.created.clone().unwrap_or_default(),
            size(image.size),
        ]);
    }
    table
}

/// A build of an image, as `:build` does it: what is to be built, and [`run`](Build::run) that does it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is built before `.run()`"]
pub struct Build {
    folder: String,
    /// An option of `:build` and one of its values, in order.
    options: Vec<(&'static str, String)>,
}

impl Build {
    pub(crate) fn new(folder: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            options: Vec::new(),
        }
    }

    /// A name for the image, `NAME:TAG`; it can have several.
    pub fn tag(self, name: impl Into<String>) -> Self {
        self.with("tag", name)
    }

    /// The Dockerfile, when it is not the folder's own.
    pub fn dockerfile(self, path: impl Into<String>) -> Self {
        self.with("file", path)
    }

    /// A value for an `ARG` of the Dockerfile. Everybody who has the image can read it.
    pub fn arg(self, name: &str, value: &str) -> Self {
        self.with("build_arg", format!("{name}={value}"))
    }

    /// The stage to stop at.
    pub fn target(self, stage: impl Into<String>) -> Self {
        self.with("target", stage)
    }

    /// Runs every step anew.
    pub fn no_cache(self) -> Self {
        self.with("no_cache", "")
    }

    /// Looks for a newer base image even when there is one here.
    pub fn pull(self) -> Self {
        self.with("pull", "")
    }

    /// Builds the image, with its steps shown on the cell as they go.
    ///
    /// # Errors
    /// A folder or a Dockerfile that is not as it should be, a name that is none, a step that fails, no
    /// Docker Engine that answers, or an interrupt.
    pub fn run(&self) -> Result<Built> {
        let mut arguments = vec![("folder", self.folder.as_str())];
        for (option, value) in &self.options {
            arguments.push((option, value));
        }
        Built::from_json(&crate::call_here("build", &arguments)?)
    }

    fn with(mut self, option: &'static str, value: impl Into<String>) -> Self {
        self.options.push((option, value.into()));
        self
    }
}

/// An image that was built; as text it is the reference that `:run`, `:push` and a trial template take.
#[derive(Clone, Debug, PartialEq)]
pub struct Built {
    /// Its id, `sha256:…`
    pub id: String,
    /// The names it was given, `NAME:TAG`
    pub tags: Vec<String>,
    /// Its size in bytes, with all its layers
    pub size: Option<u64>,
    /// How long the build took
    pub seconds: f64,
}

impl Built {
    /// The first of its names, or the id of an image without one.
    pub fn reference(&self) -> &str {
        self.tags.first().unwrap_or(&self.id)
    }

    fn from_json(json: &Json) -> Result<Self> {
        let tags = json.get("tags").ok_or_else(|| Error::missing("tags"))?;
        Ok(Self {
            id: text(json, "id")?,
            tags: tags
                .items()?
                .iter()
                .map(|tag| tag.text().map(str::to_owned))
                .collect::<Result<_>>()?,
            size: bytes(json),
            seconds: json
                .get("seconds")
                .and_then(Json::number)
                .unwrap_or_default(),
        })
    }
}

impl Shown for Built {
    fn evcxr_display(&self) {
        plain(&self.to_string());
    }
}

impl fmt::Display for Built {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.reference())
    }
}

fn optional(json: &Json, member: &str) -> Option<String> {
    Some(json.get(member)?.text().ok()?.to_owned())
}

fn bytes(json: &Json) -> Option<u64> {
    let number = json.get("size").and_then(Json::number)?;
    Some(number as u64)
}

/// The first twelve digits of an id, as docker shows it.
fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_a_table_of_their_names() {
        let answer = r#"[{"name":"digits:1","repository":"digits","tag":"1","id":"sha256:0123456789abcdef",
            "digest":null,"created":"2026-01-01T00:00:00Z","size":72800000},
            {"name":"fedcba987654","repository":null,"tag":null,"id":"sha256:fedcba9876543210",
            "digest":null,"created":null,"size":999}]"#;
        let images = Images::from_json(&Json::parse(answer).unwrap()).unwrap();
        assert_eq!(images[1].to_string(), "fedcba987654");
        assert_eq!(
            images.table().to_string(),
            "repository  tag  image id      created               size\n\
             digits        1  0123456789ab  2026-01-01T00:00:00Z  72.8MB\n\
             \u{20}                fedcba987654                        999B"
        );
        assert_eq!(images.filter(|image| image.size < 1000).len(), 1);
    }

    #[test]
    fn a_built_image_is_its_name_or_else_its_id() {
        let built = |tags: &str| {
            let answer = format!(r#"{{"id":"sha256:01","tags":{tags},"size":null,"seconds":1.5}}"#);
            Built::from_json(&Json::parse(&answer).unwrap()).unwrap()
        };
        assert_eq!(
            built(r#"["docker.io/library/a:1","b:2"]"#).to_string(),
            "docker.io/library/a:1"
        );
        assert_eq!(built("[]").to_string(), "sha256:01");
    }
}
