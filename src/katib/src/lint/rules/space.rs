//! KL0206: search spaces that make no sense.

use crate::lint::subject::Subject;
use crate::lint::{Finding, Rule, Severity};
use crate::path::FieldPath;
use crate::space::Domain;
use crate::types::ParameterType;

pub(super) const RULE: Rule = Rule {
    code: "KL0206",
    name: "search-space",
    severity: Severity::Error,
    what: "Whether bounds and steps are numbers, min is not above max, lists are not empty, \
           logarithmic ranges are positive, and names are unique.",
    why: "Katib does not look inside the space when it accepts the Experiment; its algorithm \
          then fails or stalls.",
    mend: "Correct the parameter.",
    example: "feasibleSpace: {min: \"0\", max: \"1\", distribution: logUniform}",
    instead: "feasibleSpace: {min: \"0.0001\", max: \"1\", distribution: logUniform}",
};

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    let Some(spec) = subject.defaulted_spec() else {
        return;
    };
    let list = FieldPath::parse("spec.parameters");
    for (index, parameter) in spec.parameters.iter().enumerate() {
        let path = list.index(index);
        if parameter.name.is_empty() {
            findings.push(subject.at(&RULE, &path.key("name"), "the parameter has no name"));
        } else if let Some(first) = spec.parameters[..index]
            .iter()
            .position(|other| other.name == parameter.name)
        {
            findings.push(subject.at_value(
                &RULE,
                &path.key("name"),
                format!("{} is spec.parameters[{first}] already", parameter.name),
            ));
        }
        let space = &parameter.feasible_space;
        let is_range = matches!(
            parameter.parameter_type,
            ParameterType::Double | ParameterType::Int
        );
        // Missing bounds and unknown types are refused by the webhook's own rule.
        if is_range && (space.min.is_empty() || space.max.is_empty())
            || !parameter.parameter_type.is_known()
        {
            continue;
        }
        let Err(error) = Domain::of(parameter) else {
            continue;
        };
        let at = match error.field() {
            "parameterType" => path.key("parameterType"),
            field => path.key("feasibleSpace").key(field),
        };
        let mut finding = subject.at_value(&RULE, &at, error.to_string());
        if let Some(hint) = error.hint() {
            finding.mend = hint;
        }
        findings.push(finding);
    }
}
