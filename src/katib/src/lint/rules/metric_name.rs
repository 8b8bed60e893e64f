//! KL0404: names and filters a collector can't use.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::names::DEFAULT_FILTER;
use crate::path::FieldPath;
use crate::re2;
use crate::types::{CollectorKind, FileFormat};
use crate::validation::has_two_groups;

pub(super) const RULE: Rule = Rule {
    code: "KL0404",
    name: "metric-name",
    severity: Severity::Error,
    what: "Whether the filter can match the metrics' names and values, and that neither holds a semicolon.",
    why: "The default filter reads letters, digits, `_`, `|` and `-`: of `val/acc=0.9` it takes \
          `acc`. Names and filters are handed to the collector joined by semicolons.",
    mend: "Rename the metric, or give a filter whose first group takes the whole name.",
    example: "objectiveMetricName: val/accuracy",
    instead: "objectiveMetricName: val_accuracy",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(spec) = subject.defaulted_spec() else {
        return;
    };
    let Some(metrics) = &spec.metrics_collector_spec else {
        return;
    };
    let kind = metrics.collector.as_ref().map(|collector| &collector.kind);
    let source = metrics.source.as_ref();
    let is_json = source
        .and_then(|source| source.file_system_path.as_ref())
        .is_some_and(|path| path.format == FileFormat::Json);
    let filters = source
        .and_then(|source| source.filter.as_ref())
        .map(|filter| filter.metrics_format.as_slice())
        .unwrap_or_default();
    let is_text = matches!(kind, Some(CollectorKind::StdOut | CollectorKind::File)) && !is_json;
    check_names(subject, is_text && filters.is_empty(), findings);
    let list = FieldPath::parse("spec.metricsCollectorSpec.source.filter.metricsFormat");
    for (index, filter) in filters.iter().enumerate() {
        let path = list.index(index);
        if filter.contains(';') {
            findings.push(subject.at_value(&RULE, &path, "the filter holds a semicolon"));
        }
        // Katib does not look at StdOut's filters; the collector then crashes.
        let is_unread = kind == Some(&CollectorKind::StdOut);
        match re2::compile(filter) {
            Err(error) if is_unread => findings.push(
                subject
                    .at_value(&RULE, &path, error.to_string())
                    .why("Katib accepts the filter unread under StdOut; the collector crashes on it.")
                    .mend("Correct the regular expression."),
            ),
            // Katib counts brackets, and says so itself where there are too few.
            Ok(regex)
                if regex.captures_len() < 3
                    && is_text
                    && (is_unread || has_two_groups(filter)) =>
            {
                findings.push(
                    subject
                        .at_value(&RULE, &path, "the filter has fewer than two groups")
                        .why(
                            "A collector takes the metric's name from the first group and its value from the \
                             second: without them nothing is ever read, and every trial ends as MetricsUnavailable.",
                        )
                        .mend(format!(
                            "Put brackets around the name and around the value, as the default filter does: \
                             {DEFAULT_FILTER}"
                        )),
                );
            }
            _ => {}
        }
    }
}

fn check_names(subject: &Subject<'_>, default_filter: bool, findings: &mut Vec<Finding>) {
    let Some(objective) = subject.spec().and_then(|spec| spec.objective.as_ref()) else {
        return;
    };
    let root = FieldPath::parse("spec.objective");
    let additional = root.key("additionalMetricNames");
    let names = std::iter::once((
        root.key("objectiveMetricName"),
        &objective.objective_metric_name,
        Severity::Error,
    ))
    .chain(
        objective
            .additional_metric_names
            .iter()
            .enumerate()
            .map(|(index, name)| (additional.index(index), name, Severity::Warning)),
    );
    for (path, name, severity) in names {
        let fits = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_|-".contains(c));
        if name.contains(';') {
            findings.push(
                subject
                    .at_value(&RULE, &path, format!("{name} holds a semicolon"))
                    .severity(severity),
            );
        } else if default_filter && !fits {
            findings.push(
                subject
                    .at_value(
                        &RULE,
                        &path,
                        format!("the default filter never takes {name} for a name"),
                    )
                    .severity(severity),
            );
        }
    }
}
