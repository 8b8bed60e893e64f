//! katlab-sandbox
