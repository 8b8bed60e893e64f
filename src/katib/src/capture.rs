//! What filters do with the lines of a log: what they capture, what they nearly captured, and why not.
//!
//! [`TextReader`](crate::metrics::TextReader) takes values; this says how it came to them. Both use the
//! same expressions, so what is captured here is what a collector would report.

use std::ops::Range;

use regex::Regex;

use crate::metrics::MetricsError;
use crate::names::DEFAULT_FILTER;
use crate::re2;

/// Filters of more bytes are not taken apart.
const LONGEST: usize = 400;

/// Tries filters on lines.
#[derive(Clone, Debug)]
pub struct Trial {
    filters: Vec<Filter>,
    names: Vec<String>,
}

#[derive(Clone, Debug)]
struct Filter {
    text: String,
    whole: Regex,
    /// What the filter begins with, longest first: how much of it, and the expression.
    beginnings: Vec<(usize, Regex)>,
}

/// What filters found in a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Values of wanted metrics, in order.
    pub captures: Vec<Capture>,
    /// Why a line that looks like one of the metric's gave none, or gave something else than it says.
    pub misses: Vec<Miss>,
}

/// A value that would be reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// Where the whole filter matched, in bytes of the line.
    pub whole: Range<usize>,
    /// Where the name stands.
    pub name: Range<usize>,
    /// Where the value stands.
    pub value: Range<usize>,
}

/// Why something was not captured, or not as it stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// A filter matched, but what it takes for the name is no metric that is wanted.
    Name {
        /// Where that name stands.
        at: Range<usize>,
    },
    /// The value goes on behind what was captured.
    Cut {
        /// What was captured.
        value: Range<usize>,
        /// How far the value goes.
        end: usize,
    },
    /// What was captured is no number.
    NoNumber {
        /// Where it stands.
        value: Range<usize>,
    },
    /// The line names a metric, and the beginning of a filter matches.
    Stopped {
        /// The filter.
        filter: String,
        /// What its beginning matched.
        matched: Range<usize>,
        /// How many bytes of the filter that beginning is.
        begun: usize,
    },
    /// The line names a metric, and no filter even begins to match.
    Nothing,
}

impl Trial {
    /// A trial of these filters (the default one where there are none) for these metrics; where none are
    /// named, every name is wanted.
    ///
    /// # Errors
    /// When a filter is no regular expression.
    pub fn new(filters: &[String], names: Vec<String>) -> Result<Self, MetricsError> {
        let default = [DEFAULT_FILTER.to_owned()];
        let filters = if filters.is_empty() {
            &default
        } else {
            filters
        };
        let filter = |text: &String| {
            let whole = re2::compile(text).map_err(|source| MetricsError::Filter {
                filter: text.clone(),
                source,
            })?;
            Ok(Filter {
                beginnings: beginnings(text),
                text: text.clone(),
                whole,
            })
        };
        Ok(Self {
            filters: filters.iter().map(filter).collect::<Result<_, _>>()?,
            names,
        })
    }

    /// Filters that can never report anything, since a collector wants two groups: name and value.
    pub fn without_groups(&self) -> Vec<&str> {
        self.filters
            .iter()
            .filter(|filter| filter.whole.captures_len() < 3)
            .map(|filter| filter.text.as_str())
            .collect()
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }

    /// Whether a collector would look at the line at all.
    fn is_looked_at(&self, line: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|name| line.contains(name.as_str()))
    }

    /// What the filters find in a line.
    pub fn line(&self, line: &str) -> Found {
        let mut found = Found::default();
        if !self.is_looked_at(line) {
            return found;
        }
        for filter in &self.filters {
            for groups in filter.whole.captures_iter(line) {
                // As a collector: fewer than two groups are none.
                let (Some(whole), true) = (groups.get(0), groups.len() >= 3) else {
                    continue;
                };
                let group = |at: usize| {
                    groups
                        .get(at)
                        .map_or(whole.end()..whole.end(), |one| trimmed(line, one.range()))
                };
                let (name, value) = (group(1), group(2));
                if !self.wants(&line[name.clone()]) {
                    found.misses.push(Miss::Name { at: name });
                    continue;
                }
                if let Some(end) = goes_on(line, &value) {
                    found.misses.push(Miss::Cut {
                        value: value.clone(),
                        end,
                    });
                } else if line[value.clone()].parse::<f64>().is_err() {
                    found.misses.push(Miss::NoNumber {
                        value: value.clone(),
                    });
                }
                found.captures.push(Capture {
                    whole: whole.range(),
                    name,
                    value,
                });
            }
        }
        if found.captures.is_empty() && found.misses.is_empty() && !self.names.is_empty() {
            found.misses.push(self.stopped(line));
        }
        found
    }

    /// How far the filter that comes furthest goes.
    fn stopped(&self, line: &str) -> Miss {
        let furthest = self.filters.iter().filter_map(|filter| {
            filter.beginnings.iter().find_map(|(begun, regex)| {
                let longest = regex
                    .find_iter(line)
                    .filter(|one| !one.is_empty())
                    .max_by_key(|one| one.len())?;
                Some(Miss::Stopped {
                    filter: filter.text.clone(),
                    matched: longest.range(),
                    begun: *begun,
                })
            })
        });
        let length = |miss: &Miss| match miss {
            Miss::Stopped { matched, .. } => matched.len(),
            _ => 0,
        };
        furthest.max_by_key(length).unwrap_or(Miss::Nothing)
    }
}

