//! One request as documented plugins see it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::MirrorResponseMeta;
use super::utils::route_header_transform::RouteHeaderTransformRule;
use crate::config::types::{BackendTlsConfig, Consumer, Proxy, RetryConfig};
use crate::identity::SpiffeId;
use crate::modes::mesh::MeshTrafficDirection;

/// How long a plugin waits at most for what came of a mirrored request.
const MIRROR_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a node-waypoint listener knows about the workload behind it; mesh mode is not part of this release.
#[derive(Debug)]
#[non_exhaustive]
pub struct NodeWaypointPolicyScope {}

#[derive(Debug, Clone)]
pub struct RequestContext {
    /// After trusted-proxy resolution, without a port.
    pub client_ip: String,
    pub method: String,
    /// Without the query. What is written here shows in records and to later plugins; the backend is asked for what the client
    /// asked for.
    pub path: String,
    /// By lower-case name. In `before_proxy`, read and write the map that is handed in instead.
    pub headers: HashMap<String, String>,
    /// Filled from `authenticate` on.
    pub query_params: HashMap<String, String>,
    pub matched_proxy: Option<Arc<Proxy>>,
    pub identified_consumer: Option<Arc<Consumer>>,
    /// Who the request is from, when that is no consumer.
    pub authenticated_identity: Option<String>,
    /// What the backend is told of them, if that is something else.
    pub authenticated_identity_header: Option<String>,
    pub auth_method: Option<&'static str>,
    pub timestamp_received: DateTime<Utc>,
    /// Text that plugins leave for each other and for the log.
    pub metadata: HashMap<String, String>,
    /// The client's leaf certificate.
    pub tls_client_cert_der: Option<Arc<Vec<u8>>>,
    /// The others it sent.
    pub tls_client_cert_chain_der: Option<Arc<Vec<Vec<u8>>>>,
    /// Nanoseconds spent in tracked outbound calls. Clones share it.
    pub plugin_http_call_ns: Arc<AtomicU64>,
    pub route_override_upstream_id: Option<String>,
    pub route_override_backend_host: Option<String>,
    pub route_override_backend_port: Option<u16>,
    pub route_override_resolved_tls: Option<BackendTlsConfig>,
    pub route_override_backend_read_timeout_ms: Option<u64>,
    /// `Some(None)` = no retries for this request.
    pub route_override_retry: Option<Option<RetryConfig>>,
    pub route_override_request_transform: Option<Arc<Vec<RouteHeaderTransformRule>>>,
    pub route_override_response_transform: Option<Arc<Vec<RouteHeaderTransformRule>>>,
    pub request_body_bytes: Option<Bytes>,
    /// Request-body bytes seen so far.
    pub bytes_sent_observed: Arc<AtomicU64>,
    /// It came in the first flight of a TLS handshake, or says that it did somewhere before.
    pub is_early_data: bool,
    pub frontend_listen_port: Option<u16>,
    pub peer_spiffe_id: Option<SpiffeId>,
    pub mirror_result_rx: Option<tokio::sync::watch::Receiver<Option<MirrorResponseMeta>>>,
    pub mesh_direction: Option<MeshTrafficDirection>,
    pub node_waypoint_pod_uid: Option<[u8; 16]>,
    pub node_waypoint_policy_scope: Option<Arc<NodeWaypointPolicyScope>>,
    pub(super) raw_headers: Option<http::HeaderMap>,
    pub(super) raw_query: Option<String>,
}

impl RequestContext {
    pub fn new(client_ip: String, method: String, path: String) -> Self {
        Self {
            client_ip,
            method,
            path,
            headers: HashMap::new(),
            query_params: HashMap::new(),
            matched_proxy: None,
            identified_consumer: None,
            authenticated_identity: None,
            authenticated_identity_header: None,
            auth_method: None,
            timestamp_received: Utc::now(),
            metadata: HashMap::new(),
            tls_client_cert_der: None,
            tls_client_cert_chain_der: None,
            plugin_http_call_ns: Arc::default(),
            route_override_upstream_id: None,
            route_override_backend_host: None,
            route_override_backend_port: None,
            route_override_resolved_tls: None,
            route_override_backend_read_timeout_ms: None,
            route_override_retry: None,
            route_override_request_transform: None,
            route_override_response_transform: None,
            request_body_bytes: None,
            bytes_sent_observed: Arc::default(),
            is_early_data: false,
            frontend_listen_port: None,
            peer_spiffe_id: None,
            mirror_result_rx: None,
            mesh_direction: None,
            node_waypoint_pod_uid: None,
            node_waypoint_policy_scope: None,
            raw_headers: None,
            raw_query: None,
        }
    }

