//! One request as plugins see it, and how it ended.

use std::any::Any;
use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use engine::consumers::{Consumer, ConsumerId, ConsumerIndex};
use engine::counters::ErrorClass;
use engine::http::RequestHead;
use engine::snapshot::ProxyFacts;

/// What is the same for all requests of one configuration on one core.
pub struct Facts {
    pub namespace: String,
    pub consumers: Arc<ConsumerIndex>,
    /// By the number of the route.
    pub proxies: Arc<[ProxyFacts]>,
    /// Lower-case sub-strings of metadata keys whose values are not logged (`FERRUM_LOG_REDACT_METADATA_KEYS`).
    pub redacted_keys: Vec<String>,
}

/// Text that plugins leave for each other and for the log, by key.
#[derive(Default, Debug, Clone, PartialEq)]
pub struct Metadata(Vec<(Cow<'static, str>, String)>);

impl Metadata {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(present, _)| present == key).map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let key = key.into();
        self.0.retain(|(present, _)| *present != key);
        self.0.push((key, value.into()));
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, value.as_str()))
    }

    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(present, _)| present != key);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a client showed in its TLS handshake; verified, if the listener verifies.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientCertificate {
    /// DER.
    pub leaf: Arc<Vec<u8>>,
    /// The others it sent, in its order, DER.
    pub chain: Arc<Vec<Vec<u8>>>,
}

/// Where a plugin wants this one request to go instead (plugin API sheet §7.4).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RouteOverride {
    pub upstream_id: Option<String>,
    pub backend_host: Option<String>,
    pub backend_port: Option<u16>,
    pub read_timeout_ms: Option<u64>,
}

/// A request on its way through the chain.
pub struct RequestContext {
    /// On the heap, because it is handed from room to room and back.
    pub head: Box<RequestHead>,
    pub facts: Rc<Facts>,
    /// The number of the route, and of the proxy among the facts.
    pub route: u32,
    /// After trusted-proxy resolution.
    pub client_ip: IpAddr,
    pub received: Instant,
    pub consumer: Option<ConsumerId>,
    /// Who the request is from, when an auth plugin found somebody who is no consumer.
    pub external_identity: Option<String>,
    /// What the backend is told of them, if that is something else.
    pub external_display: Option<String>,
    pub auth_method: Option<&'static str>,
    pub metadata: Metadata,
    /// Names of query parameters that are not forwarded.
    pub consumed_query: Vec<String>,
    pub client_certificate: Option<Rc<ClientCertificate>>,
    /// The request's body, once it is whole.
    pub body: Option<Vec<u8>>,
    pub route_override: Option<Box<RouteOverride>>,
    /// Nanoseconds plugins spent waiting for outbound calls.
    pub plugin_io_ns: u64,
    /// What another plugin API keeps about this request.
    pub attachment: Option<Box<dyn Any>>,
}

impl RequestContext {
    /// A request of which nothing is known but where it goes.
    pub fn new(head: Box<RequestHead>, facts: Rc<Facts>, route: u32, client_ip: IpAddr, received: Instant) -> Self {
        Self {
            head,
            facts,
            route,
            client_ip,
            received,
            consumer: None,
            external_identity: None,
            external_display: None,
            auth_method: None,
            metadata: Metadata::default(),
            consumed_query: Vec::new(),
            client_certificate: None,
            body: None,
            route_override: None,
            plugin_io_ns: 0,
            attachment: None,
        }
    }

    /// The matched proxy.
    pub fn proxy(&self) -> &ProxyFacts {
        &self.facts.proxies[self.route as usize]
    }

    pub fn consumer(&self) -> Option<&Consumer> {
        self.consumer.map(|id| self.facts.consumers.get(id))
    }

    /// Stores the consumer that `method` found, unless an earlier plugin found one.
    pub fn identify(&mut self, consumer: ConsumerId, method: &'static str) {
        self.consumer.get_or_insert(consumer);
        self.auth_method.get_or_insert(method);
    }

    /// Stores who `method` found outside of the consumers. The last one found counts (plugins sheet §1.6).
    pub fn identify_external(&mut self, identity: String, display: Option<String>, method: &'static str) {
        self.external_identity = Some(identity);
        self.external_display = display;
        self.auth_method.get_or_insert(method);
    }

    /// What the backend is told about the caller: the consumer's username, else the external identity as it is displayed.
    pub fn displayed_identity(&self) -> Option<&str> {
        let external = || self.external_display.as_deref().or(self.external_identity.as_deref());
        self.consumer().map(|consumer| consumer.username.as_str()).or_else(external)
    }

    /// The consumer's username, else the external identity.
    pub fn effective_identity(&self) -> Option<&str> {
        self.consumer().map(|consumer| consumer.username.as_str()).or(self.external_identity.as_deref())
    }
}

/// How an exchange ended. Durations are nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub status: u16,
    pub total_ns: u64,
    /// None when no backend answered.
    pub backend_ttfb_ns: Option<u64>,
    /// None when no backend answered, and for streamed responses.
    pub backend_total_ns: Option<u64>,
    pub plugin_ns: u64,
    pub plugin_io_ns: u64,
    pub response_streamed: bool,
    pub client_disconnected: bool,
    pub error_class: Option<ErrorClass>,
    pub body_error_class: Option<ErrorClass>,
    pub body_completed: bool,
    /// Body bytes, client to backend.
    pub bytes_sent: u64,
    /// Body bytes, backend to client.
    pub bytes_received: u64,
    /// `scheme://host:port/path`, without the query.
    pub backend_target: Option<String>,
    pub backend_ip: Option<IpAddr>,
}

impl Outcome {
    /// What the backend took: to the end of its answer, or to its head when the answer is streamed.
    pub fn backend_ns(&self) -> u64 {
        self.backend_total_ns.or(self.backend_ttfb_ns).unwrap_or(0)
    }

    /// What neither the backend nor plugins took.
    pub fn overhead_ns(&self) -> u64 {
        self.total_ns.saturating_sub(self.backend_ns().saturating_add(self.plugin_ns))
    }
}
