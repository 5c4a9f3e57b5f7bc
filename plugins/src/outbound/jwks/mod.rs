//! The keys of identity providers (RFC 7517): fetched in the background, once for the whole process per URI, and published to
//! the cores. No request ever waits for a fetch.

mod discovery;
mod fetch;
mod key;
mod schedule;
mod store;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use reqwest::Url;
use rustc_hash::FxHashMap;

use super::Services;

pub use discovery::Discovery;
pub use key::{Algorithm, KeySet, VerifyingKeys};
use schedule::Schedule;
pub use store::Store;

/// What is being kept up to date, by URI. An entry lasts as long as somebody uses it.
#[derive(Default)]
pub(super) struct Registry {
    stores: Shared<Store>,
    discoveries: Shared<Discovery>,
    /// The number of the configuration whose plugins ask.
    configuration: AtomicU64,
}

impl Registry {
    fn configuration(&self) -> u64 {
        self.configuration.load(Relaxed)
    }
}

struct Shared<T>(Mutex<FxHashMap<String, Weak<T>>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Shared<T> {
    /// The present one, or the one `new` makes, and whether it is new.
    fn get(&self, url: &Url, new: impl FnOnce() -> T) -> (Arc<T>, bool) {
        let mut present = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        present.retain(|_, known| known.strong_count() > 0);
        if let Some(known) = present.get(url.as_str()).and_then(Weak::upgrade) {
            return (known, false);
        }
        let new = Arc::new(new());
        present.insert(url.as_str().to_owned(), Arc::downgrade(&new));
        (new, true)
    }
}

impl Services {
    /// Control is about to publish another configuration; what is asked for from now on is asked for by its plugins.
    pub fn begin_configuration(&self) {
        self.jwks.configuration.fetch_add(1, Relaxed);
    }

    /// The keys at that URI. The first plugin of a configuration that asks says how often they are fetched; `plugin` is the
    /// name in log lines.
    pub fn jwks(self: &Arc<Self>, uri: &Url, plugin: &'static str, interval: Duration) -> Arc<Store> {
        let new = || Store::new(self.cores, uri.clone(), plugin, Schedule::new(interval, self.jwks.configuration()));
        let (store, is_new) = self.jwks.stores.get(uri, new);
        if is_new {
            self.runtime.spawn(store::keep_fresh(Arc::downgrade(&store), self.clone()));
        }
        store.refresh_every(interval, self);
        store
    }

    /// The keys at the URI that a discovery document names (OpenID Connect Discovery §4), once that is known.
    pub fn discovered_jwks(
        self: &Arc<Self>,
        document: &Url,
        plugin: &'static str,
        interval: Duration,
    ) -> Arc<Discovery> {
        let new = || Discovery::new(document.clone(), plugin, Schedule::new(interval, self.jwks.configuration()));
        let (discovery, is_new) = self.jwks.discoveries.get(document, new);
        if is_new {
            self.runtime.spawn(discovery::find(Arc::downgrade(&discovery), self.clone()));
        }
        discovery.refresh_every(interval, self);
        discovery
    }
}
