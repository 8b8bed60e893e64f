//! From a request to an answer.
//!
//! A repository's name may hold any number of slashes, which no router pattern says well: the path is
//! taken apart from its end by [`Target::parse`].

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use uuid::Uuid;

use super::Credentials;
use super::error::{Error, Refusal};
use super::manifest;
use super::name::{Digest, Name, Reference};
use super::storage::{Storage, failed};
use super::upload::{Upload, Uploads};

/// What all requests share.
pub(super) struct State {
    storage: Storage,
    uploads: Uploads,
    credentials: Credentials,
}

impl State {
    pub(super) fn new(storage: Storage, credentials: Credentials) -> Self {
        Self {
            storage,
            uploads: Uploads::default(),
            credentials,
        }
    }
}

/// What a path names.
#[derive(Debug, PartialEq)]
enum Target {
    Base,
    Catalog,
    Tags(Name),
    Manifest(Name, Reference),
    Blob(Name, Digest),
    NewUpload(Name),
    Upload(Name, Uuid),
    Referrers(Name, Digest),
}

impl Target {
    fn parse(path: &str) -> Result<Self, Refusal> {
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "no such resource");
        let rest = match path.strip_prefix("/v2") {
            Some("" | "/") => return Ok(Self::Base),
            Some(rest) => rest.strip_prefix('/').ok_or_else(unknown)?,
            None => return Err(unknown()),
        };
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        let name = |text: &str| Name::parse(text).ok_or_else(|| Refusal::name_invalid(text));
        let digest = |text: &str| {
            Digest::parse(text).ok_or_else(|| {
                Refusal::digest_invalid("provided digest is not one")
                    .detail(json!({ "digest": text }))
            })
        };
        if let Some(of) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(name(of)?));
        }
        if let Some(of) = rest
            .strip_suffix("/blobs/uploads/")
            .or_else(|| rest.strip_suffix("/blobs/uploads"))
        {
            return Ok(Self::NewUpload(name(of)?));
        }
        let (front, last) = rest.rsplit_once('/').ok_or_else(unknown)?;
        if let Some(of) = front.strip_suffix("/blobs/uploads") {
            let id = Uuid::parse_str(last).map_err(|_| Refusal::upload_unknown())?;
            return Ok(Self::Upload(name(of)?, id));
        }
        if let Some(of) = front.strip_suffix("/blobs") {
            return Ok(Self::Blob(name(of)?, digest(last)?));
        }
        if let Some(of) = front.strip_suffix("/referrers") {
            return Ok(Self::Referrers(name(of)?, digest(last)?));
        }
        if let Some(of) = front.strip_suffix("/manifests") {
            let of = name(of)?;
            let reference =
                Reference::parse(last).ok_or_else(|| Refusal::manifest_unknown(last))?;
            return Ok(Self::Manifest(of, reference));
        }
        Err(unknown())
    }
}

