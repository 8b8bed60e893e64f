//! Katib's `v1beta1` objects as data, and every rule about them that needs no cluster.
//!
//! An Experiment written by a person goes through [`render`] (variables of the file), [`yaml`]
//! (what it says and where), [`lint`] (everything wrong with it, with places), [`decode`] (is it one), [`defaults`] (what Katib fills in), [`validation`] (what Katib
//! refuses), [`template`] (the object of one trial), and back from the trial's output through
//! [`metrics`] and [`job_condition`] to its status in [`types`] and [`condition`].
//!
//! Nothing in this crate opens a socket, reads a file or looks at a clock: times arrive as
//! RFC 3339 text, randomness as a source of numbers, and what only a cluster knows (which
//! algorithms are configured, the text of a ConfigMap) as an argument.

pub mod algorithm;
pub mod capture;
pub mod condition;
pub mod decode;
pub mod defaults;
pub mod job_condition;
pub mod lint;
pub mod metrics;
pub mod name;
pub mod names;
pub mod path;
pub mod re2;
pub mod render;
pub mod schema;
pub mod space;
pub mod stopping;
pub mod summary;
pub mod template;
pub mod time;
pub mod types;
pub mod validation;
pub mod yaml;
