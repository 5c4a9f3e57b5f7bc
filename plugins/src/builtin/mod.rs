//! One file per built-in plugin.

pub mod correlation_id;
pub mod grpc_method_router;
pub mod grpc_web;
pub mod key_auth;
pub mod stdout_logging;

use serde_json::Value;

use crate::config::Parsed;
use crate::{Protocols, Specs};

/// What the catalog wants to know of a built-in plugin; its type is the checked config.
pub trait BuiltIn: Specs + Sized + 'static {
    const NAME: &'static str;
    /// Where it runs among the others, lower first, unless its row overrides it.
    const PRIORITY: u16;
    const PROTOCOLS: Protocols;
    /// Every key its config may have.
    const KEYS: &'static [&'static str];

    /// Checks a config, collecting all errors.
    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>>;
}
