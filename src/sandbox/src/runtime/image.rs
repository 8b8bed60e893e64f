//! Image references, when to pull, and the words in which pulls fail.

use sha2::{Digest as _, Sha256};

/// An image's name taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// `docker.io` where none was written.
    pub(super) registry: String,
    /// The repository's path in the registry.
    pub(super) path: String,
    /// `latest` where neither tag nor digest was written.
    pub(super) tag: Option<String>,
    pub(super) digest: Option<String>,
}

impl Reference {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (text, None),
        };
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return None;
        }
        // A colon after the last slash begins a tag; one before it belongs to a port.
        let slash = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[slash..].find(':') {
            Some(colon) => (&rest[..slash + colon], Some(&rest[slash + colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return None;
        }
        let (registry, path) = match name.split_once('/') {
            Some((first, path))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first != first.to_lowercase() =>
            {
                (first.to_owned(), path.to_owned())
            }
            Some(_) => ("docker.io".to_owned(), name.to_owned()),
            None => ("docker.io".to_owned(), format!("library/{name}")),
        };
        let component = |part: &str| {
            !part.is_empty()
                && part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c))
        };
        if !path.split('/').all(component) || registry.is_empty() {
            return None;
        }
        let tag = match (tag, digest) {
            (None, None) => Some("latest".to_owned()),
            (tag, _) => tag.map(str::to_owned),
        };
        Some(Self {
            registry,
            path,
            tag,
            digest: digest.map(str::to_owned),
        })
    }

    /// The repository as the engine's pull call wants it.
    pub(super) fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// What the engine's pull call wants beside the repository.
    pub(super) fn version(&self) -> &str {
        self.digest
            .as_deref()
            .or(self.tag.as_deref())
            .unwrap_or("latest")
    }

    /// The address a registry's manifest is asked for at.
    fn manifest_address(&self) -> String {
        let local = ["127.", "localhost"];
        let scheme = if local.iter().any(|host| self.registry.starts_with(host)) {
            "http"
        } else {
            "https"
        };
        let host = if self.registry == "docker.io" {
            "registry-1.docker.io"
        } else {
            &self.registry
        };
        format!(
            "{scheme}://{host}/v2/{}/manifests/{}",
            self.path,
            self.version()
        )
    }
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, hex)| {
        !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn is_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Always,
    IfNotPresent,
    Never,
}

impl Policy {
    /// The container's own, else Kubernetes' default: an image without a fixed version is always pulled.
    pub(super) fn of(written: Option<&str>, reference: &Reference) -> Self {
        match written {
            Some("Always") => Self::Always,
            Some("IfNotPresent") => Self::IfNotPresent,
            Some("Never") => Self::Never,
            _ if reference.digest.is_none() && reference.tag.as_deref() == Some("latest") => {
                Self::Always
            }
            _ => Self::IfNotPresent,
        }
    }
}

/// Why there is no image to start from, with the reason a pod's status shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NoImage {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl NoImage {
    pub(super) fn invalid_name(image: &str) -> Self {
        Self {
            reason: "InvalidImageName",
            message: format!(
                "Failed to apply default image tag \"{image}\": couldn't parse image name \"{image}\": invalid reference format"
            ),
        }
    }

    pub(super) fn never_pulled(image: &str) -> Self {
        Self {
            reason: "ErrImageNeverPull",
            message: format!(
                "Container image \"{image}\" is not present with pull policy of Never"
            ),
        }
    }

    /// The engine's text in the words a Kubernetes node uses, so that what people find about those words
    /// helps them here too. What the table does not know stays the engine's own text.
    pub(super) fn pull(
        image: &str,
        reference: &Reference,
        engine: &str,
        credentials: bool,
    ) -> Self {
        let lower = engine.to_lowercase();
        let has = |word: &str| lower.contains(word);
        let message = if has("no basic auth credentials") || (!credentials && has("unauthorized")) {
            format!(
                "failed to pull and unpack image \"{image}\": failed to resolve image: pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"
            )
        } else if has("unauthorized") || has("incorrect username or password") {
            format!(
                "failed to pull and unpack image \"{image}\": failed to resolve image: unexpected status from HEAD request to {}: 401 Unauthorized",
                reference.manifest_address()
            )
        } else if has("manifest unknown") || has("not found") || has("name unknown") {
            format!(
                "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve image: {image}: not found"
            )
        } else {
            format!("failed to pull and unpack image \"{image}\": {engine}")
        };
        Self {
            reason: "ErrImagePull",
            message,
        }
    }

    /// Whether a later attempt may succeed by itself, so that the time between attempts grows.
    pub(super) fn backs_off(&self) -> bool {
        self.reason == "ErrImagePull"
    }
}

