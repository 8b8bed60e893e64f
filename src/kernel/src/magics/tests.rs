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

pub(crate) async fn run_with(
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

pub(crate) async fn run(
    session: &Arc<Session>,
    line: &str,
) -> (Result<(), MagicError>, Arc<Recorder>) {
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

#[tokio::test]
async fn an_interrupt_does_not_wait_for_what_is_computed() {
    let (_dir, session) = session();
    let recorder = Arc::new(Recorder::default());
    let ctx = Context::new(session, recorder, CancellationToken::new(), None);
    assert_eq!(ctx.compute(|| Ok(6 * 7)).await.unwrap(), 42);
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let cancel = ctx.cancel.clone();
    let work = ctx.compute(move || {
        cancel.cancel();
        // Until the test is over.
        Ok(wait.recv().is_err())
    });
    let error = work.await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Interrupted);
    drop(done);
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
