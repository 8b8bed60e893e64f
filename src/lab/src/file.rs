//! Files written so that nobody ever sees half of one: a temporary file beside the target, then a rename.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Replaces the file at `path` with `content`, with the permissions `mode`.
///
/// Folders that are missing are made, open to the owner alone when the file is.
///
/// # Errors
/// Whatever the file system answers; the old content is then still there.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // A link is followed, so that a configuration kept elsewhere stays a link to there.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => std::path::PathBuf::from("."),
    };
    make_folder(&folder, if mode & 0o077 == 0 { 0o700 } else { 0o755 })?;
    let mut file = tempfile::Builder::new()
        .prefix(".katlab-")
        .permissions(fs::Permissions::from_mode(mode))
        .tempfile_in(&folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    // The process's umask may have taken bits away that were asked for.
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    file.persist(&target).map_err(|error| error.error)?;
    Ok(())
}

/// Makes a folder and what leads to it; those that exist keep their permissions.
///
/// # Errors
/// Whatever the file system answers.
pub fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_with_the_permissions_asked_for() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b/secret");
        replace(&path, b"one", 0o600).unwrap();
        replace(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::metadata(home.path().join("a"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no temporary file stays behind"
        );
    }

    #[test]
    fn a_link_stays_a_link() {
        let home = tempfile::tempdir().unwrap();
        let real = home.path().join("real");
        fs::write(&real, "old").unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        replace(&link, b"new", 0o600).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&real).unwrap(), b"new");
    }
}
