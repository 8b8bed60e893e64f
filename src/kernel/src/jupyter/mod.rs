//! The Jupyter side: sockets, signed messages, and the answers to a client's requests.
//!
//! ```text
//! shell, control, stdin sockets -> server -> interpreter -> Sink -> publisher -> iopub socket
//! ```
//!
//! Everything that is about the protocol stops here: the interpreter and the magics see only
//! [`crate::event`].

pub mod completeness;
pub mod connection;
pub mod history;
pub mod message;
pub mod publisher;
pub mod server;
pub mod sink;
pub mod stdin;
pub mod transport;

mod answers;
mod execution;
