use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use super::utils::metadata_redaction::serialize_redacted_metadata;
use super::{Direction, DisconnectCause};
use crate::config::types::{BackendScheme, Consumer};
use crate::consumer_index::ConsumerIndex;
use crate::modes::mesh::MeshTrafficDirection;
use crate::retry::ErrorClass;

/// A connection of a stream proxy before its backend is dialled.
#[derive(Clone)]
pub struct StreamConnectionContext {
    pub client_ip: String,
    pub proxy_id: String,
    pub proxy_name: Option<String>,
    pub listen_port: u16,
    pub backend_scheme: BackendScheme,
    pub consumer_index: Arc<ConsumerIndex>,
    pub identified_consumer: Option<Arc<Consumer>>,
    pub authenticated_identity: Option<String>,
    pub auth_method: Option<&'static str>,
    /// Made by the first [`insert_metadata`](Self::insert_metadata).
    pub metadata: Option<HashMap<String, String>>,
    pub tls_client_cert_der: Option<Arc<Vec<u8>>>,
    pub tls_client_cert_chain_der: Option<Arc<Vec<Vec<u8>>>>,
    pub sni_hostname: Option<String>,
    pub mesh_direction: Option<MeshTrafficDirection>,
}

impl StreamConnectionContext {
    /// The consumer's username, else the external identity.
    pub fn effective_identity(&self) -> Option<&str> {
        let consumer = self.identified_consumer.as_ref().map(|consumer| consumer.username.as_str());
        consumer.or(self.authenticated_identity.as_deref())
    }

    /// Left for the record of the connection.
    pub fn insert_metadata(&mut self, key: String, value: String) {
        self.metadata.get_or_insert_default().insert(key, value);
    }

    pub fn take_metadata(&mut self) -> HashMap<String, String> {
        self.metadata.take().unwrap_or_default()
    }
}

/// A connection of a stream proxy that has ended. Written by `serde_json` it is the record that loggers write.
#[derive(Debug, Clone, Serialize)]
pub struct StreamTransactionSummary {
    pub namespace: String,
    pub proxy_id: String,
    pub proxy_name: Option<String>,
    pub client_ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_method: Option<&'static str>,
    pub backend_target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_resolved_ip: Option<String>,
    pub protocol: String,
    pub listen_port: u16,
    pub duration_ms: f64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub connection_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_class: Option<ErrorClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnect_direction: Option<Direction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disconnect_cause: Option<DisconnectCause>,
    pub timestamp_connected: String,
    pub timestamp_disconnected: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni_hostname: Option<String>,
    #[serde(skip_serializing_if = "HashMap::is_empty", serialize_with = "serialize_redacted_metadata")]
    pub metadata: HashMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> StreamTransactionSummary {
        StreamTransactionSummary {
            namespace: "ferrum".into(),
            proxy_id: "db".into(),
            proxy_name: None,
            client_ip: "10.0.0.1".into(),
            consumer_username: None,
            auth_method: None,
            backend_target: "10.0.0.2:5432".into(),
            backend_resolved_ip: None,
            protocol: "tcp".into(),
            listen_port: 5432,
            duration_ms: 1.5,
            bytes_sent: 1,
            bytes_received: 2,
            connection_error: None,
            error_class: None,
            disconnect_direction: Some(Direction::ClientToBackend),
            disconnect_cause: Some(DisconnectCause::GracefulShutdown),
            timestamp_connected: "a".into(),
            timestamp_disconnected: "b".into(),
            sni_hostname: None,
            metadata: HashMap::new(),
        }
    }

    #[test]
    fn a_record_has_what_is_set_and_hides_secrets() {
        let text = serde_json::to_string(&summary()).unwrap();
        let expected = r#"{"namespace":"ferrum","proxy_id":"db","proxy_name":null,"client_ip":"10.0.0.1","backend_target":"10.0.0.2:5432","protocol":"tcp","listen_port":5432,"duration_ms":1.5,"bytes_sent":1,"bytes_received":2,"connection_error":null,"disconnect_direction":"client_to_backend","disconnect_cause":"graceful_shutdown","timestamp_connected":"a","timestamp_disconnected":"b"}"#;
        assert_eq!(text, expected);
        let metadata = HashMap::from([("password".to_owned(), "x".to_owned())]);
        let text = serde_json::to_string(&StreamTransactionSummary { metadata, ..summary() }).unwrap();
        assert!(text.ends_with(r#","metadata":{"password":"[REDACTED]"}}"#), "{text}");
    }

    #[test]
    fn metadata_is_made_at_its_first_use_and_taken_once() {
        let mut cx = StreamConnectionContext {
            client_ip: String::new(),
            proxy_id: String::new(),
            proxy_name: None,
            listen_port: 1,
            backend_scheme: BackendScheme::Tcp,
            consumer_index: Arc::new(ConsumerIndex::new(&[])),
            identified_consumer: None,
            authenticated_identity: Some("someone".into()),
            auth_method: None,
            metadata: None,
            tls_client_cert_der: None,
            tls_client_cert_chain_der: None,
            sni_hostname: None,
            mesh_direction: None,
        };
        assert!(cx.take_metadata().is_empty());
        cx.insert_metadata("a".into(), "1".into());
        assert_eq!(cx.effective_identity(), Some("someone"));
        assert_eq!(cx.take_metadata().len(), 1);
        assert!(cx.metadata.is_none());
    }
}