/// One value of the query string, percent-decoded.
fn query(request: &http::request::Parts, key: &str) -> Option<String> {
    request.uri.query()?.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name == key).then(|| percent_decoded(value))
    })
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escape {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Answers one request: credentials first, then the path, then the method.
pub(super) async fn answer(
    axum::extract::State(state): axum::extract::State<Arc<State>>,
    request: Request,
) -> Response {
    let mut response = match respond(state, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().insert(
        "docker-distribution-api-version",
        http::HeaderValue::from_static("registry/2.0"),
    );
    response
}

async fn respond(state: Arc<State>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let admitted = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| state.credentials.admit(value));
    if !admitted {
        return Err(Refusal::unauthorized());
    }
    let path = percent_decoded(parts.uri.path());
    let method = parts.method.clone();
    let read = matches!(method, Method::GET | Method::HEAD);
    match Target::parse(&path)? {
        Target::Base if read => Ok(axum::Json(json!({})).into_response()),
        Target::Catalog if read => {
            let storage = state.storage.clone();
            let names = blocking(move || storage.repositories()).await?;
            let names = names.iter().map(|name| name.as_str().to_owned()).collect();
            paged(&parts, "/v2/_catalog", "repositories", names, json!({}))
        }
        Target::Tags(name) if read => {
            if !state.storage.knows(&name) {
                return Err(Refusal::name_unknown(name.as_str()));
            }
            let (storage, of) = (state.storage.clone(), name.clone());
            let tags = blocking(move || storage.tags(&of)).await?;
            let address = format!("/v2/{name}/tags/list");
            paged(
                &parts,
                &address,
                "tags",
                tags,
                json!({ "name": name.as_str() }),
            )
        }
        Target::Manifest(name, reference) => match method {
            Method::GET | Method::HEAD => get_manifest(&state, &name, &reference).await,
            Method::PUT => put_manifest(&state, &parts, name, reference, body).await,
            Method::DELETE => delete_manifest(&state, name, reference).await,
            _ => Err(Refusal::method_not_allowed()),
        },
        Target::Blob(name, digest) => match method {
            Method::GET | Method::HEAD => get_blob(&state, &parts, &name, &digest).await,
            Method::DELETE => {
                let (storage, wanted) = (state.storage.clone(), digest.clone());
                if blocking(move || storage.unlink_blob(&name, &wanted)).await? {
                    Ok(StatusCode::ACCEPTED.into_response())
                } else {
                    Err(Refusal::blob_unknown(digest.as_str()))
                }
            }
            _ => Err(Refusal::method_not_allowed()),
        },
        Target::NewUpload(name) if method == Method::POST => {
            begin_upload(&state, &parts, name, body).await
        }
        Target::Upload(name, id) => match method {
            Method::GET | Method::PATCH | Method::PUT | Method::DELETE => {
                continue_upload(&state, &parts, name, id, body).await
            }
            _ => Err(Refusal::method_not_allowed()),
        },
        Target::Referrers(name, digest) if read => {
            let wanted = query(&parts, "artifactType");
            referrers(&state, name, digest, wanted).await
        }
        _ => Err(Refusal::method_not_allowed()),
    }
}

/// Runs file work on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Refusal::from(Error::Interrupted))?
        .map_err(Refusal::from)
}

