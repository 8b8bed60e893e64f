//! Text files that a person works with: read to be shown, written whole.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The largest file that is read to be shown or compared.
pub const LARGEST: u64 = 16 << 20;

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("there is no file {path}")]
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// The path leads to a folder.
    #[error("{path} is a folder")]
    Folder {
        /// The path.
        path: PathBuf,
        /// What lies in it, folders with a slash, at most a hundred.
        entries: Vec<String>,
    },
    /// The file holds something else than text.
    #[error("{path} is not text ({size} bytes)")]
    Binary {
        /// The path.
        path: PathBuf,
        /// How large it is.
        size: u64,
    },
    /// The file is too large to be shown.
    #[error("{path} is too large to be shown ({size} bytes)")]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// How large it is.
        size: u64,
    },
    /// The system refuses.
    #[error("cannot {action} {path}: {source}")]
    Refused {
        /// What was to be done: read, write, …
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Error {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Missing { .. } => {
                "check the path; it is looked up from the notebook's directory".to_owned()
            }
            Self::Folder { entries, .. } if entries.is_empty() => {
                "it is empty; name a file".to_owned()
            }
            Self::Folder { entries, .. } => format!("name a file in it: {}", entries.join(", ")),
            Self::Binary { .. } => {
                "only text can be shown; `!file PATH` tells what it is".to_owned()
            }
            Self::TooLarge { .. } => "`!head PATH` shows the start of it".to_owned(),
            Self::Refused { source, .. } => match source.kind() {
                ErrorKind::PermissionDenied => "check who owns it and its permissions".to_owned(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    "free some disk space".to_owned()
                }
                ErrorKind::NotADirectory => "a part of the path is a file, not a folder".to_owned(),
                _ => return None,
            },
        })
    }
}

/// Reads a text file. Bytes that are no UTF-8 are replaced.
///
/// # Errors
/// When there is no such file, or it is no text.
pub fn read(path: &Path) -> Result<String, Error> {
    let refused = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => Error::Missing {
            path: path.to_owned(),
        },
        _ => Error::Refused {
            action: "read",
            path: path.to_owned(),
            source,
        },
    };
    let metadata = std::fs::metadata(path).map_err(refused)?;
    if metadata.is_dir() {
        return Err(Error::Folder {
            path: path.to_owned(),
            entries: entries(path),
        });
    }
    // A pipe or a device may never end.
    if !metadata.is_file() {
        return Err(Error::Binary {
            path: path.to_owned(),
            size: metadata.len(),
        });
    }
    if metadata.len() > LARGEST {
        return Err(Error::TooLarge {
            path: path.to_owned(),
            size: metadata.len(),
        });
    }
    let content = std::fs::read(path).map_err(refused)?;
    if content.iter().take(8192).any(|byte| *byte == 0) {
        return Err(Error::Binary {
            path: path.to_owned(),
            size: metadata.len(),
        });
    }
    Ok(String::from_utf8(content)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn entries(path: &Path) -> Vec<String> {
    let mut entries: Vec<String> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("{}{slash}", entry.file_name().to_string_lossy())
        })
        .collect();
    entries.sort();
    entries.truncate(100);
    entries
}

/// Writes a text file, whole or not at all. Folders are made as needed, a link is followed, and a
/// file that is there keeps its permissions.
///
/// # Errors
/// When the system refuses; what was there before is then still there.
pub fn write(path: &Path, content: &str) -> Result<(), Error> {
    let refused = |source| Error::Refused {
        action: "write",
        path: path.to_owned(),
        source,
    };
    if path.is_dir() {
        return Err(Error::Folder {
            path: path.to_owned(),
            entries: entries(path),
        });
    }
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = target
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(refused)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".katlab-");
    // For a new file these bits are asked for, and the process's umask takes its share.
    builder.permissions(std::fs::Permissions::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(refused)?;
    file.write_all(content.as_bytes()).map_err(refused)?;
    if let Ok(metadata) = std::fs::metadata(&target) {
        file.as_file()
            .set_permissions(metadata.permissions())
            .map_err(refused)?;
    }
    file.as_file().sync_all().map_err(refused)?;
    file.persist(&target)
        .map_err(|error| refused(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_written_whole_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/실험.yaml");
        write(&path, "one\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        write(&path, "two\n").unwrap();
        assert_eq!(read(&path).unwrap(), "two\n");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("real"), "old").unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        write(&dir.path().join("link"), "new").unwrap();
        assert!(
            std::fs::symlink_metadata(dir.path().join("link"))
                .unwrap()
                .is_symlink()
        );
        assert_eq!(
            std::fs::read_to_string(dir.path().join("real")).unwrap(),
            "new"
        );
    }

    #[test]
    fn what_cannot_be_shown_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("image"), b"a\0b").unwrap();
        assert!(matches!(
            read(&dir.path().join("image")),
            Err(Error::Binary { size: 3, .. })
        ));
        assert!(matches!(
            read(&dir.path().join("none")),
            Err(Error::Missing { .. })
        ));
        let error = read(dir.path()).unwrap_err();
        assert!(error.hint().unwrap().contains("image"), "{error}");
        assert!(matches!(
            read(Path::new("/dev/zero")),
            Err(Error::Binary { .. })
        ));
        let error = write(&dir.path().join("image/below"), "x").unwrap_err();
        assert!(error.to_string().contains("image/below"), "{error}");
        assert!(write(dir.path(), "x").is_err());
    }
}
