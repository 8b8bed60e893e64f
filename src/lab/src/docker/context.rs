//! The build context: which files go, what is questionable about them, and the archive sent.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Result;
use super::error::Error;
use super::ignore::{self, Ignore, Verdict};

mod archive;

/// Files above this size are worth a word.
const BIG: u64 = 50 << 20;

/// Something questionable in a context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Concern {
    /// A file that likely holds a secret, which would become part of the image.
    Secret {
        /// Its path in the context.
        path: String,
    },
    /// A file so big that it slows every build down.
    Big {
        /// Its path in the context.
        path: String,
        /// Its size.
        bytes: u64,
    },
    /// A link that points out of the context; it is sent as a link and will point to nothing.
    LinkOutside {
        /// Its path in the context.
        path: String,
        /// Where it points.
        target: String,
    },
    /// A socket or device, which cannot be sent.
    Skipped {
        /// Its path in the context.
        path: String,
        /// What it is.
        what: &'static str,
    },
}

impl std::fmt::Display for Concern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Secret { path } => {
                write!(
                    f,
                    "`{path}` looks like a secret and would be part of the context; leave it out with a line in .dockerignore"
                )
            }
            Self::Big { path, bytes } => {
                write!(
                    f,
                    "`{path}` is {} MB and is sent with every build; leave it out with a line in .dockerignore if the image does not need it",
                    bytes >> 20
                )
            }
            Self::LinkOutside { path, target } => {
                write!(
                    f,
                    "`{path}` links to {target}, out of the context; it is sent as a link, so in the image it will point to nothing"
                )
            }
            Self::Skipped { path, what } => write!(f, "`{path}` is a {what} and is not sent"),
        }
    }
}

/// One thing to send.
#[derive(Debug)]
struct Entry {
    name: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder,
    File,
    Link(PathBuf),
    /// A file made up for the build.
    Made(Vec<u8>),
}

/// A context that was looked through.
#[derive(Debug)]
pub struct Context {
    root: PathBuf,
    entries: Vec<Entry>,
    /// How many files are sent.
    pub files: usize,
    /// How many bytes they hold.
    pub bytes: u64,
    /// How many entries the ignore file left out, a folder counting once.
    pub ignored: usize,
    /// What is questionable.
    pub concerns: Vec<Concern>,
    /// The Dockerfile's name in the archive.
    pub dockerfile: String,
    /// The Dockerfile's text.
    pub dockerfile_text: String,
    /// The Dockerfile's own path.
    pub dockerfile_path: PathBuf,
}

impl Context {
    /// Looks through a folder. Blocks on the file system.
    ///
    /// # Errors
    /// When the folder, its Dockerfile, its ignore file or something in it cannot be read.
    pub fn scan(root: &Path, dockerfile: Option<&Path>) -> Result<Self> {
        let unusable = |why: String| Error::Context {
            path: root.to_owned(),
            why,
        };
        let metadata = fs::metadata(root).map_err(|error| {
            unusable(match error.kind() {
                io::ErrorKind::NotFound => "there is no such folder".to_owned(),
                io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
                _ => error.to_string(),
            })
        })?;
        if !metadata.is_dir() {
            return Err(unusable("it is a file, not a folder".to_owned()));
        }
        let root = fs::canonicalize(root).map_err(|error| unusable(error.to_string()))?;
        let (path, text) = read_dockerfile(&root, dockerfile)?;
        // Where a link leads counts: of a link to elsewhere, the link alone would be sent.
        let inside = fs::canonicalize(&path)
            .ok()
            .and_then(|real| real.strip_prefix(&root).ok().map(Path::to_owned));

        let ignore_path = ignore::file_for(&root, &path);
        let (rules, ignore_text) = match &ignore_path {
            Some(path) => {
                let bytes = fs::read(path).map_err(|source| Error::ContextFile {
                    path: path.clone(),
                    source,
                })?;
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let rules = Ignore::parse(&text).map_err(|source| Error::Ignore {
                    path: path.clone(),
                    source,
                })?;
                (rules, Some(text))
            }
            None => (Ignore::default(), None),
        };

        let mut context = Self {
            root,
            entries: Vec::new(),
            files: 0,
            bytes: 0,
            ignored: 0,
            concerns: Vec::new(),
            dockerfile: String::new(),
            dockerfile_text: text,
            dockerfile_path: path,
        };
        let kept: Vec<PathBuf> = inside
            .iter()
            .cloned()
            .chain([PathBuf::from(".dockerignore")])
            .collect();
        context.walk(Path::new(""), &rules, &Verdict::default(), &kept)?;
        match inside {
            Some(name) => context.dockerfile = name.to_string_lossy().into_owned(),
            None => context.add_outside_dockerfile(ignore_text),
        }
        Ok(context)
    }

