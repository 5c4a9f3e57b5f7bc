//! Idle backend connections of one core, per backend.
//!
//! Last in, first out: the connection used last is the one whose socket and TCP state are still in the cache, and the
//! ones at the bottom grow old and are closed by the sweep.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use rustc_hash::FxHashMap;

/// When two requests may share a connection (traffic sheet §15.4).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PoolKey {
    pub scheme: &'static str,
    pub host: String,
    pub port: u16,
    pub dns_override: Option<String>,
    /// The upstream and subset when the target comes from one; its proxies share the pool.
    pub upstream: Option<String>,
}

struct Idle<T> {
    connection: T,
    since_ms: u64,
}

/// The idle connections to one backend.
pub struct Pool<T> {
    idle: RefCell<VecDeque<Idle<T>>>,
    idle_max: usize,
    idle_timeout_ms: u64,
}

impl<T> Pool<T> {
    pub fn new(idle_max: usize, idle_timeout_ms: u64) -> Self {
        Self { idle: RefCell::default(), idle_max, idle_timeout_ms }
    }

    /// The connection used last. The caller finds out whether the peer has closed it meanwhile.
    pub fn take(&self) -> Option<T> {
        self.idle.borrow_mut().pop_back().map(|idle| idle.connection)
    }

    /// Keeps the connection for the next request. Gives back the one that has to go because there are too many.
    pub fn put(&self, connection: T, now_ms: u64) -> Option<T> {
        let mut idle = self.idle.borrow_mut();
        idle.push_back(Idle { connection, since_ms: now_ms });
        if idle.len() > self.idle_max { idle.pop_front().map(|oldest| oldest.connection) } else { None }
    }

    /// Closes what has been idle too long. Returns how many.
    fn sweep(&self, now_ms: u64) -> usize {
        let mut expired = Vec::new();
        let mut idle = self.idle.borrow_mut();
        while idle.front().is_some_and(|oldest| oldest.since_ms + self.idle_timeout_ms <= now_ms) {
            expired.extend(idle.pop_front());
        }
        drop(idle);
        expired.len()
    }

    pub fn idle(&self) -> usize {
        self.idle.borrow().len()
    }
}

/// All pools of one core. They outlive a reload, so connections to unchanged backends do too.
pub struct Pools<T> {
    pools: RefCell<FxHashMap<PoolKey, Rc<Pool<T>>>>,
}

impl<T> Default for Pools<T> {
    fn default() -> Self {
        Self { pools: RefCell::default() }
    }
}

impl<T> Pools<T> {
    /// The pool of that backend; when it does not exist yet, with these limits.
    pub fn pool(&self, key: &PoolKey, idle_max: usize, idle_timeout_ms: u64) -> Rc<Pool<T>> {
        if let Some(pool) = self.pools.borrow().get(key) {
            return pool.clone();
        }
        let pool = Rc::new(Pool::new(idle_max, idle_timeout_ms));
        self.pools.borrow_mut().insert(key.clone(), pool.clone());
        pool
    }

    /// Closes old connections and forgets pools that nobody refers to any more. Returns how many connections were closed.
    pub fn sweep(&self, now_ms: u64) -> usize {
        let pools: Vec<Rc<Pool<T>>> = self.pools.borrow().values().cloned().collect();
        let closed = pools.iter().map(|pool| pool.sweep(now_ms)).sum();
        drop(pools);
        self.pools.borrow_mut().retain(|_, pool| Rc::strong_count(pool) > 1 || pool.idle() > 0);
        closed
    }

    pub fn idle(&self) -> usize {
        self.pools.borrow().values().map(|pool| pool.idle()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str) -> PoolKey {
        PoolKey { scheme: "http", host: host.into(), port: 80, dns_override: None, upstream: None }
    }

    #[test]
    fn the_connection_used_last_comes_first_and_the_oldest_goes() {
        let pool = Pool::new(2, 1000);
        assert_eq!(pool.put("a", 0), None);
        assert_eq!(pool.put("b", 1), None);
        assert_eq!(pool.put("c", 2), Some("a"));
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some("c"), Some("b"), None));
    }

    #[test]
    fn the_sweep_closes_what_is_too_old_and_forgets_unused_pools() {
        let pools = Pools::default();
        let pool = pools.pool(&key("a"), 8, 1000);
        pool.put(1, 0);
        pool.put(2, 500);
        assert_eq!(pools.sweep(999), 0);
        assert_eq!(pools.sweep(1000), 1);
        assert_eq!(pools.idle(), 1);
        drop(pool);
        assert_eq!(pools.pools.borrow().len(), 1);
        pools.sweep(1500);
        assert_eq!(pools.pools.borrow().len(), 0);
    }
}
