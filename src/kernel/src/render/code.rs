//! A file with line numbers, its comments, strings and keywords set off.
//!
//! Modest on purpose: enough to read a Dockerfile, a script or a manifest, in a few colours that work
//! on white and on black, without a grammar for each language.

use super::html::{self, Html};
use crate::event::Bundle;

/// What a file is written in, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Python,
    Yaml,
    Docker,
    Shell,
    Rust,
    Json,
    Plain,
}

/// A coloured part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Comment,
    Text,
    Keyword,
    Key,
}

impl Language {
    fn of(path: &str) -> Self {
        let name = path.rsplit('/').next().unwrap_or(path);
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("dockerfile")
            || lower.ends_with(".dockerfile")
            || lower.starts_with("containerfile")
        {
            return Self::Docker;
        }
        if lower.starts_with(".env") || lower == "makefile" {
            return Self::Shell;
        }
        match lower.rsplit_once('.').map(|(_, extension)| extension) {
            Some("py") => Self::Python,
            Some("yaml" | "yml") => Self::Yaml,
            Some("sh" | "bash" | "env" | "toml" | "ini" | "cfg") => Self::Shell,
            Some("rs") => Self::Rust,
            Some("json" | "ipynb") => Self::Json,
            _ => Self::Plain,
        }
    }

    fn comment(self) -> Option<&'static str> {
        match self {
            Self::Python | Self::Yaml | Self::Docker | Self::Shell => Some("#"),
            Self::Rust => Some("//"),
            Self::Json | Self::Plain => None,
        }
    }

    fn keywords(self) -> &'static [&'static str] {
        match self {
            Self::Python => &[
                "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class",
                "continue", "def", "del", "elif", "else", "except", "finally", "for", "from",
                "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass",
                "raise", "return", "try", "while", "with", "yield",
            ],
            Self::Yaml | Self::Json => &["true", "false", "null"],
            Self::Docker => &[
                "ADD",
                "ARG",
                "AS",
                "CMD",
                "COPY",
                "ENTRYPOINT",
                "ENV",
                "EXPOSE",
                "FROM",
                "HEALTHCHECK",
                "LABEL",
                "MAINTAINER",
                "ONBUILD",
                "RUN",
                "SHELL",
                "STOPSIGNAL",
                "USER",
                "VOLUME",
                "WORKDIR",
            ],
            Self::Shell => &[
                "export", "if", "then", "else", "fi", "for", "do", "done", "case", "esac", "while",
                "set",
            ],
            Self::Rust => &[
                "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else",
                "enum", "false", "fn", "for", "if", "impl", "in", "let", "loop", "match", "mod",
                "move", "mut", "pub", "ref", "return", "self", "Self", "static", "struct", "super",
                "trait", "true", "type", "unsafe", "use", "where", "while",
            ],
            Self::Plain => &[],
        }
    }
}

impl Kind {
    fn style(self) -> &'static str {
        match self {
            Self::Comment => "color:#808080;font-style:italic",
            Self::Text => "color:#b7791f",
            Self::Keyword => "color:#2f7fd6;font-weight:bold",
            Self::Key => "color:#2a8a4a",
        }
    }
}

/// Lines of a file, from a number on.
pub struct Listing<'a> {
    /// The path, which also tells the language.
    pub path: &'a str,
    /// The lines shown.
    pub lines: Vec<&'a str>,
    /// The number of the first of them.
    pub first: usize,
    /// How many lines the file has.
    pub total: usize,
}

impl Listing<'_> {
    /// Plain text and HTML.
    pub fn bundle(&self) -> Bundle {
        Bundle::text(self.plain()).with_html(self.html())
    }

    fn width(&self) -> usize {
        (self.first + self.lines.len())
            .saturating_sub(1)
            .to_string()
            .len()
            .max(2)
    }

    fn foot(&self) -> Option<String> {
        let last = (self.first + self.lines.len()).saturating_sub(1);
        (self.lines.len() < self.total)
            .then(|| format!("lines {} to {last} of {}", self.first, self.total))
    }

    /// Plain text, each line behind its number.
    pub fn plain(&self) -> String {
        let width = self.width();
        let mut lines: Vec<String> = self
            .lines
            .iter()
            .enumerate()
            .map(|(at, line)| {
                format!("{:>width$} │ {}", self.first + at, visible(line))
                    .trim_end()
                    .to_owned()
            })
            .collect();
        if self.total == 0 {
            lines.push(format!("{} is empty", self.path));
        }
        lines.extend(self.foot());
        lines.join("\n")
    }

    /// HTML of the same, with colours.
    pub fn html(&self) -> Html {
        let language = Language::of(self.path);
        let width = self.width();
        let mut text = Html::default();
        let mut open = None;
        for (at, line) in self.lines.iter().enumerate() {
            let number = format!("{:>width$} │ ", self.first + at);
            text.push(&html::text_element(
                "span",
                &[("style", "color:#808080")],
                &number,
            ));
            let line = visible(line);
            for (kind, part) in parts(language, &line, &mut open) {
                text.push(&match kind {
                    Some(kind) => html::text_element("span", &[("style", kind.style())], part),
                    None => Html::text(part),
                });
            }
            text.push(&Html::text("\n"));
        }
        let head = html::text_element("div", &[("style", "font-weight:bold")], self.path);
        let pre = html::pre(&text);
        let foot = self
            .foot()
            .or_else(|| (self.total == 0).then(|| "empty".to_owned()))
            .unwrap_or_default();
        let foot = html::text_element("div", &[("style", "color:#808080")], &foot);
        html::element(
            "div",
            &[("class", "katlab katlab-code")],
            &html::join([head, pre, foot]),
        )
    }
}

