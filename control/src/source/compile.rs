//! From a sound document to the snapshot that the cores serve.

mod backend_tls;
mod kept;
mod methods;
mod upstreams;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use engine::consumers::{Consumer, ConsumerIndex};
use engine::model::{
    self, AddressPolicy, AuthMode, BackendScheme, Document, PluginScope, Proxy, ResponseBodyMode, Upstream,
};
use engine::pool::PoolKey;
use engine::snapshot::{
    BackendAddress, BackendSpec, Http2Limits, MethodFilter, PoolLimits, ProxySpec, Scheme, Security, Snapshot,
    UpstreamRef,
};
use plugins::catalog::{Checked, ConfiguredPlugin, Faults, ProxyAttachment, Refusal, Remarks, Scope};
use plugins::{PluginSet, Specs};
use rustc_hash::FxHashMap;
use serde_json::Value;

use super::egress;

pub use backend_tls::{BackendTlsDefaults, BackendTlsFiles};
use kept::Kept;

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

/// A snapshot, and what to say about it.
pub type Compiled = (Snapshot<PluginSet>, Remarks);

/// A configuration that is in service.
#[derive(Clone, Copy)]
pub struct Running<'a> {
    pub document: &'a Document,
    pub snapshot: &'a Snapshot<PluginSet>,
}

/// Fails only where two checks of the document disagree, which is a defect; the caller keeps what it has. What is counted
/// about upstreams goes on from the snapshot that is to be replaced, and what was made of rows that are still the same is
/// taken over: a change among many proxies costs little more than to copy what all of them have in one line each.
pub fn compile(
    document: &Arc<Document>,
    options: &CompileOptions,
    check: impl Fn(&str, &Value) -> Result<Checked, Refusal>,
    generation: u64,
    running: Option<Running<'_>>,
) -> Result<Compiled, Vec<String>> {
    let check = |name: &str, config: &Value| screened(check(name, config)?, options.address_policy);
    let kept = Kept::new(document, running);
    let previous = running.map(|running| running.snapshot);
    let routes = kept.routes()?;
    let mut remarks = Remarks::default();
    let mut plugins = match kept.plugins() {
        Some(plugins) => plugins,
        None => {
            let faults = if options.skips_faulty_plugins { Faults::LeftOut } else { Faults::Refused };
            let attached = attachments(&kept.proxies);
            let (mut plugins, said) = plugins::catalog::compile_with(&configured(document), &attached, faults, check)?;
            remarks = said;
            remarks.warnings.extend(methods::behind_a_path(&kept.proxies, &plugins));
            carry_plugins(&mut plugins, previous);
            plugins
        }
    };
    plugins.companion = ferrum_edge::adapter::companion(document, &kept.places, &plugins);
    let (upstreams, upstream_numbers) = match kept.upstreams() {
        Some(known) => known,
        None => {
            let upstreams = upstreams::compile(&document.upstreams, options, previous)?;
            let numbers = Arc::new(upstreams::numbers(&upstreams));
            remarks.warnings.extend(backend_tls::unverified_upstreams(&document.upstreams));
            (upstreams, numbers)
        }
    };
    remarks.warnings.extend(backend_tls::unverified_proxies(kept.changed()));
    let by_id: HashMap<&str, &Upstream> = match kept.has_changed() {
        true => document.upstreams.iter().map(|upstream| (&*upstream.id, &**upstream)).collect(),
        false => HashMap::new(),
    };
    let mut backends = kept.backends();
    let proxies: Vec<ProxySpec> = (0..kept.proxies.len())
        .map(|number| match kept.spec(number) {
            Some(spec) => spec.clone(),
            None => {
                let proxy = kept.proxies[number];
                let upstream = proxy.upstream_id.as_deref().and_then(|id| by_id.get(id).copied());
                let backend = backends.alike(backend_spec(proxy, upstream, options));
                proxy_spec(proxy, upstreams::reference(proxy, &upstreams, &upstream_numbers), backend)
            }
        })
        .collect();
    let consumers = kept.consumers();
    let snapshot = Snapshot {
        generation,
        namespace: options.namespace.clone(),
        routes,
        proxies,
        proxy_facts: kept.facts(),
        upstreams,
        upstream_numbers,
        consumers: consumers
            .unwrap_or_else(|| Arc::new(ConsumerIndex::new(document.consumers.iter().map(|row| consumer(row))))),
        plugins,
        places: kept.places,
    };
    options.backend_tls.keep_used_by(&snapshot);
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