    /// A Dockerfile from elsewhere goes under a name of its own, and the ignore file sent along
    /// keeps both out of the image. The name depends on the text alone, so that caches hold.
    fn add_outside_dockerfile(&mut self, ignore_text: Option<String>) {
        let hash = hex::encode(Sha256::digest(self.dockerfile_text.as_bytes()));
        self.dockerfile = format!(".dockerfile.{}", &hash[..20]);
        let had_own = self.root.join(".dockerignore").is_file();
        let mut ignore = ignore_text.unwrap_or_default();
        if !ignore.is_empty() && !ignore.ends_with('\n') {
            ignore.push('\n');
        }
        ignore.push_str(&self.dockerfile);
        ignore.push('\n');
        if !had_own {
            ignore.push_str(".dockerignore\n");
        }
        self.entries
            .retain(|entry| entry.name != Path::new(".dockerignore"));
        let text = self.dockerfile_text.clone().into_bytes();
        self.entries.push(Entry {
            name: PathBuf::from(&self.dockerfile),
            kind: Kind::Made(text),
        });
        self.entries.push(Entry {
            name: PathBuf::from(".dockerignore"),
            kind: Kind::Made(ignore.into_bytes()),
        });
    }

    fn walk(
        &mut self,
        folder: &Path,
        rules: &Ignore,
        parent: &Verdict,
        kept: &[PathBuf],
    ) -> Result<()> {
        let absolute = self.root.join(folder);
        let unreadable = |path: &Path, source| Error::ContextFile {
            path: path.to_owned(),
            source,
        };
        let mut names: Vec<OsString> = fs::read_dir(&absolute)
            .and_then(|entries| {
                entries
                    .map(|entry| entry.map(|entry| entry.file_name()))
                    .collect()
            })
            .map_err(|source| unreadable(&absolute, source))?;
        // The same folder gives the same archive, whatever order the file system has.
        names.sort();
        for name in names {
            let relative = folder.join(&name);
            let shown = relative.to_string_lossy().into_owned();
            let verdict = rules.judge(&shown, parent);
            let path = self.root.join(&relative);
            let metadata =
                fs::symlink_metadata(&path).map_err(|source| unreadable(&path, source))?;
            let kind = metadata.file_type();
            let needed = kept.iter().any(|kept| kept.starts_with(&relative));
            if verdict.ignored && !needed {
                self.ignored += 1;
                if !(kind.is_dir() && rules.may_except_below(&shown)) {
                    continue;
                }
            }
            if kind.is_dir() {
                // A folder that is left out appears only if something in it is brought back.
                let place = self.entries.len();
                self.walk(&relative, rules, &verdict, kept)?;
                if !verdict.ignored || self.entries.len() > place {
                    self.entries.insert(
                        place,
                        Entry {
                            name: relative,
                            kind: Kind::Folder,
                        },
                    );
                }
            } else if verdict.ignored && !needed {
                continue;
            } else if kind.is_symlink() {
                let target = fs::read_link(&path).map_err(|source| unreadable(&path, source))?;
                if points_outside(&relative, &target) {
                    let target = target.to_string_lossy().into_owned();
                    self.concerns.push(Concern::LinkOutside {
                        path: shown,
                        target,
                    });
                }
                self.files += 1;
                self.entries.push(Entry {
                    name: relative,
                    kind: Kind::Link(target),
                });
            } else if kind.is_file() {
                // Found out now, with a name, rather than in the middle of the upload.
                fs::File::open(&path).map_err(|source| unreadable(&path, source))?;
                if looks_secret(&shown) {
                    self.concerns.push(Concern::Secret { path: shown });
                } else if metadata.len() >= BIG {
                    self.concerns.push(Concern::Big {
                        path: shown,
                        bytes: metadata.len(),
                    });
                }
                self.files += 1;
                self.bytes += metadata.len();
                self.entries.push(Entry {
                    name: relative,
                    kind: Kind::File,
                });
            } else {
                let what = if kind.is_socket() {
                    "socket"
                } else if kind.is_fifo() {
                    "pipe"
                } else {
                    "device"
                };
                self.concerns.push(Concern::Skipped { path: shown, what });
            }
        }
        Ok(())
    }

