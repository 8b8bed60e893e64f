//! `is_complete_request`: whether Enter runs a cell or begins a new line.

use serde_json::{Value, json};

use crate::cell::scan::Scan;
use crate::cell::{self, Grammar, Part};

/// Answers with the protocol's status, and an indent where more must come.
pub fn answer(code: &str, grammar: &dyn Grammar) -> Value {
    match state(code, grammar) {
        State::Complete => json!({ "status": "complete" }),
        State::Invalid => json!({ "status": "invalid" }),
        State::Incomplete(depth) => {
            json!({ "status": "incomplete", "indent": "    ".repeat(depth) })
        }
    }
}

enum State {
    Complete,
    Invalid,
    Incomplete(usize),
}

fn state(code: &str, grammar: &dyn Grammar) -> State {
    let segments = cell::split(code, grammar);
    let Some(last) = segments.last() else {
        return State::Complete;
    };
    match &last.part {
        // A body grows until an empty line ends it.
        Part::Magic {
            body: Some(body), ..
        } if !body.is_empty() && !body.ends_with("\n\n") => State::Incomplete(0),
        Part::Magic {
            body: Some(body), ..
        } if body.is_empty() => State::Incomplete(0),
        Part::Magic { line, .. } | Part::Shell(line) if line.ends_with('\\') => {
            State::Incomplete(1)
        }
        Part::Rust(code) => rust(code),
        _ => State::Complete,
    }
}

fn rust(code: &str) -> State {
    let mut scan = Scan::default();
    for line in code.split_inclusive('\n') {
        if scan.has_code() || cell::word(line).is_none() {
            scan.feed(line);
        }
    }
    if scan.is_broken() {
        return State::Invalid;
    }
    if !scan.is_complete() {
        return State::Incomplete(scan.depth());
    }
    if !scan.has_code() {
        return State::Complete;
    }
    let tail = scan.tail();
    let open_ended = [
        "=", "+", "-", "*", "/", "%", "&", "|", ",", ".", "->", "=>", "::", "<", "^", "!",
    ];
    if open_ended.iter().any(|end| tail.ends_with(end)) && !tail.ends_with("..") {
        return State::Incomplete(1);
    }
    let ends = tail.ends_with(';') || tail.ends_with('}');
    // What these words begin is not over before a semicolon or a block.
    let needs_end = [
        "let", "fn", "struct", "enum", "union", "trait", "impl", "mod", "use", "const", "static",
        "type", "for", "while", "loop", "if", "match", "unsafe", "pub", "extern", "async", "#",
    ];
    if !ends && needs_end.contains(&scan.first_word()) {
        return State::Incomplete(usize::from(scan.first_word() != "#"));
    }
    State::Complete
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Grammar for Known {
        fn is_magic(&self, name: &str) -> bool {
            name == "images" || name == "write"
        }

        fn takes_body(&self, line: &str) -> bool {
            line.starts_with(":write")
        }
    }

    fn status(code: &str) -> String {
        answer(code, &Known)["status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    #[test]
    fn whole_cells_are_complete() {
        for code in [
            "",
            "1 + 1",
            "let x = 5;",
            "fn f() {}",
            ":images",
            ":dep serde = \"1\"",
            "!ls",
            "x.iter().map(|x| x)",
            "println!(\"{\")",
            "images?",
            "let c = 'a';",
            "let s: &'static str = \"\";",
            "1..",
            "if a { b } else { c }",
        ] {
            assert_eq!(status(code), "complete", "{code}");
        }
    }

    #[test]
    fn what_is_open_needs_another_line() {
        for code in [
            "fn f() {",
            "let x =",
            "let x = 5",
            "vec![1,",
            "\"open",
            "/* open",
            "r#\"open\"",
            "foo(a)\n    .",
            ":images \\",
            "struct A",
            "#[derive(Debug)]",
            ":write a.txt",
        ] {
            assert_eq!(status(code), "incomplete", "{code}");
        }
        assert_eq!(answer("fn f() {\n    if a {", &Known)["indent"], "        ");
    }

    #[test]
    fn a_stray_bracket_is_invalid() {
        assert_eq!(status("fn f() { ) }"), "invalid");
        assert_eq!(status("}"), "invalid");
    }
}
