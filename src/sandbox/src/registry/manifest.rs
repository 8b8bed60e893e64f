//! What a manifest must look like, and what it refers to.

use serde::Deserialize;

use super::error::Refusal;
use super::name::Digest;
use super::storage::Link;

/// The longest manifest taken, as the specification suggests.
pub(super) const LONGEST: usize = 4 << 20;

pub(super) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    schema_version: Option<u64>,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    artifact_type: Option<String>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
    #[serde(default)]
    subject: Option<Descriptor>,
    #[serde(default)]
    annotations: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    urls: Vec<String>,
}

/// What a pushed manifest says, checked.
pub(super) struct Checked {
    pub(super) link: Link,
    /// Blobs that must be in the repository already.
    pub(super) blobs: Vec<Digest>,
    /// Manifests that must be in the repository already.
    pub(super) manifests: Vec<Digest>,
    pub(super) subject: Option<Digest>,
}

/// Reads a manifest as a client sent it.
pub(super) fn check(content: &[u8], content_type: Option<&str>) -> Result<Checked, Refusal> {
    let document: Document = serde_json::from_slice(content)
        .map_err(|error| Refusal::manifest_invalid(format!("manifest is not valid: {error}")))?;
    if document.schema_version != Some(2) {
        return Err(Refusal::manifest_invalid(
            "manifest invalid: schemaVersion must be 2",
        ));
    }
    let sent = content_type
        .map(|value| value.split(';').next().unwrap_or(value).trim())
        .filter(|value| !value.is_empty());
    let media_type = match (&document.media_type, sent) {
        (Some(inside), Some(outside)) if inside != outside => {
            return Err(Refusal::manifest_invalid(format!(
                "mediaType in manifest should be '{outside}' not '{inside}'"
            )));
        }
        (Some(inside), _) => inside.clone(),
        (None, Some(outside)) => outside.to_owned(),
        (None, None) => {
            return Err(Refusal::manifest_invalid(
                "manifest invalid: neither a Content-Type nor a mediaType was given",
            ));
        }
    };
    let digest = |descriptor: &Descriptor| {
        Digest::parse(&descriptor.digest).ok_or_else(|| {
            Refusal::manifest_invalid(format!("'{}' is not a digest", descriptor.digest))
        })
    };
    // A layer that lives elsewhere (with its addresses given) is not expected to be here.
    let own = |descriptor: &&Descriptor| {
        descriptor.urls.is_empty()
            && !descriptor.media_type.contains("foreign")
            && !descriptor.media_type.contains("nondistributable")
    };
    let blobs = document
        .config
        .iter()
        .chain(document.layers.iter().filter(own))
        .map(digest)
        .collect::<Result<_, _>>()?;
    let manifests = document
        .manifests
        .iter()
        .map(digest)
        .collect::<Result<_, _>>()?;
    let subject = document.subject.as_ref().map(digest).transpose()?;
    let artifact_type = document
        .artifact_type
        .or_else(|| document.config.map(|config| config.media_type))
        .filter(|kind| !kind.is_empty());
    Ok(Checked {
        link: Link {
            media_type,
            subject: subject.as_ref().map(|digest| digest.as_str().to_owned()),
            artifact_type,
            annotations: document.annotations,
        },
        blobs,
        manifests,
        subject,
    })
}

/// Everything a stored manifest keeps alive.
pub(super) fn references(content: &[u8]) -> Vec<Digest> {
    let Ok(document) = serde_json::from_slice::<Document>(content) else {
        return Vec::new();
    };
    document
        .config
        .iter()
        .chain(&document.layers)
        .chain(&document.manifests)
        .filter_map(|descriptor| Digest::parse(&descriptor.digest))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_whose_type_contradicts_the_header_is_refused() {
        let content = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        assert!(
            check(
                content,
                Some("application/vnd.docker.distribution.manifest.v2+json")
            )
            .is_err()
        );
        assert!(check(content, Some(OCI_INDEX)).is_ok());
    }

    #[test]
    fn version_one_and_nonsense_are_refused() {
        assert!(check(br#"{"schemaVersion":1}"#, Some("x")).is_err());
        assert!(check(b"[]", Some("x")).is_err());
        assert!(check(br#"{"schemaVersion":2,"config":{"digest":"x"}}"#, Some("x")).is_err());
    }
}
