//! Temporary directories that name their owner, so that what a killed kernel left is found.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A private directory for one purpose; gone when dropped. Those of kernels that are no more are
/// removed on the way.
///
/// # Errors
/// When the system's directory for temporary files cannot be written.
pub fn directory(purpose: &str) -> std::io::Result<tempfile::TempDir> {
    directory_in(&std::env::temp_dir(), purpose)
}

fn directory_in(parent: &Path, purpose: &str) -> std::io::Result<tempfile::TempDir> {
    let prefix = format!("katlab-{purpose}-");
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| {
            name.strip_prefix(&prefix)?
                .split('-')
                .next()?
                .parse::<u32>()
                .ok()
        });
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another user's leftovers cannot be removed, and need not be.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    tempfile::Builder::new()
        .prefix(&format!("{prefix}{}-", std::process::id()))
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_dead_owners_go_and_others_stay() {
        let parent = tempfile::tempdir().expect("a directory");
        let dead = parent.path().join("katlab-rust-4194999-x");
        let other = parent.path().join("katlab-other-4194999-x");
        std::fs::create_dir(&dead).expect("made");
        std::fs::create_dir(&other).expect("made");
        let own = directory_in(parent.path(), "rust").expect("a directory");
        let second = directory_in(parent.path(), "rust").expect("a directory");
        assert!(!dead.exists());
        assert!(other.exists() && own.path().exists() && second.path().exists());
        let mode = std::fs::metadata(own.path())
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
