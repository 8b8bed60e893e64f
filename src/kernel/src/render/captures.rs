//! Lines of a log with what a filter took from them marked, in colour and by a line of signs below.

use std::ops::Range;

use unicode_width::UnicodeWidthStr;

use super::html::{self, Html};
use super::status::Status;
use crate::event::Bundle;

/// So many bytes of a line are shown.
const WIDTH: usize = 240;

/// What a marked part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The name of a metric.
    Name,
    /// Its value.
    Value,
    /// What is wrong, or as far as a filter came.
    Wrong,
}

impl Mark {
    fn sign(self) -> &'static str {
        match self {
            Self::Name => "~",
            Self::Value => "=",
            Self::Wrong => "^",
        }
    }

    fn status(self) -> Status {
        match self {
            Self::Name => Status::Running,
            Self::Value => Status::Ok,
            Self::Wrong => Status::Warn,
        }
    }
}

/// A line with marks.
#[derive(Clone, Debug, Default)]
pub struct Marked {
    /// Its number in the log, from 1.
    pub number: u64,
    /// The line.
    pub line: String,
    /// What is marked in it, in bytes.
    pub marks: Vec<(Range<usize>, Mark)>,
    /// What is said of it.
    pub words: Vec<String>,
}

/// Lines under a title.
pub fn bundle(title: &str, lines: &[Marked]) -> Bundle {
    let digits = lines
        .iter()
        .map(|line| line.number.to_string().len())
        .max()
        .unwrap_or(1);
    let mut plain = vec![title.to_owned()];
    let mut pre = Html::default();
    for line in lines {
        let pieces = pieces(line);
        let number = format!("{:>digits$}  ", line.number);
        let indent = " ".repeat(number.len());
        let text: String = pieces.iter().map(|(text, _)| text.as_str()).collect();
        plain.push(format!("{number}{text}"));
        let signs: String = pieces
            .iter()
            .map(|(text, mark)| mark.map_or(" ", Mark::sign).repeat(text.width()))
            .collect();
        if !signs.trim().is_empty() {
            plain.push(format!("{indent}{}", signs.trim_end()));
        }
        pre.push(&html::text_element(
            "span",
            &[("style", "opacity:.6")],
            &number,
        ));
        for (text, mark) in &pieces {
            pre.push(&match mark {
                None => Html::text(text),
                Some(mark) => {
                    let style = format!(
                        "color:{};font-weight:bold;text-decoration:underline",
                        mark.status().colour()
                    );
                    html::text_element("span", &[("style", &style)], text)
                }
            });
        }
        pre.push(&Html::text("\n"));
        for words in &line.words {
            let words = format!("{indent}{}", shown(words));
            pre.push(&html::text_element(
                "span",
                &[("style", "opacity:.75;font-style:italic")],
                &words,
            ));
            pre.push(&Html::text("\n"));
            plain.push(words);
        }
    }
    let head = html::text_element("div", &[("style", "font-weight:bold")], title);
    let body = html::element(
        "div",
        &[("class", "katlab katlab-captures")],
        &html::join([head, html::pre(&pre)]),
    );
    Bundle::text(plain.join("\n")).with_html(body)
}

/// The line in pieces that are marked alike; what another mark covers already is not marked again.
fn pieces(line: &Marked) -> Vec<(String, Option<Mark>)> {
    let text = &line.line;
    let mut end = text.len().min(WIDTH);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut marks = line.marks.clone();
    marks.sort_by_key(|(range, _)| range.start);
    let mut pieces = Vec::new();
    let mut at = 0;
    for (range, mark) in marks {
        if range.start < at || range.start >= end {
            continue;
        }
        pieces.push((shown(&text[at..range.start]), None));
        let stop = range.end.min(end);
        pieces.push((shown(&text[range.start..stop]), Some(mark)));
        at = stop;
    }
    pieces.push((shown(&text[at..end]), None));
    if end < text.len() {
        pieces.push(("…".to_owned(), None));
    }
    pieces.retain(|(text, _)| !text.is_empty());
    pieces
}

/// Text of others, without what a terminal would obey.
fn shown(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_below_what_they_mark() {
        let line = Marked {
            number: 12,
            line: "정확도 accuracy=0.9 \u{1b}[31m<b>".into(),
            marks: vec![(10..18, Mark::Name), (19..22, Mark::Value)],
            words: vec!["as it should be".into()],
        };
        let bundle = bundle("lines", &[line]);
        assert_eq!(
            bundle.plain(),
            "lines\n12  정확도 accuracy=0.9 \u{fffd}[31m<b>\n           ~~~~~~~~ ===\n    as it should be"
        );
        let html = bundle.data["text/html"].as_str().unwrap();
        assert!(
            html.contains("&lt;b&gt;") && html.contains(">accuracy</span>"),
            "{html}"
        );
    }

    #[test]
    fn a_long_line_ends_in_dots_and_between_characters() {
        let line = Marked {
            line: "가".repeat(500),
            marks: vec![(1200..1203, Mark::Value)],
            ..Marked::default()
        };
        let plain = bundle("", &[line]).plain().to_owned();
        assert!(plain.ends_with("가…"), "{plain}");
    }
}