/// Control characters other than tabs would move what stands around them.
fn visible(line: &str) -> String {
    line.chars()
        .map(|char| {
            if char.is_control() && char != '\t' {
                '\u{fffd}'
            } else {
                char
            }
        })
        .collect()
}

/// The parts of a line; `open` holds a quote that goes on over the line's end.
fn parts<'a>(
    language: Language,
    line: &'a str,
    open: &mut Option<&'static str>,
) -> Vec<(Option<Kind>, &'a str)> {
    let mut parts = Vec::new();
    if language == Language::Plain {
        return vec![(None, line)];
    }
    let mut rest = line;
    if let Some(quote) = *open {
        match rest.find(quote) {
            Some(end) => {
                let (inside, after) = rest.split_at(end + quote.len());
                parts.push((Some(Kind::Text), inside));
                rest = after;
                *open = None;
            }
            None => return vec![(Some(Kind::Text), line)],
        }
    }
    let mut begins = true;
    while let Some(char) = rest.chars().next() {
        let before = line.len() - rest.len();
        let after_blank = line[..before]
            .chars()
            .next_back()
            .is_none_or(char::is_whitespace);
        let (kind, length) = if language
            .comment()
            .is_some_and(|sign| rest.starts_with(sign))
            && (after_blank || matches!(language, Language::Rust | Language::Python))
        {
            (Some(Kind::Comment), rest.len())
        } else if language == Language::Python
            && (rest.starts_with("\"\"\"") || rest.starts_with("'''"))
        {
            let quote = if char == '"' { "\"\"\"" } else { "'''" };
            match rest[3..].find(quote) {
                Some(end) => (Some(Kind::Text), end + 6),
                None => {
                    *open = Some(quote);
                    (Some(Kind::Text), rest.len())
                }
            }
        } else if char == '"'
            || (char == '\'' && !matches!(language, Language::Rust | Language::Json))
        {
            (Some(Kind::Text), quoted(rest, char))
        } else if char.is_alphanumeric() || char == '_' {
            let end = rest
                .find(|char: char| {
                    !(char.is_alphanumeric()
                        || char == '_'
                        || (language == Language::Yaml && "-./".contains(char)))
                })
                .unwrap_or(rest.len());
            let word = &rest[..end];
            let key = language == Language::Yaml && begins && rest[end..].starts_with(':');
            let keyword = language.keywords().iter().any(|keyword| {
                if language == Language::Docker {
                    begins && keyword.eq_ignore_ascii_case(word) || *keyword == word
                } else {
                    *keyword == word
                }
            });
            begins = false;
            (
                if key {
                    Some(Kind::Key)
                } else {
                    keyword.then_some(Kind::Keyword)
                },
                end,
            )
        } else {
            begins &= char.is_whitespace() || char == '-';
            (None, char.len_utf8())
        };
        let (part, after) = rest.split_at(length);
        match parts.last_mut() {
            // Neighbours of no kind are one text.
            Some((None, last)) if kind.is_none() => {
                let start = before - last.len();
                *last = &line[start..before + length];
            }
            _ => parts.push((kind, part)),
        }
        rest = after;
    }
    parts
}

/// The length of a quoted text, up to the line's end if it is not closed.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if char == '\\' {
            escaped = true;
        } else if char == quote {
            return at + char.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kinds(path: &str, line: &str) -> Vec<(Kind, String)> {
        let parts = parts(Language::of(path), line, &mut None);
        parts
            .into_iter()
            .filter_map(|(kind, part)| Some((kind?, part.to_owned())))
            .collect()
    }

    #[test]
    fn comments_strings_and_keywords_are_set_off() {
        assert_eq!(
            kinds("a/train.py", "def f(): return 'x # y'  # why"),
            [
                (Kind::Keyword, "def".to_owned()),
                (Kind::Keyword, "return".to_owned()),
                (Kind::Text, "'x # y'".to_owned()),
                (Kind::Comment, "# why".to_owned()),
            ]
        );
        assert_eq!(
            kinds("Dockerfile", "FROM python:3.11 # no")[0],
            (Kind::Keyword, "FROM".to_owned())
        );
        assert_eq!(
            kinds("e.yaml", "  - name: \"--lr\"   # it"),
            [
                (Kind::Key, "name".to_owned()),
                (Kind::Text, "\"--lr\"".to_owned()),
                (Kind::Comment, "# it".to_owned())
            ]
        );
    }

    #[test]
    fn a_text_over_several_lines_stays_one() {
        let mut open = None;
        parts(Language::Python, "x = \"\"\"one", &mut open);
        assert_eq!(
            parts(Language::Python, "def two", &mut open),
            [(Some(Kind::Text), "def two")]
        );
        assert_eq!(
            parts(Language::Python, "three\"\"\" + y", &mut open)[0],
            (Some(Kind::Text), "three\"\"\"")
        );
    }

    #[test]
    fn lines_are_numbered_and_a_part_says_so() {
        let listing = Listing {
            path: "x",
            lines: vec!["a", "\tb\u{7}"],
            first: 9,
            total: 30,
        };
        assert_eq!(
            listing.plain(),
            " 9 │ a\n10 │ \tb\u{fffd}\nlines 9 to 10 of 30"
        );
    }

    proptest! {
        #[test]
        fn no_character_is_lost(line in "[ a#/'\"\\\\:FROM가-]{0,30}", name in "(a.py|a.yaml|Dockerfile|a.sh|a.rs|a.json|a)") {
            let mut open = None;
            let text: String = parts(Language::of(&name), &line, &mut open).into_iter().map(|(_, part)| part).collect();
            prop_assert_eq!(text, line);
        }
    }
}
