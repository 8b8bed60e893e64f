//! What is said of trials that have no number: how many there are, what they have instead, and what to
//! do.

use std::collections::BTreeMap;

use crate::trials::{Row, TrialTable};

/// So many examples of what is no number.
const EXAMPLES: usize = 3;

/// Why no trial has a number, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absence {
    /// What there is none of, and why.
    pub what: String,
    /// What to do next.
    pub hint: String,
}

impl TrialTable {
    /// How a line of a magic names what this table was read from: `mnist`, `mnist --deleted` or
    /// `--from DIR`.
    pub fn asked(&self) -> String {
        match self.flags.as_str() {
            "" => self.known_as.clone(),
            from if from.starts_with("--from ") => from.to_owned(),
            flags => format!("{} {flags}", self.known_as),
        }
    }

    /// Where the log of a trial can be read, as the subject of a sentence.
    pub(crate) fn log_of(&self, trial: &str) -> String {
        match self.flags.as_str() {
            "" => format!("`:logs {trial}`"),
            flags => format!("`:logs {trial} {flags}`"),
        }
    }

    /// How many trials have no number as objective, and what they have instead; `None` where all have
    /// one. It continues a sentence about those that have one.
    pub fn left_out(&self) -> Option<String> {
        let without: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| row.objective.is_none())
            .collect();
        let verb = if without.len() == 1 { "has" } else { "have" };
        (!without.is_empty()).then(|| {
            if without.iter().all(|row| row.unread.is_none()) {
                return format!(
                    "{} more {verb} no value of `{}`: {}",
                    without.len(),
                    self.objective,
                    statuses(&without)
                );
            }
            format!(
                "{} more {verb} no number as `{}`: {}",
                without.len(),
                self.objective,
                examples(&without)
            )
        })
    }

    /// Why no trial has a number as objective.
    pub fn absence(&self) -> Absence {
        let (experiment, metric, asked) = (&self.experiment, &self.objective, self.asked());
        if metric.is_empty() {
            return Absence {
                what: format!("`{experiment}` has no objective, by which its trials are ranked"),
                hint: format!(
                    "`:trials {asked}` shows what they have; `spec.objective` of the experiment names the metric"
                ),
            };
        }
        let all: Vec<&Row> = self.rows.iter().collect();
        let reported = all.iter().filter(|row| row.unread.is_some()).count();
        if reported > 0 && all.iter().all(|row| row.is_ended()) {
            return Absence {
                what: format!(
                    "none of the values of `{metric}` that {reported} of {} trials of `{experiment}` have is a number: {}",
                    all.len(),
                    examples(&all)
                ),
                hint: format!("`:analyze {asked} suspicious` says where to look"),
            };
        }
        missing(self, &all, metric)
    }
}

/// Why none of these rows has a value of a metric.
pub(crate) fn missing(table: &TrialTable, rows: &[&Row], metric: &str) -> Absence {
    let (experiment, asked) = (&table.experiment, table.asked());
    match rows {
        [] => Absence {
            what: format!("`{experiment}` has no trials"),
            hint: format!("`:why {asked}` says how it stands"),
        },
        [row] if row.is_ended() => Absence {
            what: format!(
                "`{}` ended as {} without a value of `{metric}`",
                row.name, row.status
            ),
            hint: format!("{} shows what it printed", table.log_of(&row.name)),
        },
        rows if rows.iter().all(|row| row.is_ended()) => Absence {
            what: format!(
                "{}{} trials of `{experiment}` ended without a value of `{metric}`: {}",
                if rows.len() == table.rows.len() {
                    "all "
                } else {
                    ""
                },
                rows.len(),
                statuses(rows)
            ),
            hint: format!("`:why {asked}` says why"),
        },
        [row] => Absence {
            what: format!(
                "`{}` has no value of `{metric}` yet{}",
                row.name,
                match row.status.as_str() {
                    "" => String::new(),
                    status => format!(": it is {status}"),
                }
            ),
            hint: format!("`:trials {asked}` shows how far the trials are"),
        },
        _ => Absence {
            what: format!("no trial of `{experiment}` has a value of `{metric}` yet"),
            hint: format!("`:trials {asked}` shows how far the trials are"),
        },
    }
}

/// `5 Failed, 1 Killed`.
fn statuses(rows: &[&Row]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        let status = match row.status.as_str() {
            "" => "not begun",
            status => status,
        };
        *counts.entry(status).or_default() += 1;
    }
    let counts = counts
        .into_iter()
        .map(|(status, count)| format!("{count} {status}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// What rows have in place of a number: words before `nan`, which says the least of what went wrong, and
/// that some have nothing last.
fn examples(rows: &[&Row]) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for text in rows.iter().filter_map(|row| row.unread.as_deref()) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.sort_by_key(|text| text.parse::<f64>().is_ok());
    let some_have_none = rows
        .iter()
        .any(|row| row.unread.is_none() && row.objective.is_none());
    let room = EXAMPLES - usize::from(some_have_none);
    let mut shown: Vec<String> = texts
        .iter()
        .take(room)
        .map(|text| format!("`{text}`"))
        .collect();
    if texts.len() > room {
        shown.push("…".to_owned());
    }
    if some_have_none {
        shown.push("none".to_owned());
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::tests::table;

    #[test]
    fn what_is_no_number_is_counted_and_shown() {
        let mut table = table(&[Some(0.5), None, None, None, None]);
        assert_eq!(
            table.left_out().unwrap(),
            "4 more have no value of `accuracy`: 4 Succeeded"
        );
        for (row, text) in table.rows[1..].iter_mut().zip(["nan", "0.9 %", "12ms"]) {
            row.unread = Some(text.to_owned());
        }
        assert_eq!(
            table.left_out().unwrap(),
            "4 more have no number as `accuracy`: `0.9 %`, `12ms`, …, none"
        );
        table.rows.truncate(1);
        assert_eq!(table.left_out(), None);
    }

    #[test]
    fn it_is_told_apart_why_there_is_no_value() {
        let mut table = table(&[None, None]);
        table.flags = "--from ./out".to_owned();
        table.rows[1].status = "Running".to_owned();
        let said = |table: &TrialTable| (table.absence().what, table.absence().hint);
        let (what, hint) = said(&table);
        assert!(what.ends_with("has a value of `accuracy` yet"), "{what}");
        assert!(hint.starts_with("`:trials --from ./out`"), "{hint}");
        table.rows[0].status = "Failed".to_owned();
        table.rows[1].status = "Failed".to_owned();
        let (what, hint) = said(&table);
        assert_eq!(
            what,
            "all 2 trials of `digits` ended without a value of `accuracy`: 2 Failed"
        );
        assert_eq!(hint, "`:why --from ./out` says why");
        table.rows[1].unread = Some("nan".to_owned());
        assert!(
            said(&table)
                .0
                .contains("1 of 2 trials of `digits` have is a number: `nan`, none")
        );
        table.rows.pop();
        assert!(said(&table).0.starts_with("`digits-0` ended as Failed"));
        table.rows.clear();
        assert_eq!(said(&table).0, "`digits` has no trials");
        table.objective.clear();
        assert!(said(&table).0.contains("has no objective"));
        table.flags = "--deleted".to_owned();
        assert_eq!(table.asked(), "digits --deleted");
        table.known_as = "digits@a1b2".to_owned();
        assert_eq!(table.asked(), "digits@a1b2 --deleted");
    }
}
