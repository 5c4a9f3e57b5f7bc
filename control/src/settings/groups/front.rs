//! What faces the client: core, listeners, limits, client identity.

use std::net::IpAddr;
use std::path::PathBuf;

use super::super::TrustedNetworks;
use super::super::addresses::EVERY_IPV4;
use super::super::check::{any, lenient, settings_group, strict};
use super::super::value::Secret;
use super::super::vocabulary::{BackendAllowIps, ClientAuth, Mode, Namespace};

settings_group! {
    /// What the process is and how it speaks.
    CoreSettings "Core" {
        /// Where the conf file is. A file that does not exist is an empty one.
        conf_path: PathBuf = PathBuf::from("./ferrum.conf"), "", "all", any().env_only();
        /// The operating mode.
        mode: Mode = Mode::File, "", "all", strict().default_text("none, required").note("not trimmed");
        /// Only resources of this namespace are loaded and served.
        namespace: Namespace = Namespace::default(), "", "all", strict().note("1-254 characters: first a letter or digit, then also `.` `_` `-`");
        /// Log filter: a level, or a comma list of `target=level` and levels. `RUST_LOG` wins.
        log_level: String = "error".to_owned(), "", "all", any();
        /// Log lines kept per output stream before new ones are dropped.
        log_buffer_capacity: usize = 128_000, "lines", "all", strict();
        /// Further parts of log metadata keys whose values are redacted, in any case; added to the built-in ones.
        log_redact_metadata_keys: Vec<String> = Vec::new(), "", "proxy", any().env_only();
        /// Time limit for fetching one secret.
        secret_fetch_timeout_seconds: u64 = 30, "s", "all (run)", lenient();
        /// Log the true backend time of streamed bodies in a second record.
        enable_streaming_latency_tracking: bool = false, "", "proxy", strict();
    }
}

settings_group! {
    /// Proxy listeners and frontend TLS.
    ListenerSettings "Proxy listeners and frontend TLS" {
        /// Plaintext HTTP/1.1 and h2c listener; 0 = off.
        proxy_http_port: u16 = 8000, "port", "database, file, dp", strict();
        /// HTTPS over TCP and HTTP/3 over UDP; only with certificate and key. 0 does not switch it off: the OS chooses a port.
        proxy_https_port: u16 = 8443, "port", "database, file, dp", strict();
        /// Where HTTP, HTTPS and HTTP/3 are bound; `::` is dual stack where the OS allows.
        proxy_bind_address: IpAddr = EVERY_IPV4, "", "database, file, dp", strict().note("no host names");
        /// PEM chain for HTTPS, HTTP/3, TLS streams and mesh inbound; several, with commas between them, are chosen from by SNI. Without the key, TLS is off.
        frontend_tls_cert_path: Option<PathBuf> = None, "", "proxy", any().note("loaded at mode start");
        /// PEM private key (PKCS#8, PKCS#1 or SEC1) of the certificate; of several, in their order.
        frontend_tls_key_path: Option<PathBuf> = None, "", "proxy", any().note("loaded at mode start");
        /// When set, clients present a certificate that chains to this bundle.
        frontend_tls_client_ca_bundle_path: Option<PathBuf> = None, "", "proxy", any().note("loaded at mode start");
        /// Whether they must: `off`, `optional` (a client without one is served, one with a bad one is not) or `required`.
        frontend_tls_client_auth: ClientAuth = ClientAuth::Required, "", "proxy", strict();
        /// Time limit of TLS, QUIC and DTLS handshakes, admin and injector included; 0 = none.
        frontend_tls_handshake_timeout_seconds: u64 = 10, "s", "proxy, admin, injector", strict();
        /// Watch certificate and key files of proxy and admin HTTPS, and use changed ones for new handshakes.
        frontend_tls_live_reload_enabled: bool = false, "", "proxy, admin", strict();
        /// How often watched certificate files are looked at.
        frontend_tls_watch_interval_seconds: u64 = 30, "s", "proxy, admin", strict().clamp(1, 3600);
    }
}

