//! One request as plugins see it, and how it ended.

use std::any::Any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use engine::consumers::{Consumer, ConsumerId, ConsumerIndex};
use engine::counters::ErrorClass;
use engine::http::RequestHead;
use engine::snapshot::ProxyFacts;

use crate::{ClientCertificate, Plugin};

/// What is the same for all requests of one configuration on one core.
pub struct Facts {
    pub namespace: String,
    pub consumers: Arc<ConsumerIndex>,
    /// By the number of the route.
    pub proxies: Arc<[Arc<ProxyFacts>]>,
    /// Lower-case sub-strings of metadata keys whose values are not logged (`FERRUM_LOG_REDACT_METADATA_KEYS`).
    pub redacted_keys: Vec<String>,
    /// What another plugin API keeps about this configuration on this core.
    pub companion: Option<Rc<dyn Any>>,
}

/// Text that plugins leave for each other and for the log, by key.
#[derive(Default, Debug, Clone)]
pub struct Metadata {
    entries: Vec<(Cow<'static, str>, String)>,
    revision: u32,
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Metadata {
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries.iter().find(|(present, _)| present == key).map(|(_, value)| value.as_str())
    }

    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let key = key.into();
        self.entries.retain(|(present, _)| *present != key);
        self.entries.push((key, value.into()));
        self.revision += 1;
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|(key, value)| (&**key, value.as_str()))
    }

    pub fn remove(&mut self, key: &str) {
        self.entries.retain(|(present, _)| present != key);
        self.revision += 1;
    }

    /// Another one after every change, so that a copy can be known to be up to date.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
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
    /// A consumer that a plugin brought and that is in no configuration. It counts if nobody of the configuration was found.
    pub guest: Option<Rc<Consumer>>,
    /// Who the request is from, when an auth plugin found somebody who is no consumer.
    pub external_identity: Option<String>,
    /// What the backend is told of them, if that is something else.
    pub external_display: Option<String>,
    pub auth_method: Option<&'static str>,
    pub metadata: Metadata,
    /// Names of query parameters that are not forwarded.
    pub consumed_query: Vec<String>,
    /// Query parameters that plugins see otherwise than they came, or not any more; see [`crate::query`].
    pub query_edits: BTreeMap<String, Option<String>>,
    pub client_certificate: Option<Rc<ClientCertificate>>,
    /// The request's body, once it is whole.
    pub body: Option<Vec<u8>>,
    pub route_override: Option<Box<RouteOverride>>,
    /// Method and path as records show them, where a plugin wants others than the client sent.
    pub recorded_as: Option<Box<(String, String)>>,
    /// Nanoseconds plugins spent waiting for outbound calls.
    pub plugin_io_ns: u64,
    /// What another plugin API keeps about this request.
    pub attachment: Option<Box<dyn Any>>,
    /// What instances keep between their hooks, by their address.
    kept: Vec<(usize, Box<dyn Any>)>,
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
            guest: None,
            external_identity: None,
            external_display: None,
            auth_method: None,
            metadata: Metadata::default(),
            consumed_query: Vec::new(),
            query_edits: BTreeMap::new(),
            client_certificate: None,
            body: None,
            route_override: None,
            recorded_as: None,
            plugin_io_ns: 0,
            attachment: None,
            kept: Vec::new(),
        }
    }

    /// Keeps something for a later hook of the same instance.
    pub fn keep<T: 'static>(&mut self, instance: &impl Plugin, value: T) {
        self.kept.push((std::ptr::from_ref(instance).addr(), Box::new(value)));
    }

    /// What that instance kept last, which is then gone from here.
    pub fn take_kept<T: 'static>(&mut self, instance: &impl Plugin) -> Option<Box<T>> {
        let address = std::ptr::from_ref(instance).addr();
        let index = self.kept.iter().rposition(|(owner, value)| *owner == address && value.is::<T>())?;
        self.kept.swap_remove(index).1.downcast().ok()
    }

    /// The matched proxy.
    pub fn proxy(&self) -> &ProxyFacts {
        &self.facts.proxies[self.route as usize]
    }

    pub fn consumer(&self) -> Option<&Consumer> {
        self.consumer.map(|id| self.facts.consumers.get(id)).or(self.guest.as_deref())
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

    /// The method that records show.
    pub fn recorded_method(&self) -> &[u8] {
        self.recorded_as.as_ref().map_or_else(|| self.head.method_text(), |shown| shown.0.as_bytes())
    }

    /// The path that records show.
    pub fn recorded_path(&self) -> &[u8] {
        self.recorded_as.as_ref().map_or_else(|| self.head.path(), |shown| shown.1.as_bytes())
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
