//! KL0501: ranges over several powers of ten.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::space::Domain;
use crate::types::{Distribution, ParameterType};

pub(super) const RULE: Rule = Rule {
    code: "KL0501",
    name: "log-uniform",
    severity: Severity::Advice,
    what: "Whether a real parameter spans a factor of a hundred or more and is drawn evenly.",
    why: "Of even draws from 0.0001 to 0.01 nine in ten lie above 0.001: the small values are \
          hardly tried.",
    mend: "Add distribution: logUniform to feasibleSpace (Katib 0.18 and later).",
    example: "feasibleSpace: {min: \"0.0001\", max: \"0.01\"}",
    instead: "feasibleSpace: {min: \"0.0001\", max: \"0.01\", distribution: logUniform}",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(spec) = subject.spec() else { return };
    // Algorithms that look at the distribution.
    let minds = spec.algorithm.as_ref().is_some_and(|algorithm| {
        matches!(
            algorithm.algorithm_name.as_str(),
            "random" | "tpe" | "multivariate-tpe"
        )
    });
    if !minds {
        return;
    }
    for (index, parameter) in spec.parameters.iter().enumerate() {
        if parameter.parameter_type != ParameterType::Double
            || !matches!(&parameter.feasible_space.distribution, Distribution::Other(word) if word.is_empty())
        {
            continue;
        }
        let Ok(Domain::Real { min, max, .. }) = Domain::of(parameter) else {
            continue;
        };
        // A hair less than a hundred, for 0.01 / 0.0001.
        if min > 0.0 && max / min >= 99.999 {
            let space = FieldPath::parse("spec.parameters")
                .index(index)
                .key("feasibleSpace");
            findings.push(subject.at(
                &RULE,
                &space,
                format!(
                    "{} spans a factor of {:.0} and is drawn evenly",
                    parameter.name,
                    max / min
                ),
            ));
        }
    }
}
