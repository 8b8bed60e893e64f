//! Magics about the session itself.

pub mod env;
pub mod help;
