//! The sandbox as a process: started once, found again, killed, stopped, removed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use katlab_sandbox::lifecycle::{self, LifecycleError, Options, Status};
use tokio_util::sync::CancellationToken;

/// A program cannot be started while a process forked elsewhere still has it open for writing, so
/// the tests take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The process under test: this program, as `EXE sandbox serve` would be.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the tests below in a process of its own"]
async fn process() {
    if let Some(home) = std::env::var_os("KATLAB_HOME") {
        lifecycle::serve(Options::new(home), CancellationToken::new())
            .await
            .expect("it serves");
    }
}

/// A program that does what `katlab` does with `sandbox serve`.
fn program(dir: &Path) -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    script(
        dir,
        &format!(
            "exec '{}' process --exact --ignored --nocapture",
            this.display()
        ),
    )
}

fn script(dir: &Path, body: &str) -> PathBuf {
    let path = dir.join("program");
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
    path
}

fn running(home: &Path) -> lifecycle::Endpoint {
    match lifecycle::status(home) {
        Status::Running(endpoint) => endpoint,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn one_sandbox_is_started_found_killed_started_again_and_removed() {
    let _turn = TURN.lock().await;
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("home");
    let exe = program(dir.path());
    assert_eq!(lifecycle::status(&home), Status::Stopped);
    assert!(!lifecycle::down(&home).await.expect("nothing to stop"));

    // Two that need it at the same time get the same one.
    let (a, b) = tokio::join!(
        lifecycle::ensure(&home, &exe, &[]),
        lifecycle::ensure(&home, &exe, &[])
    );
    let (a, b) = (a.expect("it starts"), b.expect("it is found"));
    assert_eq!(a, b);
    assert_eq!(running(&home), a);
    for file in [
        "kubeconfig",
        "identity.json",
        "registry.json",
        "endpoint.json",
        "store.db",
        "sandbox.log",
    ] {
        let path = lifecycle::state_dir(&home).join(file);
        let mode = std::fs::metadata(&path).expect(file).permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    let mode = std::fs::metadata(lifecycle::state_dir(&home))
        .expect("the directory")
        .permissions();
    assert_eq!(mode.mode() & 0o777, 0o700);

    // A killed process holds its lock for a moment: the next must not be told that it runs.
    let mut killed = a.pid;
    for _ in 0..5 {
        let status = std::process::Command::new("kill")
            .args(["-9", &killed.to_string()])
            .status();
        assert!(status.expect("kill runs").success());
        let again = lifecycle::ensure(&home, &exe, &[])
            .await
            .expect("it comes back");
        assert_ne!(again.pid, killed);
        // Ports are part of image references and kubeconfigs.
        assert_eq!(again.api_port, a.api_port);
        assert_eq!(again.registry_host, a.registry_host);
        killed = again.pid;
    }

    assert!(lifecycle::down(&home).await.expect("it stops"));
    assert_eq!(lifecycle::status(&home), Status::Stopped);
    assert!(lifecycle::kubeconfig(&home).exists());
    lifecycle::ensure(&home, &exe, &[])
        .await
        .expect("it starts");
    lifecycle::reset(&home).await.expect("it is removed");
    assert!(!lifecycle::state_dir(&home).exists());
}

#[tokio::test]
async fn a_start_that_fails_tells_why() {
    let _turn = TURN.lock().await;
    let dir = tempfile::tempdir().expect("a directory");
    let home = dir.path().join("home");
    let exe = script(dir.path(), "echo 'no space left on device' >&2; exit 1");
    let error = lifecycle::ensure(&home, &exe, &[])
        .await
        .expect_err("it cannot start");
    assert!(
        matches!(&error, LifecycleError::Ended { reason } if reason == "no space left on device")
    );
    assert!(error.hint().is_some());
    let missing = lifecycle::ensure(&home, &dir.path().join("nothing"), &[]).await;
    assert!(matches!(missing, Err(LifecycleError::Spawn { .. })));
}
