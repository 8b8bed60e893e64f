//! Tokens of service accounts: signed claims (JWT) with the fields that Kubernetes puts into them, since some
//! clients look inside.
//!
//! They are signed with HMAC-SHA-256 and a key of the sandbox's own; nobody else can check them, as there is no
//! key set to publish. A token is good while its account lives and, if it is bound to a pod, that pod.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::Sha256;

use super::auth::User;
use super::path::Target;
use super::status::{ApiError, FieldError};
use super::{Api, age};

/// Who makes the tokens and, unless asked otherwise, who may take them: the API server.
const API_SERVER: &str = "https://kubernetes.default.svc.cluster.local";
/// How long a token lives unless asked otherwise, in seconds.
const LIFETIME: i64 = 3600;
/// Kubernetes' bounds for what may be asked, in seconds.
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;

/// Signs tokens and knows its own again.
pub(super) struct Signer {
    key: SecretString,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    aud: Vec<String>,
    exp: i64,
    iat: i64,
    iss: String,
    jti: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Subject,
    nbf: i64,
    sub: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Subject {
    namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pod: Option<Named>,
    serviceaccount: Named,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    name: String,
    uid: String,
}

impl Signer {
    /// A signer with this key.
    pub(super) fn new(key: SecretString) -> Self {
        Self { key }
    }

