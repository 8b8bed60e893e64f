//! Connecting, authenticating, asking.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use reqwest::header::{ACCEPT, AUTHORIZATION, LINK, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::challenge::{Challenge, Scheme};
use super::connection::{Trouble, client, may_be_plain, ping};
use super::error::Error;
use super::token::{basic, bearer, with};
use super::{Login, Result};
use crate::credentials::{Credential, Store};
use crate::reference;
use crate::reference::{HUB, valid_host};

/// How a registry is to be spoken to.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who we are; nobody when absent.
    pub credential: Option<Credential>,
    /// The certificate of an authority to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// Hosts and networks that may be spoken to without TLS, besides this machine: the engine's
    /// `insecure-registries`.
    pub plain_http: Vec<String>,
    /// Where docker keeps registries' certificates; `/etc/docker/certs.d` when absent.
    pub certificates: Option<PathBuf>,
}

/// A connection to a registry.
pub struct Registry {
    pub(super) host: String,
    pub(super) base: String,
    pub(super) http: reqwest::Client,
    pub(super) credential: Option<Credential>,
    pub(super) challenge: Option<Challenge>,
    pub(super) tokens: Mutex<HashMap<String, SecretString>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("base", &self.base)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Connects with the credentials kept for the host.
    ///
    /// # Errors
    /// As [`Registry::open`], and when the credentials cannot be read.
    pub async fn connect(host: &str, store: &Store, mut options: Options) -> Result<Self> {
        if options.credential.is_none() {
            options.credential = store.get(host).await?.map(|found| found.credential);
        }
        Self::open(host, options).await
    }

    /// Connects: finds out whether TLS is spoken and what the registry wants to see.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Certificate`], [`Error::PlainHttp`], [`Error::NotARegistry`].
    pub async fn open(host: &str, options: Options) -> Result<Self> {
        if !valid_host(host) {
            return Err(reference::Error::Host {
                text: host.to_owned(),
                host: host.to_owned(),
            }
            .into());
        }
        let host = if host == "index.docker.io" { HUB } else { host }.to_owned();
        let http = client(&host, &options)?;
        let server = if host == HUB {
            "registry-1.docker.io"
        } else {
            &host
        };
        let mut base = format!("https://{server}");
        let response = match ping(&http, &base).await {
            Ok(response) => response,
            Err(error) => match Trouble::of(&error) {
                Trouble::NotTls if may_be_plain(&host, &options.plain_http) => {
                    base = format!("http://{server}");
                    ping(&http, &base)
                        .await
                        .map_err(|error| Trouble::of(&error).into_error(&host))?
                }
                trouble => return Err(trouble.into_error(&host)),
            },
        };
        let challenge = match response.status() {
            StatusCode::UNAUTHORIZED => {
                let headers = response
                    .headers()
                    .get_all(WWW_AUTHENTICATE)
                    .into_iter()
                    .filter_map(|v| v.to_str().ok());
                Some(Challenge::best(headers).ok_or_else(|| Error::NotARegistry {
                    host: host.clone(),
                    why: "it wants a login of a kind that registries do not use".to_owned(),
                })?)
            }
            status if status.is_success() => None,
            StatusCode::TOO_MANY_REQUESTS => {
                return Err(unexpected(&host, "GET /v2/", response).await);
            }
            status => {
                let why = format!("GET /v2/ answers {status}");
                return Err(Error::NotARegistry { host, why });
            }
        };
        Ok(Self {
            host,
            base,
            http,
            credential: options.credential,
            challenge,
            tokens: Mutex::default(),
        })
    }

    /// The registry's host as people write it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where requests go: scheme and host.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether requests go in clear text.
    pub fn is_plain(&self) -> bool {
        self.base.starts_with("http://")
    }

    /// How the registry wants to be told who asks; nothing when it does not ask.
    pub fn scheme(&self) -> Option<Scheme> {
        self.challenge.as_ref().map(|challenge| challenge.scheme)
    }

    /// As whom we ask.
    pub fn user(&self) -> Option<&str> {
        self.credential.as_ref().and_then(Credential::username)
    }