    /// The consumer's username, else the external identity.
    pub fn effective_identity(&self) -> Option<&str> {
        self.consumer_username().or(self.authenticated_identity.as_deref())
    }

    /// What the backend is told: the consumer's username, else the external identity as it is displayed.
    pub fn backend_consumer_username(&self) -> Option<&str> {
        let external = || self.authenticated_identity_header.as_deref().or(self.authenticated_identity.as_deref());
        self.consumer_username().or_else(external)
    }

    pub fn backend_consumer_custom_id(&self) -> Option<&str> {
        self.identified_consumer.as_ref()?.custom_id.as_deref()
    }

    fn consumer_username(&self) -> Option<&str> {
        self.identified_consumer.as_ref().map(|consumer| consumer.username.as_str())
    }

    /// Headers as they came, for [`materialize_headers`](Self::materialize_headers).
    pub fn set_raw_headers(&mut self, headers: http::HeaderMap) {
        self.raw_headers = Some(headers);
    }

    /// The first value of a header that was not materialised yet.
    pub fn raw_header_get(&self, name: &str) -> Option<&str> {
        self.raw_headers.as_ref()?.get(name)?.to_str().ok()
    }

    pub fn raw_header_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let values = self.raw_headers.iter().flat_map(move |headers| headers.get_all(name));
        values.filter_map(|value| value.to_str().ok())
    }

    /// Moves the raw headers into `headers`: of repeated ones the last counts, except where all are joined.
    pub fn materialize_headers(&mut self) {
        let Some(raw) = self.raw_headers.take() else { return };
        for (name, value) in &raw {
            let Ok(value) = value.to_str() else { continue };
            match self.headers.get_mut(name.as_str()) {
                Some(present) if matches!(name.as_str(), "baggage" | "sec-websocket-protocol") => {
                    present.push(',');
                    present.push_str(value);
                }
                Some(present) => value.clone_into(present),
                None => drop(self.headers.insert(name.as_str().to_owned(), value.to_owned())),
            }
        }
    }

    /// A query for [`materialize_query_params`](Self::materialize_query_params); an empty one is none.
    pub fn set_raw_query_string(&mut self, qs: String) {
        if !qs.is_empty() {
            self.raw_query = Some(qs);
        }
    }

    /// Moves the raw query into `query_params`, percent-decoded; a name without a value is empty, the last duplicate counts.
    pub fn materialize_query_params(&mut self) {
        let Some(query) = self.raw_query.take() else { return };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.query_params.insert(decoded(name), decoded(value));
        }
    }

    /// The same without decoding; names without a value are left out.
    pub fn materialize_query_params_raw(&mut self) {
        let Some(query) = self.raw_query.take() else { return };
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            self.query_params.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Waits until it is known what came of a mirrored request, but not long.
    pub async fn collect_mirror_result(&self) -> Option<MirrorResponseMeta> {
        let mut receiver = self.mirror_result_rx.clone()?;
        let told = tokio::time::timeout(MIRROR_WAIT_MAX, receiver.wait_for(Option::is_some)).await;
        told.ok()?.ok()?.clone()
    }

    /// As at the beginning of a request, but for what every request has: address, method, path, time, proxy and the maps, whose
    /// memory is used again.
    pub(crate) fn reset(&mut self) {
        self.identified_consumer = None;
        self.authenticated_identity = None;
        self.authenticated_identity_header = None;
        self.auth_method = None;
        self.tls_client_cert_der = None;
        self.tls_client_cert_chain_der = None;
        make_unshared(&mut self.plugin_http_call_ns);
        self.route_override_upstream_id = None;
        self.route_override_backend_host = None;
        self.route_override_backend_port = None;
        self.route_override_resolved_tls = None;
        self.route_override_backend_read_timeout_ms = None;
        self.route_override_retry = None;
        self.route_override_request_transform = None;
        self.route_override_response_transform = None;
        self.request_body_bytes = None;
        make_unshared(&mut self.bytes_sent_observed);
        self.is_early_data = false;
        self.frontend_listen_port = None;
        self.peer_spiffe_id = None;
        self.mirror_result_rx = None;
        self.mesh_direction = None;
        self.node_waypoint_pod_uid = None;
        self.node_waypoint_policy_scope = None;
        self.raw_headers = None;
        self.raw_query = None;
    }
}

