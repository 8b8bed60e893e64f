//! What engines built of the crate, kept for those that start later: a build takes seconds, a
//! copy of it milliseconds.
//!
//! cargo names a build by all that it depends on (compiler, flags, profile, path of the
//! sources), so one that does not fit is not looked at.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{DIGEST, Helper};

/// Builds kept at once: compilers and levels of optimisation that take turns.
const BUILDS: usize = 4;
/// A copy takes no longer than this.
const ROOM: std::time::Duration = std::time::Duration::from_secs(3600);
const FINGERPRINTS: &str = ".fingerprint";

impl Helper {
    fn built(&self) -> PathBuf {
        self.all.join(&*DIGEST).join("built")
    }

    /// Copies what was built before into an engine's build directory, before the engine starts.
    /// What cannot be copied is built again.
    pub fn restore(&self, build: &Path) {
        let target = build.join("target");
        for kept in entries(&self.built()) {
            if copy(&kept, &target).is_err() {
                // Half a library would be taken for a whole one.
                let _ = std::fs::remove_dir_all(&target);
                return;
            }
        }
    }

    /// Keeps what an engine built.
    ///
    /// # Errors
    /// When it cannot be read, or katlab's directory cannot be written; nothing half-kept stays.
    pub fn keep(&self, build: &Path) -> io::Result<()> {
        let target = build.join("target");
        for platform in entries(&target) {
            let Some(triple) = platform.file_name() else {
                continue;
            };
            let debug = Path::new(triple).join("debug");
            for fingerprint in entries(&target.join(&debug).join(FINGERPRINTS)) {
                let unit = fingerprint.file_name().and_then(|name| name.to_str());
                // The file named so is written when a build has ended well.
                if let Some(unit) = unit.filter(|unit| unit.starts_with("katlab-"))
                    && fingerprint.join("lib-katlab").is_file()
                {
                    self.keep_unit(&target, &debug, unit)?;
                }
            }
        }
        Ok(())
    }

    /// Keeps one build of those below `target`, in whose directory `debug` it is.
    fn keep_unit(&self, target: &Path, debug: &Path, unit: &str) -> io::Result<()> {
        let built = self.built();
        let kept = built.join(unit);
        let libraries = debug.join("deps");
        let library = libraries.join(format!("lib{unit}.rlib"));
        if kept.join(&library).is_file() {
            return Ok(());
        }
        // It was damaged; that is why it was built again.
        let _ = std::fs::remove_dir_all(&kept);
        std::fs::create_dir_all(&built)?;
        let room = tempfile::Builder::new().prefix(".").tempdir_in(&built)?;
        std::fs::create_dir_all(room.path().join(&libraries))?;
        for part in [
            debug.join(FINGERPRINTS).join(unit),
            library,
            libraries.join(format!("lib{unit}.rmeta")),
            libraries.join(format!("{unit}.d")),
        ] {
            copy(&target.join(&part), &room.path().join(&part))?;
        }
        synchronise(room.path())?;
        match std::fs::rename(room.path(), &kept) {
            // Another kernel was as quick.
            Err(_) if kept.exists() => {}
            renamed => renamed?,
        }
        self.forget();
        Ok(())
    }

    /// Removes the oldest builds when there are too many, and all those of other sources.
    fn forget(&self) {
        let mut builds = entries(&self.built());
        builds.sort_by_key(|path| path.metadata().and_then(|found| found.modified()).ok());
        let too_many = builds.len().saturating_sub(BUILDS);
        let others = entries(&self.all)
            .into_iter()
            .filter(|path| path.file_name().is_some_and(|name| *name != **DIGEST))
            .map(|path| path.join("built"));
        // Rooms of kernels that did not live to see their copy done.
        let is_old = |path: &PathBuf| {
            let changed = path.metadata().and_then(|found| found.modified()).ok();
            changed
                .and_then(|time| time.elapsed().ok())
                .is_some_and(|age| age > ROOM)
        };
        let rooms = all_entries(&self.built())
            .filter(|path| !is_named(path) && is_old(path))
            .collect::<Vec<_>>();
        let old = builds.into_iter().take(too_many);
        for path in old.chain(others).chain(rooms) {
            // It is in nobody's way, and the next time comes.
            let _ = std::fs::remove_dir_all(path);
        }
    }
}

/// What a directory holds but for rooms of copies under way; nothing when it is not there.
fn entries(directory: &Path) -> Vec<PathBuf> {
    all_entries(directory)
        .filter(|path| is_named(path))
        .collect()
}

