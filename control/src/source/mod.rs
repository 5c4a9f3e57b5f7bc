//! Where the configuration comes from, and what becomes of it: read, checked, compiled, published.

mod catalog;
mod compile;
mod connections;
mod current;
mod database;
mod delta;
mod egress;
mod file;
#[cfg(test)]
pub(crate) mod fixture;
mod names;
mod pairs;
mod sound;
mod startup_backup;

pub(crate) use catalog::Catalog;
pub use compile::{BackendTlsDefaults, BackendTlsFiles, CompileOptions, Running, compile};
pub use connections::{Connections, Databases};
pub use current::CurrentStore;
pub use database::{DatabaseScope, DatabaseSource, Polled};
pub(crate) use file::address_policy;
pub use file::{FileSource, SourceError, validate_spec};
pub use names::{backend_names, has_same_names};
pub(crate) use pairs::is_same;
pub use startup_backup::startup_backup;
