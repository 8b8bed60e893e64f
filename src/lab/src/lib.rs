//! katlab-lab

pub mod document;
pub mod home;
pub mod settings;
