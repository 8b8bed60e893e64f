//! katlab
