//! The one filter that keeps secrets out of everything a cell shows.
//!
//! It knows each secret value and the forms in which it turns up elsewhere: base64 in both alphabets
//! and at any offset (a Docker `auth` entry is the base64 of `user:password`), URL-encoded, escaped
//! for JSON and for HTML. Longer forms are looked for first. In a stream it holds back an end that
//! may be the start of a secret, so that one cut in two by a chunk boundary is caught as well.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use futures::future::BoxFuture;
use regex::Regex;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::event::{Bundle, Event, InputError, Sink, Stream};

/// What stands where a secret was.
pub const MASK: &str = "••••••";

/// The shortest value that is looked for. Hiding `a` or `42` would only wreck the output.
pub const SHORTEST: usize = 4;

/// The shortest piece of base64 that is looked for; shorter ones turn up by chance.
const SHORTEST_PIECE: usize = 8;

#[derive(Default)]
struct Known {
    forms: BTreeSet<String>,
    pattern: Option<Regex>,
    /// The length of the longest form: how far back a secret may begin that is still to be completed.
    longest: usize,
}

/// Knows all secrets of a session.
#[derive(Default)]
pub struct Redactor {
    known: RwLock<Known>,
}

impl Redactor {
    /// Adds a secret. Returns false when it is too short to be hidden.
    pub fn learn(&self, secret: &SecretString) -> bool {
        let value = secret.expose_secret();
        if value.trim().chars().count() < SHORTEST {
            return false;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.forms.len();
        known.forms.extend(forms(value));
        if known.forms.len() == before {
            return true;
        }
        let mut forms: Vec<&str> = known.forms.iter().map(String::as_str).collect();
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        let pattern = forms
            .iter()
            .map(|form| regex::escape(form))
            .collect::<Vec<_>>()
            .join("|");
        // Literals only, so nothing but their sheer size can make it fail.
        let pattern = regex::RegexBuilder::new(&pattern)
            .size_limit(256 << 20)
            .build()
            .ok();
        known.longest = forms.first().map_or(0, |form| form.len());
        known.pattern = pattern;
        true
    }

    /// The text with every known secret masked.
    pub fn text(&self, text: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match &known.pattern {
            Some(pattern) => pattern.replace_all(text, MASK).into_owned(),
            None => text.to_owned(),
        }
    }

    /// The value with every known secret masked, in its keys too.
    pub fn value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .map(|(key, value)| (self.text(key), self.value(value)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    /// The bundle with every known secret masked.
    pub fn bundle(&self, bundle: Bundle) -> Bundle {
        if self
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .pattern
            .is_none()
        {
            return bundle;
        }
        let clean = |mime: &str, content: &Value| match (mime, content) {
            // Pictures are compressed: nothing can be read in them, and a chance match would break them.
            ("image/png" | "image/jpeg" | "image/gif" | "image/webp", _) => content.clone(),
            ("text/html" | "image/svg+xml", Value::String(text)) => {
                Value::String(self.markup(text))
            }
            _ => self.value(content),
        };
        let data = bundle
            .data
            .iter()
            .map(|(mime, content)| (mime.clone(), clean(mime, content)));
        let metadata = bundle
            .metadata
            .iter()
            .map(|(mime, about)| (mime.clone(), self.value(about)));
        Bundle {
            data: data.collect(),
            metadata: metadata.collect(),
        }
    }

    /// Markup with every known secret masked. The names of elements stay: a password such as `table`
    /// must not take the page apart.
    fn markup(&self, text: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(pattern) = &known.pattern else {
            return text.to_owned();
        };
        let masked = pattern.replace_all(text, |found: &regex::Captures<'_>| {
            let (start, word) = found
                .get(0)
                .map_or((0, ""), |found| (found.start(), found.as_str()));
            let name = text[..start].ends_with('<') || text[..start].ends_with("</");
            if name {
                word.to_owned()
            } else {
                MASK.to_owned()
            }
        });
        masked.into_owned()
    }

    /// How much of a text can be shown when more may follow: all but an end that may be the start of
    /// a secret, or of a longer one than was found so far.
    fn settled(&self, text: &str) -> usize {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(pattern) = &known.pattern else {
            return text.len();
        };
        // Secrets of several lines are known line by line, so none is still open behind a line's end.
        // Most chunks are whole lines, and cost nothing here.
        let line = text.rfind('\n').map_or(0, |end| end + 1);
        let earliest = text
            .len()
            .saturating_sub(known.longest.saturating_sub(1))
            .max(line);
        let doubtful = text
            .char_indices()
            .map(|(at, _)| at)
            .skip_while(|at| *at < earliest)
            .find(|at| {
                let end = &text[*at..];
                // The forms that begin with `end` stand right behind it in order.
                let mut behind = known
                    .forms
                    .range::<str, _>((Bound::Excluded(end), Bound::Unbounded));
                behind.next().is_some_and(|form| form.starts_with(end))
            });
        let doubtful = doubtful.unwrap_or(text.len());
        let crossing = pattern
            .find_iter(text)
            .find(|found| found.start() < doubtful && doubtful < found.end());
        crossing.map_or(doubtful, |found| found.start())
    }
}

/// The forms in which a secret may turn up.
fn forms(value: &str) -> BTreeSet<String> {
    let mut forms = BTreeSet::from([value.to_owned()]);
    let trimmed = value.trim();
    forms.insert(trimmed.to_owned());
    for whole in [value, trimmed] {
        forms.insert(STANDARD.encode(whole));
        forms.insert(STANDARD_NO_PAD.encode(whole));
        forms.insert(URL_SAFE.encode(whole));
        forms.insert(URL_SAFE_NO_PAD.encode(whole));
    }
    // Inside a longer text that was encoded, three bytes become four characters; what stands before
    // decides the offset, and the characters that share bits with the neighbours are left out.
    for offset in 0..3_usize {
        let mut bytes = vec![0; offset];
        bytes.extend_from_slice(trimmed.as_bytes());
        let first = (offset * 8).div_ceil(6);
        let last = bytes.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let encoded = engine.encode(&bytes);
            if let Some(piece) = encoded
                .get(first..last)
                .filter(|piece| piece.len() >= SHORTEST_PIECE)
            {
                forms.insert(piece.to_owned());
            }
        }
    }
    let mut url = String::new();
    for byte in trimmed.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            url.push(char::from(byte));
        } else {
            let _ = write!(url, "%{byte:02X}");
        }
    }
    // In form data a blank is a plus sign.
    forms.insert(url.replace("%20", "+"));
    forms.insert(url);
    forms.insert(
        Value::from(trimmed)
            .to_string()
            .trim_matches('"')
            .to_owned(),
    );
    forms.insert(crate::render::html::Html::text(trimmed).into_string());
    // Of a key in several lines, each line on its own; its armour is no secret.
    if trimmed.contains('\n') {
        let lines = trimmed.lines().map(str::trim);
        forms.extend(
            lines
                .filter(|line| !line.starts_with("-----"))
                .map(str::to_owned),
        );
    }
    forms.retain(|form| form.chars().count() >= SHORTEST);
    forms
}

