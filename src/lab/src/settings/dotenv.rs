//! Files of `NAME=VALUE` lines, as shells, Compose and many tools read them.
//!
//! Understood: empty lines, `#` comments, `export NAME=VALUE`, blanks around the equals sign, single
//! quotes (literal, may span lines), double quotes (`\n`, `\t`, `\"`, `\\`, `\$`; may span lines),
//! comments after a value, a byte order mark, and Windows line ends. Nothing is ever put into the
//! process's environment, and no value is ever part of an error.

use std::path::Path;

use secrecy::SecretString;

use super::{Error, is_name};

/// Reads a file of values.
///
/// # Errors
/// [`Error::Read`] when there is no such file, [`Error::Line`] for the first line that makes no sense.
pub fn read(path: &Path) -> Result<Vec<(String, SecretString)>, Error> {
    let content = std::fs::read(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    let at = |line, reason: &str| Error::Line {
        path: path.to_owned(),
        line,
        reason: reason.to_owned(),
    };
    let text = String::from_utf8(content).map_err(|error| {
        let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
            .iter()
            .filter(|b| **b == b'\n')
            .count();
        at(line, "this is not UTF-8 text")
    })?;
    parse(&text).map_err(|(line, reason)| Error::Line {
        path: path.to_owned(),
        line,
        reason,
    })
}

/// Reads values from text; an error is the line (from one) and what is wrong with it.
///
/// # Errors
/// The first line that makes no sense.
pub fn parse(text: &str) -> Result<Vec<(String, SecretString)>, (usize, String)> {
    let text = text
        .strip_prefix('\u{feff}')
        .unwrap_or(text)
        .replace("\r\n", "\n");
    let mut values = Vec::new();
    let mut rest = text.as_str();
    let mut line = 1;
    while !rest.is_empty() {
        let end = rest.find('\n').unwrap_or(rest.len());
        let current = &rest[..end];
        let trimmed = current.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = rest.get(end + 1..).unwrap_or_default();
            line += 1;
            continue;
        }
        let Some(equals) = current.find('=') else {
            return Err((line, "there is no `=` on this line".to_owned()));
        };
        let name = current[..equals].trim();
        let name = name
            .strip_prefix("export")
            .filter(|rest| rest.starts_with([' ', '\t']))
            .unwrap_or(name)
            .trim();
        if !is_name(name) {
            return Err((line, format!("{name:?} is not a name for a setting")));
        }
        let (value, used) = value(&rest[equals + 1..]).map_err(|reason| (line, reason))?;
        values.push((name.to_owned(), SecretString::from(value)));
        let used = equals + 1 + used;
        line += rest[..used].matches('\n').count() + 1;
        rest = rest.get(used + 1..).unwrap_or_default();
    }
    Ok(values)
}

/// The value at the start of a text, and how many bytes it takes up to the end of its last line.
fn value(text: &str) -> Result<(String, usize), String> {
    let start = text.len() - text.trim_start_matches([' ', '\t']).len();
    let body = &text[start..];
    let quote = body
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''));
    let Some(quote) = quote else {
        let end = text.find('\n').unwrap_or(text.len());
        let line = &text[..end];
        // A comment needs a blank before it, so that `pass#word` stays whole.
        let cut = line
            .char_indices()
            .find(|(at, char)| {
                *char == '#'
                    && line[..*at]
                        .chars()
                        .next_back()
                        .is_none_or(|before| before.is_whitespace())
            })
            .map_or(line.len(), |(at, _)| at);
        return Ok((line[..cut].trim().to_owned(), end));
    };
    let mut value = String::new();
    let mut chars = body.char_indices().skip(1);
    while let Some((at, char)) = chars.next() {
        if char == quote {
            let after = start + at + 1;
            let end = text[after..]
                .find('\n')
                .map_or(text.len(), |end| after + end);
            let tail = text[after..end].trim();
            if !tail.is_empty() && !tail.starts_with('#') {
                return Err("there is text after the closing quote".to_owned());
            }
            return Ok((value, end));
        }
        if char == '\\' && quote == '"' {
            match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, '\n')) => {}
                Some((_, other @ ('"' | '\\' | '$' | '`'))) => value.push(other),
                Some((_, other)) => value.extend(['\\', other]),
                None => break,
            }
        } else {
            value.push(char);
        }
    }
    Err(format!("the quote {quote} is never closed"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, (usize, String)> {
        Ok(parse(text)?
            .into_iter()
            .map(|(name, value)| (name, value.expose_secret().to_owned()))
            .collect())
    }

    #[track_caller]
    fn one(text: &str, value: &str) {
        assert_eq!(
            read(text),
            Ok(vec![("A".to_owned(), value.to_owned())]),
            "{text:?}"
        );
    }

    #[test]
    fn values_are_read_as_a_shell_would() {
        one("A=1", "1");
        one("export A=1\n", "1");
        one("  export\tA = 1  # one\n", "1");
        one("A=a b", "a b");
        one("A=", "");
        one("A=pass#word", "pass#word");
        one("A=x=y==", "x=y==");
        one("A='$x \\n # no'", "$x \\n # no");
        one(
            "A=\"two\\nlines \\$ \\\" \\q\" # end",
            "two\nlines $ \" \\q",
        );
        one("\u{feff}# head\r\n\r\nA=1\r\n", "1");
        one("A='one\ntwo'", "one\ntwo");
        one("A=값 # 주석", "값");
    }

    #[test]
    fn a_line_that_makes_no_sense_is_named_and_its_value_is_not() {
        assert_eq!(read("A=1\nB").unwrap_err().0, 2);
        assert_eq!(
            read("A='x\ny'\n\nB-C=hunter2").unwrap_err(),
            (4, "\"B-C\" is not a name for a setting".to_owned())
        );
        assert_eq!(
            read("A=\"hunter2\nB=2").unwrap_err(),
            (1, "the quote \" is never closed".to_owned())
        );
        assert_eq!(
            read("A='1' hunter2").unwrap_err(),
            (1, "there is text after the closing quote".to_owned())
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_a_panic(text in "[ \\t\\r\\n=#'\"\\\\A-C가]{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn any_value_survives_single_quotes(value in "[^'\\r]{0,40}") {
            proptest::prop_assert_eq!(read(&format!("A='{value}'\n")), Ok(vec![("A".to_owned(), value)]));
        }
    }
}
