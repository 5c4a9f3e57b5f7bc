//! What faces the backends: DNS, TLS policy, HTTP/3, streams, the connection pool.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use super::super::addresses::{EVERY_IPV4, NameServers};
use super::super::check::{Deferred, any, lenient, mode_start, settings_group, strict};
use super::super::vocabulary::{CipherSuites, Curves, DnsOrder, EarlyDataMethods, TlsVersion};

settings_group! {
    /// Name resolution.
    DnsSettings "DNS" {
        /// Static answers: a JSON object from host to IP address.
        dns_overrides: BTreeMap<String, String> = BTreeMap::new(), "", "proxy, cp", strict();
        /// Name servers as `ip` or `ip:port`, port 53 by default. Bad entries are skipped with a warning.
        dns_resolver_address: NameServers = NameServers::default(), "", "proxy, cp", any();
        /// Hosts file; the system's by default.
        dns_resolver_hosts_file: Option<PathBuf> = None, "", "proxy, cp", any().note("unreadable: warning");
        /// Order of questions out of `CACHE`, `SRV`, `A`, `AAAA`, `CNAME`; `CACHE` is the type that answered last.
        dns_order: DnsOrder = DnsOrder::default(), "", "proxy, cp", any().note("unknown items: warning");
        /// One TTL for all positive answers.
        dns_ttl_override_seconds: Option<u64> = None, "s", "proxy, cp", strict();
        /// Lowest TTL.
        dns_min_ttl_seconds: u64 = 5, "s", "proxy, cp", strict();
        /// How long expired answers may be served while they are refreshed.
        dns_stale_ttl: u64 = 3600, "s", "proxy, cp", strict();
        /// TTL of negative answers.
        dns_error_ttl: u64 = 5, "s", "proxy, cp", strict();
        /// Entries of the cache.
        dns_cache_max_size: usize = 10_000, "", "proxy, cp", strict();
        /// Look-ups at once during warm-up.
        dns_warmup_concurrency: usize = 500, "", "proxy", strict().at_least(1);
        /// Warn about slower look-ups.
        dns_slow_threshold_ms: Option<u64> = None, "ms", "proxy, cp", strict();
        /// Share of the TTL after which an answer is refreshed in the background.
        dns_refresh_threshold_percent: u8 = 90, "%", "proxy, cp", strict().clamp(1, 99);
        /// How often failed names are retried in the background; 0 = off.
        dns_failed_retry_interval_seconds: u64 = 10, "s", "proxy", strict();
        /// Ask again over TCP after a truncated answer or a failure.
        dns_try_tcp_on_error: bool = true, "", "proxy, cp", strict();
        /// Name servers asked at once for one look-up.
        dns_num_concurrent_reqs: usize = 3, "", "proxy, cp", strict().clamp(1, 10);
        /// Queries in flight per name server connection.
        dns_max_active_requests: usize = 512, "", "proxy, cp", strict().clamp(1, 4096);
        /// Background refreshes at once.
        dns_max_concurrent_refreshes: usize = 64, "", "proxy, cp", strict().clamp(1, 1000);
    }
}

settings_group! {
    /// TLS policy, inbound and outbound.
    TlsSettings "TLS policy" {
        /// Lowest TLS version, both directions.
        tls_min_version: TlsVersion = TlsVersion::Tls12, "", "all", strict();
        /// Highest TLS version, both directions.
        tls_max_version: TlsVersion = TlsVersion::Tls13, "", "all", strict();
        /// Cipher suites in order of preference, exact case.
        tls_cipher_suites: Deferred<CipherSuites> = Deferred::Default(CipherSuites::default()), "", "proxy, cp, admin, injector", mode_start();
        /// Key-exchange groups in order of preference: `X25519`, `secp256r1`, `secp384r1`, `X25519MLKEM768`.
        tls_curves: Deferred<Curves> = Deferred::Default(Curves::default()), "", "proxy, cp, admin, injector", mode_start();
        /// In TLS 1.2 the server's order of cipher suites counts.
        tls_prefer_server_cipher_order: bool = true, "", "inbound", strict();
        /// Sessions remembered for resumption, inbound and outbound.
        tls_session_cache_size: usize = 4096, "", "all", strict();
        /// Warn about certificates that expire sooner; 0 = no warnings. Expired ones are always refused.
        tls_cert_expiry_warning_days: u64 = 30, "days", "all", strict();
        /// Methods that may travel in TLS early data; empty = early data off.
        tls_early_data_methods: EarlyDataMethods = EarlyDataMethods::default(), "", "proxy", any();
        /// PEM revocation lists for all TLS and DTLS surfaces.
        tls_crl_file_path: Option<PathBuf> = None, "", "all", any().note("loaded at mode start");
        /// The only outbound trust anchors; unset = public web roots.
        tls_ca_bundle_path: Option<PathBuf> = None, "", "all", strict().note("must hold a PEM certificate");
        /// Do not verify any outbound TLS peer.
        tls_no_verify: bool = false, "", "outbound", strict();
        /// Default client certificate towards backends; both or neither.
        backend_tls_client_cert_path: Option<PathBuf> = None, "", "proxy", strict().note("must hold a PEM certificate");
        /// Unencrypted PKCS#8 PEM key of that certificate.
        backend_tls_client_key_path: Option<PathBuf> = None, "", "proxy", strict().note("must hold a PKCS#8 key");
    }
}

