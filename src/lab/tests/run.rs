//! Containers on a real engine.
#![allow(missing_docs)]

mod support;

use std::time::{Duration, Instant};

use katlab_lab::docker::run::{Event, Ran, Run};
use katlab_lab::docker::{Engine, Error};
use support::{BASE, engine, folder, never};
use tokio_util::sync::CancellationToken;

fn shell(script: &str) -> Run {
    Run {
        image: BASE.to_owned(),
        command: vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()],
        ..Run::default()
    }
}

async fn run(engine: &Engine, run: &Run) -> (Result<Ran, Error>, String, String) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut report = |event| match event {
        Event::Stdout(text) => stdout.push_str(&text),
        Event::Stderr(text) => stderr.push_str(&text),
        Event::Started { .. } => {}
    };
    let outcome = engine.run(run, &mut report, &never()).await;
    (outcome, stdout, stderr)
}

async fn is_gone(engine: &Engine, id: &str) -> bool {
    engine.bollard().inspect_container(id, None).await.is_err()
}

#[tokio::test]
async fn both_outputs_and_the_exit_code_come_back_and_the_container_is_gone() {
    let engine = engine().await;
    let (ran, stdout, stderr) = run(&engine, &shell("echo 안녕; echo err >&2; exit 7")).await;
    let ran = ran.unwrap();
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), ran.code),
        ("안녕\n", "err\n", Some(7))
    );
    assert!(is_gone(&engine, &ran.id).await);
}

#[tokio::test]
async fn not_a_line_of_a_flood_is_lost() {
    let engine = engine().await;
    let (ran, stdout, _) = run(&engine, &shell("seq 1 20000")).await;
    assert_eq!(ran.unwrap().code, Some(0));
    let expected: String = (1..=20000).map(|n| format!("{n}\n")).collect();
    assert_eq!(stdout, expected);
}

#[tokio::test]
async fn the_options_reach_the_program() {
    let engine = engine().await;
    let data = folder(&[("in.txt", "from outside")]);
    let wanted = Run {
        env: vec!["A=b c".to_owned()],
        volumes: vec!["./:/data:ro".to_owned()],
        directory: Some(data.path().to_owned()),
        workdir: Some("/data".to_owned()),
        user: Some("1234".to_owned()),
        network: Some("none".to_owned()),
        ..shell("echo $A; cat in.txt; echo; id -u; ls /sys/class/net; touch x || echo read-only")
    };
    let (ran, stdout, _) = run(&engine, &wanted).await;
    ran.unwrap();
    assert_eq!(stdout, "b c\nfrom outside\n1234\nlo\nread-only\n");
    let (ran, stdout, _) = run(
        &engine,
        &Run {
            entrypoint: Some("/bin/echo".to_owned()),
            command: vec!["x".to_owned()],
            ..shell("")
        },
    )
    .await;
    ran.unwrap();
    assert_eq!(stdout, "x\n");
}

#[tokio::test]
async fn a_terminal_makes_lines_come_at_once_and_end_as_lines() {
    let engine = engine().await;
    let (_, stdout, _) = run(
        &engine,
        &Run {
            terminal: true,
            ..shell("test -t 1 && echo a terminal; echo b")
        },
    )
    .await;
    assert_eq!(stdout, "a terminal\nb\n");
}

#[tokio::test]
async fn what_cannot_start_says_which_way() {
    let engine = engine().await;
    for (command, wanted) in [("there-is-no-such-program", 127), ("/etc", 126)] {
        let outcome = run(
            &engine,
            &Run {
                command: vec![command.to_owned()],
                ..shell("")
            },
        )
        .await
        .0;
        match outcome {
            Err(Error::NotStarted { code, .. }) => assert_eq!(code, wanted, "{command}"),
            other => panic!("{command}: {other:?}"),
        }
    }
    let error = run(
        &engine,
        &Run {
            image: "katlab/bas:1".to_owned(),
            ..shell("")
        },
    )
    .await
    .0
    .unwrap_err();
    match &error {
        Error::NoSuchImage { near, .. } => assert_eq!(near.first().map(String::as_str), Some(BASE)),
        other => panic!("{other:?}"),
    }
    assert!(error.hint().unwrap().contains(BASE));
}

#[tokio::test]
async fn a_program_that_takes_too_much_memory_is_explained() {
    let engine = engine().await;
    let wanted = Run {
        image: BASE.to_owned(),
        command: ["python3", "-c", "x = bytearray(512 << 20); print(len(x))"]
            .map(str::to_owned)
            .to_vec(),
        memory: Some(32 << 20),
        ..Run::default()
    };
    let ran = run(&engine, &wanted).await.0.unwrap();
    assert_eq!(ran.code, Some(137));
    assert!(ran.out_of_memory && ran.explanation().unwrap().contains("--memory"));
}

#[tokio::test]
async fn an_interrupt_stops_and_removes_the_container_within_a_second() {
    let engine = engine().await;
    let cancel = CancellationToken::new();
    let mut when = None;
    let mut id = String::new();
    let mut report = |event| match event {
        Event::Started { id: started, .. } => id = started,
        Event::Stdout(_) => {
            when = Some(Instant::now());
            cancel.cancel();
        }
        Event::Stderr(_) => {}
    };
    // A program that does not listen: it has to be made to end.
    let outcome = engine
        .run(
            &shell("trap '' INT TERM; echo up; while :; do sleep 1; done"),
            &mut report,
            &cancel,
        )
        .await;
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    let took = when.unwrap().elapsed();
    assert!(took < Duration::from_millis(1500), "{took:?}");
    assert!(is_gone(&engine, &id).await);
}

#[tokio::test]
async fn a_program_may_say_something_when_it_is_interrupted() {
    let engine = engine().await;
    let cancel = CancellationToken::new();
    let mut text = String::new();
    let mut report = |event| {
        if let Event::Stdout(piece) = event {
            text.push_str(&piece);
            cancel.cancel();
        }
    };
    let wanted = Run {
        image: BASE.to_owned(),
        command: [
            "python3",
            "-uc",
            "import time\ntry:\n  print('up'); time.sleep(60)\nexcept KeyboardInterrupt:\n  print('bye')",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Run::default()
    };
    let _ = engine.run(&wanted, &mut report, &cancel).await;
    assert_eq!(text, "up\nbye\n");
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_any_more_leaves_no_container() {
    let engine = engine().await;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut report = move |event| {
        if let Event::Started { id, .. } = event {
            let _ = sender.send(id);
        }
    };
    let never = never();
    let wanted = shell("sleep 60");
    let id = tokio::select! {
        _ = engine.run(&wanted, &mut report, &never) => panic!("it should not end by itself"),
        id = receiver.recv() => id.unwrap(),
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_gone(&engine, &id).await {
        assert!(Instant::now() < deadline, "the container is still there");
    }
}

#[tokio::test]
async fn a_container_can_be_kept_or_left_running() {
    let engine = engine().await;
    let kept = run(
        &engine,
        &Run {
            keep: true,
            ..shell("true")
        },
    )
    .await
    .0
    .unwrap();
    let left = run(
        &engine,
        &Run {
            detach: true,
            ..shell("sleep 60")
        },
    )
    .await
    .0
    .unwrap();
    assert_eq!((kept.code, left.code), (Some(0), None));
    for ran in [&kept, &left] {
        assert!(!is_gone(&engine, &ran.id).await);
        let options = bollard::query_parameters::RemoveContainerOptions {
            force: true,
            ..Default::default()
        };
        engine
            .bollard()
            .remove_container(&ran.id, Some(options))
            .await
            .unwrap();
    }
}