fn all_entries(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let found = std::fs::read_dir(directory).into_iter().flatten().flatten();
    found.map(|entry| entry.path())
}

fn is_named(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| !name.starts_with('.'))
}

/// Copies a file, or a directory with all in it. Copies are newer than the sources, as what cargo
/// builds is.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry?;
        let inside = entry.path().strip_prefix(from).unwrap_or(Path::new(""));
        let to = if inside.as_os_str().is_empty() {
            to.to_owned()
        } else {
            to.join(inside)
        };
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&to)?;
        } else {
            std::fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Has all files of a directory on disk before they are taken for whole.
fn synchronise(directory: &Path) -> io::Result<()> {
    for entry in walkdir::WalkDir::new(directory) {
        File::open(entry?.path())?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn build(directory: &Path, unit: &str, is_whole: bool) {
        let debug = directory.join("target/x86/debug");
        write(
            &debug
                .join(".fingerprint")
                .join(unit)
                .join("invoked.timestamp"),
            "",
        );
        if is_whole {
            write(
                &debug.join(".fingerprint").join(unit).join("lib-katlab"),
                "hash",
            );
        }
        for name in [
            format!("lib{unit}.rlib"),
            format!("lib{unit}.rmeta"),
            format!("{unit}.d"),
        ] {
            write(&debug.join("deps").join(name), unit);
        }
    }

    fn engine_with_a_build() -> (tempfile::TempDir, Helper, PathBuf) {
        let home = tempfile::tempdir().expect("a directory");
        let helper = Helper::new(home.path());
        let engine = home.path().join("engine");
        build(&engine, "katlab-1", true);
        (home, helper, engine)
    }

    #[test]
    fn what_one_engine_built_is_there_for_the_next() {
        let home = tempfile::tempdir().expect("a directory");
        let helper = Helper::new(home.path());
        let (first, second) = (home.path().join("first"), home.path().join("second"));
        helper.restore(&second);
        assert!(!second.exists(), "nothing was built yet");
        build(&first, "katlab-1", true);
        build(&first, "katlab-2", false);
        build(&first, "ctx-3", true);
        helper.keep(&first).expect("kept");
        helper.keep(&first).expect("kept once");
        helper.restore(&second);
        let debug = second.join("target/x86/debug");
        assert_eq!(
            std::fs::read_to_string(debug.join("deps/libkatlab-1.rlib")).expect("there"),
            "katlab-1"
        );
        assert!(debug.join(".fingerprint/katlab-1/lib-katlab").is_file());
        assert!(!debug.join("deps/libkatlab-2.rlib").exists());
        assert!(!debug.join("deps/ctx-3.d").exists());
    }

    #[test]
    fn builds_are_bounded_and_those_of_other_sources_go() {
        let home = tempfile::tempdir().expect("a directory");
        let helper = Helper::new(home.path());
        let other = home.path().join("cells/0123/built/katlab-9/file");
        write(&other, "");
        for number in 0..BUILDS + 2 {
            let engine = home.path().join(format!("engine-{number}"));
            build(&engine, &format!("katlab-{number}"), true);
            helper.keep(&engine).expect("kept");
            let time =
                std::time::SystemTime::now() - std::time::Duration::from_secs(60 - number as u64);
            let kept = File::open(helper.built().join(format!("katlab-{number}"))).expect("there");
            kept.set_modified(time).expect("set");
        }
        let kept = |number: usize| helper.built().join(format!("katlab-{number}")).exists();
        assert_eq!(entries(&helper.built()).len(), BUILDS);
        assert!(!kept(0) && kept(BUILDS + 1));
        assert!(!other.exists());
    }

    #[test]
    fn a_damaged_build_is_replaced() {
        let (_home, helper, engine) = engine_with_a_build();
        helper.keep(&engine).expect("kept");
        let library = helper
            .built()
            .join("katlab-1/x86/debug/deps/libkatlab-1.rlib");
        std::fs::remove_file(&library).expect("removed");
        helper.keep(&engine).expect("kept again");
        assert!(library.is_file());
    }

    #[test]
    fn a_build_without_its_library_is_not_kept() {
        let (_home, helper, engine) = engine_with_a_build();
        std::fs::remove_file(engine.join("target/x86/debug/deps/libkatlab-1.rlib"))
            .expect("removed");
        helper.keep(&engine).expect_err("half of it is there");
        let left = std::fs::read_dir(helper.built()).expect("there").count();
        assert_eq!(left, 0);
    }
}
