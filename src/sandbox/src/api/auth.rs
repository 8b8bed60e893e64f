//! Who asks, and whether they may.

use std::sync::Arc;

use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::path::Target;
use super::status::ApiError;
use super::tokens::Signer;

/// The group that may do everything.
pub const MASTERS: &str = "system:masters";

/// Somebody the server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Groups.
    pub groups: Vec<String>,
}

impl User {
    /// The owner of the kubeconfig.
    pub fn admin() -> User {
        User {
            name: "katlab-admin".into(),
            groups: vec![MASTERS.into(), "system:authenticated".into()],
        }
    }

    /// The machinery itself.
    pub fn machinery(name: &str) -> User {
        User {
            name: format!("system:{name}"),
            groups: vec![MASTERS.into()],
        }
    }

    fn anonymous() -> User {
        User {
            name: "system:anonymous".into(),
            groups: vec!["system:unauthenticated".into()],
        }
    }

    /// Somebody else, by name: a service account's groups follow from it unless some are given.
    pub(super) fn named(name: &str, mut groups: Vec<String>) -> User {
        if let Some((namespace, _)) = account_parts(name)
            && groups.is_empty()
        {
            groups.push("system:serviceaccounts".into());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        groups.push("system:authenticated".into());
        User {
            name: name.to_owned(),
            groups,
        }
    }

    fn is_master(&self) -> bool {
        self.groups.iter().any(|g| g == MASTERS)
    }

    /// Whether the user showed a credential.
    pub fn is_known(&self) -> bool {
        self.name != "system:anonymous"
    }

    /// Whether it bears a token of one of the namespace's service accounts.
    fn is_account_of(&self, namespace: &str) -> bool {
        self.groups.iter().any(|group| {
            group
                .strip_prefix("system:serviceaccounts:")
                .is_some_and(|of| of == namespace)
        })
    }
}

/// What the server checks credentials against.
#[derive(Clone)]
pub struct Credentials {
    token: Arc<SecretString>,
    signer: Arc<Signer>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// The bearer token of the kubeconfig, and the key that signs tokens of service accounts.
    pub fn new(token: SecretString, account_key: SecretString) -> Credentials {
        Credentials {
            token: Arc::new(token),
            signer: Arc::new(Signer::new(account_key)),
        }
    }

    pub(super) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// Who sends these headers over a connection with or without the client certificate; `account`
    /// knows the tokens of service accounts. A wrong credential is refused; none at all makes the
    /// request anonymous.
    pub fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: bool,
        account: impl FnOnce(&[u8]) -> Option<User>,
    ) -> Result<User, ApiError> {
        let user = match headers
            .get(http::header::AUTHORIZATION)
            .map(|v| v.as_bytes())
        {
            Some(value) => {
                let token = value
                    .strip_prefix(b"Bearer ")
                    .or_else(|| value.strip_prefix(b"bearer "))
                    .ok_or_else(ApiError::unauthorized)?;
                let token = token.trim_ascii();
                let expected = self.token.expose_secret().as_bytes();
                if bool::from(expected.ct_eq(token)) {
                    User::admin()
                } else {
                    account(token).ok_or_else(ApiError::unauthorized)?
                }
            }
            None if certificate => User::admin(),
            None => User::anonymous(),
        };
        impersonated(user, headers)
    }
}

/// `Impersonate-User` and `-Group`, as `kubectl --as` sends them.
fn impersonated(user: User, headers: &HeaderMap) -> Result<User, ApiError> {
    let text = |v: &http::HeaderValue| v.to_str().unwrap_or("").to_owned();
    let Some(name) = headers
        .get("impersonate-user")
        .map(text)
        .filter(|n| !n.is_empty())
    else {
        return Ok(user);
    };
    if !user.is_master() {
        return Err(ApiError::forbidden_impersonation(&user.name, &name));
    }
    let groups: Vec<String> = headers
        .get_all("impersonate-group")
        .iter()
        .map(text)
        .filter(|g| !g.is_empty())
        .collect();
    Ok(User::named(&name, groups))
}

/// Namespace and name of the service account that a user's name means.
pub(super) fn account_parts(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

/// Whether a user may do something to a resource. The owner may do everything; who bears a token of
/// a service account, as each pod does, may do everything within the account's namespace, as
/// Kubeflow's `default-editor` may; everyone else nothing. There are no roles.
pub fn allowed(
    user: &User,
    verb: &str,
    group: &str,
    plural: &str,
    namespace: Option<&str>,
) -> bool {
    if user.is_master() {
        return true;
    }
    let review = matches!(group, "authorization.k8s.io" | "authentication.k8s.io")
        && plural.starts_with("selfsubject");
    if review && verb == "create" && user.is_known() {
        return true;
    }
    // What is in a namespace, and that it is there; not to make away with it.
    let within = (group, plural) != ("", "namespaces") || verb == "get";
    within && namespace.is_some_and(|namespace| user.is_account_of(namespace))
}

/// Refuses what is not allowed, in Kubernetes' words.
pub fn authorize(user: &User, verb: &str, target: &Target) -> Result<(), ApiError> {
    let resource = target.resource;
    // A namespace is within itself, for whoever asks about it.
    let own = target
        .name
        .as_deref()
        .filter(|_| resource.kind == "Namespace");
    let namespace = target.namespace.as_deref().or(own);
    if allowed(user, verb, resource.group, resource.plural, namespace) {
        return Ok(());
    }
    let plural = match &target.subresource {
        Some(sub) => format!("{}/{sub}", resource.plural),
        None => resource.plural.to_owned(),
    };
    let subject = match &target.name {
        Some(name) => format!("{} \"{name}\" is forbidden", resource.qualified()),
        None => format!("{} is forbidden", resource.qualified()),
    };
    let scope = match namespace {
        Some(ns) => format!("in the namespace \"{ns}\""),
        None => "at the cluster scope".to_owned(),
    };
    Err(ApiError::forbidden(
        resource,
        target.name.as_deref().unwrap_or(""),
        format!(
            "{subject}: User \"{}\" cannot {verb} resource \"{plural}\" in API group \"{}\" {scope}",
            user.name, resource.group
        ),
    ))
}

/// Whether a user may read a path that is no resource.
pub fn allowed_path(user: &User, path: &[String]) -> bool {
    let open = ["version", "healthz", "readyz", "livez"];
    path.first().is_some_and(|p| open.contains(&p.as_str())) || user.is_known()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn only_the_token_or_the_certificate_lets_in() {
        let c = Credentials::new("right".to_owned().into(), "key".to_owned().into());
        let who = |h: &[(&'static str, &str)], cert| {
            c.authenticate(&headers(h), cert, |_| None)
                .map(|u| u.name)
                .map_err(|e| e.code)
        };
        assert_eq!(
            who(&[("authorization", "Bearer right")], false),
            Ok("katlab-admin".into())
        );
        assert_eq!(who(&[("authorization", "Bearer wrong")], true), Err(401));
        assert_eq!(who(&[("authorization", "Basic eA==")], false), Err(401));
        assert_eq!(who(&[], true), Ok("katlab-admin".into()));
        assert_eq!(who(&[], false), Ok("system:anonymous".into()));
        assert_eq!(
            who(&[("impersonate-user", "jane")], true),
            Ok("jane".into())
        );
        assert_eq!(who(&[("impersonate-user", "jane")], false), Err(403));
    }
}