/// A sorted list by `n` and `last`, with the `Link` to what follows.
fn paged(
    parts: &http::request::Parts,
    address: &str,
    field: &str,
    mut all: Vec<String>,
    mut body: serde_json::Value,
) -> Result<Response, Refusal> {
    if let Some(last) = query(parts, "last") {
        all.retain(|entry| *entry > last);
    }
    let mut next = None;
    if let Some(text) = query(parts, "n") {
        let limit: usize = text.parse().map_err(|_| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                "PAGINATION_NUMBER_INVALID",
                "invalid number of results requested",
            )
            .detail(json!({ "n": text }))
        })?;
        if all.len() > limit {
            all.truncate(limit);
            next = all
                .last()
                .map(|last| format!("<{address}?last={last}&n={limit}>; rel=\"next\""));
        }
    }
    body[field] = json!(all);
    let mut response = axum::Json(body).into_response();
    if let Some(link) = next.and_then(|link| link.parse().ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

fn with_headers(status: StatusCode, headers: &[(&'static str, String)], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}

async fn get_manifest(
    state: &State,
    name: &Name,
    reference: &Reference,
) -> Result<Response, Refusal> {
    let (storage, of, wanted) = (state.storage.clone(), name.clone(), reference.clone());
    let stored = blocking(move || {
        let digest = match wanted {
            Reference::Tag(tag) => storage.tag(&of, &tag)?,
            Reference::Digest(digest) => Some(digest),
        };
        let Some(digest) = digest else {
            return Ok(None);
        };
        let Some(link) = storage.link(&of, &digest)? else {
            return Ok(None);
        };
        Ok(storage
            .content(&digest)?
            .map(|content| (digest, link, content)))
    })
    .await?;
    let Some((digest, link, content)) = stored else {
        return Err(Refusal::manifest_unknown(&reference.to_string()));
    };
    // The body of a HEAD answer is dropped by the server, its length is kept.
    Ok(with_headers(
        StatusCode::OK,
        &[
            ("content-type", link.media_type),
            ("content-length", content.len().to_string()),
            ("docker-content-digest", digest.to_string()),
            ("etag", format!("\"{digest}\"")),
        ],
        Body::from(content),
    ))
}

async fn put_manifest(
    state: &State,
    parts: &http::request::Parts,
    name: Name,
    reference: Reference,
    body: Body,
) -> Result<Response, Refusal> {
    let content = axum::body::to_bytes(body, manifest::LONGEST)
        .await
        .map_err(|_| {
            Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "SIZE_INVALID",
                "a manifest holds at most 4 MiB",
            )
        })?;
    let content_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let checked = manifest::check(&content, content_type)?;
    let (digest, tag) = match reference {
        Reference::Tag(tag) => (Digest::sha256(&content), Some(tag)),
        Reference::Digest(digest) => {
            if digest.same_algorithm(&content) != digest {
                return Err(Refusal::digest_invalid(
                    "provided digest did not match uploaded content",
                )
                .detail(json!({ "digest": digest.as_str() })));
            }
            (digest, None)
        }
    };
    let storage = state.storage.clone();
    let (of, stored) = (name.clone(), digest.clone());
    let subject = checked.subject.clone();
    let missing = blocking(move || {
        for blob in &checked.blobs {
            if storage.blob(&of, blob)?.is_none() {
                return Ok(Some(("MANIFEST_BLOB_UNKNOWN", blob.clone())));
            }
        }
        for part in &checked.manifests {
            if storage.link(&of, part)?.is_none() {
                return Ok(Some(("MANIFEST_BLOB_UNKNOWN", part.clone())));
            }
        }
        storage.put_manifest(&of, &stored, &content, &checked.link, tag.as_deref())?;
        Ok(None)
    })
    .await?;
    if let Some((code, missing)) = missing {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            code,
            "manifest references a manifest or blob unknown to the registry",
        )
        .detail(json!({ "digest": missing.as_str() })));
    }
    let mut headers = vec![
        ("location", format!("/v2/{name}/manifests/{digest}")),
        ("docker-content-digest", digest.to_string()),
    ];
    if let Some(subject) = subject {
        headers.push(("oci-subject", subject.to_string()));
    }
    Ok(with_headers(StatusCode::CREATED, &headers, Body::empty()))
}

async fn delete_manifest(
    state: &State,
    name: Name,
    reference: Reference,
) -> Result<Response, Refusal> {
    let (storage, wanted) = (state.storage.clone(), reference.clone());
    let removed = blocking(move || match wanted {
        Reference::Tag(tag) => storage.remove_tag(&name, &tag),
        Reference::Digest(digest) => storage.remove_manifest(&name, &digest),
    })
    .await?;
    if removed {
        Ok(StatusCode::ACCEPTED.into_response())
    } else {
        Err(Refusal::manifest_unknown(&reference.to_string()))
    }
}

/// `bytes=A-B`, `bytes=A-` or `bytes=-N` of a blob; anything else asks for all of it.
fn range(headers: &HeaderMap, size: u64) -> Result<Option<(u64, u64)>, Refusal> {
    let Some(wanted) = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("bytes="))
        .filter(|value| !value.contains(','))
        .and_then(|value| value.split_once('-'))
    else {
        return Ok(None);
    };
    let unsatisfiable = || {
        Refusal::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "SIZE_INVALID",
            "the blob does not reach that far",
        )
        .header("content-range", format!("bytes */{size}"))
    };
    let span = match (wanted.0.parse::<u64>(), wanted.1.parse::<u64>()) {
        (Ok(first), Ok(last)) => (first, last.min(size.saturating_sub(1))),
        (Ok(first), Err(_)) if wanted.1.is_empty() => (first, size.saturating_sub(1)),
        (Err(_), Ok(length)) if wanted.0.is_empty() => {
            (size.saturating_sub(length), size.saturating_sub(1))
        }
        _ => return Ok(None),
    };
    if span.0 >= size || span.0 > span.1 {
        return Err(unsatisfiable());
    }
    Ok(Some(span))
}

