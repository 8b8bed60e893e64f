//! Help pages, the index of magics, and explanations, made from the command lines themselves.

use super::examples;
use super::{Entry, Family, MAGICS, by_name, nearest};
use crate::event::Bundle;
use crate::magics::MagicError;
use crate::render::html::{self, Html};

/// The first sentence of a magic's description.
pub fn summary(entry: &Entry) -> String {
    (entry.command)()
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The page of one magic.
pub fn page(entry: &Entry) -> Bundle {
    let text = (entry.command)().render_long_help().to_string();
    let mut text = text.trim_end().to_owned();
    let examples = examples::of(entry.name);
    if !examples.is_empty() {
        text.push_str("\n\nExamples:\n  ");
        text.push_str(&examples.join("\n  "));
    }
    let html = html::element(
        "div",
        &[("class", "katlab katlab-help")],
        &html::preformatted(&text),
    );
    Bundle::text(text).with_html(html)
}

/// The page of a magic, or of all magics whose name begins with a word, by name.
pub fn help_page(name: &str) -> Option<Bundle> {
    if let Some(entry) = by_name(name) {
        return Some(page(entry));
    }
    let family = name.trim().trim_start_matches(':');
    let entries: Vec<&Entry> = MAGICS
        .iter()
        .filter(|entry| {
            entry
                .name
                .split_once(' ')
                .is_some_and(|(first, _)| first == family)
        })
        .collect();
    (!entries.is_empty()).then(|| listing(&[(format!(":{family}"), entries)], &[]))
}

/// The error for a name that has no page.
pub fn no_page(name: &str) -> MagicError {
    let bare = name.trim().trim_start_matches(':');
    let error = MagicError::new(format!("there is no magic `:{bare}`"));
    match nearest::to(bare, MAGICS.iter().map(|entry| entry.name)).first() {
        Some(near) => error.hint(format!(
            "did you mean `:help {near}`? `:help` lists all magics"
        )),
        None => error.hint("`:help` lists all magics"),
    }
}

/// The index of all magics.
pub fn index() -> Bundle {
    let families: Vec<(String, Vec<&Entry>)> = Family::ALL
        .iter()
        .map(|family| {
            let entries = MAGICS
                .iter()
                .filter(|entry| entry.family == *family)
                .collect::<Vec<_>>();
            (family.name().to_owned(), entries)
        })
        .filter(|(_, entries)| !entries.is_empty())
        .collect();
    let foot = [
        ":help NAME shows a magic's page, and so does NAME? or --help.",
        "--explain shows the docker and kubectl commands that do the same.",
        "$NAME puts in a setting (:env). !COMMAND runs a shell line.",
        "Other lines with a colon go to the Rust engine (:dep, :vars, :type, …); what has none is Rust.",
    ];
    listing(&families, &foot)
}

fn listing(families: &[(String, Vec<&Entry>)], foot: &[&str]) -> Bundle {
    let width = families
        .iter()
        .flat_map(|(_, entries)| entries)
        .map(|entry| entry.name.len() + 1)
        .max()
        .unwrap_or(0);
    let mut lines = Vec::new();
    let mut rows = Html::default();
    let cell = "padding:0.1em 0.8em;text-align:left;border:none";
    for (family, entries) in families {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(family.clone());
        let head = html::text_element("th", &[("colspan", "2"), ("style", cell)], family);
        rows.push(&html::element("tr", &[], &head));
        for entry in entries {
            let (name, about) = (format!(":{}", entry.name), summary(entry));
            lines.push(format!("  {name:width$}  {about}"));
            let name = html::element(
                "td",
                &[("style", cell)],
                &html::text_element("code", &[], &name),
            );
            rows.push(&html::element(
                "tr",
                &[],
                &html::join([name, html::text_element("td", &[("style", cell)], &about)]),
            ));
        }
    }
    let body = html::element("tbody", &[], &rows);
    let mut content = html::element("table", &[("style", "border-collapse:collapse")], &body);
    if !foot.is_empty() {
        lines.push(String::new());
    }
    for line in foot {
        lines.push((*line).to_owned());
        content.push(&html::text_element(
            "div",
            &[("style", "color:#808080")],
            line,
        ));
    }
    let html = html::element("div", &[("class", "katlab katlab-help")], &content);
    Bundle::text(lines.join("\n")).with_html(html)
}

/// The docker and kubectl commands that do the same as a magic.
pub(super) fn explanation(entry: &Entry, commands: &[String]) -> Bundle {
    if commands.is_empty() {
        return Bundle::text(format!(
            "No docker or kubectl command does what `:{}` does.",
            entry.name
        ));
    }
    let text = commands.join("\n");
    let html = html::element(
        "div",
        &[("class", "katlab katlab-explain")],
        &html::preformatted(&text),
    );
    Bundle::text(text).with_html(html)
}

/// The options of a magic that have no help of their own, for a test.
#[cfg(test)]
pub(super) fn undocumented(command: &clap::Command) -> Vec<String> {
    command
        .get_arguments()
        .filter(|arg| arg.get_help().is_none())
        .map(|arg| arg.get_id().to_string())
        .collect()
}
