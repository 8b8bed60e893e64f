//! Katib: experiments, trials and suggestions of a cluster.
//!
//! One model of an experiment ([`experiments::Summary`], [`trials::TrialRow`]) stands between
//! Katib's objects and whoever shows them, so that a successor of Katib's API can become a second
//! source of the same model.

pub mod archive;
pub mod budget;
pub mod checks;
pub mod creation;
pub mod details;
pub mod evidence;
pub mod experiments;
mod held;
pub mod images;
pub mod kept;
pub mod messages;
pub mod observations;
pub mod obstacles;
pub mod provenance;
pub mod suggestions;
pub mod trials;
pub mod value;
pub mod watch;
pub mod why;
