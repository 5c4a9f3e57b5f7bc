-- SQLite: version 1 of the schema (control-plane sheet §3).

CREATE TABLE IF NOT EXISTS upstreams (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL DEFAULT 'ferrum',
    name TEXT,
    targets TEXT NOT NULL DEFAULT '[]',
    algorithm TEXT NOT NULL DEFAULT 'round_robin',
    hash_on TEXT,
    hash_on_cookie_config TEXT,
    health_checks TEXT,
    service_discovery TEXT,
    subsets TEXT,
    backend_tls_client_cert_path TEXT,
    backend_tls_client_key_path TEXT,
    backend_tls_verify_server_cert INTEGER NOT NULL DEFAULT 1,
    backend_tls_server_ca_cert_path TEXT,
    backend_tls_sni TEXT,
    backend_tls_san_allow_list TEXT,
    api_spec_id TEXT,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS consumers (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL DEFAULT 'ferrum',
    username TEXT NOT NULL,
    custom_id TEXT,
    credentials TEXT NOT NULL DEFAULT '{}',
    acl_groups TEXT NOT NULL DEFAULT '[]',
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE IF NOT EXISTS proxies (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL DEFAULT 'ferrum',
    name TEXT,
    hosts TEXT NOT NULL DEFAULT '[]',
    listen_path TEXT,
    backend_scheme TEXT NOT NULL DEFAULT 'https',
    backend_host TEXT NOT NULL,
    backend_port INTEGER NOT NULL DEFAULT 80,
    backend_path TEXT,
    strip_listen_path INTEGER NOT NULL DEFAULT 1,
    preserve_host_header INTEGER NOT NULL DEFAULT 0,
    backend_connect_timeout_ms INTEGER NOT NULL DEFAULT 5000,
    backend_read_timeout_ms INTEGER NOT NULL DEFAULT 30000,
    backend_write_timeout_ms INTEGER NOT NULL DEFAULT 30000,
    backend_tls_client_cert_path TEXT,
    backend_tls_client_key_path TEXT,
    backend_tls_verify_server_cert INTEGER NOT NULL DEFAULT 1,
    backend_tls_server_ca_cert_path TEXT,
    dns_override TEXT,
    dns_cache_ttl_seconds INTEGER,
    auth_mode TEXT NOT NULL DEFAULT 'single',
    upstream_id TEXT,
    upstream_subset TEXT,
    circuit_breaker TEXT,
    retry TEXT,
    response_body_mode TEXT NOT NULL DEFAULT 'stream',
    pool_idle_timeout_seconds INTEGER,
    pool_enable_http_keep_alive INTEGER,
    pool_enable_http2 INTEGER,
    pool_tcp_keepalive_seconds INTEGER,
    pool_http2_keep_alive_interval_seconds INTEGER,
    pool_http2_keep_alive_timeout_seconds INTEGER,
    pool_http2_initial_stream_window_size INTEGER,
    pool_http2_initial_connection_window_size INTEGER,
    pool_http2_adaptive_window INTEGER,
    pool_http2_max_frame_size INTEGER,
    pool_http2_max_concurrent_streams INTEGER,
    pool_http3_connections_per_backend INTEGER,
    pool_max_requests_per_connection INTEGER,
    listen_port INTEGER,
    frontend_tls INTEGER NOT NULL DEFAULT 0,
    passthrough INTEGER NOT NULL DEFAULT 0,
    udp_idle_timeout_seconds INTEGER NOT NULL DEFAULT 60,
    tcp_idle_timeout_seconds INTEGER,
    udp_max_response_amplification_factor REAL,
    allowed_methods TEXT,
    allowed_ws_origins TEXT,
    api_spec_id TEXT,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT fk_proxies_upstream FOREIGN KEY (upstream_id) REFERENCES upstreams (id) ON DELETE RESTRICT,
    CONSTRAINT chk_proxies_backend_port CHECK (backend_port BETWEEN 0 AND 65535),
    CONSTRAINT chk_proxies_listen_port CHECK (listen_port IS NULL OR listen_port BETWEEN 1 AND 65535),
    CONSTRAINT chk_proxies_connect_timeout CHECK (backend_connect_timeout_ms > 0),
    CONSTRAINT chk_proxies_read_timeout CHECK (backend_read_timeout_ms >= 0),
    CONSTRAINT chk_proxies_write_timeout CHECK (backend_write_timeout_ms >= 0)
);

CREATE TABLE IF NOT EXISTS plugin_configs (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL DEFAULT 'ferrum',
    plugin_name TEXT NOT NULL,
    config TEXT NOT NULL DEFAULT '{}',
    scope TEXT NOT NULL DEFAULT 'global',
    proxy_id TEXT,
    enabled INTEGER NOT NULL DEFAULT 1,
    priority_override INTEGER,
    api_spec_id TEXT,
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT fk_plugin_configs_proxy FOREIGN KEY (proxy_id) REFERENCES proxies (id) ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS proxy_plugins (
    proxy_id TEXT NOT NULL,
    plugin_config_id TEXT NOT NULL,
    PRIMARY KEY (proxy_id, plugin_config_id),
    CONSTRAINT fk_proxy_plugins_proxy FOREIGN KEY (proxy_id) REFERENCES proxies (id) ON DELETE CASCADE,
    CONSTRAINT fk_proxy_plugins_plugin_config FOREIGN KEY (plugin_config_id) REFERENCES plugin_configs (id) ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS api_specs (
    id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL DEFAULT 'ferrum',
    proxy_id TEXT NOT NULL,
    spec_version TEXT NOT NULL,
    spec_format TEXT NOT NULL,
    spec_content BLOB NOT NULL,
    content_encoding TEXT NOT NULL DEFAULT 'gzip',
    uncompressed_size INTEGER NOT NULL,
    content_hash TEXT NOT NULL,
    title TEXT,
    info_version TEXT,
    description TEXT,
    contact_name TEXT,
    contact_email TEXT,
    license_name TEXT,
    license_identifier TEXT,
    tags TEXT NOT NULL DEFAULT '[]',
    server_urls TEXT NOT NULL DEFAULT '[]',
    operation_count INTEGER NOT NULL DEFAULT 0,
    resource_hash TEXT NOT NULL DEFAULT '',
    created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    updated_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT fk_api_specs_proxy FOREIGN KEY (proxy_id) REFERENCES proxies (id) ON DELETE CASCADE
);

CREATE TABLE IF NOT EXISTS audit_events (
    id TEXT PRIMARY KEY,
    ts TEXT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    namespace TEXT NOT NULL DEFAULT 'ferrum',
    diff TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS idx_proxies_upstream_id ON proxies (upstream_id);

CREATE INDEX IF NOT EXISTS idx_plugin_configs_proxy_id ON plugin_configs (proxy_id);

CREATE INDEX IF NOT EXISTS idx_proxy_plugins_plugin_config_id ON proxy_plugins (plugin_config_id);

CREATE INDEX IF NOT EXISTS idx_proxies_updated_at ON proxies (updated_at);

CREATE INDEX IF NOT EXISTS idx_consumers_updated_at ON consumers (updated_at);

CREATE INDEX IF NOT EXISTS idx_plugin_configs_updated_at ON plugin_configs (updated_at);

CREATE INDEX IF NOT EXISTS idx_upstreams_updated_at ON upstreams (updated_at);

CREATE INDEX IF NOT EXISTS idx_proxies_ns_updated ON proxies (namespace, updated_at);

-- Each proxy that is written asks which others have its path.
CREATE INDEX IF NOT EXISTS idx_proxies_ns_listen_path ON proxies (namespace, listen_path);

CREATE INDEX IF NOT EXISTS idx_consumers_ns_updated ON consumers (namespace, updated_at);

CREATE INDEX IF NOT EXISTS idx_plugin_configs_ns_updated ON plugin_configs (namespace, updated_at);

CREATE INDEX IF NOT EXISTS idx_upstreams_ns_updated ON upstreams (namespace, updated_at);

CREATE INDEX IF NOT EXISTS idx_plugin_configs_ns_scope ON plugin_configs (namespace, scope);

CREATE INDEX IF NOT EXISTS idx_plugin_configs_ns_plugin_name ON plugin_configs (namespace, plugin_name);

CREATE INDEX IF NOT EXISTS idx_plugin_configs_plugin_name_enabled ON plugin_configs (plugin_name) WHERE enabled = 1;

CREATE INDEX IF NOT EXISTS idx_api_specs_namespace_updated_at ON api_specs (namespace, updated_at);

CREATE INDEX IF NOT EXISTS idx_api_specs_ns_spec_version ON api_specs (namespace, spec_version);

CREATE INDEX IF NOT EXISTS idx_api_specs_ns_title ON api_specs (namespace, title);

CREATE INDEX IF NOT EXISTS idx_api_specs_ns_operation_count ON api_specs (namespace, operation_count);

CREATE INDEX IF NOT EXISTS idx_api_specs_ns_created_at ON api_specs (namespace, created_at);

CREATE INDEX IF NOT EXISTS idx_proxies_api_spec_id ON proxies (api_spec_id);

CREATE INDEX IF NOT EXISTS idx_plugin_configs_api_spec_id ON plugin_configs (api_spec_id);

CREATE INDEX IF NOT EXISTS idx_upstreams_api_spec_id ON upstreams (api_spec_id);

CREATE INDEX IF NOT EXISTS idx_audit_events_namespace_ts ON audit_events (namespace, ts);

CREATE INDEX IF NOT EXISTS idx_audit_events_actor ON audit_events (actor);

CREATE INDEX IF NOT EXISTS idx_audit_events_resource_type ON audit_events (resource_type);

CREATE UNIQUE INDEX IF NOT EXISTS idx_proxies_unique_listen_port ON proxies (namespace, listen_port) WHERE listen_port IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS idx_proxies_namespace_name ON proxies (namespace, name) WHERE name IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS idx_consumers_namespace_username ON consumers (namespace, username);

CREATE UNIQUE INDEX IF NOT EXISTS idx_consumers_namespace_custom_id ON consumers (namespace, custom_id) WHERE custom_id IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS idx_upstreams_namespace_name ON upstreams (namespace, name) WHERE name IS NOT NULL;

CREATE UNIQUE INDEX IF NOT EXISTS idx_api_specs_namespace_proxy_id ON api_specs (namespace, proxy_id);
