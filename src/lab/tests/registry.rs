//! Registries: Debian's own with a password, with TLS, and doubles that give out tokens.
#![allow(missing_docs)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use katlab_lab::credentials::{Credential, Store};
use katlab_lab::docker::build::Build;
use katlab_lab::docker::transfer::Event;
use katlab_lab::docker::{Engine, Error as DockerError};
use katlab_lab::reference::Reference;
use katlab_lab::registry::{Access, Error, Login, Options, Registry};
use support::{PASSWORD, TestRegistry, USER, credential, engine, folder, fresh, never};

fn with(password: &str) -> Options {
    Options {
        credential: Some(credential(password)),
        ..Options::default()
    }
}

async fn small_image(engine: &Engine, name: &str) {
    let context = folder(&[
        (
            "Dockerfile",
            "FROM scratch\nENV SECRET=value\nCOPY a /a\nCOPY b /b\nCMD [\"/a\", \"x y\"]\n",
        ),
        ("a", name),
        ("b", "2"),
    ]);
    let build = Build {
        context: context.path().to_owned(),
        tags: vec![Reference::parse(name).unwrap()],
        ..Build::default()
    };
    engine.build(&build, &mut |_| {}, &never()).await.unwrap();
}

#[tokio::test]
async fn a_password_is_tried_before_it_is_believed() {
    let registry = TestRegistry::plain();
    let client = Registry::open(&registry.host(), with(PASSWORD))
        .await
        .unwrap();
    assert!(client.is_plain());
    assert_eq!(
        client.login().await.unwrap(),
        Login::Accepted {
            user: USER.to_owned()
        }
    );
    let wrong = Registry::open(&registry.host(), with("wrong"))
        .await
        .unwrap();
    let error = wrong.login().await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused { user, .. } if user == USER),
        "{error:?}"
    );
    assert!(error.hint().is_some() && !error.to_string().contains("wrong"));
    let nobody = Registry::open(&registry.host(), Options::default())
        .await
        .unwrap();
    assert!(matches!(
        nobody.login().await,
        Err(Error::NoCredentials { .. })
    ));
    assert!(matches!(
        nobody.repositories().await,
        Err(Error::NoCredentials { .. })
    ));
}

#[tokio::test]
async fn an_image_goes_there_and_comes_back_with_the_same_digest() {
    let registry = TestRegistry::plain();
    let home = tempfile::tempdir().unwrap();
    let engine = engine()
        .await
        .with_credentials(registry.store(home.path()).await);
    let local = fresh("pushed") + ":1.0";
    small_image(&engine, &local).await;
    let remote = Reference::parse(&format!("{}/team/hyperparam:1.0", registry.host())).unwrap();
    engine.tag(&local, &remote).await.unwrap();

    let mut layers = 0;
    let mut report =
        |event| layers += usize::from(matches!(event, Event::Layer(layer) if layer.is_done()));
    let pushed = engine.push(&remote, &mut report, &never()).await.unwrap();
    let digest = pushed.digest.clone().unwrap();
    assert!(digest.starts_with("sha256:") && layers >= 2, "{pushed:?}");
    assert_eq!(
        (pushed.layers, pushed.reused, pushed.user.as_deref()),
        (2, 0, Some(USER))
    );
    let again = engine.push(&remote, &mut |_| {}, &never()).await.unwrap();
    assert_eq!((again.reused, again.digest), (2, Some(digest.clone())));

    let store = registry.store(home.path()).await;
    let client = Registry::connect(&registry.host(), &store, Options::default())
        .await
        .unwrap();
    assert_eq!(client.repositories().await.unwrap(), ["team/hyperparam"]);
    let tags = client.tags("team/hyperparam").await.unwrap();
    assert_eq!(
        (tags.len(), tags[0].name.as_str(), tags[0].digest.as_ref()),
        (1, "1.0", Some(&digest))
    );
    assert!(tags[0].size > Some(0) && tags[0].created.is_some());
    assert_eq!(client.digest(&remote).await.unwrap(), Some(digest.clone()));
    let image = client.inspect(&remote).await.unwrap();
    assert_eq!(
        (image.command, image.layers.len()),
        (vec!["/a".to_owned(), "x y".to_owned()], 2)
    );
    assert!(
        image.env.contains(&"SECRET".to_owned()),
        "names only: {:?}",
        image.env
    );

    engine.remove(&remote.to_string(), false).await.unwrap();
    engine.remove(&local, false).await.unwrap();
    let pulled = engine
        .pull(&remote, None, &mut |_| {}, &never())
        .await
        .unwrap();
    assert_eq!(pulled.digest, Some(digest));
    assert!(
        engine
            .pull(&remote, None, &mut |_| {}, &never())
            .await
            .unwrap()
            .up_to_date
    );
    engine.remove(&remote.to_string(), false).await.unwrap();
}

