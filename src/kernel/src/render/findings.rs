//! Findings of the lint: what, where (with the line shown), why it hurts, and the mend.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use katlab_katib::lint;

use super::html::{self, Html};
use super::status::Status;
use crate::event::Bundle;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It will not work.
    Error,
    /// It works, but not as hoped.
    Warning,
    /// Worth knowing.
    Advice,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// Its stable code.
    pub code: String,
    /// What is wrong, in one sentence.
    pub message: String,
    /// Where in the source: bytes. None when it is about the whole.
    pub span: Option<std::ops::Range<usize>>,
    /// Why it hurts.
    pub why: Option<String>,
    /// What to write instead.
    pub mend: Option<String>,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Advice => "advice",
        }
    }

    fn status(self) -> Status {
        match self {
            Self::Error => Status::Failed,
            Self::Warning => Status::Warn,
            Self::Advice => Status::Neutral,
        }
    }
}

impl Finding {
    /// A finding of the lint about a source.
    pub fn of_lint(finding: &lint::Finding, source: &str) -> Self {
        let severity = match finding.severity {
            lint::Severity::Error => Severity::Error,
            lint::Severity::Warning => Severity::Warning,
            lint::Severity::Advice => Severity::Advice,
        };
        let said = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let mut mend = finding.mend.clone();
        if finding.fix.is_some() {
            mend.push_str(if mend.is_empty() {
                "--fix does it"
            } else {
                " (--fix does it)"
            });
        }
        Self {
            severity,
            code: finding.code.to_owned(),
            message: finding.message.clone(),
            span: Some(span_at(source, finding.line, finding.column)),
            why: said(&finding.why),
            mend: said(&mend),
        }
    }
}

/// The bytes of the word or quoted text that begins at a line and a column (in characters, both from
/// 1) of a source; empty at its end when there is no such place.
pub fn span_at(source: &str, line: usize, column: usize) -> std::ops::Range<usize> {
    let mut start = 0;
    let mut lines = source.split_inclusive('\n');
    for _ in 1..line {
        match lines.next() {
            Some(line) => start += line.len(),
            None => return source.len()..source.len(),
        }
    }
    let text = lines
        .next()
        .unwrap_or_default()
        .trim_end_matches(['\n', '\r']);
    let at = text
        .char_indices()
        .nth(column.saturating_sub(1))
        .map_or(text.len(), |(at, _)| at);
    let rest = &text[at..];
    let quote = rest
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''));
    let length = match quote {
        Some(quote) => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
        None => {
            // A brace of its own, as in `${NAME}`, belongs to the word.
            let mut open = 0_usize;
            let end = rest.char_indices().find(|(_, char)| match char {
                '{' => {
                    open += 1;
                    false
                }
                '}' if open > 0 => {
                    open -= 1;
                    false
                }
                char => [' ', '\t', ',', ']', '}', '"'].contains(char),
            });
            end.map_or(rest.len(), |(at, _)| at)
        }
    };
    start + at..start + at + length
}

/// Findings about one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    /// What the text is called: a path.
    pub origin: &'a str,
    /// The text.
    pub source: &'a str,
    /// What was found.
    pub findings: &'a [Finding],
}