async fn get_blob(
    state: &State,
    parts: &http::request::Parts,
    name: &Name,
    digest: &Digest,
) -> Result<Response, Refusal> {
    let (storage, of, wanted) = (state.storage.clone(), name.clone(), digest.clone());
    let Some(size) = blocking(move || storage.blob(&of, &wanted)).await? else {
        return Err(Refusal::blob_unknown(digest.as_str()));
    };
    let span = range(&parts.headers, size)?;
    let (first, length) = span.map_or((0, size), |(first, last)| (first, last - first + 1));
    let mut headers = vec![
        ("content-type", "application/octet-stream".to_owned()),
        ("content-length", length.to_string()),
        ("docker-content-digest", digest.to_string()),
        ("accept-ranges", "bytes".to_owned()),
        ("etag", format!("\"{digest}\"")),
    ];
    let mut status = StatusCode::OK;
    if let Some((first, last)) = span {
        status = StatusCode::PARTIAL_CONTENT;
        headers.push(("content-range", format!("bytes {first}-{last}/{size}")));
    }
    if parts.method == Method::HEAD {
        return Ok(with_headers(status, &headers, Body::empty()));
    }
    let path = state.storage.blob_path(digest);
    let mut file = tokio::fs::File::open(&path)
        .await
        .map_err(|error| failed("open", &path, error))?;
    if first > 0 {
        file.seek(std::io::SeekFrom::Start(first))
            .await
            .map_err(|error| failed("read", &path, error))?;
    }
    let stream = tokio_util::io::ReaderStream::with_capacity(file.take(length), 256 << 10);
    Ok(with_headers(status, &headers, Body::from_stream(stream)))
}

fn upload_answer(status: StatusCode, name: &Name, id: Uuid, size: u64) -> Response {
    with_headers(
        status,
        &[
            ("location", format!("/v2/{name}/blobs/uploads/{id}")),
            ("range", format!("0-{}", size.saturating_sub(1))),
            ("docker-upload-uuid", id.to_string()),
            ("content-length", "0".to_owned()),
        ],
        Body::empty(),
    )
}

fn blob_created(name: &Name, digest: &Digest) -> Response {
    with_headers(
        StatusCode::CREATED,
        &[
            ("location", format!("/v2/{name}/blobs/{digest}")),
            ("docker-content-digest", digest.to_string()),
            ("content-length", "0".to_owned()),
        ],
        Body::empty(),
    )
}

async fn begin_upload(
    state: &State,
    parts: &http::request::Parts,
    name: Name,
    body: Body,
) -> Result<Response, Refusal> {
    if let Some(mount) = query(parts, "mount").and_then(|text| Digest::parse(&text))
        && let Some(from) = query(parts, "from").and_then(|text| Name::parse(&text))
    {
        let (storage, of, wanted) = (state.storage.clone(), name.clone(), mount.clone());
        let mounted = blocking(move || {
            let there = storage.blob(&from, &wanted)?.is_some();
            if there {
                storage.link_blob(&of, &wanted)?;
            }
            Ok(there)
        })
        .await?;
        if mounted {
            return Ok(blob_created(&name, &mount));
        }
    }
    let whole = match query(parts, "digest") {
        Some(text) => Some(Digest::parse(&text).ok_or_else(|| {
            Refusal::digest_invalid("provided digest is not one").detail(json!({ "digest": text }))
        })?),
        None => None,
    };
    let (id, upload) = state.uploads.begin(&state.storage)?;
    let Some(digest) = whole else {
        return Ok(upload_answer(StatusCode::ACCEPTED, &name, id, 0));
    };
    let guard = upload.lock_owned().await;
    let guard = Upload::append(guard, body).await?;
    Upload::finish(guard, state.storage.clone(), name.clone(), digest.clone()).await?;
    state.uploads.forget(id);
    Ok(blob_created(&name, &digest))
}

/// Checks `Content-Range: A-B` against what is there already.
fn in_order(headers: &HeaderMap, name: &Name, id: Uuid, size: u64) -> Result<(), Refusal> {
    let Some(given) = headers
        .get(header::CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
    else {
        return Ok(());
    };
    let first = given
        .trim_start_matches("bytes ")
        .split_once('-')
        .and_then(|(first, _)| first.trim().parse::<u64>().ok());
    if first == Some(size) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::RANGE_NOT_SATISFIABLE,
        "BLOB_UPLOAD_INVALID",
        "the chunk does not follow the last one",
    )
    .header("location", format!("/v2/{name}/blobs/uploads/{id}"))
    .header("range", format!("0-{}", size.saturating_sub(1)))
    .header("docker-upload-uuid", id.to_string()))
}

