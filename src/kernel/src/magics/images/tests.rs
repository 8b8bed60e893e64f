use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::magics::dispatch;
use crate::output::testing::Recorder;
use crate::session::Session;

/// A session of its own, whose engine is not there.
struct Place {
    folder: tempfile::TempDir,
    session: Arc<Session>,
    recorder: Arc<Recorder>,
}

impl Place {
    fn new(answers: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = katlab_lab::home::Home::at(folder.path().join("home"));
        let session = Session::new(home, true).unwrap();
        session.set_directory(folder.path().to_owned());
        let set = |name: &str, value: String| session.set_here(name, value.into()).unwrap();
        let socket = folder.path().join("none.sock");
        set("DOCKER_HOST", format!("unix://{}", socket.display()));
        set(
            "DOCKER_CONFIG",
            folder.path().join("docker").display().to_string(),
        );
        Self {
            session,
            recorder: Arc::new(Recorder::answering(answers)),
            folder,
        }
    }

    async fn run(&self, line: &str) -> Result<(), MagicError> {
        let sink = Arc::clone(&self.recorder);
        let ctx = Context::new(
            Arc::clone(&self.session),
            sink,
            CancellationToken::new(),
            None,
        );
        dispatch(line, &ctx).await
    }
}

#[tokio::test]
async fn without_an_engine_every_magic_says_which_one_it_looked_for() {
    let place = Place::new(&[]);
    std::fs::write(place.folder.path().join("Dockerfile"), "FROM scratch\n").unwrap();
    for line in [
        ":images",
        ":build . -t a:1",
        ":run a:1",
        ":tag a:1 b:1",
        ":push h.io/a:1",
        ":pull h.io/a:1",
        ":rmi a:1",
    ] {
        let error = place.run(line).await.unwrap_err();
        assert!(
            error.message.contains("DOCKER_HOST") && error.message.contains("none.sock"),
            "{line}: {error}"
        );
        assert!(error.hint.is_some(), "{line}");
    }
}

#[tokio::test]
async fn a_reference_that_does_not_parse_is_refused_before_anything_is_tried() {
    let place = Place::new(&[]);
    for line in [
        ":build . -t Big:1",
        ":tag a:1 b:",
        ":push a::1",
        ":pull https://h.io/a",
        ":registry tags h.io/a:1",
        ":registry inspect h.io//a",
    ] {
        let error = place.run(line).await.unwrap_err();
        assert!(!error.message.contains("DOCKER_HOST"), "{line}: {error}");
        assert!(error.hint.is_some(), "{line}: {error}");
    }
}

#[tokio::test]
async fn a_login_to_nobody_says_so_and_keeps_nothing() {
    let place = Place::new(&["s3cret-and-long"]);
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let error = place
        .run(&format!(":registry login {free} -u kim"))
        .await
        .unwrap_err();
    assert!(error.message.contains("does not answer"), "{error}");
    assert!(!place.folder.path().join("docker").exists());
    assert!(!place.recorder.plain().contains("s3cret"));
    let error = place
        .run(":registry login https://h.io/repo -u kim")
        .await
        .unwrap_err();
    assert!(error.hint.unwrap().contains("`h.io`"));
    let error = place
        .run(&format!(
            ":registry login {free} -u kim --password-from NO_SUCH_NAME"
        ))
        .await
        .unwrap_err();
    assert!(error.message.contains("NO_SUCH_NAME"));
}

#[tokio::test]
async fn a_password_is_warned_about_only_where_the_cell_holds_it() {
    let place = Place::new(&[]);
    let set = |name: &str, value: &str| place.session.set_here(name, value.into()).unwrap();
    set("REGISTRY_PASSWORD", "s3cret-word");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = free.local_addr().unwrap();
    drop(free);
    let login = async |password: &str| {
        let line = format!(":registry login {host} -u kim {password}");
        place.run(&line).await.unwrap_err();
        place.recorder.plain()
    };
    for password in ["-p $REGISTRY_PASSWORD", "--password=${REGISTRY_PASSWORD}"] {
        let shown = login(password).await;
        assert!(!shown.contains("stored with the notebook"), "{shown}");
    }
    let shown = login("-p 'plain word'").await;
    assert!(shown.contains("stored with the notebook"), "{shown}");
    assert!(!shown.contains("plain word"), "{shown}");
}

#[tokio::test]
async fn every_magic_explains_itself_as_a_docker_command() {
    let place = Place::new(&[]);
    for (line, command) in [
        (
            ":build hpt -t a:1 --build-arg A='b c' --explain",
            "docker build -t a:1 --build-arg 'A=b c' hpt",
        ),
        (
            ":run --memory 1g a:1 python3 t.py --rate 0.1",
            "docker run --rm --memory 1g a:1 python3 t.py --rate 0.1",
        ),
        (":push a:1 h.io/a:1 --explain", "docker push h.io/a:1"),
        (
            ":registry login h.io -u k --password-from P --explain",
            "docker login --username k --password-stdin h.io",
        ),
        (":rmi a:1 --explain", "docker rmi a:1"),
        (
            ":pull a:1 --platform linux/arm64 --explain",
            "docker pull --platform linux/arm64 a:1",
        ),
        (":tag a b --explain", "docker tag a b"),
        (
            ":download https://h.io/x -o y --explain",
            "curl -fL -o y https://h.io/x",
        ),
    ] {
        let line = if line.starts_with(":run") {
            line.replacen(":run", ":run --explain", 1)
        } else {
            line.to_owned()
        };
        place.run(&line).await.unwrap();
        assert!(
            place.recorder.plain().contains(command),
            "{line}: {}",
            place.recorder.plain()
        );
    }
}
