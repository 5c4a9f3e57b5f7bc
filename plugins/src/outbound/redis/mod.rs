//! Redis, as plugins count in it: one pipelined connection per core and endpoint, on the core's own reactor.
//!
//! Whoever wants something asks the core's [`Redis`] for a [`Transaction`] and waits for its replies together with everybody
//! else on that connection. When Redis does not answer, nobody waits for it: the first failure sends this request and all that
//! follow elsewhere, and a PING per health interval finds out when it is back.

mod command;
mod config;
mod connection;
mod endpoint;
mod link;
mod notices;
mod reply;

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::CoreEnv;

pub use command::Transaction;
pub use config::{
    CONNECT_TIMEOUT_SECONDS, HEALTH_CHECK_INTERVAL_SECONDS, PASSWORD, POOL_SIZE, SYNC_MODE, Synchronised, TLS, URL,
    USERNAME, key_prefix, sync_mode,
};
pub use endpoint::Endpoint;
use link::Link;
pub use notices::Notices;
pub use reply::Value;

/// How long one request waits for Redis, connecting included, before it goes on without.
pub const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// Connections of one core to one endpoint, whatever `redis_pool_size` says.
const CONNECTIONS_PER_CORE_MAX: u64 = 64;

/// Redis did not answer, and the request is to be decided without it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Away;

/// One core's connections to one endpoint. Those who ask for the same endpoint share them; they close with the last.
pub struct Redis {
    links: Box<[Link]>,
    next: Cell<usize>,
}

thread_local! {
    /// Of this core.
    static OPEN: RefCell<Vec<(Arc<Endpoint>, Weak<Redis>)>> = const { RefCell::new(Vec::new()) };
}

impl Redis {
    /// Nothing is connected before the first request.
    pub fn of(endpoint: &Arc<Endpoint>, env: &CoreEnv) -> Rc<Self> {
        OPEN.with(|open| {
            let mut open = open.borrow_mut();
            open.retain(|(_, redis)| redis.strong_count() > 0);
            let same = open.iter().find(|(known, _)| known == endpoint);
            if let Some(redis) = same.and_then(|(_, redis)| redis.upgrade()) {
                return redis;
            }
            let redis = Rc::new(Self::new(endpoint, env));
            open.push((endpoint.clone(), Rc::downgrade(&redis)));
            redis
        })
    }

    /// The connections of the process are spread evenly over its cores, and each core has at least one.
    fn new(endpoint: &Arc<Endpoint>, env: &CoreEnv) -> Self {
        let cores = env.services.cores.max(1) as u64;
        let count = (endpoint.pool_size / cores).clamp(1, CONNECTIONS_PER_CORE_MAX);
        let links = (0..count).map(|_| Link::new(endpoint.clone(), env)).collect();
        Self { links, next: Cell::new(0) }
    }

    /// What Redis said to each of the commands, which it carries out together.
    ///
    /// # Errors
    /// It was away before, or it was while we waited, or it refused, or too many wait already.
    pub async fn run(&self, transaction: Transaction) -> Result<Vec<Value>, Away> {
        let link = self.link().ok_or(Away)?;
        link.run(transaction).await
    }

    /// The connections take turns; those that are away are passed over.
    fn link(&self) -> Option<&Link> {
        let count = self.links.len();
        let first = self.next.get();
        self.next.set((first + 1) % count);
        (first..first + count).map(|index| &self.links[index % count]).find(|link| !link.is_away())
    }
}

/// What the fuzz target reaches.
#[doc(hidden)]
pub mod fuzzing {
    pub use super::reply::{Malformed, Reply, first};
}

#[cfg(test)]
mod tests;