/// A user and password for a registry, from a pull secret.
#[derive(Clone)]
pub(super) struct Login {
    /// Registry, perhaps with the beginning of a path.
    scope: String,
    pub(super) username: String,
    pub(super) password: secrecy::SecretString,
}

impl Login {
    /// A fingerprint to remember which login an image was pulled with. The password is not kept.
    pub(super) fn fingerprint(&self, registry: &str) -> String {
        use secrecy::ExposeSecret;
        let mut hash = Sha256::new();
        for part in [registry, &self.username, self.password.expose_secret()] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hex::encode(hash.finalize())
    }
}

/// The logins of a `.dockerconfigjson`. `None` if it is none.
pub(super) fn logins(config: &[u8]) -> Option<Vec<Login>> {
    use base64::Engine as _;
    let value: serde_json::Value = serde_json::from_slice(config).ok()?;
    // The older `.dockercfg` has no `auths` around it.
    let auths = value.get("auths").unwrap_or(&value).as_object()?;
    let text = |entry: &serde_json::Value, key: &str| {
        let value = entry.get(key).and_then(serde_json::Value::as_str);
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    };
    let mut found = Vec::new();
    for (key, entry) in auths {
        let joined = text(entry, "auth").and_then(|auth| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(auth.trim());
            String::from_utf8(bytes.ok()?).ok()
        });
        let pair = joined.as_deref().and_then(|joined| joined.split_once(':'));
        let username = pair
            .map(|(user, _)| user.to_owned())
            .or(text(entry, "username"));
        let password = pair
            .map(|(_, word)| word.to_owned())
            .or(text(entry, "password"));
        if let (Some(username), Some(password)) = (username, password) {
            found.push(Login {
                scope: scope(key),
                username,
                password: password.into(),
            });
        }
    }
    Some(found)
}

/// The key of an `auths` entry without its scheme and API path.
fn scope(key: &str) -> String {
    let bare = key
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .trim_end_matches('/');
    let bare = bare
        .strip_suffix("/v1")
        .or_else(|| bare.strip_suffix("/v2"))
        .unwrap_or(bare);
    match bare {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => "docker.io".into(),
        _ => bare.to_owned(),
    }
}

/// The logins that fit an image, the most specific first.
pub(super) fn fitting<'a>(all: &'a [Login], reference: &Reference) -> Vec<&'a Login> {
    let repository = reference.repository();
    let fits = |login: &&Login| {
        let (host, path) = login
            .scope
            .split_once('/')
            .map_or((login.scope.as_str(), ""), |(host, path)| (host, path));
        host_matches(host, &reference.registry)
            && (path.is_empty()
                || reference.path == path
                || reference
                    .path
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.starts_with('/')))
    };
    let mut fitting: Vec<&Login> = all.iter().filter(fits).collect();
    fitting.sort_by_key(|login| {
        let exact = repository.starts_with(&login.scope);
        (!exact, std::cmp::Reverse(login.scope.len()))
    });
    fitting
}

