//! Names as the gateway resolves them: its cache, its overrides, and its policy of which addresses may be called.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use native::outbound::Names;

/// The gateway's resolver. Clones are the same one.
#[derive(Clone)]
pub struct DnsCache {
    names: Arc<dyn Names>,
}

impl DnsCache {
    pub(crate) fn new(names: Arc<dyn Names>) -> Self {
        Self { names }
    }

    /// # Errors
    /// The name has no address that may be called.
    pub async fn resolve(
        &self,
        hostname: &str,
        per_proxy_override: Option<&str>,
        per_proxy_ttl: Option<u64>,
    ) -> Result<IpAddr> {
        let addresses = self.resolve_all(hostname, per_proxy_override, per_proxy_ttl).await?;
        addresses.first().copied().ok_or_else(|| anyhow!("{hostname} has no address"))
    }

    /// How long an answer is kept is the gateway's decision.
    ///
    /// # Errors
    /// The name has no address that may be called.
    pub async fn resolve_all(
        &self,
        hostname: &str,
        per_proxy_override: Option<&str>,
        _per_proxy_ttl: Option<u64>,
    ) -> Result<Vec<IpAddr>> {
        if let Some(address) = per_proxy_override {
            return Ok(vec![address.parse()?]);
        }
        if let Ok(literal) = hostname.parse() {
            return Ok(vec![literal]);
        }
        self.names.resolve(hostname.to_owned()).await.map_err(|reason| anyhow!(reason))
    }

    /// # Errors
    /// Always in this release, whose resolver knows addresses only.
    pub async fn resolve_srv(&self, service_name: &str) -> Result<Vec<(String, u16, u16)>> {
        bail!("SRV records are not looked up by this release (asked for {service_name})")
    }

    /// How many names are kept; this release does not tell plugins, and says none.
    pub fn cache_len(&self) -> usize {
        0
    }

    /// Whether it is known that the name has no address.
    pub fn is_cached_error(&self, _hostname: &str) -> bool {
        false
    }
}

impl std::fmt::Debug for DnsCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DnsCache")
    }
}
