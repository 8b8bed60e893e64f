//! A kubeconfig from the three settings of the lab's provider.
//!
//! The lab hands out `AUTH_DATA` (the cluster's CA, base64), `API_SERVER` and `CLUSTER_NAME`, and
//! a credential plug-in, `kic-iam-auth`, that makes tokens from an access key.

use std::collections::HashMap;

use kube::config::{
    AuthInfo, Cluster, Context, ExecConfig, ExecInteractiveMode, Kubeconfig, NamedAuthInfo,
    NamedCluster, NamedContext,
};
use secrecy::{ExposeSecret, SecretString};

use super::{Error, Result};

/// The plug-in that makes tokens.
const PLUGIN: &str = "kic-iam-auth";

/// What the settings are called in errors.
pub(super) const SETTINGS: &str = "the settings AUTH_DATA, API_SERVER and CLUSTER_NAME";

/// The provider's settings.
#[derive(Clone, Debug)]
pub struct Provider {
    /// `CLUSTER_NAME`.
    pub name: String,
    /// `API_SERVER`.
    pub server: String,
    authority: String,
    key: Option<(String, SecretString)>,
    region: String,
}

impl Provider {
    /// Reads the settings; `None` unless all three that describe the cluster are there.
    pub fn read(lookup: &impl Fn(&str) -> Option<String>) -> Option<Self> {
        let server = lookup("API_SERVER")?;
        Some(Self {
            name: lookup("CLUSTER_NAME")?,
            server: if server.contains("://") {
                server
            } else {
                format!("https://{server}")
            },
            authority: lookup("AUTH_DATA")?,
            key: lookup("ACC_KEY").zip(lookup("SEC_KEY").map(SecretString::from)),
            region: lookup("REGION_NAME").unwrap_or_else(|| "kr-central-2".to_owned()),
        })
    }

    /// The kubeconfig these settings make.
    ///
    /// # Errors
    /// When the CA data are not base64.
    pub fn kubeconfig(&self) -> Result<Kubeconfig> {
        use base64::Engine as _;
        let compact: String = self.authority.split_whitespace().collect();
        if base64::engine::general_purpose::STANDARD
            .decode(&compact)
            .is_err()
        {
            return Err(Error::Kubeconfig {
                path: SETTINGS.into(),
                reason: "AUTH_DATA is not base64".into(),
            });
        }
        let mut exec = ExecConfig {
            api_version: Some("client.authentication.k8s.io/v1beta1".into()),
            command: Some(PLUGIN.into()),
            args: None,
            env: None,
            drop_env: None,
            install_hint: Some(format!(
                "{PLUGIN} is the provider's credential plug-in: download it from the provider's console and put it on PATH"
            )),
            interactive_mode: Some(ExecInteractiveMode::Never),
            provide_cluster_info: false,
            cluster: None,
            other: Default::default(),
        };
        if let Some((id, secret)) = &self.key {
            // In the plug-in's environment, never in its arguments: arguments are public.
            let variables = [
                ("OS_AUTH_URL", "https://iam.kakaocloud.com/identity/v3"),
                ("OS_AUTH_TYPE", "v3applicationcredential"),
                ("OS_APPLICATION_CREDENTIAL_ID", id.as_str()),
                ("OS_APPLICATION_CREDENTIAL_SECRET", secret.expose_secret()),
                ("OS_REGION_NAME", self.region.as_str()),
            ];
            exec.env = Some(
                variables
                    .iter()
                    .map(|(name, value)| {
                        HashMap::from([
                            ("name".to_owned(), (*name).to_owned()),
                            ("value".to_owned(), (*value).to_owned()),
                        ])
                    })
                    .collect(),
            );
        }
        Ok(Kubeconfig {
            clusters: vec![NamedCluster {
                name: self.name.clone(),
                cluster: Some(Cluster {
                    server: Some(self.server.clone()),
                    certificate_authority_data: Some(compact),
                    ..Cluster::default()
                }),
                ..NamedCluster::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: self.name.clone(),
                auth_info: Some(AuthInfo {
                    exec: Some(exec),
                    ..AuthInfo::default()
                }),
                ..NamedAuthInfo::default()
            }],
            contexts: vec![NamedContext {
                name: self.name.clone(),
                context: Some(Context {
                    cluster: self.name.clone(),
                    user: Some(self.name.clone()),
                    ..Context::default()
                }),
                ..NamedContext::default()
            }],
            current_context: Some(self.name.clone()),
            ..Kubeconfig::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(variables: &[(&str, &str)]) -> Option<Provider> {
        Provider::read(&|name: &str| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_access_key_reaches_the_plug_in_by_environment_only() {
        let kubeconfig = provider(&[
            ("AUTH_DATA", "Y2E="),
            ("API_SERVER", "api.example"),
            ("CLUSTER_NAME", "lab"),
            ("ACC_KEY", "id-1"),
            ("SEC_KEY", "hush"),
        ])
        .unwrap()
        .kubeconfig()
        .unwrap();
        let exec = kubeconfig.auth_infos[0]
            .auth_info
            .as_ref()
            .unwrap()
            .exec
            .clone()
            .unwrap();
        assert_eq!(exec.command.as_deref(), Some("kic-iam-auth"));
        assert!(exec.args.is_none());
        assert!(
            exec.env
                .unwrap()
                .iter()
                .any(|entry| entry["value"] == "hush")
        );
        assert_eq!(
            kubeconfig.clusters[0]
                .cluster
                .as_ref()
                .unwrap()
                .server
                .as_deref(),
            Some("https://api.example")
        );
    }

    #[test]
    fn two_of_three_settings_are_no_cluster() {
        assert!(provider(&[("AUTH_DATA", "Y2E="), ("API_SERVER", "api.example")]).is_none());
    }
}
