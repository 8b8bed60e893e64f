//! Finds what the Rust engine compiles with.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A usable Rust toolchain.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// `PATH` for the engine: where cargo is comes first.
    pub path: OsString,
    /// Where the shared standard library lies.
    pub libraries: PathBuf,
    /// Whether the standard library's source is there; without it types cannot be inferred.
    pub has_source: bool,
}

impl Toolchain {
    /// What the compiler calls itself, such as `rustc 1.90.0 (1159e78c4 2025-09-14)`.
    pub async fn version(&self) -> Option<String> {
        let mut rustc = tokio::process::Command::new("rustc");
        rustc.arg("--version").env("PATH", &self.path);
        let output = rustc.stdin(Stdio::null()).output().await.ok()?;
        let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        (output.status.success() && !text.is_empty()).then_some(text)
    }
}

/// What a Rust cell lacks on this machine.
#[derive(Debug, thiserror::Error)]
pub enum MissingToolchain {
    /// No cargo anywhere.
    #[error("Rust cells need a Rust toolchain, and no `cargo` is on PATH; magics work without it")]
    Cargo,
    /// No linker driver.
    #[error("Rust cells need a C linker, and no `cc` is on PATH; magics work without it")]
    Linker,
    /// rustc is there but does not answer.
    #[error("rustc does not work: {0}")]
    Rustc(String),
}

impl MissingToolchain {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Cargo => {
                "install Rust with rustup (https://rustup.rs), then run the cell again".to_owned()
            }
            Self::Linker => {
                "install a C compiler (Debian: `apt install gcc`), then run the cell again"
                    .to_owned()
            }
            Self::Rustc(_) => {
                "run `rustc --version` in a terminal; `rustup default stable` may help".to_owned()
            }
        })
    }
}

/// Looks for cargo on `PATH` and where installers put it: notebook servers started from a
/// desktop or a service seldom have the shell's `PATH`.
///
/// # Errors
/// When no cargo or no linker is found, or rustc does not answer.
pub async fn find() -> Result<Toolchain, MissingToolchain> {
    let mut places: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    if !places.iter().any(|place| is_program(&place.join("cargo"))) {
        let under = |variable: &str, tail: &str| {
            std::env::var_os(variable).map(|home| Path::new(&home).join(tail))
        };
        let usual = [
            under("CARGO_HOME", "bin"),
            under("HOME", ".cargo/bin"),
            under("CONDA_PREFIX", "bin"),
        ];
        let found = usual
            .into_iter()
            .flatten()
            .find(|place| is_program(&place.join("cargo")));
        places.insert(0, found.ok_or(MissingToolchain::Cargo)?);
    }
    if !places.iter().any(|place| is_program(&place.join("cc"))) {
        return Err(MissingToolchain::Linker);
    }
    let path = std::env::join_paths(&places)
        .map_err(|error| MissingToolchain::Rustc(error.to_string()))?;
    let output = tokio::process::Command::new("rustc")
        .args(["--print", "sysroot", "--print", "target-libdir"])
        .env("PATH", &path)
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| MissingToolchain::Rustc(error.to_string()))?;
    if !output.status.success() {
        return Err(MissingToolchain::Rustc(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().map(PathBuf::from);
    match (lines.next(), lines.next()) {
        (Some(sysroot), Some(libraries)) => {
            // A start asks the toolchain some twenty times, and each time rustup's stand-ins would
            // look for it again.
            let programs = sysroot.join("bin");
            let first = places.iter().find(|place| is_program(&place.join("cargo")));
            let is_rustup = first.is_some_and(|place| is_program(&place.join("rustup")));
            if is_rustup && is_program(&programs.join("cargo")) {
                places.insert(0, programs);
            }
            Ok(Toolchain {
                path: std::env::join_paths(&places).unwrap_or(path),
                libraries,
                has_source: sysroot.join("lib/rustlib/src/rust/library/std").is_dir(),
            })
        }
        _ => Err(MissingToolchain::Rustc(
            "it does not say where its libraries are".to_owned(),
        )),
    }
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
