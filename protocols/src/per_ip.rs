//! Concurrent requests per client address (`FERRUM_MAX_CONCURRENT_REQUESTS_PER_IP`).
//!
//! Off by default. Where it is on, exactness matters more than the few nanoseconds of a lock that is nearly never
//! contended: the table is cut into shards by address.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

const SHARDS: usize = 32;

#[derive(Default)]
pub struct PerIp {
    shards: [Mutex<FxHashMap<IpAddr, u64>>; SHARDS],
}

/// One request's place; given back on drop.
pub struct Slot {
    all: Arc<PerIp>,
    ip: IpAddr,
}

impl PerIp {
    fn shard(&self, ip: IpAddr) -> &Mutex<FxHashMap<IpAddr, u64>> {
        let hash = match ip {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64 ^ u128::from(ip) as u64,
        };
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        &self.shards[mixed as usize % SHARDS]
    }

    /// A place for one more request of that address, if fewer than `max` are in flight.
    pub fn enter(self: &Arc<Self>, ip: IpAddr, max: u64) -> Option<Slot> {
        let mut shard = self.shard(ip).lock().unwrap_or_else(PoisonError::into_inner);
        let count = shard.entry(ip).or_insert(0);
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Slot { all: self.clone(), ip })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut shard = self.all.shard(self.ip).lock().unwrap_or_else(PoisonError::into_inner);
        // An address without requests has no row, so the table is as large as the traffic.
        if let Some(count) = shard.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                shard.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_is_exact_per_address_and_places_come_back() {
        let all = Arc::new(PerIp::default());
        let (a, b) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = all.enter(a, 2).unwrap();
        let _second = all.enter(a, 2).unwrap();
        assert!(all.enter(a, 2).is_none());
        assert!(all.enter(b, 2).is_some());
        drop(first);
        assert!(all.enter(a, 2).is_some());
    }

    #[test]
    fn an_address_without_requests_leaves_no_row() {
        let all = Arc::new(PerIp::default());
        let ip = IpAddr::from([10, 0, 0, 1]);
        drop(all.enter(ip, 1));
        assert!(all.shard(ip).lock().unwrap().is_empty());
    }
}
