//! The plugin trait, the chain, and one file per built-in plugin.
//!
//! A plugin is checked and parsed once by control ([`catalog`]), published as a spec that all cores share, and built into
//! one instance per core. [`Chain`] holds, per proxy and protocol, the instances that take part in each phase, so that a
//! plugin costs nothing in phases it does not use.

pub mod builtin;
pub mod catalog;
mod certificate;
mod chain;
mod codec;
pub mod config;
mod context;
pub mod credential;
pub mod limits;
pub mod metrics;
pub mod outbound;
mod plugin;
pub mod query;
pub mod redaction;
mod set;
#[cfg(test)]
mod testing;
pub mod transaction;
pub mod websocket;

pub use certificate::ClientCertificate;
pub use chain::{Chain, Panicked, Verdict, Wanting};
pub use codec::Codec;
pub use context::{Facts, Metadata, Outcome, RequestContext, RouteOverride};
pub use plugin::{Buffering, CoreEnv, Flow, Phases, Plugin, Protocol, Protocols, Rejection, WholeResponse};
pub use set::{AuthMode, Companion, PluginRow, PluginSet, RowList, Specs, UNATTACHED};
