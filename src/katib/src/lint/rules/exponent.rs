//! KL0401: filters that cut numbers short.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity, TextEdit};
use crate::path::FieldPath;
use crate::re2;

pub(super) const RULE: Rule = Rule {
    code: "KL0401",
    name: "filter-cuts-exponent",
    severity: Severity::Warning,
    what: "Whether a metrics filter takes a number with an exponent whole.",
    why: "Python prints small numbers as 1e-05. A filter that knows no exponent reads 1, or \
          nothing: the search goes after wrong values without an error.",
    mend: "Let the value group end with ([eE][-+]?\\d+)?",
    example: "metricsFormat: ['([\\w|-]+)=((-?\\d+)(\\.\\d+)?)']",
    instead: "metricsFormat: ['([\\w|-]+)=((-?\\d+)(\\.\\d+)?([eE][-+]?\\d+)?)']",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(filter) = subject
        .spec()
        .and_then(|spec| spec.metrics_collector_spec.as_ref())
        .and_then(|metrics| metrics.source.as_ref())
        .and_then(|source| source.filter.as_ref())
    else {
        return;
    };
    let list = FieldPath::parse("spec.metricsCollectorSpec.source.filter.metricsFormat");
    for (index, format) in filter.metrics_format.iter().enumerate() {
        let path = list.index(index);
        let Some(read) = reading(format) else {
            continue;
        };
        let message = match read {
            Some(value) => format!("the filter reads 1e-05 as {value}"),
            None => "the filter does not read 1e-05 at all".to_owned(),
        };
        findings.push(
            subject
                .at_value(&RULE, &path, message)
                .fix(widened(subject, &path, format)),
        );
    }
}

/// What the filter makes of `1e-05` on a line of its own shape: `None` when it takes it
/// whole or can't be tried, `Some(None)` when it takes nothing.
fn reading(format: &str) -> Option<Option<String>> {
    let regex = re2::compile(format).ok()?;
    let line = |value: &str| example(format, value);
    // Only a filter whose shape was understood is judged.
    let plain = line("0.97");
    let taken = regex.captures(&plain)?;
    if taken.get(2)?.as_str().trim() != "0.97" {
        return None;
    }
    let small = line("1e-05");
    let value = regex
        .captures(&small)
        .and_then(|taken| Some(taken.get(2)?.as_str().trim().to_owned()));
    match value {
        Some(value) if value == "1e-05" => None,
        other => Some(other),
    }
}

/// A line such as the filter is made for: its groups replaced by a name and a value, the
/// rest of the pattern taken as it reads.
fn example(format: &str, value: &str) -> String {
    let mut line = String::new();
    let mut depth = 0usize;
    let mut groups = 0;
    let mut in_class = false;
    let mut characters = format.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\\' => {
                let escaped = characters.next().unwrap_or_default();
                if depth == 0 {
                    match escaped {
                        's' => line.push(' '),
                        'd' | 'w' | 'S' => line.push('0'),
                        'b' | 'B' => {}
                        other => line.push(other),
                    }
                }
            }
            '[' => in_class = true,
            ']' if in_class => in_class = false,
            _ if in_class => {}
            '(' => {
                if depth == 0 {
                    groups += 1;
                    line.push_str(if groups == 1 { "accuracy" } else { value });
                }
                depth += 1;
            }
            ')' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            '*' | '+' | '?' | '^' | '$' | '.' | '|' => {}
            other => line.push(other),
        }
    }
    line
}

/// The commonest form of the fault, put right in the file's own spelling.
fn widened(subject: &Subject<'_>, path: &FieldPath, format: &str) -> Option<TextEdit> {
    let place = subject.document.place(path)?;
    let raw = subject.raw(place);
    let (fraction, addition) = if raw.contains("(\\\\.\\\\d+)?)") {
        ("(\\\\.\\\\d+)?)", "([eE][-+]?\\\\d+)?")
    } else {
        ("(\\.\\d+)?)", "([eE][-+]?\\d+)?")
    };
    let at = raw.rfind(fraction)? + fraction.len() - 1;
    // Only when the mend does what it should.
    let last = format.rfind("(\\.\\d+)?)")? + "(\\.\\d+)?".len();
    let mended = format!("{}([eE][-+]?\\d+)?{}", &format[..last], &format[last..]);
    if reading(&mended).is_some() || re2::compile(&mended).is_err() {
        return None;
    }
    let offset = place.value.start + at;
    Some(subject.replace(offset..offset, addition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_judged_by_what_it_reads() {
        let lab = r"{metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?)}";
        assert_eq!(reading(lab), Some(None));
        assert_eq!(
            reading(r"([\w|-]+)=((-?\d+)(\.\d+)?)"),
            Some(Some("1".into()))
        );
        assert_eq!(reading(crate::names::DEFAULT_FILTER), None);
        assert_eq!(reading(r"([\w|-]+)\s*:\s*(.*)"), None);
        let timed = r"\S+ {metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?)}";
        assert_eq!(reading(timed), Some(None));
        assert_eq!(reading("(["), None);
    }
}
