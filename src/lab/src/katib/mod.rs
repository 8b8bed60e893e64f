//! Katib.
