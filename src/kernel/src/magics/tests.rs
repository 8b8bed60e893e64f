use super::*;
use crate::event::Event;
use crate::output::testing::Recorder;
use katlab_lab::home::Home;

/// A session of its own, with the folder it lives in.
pub(crate) fn session() -> (tempfile::TempDir, Arc<Session>) {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::new(Home::at(dir.path().join("home")), false).unwrap();
    session.set_directory(dir.path().to_owned());
    (dir, session)
}

async fn run_with(
    session: &Arc<Session>,
    line: &str,
    recorder: Recorder,
) -> (Result<(), MagicError>, Arc<Recorder>) {
    let recorder = Arc::new(recorder);
    let ctx = Context::new(
        Arc::clone(session),
        recorder.clone(),
        CancellationToken::new(),
        None,
    );
    (dispatch(line, &ctx).await, recorder)
}

async fn run(session: &Arc<Session>, line: &str) -> (Result<(), MagicError>, Arc<Recorder>) {
    run_with(session, line, Recorder::default()).await
}

#[test]
fn every_magic_has_a_description_and_help_for_each_of_its_options() {
    for entry in MAGICS {
        let command = (entry.command)();
        assert!(
            !help::summary(entry).is_empty(),
            ":{} has no description",
            entry.name
        );
        assert_eq!(
            help::undocumented(&command),
            Vec::<String>::new(),
            ":{}",
            entry.name
        );
        // Panics on contradictions between options.
        command.debug_assert();
    }
}

/// Magics that docker and kubectl have no word for.
const NO_EQUIVALENT: &[&str] = &["help"];

#[test]
fn every_magic_has_examples_that_can_be_read_and_explained() {
    for entry in MAGICS {
        let lines = examples::of(entry.name);
        assert!(
            !lines.is_empty(),
            ":{} has no example in examples.rs",
            entry.name
        );
        for line in lines {
            let words =
                line::split(line).unwrap_or_else(|error| panic!("{line}: {}", error.message));
            let raw: Vec<String> = words.iter().map(line::Word::raw).collect();
            let (found, used) = find(&raw).unwrap_or_else(|| panic!("{line} is no magic"));
            assert_eq!(found.name, entry.name, "{line}");
            let arguments = line::expand(
                line,
                &words[used..],
                |name| Some(format!("{name}.example")),
                Vec::new,
            )
            .unwrap();
            let parsed =
                command::parse(entry, &arguments).unwrap_or_else(|error| panic!("{line}: {error}"));
            let command::Parsed::Call {
                call,
                explain: false,
            } = parsed
            else {
                panic!("{line} asks for help");
            };
            let explained = call.explain();
            assert!(
                NO_EQUIVALENT.contains(&entry.name) || !explained.is_empty(),
                "{line} has no explanation"
            );
            assert!(
                explained.iter().all(|command| !command.contains('\u{0}')),
                "{line}"
            );
        }
    }
    for name in examples::names() {
        assert!(
            by_name(name).is_some(),
            "examples.rs shows :{name}, which is no magic"
        );
    }
}

#[test]
fn names_are_unique_and_families_stand_together() {
    let mut names = std::collections::BTreeSet::new();
    for entry in MAGICS {
        assert!(names.insert(entry.name), ":{} is there twice", entry.name);
    }
    assert!(
        MAGICS.is_sorted_by_key(|entry| entry.family),
        "the table goes by family"
    );
}

#[test]
fn lines_find_their_magics() {
    assert!(
        is_magic(":env set A=1") && is_magic(":env") && is_magic("env") && is_magic("  :env bogus")
    );
    assert!(!is_magic(":dep serde") && !is_magic(":") && !is_magic(""));
    assert_eq!(by_name(":env  set").unwrap().name, "env set");
    let error = unknown_magic(":hlep me");
    assert!(error.hint.unwrap().contains("`:help`"));
}

#[tokio::test]
async fn help_lists_all_magics_and_shows_pages() {
    let (_dir, session) = session();
    let (result, shown) = run(&session, ":help").await;
    result.unwrap();
    let index = shown.plain();
    for entry in MAGICS {
        assert!(
            index.contains(&format!(":{} ", entry.name)),
            ":{}",
            entry.name
        );
    }
    let (result, shown) = run(&session, ":help env set").await;
    result.unwrap();
    assert!(
        shown
            .plain()
            .contains("Usage: :env set [OPTIONS] <NAME=VALUE>..."),
        "{}",
        shown.plain()
    );
    let (result, shown) = run(&session, ":env set --help").await;
    result.unwrap();
    assert!(shown.plain().contains("--secret"));
    let error = run(&session, ":help evn").await.0.unwrap_err();
    assert!(error.hint.unwrap().contains(":help env"));
}

