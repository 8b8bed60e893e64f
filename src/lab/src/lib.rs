//! katlab-lab
