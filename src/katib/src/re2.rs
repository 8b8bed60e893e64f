//! Regular expressions as Go reads them (RE2 syntax), run by Rust's engine.
//!
//! The two differ where it hurts: Katib's filters, the lab's own among them, use a bare `{`
//! (Rust wants it escaped), `[a&&b]` (Rust computes an intersection), and `\w`, `\d`, `\s`
//! (ASCII in Go, all of Unicode in Rust). A pattern is read piece by piece and written down
//! again so that both mean the same.

use regex::{Regex, RegexBuilder};

/// Why a pattern can't be used; the words are Go's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct PatternError(String);

impl PatternError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some("the pattern must follow Go's RE2 syntax; two groups are needed, the metric's name and its value".to_owned())
    }
}

/// Compiles a pattern of Go's.
///
/// # Errors
/// When Go would refuse it, or when it is too large.
pub fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated)
        .size_limit(4 << 20)
        .nest_limit(200)
        .build()
        .map_err(|error| PatternError(last_line(&error.to_string())))
}

/// Writes a pattern of Go's in Rust's syntax.
///
/// # Errors
/// When the pattern uses something Go does not know.
pub fn translate(pattern: &str) -> Result<String, PatternError> {
    let mut reader = Reader {
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
    };
    reader.sequence()?;
    Ok(reader.out)
}

fn last_line(text: &str) -> String {
    text.lines()
        .last()
        .unwrap_or(text)
        .trim_start_matches("error: ")
        .to_owned()
}

fn refuse<T>(what: &str, piece: &str) -> Result<T, PatternError> {
    Err(PatternError(format!("{what}: `{piece}`")))
}

struct Reader<'p> {
    rest: &'p str,
    out: String,
}