/// The range without the blanks at its ends, which a collector drops.
fn trimmed(line: &str, range: Range<usize>) -> Range<usize> {
    let text = &line[range.clone()];
    let start = range.start + (text.len() - text.trim_start().len());
    start..start + text.trim().len()
}

/// Where a value ends that goes on behind its capture: `1` of `1e-05`, `0.9` of `0.97`.
fn goes_on(line: &str, value: &Range<usize>) -> Option<usize> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
    let rest = &line[value.end..];
    let more = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
    let whole = line[value.start..value.end + more].trim_end_matches('.');
    let longer = value.start + whole.len();
    (longer > value.end && whole.parse::<f64>().is_ok()).then_some(longer)
}

/// What a filter begins with, longest first: cut between two of its characters, open groups closed.
fn beginnings(filter: &str) -> Vec<(usize, Regex)> {
    let mut found = Vec::new();
    // An expression for each character is too much of a filter that nobody wrote by hand.
    if filter.len() > LONGEST {
        return found;
    }
    let (mut depth, mut class, mut escaped) = (0usize, false, false);
    for (at, c) in filter.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' if !class => class = true,
            ']' => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth = depth.saturating_sub(1),
            _ => {}
        }
        let end = at + c.len_utf8();
        // Behind `|` and `(` stands nothing yet, and nothing is found everywhere.
        if escaped || class || matches!(c, '|' | '(') || end == filter.len() {
            continue;
        }
        let beginning = format!("{}{}", &filter[..end], ")".repeat(depth));
        if let Ok(regex) = re2::compile(&beginning) {
            found.push((end, regex));
        }
    }
    found.reverse();
    found
}

