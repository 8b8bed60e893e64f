//! KL0406: metric lines without a time.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;

pub(super) const RULE: Rule = Rule {
    code: "KL0406",
    name: "no-timestamp",
    severity: Severity::Advice,
    what: "Whether a filter is made for lines that begin with something else than a time.",
    why: "The time of a metric is the text before the first space of its line. Without one all \
          values are of the year 1: there is no learning curve, and `latest` is the last line.",
    mend: "Print lines like `2024-03-04T17:55:08Z accuracy=0.98`, and let the filter begin with \
           `\\S+ `, which asks for the time.",
    example: "{metricName: accuracy, metricValue: 0.98}",
    instead: "2024-03-04T17:55:08Z {metricName: accuracy, metricValue: 0.98}",
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
        // A filter that begins with a letter or bracket of its own is made for whole lines;
        // one that begins with the name's group takes what comes before as it comes.
        if format.starts_with(['{', '^']) || format.starts_with(|c: char| c.is_alphanumeric()) {
            findings.push(subject.at_value(
                &RULE,
                &list.index(index),
                "lines of this form carry no time unless one stands before them",
            ));
        }
    }
}
