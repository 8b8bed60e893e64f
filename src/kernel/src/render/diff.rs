//! What changes between two texts, line by line, as `diff -u` shows it.

use super::html::{self, Html};
use super::{counted, status::Status};
use crate::event::Bundle;

/// Unchanged lines around a change.
const CONTEXT: usize = 3;
/// How many lines are shown at most.
const SHOWN: usize = 400;
/// Above this many pairs of lines, what differs is shown as replaced as a whole.
const PAIRS: usize = 4_000_000;

/// A line of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line<'a> {
    Same(&'a str),
    Old(&'a str),
    New(&'a str),
}

/// The difference between two texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    lines: Vec<(char, String)>,
    /// How many lines only the new text has.
    pub added: usize,
    /// How many lines only the old text has.
    pub removed: usize,
}

impl Diff {
    /// Compares two texts.
    pub fn between(old: &str, new: &str) -> Self {
        let lines = compare(&lines_of(old), &lines_of(new));
        let added = lines
            .iter()
            .filter(|line| matches!(line, Line::New(_)))
            .count();
        let removed = lines
            .iter()
            .filter(|line| matches!(line, Line::Old(_)))
            .count();
        Self {
            lines: hunks(&lines),
            added,
            removed,
        }
    }

    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.added + self.removed == 0
    }

    /// How much changes, in words.
    pub fn summary(&self) -> String {
        let lines = |count| counted(count, "line");
        match (self.added, self.removed) {
            (0, 0) => "no change".to_owned(),
            (added, 0) => format!("{} added", lines(added)),
            (0, removed) => format!("{} removed", lines(removed)),
            (added, removed) => format!("{} added, {removed} removed", lines(added)),
        }
    }

    /// Plain text and HTML, under a title.
    pub fn bundle(&self, title: &str) -> Bundle {
        let head = html::text_element("div", &[("style", "font-weight:bold")], title);
        let html = html::element(
            "div",
            &[("class", "katlab katlab-diff")],
            &html::join([head, self.html()]),
        );
        Bundle::text(format!("{title}\n{}", self.plain())).with_html(html)
    }

    /// Lines with a sign in front of each.
    pub fn plain(&self) -> String {
        self.lines
            .iter()
            .map(|(sign, line)| format!("{sign}{line}"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The same in colour.
    pub fn html(&self) -> Html {
        let mut text = Html::default();
        for (sign, line) in &self.lines {
            let line = format!("{sign}{line}");
            let colour = match sign {
                '+' => Some(Status::Ok.colour()),
                '-' => Some(Status::Failed.colour()),
                '@' => Some(Status::Neutral.colour()),
                _ => None,
            };
            text.push(&match colour {
                Some(colour) => {
                    html::text_element("span", &[("style", &format!("color:{colour}"))], &line)
                }
                None => Html::text(&line),
            });
            text.push(&Html::text("\n"));
        }
        html::pre(&text)
    }
}

fn lines_of(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn compare<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (rest_old, rest_new) = (&old[head..], &new[head..]);
    let tail = rest_old
        .iter()
        .rev()
        .zip(rest_new.iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (mid_old, mid_new) = (
        &rest_old[..rest_old.len() - tail],
        &rest_new[..rest_new.len() - tail],
    );

    let mut lines: Vec<Line<'a>> = old[..head].iter().map(|line| Line::Same(line)).collect();
    if mid_old.len().saturating_mul(mid_new.len()) > PAIRS {
        lines.extend(mid_old.iter().map(|line| Line::Old(line)));
        lines.extend(mid_new.iter().map(|line| Line::New(line)));
    } else {
        lines.extend(longest_common(mid_old, mid_new));
    }
    lines.extend(old[old.len() - tail..].iter().map(|line| Line::Same(line)));
    lines
}

/// By the longest common subsequence.
fn longest_common<'a>(old: &[&'a str], new: &[&'a str]) -> Vec<Line<'a>> {
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i * width + j] = if old[i] == new[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            lines.push(Line::Same(old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len()
            || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            lines.push(Line::Old(old[i]));
            i += 1;
        } else {
            lines.push(Line::New(new[j]));
            j += 1;
        }
    }
    lines
}

/// The changes with a few lines around them.
fn hunks(lines: &[Line<'_>]) -> Vec<(char, String)> {
    let changed: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Line::Same(_)))
        .map(|(at, _)| at)
        .collect();
    let mut shown = Vec::new();
    let mut end = 0;
    let (mut old_number, mut new_number) = (1, 1);
    let mut counted = 0;
    for at in changed {
        if at < end {
            continue;
        }
        let start = at.saturating_sub(CONTEXT).max(end);
        // As far as the next change is near.
        let mut stop = at;
        let mut quiet = 0;
        while stop < lines.len() && quiet <= 2 * CONTEXT {
            quiet = if matches!(lines[stop], Line::Same(_)) {
                quiet + 1
            } else {
                0
            };
            stop += 1;
        }
        let stop = stop - quiet.saturating_sub(CONTEXT);
        let count = |range: &[Line<'_>]| {
            let old = range
                .iter()
                .filter(|line| !matches!(line, Line::New(_)))
                .count();
            let new = range
                .iter()
                .filter(|line| !matches!(line, Line::Old(_)))
                .count();
            (old, new)
        };
        let (old, new) = count(&lines[counted..start]);
        (old_number, new_number) = (old_number + old, new_number + new);
        counted = start;
        let (old, new) = count(&lines[start..stop]);
        shown.push(('@', format!("@ -{old_number},{old} +{new_number},{new} @@")));
        for line in &lines[start..stop] {
            shown.push(match line {
                Line::Same(line) => (' ', (*line).to_owned()),
                Line::Old(line) => ('-', (*line).to_owned()),
                Line::New(line) => ('+', (*line).to_owned()),
            });
        }
        end = stop;
    }
    if shown.len() > SHOWN {
        let more = shown.len() - SHOWN;
        shown.truncate(SHOWN);
        shown.push(('@', format!("@ {more} more lines")));
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_difference_reads_as_diff_writes_it() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n";
        let new = old.replace("b\n", "B\n").replace("k\n", "");
        let diff = Diff::between(old, &new);
        assert_eq!(
            diff.plain(),
            "@@ -1,5 +1,5 @@\n a\n-b\n+B\n c\n d\n e\n@@ -8,5 +8,4 @@\n h\n i\n j\n-k\n l"
        );
        assert_eq!(diff.summary(), "1 line added, 2 removed");
        assert!(Diff::between(old, old).is_empty());
    }

    #[test]
    fn large_texts_are_compared_in_no_time() {
        let old: String = (0..5000).map(|number| format!("old {number}\n")).collect();
        let new: String = (0..5000).map(|number| format!("new {number}\n")).collect();
        let diff = Diff::between(&old, &new);
        assert_eq!((diff.added, diff.removed), (5000, 5000));
        assert_eq!(diff.plain().lines().count(), SHOWN + 1);
    }

    proptest! {
        #[test]
        fn a_difference_turns_the_old_text_into_the_new(old in "[ab\\n]{0,30}", new in "[ab\\n]{0,30}") {
            let (old, new) = (lines_of(&old), lines_of(&new));
            let lines = compare(&old, &new);
            let before: Vec<&str> = lines.iter().filter_map(|line| match line { Line::Same(l) | Line::Old(l) => Some(*l), Line::New(_) => None }).collect();
            let after: Vec<&str> = lines.iter().filter_map(|line| match line { Line::Same(l) | Line::New(l) => Some(*l), Line::Old(_) => None }).collect();
            prop_assert_eq!(before, old);
            prop_assert_eq!(after, new);
        }

        #[test]
        fn every_change_is_shown(old in "[ab\\n]{0,60}", new in "[ab\\n]{0,60}") {
            let diff = Diff::between(&old, &new);
            let shown = |sign| diff.lines.iter().filter(|(have, _)| *have == sign).count();
            prop_assert_eq!((shown('+'), shown('-')), (diff.added, diff.removed));
        }
    }
}
