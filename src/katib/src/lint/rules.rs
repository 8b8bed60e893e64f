//! The rules, and the order in which they are asked.

mod additional_metric;
mod algorithm_quirk;
mod backoff_limit;
mod command;
mod direction;
mod early_stopping;
mod exponent;
mod failure_budget;
mod hidden_directory;
mod image;
mod istio;
mod kind;
mod log_uniform;
mod metric_name;
mod namespace;
mod output;
mod parallel;
mod primary_container;
mod resources;
mod restart_policy;
mod retain;
mod sandbox;
mod settings;
mod space;
mod timestamp;
mod trial_budget;
mod trial_spec_reference;
mod unfilled;
mod unknown_field;
mod unused_parameter;
mod webhook;
mod wrong_type;

use super::subject::Subject;
use super::{Finding, Rule, Severity};

/// The text is no YAML.
pub(super) const YAML: Rule = Rule {
    code: "KL0001",
    name: "yaml",
    severity: Severity::Error,
    what: "Whether the file is one YAML document without repeated keys, of a sensible size.",
    why: "Nothing can be read from the file, or two tools read two different things from it.",
    mend: "Check indentation, quotes and colons near the place.",
    example: "a: 1\na: 2",
    instead: "a: 1",
};

/// A backslash before a dollar sign.
pub(super) const ESCAPED_DOLLAR: Rule = Rule {
    code: "KL0002",
    name: "escaped-dollar",
    severity: Severity::Error,
    what: "Whether a backslash stands before a dollar sign.",
    why: "The template came out of a shell script, where the backslash kept the shell from \
          filling it in. YAML knows no such escape.",
    mend: "Remove the backslash.",
    example: "args: [\"--lr=\\${trialParameters.lr}\"]",
    instead: "args: [\"--lr=${trialParameters.lr}\"]",
};

type Check = fn(&Subject<'_>, &mut Vec<Finding>);

/// Rules that look at an object, in order.
const CHECKS: &[(Rule, Check)] = &[
    (unfilled::RULE, unfilled::check),
    (unknown_field::RULE, unknown_field::check),
    (wrong_type::RULE, wrong_type::check),
    (webhook::RULE, webhook::check),
    (parallel::RULE, parallel::check),
    (unused_parameter::RULE, unused_parameter::check),
    (primary_container::RULE, primary_container::check),
    (settings::RULE, settings::check),
    (space::RULE, space::check),
    (sandbox::RULE, sandbox::check),
    (trial_spec_reference::RULE, trial_spec_reference::check),
    (restart_policy::RULE, restart_policy::check),
    (backoff_limit::RULE, backoff_limit::check),
    (retain::RULE, retain::check),
    (resources::RULE, resources::check),
    (image::RULE, image::check),
    (istio::RULE, istio::check),
    (command::RULE, command::check),
    (output::RULE, output::check),
    (exponent::RULE, exponent::check),
    (additional_metric::RULE, additional_metric::check),
    (direction::RULE, direction::check),
    (metric_name::RULE, metric_name::check),
    (hidden_directory::RULE, hidden_directory::check),
    (timestamp::RULE, timestamp::check),
    (log_uniform::RULE, log_uniform::check),
    (failure_budget::RULE, failure_budget::check),
    (trial_budget::RULE, trial_budget::check),
    (early_stopping::RULE, early_stopping::check),
    (namespace::RULE, namespace::check),
    (algorithm_quirk::RULE, algorithm_quirk::check),
];

const COUNT: usize = CHECKS.len() + 3;

/// Every rule, by code.
pub const RULES: &[Rule; COUNT] = &all();

const fn all() -> [Rule; COUNT] {
    let mut rules = [YAML; COUNT];
    rules[1] = ESCAPED_DOLLAR;
    rules[2] = kind::RULE;
    let mut index = 0;
    while index < CHECKS.len() {
        rules[index + 3] = CHECKS[index].0;
        index += 1;
    }
    rules
}

/// The rule with a code or a name.
pub fn rule(code_or_name: &str) -> Option<&'static Rule> {
    RULES
        .iter()
        .find(|rule| rule.code.eq_ignore_ascii_case(code_or_name) || rule.name == code_or_name)
}

pub(super) fn check(subject: &Subject<'_>, findings: &mut Vec<Finding>) {
    // An object of another kind has none of the fields that follow.
    if !kind::check(subject, findings) {
        return;
    }
    for (_, check) in CHECKS {
        check(subject, findings);
    }
}
