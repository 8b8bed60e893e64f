use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::magics::tests::{run, run_with, session};
use crate::magics::{Context, ErrorKind, dispatch};
use crate::output::testing::Recorder;
use crate::session::Session;

#[tokio::test]
async fn settings_are_kept_masked_and_put_in() {
    let (_dir, session) = session();
    let (result, shown) = run(&session, ":env PROJECT=demo SEC_KEY=swordfish").await;
    result.unwrap();
    assert!(
        !shown.plain().contains("swordfish") && shown.plain().contains("demo"),
        "{}",
        shown.plain()
    );
    assert!(shown.plain().contains("the notebook is stored with it"));
    let (result, shown) = run(&session, ":env set IMAGE=$PROJECT/${SEC_KEY}x").await;
    result.unwrap();
    assert!(shown.plain().contains("demo/••••••x"), "{}", shown.plain());
    assert_eq!(
        session.value("IMAGE").unwrap().as_deref(),
        Some("demo/swordfishx")
    );
    let error = run(&session, ":env set B=$PROJCT").await.0.unwrap_err();
    assert!(error.hint.unwrap().contains("$PROJECT"));

    let again = Session::new(session.home().clone(), false).unwrap();
    let (result, shown) = run(&again, ":env -o csv --columns name,value --sort -name").await;
    result.unwrap();
    assert_eq!(
        shown.displays()[0].plain(),
        "name,value\nSEC_KEY,••••••\nPROJECT,demo\nIMAGE,demo/••••••x"
    );
    let (result, _) = run(&again, ":env unset IMAGE PROJECT").await;
    result.unwrap();
    assert_eq!(session.value("PROJECT").unwrap(), None);
    let error = run(&again, ":env unset SECKEY").await.0.unwrap_err();
    assert!(error.hint.unwrap().contains("SEC_KEY"));
}

#[tokio::test]
async fn values_are_asked_for_and_never_shown() {
    let (_dir, session) = session();
    let (result, shown) =
        run_with(&session, ":env ask PIN", Recorder::answering(&["geheim"])).await;
    result.unwrap();
    assert!(!shown.plain().contains("geheim"));
    assert_eq!(session.value("PIN").unwrap().as_deref(), Some("geheim"));
    let (_, shown) = run(&session, ":env list --output json").await;
    assert!(!shown.plain().contains("geheim"));
    let error = run(&session, ":env ask OTHER").await.0.unwrap_err();
    assert!(error.message.contains("cannot be asked") && error.hint.unwrap().contains(":env set"));
}

#[tokio::test]
async fn a_file_of_values_is_loaded_whole_or_not_at_all() {
    let (dir, session) = session();
    std::fs::write(
        dir.path().join(".env"),
        "export ACC_KEY=one1\r\nNAME='a b' # x\r\n",
    )
    .unwrap();
    let (result, shown) = run(&session, ":env load .env   # seven names").await;
    result.unwrap();
    assert!(
        shown.plain().contains("a b") && !shown.plain().contains("one1"),
        "{}",
        shown.plain()
    );
    std::fs::write(dir.path().join("bad"), "X=1\nnonsense swordfish\n").unwrap();
    let error = run(&session, ":env load bad").await.0.unwrap_err();
    assert!(
        error.message.contains("line 2") && !format!("{error:?}").contains("swordfish"),
        "{error:?}"
    );
    assert_eq!(session.value("X").unwrap(), None);
    let error = run(&session, ":env load nowhere").await.0.unwrap_err();
    assert!(error.message.contains("nowhere"), "{error}");
}

#[tokio::test]
async fn explain_does_nothing_and_shows_no_secret() {
    let (_dir, session) = session();
    let (result, shown) = run(&session, ":env set A=1 B_TOKEN=swordfish --explain").await;
    result.unwrap();
    assert_eq!(
        shown.displays()[0].plain(),
        "export A='1'\nread -rs B_TOKEN && export B_TOKEN"
    );
    assert!(session.settings().all().unwrap().is_empty());
}