/// `*` stands for one label of a host name, or a part of one.
fn host_matches(pattern: &str, host: &str) -> bool {
    if !pattern.contains('*') {
        return pattern == host;
    }
    let (pattern, host): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len()
        && pattern
            .iter()
            .zip(&host)
            .all(|(pattern, label)| match pattern.split_once('*') {
                Some((front, back)) => {
                    label.len() >= front.len() + back.len()
                        && label.starts_with(front)
                        && label.ends_with(back)
                }
                None => pattern == label,
            })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use secrecy::ExposeSecret;

    #[test]
    fn references_are_completed_as_the_engine_completes_them() {
        let of = |text: &str| {
            let reference = Reference::parse(text)?;
            Some((reference.repository(), reference.version().to_owned()))
        };
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(of("python"), pair("docker.io/library/python", "latest"));
        assert_eq!(of("a/b:1"), pair("docker.io/a/b", "1"));
        assert_eq!(
            of("127.0.0.1:5000/kakao-registry/hyperparam:1.0"),
            pair("127.0.0.1:5000/kakao-registry/hyperparam", "1.0")
        );
        assert_eq!(of("localhost/x"), pair("localhost/x", "latest"));
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(
            of(&format!("x@{digest}")),
            pair("docker.io/library/x", &digest)
        );
        for bad in [
            "",
            "A",
            "a b",
            "a:",
            "a@x",
            "/a",
            "host:5000/",
            "a//b",
            "127.0.0.1:5000/$X/y",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_an_image_without_a_version_is_always_pulled() {
        let policy =
            |text: &str, written| Policy::of(written, &Reference::parse(text).expect("reference"));
        assert_eq!(policy("x", None), Policy::Always);
        assert_eq!(policy("x:latest", None), Policy::Always);
        assert_eq!(policy("x:1", None), Policy::IfNotPresent);
        assert_eq!(policy("x:1", Some("Always")), Policy::Always);
        assert_eq!(policy("x", Some("Never")), Policy::Never);
    }

    #[test]
    fn pull_failures_read_as_on_a_kubernetes_node() {
        let image = "127.0.0.1:25000/kakao-registry/hyperparam:1.2";
        let reference = Reference::parse(image).expect("reference");
        let of = |engine: &str, credentials| {
            NoImage::pull(image, &reference, engine, credentials).message
        };
        assert_eq!(
            of(
                "manifest for 127.0.0.1:25000/kakao-registry/hyperparam:1.2 not found: manifest unknown: manifest unknown",
                true
            ),
            "rpc error: code = NotFound desc = failed to pull and unpack image \"127.0.0.1:25000/kakao-registry/hyperparam:1.2\": failed to resolve image: 127.0.0.1:25000/kakao-registry/hyperparam:1.2: not found"
        );
        assert_eq!(
            of(
                "Head \"http://127.0.0.1:25000/v2/x\": unauthorized: authentication required",
                true
            ),
            "failed to pull and unpack image \"127.0.0.1:25000/kakao-registry/hyperparam:1.2\": failed to resolve image: unexpected status from HEAD request to http://127.0.0.1:25000/v2/kakao-registry/hyperparam/manifests/1.2: 401 Unauthorized"
        );
        assert!(of("Head \"x\": no basic auth credentials", false).ends_with(
            "failed to resolve image: pull access denied, repository does not exist or may require authorization: authorization failed: no basic auth credentials"
        ));
        assert!(of("dial tcp: connection refused", true).ends_with("dial tcp: connection refused"));
    }

    #[test]
    fn the_most_specific_login_comes_first_and_foreign_ones_are_left_out() {
        let auth = base64::engine::general_purpose::STANDARD.encode("deep:pa:ss");
        let config = serde_json::json!({ "auths": {
            "https://127.0.0.1:5000": {"username": "flat", "password": "x"},
            "127.0.0.1:5000/kakao-registry": {"auth": auth},
            "other:5000": {"username": "other", "password": "x"},
            "127.0.0.1:5000/kakao": {"username": "prefix of a word", "password": "x"},
        }});
        let all = logins(config.to_string().as_bytes()).expect("logins");
        let image = Reference::parse("127.0.0.1:5000/kakao-registry/x:1").expect("reference");
        let users: Vec<_> = fitting(&all, &image)
            .iter()
            .map(|login| login.username.as_str())
            .collect();
        assert_eq!(users, ["deep", "flat"]);
        assert_eq!(fitting(&all, &image)[0].password.expose_secret(), "pa:ss");
        assert!(host_matches("*.kcr.dev", "a.kcr.dev"));
        assert!(!host_matches("*.kcr.dev", "a.b.kcr.dev"));
        assert!(logins(b"no JSON").is_none());
    }
}