impl<'p> Reader<'p> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn literal(&mut self, c: char) {
        let mut buffer = [0; 4];
        self.out
            .push_str(&regex::escape(c.encode_utf8(&mut buffer)));
    }

    fn sequence(&mut self) -> Result<(), PatternError> {
        // Whether the piece before can be repeated, and whether it already is.
        let mut repeated = false;
        while let Some(c) = self.rest.chars().next() {
            let start = self.rest;
            match c {
                '*' | '+' | '?' => {
                    if repeated {
                        return refuse("invalid nested repetition operator", &start[..1]);
                    }
                    self.next();
                    self.out.push(c);
                    self.lazy();
                    repeated = true;
                    continue;
                }
                '{' => match repetition(self.rest) {
                    Some((length, most)) => {
                        let piece = &start[..length];
                        if repeated {
                            return refuse("invalid nested repetition operator", piece);
                        }
                        if most > 1000 {
                            return refuse("invalid repeat count", piece);
                        }
                        self.out.push_str(piece);
                        self.rest = &self.rest[length..];
                        self.lazy();
                        repeated = true;
                        continue;
                    }
                    None => {
                        self.next();
                        self.literal('{');
                    }
                },
                '(' => self.group()?,
                '[' => self.class()?,
                '\\' => self.escape()?,
                '|' | ')' | '^' | '$' | '.' => {
                    self.next();
                    self.out.push(c);
                }
                _ => {
                    self.next();
                    self.literal(c);
                }
            }
            repeated = false;
        }
        Ok(())
    }

    fn lazy(&mut self) {
        if self.rest.starts_with('?') {
            self.next();
            self.out.push('?');
        }
    }

    fn group(&mut self) -> Result<(), PatternError> {
        let Some(inside) = self.rest.strip_prefix("(?") else {
            self.next();
            self.out.push('(');
            return Ok(());
        };
        if inside.starts_with("P<") || inside.starts_with('<') && !lookbehind(inside) {
            let Some(end) = inside.find('>') else {
                return refuse("invalid named capture", self.rest);
            };
            let name = inside[..end]
                .trim_start_matches("P<")
                .trim_start_matches('<');
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return refuse("invalid named capture", &self.rest[..end + 3]);
            }
            self.out.push_str("(?P<");
            // Rust wants a letter first; Katib only counts groups.
            if name.starts_with(|c: char| c.is_ascii_digit()) {
                self.out.push('_');
            }
            self.out.push_str(name);
            self.out.push('>');
            self.rest = &inside[end + 1..];
            return Ok(());
        }
        let Some(end) = inside.find([':', ')']) else {
            return refuse("missing closing )", self.rest);
        };
        let flags = &inside[..end];
        let known = flags.bytes().all(|b| b"imsU-".contains(&b)) && flags.matches('-').count() < 2;
        if !known || flags.ends_with('-') {
            return refuse(
                "invalid or unsupported Perl syntax",
                &self.rest[..(end + 3).min(self.rest.len()).min(4)],
            );
        }
        self.out.push_str("(?");
        self.out.push_str(flags);
        self.out.push_str(&inside[end..=end]);
        self.rest = &inside[end + 1..];
        Ok(())
    }

    /// An escape outside a class.
    fn escape(&mut self) -> Result<(), PatternError> {
        let start = self.rest;
        self.next();
        let Some(c) = self.rest.chars().next() else {
            return refuse("trailing backslash at end of expression", "");
        };
        if let Some(class) = perl_class(c) {
            self.next();
            self.out
                .push_str(if c.is_ascii_uppercase() { "[^" } else { "[" });
            self.out.push_str(class);
            self.out.push(']');
            return Ok(());
        }
        match c {
            'A' | 'z' => {
                self.next();
                self.out.push('\\');
                self.out.push(c);
            }
            'b' | 'B' => {
                self.next();
                self.out.push_str("(?-u:\\");
                self.out.push(c);
                self.out.push(')');
            }
            'Q' => {
                self.next();
                let (quoted, after) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                for quoted in quoted.chars() {
                    self.literal(quoted);
                }
                self.rest = after;
            }
            'p' | 'P' => self.unicode_class(start)?,
            _ => {
                let c = self.escaped_char(start)?;
                self.literal(c);
            }
        }
        Ok(())
    }

    /// `\pL`, `\p{Greek}`, `\P{^Greek}`; stands before the `p`.
    fn unicode_class(&mut self, start: &'p str) -> Result<(), PatternError> {
        let negated = self.next() == Some('P');
        let (name, length) = match self.rest.strip_prefix('{') {
            Some(inside) => match inside.find('}') {
                Some(end) => (&inside[..end], end + 2),
                None => return refuse("invalid character class range", start),
            },
            None => {
                let length = self.rest.chars().next().map_or(0, char::len_utf8);
                (&self.rest[..length], length)
            }
        };
        let (name, caret) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (name, false),
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return refuse("invalid character class range", start);
        }
        self.out
            .push_str(if negated != caret { "\\P{" } else { "\\p{" });
        self.out.push_str(name);
        self.out.push('}');
        self.rest = &self.rest[length..];
        Ok(())
    }

    /// One escaped character; stands after the backslash.
    fn escaped_char(&mut self, start: &'p str) -> Result<char, PatternError> {
        let piece = |length: usize| start.get(..length).unwrap_or(start);
        let Some(c) = self.next() else {
            return refuse("trailing backslash at end of expression", "");
        };
        let c = match c {
            'a' => '\x07',
            'f' => '\x0c',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            'v' => '\x0b',
            '0'..='7' => {
                // A single 1 to 7 would be a back-reference, which neither engine has.
                let mut value = c.to_digit(8).unwrap_or_default();
                let mut digits = 1;
                while digits < 3
                    && let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8))
                {
                    self.next();
                    value = value * 8 + digit;
                    digits += 1;
                }
                if c != '0' && digits == 1 {
                    return refuse("invalid escape sequence", piece(2));
                }
                char::from_u32(value).unwrap_or_default()
            }
            'x' => {
                let (digits, length) = match self.rest.strip_prefix('{') {
                    Some(inside) => match inside.find('}') {
                        Some(end) => (&inside[..end], end + 2),
                        None => return refuse("invalid escape sequence", start),
                    },
                    None => (self.rest.get(..2).unwrap_or_default(), 2),
                };
                let value = u32::from_str_radix(digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                let Some(value) = value else {
                    return refuse("invalid escape sequence", piece(2 + length));
                };
                self.rest = &self.rest[length..];
                value
            }
            c if c.is_ascii_punctuation() => c,
            c if !c.is_ascii() => {
                return refuse("invalid escape sequence", piece(1 + c.len_utf8()));
            }
            _ => return refuse("invalid escape sequence", piece(2)),
        };
        Ok(c)
    }

    fn class(&mut self) -> Result<(), PatternError> {
        let start = self.rest;
        self.next();
        self.out.push('[');
        if self.rest.starts_with('^') {
            self.next();
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let Some(c) = self.rest.chars().next() else {
                return refuse("missing closing ]", start);
            };
            if c == ']' && !first {
                self.next();
                self.out.push(']');
                return Ok(());
            }
            first = false;
            if self.rest.starts_with("[:")
                && let Some(end) = self.rest.find(":]")
            {
                let name = &self.rest[..end + 2];
                let word = name[2..end].trim_start_matches('^');
                if !POSIX.contains(&word) {
                    return refuse("invalid character class range", name);
                }
                self.out.push_str(name);
                self.rest = &self.rest[end + 2..];
                continue;
            }
            if c == '\\' {
                let next = self.rest[1..].chars().next();
                if let Some(next) = next
                    && let Some(class) = perl_class(next)
                {
                    self.rest = &self.rest[2..];
                    if next.is_ascii_uppercase() {
                        self.out.push_str("[^");
                        self.out.push_str(class);
                        self.out.push(']');
                    } else {
                        self.out.push_str(class);
                    }
                    continue;
                }
                if matches!(next, Some('p' | 'P')) {
                    let piece = self.rest;
                    self.next();
                    self.unicode_class(piece)?;
                    continue;
                }
            }
            let range = self.rest;
            let low = self.class_char(start)?;
            let mut high = low;
            // A minus before the closing bracket is itself.
            if let Some(after) = self.rest.strip_prefix('-')
                && !after.starts_with(']')
            {
                self.next();
                high = self.class_char(start)?;
                if high < low {
                    let length = range.len() - self.rest.len();
                    return refuse("invalid character class range", &range[..length]);
                }
            }
            self.class_literal(low);
            if high != low {
                self.out.push('-');
                self.class_literal(high);
            }
        }
    }

    fn class_char(&mut self, class: &'p str) -> Result<char, PatternError> {
        let start = self.rest;
        match self.next() {
            None => refuse("missing closing ]", class),
            Some('\\') => self.escaped_char(start),
            Some(c) => Ok(c),
        }
    }

    /// Everything that means something in one of Rust's classes is written by number.
    fn class_literal(&mut self, c: char) {
        if c.is_ascii_alphanumeric() || !c.is_ascii() {
            self.out.push(c);
        } else {
            self.out.push_str(&format!("\\x{:02X}", u32::from(c)));
        }
    }
}

