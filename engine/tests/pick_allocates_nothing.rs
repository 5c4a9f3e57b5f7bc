//! Choosing a target costs the data path no allocation, whatever the algorithm and whatever health does.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use engine::balance::{
    Algorithm, Balancer, BalancerSpec, Eligible, PickRequest, SharedBalance, TargetSpec, UpstreamSpec,
};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: both calls are the system allocator's with the caller's own arguments; the counter allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more, and its allocations are not asked for.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps to `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps to `GlobalAlloc::dealloc`, and `pointer` came from the system allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn no_pick_allocates() {
    for algorithm in Algorithm::ALL {
        let target = |i: u32| TargetSpec {
            host: format!("t{i}"),
            port: 80,
            weight: 1 + i % 5,
            tags: BTreeMap::new(),
            path: None,
        };
        let upstream = UpstreamSpec { algorithm, targets: (0..100).map(target).collect(), ..UpstreamSpec::default() };
        let spec = Arc::new(BalancerSpec::compile(upstream).unwrap());
        let balancer = Balancer::new(spec.clone(), SharedBalance::new(&spec, 4), 1);
        let mut eligible = Eligible::all();
        eligible.set(99, false);
        let before = ALLOCATIONS.get();
        for i in 0..20_000_u64 {
            // Health changes now and then, some requests are retries, and the core turns fast.
            eligible.set((i / 50 % 99) as usize, i % 100 < 50);
            let request = PickRequest {
                hash_key: Some(&i.to_le_bytes()),
                exclude: (i % 7 == 0).then_some(3),
                subset: None,
                eligible: &eligible,
                now_ms: i / 40,
            };
            let pick = balancer.pick(&request).unwrap();
            let under_way = balancer.begin(pick.index);
            balancer.record_latency(pick.index, 100 + i % 900, i / 40);
            drop(under_way);
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "{algorithm:?}");
    }
}
