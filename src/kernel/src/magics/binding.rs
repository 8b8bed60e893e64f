//! `MAGIC … => NAME`: what a magic found, as a variable of the Rust cells.

use serde_json::Value;

use super::{MagicError, find, line};

/// The sign between a magic and the variable.
const ARROW: &str = "=>";

/// The magics that give something to bind.
const GIVING: [&str; 1] = ["trials"];

/// Words that no variable can have for a name.
const KEYWORDS: [&str; 47] = [
    "as", "async", "await", "break", "const", "continue", "crate", "dyn", "else", "enum", "extern",
    "false", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut",
    "pub", "ref", "return", "self", "Self", "static", "struct", "super", "trait", "true", "type",
    "unsafe", "use", "where", "while", "abstract", "become", "box", "do", "final", "macro", "try",
    "yield",
];

/// What a magic gives to the Rust cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// As the crate `katlab` reads it.
    pub value: Value,
    /// What it is, for the person.
    pub words: String,
}

/// A line taken apart: the magic, and the variable that takes what it finds.
///
/// # Errors
/// When the name is no name, or the magic gives nothing.
pub fn split(text: &str) -> Result<(&str, Option<String>), MagicError> {
    let (words, _) = line::split_leniently(text);
    let raw: Vec<String> = words.iter().map(line::Word::raw).collect();
    let Some((entry, _)) = find(&raw) else {
        return Ok((text, None));
    };
    // A program may take such words of its own.
    if entry.name == "run" {
        return Ok((text, None));
    }
    // Quoted, it is a word like any other.
    let Some(at) = words
        .iter()
        .position(|word| &text[word.span.clone()] == ARROW)
    else {
        return Ok((text, None));
    };
    if !GIVING.contains(&entry.name) {
        let giving: Vec<String> = GIVING.iter().map(|name| format!("`:{name}`")).collect();
        return Err(MagicError::usage(format!(
            "`:{}` gives nothing that a variable could take",
            entry.name
        ))
        .hint(format!(
            "{} does: `:trials mnist => trials`",
            giving.join(", ")
        )));
    }
    let name = match &raw[at + 1..] {
        [name] => name,
        _ => {
            return Err(MagicError::usage(format!(
                "behind `{ARROW}` stands the name of one variable"
            ))
            .hint("write it such as `:trials mnist => trials`"));
        }
    };
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_')
        && name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name != "_"
        && !KEYWORDS.contains(&name.as_str());
    if !plain {
        return Err(
            MagicError::usage(format!("`{name}` cannot be the name of a Rust variable"))
                .hint("take letters, digits and underscores, and no word of the language"),
        );
    }
    Ok((text[..words[at].span.start].trim_end(), Some(name.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_the_one_word_behind_a_bare_arrow() {
        let split = |text: &str| split(text).map(|(line, name)| (line.to_owned(), name));
        for (text, line, name) in [
            (
                ":trials mnist --limit 3 => best",
                ":trials mnist --limit 3",
                Some("best"),
            ),
            (":trials mnist => 결과", ":trials mnist", Some("결과")),
            (
                ":trials mnist --where 'a => b'",
                ":trials mnist --where 'a => b'",
                None,
            ),
            (":trials '=>' x", ":trials '=>' x", None),
            (":run image sh => x", ":run image sh => x", None),
        ] {
            assert_eq!(
                split(text).unwrap(),
                (line.to_owned(), name.map(str::to_owned)),
                "{text}"
            );
        }
        for (text, said) in [
            (":images => x", "`:images` gives nothing"),
            (":trials mnist =>", "one variable"),
            (":trials mnist => a b", "one variable"),
            (":trials mnist => match", "`match` cannot"),
            (":trials mnist => 3x", "`3x` cannot"),
        ] {
            let error = split(text).unwrap_err();
            assert!(error.message.contains(said), "{text}: {error}");
        }
    }
}
