//! Builds on a real engine.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use katlab_lab::docker::build::{Build, Built, Event};
use katlab_lab::docker::image::Filter;
use katlab_lab::docker::run::Run;
use katlab_lab::docker::{Engine, Error};
use katlab_lab::reference::Reference;
use support::{BASE, engine, folder, fresh, never};
use tokio_util::sync::CancellationToken;

async fn build(engine: &Engine, build: &Build) -> (Result<Built, Error>, Vec<String>) {
    let mut seen = Vec::new();
    let outcome = engine
        .build(
            build,
            &mut |event| seen.push(format!("{event:?}")),
            &never(),
        )
        .await;
    (outcome, seen)
}

fn tagged(context: &tempfile::TempDir, name: &str) -> Build {
    Build {
        context: context.path().to_owned(),
        tags: vec![Reference::parse(name).unwrap()],
        ..Build::default()
    }
}

async fn output_of(engine: &Engine, image: &str, command: &[&str]) -> String {
    let run = Run {
        image: image.to_owned(),
        command: command.iter().map(|w| (*w).to_owned()).collect(),
        ..Run::default()
    };
    let mut text = String::new();
    let mut report = |event| {
        if let katlab_lab::docker::run::Event::Stdout(piece) = event {
            text.push_str(&piece);
        }
    };
    engine.run(&run, &mut report, &never()).await.unwrap();
    text
}

#[tokio::test]
async fn a_build_names_its_image_and_the_second_comes_from_the_cache() {
    let engine = engine().await;
    let (one, two) = (fresh("named") + ":1.0", fresh("named") + ":x");
    let context = folder(&[
        (
            "Dockerfile",
            "ARG WHO=nobody\nFROM scratch\nARG WHO\nLABEL who=$WHO\nCOPY a /a\n",
        ),
        ("a", "content"),
    ]);
    let mut wanted = tagged(&context, &one);
    wanted.tags.push(Reference::parse(&two).unwrap());
    wanted
        .arguments
        .insert("WHO".to_owned(), "김 & co".to_owned());
    wanted
        .labels
        .insert("katlab.test".to_owned(), "1".to_owned());
    let (built, seen) = build(&engine, &wanted).await;
    let built = built.unwrap();
    assert!(
        built.id.starts_with("sha256:") && built.size == Some(7),
        "{built:?}"
    );
    assert_eq!(built.tags, [one.clone(), two.clone()]);
    assert!(seen.iter().any(|e| e.contains("COPY a /a")), "{seen:?}");
    let again = build(&engine, &wanted).await.0.unwrap();
    assert_eq!(
        (again.id.as_str(), again.cached > 0),
        (built.id.as_str(), true)
    );

    let listed = engine
        .images(&Filter {
            reference: Some(one.clone()),
            all: false,
        })
        .await
        .unwrap();
    assert_eq!(
        (listed.len(), listed[0].name(), listed[0].size),
        (1, one.clone(), 7)
    );
    let inspected = engine.bollard().inspect_image(&one).await.unwrap();
    let labels = inspected.config.unwrap().labels.unwrap();
    assert_eq!(
        (labels["who"].as_str(), labels["katlab.test"].as_str()),
        ("김 & co", "1")
    );

    let plan = engine.plan_removal(&one).await.unwrap();
    assert_eq!(
        (plan.deletes, plan.kept.as_slice()),
        (false, [two.clone()].as_slice())
    );
    engine.remove(&one, false).await.unwrap();
    assert!(!engine.has_image(&one).await.unwrap());
    let gone = engine.remove(&two, false).await.unwrap();
    assert!(gone.deletes && gone.deleted.contains(&built.id), "{gone:?}");
}