#[tokio::test]
async fn what_is_not_there_comes_with_what_is_nearest() {
    let registry = TestRegistry::plain();
    let home = tempfile::tempdir().unwrap();
    let engine = engine()
        .await
        .with_credentials(registry.store(home.path()).await);
    let local = fresh("near") + ":1";
    small_image(&engine, &local).await;
    let remote = Reference::parse(&format!("{}/team/hyperparam:1.0", registry.host())).unwrap();
    engine.tag(&local, &remote).await.unwrap();
    engine.push(&remote, &mut |_| {}, &never()).await.unwrap();
    let client = Registry::open(&registry.host(), with(PASSWORD))
        .await
        .unwrap();
    let error = client.tags("team/hyperparm").await.unwrap_err();
    assert!(
        error.hint().unwrap().contains("team/hyperparam"),
        "{error:?}"
    );
    let tag = Reference::parse(&format!("{}/team/hyperparam:1.1", registry.host())).unwrap();
    let error = client.inspect(&tag).await.unwrap_err();
    assert!(
        error.hint().unwrap().contains("hyperparam:1.0"),
        "{error:?}"
    );
    assert_eq!(client.digest(&tag).await.unwrap(), None);
    let error = engine
        .pull(&tag, None, &mut |_| {}, &never())
        .await
        .unwrap_err();
    assert!(
        matches!(error, DockerError::PullRefused { denied: false, .. }),
        "{error:?}"
    );
    let absent = Reference::parse("katlab-test/absent:1").unwrap();
    assert!(matches!(
        engine.push(&absent, &mut |_| {}, &never()).await,
        Err(DockerError::NoSuchImage { .. })
    ));
    engine.remove(&remote.to_string(), false).await.unwrap();
    engine.remove(&local, false).await.unwrap();
}

