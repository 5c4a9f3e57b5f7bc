use std::collections::HashMap;

use serde::Serialize;

use super::MirrorResponseMeta;
use super::utils::metadata_redaction::serialize_redacted_metadata;
use crate::retry::ErrorClass;

/// A transaction that has ended. Written by `serde_json` it is the record that loggers write, in which the values of metadata
/// whose keys look secret are hidden; here they are as they were set.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TransactionSummary {
    pub namespace: String,
    /// RFC 3339.
    pub timestamp_received: String,
    pub client_ip: String,
    pub consumer_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<&'static str>,
    pub http_method: String,
    /// Without the query.
    pub request_path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_name: Option<String>,
    /// `scheme://host:port/path`.
    pub backend_target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_resolved_ip: Option<String>,
    /// As the client was sent it.
    pub response_status_code: u16,
    pub latency_total_ms: f64,
    pub latency_gateway_processing_ms: f64,
    /// -1 when no backend was asked.
    pub latency_backend_ttfb_ms: f64,
    /// -1 when no backend was asked, and for streamed responses.
    pub latency_backend_total_ms: f64,
    pub latency_plugin_execution_ms: f64,
    pub latency_plugin_external_io_ms: f64,
    pub latency_gateway_overhead_ms: f64,
    pub request_user_agent: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    pub response_streamed: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub client_disconnected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_class: Option<ErrorClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_error_class: Option<ErrorClass>,
    #[serde(skip_serializing_if = "is_false")]
    pub body_completed: bool,
    /// Body bytes, client to backend.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_sent: u64,
    /// Body bytes, backend to client.
    #[serde(skip_serializing_if = "is_zero")]
    pub bytes_received: u64,
    #[serde(skip_serializing_if = "is_false")]
    pub mirror: bool,
    #[serde(serialize_with = "serialize_redacted_metadata")]
    pub metadata: HashMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl TransactionSummary {
    /// The record of the request that was sent to a second place because of this one.
    pub fn as_mirror_entry(&self, result: MirrorResponseMeta) -> Self {
        let mut entry = Self {
            mirror: true,
            backend_target: Some(result.mirror_target_url),
            backend_resolved_ip: None,
            response_status_code: result.mirror_response_status_code.unwrap_or(0),
            latency_total_ms: result.mirror_latency_ms,
            latency_gateway_processing_ms: 0.0,
            latency_backend_ttfb_ms: result.mirror_latency_ms,
            latency_backend_total_ms: result.mirror_latency_ms,
            latency_plugin_execution_ms: 0.0,
            latency_plugin_external_io_ms: 0.0,
            latency_gateway_overhead_ms: 0.0,
            response_streamed: false,
            client_disconnected: false,
            error_class: None,
            body_error_class: None,
            body_completed: false,
            bytes_sent: 0,
            bytes_received: 0,
            ..self.clone()
        };
        if let Some(bytes) = result.mirror_response_size_bytes {
            entry.metadata.insert("response_size_bytes".to_owned(), bytes.to_string());
        }
        if let Some(error) = result.mirror_error {
            entry.metadata.insert("mirror_error".to_owned(), error);
        }
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_members_that_are_always_there() {
        let text = serde_json::to_string(&TransactionSummary::default()).unwrap();
        let expected = r#"{"namespace":"","timestamp_received":"","client_ip":"","consumer_username":null,"http_method":"","request_path":"","backend_target":null,"response_status_code":0,"latency_total_ms":0.0,"latency_gateway_processing_ms":0.0,"latency_backend_ttfb_ms":0.0,"latency_backend_total_ms":0.0,"latency_plugin_execution_ms":0.0,"latency_plugin_external_io_ms":0.0,"latency_gateway_overhead_ms":0.0,"request_user_agent":null,"metadata":{}}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn a_record_has_what_is_set_in_the_order_of_the_gateway_s_own() {
        let summary = TransactionSummary {
            auth_method: Some("key_auth"),
            proxy_id: Some("p".into()),
            proxy_name: Some("n".into()),
            backend_resolved_ip: Some("10.0.0.1".into()),
            response_streamed: true,
            client_disconnected: true,
            error_class: Some(ErrorClass::TlsError),
            body_error_class: Some(ErrorClass::ConnectionReset),
            body_completed: true,
            bytes_sent: 1,
            bytes_received: 2,
            mirror: true,
            metadata: HashMap::from([("access_token".to_owned(), "x".to_owned())]),
            ..TransactionSummary::default()
        };
        let value = serde_json::to_value(&summary).unwrap();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys.len(), 29);
        assert_eq!(keys[4..6], ["auth_method", "http_method"]);
        assert_eq!(
            keys[20..],
            [
                "response_streamed",
                "client_disconnected",
                "error_class",
                "body_error_class",
                "body_completed",
                "bytes_sent",
                "bytes_received",
                "mirror",
                "metadata"
            ]
        );
        assert_eq!(value["error_class"], "tls_error");
        assert_eq!(value["metadata"]["access_token"], "[REDACTED]");
        assert_eq!(summary.metadata["access_token"], "x");
    }

    #[test]
    fn a_mirror_entry_tells_of_the_second_place() {
        let summary = TransactionSummary { response_status_code: 200, bytes_sent: 5, ..TransactionSummary::default() };
        let entry = summary.as_mirror_entry(MirrorResponseMeta {
            mirror_target_url: "http://b/?q".into(),
            mirror_response_status_code: None,
            mirror_response_size_bytes: Some(3),
            mirror_latency_ms: 2.5,
            mirror_error: Some("refused".into()),
        });
        assert!(entry.mirror && entry.bytes_sent == 0 && entry.response_status_code == 0);
        assert_eq!((entry.latency_total_ms, entry.latency_backend_total_ms), (2.5, 2.5));
        assert_eq!(entry.metadata["response_size_bytes"], "3");
        assert_eq!(entry.metadata["mirror_error"], "refused");
    }
}
