//! Finds the plugins whose hooks keep a core's thread.
//!
//! A hook that takes long may block its thread, or may have been kept from its CPU by others, and a clock cannot tell the two
//! apart. The kernel can. Each core says which hook it is in, with one store before and one behind; a thread looks at that
//! every few milliseconds, and at what the kernel says about a core that is in the same hook still: one that sleeps there, or
//! has used up its CPU for long, is kept by the plugin.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::Duration;

use super::instance::Instance;

/// Between two looks, while hooks run.
const LOOK: Duration = Duration::from_millis(8);
/// And while none does.
const REST: Duration = Duration::from_millis(64);
/// So many looks without a hook are a rest.
const LOOKS_BEFORE_REST: u32 = 128;
/// Ticks of CPU time, of a hundredth of a second each, that a hook may use at a time.
const BUSY_TICKS: u64 = 2;

/// What one core is doing. On a line of its own: the core writes it all the time.
#[repr(align(128))]
struct Slot {
    thread: i32,
    /// Zero between hooks; else the instance, and in the lower bits which of its calls it is.
    hook: AtomicU64,
}

const CALL_BITS: u32 = 32;

static SLOTS: Mutex<Vec<Arc<Slot>>> = Mutex::new(Vec::new());
static INSTANCES: Mutex<Option<HashMap<u64, Weak<Instance>>>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static SLOT: OnceCell<Arc<Slot>> = const { OnceCell::new() };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// A number for a new instance. Called by control, whose thread the one that looks comes from.
pub(super) fn next_number() -> u64 {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let looking = std::thread::Builder::new().name("ferrum-hooks".to_owned()).spawn(look);
        if let Err(error) = looking {
            tracing::warn!(
                "plugins that block their thread will not be found, because no thread can be started: {error}"
            );
        }
    });
    NEXT.fetch_add(1, Relaxed)
}

pub(super) fn add(instance: &Arc<Instance>) {
    let mut instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
    let instances = instances.get_or_insert_default();
    instances.retain(|_, known| known.strong_count() > 0);
    instances.insert(instance.number, Arc::downgrade(instance));
}

/// This thread is a core.
pub(super) fn add_core() {
    SLOT.with(|slot| {
        slot.get_or_init(|| {
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            let slot = Arc::new(Slot { thread, hook: AtomicU64::new(0) });
            SLOTS.lock().unwrap_or_else(PoisonError::into_inner).push(slot.clone());
            slot
        });
    });
}

/// Runs one poll of a hook of that instance.
pub(super) fn during<R>(number: u64, poll: impl FnOnce() -> R) -> R {
    SLOT.with(|slot| {
        let Some(slot) = slot.get() else { return poll() };
        let call = CALLS.get().wrapping_add(1);
        CALLS.set(call);
        slot.hook.store(number << CALL_BITS | (call & ((1 << CALL_BITS) - 1)), Relaxed);
        let polled = poll();
        slot.hook.store(0, Relaxed);
        polled
    })
}

/// A core that was in a hook at the last look.
struct Seen {
    hook: u64,
    ticks: u64,
}

fn look() {
    let mut seen: HashMap<i32, Seen> = HashMap::new();
    let mut idle = 0;
    loop {
        std::thread::sleep(if idle > LOOKS_BEFORE_REST { REST } else { LOOK });
        let slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner).clone();
        idle += 1;
        for slot in &slots {
            let hook = slot.hook.load(Relaxed);
            if hook == 0 {
                seen.remove(&slot.thread);
                continue;
            }
            idle = 0;
            look_at(slot, hook, &mut seen);
        }
    }
}

fn look_at(slot: &Slot, hook: u64, seen: &mut HashMap<i32, Seen>) {
    let Some(state) = state_of(slot.thread) else { return };
    if slot.hook.load(Relaxed) != hook {
        // It has ended meanwhile: the state is that of what came behind it.
        return;
    }
    let ticks = match seen.get(&slot.thread) {
        Some(known) if known.hook == hook => known.ticks,
        _ => {
            seen.insert(slot.thread, Seen { hook, ticks: state.ticks });
            return;
        }
    };
    if state.sleeps || state.ticks.saturating_sub(ticks) >= BUSY_TICKS {
        let instances = INSTANCES.lock().unwrap_or_else(PoisonError::into_inner);
        let found = instances.as_ref().and_then(|instances| instances.get(&(hook >> CALL_BITS))?.upgrade());
        drop(instances);
        if let Some(instance) = found {
            instance.blocks_its_thread();
        }
    }
}

struct State {
    sleeps: bool,
    /// CPU time used.
    ticks: u64,
}

/// What proc_pid_stat(5) says; nothing on systems without it, where nobody is found out.
fn state_of(thread: i32) -> Option<State> {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let sleeps = matches!(fields.next()?, "S" | "D");
    // Behind the state: utime and stime are the 12th and 13th.
    let user: u64 = fields.nth(10)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(State { sleeps, ticks: user + system })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::runtime::Handle;

    use super::*;
    use crate::plugins::Plugin;

    struct Idle;

    impl Plugin for Idle {
        fn name(&self) -> &str {
            "idle"
        }
    }

    fn found_out(work: impl Fn()) -> bool {
        let instance = Instance::new(Arc::new(Idle), Handle::current());
        add_core();
        let deadline = Instant::now() + Duration::from_secs(10);
        // The thread that looks may itself be kept from its CPU.
        loop {
            during(instance.number, &work);
            if instance.is_blocking() || Instant::now() > deadline {
                return instance.is_blocking();
            }
        }
    }

    #[tokio::test]
    async fn a_hook_that_sleeps_is_found_out() {
        assert!(found_out(|| std::thread::sleep(Duration::from_millis(200))));
    }

    #[tokio::test]
    async fn a_hook_that_computes_for_long_is_found_out() {
        assert!(found_out(|| {
            let until = Instant::now() + Duration::from_millis(300);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }));
    }

    #[tokio::test]
    async fn a_hook_that_has_ended_is_not_taken_for_one_that_sleeps() {
        let instance = Instance::new(Arc::new(Idle), Handle::current());
        let (wake, woken) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
            let _ = woken.recv();
        });
        let hook = instance.number << CALL_BITS | 1;
        let slot = Slot { thread: told.recv().unwrap(), hook: AtomicU64::new(hook) };
        while !state_of(slot.thread).is_some_and(|state| state.sleeps) {
            std::thread::yield_now();
        }
        let mut seen = HashMap::new();
        look_at(&slot, hook, &mut seen);
        // It was read that it runs; now it has ended, and the core waits for its sockets.
        slot.hook.store(0, Relaxed);
        look_at(&slot, hook, &mut seen);
        assert!(!instance.is_blocking());
        slot.hook.store(hook, Relaxed);
        look_at(&slot, hook, &mut seen);
        assert!(instance.is_blocking(), "one that is still in it is");
        drop(wake);
        sleeper.join().unwrap();
    }

    #[tokio::test]
    async fn many_short_hooks_are_not() {
        let instance = Instance::new(Arc::new(Idle), Handle::current());
        add_core();
        let until = Instant::now() + Duration::from_millis(300);
        while Instant::now() < until {
            during(instance.number, || std::hint::black_box(1));
        }
        assert!(!instance.is_blocking());
    }
}
