//! A URL into a file: whole or not at all, and never over something different by accident.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{file, tls};

/// What to download.
#[derive(Clone, Debug)]
pub struct Download {
    /// From where.
    pub url: String,
    /// Into which file, or into which folder under the name the URL ends in.
    pub output: PathBuf,
    /// Replace a file that is there and different.
    pub force: bool,
    /// The SHA-256 the content must have, in hexadecimal digits.
    pub sha256: Option<String>,
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How many bytes have come.
    pub received: u64,
    /// How many there are, where the server says.
    pub total: Option<u64>,
}

/// What became of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is new.
    Created,
    /// It replaced a different one.
    Replaced,
    /// The same was there already.
    Unchanged,
}

/// A finished download.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloaded {
    /// From where, after redirects.
    pub url: String,
    /// The file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// The SHA-256 of its content, in hexadecimal digits.
    pub sha256: String,
    /// What became of the file.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
}

/// Why a download failed. The file that was there is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It is no URL that can be downloaded.
    #[error("`{url}` cannot be downloaded: {why}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong.
        why: String,
    },
    /// Nobody answers.
    #[error("cannot reach {host}: {why}")]
    Unreachable {
        /// Whom.
        host: String,
        /// What happened.
        why: String,
    },
    /// The server has no such file, or does not give it.
    #[error("{url} answers {status}")]
    Refused {
        /// Which URL, after redirects.
        url: String,
        /// The HTTP status.
        status: StatusCode,
    },
    /// The connection broke off.
    #[error("the download of {url} broke off after {received} bytes: {why}")]
    Broken {
        /// Which URL.
        url: String,
        /// How many bytes had come.
        received: u64,
        /// What happened.
        why: String,
    },
    /// The content is not what it should be.
    #[error("the content of {url} has the SHA-256 {found}, not {wanted}")]
    Digest {
        /// Which URL.
        url: String,
        /// What it is.
        found: String,
        /// What it should be.
        wanted: String,
    },
    /// A different file is there.
    #[error("{} is there already and is different", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The user interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// What to do next, in one sentence.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Url { .. } => {
                "Write the whole URL, beginning with http:// or https://.".to_owned()
            }
            Self::Unreachable { .. } => {
                "Check the spelling of the host and your network; behind a proxy, set HTTPS_PROXY."
                    .to_owned()
            }
            Self::Refused { status, .. } if status.as_u16() == 404 => {
                "Check the path: the server has no such file.".to_owned()
            }
            Self::Refused { status, .. } if matches!(status.as_u16(), 401 | 403) => {
                "The file wants a login, which this magic does not give; open it in a browser."
                    .to_owned()
            }
            Self::Refused { status, .. } if status.is_server_error() => {
                "The server has a problem of its own; try again later.".to_owned()
            }
            Self::Refused { .. } => return None,
            Self::Broken { .. } => "Nothing was written; try again.".to_owned(),
            Self::Digest { .. } => {
                "Nothing was written: the file was changed on the server or on the way.".to_owned()
            }
            Self::Exists { .. } => "Look at it with `:show`; `--force` replaces it.".to_owned(),
            Self::Write { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "Make room on the disk.".to_owned()
            }
            Self::Write { .. } => "Choose another place with -o.".to_owned(),
            Self::Interrupted => return None,
        })
    }
}

