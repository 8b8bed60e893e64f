//! What filters do with the lines of a log: what they capture, what they nearly captured, and why not.
//!
//! [`TextReader`](crate::metrics::TextReader) takes values; this says how it came to them. Both use the
//! same expressions, so what is captured here is what a collector would report.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use crate::metrics::{self, MetricsError};
use crate::names::DEFAULT_FILTER;
use crate::re2;

/// Filters of more bytes are not taken apart.
const LONGEST: usize = 400;

/// What stands where a value should is looked at so far.
const VALUE: usize = 120;

/// What usually stands between a metric's name and its value.
const SIGN: &str = r#"["']?\s*(?::|=|->|is)?\s*"#;

/// A number, as programs print them.
const NUMBER: &str = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?";

/// Tries filters on lines.
#[derive(Clone, Debug)]
pub struct Trial {
    filters: Vec<Filter>,
    names: Vec<String>,
    /// Each name, with what stands between it and its value.
    named: Vec<Regex>,
    /// Finds lines that may have a word like a name; there are none where every name is wanted.
    hint: Option<Regex>,
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
    /// Which filter matched, from 0.
    pub filter: usize,
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
    /// The captured number ends at a comma, with which it goes on: `0` of `0,91`.
    Comma {
        /// What was captured.
        value: Range<usize>,
        /// How far the value goes.
        end: usize,
    },
    /// The value is `nan` or infinite.
    NotFinite {
        /// Where it stands.
        value: Range<usize>,
    },
    /// A number stands there with something around it: `tensor(0.91)`, `'0.91'`.
    Wrapped {
        /// Where all of it stands.
        value: Range<usize>,
        /// Where the number in it stands.
        number: Range<usize>,
    },
    /// What stands there is no number.
    NoNumber {
        /// Where it stands; nowhere if nothing does.
        value: Range<usize>,
    },
    /// The line has a value of something that is called nearly as a metric: `Accuracy`, `val_accuracy`, `acc`.
    Alike {
        /// Where that name stands.
        at: Range<usize>,
        /// The metric.
        metric: String,
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

impl Capture {
    /// Whether it stands for something: neither nothing nor, by its own words, no number.
    pub fn is_value(&self, line: &str) -> bool {
        !metrics::is_void(&line[self.value.clone()])
    }

    /// The number, if it is a finite one.
    pub fn number(&self, line: &str) -> Option<f64> {
        metrics::number(&line[self.value.clone()])
    }
}

impl Miss {
    /// What went wrong on the line, and what to change; `names` are the wanted metrics, the objective first.
    pub fn words(&self, line: &str, names: &[String]) -> String {
        let text = |range: &Range<usize>| &line[range.clone()];
        match self {
            Self::Name { at } => format!(
                "the name it captured, `{}`, is none of {}",
                text(at),
                names.join(", ")
            ),
            Self::Alike { at, metric } => {
                let word = text(at);
                let is_objective = names.first() == Some(metric);
                let field = match is_objective {
                    true => format!("objectiveMetricName: {word}"),
                    false => format!("additionalMetricNames: [{word}]"),
                };
                format!(
                    "names are compared exactly, and `{word}` is not {metric}: write {field} in the experiment, or print {metric}"
                )
            }
            Self::Cut { value, end } => format!(
                "the value is cut: `{}` of `{}`",
                text(value),
                &line[value.start..*end]
            ),
            Self::Comma { value, end } => format!(
                "`{}` is read as {}, for a comma ends a number: print a decimal point, and nothing between thousands",
                &line[value.start..*end],
                text(value)
            ),
            Self::NotFinite { value } => format!(
                "the value, `{}`, is no finite number: training diverged, and this counts as no value",
                text(value)
            ),
            Self::Wrapped { value, number } => format!(
                "the value, `{}`, is no number: print a plain {}",
                text(value),
                text(number)
            ),
            Self::NoNumber { value } if value.is_empty() => {
                "no value stands behind the name".into()
            }
            Self::NoNumber { value } => format!("the value, `{}`, is no number", text(value)),
            Self::Stopped { filter, begun, .. } => format!(
                "the filter matches so far; then it wants `{}`",
                &filter[*begun..]
            ),
            Self::Nothing => "no part of the filter matches here".to_owned(),
        }
    }

    /// Where on the line it is.
    pub fn place(&self) -> Option<Range<usize>> {
        match self {
            Self::Name { at } | Self::Alike { at, .. } => Some(at.clone()),
            Self::Cut { value, end } | Self::Comma { value, end } => Some(value.start..*end),
            Self::NotFinite { value } | Self::Wrapped { value, .. } | Self::NoNumber { value } => {
                Some(value.clone())
            }
            Self::Stopped { matched, .. } => Some(matched.clone()),
            Self::Nothing => None,
        }
    }

    /// Whether it says why the value of a metric that is named rightly is none.
    pub fn is_of_value(&self) -> bool {
        matches!(
            self,
            Self::NotFinite { .. } | Self::Wrapped { .. } | Self::NoNumber { .. }
        )
    }
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
        let named = names.iter().filter_map(|name| {
            Regex::new(&format!(r"(?:^|[^\w./-]){}{SIGN}", regex::escape(name))).ok()
        });
        Ok(Self {
            filters: filters.iter().map(filter).collect::<Result<_, _>>()?,
            named: named.collect(),
            hint: hint(&names),
            names,
        })
    }

    /// The filters that read something on these lines which this one does not, and this one behind them:
    /// a list that replaces the filters and loses nothing.
    pub fn and<'l>(&self, filter: &str, lines: impl IntoIterator<Item = &'l str>) -> Vec<String> {
        let mut all = Vec::new();
        if let Ok(new) = Self::new(&[filter.to_owned()], self.names.clone()) {
            let mut needed = vec![false; self.filters.len()];
            for line in lines {
                let is_read = |captures: &[Capture], one: &Capture| {
                    captures
                        .iter()
                        .any(|other| (&other.name, &other.value) == (&one.name, &one.value))
                };
                let read = self.line(line).captures;
                let anew = match read.is_empty() {
                    true => Vec::new(),
                    false => new.line(line).captures,
                };
                for one in read.iter().filter(|one| one.is_value(line)) {
                    needed[one.filter] |= !is_read(&anew, one);
                }
            }
            let needed = self
                .filters
                .iter()
                .zip(needed)
                .filter(|(_, needed)| *needed);
            all.extend(needed.map(|(filter, _)| filter.text.clone()));
        }
        all.push(filter.to_owned());
        all
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
            found.misses = self.alike(line);
            return found;
        }
        for (number, filter) in self.filters.iter().enumerate() {
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
                    found.misses.push(self.other_name(line, name));
                    continue;
                }
                found.misses.extend(fault(line, &value));
                found.captures.push(Capture {
                    filter: number,
                    whole: whole.range(),
                    name,
                    value,
                });
            }
        }
        if found.captures.is_empty() && !self.names.is_empty() {
            let seen = |miss: &Miss| matches!(miss, Miss::Alike { .. });
            if !found.misses.iter().any(seen) {
                found.misses.extend(self.alike(line));
            }
            let behind = self.named.iter().filter_map(|named| named.find(line));
            let values = behind.map(|name| standing(line, name.end()));
            found.misses.extend(
                values.filter(|miss| matches!(miss, Miss::NotFinite { .. } | Miss::Wrapped { .. })),
            );
            if found.misses.is_empty() || found.misses.iter().all(Miss::is_of_value) {
                found.misses.push(self.stopped(line));
            }
        }
        found
    }

    /// A name that a filter captured and that is none of the metrics'.
    fn other_name(&self, line: &str, at: Range<usize>) -> Miss {
        let metric = self
            .names
            .iter()
            .find(|name| is_like(&line[at.clone()], name));
        match metric.cloned() {
            Some(metric) => Miss::Alike { at, metric },
            None => Miss::Name { at },
        }
    }

    /// The words on a line that are like the name of a metric and have a value.
    fn alike(&self, line: &str) -> Vec<Miss> {
        if !self.hint.as_ref().is_some_and(|hint| hint.is_match(line)) {
            return Vec::new();
        }
        let words = VALUED
            .captures_iter(line)
            .filter_map(|groups| groups.get(1));
        words
            .filter_map(|word| match self.other_name(line, word.range()) {
                miss @ Miss::Alike { .. } if !self.wants(word.as_str()) => Some(miss),
                _ => None,
            })
            .collect()
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

/// A word and something that looks like its value.
static VALUED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern =
        r#"([\w|./-]+)(?:["']?\s*(?::|=|->|\bis\b)\s*|\s+)["']?[+-]?(?:\.?\d|(?i:nan|inf)\b)"#;
    Regex::new(pattern).expect("a fixed pattern")
});

