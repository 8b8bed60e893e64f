//! Connecting, authenticating, asking.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, LINK, RETRY_AFTER, WWW_AUTHENTICATE};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::challenge::{Challenge, Scheme};
use super::error::Error;
use super::{Login, Result};
use crate::credentials::{Credential, Store};
use crate::reference::{HUB, is_loopback, valid_host};
use crate::{reference, tls};

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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
    host: String,
    base: String,
    http: reqwest::Client,
    credential: Option<Credential>,
    challenge: Option<Challenge>,
    tokens: Mutex<HashMap<String, SecretString>>,
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

    async fn dispatch(&self, request: RequestBuilder) -> Result<Response> {
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

    async fn authorization(
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
    async fn fetch_token(&self, challenge: &Challenge, scope: &str) -> Result<SecretString> {
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

fn client(host: &str, options: &Options) -> Result<reqwest::Client> {
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

fn may_be_plain(host: &str, insecure: &[String]) -> bool {
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

async fn ping(http: &reqwest::Client, base: &str) -> Result<Response, reqwest::Error> {
    http.get(format!("{base}/v2/")).send().await
}

fn basic(credential: &Credential) -> SecretString {
    use base64::Engine as _;
    let user = credential.username().unwrap_or("<token>");
    let pair = zeroize::Zeroizing::new(format!("{user}:{}", credential.secret().expose_secret()));
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(pair.as_bytes())
    )
    .into()
}

fn bearer(token: &SecretString) -> SecretString {
    format!("Bearer {}", token.expose_secret()).into()
}

fn with(request: RequestBuilder, authorization: Option<&SecretString>) -> RequestBuilder {
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

/// What kept a request from being answered.
enum Trouble {
    NotTls,
    Certificate(String),
    Other(String),
}

impl Trouble {
    fn of(error: &reqwest::Error) -> Self {
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

    fn into_error(self, host: &str) -> Error {
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
