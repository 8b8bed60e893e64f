//! A cell taken apart: magics, shell lines, and Rust, in the order they were written.
//!
//! A line is ours only where a Rust statement could begin: `:` or `!` inside a string, a comment,
//! brackets or an unfinished statement is Rust's. Lines of evcxr's own commands stay with the
//! Rust that follows them, because the engine takes commands only before code.

pub mod scan;

use std::ops::Range;

use self::scan::Scan;

/// One part of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A magic, with the rest of the cell where it takes one.
    Magic {
        /// The line from its colon on, continuation lines joined.
        line: String,
        /// What follows the line, for magics that take a body.
        body: Option<String>,
    },
    /// A shell line, without its `!`.
    Shell(String),
    /// Rust, with the engine's commands before it.
    Rust(String),
    /// `:quit` and `:restart`, which would take the engine away behind our back.
    Engine(Verb),
    /// `name?`: help on a name.
    Help(String),
}

/// What is done to the Rust engine as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// End it.
    Quit,
    /// Start it again.
    Restart,
}

/// A part, and where in the cell it stands (bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it stands.
    pub at: Range<usize>,
    /// What it is.
    pub part: Part,
}

/// Which lines are magics: asked of whoever knows them.
pub trait Grammar {
    /// Whether `:name` is one of our magics.
    fn is_magic(&self, name: &str) -> bool;
    /// Whether this line takes the rest of the cell.
    fn takes_body(&self, line: &str) -> bool;
}

/// Takes a cell apart.
pub fn split(code: &str, grammar: &dyn Grammar) -> Vec<Segment> {
    if let Some(name) = help(code, grammar) {
        return vec![Segment {
            at: 0..code.len(),
            part: Part::Help(name),
        }];
    }
    let mut parts = Parts::default();
    let lines = lines(code);
    let mut index = 0;
    while index < lines.len() {
        let at = lines[index].clone();
        let line = &code[at.clone()];
        let text = line.trim();
        if parts.at_boundary() && text.starts_with(':') && word(text).is_some() {
            let name = word(text).unwrap_or_default();
            if grammar.is_magic(name) {
                let (end, joined) = continued(code, &lines, index);
                let body = grammar.takes_body(&joined);
                parts.close();
                let after = lines[end].end;
                if body {
                    let rest = code[after..].to_owned();
                    parts.push(
                        at.start..code.len(),
                        Part::Magic {
                            line: joined,
                            body: Some(rest),
                        },
                    );
                    return parts.done;
                }
                parts.push(
                    at.start..after,
                    Part::Magic {
                        line: joined,
                        body: None,
                    },
                );
                index = end + 1;
                continue;
            }
            match text {
                ":quit" => parts.verb(at, Verb::Quit),
                ":restart" => parts.verb(at, Verb::Restart),
                _ => parts.command(at, line),
            }
        } else if parts.at_boundary() && shell(text).is_some() {
            let (end, joined) = continued(code, &lines, index);
            parts.close();
            parts.push(
                at.start..lines[end].end,
                Part::Shell(joined.trim_start_matches('!').trim().to_owned()),
            );
            index = end;
        } else {
            parts.rust(at, line);
        }
        index += 1;
    }
    parts.close();
    parts.done
}

/// The name a line begins with, after its colon.
pub fn word(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix(':')?;
    let end = rest
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .unwrap_or(rest.len());
    let name = &rest[..end];
    let next = rest[end..].chars().next();
    let ends = next.is_none_or(|c| c.is_whitespace() || c == '?');
    (ends && name.starts_with(|c: char| c.is_ascii_alphabetic())).then_some(name)
}

fn shell(text: &str) -> Option<&str> {
    let command = text.strip_prefix('!')?;
    let first = command.trim_start().chars().next()?;
    (first.is_ascii_alphanumeric() || "./~_$({\"'[".contains(first)).then_some(command)
}

/// Every line with its newline.
fn lines(code: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    code.split_inclusive('\n')
        .map(|line| {
            let range = start..start + line.len();
            start = range.end;
            range
        })
        .collect()
}

/// A line and those it continues on (each ends with a backslash), joined; and the last one's index.
fn continued(code: &str, lines: &[Range<usize>], first: usize) -> (usize, String) {
    let mut joined = String::new();
    let mut index = first;
    loop {
        let line = code[lines[index].clone()].trim();
        if !joined.is_empty() {
            joined.push(' ');
        }
        match line.strip_suffix('\\') {
            Some(start) if index + 1 < lines.len() => {
                joined.push_str(start.trim_end());
                index += 1;
            }
            _ => {
                joined.push_str(line);
                return (index, joined);
            }
        }
    }
}

/// The name asked about, when the whole cell is a question.
fn help(code: &str, grammar: &dyn Grammar) -> Option<String> {
    let text = code.trim();
    let asked = match text.strip_suffix('?') {
        Some(front) => front.strip_suffix('?').unwrap_or(front),
        None => text.strip_prefix('?')?,
    };
    let asked = asked.trim();
    if let Some(magic) = asked.strip_prefix(':') {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' ');
        return (!magic.is_empty() && magic.chars().all(plain)).then(|| asked.to_owned());
    }
    let name = asked.split_whitespace().next()?;
    if grammar.is_magic(name)
        && asked
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' '))
    {
        return Some(format!(":{asked}"));
    }
    let path = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part
                .chars()
                .all(|c| c.is_alphanumeric() || c == '_' || c == '!')
    };
    asked.split("::").all(path).then(|| asked.to_owned())
}

