//! What plugins reach outside of the gateway, made from settings and the gateway's own resolver.

use std::net::IpAddr;
use std::sync::Arc;

use engine::dns::Resolution;
use engine::snapshot::Snapshot;
use futures_util::future::BoxFuture;
use plugins::PluginSet;
use plugins::outbound::{Names, Options, Services};
use tokio::runtime::Handle;

use crate::dns::Dns;
use crate::settings::Settings;
use crate::source::CompileOptions;

/// On the current runtime.
///
/// # Errors
/// The settings cannot be used for what goes outside.
pub(super) fn start(settings: &Settings, compile: &CompileOptions, dns: Dns) -> Result<Arc<Services>, String> {
    let client = &settings.client;
    let bundle = settings.tls.tls_ca_bundle_path.as_ref();
    let options = Options {
        namespace: settings.core.namespace.as_str().to_owned(),
        tls: Some(compile.backend_tls.for_plugins(compile.pool.offers_http2)?),
        tls_ca_bundle_path: bundle.map(|path| path.to_string_lossy().into_owned()),
        tls_no_verify: settings.tls.tls_no_verify,
        http_slow_threshold_ms: client.plugin_http_slow_threshold_ms,
        http_retries_max: client.plugin_http_max_retries,
        http_retry_delay_ms: client.plugin_http_retry_delay_ms,
        pool: compile.pool,
        basic_auth_secret: client.basic_auth_hmac_secret.expose().to_owned(),
        backend_allow_ips: crate::source::address_policy(client.backend_allow_ips),
    };
    Services::new(Handle::current(), compile.cores, options, Arc::new(GatewayNames(dns)))
}

/// Lets what works in the background begin, before the cores see the configuration.
pub(super) fn begin(snapshot: &Snapshot<PluginSet>, services: &Arc<Services>) {
    services.begin_configuration();
    for row in &snapshot.plugins.rows {
        row.spec.start(services);
    }
}

/// The gateway's resolver, as plugins see it.
struct GatewayNames(Dns);

impl Names for GatewayNames {
    fn resolve(&self, host: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>> {
        let dns = self.0.clone();
        Box::pin(async move {
            match dns.resolve(&host).await {
                Resolution::Address(address) => Ok(vec![address]),
                Resolution::Failed(reason) => Err(reason),
            }
        })
    }
}
