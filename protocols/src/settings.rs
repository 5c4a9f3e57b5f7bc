//! What the operator set once for the process and every request meets.

use engine::http::Version;
use engine::net::TrustedNetworks;

use crate::exchange::Kind;

/// The gateway's own `Via` elements, one per version, made once.
#[derive(Clone)]
pub struct Via {
    http1: String,
    http2: String,
    http3: String,
}

impl Via {
    pub fn new(pseudonym: &str) -> Self {
        let of = |version| format!("{version} {pseudonym}");
        Self { http1: of("1.1"), http2: of("2.0"), http3: of("3.0") }
    }

    /// HTTP/1.0 counts as 1.1.
    pub fn value(&self, version: Version) -> &str {
        match version {
            Version::Http10 | Version::Http11 => &self.http1,
            Version::Http2 => &self.http2,
            Version::Http3 => &self.http3,
        }
    }
}

#[derive(Clone, Debug)]
pub struct WebSocketSettings {
    /// Over all cores; zero = no cap.
    pub connections_max: usize,
    pub frame_bytes_max: u64,
    /// Where messages are put together, frames that are at hand are gathered up to here before they are sent.
    pub write_buffer_bytes: usize,
    /// Nobody looks at frames, and no limit of them holds, unless a plugin sees messages.
    pub is_tunnel: bool,
}

/// Sizes are bytes.
#[derive(Clone, Debug)]
pub struct Http2Settings {
    /// Streams that a client may have open on one connection.
    pub streams_max: u32,
    pub frame_bytes_max: u32,
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
    /// Windows start small and grow up to those sizes with what the path holds.
    pub adaptive_window: bool,
    /// Streams that a client may reset before they were served, before the connection is closed.
    pub pending_reset_streams_max: usize,
    /// Streams that may be reset for the client's errors, before the connection is closed.
    pub error_reset_streams_max: usize,
}

/// Sizes are bytes; zero means no limit where the settings sheet says so.
#[derive(Clone)]
pub struct HttpSettings {
    /// The listeners' ports as they are configured, for plugins.
    pub http_port: u16,
    pub https_port: u16,
    pub header_bytes_max: usize,
    pub single_header_bytes_max: usize,
    pub header_count_max: usize,
    pub url_bytes_max: usize,
    pub query_parameters_max: usize,
    pub request_body_bytes_max: u64,
    pub response_body_bytes_max: u64,
    /// Responses up to this length are forwarded as one piece.
    pub response_buffer_cutoff_bytes: u64,
    /// From the first byte to the end of the handshake. Zero = none.
    pub tls_handshake_timeout_ms: u64,
    /// From the start of a request head to its end, and between requests. Zero = none.
    pub header_read_timeout_ms: u64,
    pub requests_per_ip_max: u64,
    /// None: no `Via` is added.
    pub via: Option<Via>,
    pub add_forwarded: bool,
    pub trusted_proxies: TrustedNetworks,
    /// Lower-case.
    pub real_ip_header: Option<String>,
    /// Upper-case; empty = 0-RTT is off.
    pub early_data_methods: Vec<String>,
    /// Lower-case sub-strings of metadata keys that are not logged.
    pub redacted_metadata_keys: Vec<String>,
    pub http2: Http2Settings,
    pub grpc_request_bytes_max: u64,
    pub websocket: WebSocketSettings,
    pub connect: engine::net::ConnectOptions,
    pub pool_sweep_interval_ms: u64,
    /// Connections per listener; zero = no cap.
    pub connections_max: usize,
}

impl HttpSettings {
    /// What a request's body may have; zero = no limit. gRPC has its own.
    pub fn request_bytes_max(&self, kind: Kind) -> u64 {
        if kind.is_grpc() { self.grpc_request_bytes_max } else { self.request_body_bytes_max }
    }

    /// A request line and head of this size are read before giving up on them.
    pub fn head_bytes_max(&self) -> usize {
        /// The method, the version, and colons and line ends of the fields.
        const SYNTAX_BYTES: usize = 4 * 1024;
        let url = if self.url_bytes_max == 0 { 64 * 1024 } else { self.url_bytes_max };
        // One byte more than allowed must fit, so that the refusal can say which limit it was.
        self.header_bytes_max + url + SYNTAX_BYTES
    }

    /// Fields the parser reads before giving up; the limit itself is checked, and named, behind the parser.
    pub fn fields_parsed_max(&self) -> usize {
        if self.header_count_max == 0 {
            usize::from(u16::MAX)
        } else {
            self.header_count_max.saturating_mul(4).max(400)
        }
    }
}
