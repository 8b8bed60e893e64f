//! KL0205: settings of algorithms.

use crate::algorithm::{SettingsError, validate_early_stopping, validate_settings};
use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::types::AlgorithmSpec;

pub(super) const RULE: Rule = Rule {
    code: "KL0205",
    name: "algorithm-settings",
    severity: Severity::Error,
    what: "Whether the settings, the space and the budget suit the algorithm.",
    why: "Katib accepts the Experiment; then its Suggestion fails, and with it the Experiment, \
          for good.",
    mend: "Correct the setting.",
    example: "algorithm:\n  algorithmName: tpe\n  algorithmSettings:\n  - {name: gamma, value: \"7\"}",
    instead: "algorithm:\n  algorithmName: tpe\n  algorithmSettings:\n  - {name: gamma, value: \"0.25\"}",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(spec) = subject.defaulted_spec() else {
        return;
    };
    let checks = [
        ("spec.algorithm", &spec.algorithm, validate_settings(spec)),
        (
            "spec.earlyStopping",
            &spec.early_stopping,
            validate_early_stopping(spec),
        ),
    ];
    for (at, algorithm, verdict) in checks {
        let Err(error) = verdict else { continue };
        // Parameters that can't be read have a rule of their own.
        if matches!(error, SettingsError::Parameter(_)) {
            continue;
        }
        let mut finding = subject.at_value(&RULE, &place(at, algorithm, &error), error.to_string());
        if let Some(hint) = error.hint() {
            finding.mend = hint;
        }
        findings.push(finding);
    }
}

fn place(at: &str, algorithm: &Option<AlgorithmSpec>, error: &SettingsError) -> FieldPath {
    let root = FieldPath::parse(at);
    let position = error.setting().and_then(|name| {
        algorithm
            .as_ref()?
            .algorithm_settings
            .iter()
            .position(|setting| setting.name == name)
    });
    match (position, error) {
        (Some(index), SettingsError::Unknown { .. }) => {
            root.key("algorithmSettings").index(index).key("name")
        }
        (Some(index), _) => root.key("algorithmSettings").index(index).key("value"),
        (None, _) => root.key("algorithmName"),
    }
}
