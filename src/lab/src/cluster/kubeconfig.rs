//! From kubeconfig files to a client configuration.
//!
//! Done by hand rather than by the client library's loader: errors can then name file and
//! context, the proxy is decided by [`proxy`](super::proxy), and credential plug-ins are kept away
//! from the kernel's standard input.

use std::path::PathBuf;

use kube::Config;
use kube::config::{AuthInfo, ExecAuthCluster, ExecInteractiveMode, Kubeconfig};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::provider::SETTINGS;
use super::{Error, Result, near_misses, proxy};

/// Files merged into one, with what to call them in errors.
pub(super) struct Loaded {
    kubeconfig: Kubeconfig,
    path: String,
}

/// Reads and merges kubeconfig files; as in kubectl, files of a list that do not exist are skipped.
pub(super) fn read(paths: &[PathBuf]) -> Result<Loaded> {
    let shown = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ");
    let called = |path: &str| format!("the kubeconfig {path}");
    let mut merged: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let broken = |error: kube::config::KubeconfigError| Error::Kubeconfig {
            path: called(&path.display().to_string()),
            reason: with_causes(&error),
        };
        let next = Kubeconfig::read_from(path).map_err(broken)?;
        merged = Some(match merged {
            None => next,
            Some(first) => first.merge(next).map_err(broken)?,
        });
    }
    match merged {
        Some(kubeconfig) => Ok(Loaded {
            kubeconfig,
            path: called(&shown),
        }),
        None => Err(Error::NoKubeconfig { path: shown }),
    }
}

/// The client configuration, the context's name and its namespace.
pub(super) fn configure(
    loaded: &(impl AsLoaded + ?Sized),
    context: Option<&str>,
    proxies: &proxy::Settings,
) -> Result<(Config, String, Option<String>)> {
    let (kubeconfig, path) = loaded.parts();
    let broken = |reason: String| Error::Kubeconfig {
        path: path.to_owned(),
        reason,
    };

    let name = context
        .or(kubeconfig
            .current_context
            .as_deref()
            .filter(|name| !name.is_empty()))
        .ok_or_else(|| broken("it sets no current-context".into()))?;
    let found = kubeconfig
        .contexts
        .iter()
        .find(|entry| entry.name == name)
        .and_then(|entry| entry.context.clone())
        .ok_or_else(|| {
            let known: Vec<String> = kubeconfig
                .contexts
                .iter()
                .map(|entry| entry.name.clone())
                .collect();
            Error::UnknownContext {
                context: name.to_owned(),
                path: path.to_owned(),
                near: near_misses(name, known.iter().map(String::as_str)),
                known,
            }
        })?;
    let cluster = kubeconfig
        .clusters
        .iter()
        .find(|entry| entry.name == found.cluster)
        .and_then(|entry| entry.cluster.clone())
        .ok_or_else(|| {
            broken(format!(
                "context {name} names the cluster {}, which is not there",
                found.cluster
            ))
        })?;
    let user = match &found.user {
        Some(user) if !user.is_empty() => kubeconfig
            .auth_infos
            .iter()
            .find(|entry| entry.name == *user)
            .and_then(|entry| entry.auth_info.clone())
            .ok_or_else(|| {
                broken(format!(
                    "context {name} names the user {user}, who is not there"
                ))
            })?,
        _ => AuthInfo::default(),
    };
    let server = cluster
        .server
        .clone()
        .ok_or_else(|| broken(format!("cluster {} has no server", found.cluster)))?;
    let url: http::Uri = server
        .parse()
        .map_err(|_| broken(format!("{server} is no address of a server")))?;

    let mut config = Config::new(url.clone());
    config.proxy_url = proxies
        .for_cluster(&url, cluster.proxy_url.as_deref())
        .map_err(|text| broken(format!("{text} is no address of a proxy")))?;
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = cluster.tls_server_name.clone();
    config.root_cert = authorities(&cluster).map_err(broken)?;
    config.auth_info = user;
    if let Some(exec) = &mut config.auth_info.exec {
        // A plug-in that asks on standard input would sit on the kernel's; with Never it fails
        // at once, and what it says on standard error comes back to us.
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
        if exec.provide_cluster_info {
            let info =
                ExecAuthCluster::try_from(&cluster).map_err(|error| broken(with_causes(&error)))?;
            exec.cluster = Some(info);
        }
    }
    let namespace = found.namespace.filter(|name| !name.is_empty());
    if let Some(namespace) = &namespace {
        config.default_namespace = namespace.clone();
    }
    Ok((config, name.to_owned(), namespace))
}

