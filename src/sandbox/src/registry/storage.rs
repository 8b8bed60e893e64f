//! The registry's directory.
//!
//! ```text
//! blobs/sha256/ab/abcd…                      contents, shared by all repositories
//! repositories/NAME/_layers/sha256/HEX       this repository may serve that blob
//! repositories/NAME/_manifests/sha256/HEX    media type and subject of a manifest (its bytes are a blob)
//! repositories/NAME/_tags/TAG                digest
//! uploads/UUID                               bytes received so far
//! ```
//! No component of a repository's name begins with `_`, so the names above cannot collide with one.
//! A file becomes visible by a rename after it was synced, so a killed process leaves no half blob.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::manifest;
use super::name::{Digest, Name};

/// How long something nobody refers to is kept: a push may be under way across a restart.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// What is kept about a manifest beside its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Link {
    pub(super) media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) subject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub(super) annotations: serde_json::Map<String, serde_json::Value>,
}

/// Blobs, manifests, tags and uploads on disk. All calls block.
#[derive(Clone, Debug)]
pub(super) struct Storage {
    root: PathBuf,
}

pub(super) fn failed(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Storage {
        action,
        path: path.to_owned(),
        source,
    }
}

/// `None` where there is no such file.
fn found<T>(
    action: &'static str,
    path: &Path,
    result: std::io::Result<T>,
) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(failed(action, path, error)),
    }
}

fn make_directory(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| failed("make", path, error))
}

fn sync_directory(path: &Path) -> Result<(), Error> {
    fs::File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| failed("sync", path, error))
}

/// Puts `content` at `path` so that a reader sees the old file or the new one, even after a crash.
fn write(path: &Path, content: &[u8]) -> Result<(), Error> {
    let directory = path.parent().unwrap_or(Path::new("."));
    make_directory(directory)?;
    let mut file = tempfile::Builder::new()
        .prefix("_new")
        .tempfile_in(directory)
        .map_err(|error| failed("write into", directory, error))?;
    file.write_all(content)
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| failed("write", path, error))?;
    file.persist(path)
        .map_err(|error| failed("write", path, error.error))?;
    sync_directory(directory)
}

impl Storage {
    pub(super) fn open(root: &Path) -> Result<Self, Error> {
        let storage = Self {
            root: root.to_owned(),
        };
        for part in ["blobs", "repositories", "uploads"] {
            make_directory(&storage.root.join(part))?;
        }
        storage.collect(SystemTime::now())?;
        Ok(storage)
    }

    fn repository(&self, name: &Name) -> PathBuf {
        self.root.join("repositories").join(name.as_str())
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root
            .join("blobs")
            .join(digest.algorithm())
            .join(&digest.hex()[..2])
            .join(digest.hex())
    }

    pub(super) fn upload_path(&self, id: uuid::Uuid) -> PathBuf {
        self.root.join("uploads").join(id.to_string())
    }

    fn linked(&self, name: &Name, kind: &str, digest: &Digest) -> PathBuf {
        self.repository(name)
            .join(kind)
            .join(digest.algorithm())
            .join(digest.hex())
    }

    /// Whether anything was ever pushed to this repository.
    pub(super) fn knows(&self, name: &Name) -> bool {
        let repository = self.repository(name);
        ["_layers", "_manifests", "_tags"]
            .iter()
            .any(|part| repository.join(part).is_dir())
    }

    /// The size of a blob this repository holds.
    pub(super) fn blob(&self, name: &Name, digest: &Digest) -> Result<Option<u64>, Error> {
        if !self.linked(name, "_layers", digest).exists() {
            return Ok(None);
        }
        let path = self.blob_path(digest);
        Ok(found("read", &path, fs::metadata(&path))?.map(|data| data.len()))
    }

    /// Lets a repository serve a blob that is there already.
    pub(super) fn link_blob(&self, name: &Name, digest: &Digest) -> Result<(), Error> {
        let path = self.linked(name, "_layers", digest);
        if path.exists() {
            return Ok(());
        }
        write(&path, b"")
    }

    pub(super) fn unlink_blob(&self, name: &Name, digest: &Digest) -> Result<bool, Error> {
        let path = self.linked(name, "_layers", digest);
        Ok(found("remove", &path, fs::remove_file(&path))?.is_some())
    }

    /// Takes a finished upload in as a blob. The caller has checked its digest and synced it.
    pub(super) fn adopt(&self, upload: &Path, name: &Name, digest: &Digest) -> Result<(), Error> {
        let path = self.blob_path(digest);
        let directory = path.parent().unwrap_or(&self.root);
        make_directory(directory)?;
        fs::rename(upload, &path).map_err(|error| failed("store", &path, error))?;
        sync_directory(directory)?;
        self.link_blob(name, digest)
    }

    pub(super) fn put_manifest(
        &self,
        name: &Name,
        digest: &Digest,
        content: &[u8],
        link: &Link,
        tag: Option<&str>,
    ) -> Result<(), Error> {
        let blob = self.blob_path(digest);
        if !blob.exists() {
            write(&blob, content)?;
        }
        let path = self.linked(name, "_manifests", digest);
        let text = serde_json::to_vec(link)
            .map_err(|error| failed("write", &path, std::io::Error::other(error)))?;
        write(&path, &text)?;
        match tag {
            Some(tag) => write(
                &self.repository(name).join("_tags").join(tag),
                digest.as_str().as_bytes(),
            ),
            None => Ok(()),
        }
    }

