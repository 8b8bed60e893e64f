use super::*;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;

fn home() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn password_of(found: &Found) -> (&str, &str) {
    (
        found.credential.username().unwrap_or_default(),
        found.credential.secret().expose_secret(),
    )
}

/// A helper as the protocol describes it, keeping its secrets in plain files of a test folder.
fn install_helper(folder: &Path, name: &str) -> PathBuf {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let script = format!(
        r#"#!/bin/sh
dir="{}/store"; mkdir -p "$dir"
input=$(cat)
case "$1" in
  store) key=$(printf '%s' "$input" | sed 's/.*"ServerURL":"\([^"]*\)".*/\1/' | tr '/:' '__'); printf '%s' "$input" > "$dir/$key" ;;
  get) key=$(printf '%s' "$input" | tr '/:' '__'); if [ -f "$dir/$key" ]; then cat "$dir/$key"; else echo "credentials not found in native keychain"; exit 1; fi ;;
  erase) key=$(printf '%s' "$input" | tr '/:' '__'); rm "$dir/$key" ;;
esac
"#,
        folder.display()
    );
    let program = bin.join(format!("docker-credential-{name}"));
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut path = bin.clone().into_os_string();
    path.push(":/usr/bin:/bin");
    PathBuf::from(path)
}

#[tokio::test]
async fn a_login_is_kept_in_a_private_file_beside_what_else_is_in_it() {
    let home = home();
    let store = Store::in_folder(home.path());
    std::fs::write(
        store.path(),
        r#"{"psFormat":"table","auths":{"other.io":{"auth":"YTpi"}},"HttpHeaders":{"X":"1"}}"#,
    )
    .unwrap();
    let place = store
        .store(
            "reg.io:5000",
            &Credential::password("kim", "비밀:?~>".into()),
        )
        .await
        .unwrap();
    assert_eq!(place, Place::File(store.path().to_owned()));
    let written: Value =
        serde_json::from_str(&std::fs::read_to_string(store.path()).unwrap()).unwrap();
    assert_eq!(
        (&written["psFormat"], &written["HttpHeaders"]["X"]),
        (&json!("table"), &json!("1"))
    );
    assert_eq!(
        std::fs::metadata(store.path())
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    assert_eq!(
        password_of(&store.get("reg.io:5000").await.unwrap().unwrap()),
        ("kim", "비밀:?~>")
    );
    assert_eq!(
        password_of(&store.get("other.io").await.unwrap().unwrap()),
        ("a", "b")
    );
    assert!(
        store.get("reg.io").await.unwrap().is_none(),
        "another port is another registry"
    );
    assert!(store.erase("reg.io:5000").await.unwrap());
    assert!(!store.erase("reg.io:5000").await.unwrap());
    assert!(store.get("reg.io:5000").await.unwrap().is_none());
    assert!(store.get("other.io").await.unwrap().is_some());
}

#[tokio::test]
async fn old_spellings_of_a_key_are_understood() {
    let home = home();
    let store = Store::in_folder(home.path());
    let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aDpw"},"https://reg.io/v2/":{"auth":"dTp3"},"plain.io":{"username":"n","password":"q"},"tok.io":{"auth":"dTo=","identitytoken":"T"},"empty.io":{}}}"#;
    std::fs::write(store.path(), text).unwrap();
    for host in ["docker.io", "index.docker.io", "registry-1.docker.io"] {
        assert_eq!(
            password_of(&store.get(host).await.unwrap().unwrap()),
            ("h", "p"),
            "{host}"
        );
    }
    assert_eq!(
        password_of(&store.get("reg.io").await.unwrap().unwrap()),
        ("u", "w")
    );
    assert_eq!(
        password_of(&store.get("plain.io").await.unwrap().unwrap()),
        ("n", "q")
    );
    let token = store.get("tok.io").await.unwrap().unwrap();
    assert!(matches!(token.credential, Credential::IdentityToken { .. }));
    assert!(store.get("empty.io").await.unwrap().is_none());
    let hosts: Vec<_> = store.hosts().await.unwrap().into_keys().collect();
    assert_eq!(hosts, ["docker.io", "plain.io", "reg.io", "tok.io"]);
    // A new login replaces the old spelling instead of standing beside it.
    store
        .store("reg.io", &Credential::password("new", "x".into()))
        .await
        .unwrap();
    assert_eq!(
        password_of(&store.get("reg.io").await.unwrap().unwrap()),
        ("new", "x")
    );
    assert!(
        !std::fs::read_to_string(store.path())
            .unwrap()
            .contains("https://reg.io/v2/")
    );
}

#[tokio::test]
async fn a_helper_keeps_the_secret_and_the_file_does_not() {
    let home = home();
    let path = install_helper(home.path(), "test");
    let store = Store::in_folder(home.path()).with_search_path(path);
    std::fs::write(store.path(), r#"{"credsStore":"test"}"#).unwrap();
    assert!(store.get("reg.io").await.unwrap().is_none());
    let place = store
        .store("reg.io", &Credential::password("kim", "s3cret".into()))
        .await
        .unwrap();
    assert_eq!(place, Place::Helper("test".to_owned()));
    assert!(
        !std::fs::read_to_string(store.path())
            .unwrap()
            .contains("s3cret")
    );
    assert_eq!(
        password_of(&store.get("reg.io").await.unwrap().unwrap()),
        ("kim", "s3cret")
    );
    store
        .store(
            "tok.io",
            &Credential::IdentityToken {
                username: None,
                token: "T".into(),
            },
        )
        .await
        .unwrap();
    assert!(matches!(
        store.get("tok.io").await.unwrap().unwrap().credential,
        Credential::IdentityToken { .. }
    ));
    assert!(store.erase("reg.io").await.unwrap());
    assert!(store.get("reg.io").await.unwrap().is_none());
}

#[tokio::test]
async fn a_helper_for_one_host_leaves_the_others_alone() {
    let home = home();
    let path = install_helper(home.path(), "one");
    let store = Store::in_folder(home.path()).with_search_path(path);
    std::fs::write(store.path(), r#"{"credHelpers":{"reg.io":"one"}}"#).unwrap();
    assert_eq!(
        store
            .store("reg.io", &Credential::password("a", "b".into()))
            .await
            .unwrap(),
        Place::Helper("one".to_owned())
    );
    assert_eq!(
        store
            .store("other.io", &Credential::password("a", "b".into()))
            .await
            .unwrap(),
        Place::File(store.path().to_owned())
    );
}

#[tokio::test]
async fn what_is_wrong_with_the_configuration_is_said_without_its_secrets() {
    let home = home();
    let store = Store::in_folder(home.path()).with_search_path("/nonexistent");
    for (text, word) in [
        ("{\"auths\": {", "line 1"),
        ("[]", "not a JSON object"),
        (r#"{"auths":{"r.io":{"auth":"s3cret!!"}}}"#, "base64"),
    ] {
        std::fs::write(store.path(), text).unwrap();
        let error = store.get("r.io").await.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        assert!(!error.to_string().contains("s3cret"));
        assert!(error.hint().is_some());
    }
    std::fs::write(store.path(), r#"{"credsStore":"absent"}"#).unwrap();
    assert!(matches!(
        store.get("r.io").await,
        Err(Error::HelperMissing { .. })
    ));
    std::fs::write(store.path(), r#"{"credsStore":"../../bin/sh"}"#).unwrap();
    assert!(matches!(store.get("r.io").await, Err(Error::Helper { .. })));
}

#[test]
fn a_credential_does_not_print_its_secret() {
    let shown = format!("{:?}", Credential::password("kim", "s3cret".into()));
    assert!(shown.contains("kim") && !shown.contains("s3cret"));
}

proptest! {
    #[test]
    fn any_password_comes_back_as_it_was(user in "[a-zA-Z0-9._@-]{1,12}", password in "\\PC{1,24}") {
        let home = home();
        let store = Store::in_folder(home.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let found = runtime.block_on(async {
            store.store("r.io", &Credential::password(&user, password.as_str().into())).await.unwrap();
            store.get("r.io").await.unwrap().unwrap()
        });
        prop_assert_eq!(password_of(&found), (user.as_str(), password.as_str()));
    }
}
