//! Just enough of Rust's lexis to know where strings, comments, brackets and statements end.

/// A scanner that is fed text piece by piece (whole lines).
#[derive(Clone, Debug, Default)]
pub struct Scan {
    mode: Mode,
    open: Vec<char>,
    mismatch: bool,
    tail: String,
    first: String,
    top: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Code,
    Comment(u32),
    Text,
    RawText(usize),
}

impl Scan {
    /// Reads on.
    pub fn feed(&mut self, text: &str) {
        let chars: Vec<char> = text.chars().collect();
        let mut index = 0;
        while index < chars.len() {
            index = match self.mode {
                Mode::Code => self.code(&chars, index),
                Mode::Comment(depth) => self.comment(&chars, index, depth),
                Mode::Text => self.text(&chars, index),
                Mode::RawText(hashes) => self.raw(&chars, index, hashes),
            };
        }
    }

    /// Whether a new statement could begin here.
    pub fn at_statement(&self) -> bool {
        self.is_complete()
            && self
                .tail
                .chars()
                .next_back()
                .is_none_or(|c| c == ';' || c == '}')
    }

    /// Whether anything but blanks and comments was read.
    pub fn has_code(&self) -> bool {
        !self.tail.is_empty() || !self.open.is_empty() || self.mismatch
    }

    /// Whether no string, comment or bracket is open.
    pub fn is_complete(&self) -> bool {
        self.mode == Mode::Code && self.open.is_empty()
    }

    /// How many brackets are open.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether a closing bracket met no opening one.
    pub fn is_broken(&self) -> bool {
        self.mismatch
    }

    /// The last significant characters.
    pub fn tail(&self) -> &str {
        &self.tail
    }

    /// The first word of the statement that is open or was last.
    pub fn first_word(&self) -> &str {
        &self.first
    }

    fn code(&mut self, chars: &[char], index: usize) -> usize {
        let c = chars[index];
        let next = chars.get(index + 1).copied();
        match c {
            '/' if next == Some('/') => {
                return chars[index..]
                    .iter()
                    .position(|c| *c == '\n')
                    .map_or(chars.len(), |n| index + n);
            }
            '/' if next == Some('*') => {
                self.mode = Mode::Comment(1);
                return index + 2;
            }
            '"' => {
                self.mode = Mode::Text;
                self.token("\"");
            }
            '\'' => return self.quote(chars, index),
            '(' | '[' | '{' => {
                self.token(c.encode_utf8(&mut [0; 4]));
                self.open.push(c);
            }
            ')' | ']' | '}' => {
                let expected = match c {
                    ')' => '(',
                    ']' => '[',
                    _ => '{',
                };
                if self.open.last() == Some(&expected) {
                    self.open.pop();
                } else {
                    self.mismatch = true;
                }
                self.token(c.encode_utf8(&mut [0; 4]));
                self.top = self.open.is_empty() && c == '}';
            }
            _ if c.is_alphabetic() || c == '_' => return self.identifier(chars, index),
            _ if c.is_whitespace() => {}
            ';' => {
                self.token(";");
                self.top = self.open.is_empty();
            }
            _ => self.token(c.encode_utf8(&mut [0; 4])),
        }
        index + 1
    }

    fn identifier(&mut self, chars: &[char], start: usize) -> usize {
        let mut end = start;
        while end < chars.len() && (chars[end].is_alphanumeric() || chars[end] == '_') {
            end += 1;
        }
        let word: String = chars[start..end].iter().collect();
        if matches!(word.as_str(), "r" | "br" | "cr") {
            let hashes = chars[end..].iter().take_while(|c| **c == '#').count();
            if chars.get(end + hashes) == Some(&'"') {
                self.token("\"");
                self.mode = Mode::RawText(hashes);
                return end + hashes + 1;
            }
        }
        self.token(&word);
        end
    }

    /// A character, or a lifetime.
    fn quote(&mut self, chars: &[char], index: usize) -> usize {
        self.token("'");
        match (chars.get(index + 1), chars.get(index + 2)) {
            (Some('\\'), _) => {
                let close = chars[index + 2..].iter().skip(1).position(|c| *c == '\'');
                close.map_or(chars.len(), |n| index + 4 + n)
            }
            (Some(_), Some('\'')) => index + 3,
            _ => index + 1,
        }
    }

    fn comment(&mut self, chars: &[char], index: usize, depth: u32) -> usize {
        match (chars[index], chars.get(index + 1)) {
            ('*', Some('/')) => {
                self.mode = if depth == 1 {
                    Mode::Code
                } else {
                    Mode::Comment(depth - 1)
                };
                index + 2
            }
            ('/', Some('*')) => {
                self.mode = Mode::Comment(depth + 1);
                index + 2
            }
            _ => index + 1,
        }
    }

    fn text(&mut self, chars: &[char], index: usize) -> usize {
        match chars[index] {
            '\\' => index + 2,
            '"' => {
                self.mode = Mode::Code;
                index + 1
            }
            _ => index + 1,
        }
    }

    fn raw(&mut self, chars: &[char], index: usize, hashes: usize) -> usize {
        let closes = chars[index] == '"'
            && chars[index + 1..]
                .iter()
                .take(hashes)
                .filter(|c| **c == '#')
                .count()
                == hashes;
        if closes {
            self.mode = Mode::Code;
            index + 1 + hashes
        } else {
            index + 1
        }
    }

    fn token(&mut self, text: &str) {
        if self.tail.is_empty() || self.top {
            self.first = text.to_owned();
            self.top = false;
        }
        self.tail.push_str(text);
        // Only the end matters; keep it short however long the cell is.
        if self.tail.len() > 64 {
            let cut = self.tail.len() - 16;
            let cut = (cut..self.tail.len())
                .find(|at| self.tail.is_char_boundary(*at))
                .unwrap_or(0);
            self.tail.drain(..cut);
        }
    }
}

/// Whether code ends in an expression, whose value a notebook shows.
pub fn ends_in_value(code: &str) -> bool {
    let mut scan = Scan::default();
    scan.feed(code);
    scan.is_complete() && scan.has_code() && !scan.tail().ends_with(';')
}
