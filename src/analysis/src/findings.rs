//! Trials that are there twice, and trials that look wrong.

use std::collections::HashMap;

use katlab_katib::names::condition::{FAILED, METRICS_UNAVAILABLE};

use crate::scale::label;
use crate::stats::{median, quantile, spread};
use crate::trials::{Row, TrialTable, Value};

/// So many trials tell what is usual.
const USUAL: usize = 8;
/// Beyond this many deviations of the bulk a trial stands out.
const FAR: f64 = 6.0;
/// More than so many are no outliers any more.
const FEW: usize = 3;

/// Trials with the same parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Duplicates {
    /// Their names, oldest first.
    pub trials: Vec<String>,
    /// The parameters they share.
    pub parameters: Vec<(String, Value)>,
    /// The smallest and largest objective among them.
    pub objectives: Option<(f64, f64)>,
}

/// A trial that deserves a look.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspicion {
    /// The trial, or the first of several.
    pub trial: String,
    /// What is strange about it, with the numbers.
    pub why: String,
    /// What to do.
    pub next: String,
}

/// Rows with equal parameters, two at least, in the order of the first of each group.
pub(crate) fn groups<'a>(rows: impl Iterator<Item = &'a Row>) -> Vec<Vec<&'a Row>> {
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Vec<&Row>> = Vec::new();
    for row in rows.filter(|row| row.parameters.iter().any(Option::is_some)) {
        let place = *places
            .entry(format!("{:?}", row.parameters))
            .or_insert_with(|| {
                groups.push(Vec::new());
                groups.len() - 1
            });
        groups[place].push(row);
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// The trials that ran the same parameters more than once.
pub fn duplicates(table: &TrialTable) -> Vec<Duplicates> {
    groups(table.rows.iter())
        .into_iter()
        .map(|group| {
            let objectives = || group.iter().filter_map(|row| row.objective);
            let low = objectives().reduce(f64::min);
            Duplicates {
                trials: group.iter().map(|row| row.name.clone()).collect(),
                parameters: table
                    .parameters
                    .iter()
                    .zip(&group[0].parameters)
                    .filter_map(|(parameter, value)| Some((parameter.name.clone(), value.clone()?)))
                    .collect(),
                objectives: low.zip(objectives().reduce(f64::max)),
            }
        })
        .collect()
}

/// The trials that look wrong, in the order of the table; and whether there were enough to know what is
/// usual.
pub fn suspicious(table: &TrialTable) -> (Vec<Suspicion>, Option<String>) {
    let mut found = Vec::new();
    for row in &table.rows {
        not_a_number(table, row, &mut found);
        outside(table, row, &mut found);
    }
    failing(table, &mut found);
    let observed: Vec<(&Row, f64)> = table.observed().collect();
    stuck(table, &observed, &mut found);
    let warning = if observed.len() < USUAL {
        Some(format!(
            "{} too few to know what is usual: outliers were not looked for",
            match observed.len() {
                0 => "no trial has an objective:".to_owned(),
                1 => "1 trial with an objective is".to_owned(),
                count => format!("{count} trials with an objective are"),
            }
        ))
    } else {
        outliers(table, &observed, &mut found);
        quick(table, &mut found);
        None
    };
    let place: HashMap<&str, usize> = table
        .rows
        .iter()
        .enumerate()
        .map(|(at, row)| (row.name.as_str(), at))
        .collect();
    found.sort_by_key(|one| place.get(one.trial.as_str()).copied());
    (found, warning)
}

fn suspect(row: &Row, why: String, next: impl Into<String>) -> Suspicion {
    Suspicion {
        trial: row.name.clone(),
        why,
        next: next.into(),
    }
}

fn not_a_number(table: &TrialTable, row: &Row, found: &mut Vec<Suspicion>) {
    if let Some(value) = &row.not_finite {
        found.push(suspect(
            row,
            format!("its last {} is {value}", table.objective),
            format!(
                "{} shows where the training ran off",
                table.log_of(&row.name)
            ),
        ));
    } else if let Some(text) = &row.unread {
        found.push(suspect(
            row,
            format!("its {} is `{text}`, which is no number", table.objective),
            "let the training print the bare number, without a unit",
        ));
    }
}

fn outside(table: &TrialTable, row: &Row, found: &mut Vec<Suspicion>) {
    for (parameter, value) in table.parameters.iter().zip(&row.parameters) {
        let wrong = match (value, parameter.bounds) {
            (Some(Value::Number(number)), Some((low, high))) => {
                let room = (high - low).abs() * 1e-9;
                *number < low - room || *number > high + room
            }
            (Some(value @ Value::Text(_)), _) if !parameter.choices.is_empty() => {
                !parameter.choices.contains(&value.to_string())
            }
            _ => false,
        };
        if let (true, Some(value)) = (wrong, value) {
            found.push(suspect(
                row,
                format!(
                    "its {} {value} lies outside of the search space",
                    parameter.name
                ),
                "the space was changed, or the trial was made by hand",
            ));
        }
    }
}

/// Trials that brought no result, and what they alone have in common.
fn failing(table: &TrialTable, found: &mut Vec<Suspicion>) {
    let (failed, others): (Vec<&Row>, Vec<&Row>) = table
        .rows
        .iter()
        .filter(|row| row.is_ended() && row.not_finite.is_none() && row.unread.is_none())
        .partition(|row| matches!(row.status.as_str(), FAILED | METRICS_UNAVAILABLE));
    let Some(first) = failed.first() else { return };
    let what = match failed.iter().all(|row| row.status == FAILED) {
        true => "failed",
        false => "brought no result",
    };
    let common: Vec<String> = (0..table.parameters.len())
        .filter_map(|at| in_common(table, at, &failed, &others))
        .collect();
    let common = match common.as_slice() {
        [] => String::new(),
        all => format!("; each of them, and no other, has {}", all.join(" and ")),
    };
    let (count, all) = (failed.len(), table.rows.len());
    let trials = if all == 1 { "trial" } else { "trials" };
    let why = format!("`:why {} {}", first.name, table.flags);
    found.push(suspect(
        first,
        format!("{count} of {all} {trials} {what}{common}"),
        format!("{}` says why", why.trim_end()),
    ));
}

/// What tells some rows from all others on one axis, unless chance would do so in one case of ten.
fn in_common(table: &TrialTable, at: usize, some: &[&Row], others: &[&Row]) -> Option<String> {
    let name = &table.parameters[at].name;
    let values = |rows: &[&Row]| -> Option<Vec<Value>> {
        rows.iter().map(|row| row.parameters[at].clone()).collect()
    };
    let (some, others) = (values(some)?, values(others)?);
    if some.len() < 2 {
        return None;
    }
    // In so many ways as many rows are drawn from all.
    let ways: f64 = (0..others.len())
        .map(|drawn| (some.len() + drawn + 1) as f64 / (drawn + 1) as f64)
        .product();
    if some.iter().all(|value| *value == some[0]) && !others.contains(&some[0]) {
        return (ways > 10.0).then(|| format!("`{name}` = {}", some[0]));
    }
    let numbers = |values: &[Value]| -> Option<Vec<f64>> {
        let mut numbers: Vec<f64> = values.iter().map(Value::number).collect::<Option<_>>()?;
        numbers.sort_by(f64::total_cmp);
        Some(numbers)
    };
    let (some, others) = (numbers(&some)?, numbers(&others)?);
    let (&[low, ..], &[.., high]) = (some.as_slice(), some.as_slice()) else {
        return None;
    };
    match (others.first(), others.last()) {
        // They may lie at either end.
        _ if ways <= 20.0 => None,
        (_, Some(most)) if low > *most => Some(format!("`{name}` > {}", label(*most))),
        (Some(least), _) if high < *least => Some(format!("`{name}` < {}", label(*least))),
        _ => None,
    }
}

/// Many trials of different parameters with the very same value: the metric may not measure anything.
fn stuck(table: &TrialTable, observed: &[(&Row, f64)], found: &mut Vec<Suspicion>) {
    let mut equal: HashMap<u64, Vec<&Row>> = HashMap::new();
    for (row, value) in observed {
        equal.entry(value.to_bits()).or_default().push(row);
    }
    let mut groups: Vec<(f64, Vec<&Row>)> = equal
        .into_iter()
        .map(|(bits, rows)| (f64::from_bits(bits), rows))
        .filter(|(_, rows)| rows.len() >= 3 && rows.len() * 4 >= observed.len())
        .filter(|(_, rows)| rows.iter().any(|row| row.parameters != rows[0].parameters))
        .collect();
    groups.sort_by(|left, right| left.0.total_cmp(&right.0));
    for (value, rows) in groups {
        found.push(suspect(
            rows[0],
            format!(
                "{} of {} trials with different parameters have exactly the same {}, {}",
                rows.len(),
                observed.len(),
                table.objective,
                label(value)
            ),
            format!(
                "{} shows whether the parameters reach the program and what it prints",
                table.log_of(&rows[0].name)
            ),
        ));
    }
}

/// Bad trials are what a search is for; a few far better than all others may be too good to be true.
fn outliers(table: &TrialTable, observed: &[(&Row, f64)], found: &mut Vec<Suspicion>) {
    let values: Vec<f64> = observed.iter().map(|pair| pair.1).collect();
    let (Some(middle), Some(spread)) = (median(&values), spread(&values)) else {
        return;
    };
    let ranked = table.ranked();
    // They stand alone where the gap below them is wider than from there to the middle, twice.
    let alone = (1..=FEW.min(ranked.len() - 1)).rev().find(|count| {
        let (last, next) = (ranked[count - 1].1, ranked[*count].1);
        (last - next).abs() > 2.0 * (next - middle).abs()
    });
    for (row, value) in &ranked[..alone.unwrap_or(0)] {
        let far = (value - middle).abs() / spread;
        if far > FAR {
            found.push(suspect(
                row,
                format!(
                    "its {} {} is {} deviations better than the middle, {}",
                    table.objective,
                    label(*value),
                    label(far.round()),
                    label(middle)
                ),
                "run it again before believing it: data may have leaked, or a unit may differ",
            ));
        }
    }
}

/// Trials that ended far sooner than others and yet have a value.
fn quick(table: &TrialTable, found: &mut Vec<Suspicion>) {
    let timed: Vec<(&Row, f64)> = table
        .rows
        .iter()
        .filter(|row| row.objective.is_some())
        .filter_map(|row| Some((row, row.seconds()?)))
        .collect();
    let mut seconds: Vec<f64> = timed.iter().map(|pair| pair.1).collect();
    seconds.sort_by(f64::total_cmp);
    let (Some(middle), Some(low)) = (quantile(&seconds, 0.5), quantile(&seconds, 0.25)) else {
        return;
    };
    for (row, took) in timed {
        if middle >= 10.0 && took < middle / 5.0 && took < low / 2.0 {
            found.push(suspect(
                row,
                format!(
                    "it took {} s, where the middle is {} s",
                    label(took),
                    label(middle)
                ),
                format!(
                    "{} shows whether it did all its work",
                    table.log_of(&row.name)
                ),
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trials::tests::{space, table};

    #[test]
    fn trials_with_equal_parameters_are_found_with_how_far_they_differ() {
        let mut table = table(&[Some(0.5), Some(0.9), Some(0.7)]);
        assert!(duplicates(&table).is_empty());
        table.rows[2].parameters = table.rows[0].parameters.clone();
        let found = duplicates(&table);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].trials, ["digits-0", "digits-2"]);
        assert_eq!(found[0].objectives, Some((0.5, 0.7)));
    }

    #[test]
    fn what_looks_wrong_is_named_with_its_numbers() {
        let mut table = space(40, |lr, _, _| 0.5 + lr * 0.1);
        assert_eq!(suspicious(&table), (Vec::new(), None));
        table.rows[3].objective = Some(9.0);
        table.rows[5].not_finite = Some("nan".into());
        table.rows[7].parameters[0] = Some(Value::Number(5.0));
        table.rows[9].times.ended = table.rows[9].times.created.map(|created| created + 1.0);
        let (found, _) = suspicious(&table);
        let said: Vec<(&str, &str)> = found
            .iter()
            .map(|one| (one.trial.as_str(), one.why.as_str()))
            .collect();
        assert_eq!(said.len(), 4, "{said:?}");
        assert!(
            said[0].0 == "digits-3" && said[0].1.contains("deviations better"),
            "{said:?}"
        );
        assert_eq!(said[1], ("digits-5", "its last accuracy is nan"));
        assert!(
            said[2].1.contains("outside of the search space"),
            "{said:?}"
        );
        assert!(said[3].1.starts_with("it took 1 s"), "{said:?}");
    }

    #[test]
    fn failed_trials_are_told_with_what_they_alone_have_in_common() {
        let mut table = space(40, |lr, _, _| 0.5 + lr * 0.1);
        let said = |table: &TrialTable| {
            let (found, _) = suspicious(table);
            let one = found.into_iter().next().unwrap();
            (one.why, one.next)
        };
        let fail = |row: &mut Row| {
            row.status = FAILED.to_owned();
            row.objective = None;
        };
        fail(&mut table.rows[3]);
        let why = "1 of 40 trials failed".to_owned();
        assert_eq!(said(&table), (why, "`:why digits-3` says why".to_owned()));
        let adam = |row: &&mut Row| row.parameters[2] == Some(Value::Text("adam".into()));
        table.rows.iter_mut().filter(adam).for_each(fail);
        table.rows[3].status = METRICS_UNAVAILABLE.to_owned();
        let (why, _) = said(&table);
        assert!(why.contains("trials brought no result"), "{why}");
        let mut table = space(40, |lr, _, _| 0.5 + lr * 0.1);
        table.rows.iter_mut().filter(adam).for_each(fail);
        let (why, _) = said(&table);
        assert!(
            why.ends_with("failed; each of them, and no other, has `optimizer` = adam"),
            "{why}"
        );
        let mut table = space(40, |lr, _, _| 0.5 + lr * 0.1);
        let large =
            |row: &&mut Row| row.parameters[1].as_ref().and_then(Value::number) > Some(100.0);
        table.rows.iter_mut().filter(large).for_each(fail);
        let (why, _) = said(&table);
        assert!(why.contains("has `units` > "), "{why}");
        table.rows.iter_mut().for_each(fail);
        assert_eq!(said(&table).0, "40 of 40 trials failed");
    }

    #[test]
    fn a_metric_that_never_changes_is_suspicious() {
        let (found, _) = suspicious(&space(12, |_, _, _| 0.1));
        assert!(
            found[0]
                .why
                .starts_with("12 of 12 trials with different parameters"),
            "{found:?}"
        );
    }
}
