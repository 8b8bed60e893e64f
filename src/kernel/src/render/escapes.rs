//! Text that was meant for a terminal, without what only a terminal understands.

use super::table::one_line;

/// How many characters of a line are shown.
const LINE_WIDTH: usize = 160;

/// A line without terminal escapes, of bounded length; of a line that was drawn over, what stood last.
pub(crate) fn plain_line(line: &str) -> String {
    let line = line.trim_end_matches(['\r', '\n']);
    let line = line.rsplit('\r').next().unwrap_or(line);
    let line = one_line(&without_escapes(line).replace('\t', "    "));
    match line.char_indices().nth(LINE_WIDTH) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// Text without terminal escape sequences.
pub fn without_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '\u{1b}' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('[') => {
                // Up to the final byte of the sequence.
                for char in chars.by_ref() {
                    if ('\u{40}'..='\u{7e}').contains(&char) {
                        break;
                    }
                }
            }
            Some(']') => {
                while let Some(char) = chars.next() {
                    if char == '\u{7}' || (char == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                        break;
                    }
                }
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_escapes_and_what_was_drawn_over() {
        assert_eq!(plain_line("\u{1b}[31mred\u{1b}[0m\r\n"), "red");
        assert_eq!(plain_line("10%\r50%\r100%\n"), "100%");
        assert_eq!(plain_line(&"x".repeat(500)).chars().count(), LINE_WIDTH + 1);
        assert_eq!(
            without_escapes("\u{1b}]0;title\u{7}a\u{1b}]8;;u\u{1b}\\b"),
            "ab"
        );
    }
}
