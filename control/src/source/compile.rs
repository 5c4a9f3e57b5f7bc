//! From a sound document to the snapshot that the cores serve.

mod backend_tls;
mod methods;
mod upstreams;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::consumers::{Consumer, ConsumerIndex};
use engine::model::{
    self, AddressPolicy, AuthMode, BackendScheme, Document, PluginScope, Proxy, ResponseBodyMode, Upstream,
};
use engine::pool::PoolKey;
use engine::router::{RouteSpec, RouteTable};
use engine::snapshot::{
    BackendAddress, BackendSpec, Http2Limits, MethodFilter, PoolLimits, ProxyFacts, ProxySpec, Scheme, Security,
    Snapshot, UpstreamRef,
};
use engine::tls::BackendTlsInputs;
use plugins::catalog::{Checked, ConfiguredPlugin, Faults, ProxyAttachment, Refusal, Remarks, Scope};
use plugins::{PluginSet, Specs};
use rustc_hash::FxHashMap;
use serde_json::Value;

use super::egress;
use crate::dns::NameSpec;

pub use backend_tls::{BackendTlsDefaults, BackendTlsFiles};

/// What the settings say about every backend.
#[derive(Clone, Debug)]
pub struct CompileOptions {
    pub namespace: String,
    pub address_policy: AddressPolicy,
    pub pool: PoolLimits,
    pub backend_tls: Arc<BackendTlsFiles>,
    /// How many cores share what is counted about an upstream.
    pub cores: usize,
    /// A plugin that cannot be made is left out, unless it secures something: one row of a database must not hold up the rest.
    pub skips_faulty_plugins: bool,
}

/// A year: longer than any answer is of use, and far from where adding to a clock overflows.
const TTL_SECONDS_MAX: u64 = 365 * 24 * 3600;

/// A snapshot, and what to say about it.
pub type Compiled = (Snapshot<PluginSet>, Remarks);

/// Fails only where two checks of the document disagree, which is a defect; the caller keeps what it has. What is counted
/// about upstreams goes on from the snapshot that is to be replaced.
pub fn compile(
    document: &Arc<Document>,
    options: &CompileOptions,
    check: impl Fn(&str, &Value) -> Result<Checked, Refusal>,
    generation: u64,
    previous: Option<&Snapshot<PluginSet>>,
) -> Result<Compiled, Vec<String>> {
    let check = |name: &str, config: &Value| screened(check(name, config)?, options.address_policy);
    let places: Vec<u32> = (0..).zip(&document.proxies).filter(|(_, proxy)| is_http(proxy)).map(|(at, _)| at).collect();
    let proxies: Vec<&Proxy> = places.iter().map(|place| &document.proxies[*place as usize]).collect();
    let routes: Vec<RouteSpec> =
        proxies.iter().map(|proxy| RouteSpec { hosts: proxy.hosts.clone(), path: proxy.listen_path.clone() }).collect();
    let routes = RouteTable::build(&routes)?;
    let faults = if options.skips_faulty_plugins { Faults::LeftOut } else { Faults::Refused };
    let (mut plugins, mut remarks) =
        plugins::catalog::compile_with(&configured(document), &attachments(&proxies), faults, check)?;
    remarks.warnings.extend(methods::behind_a_path(&proxies, &plugins));
    carry_plugins(&mut plugins, previous);
    plugins.companion = ferrum_edge::adapter::companion(document, &places, &plugins);
    let upstreams = upstreams::compile(&document.upstreams, options, previous)?;
    let upstream_numbers = upstreams::numbers(&upstreams);
    remarks.warnings.extend(backend_tls::unverified(&document.proxies, &document.upstreams));
    let by_id: HashMap<&str, &Upstream> = document.upstreams.iter().map(|upstream| (&*upstream.id, upstream)).collect();
    #[expect(clippy::mutable_key_type, reason = "backends are compared by what users wrote, which never changes")]
    let mut backends = FxHashMap::default();
    let mut spec = |proxy: &&Proxy| {
        let upstream = proxy.upstream_id.as_deref().and_then(|id| by_id.get(id).copied());
        let backend = alike(backend_spec(proxy, upstream, options), &mut backends);
        proxy_spec(proxy, upstreams::reference(proxy, &upstreams, &upstream_numbers), backend)
    };
    let facts = |proxy: &&Proxy| ProxyFacts {
        id: proxy.id.clone(),
        name: proxy.name.clone(),
        allowed_ws_origins: proxy.allowed_ws_origins.clone(),
    };
    let snapshot = Snapshot {
        generation,
        namespace: options.namespace.clone(),
        routes,
        proxies: proxies.iter().map(&mut spec).collect(),
        proxy_facts: proxies.iter().map(facts).collect(),
        upstreams,
        upstream_numbers,
        consumers: Arc::new(ConsumerIndex::new(document.consumers.iter().map(consumer))),
        plugins,
    };
    let securities = backends.keys().flat_map(|spec| [Some(&spec.security), spec.direct_security.as_ref()]);
    let securities = securities.chain(snapshot.upstreams.iter().map(|entry| entry.security.as_ref())).flatten();
    let used: HashSet<&BackendTlsInputs> = securities
        .filter_map(|security| match security {
            Security::Tls(tls) => Some(&*tls.inputs),
            Security::Plain | Security::Broken(_) => None,
        })
        .collect();
    options.backend_tls.keep_only(|inputs| used.contains(inputs));
    Ok((snapshot, remarks))
}

