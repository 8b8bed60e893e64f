//! Who asks: passwords in Basic headers, and tokens fetched for a scope and kept.

use reqwest::header::AUTHORIZATION;
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};

use super::challenge::{Challenge, Scheme};
use super::client::{reason, unexpected};
use super::error::Error;
use super::{Registry, Result};
use crate::credentials::Credential;
use crate::reference::is_loopback;

impl Registry {
    pub(super) async fn authorization(
        &self,
        challenge: Option<&Challenge>,
        scope: &str,
    ) -> Result<Option<SecretString>> {
        match (challenge, &self.credential) {
            (None, _) => Ok(None),
            (Some(challenge), credential) if challenge.scheme == Scheme::Basic => {
                Ok(credential.as_ref().map(basic))
            }
            (Some(challenge), _) => {
                let cached = self
                    .tokens
                    .lock()
                    .ok()
                    .and_then(|tokens| tokens.get(scope).cloned());
                let token = match cached {
                    Some(token) => token,
                    None => {
                        let token = self.fetch_token(challenge, scope).await?;
                        if let Ok(mut tokens) = self.tokens.lock() {
                            tokens.insert(scope.to_owned(), token.clone());
                        }
                        token
                    }
                };
                Ok(Some(bearer(&token)))
            }
        }
    }

    /// Asks the token service for a token with these rights.
    pub(super) async fn fetch_token(
        &self,
        challenge: &Challenge,
        scope: &str,
    ) -> Result<SecretString> {
        let realm = reqwest::Url::parse(&challenge.realm)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| Error::NotARegistry {
                host: self.host.clone(),
                why: format!("its token service `{}` is no URL", challenge.realm),
            })?;
        let realm_host = realm.host_str().unwrap_or_default();
        if self.credential.is_some()
            && realm.scheme() == "http"
            && !is_loopback(realm_host)
            && !self.is_plain()
        {
            return Err(Error::UnsafeRealm {
                host: self.host.clone(),
                realm: challenge.realm.clone(),
            });
        }
        let mut query: Vec<(&str, &str)> = Vec::new();
        query.extend(
            challenge
                .service
                .as_deref()
                .map(|service| ("service", service)),
        );
        query.extend(scope.split_whitespace().map(|scope| ("scope", scope)));
        let request = match &self.credential {
            Some(Credential::IdentityToken { token, .. }) => {
                let mut form = vec![
                    ("grant_type", "refresh_token"),
                    ("client_id", "katlab"),
                    ("refresh_token", token.expose_secret()),
                ];
                form.extend(query);
                let body = form
                    .iter()
                    .map(|(name, value)| format!("{name}={}", encode(value)))
                    .collect::<Vec<_>>()
                    .join("&");
                self.http
                    .post(realm)
                    .header(
                        reqwest::header::CONTENT_TYPE,
                        "application/x-www-form-urlencoded",
                    )
                    .body(body)
            }
            credential => {
                let mut url = realm;
                if let Some(user) = credential.as_ref().and_then(Credential::username) {
                    query.push(("account", user));
                }
                url.query_pairs_mut().extend_pairs(query);
                with(self.http.get(url), credential.as_ref().map(basic).as_ref())
            }
        };
        let response = self.dispatch(request).await?;
        match response.status() {
            status if status.is_success() => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
                let why = reason(response).await;
                return Err(match &self.credential {
                    None => Error::NoCredentials {
                        host: self.host.clone(),
                    },
                    Some(credential) => Error::Refused {
                        host: self.host.clone(),
                        user: credential
                            .username()
                            .unwrap_or("an access token")
                            .to_owned(),
                        why,
                    },
                });
            }
            _ => return Err(unexpected(&self.host, "its token service", response).await),
        }
        let answer = self.json(response, "its token service").await?;
        let token = answer["token"]
            .as_str()
            .or_else(|| answer["access_token"].as_str());
        token
            .map(SecretString::from)
            .ok_or_else(|| Error::NotARegistry {
                host: self.host.clone(),
                why: "its token service gave no token".to_owned(),
            })
    }
}

pub(super) fn basic(credential: &Credential) -> SecretString {
    use base64::Engine as _;
    let user = credential.username().unwrap_or("<token>");
    let pair = zeroize::Zeroizing::new(format!("{user}:{}", credential.secret().expose_secret()));
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair.as_bytes())
    )
    .into()
}

pub(super) fn bearer(token: &SecretString) -> SecretString {
    format!("Bearer {}", token.expose_secret()).into()
}

pub(super) fn with(
    request: RequestBuilder,
    authorization: Option<&SecretString>,
) -> RequestBuilder {
    let Some(authorization) = authorization else {
        return request;
    };
    match reqwest::header::HeaderValue::from_str(authorization.expose_secret()) {
        Ok(mut value) => {
            value.set_sensitive(true);
            request.header(AUTHORIZATION, value)
        }
        // A token with control characters in it: the registry will say that nobody asks.
        Err(_) => request,
    }
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