/// What [`configure`] works on.
pub(super) trait AsLoaded {
    /// The merged file and what to call it.
    fn parts(&self) -> (&Kubeconfig, &str);
}

impl AsLoaded for Loaded {
    fn parts(&self) -> (&Kubeconfig, &str) {
        (&self.kubeconfig, &self.path)
    }
}

impl AsLoaded for Kubeconfig {
    fn parts(&self) -> (&Kubeconfig, &str) {
        (self, SETTINGS)
    }
}

fn authorities(
    cluster: &kube::config::Cluster,
) -> std::result::Result<Option<Vec<Vec<u8>>>, String> {
    use base64::Engine as _;
    let pem = match (
        &cluster.certificate_authority_data,
        &cluster.certificate_authority,
    ) {
        (Some(data), _) if !data.is_empty() => base64::engine::general_purpose::STANDARD
            .decode(data.trim())
            .map_err(|error| format!("certificate-authority-data is not base64 ({error})"))?,
        (_, Some(file)) if !file.is_empty() => std::fs::read(file)
            .map_err(|error| format!("the certificate authority {file} cannot be read: {error}"))?,
        _ => return Ok(None),
    };
    let certificates: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(&pem)
        .map(|certificate| certificate.map(|certificate| certificate.to_vec()))
        .collect::<std::result::Result<_, _>>()
        .map_err(|error| format!("the certificate authority is not PEM ({error})"))?;
    if certificates.is_empty() {
        return Err("the certificate authority holds no certificate".into());
    }
    Ok(Some(certificates))
}

/// An error with the causes below it, without saying the same thing twice.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
apiVersion: v1
kind: Config
current-context: first
clusters:
- name: one
  cluster: { server: "https://one.example:6443", insecure-skip-tls-verify: true }
users:
- name: someone
  user: { exec: { apiVersion: client.authentication.k8s.io/v1, command: ./plug, provideClusterInfo: true } }
contexts:
- name: first
  context: { cluster: one, user: someone, namespace: lab }
- name: production
  context: { cluster: gone, user: someone }
"#;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn configured(context: Option<&str>) -> Result<(Config, String, Option<String>)> {
        let (_folder, path) = file(FILE);
        configure(&read(&[path])?, context, &proxy::Settings::default())
    }

    #[test]
    fn the_current_context_gives_server_and_namespace() {
        let (config, name, namespace) = configured(None).unwrap();
        assert_eq!(
            (name.as_str(), namespace.as_deref()),
            ("first", Some("lab"))
        );
        assert_eq!(config.cluster_url.host(), Some("one.example"));
    }

    #[test]
    fn a_plug_in_is_kept_off_standard_input() {
        let (config, _, _) = configured(None).unwrap();
        let exec = config.auth_info.exec.unwrap();
        assert_eq!(exec.interactive_mode, Some(ExecInteractiveMode::Never));
        assert!(exec.cluster.is_some());
    }

    #[test]
    fn an_unknown_context_is_answered_with_near_misses() {
        match configured(Some("produktion")) {
            Err(Error::UnknownContext { near, known, .. }) => {
                assert_eq!(near, ["production"]);
                assert_eq!(known.len(), 2);
            }
            other => panic!("{:?}", other.map(|found| found.1)),
        }
    }

    #[test]
    fn a_context_without_its_cluster_says_which_is_missing() {
        let error = configured(Some("production"))
            .map(|found| found.1)
            .unwrap_err();
        assert!(error.to_string().contains("gone"), "{error}");
    }

    #[test]
    fn files_that_do_not_exist_are_skipped_unless_all_are_missing() {
        let (_folder, path) = file(FILE);
        assert!(read(&["/does/not/exist".into(), path]).is_ok());
        assert!(matches!(
            read(&["/does/not/exist".into()]),
            Err(Error::NoKubeconfig { .. })
        ));
    }
}
