//! Settings as each room takes them.

use std::sync::Arc;
use std::time::Duration;

use engine::net::ConnectOptions;
use engine::snapshot::{Http2Limits, PoolLimits};
use protocols::{Http2Settings, HttpSettings, Via, WebSocketSettings};

use super::cores::kernel_fast_open;
use crate::admin::{AdminOptions, WriteOptions};
use crate::capabilities::CapabilityOptions;
use crate::dns::DnsOptions;
use crate::overload::{OverloadOptions, Thresholds};
use crate::settings::{Mode, SECRET_BYTES_MIN, Secret, Settings, Tri};
use crate::source::{BackendTlsFiles, CompileOptions, address_policy};
use crate::store::{DatabaseKind, MongoSettings, PoolSettings, StoreError, Target, TlsSettings};

const STATUS_COUNTS_DEFAULT: usize = 200;
/// As good as for ever, and far from where adding to a clock overflows: ten years.
const SECONDS_MAX: u64 = 10 * 365 * 24 * 3600;
/// Defaults of the settings, and of the driver.
const MONGO_SERVER_SELECTION_SECONDS: u64 = 30;
const MONGO_CONNECT_SECONDS: u64 = 10;

pub(super) fn seconds(value: u64) -> Duration {
    Duration::from_secs(value.min(SECONDS_MAX))
}

/// Settings that are in use and that this release does not act on, one line each.
pub(super) fn unserved(settings: &Settings) -> Vec<String> {
    let early_data = !settings.tls.tls_early_data_methods.0.is_empty();
    let uses = [
        (early_data, "FERRUM_TLS_EARLY_DATA_METHODS", "TLS early data (0-RTT)"),
        (settings.http3.enable_http3, "FERRUM_ENABLE_HTTP3", "the HTTP/3 listener"),
        (settings.kernel.ktls_enabled == Tri::On, "FERRUM_KTLS_ENABLED", "kernel TLS"),
        (
            settings.core.enable_streaming_latency_tracking,
            "FERRUM_ENABLE_STREAMING_LATENCY_TRACKING",
            "the second record",
        ),
        (settings.kernel.tcp_fastopen_enabled == Tri::On, "FERRUM_TCP_FASTOPEN_ENABLED", "fast open towards backends"),
        (
            !settings.metrics.metrics_pool_tracking_enabled,
            "FERRUM_METRICS_POOL_TRACKING_ENABLED",
            "switching the pool counters off",
        ),
        (
            settings.runtime.status_counts_max_entries != STATUS_COUNTS_DEFAULT,
            "FERRUM_STATUS_COUNTS_MAX_ENTRIES",
            "another bound than one row a status",
        ),
    ];
    uses.iter()
        .filter(|(used, _, _)| *used)
        .map(|(_, name, what)| format!("{name} is set, but {what} is not built yet in this release"))
        .collect()
}

