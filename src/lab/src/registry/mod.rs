//! Image registries, spoken to directly: the OCI distribution API with Basic and token authentication.
//!
//! The engine pulls and pushes; this client answers the questions around it: does the registry
//! answer, is the password good, may we push, which tags are there and what is behind them.

mod challenge;
mod check;
mod client;
mod connection;
mod content;
mod error;
mod token;

pub use challenge::{Challenge, Scheme};
pub use check::{Access, Check, Login, RepositoryCheck};
pub use client::{Options, Registry};
pub use content::{Image, Layer, Platform, Tag};
pub use error::Error;

/// What a registry answers, or fails with a registry [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
