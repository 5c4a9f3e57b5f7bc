//! The documented API for plugins of one's own, and the plugin files themselves (docs/custom-plugins.md).
//!
//! A file `custom_plugins/<name>.rs` is a module of this crate. Everything such a file may name stands here under the paths
//! and with the types that existing files were written against, so it is defined here and not borrowed from the rooms below,
//! whose types may change. [`adapter`] is where the gateway meets it: it makes a native plugin of a documented one.

// Files may name the gateway by its own name, too.
extern crate self as ferrum_edge;

#[deny(unsafe_code, unused_must_use)]
pub mod adapter;
#[deny(unsafe_code, unused_must_use)]
pub mod config;
#[deny(unsafe_code, unused_must_use)]
pub mod consumer_index;
pub mod custom_plugins;
#[deny(unsafe_code, unused_must_use)]
pub mod dns;
#[deny(unsafe_code, unused_must_use)]
pub mod identity;
#[deny(unsafe_code, unused_must_use)]
mod kept;
#[deny(unsafe_code, unused_must_use)]
pub mod modes;
#[deny(unsafe_code, unused_must_use)]
pub mod plugins;
#[deny(unsafe_code, unused_must_use)]
pub mod proxy;
#[deny(unsafe_code, unused_must_use)]
pub mod retry;

/// The gateway's version.
pub const FERRUM_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The build script, for its tests.
#[cfg(test)]
#[path = "build.rs"]
#[allow(dead_code)]
mod discovery;
