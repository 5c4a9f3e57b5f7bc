//! Resources as rows: which column holds which field, and in which form (control-plane sheet §3).

use std::borrow::Cow;

use engine::model::{ApiSpec, Consumer, PluginConfig, Proxy, Upstream};

use super::driver::Cell;
use super::forms;
use crate::store::{SpecSummary, StoreError};

/// A kind of resource that has a table.
pub trait Record: Sized {
    const TABLE: &'static str;
    /// In the order in which rows are read and written.
    const COLUMNS: &'static [&'static str];

    fn read(row: Vec<Cell>) -> Result<Self, StoreError>;

    /// What rows are ordered by.
    fn id(&self) -> &str;

    /// One cell a column.
    fn write(&self) -> Vec<Cell>;
}

/// `SELECT` of all columns, up to `WHERE`.
pub fn select<R: Record>() -> String {
    format!("SELECT {} FROM {}", R::COLUMNS.join(", "), R::TABLE)
}

pub fn insert<R: Record>() -> String {
    let marks = vec!["?"; R::COLUMNS.len()].join(", ");
    format!("INSERT INTO {} ({}) VALUES ({marks})", R::TABLE, R::COLUMNS.join(", "))
}

/// Everything but the id, which is the last value, and the time of creation, which stays.
pub fn update<R: Record>() -> String {
    let set: Vec<String> = changed::<R>().map(|(_, column)| format!("{column} = ?")).collect();
    format!("UPDATE {} SET {} WHERE id = ?", R::TABLE, set.join(", "))
}

/// The cells for [`update`].
pub fn update_cells<R: Record>(record: &R) -> Vec<Cell> {
    let cells = record.write();
    let mut chosen: Vec<Cell> = changed::<R>().filter_map(|(index, _)| cells.get(index).cloned()).collect();
    chosen.extend(cells.into_iter().next());
    chosen
}

fn changed<R: Record>() -> impl Iterator<Item = (usize, &'static &'static str)> {
    R::COLUMNS.iter().enumerate().filter(|(_, column)| !matches!(**column, "id" | "created_at"))
}

/// A row that cannot be read, by the name of its id.
pub fn unreadable(table: &'static str, id: &str, column: &'static str, reason: Cow<'static, str>) -> StoreError {
    StoreError::Row { table, id: id.to_owned(), column, reason }
}

/// Says once which field is in which column; fields that no column holds are given behind `without`. The first is the id.
macro_rules! record {
    ($type:ident, $table:literal, { $($field:ident : $form:ident),* $(,)? } without { $($absent:ident : $default:expr),* $(,)? }) => {
        impl Record for $type {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn read(row: Vec<Cell>) -> Result<Self, StoreError> {
                let id = match row.first() {
                    Some(Cell::Text(id)) => id.clone(),
                    _ => String::new(),
                };
                let mut cells = row.into_iter();
                Ok(Self {
                    $($field: {
                        let cell = cells.next().unwrap_or(Cell::NullText);
                        forms::$form::read(cell).map_err(|reason| unreadable($table, &id, stringify!($field), reason))?
                    },)*
                    $($absent: $default,)*
                })
            }

            fn id(&self) -> &str {
                &self.id
            }

            fn write(&self) -> Vec<Cell> {
                vec![$(forms::$form::write(&self.$field)),*]
            }
        }
    };
}

record!(Upstream, "upstreams", {
    id: text,
    namespace: text,
    name: optional_text,
    targets: json,
    algorithm: word,
    hash_on: optional_text,
    hash_on_cookie_config: optional_json,
    health_checks: optional_json,
    service_discovery: optional_json,
    subsets: optional_json,
    backend_tls_client_cert_path: optional_text,
    backend_tls_client_key_path: optional_text,
    backend_tls_verify_server_cert: flag,
    backend_tls_server_ca_cert_path: optional_text,
    backend_tls_sni: optional_text,
    backend_tls_san_allow_list: list,
    api_spec_id: optional_text,
    created_at: moment,
    updated_at: moment,
} without { port_overrides: Default::default(), source_locality: None, locality_lb_setting: None });

record!(Consumer, "consumers", {
    id: text,
    namespace: text,
    username: text,
    custom_id: optional_text,
    credentials: json,
    acl_groups: json,
    created_at: moment,
    updated_at: moment,
} without {});

record!(Proxy, "proxies", {
    id: text,
    namespace: text,
    name: optional_text,
    hosts: json,
    listen_path: optional_text,
    backend_scheme: some_word,
    backend_host: text,
    backend_port: number,
    backend_path: optional_text,
    strip_listen_path: flag,
    preserve_host_header: flag,
    backend_connect_timeout_ms: number,
    backend_read_timeout_ms: number,
    backend_write_timeout_ms: number,
    backend_tls_client_cert_path: optional_text,
    backend_tls_client_key_path: optional_text,
    backend_tls_verify_server_cert: flag,
    backend_tls_server_ca_cert_path: optional_text,
    dns_override: optional_text,
    dns_cache_ttl_seconds: optional_number,
    auth_mode: word,
    upstream_id: optional_text,
    upstream_subset: optional_text,
    circuit_breaker: optional_json,
    retry: optional_json,
    response_body_mode: word,
    pool_idle_timeout_seconds: optional_number,
    pool_enable_http_keep_alive: optional_flag,
    pool_enable_http2: optional_flag,
    pool_tcp_keepalive_seconds: optional_number,
    pool_http2_keep_alive_interval_seconds: optional_number,
    pool_http2_keep_alive_timeout_seconds: optional_number,
    pool_http2_initial_stream_window_size: optional_number,
    pool_http2_initial_connection_window_size: optional_number,
    pool_http2_adaptive_window: optional_flag,
    pool_http2_max_frame_size: optional_number,
    pool_http2_max_concurrent_streams: optional_number,
    pool_http3_connections_per_backend: optional_number,
    pool_max_requests_per_connection: optional_number,
    listen_port: optional_number,
    frontend_tls: flag,
    passthrough: flag,
    udp_idle_timeout_seconds: number,
    tcp_idle_timeout_seconds: optional_number,
    udp_max_response_amplification_factor: optional_real,
    allowed_methods: optional_json,
    allowed_ws_origins: list,
    api_spec_id: optional_text,
    created_at: moment,
    updated_at: moment,
} without { plugins: Vec::new() });

