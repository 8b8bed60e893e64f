//! Checks of the metrics collector.

use super::{ClusterFacts, FieldError};
use crate::re2;
use crate::types::{
    CollectorKind, ExperimentSpec, FileFormat, FileSystemKind, FileSystemPath, FilterSpec,
    SourceSpec,
};
use serde_json::Value;

const SOURCE: &str = "spec.metricsCollectorSpec.source";

pub(super) fn check(spec: &ExperimentSpec, facts: &ClusterFacts, errors: &mut Vec<FieldError>) {
    let Some(metrics) = &spec.metrics_collector_spec else {
        return;
    };
    let Some(collector) = &metrics.collector else {
        return;
    };
    let kind = &collector.kind;
    let source = metrics.source.as_ref();
    let path = source.and_then(|source| source.file_system_path.as_ref());
    let image_wanted = matches!(
        kind,
        CollectorKind::StdOut
            | CollectorKind::File
            | CollectorKind::TensorFlowEvent
            | CollectorKind::PrometheusMetric
    );
    if image_wanted && !facts.collectors.iter().any(|known| known == kind.as_str()) {
        errors.push(FieldError::invalid(
            "spec.metricsCollectorSpec.collector.kind",
            kind.as_str(),
            &format!(
                "GetMetricsCollectorConfigData failed: failed to find metrics collector config \
                 for kind: {kind} in ConfigMap: katib-config"
            ),
        ));
    }
    match kind {
        CollectorKind::StdOut | CollectorKind::Push => return,
        CollectorKind::File => check_file(source, path, errors),
        CollectorKind::TensorFlowEvent => check_events(path, errors),
        CollectorKind::PrometheusMetric => check_endpoint(source, errors),
        CollectorKind::Custom => {
            if collector.custom_collector.is_none() {
                errors.push(FieldError::required(
                    "spec.metricsCollectorSpec.collector.customCollector",
                    "metrics collector kind: Custom is required",
                ));
            }
            if let Some(path) = path
                && (!path.path.starts_with('/') || !path.kind.is_known())
            {
                errors.push(FieldError::invalid(
                    &format!("{SOURCE}.fileSystemPath"),
                    "",
                    "an absolute path and a kind, File or Directory, are required",
                ));
            }
        }
        CollectorKind::Other(_) => errors.push(FieldError::invalid(
            "spec.metricsCollectorSpec.collector.kind",
            kind.as_str(),
            &format!("invalid metrics collector kind: {kind}"),
        )),
    }
    if let Some(filter) = source.and_then(|source| source.filter.as_ref()) {
        check_filter(filter, errors);
    }
}

fn check_file(
    source: Option<&SourceSpec>,
    path: Option<&FileSystemPath>,
    errors: &mut Vec<FieldError>,
) {
    let is_file =
        path.is_some_and(|path| path.kind == FileSystemKind::File && path.path.starts_with('/'));
    if !is_file {
        errors.push(FieldError::required(
            &format!("{SOURCE}.fileSystemPath.path"),
            "file path where metrics file exists is required",
        ));
    }
    let Some(path) = path else { return };
    if !path.format.is_known() {
        errors.push(FieldError::required(
            &format!("{SOURCE}.fileSystemPath.format"),
            "format of metrics file is required for metrics collector",
        ));
    }
    if path.format == FileFormat::Json && source.is_some_and(|source| source.filter.is_some()) {
        errors.push(FieldError::invalid(
            &format!("{SOURCE}.filter"),
            "",
            "filter must be nil when format of metrics file is json",
        ));
    }
}

fn check_events(path: Option<&FileSystemPath>, errors: &mut Vec<FieldError>) {
    let is_directory = path
        .is_some_and(|path| path.kind == FileSystemKind::Directory && path.path.starts_with('/'));
    if !is_directory {
        errors.push(FieldError::required(
            SOURCE,
            "directory path where tensorflow event files exist is required by \
             .spec.metricsCollectorSpec.source.fileSystemPath.path",
        ));
    }
    if let Some(path) = path
        && !path.format.is_empty()
    {
        errors.push(FieldError::invalid(
            &format!("{SOURCE}.fileSystemPath.format"),
            path.format.as_str(),
            "format must be empty for TensorFlow event files",
        ));
    }
}

fn check_endpoint(source: Option<&SourceSpec>, errors: &mut Vec<FieldError>) {
    let endpoint = source
        .and_then(|source| source.http_get.clone())
        .unwrap_or_default();
    let port = match endpoint.get("port") {
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_i64(),
        None => None,
    };
    if port.is_none_or(|port| port <= 0) {
        let text = endpoint.get("port").cloned().unwrap_or_default();
        errors.push(FieldError::invalid_json(
            &format!("{SOURCE}.httpGet.port"),
            &text,
            "port must be a positive integer",
        ));
    }
    let path = endpoint
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !path.starts_with('/') {
        errors.push(FieldError::invalid(
            &format!("{SOURCE}.httpGet.path"),
            path,
            "path must begin with '/'",
        ));
    }
}

fn check_filter(filter: &FilterSpec, errors: &mut Vec<FieldError>) {
    let path = format!("{SOURCE}.filter.metricsFormat");
    for format in &filter.metrics_format {
        if let Err(error) = re2::compile(format) {
            errors.push(FieldError::invalid(
                &path,
                format,
                &format!("invalid filter: {error}"),
            ));
        } else if !has_two_groups(format) {
            errors.push(FieldError::invalid(
                &path,
                format,
                "two top subexpressions are required",
            ));
        }
    }
}

/// Katib's own test: two pairs of brackets, one after the other, on one line.
pub(crate) fn has_two_groups(format: &str) -> bool {
    format.lines().any(|line| {
        let mut rest = line;
        ["(", ")", "(", ")"].iter().all(|bracket| {
            rest.find(bracket)
                .map(|at| rest = &rest[at + 1..])
                .is_some()
        })
    })
}