    pub(super) fn link(&self, name: &Name, digest: &Digest) -> Result<Option<Link>, Error> {
        let path = self.linked(name, "_manifests", digest);
        let Some(text) = found("read", &path, fs::read(&path))? else {
            return Ok(None);
        };
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| failed("read", &path, std::io::Error::other(error)))
    }

    pub(super) fn content(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let path = self.blob_path(digest);
        found("read", &path, fs::read(&path))
    }

    pub(super) fn tag(&self, name: &Name, tag: &str) -> Result<Option<Digest>, Error> {
        let path = self.repository(name).join("_tags").join(tag);
        Ok(found("read", &path, fs::read_to_string(&path))?
            .and_then(|text| Digest::parse(text.trim())))
    }

    pub(super) fn remove_tag(&self, name: &Name, tag: &str) -> Result<bool, Error> {
        let path = self.repository(name).join("_tags").join(tag);
        Ok(found("remove", &path, fs::remove_file(&path))?.is_some())
    }

    /// Removes a manifest and every tag that points at it.
    pub(super) fn remove_manifest(&self, name: &Name, digest: &Digest) -> Result<bool, Error> {
        for tag in self.tags(name)? {
            if self.tag(name, &tag)?.as_ref() == Some(digest) {
                self.remove_tag(name, &tag)?;
            }
        }
        let path = self.linked(name, "_manifests", digest);
        Ok(found("remove", &path, fs::remove_file(&path))?.is_some())
    }

    /// All tags in order.
    pub(super) fn tags(&self, name: &Name) -> Result<Vec<String>, Error> {
        let mut tags = file_names(&self.repository(name).join("_tags"))?;
        tags.sort();
        Ok(tags)
    }

    /// All manifests of a repository.
    pub(super) fn manifests(&self, name: &Name) -> Result<Vec<Digest>, Error> {
        digests_below(&self.repository(name).join("_manifests"))
    }

    /// All repositories in order.
    pub(super) fn repositories(&self) -> Result<Vec<Name>, Error> {
        let base = self.root.join("repositories");
        let mut names = Vec::new();
        let mut open = vec![base.clone()];
        while let Some(directory) = open.pop() {
            let Some(entries) = found("read", &directory, fs::read_dir(&directory))? else {
                continue;
            };
            for entry in entries {
                let path = entry
                    .map_err(|error| failed("read", &directory, error))?
                    .path();
                let last = path.file_name().and_then(|part| part.to_str());
                if last.is_some_and(|part| !part.starts_with('_')) && path.is_dir() {
                    let name = path
                        .strip_prefix(&base)
                        .ok()
                        .and_then(|path| path.to_str())
                        .and_then(Name::parse);
                    if let Some(name) = name.filter(|name| self.knows(name)) {
                        names.push(name);
                    }
                    open.push(path);
                }
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes uploads and blobs that nothing refers to and nobody touched for a day. Runs before the
    /// first request is answered, so it races with no push.
    fn collect(&self, now: SystemTime) -> Result<(), Error> {
        let stale = |path: &Path| {
            fs::metadata(path)
                .and_then(|data| data.modified())
                .ok()
                .and_then(|changed| now.duration_since(changed).ok())
                .is_some_and(|age| age > GRACE)
        };
        let uploads = self.root.join("uploads");
        for name in file_names(&uploads)? {
            let path = uploads.join(name);
            if stale(&path) {
                fs::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
            }
        }
        let mut used: HashSet<Digest> = HashSet::new();
        for name in self.repositories()? {
            for digest in self.manifests(&name)? {
                if let Some(content) = self.content(&digest)? {
                    used.extend(manifest::references(&content));
                }
                used.insert(digest);
            }
        }
        let blobs = self.root.join("blobs");
        for algorithm in file_names(&blobs)? {
            for prefix in file_names(&blobs.join(&algorithm))? {
                let directory = blobs.join(&algorithm).join(prefix);
                for hex in file_names(&directory)? {
                    let path = directory.join(&hex);
                    if !used.contains(&Digest::from_parts(&algorithm, &hex)) && stale(&path) {
                        fs::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// The names in a directory, temporary files of unfinished writes left out.
fn file_names(directory: &Path) -> Result<Vec<String>, Error> {
    let Some(entries) = found("read", directory, fs::read_dir(directory))? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed("read", directory, error))?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with("_new")
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn digests_below(directory: &Path) -> Result<Vec<Digest>, Error> {
    let mut digests = Vec::new();
    for algorithm in file_names(directory)? {
        for hex in file_names(&directory.join(&algorithm))? {
            digests.extend(Digest::parse(&format!("{algorithm}:{hex}")));
        }
    }
    digests.sort();
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collection_keeps_what_a_manifest_names_and_what_is_young() {
        let directory = tempfile::tempdir().expect("directory");
        let storage = Storage::open(directory.path()).expect("storage");
        let name = Name::parse("a/b").expect("name");
        let put = |content: &[u8]| {
            let digest = Digest::sha256(content);
            write(&storage.blob_path(&digest), content).expect("blob");
            storage.link_blob(&name, &digest).expect("link");
            digest
        };
        let (layer, stray) = (put(b"layer"), put(b"stray"));
        let text = format!(r#"{{"layers":[{{"digest":"{layer}"}}]}}"#);
        let manifest = Digest::sha256(text.as_bytes());
        let link = Link {
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            subject: None,
            artifact_type: None,
            annotations: serde_json::Map::new(),
        };
        storage
            .put_manifest(&name, &manifest, text.as_bytes(), &link, Some("1"))
            .expect("manifest");

        storage.collect(SystemTime::now()).expect("collect");
        assert!(storage.blob_path(&stray).exists());
        storage
            .collect(SystemTime::now() + GRACE * 2)
            .expect("collect");
        assert!(!storage.blob_path(&stray).exists());
        assert!(storage.blob_path(&layer).exists());
        assert!(storage.blob_path(&manifest).exists());
        assert_eq!(storage.tag(&name, "1").expect("tag"), Some(manifest));
    }
}
