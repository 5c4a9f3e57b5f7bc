//! The members of records, by name.

/// One member of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldMeta {
    pub name: &'static str,
    /// Whether it is written in the timestamp format of the schema.
    pub is_timestamp: bool,
}

const fn plain(name: &'static str) -> FieldMeta {
    FieldMeta { name, is_timestamp: false }
}

const fn timestamp(name: &'static str) -> FieldMeta {
    FieldMeta { name, is_timestamp: true }
}

/// Of the HTTP record, in its order.
pub const HTTP_FIELDS: &[FieldMeta] = &[
    plain("namespace"),
    timestamp("timestamp_received"),
    plain("client_ip"),
    plain("consumer_username"),
    plain("auth_method"),
    plain("http_method"),
    plain("request_path"),
    plain("proxy_id"),
    plain("proxy_name"),
    plain("backend_target"),
    plain("backend_resolved_ip"),
    plain("response_status_code"),
    plain("latency_total_ms"),
    plain("latency_gateway_processing_ms"),
    plain("latency_backend_ttfb_ms"),
    plain("latency_backend_total_ms"),
    plain("latency_plugin_execution_ms"),
    plain("latency_plugin_external_io_ms"),
    plain("latency_gateway_overhead_ms"),
    plain("request_user_agent"),
    plain("response_streamed"),
    plain("client_disconnected"),
    plain("error_class"),
    plain("body_error_class"),
    plain("body_completed"),
    plain("bytes_sent"),
    plain("bytes_received"),
    plain("mirror"),
    plain("metadata"),
];

/// Of the stream record, in its order.
pub const STREAM_FIELDS: &[FieldMeta] = &[
    plain("namespace"),
    plain("proxy_id"),
    plain("proxy_name"),
    plain("client_ip"),
    plain("consumer_username"),
    plain("auth_method"),
    plain("backend_target"),
    plain("backend_resolved_ip"),
    plain("protocol"),
    plain("listen_port"),
    plain("duration_ms"),
    plain("bytes_sent"),
    plain("bytes_received"),
    plain("connection_error"),
    plain("error_class"),
    plain("disconnect_direction"),
    plain("disconnect_cause"),
    timestamp("timestamp_connected"),
    timestamp("timestamp_disconnected"),
    plain("sni_hostname"),
    plain("metadata"),
];
