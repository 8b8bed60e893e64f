//! Where the values of a document stand.

use super::{Place, Style};
use crate::path::FieldPath;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::HashMap;
use std::ops::Range;

/// One open collection while places are gathered.
struct Open {
    path: FieldPath,
    start: usize,
    key_of_self: Option<Range<usize>>,
    kind: OpenKind,
}

enum OpenKind {
    List {
        next: usize,
    },
    Map {
        key: Option<(String, Range<usize>)>,
    },
    /// A mapping or list used as a key: nothing in it has a place.
    Ignored,
}

/// Where every value of the first document stands.
pub(super) fn places(text: &str) -> HashMap<FieldPath, Place> {
    let mut places = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    for item in Parser::new_from_str(text).take(200_000) {
        let Ok((event, span)) = item else { break };
        let range = bytes(&span);
        match event {
            Event::Scalar(value, style, ..) => {
                if let Some(Open {
                    kind: OpenKind::Map { key: key @ None },
                    ..
                }) = open.last_mut()
                {
                    *key = Some((value.into_owned(), range));
                    continue;
                }
                let style = match style {
                    ScalarStyle::Plain => Style::Plain,
                    ScalarStyle::SingleQuoted => Style::SingleQuoted,
                    ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
                    _ => Style::Block,
                };
                if let Some((path, key)) = step(&mut open) {
                    places.insert(
                        path,
                        Place {
                            value: range,
                            key,
                            style,
                        },
                    );
                }
            }
            Event::Alias(_) => {
                if let Some(Open {
                    kind: OpenKind::Map { key: key @ None },
                    ..
                }) = open.last_mut()
                {
                    *key = Some((String::new(), range));
                    continue;
                }
                if let Some((path, key)) = step(&mut open) {
                    places.insert(
                        path,
                        Place {
                            value: range,
                            key,
                            style: Style::Alias,
                        },
                    );
                }
            }
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                let is_key = matches!(
                    open.last(),
                    Some(Open {
                        kind: OpenKind::Map { key: None } | OpenKind::Ignored,
                        ..
                    })
                );
                let (path, key_of_self) = match (is_key, step(&mut open)) {
                    (false, Some(found)) => found,
                    _ => (FieldPath::root(), None),
                };
                let kind = if is_key {
                    OpenKind::Ignored
                } else if matches!(event, Event::SequenceStart(..)) {
                    OpenKind::List { next: 0 }
                } else {
                    OpenKind::Map { key: None }
                };
                open.push(Open {
                    path,
                    start: range.start,
                    key_of_self,
                    kind,
                });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(closed) = open.pop() else { break };
                if matches!(closed.kind, OpenKind::Ignored) {
                    // It was a key: the value that follows has no name we can write.
                    if let Some(Open {
                        kind: OpenKind::Map { key: key @ None },
                        ..
                    }) = open.last_mut()
                    {
                        *key = Some((String::new(), closed.start..range.end));
                    }
                    continue;
                }
                places.insert(
                    closed.path,
                    Place {
                        value: closed.start..range.end.max(closed.start),
                        key: closed.key_of_self,
                        style: Style::Collection,
                    },
                );
            }
            Event::DocumentEnd => break,
            _ => {}
        }
    }
    places
}

fn bytes(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or(0..0)
}

/// The path of the value that comes next, and its key.
fn step(open: &mut [Open]) -> Option<(FieldPath, Option<Range<usize>>)> {
    let Some(top) = open.last_mut() else {
        return Some((FieldPath::root(), None));
    };
    match &mut top.kind {
        OpenKind::List { next } => {
            let path = top.path.index(*next);
            *next += 1;
            Some((path, None))
        }
        OpenKind::Map { key } => {
            let (name, range) = key.take()?;
            Some((top.path.key(name), Some(range)))
        }
        OpenKind::Ignored => None,
    }
}
