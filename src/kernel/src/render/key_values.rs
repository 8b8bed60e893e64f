//! Details of one thing: names and values, in sections.

use unicode_width::UnicodeWidthStr;

use super::html::{self, Html};
use super::table::Cell;
use crate::event::Bundle;

/// Names and values of one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    title: Option<Cell>,
    sections: Vec<Section>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Section {
    name: Option<String>,
    rows: Vec<(String, Cell)>,
}

impl Details {
    /// Details under a title (the thing's name, perhaps with its state).
    pub fn new(title: impl Into<Cell>) -> Self {
        Self {
            title: Some(title.into()),
            sections: vec![Section::default()],
        }
    }

    /// Details without a title.
    pub fn untitled() -> Self {
        Self {
            title: None,
            sections: vec![Section::default()],
        }
    }

    /// Begins a section.
    pub fn section(&mut self, name: impl Into<String>) -> &mut Self {
        self.sections.push(Section {
            name: Some(name.into()),
            rows: Vec::new(),
        });
        self
    }

    /// Adds a name and its value to the section begun last.
    pub fn row(&mut self, name: impl Into<String>, value: impl Into<Cell>) -> &mut Self {
        if self.sections.is_empty() {
            self.sections.push(Section::default());
        }
        if let Some(section) = self.sections.last_mut() {
            section.rows.push((name.into(), value.into()));
        }
        self
    }

    /// Plain text and HTML.
    pub fn bundle(&self) -> Bundle {
        Bundle::text(self.plain()).with_html(self.html())
    }

    fn shown(&self) -> impl Iterator<Item = &Section> {
        self.sections
            .iter()
            .filter(|section| !section.rows.is_empty())
    }

    /// Plain text: one name a line, values aligned.
    pub fn plain(&self) -> String {
        let mut lines = Vec::new();
        if let Some(title) = &self.title {
            lines.push(title.shown());
        }
        let indent = if self.title.is_some() { "  " } else { "" };
        let width = self
            .shown()
            .flat_map(|section| &section.rows)
            .map(|(name, _)| name.width())
            .max()
            .unwrap_or(0);
        for section in self.shown() {
            if let Some(name) = &section.name {
                lines.push(format!("{indent}{name}"));
            }
            let deeper = if section.name.is_some() { "  " } else { "" };
            for (name, cell) in &section.rows {
                let pad =
                    " ".repeat(width - name.width() + if section.name.is_some() { 0 } else { 2 });
                // Lines of a long text stand below its first.
                let hang = format!("\n{indent}  {}  ", " ".repeat(width));
                let text = match cell.status {
                    Some(status) => status.label(&cell.text),
                    None => cell.text.clone(),
                };
                let text = text.trim_end().replace('\n', &hang);
                lines.push(
                    format!("{indent}{deeper}{name}{pad}  {text}")
                        .trim_end()
                        .to_owned(),
                );
            }
        }
        lines.join("\n")
    }

    /// HTML of the same.
    pub fn html(&self) -> Html {
        let mut parts = Html::default();
        if let Some(title) = &self.title {
            let content = match title.status {
                Some(status) => status.label_html(&title.text),
                None => Html::text(&title.text),
            };
            parts.push(&html::element(
                "div",
                &[("class", "katlab-title"), ("style", "font-weight:bold")],
                &content,
            ));
        }
        let mut body = Html::default();
        for section in self.shown() {
            if let Some(name) = &section.name {
                let cell = html::text_element(
                    "th",
                    &[
                        ("colspan", "2"),
                        (
                            "style",
                            "text-align:left;padding:0.5em 0.8em 0.15em 0.8em;border-bottom:1px solid #808080;",
                        ),
                    ],
                    name,
                );
                body.push(&html::element("tr", &[], &cell));
            }
            for (name, cell) in &section.rows {
                let content = match cell.status {
                    Some(status) => status.label_html(&cell.text),
                    None => Html::text(&cell.text),
                };
                let name = html::text_element(
                    "th",
                    &[(
                        "style",
                        "text-align:left;font-weight:normal;color:#808080;padding:0.15em 0.8em;vertical-align:top;white-space:nowrap",
                    )],
                    name,
                );
                let value = html::element(
                    "td",
                    &[
                        (
                            "style",
                            "text-align:left;padding:0.15em 0.8em;white-space:pre-wrap",
                        ),
                        ("title", cell.hover.as_deref().unwrap_or_default()),
                    ],
                    &content,
                );
                body.push(&html::element("tr", &[], &html::join([name, value])));
            }
        }
        let body = html::element("tbody", &[], &body);
        parts.push(&html::element(
            "table",
            &[
                ("class", "katlab-details"),
                ("style", "border-collapse:collapse;margin:0.2em 0"),
            ],
            &body,
        ));
        html::element("div", &[("class", "katlab")], &parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_across_sections_and_in_korean() {
        let mut details = Details::new(Cell::status("Running"));
        details
            .row("Namespace", "kubeflow-user")
            .row("이름", "실험")
            .section("Objective")
            .row("Goal", Cell::number(0.99));
        details
            .section("Nothing here")
            .section("More")
            .row("Lines", "one\ntwo");
        let plain = details.plain();
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(lines[0], "● Running");
        assert_eq!(
            lines,
            [
                "● Running",
                "  Namespace    kubeflow-user",
                "  이름         실험",
                "  Objective",
                "    Goal       0.99",
                "  More",
                "    Lines      one",
                "               two",
            ]
        );
        assert!(!details.html().as_str().contains("Nothing here"));
    }
}