pub(super) fn http(settings: &Settings) -> HttpSettings {
    let (limits, client, runtime, pool) = (&settings.limits, &settings.client, &settings.runtime, &settings.pool);
    HttpSettings {
        http_port: settings.listeners.proxy_http_port,
        https_port: settings.listeners.proxy_https_port,
        header_bytes_max: limits.max_header_size_bytes,
        single_header_bytes_max: limits.max_single_header_size_bytes,
        header_count_max: limits.max_header_count,
        url_bytes_max: limits.max_url_length_bytes,
        query_parameters_max: limits.max_query_params,
        request_body_bytes_max: limits.max_request_body_size_bytes as u64,
        response_body_bytes_max: limits.max_response_body_size_bytes as u64,
        response_buffer_cutoff_bytes: limits.response_buffer_cutoff_bytes as u64,
        tls_handshake_timeout_ms: settings.listeners.frontend_tls_handshake_timeout_seconds.saturating_mul(1000),
        header_read_timeout_ms: limits.http_header_read_timeout_seconds.saturating_mul(1000),
        requests_per_ip_max: runtime.max_concurrent_requests_per_ip,
        via: client.add_via_header.then(|| Via::new(&client.via_pseudonym)),
        add_forwarded: client.add_forwarded_header,
        trusted_proxies: client.trusted_proxies.clone(),
        real_ip_header: client.real_ip_header.as_ref().map(|name| name.to_ascii_lowercase()),
        early_data_methods: settings.tls.tls_early_data_methods.0.clone(),
        redacted_metadata_keys: redacted(settings),
        http2: Http2Settings {
            streams_max: runtime.server_http2_max_concurrent_streams,
            frame_bytes_max: pool.pool_http2_max_frame_size,
            stream_window_bytes: pool.pool_http2_initial_stream_window_size,
            connection_window_bytes: pool.pool_http2_initial_connection_window_size,
            adaptive_window: pool.pool_http2_adaptive_window,
            pending_reset_streams_max: runtime.server_http2_max_pending_accept_reset_streams,
            error_reset_streams_max: runtime.server_http2_max_local_error_reset_streams,
        },
        grpc_request_bytes_max: limits.max_grpc_recv_size_bytes as u64,
        websocket: WebSocketSettings {
            connections_max: runtime.websocket_max_connections,
            frame_bytes_max: limits.max_websocket_frame_size_bytes as u64,
            write_buffer_bytes: limits.websocket_write_buffer_size,
            is_tunnel: limits.websocket_tunnel_mode,
        },
        connect: ConnectOptions { keepalive: None },
        pool_sweep_interval_ms: pool.pool_cleanup_interval_seconds.saturating_mul(1000),
        connections_max: runtime.max_connections,
    }
}

fn redacted(settings: &Settings) -> Vec<String> {
    settings.core.log_redact_metadata_keys.iter().map(|key| key.to_lowercase()).collect()
}

pub(super) fn fast_open(settings: &Settings) -> bool {
    kernel_fast_open(settings.kernel.tcp_fastopen_enabled)
}

pub(super) fn compile(settings: &Settings, backend_tls: Arc<BackendTlsFiles>, cores: usize) -> CompileOptions {
    let pool = &settings.pool;
    CompileOptions {
        namespace: settings.core.namespace.as_str().to_owned(),
        address_policy: address_policy(settings.client.backend_allow_ips),
        pool: PoolLimits {
            idle_max: pool.pool_max_idle_per_host,
            idle_timeout_ms: pool.pool_idle_timeout_seconds.saturating_mul(1000),
            keep_alive: pool.pool_enable_http_keep_alive,
            tcp_keepalive_seconds: pool.pool_tcp_keepalive_seconds,
            offers_http2: pool.pool_enable_http2,
            http2: Http2Limits {
                connections_max: pool.pool_http2_connections_per_host,
                streams_max: pool.pool_http2_max_concurrent_streams.max(1),
                frame_bytes_max: pool.pool_http2_max_frame_size,
                stream_window_bytes: pool.pool_http2_initial_stream_window_size,
                connection_window_bytes: pool.pool_http2_initial_connection_window_size,
                adaptive_window: pool.pool_http2_adaptive_window,
                idle_timeout_ms: pool.pool_idle_timeout_seconds.saturating_mul(1000),
                keepalive_interval_ms: pool.pool_http2_keep_alive_interval_seconds.saturating_mul(1000),
                keepalive_timeout_ms: pool.pool_http2_keep_alive_timeout_seconds.saturating_mul(1000),
            },
        },
        backend_tls,
        cores,
        skips_faulty_plugins: settings.core.mode == Mode::Database,
    }
}