    /// The names that are sent, for tests and explanations.
    pub fn names(&self) -> Vec<String> {
        self.entries
            .iter()
            .map(|entry| entry.name.to_string_lossy().into_owned())
            .collect()
    }
}

fn read_dockerfile(root: &Path, dockerfile: Option<&Path>) -> Result<(PathBuf, String)> {
    // As docker does: what `-f` names is looked for from here, then in the context.
    let candidates = match dockerfile {
        Some(named) if named.is_absolute() => vec![named.to_owned()],
        Some(named) => {
            let here = std::env::current_dir().unwrap_or_default().join(named);
            vec![here, root.join(named)]
        }
        None => vec![root.join("Dockerfile"), root.join("dockerfile")],
    };
    let path = candidates
        .iter()
        .find(|path| path.is_file())
        .unwrap_or(&candidates[0])
        .clone();
    let shown = if path.exists() || dockerfile.is_none() {
        path.clone()
    } else {
        dockerfile.unwrap_or(&path).to_owned()
    };
    let bytes = fs::read(&path).map_err(|error| Error::Dockerfile {
        path: shown.clone(),
        why: match error.kind() {
            io::ErrorKind::NotFound => "there is no such file".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        },
        near: similar_files(root),
    })?;
    let text = String::from_utf8(bytes).map_err(|_| Error::Dockerfile {
        path: shown,
        why: "it is not text".to_owned(),
        near: Vec::new(),
    })?;
    Ok((path, text))
}

fn similar_files(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            let lower = name.to_ascii_lowercase();
            (lower.contains("dockerfile") || lower.contains("containerfile"))
                && !lower.ends_with("ignore")
        })
        .collect();
    names.sort();
    names
}

fn points_outside(link: &Path, target: &Path) -> bool {
    if target.is_absolute() {
        return true;
    }
    let mut depth = link.components().count() as isize - 1;
    for component in target.components() {
        match component {
            std::path::Component::ParentDir => depth -= 1,
            std::path::Component::Normal(_) => depth += 1,
            _ => {}
        }
        if depth < 0 {
            return true;
        }
    }
    false
}

/// Names that people keep secrets under.
fn looks_secret(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or(&path);
    let in_folder = |folder: &str| {
        path.starts_with(&format!("{folder}/")) || path.contains(&format!("/{folder}/"))
    };
    let example = [".example", ".sample", ".template", ".dist"]
        .iter()
        .any(|end| name.ends_with(end));
    if example || name.ends_with(".pub") {
        return false;
    }
    name == ".env"
        || name.starts_with(".env.")
        || name.ends_with(".pem")
        || name.ends_with(".key")
        || name.ends_with(".p12")
        || name.ends_with(".pfx")
        || name.ends_with(".kubeconfig")
        || matches!(
            name,
            "kubeconfig"
                | ".netrc"
                | ".npmrc"
                | ".pypirc"
                | ".dockercfg"
                | ".dockerconfigjson"
                | ".htpasswd"
                | ".git-credentials"
                | "credentials.json"
                | ".pgpass"
        )
        || ["id_rsa", "id_dsa", "id_ecdsa", "id_ed25519"]
            .iter()
            .any(|key| name.starts_with(key))
        || (in_folder(".docker") && name == "config.json")
        || (in_folder(".kube") && name == "config")
        || (in_folder(".aws") && name == "credentials")
        || in_folder(".ssh")
        || in_folder(".gnupg")
}

#[cfg(test)]
mod tests;
