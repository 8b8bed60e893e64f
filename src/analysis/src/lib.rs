//! katlab-analysis