async fn continue_upload(
    state: &Arc<State>,
    parts: &http::request::Parts,
    name: Name,
    id: Uuid,
    body: Body,
) -> Result<Response, Refusal> {
    let shared = state.clone();
    let upload = blocking(move || shared.uploads.find(&shared.storage, id))
        .await?
        .ok_or_else(Refusal::upload_unknown)?;
    let guard = upload.try_lock_owned().map_err(|_| {
        Refusal::new(
            StatusCode::CONFLICT,
            "BLOB_UPLOAD_INVALID",
            "another request writes to this upload",
        )
    })?;
    let size = guard.size();
    match parts.method {
        Method::PATCH => {
            in_order(&parts.headers, &name, id, size)?;
            let guard = Upload::append(guard, body).await?;
            let size = guard.size();
            Ok(upload_answer(StatusCode::ACCEPTED, &name, id, size))
        }
        Method::PUT => {
            let text = query(parts, "digest").unwrap_or_default();
            let digest = Digest::parse(&text).ok_or_else(|| {
                Refusal::digest_invalid("the closing request needs the blob's digest")
                    .detail(json!({ "digest": text }))
            })?;
            in_order(&parts.headers, &name, id, size)?;
            let guard = Upload::append(guard, body).await?;
            Upload::finish(guard, state.storage.clone(), name.clone(), digest.clone()).await?;
            state.uploads.forget(id);
            Ok(blob_created(&name, &digest))
        }
        Method::DELETE => {
            guard.discard()?;
            state.uploads.forget(id);
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        _ => Ok(upload_answer(StatusCode::NO_CONTENT, &name, id, size)),
    }
}

async fn referrers(
    state: &State,
    name: Name,
    digest: Digest,
    artifact_type: Option<String>,
) -> Result<Response, Refusal> {
    let storage = state.storage.clone();
    let filtered = artifact_type.is_some();
    let manifests = blocking(move || {
        let mut found = Vec::new();
        for candidate in storage.manifests(&name)? {
            let Some(link) = storage.link(&name, &candidate)? else {
                continue;
            };
            let refers = link.subject.as_deref() == Some(digest.as_str());
            if !refers || (artifact_type.is_some() && link.artifact_type != artifact_type) {
                continue;
            }
            let size = storage
                .content(&candidate)?
                .map_or(0, |content| content.len());
            let mut entry = json!({
                "mediaType": link.media_type,
                "digest": candidate.as_str(),
                "size": size,
            });
            if let Some(kind) = link.artifact_type {
                entry["artifactType"] = json!(kind);
            }
            if !link.annotations.is_empty() {
                entry["annotations"] = json!(link.annotations);
            }
            found.push(entry);
        }
        Ok(found)
    })
    .await?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": manifest::OCI_INDEX,
        "manifests": manifests,
    });
    let mut headers = vec![("content-type", manifest::OCI_INDEX.to_owned())];
    if filtered {
        headers.push(("oci-filters-applied", "artifactType".to_owned()));
    }
    Ok(with_headers(
        StatusCode::OK,
        &headers,
        Body::from(index.to_string()),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_may_be_called_like_a_part_of_the_path() {
        let name = |text: &str| Name::parse(text).expect("name");
        let tag = Reference::Tag("1".into());
        assert_eq!(
            Target::parse("/v2/blobs/manifests/1").expect("target"),
            Target::Manifest(name("blobs"), tag.clone())
        );
        assert_eq!(
            Target::parse("/v2/a/tags/list/manifests/1").expect("target"),
            Target::Manifest(name("a/tags/list"), tag)
        );
        assert_eq!(
            Target::parse("/v2/a/b/c/tags/list").expect("target"),
            Target::Tags(name("a/b/c"))
        );
        assert_eq!(
            Target::parse("/v2/a/blobs/uploads/").expect("target"),
            Target::NewUpload(name("a"))
        );
        assert!(Target::parse("/v2/../manifests/1").is_err());
        assert!(Target::parse("/v1/").is_err());
    }

    #[test]
    fn ranges_are_cut_to_the_blob_and_refused_behind_its_end() {
        let range_of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, text.parse().expect("header"));
            range(&headers, 10)
        };
        assert_eq!(range_of("bytes=2-4").expect("range"), Some((2, 4)));
        assert_eq!(range_of("bytes=2-").expect("range"), Some((2, 9)));
        assert_eq!(range_of("bytes=-3").expect("range"), Some((7, 9)));
        assert_eq!(range_of("bytes=8-99").expect("range"), Some((8, 9)));
        assert!(range_of("bytes=10-").is_err());
        assert_eq!(range_of("lines=1-2").expect("range"), None);
    }
}
