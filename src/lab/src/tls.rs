//! TLS for our own connections: rustls with ring, the system's authorities, and those a user adds.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use crate::docker::endpoint::TlsFiles;

/// Makes ring the process's provider where nothing has been chosen yet.
///
/// Some clients refuse to work without one; two that differ would be a panic, so whoever comes
/// first wins.
pub fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // Losing the race means that somebody else has just installed one.
        let _ = ring::default_provider().install_default();
    }
}

/// Reads the certificates of a PEM file.
///
/// # Errors
/// When the file cannot be read or holds none.
pub fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let wrong = |why: String| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {why}", path.display()),
        )
    };
    let pem = std::fs::read(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(wrong("no certificate in it".to_owned())),
        Ok(found) => Ok(found),
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// What keeps two sides from talking by TLS, and what a person can do about it.
pub(crate) struct Trouble {
    pub(crate) why: String,
    pub(crate) hint: String,
}

/// Words for what TLS had against an engine.
pub(crate) fn trouble(error: &rustls::Error, files: &TlsFiles) -> Trouble {
    use AlertDescription as Alert;
    use rustls::Error as E;
    let folder = files.folder.as_ref().map_or_else(
        || "the folder of its certificates".to_owned(),
        |path| path.display().to_string(),
    );
    let (why, hint) = match error {
        E::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => (
            "its certificate is not signed by the authority in ca.pem".to_owned(),
            format!("Copy the ca.pem of that engine to {folder}."),
        ),
        E::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => (
            format!("its certificate is out of date ({error})"),
            "Give the engine a new certificate, and look at the clocks of both machines.".to_owned(),
        ),
        E::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (
            format!("its certificate is for another host ({error})"),
            "Write the host as the certificate has it, or give the engine a certificate with this name or address in its subjectAltName.".to_owned(),
        ),
        E::AlertReceived(
            Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::HandshakeFailure
            | Alert::UnknownCA
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::AccessDenied,
        ) => match (&files.cert, &files.key) {
            (Some(_), Some(_)) => (
                format!("it does not accept the certificate we show ({error})"),
                format!("Put a cert.pem and key.pem that the engine's authority signed, and that are not out of date, into {folder}."),
            ),
            _ => (
                "it wants to see a certificate of ours, and there is none".to_owned(),
                format!("Put cert.pem and key.pem, signed by the engine's authority, into {folder}."),
            ),
        },
        E::InvalidMessage(_) => (
            "what listens there does not speak TLS".to_owned(),
            "Name the port for TLS, usually 2376, or unset DOCKER_TLS_VERIFY and DOCKER_TLS.".to_owned(),
        ),
        other => (
            other.to_string(),
            format!("Compare ca.pem, cert.pem and key.pem in {folder} with those of the engine."),
        ),
    };
    Trouble { why, hint }
}

/// A client configuration for an engine's TLS endpoint.
///
/// # Errors
/// When a file cannot be read or makes no sense.
pub(crate) fn client_config(files: &TlsFiles) -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = if files.skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        let mut roots = RootCertStore::empty();
        let authorities = match &files.ca {
            Some(path) => certificates(path)?,
            None => system_authorities(),
        };
        roots.add_parsable_certificates(authorities);
        builder.with_root_certificates(roots)
    };
    let config = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{}: {error}", key.display()),
                )
            })?;
            builder
                .with_client_auth_cert(certificates(cert)?, key)
                .map_err(io::Error::other)?
        }
        (Some(one), None) | (None, Some(one)) => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "cert.pem and key.pem belong together, and there is only {}",
                    one.display()
                ),
            ));
        }
        (None, None) => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// A client configuration for registries and downloads: the system's authorities and some more.
///
/// A certificate that is itself among the additional ones is accepted, whatever it says it may be
/// used for: people make their own with one `openssl req -x509`, which calls them authorities, and
/// docker accepts these too.
///
/// # Errors
/// When an additional certificate makes no sense.
pub(crate) fn client_config_trusting(
    extra: Vec<CertificateDer<'static>>,
) -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(system_authorities());
    for certificate in &extra {
        roots
            .add(certificate.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    // There may be no authority at all on a small machine: then nobody is trusted.
    let usual = match roots.is_empty() {
        true => None,
        false => Some(
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(io::Error::other)?,
        ),
    };
    let verifier = Arc::new(Trusting {
        usual,
        extra,
        any: AnyCertificate(Arc::clone(&provider)),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The usual rules, and certificates that a person named one by one.
#[derive(Debug)]
struct Trusting {
    usual: Option<Arc<WebPkiServerVerifier>>,
    extra: Vec<CertificateDer<'static>>,
    any: AnyCertificate,
}

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let Some(usual) = &self.usual else {
            return Err(unknown);
        };
        match usual.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // Said only after the dates were found to be good.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                if format!("{other:?}").contains("CaUsedAsEndEntity") =>
            {
                if !self
                    .extra
                    .iter()
                    .any(|known| known.as_ref() == certificate.as_ref())
                {
                    return Err(unknown);
                }
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.any.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.any.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any.supported_verify_schemes()
    }
}

fn system_authorities() -> Vec<CertificateDer<'static>> {
    let named = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let usual = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
    ];
    named
        .into_iter()
        .chain(usual.map(std::path::PathBuf::from))
        .find_map(|path| certificates(&path).ok())
        .unwrap_or_default()
}

/// For engines whose context says that their certificate is not to be checked.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
