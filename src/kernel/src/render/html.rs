//! HTML that is escaped by construction.

use std::fmt::Write as _;

/// A piece of HTML. The only way from text to HTML is [`Html::text`], which escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Text, escaped, with characters that no document may hold replaced.
    pub fn text(text: &str) -> Self {
        let mut html = String::with_capacity(text.len() + 8);
        for char in text.chars() {
            match char {
                '&' => html.push_str("&amp;"),
                '<' => html.push_str("&lt;"),
                '>' => html.push_str("&gt;"),
                '"' => html.push_str("&quot;"),
                '\'' => html.push_str("&#39;"),
                // A parser would turn a bare carriage return into a line feed.
                '\r' => html.push_str("&#13;"),
                '\t' | '\n' => html.push(char),
                char if char.is_control() => html.push('\u{fffd}'),
                char => html.push(char),
            }
        }
        Self(html)
    }

    /// The markup.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The markup, owned.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Appends more.
    pub fn push(&mut self, more: &Self) {
        self.0.push_str(&more.0);
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An element with attributes and content. Empty attribute values are left out. Names are given by
/// the program, never by data.
pub fn element(name: &'static str, attributes: &[(&'static str, &str)], content: &Html) -> Html {
    let mut html = format!("<{name}");
    for (attribute, value) in attributes.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = write!(html, " {attribute}=\"{}\"", Html::text(value).0);
    }
    html.push('>');
    html.push_str(&content.0);
    let _ = write!(html, "</{name}>");
    Html(html)
}

/// An element with text in it.
pub fn text_element(name: &'static str, attributes: &[(&'static str, &str)], text: &str) -> Html {
    element(name, attributes, &Html::text(text))
}

/// Pieces one after the other.
pub fn join(pieces: impl IntoIterator<Item = Html>) -> Html {
    let mut html = Html::default();
    for piece in pieces {
        html.push(&piece);
    }
    html
}

/// A link, if the address is a web address; else just the text.
pub fn link(address: &str, text: &str) -> Html {
    if address.starts_with("https://") || address.starts_with("http://") {
        text_element(
            "a",
            &[
                ("href", address),
                ("target", "_blank"),
                ("rel", "noopener noreferrer"),
            ],
            text,
        )
    } else {
        Html::text(text)
    }
}

/// Preformatted text.
pub fn preformatted(text: &str) -> Html {
    pre(&Html::text(text))
}

/// Preformatted content.
pub fn pre(content: &Html) -> Html {
    // Named because not every page that shows a notebook gives `pre` a font of its own.
    let style = "margin:0;line-height:1.35;font-family:monospace;background:transparent";
    // A parser drops the first line feed after the tag.
    let content = join([Html::text("\n"), content.clone()]);
    element(
        "pre",
        &[("class", "katlab-pre"), ("style", style)],
        &content,
    )
}

#[cfg(test)]
pub(crate) mod testing {
    //! Reads HTML back as a browser does, as far as our own markup goes.

    /// The texts between tags, with character references resolved.
    pub fn texts(html: &str) -> Vec<String> {
        let mut texts = Vec::new();
        let mut rest = html;
        while let Some(open) = rest.find('<') {
            texts.push(unescape(&rest[..open]));
            let close = rest[open..].find('>').expect("a tag is closed");
            rest = &rest[open + close + 1..];
        }
        texts.push(unescape(rest));
        texts.retain(|text| !text.is_empty());
        texts
    }

    /// Resolves the references that we write; any other ampersand is an error of ours.
    pub fn unescape(text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('&') {
            out.push_str(&rest[..at]);
            let end = rest[at..].find(';').expect("a reference is closed") + at;
            out.push_str(match &rest[at..=end] {
                "&amp;" => "&",
                "&lt;" => "<",
                "&gt;" => ">",
                "&quot;" => "\"",
                "&#39;" => "'",
                "&#13;" => "\r",
                other => panic!("unknown reference {other}"),
            });
            rest = &rest[end + 1..];
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_survives_as_text_and_as_attribute(text in any::<String>()) {
            let seen: String = text.chars().map(|c| if c.is_control() && !"\t\n\r".contains(c) { '\u{fffd}' } else { c }).collect();
            let html = element("td", &[("title", &text)], &Html::text(&text)).into_string();
            let content = testing::texts(&html);
            prop_assert_eq!(content.concat(), seen.clone());
            if !text.is_empty() {
                let start = html.find("title=\"").unwrap() + 7;
                let end = start + html[start..].find('"').unwrap();
                prop_assert_eq!(testing::unescape(&html[start..end]), seen);
            }
        }
    }

    #[test]
    fn a_link_goes_to_web_addresses_only() {
        assert!(
            link("https://example.org/?a=1&b=\"", "x")
                .as_str()
                .contains("href=\"https://example.org/?a=1&amp;b=&quot;\"")
        );
        assert_eq!(link("javascript:alert(1)", "x").as_str(), "x");
    }
}
