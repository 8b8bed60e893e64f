//! Marks in a cell's output that tell how it ended.
//!
//! The engine reports success when a cell panics and when a `?` returns early, keeps back a last
//! line without a newline, and may deliver stderr after the end. So a cell that ends in a
//! statement gets one more: it prints an end mark on both streams. A cell whose mark never comes
//! did not reach its end; a stream whose mark came has delivered everything. Panics announce
//! themselves from a hook (set once in a hidden cell; it lives in the shared standard library). The
//! crate `katlab` marks the places of its displays, and the error that a cell ends in.

use crate::cell::scan::Scan;

const START: char = '\u{1}';
const END: &str = "\u{1}katlab:end\u{1}";
const PANIC: &str = "\u{1}katlab:panic ";
const SHOW: &str = "\u{1}katlab:show ";
const ERROR: &str = "\u{1}katlab:error ";
const FIELD: char = '\u{1f}';
const NEWLINE: char = '\u{1e}';
/// evcxr's own notice, which it does not recognise behind text that had no newline.
const ENGINE_NOTICE: &str = "EVCXR_PANIC_NOTIFICATION";

/// Rust that makes panics announce themselves; run in a hidden cell.
///
/// Its `?` tells evcxr to expect more of them. evcxr learns that from the first compile error of a
/// session, and takes back at the same time what else it tried: the rich display of the value that
/// ends a cell.
pub const HOOK: &str = r#"{
    Ok::<(), std::fmt::Error>(())?;
    let main = std::thread::current().id();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (_, Some(text)) => text.clone(),
            _ => "a value that is no text".to_owned(),
        };
        let message = message.replace('\n', "\u{1e}");
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        let current = std::thread::current();
        let thread = if current.id() == main { "main" } else { current.name().unwrap_or("unnamed") };
        std::println!("\u{1}katlab:panic {thread}\u{1f}{place}\u{1f}{message}\u{1}");
    }));
};"#;

/// An error as the crate announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What failed, on what, and why.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// A panic as the hook announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// Whether the cell itself panicked, or a thread it started (whose name this is).
    pub thread: Option<String>,
    /// `file:line` in the compiled crate.
    pub place: String,
    /// The message.
    pub message: String,
}

/// The code with an end mark, where one can stand; and whether it does.
pub fn append(code: &str) -> (String, bool) {
    let mut scan = Scan::default();
    for line in code.split_inclusive('\n') {
        if scan.has_code() || crate::cell::word(line).is_none() {
            scan.feed(line);
        }
    }
    let statement = scan.tail().ends_with(';')
        || (scan.tail().ends_with('}') && matches!(scan.first_word(), "for" | "while"))
        || (scan.tail().ends_with(')')
            && matches!(
                scan.first_word(),
                "print" | "println" | "eprint" | "eprintln"
            ));
    if !scan.is_complete() || scan.is_broken() || !statement {
        return (code.to_owned(), false);
    }
    let separator = if scan.tail().ends_with(')') { ";" } else { "" };
    let mark = r#"std::println!("\u{1}katlab:end\u{1}"); std::eprintln!("\u{1}katlab:end\u{1}");"#;
    (format!("{code}\n{separator}{mark}"), true)
}

/// A part of stream text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What the user is to see.
    Text(String),
    /// The stream reached the end mark.
    End,
    /// A panic was announced.
    Panic(Panic),
    /// The place of an output that the bridge holds.
    Show(String),
    /// The cell ends in a value that is an error.
    Error(Wrong),
}

/// Takes text apart at its marks.
pub fn read(text: &str) -> Vec<Piece> {
    if !text.contains(START) && !text.contains(ENGINE_NOTICE) {
        return vec![Piece::Text(text.to_owned())];
    }
    let mut pieces = Vec::new();
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches('\n');
        let (before, mark) = if let Some(before) = bare.strip_suffix(END) {
            (before.to_owned(), Some(Piece::End))
        } else if let Some((before, announced)) = bare.split_once(PANIC) {
            let before = if before.is_empty() {
                String::new()
            } else {
                format!("{before}\n")
            };
            (
                before,
                panic(announced.trim_end_matches(START)).map(Piece::Panic),
            )
        } else if let Some((before, ticket)) = bare.split_once(SHOW) {
            (
                before.to_owned(),
                Some(Piece::Show(ticket.trim_end_matches(START).to_owned())),
            )
        } else if let Some((before, announced)) = bare.split_once(ERROR) {
            let wrong = wrong(announced.trim_end_matches(START));
            (before.to_owned(), Some(Piece::Error(wrong)))
        } else {
            (line.replace(ENGINE_NOTICE, ""), None)
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        pieces.extend(mark);
    }
    pieces
}

fn wrong(announced: &str) -> Wrong {
    let (message, hint) = announced.split_once(FIELD).unwrap_or((announced, ""));
    Wrong {
        message: message.replace(NEWLINE, "\n"),
        hint: (!hint.is_empty()).then(|| hint.replace(NEWLINE, "\n")),
    }
}

fn panic(announced: &str) -> Option<Panic> {
    let mut fields = announced.splitn(3, FIELD);
    let thread = fields.next()?;
    Some(Panic {
        thread: (thread != "main").then(|| thread.to_owned()),
        place: fields.next()?.to_owned(),
        message: fields.next()?.replace(NEWLINE, "\n"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_get_an_end_mark_and_values_do_not() {
        for code in [
            "let x: i32 = 1;",
            "for i in 0..3 { f(i) }",
            "print!(\"a\")",
            "f(); // done",
            ":dep a = \"1\"\nuse a;",
        ] {
            assert!(append(code).1, "{code}");
        }
        for code in [
            "x",
            "f()",
            "if a { 1 } else { 2 }",
            ":vars",
            "fn f() {}",
            "let s = \"open;",
        ] {
            assert!(!append(code).1, "{code}");
        }
    }

    #[test]
    fn text_without_a_newline_keeps_its_shape_before_the_mark() {
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(
            read("no newline\u{1}katlab:end\u{1}\n"),
            [text("no newline"), Piece::End]
        );
        assert_eq!(read("plain\n"), [text("plain\n")]);
    }

    #[test]
    fn a_display_keeps_its_place_among_lines() {
        let pieces = read("a\nb\u{1}katlab:show 7\u{1}\nc\n");
        let text = |text: &str| Piece::Text(text.to_owned());
        assert_eq!(
            pieces,
            [text("a\n"), text("b"), Piece::Show("7".into()), text("c\n")]
        );
    }

    #[test]
    fn the_error_that_a_cell_ends_in_is_read_with_its_hint() {
        let wrong = |hint: Option<&str>| {
            let (message, hint) = ("no\ntrial".to_owned(), hint.map(str::to_owned));
            [Piece::Error(Wrong { message, hint })]
        };
        let pieces = read("\u{1}katlab:error no\u{1e}trial\u{1f}look\u{1}\n");
        assert_eq!(pieces, wrong(Some("look")));
        let pieces = read("\u{1}katlab:error no\u{1e}trial\u{1f}\u{1}\n");
        assert_eq!(pieces, wrong(None));
    }

    #[test]
    fn an_announced_panic_is_read_whole() {
        let pieces = read("half\u{1}katlab:panic main\u{1f}src/lib.rs:7\u{1f}one\u{1e}two\u{1}\n");
        let panic = Panic {
            thread: None,
            place: "src/lib.rs:7".into(),
            message: "one\ntwo".into(),
        };
        assert_eq!(pieces, [Piece::Text("half\n".into()), Piece::Panic(panic)]);
    }
}
