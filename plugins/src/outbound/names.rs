//! Names as the gateway resolves them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The gateway's resolver: its cache, its overrides, and its policy of which addresses may be called.
pub trait Names: Send + Sync {
    /// At least one address, or why there is none.
    fn resolve(&self, host: String) -> BoxFuture<'static, Result<Vec<IpAddr>, String>>;
}

/// [`Names`] for the HTTP client.
pub(super) struct Resolver(pub Arc<dyn Names>);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let found = self.0.resolve(name.as_str().to_owned());
        Box::pin(async move {
            let addresses = found.await?;
            // The client puts the port of its URL there.
            let addresses: Addrs = Box::new(addresses.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}
