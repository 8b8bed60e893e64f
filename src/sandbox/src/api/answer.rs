//! The one path every request takes: who, what, may they, do it, say it.

use std::convert::Infallible;

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Value, json};

use super::auth::{self, User};
use super::body::{self, Format};
use super::delete::{DeleteOptions, Deleted};
use super::encode::{self, Accept};
use super::logs::{LogError, LogOptions};
use super::patch::{Patch, PatchKind};
use super::path::{self, Route, Target};
use super::query::{Query, WriteOptions};
use super::read::Listing;
use super::status::{ApiError, FieldError};
use super::streams::Upgrade;
use super::update::Change;
use super::write::{Object, Outcome};
use super::{Api, discovery, openapi, reviews};

struct Reply {
    response: Response<Body>,
}

fn respond(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

fn json_reply(code: u16, value: &Value) -> Response<Body> {
    respond(code, "application/json", Body::from(value.to_string()))
}

fn encoded(code: u16, json: Bytes, yaml: bool) -> Result<Response<Body>, ApiError> {
    if yaml {
        return Ok(respond(
            code,
            "application/yaml",
            Body::from(encode::to_yaml(&json)?),
        ));
    }
    Ok(respond(code, "application/json", Body::from(json)))
}

pub(super) fn failure(error: &ApiError) -> Response<Body> {
    if error.plain {
        return respond(
            error.code,
            "text/plain; charset=utf-8",
            Body::from(error.message.clone()),
        );
    }
    let mut response = json_reply(error.code, &error.to_status());
    if matches!(error.code, 429 | 503 | 504) {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if error.code == 401 {
        let bearer = HeaderValue::from_static("Bearer");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, bearer);
    }
    response
}

/// An OpenAPI document. Clients keep it and ask again with the hash they have.
fn published(document: &'static openapi::Document, headers: &Headers) -> Response<Body> {
    let tag = format!("\"{}\"", document.hash);
    let mut response = if headers.if_none_match.as_deref() == Some(&tag) {
        respond(304, document.content_type, Body::empty())
    } else {
        respond(
            200,
            document.content_type,
            Body::from(document.body.clone()),
        )
    };
    let answer = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        answer.insert(header::ETAG, tag);
    }
    answer.insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let text: String = warning
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(1024)
            .collect();
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// Whether JSON is to be laid out for reading: as `pretty` says, or else for `curl`, `Wget` and browsers, as in
/// Kubernetes.
fn is_for_people(parts: &http::request::Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    if query.contains("pretty")
        && let Some(pretty) = Query::parse(query).get("pretty")
    {
        return matches!(pretty, "1" | "t" | "T" | "true" | "TRUE" | "True");
    }
    let agent = parts.headers.get(header::USER_AGENT);
    let agent = agent.map(HeaderValue::as_bytes).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|reader| agent.starts_with(reader.as_bytes()))
}

/// The same answer, indented, if it is JSON and whole: the lines of a watch stay lines.
async fn laid_out(response: Response<Body>) -> Response<Body> {
    let json = response.headers().get(header::CONTENT_TYPE)
        == Some(&HeaderValue::from_static("application/json"));
    if !json || response.body().size_hint().exact().is_none() {
        return response;
    }
    let (parts, body) = response.into_parts();
    // It is in memory already.
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return failure(&ApiError::internal(error.to_string())),
    };
    let indented = encode::indented(&body).map_or(body, Bytes::from);
    Response::from_parts(parts, Body::from(indented))
}

/// The headers of a request that are read.
struct Headers {
    accept: Option<String>,
    content_type: Option<String>,
    user_agent: String,
    if_none_match: Option<String>,
    upgrade: Upgrade,
}

