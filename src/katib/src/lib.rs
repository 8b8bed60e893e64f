//! katlab-katib
