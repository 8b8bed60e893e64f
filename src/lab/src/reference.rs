//! Image references: `HOST/PATH:TAG@DIGEST`, read the way the docker CLI reads them.
//!
//! A reference that does not parse is found here, before anything is sent anywhere, and the error
//! says which part is wrong and how it would be right.

use std::fmt;
use std::str::FromStr;

/// The registry that a reference without a host means.
pub const HUB: &str = "docker.io";

/// A parsed image reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    host: Option<String>,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is not an image reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was given.
    #[error("an image reference is empty")]
    Empty,
    /// A URL was given where a reference belongs.
    #[error("`{text}` is a URL, not an image reference")]
    Url {
        /// What was given.
        text: String,
        /// The same without the scheme.
        stripped: String,
    },
    /// The part before the first slash names a registry, but not a valid one.
    #[error("`{host}` in `{text}` is not a registry host")]
    Host {
        /// What was given.
        text: String,
        /// The offending part.
        host: String,
    },
    /// The name has capital letters.
    #[error("the image name in `{text}` has capital letters")]
    Uppercase {
        /// What was given.
        text: String,
        /// The same in lower case.
        lower: String,
    },
    /// One component of the name breaks the rules.
    #[error("`{component}` in `{text}` is not a valid part of an image name")]
    Component {
        /// What was given.
        text: String,
        /// The offending part.
        component: String,
    },
    /// The tag breaks the rules.
    #[error("`{tag}` in `{text}` is not a valid tag")]
    Tag {
        /// What was given.
        text: String,
        /// The offending tag.
        tag: String,
    },
    /// The digest breaks the rules.
    #[error("`{digest}` in `{text}` is not a valid digest")]
    Digest {
        /// What was given.
        text: String,
        /// The offending digest.
        digest: String,
    },
    /// The name is longer than registries accept.
    #[error(
        "the image name in `{text}` is {length} characters long, more than the 255 registries accept"
    )]
    TooLong {
        /// What was given.
        text: String,
        /// How long the name is.
        length: usize,
    },
    /// The name looks like an image id.
    #[error("`{text}` is an image id, not an image name")]
    Id {
        /// What was given.
        text: String,
    },
    /// A tag or digest stands where only a repository belongs.
    #[error("`{text}` names one image, but a repository is wanted")]
    NotARepository {
        /// What was given.
        text: String,
        /// The repository alone.
        repository: String,
    },
}

impl Error {
    /// What to do next, in one sentence.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Empty => "Write it as NAME:TAG, for example `hyperparam:1.0`.".to_owned(),
            Self::Url { stripped, .. } => format!("Leave the scheme out: `{stripped}`."),
            Self::Host { .. } => "Write the registry as HOST or HOST:PORT, for example `registry.example.com:5000/team/image:1.0`.".to_owned(),
            Self::Uppercase { lower, .. } if Reference::parse(lower).is_err() => "Image names are lower case.".to_owned(),
            Self::Uppercase { lower, .. } => format!("Image names are lower case; did you mean `{lower}`?"),
            Self::Component { .. } => "Each part between slashes holds a-z, 0-9 and single `.`, `_`, `__` or `-` between them.".to_owned(),
            Self::Tag { .. } => "A tag holds letters, digits, `_`, `.` and `-`, does not begin with `.` or `-`, and has at most 128 characters.".to_owned(),
            Self::Digest { .. } => "A digest is `sha256:` and 64 hexadecimal digits.".to_owned(),
            Self::TooLong { .. } => "Choose a shorter repository name.".to_owned(),
            Self::Id { .. } => "Give the image a name first with `:tag ID NAME:TAG`.".to_owned(),
            // HOST:PORT alone reads like an image and its tag.
            Self::NotARepository { text, repository }
                if !repository.contains('/')
                    && text
                        .strip_prefix(repository.as_str())
                        .and_then(|rest| rest.strip_prefix(':'))
                        .is_some_and(|port| port.parse::<u16>().is_ok()) =>
            {
                format!("Is it a registry? Write `{text}/REPOSITORY`; `:registry repos {text}` lists them.")
            }
            Self::NotARepository { repository, .. } => format!("Leave tag and digest out: `{repository}`."),
        })
    }
}