/// A plugin whose endpoints may be called.
fn screened(checked: Checked, policy: AddressPolicy) -> Result<Checked, Refusal> {
    let denials = egress::denials(&checked.spec.hosts(), policy);
    if denials.is_empty() { Ok(checked) } else { Err(Refusal::Invalid(denials)) }
}

/// A row that did not change goes on with the spec it had, and with what all cores count there.
fn carry_plugins(plugins: &mut PluginSet, previous: Option<&Snapshot<PluginSet>>) {
    let rows = previous.into_iter().flat_map(|previous| &previous.plugins.rows);
    let known: FxHashMap<u64, &Arc<dyn Specs>> = rows.map(|row| (row.fingerprint, &row.spec)).collect();
    for row in &mut plugins.rows {
        if let Some(spec) = known.get(&row.fingerprint) {
            row.spec = (*spec).clone();
        }
    }
}

/// Every name that must be resolved before traffic can flow.
pub fn backend_names(document: &Document) -> Vec<NameSpec> {
    let proxies = document.proxies.iter().filter(|proxy| proxy.dns_override.is_none());
    let of_proxies = proxies.map(|proxy| (&proxy.backend_host, proxy.dns_cache_ttl_seconds));
    let targets = document.upstreams.iter().flat_map(|upstream| &upstream.targets).map(|target| (&target.host, None));
    of_proxies
        .chain(targets)
        .filter(|(host, _)| !host.is_empty() && host.parse::<IpAddr>().is_err() && !host.starts_with("*."))
        .map(|(host, ttl)| NameSpec {
            host: host.clone(),
            ttl_override: ttl.map(|seconds| Duration::from_secs(seconds.min(TTL_SECONDS_MAX))),
        })
        .collect()
}

fn is_http(proxy: &Proxy) -> bool {
    proxy.listen_port.is_none() && proxy.backend_scheme.is_none_or(BackendScheme::is_http)
}

fn proxy_spec(proxy: &Proxy, upstream: Option<UpstreamRef>, backend: Arc<BackendSpec>) -> ProxySpec {
    ProxySpec {
        auth_multi: proxy.auth_mode == AuthMode::Multi,
        strip_listen_path: proxy.strip_listen_path,
        preserve_host_header: proxy.preserve_host_header,
        allowed_methods: proxy.allowed_methods.clone().map(|methods| Box::new(MethodFilter::new(methods))),
        connect_timeout_ms: proxy.backend_connect_timeout_ms,
        read_timeout_ms: proxy.backend_read_timeout_ms,
        buffer_responses: proxy.response_body_mode == ResponseBodyMode::Buffer,
        upstream,
        backend,
    }
}

/// The one of `known` that is like it, or it itself from now on.
#[expect(clippy::mutable_key_type, reason = "backends are compared by what users wrote, which never changes")]
fn alike(spec: BackendSpec, known: &mut FxHashMap<BackendSpec, Arc<BackendSpec>>) -> Arc<BackendSpec> {
    if let Some(known) = known.get(&spec) {
        return known.clone();
    }
    let shared = Arc::new(spec.clone());
    known.insert(spec, shared.clone());
    shared
}

