//! What a step of the lab does to the world: the Docker Engine, registries, Kubernetes, files.
//!
//! Knows no Jupyter and prints nothing: every call returns a typed outcome, and long ones report
//! typed events on the way.
//! What a lab step does to the world: Docker Engine, registry, Kubernetes, settings.
//!
//! Knows no Jupyter and prints nothing: every function returns a typed outcome.

pub mod cluster;
pub mod document;
pub mod credentials;
pub mod docker;
pub mod download;
pub mod file;
pub mod home;
pub mod reference;
pub mod registry;
pub mod kubernetes;
pub mod settings;
pub mod tls;
