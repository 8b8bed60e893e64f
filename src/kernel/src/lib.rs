//! The Jupyter side of katlab: sockets, cells, magics, rendering, the Rust engine, the terminal.
//!
//! ```text
//! shell socket -> cell (split) -> magics | shell | engine -> Output (redaction) -> Sink -> iopub
//! ```
//!
//! [`interpreter`] runs a cell on a [`session`]; [`jupyter`] and [`run`] are the two front doors.

mod bound;
pub mod bridge;
pub mod cell;
pub mod cli;
pub mod engine;
pub mod event;
pub mod failure;
pub mod install;
pub mod interpreter;
pub mod jupyter;
pub mod magics;
pub mod output;
pub mod redaction;
pub mod render;
pub mod run;
pub mod scratch;
pub mod session;
pub mod shell;