pub(super) fn dns(settings: &Settings) -> DnsOptions {
    let dns = &settings.dns;
    let policy = address_policy(settings.client.backend_allow_ips);
    DnsOptions {
        overrides: dns.dns_overrides.clone().into_iter().collect(),
        servers: dns.dns_resolver_address.0.iter().map(ToString::to_string).collect(),
        hosts_file: dns.dns_resolver_hosts_file.clone(),
        order: dns.dns_order.0.iter().map(|query| query.token().to_owned()).collect(),
        ttl_override: dns.dns_ttl_override_seconds.map(seconds),
        ttl_min: seconds(dns.dns_min_ttl_seconds),
        stale_ttl: seconds(dns.dns_stale_ttl),
        error_ttl: seconds(dns.dns_error_ttl),
        cache_max: dns.dns_cache_max_size,
        warmup_concurrency: dns.dns_warmup_concurrency,
        slow_threshold: dns.dns_slow_threshold_ms.map(Duration::from_millis),
        refresh_threshold_percent: dns.dns_refresh_threshold_percent,
        failed_retry_interval: seconds(dns.dns_failed_retry_interval_seconds),
        try_tcp_on_error: dns.dns_try_tcp_on_error,
        servers_raced: dns.dns_num_concurrent_reqs,
        requests_active_max: dns.dns_max_active_requests,
        refreshes_max: dns.dns_max_concurrent_refreshes,
        address_policy: Arc::new(move |ip| policy.allows(ip)),
        query_timeout: None,
    }
}

pub(super) fn capabilities(settings: &Settings) -> CapabilityOptions {
    CapabilityOptions {
        probes_max: settings.pool.pool_warmup_concurrency,
        is_probing: settings.pool.backend_capability_probe_enabled,
    }
}

pub(super) fn overload(settings: &Settings) -> OverloadOptions {
    let overload = &settings.overload;
    let pair = |pressure, critical| Thresholds { pressure, critical };
    OverloadOptions {
        check_interval: Duration::from_millis(overload.overload_check_interval_ms),
        descriptors: pair(overload.overload_fd_pressure_threshold, overload.overload_fd_critical_threshold),
        connections: pair(overload.overload_conn_pressure_threshold, overload.overload_conn_critical_threshold),
        requests: pair(overload.overload_req_pressure_threshold, overload.overload_req_critical_threshold),
        loop_warn_us: overload.overload_loop_warn_us,
        loop_critical_us: overload.overload_loop_critical_us,
        connections_max: settings.runtime.max_connections as u64,
        requests_max: settings.runtime.max_requests as u64,
    }
}

/// The admin API's secret, unless it could be guessed (settings sheet §7.2). Without one every token is refused.
fn long_secret(settings: &Settings) -> Option<&str> {
    let secret = settings.admin.admin_jwt_secret.as_ref().map(|secret| secret.expose());
    secret.filter(|secret| secret.len() >= SECRET_BYTES_MIN)
}

/// Why no admin token will be accepted.
pub(super) fn secret_warning(settings: &Settings) -> Option<String> {
    if long_secret(settings).is_some() {
        return None;
    }
    let bytes = settings.admin.admin_jwt_secret.as_ref().map_or(0, |secret| secret.expose().len());
    let found = if bytes == 0 { "is not set".to_owned() } else { format!("has only {bytes} characters") };
    Some(format!(
        "FERRUM_ADMIN_JWT_SECRET {found}: every admin token is refused with 401; set at least {SECRET_BYTES_MIN} characters"
    ))
}

