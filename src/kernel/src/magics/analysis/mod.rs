//! Magics about what the trials of an experiment taught.

pub mod plot;