/// The biggest number a QUIC variable-length integer holds (RFC 9000 §16).
const QUIC_VARINT_MAX: u64 = (1 << 62) - 1;

fn fits_varint(window: &u64) -> bool {
    *window <= QUIC_VARINT_MAX
}

settings_group! {
    /// HTTP/3.
    Http3Settings "HTTP/3" {
        /// Listen for HTTP/3 on the HTTPS port and announce it with `alt-svc`.
        enable_http3: bool = false, "", "proxy", strict();
        /// Idle timeout of a connection.
        http3_idle_timeout: u64 = 30, "s", "proxy", strict();
        /// Concurrent request streams per connection.
        http3_max_streams: u32 = 1000, "", "proxy", strict();
        /// Receive window of a stream.
        http3_stream_receive_window: u64 = 8_388_608, "bytes", "proxy", strict().or_default_unless(fits_varint, "at most 2^62-1");
        /// Receive window of a connection.
        http3_receive_window: u64 = 33_554_432, "bytes", "proxy", strict().or_default_unless(fits_varint, "at most 2^62-1");
        /// Send window of a connection.
        http3_send_window: u64 = 8_388_608, "bytes", "proxy", strict();
        /// QUIC connections per HTTP/3 backend.
        http3_connections_per_backend: usize = 4, "", "proxy", strict().at_least(1);
        /// Idle HTTP/3 backend connections are closed after this.
        http3_pool_idle_timeout_seconds: u64 = 120, "s", "proxy", strict();
        /// Capacity of the buffer in which responses are merged.
        http3_coalesce_max_bytes: usize = 32_768, "bytes", "proxy", strict().clamp(1024, 1_048_576);
        /// Merged bytes that are flushed at once; at most the capacity.
        http3_coalesce_min_bytes: usize = 32_768, "bytes", "proxy", strict().at_least(1024).note("C[..`FERRUM_HTTP3_COALESCE_MAX_BYTES`] with warning");
        /// Merged bytes are flushed after this time.
        http3_flush_interval_micros: u64 = 200, "µs", "proxy", strict().clamp(50, 100_000);
        /// Upload chunks in flight towards backends that do not speak HTTP/3.
        http3_request_body_channel_capacity: usize = 32, "chunks", "proxy", strict().clamp(1, 1024);
        /// Accept WebSocket over HTTP/3 (RFC 9220); off answers 501.
        http3_websocket_enabled: bool = true, "", "proxy", strict();
        /// Initial path MTU.
        http3_initial_mtu: u16 = 1500, "bytes", "proxy", strict().only(|mtu| (1200..=65527).contains(mtu), "a value from 1200 to 65527");
        /// After an early successful answer, keep reading the upload this long; 0 = stop at once.
        h3_request_body_drain_ms: u64 = 50, "ms", "proxy", strict().at_most(1000);
    }
}

