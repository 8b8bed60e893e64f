//! `\$`, which a template that went through a shell is full of and YAML does not know.

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};
use std::ops::Range;

/// A backslash before a dollar sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EscapedDollar {
    /// Byte of the backslash.
    pub offset: usize,
    /// Whether it stands in double quotes, where YAML refuses it; elsewhere it stays in the
    /// value.
    pub in_double_quotes: bool,
}

/// Finds every `\$` outside comments. Works on texts that are no YAML because of it.
pub fn escaped_dollars(text: &str) -> Vec<EscapedDollar> {
    let offsets: Vec<usize> = text.match_indices("\\$").map(|(at, _)| at).collect();
    if offsets.is_empty() {
        return Vec::new();
    }
    // With the backslash replaced by a letter every other byte keeps its place.
    let tame = text.replace("\\$", "_$");
    let mut spans: Vec<(Range<usize>, ScalarStyle)> = Vec::new();
    for item in Parser::new_from_str(&tame).take(200_000) {
        let Ok((event, span)) = item else { break };
        if let Event::Scalar(_, style, ..) = event
            && let Some(range) = span.byte_range()
        {
            spans.push((range, style));
        }
    }
    let reached = spans.last().map_or(0, |(range, _)| range.end);
    offsets
        .into_iter()
        .filter_map(|offset| {
            // `\\$` in double quotes is an escaped backslash.
            let slashes = text[..offset]
                .bytes()
                .rev()
                .take_while(|byte| *byte == b'\\')
                .count();
            let style = spans
                .iter()
                .find(|(range, _)| range.contains(&offset))
                .map(|(_, style)| *style);
            match style {
                Some(ScalarStyle::DoubleQuoted) if slashes % 2 == 1 => None,
                Some(style) => Some(EscapedDollar {
                    offset,
                    in_double_quotes: style == ScalarStyle::DoubleQuoted,
                }),
                // Beyond a syntax error nothing is known; a comment has no scalar.
                None if offset >= reached && !in_comment(text, offset) => Some(EscapedDollar {
                    offset,
                    in_double_quotes: quotes_before(text, offset) % 2 == 1,
                }),
                None => None,
            }
        })
        .collect()
}

/// The text without the backslashes before dollar signs.
pub fn without_escaped_dollars(text: &str) -> String {
    let mut mended = String::with_capacity(text.len());
    let mut from = 0;
    for escape in escaped_dollars(text) {
        mended.push_str(&text[from..escape.offset]);
        from = escape.offset + 1;
    }
    mended.push_str(&text[from..]);
    mended
}

fn line_before(text: &str, offset: usize) -> &str {
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    &text[start..offset]
}

fn in_comment(text: &str, offset: usize) -> bool {
    let line = line_before(text, offset);
    line.trim_start().starts_with('#') || line.contains(" #")
}

fn quotes_before(text: &str, offset: usize) -> usize {
    line_before(text, offset).matches('"').count()
}