/// Downloads a file.
///
/// # Errors
/// Each leaves the target as it was and no partial file behind.
pub async fn download(
    wanted: &Download,
    report: &mut (dyn FnMut(Progress) + Send),
    cancel: &CancellationToken,
) -> Result<Downloaded, Error> {
    let started = Instant::now();
    let bad = |why: &str| Error::Url {
        url: wanted.url.clone(),
        why: why.to_owned(),
    };
    let url = reqwest::Url::parse(&wanted.url).map_err(|error| bad(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("only http:// and https:// are understood"));
    }
    let path = target(&wanted.output, &url)
        .ok_or_else(|| bad("it does not end in a file name; name the file with -o"))?;
    let failed = |source| Error::Write {
        path: path.clone(),
        source,
    };

    let client = client(&url).map_err(|error| bad(&innermost(&error)))?;
    let host = match (url.host_str().unwrap_or_default(), url.port()) {
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_owned(),
    };
    let request = client.get(url).send();
    let mut response = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(Error::Interrupted),
        response = request => response.map_err(|error| Error::Unreachable { host, why: innermost(&error) })?,
    };
    let url = response.url().to_string();
    if !response.status().is_success() {
        return Err(Error::Refused {
            url,
            status: response.status(),
        });
    }

    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    file::make_folder(&folder, 0o755).map_err(failed)?;
    // Removed by itself unless it is renamed in the end.
    let mut partial = tempfile::Builder::new()
        .prefix(".katlab-")
        .suffix(".part")
        .tempfile_in(&folder)
        .map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut progress = Progress {
        received: 0,
        total: response.content_length(),
    };
    report(progress);
    loop {
        let chunk = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(Error::Interrupted),
            chunk = response.chunk() => chunk,
        };
        let broken = |why: String| Error::Broken {
            url: url.clone(),
            received: progress.received,
            why,
        };
        match chunk {
            Ok(Some(chunk)) => {
                hasher.update(&chunk);
                partial.write_all(&chunk).map_err(failed)?;
                progress.received += chunk.len() as u64;
                report(progress);
            }
            Ok(None) => break,
            Err(error) if error.is_timeout() => {
                return Err(broken("nothing came for 30 seconds".to_owned()));
            }
            Err(error) => return Err(broken(innermost(&error))),
        }
    }
    let sha256 = hex::encode(hasher.finalize());
    if let Some(expected) = &wanted.sha256 {
        let expected = expected
            .trim()
            .trim_start_matches("sha256:")
            .to_ascii_lowercase();
        if expected != sha256 {
            return Err(Error::Digest {
                url,
                found: sha256,
                wanted: expected,
            });
        }
    }
    let outcome = match existing(&path).map_err(failed)? {
        None => Outcome::Created,
        Some(digest) if digest == sha256 => Outcome::Unchanged,
        Some(_) if wanted.force => Outcome::Replaced,
        Some(_) => return Err(Error::Exists { path }),
    };
    if outcome != Outcome::Unchanged {
        use std::os::unix::fs::PermissionsExt;
        // A temporary file is private; a downloaded one is like any other.
        let permissions = std::fs::Permissions::from_mode(0o644);
        partial
            .as_file()
            .set_permissions(permissions)
            .map_err(failed)?;
        partial.as_file().sync_all().map_err(failed)?;
        if outcome == Outcome::Created {
            // Somebody may have been quicker since it was looked at.
            partial
                .persist_noclobber(&path)
                .map_err(|error| match error.error.kind() {
                    std::io::ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
                    _ => failed(error.error),
                })?;
        } else {
            partial
                .persist(&path)
                .map_err(|error| failed(error.error))?;
        }
    }
    Ok(Downloaded {
        url,
        path,
        bytes: progress.received,
        sha256,
        outcome,
        duration: started.elapsed(),
    })
}

/// The file that is meant: a folder gets the URL's last part.
fn target(output: &Path, url: &reqwest::Url) -> Option<PathBuf> {
    let is_folder = output.is_dir() || output.as_os_str().to_string_lossy().ends_with('/');
    if !is_folder {
        return (!output.as_os_str().is_empty()).then(|| output.to_owned());
    }
    let last = url
        .path_segments()?
        .next_back()
        .filter(|name| !name.is_empty())?;
    // The name is the server's choice: it must not lead out of the folder.
    let name = percent_decoded(last);
    let safe = name != ".." && name != "." && !name.contains(['/', '\\', '\0']);
    safe.then(|| output.join(name))
}

/// The name a URL suggests for its file.
pub fn suggested_name(url: &str) -> Option<String> {
    let url = reqwest::Url::parse(url).ok()?;
    let path = target(Path::new("./"), &url)?;
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The digest of the file that is there.
fn existing(path: &Path) -> std::io::Result<Option<String>> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut hasher = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hasher))?;
    Ok(Some(hex::encode(hasher.finalize())))
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.update(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn client(url: &reqwest::Url) -> std::io::Result<reqwest::Client> {
    tls::install_provider();
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls::client_config_trusting(Vec::new())?)
        .user_agent(concat!("katlab/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(30));
    let loopback = url.host_str().is_some_and(crate::reference::is_loopback);
    let builder = if loopback {
        builder.no_proxy()
    } else {
        builder
    };
    builder.build().map_err(std::io::Error::other)
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests;