    /// Whether the credentials are good.
    ///
    /// # Errors
    /// [`Error::Refused`] with the registry's reason; [`Error::NoCredentials`] when there are none
    /// and some are wanted.
    pub async fn login(&self) -> Result<Login> {
        let Some(challenge) = &self.challenge else {
            return Ok(Login::NotNeeded);
        };
        let Some(credential) = &self.credential else {
            return Err(Error::NoCredentials {
                host: self.host.clone(),
            });
        };
        let user = credential
            .username()
            .unwrap_or("an access token")
            .to_owned();
        let authorization = match challenge.scheme {
            Scheme::Basic => basic(credential),
            Scheme::Bearer => bearer(&self.fetch_token(challenge, "").await?),
        };
        let request = self
            .http
            .get(format!("{}/v2/", self.base))
            .header(AUTHORIZATION, authorization.expose_secret());
        let response = self.dispatch(request).await?;
        match response.status() {
            status if status.is_success() => Ok(Login::Accepted { user }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let why = reason(response).await;
                Err(Error::Refused {
                    host: self.host.clone(),
                    user,
                    why,
                })
            }
            _ => Err(unexpected(&self.host, "GET /v2/", response).await),
        }
    }

    /// Sends a request with what it takes to be let in, and answers whatever the registry does.
    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        scope: &str,
        accept: Option<&str>,
    ) -> Result<Response> {
        let url = self.absolute(url);
        let build = || {
            let mut request = self.http.request(method.clone(), &url);
            if let Some(accept) = accept {
                request = request.header(ACCEPT, accept);
            }
            // An upload that is started has no body; some servers want that said.
            if method == Method::POST {
                request = request.header(reqwest::header::CONTENT_LENGTH, 0);
            }
            request
        };
        let authorization = self.authorization(self.challenge.as_ref(), scope).await?;
        let response = self.dispatch(with(build(), authorization.as_ref())).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // The registry knows best which scope it wants, and a token may have run out.
        let headers = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .into_iter()
            .filter_map(|v| v.to_str().ok());
        let Some(challenge) =
            Challenge::best(headers).filter(|challenge| challenge.scheme == Scheme::Bearer)
        else {
            return Ok(response);
        };
        let wanted = challenge.scope.clone().unwrap_or_else(|| scope.to_owned());
        if let Ok(mut tokens) = self.tokens.lock() {
            tokens.remove(&wanted);
        }
        match self.authorization(Some(&challenge), &wanted).await {
            Ok(authorization) => self.dispatch(with(build(), authorization.as_ref())).await,
            Err(Error::NoCredentials { .. }) => Ok(response),
            Err(error) => Err(error),
        }
    }

    /// Every page of a list, following the registry's links.
    pub(super) async fn pages(
        &self,
        first: String,
        scope: &str,
        key: &str,
    ) -> Result<Result<Vec<String>, Response>> {
        let mut entries = Vec::new();
        let mut next = Some(first);
        // A registry whose links lead in a circle must not keep us for ever.
        for _ in 0..10_000 {
            let Some(url) = next.take() else { break };
            let response = self.send(Method::GET, &url, scope, None).await?;
            if !response.status().is_success() {
                return Ok(Err(response));
            }
            next = response
                .headers()
                .get(LINK)
                .and_then(|v| v.to_str().ok())
                .and_then(next_link);
            let body: Value = self.json(response, &url).await?;
            let page = body[key].as_array().map(Vec::as_slice).unwrap_or_default();
            entries.extend(page.iter().filter_map(Value::as_str).map(str::to_owned));
        }
        Ok(Ok(entries))
    }

    pub(super) async fn json(&self, response: Response, request: &str) -> Result<Value> {
        let status = response.status().as_u16();
        let body = self.body(response).await?;
        serde_json::from_slice(&body).map_err(|error| Error::Unexpected {
            host: self.host.clone(),
            status,
            request: request.to_owned(),
            why: format!("its answer is not JSON ({error})"),
        })
    }

    pub(super) async fn body(&self, response: Response) -> Result<bytes::Bytes> {
        /// No manifest or configuration is bigger; a server that sends more is not to be waited for.
        const LIMIT: usize = 16 << 20;
        let mut response = response;
        let mut body = bytes::BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > LIMIT => {
                    let status = response.status().as_u16();
                    let request = response.url().path().to_owned();
                    return Err(Error::Unexpected {
                        host: self.host.clone(),
                        status,
                        request,
                        why: "its answer is too big".to_owned(),
                    });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body.freeze()),
                Err(error) => return Err(Trouble::of(&error).into_error(&self.host)),
            }
        }
    }

    /// Words for an answer that is no success.
    pub(super) async fn complain(
        &self,
        response: Response,
        action: &'static str,
        name: &str,
    ) -> Error {
        match response.status() {
            StatusCode::UNAUTHORIZED if self.credential.is_none() => Error::NoCredentials {
                host: self.host.clone(),
            },
            StatusCode::UNAUTHORIZED if self.scheme() == Some(Scheme::Basic) => Error::Refused {
                host: self.host.clone(),
                user: self.user().unwrap_or("an access token").to_owned(),
                why: reason(response).await,
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::Denied {
                host: self.host.clone(),
                user: self.user().map(str::to_owned),
                action,
                name: name.to_owned(),
                why: reason(response).await,
            },
            _ => {
                let request = response.url().path().to_owned();
                unexpected(&self.host, &request, response).await
            }
        }
    }

    pub(super) async fn dispatch(&self, request: RequestBuilder) -> Result<Response> {
        request
            .send()
            .await
            .map_err(|error| Trouble::of(&error).into_error(&self.host))
    }

    fn absolute(&self, url: &str) -> String {
        if url.starts_with("http://") || url.starts_with("https://") {
            url.to_owned()
        } else {
            format!("{}{url}", self.base)
        }
    }
}

