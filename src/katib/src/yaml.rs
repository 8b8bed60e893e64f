//! Reading YAML that a person wrote: safely, and with the place of every value.

mod escape;
mod places;

pub use escape::{EscapedDollar, escaped_dollars, without_escaped_dollars};

use crate::path::FieldPath;
use places::places;
use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};
use std::collections::HashMap;
use std::ops::Range;

/// The largest text that is read (the API server takes no larger object either).
pub const MAX_BYTES: usize = 3 << 20;

/// Why a text is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// The text is not YAML, repeats a key, or is built to explode.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What the parser says.
        message: String,
        /// Which of the three.
        kind: SyntaxKind,
    },
    /// A backslash before a dollar sign in double quotes, left over from a shell script.
    #[error(
        "line {line}, column {column}: \\$ is no escape in a double-quoted YAML string; write $ alone"
    )]
    EscapedDollar {
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// The text is too long.
    #[error("the text has {size} bytes; at most {MAX_BYTES} are read")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// There is no document in the text.
    #[error("the text is empty")]
    Empty,
    /// There is more than one document in the text.
    #[error("line {line}: a second document begins here; one Experiment a file is wanted")]
    SeveralDocuments {
        /// Line, from 1.
        line: usize,
    },
}

/// What kind of syntax error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyntaxKind {
    /// Not YAML.
    Malformed,
    /// A key stands twice in one mapping.
    DuplicateKey,
    /// Too many nodes, aliases or levels.
    Budget,
}

impl YamlError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Syntax {
                    kind: SyntaxKind::DuplicateKey,
                    ..
                } => "remove one of the two keys; which of them wins differs between tools",
                Self::Syntax {
                    kind: SyntaxKind::Budget,
                    ..
                } => "write the values out instead of repeating them by alias",
                Self::Syntax { message, .. } if message.contains("tab") => {
                    "replace the tabs by spaces: YAML indents with spaces alone"
                }
                Self::Syntax { .. } => "check indentation, quotes and colons near that line",
                Self::EscapedDollar { .. } => {
                    "remove the backslash: `:experiment render` does it for the whole file"
                }
                Self::TooLarge { .. } => {
                    "an Experiment is a few kilobytes: is this the right file?"
                }
                Self::Empty => "the file must hold one Experiment",
                Self::SeveralDocuments { .. } => "split the file at its `---` lines",
            }
            .to_owned(),
        )
    }

    /// Line and column, where there is one.
    pub fn position(&self) -> Option<(usize, usize)> {
        match self {
            Self::Syntax { line, column, .. } | Self::EscapedDollar { line, column } => {
                Some((*line, *column))
            }
            Self::SeveralDocuments { line } => Some((*line, 1)),
            Self::TooLarge { .. } | Self::Empty => None,
        }
    }
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Bare.
    Plain,
    /// In single quotes.
    SingleQuoted,
    /// In double quotes.
    DoubleQuoted,
    /// As a block (`|` or `>`).
    Block,
    /// A mapping or a list.
    Collection,
    /// A reference to an anchor.
    Alias,
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes of the value.
    pub value: Range<usize>,
    /// Bytes of its key, for values in a mapping.
    pub key: Option<Range<usize>>,
    /// How it is written.
    pub style: Style,
}

impl Place {
    /// The byte to point at: the key's first, else the value's.
    pub fn start(&self) -> usize {
        self.key.as_ref().unwrap_or(&self.value).start
    }
}

/// A document that was read.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its value.
    pub value: Value,
    places: HashMap<FieldPath, Place>,
}

impl Document {
    /// Where a field stands, if it is written down there (fields behind an alias are not).
    pub fn place(&self, path: &FieldPath) -> Option<&Place> {
        self.places.get(path)
    }

    /// Where a field stands or would stand: its own place, else that of the nearest field
    /// above it.
    pub fn nearest(&self, path: &FieldPath) -> Option<(&Place, bool)> {
        if let Some(place) = self.places.get(path) {
            return Some((place, true));
        }
        let mut above = path.parent();
        while let Some(path) = above {
            if let Some(place) = self.places.get(&path) {
                return Some((place, false));
            }
            above = path.parent();
        }
        None
    }

