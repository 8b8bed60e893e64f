//! A magic's line as words: quotes, comments, and `$NAME` from the settings.
//!
//! As in a shell: single quotes are literal; double quotes keep blanks; a backslash takes the next
//! character as it is; a `#` after a blank begins a comment. Unlike a shell, a value put in for
//! `$NAME` is never split, and an unknown name is an error, not an empty word. Katib's own
//! `${trialParameters.x}` and `${trialSpec.x}` are left alone, for no setting has a dot in its name.

use std::ops::Range;

use katlab_lab::settings::is_name;

use super::{MagicError, nearest};

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// The value of a setting.
    Variable {
        /// Its name.
        name: String,
        /// Where it stands in the line.
        span: Range<usize>,
    },
}

/// A word of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its parts.
    pub pieces: Vec<Piece>,
    /// Where it stands in the line (bytes), quotes included.
    pub span: Range<usize>,
}

impl Word {
    /// The word without its quotes, variables as they are written.
    pub fn raw(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable { name, .. } => format!("${name}"),
        };
        self.pieces.iter().map(piece).collect()
    }
}

/// What is wrong with a line, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitError {
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Range<usize>,
}

/// Splits a line into words.
///
/// # Errors
/// When a quote or a brace is never closed.
pub fn split(line: &str) -> Result<Vec<Word>, SplitError> {
    let (words, problem) = split_leniently(line);
    problem.map_or(Ok(words), Err)
}

/// Splits a line into words as far as it goes: what is open at the end counts as closed there.
/// That is what completion needs, for the line is still being written.
pub fn split_leniently(line: &str) -> (Vec<Word>, Option<SplitError>) {
    let mut splitter = Splitter {
        line,
        at: 0,
        problem: None,
    };
    let mut words = Vec::new();
    loop {
        splitter.skip_blanks();
        match splitter.peek() {
            None | Some('#') => return (words, splitter.problem),
            Some(_) => words.push(splitter.word()),
        }
    }
}

struct Splitter<'a> {
    line: &'a str,
    at: usize,
    problem: Option<SplitError>,
}

impl Splitter<'_> {
    fn peek(&self) -> Option<char> {
        self.line[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn skip_blanks(&mut self) {
        while let Some(next) = self.peek() {
            // A backslash at the end of a line joins it with the next one.
            if next == '\\' && self.line[self.at + 1..].starts_with('\n') {
                self.at += 2;
            } else if next.is_whitespace() {
                self.at += next.len_utf8();
            } else {
                return;
            }
        }
    }

    fn word(&mut self) -> Word {
        let start = self.at;
        let mut pieces = Vec::new();
        let mut text = String::new();
        while let Some(next) = self.peek().filter(|next| !next.is_whitespace()) {
            let from = self.at;
            self.next();
            match next {
                '\'' => self.quoted(from, &mut text),
                '"' => self.double_quoted(from, &mut text, &mut pieces),
                '\\' => match self.next() {
                    Some('\n') => {}
                    Some(escaped) => text.push(escaped),
                    None => text.push('\\'),
                },
                '$' => self.variable(from, &mut text, &mut pieces),
                other => text.push(other),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Word {
            pieces,
            span: start..self.at,
        }
    }

    fn quoted(&mut self, from: usize, text: &mut String) {
        loop {
            match self.next() {
                Some('\'') => return,
                Some(other) => text.push(other),
                None => return self.open("this quote is never closed", from),
            }
        }
    }

    fn double_quoted(&mut self, from: usize, text: &mut String, pieces: &mut Vec<Piece>) {
        loop {
            let at = self.at;
            match self.next() {
                Some('"') => return,
                Some('\\') => match self.peek() {
                    Some(escaped @ ('"' | '\\' | '$' | '`')) => {
                        text.push(escaped);
                        self.next();
                    }
                    Some('\n') => {
                        self.next();
                    }
                    _ => text.push('\\'),
                },
                Some('$') => self.variable(at, text, pieces),
                Some(other) => text.push(other),
                None => return self.open("this quote is never closed", from),
            }
        }
    }

    /// Behind a `$`.
    fn variable(&mut self, from: usize, text: &mut String, pieces: &mut Vec<Piece>) {
        let rest = &self.line[self.at..];
        let (name, after) = if let Some(inner) = rest.strip_prefix('{') {
            let Some(end) = inner.find('}') else {
                text.push('$');
                // Only up to the end of the word, so that completion sees the name.
                return self.open("this brace is never closed", from);
            };
            (&inner[..end], self.at + end + 2)
        } else {
            let end = rest
                .find(|char: char| !char.is_ascii_alphanumeric() && char != '_')
                .unwrap_or(rest.len());
            (&rest[..end], self.at + end)
        };
        if !is_name(name) {
            text.push('$');
            return;
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(std::mem::take(text)));
        }
        self.at = after;
        pieces.push(Piece::Variable {
            name: name.to_owned(),
            span: from..after,
        });
    }

    fn open(&mut self, message: &str, from: usize) {
        let error = SplitError {
            message: message.to_owned(),
            span: from..from + 1,
        };
        self.problem.get_or_insert(error);
    }
}

/// The names of the variables in words.
pub fn variables(words: &[Word]) -> impl Iterator<Item = &str> {
    words
        .iter()
        .flat_map(|word| &word.pieces)
        .filter_map(|piece| match piece {
            Piece::Variable { name, .. } => Some(name.as_str()),
            Piece::Text(_) => None,
        })
}

/// Puts values in for the variables. `value` gives a setting's value, `names` all names there are.
///
/// # Errors
/// When there is no such setting.
pub fn expand(
    line: &str,
    words: &[Word],
    value: impl Fn(&str) -> Option<String>,
    names: impl Fn() -> Vec<String>,
) -> Result<Vec<String>, MagicError> {
    let mut expanded = Vec::with_capacity(words.len());
    for word in words {
        let mut text = String::new();
        for piece in &word.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Variable { name, span } => match value(name) {
                    Some(value) => text.push_str(&value),
                    None => return Err(unknown(line, name, span.clone(), &names())),
                },
            }
        }
        expanded.push(text);
    }
    Ok(expanded)
}

