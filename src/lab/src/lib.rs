//! katlab-lab

pub mod home;
pub mod settings;
