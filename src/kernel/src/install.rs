//! Puts the kernel where Jupyter finds it, and takes it away again.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

const LOGO_32: &[u8] = include_bytes!("../../../kernelspec/logo-32x32.png");
const LOGO_64: &[u8] = include_bytes!("../../../kernelspec/logo-64x64.png");
const LOGO_SVG: &[u8] = include_bytes!("../../../kernelspec/logo-svg.svg");
const KERNEL_JSON: &str = include_str!("../../../kernelspec/kernel.json");

/// Where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The user's own Jupyter directory.
    User,
    /// `PREFIX/share/jupyter`.
    Prefix(PathBuf),
    /// The active virtual or conda environment.
    Environment,
}

/// Why the kernel was not installed or uninstalled.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// No virtual or conda environment is active.
    #[error("no environment is active: neither VIRTUAL_ENV nor CONDA_PREFIX is set")]
    NoEnvironment,
    /// There is no home directory.
    #[error("there is no home directory: HOME is not set")]
    NoHome,
    /// A file could not be written or removed.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The kernelspec that is compiled in is damaged.
    #[error("the built-in kernel.json does not parse: {0}")]
    Spec(#[from] serde_json::Error),
    /// Nothing is there.
    #[error("the katlab kernel is not installed in {0}")]
    NotInstalled(PathBuf),
}

impl InstallError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoEnvironment => {
                Some("activate one, or use `--user` or `--prefix DIRECTORY`".into())
            }
            Self::NoHome => Some("use `--prefix DIRECTORY`".into()),
            Self::File { .. } => {
                Some("choose another place with `--user` or `--prefix DIRECTORY`".into())
            }
            Self::Spec(_) => None,
            Self::NotInstalled(_) => {
                Some("`jupyter kernelspec list` shows what is installed where".into())
            }
        }
    }
}

impl Target {
    /// The kernelspec's directory.
    ///
    /// # Errors
    /// When the environment does not say where that is.
    pub fn directory(&self) -> Result<PathBuf, InstallError> {
        let variable = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let data = match self {
            Self::Prefix(prefix) => prefix.join("share/jupyter"),
            Self::Environment => variable("VIRTUAL_ENV")
                .or_else(|| variable("CONDA_PREFIX"))
                .ok_or(InstallError::NoEnvironment)?
                .join("share/jupyter"),
            Self::User => match (variable("JUPYTER_DATA_DIR"), variable("XDG_DATA_HOME")) {
                (Some(data), _) => data,
                (None, Some(data)) => data.join("jupyter"),
                (None, None) => variable("HOME")
                    .ok_or(InstallError::NoHome)?
                    .join(".local/share/jupyter"),
            },
        };
        Ok(data.join("kernels/katlab"))
    }
}

/// Writes the kernelspec and returns its directory.
///
/// # Errors
/// When a file cannot be written.
pub fn install(target: &Target, executable: &Path) -> Result<PathBuf, InstallError> {
    let directory = target.directory()?;
    std::fs::create_dir_all(&directory).map_err(|source| InstallError::File {
        path: directory.clone(),
        source,
    })?;
    let mut spec: serde_json::Value = serde_json::from_str(KERNEL_JSON)?;
    // The built-in file names the program alone, for packages that put it on PATH.
    spec["argv"][0] = json!(executable.display().to_string());
    let spec = serde_json::to_string_pretty(&spec)? + "\n";
    let files: [(&str, &[u8]); 4] = [
        ("kernel.json", spec.as_bytes()),
        ("logo-32x32.png", LOGO_32),
        ("logo-64x64.png", LOGO_64),
        ("logo-svg.svg", LOGO_SVG),
    ];
    for (name, content) in files {
        let path = directory.join(name);
        write(&directory, &path, content).map_err(|source| InstallError::File { path, source })?;
    }
    Ok(directory)
}

/// Removes the kernelspec and returns where it was.
///
/// # Errors
/// When there is none, or it cannot be removed.
pub fn uninstall(target: &Target) -> Result<PathBuf, InstallError> {
    let directory = target.directory()?;
    if !directory.join("kernel.json").exists() {
        return Err(InstallError::NotInstalled(directory));
    }
    std::fs::remove_dir_all(&directory).map_err(|source| InstallError::File {
        path: directory.clone(),
        source,
    })?;
    Ok(directory)
}

fn write(directory: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file()
        .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_kernelspec_names_this_program_and_goes_away_again() {
        let prefix = tempfile::tempdir().expect("a directory");
        let target = Target::Prefix(prefix.path().to_owned());
        let directory = install(&target, Path::new("/opt/katlab")).expect("installed");
        assert_eq!(
            directory,
            prefix.path().join("share/jupyter/kernels/katlab")
        );
        let spec: serde_json::Value = serde_json::from_slice(
            &std::fs::read(directory.join("kernel.json")).expect("kernel.json"),
        )
        .expect("JSON");
        assert_eq!(
            spec["argv"],
            json!(["/opt/katlab", "kernel", "-f", "{connection_file}"])
        );
        assert_eq!(spec["interrupt_mode"], "message");
        install(&target, Path::new("/opt/other")).expect("installed over the old one");
        uninstall(&target).expect("removed");
        assert!(!directory.exists());
        assert!(matches!(
            uninstall(&target),
            Err(InstallError::NotInstalled(_))
        ));
    }
}
