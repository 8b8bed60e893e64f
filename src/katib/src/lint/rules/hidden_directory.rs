//! KL0405: what the collector's volume hides.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::types::CollectorKind;

pub(super) const RULE: Rule = Rule {
    code: "KL0405",
    name: "hidden-directory",
    severity: Severity::Warning,
    what: "Which directory of the image the File collector covers.",
    why: "Katib mounts an empty volume over the directory of the metrics file: what the image has \
          there is hidden, and the training must create the file itself.",
    mend: "Write metrics to a directory of their own, such as /var/log/katib.",
    example: "fileSystemPath: {path: /app/metrics.log, kind: File}",
    instead: "fileSystemPath: {path: /var/log/katib/metrics.log, kind: File}",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(metrics) = subject
        .spec()
        .and_then(|spec| spec.metrics_collector_spec.as_ref())
    else {
        return;
    };
    let is_file = metrics
        .collector
        .as_ref()
        .is_some_and(|collector| collector.kind == CollectorKind::File);
    let Some(path) = metrics
        .source
        .as_ref()
        .and_then(|source| source.file_system_path.as_ref())
        .filter(|_| is_file)
    else {
        return;
    };
    let Some((directory, file)) = path.path.rsplit_once('/') else {
        return;
    };
    // Nobody misses anything in a directory for passing things.
    let is_free =
        directory.starts_with("/var/log/katib") || matches!(directory, "/tmp" | "/var/tmp");
    if file.is_empty() || is_free {
        return;
    }
    let field = FieldPath::parse("spec.metricsCollectorSpec.source.fileSystemPath.path");
    if directory.is_empty() {
        findings.push(
            subject
                .at_value(&RULE, &field, "the metrics file stands in the image's root")
                .severity(Severity::Error)
                .why("Katib would mount a volume over `/`, which Kubernetes refuses."),
        );
        return;
    }
    findings.push(subject.at_value(
        &RULE,
        &field,
        format!("an empty volume covers the image's {directory}"),
    ));
}
