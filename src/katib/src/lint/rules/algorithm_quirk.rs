//! KL0506: settings an algorithm does not look at.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::types::{Distribution, ExperimentSpec, ParameterType};

pub(super) const RULE: Rule = Rule {
    code: "KL0506",
    name: "algorithm-quirk",
    severity: Severity::Warning,
    what: "Whether the algorithm looks at everything the space says, on a cluster with Katib.",
    why: "Katib's services are adapters of different libraries and differ in what they look at.",
    mend: "Use another algorithm, or do without.",
    example: "algorithm: {algorithmName: bayesianoptimization}\nparameters:\n- feasibleSpace: {min: \"0\", max: \"1\"}",
    instead: "algorithm: {algorithmName: bayesianoptimization}\nparameters:\n- feasibleSpace: {min: \"0.001\", max: \"1\"}",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(spec) = subject.spec().filter(|_| !subject.is_sandbox()) else {
        return;
    };
    let Some(algorithm) = &spec.algorithm else {
        return;
    };
    let name = algorithm.algorithm_name.as_str();
    let path = FieldPath::parse("spec.algorithm.algorithmName");
    let general = match name {
        "hyperband" => Some("hyperband works for its first bracket only; later requests fail"),
        "tpe" if spec.parallel_trial_count.unwrap_or(3) > 1 => {
            Some("tpe gives the same point several times when trials finish together")
        }
        "pbt" if spec.resume_policy.as_str() != "FromVolume" => {
            Some("pbt needs resumePolicy: FromVolume and a volume that several pods can write")
        }
        _ => None,
    };
    if let Some(message) = general {
        findings.push(
            subject
                .at_value(&RULE, &path, message)
                .severity(if name == "tpe" {
                    Severity::Advice
                } else {
                    RULE.severity
                }),
        );
    }
    check_parameters(subject, spec, name, findings);
}

fn check_parameters(
    subject: &Subject<'_>,
    spec: &ExperimentSpec,
    name: &str,
    findings: &mut Vec<Finding>,
) {
    let list = FieldPath::parse("spec.parameters");
    for (index, parameter) in spec.parameters.iter().enumerate() {
        let space = list.index(index).key("feasibleSpace");
        let numeric = matches!(
            parameter.parameter_type,
            ParameterType::Double | ParameterType::Int
        );
        let feasible = &parameter.feasible_space;
        let skewed = matches!(
            feasible.distribution,
            Distribution::LogUniform | Distribution::Normal | Distribution::LogNormal
        );
        let double = parameter.parameter_type == ParameterType::Double;
        let not_positive = feasible.min.parse::<f64>().is_ok_and(|min| min <= 0.0);
        if name == "bayesianoptimization" && double && not_positive {
            findings.push(
                subject
                    .at_value(
                        &RULE,
                        &space.key("min"),
                        "bayesianoptimization gives the value nan when min is not above 0",
                    )
                    .severity(Severity::Error)
                    .mend("Raise min above 0."),
            );
        }
        if name == "pbt" && double && feasible.step.is_empty() {
            findings.push(
                subject
                    .at(&RULE, &space, "pbt needs a step for a double")
                    .severity(Severity::Error)
                    .mend("Add step to feasibleSpace."),
            );
        }
        let deaf = match name {
            "bayesianoptimization" => skewed || !feasible.step.is_empty(),
            "cmaes" | "sobol" => skewed,
            "hyperband" => skewed || double && !feasible.step.is_empty(),
            _ => false,
        };
        if numeric && deaf {
            findings.push(subject.at(
                &RULE,
                &space,
                format!("{name} does not look at step or distribution as given here"),
            ));
        }
        let odd = matches!(
            feasible.distribution,
            Distribution::Normal | Distribution::LogNormal
        );
        if numeric && odd && matches!(name, "grid" | "multivariate-tpe") {
            findings.push(
                subject
                    .at_value(
                        &RULE,
                        &space.key("distribution"),
                        format!("{name} knows neither normal nor logNormal"),
                    )
                    .severity(Severity::Error)
                    .mend("Use uniform or logUniform."),
            );
        }
    }
}
