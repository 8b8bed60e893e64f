//! Label and field selectors: the languages of `-l` and `--field-selector`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::resources::Resource;
use crate::store::Entry;

use super::kinds;
use super::status::ApiError;

/// One condition on labels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
    Greater(String, i64),
    Less(String, i64),
}

/// A label selector: all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    /// Everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a selector.
    pub fn parse(text: &str) -> Result<Labels, ApiError> {
        Parser::new(text)
            .parse()
            .map(Labels)
            .map_err(ApiError::bad_request)
    }

    /// Whether a set of labels satisfies it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|r| match r {
            Requirement::In(k, values) => labels.get(k).is_some_and(|v| values.contains(v)),
            Requirement::NotIn(k, values) => labels.get(k).is_none_or(|v| !values.contains(v)),
            Requirement::Exists(k) => labels.contains_key(k),
            Requirement::Absent(k) => !labels.contains_key(k),
            Requirement::Greater(k, than) => labels
                .get(k)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v > *than),
            Requirement::Less(k, than) => labels
                .get(k)
                .and_then(|v| v.parse::<i64>().ok())
                .is_some_and(|v| v < *than),
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Sign(&'static str),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Token::Word(w) => w,
            Token::Sign(s) => s,
            Token::End => "",
        }
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn new(text: &str) -> Parser {
        let mut tokens = Vec::new();
        let mut rest = text;
        const SIGNS: [&str; 10] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<", ""];
        'next: while !rest.is_empty() {
            let trimmed = rest.trim_start();
            if trimmed.len() != rest.len() {
                rest = trimmed;
                continue;
            }
            for sign in SIGNS.iter().filter(|s| !s.is_empty()) {
                if let Some(after) = rest.strip_prefix(sign) {
                    tokens.push(Token::Sign(sign));
                    rest = after;
                    continue 'next;
                }
            }
            let end = rest
                .find(|c: char| c.is_whitespace() || "=!(),><".contains(c))
                .unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        tokens.push(Token::End);
        Parser { tokens, at: 0 }
    }

    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn parse(&mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        loop {
            match self.peek() {
                Token::Word(_) | Token::Sign("!") => {
                    let requirement = self
                        .requirement()
                        .map_err(|e| format!("unable to parse requirement: {e}"))?;
                    requirements.push(requirement);
                    match self.next() {
                        Token::End => return Ok(requirements),
                        Token::Sign(",") => match self.peek() {
                            Token::Word(_) | Token::Sign("!") => {}
                            other => {
                                return Err(format!(
                                    "found '{}', expected: identifier after ','",
                                    other.text()
                                ));
                            }
                        },
                        other => {
                            return Err(format!(
                                "found '{}', expected: ',' or 'end of string'",
                                other.text()
                            ));
                        }
                    }
                }
                Token::End => return Ok(requirements),
                other => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = *self.peek() == Token::Sign("!");
        if absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) => key,
            other => return Err(format!("found '{}', expected: identifier", other.text())),
        };
        super::meta::qualified_name(&key)
            .map_err(|why| format!("key: Invalid value: \"{key}\": {}", why.join("; ")))?;
        if absent {
            return Ok(Requirement::Absent(key));
        }
        match self.peek().clone() {
            Token::End | Token::Sign(",") => Ok(Requirement::Exists(key)),
            operator => {
                self.next();
                match operator {
                    Token::Sign("=" | "==") => Ok(Requirement::In(key, vec![self.value()?])),
                    Token::Sign("!=") => Ok(Requirement::NotIn(key, vec![self.value()?])),
                    Token::Sign(sign @ (">" | "<")) => {
                        let text = self.value()?;
                        let number = text.parse::<i64>().map_err(|_| {
                            format!("values[0][{key}]: Invalid value: \"{text}\": for 'Gt', 'Lt' operators, the value must be an integer")
                        })?;
                        Ok(if sign == ">" {
                            Requirement::Greater(key, number)
                        } else {
                            Requirement::Less(key, number)
                        })
                    }
                    Token::Word(word) if word == "in" => Ok(Requirement::In(key, self.values()?)),
                    Token::Word(word) if word == "notin" => {
                        Ok(Requirement::NotIn(key, self.values()?))
                    }
                    other => Err(format!(
                        "found '{}', expected: in, notin, =, ==, !=, gt, lt",
                        other.text()
                    )),
                }
            }
        }
    }

    fn check(value: String) -> Result<String, String> {
        match super::meta::label_value(&value) {
            Ok(()) => Ok(value),
            Err(why) => Err(format!("values[0]: Invalid value: \"{value}\": {why}")),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        match self.peek().clone() {
            Token::Word(word) => {
                self.next();
                Self::check(word)
            }
            Token::End | Token::Sign(",") => Ok(String::new()),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn values(&mut self) -> Result<Vec<String>, String> {
        match self.next() {
            Token::Sign("(") => {}
            other => return Err(format!("found '{}' expected: '('", other.text())),
        }
        let mut values = Vec::new();
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.push(Self::check(word)?);
                    match self.next() {
                        Token::Sign(",") => {}
                        Token::Sign(")") => return Ok(values),
                        other => {
                            return Err(format!("found '{}', expected: ',' or ')'", other.text()));
                        }
                    }
                }
                // An empty value, as in `a in (,b)`.
                Token::Sign(",") => values.push(String::new()),
                Token::Sign(")") => {
                    values.push(String::new());
                    return Ok(values);
                }
                other => {
                    return Err(format!(
                        "found '{}', expected: ',', ')' or identifier",
                        other.text()
                    ));
                }
            }
        }
    }
}

