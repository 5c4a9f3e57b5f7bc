//! The control thread: settings, sources, compile and publish, admin, DNS, overload.

pub mod admin;
pub mod capabilities;
pub mod cli;
pub mod dns;
pub mod doctor;
pub mod gateway;
pub mod logging;
pub mod overload;
pub mod settings;
pub mod source;
pub mod store;
pub mod transfer;
