//! One file per built-in plugin.

pub mod access_control;
pub mod basic_auth;
pub mod bot_detection;
pub mod correlation_id;
pub mod cors;
pub mod grpc_method_router;
pub mod grpc_web;
pub mod hmac_auth;
pub mod http_logging;
pub mod ip_restriction;
pub mod jwks_auth;
pub mod jwt_auth;
pub mod key_auth;
pub mod mtls_auth;
pub mod prometheus_metrics;
pub mod rate_limiting;
pub mod request_size_limiting;
pub mod request_termination;
pub mod request_transformer;
pub mod response_transformer;
pub mod stdout_logging;
mod transform;

use serde_json::Value;

use crate::config::{Key, Parsed};
use crate::{Protocols, Specs};

/// What the catalog wants to know of a built-in plugin; its type is the checked config.
pub trait BuiltIn: Specs + Sized + 'static {
    const NAME: &'static str;
    /// Where it runs among the others, lower first, unless its row overrides it.
    const PRIORITY: u16;
    const PROTOCOLS: Protocols;
    /// Every key its config may have.
    const KEYS: &'static [Key];

    /// Checks a config, collecting all errors.
    fn parse(config: &Value) -> Result<Parsed<Self>, Vec<String>>;
}