/// Makes it a count of zero that nobody else holds; in the same memory where that is possible.
fn make_unshared(count: &mut Arc<AtomicU64>) {
    match Arc::get_mut(count) {
        Some(alone) => *alone.get_mut() = 0,
        None => *count = Arc::default(),
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn context() -> RequestContext {
        RequestContext::new("10.0.0.1".into(), "GET".into(), "/".into())
    }

    #[test]
    fn a_consumer_goes_before_an_external_identity() {
        let mut cx = context();
        assert_eq!((cx.effective_identity(), cx.backend_consumer_username()), (None, None));
        cx.authenticated_identity = Some("sub-1".into());
        assert_eq!(cx.backend_consumer_username(), Some("sub-1"));
        cx.authenticated_identity_header = Some("One".into());
        assert_eq!((cx.effective_identity(), cx.backend_consumer_username()), (Some("sub-1"), Some("One")));
        let alice = serde_json::from_value(json!({"username": "alice", "custom_id": "7"})).unwrap();
        cx.identified_consumer = Some(Arc::new(alice));
        assert_eq!((cx.effective_identity(), cx.backend_consumer_username()), (Some("alice"), Some("alice")));
        assert_eq!(cx.backend_consumer_custom_id(), Some("7"));
    }

    #[test]
    fn raw_headers_are_materialised_once() {
        let mut raw = http::HeaderMap::new();
        for (name, value) in [("a", "1"), ("a", "2"), ("baggage", "x=1"), ("baggage", "y=2")] {
            raw.append(name, value.parse().unwrap());
        }
        raw.append("hidden", http::HeaderValue::from_bytes(&[0xff]).unwrap());
        let mut cx = context();
        cx.set_raw_headers(raw);
        assert_eq!(cx.raw_header_get("a"), Some("1"));
        assert_eq!(cx.raw_header_values("baggage").collect::<Vec<_>>(), ["x=1", "y=2"]);
        cx.materialize_headers();
        assert_eq!((cx.headers["a"].as_str(), cx.headers["baggage"].as_str(), cx.headers.len()), ("2", "x=1,y=2", 2));
        assert_eq!(cx.raw_header_get("a"), None);
    }

    #[test]
    fn a_query_is_decoded_or_not() {
        let query = "a=%20&b&a=2&c=%zz";
        let mut cx = context();
        cx.set_raw_query_string(query.into());
        cx.materialize_query_params();
        assert_eq!(
            (cx.query_params["a"].as_str(), cx.query_params["b"].as_str(), cx.query_params["c"].as_str()),
            ("2", "", "%zz")
        );
        let mut raw = context();
        raw.set_raw_query_string(query.into());
        raw.materialize_query_params_raw();
        assert_eq!(raw.query_params.len(), 2);
    }

    #[tokio::test]
    async fn the_result_of_a_mirrored_request_is_waited_for() {
        assert!(context().collect_mirror_result().await.is_none());
        let (sender, receiver) = tokio::sync::watch::channel(None);
        let cx = RequestContext { mirror_result_rx: Some(receiver), ..context() };
        let result = MirrorResponseMeta {
            mirror_target_url: "http://b".into(),
            mirror_response_status_code: Some(200),
            mirror_response_size_bytes: None,
            mirror_latency_ms: 1.0,
            mirror_error: None,
        };
        tokio::spawn(async move { sender.send(Some(result)) });
        assert_eq!(cx.collect_mirror_result().await.unwrap().mirror_response_status_code, Some(200));
    }
}
