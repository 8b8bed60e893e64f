use proptest::prelude::*;

use super::*;
use crate::output::testing::Recorder;

fn knowing(secrets: &[&str]) -> Arc<Redactor> {
    let redactor = Redactor::default();
    for secret in secrets {
        redactor.learn(&SecretString::from(*secret));
    }
    Arc::new(redactor)
}

#[test]
fn every_form_of_a_secret_is_masked() {
    let secret = "p@ss w<ord>&\"/é?";
    let redactor = knowing(&[secret]);
    let auth = STANDARD.encode(format!("someone:{secret}"));
    let config = format!("{{\"auths\": {{\"h\": {{\"auth\": \"{auth}\"}}}}}}");
    let shown = [
        secret.to_owned(),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        "p%40ss%20w%3Cord%3E%26%22%2F%C3%A9%3F".to_owned(),
        "p%40ss+w%3Cord%3E%26%22%2F%C3%A9%3F".to_owned(),
        Value::from(secret).to_string(),
        crate::render::html::Html::text(secret).into_string(),
        config,
    ];
    for text in shown {
        let masked = redactor.text(&format!("before {text} after"));
        assert!(masked.contains(MASK), "{text} -> {masked}");
        assert!(
            masked.starts_with("before ") && masked.ends_with(" after"),
            "{masked}"
        );
    }
}

#[test]
fn the_base64_of_a_secret_within_a_longer_text_is_masked_at_any_offset() {
    let redactor = knowing(&["hunter2-hunter2"]);
    for user in ["", "a", "ab", "abc", "abcd"] {
        let text = STANDARD.encode(format!("{user}:hunter2-hunter2\n"));
        let masked = redactor.text(&text);
        assert!(masked.contains(MASK), "{user}");
        // Three characters share bits with what stands around it; they give nothing of note away.
        assert!(masked.len() < MASK.len() + 12, "{masked}");
    }
}

#[test]
fn a_secret_cut_by_chunk_boundaries_is_masked() {
    let recorder = Arc::new(Recorder::default());
    let sink = RedactingSink::new(recorder.clone(), knowing(&["swordfish"]));
    for text in ["the sw", "ord", "fish sw", "im\n", "sword"] {
        sink.emit(Event::Stream {
            stream: Stream::Stdout,
            text: text.to_owned(),
        });
    }
    assert_eq!(recorder.stdout(), format!("the {MASK} swim\n"));
    sink.emit(Event::Display {
        bundle: Bundle::text("a swordfish"),
        display_id: None,
    });
    assert_eq!(
        recorder.stdout(),
        format!("the {MASK} swim\nsword"),
        "shown before what comes next"
    );
    assert_eq!(recorder.displays()[0].plain(), format!("a {MASK}"));
}

#[test]
fn a_key_of_several_lines_is_masked_line_by_line_in_a_stream() {
    let key = "-----BEGIN KEY-----\nMIIEabcdefgh\nq8Zz\n-----END KEY-----\n";
    let recorder = Arc::new(Recorder::default());
    let sink = RedactingSink::new(recorder.clone(), knowing(&[key]));
    for line in key.split_inclusive('\n') {
        sink.emit(Event::Stream {
            stream: Stream::Stdout,
            text: line.to_owned(),
        });
    }
    assert_eq!(
        recorder.stdout(),
        format!("-----BEGIN KEY-----\n{MASK}\n{MASK}\n-----END KEY-----\n")
    );
}

#[test]
fn twenty_thousand_lines_pass_quickly_with_a_long_secret() {
    let secret: String = (0..3000)
        .map(|number| char::from(b'a' + (number * 7 % 26) as u8))
        .collect();
    let recorder = Arc::new(Recorder::default());
    let sink = RedactingSink::new(recorder.clone(), knowing(&[&secret]));
    let started = std::time::Instant::now();
    for number in 0..20_000 {
        sink.emit(Event::Stream {
            stream: Stream::Stdout,
            text: format!("abc line {number} of many\n"),
        });
    }
    // Generous, for debug builds on busy machines.
    assert!(
        started.elapsed() < std::time::Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(recorder.stdout().lines().count(), 20_000);
}

#[test]
fn pictures_and_the_names_of_elements_stay_whole() {
    let redactor = knowing(&["table"]);
    let bundle = Bundle::text("a table")
        .with("text/html", "<table title=\"table\"><td>table</td></table>")
        .with("image/png", "iVBORtableRw0KGgo=");
    let shown = redactor.bundle(bundle);
    assert_eq!(shown.plain(), format!("a {MASK}"));
    assert_eq!(
        shown.data["text/html"],
        format!("<table title=\"{MASK}\"><td>{MASK}</td></table>")
    );
    assert_eq!(shown.data["image/png"], "iVBORtableRw0KGgo=");
}

#[test]
fn the_longer_of_two_secrets_wins() {
    let redactor = knowing(&["abcd", "abcdefgh"]);
    assert_eq!(redactor.text("abcdefgh abcd"), format!("{MASK} {MASK}"));
}

#[test]
fn short_values_are_not_looked_for() {
    let redactor = Redactor::default();
    assert!(!redactor.learn(&"abc".to_owned().into()));
    assert_eq!(redactor.text("abc"), "abc");
}

#[test]
fn keys_and_nested_values_of_a_bundle_are_masked() {
    let redactor = knowing(&["swordfish"]);
    let bundle = Bundle::default().with(
        "application/x",
        serde_json::json!({"swordfish": ["a swordfish", 1]}),
    );
    assert_eq!(
        redactor.bundle(bundle).data["application/x"],
        serde_json::json!({MASK: [format!("a {MASK}"), 1]})
    );
}

proptest! {
    #[test]
    fn however_a_text_is_cut_the_secret_never_shows(
        before in "[a-e]{0,8}", secret in "[a-e]{4,8}", after in "[a-e]{0,8}", cuts in prop::collection::vec(0_usize..24, 0..5)
    ) {
        let text = format!("{before}{secret}{after}");
        let recorder = Arc::new(Recorder::default());
        let sink = RedactingSink::new(recorder.clone(), knowing(&[&secret]));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).chain([0, text.len()]).collect();
        cuts.sort_unstable();
        for pair in cuts.windows(2) {
            sink.emit(Event::Stream { stream: Stream::Stderr, text: text[pair[0]..pair[1]].to_owned() });
        }
        sink.flush();
        prop_assert!(!recorder.stderr().contains(&secret), "{}", recorder.stderr());
        prop_assert_eq!(recorder.stderr(), knowing(&[&secret]).text(&text));
    }
}