#[tokio::test]
async fn a_push_that_is_refused_says_for_whom_and_what_to_do() {
    let mut registry = TestRegistry::plain();
    let home = tempfile::tempdir().unwrap();
    let store = Store::in_folder(home.path());
    let engine = engine().await.with_credentials(store.clone());
    let local = fresh("refused") + ":1";
    small_image(&engine, &local).await;
    let remote = Reference::parse(&format!("{}/x:1", registry.host())).unwrap();
    engine.tag(&local, &remote).await.unwrap();
    let push = async || {
        engine
            .push(&remote, &mut |_| {}, &never())
            .await
            .unwrap_err()
    };
    let error = push().await;
    assert!(
        matches!(
            &error,
            DockerError::PushRefused {
                user: None,
                denied: true,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains(":registry login"));
    store
        .store(&registry.host(), &credential("wrong"))
        .await
        .unwrap();
    let error = push().await;
    assert!(
        matches!(
            &error,
            DockerError::PushRefused {
                user: Some(_),
                denied: true,
                ..
            }
        ),
        "{error:?}"
    );
    registry.stop();
    let error = push().await;
    assert!(
        matches!(&error, DockerError::RegistryUnreachable { .. }),
        "{error:?}"
    );
    engine.remove(&remote.to_string(), false).await.unwrap();
    engine.remove(&local, false).await.unwrap();
}

#[tokio::test]
async fn a_check_tells_what_may_be_done_and_leaves_nothing_behind() {
    let registry = TestRegistry::plain();
    let client = Registry::open(&registry.host(), with(PASSWORD))
        .await
        .unwrap();
    let check = client.check(Some("kakao-registry")).await.unwrap();
    let repository = check.repository.clone().unwrap();
    assert_eq!(
        (repository.pull, repository.push),
        (Access::Absent, Access::Allowed)
    );
    assert!(
        check.is_good() && check.advice.iter().any(|a| a.contains("first push")),
        "{check:?}"
    );
    assert_eq!(client.repositories().await.unwrap(), [""; 0]);
    let uploads = walk(&registry.folder.path().join("store"));
    assert!(
        !uploads.iter().any(|path| path.ends_with("startedat")),
        "{uploads:?}"
    );

    let wrong = Registry::open(&registry.host(), with("wrong"))
        .await
        .unwrap()
        .check(Some("x"))
        .await
        .unwrap();
    assert!(
        matches!(wrong.login, Login::Refused { .. })
            && !wrong.is_good()
            && !wrong.advice.is_empty()
    );
    let nobody = Registry::open(&registry.host(), Options::default())
        .await
        .unwrap()
        .check(Some("x"))
        .await
        .unwrap();
    assert!(matches!(
        nobody.repository.unwrap().push,
        Access::Denied { .. }
    ));
}

fn walk(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path().display().to_string());
        found.extend(walk(&entry.path()));
    }
    found
}

#[tokio::test]
async fn a_read_only_registry_is_found_out_before_the_push() {
    let registry = TestRegistry::with("  maintenance:\n    readonly:\n      enabled: true\n");
    let check = Registry::open(&registry.host(), with(PASSWORD))
        .await
        .unwrap()
        .check(Some("a/b"))
        .await
        .unwrap();
    assert!(
        matches!(&check.repository.as_ref().unwrap().push, Access::Denied { why } if why.contains("read-only")),
        "{check:?}"
    );
    assert!(check.advice.iter().any(|advice| advice.contains("by hand")));
}

#[tokio::test]
async fn a_certificate_is_trusted_only_when_its_authority_is() {
    let registry = TestRegistry::tls();
    let error = Registry::open(&registry.host(), with(PASSWORD))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Certificate { .. }), "{error:?}");
    assert!(error.to_string().contains("authority") && error.hint().unwrap().contains("--ca"));
    let options = Options {
        ca: registry.ca.clone(),
        ..with(PASSWORD)
    };
    let client = Registry::open(&registry.host(), options).await.unwrap();
    assert!(!client.is_plain());
    assert!(matches!(client.login().await, Ok(Login::Accepted { .. })));

    // Where docker keeps authorities it is found without being named.
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join(registry.host());
    std::fs::create_dir(&own).unwrap();
    std::fs::copy(registry.ca.as_ref().unwrap(), own.join("ca.crt")).unwrap();
    let options = Options {
        certificates: Some(folder.path().to_owned()),
        ..with(PASSWORD)
    };
    assert!(Registry::open(&registry.host(), options).await.is_ok());
    let broken = Options {
        ca: Some(own.join("missing.crt")),
        ..with(PASSWORD)
    };
    assert!(matches!(
        Registry::open(&registry.host(), broken).await,
        Err(Error::CaFile { .. })
    ));
}

#[tokio::test]
async fn nobody_there_and_somebody_else_there_are_told_apart() {
    let free = support::free_address().to_string();
    assert!(matches!(
        Registry::open(&free, Options::default()).await,
        Err(Error::Unreachable { .. })
    ));
    assert!(matches!(
        Registry::open("not a host", Options::default()).await,
        Err(Error::Reference(_))
    ));
    let page = serve(axum::Router::new().fallback(|| async { "<html>hello</html>" })).await;
    // A page for everything is no registry, but only its answers would tell: login is not asked for.
    assert!(matches!(
        Registry::open(&page, Options::default())
            .await
            .unwrap()
            .repositories()
            .await,
        Err(Error::Unexpected { .. })
    ));
    let page = serve(axum::Router::new()).await;
    assert!(matches!(
        Registry::open(&page, Options::default()).await,
        Err(Error::NotARegistry { .. })
    ));
}