#[tokio::test]
async fn a_failing_step_tells_which_one_with_its_output_and_exit_code() {
    let engine = engine().await;
    let context = folder(&[(
        "Dockerfile",
        &format!("FROM {BASE}\nRUN echo before; echo oops >&2; exit 3\nRUN true\n"),
    )]);
    let error = build(
        &engine,
        &Build {
            context: context.path().to_owned(),
            ..Build::default()
        },
    )
    .await
    .0
    .unwrap_err();
    match &error {
        Error::StepFailed {
            step: 2,
            total: 3,
            instruction,
            code: Some(3),
            output,
            ..
        } => {
            assert!(instruction.starts_with("RUN echo before"));
            // The engine reads the command's two outputs side by side: their order is luck.
            let mut output = output.clone();
            output.sort_unstable();
            assert_eq!(output, ["before", "oops"]);
        }
        other => panic!("{other:?}"),
    }
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn what_is_ignored_is_not_in_the_image() {
    let engine = engine().await;
    let name = fresh("ignored") + ":1";
    let files = [
        (
            ".dockerignore",
            "# secrets\n**/*.key\n*\n!app\napp/tmp\n!app/tmp/keep\n",
        ),
        ("secret.key", "x"),
        ("app/a.py", "x"),
        ("app/b.key", "x"),
        ("app/tmp/drop", "x"),
        ("app/tmp/keep", "x"),
        ("other/c", "x"),
    ];
    let context = folder(&files);
    let outside = folder(&[("D", &format!("FROM {BASE}\nCOPY . /c\n"))]);
    let mut wanted = tagged(&context, &name);
    wanted.dockerfile = Some(outside.path().join("D"));
    build(&engine, &wanted).await.0.unwrap();
    let listed = output_of(&engine, &name, &["find", "/c", "-type", "f"]).await;
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    // `!app` stands after `**/*.key` and brings all of it back; the ignore file itself falls under `*`.
    assert_eq!(listed, ["/c/app/a.py", "/c/app/b.key", "/c/app/tmp/keep"]);
    engine.remove(&name, false).await.unwrap();
}

#[tokio::test]
async fn a_link_out_of_the_context_is_sent_as_a_link_with_a_warning() {
    let engine = engine().await;
    let name = fresh("linked") + ":1";
    let context = folder(&[("Dockerfile", &format!("FROM {BASE}\nCOPY . /c\n"))]);
    std::os::unix::fs::symlink("/etc/hostname", context.path().join("out")).unwrap();
    let built = build(&engine, &tagged(&context, &name)).await.0.unwrap();
    assert!(
        built
            .warnings
            .iter()
            .any(|w| w.contains("`out` links to /etc/hostname")),
        "{:?}",
        built.warnings
    );
    assert_eq!(
        output_of(&engine, &name, &["readlink", "/c/out"]).await,
        "/etc/hostname\n"
    );
    engine.remove(&name, false).await.unwrap();
}

#[tokio::test]
async fn a_stage_can_be_the_end_and_a_missing_one_is_an_error() {
    let engine = engine().await;
    let name = fresh("staged") + ":1";
    let context = folder(&[
        (
            "Dockerfile",
            "FROM scratch AS one\nCOPY a /one\nFROM scratch AS two\nCOPY a /two\n",
        ),
        ("a", "1"),
    ]);
    let mut wanted = tagged(&context, &name);
    wanted.target = Some("one".to_owned());
    assert_eq!(build(&engine, &wanted).await.0.unwrap().size, Some(1));
    wanted.target = Some("three".to_owned());
    let error = build(&engine, &wanted).await.0.unwrap_err();
    assert!(
        error.to_string().contains("three") && error.hint().is_some(),
        "{error}"
    );
    engine.remove(&name, false).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_built_says_why() {
    let engine = engine().await;
    for (dockerfile, word) in [
        ("FROM scratch\nCOPY missing /x\n", "missing"),
        ("FROM scratch\nNONSENSE x\n", "NONSENSE"),
        ("", "empty"),
        (
            "FROM katlab-test/there-is-no-such-image:0\n",
            "there-is-no-such-image",
        ),
        (
            "FROM scratch\nRUN --mount=type=cache,target=/x true\n",
            "BuildKit",
        ),
    ] {
        let context = folder(&[("Dockerfile", dockerfile)]);
        let error = build(
            &engine,
            &Build {
                context: context.path().to_owned(),
                ..Build::default()
            },
        )
        .await
        .0
        .unwrap_err();
        let shown = format!("{error} {:?}", error.hint());
        assert!(shown.contains(word), "{dockerfile:?}: {shown}");
    }
}

#[tokio::test]
async fn an_interrupt_ends_a_build_within_a_second_and_leaves_no_container() {
    let engine = engine().await;
    let marker = fresh("interrupted").replace('/', "-");
    let context = folder(&[(
        "Dockerfile",
        &format!("FROM {BASE}\nRUN : {marker}; echo started; sleep 60\n"),
    )]);
    let wanted = Build {
        context: context.path().to_owned(),
        no_cache: true,
        ..Build::default()
    };
    let cancel = CancellationToken::new();
    let mut when = None;
    let mut report = |event| {
        if matches!(&event, Event::Output(line) if line == "started") {
            when = Some(Instant::now());
            cancel.cancel();
        }
    };
    let outcome = engine.build(&wanted, &mut report, &cancel).await;
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    let took = when.expect("the step had started").elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let options = bollard::query_parameters::ListContainersOptions {
        all: true,
        ..Default::default()
    };
    // The engine stops the step by itself, a moment after we have gone.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let containers = engine
            .bollard()
            .list_containers(Some(options.clone()))
            .await
            .unwrap();
        if !containers.iter().any(|c| {
            c.command
                .as_deref()
                .is_some_and(|command| command.contains(&marker))
        }) {
            break;
        }
        assert!(Instant::now() < deadline, "the step's container still runs");
        tokio::task::yield_now().await;
    }
}