    /// Every place, in no order.
    pub fn places(&self) -> impl Iterator<Item = (&FieldPath, &Place)> {
        self.places.iter()
    }
}

/// Line and column (in characters), both from 1, of a byte.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}

/// Reads one document with the places of its values.
///
/// # Errors
/// See [`YamlError`].
pub fn read(text: &str) -> Result<Document, YamlError> {
    let value = parse(text)?;
    Ok(Document {
        value,
        places: places(text),
    })
}

/// Reads one document.
///
/// # Errors
/// See [`YamlError`].
pub fn parse(text: &str) -> Result<Value, YamlError> {
    if text.len() > MAX_BYTES {
        return Err(YamlError::TooLarge { size: text.len() });
    }
    if let Some(offset) = escaped_dollars(text)
        .into_iter()
        .find(|escape| escape.in_double_quotes)
        .map(|escape| escape.offset)
    {
        let (line, column) = line_column(text, offset);
        return Err(YamlError::EscapedDollar { line, column });
    }
    if let Some(offset) = second_document(text) {
        let (line, _) = line_column(text, offset);
        return Err(YamlError::SeveralDocuments { line });
    }
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_nodes: 20_000,
            max_depth: 64,
            max_documents: 2,
        },
    };
    // Documents that hold nothing are skipped.
    let values: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| syntax(text, &error))?;
    match values.into_iter().next() {
        Some(value) if !value.is_null() => Ok(value),
        _ => Err(YamlError::Empty),
    }
}

fn syntax(text: &str, error: &serde_saphyr::Error) -> YamlError {
    let message = error.without_snippet().to_string();
    let message = message.lines().next().unwrap_or_default().trim();
    let lower = message.to_lowercase();
    let kind = if lower.contains("duplicate") {
        SyntaxKind::DuplicateKey
    } else if lower.contains("budget") || lower.contains("limit") {
        SyntaxKind::Budget
    } else {
        SyntaxKind::Malformed
    };
    let lines = text.lines().count().max(1);
    let (line, column) = error.location().map_or((1, 1), |location| {
        (location.line() as usize, location.column() as usize)
    });
    YamlError::Syntax {
        line: line.clamp(1, lines),
        column: column.max(1),
        message: match kind {
            // The parser's own words name its settings, which a reader of the message has none of.
            SyntaxKind::DuplicateKey => {
                without_position(message.split(", set ").next().unwrap_or(message))
            }
            SyntaxKind::Budget => {
                "too many values come out of its aliases, or it nests too deep".to_owned()
            }
            SyntaxKind::Malformed => without_position(message),
        },
        kind,
    }
}

/// The parser ends its sentence with the place, which is told separately.
fn without_position(message: &str) -> String {
    let end = [" at line ", " (line ", " at byte "]
        .iter()
        .filter_map(|mark| message.rfind(mark))
        .min()
        .unwrap_or(message.len());
    let start = message
        .strip_prefix("error: line ")
        .and_then(|rest| rest.split_once(": "))
        .map(|(_, sentence)| message.len() - sentence.len())
        .unwrap_or(0);
    if start < end {
        message[start..end].to_owned()
    } else {
        message.to_owned()
    }
}