pub(super) fn admin(settings: &Settings) -> AdminOptions {
    let (admin, metrics) = (&settings.admin, &settings.metrics);
    AdminOptions {
        mode: settings.core.mode.name().to_owned(),
        jwt_secret: long_secret(settings).map(str::to_owned),
        jwt_issuer: admin.admin_jwt_issuer.clone(),
        jwt_ttl_max_seconds: admin.admin_jwt_max_ttl,
        header_read_timeout: Duration::from_secs(settings.limits.http_header_read_timeout_seconds),
        restore_body_max_mib: admin.admin_restore_max_body_size_mib,
        spec_body_max_mib: admin.admin_spec_max_body_size_mib,
        sensitive_keys: redacted(settings),
        runtime_cache: Duration::from_millis(metrics.metrics_runtime_cache_ms),
        sample_interval: Duration::from_millis(metrics.metrics_system_sample_interval_ms),
        status_window: Duration::from_secs(settings.runtime.status_metrics_window_seconds),
        window_1m: Duration::from_secs(metrics.metrics_window_1m_seconds),
        window_5m: Duration::from_secs(metrics.metrics_window_5m_seconds),
        status_tracking: metrics.metrics_status_tracking_enabled,
        pool_max_idle_per_host: settings.pool.pool_max_idle_per_host as u64,
        pool_idle_timeout_seconds: settings.pool.pool_idle_timeout_seconds,
        is_read_only: settings.core.mode != Mode::Database || settings.admin.admin_read_only,
        write: writes(settings),
        ..AdminOptions::default()
    }
}

fn writes(settings: &Settings) -> WriteOptions {
    WriteOptions {
        credentials_per_type_max: settings.limits.max_credentials_per_type,
        basic_auth_secret: settings.client.basic_auth_hmac_secret.clone(),
        audit_enabled: settings.admin.admin_audit_enabled,
        backend_allow_ips: crate::source::address_policy(settings.client.backend_allow_ips),
        cert_expiry_warning_days: settings.tls.tls_cert_expiry_warning_days,
        has_stream_listeners: settings.core.mode != Mode::ControlPlane,
        stream_bind_address: settings.stream.stream_proxy_bind_address,
        reserved_ports: settings.reserved_ports(),
    }
}

/// The primary database.
///
/// # Errors
/// The settings name no database that there is.
pub(crate) fn database(settings: &Settings) -> Result<Target, StoreError> {
    let database = &settings.database;
    let kind: DatabaseKind = database.db_type.as_deref().unwrap_or_default().parse()?;
    let mut target = Target::new(kind, database.db_url.as_ref().map(Secret::expose).unwrap_or_default());
    let client = database.db_tls_client_cert_path.clone().map(|certificate| {
        let key = database.db_tls_client_key_path.clone().unwrap_or_else(|| certificate.clone());
        (certificate, key)
    });
    target.tls = TlsSettings {
        mode: database.db_tls_mode.map(|mode| mode.token().to_owned()),
        ca_path: database.db_tls_ca_cert_path.clone(),
        client_paths: client,
    };
    target.pool = PoolSettings {
        connections_max: database.db_pool_max_connections,
        connections_min: database.db_pool_min_connections,
        acquire_timeout: seconds(database.db_pool_acquire_timeout_seconds),
        idle_timeout: seconds(database.db_pool_idle_timeout_seconds),
        lifetime_max: seconds(database.db_pool_max_lifetime_seconds),
        connect_timeout: seconds(database.db_pool_connect_timeout_seconds),
        statement_timeout: seconds(database.db_pool_statement_timeout_seconds),
    };
    target.mongo = mongo(settings);
    target.page_rows = database.db_full_load_page_size;
    target.slow_threshold = database.db_slow_query_threshold_ms.map(Duration::from_millis);
    Ok(target)
}

/// A limit that has its default leaves that of the URL as it is.
fn mongo(settings: &Settings) -> MongoSettings {
    let database = &settings.database;
    let unless = |default: u64, value: u64| (value != default).then(|| seconds(value));
    MongoSettings {
        database: database.mongo_database.clone(),
        app_name: database.mongo_app_name.clone(),
        replica_set: database.mongo_replica_set.clone(),
        auth_mechanism: database.mongo_auth_mechanism.clone(),
        server_selection_timeout: unless(
            MONGO_SERVER_SELECTION_SECONDS,
            database.mongo_server_selection_timeout_seconds,
        ),
        connect_timeout: unless(MONGO_CONNECT_SECONDS, database.mongo_connect_timeout_seconds),
    }
}
