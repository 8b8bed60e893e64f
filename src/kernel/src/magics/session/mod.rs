//! Magics about the session itself.

pub mod clean;
pub mod env;
pub mod help;
pub mod lab;
pub mod show;
pub mod use_;
pub mod write;

#[cfg(test)]
mod tests;
