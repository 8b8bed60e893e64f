//! `.dockerignore` with Docker's own rules, which are not gitignore's.
//!
//! Patterns are anchored at the root of the context, `*` stays within one path component, `**`
//! crosses them, the last pattern that matches decides, `!` brings a path back, and what holds for
//! a directory holds for what is in it.

use std::path::Path;

/// One line of an ignore file, compiled.
#[derive(Clone, Debug)]
struct Pattern {
    tokens: Vec<Token>,
    text: String,
    exception: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Literal(char),
    /// `?`: one character of a component.
    One,
    /// `*`: any run within a component.
    Run,
    /// `**/`: any number of whole components, or none.
    Components,
    /// `**` at the end: everything.
    Everything,
    /// `[a-z]`.
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

/// An ignore file, compiled.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

/// A line that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the ignore file, `{text}`, is not a pattern: {why}")]
pub struct BadPattern {
    /// The line's number, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// What is wrong.
    pub why: &'static str,
}

/// What is known of a directory when its entries are asked about: which patterns it matched.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Whether the path is left out.
    pub ignored: bool,
    matched: Vec<bool>,
}

impl Ignore {
    /// Compiles the text of an ignore file.
    ///
    /// # Errors
    /// The first line that is not a pattern.
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate() {
            // A comment begins in the first column; an indented `#` is a file name.
            if line.starts_with('#') {
                continue;
            }
            let trimmed = line.trim();
            if trimmed.is_empty() {
                continue;
            }
            let bad = |why| BadPattern {
                line: index + 1,
                text: trimmed.to_owned(),
                why,
            };
            let (exception, body) = match trimmed.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, trimmed),
            };
            if body.is_empty() {
                return Err(bad("`!` alone brings nothing back"));
            }
            let cleaned = clean(body);
            patterns.push(Pattern {
                tokens: compile(&cleaned).map_err(bad)?,
                text: cleaned,
                exception,
            });
        }
        Ok(Self { patterns })
    }

    /// Judges one path below a directory that was judged before.
    ///
    /// The path is relative to the root of the context, with `/` between components.
    pub fn judge(&self, path: &str, parent: &Verdict) -> Verdict {
        let mut verdict = Verdict {
            ignored: false,
            matched: vec![false; self.patterns.len()],
        };
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut matched = parent.matched.get(index).copied().unwrap_or(false);
            if !matched {
                // A pattern that would not change the answer is not asked, and so does not
                // count for what is below either: that is how Docker does it.
                if pattern.exception != verdict.ignored {
                    continue;
                }
                matched = pattern.matches(path);
            }
            verdict.matched[index] = matched;
            if matched {
                verdict.ignored = !pattern.exception;
            }
        }
        verdict
    }

    /// Whether a path is left out, judged from the root down.
    pub fn ignores(&self, path: &str) -> bool {
        let mut verdict = Verdict::default();
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            verdict = self.judge(&path[..end], &verdict);
        }
        verdict.ignored
    }

    /// Whether an exception could bring back something below an ignored directory.
    pub fn may_except_below(&self, directory: &str) -> bool {
        self.patterns.iter().filter(|p| p.exception).any(|pattern| {
            let fixed = pattern
                .text
                .split(['*', '?', '[', '\\'])
                .next()
                .unwrap_or_default();
            if fixed.len() < pattern.text.len() {
                // Up to its first wildcard the exception must agree with the directory.
                let below = format!("{directory}/");
                below.starts_with(fixed) || fixed.starts_with(&below)
            } else {
                format!("{}/", pattern.text).starts_with(&format!("{directory}/"))
            }
        })
    }

    /// Whether there is nothing to leave out.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// How many patterns there are.
    pub fn len(&self) -> usize {
        self.patterns.len()
    }
}

/// The ignore file that holds for a Dockerfile: one named after it comes before `.dockerignore`.
pub fn file_for(context: &Path, dockerfile: &Path) -> Option<std::path::PathBuf> {
    let mut own = dockerfile.as_os_str().to_owned();
    own.push(".dockerignore");
    [std::path::PathBuf::from(own), context.join(".dockerignore")]
        .into_iter()
        .find(|path| path.is_file())
}

/// Removes `.`, empty and `..` components as Docker does before it compares.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let rooted = pattern.starts_with('/');
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.last().is_some_and(|last| *last != "..") {
                    parts.pop();
                } else if !rooted {
                    parts.push("..");
                }
            }
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

fn compile(pattern: &str) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                }
                let last = chars.peek().is_none();
                tokens.push(if last {
                    Token::Everything
                } else {
                    Token::Components
                });
            }
            '*' => tokens.push(Token::Run),
            '?' => tokens.push(Token::One),
            '\\' => tokens.push(Token::Literal(
                chars.next().ok_or("it ends in a lone backslash")?,
            )),
            '[' => tokens.push(class(&mut chars)?),
            c => tokens.push(Token::Literal(c)),
        }
    }
    Ok(tokens)
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const OPEN: &str = "its `[` has no matching `]`";
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let bound = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars
            .next()
            .ok_or(OPEN)?
        {
            '\\' => chars.next().ok_or(OPEN),
            '-' => Err("its `[…]` holds a range without a beginning"),
            c => Ok(c),
        };
        if chars.peek() == Some(&']') && !ranges.is_empty() {
            chars.next();
            return Ok(Token::Class { negated, ranges });
        }
        let low = bound(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() {
            bound(chars)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

impl Pattern {
    /// Fills a table from the end of the pattern backwards: linear in both, whatever the pattern.
    fn matches(&self, path: &str) -> bool {
        let chars: Vec<char> = path.chars().collect();
        let length = chars.len();
        // `rest[p]`: the tokens after this one match the path from `p` to its end.
        let mut rest = vec![false; length + 1];
        rest[length] = true;
        for (index, token) in self.tokens.iter().enumerate().rev() {
            let mut row = vec![false; length + 1];
            // `behind_slash[p]`: the rest matches right behind some slash at `p` or later.
            let mut behind_slash = vec![false; length + 1];
            for p in (0..length).rev() {
                behind_slash[p] = (chars[p] == '/' && rest[p + 1]) || behind_slash[p + 1];
            }
            for p in (0..=length).rev() {
                let here = chars.get(p).copied();
                let later = p < length && row[p + 1];
                let step = p < length && rest[p + 1];
                row[p] = match token {
                    Token::Literal(literal) => here == Some(*literal) && step,
                    Token::One => here.is_some_and(|c| c != '/') && step,
                    Token::Class { negated, ranges } => {
                        here.is_some_and(|c| {
                            c != '/'
                                && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c))
                                    != *negated
                        }) && step
                    }
                    Token::Run => rest[p] || (here.is_some_and(|c| c != '/') && later),
                    Token::Everything => true,
                    // Docker compares `**name` at the beginning as a mere ending, so that
                    // `**.pyc` means every such file.
                    Token::Components if index == 0 && self.is_ending() => rest[p] || later,
                    Token::Components => rest[p] || behind_slash[p],
                };
            }
            rest = row;
        }
        rest[0]
    }

    fn is_ending(&self) -> bool {
        !self.text.starts_with("**/")
            && self.tokens[1..]
                .iter()
                .all(|token| matches!(token, Token::Literal(_)))
    }
}

#[cfg(test)]
mod tests;
