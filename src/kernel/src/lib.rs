//! The Jupyter side of katlab.

pub mod event;