/// A field selector: all conditions hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<FieldRequirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldRequirement {
    label: String,
    pointer: &'static str,
    value: String,
    equal: bool,
}

/// The values field selectors may ask for, by JSON pointer, computed once per object.
pub type FieldValues = Vec<(&'static str, String)>;

impl Fields {
    /// Everything matches.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a selector for a resource.
    pub fn parse(text: &str, resource: &Resource) -> Result<Fields, ApiError> {
        let mut requirements = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let (label, value, equal) = if let Some((l, v)) = part.split_once("!=") {
                (l, v, false)
            } else if let Some((l, v)) = part.split_once("==") {
                (l, v, true)
            } else if let Some((l, v)) = part.split_once('=') {
                (l, v, true)
            } else {
                return Err(ApiError::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let pointer = match label {
                "metadata.name" => "/metadata/name",
                "metadata.namespace" if resource.namespaced => "/metadata/namespace",
                _ => match resource.fields.iter().find(|f| f.label == label) {
                    Some(field) => field.pointer,
                    None => return Err(unknown_field(label, resource)),
                },
            };
            requirements.push(FieldRequirement {
                label: label.to_owned(),
                pointer,
                value: unescape(value),
                equal,
            });
        }
        Ok(Fields(requirements))
    }

    /// The one name it asks for, if it does.
    pub fn name(&self) -> Option<&str> {
        self.0
            .iter()
            .find(|r| r.equal && r.pointer == "/metadata/name")
            .map(|r| r.value.as_str())
    }

    /// Whether an object satisfies it.
    pub fn matches(&self, entry: &Entry, resource: &Resource) -> bool {
        self.0.iter().all(|r| {
            let meta = entry.meta();
            let actual = match r.pointer {
                "/metadata/name" => meta.name.as_str(),
                "/metadata/namespace" => meta.namespace.as_deref().unwrap_or(""),
                pointer => super::encode::derived(entry, resource)
                    .and_then(|d| d.fields.iter().find(|(p, _)| *p == pointer))
                    .map_or("", |(_, v)| v.as_str()),
            };
            (actual == r.value) == r.equal
        })
    }
}

fn unknown_field(label: &str, resource: &Resource) -> ApiError {
    ApiError::bad_request(if resource.own_field_labels {
        format!("field label not supported: {label}")
    } else {
        format!(
            "\"{label}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )
    })
}

fn split_unescaped(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if let Some(part) = parts.last_mut() {
            match c {
                _ if escaped => {
                    part.push('\\');
                    part.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                ',' => parts.push(String::new()),
                _ => part.push(c),
            }
        }
    }
    parts
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            out.extend(chars.next())
        } else {
            out.push(c)
        }
    }
    out
}

/// The values that field selectors of a stored object can ask for.
pub fn field_values(object: &Value, storage: &str) -> FieldValues {
    let mut values: FieldValues = Vec::new();
    for resource in crate::resources::RESOURCES
        .iter()
        .filter(|r| r.storage == storage)
    {
        for field in resource.fields {
            if values.iter().any(|(p, _)| *p == field.pointer) {
                continue;
            }
            let value = match object.pointer(field.pointer) {
                Some(Value::String(s)) => s.clone(),
                Some(Value::Null) | None => kinds::absent_field(field.label).to_owned(),
                Some(other) => other.to_string(),
            };
            values.push((field.pointer, value));
        }
    }
    values
}

#[cfg(test)]
mod tests;