    fn mac(&self, text: &str) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_secret().as_bytes()).ok()?;
        mac.update(text.as_bytes());
        Some(mac)
    }

    fn sign(&self, claims: &Claims) -> Option<String> {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let head = part(json!({"alg": "HS256", "typ": "JWT"}));
        let text = format!("{head}.{}", part(serde_json::to_value(claims).ok()?));
        let signature = self.mac(&text)?.finalize().into_bytes();
        Some(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The claims of a token that this key signed, whoever it is for and however old it is.
    fn read(&self, token: &[u8]) -> Option<Claims> {
        let token = std::str::from_utf8(token).ok()?;
        let (text, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac(text)?.verify_slice(&signature).ok()?;
        let (_, claims) = text.split_once('.')?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

/// The account's user, as Kubernetes names it and its groups.
fn user(namespace: &str, account: &str) -> User {
    User {
        name: format!("system:serviceaccount:{namespace}:{account}"),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            "system:authenticated".into(),
        ],
    }
}

impl Api {
    /// Who bears a token of a service account. `None` for a token that is not ours, has expired, is for somebody
    /// else than the API server, or whose account or pod is gone.
    pub(super) fn bearer(&self, token: &[u8]) -> Option<User> {
        let claims = self.inner.credentials.signer().read(token)?;
        let now = jiff::Timestamp::now().as_second();
        if !(claims.nbf..claims.exp).contains(&now) || !claims.aud.iter().any(|a| a == API_SERVER) {
            return None;
        }
        let Subject {
            namespace,
            pod,
            serviceaccount,
        } = &claims.kubernetes;
        let lives = |storage: &str, named: &Named| {
            let found = self
                .store()
                .get(storage, &format!("{namespace}/{}", named.name));
            found.is_some_and(|entry| entry.meta().uid == named.uid)
        };
        let lives = lives("serviceaccounts", serviceaccount)
            && pod.as_ref().is_none_or(|pod| lives("pods", pod));
        lives.then(|| user(namespace, &serviceaccount.name))
    }

    /// Answers a TokenRequest for an account.
    pub(super) fn token(&self, target: &Target, body: Value) -> Result<Value, ApiError> {
        let account = self.get(target)?;
        let request: TokenRequest = serde_json::from_value(body).map_err(|error| {
            ApiError::bad_request(format!(
                "TokenRequest in version \"v1\" cannot be handled as a TokenRequest: {error}"
            ))
        })?;
        let TokenRequestSpec {
            audiences,
            bound_object_ref,
            expiration_seconds,
        } = request.spec.unwrap_or_default();
        let lifetime = expiration_seconds.unwrap_or(LIFETIME);
        let name = target.name.clone().unwrap_or_default();
        if !(SHORTEST..=LONGEST).contains(&lifetime) {
            let why = if lifetime < SHORTEST {
                "may not specify a duration less than 10 minutes"
            } else {
                "may not specify a duration larger than 2^32 seconds"
            };
            let error = FieldError::invalid("spec.expirationSeconds", &json!(lifetime), why);
            return Err(ApiError::invalid_kind(
                "authentication.k8s.io",
                "TokenRequest",
                &name,
                &[error],
            ));
        }
        let namespace = target.namespace.clone().unwrap_or_default();
        let pod = bound_object_ref
            .as_ref()
            .map(|bound| self.bound(&namespace, &name, bound))
            .transpose()?;
        let audiences = audiences
            .filter(|audiences| !audiences.is_empty())
            .unwrap_or_else(|| vec![API_SERVER.to_owned()]);
        let now = jiff::Timestamp::now();
        let expires = now.as_second() + lifetime;
        let claims = Claims {
            aud: audiences.clone(),
            exp: expires,
            iat: now.as_second(),
            iss: API_SERVER.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            sub: user(&namespace, &name).name,
            kubernetes: Subject {
                namespace: namespace.clone(),
                pod,
                serviceaccount: Named {
                    name: name.clone(),
                    uid: account.meta().uid.clone(),
                },
            },
            nbf: now.as_second(),
        };
        let token = self.inner.credentials.signer().sign(&claims);
        let token = token.ok_or_else(|| ApiError::internal("the token could not be signed"))?;
        let expires = jiff::Timestamp::from_second(expires).map_err(ApiError::internal)?;
        Ok(json!({
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace, "creationTimestamp": age::now()},
            "spec": {"audiences": audiences, "expirationSeconds": lifetime, "boundObjectRef": bound_object_ref},
            "status": {"token": token, "expirationTimestamp": expires.to_string()},
        }))
    }

    /// The pod a token is to be bound to.
    fn bound(
        &self,
        namespace: &str,
        account: &str,
        bound: &BoundObjectReference,
    ) -> Result<Named, ApiError> {
        let kind = bound.kind.as_deref().unwrap_or_default();
        if kind != "Pod" {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to type {kind:?}; the sandbox binds tokens to pods"
            )));
        }
        let name = bound.name.clone().unwrap_or_default();
        let resource = crate::resources::find("", "v1", "pods")
            .ok_or_else(|| ApiError::internal("pods are not served"))?;
        let pod = self.get(&Target::new(resource, Some(namespace), Some(&name)))?;
        let uid = pod.meta().uid.clone();
        if bound.uid.as_ref().is_some_and(|wanted| *wanted != uid) {
            return Err(ApiError::conflict(
                resource,
                &name,
                &format!(
                    "the UID in the bound object reference ({}) does not match the UID in record. The object might have been deleted and then recreated",
                    bound.uid.as_deref().unwrap_or_default()
                ),
            ));
        }
        if pod.value()["spec"]["serviceAccountName"] != account {
            return Err(ApiError::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
            )));
        }
        Ok(Named { name, uid })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_signature_alone() {
        let signer = Signer::new("one".to_owned().into());
        let named = |name: &str| Named {
            name: name.into(),
            uid: "u".into(),
        };
        let claims = Claims {
            aud: vec![API_SERVER.into()],
            exp: 2,
            iat: 1,
            iss: API_SERVER.into(),
            jti: "j".into(),
            kubernetes: Subject {
                namespace: "lab".into(),
                pod: Some(named("p")),
                serviceaccount: named("default"),
            },
            nbf: 1,
            sub: "system:serviceaccount:lab:default".into(),
        };
        let token = signer.sign(&claims).expect("signed");
        assert_eq!(signer.read(token.as_bytes()), Some(claims));
        let other = Signer::new("two".to_owned().into());
        assert_eq!(other.read(token.as_bytes()), None);
        // Another's claims under this signature.
        let mut parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(
            String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).expect("claims"))
                .expect("text")
                .replace("lab", "kube-system"),
        );
        parts[1] = &forged;
        assert_eq!(signer.read(parts.join(".").as_bytes()), None);
        for junk in ["", ".", "..", "a.b.c", "\u{fc}.\u{fc}.\u{fc}"] {
            assert_eq!(signer.read(junk.as_bytes()), None, "{junk}");
        }
    }
}
