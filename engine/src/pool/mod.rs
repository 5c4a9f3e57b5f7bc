//! Idle backend connections of one core, per backend.
//!
//! Last in, first out: the connection used last is the one whose socket and TCP state are still in the cache, and the
//! ones at the bottom grow old and are closed by the sweep.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::tls::BackendTlsInputs;

/// When two requests may share a connection (traffic sheet §15.4).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PoolKey {
    pub scheme: &'static str,
    pub host: String,
    pub port: u16,
    pub dns_override: Option<String>,
    /// The upstream and subset when the target comes from one; its proxies share the pool.
    pub upstream: Option<String>,
    /// None: in the clear.
    pub tls: Option<Arc<BackendTlsInputs>>,
}

struct Idle<T> {
    connection: T,
    until_ms: u64,
}

/// The connections of a backend that many requests share at a time, beside the idle ones that each serve one.
pub trait Multiplexed: Default {
    /// Lets go of what has been idle too long. Answers how many.
    fn sweep(&self, now_ms: u64) -> usize;
    fn idle(&self) -> usize;
}

impl Multiplexed for () {
    fn sweep(&self, _: u64) -> usize {
        0
    }
    fn idle(&self) -> usize {
        0
    }
}

/// The idle connections to one backend. How many and how long is said by whoever puts one back: proxies that share a pool
/// may differ, and a pool outlives the configuration it was made under.
pub struct Pool<T, M = ()> {
    idle: RefCell<VecDeque<Idle<T>>>,
    pub multiplexed: M,
}

impl<T, M: Default> Default for Pool<T, M> {
    fn default() -> Self {
        Self { idle: RefCell::default(), multiplexed: M::default() }
    }
}

impl<T, M: Multiplexed> Pool<T, M> {
    /// The connection used last. The caller finds out whether the peer has closed it meanwhile.
    pub fn take(&self) -> Option<T> {
        self.idle.borrow_mut().pop_back().map(|idle| idle.connection)
    }

    /// Keeps the connection for the next request, until then at most. Returns how many had to go because with it there are
    /// more than `idle_max`.
    pub fn put(&self, connection: T, until_ms: u64, idle_max: usize) -> usize {
        let mut surplus = Vec::new();
        let mut idle = self.idle.borrow_mut();
        idle.push_back(Idle { connection, until_ms });
        while idle.len() > idle_max {
            surplus.extend(idle.pop_front());
        }
        drop(idle);
        surplus.len()
    }

    /// Closes what has been idle too long. Returns how many.
    fn sweep(&self, now_ms: u64) -> usize {
        let (expired, kept) = self.idle.take().into_iter().partition::<VecDeque<_>, _>(|idle| idle.until_ms <= now_ms);
        self.idle.replace(kept);
        expired.len() + self.multiplexed.sweep(now_ms)
    }

    pub fn idle(&self) -> usize {
        self.idle.borrow().len() + self.multiplexed.idle()
    }
}

/// All pools of one core. They outlive a reload, so connections to unchanged backends do too.
pub struct Pools<T, M = ()> {
    pools: RefCell<FxHashMap<PoolKey, Rc<Pool<T, M>>>>,
}

impl<T, M> Default for Pools<T, M> {
    fn default() -> Self {
        Self { pools: RefCell::default() }
    }
}

impl<T, M: Multiplexed> Pools<T, M> {
    /// The pool of that backend; a new one when there is none yet.
    pub fn pool(&self, key: &PoolKey) -> Rc<Pool<T, M>> {
        if let Some(pool) = self.pools.borrow().get(key) {
            return pool.clone();
        }
        let pool = Rc::new(Pool::default());
        self.pools.borrow_mut().insert(key.clone(), pool.clone());
        pool
    }

    /// Closes old connections and forgets pools that nobody refers to any more. Returns how many connections were closed.
    pub fn sweep(&self, now_ms: u64) -> usize {
        let pools: Vec<Rc<Pool<T, M>>> = self.pools.borrow().values().cloned().collect();
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
        PoolKey { scheme: "http", host: host.into(), port: 80, dns_override: None, upstream: None, tls: None }
    }

    #[test]
    fn the_connection_used_last_comes_first_and_the_oldest_goes() {
        let pool: Pool<_> = Pool::default();
        assert_eq!(["a", "b", "c"].map(|name| pool.put(name, 1000, 2)), [0, 0, 1]);
        assert_eq!((pool.take(), pool.take(), pool.take()), (Some("c"), Some("b"), None));
    }

    #[test]
    fn whoever_puts_a_connection_back_says_how_many_and_how_long() {
        let pools: Pools<_> = Pools::default();
        let pool = pools.pool(&key("a"));
        assert_eq!([1, 2, 3].map(|id| pool.put(id, 9000, 3)), [0, 0, 0]);
        assert_eq!(pool.put(4, 1000, 2), 2);
        assert_eq!((pools.sweep(1000), pool.take(), pool.take()), (1, Some(3), None));
        assert_eq!((pool.put(5, 9000, 0), pool.idle()), (1, 0));
    }

    #[test]
    fn the_sweep_closes_what_is_too_old_and_forgets_unused_pools() {
        let pools: Pools<_> = Pools::default();
        let pool = pools.pool(&key("a"));
        pool.put(1, 1000, 8);
        pool.put(2, 1500, 8);
        assert_eq!(pools.sweep(999), 0);
        assert_eq!(pools.sweep(1000), 1);
        assert_eq!(pools.idle(), 1);
        drop(pool);
        assert_eq!(pools.pools.borrow().len(), 1);
        pools.sweep(1500);
        assert_eq!(pools.pools.borrow().len(), 0);
    }
}