impl Api {
    /// Answers one request.
    pub async fn answer(
        &self,
        request: Request<Body>,
        certificate: bool,
        address: &str,
    ) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let started = std::time::Instant::now();
        let line = (parts.method.clone(), parts.uri.path().to_owned());
        let for_people = is_for_people(&parts);
        let reply = self.route(parts, body, certificate, address).await;
        let mut response = match reply {
            Ok(reply) => reply.response,
            Err(error) => failure(&error),
        };
        if for_people {
            response = laid_out(response).await;
        }
        if line.0 == Method::HEAD {
            // HTTP/2 takes a body here for an error.
            let length = response.body().size_hint().exact();
            *response.body_mut() = Body::empty();
            if let Some(length) = length {
                let length = HeaderValue::from(length);
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, length);
            }
        }
        tracing::debug!(
            method = %line.0,
            path = %line.1,
            status = response.status().as_u16(),
            micros = started.elapsed().as_micros() as u64,
            "request"
        );
        response
    }

    async fn route(
        &self,
        mut parts: http::request::Parts,
        body: Body,
        certificate: bool,
        address: &str,
    ) -> Result<Reply, ApiError> {
        let user = self
            .inner
            .credentials
            .authenticate(&parts.headers, certificate, |token| self.bearer(token))?;
        let upgrade = Upgrade::of(&mut parts).await;
        let text = |name: header::HeaderName| {
            parts
                .headers
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        // Several Accept headers count as one.
        let accept: Vec<&str> = parts
            .headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .collect();
        let headers = Headers {
            accept: (!accept.is_empty()).then(|| accept.join(",")),
            content_type: text(header::CONTENT_TYPE),
            user_agent: text(header::USER_AGENT).unwrap_or_default(),
            if_none_match: text(header::IF_NONE_MATCH),
            upgrade,
        };
        let query = Query::parse(parts.uri.query().unwrap_or(""));
        let route = path::parse(parts.uri.path());
        let may_ask = match &route {
            Ok(Route::Resource(_)) => true,
            Ok(Route::Other(segments)) => auth::allowed_path(&user, segments),
            Err(_) => user.is_known(),
        };
        if !may_ask {
            // Not even whether there is such a path.
            return Err(ApiError::forbidden_path(
                &user.name,
                &parts.method.as_str().to_ascii_lowercase(),
                parts.uri.path(),
            ));
        }
        let response = match route? {
            Route::Other(segments) => self.other(&parts.method, &segments, &headers, address)?,
            Route::Resource(target) => {
                self.resource(&parts.method, target, query, headers, body, &user)
                    .await?
            }
        };
        Ok(Reply { response })
    }

    fn other(
        &self,
        method: &Method,
        segments: &[String],
        headers: &Headers,
        address: &str,
    ) -> Result<Response<Body>, ApiError> {
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let aggregated = discovery::wants_aggregated(headers.accept.as_deref());
        let list = |core: bool, plain: Value| {
            let mut response = if aggregated {
                respond(
                    200,
                    discovery::AGGREGATED,
                    Body::from(discovery::aggregated(core).to_string()),
                )
            } else {
                json_reply(200, &plain)
            };
            response
                .headers_mut()
                .insert(header::VARY, HeaderValue::from_static("Accept"));
            response
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            let known = matches!(
                parts.first(),
                Some(
                    &"api" | &"apis" | &"version" | &"openapi" | &"healthz" | &"readyz" | &"livez"
                )
            );
            return Err(if known {
                ApiError::method_not_allowed()
            } else {
                ApiError::unknown_path()
            });
        }
        Ok(match parts.as_slice() {
            [] => json_reply(200, &discovery::paths()),
            ["version"] => json_reply(200, &discovery::version()),
            ["healthz" | "readyz" | "livez", ..] => {
                respond(200, "text/plain; charset=utf-8", Body::from("ok"))
            }
            ["api"] => list(true, discovery::core_versions(address)),
            ["apis"] => list(false, discovery::groups()),
            ["api", version] => json_reply(
                200,
                &discovery::resource_list("", version).ok_or_else(ApiError::unknown_path)?,
            ),
            ["apis", group] => json_reply(
                200,
                &discovery::group(group).ok_or_else(ApiError::unknown_path)?,
            ),
            ["apis", group, version] => json_reply(
                200,
                &discovery::resource_list(group, version).ok_or_else(ApiError::unknown_path)?,
            ),
            ["openapi", "v3"] => json_reply(200, &openapi::index()),
            ["openapi", "v3", key @ ..] => {
                let document = openapi::document(&key.join("/"));
                published(document.ok_or_else(ApiError::unknown_path)?, headers)
            }
            ["openapi", "v2"] => published(openapi::version_2(headers.accept.as_deref()), headers),
            _ => return Err(ApiError::unknown_path()),
        })
    }

    async fn resource(
        &self,
        method: &Method,
        target: Target,
        query: Query,
        headers: Headers,
        body: Body,
        user: &User,
    ) -> Result<Response<Body>, ApiError> {
        let watching = query.flag("watch") && target.name.is_none();
        let verb = match (method.as_str(), &target.name) {
            ("GET" | "HEAD", _) if watching => "watch",
            ("GET" | "HEAD", Some(_)) => "get",
            ("GET" | "HEAD", None) => "list",
            ("POST", _) => "create",
            ("PUT", Some(_)) => "update",
            ("PATCH", Some(_)) => "patch",
            ("DELETE", Some(_)) => "delete",
            ("DELETE", None) => "deletecollection",
            _ => return Err(ApiError::method_not_allowed()),
        };
        let served = match &target.subresource {
            Some(sub) => target
                .resource
                .subresource(sub)
                .is_some_and(|s| s.verbs.contains(&verb)),
            None => target.resource.verbs.has(verb),
        };
        // Kubernetes has no POST on an object of its own types, and takes one for a custom
        // resource as a create of that name.
        let post_on_item = verb == "create"
            && target.name.is_some()
            && target.subresource.is_none()
            && target.resource.flavor == crate::resources::Flavor::BuiltIn;
        if !served || post_on_item {
            return Err(ApiError::method_not_allowed());
        }
        auth::authorize(user, verb, &target)?;
        let accept = Accept::parse(headers.accept.as_deref(), query.get("includeObject"));
        if verb == "get" && target.subresource.as_deref() == Some("log") {
            return self.log(&target, &query).await;
        }
        if let Some("attach" | "exec") = target.subresource.as_deref() {
            // Whoever may look at a pod may not act in it for that.
            auth::authorize(user, "create", &target)?;
            return self.connect(&target, &query, headers.upgrade).await;
        }
        let accept = accept?;
        match verb {
            "watch" => {
                let lines = self.watch(&target, &query, accept.shape)?;
                let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
                Ok(respond(200, "application/json", body))
            }
            "get" => {
                let entry = self.get(&target)?;
                encoded(
                    200,
                    encode::one(&entry, target.resource, accept.shape, true),
                    accept.yaml,
                )
            }
            "list" => {
                let Listing { entries, meta } = self.list(&target, &query).await?;
                let json = encode::list(&entries, &meta, target.resource, accept.shape);
                encoded(200, json, accept.yaml)
            }
            "create" if target.subresource.as_deref() == Some("token") => {
                let body = read_plain(&headers, body, "the TokenRequest").await?;
                let answer = self.token(&target, body)?;
                encoded(201, Bytes::from(answer.to_string()), accept.yaml)
            }
            "create" if target.subresource.as_deref() == Some("binding") => {
                let options = WriteOptions::read(&query, &headers.user_agent, "CreateOptions")?;
                let body = read_plain(&headers, body, "the Binding").await?;
                self.bind(&target, &body, options.dry_run).await?;
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
                encoded(201, Bytes::from(status.to_string()), accept.yaml)
            }
            "create" => {
                let options = WriteOptions::read(&query, &headers.user_agent, "CreateOptions")?;
                let format = Format::of(headers.content_type.as_deref())?;
                let bytes = read_body(body).await?;
                let body = body::object(&bytes, format, target.resource, options.validation)?;
                if target.resource.verbs == crate::resources::Verbs::Review {
                    let manager = &options.field_manager;
                    let answer = reviews::answer(target.resource, body.object, user, manager)?;
                    return encoded(201, Bytes::from(answer.to_string()), accept.yaml);
                }
                let outcome = self.create(&target, body, &options, user).await?;
                self.outcome(outcome, &target, accept)
            }
            "update" => {
                let options = WriteOptions::read(&query, &headers.user_agent, "UpdateOptions")?;
                let format = Format::of(headers.content_type.as_deref())?;
                let bytes = read_body(body).await?;
                let body = body::object(&bytes, format, target.resource, options.validation)?;
                let outcome = self
                    .update(&target, Change::Replace(body), &options, user)
                    .await?;
                self.outcome(outcome, &target, accept)
            }
            "patch" => {
                let kind = PatchKind::of(headers.content_type.as_deref(), target.resource)?;
                let options = WriteOptions::read(&query, &headers.user_agent, "PatchOptions")?;
                if options.force_given && kind != PatchKind::Apply {
                    let error =
                        FieldError::forbidden("force", "may not be specified for non-apply patch");
                    return Err(ApiError::invalid_kind(
                        "meta.k8s.io",
                        "PatchOptions",
                        "",
                        &[error],
                    ));
                }
                let bytes = read_body(body).await?;
                let patch = Patch::read(kind, &bytes)?;
                let outcome = self
                    .update(&target, Change::Patch(patch), &options, user)
                    .await?;
                self.outcome(outcome, &target, accept)
            }
            _ => {
                let bytes = read_body(body).await?;
                let given = if bytes.is_empty() {
                    None
                } else {
                    let format = Format::of(headers.content_type.as_deref())?;
                    let (value, _) = body::parse(&bytes, format).map_err(|why| {
                        ApiError::bad_request(format!("cannot read DeleteOptions: {why}"))
                    })?;
                    Some(value)
                };
                let options = DeleteOptions::read(&query, given.as_ref())?;
                if target.name.is_none() {
                    let Listing { entries, meta } =
                        self.delete_collection(&target, &query, &options).await?;
                    let json = encode::list(&entries, &meta, target.resource, accept.shape);
                    return encoded(200, json, accept.yaml);
                }
                self.deleted(self.delete(&target, &options).await?, &target, accept)
            }
        }
    }

    fn outcome(
        &self,
        outcome: Outcome,
        target: &Target,
        accept: Accept,
    ) -> Result<Response<Body>, ApiError> {
        let json = match &outcome.object {
            Object::Stored(entry) => encode::one(entry, target.resource, accept.shape, true),
            Object::Computed(value) => Bytes::from(value.to_string()),
        };
        let mut response = encoded(outcome.code, json, accept.yaml)?;
        warn(&mut response, &outcome.warnings);
        Ok(response)
    }

    fn deleted(
        &self,
        deleted: Deleted,
        target: &Target,
        accept: Accept,
    ) -> Result<Response<Body>, ApiError> {
        let resource = target.resource;
        match deleted {
            Deleted::Marked(Object::Stored(entry)) => encoded(
                200,
                encode::one(&entry, resource, accept.shape, true),
                accept.yaml,
            ),
            Deleted::Marked(Object::Computed(value)) => {
                encoded(200, Bytes::from(value.to_string()), accept.yaml)
            }
            Deleted::Gone(entry) if resource.kind_rules.delete_answers_object => encoded(
                200,
                encode::one(&entry, resource, accept.shape, true),
                accept.yaml,
            ),
            Deleted::Gone(entry) => {
                let meta = entry.meta();
                let mut details = json!({"name": meta.name});
                if !resource.group.is_empty() {
                    details["group"] = json!(resource.group);
                }
                details["kind"] = json!(resource.plural);
                details["uid"] = json!(meta.uid);
                let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details});
                encoded(200, Bytes::from(status.to_string()), accept.yaml)
            }
        }
    }

    async fn log(&self, target: &Target, query: &Query) -> Result<Response<Body>, ApiError> {
        let name = target.name.as_deref().unwrap_or_default();
        let options = LogOptions::read(name, query)?;
        let pod = self.get(target)?.value();
        // A log that is followed stays open as a watch does, and counts as one.
        let permit = match options.follow {
            true => Some(self.watch_permit()?),
            false => None,
        };
        let source = self
            .inner
            .logs
            .get()
            .cloned()
            .ok_or_else(|| ApiError::internal("no container runtime has started yet"))?;
        let namespace = target.namespace.clone().unwrap_or_default();
        let stream = match source.logs(&namespace, &pod, options).await {
            Ok(stream) => stream,
            Err(LogError::NoNode) => return Ok(respond(204, "text/plain", Body::empty())),
            Err(LogError::BadRequest(message)) => return Err(ApiError::bad_request(message)),
            Err(LogError::NotFound(message)) => return Err(ApiError::gone_missing(message)),
            Err(LogError::Internal(message)) => return Err(ApiError::internal(message)),
        };
        let shutdown = self.inner.shutdown.clone().cancelled_owned();
        let stream = stream.take_until(shutdown).map(move |bytes| {
            let _held = &permit;
            bytes
        });
        Ok(respond(200, "text/plain", Body::from_stream(stream)))
    }
}

/// How long a body may take to arrive.
const BODY_TIME: std::time::Duration = std::time::Duration::from_secs(60);

/// A body that is no object of the table.
async fn read_plain(headers: &Headers, body: Body, what: &str) -> Result<Value, ApiError> {
    let format = Format::of(headers.content_type.as_deref())?;
    let bytes = read_body(body).await?;
    let (value, _) = body::parse(&bytes, format)
        .map_err(|why| ApiError::bad_request(format!("cannot read {what}: {why}")))?;
    Ok(value)
}

async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    let read = tokio::time::timeout(BODY_TIME, Limited::new(body, body::LIMIT).collect());
    match read.await.map_err(|_| ApiError::body_timeout())? {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ApiError::too_large(body::LIMIT))
        }
        Err(error) => Err(ApiError::bad_request(format!(
            "cannot read the body: {error}"
        ))),
    }
}