/// A number with something before it that opens: a bracket or a quote.
static WRAPPED: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = format!(
        r#"^(?:[A-Za-z][\w.]*[(\[{{]|[(\[{{"'])+\s*({NUMBER}|(?i:[+-]?(?:nan|inf(?:inity)?))\b)"#
    );
    Regex::new(&pattern).expect("a fixed pattern")
});

/// An expression that finds a part of each name, so that few lines are taken apart.
fn hint(names: &[String]) -> Option<Regex> {
    let beginning = |name: &String| regex::escape(&name.chars().take(3).collect::<String>());
    let parts: Vec<String> = names.iter().map(beginning).collect();
    if parts.is_empty() || parts.iter().any(String::is_empty) {
        return None;
    }
    Regex::new(&format!("(?i){}", parts.join("|"))).ok()
}

/// Whether a word may be meant for a metric's name: it differs in case, has the name or its beginning as a
/// part, or is its beginning.
fn is_like(word: &str, name: &str) -> bool {
    let (word, name) = (word.to_lowercase(), name.to_lowercase());
    let begins = |part: &str| part.chars().count() >= 3 && name.starts_with(part);
    let is_one_word = name.chars().all(char::is_alphanumeric);
    let parts = || word.split(|c: char| !c.is_alphanumeric());
    // `f1` stands in `conf1` by chance.
    let has_name = match name.chars().count() < 3 {
        true => parts().any(|part| part == name),
        false => word.contains(&name),
    };
    has_name || begins(&word) || is_one_word && parts().any(begins)
}

