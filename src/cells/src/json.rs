//! The few lines of JSON that the bridge speaks.
//!
//! A cell links everything it uses anew, so a crate for this would cost every notebook seconds.
//! The tests hold this module against `serde_json`.

use std::fmt::{self, Write as _};

use crate::Error;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number; integers beyond 2^53 lose digits.
    Number(f64),
    /// A string
    Text(String),
    /// An array
    Array(Vec<Json>),
    /// An object, in the order of the text
    Object(Vec<(String, Json)>),
}

/// Deeper nesting than any answer of the bridge has; a guard for the stack.
const MAX_DEPTH: usize = 64;

impl Json {
    /// Reads one JSON text.
    ///
    /// # Errors
    /// The text is not JSON or nests deeper than 64 levels; the message names the byte.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut reader = Reader {
            bytes: text.as_bytes(),
            position: 0,
        };
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.position == text.len() {
            Ok(value)
        } else {
            Err(reader.error("text after the value"))
        }
    }

    /// The member of an object, or `None` when there is none or this is no object.
    pub fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    /// The string in this value.
    ///
    /// # Errors
    /// It is no string.
    pub fn text(&self) -> Result<&str, Error> {
        match self {
            Json::Text(text) => Ok(text),
            other => Err(Error::unexpected("a string", other)),
        }
    }

    /// The number in this value, or `None`.
    pub fn number(&self) -> Option<f64> {
        match self {
            Json::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The elements of an array.
    ///
    /// # Errors
    /// It is no array.
    pub fn items(&self) -> Result<&[Json], Error> {
        match self {
            Json::Array(items) => Ok(items),
            other => Err(Error::unexpected("a list", other)),
        }
    }
}

/// Writes compact JSON.
impl fmt::Display for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => out.write_str("null"),
            Json::Bool(value) => write!(out, "{value}"),
            Json::Number(value) if value.is_finite() => write!(out, "{value}"),
            Json::Number(_) => out.write_str("null"),
            Json::Text(text) => write_text(out, text),
            Json::Array(items) => {
                out.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.write_char(',')?;
                    }
                    write!(out, "{item}")?;
                }
                out.write_char(']')
            }
            Json::Object(members) => {
                out.write_char('{')?;
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.write_char(',')?;
                    }
                    write_text(out, key)?;
                    write!(out, ":{value}")?;
                }
                out.write_char('}')
            }
        }
    }
}

fn write_text(out: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for character in text.chars() {
        match character {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            control if control < ' ' => write!(out, "\\u{:04x}", control as u32)?,
            other => out.write_char(other)?,
        }
    }
    out.write_char('"')
}

struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Reader<'_> {
    fn error(&self, what: &str) -> Error {
        Error::new(format!(
            "the kernel's answer is not JSON: {what} at byte {}",
            self.position
        ))
    }

    fn skip_space(&mut self) {
        while matches!(
            self.bytes.get(self.position),
            Some(b' ' | b'\t' | b'\n' | b'\r')
        ) {
            self.position += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.skip_space();
        let found = self.bytes.get(self.position) == Some(&byte);
        self.position += usize::from(found);
        found
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Error> {
        if self.bytes[self.position..].starts_with(word.as_bytes()) {
            self.position += word.len();
            Ok(value)
        } else {
            Err(self.error("an unknown word"))
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, Error> {
        if depth > MAX_DEPTH {
            return Err(self.error("too deep a nesting"));
        }
        self.skip_space();
        match self.bytes.get(self.position) {
            Some(b'n') => self.word("null", Json::Null),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'"') => self.text().map(Json::Text),
            Some(b'[') => self.array(depth),
            Some(b'{') => self.object(depth),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => Err(self.error("an unexpected character")),
            None => Err(self.error("an unexpected end")),
        }
    }

    fn number(&mut self) -> Result<Json, Error> {
        let start = self.position;
        while matches!(
            self.bytes.get(self.position),
            Some(b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
        ) {
            self.position += 1;
        }
        std::str::from_utf8(&self.bytes[start..self.position])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .map(Json::Number)
            .ok_or_else(|| self.error("a malformed number"))
    }

    fn array(&mut self, depth: usize) -> Result<Json, Error> {
        self.position += 1;
        let mut items = Vec::new();
        if self.accept(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.accept(b']') {
                return Ok(Json::Array(items));
            }
            if !self.accept(b',') {
                return Err(self.error("no comma between elements"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, Error> {
        self.position += 1;
        let mut members = Vec::new();
        if self.accept(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if self.bytes.get(self.position) != Some(&b'"') {
                return Err(self.error("no name of a member"));
            }
            let name = self.text()?;
            if !self.accept(b':') {
                return Err(self.error("no colon after a name"));
            }
            members.push((name, self.value(depth + 1)?));
            if self.accept(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.accept(b',') {
                return Err(self.error("no comma between members"));
            }
        }
    }

    fn text(&mut self) -> Result<String, Error> {
        self.position += 1;
        let mut text = String::new();
        loop {
            let start = self.position;
            while !matches!(self.bytes.get(self.position), None | Some(b'"' | b'\\')) {
                self.position += 1;
            }
            // The input is a `str` and both delimiters are ASCII, so the slice ends on a boundary.
            text.push_str(&String::from_utf8_lossy(&self.bytes[start..self.position]));
            match self.bytes.get(self.position) {
                Some(b'"') => {
                    self.position += 1;
                    return Ok(text);
                }
                Some(_) => {
                    self.position += 1;
                    text.push(self.escape()?);
                }
                None => return Err(self.error("a string without an end")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let escape = self.bytes.get(self.position).copied();
        self.position += 1;
        Ok(match escape {
            Some(b'n') => '\n',
            Some(b't') => '\t',
            Some(b'r') => '\r',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(plain @ (b'"' | b'\\' | b'/')) => plain as char,
            Some(b'u') => {
                let first = self.hexadecimal()?;
                if (0xd800..0xdc00).contains(&first)
                    && self.bytes[self.position..].starts_with(b"\\u")
                {
                    self.position += 2;
                    let second = self.hexadecimal()?;
                    let code =
                        0x10000 + ((first - 0xd800) << 10) + (second.wrapping_sub(0xdc00) & 0x3ff);
                    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                } else {
                    char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)
                }
            }
            _ => return Err(self.error("an unknown escape")),
        })
    }

    fn hexadecimal(&mut self) -> Result<u32, Error> {
        let digits = self.bytes.get(self.position..self.position + 4);
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.position += 4;
        code.ok_or_else(|| self.error("a malformed escape"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to_serde(value: &Json) -> serde_json::Value {
        match value {
            Json::Null => serde_json::Value::Null,
            Json::Bool(value) => (*value).into(),
            Json::Number(value) => (*value).into(),
            Json::Text(text) => text.clone().into(),
            Json::Array(items) => items.iter().map(to_serde).collect(),
            Json::Object(members) => serde_json::Value::Object(
                members
                    .iter()
                    .map(|(key, value)| (key.clone(), to_serde(value)))
                    .collect(),
            ),
        }
    }

    fn values() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            (-1e15f64..1e15).prop_map(Json::Number),
            any::<String>().prop_map(Json::Text),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(value in values()) {
            prop_assert_eq!(Json::parse(&value.to_string()).unwrap(), value);
        }

        #[test]
        fn serde_json_reads_what_it_wrote(value in values()) {
            let read: serde_json::Value = serde_json::from_str(&value.to_string()).unwrap();
            prop_assert_eq!(normal(&read), normal(&to_serde(&value)));
        }

        #[test]
        fn reads_what_serde_json_wrote(value in values()) {
            let text = serde_json::to_string_pretty(&to_serde(&value)).unwrap();
            prop_assert_eq!(normal(&to_serde(&Json::parse(&text).unwrap())), normal(&to_serde(&value)));
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = Json::parse(&text);
        }
    }

    /// Numbers as floats of seven digits (`serde_json` reads the last bits roughly unless told otherwise, and
    /// with more digits that shows now and then, where it turns the rounding) and members sorted, since the two sides differ there by design.
    fn normal(value: &serde_json::Value) -> String {
        match value {
            serde_json::Value::Number(number) => format!("{:.6e}", number.as_f64().unwrap()),
            serde_json::Value::Array(items) => {
                format!("{:?}", items.iter().map(normal).collect::<Vec<_>>())
            }
            serde_json::Value::Object(members) => {
                let sorted: std::collections::BTreeMap<_, _> = members
                    .iter()
                    .map(|(key, value)| (key, normal(value)))
                    .collect();
                format!("{sorted:?}")
            }
            other => other.to_string(),
        }
    }

    #[test]
    fn surrogate_pairs_become_one_character() {
        assert_eq!(
            Json::parse(r#""\ud83d\ude00""#).unwrap(),
            Json::Text("😀".into())
        );
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(Json::parse(&"[".repeat(100_000)).is_err());
    }
}
