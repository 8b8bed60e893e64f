//! Conditions on the rows of a list: `accuracy > 0.9 and (lr < 0.01 or status = Failed)`.
//!
//! A condition is read with [`Condition::parse`], which knows no list, then bound to the columns of one
//! with [`Condition::bind`], and asked row by row with [`Filter::holds`]. What a literal means depends on
//! its column: `5m` is a duration beside an age, and text beside a name.
//!
//! ```text
//! condition  = condition ("or" | "and") condition | "not" condition | "(" condition ")" | comparison
//! comparison = value sign value [sign value] | value ["not"] "in" "(" value {"," value} ")"
//! sign       = "=" "==" "!=" "<" "<=" "=<" ">" ">=" "=>" "~" (contains) "!~"
//! value      = word | number | duration | size | "text" | 'text' | `column`
//! ```

mod filter;
mod literal;
mod syntax;

use std::ops::Range;

pub use filter::{Datum, Filter};

/// What the cells of a column hold, and so what may stand beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing yet: everything may stand beside it.
    Unknown,
    /// Words.
    Text,
    /// Numbers.
    Number,
    /// Seconds, of a duration or an age.
    Duration,
    /// Bytes.
    Size,
    /// Yes or no.
    Truth,
}

/// The columns that a condition may name.
pub trait Columns {
    /// Where the column of this name is.
    ///
    /// # Errors
    /// What to write instead, when there is no such column.
    fn find(&self, name: &str) -> Result<usize, String>;

    /// What the column holds.
    fn kind(&self, column: usize) -> Kind;
}

/// What is wrong with a condition, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Complaint {
    /// What is wrong.
    pub message: String,
    /// The bytes of the text that it is about.
    pub span: Range<usize>,
    /// What to write instead.
    pub hint: String,
}

/// A condition as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    root: syntax::Node,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// [`Complaint`], where the text is no condition.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        syntax::parse(text).map(|root| Self { root })
    }

    /// Looks its columns up, and reads its literals as their columns want them.
    ///
    /// # Errors
    /// [`Complaint`], where a column is not there or a literal does not fit its column.
    pub fn bind(&self, columns: &impl Columns) -> Result<Filter, Complaint> {
        filter::bind(&self.root, columns)
    }
}

#[cfg(test)]
mod tests;