#[derive(Default)]
struct Parts {
    done: Vec<Segment>,
    open: Option<(Range<usize>, String)>,
    scan: Scan,
}

impl Parts {
    fn at_boundary(&self) -> bool {
        self.scan.at_statement()
    }

    fn push(&mut self, at: Range<usize>, part: Part) {
        self.done.push(Segment { at, part });
    }

    fn verb(&mut self, at: Range<usize>, verb: Verb) {
        self.close();
        self.push(at, Part::Engine(verb));
    }

    fn extend(&mut self, at: Range<usize>, line: &str) {
        match &mut self.open {
            Some((range, code)) => {
                range.end = at.end;
                code.push_str(line);
            }
            None => self.open = Some((at, line.to_owned())),
        }
    }

    fn rust(&mut self, at: Range<usize>, line: &str) {
        self.scan.feed(line);
        self.extend(at, line);
    }

    fn command(&mut self, at: Range<usize>, line: &str) {
        if self.scan.has_code() {
            self.close();
        }
        self.extend(at, line);
    }

    fn close(&mut self) {
        let has_code = self.scan.has_code() || !self.scan.is_complete();
        self.scan = Scan::default();
        if let Some((at, code)) = self.open.take() {
            // Comments and blank lines between magics are no reason to start a compiler.
            let commands = code.lines().any(|line| word(line).is_some());
            if has_code || commands {
                self.push(at, Part::Rust(code));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known;

    impl Grammar for Known {
        fn is_magic(&self, name: &str) -> bool {
            ["images", "build", "write", "help", "env", "experiment"].contains(&name)
        }

        fn takes_body(&self, line: &str) -> bool {
            line.starts_with(":write") || line.ends_with(" -")
        }
    }

    fn parts(code: &str) -> Vec<Part> {
        let segments = split(code, &Known);
        let mut end = 0;
        for segment in &segments {
            assert!(segment.at.start >= end, "segments go forward");
            end = segment.at.end;
        }
        segments.into_iter().map(|segment| segment.part).collect()
    }

    fn magic(line: &str) -> Part {
        Part::Magic {
            line: line.into(),
            body: None,
        }
    }

    #[test]
    fn a_mixed_cell_runs_top_to_bottom() {
        assert_eq!(
            parts(":images\nlet x: i32 = 1;\n!ls -l\n:build a \\\n  -t b\nx"),
            [
                magic(":images"),
                Part::Rust("let x: i32 = 1;\n".into()),
                Part::Shell("ls -l".into()),
                magic(":build a -t b"),
                Part::Rust("x".into()),
            ]
        );
    }

    #[test]
    fn evcxr_commands_stay_before_the_rust_they_prepare() {
        assert_eq!(
            parts(":dep serde = \"1\"\nuse serde;\n:vars\nlet y: i32 = 2;"),
            [
                Part::Rust(":dep serde = \"1\"\nuse serde;\n".into()),
                Part::Rust(":vars\nlet y: i32 = 2;".into()),
            ]
        );
    }

    #[test]
    fn colons_and_bangs_inside_rust_are_rusts() {
        for code in [
            "let s = \"\n:images\n!ls\n\";",
            "let s = r#\"\n:images\n\"#;",
            "/* \n:images\n*/ let x = 1;",
            "foo(\n!b,\n)",
            "let x =\n!b;",
            "let c = '\"';\n::std::mem::drop(c)",
            "let a = b\n:images",
        ] {
            assert_eq!(parts(code), [Part::Rust(code.into())], "{code}");
        }
    }

    #[test]
    fn a_body_is_the_rest_of_the_cell_as_it_stands() {
        assert_eq!(
            parts(":write a.py\nimport os\n:images\n"),
            [Part::Magic {
                line: ":write a.py".into(),
                body: Some("import os\n:images\n".into())
            }]
        );
        assert_eq!(
            parts(":experiment create -\napiVersion: v1\n"),
            [Part::Magic {
                line: ":experiment create -".into(),
                body: Some("apiVersion: v1\n".into())
            }]
        );
    }

    #[test]
    fn comments_alone_start_no_engine() {
        assert_eq!(
            parts("// look\n\n:images\n/* done */\n"),
            [magic(":images")]
        );
        assert_eq!(parts("   \n"), []);
    }

    #[test]
    fn quit_and_restart_are_caught() {
        assert_eq!(parts(":quit"), [Part::Engine(Verb::Quit)]);
        assert_eq!(
            parts("let a: i32 = 1;\n:restart"),
            [
                Part::Rust("let a: i32 = 1;\n".into()),
                Part::Engine(Verb::Restart)
            ]
        );
    }

    #[test]
    fn a_question_mark_asks_for_help_and_a_try_does_not() {
        assert_eq!(parts("images?"), [Part::Help(":images".into())]);
        assert_eq!(
            parts(":experiment create?"),
            [Part::Help(":experiment create".into())]
        );
        assert_eq!(parts("?build"), [Part::Help(":build".into())]);
        assert_eq!(
            parts("std::mem::swap??"),
            [Part::Help("std::mem::swap".into())]
        );
        assert_eq!(parts("foo()?"), [Part::Rust("foo()?".into())]);
        assert_eq!(parts("a.b?"), [Part::Rust("a.b?".into())]);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_splitter(code in "[:!a-z{}()\"'/*#\\\\\n ;?r]{0,60}") {
            let _ = parts(&code);
        }
    }
}
