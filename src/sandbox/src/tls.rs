//! Certificates, the token, the key of service accounts and the kubeconfig of the API server: made at
//! first start, kept with mode 0600, renewed before they expire.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS refuses the certificate.
    #[error("cannot set TLS up: {0}")]
    Tls(String),
}

impl TlsError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some("`katlab sandbox reset` makes new credentials".into())
    }
}

/// How long certificates are valid; renewed when less than half is left.
const VALID_DAYS: i64 = 365;

#[derive(Serialize, Deserialize)]
struct Kept {
    expires: i64,
    ca: String,
    /// Signs further certificates of the server, for addresses that are known later.
    ca_key: String,
    server: String,
    server_key: String,
    client: String,
    client_key: String,
    token: String,
    /// Signs the tokens of service accounts.
    account_key: String,
}

/// The credentials of one sandbox.
pub struct Identity {
    kept: Kept,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

/// Writes a file that only its owner can read, in one step.
pub fn write_private(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    // Temporary files are made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// The start of the day (UTC) a moment is in, in the type certificates want.
macro_rules! day {
    ($seconds:expr) => {{
        let at = jiff::Timestamp::from_second($seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let date = at.to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(i32::from(date.year()), date.month() as u8, date.day() as u8)
    }};
}

fn named(common: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}

/// How long what is made now is valid.
type Validity = (i64, i64);

/// From the beginning of time on: a clock that is set back must not lock anybody out.
fn validity() -> Validity {
    (0, now() + VALID_DAYS * 86_400)
}

fn authority((from, to): Validity) -> CertificateParams {
    let mut ca = CertificateParams::default();
    ca.distinguished_name = named("katlab-sandbox-ca", None);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (day!(from), day!(to));
    ca
}

/// The names by which the server is called: from this machine, and from inside pods.
fn server((from, to): Validity, addresses: &[IpAddr]) -> Result<CertificateParams, rcgen::Error> {
    let mut server = CertificateParams::new(vec![
        "localhost".to_owned(),
        "kubernetes".to_owned(),
        "kubernetes.default".to_owned(),
        "kubernetes.default.svc".to_owned(),
        "kubernetes.default.svc.cluster.local".to_owned(),
    ])?;
    server.distinguished_name = named("katlab-sandbox", None);
    let addresses = addresses.iter().copied().map(SanType::IpAddress);
    server.subject_alt_names.extend(addresses);
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (server.not_before, server.not_after) = (day!(from), day!(to));
    Ok(server)
}

const LOOPBACK: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
];

fn make() -> Result<Kept, TlsError> {
    let valid = validity();
    let (from, to) = (day!(valid.0), day!(valid.1));
    let ca = CertifiedIssuer::self_signed(authority(valid), KeyPair::generate()?)?;
    let server_key = KeyPair::generate()?;
    let server = server(valid, &LOOPBACK)?.signed_by(&server_key, &ca)?;

    let mut client = CertificateParams::default();
    client.distinguished_name = named("katlab-admin", Some("system:masters"));
    client.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    (client.not_before, client.not_after) = (from, to);
    let client_key = KeyPair::generate()?;
    let client = client.signed_by(&client_key, &ca)?;

    let token: [u8; 32] = rand::rng().random();
    let account_key: [u8; 32] = rand::rng().random();
    Ok(Kept {
        expires: valid.1,
        ca: ca.pem(),
        ca_key: ca.key().serialize_pem(),
        server: server.pem(),
        server_key: server_key.serialize_pem(),
        client: client.pem(),
        client_key: client_key.serialize_pem(),
        token: hex::encode(token),
        account_key: hex::encode(account_key),
    })
}

impl Identity {
    /// The identity kept in a state directory; made if there is none, or it expires soon.
    pub fn open(dir: &Path) -> Result<Identity, TlsError> {
        let path = dir.join("identity.json");
        if let Ok(text) = std::fs::read(&path)
            && let Ok(kept) = serde_json::from_slice::<Kept>(&text)
            && kept.expires - now() > VALID_DAYS * 86_400 / 2
        {
            return Ok(Identity { kept });
        }
        let kept = make()?;
        let text = serde_json::to_vec(&kept).unwrap_or_default();
        write_private(&path, &text).map_err(|source| TlsError::Io { path, source })?;
        Ok(Identity { kept })
    }

    /// The bearer token.
    pub fn token(&self) -> SecretString {
        self.kept.token.clone().into()
    }

    /// The key that signs the tokens of service accounts.
    pub fn account_key(&self) -> SecretString {
        self.kept.account_key.clone().into()
    }

    /// The CA's certificate.
    pub fn ca_pem(&self) -> &str {
        &self.kept.ca
    }

    /// The server's side of TLS: HTTP/2 and HTTP/1.1, client certificates of our own CA welcome
    /// but not needed.
    pub fn server_config(&self) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        self.config(&self.kept.server, &self.kept.server_key)
    }

    /// The same for one more address of the server, with a certificate made for it now.
    pub fn server_config_at(&self, address: IpAddr) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let valid = (0, self.kept.expires);
        let ca = Issuer::new(authority(valid), KeyPair::from_pem(&self.kept.ca_key)?);
        let key = KeyPair::generate()?;
        let addresses: Vec<IpAddr> = LOOPBACK.into_iter().chain([address]).collect();
        let certificate = server(valid, &addresses)?.signed_by(&key, &ca)?;
        self.config(&certificate.pem(), &key.serialize_pem())
    }

    fn config(&self, chain: &str, key: &str) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let tls = |e: &dyn std::fmt::Display| TlsError::Tls(e.to_string());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certificate =
            |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| tls(&e));
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(certificate(&self.kept.ca)?)
            .map_err(|e| tls(&e))?;
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots),
            provider.clone(),
        )
        .allow_unauthenticated()
        .build()
        .map_err(|e| tls(&e))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| tls(&e))?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| tls(&e))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate(chain)?], key)
            .map_err(|e| tls(&e))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// The kubeconfig for a port, with all credentials in it.
    pub fn kubeconfig(&self, port: u16, namespace: &str) -> SecretString {
        let token = self.token();
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "katlab-sandbox", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority-data": STANDARD.encode(&self.kept.ca),
            }}],
            "users": [{"name": "katlab-admin", "user": {
                "client-certificate-data": STANDARD.encode(&self.kept.client),
                "client-key-data": STANDARD.encode(&self.kept.client_key),
                "token": token.expose_secret(),
            }}],
            "contexts": [{"name": "katlab-sandbox", "context": {
                "cluster": "katlab-sandbox", "user": "katlab-admin", "namespace": namespace,
            }}],
            "current-context": "katlab-sandbox",
        });
        // JSON is YAML; kubeconfig readers take both.
        serde_saphyr::to_string(&config)
            .unwrap_or_else(|_| config.to_string())
            .into()
    }
}
