//! How a failed magic looks in a cell: what failed, why, and what to do next. Never a backtrace.

use crate::magics::MagicError;

/// An error as clients of a kernel want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedError {
    /// The kind of error, one word.
    pub ename: String,
    /// The message.
    pub evalue: String,
    /// What the cell shows, line by line, with terminal colours.
    pub traceback: Vec<String>,
}

/// Renders an error for a cell.
pub fn render(error: &MagicError) -> RenderedError {
    RenderedError {
        ename: error.kind.name().to_owned(),
        evalue: error.message.clone(),
        traceback: lines(error, true),
    }
}

/// The same for a terminal or a log, without colours.
pub fn plain(error: &MagicError) -> String {
    lines(error, false).join("\n")
}

fn lines(error: &MagicError, colour: bool) -> Vec<String> {
    let paint = |code: &str, text: &str| {
        if colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    };
    let mut lines = Vec::new();
    for (at, line) in error.message.lines().enumerate() {
        lines.push(if at == 0 {
            format!("{} {line}", paint("1;31", "✗"))
        } else {
            format!("  {line}")
        });
    }
    if let Some(detail) = &error.detail {
        lines.push(String::new());
        lines.extend(detail.trim_end().lines().map(str::to_owned));
    }
    if let Some(hint) = &error.hint {
        if error.detail.is_some() {
            lines.push(String::new());
        }
        for (at, line) in sentence(hint).lines().enumerate() {
            lines.push(if at == 0 {
                format!("{} {line}", paint("36", "→"))
            } else {
                format!("  {line}")
            });
        }
    }
    lines
}

/// Advice reads as a sentence, whoever gave it.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut chars = text.chars();
    let first: String = chars
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    let ends = text.ends_with(['.', '!', '?', ':']);
    format!(
        "{first}{}{}",
        chars.as_str(),
        if ends || text.is_empty() { "" } else { "." }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_and_then_what_to_do() {
        let error = MagicError::new("the registry refused\nthe password")
            .hint("ask for another")
            .detail("401");
        assert_eq!(
            plain(&error),
            "✗ the registry refused\n  the password\n\n401\n\n→ Ask for another."
        );
        let rendered = render(&error);
        assert_eq!(rendered.ename, "MagicError");
        assert!(rendered.traceback[0].starts_with('\u{1b}'));
        assert_eq!(
            render(&MagicError::interrupted()).ename,
            "KeyboardInterrupt"
        );
    }
}
