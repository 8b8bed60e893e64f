//! How a registry is reached: TLS and whom it trusts, plain HTTP and where, and what goes wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Response;

use super::Result;
use super::client::Options;
use super::error::Error;
use crate::reference::is_loopback;
use crate::tls;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn client(host: &str, options: &Options) -> Result<reqwest::Client> {
    tls::install_provider();
    let mut extra = Vec::new();
    for path in authorities(host, options) {
        let found = tls::certificates(&path);
        extra.extend(found.map_err(|source| Error::CaFile {
            path: path.clone(),
            source,
        })?);
    }
    let tls = tls::client_config_trusting(extra).map_err(|error| Error::Setup {
        why: error.to_string(),
    })?;
    let builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("katlab/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        .timeout(ANSWER_TIMEOUT)
        // A redirect to a blob store is followed; reqwest drops the login on another host.
        .redirect(reqwest::redirect::Policy::limited(5));
    // A proxy cannot reach this machine's own loopback.
    let builder = if is_loopback(host) {
        builder.no_proxy()
    } else {
        builder
    };
    builder.build().map_err(|error| Error::Setup {
        why: innermost(&error),
    })
}

fn authorities(host: &str, options: &Options) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = options.ca.iter().cloned().collect();
    let folder = options
        .certificates
        .clone()
        .unwrap_or_else(|| PathBuf::from("/etc/docker/certs.d"))
        .join(host);
    if let Ok(entries) = std::fs::read_dir(&folder) {
        let mut files: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| has_extension(path, "crt"))
            .collect();
        files.sort();
        found.extend(files);
    }
    found
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

pub(super) fn may_be_plain(host: &str, insecure: &[String]) -> bool {
    if is_loopback(host) {
        return true;
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address: Option<std::net::Ipv4Addr> = name.parse().ok();
    insecure.iter().any(|entry| {
        if entry == host || entry == name {
            return true;
        }
        // The engine also lists networks: 10.0.0.0/8.
        let (Some(address), Some((network, bits))) = (address, entry.split_once('/')) else {
            return false;
        };
        let (Ok(network), Ok(bits)) = (network.parse::<std::net::Ipv4Addr>(), bits.parse::<u32>())
        else {
            return false;
        };
        let mask = u32::MAX
            .checked_shl(32_u32.saturating_sub(bits))
            .unwrap_or(0);
        bits <= 32 && (u32::from(address) & mask) == (u32::from(network) & mask)
    })
}

pub(super) async fn ping(http: &reqwest::Client, base: &str) -> Result<Response, reqwest::Error> {
    http.get(format!("{base}/v2/")).send().await
}

/// What kept a request from being answered.
pub(super) enum Trouble {
    NotTls,
    Certificate(String),
    Other(String),
}

impl Trouble {
    pub(super) fn of(error: &reqwest::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(current) = cause {
            match current.downcast_ref::<rustls::Error>() {
                Some(rustls::Error::InvalidCertificate(why)) => {
                    return Self::Certificate(certificate_words(why));
                }
                Some(rustls::Error::InvalidMessage(_)) => return Self::NotTls,
                Some(other) => return Self::Other(format!("the TLS handshake failed: {other}")),
                None => {}
            }
            // An I/O error hides what it wraps from `source()`.
            let wrapped = current
                .downcast_ref::<std::io::Error>()
                .and_then(std::io::Error::get_ref);
            cause = match wrapped {
                Some(wrapped) => Some(wrapped),
                None => current.source(),
            };
        }
        if error.is_timeout() {
            return Self::Other("no answer in time".to_owned());
        }
        Self::Other(innermost(error))
    }

    pub(super) fn into_error(self, host: &str) -> Error {
        let host = host.to_owned();
        match self {
            Self::NotTls => Error::PlainHttp { host },
            Self::Certificate(why) => Error::Certificate { host, why },
            Self::Other(why) => Error::Unreachable { host, why },
        }
    }
}

fn certificate_words(error: &rustls::CertificateError) -> String {
    use rustls::CertificateError as C;
    match error {
        C::UnknownIssuer => "it is signed by an authority this machine does not know".to_owned(),
        C::Expired | C::ExpiredContext { .. } => "it has expired".to_owned(),
        C::NotValidYet | C::NotValidYetContext { .. } => {
            "it is not valid yet; is this machine's clock right?".to_owned()
        }
        C::NotValidForName | C::NotValidForNameContext { .. } => {
            "it is for another host".to_owned()
        }
        C::Revoked => "it was revoked".to_owned(),
        other => other.to_string(),
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    // "Connection refused (os error 111)": the number helps nobody.
    text.split(" (os error")
        .next()
        .unwrap_or(&text)
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_and_what_the_engine_calls_insecure() {
        let insecure = [
            "10.0.0.0/8".to_owned(),
            "reg.lan:5000".to_owned(),
            "0.0.0.0/33".to_owned(),
        ];
        for host in [
            "127.0.0.1:5000",
            "localhost",
            "10.1.2.3:5000",
            "reg.lan:5000",
        ] {
            assert!(may_be_plain(host, &insecure), "{host}");
        }
        for host in [
            "11.1.2.3",
            "reg.lan:5001",
            "example.com",
            "192.168.1.1:5000",
        ] {
            assert!(!may_be_plain(host, &insecure), "{host}");
        }
    }
}