fn backend_spec(proxy: &Proxy, upstream: Option<&Upstream>, options: &CompileOptions) -> BackendSpec {
    let (scheme, security) = match proxy.backend_scheme {
        Some(BackendScheme::Http) => (Scheme::Http, Security::Plain),
        _ => (Scheme::Https, options.backend_tls.security(proxy, upstream)),
    };
    let direct_security = match (scheme, upstream) {
        (Scheme::Https, Some(_)) => Some(options.backend_tls.security(proxy, None)),
        _ => None,
    };
    let tls = match &security {
        Security::Tls(tls) => Some(tls.inputs.clone()),
        Security::Plain | Security::Broken(_) => None,
    };
    let pool = PoolKey {
        scheme: scheme.name(),
        host: proxy.backend_host.clone(),
        port: proxy.backend_port,
        dns_override: proxy.dns_override.clone(),
        upstream: None,
        tls,
    };
    BackendSpec {
        scheme,
        host: proxy.backend_host.clone(),
        port: proxy.backend_port,
        path: proxy.backend_path.clone().unwrap_or_default(),
        address: address(&proxy.backend_host, proxy.dns_override.as_deref(), options.address_policy),
        security,
        direct_security,
        pool,
        pool_limits: pool_limits(proxy, &options.pool),
    }
}

/// An override or a literal is dialled as it stands; anything else is looked up.
fn address(host: &str, dns_override: Option<&str>, policy: AddressPolicy) -> BackendAddress {
    let literal = match dns_override {
        Some(text) => match text.parse::<IpAddr>() {
            Ok(ip) => Some(ip),
            Err(_) => return BackendAddress::Refused(format!("dns_override '{text}' is not an IP address")),
        },
        None => host.parse().ok(),
    };
    match literal {
        Some(ip) => BackendAddress::at(ip, policy),
        None => BackendAddress::Name,
    }
}

fn pool_limits(proxy: &Proxy, global: &PoolLimits) -> PoolLimits {
    PoolLimits {
        idle_max: global.idle_max,
        idle_timeout_ms: proxy.pool_idle_timeout_seconds.map_or(global.idle_timeout_ms, |seconds| seconds * 1000),
        keep_alive: proxy.pool_enable_http_keep_alive.unwrap_or(global.keep_alive),
        tcp_keepalive_seconds: proxy.pool_tcp_keepalive_seconds.unwrap_or(global.tcp_keepalive_seconds),
        offers_http2: proxy.pool_enable_http2.unwrap_or(global.offers_http2),
        http2: http2_limits(proxy, &global.http2),
    }
}

fn http2_limits(proxy: &Proxy, global: &Http2Limits) -> Http2Limits {
    let milliseconds =
        |seconds: Option<u64>, global_ms| seconds.map_or(global_ms, |seconds| seconds.saturating_mul(1000));
    let stream_window = proxy.pool_http2_initial_stream_window_size;
    let connection_window = proxy.pool_http2_initial_connection_window_size;
    Http2Limits {
        connections_max: global.connections_max,
        streams_max: proxy.pool_http2_max_concurrent_streams.unwrap_or(global.streams_max).max(1),
        frame_bytes_max: proxy.pool_http2_max_frame_size.unwrap_or(global.frame_bytes_max),
        stream_window_bytes: stream_window.unwrap_or(global.stream_window_bytes),
        connection_window_bytes: connection_window.unwrap_or(global.connection_window_bytes),
        adaptive_window: proxy.pool_http2_adaptive_window.unwrap_or(global.adaptive_window),
        idle_timeout_ms: milliseconds(proxy.pool_idle_timeout_seconds, global.idle_timeout_ms),
        keepalive_interval_ms: milliseconds(proxy.pool_http2_keep_alive_interval_seconds, global.keepalive_interval_ms),
        keepalive_timeout_ms: milliseconds(proxy.pool_http2_keep_alive_timeout_seconds, global.keepalive_timeout_ms),
    }
}

fn consumer(consumer: &model::Consumer) -> Consumer {
    Consumer {
        id: consumer.id.clone(),
        username: consumer.username.clone(),
        custom_id: consumer.custom_id.clone(),
        acl_groups: consumer.acl_groups.clone(),
        credentials: consumer.credentials.clone(),
    }
}

fn configured(document: &Document) -> Vec<ConfiguredPlugin> {
    let scope = |config: &model::PluginConfig| match config.scope {
        PluginScope::Global => Scope::Global,
        PluginScope::Proxy => Scope::Proxy(config.proxy_id.clone().unwrap_or_default()),
        PluginScope::ProxyGroup => Scope::Group,
    };
    document
        .plugin_configs
        .iter()
        .map(|config| ConfiguredPlugin {
            id: config.id.clone(),
            name: config.plugin_name.clone(),
            config: config.config.clone(),
            scope: scope(config),
            enabled: config.enabled,
            priority_override: config.priority_override,
        })
        .collect()
}

fn attachments(proxies: &[&Proxy]) -> Vec<ProxyAttachment> {
    proxies
        .iter()
        .map(|proxy| ProxyAttachment {
            proxy_id: proxy.id.clone(),
            attached: proxy.plugins.iter().map(|association| association.plugin_config_id.clone()).collect(),
        })
        .collect()
}
