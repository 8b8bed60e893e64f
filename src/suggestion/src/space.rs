//! A search space whose parameters were read.

use crate::axis::Axis;
use crate::{Assignments, SuggestionError};
use katlab_katib::space::{Domain, combinations};
use katlab_katib::types::{ParameterAssignment, ParameterSpec};
use std::collections::HashSet;

/// Names, domains and axes, in the order of the Experiment.
pub(crate) struct Space {
    names: Vec<String>,
    pub(crate) domains: Vec<Domain>,
    pub(crate) axes: Vec<Axis>,
}

impl Space {
    pub(crate) fn read(parameters: &[ParameterSpec]) -> Result<Self, SuggestionError> {
        if parameters.is_empty() {
            return Err(SuggestionError::NoParameters);
        }
        let domains: Vec<Domain> = parameters
            .iter()
            .map(Domain::of)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            names: parameters.iter().map(|p| p.name.clone()).collect(),
            axes: domains.iter().map(Axis::of).collect(),
            domains,
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

    /// The assignments next to a point.
    pub(crate) fn assignments_at(&self, point: &[f64]) -> Assignments {
        let values = self
            .axes
            .iter()
            .zip(&self.domains)
            .zip(point)
            .map(|((axis, domain), at)| axis.value(domain, *at))
            .collect();
        self.assign(values)
    }

    /// Where assignments stand; nowhere when a parameter is missing or can't be read.
    pub(crate) fn point_of(&self, assignments: &[ParameterAssignment]) -> Option<Vec<f64>> {
        self.names
            .iter()
            .zip(self.axes.iter().zip(&self.domains))
            .map(|(name, (axis, domain))| {
                let assignment = assignments.iter().find(|a| a.name == *name)?;
                axis.coordinate(domain, &assignment.value)
            })
            .collect()
    }

    pub(crate) fn assign(&self, values: Vec<String>) -> Assignments {
        self.names
            .iter()
            .zip(values)
            .map(|(name, value)| ParameterAssignment::new(name.as_str(), value))
            .collect()
    }
}

/// What was given out.
pub(crate) struct Taken(HashSet<Vec<(String, String)>>);

impl Taken {
    pub(crate) fn of<'a>(given: impl IntoIterator<Item = &'a Assignments>) -> Self {
        Self(given.into_iter().map(|given| key(given)).collect())
    }

    pub(crate) fn has(&self, assignments: &[ParameterAssignment]) -> bool {
        self.0.contains(&key(assignments))
    }

    pub(crate) fn add(&mut self, assignments: &[ParameterAssignment]) {
        self.0.insert(key(assignments));
    }
}

/// What two sets of assignments are compared by.
fn key(assignments: &[ParameterAssignment]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = assignments
        .iter()
        .map(|assignment| (assignment.name.clone(), assignment.value.clone()))
        .collect();
    pairs.sort_unstable();
    pairs
}