settings_group! {
    /// Bounds on what a client may send and a backend may answer.
    LimitSettings "Limits" {
        /// Sum of header name and value lengths; more is 431. Also the HTTP/1 head buffer and the HTTP/2 header list.
        max_header_size_bytes: usize = 32_768, "bytes", "proxy", strict().at_least(8192);
        /// Length of one header's name and value; more is 431.
        max_single_header_size_bytes: usize = 16_384, "bytes", "proxy", strict();
        /// Header fields; more is 431. 0 = unlimited.
        max_header_count: usize = 100, "", "proxy", strict();
        /// Request body; more is 413. 0 = unlimited.
        max_request_body_size_bytes: usize = 10_485_760, "bytes", "proxy", strict();
        /// Backend response body; more is 502. 0 = unlimited.
        max_response_body_size_bytes: usize = 10_485_760, "bytes", "proxy", strict();
        /// Responses of known length up to this are forwarded in one piece; 0 = always stream.
        response_buffer_cutoff_bytes: usize = 65_536, "bytes", "proxy", strict();
        /// Size to which small HTTP/2 response frames are merged.
        h2_coalesce_target_bytes: usize = 131_072, "bytes", "proxy", strict().clamp(16_384, 1_048_576);
        /// Path, `?` and query; more is 414. 0 = unlimited.
        max_url_length_bytes: usize = 8192, "bytes", "proxy", strict();
        /// Non-empty query parameters; more is 400. 0 = unlimited.
        max_query_params: usize = 100, "", "proxy", strict();
        /// gRPC payload received in one call; 0 = unlimited.
        max_grpc_recv_size_bytes: usize = 4_194_304, "bytes", "proxy", strict();
        /// WebSocket frame, both directions; a message may have four times as much. Not enforced in tunnel mode.
        max_websocket_frame_size_bytes: usize = 16_777_216, "bytes", "proxy", strict();
        /// Write buffer of WebSocket connections whose frames are parsed.
        websocket_write_buffer_size: usize = 131_072, "bytes", "proxy", strict();
        /// Relay raw bytes after an upgrade where no plugin looks at frames; never on HTTP/3.
        websocket_tunnel_mode: bool = false, "", "proxy", strict();
        /// Credentials per type that one consumer may have.
        max_credentials_per_type: usize = 2, "", "all", strict();
        /// Time to receive a complete HTTP/1.1 request head; 0 = no limit.
        http_header_read_timeout_seconds: u64 = 10, "s", "proxy, admin", strict();
    }
}

settings_group! {
    /// Who the client is, what is told to the backend, and what plugins' own HTTP calls may take.
    ClientSettings "Client identity, headers, backend addresses, plugin HTTP" {
        /// Proxies that are believed when they name the client. Bad entries are skipped with a warning.
        trusted_proxies: TrustedNetworks = TrustedNetworks::default(), "", "proxy", any();
        /// Header in which a trusted proxy names the client; wins over `X-Forwarded-For`.
        real_ip_header: Option<String> = None, "", "proxy", any();
        /// Which addresses may be dialled, of backends and by plugins.
        backend_allow_ips: BackendAllowIps = BackendAllowIps::Both, "", "proxy", strict();
        /// Add `Via` to requests and responses.
        add_via_header: bool = true, "", "proxy", strict();
        /// The name in `Via`.
        via_pseudonym: String = "ferrum-edge".to_owned(), "", "proxy", any();
        /// Add the RFC 7239 `Forwarded` header to backend requests.
        add_forwarded_header: bool = false, "", "proxy", strict();
        /// HMAC-SHA256 key of `hmac_sha256:` password hashes. Change it: the built-in one is public.
        basic_auth_hmac_secret: Secret = Secret::new(DEFAULT_HMAC_SECRET), "", "proxy, admin", any().blank_is_unset().default_text("built-in");
        /// Warn about plugin HTTP calls slower than this.
        plugin_http_slow_threshold_ms: u64 = 1000, "ms", "proxy", strict();
        /// Retries of safe methods after a transport failure of a plugin's HTTP call.
        plugin_http_max_retries: u32 = 0, "", "proxy", strict();
        /// Delay between those retries.
        plugin_http_retry_delay_ms: u64 = 100, "ms", "proxy", strict();
    }
}

/// The HMAC key of an installation that sets none; it is public, and its use is logged as an error.
pub const DEFAULT_HMAC_SECRET: &str = "ferrum-edge-change-me-in-production";
