//! Magics about the session itself.

pub mod env;
pub mod help;
pub mod show;
pub mod write;