/// A filter that reads the metric's value on a line where `filters` do not, if a usual one does:
/// `name: value`, `name=value`, `"name": "value"`, `name value`.
pub fn proposal(line: &str, metric: &str) -> Option<String> {
    let number = r"([+-]?\d*\.?\d+([eE][-+]?\d+)?)";
    let name = if metric.chars().all(|c| c.is_alphanumeric() || c == '_') {
        r"(\w+)"
    } else {
        r"([\w|./-]+)"
    };
    let between = Regex::new(&format!(
        r#"(?:^|[^\w./-]){}(["']?\s*(?::|=|->|is)?\s*["']?)[+-]?\d*\.?\d"#,
        regex::escape(metric)
    ))
    .ok()?;
    let found = between.captures(line)?.get(1)?.as_str();
    if found.is_empty() {
        return None;
    }
    // Go knows these words as well; blanks may be more or fewer elsewhere.
    let mut sign = String::new();
    for part in found.split_inclusive(char::is_whitespace) {
        let text = part.trim_end();
        sign.push_str(&regex::escape(text));
        if text.len() < part.len() && !sign.ends_with(r"\s+") {
            sign.push_str(r"\s+");
        }
    }
    let filter = format!("{name}{sign}{number}");
    let trial = Trial::new(std::slice::from_ref(&filter), vec![metric.to_owned()]).ok()?;
    let found = trial.line(line);
    // Other names on the line are no matter of this metric's.
    let whole = |miss: &Miss| matches!(miss, Miss::Name { .. });
    (!found.captures.is_empty() && found.misses.iter().all(whole)).then_some(filter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::TextReader;
    use crate::types::ObjectiveSpec;

    const LAB: &str = r"\S+ {metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?([eE][-+]?\d+)?)}";

    fn trial(filter: &str) -> Trial {
        Trial::new(&[filter.to_owned()], vec!["accuracy".into(), "loss".into()]).unwrap()
    }

    #[test]
    fn what_is_captured_is_what_a_collector_reports() {
        let objective = ObjectiveSpec {
            objective_metric_name: "accuracy".into(),
            additional_metric_names: vec!["loss".into()],
            ..ObjectiveSpec::default()
        };
        for filter in [DEFAULT_FILTER, LAB, r"(\w+)=(\d+)", r"accuracy=\d+"] {
            let reader = TextReader::new(&objective, &[filter.to_owned()]).unwrap();
            let trial = trial(filter);
            for line in [
                "accuracy=0.97 loss=1e-3",
                "epoch 3 accuracy = 0.5",
                "2026-01-01T00:00:00Z {metricName: loss, metricValue: 0.125}",
                "precision=0.5",
                "accuracy is fine",
            ] {
                let read: Vec<(String, String)> = reader
                    .text(line.as_bytes())
                    .into_iter()
                    .map(|row| (row.name.to_string(), row.value.to_string()))
                    .collect();
                let found: Vec<(String, String)> = trial
                    .line(line)
                    .captures
                    .iter()
                    .map(|one| {
                        (
                            line[one.name.clone()].to_owned(),
                            line[one.value.clone()].to_owned(),
                        )
                    })
                    .collect();
                assert_eq!(read, found, "{filter} on {line}");
            }
        }
    }

    #[test]
    fn a_near_miss_says_where_the_filter_stopped() {
        let line = "12:00 {metricName: accuracy, metricValue= 0.97}";
        let found = trial(LAB).line(line);
        let [Miss::Stopped { matched, begun, .. }] = found.misses.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(
            &line[matched.clone()],
            "12:00 {metricName: accuracy, metricValue"
        );
        assert!(LAB[*begun..].starts_with(": ("), "{}", &LAB[*begun..]);
        assert_eq!(trial("nothing").line("accuracy: 1").misses, [Miss::Nothing]);
        assert_eq!(trial("nothing").line("precision: 1"), Found::default());
    }

    #[test]
    fn a_value_that_is_cut_and_a_name_that_is_not_wanted_are_told() {
        let line = "loss=1e-05";
        let cut = trial(r"(\w+)=(\d+)").line(line);
        assert_eq!(cut.captures.len(), 1);
        assert_eq!(
            cut.misses,
            [Miss::Cut {
                value: 5..6,
                end: 10
            }]
        );
        assert_eq!(
            trial(DEFAULT_FILTER).line("val_accuracy=0.5").misses,
            [Miss::Name { at: 0..12 }]
        );
        assert_eq!(
            trial(r"(\w+)=(\S*)").line("loss=nine").misses,
            [Miss::NoNumber { value: 5..9 }]
        );
        assert_eq!(
            trial("accuracy=[0-9.]+").without_groups(),
            ["accuracy=[0-9.]+"]
        );
    }

    #[test]
    fn a_proposal_reads_the_line_it_is_made_for() {
        for (line, metric) in [
            ("epoch 1 accuracy: 0.97", "accuracy"),
            ("epoch 1/10 accuracy=0.8997 loss=0.3720", "loss"),
            ("{\"accuracy\": 0.97, \"loss\": 1e-5}", "loss"),
            ("accuracy 0.97", "accuracy"),
            ("val/loss -> -3.5", "val/loss"),
            ("the loss is 12", "loss"),
        ] {
            let filter = proposal(line, metric).unwrap_or_else(|| panic!("{line}"));
            let trial = Trial::new(&[filter], vec![metric.to_owned()]).unwrap();
            assert_eq!(trial.line(line).captures.len(), 1, "{line}");
        }
        for (line, metric) in [
            ("accuracy was good", "accuracy"),
            ("inaccuracy: 1", "accuracy"),
        ] {
            assert_eq!(proposal(line, metric), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_filter_and_no_line_break_it(filter in r"[a-c()\[\]{}|*+?\\.d=: ]{0,20}", line in "[a-c=: 0-9.e-]{0,30}") {
            if let Ok(trial) = Trial::new(&[filter], vec!["a".into()]) {
                let _ = trial.line(&line);
            }
            let _ = proposal(&line, "a");
        }
    }
}