fn next_link(header: &str) -> Option<String> {
    header.split(',').find_map(|link| {
        let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters.contains("next").then(|| url.to_owned())
    })
}

/// The registry's own words for a refusal.
pub(super) async fn reason(response: Response) -> String {
    let status = response.status();
    let body = response.bytes().await.unwrap_or_default();
    words(&body).unwrap_or_else(|| {
        status
            .canonical_reason()
            .unwrap_or("refused")
            .to_lowercase()
    })
}

fn words(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let first = &value["errors"][0];
    let message = first["message"]
        .as_str()
        .or_else(|| value["message"].as_str())
        .or_else(|| value["details"].as_str());
    let message = message
        .or_else(|| value["error_description"].as_str())
        .or_else(|| first["code"].as_str())?;
    let detail = first["detail"]
        .as_str()
        .filter(|detail| !detail.is_empty() && *detail != message);
    Some(match detail {
        Some(detail) => format!("{message} ({detail})"),
        None => message.to_owned(),
    })
}

/// The code of a registry's refusal, e.g. `NAME_UNKNOWN`.
pub(super) fn code_of(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    value["errors"][0]["code"].as_str().map(str::to_owned)
}

pub(super) async fn unexpected(host: &str, request: &str, response: Response) -> Error {
    let status = response.status();
    let after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.parse().ok());
    let why = reason(response).await;
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Error::RateLimited {
            host: host.to_owned(),
            why,
            after,
        };
    }
    Error::Unexpected {
        host: host.to_owned(),
        status: status.as_u16(),
        request: request.to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registrys_own_words_are_found() {
        assert_eq!(
            words(br#"{"errors":[{"code":"DENIED","message":"no","detail":"quota"}]}"#).unwrap(),
            "no (quota)"
        );
        assert_eq!(
            words(br#"{"errors":[{"code":"DENIED","message":"no","detail":[1]}]}"#).unwrap(),
            "no"
        );
        assert_eq!(
            words(br#"{"details":"incorrect username or password"}"#).unwrap(),
            "incorrect username or password"
        );
        assert_eq!(words(b"<html>"), None);
        assert_eq!(
            code_of(br#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#).unwrap(),
            "NAME_UNKNOWN"
        );
    }

    #[test]
    fn the_next_page_is_found_in_the_link() {
        assert_eq!(
            next_link(r#"</v2/_catalog?last=b&n=2>; rel="next""#).unwrap(),
            "/v2/_catalog?last=b&n=2"
        );
        assert_eq!(next_link("</x>; rel=\"prev\""), None);
        assert_eq!(next_link("nonsense"), None);
    }
}
