//! The atomics and the lock the protocols stand on: the standard ones, or loom's when they are model-checked.

#[cfg(not(loom))]
pub(super) use std::sync::{Mutex, MutexGuard as Guard, atomic::AtomicU64};

#[cfg(loom)]
pub(super) use loom::sync::{Mutex, MutexGuard as Guard, atomic::AtomicU64};

/// The lock is held over plain arithmetic, which leaves everything whole at every step.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> Guard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How long one who must wait for another core's few instructions polls before it gives the CPU away, which only helps
/// when more threads than CPUs run.
#[cfg(not(loom))]
const SPINS_BEFORE_YIELD: u32 = 64;

/// Waits a moment; `turn` counts the moments already waited.
#[cfg(not(loom))]
pub(super) fn wait(turn: &mut u32) {
    *turn = turn.saturating_add(1);
    if *turn < SPINS_BEFORE_YIELD { std::hint::spin_loop() } else { std::thread::yield_now() }
}

#[cfg(loom)]
pub(super) fn wait(_turn: &mut u32) {
    loom::thread::yield_now();
}
