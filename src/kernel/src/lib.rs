//! The Jupyter side of katlab.

pub mod event;
pub mod magics;
pub mod output;
pub mod redaction;
pub mod render;
pub mod session;
