//! Files for an engine that does not see this machine's: carried into a volume of the engine before the container
//! starts. Unlike files that the engine sees, they can be written by the container, which changes nothing elsewhere.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Container;

use super::volume::{Place, Volumes};

/// The paths at which a container has carried volumes, and where their files are.
pub(super) fn paths<'a>(
    container: &'a Container,
    volumes: &'a Volumes,
) -> impl Iterator<Item = (&'a str, &'a Path)> {
    let mounts = container.volume_mounts.iter().flatten();
    mounts.filter_map(|mount| match volumes.get(&mount.name) {
        Some(Place::Carried { files, .. }) => Some((mount.mount_path.as_str(), files.as_path())),
        _ => None,
    })
}

/// A tar archive for the root, with the files of a directory below a path. They are root's, as where they are
/// mounted from this machine, and of the pod's group if it has one.
pub(super) fn archive(path: &str, files: &Path, group: Option<u32>) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let base = PathBuf::from(path.trim_matches('/'));
    let mut left = vec![PathBuf::new()];
    while let Some(below) = left.pop() {
        for entry in std::fs::read_dir(files.join(&below))? {
            let entry = entry?;
            let name = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                left.push(name);
                continue;
            }
            let content = std::fs::read(entry.path())?;
            let mut header = tar::Header::new_gnu();
            header.set_mode(entry.metadata()?.permissions().mode() & 0o7777);
            header.set_size(content.len() as u64);
            header.set_mtime(0);
            header.set_uid(0);
            header.set_gid(group.unwrap_or(0).into());
            builder.append_data(&mut header, base.join(name), content.as_slice())?;
        }
    }
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_packed_below_their_path_with_their_modes() {
        let directory = tempfile::tempdir().expect("directory");
        let deep = directory.path().join("x");
        std::fs::create_dir(&deep).expect("directory");
        std::fs::write(deep.join("y"), "text").expect("file");
        let mode = std::fs::Permissions::from_mode(0o400);
        std::fs::set_permissions(deep.join("y"), mode).expect("mode");
        let packed = archive("/var/run/it/", directory.path(), None).expect("archive");
        let mut packed = tar::Archive::new(packed.as_slice());
        let entries: Vec<(PathBuf, u32)> = packed
            .entries()
            .expect("entries")
            .map(|entry| {
                let entry = entry.expect("entry");
                let path = entry.path().expect("path").into_owned();
                (path, entry.header().mode().expect("mode"))
            })
            .collect();
        assert_eq!(entries, [(PathBuf::from("var/run/it/x/y"), 0o400)]);
    }
}
