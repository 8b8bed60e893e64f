//! Values in lines of text.

use std::borrow::Cow;

use aho_corasick::{AhoCorasick, MatchKind};
use memchr::{memchr, memrchr};
use regex::Regex;
use smol_str::SmolStr;

use super::{MetricRow, MetricsError};
use crate::names::{DEFAULT_FILTER, ZERO_TIME};
use crate::re2;
use crate::time;
use crate::types::ObjectiveSpec;

/// Reads lines of the TEXT form.
#[derive(Clone, Debug)]
pub struct TextReader {
    filters: Vec<Filter>,
    names: Vec<SmolStr>,
    /// All names at once: most lines of a log have none of them, and to see that costs much less
    /// than a filter. Where it cannot be made, every line is read.
    any_name: Option<AhoCorasick>,
}

impl TextReader {
    /// A reader of the objective's metrics. Filters replace the default one (`name=value`).
    ///
    /// # Errors
    /// When a filter is no regular expression.
    pub fn new(objective: &ObjectiveSpec, filters: &[String]) -> Result<Self, MetricsError> {
        let filters = if filters.is_empty() {
            vec![Filter::NameEqualsValue]
        } else {
            filters
                .iter()
                .map(|filter| Filter::new(filter))
                .collect::<Result<_, _>>()?
        };
        let names: Vec<SmolStr> = objective.metric_names().map(SmolStr::new).collect();
        let any_name = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .build(names.iter().map(SmolStr::as_str));
        Ok(Self {
            filters,
            names,
            any_name: any_name.ok(),
        })
    }

    /// The values on all lines of a text. It is searched as a whole, which is much faster than line
    /// by line. Bytes that are no UTF-8 are read as U+FFFD.
    pub fn text(&self, text: &[u8]) -> Vec<MetricRow> {
        // The standard library's lossy reading takes a byte at a time, also where there is nothing to lose.
        let text = match std::str::from_utf8(text) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => String::from_utf8_lossy(text),
        };
        let text = &*text;
        let bytes = text.as_bytes();
        let (mut rows, mut start) = (Vec::new(), 0);
        while let Some(at) = self.next_name(&bytes[start..]) {
            let at = start + at;
            let begin = memrchr(b'\n', &bytes[start..at]).map_or(start, |end| start + end + 1);
            let end = memchr(b'\n', &bytes[at..]).map_or(text.len(), |end| at + end);
            self.read(&text[begin..end], &mut rows);
            if end == text.len() {
                break;
            }
            start = end + 1;
        }
        rows
    }

    /// Where the next name of a metric stands.
    fn next_name(&self, text: &[u8]) -> Option<usize> {
        match &self.any_name {
            Some(names) => names.find(text).map(|found| found.start()),
            None => Some(0),
        }
    }

    fn read(&self, line: &str, rows: &mut Vec<MetricRow>) {
        let first = memchr(b' ', line.as_bytes()).map(|end| &line[..end]);
        let time = first.filter(|first| time::parse(first).is_some());
        let time = SmolStr::new(time.unwrap_or(ZERO_TIME));
        for filter in &self.filters {
            filter.each(line, |name, value| {
                if let Some(name) = self.names.iter().find(|wanted| *wanted == name) {
                    rows.push(MetricRow::new(time.clone(), name.clone(), value));
                }
            });
        }
    }
}

/// What finds names and values in a line.
#[derive(Clone, Debug)]
enum Filter {
    /// The default one, [`DEFAULT_FILTER`]: read by hand, since nearly every experiment has it and a
    /// log may have a value on each of its lines.
    NameEqualsValue,
    /// One of the experiment's own.
    Expression(Regex),
}

impl Filter {
    fn new(filter: &str) -> Result<Self, MetricsError> {
        if filter == DEFAULT_FILTER {
            return Ok(Self::NameEqualsValue);
        }
        let expression = re2::compile(filter).map_err(|source| MetricsError::Filter {
            filter: filter.to_owned(),
            source,
        })?;
        Ok(Self::Expression(expression))
    }

