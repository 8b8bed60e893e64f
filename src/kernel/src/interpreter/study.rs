//! What an editor asks about a cell: completion and inspection, of magics and of Rust.

use serde_json::{Value, json};

use super::{Interpreter, Magics};
use crate::cell::{self, Part};
use crate::engine::{Completed, commands, helper};
use crate::event::Bundle;
use crate::magics::completion;

impl Interpreter {
    /// Answers a `complete_request`; the cursor is counted in code points of the cell.
    pub async fn complete(&self, code: &str, cursor: usize) -> Value {
        let place = Place::of(code, cursor);
        if place.is_command() {
            let found = completion::complete(&self.session, place.line, place.column);
            let start = place.start + found.start;
            let end = place.start + found.end;
            let mut matches: Vec<(String, &str, String)> = found
                .matches
                .into_iter()
                .map(|found| (found.text, found.kind, found.help))
                .collect();
            let typed = place.line.trim_start();
            let begun: String = place.line.chars().take(place.column).collect();
            if !begun.trim_start().contains(' ') && typed.starts_with(':') {
                for (name, text) in commands::COMMANDS {
                    if name.starts_with(begun.trim_start())
                        && !matches.iter().any(|(known, _, _)| known == name)
                    {
                        matches.push(((*name).to_owned(), "magic", (*text).to_owned()));
                    }
                }
            }
            let matches = matches
                .iter()
                .map(|(text, kind, help)| (text.as_str(), *kind, help.as_str()));
            return completions(matches, start, end);
        }
        let Some((rust, start)) = rust_at(code, cursor) else {
            return completions([], cursor, cursor);
        };
        if !self.engine.is_running() {
            // What fails is said by the cell that comes.
            let _ = self.furnish().await;
            self.engine.warm(rust, cursor - start);
        }
        let entry = |name: &'static helper::Name| Completed {
            name: name.name.clone(),
            kind: name.kind.to_owned(),
            signature: name.declaration.clone(),
        };
        if let Some((names, typed)) = helper::behind(rust, cursor - start) {
            let names: Vec<Completed> = names.into_iter().map(entry).collect();
            return completions(names.iter().map(Completed::parts), cursor - typed, cursor);
        }
        let found = self.engine.complete(rust, cursor - start).await;
        let (mut found, mut place) = match found {
            Some((found, place)) => (found, place.start + start..place.end + start),
            None => (Vec::new(), cursor..cursor),
        };
        if let Some((root, typed)) = helper::begun(rust, cursor - start) {
            let own = cursor - typed..cursor;
            if found.is_empty() {
                place = own.clone();
            }
            let is_known = found.iter().any(|one| one.name == root.name);
            found.extend((place == own && !is_known).then(|| entry(root)));
        }
        completions(found.iter().map(Completed::parts), place.start, place.end)
    }

    /// What is known of a name in Rust.
    pub(super) async fn inspect_rust(&self, code: &str, cursor: usize) -> Option<Bundle> {
        match helper::at(code, cursor) {
            Some(name) => Some(Bundle::text(name.page())),
            None => self.engine.inspect(code, cursor).await,
        }
    }

    /// Answers an `inspect_request`.
    pub async fn inspect(&self, code: &str, cursor: usize) -> Value {
        let place = Place::of(code, cursor);
        let found = if place.is_command() {
            match completion::inspect(place.line.trim(), place.column) {
                Some(page) => Some(page),
                None => {
                    let name = cell::word(place.line)
                        .map(|name| format!(":{name}"))
                        .unwrap_or_default();
                    commands::describe(&name).map(|text| Bundle::text(format!("{name}: {text}")))
                }
            }
        } else {
            match rust_at(code, cursor) {
                Some((rust, start)) => self.inspect_rust(rust, cursor - start).await,
                None => None,
            }
        };
        match found {
            Some(bundle) => {
                json!({ "status": "ok", "found": true, "data": bundle.data, "metadata": bundle.metadata })
            }
            None => json!({ "status": "ok", "found": false, "data": {}, "metadata": {} }),
        }
    }
}

/// The answer to a `complete_request`: what may be inserted, of which kind, and what it is.
fn completions<'a>(
    matches: impl IntoIterator<Item = (&'a str, &'a str, &'a str)>,
    start: usize,
    end: usize,
) -> Value {
    let (texts, types): (Vec<&str>, Vec<Value>) = matches
        .into_iter()
        .map(|(text, kind, help)| {
            let described = json!({ "text": text, "type": kind, "signature": help, "start": start, "end": end });
            (text, described)
        })
        .unzip();
    json!({
        "status": "ok",
        "matches": texts,
        "cursor_start": start,
        "cursor_end": end,
        "metadata": { "_jupyter_types_experimental": types },
    })
}

/// Where a cursor is.
struct Place<'a> {
    line: &'a str,
    /// Code points before the line.
    start: usize,
    /// Code points before the cursor, in the line.
    column: usize,
}

impl<'a> Place<'a> {
    fn of(code: &'a str, cursor: usize) -> Self {
        let mut start = 0;
        for line in code.split('\n') {
            let length = line.chars().count();
            if cursor <= start + length {
                return Self {
                    line,
                    start,
                    column: cursor - start,
                };
            }
            start += length + 1;
        }
        Self {
            line: "",
            start: cursor,
            column: 0,
        }
    }

    fn is_command(&self) -> bool {
        let line = self.line.trim_start();
        line.starts_with(':') && !line.starts_with("::")
    }
}

/// The Rust around a cursor, and the code points before it.
fn rust_at(code: &str, cursor: usize) -> Option<(&str, usize)> {
    let at = code
        .char_indices()
        .nth(cursor)
        .map_or(code.len(), |(at, _)| at);
    let segments = cell::split(code, &Magics);
    let found = segments
        .iter()
        .rev()
        .find(|segment| segment.at.start <= at && at <= segment.at.end);
    match found {
        Some(segment) if matches!(segment.part, Part::Rust(_)) => Some((
            &code[segment.at.clone()],
            code[..segment.at.start].chars().count(),
        )),
        // A name with a question mark, or nothing but comments: ask about the cell as it stands.
        Some(segment) if matches!(segment.part, Part::Help(_)) => Some((code, 0)),
        None => Some((code, 0)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_under_a_cursor_is_found_in_code_points() {
        let place = Place::of("// 한글\n:ima\nx", 10);
        assert_eq!((place.line, place.start, place.column), (":ima", 6, 4));
        assert!(place.is_command());
        assert!(!Place::of("::std", 2).is_command());
    }
}