impl Report<'_> {
    /// Plain text and HTML.
    pub fn bundle(&self) -> Bundle {
        Bundle::text(self.plain()).with_html(self.html())
    }

    /// How many of each kind, in words.
    pub fn summary(&self) -> String {
        if self.findings.is_empty() {
            return format!("✓ nothing to complain about in {}", self.origin);
        }
        let count = |severity, one: &str, many: &str| {
            let count = self
                .findings
                .iter()
                .filter(|finding| finding.severity == severity)
                .count();
            (count > 0).then(|| format!("{count} {}", if count == 1 { one } else { many }))
        };
        let parts: Vec<String> = [
            count(Severity::Error, "error", "errors"),
            count(Severity::Warning, "warning", "warnings"),
            count(Severity::Advice, "piece of advice", "pieces of advice"),
        ]
        .into_iter()
        .flatten()
        .collect();
        format!("{} in {}", parts.join(", "), self.origin)
    }

    fn sorted(&self) -> Vec<&Finding> {
        let mut findings: Vec<&Finding> = self.findings.iter().collect();
        findings.sort_by_key(|finding| {
            (
                finding.severity,
                finding.span.as_ref().map_or(0, |span| span.start),
            )
        });
        findings
    }

    /// A span that lies within the source, on character boundaries, and is not empty where that is possible.
    fn span(&self, finding: &Finding) -> Option<std::ops::Range<usize>> {
        let span = finding.span.clone()?;
        let floor = |mut at: usize| {
            at = at.min(self.source.len());
            while !self.source.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = floor(span.start);
        Some(start..floor(span.end).max(start))
    }

    /// Plain text: each finding with its line and a caret.
    pub fn plain(&self) -> String {
        let renderer = Renderer::plain();
        let mut texts: Vec<String> = Vec::new();
        for finding in self.sorted() {
            let level = match finding.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
                Severity::Advice => Level::INFO.with_name("advice"),
            };
            let title = level
                .primary_title(finding.message.as_str())
                .id(finding.code.as_str());
            let mut group: Group<'_> = match self.span(finding) {
                Some(span) => {
                    let snippet = Snippet::source(self.source)
                        .path(self.origin)
                        .annotation(AnnotationKind::Primary.span(span));
                    title.element(snippet)
                }
                None => Group::with_title(title),
            };
            if let Some(why) = &finding.why {
                group = group.element(Level::NOTE.with_name("why").message(why.as_str()));
            }
            if let Some(mend) = &finding.mend {
                group = group.element(Level::HELP.with_name("mend").message(mend.as_str()));
            }
            texts.push(renderer.render(&[group]));
        }
        texts.push(self.summary());
        texts.join("\n\n")
    }

    /// HTML of the same.
    pub fn html(&self) -> Html {
        let mut parts = Html::default();
        for finding in self.sorted() {
            parts.push(&self.finding_html(finding));
        }
        parts.push(&html::text_element(
            "div",
            &[("style", "color:#808080")],
            &self.summary(),
        ));
        html::element("div", &[("class", "katlab katlab-findings")], &parts)
    }

    fn finding_html(&self, finding: &Finding) -> Html {
        let status = finding.severity.status();
        let mut parts = html::element(
            "div",
            &[],
            &html::join([
                status.label_html(finding.severity.word()),
                Html::text(" "),
                html::text_element("code", &[], &finding.code),
                Html::text(" "),
                html::text_element("b", &[], &finding.message),
            ]),
        );
        if let Some(span) = self.span(finding) {
            let start = self.source[..span.start].rfind('\n').map_or(0, |at| at + 1);
            let end = self.source[span.start..]
                .find('\n')
                .map_or(self.source.len(), |at| span.start + at);
            let number = self.source[..start].matches('\n').count() + 1;
            let column = self.source[start..span.start].chars().count() + 1;
            let marked = span.start..span.end.min(end);
            let mark = format!(
                "text-decoration:underline;font-weight:bold;color:{}",
                status.colour()
            );
            let line = html::join([
                Html::text(&format!(
                    "{number:>4} │ {}",
                    &self.source[start..marked.start]
                )),
                html::text_element("span", &[("style", &mark)], &self.source[marked.clone()]),
                Html::text(&self.source[marked.end..end]),
            ]);
            let place = format!("{}:{number}:{column}", self.origin);
            parts.push(&html::text_element(
                "div",
                &[("style", "color:#808080")],
                &place,
            ));
            parts.push(&html::pre(&line));
        }
        for (name, text) in [("why", &finding.why), ("mend", &finding.mend)] {
            if let Some(text) = text {
                let name =
                    html::text_element("span", &[("style", "color:#808080")], &format!("{name}: "));
                parts.push(&html::element(
                    "div",
                    &[("style", "white-space:pre-wrap")],
                    &html::join([name, Html::text(text)]),
                ));
            }
        }
        html::element("div", &[("style", "margin:0 0 0.8em 0")], &parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_its_line_and_a_caret() {
        let source = "kind: Experiment\nspec:\n  goal: \"\\${X}\"\n";
        let at = source.find('"').unwrap();
        let finding = Finding {
            severity: Severity::Error,
            code: "KL0001".to_owned(),
            message: "`\\$` is no escape of YAML".to_owned(),
            span: Some(at..at + 7),
            why: Some("A strict parser refuses the file.".to_owned()),
            mend: Some("write `${X}`".to_owned()),
        };
        let report = Report {
            origin: "a.yaml",
            source,
            findings: &[finding],
        };
        insta::assert_snapshot!("finding_plain", report.plain());
        insta::assert_snapshot!("finding_html", report.html().as_str());
    }

    #[test]
    fn findings_of_the_lint_are_shown_where_they_are() {
        let source = "kind: Experiment\nspec:\n  parameters:\n  - feasibleSpace: {min: 0.1}\n";
        let report = lint::lint(source, &lint::Options::default());
        let findings: Vec<Finding> = report
            .findings
            .iter()
            .map(|finding| Finding::of_lint(finding, source))
            .collect();
        let number = findings
            .iter()
            .find(|finding| finding.code == "KL0103")
            .unwrap();
        assert_eq!(&source[number.span.clone().unwrap()], "0.1");
        let plain = Report {
            origin: "e.yaml",
            source,
            findings: &findings,
        }
        .plain();
        assert!(plain.contains("--> e.yaml:4:26"), "{plain}");
    }

    #[test]
    fn a_line_and_a_column_become_the_word_there() {
        let source = "a: 1\n가나: [\"x y\", 2.5] # c\n";
        let word = |line, column| &source[span_at(source, line, column)];
        assert_eq!(word(1, 1), "a:");
        assert_eq!(word(2, 6), "\"x y\"");
        assert_eq!(word(2, 13), "2.5");
        assert_eq!(word(2, 99), "");
        assert_eq!(word(9, 1), "");
        assert_eq!(word(0, 0), "a:");
    }

    #[test]
    fn spans_that_lie_outside_do_no_harm() {
        for (start, end) in [(0, 0), (5, 2), (1, 2), (90, 99)] {
            let finding = Finding {
                severity: Severity::Warning,
                code: "X".to_owned(),
                message: "m".to_owned(),
                span: Some(start..end),
                why: None,
                mend: None,
            };
            let report = Report {
                origin: "o",
                source: "가나\n",
                findings: &[finding],
            };
            assert!(report.plain().contains("1 warning in o"));
            assert!(report.html().as_str().contains("X"));
        }
    }
}
