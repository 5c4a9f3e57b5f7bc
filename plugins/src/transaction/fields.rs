//! The fields of records, in the order in which they are written (traffic sheet §5.1 and §5.2).

use super::{Record, json};

macro_rules! http_fields {
    ($($field:ident $name:literal)*) => {
        /// A field of the HTTP-family record.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(super) enum HttpField {
            $($field,)*
        }

        impl HttpField {
            pub(super) const ALL: &[HttpField] = &[$(HttpField::$field),*];

            pub(super) const fn name(self) -> &'static str {
                match self {
                    $(HttpField::$field => $name,)*
                }
            }
        }

        /// Writes all members as the sheet has them, each behind a comma. Unrolled, so that no field is looked up.
        pub(super) fn write_native<const IN_STRING: bool>(record: &Record<'_>, out: &mut Vec<u8>) {
            $(if record.has(HttpField::$field) {
                let key = if IN_STRING {
                    concat!(",\\\"", $name, "\\\":")
                } else {
                    concat!(",\"", $name, "\":")
                };
                json::text(out, key);
                record.write_value::<IN_STRING>(out, HttpField::$field);
            })*
        }
    };
}

http_fields! {
    Namespace "namespace"
    TimestampReceived "timestamp_received"
    ClientIp "client_ip"
    ConsumerUsername "consumer_username"
    AuthMethod "auth_method"
    HttpMethod "http_method"
    RequestPath "request_path"
    ProxyId "proxy_id"
    ProxyName "proxy_name"
    BackendTarget "backend_target"
    BackendResolvedIp "backend_resolved_ip"
    ResponseStatusCode "response_status_code"
    LatencyTotal "latency_total_ms"
    LatencyGatewayProcessing "latency_gateway_processing_ms"
    LatencyBackendTtfb "latency_backend_ttfb_ms"
    LatencyBackendTotal "latency_backend_total_ms"
    LatencyPluginExecution "latency_plugin_execution_ms"
    LatencyPluginExternalIo "latency_plugin_external_io_ms"
    LatencyGatewayOverhead "latency_gateway_overhead_ms"
    RequestUserAgent "request_user_agent"
    ResponseStreamed "response_streamed"
    ClientDisconnected "client_disconnected"
    ErrorClass "error_class"
    BodyErrorClass "body_error_class"
    BodyCompleted "body_completed"
    BytesSent "bytes_sent"
    BytesReceived "bytes_received"
    Mirror "mirror"
    Metadata "metadata"
}

/// The names of the stream record, which schemas may mention.
pub(super) const STREAM_FIELDS: [&str; 21] = [
    "namespace",
    "proxy_id",
    "proxy_name",
    "client_ip",
    "consumer_username",
    "auth_method",
    "backend_target",
    "backend_resolved_ip",
    "protocol",
    "listen_port",
    "duration_ms",
    "bytes_sent",
    "bytes_received",
    "connection_error",
    "error_class",
    "disconnect_direction",
    "disconnect_cause",
    "timestamp_connected",
    "timestamp_disconnected",
    "sni_hostname",
    "metadata",
];