#[tokio::test]
async fn a_file_is_written_from_the_cell_and_never_overwritten_unasked() {
    let (dir, session) = session();
    let write = async |line: &str, body: &str| {
        let recorder = Arc::new(Recorder::default());
        let ctx = Context::new(
            Arc::clone(&session),
            recorder.clone(),
            CancellationToken::new(),
            Some(body.to_owned()),
        );
        (dispatch(line, &ctx).await, recorder.plain())
    };
    let path = dir.path().join("hpt/docker/Dockerfile");
    let (result, shown) = write(":write hpt/docker/Dockerfile", "FROM a\nRUN $b").await;
    result.unwrap();
    assert!(
        shown.contains("wrote hpt/docker/Dockerfile (2 lines, 14B)"),
        "{shown}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "FROM a\nRUN $b\n");
    write(":write hpt/docker/Dockerfile", "FROM a\nRUN $b\n")
        .await
        .0
        .unwrap();
    let (result, shown) = write(":write hpt/docker/Dockerfile", "FROM c\nRUN $b\n").await;
    assert!(result.unwrap_err().hint.unwrap().contains("--force"));
    assert!(shown.contains("-FROM a\n+FROM c"), "{shown}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "FROM a\nRUN $b\n");
    write(":write hpt/docker/Dockerfile --force", "FROM c\n")
        .await
        .0
        .unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "FROM c\n");
    assert!(
        write(":write x", "  \n")
            .await
            .0
            .unwrap_err()
            .hint
            .unwrap()
            .contains("below")
    );
    assert!(
        write(":write hpt", "x")
            .await
            .0
            .unwrap_err()
            .message
            .contains("folder")
    );
}

#[tokio::test]
async fn a_file_is_shown_with_its_secrets_masked() {
    let (dir, session) = session();
    std::fs::write(dir.path().join(".env"), "SEC_KEY='sword fish'\nNAME=x\n").unwrap();
    let (result, shown) = run(&session, ":show .env").await;
    result.unwrap();
    assert_eq!(
        shown.displays()[0].plain(),
        " 1 │ SEC_KEY='••••••'\n 2 │ NAME=x"
    );
    let (result, shown) = run(&session, ":show .env --lines 2-").await;
    result.unwrap();
    assert!(shown.plain().starts_with(" 2 │ NAME=x\nlines 2 to 2 of 2"));
    assert!(
        run(&session, ":show .env -l 9")
            .await
            .0
            .unwrap_err()
            .message
            .contains("only 2 lines")
    );
    assert!(
        run(&session, ":show .env -l 9-3")
            .await
            .0
            .unwrap_err()
            .message
            .contains("counted from 1")
    );
    assert!(
        run(&session, ":show nothing")
            .await
            .0
            .unwrap_err()
            .message
            .contains("no file")
    );
}

#[tokio::test]
async fn the_sandboxs_registry_is_known_where_the_sandbox_is_used() {
    let (_dir, session) = session();
    let sandbox = session.home().sandbox();
    std::fs::create_dir_all(&sandbox).unwrap();
    std::fs::write(
        sandbox.join("endpoint.json"),
        r#"{"pid": 1, "registry_host": "127.0.0.1:5000"}"#,
    )
    .unwrap();
    std::fs::write(
        sandbox.join("registry.json"),
        r#"{"username": "lab", "password": "swordfish"}"#,
    )
    .unwrap();
    // Whatever the machine's environment says of clusters is left aside.
    session.choose(crate::session::Chosen {
        choice: katlab_lab::cluster::Choice::Sandbox,
        ..Default::default()
    });
    assert_eq!(
        session.value("REGISTRY").unwrap().as_deref(),
        Some("127.0.0.1:5000")
    );
    assert_eq!(
        session.value("REGISTRY_PASSWORD").unwrap().as_deref(),
        Some("swordfish")
    );
    let (result, shown) = run(&session, ":env").await;
    result.unwrap();
    assert!(
        shown.plain().contains("127.0.0.1:5000") && !shown.plain().contains("swordfish"),
        "{}",
        shown.plain()
    );
    run(&session, ":env set REGISTRY=mine.example")
        .await
        .0
        .unwrap();
    assert_eq!(
        session.value("REGISTRY").unwrap().as_deref(),
        Some("mine.example")
    );
    let kubeconfig = Some("/nowhere/kubeconfig".into());
    let choice = katlab_lab::cluster::Choice::Cluster { context: None };
    session.choose(crate::session::Chosen {
        choice,
        kubeconfig,
        namespace: None,
    });
    assert_eq!(session.value("REGISTRY_PASSWORD").unwrap(), None);
}

#[tokio::test]
async fn a_choice_that_does_not_work_changes_nothing() {
    let (_dir, session) = session();
    let before = session.chosen();
    let error = run(&session, ":use cluster --kubeconfig /nowhere/config")
        .await
        .0
        .unwrap_err();
    assert!(error.message.contains("/nowhere/config"), "{error}");
    assert_eq!(session.chosen(), before);
    let error = run(&session, ":use sandbox prod").await.0.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
}

#[tokio::test]
async fn the_lab_is_shown_although_parts_of_it_are_missing() {
    let (_dir, session) = session();
    session.choose(crate::session::Chosen {
        choice: katlab_lab::cluster::Choice::Sandbox,
        ..Default::default()
    });
    run(&session, ":env set DOCKER_HOST=unix:///nowhere.sock")
        .await
        .0
        .unwrap();
    let (result, shown) = run(&session, ":lab").await;
    result.unwrap();
    let plain = shown.plain();
    assert!(
        plain.contains("not started") && plain.contains("asked for with :use"),
        "{plain}"
    );
    assert!(
        plain.contains("/nowhere.sock") && plain.contains("Missing"),
        "{plain}"
    );
}

#[tokio::test]
async fn a_home_that_is_lost_is_told_and_no_obstacle_until_something_is_to_be_kept() {
    let (dir, session) = session();
    std::fs::remove_dir(session.home().path()).unwrap();
    std::fs::write(dir.path().join("home"), "").unwrap();
    run(&session, ":help").await.0.unwrap();
    let (result, shown) = run(&session, ":lab --missing").await;
    result.unwrap();
    assert!(shown.plain().contains("KATLAB_HOME"), "{}", shown.plain());
    let error = run(&session, ":env set A=1").await.0.unwrap_err();
    assert!(error.message.contains("home") && error.hint.unwrap().contains("KATLAB_HOME"));
}

#[tokio::test]
async fn the_sandboxs_secrets_are_masked_before_anybody_asks_for_them() {
    let (_dir, session) = session();
    let sandbox = session.home().sandbox();
    std::fs::create_dir_all(&sandbox).unwrap();
    std::fs::write(
        sandbox.join("registry.json"),
        r#"{"username": "lab", "password": "swordfish"}"#,
    )
    .unwrap();
    let kubeconfig = "users:\n- name: a\n  user:\n    token: tok-12345678\n";
    std::fs::write(sandbox.join("kubeconfig"), kubeconfig).unwrap();
    let recorder = Arc::new(Recorder::default());
    let ctx = Context::new(session, recorder.clone(), CancellationToken::new(), None);
    ctx.output.text("the file says swordfish, and tok-12345678");
    ctx.output.flush();
    assert_eq!(recorder.stdout(), "the file says ••••••, and ••••••\n");
}

#[tokio::test]
async fn a_word_without_a_value_is_read_as_what_was_probably_meant() {
    let (_dir, session) = session();
    run(&session, ":env set PROJECT=demo").await.0.unwrap();
    for (line, hint) in [
        (":env show PROJECT", "`:env list --where name=PROJECT`"),
        (":env show", "`:env` shows all"),
        (":env PROJECT", "`:env list --where name=PROJECT`"),
        (":env lod x.env", "`:env load`"),
        (":env OTHER", "`:env ask OTHER`"),
    ] {
        let error = run(&session, line).await.0.unwrap_err();
        let said = error.hint.unwrap_or_default();
        assert!(said.contains(hint), "{line}: {said}");
    }
}
