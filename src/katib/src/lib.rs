//! Katib's `v1beta1` objects as data, and every rule about them that needs no cluster.
//!
//! An Experiment written by a person goes through [`types`] (what it is). Nothing in this
//! crate opens a socket, reads a file or looks at a clock: times arrive as RFC 3339 text,
//! randomness as a source of numbers, and what only a cluster knows (which algorithms are
//! configured, the text of a ConfigMap) as an argument.

pub mod condition;
pub mod names;
pub mod types;
