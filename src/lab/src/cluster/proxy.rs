//! Whether a proxy stands between us and a cluster.
//!
//! The client library tests `NO_PROXY` against the proxy's own address and refuses a trailing
//! comma, so the decision is made here: none for loopback, else the kubeconfig's `proxy-url`, else
//! the environment's, unless `NO_PROXY` names the cluster's host.

use std::net::IpAddr;

use http::Uri;

/// The proxy variables of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `HTTPS_PROXY` or `https_proxy`.
    pub https_proxy: Option<String>,
    /// `NO_PROXY` or `no_proxy`.
    pub no_proxy: Option<String>,
}

impl Settings {
    /// Reads the variables through `lookup`.
    pub fn read(lookup: &impl Fn(&str) -> Option<String>) -> Self {
        Self {
            https_proxy: lookup("HTTPS_PROXY").or_else(|| lookup("https_proxy")),
            no_proxy: lookup("NO_PROXY").or_else(|| lookup("no_proxy")),
        }
    }

    /// The proxy for a cluster, if any; `named` is the kubeconfig's own.
    ///
    /// # Errors
    /// The text of a proxy address that does not parse.
    pub fn for_cluster(&self, cluster: &Uri, named: Option<&str>) -> Result<Option<Uri>, String> {
        let host = cluster.host().unwrap_or_default().trim_matches(['[', ']']);
        if host == "localhost"
            || host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
        {
            return Ok(None);
        }
        let text = match named.filter(|text| !text.is_empty()) {
            Some(text) => text,
            None => match &self.https_proxy {
                Some(text) if !self.exempts(host, cluster.port_u16().unwrap_or(443)) => text,
                _ => return Ok(None),
            },
        };
        let full = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        full.parse().map(Some).map_err(|_| text.to_owned())
    }

    fn exempts(&self, host: &str, port: u16) -> bool {
        self.no_proxy
            .as_deref()
            .unwrap_or_default()
            .split([',', ' '])
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .any(|entry| matches(entry, host, port))
    }
}

fn matches(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, length)) = entry.split_once('/') {
        return match (
            network.parse::<IpAddr>(),
            host.parse::<IpAddr>(),
            length.parse::<u32>(),
        ) {
            (Ok(network), Ok(address), Ok(length)) => contains(network, length, address),
            _ => false,
        };
    }
    // `host:port`, but not a bare IPv6 address.
    let (name, wanted) = match entry.rsplit_once(':') {
        Some((name, digits)) if !name.contains(':') || name.ends_with(']') => {
            match digits.parse::<u16>() {
                Ok(number) => (name, Some(number)),
                Err(_) => return false,
            }
        }
        _ => (entry, None),
    };
    if wanted.is_some_and(|wanted| wanted != port) {
        return false;
    }
    let name = name
        .trim_matches(['[', ']'])
        .trim_start_matches('*')
        .trim_start_matches('.')
        .to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    host == name || (host.parse::<IpAddr>().is_err() && host.ends_with(&format!(".{name}")))
}

fn contains(network: IpAddr, length: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) if length <= 32 => {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            u32::from(network) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(network), IpAddr::V6(address)) if length <= 128 => {
            let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
            u128::from(network) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxied(cluster: &str, no_proxy: &str) -> bool {
        let settings = Settings {
            https_proxy: Some("http://proxy.example:3128".into()),
            no_proxy: Some(no_proxy.into()),
        };
        settings
            .for_cluster(&cluster.parse().unwrap(), None)
            .unwrap()
            .is_some()
    }

    #[test]
    fn no_proxy_is_matched_against_the_cluster() {
        assert!(proxied("https://api.example.com", ""));
        assert!(proxied("https://api.example.com", "proxy.example"));
        for exempt in [
            "api.example.com",
            ".example.com",
            "*.example.com",
            "example.com",
            "*",
            "other,api.example.com,",
        ] {
            assert!(!proxied("https://api.example.com", exempt), "{exempt}");
        }
        assert!(!proxied("https://10.1.2.3:6443", "10.0.0.0/8"));
        assert!(!proxied("https://10.1.2.3:6443", "10.1.2.3:6443"));
        assert!(proxied("https://10.1.2.3:6443", "10.1.2.3:443"));
        assert!(proxied("https://11.1.2.3", "10.0.0.0/8"));
    }

    #[test]
    fn loopback_is_never_proxied_and_a_named_proxy_wins() {
        let settings = Settings {
            https_proxy: Some("proxy:1".into()),
            no_proxy: Some("*".into()),
        };
        let named = Some("http://named:2");
        assert_eq!(
            settings
                .for_cluster(&"https://127.0.0.1:6443".parse().unwrap(), named)
                .unwrap(),
            None
        );
        let chosen = settings
            .for_cluster(&"https://api.example".parse().unwrap(), named)
            .unwrap()
            .unwrap();
        assert_eq!(chosen.host(), Some("named"));
    }
}