record!(PluginConfig, "plugin_configs", {
    id: text,
    namespace: text,
    plugin_name: text,
    config: json,
    scope: word,
    proxy_id: optional_text,
    enabled: flag,
    priority_override: optional_number,
    api_spec_id: optional_text,
    created_at: moment,
    updated_at: moment,
} without {});

record!(ApiSpec, "api_specs", {
    id: text,
    namespace: text,
    proxy_id: text,
    spec_version: text,
    spec_format: word,
    spec_content: bytes,
    content_encoding: text,
    uncompressed_size: number,
    content_hash: text,
    title: optional_text,
    info_version: optional_text,
    description: optional_text,
    contact_name: optional_text,
    contact_email: optional_text,
    license_name: optional_text,
    license_identifier: optional_text,
    tags: json,
    server_urls: json,
    operation_count: number,
    resource_hash: text,
    created_at: moment,
    updated_at: moment,
} without {});

record!(SpecSummary, "api_specs", {
    id: text,
    namespace: text,
    proxy_id: text,
    spec_version: text,
    spec_format: word,
    title: optional_text,
    info_version: optional_text,
    description: optional_text,
    contact_name: optional_text,
    contact_email: optional_text,
    license_name: optional_text,
    license_identifier: optional_text,
    tags: json,
    server_urls: json,
    operation_count: number,
    uncompressed_size: number,
    content_hash: text,
    created_at: moment,
    updated_at: moment,
} without {});

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What was written is what is read.
    fn kept<R: Record + serde::de::DeserializeOwned + std::fmt::Debug + PartialEq>(value: serde_json::Value) {
        let record: R = serde_json::from_value(value).unwrap();
        let cells = record.write();
        assert_eq!(cells.len(), R::COLUMNS.len());
        assert_eq!(R::read(cells).unwrap(), record);
    }

    #[test]
    fn a_resource_survives_its_row() {
        kept::<Proxy>(json!({"id": "p", "backend_scheme": "http", "backend_host": "h", "backend_port": 80}));
        kept::<Proxy>(json!({
            "id": "p", "name": "n", "hosts": ["a"], "listen_path": "/x", "backend_scheme": "tcp", "backend_host": "h",
            "backend_port": 1, "listen_port": 9, "udp_max_response_amplification_factor": 2.5,
            "allowed_methods": ["GET"], "allowed_ws_origins": ["https://a"], "pool_enable_http2": false,
            "auth_mode": "multi", "response_body_mode": "buffer", "retry": {"max_retries": 2},
        }));
        kept::<Upstream>(json!({
            "id": "u", "targets": [{"host": "a", "port": 1, "tags": {"k": "v"}}], "algorithm": "least_latency",
            "backend_tls_san_allow_list": ["a"], "subsets": [{"name": "s", "labels": {"k": "v"}}],
        }));
        kept::<Consumer>(
            json!({"id": "c", "username": "u", "credentials": {"keyauth": [{"key": "k"}]}, "acl_groups": ["g"]}),
        );
        kept::<PluginConfig>(
            json!({"id": "x", "plugin_name": "cors", "scope": "proxy", "proxy_id": "p", "config": null}),
        );
    }

    #[test]
    fn a_column_that_cannot_be_read_is_named_with_its_row() {
        let proxy: Proxy = serde_json::from_value(json!({"id": "p", "backend_host": "h", "backend_port": 80})).unwrap();
        let at = |column: &str| Proxy::COLUMNS.iter().position(|name| *name == column).unwrap();
        for (column, cell) in [
            ("hosts", Cell::text("[")),
            ("auth_mode", Cell::text("both")),
            ("created_at", Cell::text("yesterday")),
            ("backend_port", Cell::Integer(70_000)),
            ("backend_host", Cell::NullText),
        ] {
            let mut cells = proxy.write();
            cells[at(column)] = cell;
            let error = Proxy::read(cells).unwrap_err().to_string();
            assert!(error.starts_with(&format!("proxies 'p': column {column}: ")), "{error}");
        }
    }

    #[test]
    fn an_update_keeps_the_id_and_the_time_of_creation() {
        let sql = update::<Consumer>();
        assert!(sql.starts_with("UPDATE consumers SET namespace = ?, username = ?"), "{sql}");
        assert!(!sql.contains("created_at") && sql.ends_with(" WHERE id = ?"), "{sql}");
        let consumer: Consumer = serde_json::from_value(json!({"id": "c", "username": "u"})).unwrap();
        let cells = update_cells(&consumer);
        assert_eq!((cells.len(), cells.last()), (sql.matches('?').count(), Some(&Cell::text("c"))));
    }
}
