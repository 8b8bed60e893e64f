//! What is known of the assignments given out so far.

use crate::Assignments;

/// Assignments that were given out, and what became of their trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The values.
    pub assignments: Assignments,
    /// What became of them.
    pub outcome: Outcome,
}

impl Given {
    /// Assignments whose trial has not ended.
    pub fn open(assignments: Assignments) -> Self {
        Self {
            assignments,
            outcome: Outcome::Open,
        }
    }

    /// Assignments whose trial reported its objective.
    pub fn measured(assignments: Assignments, value: f64) -> Self {
        Self {
            assignments,
            outcome: Outcome::Measured(value),
        }
    }
}

/// What became of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    /// It has not ended, or was not even made.
    Open,
    /// It ended without an objective value.
    Failed,
    /// It ended with this objective value. One that is no number counts as failed.
    Measured(f64),
}
