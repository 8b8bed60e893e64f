//! A search space whose parameters were read.

use crate::{Assignments, SuggestionError};
use katlab_katib::space::{Domain, combinations};
use katlab_katib::types::{ParameterAssignment, ParameterSpec};

/// Names and domains, in the order of the Experiment.
pub(crate) struct Space {
    names: Vec<String>,
    pub(crate) domains: Vec<Domain>,
}

impl Space {
    pub(crate) fn read(parameters: &[ParameterSpec]) -> Result<Self, SuggestionError> {
        if parameters.is_empty() {
            return Err(SuggestionError::NoParameters);
        }
        Ok(Self {
            names: parameters.iter().map(|p| p.name.clone()).collect(),
            domains: parameters
                .iter()
                .map(Domain::of)
                .collect::<Result<_, _>>()?,
        })
    }

    /// How many points there are, when they can be counted.
    pub(crate) fn count(&self) -> Option<u64> {
        combinations(&self.domains)
    }

    /// The point with a number below [`Space::count`]; the last parameter changes fastest.
    pub(crate) fn point(&self, mut number: u64) -> Assignments {
        let mut values = Vec::with_capacity(self.domains.len());
        for domain in self.domains.iter().rev() {
            let count = domain.count().unwrap_or(1).max(1);
            values.push(domain.value(number % count));
            number /= count;
        }
        values.reverse();
        self.assign(values)
    }

    pub(crate) fn assign(&self, values: Vec<String>) -> Assignments {
        self.names
            .iter()
            .zip(values)
            .map(|(name, value)| ParameterAssignment::new(name.as_str(), value))
            .collect()
    }
}

/// What two sets of assignments are compared by.
pub(crate) fn key(assignments: &[ParameterAssignment]) -> Vec<(&str, &str)> {
    let mut pairs: Vec<(&str, &str)> = assignments
        .iter()
        .map(|assignment| (assignment.name.as_str(), assignment.value.as_str()))
        .collect();
    pairs.sort_unstable();
    pairs
}