#[tokio::test]
async fn a_line_that_makes_no_sense_is_explained() {
    let (_dir, session) = session();
    let error = run(&session, ":env set").await.0.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage);
    assert!(error.message.contains("NAME=VALUE"), "{}", error.message);
    assert!(error.detail.unwrap().contains(":env set"));
    let error = run(&session, ":env set A=1 --secrt").await.0.unwrap_err();
    assert!(
        error.hint.as_deref().unwrap().contains("--secret"),
        "{error:?}"
    );
    let error = run(&session, ":env list --output tabel")
        .await
        .0
        .unwrap_err();
    assert!(error.message.contains("table") && error.hint.unwrap().contains("table"));
    let error = run(&session, ":env set 'A").await.0.unwrap_err();
    assert_eq!(error.detail.as_deref(), Some("  :env set 'A\n           ^"));
}

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
async fn a_secret_in_an_error_is_masked() {
    let (_dir, session) = session();
    run(&session, ":env set MY_TOKEN=swordfish")
        .await
        .0
        .unwrap();
    let error = run(&session, ":env list --$MY_TOKEN").await.0.unwrap_err();
    assert!(!format!("{error:?}").contains("swordfish"), "{error:?}");
}

#[tokio::test]
async fn an_interrupt_ends_a_magic() {
    /// Waits for ever
    #[derive(clap::Parser)]
    struct Forever;
    impl Magic for Forever {
        const NAME: &'static str = "forever";
        async fn run(self, _ctx: &Context) -> Result<(), MagicError> {
            std::future::pending().await
        }
        fn explain(&self) -> Vec<String> {
            Vec::new()
        }
    }
    static FOREVER: Entry = entry::<Forever>(Family::Session);
    let (_dir, session) = session();
    let ctx = Context::new(
        session,
        Arc::new(Recorder::default()),
        CancellationToken::new(),
        None,
    );
    let command::Parsed::Call { call, .. } = command::parse(&FOREVER, &[]).unwrap() else {
        unreachable!()
    };
    ctx.cancel.cancel();
    let error = supervise(call, &ctx).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Interrupted);
}

#[test]
fn completion_knows_names_options_values_settings_and_paths() {
    let (dir, session) = session();
    std::fs::create_dir(dir.path().join("hpt")).unwrap();
    std::fs::write(dir.path().join("hpt/my file"), "").unwrap();
    session.set_here("REGISTRY", "r".to_owned().into()).unwrap();
    let complete = |line: &str| {
        let found = completion::complete(&session, line, line.chars().count());
        let texts = found
            .matches
            .into_iter()
            .map(|found| found.text)
            .collect::<Vec<_>>();
        (texts, found.start)
    };
    assert_eq!(complete(":en"), (vec![":env".to_owned()], 0));
    assert_eq!(complete(":env lo"), (vec!["load".to_owned()], 5));
    assert_eq!(
        complete(":env list --outp"),
        (vec!["--output".to_owned()], 10)
    );
    assert_eq!(
        complete(":env list --output=js"),
        (vec!["json".to_owned()], 19)
    );
    assert_eq!(
        complete(":env list --output y"),
        (vec!["yaml".to_owned()], 19)
    );
    assert_eq!(
        complete(":env set 가=$REG"),
        (vec!["$REGISTRY".to_owned()], 11)
    );
    assert_eq!(
        complete(":env set A=${R"),
        (vec!["${REGISTRY}".to_owned()], 11)
    );
    assert_eq!(complete(":env load hp"), (vec!["hpt/".to_owned()], 10));
    assert_eq!(
        complete(":env load hpt/"),
        (vec!["'hpt/my file'".to_owned()], 10)
    );
    assert!(complete(":env unset ").0.contains(&"REGISTRY".to_owned()));
    assert!(
        complete(":env list --output json --")
            .0
            .iter()
            .all(|option| option != "--output")
    );
}

#[test]
fn inspection_shows_the_option_under_the_cursor_or_the_page() {
    let page = completion::inspect(":env load --secret", 12).unwrap();
    assert!(
        page.plain().starts_with(":env load --secret\nMask"),
        "{}",
        page.plain()
    );
    assert!(
        completion::inspect(":env load", 3)
            .unwrap()
            .plain()
            .contains("Usage: :env load")
    );
    assert!(completion::inspect(":dep", 2).is_none());
}

#[test]
fn only_magics_that_say_so_take_the_rest_of_a_cell() {
    assert!(takes_body(":write hpt/Dockerfile") && takes_body("  :write x --force"));
    assert!(!takes_body(":write --help") && !takes_body(":env set A=1"));
    assert!(!takes_body("let x = 1;"));
}

#[tokio::test]
async fn what_comes_before_a_display_is_shown_before_it() {
    let (_dir, session) = session();
    let recorder = Arc::new(Recorder::default());
    let ctx = Context::new(session, recorder.clone(), CancellationToken::new(), None);
    ctx.output.text("one");
    ctx.output.warn("two");
    ctx.output.flush();
    assert!(matches!(&recorder.events()[0], Event::Stream { text, .. } if text == "one\n"));
    assert_eq!(recorder.displays()[0].plain(), "! two");
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