impl Reference {
    /// Reads a reference.
    ///
    /// # Errors
    /// Says which part breaks which rule.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::Empty);
        }
        for scheme in ["https://", "http://", "docker://", "oci://"] {
            if let Some(stripped) = text.strip_prefix(scheme) {
                return Err(Error::Url {
                    text: text.to_owned(),
                    stripped: stripped.to_owned(),
                });
            }
        }
        if text.len() == 64
            && text
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Err(Error::Id {
                text: text.to_owned(),
            });
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        // A colon is a tag's only after the last slash: before it, it is a port.
        let name_start = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest[name_start..].find(':') {
            Some(colon) => (
                &rest[..name_start + colon],
                Some(&rest[name_start + colon + 1..]),
            ),
            None => (rest, None),
        };
        let (host, path) = match name.split_once('/') {
            Some((first, path)) if is_host_like(first) => (Some(first), path),
            _ => (None, name),
        };
        if let Some(host) = host
            && !valid_host(host)
        {
            return Err(Error::Host {
                text: text.to_owned(),
                host: host.to_owned(),
            });
        }
        for component in path.split('/') {
            if valid_component(component) {
                continue;
            }
            if valid_component(&component.to_ascii_lowercase()) {
                let lower = text.replacen(path, &path.to_ascii_lowercase(), 1);
                return Err(Error::Uppercase {
                    text: text.to_owned(),
                    lower,
                });
            }
            return Err(Error::Component {
                text: text.to_owned(),
                component: component.to_owned(),
            });
        }
        if path.len() > 255 {
            return Err(Error::TooLong {
                text: text.to_owned(),
                length: path.len(),
            });
        }
        if let Some(tag) = tag
            && !valid_tag(tag)
        {
            return Err(Error::Tag {
                text: text.to_owned(),
                tag: tag.to_owned(),
            });
        }
        if let Some(digest) = digest
            && !valid_digest(digest)
        {
            return Err(Error::Digest {
                text: text.to_owned(),
                digest: digest.to_owned(),
            });
        }
        Ok(Self {
            host: host.map(str::to_owned),
            path: path.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }

    /// Reads `HOST/REPOSITORY`, with neither tag nor digest.
    ///
    /// # Errors
    /// As [`Reference::parse`], and when a tag or digest is given.
    pub fn parse_repository(text: &str) -> Result<Self, Error> {
        let reference = Self::parse(text)?;
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(Error::NotARepository {
                text: text.trim().to_owned(),
                repository: reference.name(),
            });
        }
        Ok(reference)
    }

    /// The registry host, `docker.io` when none is written.
    pub fn host(&self) -> &str {
        match self.host.as_deref() {
            None | Some("index.docker.io") => HUB,
            Some(host) => host,
        }
    }

    /// Whether a registry host is written out.
    pub fn names_host(&self) -> bool {
        self.host.is_some()
    }

    /// The repository as the registry knows it: `library/` is added for Docker Hub's own images.
    pub fn repository(&self) -> String {
        if self.host() == HUB && !self.path.contains('/') {
            format!("library/{}", self.path)
        } else {
            self.path.clone()
        }
    }

    /// The name as people write it, without tag and digest.
    pub fn name(&self) -> String {
        if self.host() == HUB {
            self.path
                .strip_prefix("library/")
                .unwrap_or(&self.path)
                .to_owned()
        } else {
            format!("{}/{}", self.host(), self.path)
        }
    }

    /// The tag, when one is written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when one is written.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The tag that is meant: the written one, else `latest` unless a digest pins the image.
    pub fn tag_or_latest(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, None) => Some("latest"),
            (None, Some(_)) => None,
        }
    }

    /// What the registry's API calls this image: its digest when there is one, else its tag.
    pub fn api_reference(&self) -> &str {
        self.digest
            .as_deref()
            .or(self.tag.as_deref())
            .unwrap_or("latest")
    }

    /// The reference with `:latest` written out where it is meant.
    pub fn with_tag_written(&self) -> Self {
        let mut written = self.clone();
        written.tag = self.tag_or_latest().map(str::to_owned);
        written
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// Whether `host` (with or without port) is this machine itself, which container engines and
/// this crate trust without TLS.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name == "localhost"
        || name.ends_with(".localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether `host` is a valid `HOST` or `HOST:PORT`.
pub fn valid_host(host: &str) -> bool {
    let (name, port) = if let Some(rest) = host.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else {
            return false;
        };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return false;
        }
        match after.strip_prefix(':') {
            Some(port) => (None, Some(port)),
            None if after.is_empty() => (None, None),
            None => return false,
        }
    } else {
        match host.split_once(':') {
            Some((name, port)) => (Some(name), Some(port)),
            None => (Some(host), None),
        }
    };
    let name_is_valid = name.is_none_or(|name| {
        name.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
    });
    name_is_valid
        && port.is_none_or(|port| {
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
        })
}

/// Docker's rule: the first component is a host when it could not be a path.
fn is_host_like(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':', '['])
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn valid_component(component: &str) -> bool {
    let bytes = component.as_bytes();
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    let separators = component.split(|c: char| alphanumeric(u8::try_from(c).unwrap_or(b'A')));
    separators
        .filter(|separator| !separator.is_empty())
        .all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn valid_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn valid_digest(digest: &str) -> bool {
    let Some((algorithm, hash)) = digest.split_once(':') else {
        return false;
    };
    let hex = hash
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let length = match algorithm {
        "sha256" => hash.len() == 64,
        "sha384" => hash.len() == 96,
        "sha512" => hash.len() == 128,
        _ => {
            hash.len() >= 32
                && !algorithm.is_empty()
                && algorithm
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"+._-".contains(&b))
        }
    };
    hex && length
}

#[cfg(test)]
mod tests;
