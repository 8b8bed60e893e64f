//! The crate `katlab` for Rust cells, carried inside this program and unpacked when a cell
//! names it.

mod built;
mod names;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

pub use self::names::{Name, at, begun, behind, named};

const MANIFEST: &str = "[package]\nname = \"katlab\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\npath = \"lib.rs\"\n\n[workspace]\n";

const SOURCES: &[(&str, &str)] = &[
    ("Cargo.toml", MANIFEST),
    ("lib.rs", include_str!("../../../cells/src/lib.rs")),
    ("bridge.rs", include_str!("../../../cells/src/bridge.rs")),
    ("follow.rs", include_str!("../../../cells/src/follow.rs")),
    ("images.rs", include_str!("../../../cells/src/images.rs")),
    ("json.rs", include_str!("../../../cells/src/json.rs")),
    ("plot.rs", include_str!("../../../cells/src/plot.rs")),
    ("shown.rs", include_str!("../../../cells/src/shown.rs")),
    ("table.rs", include_str!("../../../cells/src/table.rs")),
    ("trials.rs", include_str!("../../../cells/src/trials.rs")),
];

/// Sources of one kind lie in one place: cargo tells builds apart by path, so what was built of
/// them can be used again, and never for others.
static DIGEST: LazyLock<String> = LazyLock::new(|| {
    let mut all = Sha256::new();
    for (name, text) in SOURCES {
        all.update((name.len() as u64).to_le_bytes());
        all.update(name);
        all.update((text.len() as u64).to_le_bytes());
        all.update(text);
    }
    all.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
});

/// Whether code names the crate.
pub fn is_named(code: &str) -> bool {
    code.match_indices("katlab").any(|(at, word)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let boundary = |c: Option<char>| c.is_none_or(|c| !(c.is_alphanumeric() || c == '_'));
        boundary(before) && boundary(after)
    })
}

/// The crate on disk, below katlab's own directory: its sources, and what engines built of them.
#[derive(Clone, Debug, Default)]
pub struct Helper {
    all: PathBuf,
}

impl Helper {
    /// The crate below `home`; nothing is written yet.
    pub fn new(home: &Path) -> Self {
        Self {
            all: home.join("cells"),
        }
    }

    /// Where this version's sources are.
    pub fn directory(&self) -> PathBuf {
        self.all.join(&*DIGEST).join("source")
    }

    /// Writes the sources and returns their directory. Files that are right already stay
    /// untouched, so that cargo need not build again.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn unpack(&self) -> std::io::Result<PathBuf> {
        let directory = self.directory();
        std::fs::create_dir_all(&directory)?;
        for (name, text) in SOURCES {
            let path = directory.join(name);
            if std::fs::read_to_string(&path).is_ok_and(|found| found == *text) {
                continue;
            }
            let mut file = tempfile::NamedTempFile::new_in(&directory)?;
            file.write_all(text.as_bytes())?;
            file.persist(&path).map_err(|error| error.error)?;
        }
        Ok(directory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_the_crate_is_carried() {
        let lib = SOURCES
            .iter()
            .find(|(name, _)| *name == "lib.rs")
            .expect("lib.rs")
            .1;
        for line in lib.lines() {
            let line = line.trim_start_matches("pub ");
            if let Some(module) = line
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(';'))
            {
                assert!(
                    SOURCES
                        .iter()
                        .any(|(name, _)| *name == format!("{module}.rs")),
                    "{module} is not carried"
                );
            }
        }
    }

    #[test]
    fn the_crate_is_wanted_only_where_it_is_named() {
        assert!(is_named("let t = katlab::trials(\"a\")?;"));
        assert!(!is_named("let my_katlab = 1;"));
    }
}
