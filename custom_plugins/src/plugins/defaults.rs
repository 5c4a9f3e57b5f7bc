//! Which hooks an instance leaves as they are.
//!
//! Nobody can ask a trait object whether it overrides a method. But the body of a default can say that it has run, and on which
//! object; and as an overriding hook (`#[async_trait]`) runs nothing of its own before it is polled, a default that says so in
//! the moment of the call was the hook itself. What an instance is known not to override is not called again.

use std::cell::Cell;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Hooks that are called for every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Hook {
    Received = 1,
    Authenticate = 1 << 1,
    Authorize = 1 << 2,
    BeforeProxy = 1 << 3,
    TransformRequest = 1 << 4,
    FinalRequest = 1 << 5,
    AfterProxy = 1 << 6,
    ResponseBody = 1 << 7,
    TransformResponse = 1 << 8,
    FinalResponse = 1 << 9,
    Log = 1 << 10,
}

thread_local! {
    /// The object and the hook of the default that has run last.
    static LAST: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

fn address<T: ?Sized>(of: &T) -> usize {
    std::ptr::from_ref(of).cast::<()>() as usize
}

/// What the body of each default does.
pub(crate) fn note<T: ?Sized>(on: &T, hook: Hook) {
    LAST.set((address(on), hook as u32));
}

/// What is known of one instance.
#[derive(Default)]
pub(crate) struct Unused(AtomicU32);

impl Unused {
    pub(crate) fn has(&self, hook: Hook) -> bool {
        self.0.load(Relaxed) & hook as u32 != 0
    }

    /// Calls the hook, and learns if it is the default.
    pub(crate) fn learn<T: ?Sized, R>(&self, instance: &T, hook: Hook, call: impl FnOnce() -> R) -> R {
        LAST.set((0, 0));
        let called = call();
        if LAST.get() == (address(instance), hook as u32) {
            self.0.fetch_or(hook as u32, Relaxed);
        }
        called
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;

    use super::*;
    use crate::plugins::{Plugin, PluginResult, RequestContext, TransactionSummary};

    struct Logs;

    #[async_trait]
    impl Plugin for Logs {
        fn name(&self) -> &str {
            "logs"
        }

        async fn log(&self, _summary: &TransactionSummary) {}
    }

    /// Overrides every hook by handing it to another plugin.
    struct Wraps(Arc<dyn Plugin>);

    #[async_trait]
    impl Plugin for Wraps {
        fn name(&self) -> &str {
            "wraps"
        }

        async fn on_request_received(&self, ctx: &mut RequestContext) -> PluginResult {
            self.0.on_request_received(ctx).await
        }
    }

    fn learned(plugin: &dyn Plugin) -> (bool, bool) {
        let unused = Unused::default();
        let mut cx = RequestContext::new(String::new(), String::new(), String::new());
        let summary = TransactionSummary::default();
        drop(unused.learn(plugin, Hook::Received, || plugin.on_request_received(&mut cx)));
        drop(unused.learn(plugin, Hook::Log, || plugin.log(&summary)));
        (unused.has(Hook::Received), unused.has(Hook::Log))
    }

    #[test]
    fn what_is_not_overridden_is_learned_from_one_call() {
        assert_eq!(learned(&Logs), (true, false));
    }

    #[tokio::test]
    async fn a_hook_that_hands_on_to_a_default_is_no_default() {
        let wraps = Wraps(Arc::new(Logs));
        assert_eq!(learned(&wraps), (false, true));
        let unused = Unused::default();
        let mut cx = RequestContext::new(String::new(), String::new(), String::new());
        unused.learn(&wraps, Hook::Received, || wraps.on_request_received(&mut cx)).await;
        assert!(!unused.has(Hook::Received));
    }
}
