//! Files of a container, as the engine packs them into archives. They can be read while the container runs and
//! after its end, from its own file system and from its volumes.

use std::path::{Path, PathBuf};

use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder,
};
use futures::StreamExt;

use super::{CollectError, Subject};
use crate::runtime::Runtime;
use crate::runtime::engine::refusal;

/// The longest metrics file or directory that is read, in bytes.
pub(super) const LONGEST: usize = 256 << 20;
/// How many symbolic links are followed to a metrics file, as a system does.
const LINKS: usize = 8;

/// What tells that a file has changed: size, time of the last change, and the path that links lead to.
pub(super) type Mark = (i64, Option<String>, PathBuf);

impl Runtime {
    /// A file of a container; a symbolic link is followed. `None` when there is none.
    pub(super) async fn file(
        &self,
        subject: &Subject,
        container: &str,
        path: &str,
    ) -> Result<Option<Vec<u8>>, CollectError> {
        let mut path = PathBuf::from(path);
        for _ in 0..LINKS {
            let Some(archive) = self.archive(subject, container, &path).await? else {
                return Ok(None);
            };
            let unreadable = |error| subject.unreadable(format!("{}: {error}", path.display()));
            match first_entry(&archive).map_err(unreadable)? {
                Some(Entry::File(bytes)) => return Ok(Some(bytes)),
                Some(Entry::Link(target)) => path = behind(&path, &target),
                None => return Err(subject.unreadable(format!("{} is no file", path.display()))),
            }
        }
        Ok(None)
    }

    /// What stands at a path of a container, in an archive.
    pub(super) async fn archive(
        &self,
        subject: &Subject,
        container: &str,
        path: &Path,
    ) -> Result<Option<Vec<u8>>, CollectError> {
        let query = DownloadFromContainerOptionsBuilder::default()
            .path(&path.to_string_lossy())
            .build();
        let docker = self.engine().docker();
        let mut chunks = std::pin::pin!(docker.download_from_container(container, Some(query)));
        let mut archive = Vec::new();
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => archive.extend_from_slice(&chunk),
                Err(error) if matches!(refusal(&error), Some((404, _))) => return Ok(None),
                Err(source) => return Err(subject.engine(source)),
            }
            if archive.len() > LONGEST {
                return Err(CollectError::TooLong {
                    trial: subject.name.clone(),
                    path: path.display().to_string(),
                });
            }
        }
        Ok(Some(archive))
    }

    /// What tells whether a file has changed, without reading it. `None` when there is none.
    pub(super) async fn file_mark(
        &self,
        subject: &Subject,
        container: &str,
        path: &str,
    ) -> Result<Option<Mark>, CollectError> {
        let mut path = PathBuf::from(path);
        for _ in 0..LINKS {
            let query = ContainerArchiveInfoOptionsBuilder::default()
                .path(&path.to_string_lossy())
                .build();
            let docker = self.engine().docker();
            let info = match docker
                .get_container_archive_info(container, Some(query))
                .await
            {
                Ok(info) => info,
                Err(error) if matches!(refusal(&error), Some((404, _))) => return Ok(None),
                Err(source) => return Err(subject.engine(source)),
            };
            if info.link_target.is_empty() {
                return Ok(Some((info.size, info.modification_time, path)));
            }
            path = behind(&path, Path::new(&info.link_target));
        }
        Ok(None)
    }
}

/// Where a link leads to; an absolute target takes the whole path's place.
fn behind(link: &Path, target: &Path) -> PathBuf {
    link.parent().unwrap_or(Path::new("/")).join(target)
}

enum Entry {
    File(Vec<u8>),
    Link(PathBuf),
}

fn first_entry(archive: &[u8]) -> std::io::Result<Option<Entry>> {
    let mut archive = tar::Archive::new(archive);
    let Some(entry) = archive.entries()?.next() else {
        return Ok(None);
    };
    let mut entry = entry?;
    let kind = entry.header().entry_type();
    if kind.is_symlink() {
        return Ok(entry
            .link_name()?
            .map(|target| Entry::Link(target.into_owned())));
    }
    if !kind.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut entry, &mut bytes)?;
    Ok(Some(Entry::File(bytes)))
}
