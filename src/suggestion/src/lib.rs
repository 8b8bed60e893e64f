//! katlab-suggestion