settings_group! {
    /// TCP, UDP and DTLS streams.
    StreamSettings "Stream proxy" {
        /// Where stream listeners are bound.
        stream_proxy_bind_address: IpAddr = EVERY_IPV4, "", "proxy", lenient().note("not an IP: the proxy bind address");
        /// Relays without data in either direction are closed after this; 0 = off.
        tcp_idle_timeout_seconds: u64 = 300, "s", "proxy", strict();
        /// Longest wait for the second half after one side closed; 0 = off.
        tcp_half_close_max_wait_seconds: u64 = 300, "s", "proxy", strict();
        /// Sessions per UDP proxy, DTLS handshakes included.
        udp_max_sessions: usize = 10_000, "", "proxy", strict().at_least(1);
        /// How often idle UDP sessions are swept.
        udp_cleanup_interval_seconds: u64 = 10, "s", "proxy", strict().at_least(1);
        /// Datagrams per receive call.
        udp_recvmmsg_batch_size: usize = 64, "", "proxy", strict().clamp(1, 1024);
        /// Certificate of DTLS listeners, ECDSA P-256 or P-384; with its key.
        dtls_cert_path: Option<PathBuf> = None, "", "proxy", any().note("loaded at mode start");
        /// Key of that certificate.
        dtls_key_path: Option<PathBuf> = None, "", "proxy", any().note("loaded at mode start");
        /// When set, DTLS clients must present a certificate.
        dtls_client_ca_cert_path: Option<PathBuf> = None, "", "proxy", any().note("loaded at mode start");
        /// Larger datagrams are dropped with a warning.
        dtls_max_plaintext_bytes: usize = 16_384, "bytes", "proxy", strict();
        /// Room for a record's header and tag; with the plaintext limit the size of the output buffer.
        dtls_record_overhead_bytes: usize = 64, "bytes", "proxy", strict();
    }
}

fn connections_by_cpu() -> usize {
    std::thread::available_parallelism().map_or(2, |cpus| cpus.get().clamp(2, 8))
}

settings_group! {
    /// Connections to backends. Many can be overridden per proxy.
    PoolSettings "Backend connection pool" {
        /// Connect to HTTP backends before listening.
        pool_warmup_enabled: bool = true, "", "proxy", strict();
        /// Connections opened at once during warm-up, and backends asked at once what they speak.
        pool_warmup_concurrency: usize = 500, "", "proxy", strict().at_least(1);
        /// Ask backends which HTTP versions they speak, at start, after a reload and at the interval.
        backend_capability_probe_enabled: bool = true, "", "proxy", strict();
        /// How often idle connections are swept.
        pool_cleanup_interval_seconds: u64 = 30, "s", "proxy", strict().at_least(1);
        /// How often backends are asked again which HTTP versions they speak.
        backend_capability_refresh_interval_secs: u64 = 86_400, "s", "proxy", strict().at_least(1);
        /// Wait for a free HTTP/2 stream before another connection is opened; 0 = no wait.
        grpc_pool_ready_wait_ms: u64 = 1, "ms", "proxy", strict();
        /// Idle connections kept per backend host.
        pool_max_idle_per_host: usize = 64, "", "proxy", lenient().clamp(4, 1024).saying_so();
        /// Idle connections are closed after this.
        pool_idle_timeout_seconds: u64 = 90, "s", "proxy", lenient();
        /// Reuse HTTP/1.1 connections.
        pool_enable_http_keep_alive: bool = true, "", "proxy", lenient();
        /// Offer HTTP/2 to backends by ALPN.
        pool_enable_http2: bool = true, "", "proxy", lenient();
        /// HTTP/2 connections per backend.
        pool_http2_connections_per_host: usize = connections_by_cpu(), "", "proxy", lenient().at_least(1).default_text("CPUs, within 2..8");
        /// TCP keep-alive time.
        pool_tcp_keepalive_seconds: u64 = 60, "s", "proxy", lenient();
        /// HTTP/2 ping interval.
        pool_http2_keep_alive_interval_seconds: u64 = 30, "s", "proxy", lenient();
        /// HTTP/2 ping timeout; below 10 it warns.
        pool_http2_keep_alive_timeout_seconds: u64 = 45, "s", "proxy", lenient();
        /// HTTP/2 stream window, backend and frontend.
        pool_http2_initial_stream_window_size: u32 = 8_388_608, "bytes", "proxy", lenient().clamp(65_535, 134_217_728);
        /// HTTP/2 connection window, backend and frontend.
        pool_http2_initial_connection_window_size: u32 = 33_554_432, "bytes", "proxy", lenient().clamp(65_535, 134_217_728);
        /// Let the HTTP/2 windows follow the measured bandwidth.
        pool_http2_adaptive_window: bool = true, "", "proxy", lenient();
        /// Largest HTTP/2 frame, backend and frontend.
        pool_http2_max_frame_size: u32 = 1_048_576, "bytes", "proxy", lenient().clamp(16_384, 1_048_576);
        /// Streams per HTTP/2 backend connection.
        pool_http2_max_concurrent_streams: u32 = 1000, "", "proxy", lenient();
    }
}