/// What is wrong with a captured value.
fn fault(line: &str, value: &Range<usize>) -> Option<Miss> {
    let is_finite = metrics::number(&line[value.clone()]).is_some();
    let value = value.clone();
    match goes_on(line, &value) {
        Some(end) if metrics::number(&line[value.start..end]).is_some() => {
            Some(Miss::Cut { value, end })
        }
        None if is_finite => comma(line, &value).map(|end| Miss::Comma { value, end }),
        _ => Some(standing(line, value.start)),
    }
}

/// What stands where a value should, and is none.
fn standing(line: &str, start: usize) -> Miss {
    let value = start..start + told(&line[start..]);
    let text = &line[value.clone()];
    if text.parse::<f64>().is_ok_and(|number| !number.is_finite()) {
        return Miss::NotFinite { value };
    }
    let Some(number) = WRAPPED.captures(text).and_then(|groups| groups.get(1)) else {
        return Miss::NoNumber { value };
    };
    match metrics::number(number.as_str()) {
        Some(_) => Miss::Wrapped {
            number: start + number.start()..start + number.end(),
            value,
        },
        None => Miss::NotFinite { value },
    }
}

/// How long the word is that a text begins with; what is in brackets and quotes belongs to it.
fn told(text: &str) -> usize {
    let (mut depth, mut quote) = (0u32, None);
    for (at, c) in text.char_indices().take(VALUE) {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') if depth == 0 => return at,
            (None, ')' | ']' | '}') => depth -= 1,
            (None, ',' | ';') if depth == 0 => return at,
            (None, c) if c.is_whitespace() && depth == 0 => return at,
            _ => {}
        }
    }
    if depth == 0 && quote.is_none() {
        return text
            .char_indices()
            .nth(VALUE)
            .map_or(text.len(), |(at, _)| at);
    }
    // Something is never closed.
    text.find(char::is_whitespace).unwrap_or(text.len())
}