const POSIX: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// The ASCII members of `\d`, `\s`, `\w` and their opposites.
fn perl_class(letter: char) -> Option<&'static str> {
    match letter {
        'd' | 'D' => Some("0-9"),
        's' | 'S' => Some(r"\t\n\x0C\r\x20"),
        'w' | 'W' => Some("0-9A-Za-z_"),
        _ => None,
    }
}

fn lookbehind(inside: &str) -> bool {
    inside.starts_with("<=") || inside.starts_with("<!")
}

/// Length and largest count of `{n}`, `{n,}` or `{n,m}`.
fn repetition(text: &str) -> Option<(usize, usize)> {
    let end = text.find('}')?;
    let (low, high) = match text[1..end].split_once(',') {
        Some((low, high)) => (low, Some(high)),
        None => (&text[1..end], None),
    };
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().unwrap_or(usize::MAX))
    };
    let low = number(low)?;
    let high = match high {
        None | Some("") => low,
        Some(digits) => number(digits)?,
    };
    Some((end + 1, low.max(high)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: &str = r"{metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?)}";

    #[test]
    fn the_labs_own_filter_matches_its_own_line() {
        let filter = compile(LAB).unwrap();
        let found = filter
            .captures("{metricName: accuracy, metricValue: 0.9533}")
            .unwrap();
        assert_eq!((&found[1], &found[2]), ("accuracy", "0.9533"));
    }

    #[test]
    fn katibs_default_filter_is_taken() {
        let filter = compile(crate::names::DEFAULT_FILTER).unwrap();
        let found = filter.captures("loss = 1e-05, x").unwrap();
        assert_eq!((&found[1], &found[2]), ("loss", "1e-05"));
    }

    #[test]
    fn classes_mean_what_go_means() {
        let set = compile("^[a&&b]+$").unwrap();
        assert!(set.is_match("a&b"));
        assert!(!compile(r"^\w$").unwrap().is_match("é"));
        assert!(!compile(r"^\d$").unwrap().is_match("٣"));
        assert!(compile(r"^[^\D]$").unwrap().is_match("3"));
        assert!(compile("^[]a]+$").unwrap().is_match("a]"));
        assert!(compile("^[[]+$").unwrap().is_match("[["));
        assert!(compile("^[!--]+$").unwrap().is_match("-!"));
        assert!(compile("[a--b]").is_err());
        assert!(compile(r"^\<x\>$").unwrap().is_match("<x>"));
        assert!(compile(r"^\Qa.b\E+$").unwrap().is_match("a.bb"));
        assert!(compile(r"^\pL$").unwrap().is_match("é"));
        assert!(compile("^x{,5}$").unwrap().is_match("x{,5}"));
        assert!(
            compile(r"^[[:alpha:]_]+\x{41}\101$")
                .unwrap()
                .is_match("a_AA")
        );
    }

    #[test]
    fn refusals_are_in_gos_words() {
        let words = |pattern: &str| compile(pattern).unwrap_err().to_string();
        assert_eq!(
            words("([a-z]+)=(["),
            "error parsing regexp: missing closing ]: `[`"
        );
        assert_eq!(
            words(r"\y"),
            r"error parsing regexp: invalid escape sequence: `\y`"
        );
        assert_eq!(
            words("a**"),
            "error parsing regexp: invalid nested repetition operator: `*`"
        );
        assert!(words("(?=x)").contains("unsupported Perl syntax"));
        assert!(compile("(a").is_err());
        assert!(compile("*").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_makes_it_panic(pattern in r"[\\\[\]{}()?*+|^$.,:a-zA-Z0-9<>=!&~é-]{0,24}") {
            let _ = compile(&pattern);
        }

        #[test]
        fn an_escaped_text_matches_itself(text in "[ -~]{1,20}") {
            let quoted = format!("^\\Q{text}\\E$");
            if !text.contains("\\E") && !text.ends_with('\\') {
                proptest::prop_assert!(compile(&quoted).unwrap().is_match(&text));
            }
        }
    }
}
