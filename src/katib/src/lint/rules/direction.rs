//! KL0403: which value of an additional metric counts.

use crate::defaults::default_strategy;
use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::types::ObjectiveType;

pub(super) const RULE: Rule = Rule {
    code: "KL0403",
    name: "metric-direction",
    severity: Severity::Advice,
    what: "Whether a loss or error beside a maximised objective, or an accuracy beside a minimised \
           one, has a strategy of its own.",
    why: "Katib gives additional metrics the objective's direction: beside a maximised accuracy a \
          loss is represented by its largest value.",
    mend: "Add it to spec.objective.metricStrategies with min, max or latest.",
    example: "objective:\n  type: maximize\n  objectiveMetricName: accuracy\n  additionalMetricNames: [loss]",
    instead: "objective:\n  type: maximize\n  objectiveMetricName: accuracy\n  additionalMetricNames: [loss]\n  metricStrategies:\n  - {name: accuracy, value: max}\n  - {name: loss, value: min}",
};

const SMALL_IS_GOOD: &[&str] = &["loss", "error", "err", "mse", "rmse", "mae", "perplexity"];
const LARGE_IS_GOOD: &[&str] = &["accuracy", "acc", "auc", "f1", "precision", "recall"];

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(objective) = subject.spec().and_then(|spec| spec.objective.as_ref()) else {
        return;
    };
    let against = match objective.objective_type {
        ObjectiveType::Maximize => SMALL_IS_GOOD,
        ObjectiveType::Minimize => LARGE_IS_GOOD,
        ObjectiveType::Other(_) => return,
    };
    let list = FieldPath::parse("spec.objective.additionalMetricNames");
    for (index, name) in objective.additional_metric_names.iter().enumerate() {
        let lower = name.to_lowercase();
        let opposite = lower
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| against.contains(&word));
        if opposite && objective.strategy(name).is_none() {
            let strategy = default_strategy(&objective.objective_type);
            findings.push(subject.at_value(
                &RULE,
                &list.index(index),
                format!("{name} is represented by its {strategy}, as the objective is"),
            ));
        }
    }
}
