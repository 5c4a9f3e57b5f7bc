//! The documented API: the trait, what its hooks are given, and what they answer.

mod context;
mod datagram;
pub(crate) mod defaults;
mod direction;
mod http_client;
mod mirror;
mod overrides;
mod plugin;
pub mod priority;
mod protocol;
mod registry;
mod result;
mod stream;
mod summary;
pub mod utils;
mod websocket;

pub use context::{NodeWaypointPolicyScope, RequestContext};
pub use datagram::{UdpDatagramContext, UdpDatagramDirection, UdpDatagramVerdict};
pub use direction::{Direction, DisconnectCause};
pub use http_client::PluginHttpClient;
pub use mirror::MirrorResponseMeta;
pub use plugin::Plugin;
pub use protocol::{
    ALL_PROTOCOLS, GRPC_ONLY_PROTOCOLS, HTTP_FAMILY_AND_STREAM_PROTOCOLS, HTTP_FAMILY_AND_TCP_PROTOCOLS,
    HTTP_FAMILY_PROTOCOLS, HTTP_GRPC_PROTOCOLS, HTTP_ONLY_PROTOCOLS, ProxyProtocol, TCP_ONLY_PROTOCOLS,
    UDP_ONLY_PROTOCOLS, WS_ONLY_PROTOCOLS,
};
pub(crate) use registry::Created;
pub use registry::{
    available_plugins, create_plugin, create_plugin_with_http_client, is_removed_security_plugin, is_security_plugin,
    log_with_mirror, validate_plugin_config,
};
pub use result::PluginResult;
pub use stream::{StreamConnectionContext, StreamTransactionSummary};
pub use summary::TransactionSummary;
pub use websocket::{WebSocketFrameDirection, WsDisconnectContext};
