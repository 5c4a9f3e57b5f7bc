//! What several plugins need. Each module is one thing that built-in plugins do too.

mod batching_config;
pub mod batching_logger;
pub mod body_transform;
mod endpoint;
pub mod http_client;
pub mod json_escape;
mod log_entry;
pub mod log_schema;
pub mod metadata_redaction;
pub mod response_body;
pub mod route_header_transform;
pub mod size_limit;
pub mod sse;
pub mod tcp_endpoint;
pub mod udp_endpoint;

pub use batching_config::{
    BatchConfigDefaults, MAX_BATCH_SIZE, MAX_BUFFER_CAPACITY, build_batch_config, validate_batch_config,
};
pub use batching_logger::{BatchConfig, BatchingLogger, RetryPolicy};
pub use endpoint::{handle_http_batch_response, parse_http_endpoint};
pub use http_client::PluginHttpClient;
pub use log_entry::SummaryLogEntry;
pub use tcp_endpoint::resolve_tcp_endpoint;
pub use udp_endpoint::{UDP_RE_RESOLVE_INTERVAL, bind_connected_udp_socket, resolve_udp_endpoint};