fn second_document(text: &str) -> Option<usize> {
    let mut documents = 0;
    let mut start = 0;
    let mut filled = false;
    for item in Parser::new_from_str(text).take(200_000) {
        let (event, span) = item.ok()?;
        match event {
            Event::DocumentStart(..) => {
                start = span.start.byte_offset().unwrap_or_default();
                filled = false;
            }
            // An empty document holds a null that takes no room in the text.
            Event::Scalar(_, ScalarStyle::Plain, ..) if span.is_empty() => {}
            Event::Scalar(..)
            | Event::Alias(_)
            | Event::SequenceStart(..)
            | Event::MappingStart(..)
                if !filled =>
            {
                filled = true;
                documents += 1;
                if documents == 2 {
                    return Some(start);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TEXT: &str = "a: 1\nb:\n  - name: \"x\"\n    deep.er: {k: v}\n  - 'two' # note\n";

    fn at(text: &str, path: &FieldPath) -> (usize, usize, String) {
        let document = read(text).unwrap();
        let place = document.place(path).unwrap();
        let (line, column) = line_column(text, place.value.start);
        (line, column, text[place.value.clone()].to_owned())
    }

    #[test]
    fn every_value_has_its_place() {
        assert_eq!(read(TEXT).unwrap().value["b"][0]["name"], json!("x"));
        assert_eq!(at(TEXT, &FieldPath::parse("a")), (1, 4, "1".into()));
        assert_eq!(
            at(TEXT, &FieldPath::parse("b[0].name")),
            (3, 11, "\"x\"".into())
        );
        let deep = FieldPath::parse("b[0]").key("deep.er").key("k");
        assert_eq!(at(TEXT, &deep), (4, 18, "v".into()));
        assert_eq!(at(TEXT, &FieldPath::parse("b[1]")), (5, 5, "'two'".into()));
    }

    #[test]
    fn duplicate_keys_are_an_error_with_a_place() {
        let error = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert!(
            matches!(
                error,
                YamlError::Syntax {
                    line: 3,
                    kind: SyntaxKind::DuplicateKey,
                    ..
                }
            ),
            "{error:?}"
        );
        assert!(!error.to_string().contains("Options"), "{error}");
    }

    #[test]
    fn a_tab_is_answered_with_how_to_mend_it() {
        let error = parse("a:\n\tb: 1\n").unwrap_err();
        assert!(error.hint().unwrap().contains("spaces"), "{error}");
    }

    #[test]
    fn an_alias_bomb_is_refused_soon() {
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..10 {
            let before = format!("*a{},", level - 1).repeat(10);
            bomb.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                before.trim_end_matches(',')
            ));
        }
        let error = parse(&bomb).unwrap_err();
        assert!(
            matches!(
                error,
                YamlError::Syntax {
                    kind: SyntaxKind::Budget,
                    ..
                }
            ),
            "{error:?}"
        );
    }

    #[test]
    fn a_backslash_before_a_dollar_is_named_with_its_place() {
        let text = "# \\$ in a comment\na: \"x=\\${y}\"\nb: x=\\${y}\nc: \"\\\\${z}\"\n";
        assert_eq!(
            parse(text).unwrap_err(),
            YamlError::EscapedDollar { line: 2, column: 7 }
        );
        let found = escaped_dollars(text);
        assert_eq!(
            found.iter().map(|e| e.in_double_quotes).collect::<Vec<_>>(),
            [true, false]
        );
        assert_eq!(
            parse(&without_escaped_dollars(text)).unwrap(),
            json!({"a": "x=${y}", "b": "x=${y}", "c": "\\${z}"})
        );
    }

    #[test]
    fn one_document_is_wanted() {
        assert_eq!(parse("# nothing\n"), Err(YamlError::Empty));
        assert_eq!(
            parse("---\na: 1\n---\n# nothing more\n"),
            Ok(json!({"a": 1}))
        );
        assert_eq!(
            parse("a: 1\n---\nb: 2\n"),
            Err(YamlError::SeveralDocuments { line: 2 })
        );
        assert!(matches!(
            parse(&" ".repeat(MAX_BYTES + 1)),
            Err(YamlError::TooLarge { .. })
        ));
    }

    #[test]
    fn kubernetes_reads_octal_numbers_and_old_booleans() {
        assert_eq!(
            parse("a: 0755\nb: yes\nc: 12:30\nd: \"0755\"\n").unwrap(),
            json!({"a": 493, "b": true, "c": "12:30", "d": "0755"})
        );
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([-:#&*!|>'\"%@`{}\\[\\], \n\\\\$a-c0-9é]|- |: |a: |\\\\\\$\\{x\\}){0,40}") {
            if let Ok(document) = read(&text) {
                for (_, place) in document.places() {
                    proptest::prop_assert!(text.get(place.value.clone()).is_some());
                }
            }
            let _ = without_escaped_dollars(&text);
        }
    }
}
