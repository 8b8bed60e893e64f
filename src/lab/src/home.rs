//! The folder that katlab keeps its own state in, and private files.
//!
//! Everything below the home is for its owner only: directories 0700, files 0600, written to a
//! temporary file first and renamed, so that a reader never meets half a file.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why the home, or a file in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither `KATLAB_HOME` nor a home directory is known.
    #[error(
        "there is no place for katlab's own files: KATLAB_HOME, XDG_DATA_HOME and HOME are all unset"
    )]
    Nowhere,
    /// A directory could not be made or its permissions not be set.
    #[error("cannot make the directory {path}: {source}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Nowhere => "set KATLAB_HOME to a directory that you may write to".to_owned(),
            Self::Directory { .. } | Self::Write { .. } => {
                "set KATLAB_HOME to a directory that you may write to, or free some disk space"
                    .to_owned()
            }
        })
    }
}

/// The folder that katlab keeps its own state in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The home that the environment names: `KATLAB_HOME`, else `$XDG_DATA_HOME/katlab`, else
    /// `~/.local/share/katlab`.
    ///
    /// # Errors
    /// [`Error::Nowhere`] when none of them is set.
    pub fn from_env() -> Result<Self, Error> {
        Self::choose(|name| std::env::var_os(name)).ok_or(Error::Nowhere)
    }

    fn choose(env: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let set = |name| {
            env(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        set("KATLAB_HOME")
            // The directory standard says that a relative value is to be ignored.
            .or_else(|| {
                set("XDG_DATA_HOME")
                    .filter(|path| path.is_absolute())
                    .map(|path| path.join("katlab"))
            })
            .or_else(|| set("HOME").map(|path| path.join(".local/share/katlab")))
            .map(|path| Self(std::path::absolute(&path).unwrap_or(path)))
    }

    /// The home at a given path, as tests use it.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where the home is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path below the home.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// Where the sandbox keeps its state.
    pub fn sandbox(&self) -> PathBuf {
        self.0.join("sandbox")
    }

    /// Makes the home, readable for its owner only.
    ///
    /// # Errors
    /// [`Error::Directory`] when that is not possible.
    pub fn ensure(&self) -> Result<(), Error> {
        private_dir(&self.0)
    }
}

/// Makes a directory (and its parents) that only its owner can look into.
///
/// # Errors
/// [`Error::Directory`] when that is not possible.
pub fn private_dir(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Directory {
        path: path.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    let mode = std::fs::metadata(path)
        .map_err(failed)?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    }
    Ok(())
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// [`Error::Write`] when the file, or the temporary one beside it, cannot be written.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    let failed = |source| Error::Write {
        path: path.to_owned(),
        source,
    };
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // A temporary file is made with mode 0600, so the content is never readable for others.
    let mut file = tempfile::Builder::new()
        .prefix(".katlab-")
        .tempfile_in(parent)
        .map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(pairs: &[(&str, &str)]) -> Option<PathBuf> {
        let pairs: Vec<(String, OsString)> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect();
        Home::choose(|name| {
            pairs
                .iter()
                .find(|(have, _)| have == name)
                .map(|(_, value)| value.clone())
        })
        .map(|home| home.0)
    }

    #[test]
    fn the_home_is_what_the_most_explicit_variable_says() {
        assert_eq!(
            chosen(&[
                ("KATLAB_HOME", "/k"),
                ("XDG_DATA_HOME", "/x"),
                ("HOME", "/h")
            ]),
            Some("/k".into())
        );
        assert_eq!(
            chosen(&[("XDG_DATA_HOME", "/x"), ("HOME", "/h")]),
            Some("/x/katlab".into())
        );
        assert_eq!(
            chosen(&[("XDG_DATA_HOME", "x"), ("HOME", "/h")]),
            Some("/h/.local/share/katlab".into())
        );
        assert_eq!(
            chosen(&[("KATLAB_HOME", ""), ("HOME", "/h")]),
            Some("/h/.local/share/katlab".into())
        );
        assert_eq!(chosen(&[]), None);
    }

    #[test]
    fn private_files_are_readable_for_their_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("a/b"));
        home.ensure().unwrap();
        let file = home.join("f");
        write_private(&file, b"one").unwrap();
        write_private(&file, b"two").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            std::fs::metadata(home.path()).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(
            std::fs::read_dir(home.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }
}
