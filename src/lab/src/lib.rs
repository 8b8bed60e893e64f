//! What a step of the lab does to the world: the Docker Engine, registries, Kubernetes, files.
//!
//! Knows no Jupyter and prints nothing: every call returns a typed outcome, and long ones report
//! typed events on the way.

pub mod aftermath;
pub mod cluster;
pub mod credentials;
pub mod docker;
pub mod document;
pub mod download;
pub mod file;
pub mod home;
pub mod katib;
pub mod kubernetes;
pub mod reference;
pub mod registry;
pub mod settings;
pub mod tls;
pub mod words;