/// Where a number ends that has a comma for its point: `0` of `0,91`.
fn comma(line: &str, value: &Range<usize>) -> Option<usize> {
    let is_plain = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-');
    let digits = line[value.end..].strip_prefix(',')?;
    let length = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    // What follows tells a number from the next entry of a list, a date or a name.
    let ends = digits[length..].chars().next().is_none_or(|c| {
        c.is_whitespace() || matches!(c, ',' | ';' | '.' | '%' | ')' | ']' | '}' | '"' | '\'')
    });
    (length > 0 && ends && line[value.clone()].chars().all(is_plain))
        .then_some(value.end + 1 + length)
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
/// `name: value`, `name=value`, `"name": "value"`, `name value`, `name=wrapper(value)`.
pub fn proposal(line: &str, metric: &str) -> Option<String> {
    let number = r"([+-]?\d*\.?\d+([eE][-+]?\d+)?)";
    let name = if metric.chars().all(|c| c.is_alphanumeric() || c == '_') {
        r"(\w+)"
    } else {
        r"([\w|./-]+)"
    };
    let between = Regex::new(&format!(
        r#"(?:^|[^\w./-]){}({SIGN}["']?|["']?\s*[:=]\s*(?:[A-Za-z][\w.]*[(\[{{]|[(\[{{"'])+\s*)[+-]?\d*\.?\d"#,
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
            [Miss::Alike {
                at: 0..12,
                metric: "accuracy".into()
            }]
        );
        assert_eq!(
            trial(DEFAULT_FILTER).line("accuracy=0.5 lr=0.1").misses,
            [Miss::Name { at: 13..15 }]
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
    fn what_is_called_nearly_as_a_metric_is_told() {
        for filter in [DEFAULT_FILTER, LAB] {
            for (line, word) in [
                ("Accuracy=0.9", "Accuracy"),
                ("ACCURACY: 0.5", "ACCURACY"),
                ("epoch 3: acc=0.9", "acc"),
                ("val_accuracy=0.9", "val_accuracy"),
                ("step 7 - val_acc: .91", "val_acc"),
                ("Acc is nan", "Acc"),
            ] {
                let found = trial(filter).line(line);
                let [Miss::Alike { at, metric }] = found.misses.as_slice() else {
                    panic!("{line}: {found:?}")
                };
                assert_eq!((&line[at.clone()], metric.as_str()), (word, "accuracy"));
            }
        }
        for line in [
            "Accuracy is fine",
            "accept 3",
            "ac=3",
            "a fact 3",
            "lossless",
        ] {
            let found = trial(DEFAULT_FILTER).line(line).misses;
            let alike = |miss: &Miss| matches!(miss, Miss::Alike { .. });
            assert!(!found.iter().any(alike), "{line}: {found:?}");
        }
        let names = ["accuracy".to_owned(), "loss".to_owned()];
        let words = |line: &str| trial(DEFAULT_FILTER).line(line).misses[0].words(line, &names);
        assert!(words("Accuracy=0.9").contains("objectiveMetricName: Accuracy"));
        assert!(words("Loss=0.9").contains("additionalMetricNames: [Loss]"));
    }

    #[test]
    fn what_stands_for_a_value_and_is_none_is_told() {
        let read = |line: &str| {
            let found = trial(DEFAULT_FILTER).line(line);
            let miss = found.misses.first().unwrap_or_else(|| panic!("{line}"));
            let place = miss.place().unwrap_or_default();
            (miss.clone(), line[place].to_owned())
        };
        for (line, text) in [
            ("accuracy=nan", "nan"),
            ("accuracy = -inf, loss=1", "-inf"),
            ("accuracy=Infinity", "Infinity"),
            ("accuracy: NaN", "NaN"),
            ("accuracy=tensor(nan)", "tensor(nan)"),
        ] {
            let (miss, place) = read(line);
            assert!(matches!(miss, Miss::NotFinite { .. }), "{line}: {miss:?}");
            assert_eq!(place, text);
        }
        for (line, text, plain) in [
            ("accuracy=tensor(0.91)", "tensor(0.91)", "0.91"),
            (
                "accuracy=tensor([9.1e-1], device='cuda:0') x",
                "tensor([9.1e-1], device='cuda:0')",
                "9.1e-1",
            ),
            ("accuracy=np.float64(0.5)", "np.float64(0.5)", "0.5"),
            ("accuracy='0.91'", "'0.91'", "0.91"),
        ] {
            let (miss, place) = read(line);
            let Miss::Wrapped { number, .. } = &miss else {
                panic!("{line}: {miss:?}")
            };
            assert_eq!((place.as_str(), &line[number.clone()]), (text, plain));
            let filter = proposal(line, "accuracy").unwrap_or_else(|| panic!("{line}"));
            let found = trial(&filter).line(line);
            assert_eq!(
                found.captures[0].number(line),
                plain.parse().ok(),
                "{filter}"
            );
        }
        assert_eq!(
            read("accuracy=0,91").0,
            Miss::Comma {
                value: 9..10,
                end: 13
            }
        );
        assert_eq!(read("accuracy=").0, Miss::NoNumber { value: 9..9 });
        for line in [
            "accuracy=1,loss=2",
            "accuracy=0.5,7",
            "accuracy=1,2026-01-01",
        ] {
            assert_eq!(trial(DEFAULT_FILTER).line(line).misses, [], "{line}");
        }
        let found = trial(DEFAULT_FILTER).line("accuracy=nan");
        assert!(!found.captures[0].is_value("accuracy=nan"));
    }

    #[test]
    fn a_filter_more_loses_nothing_that_was_read() {
        let now = Trial::new(&[], vec!["accuracy".into(), "loss".into()]).unwrap();
        let log = ["loss=0.25", "accuracy: 0.9"];
        let new = proposal(log[1], "accuracy").unwrap();
        let all = now.and(&new, log);
        assert_eq!(all, [DEFAULT_FILTER, &new]);
        let both = Trial::new(&all, now.names.clone()).unwrap();
        for line in log {
            assert_eq!(both.line(line).captures.len(), 1, "{line}");
        }
        // What the new one reads as well needs no other.
        assert_eq!(now.and(r"(\w+)[=:]\s*([0-9.]+)", log).len(), 1);
        assert_eq!(now.and(&new, ["accuracy: 0.9"]), [new]);
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