async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address.to_string()
}

#[derive(Clone, Default)]
struct Tokens {
    host: Arc<std::sync::OnceLock<String>>,
    given: Arc<AtomicUsize>,
}

/// A registry that wants tokens: who logs in as `kim` may push to `team/…`, others may pull.
async fn token_registry() -> (String, Tokens) {
    let tokens = Tokens::default();
    let router = axum::Router::new()
        .route("/token", get(token).post(refresh))
        .route("/v2/", get(api))
        .route(
            "/v2/team/image/tags/list",
            get(|s, h| {
                guarded(
                    s,
                    h,
                    "repository:team/image:pull",
                    r#"{"name":"team/image","tags":["b","a"]}"#,
                )
            }),
        )
        .route("/v2/team/image/blobs/uploads/", post(begin))
        .route(
            "/v2/{*rest}",
            get(|Path(rest): Path<String>| async move {
                (
                    StatusCode::NOT_FOUND,
                    format!(r#"{{"errors":[{{"code":"NAME_UNKNOWN","message":"no {rest}"}}]}}"#),
                )
            }),
        )
        .with_state(tokens.clone());
    let host = serve(router).await;
    tokens.host.set(host.clone()).unwrap();
    (host, tokens)
}

fn challenge(tokens: &Tokens, scope: &str) -> Response {
    let host = tokens.host.get().unwrap();
    let value = format!(r#"Bearer realm="http://{host}/token",service="test",scope="{scope}""#);
    (
        StatusCode::UNAUTHORIZED,
        [("www-authenticate", value)],
        r#"{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}"#,
    )
        .into_response()
}

async fn api(State(tokens): State<Tokens>, headers: HeaderMap) -> Response {
    match headers.get("authorization") {
        Some(value) if value.as_bytes().starts_with(b"Bearer ") => "{}".into_response(),
        _ => challenge(&tokens, ""),
    }
}

async fn token(
    State(tokens): State<Tokens>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    tokens.given.fetch_add(1, Ordering::Relaxed);
    let query = query.unwrap_or_default();
    let user = match headers
        .get("authorization")
        .map(|v| v.to_str().unwrap().to_owned())
    {
        None => "nobody",
        // kim:pass
        Some(value) if value == "Basic a2ltOnBhc3M=" => "kim",
        Some(_) => {
            return (
                StatusCode::UNAUTHORIZED,
                r#"{"details":"incorrect username or password"}"#,
            )
                .into_response();
        }
    };
    format!(r#"{{"token":"{user} {query}"}}"#).into_response()
}

async fn refresh(State(tokens): State<Tokens>, body: String) -> Response {
    tokens.given.fetch_add(1, Ordering::Relaxed);
    if body.contains("grant_type=refresh_token") && body.contains("refresh_token=T%26T") {
        format!(r#"{{"access_token":"kim {body}"}}"#).into_response()
    } else {
        (
            StatusCode::UNAUTHORIZED,
            r#"{"error_description":"the token is not valid"}"#,
        )
            .into_response()
    }
}

async fn guarded(
    State(tokens): State<Tokens>,
    headers: HeaderMap,
    scope: &'static str,
    answer: &'static str,
) -> Response {
    let token = headers
        .get("authorization")
        .map(|v| v.to_str().unwrap().to_owned())
        .unwrap_or_default();
    let encoded = scope.replace(':', "%3A").replace('/', "%2F");
    if token.contains(&encoded) {
        answer.into_response()
    } else {
        challenge(&tokens, scope)
    }
}

async fn begin(State(tokens): State<Tokens>, headers: HeaderMap) -> Response {
    let token = headers
        .get("authorization")
        .map(|v| v.to_str().unwrap().to_owned())
        .unwrap_or_default();
    if token.starts_with("Bearer kim") && token.contains("push") {
        (
            StatusCode::ACCEPTED,
            [("location", "https://elsewhere.example/steal")],
            "",
        )
            .into_response()
    } else if token.contains("push") {
        (StatusCode::FORBIDDEN, r#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#).into_response()
    } else {
        challenge(&tokens, "repository:team/image:pull,push")
    }
}

#[tokio::test]
async fn tokens_are_fetched_for_what_is_asked_and_kept() {
    let (host, tokens) = token_registry().await;
    let client = Registry::open(&host, with_user("pass")).await.unwrap();
    assert!(matches!(client.login().await, Ok(Login::Accepted { .. })));
    assert_eq!(client.tag_names("team/image").await.unwrap(), ["a", "b"]);
    let before = tokens.given.load(Ordering::Relaxed);
    client.tag_names("team/image").await.unwrap();
    assert_eq!(
        tokens.given.load(Ordering::Relaxed),
        before,
        "the token was still good"
    );
    let check = client.check(Some("team/image")).await.unwrap();
    assert!(check.is_good(), "{check:?}");

    let wrong = Registry::open(&host, with_user("wrong")).await.unwrap();
    assert!(
        matches!(wrong.login().await, Err(Error::Refused { why, .. }) if why.contains("incorrect username"))
    );
}

fn with_user(password: &str) -> Options {
    Options {
        credential: Some(Credential::password("kim", password.into())),
        ..Options::default()
    }
}

#[tokio::test]
async fn who_may_pull_but_not_push_is_told_so() {
    let (host, _) = token_registry().await;
    let nobody = Registry::open(&host, Options::default()).await.unwrap();
    let check = nobody.check(Some("team/image")).await.unwrap();
    let repository = check.repository.unwrap();
    assert_eq!(
        (repository.pull, repository.tags),
        (Access::Allowed, Some(2))
    );
    assert!(matches!(repository.push, Access::Denied { why } if why.contains("denied")));
}

#[tokio::test]
async fn an_identity_token_is_exchanged() {
    let (host, _) = token_registry().await;
    let token = |text: &str| Options {
        credential: Some(Credential::IdentityToken {
            username: None,
            token: text.into(),
        }),
        ..Options::default()
    };
    let client = Registry::open(&host, token("T&T")).await.unwrap();
    assert!(matches!(client.login().await, Ok(Login::Accepted { .. })));
    let stale = Registry::open(&host, token("old")).await.unwrap();
    assert!(
        matches!(stale.login().await, Err(Error::Refused { why, .. }) if why == "the token is not valid")
    );
}

#[tokio::test]
async fn an_interrupted_push_returns_at_once() {
    let registry = TestRegistry::plain();
    let home = tempfile::tempdir().unwrap();
    let engine = engine()
        .await
        .with_credentials(registry.store(home.path()).await);
    let remote = format!("{}/big:1", registry.host());
    let context = folder(&[("Dockerfile", "FROM scratch\nCOPY big /big\n")]);
    std::fs::File::create(context.path().join("big"))
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let build = Build {
        context: context.path().to_owned(),
        tags: vec![Reference::parse(&remote).unwrap()],
        ..Build::default()
    };
    engine.build(&build, &mut |_| {}, &never()).await.unwrap();
    let cancel = tokio_util::sync::CancellationToken::new();
    let mut when = None;
    let mut report = |_| {
        when.get_or_insert_with(Instant::now);
        cancel.cancel();
    };
    let outcome = engine
        .push(&Reference::parse(&remote).unwrap(), &mut report, &cancel)
        .await;
    assert!(
        matches!(outcome, Err(DockerError::Interrupted)),
        "{outcome:?}"
    );
    assert!(when.unwrap().elapsed() < Duration::from_secs(1));
    engine.remove(&remote, true).await.unwrap();
}
