//! The end of a log.

/// How much of a log is kept, in bytes: its end.
pub const LOG_LIMIT: usize = 4_000_000;

/// A log as it comes, of which the end is held.
#[derive(Debug, Default)]
pub(super) struct Tail {
    text: String,
    /// Bytes that came, those left out among them.
    seen: u64,
}

impl Tail {
    /// Adds a line.
    pub(super) fn push(&mut self, line: &str) {
        self.seen += line.len() as u64 + 1;
        self.text.push_str(line);
        self.text.push('\n');
        // Cut seldom, so that a long log costs no more for each line.
        if self.text.len() > 2 * LOG_LIMIT {
            self.text.drain(..cut(&self.text));
        }
    }

    /// Bytes that came.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// The end of the log, with a line before it where it is not whole.
    pub(super) fn text(&self) -> String {
        let end = &self.text[cut(&self.text)..];
        let left_out = self.seen.saturating_sub(end.len() as u64);
        if left_out == 0 {
            return end.to_owned();
        }
        format!(
            "[katlab kept the end of this log: the first {left_out} of {} bytes are left out]\n{end}",
            self.seen
        )
    }
}

/// Where the end begins that is kept: at a line, or within one that is too long.
fn cut(text: &str) -> usize {
    if text.len() <= LOG_LIMIT {
        return 0;
    }
    let at = text.ceil_char_boundary(text.len() - LOG_LIMIT);
    match text[at..].find('\n') {
        Some(end) if at + end + 1 < text.len() => at + end + 1,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_log_is_kept_whole_and_of_a_long_one_the_last_lines() {
        let mut tail = Tail::default();
        tail.push("first");
        tail.push("");
        assert_eq!(tail.text(), "first\n\n");
        let line = "x".repeat(99_999);
        for _ in 0..200 {
            tail.push(&line);
        }
        tail.push("last");
        let text = tail.text();
        let (told, kept) = text.split_once('\n').unwrap();
        assert!(
            kept.len() <= LOG_LIMIT && kept.ends_with("\nlast\n"),
            "{}",
            kept.len()
        );
        assert_eq!(kept.lines().next(), Some(line.as_str()));
        assert_eq!(tail.seen(), 20_000_012);
        let left_out = 20_000_012 - kept.len();
        assert!(
            told.contains(&format!("the first {left_out} of 20000012 bytes")),
            "{told}"
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_within_between_characters() {
        let mut tail = Tail::default();
        tail.push(&"가".repeat(LOG_LIMIT));
        let text = tail.text();
        assert!(text.len() < LOG_LIMIT + 200 && text.ends_with("가\n"));
    }
}
