//! The Docker Engine (or Podman's look-alike): build, run, and everything about local images.
//!
//! [`Engine::connect`] finds the engine the way the docker CLI does. All calls go through one
//! transport of our own ([`transport`]): bollard's typed calls and the few raw ones where bollard
//! drops what the engine says (layer ids and digests of a push, texts of a build).

pub mod build;
pub mod context;
pub mod dockerfile;
pub mod endpoint;
mod engine;
mod error;
pub mod ignore;
pub mod image;
pub mod run;
mod stream;
pub mod transfer;
pub mod transport;

pub use engine::{Engine, Facts, Product};
pub use error::Error;
pub use stream::root_cause;

/// What can be asked of the engine, or fails with a docker [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;
