//! The embedded cluster: a Kubernetes-compatible API server with a durable store, the
//! controllers an experiment needs, pods run as containers of the local Docker Engine, an OCI
//! registry and the observation log, all in one process.

pub mod admission;
pub mod api;
pub mod bootstrap;
pub mod controllers;
pub mod doorway;
pub mod gc;
mod katib_config;
pub mod lifecycle;
pub mod metrics;
pub mod registry;
pub mod resources;
pub mod runtime;
pub mod store;
pub mod tls;