fn unknown(line: &str, name: &str, span: Range<usize>, names: &[String]) -> MagicError {
    let near = nearest::to(name, names.iter().map(String::as_str));
    let set = format!(
        "set it with `:env set {name}=VALUE`; for a plain dollar sign write `\\$` or single quotes"
    );
    let hint = match near.as_slice() {
        [] => set,
        near => format!(
            "did you mean {}? Or {set}",
            near.iter()
                .map(|name| format!("${name}"))
                .collect::<Vec<_>>()
                .join(" or ")
        ),
    };
    MagicError::usage(format!("there is no setting {name}"))
        .detail(caret(line, span))
        .hint(hint)
}

/// The line with carets below a part of it.
pub fn caret(line: &str, span: Range<usize>) -> String {
    use unicode_width::UnicodeWidthStr;
    let start = line[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let end = line[span.start..]
        .find('\n')
        .map_or(line.len(), |at| span.start + at);
    let before = line[start..span.start].width();
    let width = line[span.start..span.end.min(end)].width().max(1);
    format!(
        "  {}\n  {}{}",
        &line[start..end],
        " ".repeat(before),
        "^".repeat(width)
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        let value = |name: &str| (name == "NAME").then(|| "a b".to_owned());
        expand(line, &split(line).unwrap(), value, || {
            vec!["NAME".to_owned()]
        })
        .unwrap()
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(
            words(":env load .env   # seven names"),
            [":env", "load", ".env"]
        );
        assert_eq!(
            words("a 'b  c' \"d e\" f\\ g h''i ''"),
            ["a", "b  c", "d e", "f g", "hi", ""]
        );
        assert_eq!(
            words("a#b \"x\\\"y\\n\" 'a\\b'"),
            ["a#b", "x\"y\\n", "a\\b"]
        );
        assert_eq!(words("a \\\n  b"), ["a", "b"]);
        assert!(words("   # nothing").is_empty());
    }

    #[test]
    fn variables_are_put_in_and_never_split() {
        assert_eq!(
            words("x$NAME/${NAME}y \"$NAME\" '$NAME' \\$NAME"),
            ["xa b/a by", "a b", "$NAME", "$NAME"]
        );
        assert_eq!(
            words("$ 5$ $1 ${trialParameters.lr} \"${trialSpec.Name}\""),
            [
                "$",
                "5$",
                "$1",
                "${trialParameters.lr}",
                "${trialSpec.Name}"
            ]
        );
    }

    #[test]
    fn an_unknown_name_is_shown_where_it_stands_with_near_misses() {
        let line = ":push 값 $NAM";
        let error = expand(
            line,
            &split(line).unwrap(),
            |_| None,
            || vec!["NAME".to_owned()],
        )
        .unwrap_err();
        assert_eq!(error.detail.unwrap(), "  :push 값 $NAM\n           ^^^^");
        assert!(error.hint.unwrap().starts_with("did you mean $NAME?"));
    }

    #[test]
    fn an_open_quote_is_an_error_where_it_begins() {
        assert_eq!(split("a 'b").unwrap_err().span, 2..3);
        assert_eq!(split("a \"b $").unwrap_err().span, 2..3);
        assert_eq!(split("a ${B").unwrap_err().span, 2..3);
        assert_eq!(split_leniently("a 'b c").0[1].raw(), "b c");
    }

    proptest! {
        #[test]
        fn quoting_survives_splitting(words in prop::collection::vec("[^\\x00]{0,12}", 0..5)) {
            let line = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect::<Vec<_>>().join(" ");
            let back: Vec<String> = split(&line).unwrap().iter().map(Word::raw).collect();
            prop_assert_eq!(back, words);
        }

        #[test]
        fn any_line_is_split_and_spans_lie_within_it(line in "[ a$\\{}NAME'\"\\\\#가\\n]{0,30}") {
            let (words, _) = split_leniently(&line);
            let mut end = 0;
            for word in words {
                prop_assert!(word.span.start >= end && word.span.end <= line.len());
                prop_assert!(line.is_char_boundary(word.span.start) && line.is_char_boundary(word.span.end));
                end = word.span.end;
            }
        }
    }
}