/// A sink that lets nothing secret pass.
pub struct RedactingSink {
    inner: Arc<dyn Sink>,
    redactor: Arc<Redactor>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    stdout: String,
    stderr: String,
}

impl RedactingSink {
    /// Filters what goes to `inner`.
    pub fn new(inner: Arc<dyn Sink>, redactor: Arc<Redactor>) -> Self {
        Self {
            inner,
            redactor,
            held: Mutex::default(),
        }
    }

    /// Shows what was held back at the ends of the streams. Call it when a cell is done.
    pub fn flush(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.release(&mut held);
    }

    fn release(&self, held: &mut Held) {
        for (stream, text) in [
            (Stream::Stdout, &mut held.stdout),
            (Stream::Stderr, &mut held.stderr),
        ] {
            if !text.is_empty() {
                let text = self.redactor.text(&std::mem::take(text));
                self.inner.emit(Event::Stream { stream, text });
            }
        }
    }
}

impl Sink for RedactingSink {
    fn emit(&self, event: Event) {
        // Held over the delivery as well, so that events keep their order.
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let redactor = &self.redactor;
        let event = match event {
            Event::Stream { stream, text } => {
                let pending = match stream {
                    Stream::Stdout => &mut held.stdout,
                    Stream::Stderr => &mut held.stderr,
                };
                pending.push_str(&text);
                let rest = pending.split_off(redactor.settled(pending));
                let shown = std::mem::replace(pending, rest);
                if !shown.is_empty() {
                    self.inner.emit(Event::Stream {
                        stream,
                        text: redactor.text(&shown),
                    });
                }
                return;
            }
            Event::Display { bundle, display_id } => Event::Display {
                bundle: redactor.bundle(bundle),
                display_id,
            },
            Event::Update { display_id, bundle } => Event::Update {
                display_id,
                bundle: redactor.bundle(bundle),
            },
            Event::Result { bundle } => Event::Result {
                bundle: redactor.bundle(bundle),
            },
            Event::Page { bundle } => Event::Page {
                bundle: redactor.bundle(bundle),
            },
            Event::Clear { wait } => Event::Clear { wait },
        };
        self.release(&mut held);
        self.inner.emit(event);
    }

    fn input<'a>(
        &'a self,
        prompt: &'a str,
        password: bool,
    ) -> BoxFuture<'a, Result<String, InputError>> {
        self.flush();
        Box::pin(async move {
            let prompt = self.redactor.text(prompt);
            self.inner.input(&prompt, password).await
        })
    }
}

impl Drop for RedactingSink {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests;
