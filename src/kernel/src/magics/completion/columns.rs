//! Columns of a list behind the flags that name them.

use crate::session::Session;

/// What may stand in a bare word of a line.
fn is_bare(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:@%+".contains(c);
    !text.is_empty() && text.chars().all(is_plain)
}

/// The columns that could be meant at the end of a flag's value, and where in it they begin; `None` where the
/// flag names no columns. They are those of the list that this magic made last.
pub(super) fn of_list(
    session: &Session,
    magic: &str,
    flag: &str,
    typed: &str,
) -> Option<(Vec<String>, usize)> {
    let at = match flag {
        "sort" | "columns" => {
            let at = typed.rfind(',').map_or(0, |comma| comma + 1);
            at + typed[at..]
                .chars()
                .take_while(|c| "'\" ".contains(*c))
                .count()
        }
        "conditions" => word_start(typed),
        _ => return None,
    };
    let begun = typed[at..].trim_start_matches('`');
    let listed = session.listed(magic);
    if flag == "conditions"
        && let Some(values) = compared(&typed[..at]).and_then(|column| listed.values.get(column))
    {
        let values = values.iter().filter(|value| value.starts_with(begun));
        return Some((values.map(|value| worded(value)).collect(), at));
    }
    let columns = listed.columns;
    let found = |begun: &str| -> Vec<String> {
        // `learn` finds the parameter `--learning_rate`.
        let is_begun = |column: &&String| {
            column.starts_with(begun) || column.trim_start_matches('-').starts_with(begun)
        };
        let columns = columns.iter().filter(is_begun);
        match flag {
            "conditions" => columns.map(|column| quoted(column)).collect(),
            _ => columns.filter(|column| is_bare(column)).cloned().collect(),
        }
    };
    let names = found(begun);
    // Largest first; a column may begin with a minus sign itself.
    match begun.strip_prefix('-') {
        Some(rest) if flag == "sort" && names.is_empty() => Some((found(rest), at + 1)),
        _ => Some((names, at)),
    }
}

/// Where the last word of a condition begins.
fn word_start(typed: &str) -> usize {
    let is_column = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    let before = typed.trim_end_matches(is_column);
    // The beginning of a column that stands in backticks.
    before.strip_suffix('`').map_or(before.len(), str::len)
}

/// The column whose value is written next, where a condition so far ends in `COLUMN =` or its like.
fn compared(before: &str) -> Option<&str> {
    let before = before.trim_end();
    let column = before.trim_end_matches(['=', '!', '~']);
    if column.len() == before.len() {
        return None;
    }
    let column = column.trim_end();
    match column.strip_suffix('`') {
        Some(column) => column.rfind('`').map(|open| &column[open + 1..]),
        None => Some(&column[word_start(column)..]),
    }
}

/// A value as it stands in a condition.
fn worded(value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    match value.chars().all(is_plain) {
        true => value.to_owned(),
        // In single quotes stands the condition.
        false => format!("\"{}\"", value.replace('"', "\\\"")),
    }
}

/// A column as it stands in a condition.
fn quoted(column: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-.".contains(c);
    match column.chars().all(is_plain) {
        true => column.to_owned(),
        false => format!("`{column}`"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::magics::tests::session;
    use crate::session::Listed;

    fn words(all: &[&str]) -> BTreeSet<String> {
        all.iter().map(|word| (*word).to_owned()).collect()
    }

    fn completed(flag: &str, typed: &str) -> Option<(Vec<String>, usize)> {
        let (_home, session) = session();
        let columns = ["name", "status", "--lr", "accuracy", "val loss"];
        let listed = Listed {
            columns: columns.map(str::to_owned).to_vec(),
            values: [
                ("status".to_owned(), words(&["Failed", "Succeeded"])),
                ("val loss".to_owned(), words(&["none", "not yet"])),
            ]
            .into(),
            ..Listed::default()
        };
        session.note_list("trials", listed);
        of_list(&session, "trials", flag, typed)
    }

    #[test]
    fn columns_are_completed_where_a_flag_names_them() {
        for (flag, typed, names, at) in [
            ("sort", "", &["name", "status", "--lr", "accuracy"][..], 0),
            ("sort", "-acc", &["accuracy"], 1),
            ("sort", "--", &["--lr"], 0),
            ("columns", "lr", &["--lr"], 0),
            ("sort", "name,-lr", &["--lr"], 6),
            ("conditions", "'lr", &["--lr"], 1),
            ("sort", "name,-st", &["status"], 6),
            ("columns", "name, ac", &["accuracy"], 6),
            ("conditions", "'accuracy > 0.9 and st", &["status"], 20),
            ("conditions", "'va", &["`val loss`"], 1),
            ("conditions", "'`va", &["`val loss`"], 1),
            ("conditions", "'accuracy > 1 and zz", &[], 18),
            ("conditions", "status=Fa", &["Failed"], 7),
            (
                "conditions",
                "'accuracy > 1 and status != ",
                &["Failed", "Succeeded"],
                28,
            ),
            (
                "conditions",
                "'`val loss` = n",
                &["none", "\"not yet\""],
                14,
            ),
            ("conditions", "'accuracy = st", &["status"], 12),
        ] {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(completed(flag, typed), Some((names, at)), "{flag} {typed}");
        }
        assert_eq!(completed("save", ""), None);
    }
}
