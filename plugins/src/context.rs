//! One request as plugins see it, and how it ended.

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

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
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
    pub auth_method: Option<&'static str>,
    pub metadata: Metadata,
    /// Names of query parameters that are not forwarded.
    pub consumed_query: Vec<String>,
}

impl RequestContext {
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
