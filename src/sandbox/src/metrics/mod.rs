//! What trials reported: the observation log, how it is read out of containers, and how it is served.
//!
//! | module | what |
//! |---|---|
//! | `store` | the rows, in a SQLite file of the sandbox's directory |
//! | `server` | Katib's DBManager service (gRPC) on the store |
//!
//! Katib collects with a second container in the trial's pod, which must notice the training process
//! while it runs and so misses trials shorter than a second. Here the pod runtime (`runtime::collect`) reads
//! the container's log or file, while it runs and when it has ended, before the pod is reported as succeeded:
//! short trials count too.

mod error;
mod server;
mod store;

pub use error::Error;
pub use server::DbManager;
pub use store::{Filter, ObservationStore, Row};
