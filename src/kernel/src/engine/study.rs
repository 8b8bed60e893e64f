//! What an editor asks about code: completion and inspection.

use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};
use unicode_segmentation::UnicodeSegmentation;

use tokio_util::sync::CancellationToken;

use super::link::Incoming;
use super::request::Shown;
use super::{Engine, helper};
use crate::event::Bundle;

/// Something that may stand at a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed {
    /// What is to be inserted.
    pub name: String,
    /// As Jupyter's clients name kinds.
    pub kind: String,
    /// The name with what belongs to it.
    pub signature: String,
}

impl Completed {
    /// Name, kind and signature.
    pub fn parts(&self) -> (&str, &str, &str) {
        (&self.name, &self.kind, &self.signature)
    }
}

impl Engine {
    /// Completion of Rust at a cursor, and what of the code it replaces, counted in code points; `None`
    /// when the engine is not there or busy: an editor must not wait for a compile.
    pub async fn complete(
        &self,
        code: &str,
        cursor: usize,
    ) -> Option<(Vec<Completed>, Range<usize>)> {
        let reply = self.consult("complete_request", code, cursor).await?;
        let offset = |name: &str| code_points(code, usize::try_from(reply[name].as_u64()?).ok()?);
        let place = offset("cursor_start")?..offset("cursor_end")?;
        let inserted = reply["matches"]
            .as_array()?
            .iter()
            .filter_map(Value::as_str);
        let described = reply["metadata"]["_jupyter_types_experimental"].as_array();
        let kinds = described.into_iter().flatten().map(|item| &item["type"]);
        let mut found: Vec<Completed> = Vec::new();
        for (text, kind) in inserted.zip(kinds) {
            let name = bare(text);
            if found.iter().any(|known| known.name == name) {
                continue;
            }
            found.push(Completed {
                name: name.to_owned(),
                kind: kind.as_str().unwrap_or_default().to_owned(),
                signature: text.to_owned(),
            });
        }
        Some((found, place))
    }

    /// What the engine knows about the name at a cursor; as [`Engine::complete`].
    pub async fn inspect(&self, code: &str, cursor: usize) -> Option<Bundle> {
        let reply = self.consult("inspect_request", code, cursor).await?;
        if reply["found"] != true {
            return None;
        }
        let data = reply["data"].as_object()?;
        Some(
            data.iter()
                .map(|(mime, content)| (mime.clone(), content.clone()))
                .collect(),
        )
    }

    async fn consult(&self, kind: &str, code: &str, cursor: usize) -> Option<Value> {
        let process = self.ready()?;
        let _turn = self.shared.gate.try_lock().ok()?;
        if helper::is_named(code) {
            // Else its names are not known to the analyser before a cell with them has run.
            let cancel = CancellationToken::new();
            self.prepare(&process, code, Shown::Nothing, &cancel)
                .await
                .ok()?;
        }
        let content =
            json!({ "code": code, "cursor_pos": graphemes(code, cursor), "detail_level": 0 });
        let mut conversation = process.ask(kind, content);
        let answer = async {
            loop {
                match conversation.next().await? {
                    Incoming::Reply(message) => return Some(message.content.clone()),
                    Incoming::Output(_) | Incoming::Prompt(_) => {}
                }
            }
        };
        // The analyser reads the standard library once, which takes seconds; it goes on reading
        // when nobody waits any more, so the next question is answered.
        let answer = tokio::time::timeout(Duration::from_secs(5), answer)
            .await
            .ok()??;
        (answer["status"] == "ok").then_some(answer)
    }
}

/// A name without what the engine puts behind it, brackets, arguments or a path's colons: that would have
/// to be replaced, and what JupyterLab would insert of arguments is `…`.
fn bare(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '!' | '#')));
    match end {
        Some(end) if end > 0 && text[end..].starts_with(['(', '[', '<', ':']) => &text[..end],
        _ => text,
    }
}

/// The engine counts a cursor in grapheme clusters, Jupyter in code points.
fn graphemes(code: &str, cursor: usize) -> usize {
    let bytes = code
        .char_indices()
        .nth(cursor)
        .map_or(code.len(), |(at, _)| at);
    code.grapheme_indices(true)
        .take_while(|(at, _)| *at < bytes)
        .count()
}

fn code_points(code: &str, graphemes: usize) -> Option<usize> {
    let bytes = code
        .grapheme_indices(true)
        .nth(graphemes)
        .map_or(code.len(), |(at, _)| at);
    Some(code.get(..bytes)?.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_inserted_bare() {
        for (text, name) in [
            ("filter(keep)", "filter"),
            ("is_empty()", "is_empty"),
            ("vec![]", "vec!"),
            ("HashMap<>", "HashMap"),
            ("std::", "std"),
            ("r#type", "r#type"),
            ("if  {}", "if  {}"),
            ("plain", "plain"),
        ] {
            assert_eq!(bare(text), name);
        }
    }

    #[test]
    fn cursors_are_converted_around_combining_characters_and_emoji() {
        let code = "a\u{310}e\u{301}x👩‍💻y";
        for cursor in 0..=code.chars().count() {
            let there = graphemes(code, cursor);
            let back = code_points(code, there).expect("inside");
            assert!(back >= cursor, "a cursor inside a cluster moves to its end");
            assert_eq!(graphemes(code, back), there);
        }
        assert_eq!(graphemes(code, 4), 2);
        assert_eq!(code_points(code, 2), Some(4));
        assert_eq!(graphemes("plain", 3), 3);
    }
}
