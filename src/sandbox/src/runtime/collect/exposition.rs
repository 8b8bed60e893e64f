//! Prometheus' text exposition format: one sample a line, `name{label="value"} value [milliseconds]`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use katlab_katib::metrics::MetricRow;
use katlab_katib::types::ObjectiveSpec;

/// One line.
#[derive(Debug, PartialEq, Eq)]
struct Sample<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, String>,
    value: &'a str,
    time: Option<Timestamp>,
}

/// The wanted metrics on a page. A metric's name may have labels, `loss{set="train"}`: then it is the sample
/// with just these labels. Without, it is the sample without labels, or else the first one of that name.
/// A sample without a time has that of the reading.
pub(super) fn rows(objective: &ObjectiveSpec, page: &str, now: Timestamp) -> Vec<MetricRow> {
    let samples: Vec<Sample<'_>> = page.lines().filter_map(sample).collect();
    let wanted = objective.metric_names().filter_map(|metric| {
        let (name, labels) = series(metric)?;
        let is_exact = |found: &&Sample<'_>| found.name == name && found.labels == labels;
        let is_any = |found: &&Sample<'_>| found.name == name && labels.is_empty();
        let found = samples.iter().find(is_exact);
        let found = found.or_else(|| samples.iter().find(is_any))?;
        let time = found.time.unwrap_or(now).to_string();
        Some(MetricRow::new(time, metric, found.value))
    });
    wanted.collect()
}

fn sample(line: &str) -> Option<Sample<'_>> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let (name, labels, rest) = head(line)?;
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?;
    let time = match words.next() {
        Some(text) => Some(Timestamp::from_millisecond(text.parse().ok()?).ok()?),
        None => None,
    };
    words.next().is_none().then_some(Sample {
        name,
        labels,
        value,
        time,
    })
}

fn series(text: &str) -> Option<(&str, BTreeMap<&str, String>)> {
    let (name, labels, rest) = head(text.trim())?;
    rest.is_empty().then_some((name, labels))
}

/// A name, its labels, and what follows.
fn head(text: &str) -> Option<(&str, BTreeMap<&str, String>, &str)> {
    let end = text.find(|c: char| c == '{' || c.is_ascii_whitespace());
    let (name, mut rest) = text.split_at(end.unwrap_or(text.len()));
    if name.is_empty() {
        return None;
    }
    let mut labels = BTreeMap::new();
    let Some(inner) = rest.trim_start().strip_prefix('{') else {
        return Some((name, labels, rest.trim_start()));
    };
    rest = inner;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((name, labels, after.trim_start()));
        }
        let (label, after) = rest.split_once('=')?;
        let (value, after) = quoted(after.trim_start())?;
        labels.insert(label.trim(), value);
        rest = after;
    }
}

/// A label's value, with `\\`, `\"` and `\n` resolved, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &inner[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn samples_are_found_by_name_and_labels() {
        let page = "# HELP loss of the training\n# TYPE loss gauge\n\
                    loss{set=\"train\", note=\"a \\\"b\\\\ }\"} 0.25 1709574908250\n\
                    loss{set=\"test\"} 0.5\naccuracy 9.1e-01\naccuracy_total 3\n\
                    steps{} +Inf\nbroken{set=} 1\nbroken 1 2 3\n";
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("time");
        for (metric, expected) in [
            ("accuracy", Some("2026-01-01T00:00:00Z 9.1e-01")),
            ("loss", Some("2024-03-04T17:55:08.25Z 0.25")),
            ("loss{set=\"test\"}", Some("2026-01-01T00:00:00Z 0.5")),
            ("loss{set=\"all\"}", None),
            (
                "loss{note=\"a \\\"b\\\\ }\",set=\"train\"}",
                Some("2024-03-04T17:55:08.25Z 0.25"),
            ),
            ("steps", Some("2026-01-01T00:00:00Z +Inf")),
            ("accuracy_tota", None),
            ("broken", None),
        ] {
            let objective = json!({"objectiveMetricName": metric});
            let objective = serde_json::from_value(objective).expect("objective");
            let found = rows(&objective, page, now);
            let found = found
                .first()
                .map(|row| format!("{} {}", row.time, row.value));
            assert_eq!(found.as_deref(), expected, "{metric}");
        }
    }
}
