//! What a lab step does to the world: Docker Engine, registry, Kubernetes, settings.
//!
//! Knows no Jupyter and prints nothing: every function returns a typed outcome.

pub mod cluster;
pub mod document;
pub mod home;
pub mod katib;
pub mod kubernetes;
pub mod settings;
