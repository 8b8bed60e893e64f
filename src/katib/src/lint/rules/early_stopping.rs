//! KL0504: what early stopping needs.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::types::CollectorKind;

pub(super) const RULE: Rule = Rule {
    code: "KL0504",
    name: "early-stopping",
    severity: Severity::Warning,
    what: "Whether early stopping has what it needs: retain: true, and a collector that can stop \
           a trial.",
    why: "A stopped trial whose job is deleted at once never gets its metrics, and each one makes \
          the search narrower until it stands still.",
    mend: "Write retain: true, and collect from StdOut or File.",
    example: "earlyStopping: {algorithmName: medianstop}\ntrialTemplate: {retain: false}",
    instead: "earlyStopping: {algorithmName: medianstop}\ntrialTemplate: {retain: true}",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(spec) = subject.defaulted_spec() else {
        return;
    };
    if spec.early_stopping.is_none() {
        return;
    }
    let path = FieldPath::parse("spec.earlyStopping");
    // The sandbox reads the metrics of a stopped trial before its job goes.
    let is_deleted = subject.template().is_some_and(|template| !template.retain);
    if is_deleted && !subject.is_sandbox() {
        findings.push(subject.at(
            &RULE,
            &path,
            "early stopping without retain: true loses the metrics of stopped trials",
        ));
    }
    let kind = spec
        .metrics_collector_spec
        .as_ref()
        .and_then(|metrics| metrics.collector.as_ref())
        .map(|collector| &collector.kind);
    let can_stop = |kind: &CollectorKind| match kind {
        CollectorKind::StdOut | CollectorKind::File => true,
        CollectorKind::TensorFlowEvent | CollectorKind::PrometheusMetric => subject.is_sandbox(),
        _ => false,
    };
    if let Some(kind) = kind.filter(|kind| !can_stop(kind)) {
        findings.push(subject.at(
            &RULE,
            &path,
            format!("the collector {kind} cannot stop a trial"),
        ));
    }
}