    /// Calls `found` with the first two groups of each match, in their order, without space around them.
    fn each<'l>(&self, line: &'l str, mut found: impl FnMut(&'l str, &'l str)) {
        match self {
            Self::NameEqualsValue => name_equals_value(line, found),
            // As Katib: where there are no two groups, there is no value.
            Self::Expression(expression) if expression.captures_len() < 3 => {}
            Self::Expression(expression) => {
                for groups in expression.captures_iter(line) {
                    let group = |at| groups.get(at).map_or("", |group| group.as_str().trim());
                    found(group(1), group(2));
                }
            }
        }
    }
}

/// The matches of [`DEFAULT_FILTER`]: before each `=` a name, behind it a number or nothing, space
/// on both sides.
fn name_equals_value<'l>(line: &'l str, mut found: impl FnMut(&'l str, &'l str)) {
    let bytes = line.as_bytes();
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'|' | b'-');
    // Where the match before ended: none goes back behind that.
    let (mut start, mut from) = (0, 0);
    while let Some(at) = memchr(b'=', &bytes[from..]) {
        let equals = from + at;
        from = equals + 1;
        let before = &bytes[start..equals];
        let name_end = before.len() - count_back(before, is_space);
        let name = count_back(&before[..name_end], is_name);
        if name == 0 {
            continue;
        }
        let value = from + count(&bytes[from..], is_space);
        let end = value + number(&bytes[value..]);
        let name_end = start + name_end;
        found(&line[name_end - name..name_end], &line[value..end]);
        (start, from) = (end, end);
    }
}

fn is_space(byte: &u8) -> bool {
    byte.is_ascii_whitespace()
}

/// How many bytes at the beginning are such.
fn count(bytes: &[u8], is_such: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is_such(byte)).count()
}

/// How many bytes at the end are such.
fn count_back(bytes: &[u8], is_such: impl Fn(&u8) -> bool) -> usize {
    bytes.iter().rev().take_while(|byte| is_such(byte)).count()
}

/// How long `[+-]?\d*(\.\d+)?([Ee][+-]?\d+)?` is at the beginning.
fn number(bytes: &[u8]) -> usize {
    let sign = |at: usize| usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
    let digits = |at: usize| count(&bytes[at..], u8::is_ascii_digit);
    let mut end = sign(0);
    end += digits(end);
    if bytes.get(end) == Some(&b'.') {
        let decimals = digits(end + 1);
        end += if decimals > 0 { 1 + decimals } else { 0 };
    }
    if matches!(bytes.get(end), Some(b'E' | b'e')) {
        let exponent = end + 1 + sign(end + 1);
        let power = digits(exponent);
        end = if power > 0 { exponent + power } else { end };
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(filter: &Filter, line: &str) -> Vec<(String, String)> {
        let mut all = Vec::new();
        filter.each(line, |name, value| {
            all.push((name.to_owned(), value.to_owned()));
        });
        all
    }

    fn expression(filter: &str) -> Filter {
        Filter::Expression(re2::compile(filter).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_default_filter_read_by_hand_finds_what_its_expression_finds(
            line in r"([=]|[a|_-]|[0-9]|[+-]|[.]|[eE]|[ \t\x0b\r\x0c]|[é한\u{a0}]|loss ?=|1\.5e-3){0,16}"
        ) {
            let by_hand = matches(&Filter::NameEqualsValue, &line);
            prop_assert_eq!(by_hand, matches(&expression(DEFAULT_FILTER), &line));
        }

        #[test]
        fn a_text_gives_what_its_lines_give(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                &b"loss"[..], b"accuracy", b"x", b" ", b"=", b"=1", b"=0.5", b"\n", b"\r\n", b"\xff", b"\xe2\x82",
            ]), 0..40),
            own in any::<bool>(),
        ) {
            let objective: ObjectiveSpec = serde_json::from_value(serde_json::json!({
                "objectiveMetricName": "accuracy", "additionalMetricNames": ["loss"]})).unwrap();
            let filters = if own { vec![r"(\w+)=(\S*)".to_owned()] } else { Vec::new() };
            let reader = TextReader::new(&objective, &filters).unwrap();
            let text = pieces.concat();
            let lines = text.split(|byte| *byte == b'\n');
            let by_line: Vec<_> = lines.flat_map(|line| reader.text(line)).collect();
            prop_assert_eq!(reader.text(&text), by_line);
        }
    }
}
