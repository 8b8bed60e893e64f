use std::sync::Arc;

use super::*;
use crate::event::Event;
use crate::output::testing::Recorder;
use crate::redaction::Redactor;

fn recorded() -> (Arc<Recorder>, Output) {
    let recorder = Arc::new(Recorder::default());
    (
        recorder.clone(),
        Output::new(recorder, Arc::new(Redactor::default())),
    )
}

#[test]
fn the_first_picture_comes_at_once_and_many_reports_make_few_updates() {
    let (recorder, output) = recorded();
    let progress = Progress::start(&output, "Building");
    assert_eq!(recorder.displays()[0].plain(), "● Building…");
    for number in 0..1000 {
        progress.line(format!("step {number}"));
    }
    progress.done("Built it");
    assert!(recorder.events().len() < 10, "{}", recorder.events().len());
    assert!(recorder.displays()[0].plain().starts_with("✓ Built it  ("));
}

#[tokio::test]
async fn what_was_said_last_is_shown_although_nothing_follows() {
    let (recorder, output) = recorded();
    let progress = Progress::start(&output, "Pushing");
    progress.item("abc", "Pushing", Some(50), Some(100));
    assert_eq!(recorder.events().len(), 1);
    let shown = async {
        while recorder.events().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), shown)
        .await
        .unwrap();
    assert!(
        recorder.displays()[0]
            .plain()
            .contains("abc  ████████████░░░░░░░░░░░░ Pushing 50B of 100B"),
        "{}",
        recorder.displays()[0].plain()
    );
}

#[test]
fn a_failure_keeps_the_lines_and_says_how_many_came_before() {
    let (recorder, output) = recorded();
    let progress = Progress::start(&output, "Building");
    for number in 0..15 {
        progress.line(format!("line {number}"));
    }
    progress.failed("Step 2 failed");
    let plain = recorder.displays()[0].plain().to_owned();
    assert!(plain.starts_with("✗ Step 2 failed"), "{plain}");
    assert!(
        plain.contains("… 5 earlier lines") && plain.ends_with("line 14"),
        "{plain}"
    );
}

#[test]
fn it_ends_as_stopped_when_nobody_says_how_it_ended() {
    let (recorder, output) = recorded();
    drop(Progress::start(&output, "Pulling x"));
    assert!(
        recorder.displays()[0]
            .plain()
            .starts_with("■ Pulling x: stopped")
    );
    assert!(matches!(recorder.events()[1], Event::Update { .. }));
}

#[test]
fn of_many_items_those_that_are_done_make_room() {
    let (recorder, output) = recorded();
    let progress = Progress::start(&output, "Pushing");
    for number in 0..20 {
        let state = if number < 10 { "Pushed" } else { "Pushing" };
        progress.item(&format!("layer{number}"), state, None, None);
    }
    progress.failed("no");
    let plain = recorder.displays()[0].plain().to_owned();
    assert!(
        plain.contains("layer19") && !plain.contains("layer0 ") && plain.contains("… and 8 more"),
        "{plain}"
    );
}
