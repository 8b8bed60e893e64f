//! katlab-kernel
