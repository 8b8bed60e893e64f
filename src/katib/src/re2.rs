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
        whole: pattern,
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
        open: 0,
        is_empty: true,
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
    whole: &'p str,
    rest: &'p str,
    out: String,
    /// Groups that are not closed yet.
    open: usize,
    /// Whether there is nothing yet that could be repeated, in this branch of this group.
    is_empty: bool,
}

impl<'p> Reader<'p> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// What has been read since a place.
    fn since(&self, start: &'p str) -> &'p str {
        &start[..start.len() - self.rest.len()]
    }

    fn literal(&mut self, c: char) {
        let mut buffer = [0; 4];
        self.out
            .push_str(&regex::escape(c.encode_utf8(&mut buffer)));
    }

    fn sequence(&mut self) -> Result<(), PatternError> {
        // Where the repetition of the piece before begins, if it has one.
        let mut repeated: Option<&str> = None;
        while let Some(c) = self.rest.chars().next() {
            let start = self.rest;
            let count = match c {
                '*' | '+' | '?' => Some(1),
                '{' => match repetition(start) {
                    Some((length, is_valid)) => {
                        if !is_valid {
                            return refuse("invalid repeat count", &start[..length]);
                        }
                        Some(length)
                    }
                    None => None,
                },
                _ => None,
            };
            if let Some(length) = count {
                self.rest = &start[length..];
                self.out.push_str(&start[..length]);
                self.lazy();
                if let Some(first) = repeated {
                    return refuse("invalid nested repetition operator", self.since(first));
                }
                if self.is_empty {
                    return refuse("missing argument to repetition operator", self.since(start));
                }
                repeated = Some(start);
                continue;
            }
            repeated = None;
            match c {
                '(' => {
                    self.group()?;
                    continue;
                }
                '[' => self.class()?,
                '\\' => self.escape()?,
                '|' => {
                    self.next();
                    self.out.push(c);
                    self.is_empty = true;
                    continue;
                }
                ')' => {
                    if self.open == 0 {
                        return refuse("unexpected )", self.whole);
                    }
                    self.open -= 1;
                    self.next();
                    self.out.push(c);
                }
                '^' | '$' | '.' => {
                    self.next();
                    self.out.push(c);
                }
                _ => {
                    self.next();
                    self.literal(c);
                }
            }
            self.is_empty = false;
        }
        if self.open > 0 {
            return refuse("missing closing )", self.whole);
        }
        Ok(())
    }

    fn lazy(&mut self) {
        if self.rest.starts_with('?') {
            self.next();
            self.out.push('?');
        }
    }

    /// The beginning of a group, or flags for what follows.
    fn group(&mut self) -> Result<(), PatternError> {
        let start = self.rest;
        let Some(inside) = start.strip_prefix("(?") else {
            self.next();
            self.open("(");
            return Ok(());
        };
        let named = inside.strip_prefix("P<");
        if let Some(named) =
            named.or_else(|| inside.strip_prefix('<').filter(|_| !lookbehind(inside)))
        {
            let Some(end) = named.find('>') else {
                return refuse("invalid named capture", start);
            };
            let name = &named[..end];
            self.rest = &named[end + 1..];
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return refuse("invalid named capture", self.since(start));
            }
            // Katib counts groups; and Go takes a name twice, which Rust does not.
            self.open("(");
            return Ok(());
        }
        self.rest = inside;
        let (mut is_negated, mut has_flag) = (false, false);
        while let Some(c) = self.next() {
            match c {
                'i' | 'm' | 's' | 'U' => has_flag = true,
                '-' if !is_negated => (is_negated, has_flag) = (true, false),
                ':' | ')' if has_flag || !is_negated => {
                    let flags = self.since(start);
                    match c {
                        ':' => self.open(flags),
                        // Rust has no flags that are none.
                        _ if flags == "(?)" => {}
                        _ => self.out.push_str(flags),
                    }
                    return Ok(());
                }
                _ => break,
            }
        }
        refuse("invalid or unsupported Perl syntax", self.since(start))
    }

    fn open(&mut self, group: &str) {
        self.out.push_str(group);
        self.open += 1;
        self.is_empty = true;
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
        self.rest = &self.rest[length..];
        let is_known = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && Regex::new(&format!("\\p{{{name}}}")).is_ok();
        if !is_known {
            return refuse("invalid character class range", self.since(start));
        }
        self.out
            .push_str(if negated != caret { "\\P{" } else { "\\p{" });
        self.out.push_str(name);
        self.out.push('}');
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
            'x' => match self.hexadecimal() {
                Some(value) => value,
                None => return refuse("invalid escape sequence", self.since(start)),
            },
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
            c => return refuse("invalid escape sequence", piece(1 + c.len_utf8())),
        };
        Ok(c)
    }

    /// `41` or `{41}`; reads as far as what is wrong.
    fn hexadecimal(&mut self) -> Option<char> {
        if !self.rest.starts_with('{') {
            let high = self.next()?.to_digit(16);
            let low = self.next()?.to_digit(16);
            return char::from_u32(high? * 16 + low?);
        }
        self.next();
        let mut value = None;
        loop {
            let c = self.next()?;
            if c == '}' {
                return char::from_u32(value?);
            }
            let all = value.unwrap_or(0) * 16 + c.to_digit(16)?;
            value = Some(all).filter(|all| *all <= u32::from(char::MAX));
            value?;
        }
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
            if let Some(inside) = self.rest.strip_prefix("[:")
                && let Some(end) = inside.find(":]")
            {
                let word = &inside[..end];
                let word = word.strip_prefix('^').unwrap_or(word);
                let name = &self.rest[..end + 4];
                if !POSIX.contains(&word) {
                    return refuse("invalid character class range", name);
                }
                self.out.push_str(name);
                self.rest = &self.rest[name.len()..];
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
                    return refuse("invalid character class range", self.since(range));
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

/// Length of `{n}`, `{n,}` or `{n,m}`, and whether it may be as large. What is none of these means itself.
fn repetition(text: &str) -> Option<(usize, bool)> {
    let end = text.find('}')?;
    let (low, high) = match text[1..end].split_once(',') {
        Some((low, high)) => (low, Some(high)),
        None => (&text[1..end], None),
    };
    let number = |digits: &str| {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let leads = digits.len() > 1 && digits.starts_with('0');
        (plain && !leads).then(|| digits.parse().unwrap_or(usize::MAX))
    };
    let low = number(low)?;
    let high = match high {
        None | Some("") => low,
        Some(digits) => number(digits)?,
    };
    Some((end + 1, low <= high && high <= 1000))
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

    /// What Go's regexp said of a pattern, and found in a text (`FindAllStringSubmatch`).
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Recorded {
        pattern: String,
        #[serde(default)]
        error: Option<String>,
        #[serde(default)]
        text: String,
        #[serde(default)]
        found: Vec<Vec<String>>,
    }

    /// Patterns made at random, half of them wrong, from Go 1.19. Otherwise than Go, known and left out: a group
    /// that is repeated zero times is no group; a repetition in a repetition may go beyond 1,000; scripts have their
    /// short names too; and `(?<name>` is taken, as by Go since 1.22.
    #[test]
    fn patterns_are_read_and_match_as_recorded_from_go() {
        let cases: Vec<Recorded> = serde_json::from_str(include_str!("re2/go.json")).unwrap();
        let mut wrong = Vec::new();
        for case in &cases {
            let pattern = &case.pattern;
            match (compile(pattern), &case.error) {
                (Err(error), Some(said)) if error.to_string() == *said => {}
                (Err(error), said) => wrong.push(format!("{pattern:?}: {error}, Go: {said:?}")),
                (Ok(_), Some(said)) => wrong.push(format!("{pattern:?}: taken, Go: {said}")),
                (Ok(regex), None) => {
                    let group = |group: Option<regex::Match>| {
                        group.map_or("", |group| group.as_str()).to_owned()
                    };
                    let found: Vec<Vec<String>> = regex
                        .captures_iter(&case.text)
                        .map(|captures| captures.iter().map(group).collect())
                        .collect();
                    if found != case.found {
                        let (text, go) = (&case.text, &case.found);
                        wrong.push(format!("{pattern:?} in {text:?}: {found:?}, Go: {go:?}"));
                    }
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "{} of {}:\n{}",
            wrong.len(),
            cases.len(),
            wrong.join("\n")
        );
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
            "error parsing regexp: invalid nested repetition operator: `**`"
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
